//! Real or simulated: a report is of the one or of the other, and never of both.

use dorainfra_dora::metrics::{DEPLOYMENTS, ONLY_REAL, ONLY_SIMULATED, SIMULATED};
use dorainfra_prometheus::query::{Instant, Query, QueryError};

use super::collect::Question;
use super::{Report, words};

/// The matcher of the series that a report is of.
pub(super) fn matcher(simulated: bool) -> &'static str {
    if simulated { ONLY_SIMULATED } else { ONLY_REAL }
}

/// Finds out whether a question is of simulated teams: where there is nothing else in the range,
/// and no sources either. How many are left out, where it is of real ones.
pub(super) async fn of(query: &Query, asked: &Question) -> Result<(Question, u32), QueryError> {
    let mut question = asked.clone();
    // In any environment: nobody has real teams in the one and invented ones in the other.
    let expression = format!(
        "group by (team, environment, {SIMULATED}) (last_over_time({DEPLOYMENTS}[{}ms]))",
        question.span().milliseconds
    );
    let found = query.instant::<Instant>(&expression, Some(question.end())).await?;
    let (simulated, real): (Vec<&Instant>, Vec<&Instant>) =
        found.iter().partition(|one| one.metric.contains_key(SIMULATED));
    question.simulated = !asked.sources && real.is_empty() && !simulated.is_empty();
    if !question.simulated && !asked.sources {
        // What this configuration sends is simulated, if anything.
        question.sent.clear();
    }
    let here = |one: &&&Instant| one.metric.get("environment") == Some(&question.environment);
    let left_out = if question.simulated { 0 } else { simulated.iter().filter(here).count() };
    Ok((question, left_out as u32))
}

impl Report {
    /// What has to be known of all figures, before any of them.
    pub fn caution(&self) -> Option<String> {
        self.simulated.then(|| {
            let teams = words::counted(self.teams.len(), "simulated team");
            format!("Simulated data: every figure is of {teams}, not of real ones.")
        })
    }

    /// What is stored beside what is shown.
    pub fn left_out(&self) -> Option<String> {
        let teams = words::counted(self.simulated_left_out as usize, "simulated team");
        let are = if self.simulated_left_out == 1 { "is" } else { "are" };
        (self.simulated_left_out > 0).then(|| format!("{teams} {are} stored, too, and left out."))
    }
}

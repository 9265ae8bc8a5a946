//! Real or simulated: a report is of the one or of the other, and never of both.

use dorainfra_dora::metrics::{DEPLOYMENTS, ONLY_REAL, ONLY_SIMULATED, SIMULATED};
use dorainfra_prometheus::query::{Instant, Query, QueryError};

use super::{Report, words};

/// The matcher of the series that a report is of.
pub(super) fn matcher(simulated: bool) -> &'static str {
    if simulated { ONLY_SIMULATED } else { ONLY_REAL }
}

/// What is stored of each kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    /// Whether there is any real team, in any environment: nobody has real teams in the one and
    /// invented ones in the other.
    pub real: bool,
    /// The same of simulated ones.
    pub simulated: bool,
    /// Simulated teams of the environment.
    pub simulated_here: u32,
}

/// What is stored in the `range` milliseconds before `end`.
pub(super) async fn stored(
    query: &Query,
    environment: &str,
    range: i64,
    end: i64,
) -> Result<Stored, QueryError> {
    let expression =
        format!("group by (team, environment, {SIMULATED}) (last_over_time({DEPLOYMENTS}[{range}ms]))");
    let found = query.instant::<Instant>(&expression, Some(end)).await?;
    let (simulated, real): (Vec<&Instant>, Vec<&Instant>) =
        found.iter().partition(|one| one.metric.contains_key(SIMULATED));
    let here = |one: &&&Instant| one.metric.get("environment").is_some_and(|name| name == environment);
    let simulated_here = simulated.iter().filter(here).count() as u32;
    Ok(Stored { real: !real.is_empty(), simulated: !simulated.is_empty(), simulated_here })
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

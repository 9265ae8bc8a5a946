//! Real or simulated: a report is of the one or of the other, and never of both.

use std::collections::{BTreeMap, BTreeSet};

use dorainfra_dora::metrics::{DEPLOYMENTS, LEAD_TIME, SIMULATED};
use dorainfra_prometheus::query::{Instant, Query, QueryError};

use super::question::Question;
use super::spans::CollectError;
use super::{Report, words};

/// Teams by environment.
type Teams = BTreeMap<String, BTreeSet<String>>;

/// What is stored of each kind, in any environment: nobody has real teams in the one and
/// invented ones in the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    pub real: Teams,
    pub simulated: Teams,
    /// Environment and team of those with native histograms.
    real_native: BTreeSet<(String, String)>,
    simulated_native: BTreeSet<(String, String)>,
}

impl Stored {
    /// Simulated teams of an environment.
    pub fn simulated_in(&self, environment: &str) -> u32 {
        self.simulated.get(environment).map_or(0, BTreeSet::len) as u32
    }

    /// The question of simulated teams where there is nothing else, and no source either; else of real ones.
    pub fn of_one_kind(&self, asked: &Question) -> Question {
        let simulated = !asked.sources && self.real.is_empty() && !self.simulated.is_empty();
        Question { simulated, ..asked.clone() }
    }

    /// Whether there are native histograms of what is asked for. An endpoint that holds none may not
    /// know the functions for them either.
    pub fn has_native(&self, asked: &Question) -> bool {
        let native = if asked.simulated { &self.simulated_native } else { &self.real_native };
        let wanted = |team| asked.teams.is_empty() || asked.teams.contains(team);
        native.iter().any(|(environment, team)| *environment == asked.environment && wanted(team))
    }

    /// The other environments, where this one has nothing; else those that somebody may mean by its
    /// name.
    pub fn other_environments(&self, asked: &Question, has_teams: bool) -> Vec<String> {
        let teams = if asked.simulated { &self.simulated } else { &self.real };
        let other = |name: &&String| **name != asked.environment && !name.is_empty();
        let meant = |name: &&String| !has_teams || name.eq_ignore_ascii_case(&asked.environment);
        teams.keys().filter(other).filter(meant).cloned().collect()
    }

    /// # Errors
    /// The environment that is asked for, or one of the teams, has nothing, and others have.
    pub fn check(&self, asked: &Question) -> Result<(), CollectError> {
        let teams = if asked.simulated { &self.simulated } else { &self.real };
        if teams.is_empty() {
            return Ok(());
        }
        let Some(known) = teams.get(&asked.environment) else {
            let (environment, known) = (asked.environment.clone(), teams.keys().cloned().collect());
            return Err(CollectError::UnknownEnvironment { asked: environment, known });
        };
        let unknown: Vec<String> =
            asked.teams.iter().filter(|team| !known.contains(*team)).cloned().collect();
        match unknown.as_slice() {
            [] => Ok(()),
            _ => Err(CollectError::UnknownTeams {
                asked: unknown,
                environment: asked.environment.clone(),
                known: known.iter().cloned().collect(),
            }),
        }
    }
}

/// What is stored of the days that are asked for.
pub(super) async fn stored(query: &Query, asked: &Question) -> Result<Stored, QueryError> {
    let span = asked.span();
    let by = format!("__name__, team, environment, {SIMULATED}");
    let of = format!("{{__name__=~\"{DEPLOYMENTS}|{LEAD_TIME}\"}}[{}ms]", span.milliseconds);
    let expression = format!("group by ({by}) (last_over_time({of}))");
    let mut stored = Stored::default();
    for one in query.instant::<Instant>(&expression, Some(span.end)).await? {
        let label = |name: &str| one.metric.get(name).cloned().unwrap_or_default();
        let simulated = one.metric.contains_key(SIMULATED);
        if label("__name__") == DEPLOYMENTS {
            let teams = if simulated { &mut stored.simulated } else { &mut stored.real };
            teams.entry(label("environment")).or_default().insert(label("team"));
        } else {
            let native = if simulated { &mut stored.simulated_native } else { &mut stored.real_native };
            native.insert((label("environment"), label("team")));
        }
    }
    Ok(stored)
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

#[cfg(test)]
mod tests {
    use dorainfra_base::zone::Zone;
    use time::macros::{date, datetime};

    use super::*;

    fn question() -> Question {
        Question {
            subject: String::new(),
            source: String::new(),
            environment: "production".into(),
            sources: false,
            settle_hours: None,
            teams: Vec::new(),
            without: Vec::new(),
            first: date!(2026 - 03 - 01),
            until: date!(2026 - 03 - 28),
            zone: Zone::UTC,
            bands_year: 2023,
            services: false,
            now: datetime!(2026-03-29 12:00 UTC),
            native: false,
            simulated: false,
        }
    }

    #[test]
    fn what_nobody_has_is_an_error_that_lists_what_there_is() {
        let teams = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        let real =
            Teams::from([("production".into(), teams(&["cart", "orders"])), ("test".into(), teams(&["x"]))]);
        let simulated = Teams::from([("production".into(), teams(&["made-up"]))]);
        let stored = Stored { real, simulated, ..Stored::default() };
        let said = |environment: &str, names: &[&str]| {
            let names = names.iter().map(|&name| name.to_owned()).collect();
            let asked = Question { environment: environment.into(), teams: names, ..question() };
            stored.check(&asked).err().map(|error| error.to_string())
        };
        assert_eq!(said("production", &[]), None);
        assert_eq!(said("production", &["orders"]), None);
        let none = "the environment `Production` has no samples in these days";
        assert_eq!(said("Production", &[]).unwrap(), none);
        let none = "the teams `x`, `made-up` have no samples in these days in the environment `production`";
        assert_eq!(said("production", &["orders", "x", "made-up"]).unwrap(), none);
        // Where nothing at all is stored, that is the report.
        assert!(Stored::default().check(&question()).is_ok());
    }
}

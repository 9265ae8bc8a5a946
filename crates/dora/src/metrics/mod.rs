//! From events to the series that are stored: counters, and histograms as
//! cumulative counters (and native ones, where [`Histograms`] says so), from which
//! every DORA metric is a ratio of increases (docs/metrics.md says how to ask).
//!
//! [`observe`] says what of the events counts, and when. [`Counters`] adds that
//! up. [`history`] samples it at the end of each day, and [`Live`] at any moment:
//! both are the same function of time, so what is pushed live goes on where the
//! history ends, and no counter ever goes down, but at the beginning of a year.
//!
//! Where events come from, and where series go to, is not known here.

mod counters;
pub mod gauges;
mod history;
mod live;
mod observe;
mod text;

use std::collections::BTreeSet;

use time::Date;

use super::events::{Event, PRODUCTION};
use super::simulator::{self, Team};
pub use counters::Counters;
pub use gauges::{GAUGES, WINDOW_DAYS};
pub use history::{Start, collected, collected_in, history, scopes, series};
pub use live::Live;
pub use observe::{OUTCOME_WINDOW, Observation, Observed, observe, settled};
pub use text::text;

use dorainfra_base::zone::Zone;
use dorainfra_prometheus::{Labels, Series};

pub const DEPLOYMENTS: &str = "dora_deployments_total";
pub const LEAD_TIME: &str = "dora_change_lead_time_seconds";
pub const RECOVERY: &str = "dora_deployment_recovery_seconds";
/// The same two by service. They have names of their own: under the same name a sum over it
/// would count everything twice wherever both are stored.
pub const SERVICE_LEAD_TIME: &str = "dora_service_change_lead_time_seconds";
pub const SERVICE_RECOVERY: &str = "dora_service_deployment_recovery_seconds";

/// The label that every series of simulated events carries, with the value `true`. Those of real
/// events have no such label, so that nothing of theirs changes.
pub const SIMULATED: &str = "simulated";
/// The matcher of what is real, and of what is simulated.
pub const ONLY_REAL: &str = "simulated=\"\"";
pub const ONLY_SIMULATED: &str = "simulated=\"true\"";

/// The labels of simulated series, from those that real ones would have.
fn marked(labels: &Labels) -> Labels {
    labels.with(SIMULATED, "true")
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// Upper edges of the lead time's buckets, seconds: those of the bands (1 h, 1 d,
/// 7 d, 30 d) and some between.
pub const LEAD_TIME_EDGES: [u64; 10] =
    [HOUR, 4 * HOUR, 12 * HOUR, DAY, 2 * DAY, 4 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 60 * DAY];
/// The same of the recovery's, which is shorter where all is well.
pub const RECOVERY_EDGES: [u64; 10] =
    [300, 900, 1800, HOUR, 4 * HOUR, 12 * HOUR, DAY, 3 * DAY, 7 * DAY, 30 * DAY];

/// Series of one team and environment, or of one service: two histograms, each with its
/// buckets, `+Inf`, sum and count.
const HISTOGRAM_SERIES: u64 = (LEAD_TIME_EDGES.len() + RECOVERY_EDGES.len() + 2 * 3) as u64;
/// The same as native ones: a series each.
const NATIVE_SERIES: u64 = 2;
/// Series of one team in production: the former gauges.
const GAUGE_SERIES: u64 = GAUGES.len() as u64;
/// Series of one service in an environment: outcomes times kinds.
const COUNTER_SERIES: u64 = 4;

/// Whose metrics there are from the beginning, whether or not anything happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub team: String,
    pub services: Vec<String>,
    pub environment: String,
}

impl Scope {
    pub fn of(team: &Team) -> Self {
        Self {
            team: team.name.clone(),
            services: team.services().to_vec(),
            environment: PRODUCTION.to_owned(),
        }
    }
}

/// How lead times and recoveries are stored: as classic histograms of each team, which
/// everybody takes, and what else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histograms {
    /// As native ones beside them, under the name without an ending.
    pub native: bool,
    /// Of each service, too.
    pub by_service: bool,
}

impl Histograms {
    pub const CLASSIC: Self = Self { native: false, by_service: false };
    pub const NATIVE: Self = Self { native: true, by_service: false };

    #[must_use]
    pub fn by_service(self, by_service: bool) -> Self {
        Self { by_service, ..self }
    }
}

/// How many series there are for these, before anything is sent.
pub fn cardinality(scopes: impl IntoIterator<Item = Scope>, histograms: Histograms) -> u64 {
    let mut owners = BTreeSet::new();
    let mut services = BTreeSet::new();
    for Scope { team, services: names, environment } in scopes {
        services.extend(names.into_iter().map(|name| (team.clone(), name, environment.clone())));
        owners.insert((team, environment));
    }
    let gauges = owners.iter().filter(|(_, environment)| environment == PRODUCTION).count();
    let native = if histograms.native { NATIVE_SERIES } else { 0 };
    let by_service = if histograms.by_service { services.len() } else { 0 };
    (HISTOGRAM_SERIES + native) * (owners.len() + by_service) as u64
        + COUNTER_SERIES * services.len() as u64
        + GAUGE_SERIES * gauges as u64
}

/// The simulated history of some teams, a team at a time: the `days` days up to
/// `until` (included). The same whatever the range, where two ranges overlap.
pub fn simulated(
    teams: Vec<String>,
    seed: u64,
    until: Date,
    days: u32,
    histograms: Histograms,
) -> impl Iterator<Item = Series> + Send {
    simulated_in(Zone::UTC, teams, seed, until, days, histograms)
}

/// The same, with a sample where each day of a zone begins, too.
pub fn simulated_in(
    zone: Zone,
    teams: Vec<String>,
    seed: u64,
    until: Date,
    days: u32,
    histograms: Histograms,
) -> impl Iterator<Item = Series> + Send {
    teams.into_iter().flat_map(move |name| {
        let Some(first) = first_day(until, days) else { return Vec::new() };
        let team = Team::new(&name, seed);
        let begin = Start::EachYear.of(first);
        let events: Vec<Event> =
            simulator::deployed(&team, begin, until).flat_map(|episode| episode.0).collect();
        let mut all = history::history_in(&zone, &[Scope::of(&team)], &events, first, until, histograms);
        all.iter_mut().for_each(|one| one.labels = marked(&one.labels));
        all
    })
}

fn first_day(until: Date, days: u32) -> Option<Date> {
    until.checked_sub(time::Duration::days(i64::from(days.checked_sub(1)?)))
}

/// The first of January of a date's year.
fn year_of(date: Date) -> Date {
    Date::from_ordinal_date(date.year(), 1).unwrap_or(date)
}

#[cfg(test)]
mod tests;

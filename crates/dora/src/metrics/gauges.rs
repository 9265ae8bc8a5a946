//! The four gauges of the system that this one replaces, under their own names,
//! so that its dashboards show a whole year: here as history, from the same
//! observations as the counters. From the deployment on, recording rules compute
//! them (`mimir/rules/dora.yaml`).
//!
//! Gauges cannot be added up over teams or weeks: whoever can should ask the
//! counters.

use std::collections::VecDeque;

use dorainfra_prometheus::{Labels, Samples, Series};
use time::{Date, Duration, OffsetDateTime, UtcOffset};

use super::{Observation, Observed};
use crate::events::PRODUCTION;

/// Names, in the order of [`Row`].
pub const GAUGES: [&str; 4] =
    ["dora_deployment_frequency", "dora_lead_time_ms", "dora_change_failure_rate", "dora_mttr_minutes"];

/// Days that all but the first look back, the day itself included.
pub const WINDOW_DAYS: i64 = 28;

/// One day's values: deployments of that day; over the window the mean lead time
/// (ms), the share of failed deployments, and the mean recovery (minutes).
/// `None`: nothing happened that it could be computed from.
pub type Row = [Option<f64>; 4];

/// What happened in some days, in integers.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    deployments: u64,
    failures: u64,
    changes: u64,
    lead_seconds: u64,
    recoveries: u64,
    recovery_seconds: u64,
}

impl Sums {
    fn count(&mut self, observed: Observed) {
        match observed {
            Observed::Deployment { failed, .. } => {
                self.deployments += 1;
                self.failures += u64::from(failed);
            }
            Observed::LeadTime(seconds) => {
                self.changes += 1;
                self.lead_seconds += seconds;
            }
            Observed::Recovery(seconds) => {
                self.recoveries += 1;
                self.recovery_seconds += seconds;
            }
        }
    }

    fn plus(self, other: &Self) -> Self {
        Self {
            deployments: self.deployments + other.deployments,
            failures: self.failures + other.failures,
            changes: self.changes + other.changes,
            lead_seconds: self.lead_seconds + other.lead_seconds,
            recoveries: self.recoveries + other.recoveries,
            recovery_seconds: self.recovery_seconds + other.recovery_seconds,
        }
    }
}

/// A row for each day from `first` to `until` (included), of one team's
/// observations in production, in the order of time. They have to begin
/// [`WINDOW_DAYS`] before the end of `first`; what is older is not looked at.
pub fn rows<'a>(
    observations: impl IntoIterator<Item = &'a Observation>,
    first: Date,
    until: Date,
) -> Vec<(Date, Row)> {
    let Some(begin) = first.checked_sub(Duration::days(WINDOW_DAYS - 1)) else { return Vec::new() };
    let mut observations = observations
        .into_iter()
        .filter(|one| one.environment == PRODUCTION)
        .skip_while(|one| day_of(one.at) < begin)
        .peekable();
    let mut window: VecDeque<Sums> = VecDeque::with_capacity(WINDOW_DAYS as usize);
    let mut rows = Vec::new();
    let mut day = begin;
    while day <= until {
        let mut today = Sums::default();
        while let Some(one) = observations.next_if(|one| day_of(one.at) <= day) {
            today.count(one.observed);
        }
        if window.len() == WINDOW_DAYS as usize {
            window.pop_front();
        }
        window.push_back(today);
        if day >= first {
            rows.push((day, row(&today, window.iter().fold(Sums::default(), Sums::plus))));
        }
        match day.next_day() {
            Some(next) => day = next,
            None => break,
        }
    }
    rows
}

fn row(today: &Sums, window: Sums) -> Row {
    let mean = |sum: u64, count: u64| (count > 0).then(|| sum as f64 / count as f64);
    [
        Some(today.deployments as f64),
        mean(1000 * window.lead_seconds, window.changes),
        mean(window.failures, window.deployments),
        mean(window.recovery_seconds, 60 * window.recoveries),
    ]
}

/// The rows of one team as series. A day's value is stored at its end, like the
/// counters'; a day without a value has no sample.
pub fn series(team: &str, rows: &[(Date, Row)]) -> impl Iterator<Item = Series> {
    let labels = Labels::new([("team", team)]);
    GAUGES.into_iter().enumerate().map(move |(column, name)| Series {
        name,
        labels: labels.clone(),
        samples: Samples::Plain(
            rows.iter().filter_map(|(day, row)| Some((end_of(*day)?, row[column]?))).collect(),
        ),
        exemplars: Vec::new(),
    })
}

/// The end of a day (UTC), which is the next day's first instant, milliseconds
/// since 1970.
pub fn end_of(day: Date) -> Option<i64> {
    Some(day.next_day()?.midnight().assume_utc().unix_timestamp() * 1000)
}

fn day_of(at: OffsetDateTime) -> Date {
    at.to_offset(UtcOffset::UTC).date()
}

//! The metrics computed from the events themselves, with no counter between:
//! what stored series are checked against, and what a report can show.
//!
//! It shares no code with [`super::metrics`], so that one can prove the other;
//! docs/metrics.md has the definitions that both follow.

use std::collections::{BTreeMap, BTreeSet};

use time::{Date, Duration, OffsetDateTime};

use super::events::{Deployment, Event, Failure, Kind};
use super::metrics::OUTCOME_WINDOW;

/// Which days (UTC), from the first to the last one, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    pub first: Date,
    pub until: Date,
}

impl Days {
    fn contains(self, at: OffsetDateTime) -> bool {
        let date = at.to_offset(time::UtcOffset::UTC).date();
        date >= self.first && date <= self.until
    }

    pub fn count(self) -> i64 {
        (self.until - self.first).whole_days() + 1
    }
}

/// What some teams did in some days. A ratio or a quantile of nothing is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    pub deployments: u64,
    pub failed: u64,
    pub rework: u64,
    pub frequency_per_day: f64,
    pub failure_rate: Option<f64>,
    pub rework_rate: Option<f64>,
    /// Seconds, sorted.
    pub lead_times: Vec<u64>,
    /// Seconds, sorted.
    pub recoveries: Vec<u64>,
}

impl Summary {
    pub fn lead_time(&self, quantile: f64) -> Option<u64> {
        self::quantile(&self.lead_times, quantile)
    }

    pub fn recovery(&self, quantile: f64) -> Option<u64> {
        self::quantile(&self.recoveries, quantile)
    }
}

/// The metrics of `teams` in one environment; no team named means all of them.
/// The events may come in any order.
pub fn summary(events: &[Event], days: Days, environment: &str, teams: &[&str]) -> Summary {
    summary_where(events, days, environment, |team, _| teams.is_empty() || teams.contains(&team))
}

/// The metrics of those whose team and service `mine` says yes to. A failure is the service's
/// that it names, whichever service's deployment caused it.
pub fn summary_where(
    events: &[Event],
    days: Days,
    environment: &str,
    mine: impl Fn(&str, &str) -> bool,
) -> Summary {
    let deployments: BTreeMap<&str, &Deployment> = first_of(events, |event| match event {
        Event::Deployment(deployment) => Some((deployment.id.as_str(), deployment, deployment.at)),
        _ => None,
    });
    let failures: BTreeMap<&str, &Failure> = first_of(events, |event| match event {
        Event::Failure(failure) => Some((failure.id.as_str(), failure, failure.at)),
        _ => None,
    });
    let changes: BTreeMap<&str, OffsetDateTime> = first_of(events, |event| match event {
        Event::Change(change) => Some((change.id.as_str(), change.at, change.at)),
        _ => None,
    });
    let ends: BTreeMap<&str, OffsetDateTime> = first_of(events, |event| match event {
        Event::Recovery(recovery) => Some((recovery.failure.as_str(), recovery.at, recovery.at)),
        _ => None,
    });

    // What a deployment broke: not before it ran, and not long after. By the failure.
    let broke: BTreeMap<&str, &Deployment> = failures
        .values()
        .filter_map(|failure| {
            let cause = *deployments.get(failure.deployment.as_deref()?)?;
            let range = cause.at..=cause.at + OUTCOME_WINDOW;
            range.contains(&failure.at).then_some((failure.id.as_str(), cause))
        })
        .collect();
    let failed_ones: BTreeSet<&str> = broke.values().map(|cause| cause.id.as_str()).collect();

    let mut summary = Summary::default();
    let counted = |one: &&&Deployment| {
        mine(&one.team, &one.service) && one.environment == environment && days.contains(one.at)
    };
    for deployment in deployments.values().filter(counted) {
        summary.deployments += 1;
        summary.failed += u64::from(failed_ones.contains(deployment.id.as_str()));
        summary.rework += u64::from(deployment.kind == Kind::Rework);
        let named: BTreeSet<&String> = deployment.changes.iter().collect();
        let begun = named.into_iter().filter_map(|change| changes.get(change.as_str()));
        summary.lead_times.extend(begun.map(|begun| seconds(deployment.at - *begun)));
    }
    for (failure, end) in ends {
        if let Some(failure) = failures.get(failure)
            && let Some(cause) = broke.get(failure.id.as_str())
            && mine(&cause.team, &cause.service)
            && cause.environment == environment
            && days.contains(end)
        {
            summary.recoveries.push(seconds(end - failure.at));
        }
    }
    summary.lead_times.sort_unstable();
    summary.recoveries.sort_unstable();
    summary.frequency_per_day = summary.deployments as f64 / days.count().max(1) as f64;
    let share = |part: u64| (summary.deployments > 0).then(|| part as f64 / summary.deployments as f64);
    summary.failure_rate = share(summary.failed);
    summary.rework_rate = share(summary.rework);
    summary
}

/// By id, the earliest of each.
fn first_of<'a, T>(
    events: &'a [Event],
    pick: impl Fn(&'a Event) -> Option<(&'a str, T, OffsetDateTime)>,
) -> BTreeMap<&'a str, T> {
    let mut all: BTreeMap<&str, (T, OffsetDateTime)> = BTreeMap::new();
    for (id, value, at) in events.iter().filter_map(pick) {
        if all.get(id).is_none_or(|(_, other)| at < *other) {
            all.insert(id, (value, at));
        }
    }
    all.into_iter().map(|(id, (value, _))| (id, value)).collect()
}

/// The smallest value that at least this share of the values does not exceed.
fn quantile(sorted: &[u64], quantile: f64) -> Option<u64> {
    let rank = (quantile * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

fn seconds(duration: Duration) -> u64 {
    u64::try_from(duration.whole_seconds()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{PRODUCTION, read};
    use time::macros::date;

    #[test]
    fn a_small_week_by_hand() {
        let lines = r#"
{"type":"change","id":"c1","team":"a","service":"s","at":"2026-03-01T10:00:00Z"}
{"type":"change","id":"c2","team":"a","service":"s","at":"2026-03-02T09:00:00Z"}
{"type":"deployment","id":"d1","team":"a","service":"s","at":"2026-03-02T10:00:00Z","changes":["c1","c2"]}
{"type":"deployment","id":"d2","team":"b","service":"s","at":"2026-03-02T10:00:00Z","environment":"staging"}
{"type":"failure","id":"f1","team":"a","service":"s","at":"2026-03-02T11:00:00Z","deployment":"d1"}
{"type":"failure","id":"f2","team":"a","service":"s","at":"2026-03-02T11:30:00Z","deployment":"d1"}
{"type":"recovery","failure":"f1","at":"2026-03-02T12:00:00Z"}
{"type":"deployment","id":"d3","team":"a","service":"s","at":"2026-03-02T11:50:00Z","kind":"rework"}"#;
        let events: Vec<Event> = read(lines.as_bytes()).collect::<Result<_, _>>().unwrap();
        let days = Days { first: date!(2026 - 03 - 01), until: date!(2026 - 03 - 04) };
        let found = summary(&events, days, PRODUCTION, &[]);
        assert_eq!((found.deployments, found.failed, found.rework), (2, 1, 1));
        assert_eq!(
            (found.frequency_per_day, found.failure_rate, found.rework_rate),
            (0.5, Some(0.5), Some(0.5))
        );
        assert_eq!((found.lead_time(0.5), found.lead_time(0.9)), (Some(3600), Some(86_400)));
        assert_eq!(found.recovery(0.5), Some(3600));
        assert_eq!(summary(&events, days, PRODUCTION, &["b"]), Summary::default());
        assert_eq!(summary(&events, days, "staging", &["b"]).deployments, 1);
    }
}

//! Ranges of whole days in a time zone: how long each is, and how they are asked about.
//!
//! Queries over time have one window and one step. Days and weeks in which clocks change are
//! longer or shorter, so what is asked is divided where the length changes; in UTC never.

use std::collections::BTreeMap;

use dorainfra_base::zone::Zone;
use dorainfra_prometheus::query::{Query, QueryError};
use thiserror::Error;
use time::{Date, Duration};

const DAY: i64 = 86_400_000;

/// Why there is no report.
#[derive(Debug, Error)]
pub enum CollectError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(
        "nothing is stored at the beginning of {day} in {zone}: a figure of days that begin then would be a guess"
    )]
    NotCut { zone: Zone, day: Date },
    /// `known`: those that have some.
    #[error("the environment `{asked}` has no samples in these days")]
    UnknownEnvironment { asked: String, known: Vec<String> },
    /// `known`: those of the environment that have some.
    #[error("{} no samples in these days in the environment `{environment}`", named(.asked))]
    UnknownTeams { asked: Vec<String>, environment: String, known: Vec<String> },
}

fn named(teams: &[String]) -> String {
    match teams {
        [one] => format!("the team `{one}` has"),
        many => format!("the teams `{}` have", many.join("`, `")),
    }
}

/// Some whole days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub until: Date,
    pub days: i64,
    /// Where they end, milliseconds since 1970.
    pub end: i64,
    pub milliseconds: i64,
}

impl Span {
    /// The days from `first` to `until`, both included.
    pub fn of(zone: &Zone, first: Date, until: Date) -> Self {
        let at = |day: Date| zone.begin(day).unix_timestamp() * 1000;
        let end = at(until + Duration::days(1));
        Self { until, days: (until - first).whole_days() + 1, end, milliseconds: end - at(first) }
    }

    /// `count` spans of so many days, of which the last one ends with `until`.
    pub fn before(zone: &Zone, until: Date, days: i64, count: i64) -> Vec<Self> {
        let one = |back: i64| {
            let until = until - Duration::days(back * days);
            Self::of(zone, until - Duration::days(days - 1), until)
        };
        (0..count).rev().map(one).collect()
    }

    pub fn first(&self) -> Date {
        self.until - Duration::days(self.days - 1)
    }

    pub fn beginning(&self) -> i64 {
        self.end - self.milliseconds
    }
}

/// Values by the day that they end with, of each series by its labels.
pub(super) type Values = Vec<(BTreeMap<String, String>, BTreeMap<Date, f64>)>;

/// Asks `expression` (of a span's length) at the end of each span.
pub(super) async fn over(
    query: &Query,
    spans: &[Span],
    expression: impl Fn(&Span) -> String,
) -> Result<Values, QueryError> {
    let parts = runs(spans).into_iter().map(|run| {
        let expression = expression(&run[0]);
        async move {
            let (first, last) = (run[0].end, run[run.len() - 1].end);
            let step = if run.len() > 1 { run[1].end - first } else { DAY };
            query.range(&expression, first, last, step).await
        }
    });
    let days: BTreeMap<i64, Date> = spans.iter().map(|span| (span.end, span.until)).collect();
    let mut all: BTreeMap<BTreeMap<String, String>, BTreeMap<Date, f64>> = BTreeMap::new();
    for found in futures::future::try_join_all(parts).await? {
        for one in found {
            let values = one.samples().filter_map(|(at, value)| Some((*days.get(&at)?, value)));
            all.entry(one.metric.clone()).or_default().extend(values);
        }
    }
    Ok(all.into_iter().collect())
}

/// That something is stored at the end of each span of a zone's days. An increase would be
/// extrapolated, and events told of another day, where only days of UTC have ends.
pub(super) async fn cut(
    query: &Query,
    zone: &Zone,
    series: &str,
    spans: &[Span],
) -> Result<(), CollectError> {
    if zone.is_utc() {
        return Ok(());
    }
    // A value counts for five minutes.
    let found = over(query, spans, |_| format!("count({series})")).await?;
    let there = |span: &&Span| found.iter().any(|(_, values)| values.contains_key(&span.until));
    match spans.iter().find(|span| !there(span)) {
        Some(span) => Err(CollectError::NotCut { zone: zone.clone(), day: span.until + Duration::days(1) }),
        None => Ok(()),
    }
}

/// Spans that follow each other at the same distance and are as long as each other.
fn runs(spans: &[Span]) -> Vec<&[Span]> {
    let step = |pair: &[Span]| pair[1].end - pair[0].end;
    let mut runs = Vec::new();
    let mut rest = spans;
    while let Some(first) = rest.first() {
        let mut length = 1;
        while let Some(next) = rest.get(length) {
            let steady = length == 1 || step(&rest[length - 1..=length]) == step(&rest[..2]);
            if next.milliseconds != first.milliseconds || !steady {
                break;
            }
            length += 1;
        }
        let (run, others) = rest.split_at(length);
        runs.push(run);
        rest = others;
    }
    runs
}

#[cfg(test)]
mod tests {
    use time::macros::date;

    use super::*;

    #[test]
    fn weeks_are_divided_where_clocks_change() {
        const HOUR: i64 = 3_600_000;
        let weeks = |zone: &Zone, until| Span::before(zone, until, 7, 4);
        let lengths =
            |spans: &[Span]| -> Vec<i64> { spans.iter().map(|span| span.milliseconds / HOUR).collect() };
        let berlin = Zone::named("Europe/Berlin").unwrap();
        // Weeks that end with Sunday, 29 March: the last hour of it is the 23rd.
        let spring = weeks(&berlin, date!(2026 - 04 - 05));
        assert_eq!(lengths(&spring), [168, 168, 167, 168]);
        assert_eq!(runs(&spring).iter().map(|run| run.len()).collect::<Vec<_>>(), [2, 1, 1]);
        let autumn = weeks(&berlin, date!(2026 - 10 - 25));
        assert_eq!(lengths(&autumn), [168, 168, 168, 169]);
        assert!(spring.windows(2).all(|pair| pair[0].end == pair[1].beginning()));
        assert_eq!(runs(&weeks(&Zone::UTC, date!(2026 - 04 - 05))).len(), 1);
        assert_eq!(runs(&[]).len(), 0);
        let days = Span::before(&berlin, date!(2026 - 10 - 26), 1, 3);
        assert_eq!(lengths(&days), [24, 25, 24]);
        assert_eq!(runs(&days).len(), 3);
    }
}

//! On which days what is stored, by team, and how many series.

use std::collections::{BTreeMap, BTreeSet};

use dorainfra_dora::metrics::{DEPLOYMENTS, LEAD_TIME, RECOVERY, SIMULATED};
use dorainfra_prometheus::query::{Instant, Query, QueryError};
use time::{Date, Duration};

use super::integrity::{Day, Integrity};
use super::question::{Question, label};
use super::spans::{Span, over};

/// The days on which each team has any sample.
pub(super) type Days = BTreeMap<String, BTreeSet<Date>>;

/// The same of both kinds of teams, before it is known of which the report is.
#[derive(Debug, Default)]
pub(super) struct DaysOfBoth {
    real: Days,
    simulated: Days,
}

impl DaysOfBoth {
    pub fn of_kind(&self, simulated: bool) -> &Days {
        if simulated { &self.simulated } else { &self.real }
    }
}

/// Those of the range, with the day before it.
pub(super) fn within(stored: &Days, question: &Question) -> Days {
    let first = question.first - Duration::days(1);
    let days = stored.iter().map(|(team, days)| (team.clone(), days.range(first..).copied().collect()));
    days.filter(|(_, days): &(String, BTreeSet<Date>)| !days.is_empty()).collect()
}

/// Of the range and of as many days before it, and of the day before these: a sample at the beginning is
/// that day's last.
pub(super) async fn stored(query: &Query, question: &Question) -> Result<DaysOfBoth, QueryError> {
    // A day's sample is taken at its end, which is the next day's midnight; the
    // midnight at its beginning belongs to the day before.
    let expression = |span: &Span| {
        let (selector, window) = (question.selector_of_both(), span.milliseconds - 1);
        format!("count by (team, {SIMULATED}) (count_over_time({DEPLOYMENTS}{{{selector}}}[{window}ms]))")
    };
    let days = Span::before(&question.zone, question.until, 1, 2 * question.days() + 1);
    let mut stored = DaysOfBoth::default();
    for (metric, values) in over(query, &days, expression).await? {
        let days = match metric.get(SIMULATED).map(String::as_str) {
            None => &mut stored.real,
            Some("true") => &mut stored.simulated,
            Some(_) => continue,
        };
        days.entry(label(&metric)).or_default().extend(values.keys());
    }
    Ok(stored)
}

/// Series and the samples that close the days; what was sent, what was delivered and the checks are the
/// caller's.
pub(super) async fn integrity_of(query: &Query, question: &Question) -> Result<Integrity, QueryError> {
    let span = question.span();
    let (lead, recovery) =
        (format!("{LEAD_TIME}_(bucket|sum|count)"), format!("{RECOVERY}_(bucket|sum|count)"));
    let all = format!("{{__name__=~\"{DEPLOYMENTS}|{lead}|{recovery}\",{}}}", question.selector());
    // `last_over_time` keeps the names, so that equal labels stay apart.
    let series = format!("count(last_over_time({all}[{}ms]))", span.milliseconds);
    // The samples at the very end of each day.
    let closing = format!("count(last_over_time({all}[1ms]))");
    let days = Span::before(&question.zone, question.until, 1, span.days);
    let (series, closing) = tokio::try_join!(
        query.instant::<Instant>(&series, Some(span.end)),
        over(query, &days, |_| closing.clone()),
    )?;
    let stored = closing.into_iter().next().map(|(_, values)| values).unwrap_or_default();
    let day = |span: &Span| Day {
        date: span.until,
        stored: stored.get(&span.until).map_or(0, |count| *count as u64),
        sent: None,
    };
    Ok(Integrity {
        series: series.first().map_or(0, |found| found.value() as u64),
        days: days.iter().map(day).collect(),
        delivery: None,
        checks: Vec::new(),
    })
}

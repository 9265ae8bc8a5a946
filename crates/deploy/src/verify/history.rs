//! Is every sample of the history stored, at its time and with its value?
//!
//! Raw samples are fetched by range selectors. Live values of the same series lie
//! between those of the history, any number of them, so a range is first counted
//! at the endpoint and halved until what comes back is bounded; in the end it is
//! a range around a single time stamp.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use dorainfra_dora::metrics::SIMULATED;
use dorainfra_model::Check;
use dorainfra_model::{Event, Events};
use dorainfra_prometheus::query::{Instant, Query, QueryError, Range};
use dorainfra_prometheus::{JOB, Past, Samples, Series, escaped};
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use super::histogram::{Difference, difference};
use super::{Known, Report, Request, Stage, moment};
use dorainfra_base::number::{counted, grouped};

/// Samples of one answer, about 30 bytes each, and of the series that are compared
/// with them.
const MOST_SAMPLES: u64 = 200_000;
/// Teams that are named in one question.
const MOST_TEAMS: usize = 100;
/// Metrics that are looked at at the same time.
const CONCURRENCY: usize = 4;
/// Between two looks at a history that is not all seen yet.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Mismatches that are listed.
const LISTED: usize = 10;
/// Mismatches that are named in the check's text.
const NAMED: usize = 3;

/// A sample that is missing or differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mismatch {
    pub metric: String,
    pub team: String,
    /// All its labels but the job: `{team="orders"}`.
    pub labels: String,
    pub timestamp_ms: i64,
    /// What of a native histogram: `count`, `sum`, or which bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Of a native histogram that is missing, its count.
    pub expected: f64,
    /// `None`: nothing is stored at that time.
    pub found: Option<f64>,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{} at {}: ", self.metric, self.labels, moment(self.timestamp_ms))?;
        if let Some(part) = &self.part {
            write!(f, "{part}: ")?;
        }
        match self.found {
            None => write!(f, "missing"),
            Some(found) => write!(f, "{found} instead of {}", self.expected),
        }
    }
}

/// What a comparison found; parts of it add up.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub equal: u64,
    missing: u64,
    different: u64,
    /// Those of each that are native histograms.
    native: Native,
    first: Vec<Mismatch>,
    first_different: Option<Mismatch>,
    lacks: Option<Mismatch>,
    /// Labels that no series of the history has, on series of the same metric.
    foreign_labels: BTreeSet<String>,
    /// The oldest sample that was found, and the times at which some were not.
    oldest_found: Option<i64>,
    missing_at: BTreeSet<i64>,
}

/// How much of a history is stored.
#[derive(Debug)]
pub struct Stored {
    /// Samples that are there.
    pub equal: u64,
    /// The times of those that are not: milliseconds since 1970.
    pub missing: BTreeSet<i64>,
    /// One of those that are not.
    pub lacks: Option<Mismatch>,
    /// Samples that are there with another value, and the first of them.
    pub different: u64,
    pub first_different: Option<Mismatch>,
}

#[derive(Debug, Default)]
struct Native {
    equal: u64,
    missing: u64,
    different: u64,
}

pub(super) async fn check(
    request: &Request<'_>,
    query: &Query,
    stage: Stage,
    report: &mut Report,
    events: &Events,
) -> Check {
    let sent = report.samples_sent;
    let expected = format!("{}, equal in time and value", counted(sent, "sample"));
    if sent == 0 {
        report.samples_found = Some(0);
        return stage.not_applicable(expected, "no history was written");
    }
    if let Some(known) = request.known {
        report.samples_found = Some(sent);
        return match known {
            Known::Compared => stage.passed(expected, format!("{} of {}", grouped(sent), grouped(sent))),
            Known::Unchanged => stage.titled("the history is stored as it was compared before").passed(
                format!("{}, in number and sum by team, metric and block of days", counted(sent, "sample")),
                "the same as when every sample was compared; `dorainfra verify` compares them again",
            ),
        };
    }
    let begun = std::time::Instant::now();
    let mut tally = loop {
        let compared = compare_all(query, request.history, |tally| {
            events.send(Event::Progress {
                what: "counting".into(),
                done: tally.compared(),
                total: sent,
                unit: "samples",
            });
            true
        });
        let tally = match compared.await {
            Ok(tally) => tally,
            Err(error) => return stage.failed(expected, error.to_string(), error.hint()),
        };
        // Another value stays another value.
        if tally.missing == 0 || tally.different > 0 || begun.elapsed() >= request.bounds.history {
            break tally;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    };

    report.samples_found = Some(tally.equal);
    report.mismatches = tally.listed();
    if tally.equal == sent {
        return stage.passed(expected, format!("{} of {}", grouped(sent), grouped(sent)));
    }
    let found = tally.found(sent, &report.mismatches);
    stage.failed(expected, found, tally.hint())
}

/// Whether all of it is there; the first sample that is not ends the search.
pub(super) async fn is_stored(query: &Query, history: &dyn Past) -> bool {
    let compared = compare_all(query, history, |tally| tally.equal == tally.compared()).await;
    compared.is_ok_and(|tally| tally.equal == history.extent().samples)
}

/// Which of it is there.
pub(super) async fn stored(query: &Query, history: &dyn Past) -> Result<Stored, QueryError> {
    let tally = compare_all(query, history, |_| true).await?;
    let Tally { equal, different, missing_at: missing, .. } = tally;
    let (first_different, lacks) = (tally.first_different, tally.lacks);
    Ok(Stored { equal, missing, lacks, different, first_different })
}

/// Compares a group of series after the other, so that none has to be held for
/// long. `go_on` is asked after each.
async fn compare_all(
    query: &Query,
    history: &dyn Past,
    mut go_on: impl FnMut(&Tally) -> bool + Send,
) -> Result<Tally, QueryError> {
    let mut tally = Tally::default();
    let mut series = history.series();
    loop {
        let group = group(&mut *series);
        if group.is_empty() {
            return Ok(tally);
        }
        tally.add(compare_group(query, &group).await?);
        if !go_on(&tally) {
            return Ok(tally);
        }
    }
}

/// The next series, as many as are compared at once.
fn group<'a>(series: &mut (dyn Iterator<Item = Cow<'a, Series>> + Send)) -> Vec<Cow<'a, Series>> {
    let (mut group, mut samples) = (Vec::new(), 0);
    let mut teams = BTreeSet::new();
    while samples < MOST_SAMPLES
        && teams.len() <= MOST_TEAMS
        && let Some(next) = series.next()
    {
        samples += next.samples.weight();
        teams.insert(next.labels.get("team").to_owned());
        group.push(next);
    }
    group
}

async fn compare_group(query: &Query, group: &[Cow<'_, Series>]) -> Result<Tally, QueryError> {
    let mut by_metric: BTreeMap<&str, Vec<&Series>> = BTreeMap::new();
    let mut teams = BTreeSet::new();
    for series in group {
        by_metric.entry(series.name).or_default().push(series);
        teams.insert(regex::escape(series.labels.get("team")));
    }
    let teams = escaped(&teams.into_iter().collect::<Vec<_>>().join("|"));
    let (query, teams) = (query, teams.as_str());
    let by_metric: Vec<(&str, Vec<&Series>)> = by_metric.into_iter().collect();
    let mut metrics = futures::stream::iter(0..by_metric.len())
        .map(|index| {
            let (metric, series) = &by_metric[index];
            compare_metric(query, metric, teams, series)
        })
        .buffer_unordered(CONCURRENCY);
    let mut tally = Tally::default();
    while let Some(compared) = metrics.next().await {
        tally.add(compared?);
    }
    Ok(tally)
}

impl Tally {
    fn compared(&self) -> u64 {
        self.equal + self.missing + self.different
    }

    fn add(&mut self, other: Self) {
        self.equal += other.equal;
        self.missing += other.missing;
        self.different += other.different;
        self.native.equal += other.native.equal;
        self.native.missing += other.native.missing;
        self.native.different += other.native.different;
        self.first.extend(other.first);
        // The earliest are shown; groups come in the order of teams.
        self.first.sort_by_key(|mismatch| mismatch.timestamp_ms);
        self.first.truncate(4 * LISTED);
        self.foreign_labels.extend(other.foreign_labels);
        self.oldest_found = earliest(self.oldest_found, other.oldest_found);
        self.missing_at.extend(other.missing_at);
        self.first_different = self.first_different.take().or(other.first_different);
        self.lacks = self.lacks.take().or(other.lacks);
    }

    pub fn equal(&mut self, series: &Series, timestamp: i64) {
        self.equal += 1;
        self.native.equal += u64::from(series.samples.is_native());
        self.oldest_found = earliest(self.oldest_found, Some(timestamp));
    }

    pub fn mismatch(
        &mut self,
        series: &Series,
        (timestamp_ms, expected): (i64, f64),
        part: Option<String>,
        found: Option<f64>,
    ) {
        let native = u64::from(series.samples.is_native());
        match found {
            Some(_) => {
                self.different += 1;
                self.native.different += native;
            }
            None => {
                self.missing += 1;
                self.native.missing += native;
                self.missing_at.insert(timestamp_ms);
            }
        }
        // The earliest ones are shown; slices come in any order, so keep a few of each.
        if self.first.len() >= 4 * LISTED {
            self.first.sort_by_key(|mismatch| mismatch.timestamp_ms);
            self.first.truncate(LISTED);
        }
        let mismatch = Mismatch {
            metric: series.name.into(),
            team: series.labels.get("team").into(),
            labels: series.labels.to_string(),
            timestamp_ms,
            part,
            expected,
            found,
        };
        let one = if found.is_some() { &mut self.first_different } else { &mut self.lacks };
        one.get_or_insert_with(|| mismatch.clone());
        self.first.push(mismatch);
    }

    /// The first that are missing or differ, in the order of time.
    pub fn listed(&mut self) -> Vec<Mismatch> {
        let key = |one: &Mismatch| (one.timestamp_ms, one.metric.clone(), one.labels.clone());
        self.first.sort_by_cached_key(key);
        self.first.truncate(LISTED);
        std::mem::take(&mut self.first)
    }

    pub fn found(&self, sent: u64, first: &[Mismatch]) -> String {
        let mut text = format!("{} of {}", grouped(self.equal), grouped(sent));
        for (count, what) in [(self.missing, "missing"), (self.different, "with another value")] {
            if count > 0 {
                text.push_str(&format!(", {} {what}", grouped(count)));
            }
        }
        for mismatch in first.iter().take(NAMED) {
            text.push_str(&format!("; {mismatch}"));
        }
        if self.missing + self.different > NAMED as u64 {
            text.push_str("; …");
        }
        text
    }

    fn hint(&self) -> String {
        let only_old = self.different == 0
            && self.oldest_found.zip(self.missing_at.last()).is_some_and(|(oldest, newest)| *newest < oldest);
        if !self.foreign_labels.is_empty() && self.equal == 0 {
            let labels: Vec<&str> = self.foreign_labels.iter().map(String::as_str).collect();
            return format!(
                "the stored series carry further labels ({}): history and live values are not the same series",
                labels.join(", ")
            );
        }
        if self.native.missing > 0 && self.native.missing == self.missing && self.native.equal == 0 {
            return "no native histogram is stored: Mimir drops them without a word where \
                    `limits.native_histograms_ingestion_enabled` is not `true` (see `mimir.extra`)"
                .into();
        }
        if self.native.different > 0 && self.native.different == self.different && self.missing == 0 {
            return "only native histograms differ: `limits.max_native_histogram_buckets` (see `mimir.extra`) makes \
                    them coarser"
                .into();
        }
        if only_old {
            return "everything older than a date is missing: compare `mimir.retention` and \
                    `mimir.limits.out_of_order_window` with `generator.days`"
                .into();
        }
        if self.different > self.missing {
            return "what is stored was made with another `generator.seed`, or by another sender; `sources` reported something after `settle_hours`"
                .into();
        }
        "`dorainfra apply` writes the history again, which is harmless for what is there already".into()
    }
}

fn earliest(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// `teams`: a regular expression, as it stands in quotes.
async fn compare_metric(
    query: &Query,
    metric: &str,
    teams: &str,
    series: &[&Series],
) -> Result<Tally, QueryError> {
    let times: Vec<i64> = series
        .iter()
        .flat_map(|series| series.samples.times())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    // A native histogram's answer is as long as those of many samples.
    let samples: u64 = series.iter().map(|series| series.samples.len() as u64).sum();
    let each = series.iter().map(|series| series.samples.weight()).sum::<u64>().div_ceil(samples.max(1));
    let most = MOST_SAMPLES / each.max(1);
    let mut tally = Tally::default();
    let mut ranges = Vec::new();
    if !times.is_empty() {
        ranges.push(0..times.len());
    }
    while let Some(range) = ranges.pop() {
        let (first, last) = (times[range.start], times[range.end - 1]);
        let divisible = range.len() > 1;
        let selector = format!(
            "{metric}{{job=\"{JOB}\",team=~\"{teams}\"}}[{}ms]",
            // Prometheus 3 leaves out the beginning of a range, Prometheus 2 does not.
            last - first + 1
        );
        let expected = (range.len() * series.len()) as u64;
        if divisible && (expected > most || too_many(query, &selector, last, most).await?) {
            let middle = range.start + range.len() / 2;
            ranges.push(middle..range.end);
            ranges.push(range.start..middle);
            continue;
        }
        let stored: Vec<Range> = query.instant(&selector, Some(last)).await?;
        compare(series, (first, last), &stored, &mut tally);
    }
    Ok(tally)
}

/// Whether a range holds more samples than are fetched at once.
async fn too_many(query: &Query, selector: &str, at: i64, most: u64) -> Result<bool, QueryError> {
    let expression = format!("sum(count_over_time({selector}))");
    match query.instant::<Instant>(&expression, Some(at)).await {
        Ok(answer) => Ok(answer.first().is_some_and(|count| count.value() > most as f64)),
        Err(QueryError::TooMuch(_)) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Compares what was sent between two times (both included) with what is stored.
fn compare(series: &[&Series], (first, last): (i64, i64), stored: &[Range], tally: &mut Tally) {
    // Both sides are sorted by the labels' names, so equal labels are equal lists.
    let known: BTreeSet<&str> =
        series.iter().flat_map(|series| series.labels.iter().map(|(name, _)| name)).collect();
    let mut by_labels: HashMap<Vec<(&str, &str)>, &Range> = HashMap::with_capacity(stored.len());
    for range in stored {
        // Of a simulated team with the name of a real one.
        if range.metric.contains_key(SIMULATED) && !known.contains(SIMULATED) {
            continue;
        }
        let labels = || range.metric.iter().filter(|(name, _)| *name != "__name__");
        let foreign = labels().filter(|(name, _)| !known.contains(name.as_str()));
        tally.foreign_labels.extend(foreign.map(|(name, _)| name.clone()));
        by_labels.insert(labels().map(|(name, value)| (name.as_str(), value.as_str())).collect(), range);
    }
    for series in series {
        let labels: Vec<(&str, &str)> = series.labels.iter().collect();
        let found = by_labels.get(&labels).into_iter();
        match &series.samples {
            Samples::Plain(samples) => {
                let found = found.flat_map(|range| range.samples());
                pairs(between(samples, first, last), found, |time, sent, found| match found {
                    Some(found) if found == *sent || (found.is_nan() && sent.is_nan()) => {
                        tally.equal(series, time);
                    }
                    found => tally.mismatch(series, (time, *sent), None, found),
                });
            }
            Samples::Native(samples) => {
                let found = found.flat_map(|range| range.histograms());
                pairs(between(samples, first, last), found, |time, sent, found| {
                    let Some(found) = found else {
                        return tally.mismatch(series, (time, sent.count as f64), None, None);
                    };
                    match difference(sent, found) {
                        None => tally.equal(series, time),
                        Some(Difference { part, expected, found }) => {
                            tally.mismatch(series, (time, expected), Some(part), Some(found));
                        }
                    }
                });
            }
        }
    }
}

/// The samples between two times, both included.
fn between<S>(samples: &[(i64, S)], first: i64, last: i64) -> &[(i64, S)] {
    let begin = samples.partition_point(|(time, _)| *time < first);
    let end = samples.partition_point(|(time, _)| *time <= last);
    &samples[begin..end]
}

/// Each sample that was sent with the one that is stored at its time, if any. Both
/// are in the order of time.
fn pairs<'a, S, F>(
    sent: &'a [(i64, S)],
    found: impl Iterator<Item = (i64, F)>,
    mut pair: impl FnMut(i64, &'a S, Option<F>),
) {
    let mut found = found.peekable();
    for (time, sample) in sent {
        while found.next_if(|(other, _)| other < time).is_some() {}
        pair(*time, sample, found.next_if(|(other, _)| other == time).map(|(_, stored)| stored));
    }
}

#[cfg(test)]
mod tests {
    use dorainfra_prometheus::Labels;

    use super::*;

    fn stored(team: &str, samples: &[(f64, &str)]) -> Range {
        let values: Vec<_> = samples.iter().map(|(time, value)| serde_json::json!([time, value])).collect();
        let metric = serde_json::json!({"__name__": "dora_lead_time_ms", "job": "dora", "team": team});
        serde_json::from_value(serde_json::json!({"metric": metric, "values": values})).unwrap()
    }

    fn sent(samples: &[(i64, f64)]) -> Series {
        let labels = Labels::new([("team", "search")]);
        Series { name: "dora_lead_time_ms", labels, samples: samples.to_vec().into(), exemplars: Vec::new() }
    }

    #[test]
    fn live_values_in_between_do_not_disturb() {
        let series = sent(&[(1000, 1.0), (2000, 2.0), (3000, 3.0)]);
        let stored =
            [stored("search", &[(0.5, "9"), (1.0, "1"), (1.5, "9"), (2.0, "2"), (3.0, "3"), (4.0, "9")])];
        let mut tally = Tally::default();
        compare(&[&series], (1000, 3000), &stored, &mut tally);
        assert_eq!((tally.equal, tally.missing, tally.different), (3, 0, 0));
    }

    #[test]
    fn a_simulated_team_of_the_same_name_is_another_and_no_foreign_label() {
        let mut of_nobody = stored("search", &[(1.0, "7")]);
        of_nobody.metric.insert("simulated".into(), "true".into());
        let mut tally = Tally::default();
        compare(&[&sent(&[(1000, 1.0)])], (1000, 1000), std::slice::from_ref(&of_nobody), &mut tally);
        assert_eq!((tally.equal, tally.missing, tally.foreign_labels.len()), (0, 1, 0));
        let real = sent(&[(1000, 7.0)]);
        let simulated = Series { labels: real.labels.with("simulated", "true"), ..real };
        let mut tally = Tally::default();
        compare(&[&simulated], (1000, 1000), &[of_nobody], &mut tally);
        assert_eq!((tally.equal, tally.missing), (1, 0));
    }

    #[test]
    fn a_hole_and_another_value_are_named() {
        let series = sent(&[(1000, 1.0), (2000, 2.0), (3000, 3.0)]);
        let stored = [stored("search", &[(1.0, "1"), (2.001, "2"), (3.0, "30")])];
        let mut tally = Tally::default();
        compare(&[&series], (1000, 3000), &stored, &mut tally);
        assert_eq!((tally.equal, tally.missing, tally.different), (1, 1, 1));
        assert_eq!(
            tally.found(3, &tally.first),
            "1 of 3, 1 missing, 1 with another value; \
             dora_lead_time_ms{team=\"search\"} at 1970-01-01T00:00:02Z: missing; \
             dora_lead_time_ms{team=\"search\"} at 1970-01-01T00:00:03Z: 30 instead of 3"
        );
    }

    #[test]
    fn hints_follow_the_pattern_of_what_is_missing() {
        let old = Tally {
            equal: 5,
            missing: 3,
            oldest_found: Some(100),
            missing_at: [50].into(),
            ..Tally::default()
        };
        assert!(old.hint().contains("out_of_order_window"));
        let hole = Tally {
            equal: 5,
            missing: 1,
            oldest_found: Some(1),
            missing_at: [50].into(),
            ..Tally::default()
        };
        assert!(hole.hint().contains("apply"));
        assert!(Tally { different: 2, ..Tally::default() }.hint().contains("generator.seed"));
        let foreign =
            Tally { missing: 2, foreign_labels: ["instance".to_owned()].into(), ..Tally::default() };
        assert!(foreign.hint().contains("instance"));
    }
}

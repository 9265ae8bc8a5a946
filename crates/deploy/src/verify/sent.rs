//! What was sent of a history, sample by sample, and what blocks say of each.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use dorainfra_prometheus::native::{Histogram, bound};
use dorainfra_prometheus::tsdb::{Damage, Decoded, Reading, Window};
use dorainfra_prometheus::{Past, Samples, Series, Value};

use super::histogram::Difference;
use super::history::Tally;

/// What became of one sample.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    Missing,
    Equal,
    Differs { part: Option<String>, expected: f64, found: f64 },
}

/// What was sent in some windows.
pub(super) struct Sent {
    series: Vec<Series>,
    fates: Vec<Vec<Fate>>,
}

/// The number of a series and of its sample, and what a block says of it.
pub(super) type Seen = Vec<(usize, usize, Fate)>;

impl Sent {
    pub fn of(history: &dyn Past, windows: &[Window]) -> Self {
        let (Some(first), Some(last)) = (windows.first(), windows.last()) else {
            return Self { series: Vec::new(), fates: Vec::new() };
        };
        let within = Window { start: first.start, end: last.end };
        let series = history.series().filter_map(|one| part(one, within));
        let series: Vec<Series> = series.collect();
        let fates = series.iter().map(|one| vec![Fate::Missing; one.samples.len()]).collect();
        Self { series, fates }
    }

    /// Compares what a block has of it.
    pub fn seen(&self, reading: &Reading<'_>) -> Result<Seen, Damage> {
        let mut by_labels: HashMap<Vec<(&str, &str)>, usize> = HashMap::with_capacity(self.series.len());
        for (number, series) in self.series.iter().enumerate() {
            let name = ("__name__", series.name);
            let mut labels: Vec<_> = std::iter::once(name).chain(series.labels.iter()).collect();
            labels.sort_unstable();
            by_labels.insert(labels, number);
        }
        let mut seen = Vec::new();
        for entry in &reading.series {
            let Some(number) = by_labels.get(&entry.labels).copied() else { continue };
            let times: Vec<i64> = self.series[number].samples.times().collect();
            for chunk in &entry.chunks {
                let first = times.partition_point(|time| *time < chunk.min);
                if times.get(first).is_none_or(|time| *time > chunk.max) {
                    continue;
                }
                let decoded = chunk.decode()?;
                compare(&self.series[number].samples, first, &decoded, |sample, fate| {
                    seen.push((number, sample, fate));
                });
            }
        }
        Ok(seen)
    }

    /// Takes over what a block has; whether any of it differs. Of two blocks that
    /// contradict each other, the one that is wrong is believed.
    pub fn take(&mut self, seen: Seen) -> bool {
        let mut differs = false;
        for (series, sample, fate) in seen {
            let known = &mut self.fates[series][sample];
            differs |= matches!(fate, Fate::Differs { .. });
            if !matches!(known, Fate::Differs { .. }) {
                *known = fate;
            }
        }
        differs
    }

    /// `lacking`: by window, how many samples are missing.
    pub fn count(&self, windows: &[Window], tally: &mut Tally, lacking: &mut BTreeMap<Window, u64>) {
        for (series, fates) in self.series.iter().zip(&self.fates) {
            for (at, fate) in fates.iter().enumerate() {
                let (time, value) = series.samples.get(at);
                match fate {
                    Fate::Equal => tally.equal(series, time),
                    Fate::Differs { part, expected, found } => {
                        tally.mismatch(series, (time, *expected), part.clone(), Some(*found));
                    }
                    Fate::Missing => {
                        let expected = match value {
                            Value::Plain(value) => value,
                            Value::Native(histogram) => histogram.count as f64,
                        };
                        tally.mismatch(series, (time, expected), None, None);
                        let window = windows.partition_point(|window| window.end <= time);
                        if let Some(window) = windows.get(window) {
                            *lacking.entry(*window).or_default() += 1;
                        }
                    }
                }
            }
        }
    }
}

/// What of a series is in a window.
fn part(series: Cow<'_, Series>, window: Window) -> Option<Series> {
    let times: Vec<i64> = series.samples.times().collect();
    let begin = times.partition_point(|time| *time < window.start);
    let end = times.partition_point(|time| *time < window.end);
    let samples = match &series.samples {
        Samples::Plain(samples) => Samples::Plain(samples[begin..end].to_vec()),
        Samples::Native(samples) => Samples::Native(samples[begin..end].to_vec()),
    };
    let labels = series.labels.clone();
    (begin < end).then(|| Series { name: series.name, labels, samples, exemplars: Vec::new() })
}

/// Tells the fate of each sample, from the number `first` on, that a chunk has one
/// of the same time for.
fn compare(sent: &Samples, first: usize, decoded: &Decoded, mut tell: impl FnMut(usize, Fate)) {
    match (sent, decoded) {
        (Samples::Plain(sent), Decoded::Plain(found)) => {
            together(sent, first, found, |at, sent, found| {
                let same = sent == found || (sent.is_nan() && found.is_nan());
                let differs = Fate::Differs { part: None, expected: *sent, found: *found };
                tell(at, if same { Fate::Equal } else { differs });
            });
        }
        (Samples::Native(sent), Decoded::Native(found)) => {
            together(sent, first, found, |at, sent, found| {
                tell(
                    at,
                    match difference(sent, found.as_ref()) {
                        None => Fate::Equal,
                        Some(Difference { part, expected, found }) => {
                            Fate::Differs { part: Some(part), expected, found }
                        }
                    },
                );
            });
        }
        // A plain sample where a histogram was sent, or the reverse.
        (Samples::Plain(sent), Decoded::Native(found)) => {
            together(sent, first, found, |at, sent, _| {
                let part = Some("a native histogram instead of a plain sample".to_owned());
                tell(at, Fate::Differs { part, expected: *sent, found: f64::NAN });
            });
        }
        (Samples::Native(sent), Decoded::Plain(found)) => {
            together(sent, first, found, |at, sent, found| {
                let part = Some("a plain sample instead of a native histogram".to_owned());
                tell(at, Fate::Differs { part, expected: sent.count as f64, found: *found });
            });
        }
    }
}

/// Goes through two lists in the order of time, and calls with what has the same.
fn together<S, F>(sent: &[(i64, S)], first: usize, found: &[(i64, F)], mut both: impl FnMut(usize, &S, &F)) {
    let mut at = first;
    for (time, value) in found {
        while sent.get(at).is_some_and(|(other, _)| other < time) {
            at += 1;
        }
        if let Some((other, sent)) = sent.get(at)
            && other == time
        {
            both(at, sent, value);
        }
    }
}

/// The first part of a histogram that differs; `None` for `found`: its buckets are
/// of another kind than those that were sent.
fn difference(sent: &Histogram, found: Option<&Histogram>) -> Option<Difference> {
    let differs = |part: String, expected, found| Some(Difference { part, expected, found });
    let Some(found) = found else {
        return differs("buckets of another kind".into(), sent.buckets.len() as f64, f64::NAN);
    };
    for (part, expected, found) in [
        ("count", sent.count as f64, found.count as f64),
        ("sum", sent.sum, found.sum),
        ("zeros", sent.zero as f64, found.zero as f64),
    ] {
        if expected != found {
            return differs(part.into(), expected, found);
        }
    }
    let count = |histogram: &Histogram, index: i32| {
        let at = histogram.buckets.binary_search_by_key(&index, |bucket| bucket.index);
        at.map_or(0.0, |at| f64::from(histogram.buckets[at].count))
    };
    let indices = sent.buckets.iter().chain(found.buckets.iter()).map(|bucket| bucket.index);
    let indices: BTreeSet<i32> = indices.collect();
    indices.into_iter().find_map(|index| {
        let (expected, found) = (count(sent, index), count(found, index));
        (expected != found).then(|| Difference {
            part: format!("bucket up to {}", bound(index)),
            expected,
            found,
        })
    })
}

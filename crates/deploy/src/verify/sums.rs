//! Whether a history that was compared sample by sample before is still stored as it was: how
//! many samples each team has of each metric in blocks of days, and their sums. The endpoint
//! reads all of them for that and answers a few numbers. What is not as expected proves nothing
//! by itself: then the samples are compared again.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, reason = "numbers of others are computed with"))]

use std::collections::{BTreeMap, BTreeSet};

use dorainfra_dora::metrics::SIMULATED;
use dorainfra_prometheus::query::{Instant, Query, QueryError};
use dorainfra_prometheus::{JOB, Past, Value, escaped};
use futures::{StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};

const DAY: i64 = 86_400_000;
/// Days of one question.
const BLOCK: i64 = 61;
/// Teams that are named in one question.
const MOST_TEAMS: usize = 100;
/// Times of the day that a history has its samples at: one, and those of another zone's days.
const MOST_TIMES: usize = 6;
/// Questions at the same time; the client asks no more than eight.
const AT_ONCE: usize = 8;
/// Sums of floating-point numbers depend on their order. This much of the sum of all sizes is
/// far more than that, and far less than the smallest change of a count.
const INEXACT: f64 = 1e-11;

/// One metric at one time of the day, in one block of days.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    metric: &'static str,
    native: bool,
    /// After midnight, UTC, in milliseconds.
    time: i64,
    block: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sum {
    count: u64,
    sum: f64,
    /// Of the samples' sizes, whatever their signs.
    size: f64,
}

impl Sum {
    fn add(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        self.sum += value;
        self.size += value.abs();
    }
}

/// What is expected of one place.
#[derive(Debug)]
struct Expected {
    /// Days since 1970: nothing is asked of what is still to come.
    first: i64,
    last: i64,
    /// The samples, or of native histograms their observations.
    teams: BTreeMap<String, Sum>,
}

/// What the endpoint has to answer for a history.
#[derive(Debug)]
pub struct Sums {
    /// Of every series and sample.
    digest: String,
    of: BTreeMap<Place, Expected>,
    /// The label that tells simulated series from others: whether these have it.
    simulated: bool,
    /// Some of it can't be told by sums.
    whole: bool,
}

impl Sums {
    /// Goes through all of a history once.
    pub fn of(history: &dyn Past) -> Self {
        let mut sums = Self { digest: String::new(), of: BTreeMap::new(), simulated: false, whole: true };
        let mut digest = Sha256::new();
        let (mut times, mut marked) = (BTreeSet::new(), BTreeSet::new());
        for series in history.series() {
            let labels = series.labels.to_string();
            for text in [series.name, &labels] {
                digest.update((text.len() as u64).to_le_bytes());
                digest.update(text);
            }
            digest.update((series.samples.len() as u64).to_le_bytes());
            marked.insert(!series.labels.get(SIMULATED).is_empty());
            let team = series.labels.get("team");
            let mut place =
                Place { metric: series.name, native: series.samples.is_native(), time: 0, block: 0 };
            for at in 0..series.samples.len() {
                let (time, value) = series.samples.get(at);
                digest.update(time.to_le_bytes());
                let value = match value {
                    Value::Plain(value) => {
                        digest.update(value.to_bits().to_le_bytes());
                        value
                    }
                    Value::Native(histogram) => {
                        digest.update(format!("{histogram:?}"));
                        histogram.count as f64
                    }
                };
                sums.whole &= value.is_finite();
                let day = time.div_euclid(DAY);
                (place.time, place.block) = (time.rem_euclid(DAY), day.div_euclid(BLOCK));
                times.insert(place.time);
                if !sums.of.contains_key(&place) {
                    sums.of.insert(place.clone(), Expected { first: day, last: day, teams: BTreeMap::new() });
                }
                let Some(expected) = sums.of.get_mut(&place) else { continue };
                (expected.first, expected.last) = (expected.first.min(day), expected.last.max(day));
                match expected.teams.get_mut(team) {
                    Some(sum) => sum.add(value),
                    None => expected.teams.entry(team.to_owned()).or_default().add(value),
                }
            }
        }
        sums.digest = hex::encode(digest.finalize());
        sums.simulated = marked.contains(&true);
        // Of both kinds, or too many questions: then the samples are compared.
        sums.whole &= marked.len() <= 1 && times.len() <= MOST_TIMES;
        sums
    }

    /// What tells this history from any other.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Whether all of it is stored, as far as numbers and sums tell; `false` where they can't.
    ///
    /// # Errors
    /// The endpoint can't be asked.
    pub async fn are_stored(&self, query: &Query) -> Result<bool, QueryError> {
        if !self.whole || self.of.is_empty() {
            return Ok(false);
        }
        let questions = self.of.iter().flat_map(|(place, expected)| {
            let teams: Vec<(&String, &Sum)> = expected.teams.iter().collect();
            let chunks: Vec<Vec<(&String, &Sum)>> = teams.chunks(MOST_TEAMS).map(<[_]>::to_vec).collect();
            chunks.into_iter().map(move |teams| (place, expected, teams))
        });
        let asking = questions.map(|(place, expected, teams)| self.is_stored(query, place, expected, teams));
        let answers = futures::stream::iter(asking.collect::<Vec<_>>()).buffer_unordered(AT_ONCE);
        // The first that is another ends it.
        let other = answers.try_filter(|stored| std::future::ready(!stored));
        Ok(Box::pin(other).try_next().await?.is_none())
    }

    async fn is_stored(
        &self,
        query: &Query,
        place: &Place,
        expected: &Expected,
        teams: Vec<(&String, &Sum)>,
    ) -> Result<bool, QueryError> {
        let days = expected.last.saturating_sub(expected.first);
        let [counts, sums] = self.questions(place, days, teams.iter().map(|(team, _)| team.as_str()));
        let at = Some(expected.last.saturating_mul(DAY));
        let (counts, sums) =
            futures::try_join!(query.instant::<Instant>(&counts, at), query.instant::<Instant>(&sums, at),)?;
        let (counts, sums) = (by_team(counts), by_team(sums));
        let all = teams.iter().all(|(team, expected)| {
            let of = |found: &BTreeMap<String, f64>| found.get(*team).copied();
            of(&counts) == Some(expected.count as f64)
                && of(&sums).is_some_and(|found| (found - expected.sum).abs() <= expected.size * INEXACT)
        });
        Ok(all && counts.len() == teams.len() && sums.len() == teams.len())
    }

    /// How many samples there are, and their sum: by team, of the samples at one time of each day
    /// alone. Live values lie between them.
    fn questions<'a>(&self, place: &Place, days: i64, teams: impl Iterator<Item = &'a str>) -> [String; 2] {
        let teams: Vec<String> = teams.map(regex::escape).collect();
        let teams = escaped(&teams.join("|"));
        let simulated = if self.simulated { "!=" } else { "=" };
        let offset = match place.time {
            0 => String::new(),
            time => format!(" offset -{time}ms"),
        };
        let sample = format!(
            "last_over_time({}{{job=\"{JOB}\",{SIMULATED}{simulated}\"\",team=~\"{teams}\"}}[1ms]{offset})",
            place.metric
        );
        // A range with its beginning: Prometheus 3 leaves that out, Prometheus 2 does not.
        let days = format!("[{}ms:1d]", days.saturating_mul(DAY).saturating_add(1));
        let value = if place.native { format!("histogram_count({sample})") } else { sample.clone() };
        [
            format!("sum by (team) (count_over_time({sample}{days}))"),
            format!("sum by (team) (sum_over_time({value}{days}))"),
        ]
    }
}

fn by_team(found: Vec<Instant>) -> BTreeMap<String, f64> {
    let team = |mut one: Instant| {
        let value = one.value();
        (one.metric.remove("team").unwrap_or_default(), value)
    };
    found.into_iter().map(team).collect()
}

#[cfg(test)]
mod tests {
    use dorainfra_prometheus::{Labels, Series};

    use super::*;

    fn series(team: &str, samples: &[(i64, f64)]) -> Series {
        let labels = Labels::new([("team", team)]);
        Series { name: "dora_lead_time_ms", labels, samples: samples.to_vec().into(), exemplars: Vec::new() }
    }

    #[test]
    fn samples_are_summed_by_block_and_by_the_time_of_the_day() {
        let history =
            vec![series("a", &[(0, 1.0), (DAY, 2.0), (DAY + 5, -3.0), (BLOCK * DAY, 4.0)]), series("b", &[])];
        let sums = Sums::of(&history);
        let found: Vec<(i64, i64, u64, f64)> = sums
            .of
            .iter()
            .map(|(place, of)| (place.time, of.last, of.teams["a"].count, of.teams["a"].sum))
            .collect();
        assert_eq!(found, [(0, 1, 2, 3.0), (0, BLOCK, 1, 4.0), (5, 1, 1, -3.0)]);
        assert!(sums.whole && !sums.simulated);
    }

    #[test]
    fn anything_of_a_history_changes_its_digest() {
        let digest = |team: &str, samples: &[(i64, f64)]| Sums::of(&vec![series(team, samples)]).digest;
        let same = digest("a", &[(0, 1.0), (DAY, 2.0)]);
        assert_eq!(same, digest("a", &[(0, 1.0), (DAY, 2.0)]));
        for other in [
            digest("b", &[(0, 1.0), (DAY, 2.0)]),
            digest("a", &[(0, 1.0)]),
            digest("a", &[(0, 2.0), (DAY, 1.0)]),
            digest("a", &[(1, 1.0), (DAY, 2.0)]),
        ] {
            assert_ne!(same, other);
        }
    }

    #[test]
    fn what_has_no_sum_is_not_proven_by_sums() {
        assert!(!Sums::of(&vec![series("a", &[(0, f64::NAN)])]).whole);
        let times: Vec<(i64, f64)> = (0..=MOST_TIMES as i64).map(|time| (time, 1.0)).collect();
        assert!(!Sums::of(&vec![series("a", &times)]).whole);
    }
}

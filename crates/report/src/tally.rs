//! What happened in some days, as it was counted: each counter is asked for once, by team, and
//! what several teams did is their sum. Medians are read from the sums as PromQL reads them.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use dorainfra_dora::metrics::{LEAD_TIME, RECOVERY};
use dorainfra_prometheus::query::{Query, QueryError};
use time::Date;

use super::Figures;
use super::question::{Question, label};
use super::spans::{Span, Values, over};

/// By the last day of a span, and by team.
pub(super) type ByTeam<T> = BTreeMap<Date, BTreeMap<String, T>>;

/// Deployments, not rounded yet; `None`: there is no such series.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Deployed {
    all: Option<f64>,
    failed: f64,
    rework: f64,
}

/// Observations by upper bound, not rounded yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Observed {
    count: Option<f64>,
    buckets: Vec<(f64, f64)>,
    /// The median of native histograms, where they hold all of it: it can't be added up.
    native: Option<f64>,
}

/// All that figures are computed from.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub deployed: Deployed,
    pub lead_times: Observed,
    pub recoveries: Observed,
}

impl Deployed {
    /// So many of one outcome and kind.
    pub fn counted(metric: &BTreeMap<String, String>, count: f64) -> Self {
        let of = |name: &str, value: &str| match metric.get(name) {
            Some(found) if found == value => count,
            _ => 0.0,
        };
        Self { all: Some(count), failed: of("outcome", "failure"), rework: of("kind", "rework") }
    }

    pub fn count(&self) -> Option<f64> {
        self.all.map(whole)
    }

    pub fn failed(&self) -> f64 {
        whole(self.failed)
    }

    pub fn rework(&self) -> f64 {
        whole(self.rework)
    }
}

impl AddAssign<&Self> for Deployed {
    fn add_assign(&mut self, other: &Self) {
        self.all = either(self.all, other.all);
        self.failed += other.failed;
        self.rework += other.rework;
    }
}

impl AddAssign<&Self> for Observed {
    fn add_assign(&mut self, other: &Self) {
        self.count = either(self.count, other.count);
        self.native = None;
        for (bound, count) in &other.buckets {
            self.add(*bound, *count);
        }
    }
}

impl Observed {
    fn add(&mut self, bound: f64, count: f64) {
        match self.buckets.binary_search_by(|(other, _)| other.total_cmp(&bound)) {
            Ok(at) => self.buckets[at].1 += count,
            Err(at) => self.buckets.insert(at, (bound, count)),
        }
    }

    fn count(&self) -> Option<f64> {
        self.count.map(whole)
    }

    /// How many are in each bucket, beside those of another one with the same bounds.
    pub fn side_by_side(&self, other: &Self) -> Option<Vec<[f64; 2]>> {
        let each = |of: &Self| {
            let mut below = 0.0;
            let own = |(bound, count): &(f64, f64)| {
                let all = whole(*count).max(below);
                let own = all - below;
                below = all;
                (*bound, own)
            };
            of.buckets.iter().map(own).collect::<Vec<_>>()
        };
        let (own, others) = (each(self), each(other));
        let same =
            own.len() == others.len() && own.iter().zip(&others).all(|(a, b)| a.0.total_cmp(&b.0).is_eq());
        same.then(|| own.iter().zip(&others).map(|(a, b)| [a.1, b.1]).collect())
    }

    fn median(&self) -> Option<f64> {
        self.native.or_else(|| {
            let mut buckets: Vec<(f64, f64)> =
                self.buckets.iter().map(|(bound, count)| (*bound, whole(*count))).collect();
            quantile(0.5, &mut buckets)
        })
    }
}

impl AddAssign<&Self> for Tally {
    fn add_assign(&mut self, other: &Self) {
        self.deployed += &other.deployed;
        self.lead_times += &other.lead_times;
        self.recoveries += &other.recoveries;
    }
}

impl Tally {
    pub fn figures(&self, days: i64) -> Figures {
        let counted = Counted {
            deployments: self.deployed.count(),
            failed: Some(self.deployed.failed()),
            rework: Some(self.deployed.rework()),
            changes: self.lead_times.count(),
            recoveries: self.recoveries.count(),
        };
        measured(counted, self.lead_times.median(), self.recoveries.median(), days)
    }

    /// The medians of native histograms of these teams together.
    pub fn with_native(self, lead_time: Option<f64>, recovery: Option<f64>) -> Self {
        Self {
            lead_times: Observed { native: lead_time, ..self.lead_times },
            recoveries: Observed { native: recovery, ..self.recoveries },
            ..self
        }
    }
}

#[cfg(test)]
impl Deployed {
    pub fn of(all: f64, failed: f64, rework: f64) -> Self {
        Self { all: Some(all), failed, rework }
    }
}

#[cfg(test)]
impl Observed {
    /// So many up to each bound, and above the one below it.
    pub fn of(bounds: &[f64], counts: &[f64]) -> Self {
        let mut observed = Self { count: Some(counts.iter().sum()), ..Self::default() };
        for (at, bound) in bounds.iter().enumerate() {
            observed.add(*bound, counts.iter().take(at + 1).sum());
        }
        observed
    }
}

/// The sum of some.
pub(super) fn sum<'a, T: Default + AddAssign<&'a T> + 'a>(all: impl IntoIterator<Item = &'a T>) -> T {
    let mut sum = T::default();
    for one in all {
        sum += one;
    }
    sum
}

fn either(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.zip(b).map(|(a, b)| a + b).or(a).or(b)
}

/// As PromQL rounds. What `increase` adds by extrapolating to the range's edges is less than a
/// millionth, and yet makes a median of an empty bucket, where two buckets that hold the same
/// differ by it.
fn whole(count: f64) -> f64 {
    (count + 0.5).floor()
}

/// PromQL's `histogram_quantile` of cumulative buckets in the order of their bounds; `None` where
/// it says that it is no number.
fn quantile(quantile: f64, buckets: &mut [(f64, f64)]) -> Option<f64> {
    let last = buckets.len().checked_sub(1).filter(|last| *last > 0)?;
    // Buckets of several series may not grow where one of them lacks a sample.
    for index in 1..=last {
        buckets[index].1 = buckets[index].1.max(buckets[index - 1].1);
    }
    let all = buckets[last].1;
    if buckets[last].0 != f64::INFINITY || all.is_nan() || all == 0.0 {
        return None;
    }
    let rank = quantile * all;
    let at = buckets[..last].partition_point(|(_, count)| *count < rank);
    if at == last {
        return Some(buckets[last - 1].0);
    }
    let (bound, count) = buckets[at];
    let (below, counted) = match at {
        0 if bound <= 0.0 => return Some(bound),
        0 => (0.0, 0.0),
        _ => buckets[at - 1],
    };
    Some(below + (bound - below) * ((rank - counted) / (count - counted)))
}

/// Deployments of each span, by team: one query for deployments, failures and rework.
pub(super) async fn deployed(
    query: &Query,
    question: &Question,
    spans: &[Span],
) -> Result<ByTeam<Deployed>, QueryError> {
    let found = over(query, spans, |span| question.ask(span, "team").deployments_of_each()).await?;
    let mut all = ByTeam::<Deployed>::new();
    for (metric, values) in &found {
        for (until, value) in values {
            let one = Deployed::counted(metric, *value);
            *all.entry(*until).or_default().entry(label(metric)).or_default() += &one;
        }
    }
    Ok(all)
}

/// What a histogram observed in each span, by the value of the label `by`; without one under no
/// name.
pub(super) async fn observed(
    query: &Query,
    question: &Question,
    spans: &[Span],
    by: &'static str,
    histogram: &str,
) -> Result<ByTeam<Observed>, QueryError> {
    let (found, native) = tokio::try_join!(
        over(query, spans, |span| question.ask(span, by).observed(histogram)),
        native(query, question, spans, by, histogram),
    )?;
    let mut all = ByTeam::<Observed>::new();
    for (metric, values) in &found {
        let bound = metric.get("le").map(|bound| bound.parse::<f64>());
        for (until, value) in values {
            let one = all.entry(*until).or_default().entry(label(metric)).or_default();
            match bound {
                Some(Err(_)) => {}
                Some(Ok(bound)) => one.add(bound, *value),
                None => one.count = either(one.count, Some(*value)),
            }
        }
    }
    for (metric, values) in native {
        for (until, value) in values {
            let of_span = all.entry(until).or_default();
            of_span.entry(label(&metric)).or_default().native = Some(value).filter(|value| value.is_finite());
        }
    }
    Ok(all)
}

/// Medians of native histograms, where the endpoint has some.
async fn native(
    query: &Query,
    question: &Question,
    spans: &[Span],
    by: &'static str,
    histogram: &str,
) -> Result<Values, QueryError> {
    match question.native {
        true => over(query, spans, |span| question.ask(span, by).native_quantile(histogram, 0.5)).await,
        false => Ok(Values::new()),
    }
}

/// The native medians of all that `question` asks for, together: lead time and recovery of each
/// span.
pub(super) async fn native_of_all(
    query: &Query,
    question: &Question,
    spans: &[Span],
) -> Result<BTreeMap<Date, [Option<f64>; 2]>, QueryError> {
    let (lead_times, recoveries) = tokio::try_join!(
        native(query, question, spans, "", LEAD_TIME),
        native(query, question, spans, "", RECOVERY),
    )?;
    let mut all: BTreeMap<Date, [Option<f64>; 2]> = BTreeMap::new();
    for (which, found) in [lead_times, recoveries].iter().enumerate() {
        for (until, value) in found.iter().flat_map(|(_, values)| values) {
            all.entry(*until).or_default()[which] = Some(*value).filter(|value| value.is_finite());
        }
    }
    Ok(all)
}

/// All of each span, by team: three queries.
pub(super) async fn tallies(
    query: &Query,
    question: &Question,
    spans: &[Span],
) -> Result<ByTeam<Tally>, QueryError> {
    let (deployed, lead_times, recoveries) = tokio::try_join!(
        deployed(query, question, spans),
        observed(query, question, spans, "team", LEAD_TIME),
        observed(query, question, spans, "team", RECOVERY),
    )?;
    let mut all = ByTeam::<Tally>::new();
    let mut put = |until: Date, team: String, part: &dyn Fn(&mut Tally)| {
        part(all.entry(until).or_default().entry(team).or_default());
    };
    for (until, team, one) in flat(deployed) {
        put(until, team, &|of| of.deployed = one);
    }
    for (until, team, one) in flat(lead_times) {
        put(until, team, &|of| of.lead_times = one.clone());
    }
    for (until, team, one) in flat(recoveries) {
        put(until, team, &|of| of.recoveries = one.clone());
    }
    Ok(all)
}

fn flat<T>(all: ByTeam<T>) -> impl Iterator<Item = (Date, String, T)> {
    all.into_iter().flat_map(|(until, teams)| teams.into_iter().map(move |(team, one)| (until, team, one)))
}

pub(super) fn measured(
    counted: Counted,
    lead_time: Option<f64>,
    recovery: Option<f64>,
    days: i64,
) -> Figures {
    let number = |value: Option<f64>| value.filter(|value| value.is_finite());
    let Some(deployments) = number(counted.deployments) else { return Figures::default() };
    // Deployments are told by outcome and kind: those that are not there are none.
    let count = |value: Option<f64>| number(value).unwrap_or_default();
    let (failed, rework) = (count(counted.failed), count(counted.rework));
    // And no share, where nothing was deployed at all.
    let share = |part: f64| (deployments >= 0.5).then(|| part / deployments);
    Figures {
        deployments: Some(deployments),
        frequency: Some(deployments / days as f64),
        lead_time: number(lead_time),
        failure_rate: share(failed),
        recovery: number(recovery),
        rework_rate: share(rework),
        changes: number(counted.changes),
        failed: Some(failed),
        recoveries: number(counted.recoveries),
        rework: Some(rework),
    }
}

/// What was counted; `None`: there is no such series.
pub(super) struct Counted {
    pub deployments: Option<f64>,
    pub failed: Option<f64>,
    pub rework: Option<f64>,
    pub changes: Option<f64>,
    pub recoveries: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::super::Key;
    use super::*;

    #[test]
    fn nothing_deployed_is_no_rate_and_no_number_is_none() {
        let counted = |deployments, failed, rework| Counted {
            deployments,
            failed,
            rework,
            changes: Some(f64::NAN),
            recoveries: None,
        };
        let figures = measured(counted(Some(0.0), Some(f64::NAN), None), Some(f64::NAN), None, 7);
        let none = Some(0.0);
        let expected =
            Figures { deployments: none, frequency: none, failed: none, rework: none, ..Figures::default() };
        assert_eq!(figures, expected);
        // Nothing is stored: nothing is known.
        assert_eq!(measured(counted(None, None, None), None, None, 7), Figures::default());
        let figures = measured(counted(Some(14.0), None, Some(7.0)), Some(60.0), Some(f64::INFINITY), 7);
        assert_eq!(
            (figures.count(Key::FailureRate), figures.count(Key::Rework)),
            ("0 of 14".into(), "7 of 14".into())
        );
        assert_eq!((figures.failure_rate, figures.rework_rate), (Some(0.0), Some(0.5)));
        assert_eq!((figures.frequency, figures.recovery), (Some(2.0), None));
    }

    #[test]
    fn a_median_is_what_promql_reads_from_buckets() {
        let median = |buckets: &[(f64, f64)]| quantile(0.5, &mut buckets.to_vec());
        const OVER: f64 = f64::INFINITY;
        assert_eq!(median(&[(60.0, 2.0), (120.0, 4.0), (OVER, 4.0)]), Some(60.0));
        assert_eq!(median(&[(60.0, 1.0), (120.0, 4.0), (OVER, 4.0)]), Some(80.0));
        // Beyond the last edge nothing is known but this edge.
        assert_eq!(median(&[(60.0, 1.0), (120.0, 1.0), (OVER, 4.0)]), Some(120.0));
        // The first bucket begins at zero, unless it ends at or below it.
        assert_eq!(median(&[(60.0, 4.0), (OVER, 4.0)]), Some(30.0));
        assert_eq!(median(&[(0.0, 4.0), (OVER, 4.0)]), Some(0.0));
        // A bucket that holds less than the one below lacks samples, and not observations.
        assert_eq!(median(&[(60.0, 4.0), (120.0, 3.0), (OVER, 8.0)]), Some(60.0));
        for none in [&[][..], &[(OVER, 3.0)], &[(60.0, 0.0), (OVER, 0.0)], &[(60.0, 1.0), (120.0, 2.0)]] {
            assert_eq!(median(none), None, "{none:?}");
        }
    }

    #[test]
    fn what_several_did_is_rounded_once() {
        let observed = |counts: [f64; 2]| Observed {
            count: Some(counts[1]),
            buckets: vec![(60.0, counts[0]), (f64::INFINITY, counts[1])],
            native: Some(5.0),
        };
        let deployed = Deployed { all: Some(1.4), failed: 0.0, rework: 1.4 };
        let one = Tally { deployed, lead_times: observed([1.4, 1.4]), recoveries: Observed::default() };
        let both = sum([&one, &one]).figures(7);
        assert_eq!((both.deployments, both.rework, both.changes), (Some(3.0), Some(3.0), Some(3.0)));
        assert_eq!((both.lead_time, both.recoveries), (Some(30.0), None), "medians of parts say nothing");
        assert_eq!(one.figures(7).lead_time, Some(5.0));
        assert_eq!(sum::<Tally>([]).figures(7), Figures::default());
    }
}

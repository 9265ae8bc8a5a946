//! What got better or worse by more than chance would explain, and the rules by which that is said.
//! Where too little happened, nothing is.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::tally::{Observed, Tally};
use super::{Figures, Key};

/// Of fewer in either range nothing is said: deployments, changes, or recoveries.
pub(super) const LEAST: f64 = 20.0;
/// Failures, or rework, in both ranges together.
pub(super) const LEAST_PARTS: f64 = 10.0;
/// A smaller part of what it was before is no change to act on.
pub(super) const NOTABLE: f64 = 0.2;
/// And of a share so many points.
pub(super) const NOTABLE_POINTS: f64 = 0.02;
/// Of reports in which nothing changed at all, so many say that anything did.
pub(super) const MISTAKEN: f64 = 0.05;

/// A figure that is another one than in as many days before, as far as events can tell.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Move {
    pub metric: &'static str,
    pub better: bool,
    /// How likely such a difference is where nothing changed.
    pub chance: f64,
}

/// What is compared: a team, or all of them.
#[derive(Debug)]
pub(super) struct Pair<'a> {
    /// `None`: all of them.
    pub name: Option<String>,
    pub before: &'a Tally,
    pub now: &'a Tally,
    /// Of which both are known.
    pub days: [f64; 2],
    pub figures: [Figures; 2],
    /// Deployments of each period of the range that is known whole.
    pub periods: Vec<f64>,
}

/// The moves of each, by name.
pub(super) fn moves(pairs: &[Pair<'_>]) -> BTreeMap<Option<String>, Vec<Move>> {
    let tested: Vec<(&Pair<'_>, Key, f64)> = pairs
        .iter()
        .flat_map(|pair| Key::ALL.map(|key| (pair, key)))
        .filter_map(|(pair, key)| Some((pair, key, score(pair, key)?)))
        .collect();
    // The more is compared, the rarer each has to be.
    let limit = MISTAKEN / tested.len().max(1) as f64;
    let mut moves: BTreeMap<Option<String>, Vec<Move>> = BTreeMap::new();
    for (pair, key, score) in tested {
        let chance = chance(score);
        let Some(better) = notable(key, pair.figures).filter(|_| chance <= limit) else { continue };
        // The figure and the events behind it have to say the same.
        if (score > 0.0) == (better == key.more_is_better()) {
            moves.entry(pair.name.clone()).or_default().push(Move { metric: key.id(), better, chance });
        }
    }
    moves
}

/// Whether a figure is better or worse, if it differs by enough to act on.
fn notable(key: Key, [before, now]: [Figures; 2]) -> Option<bool> {
    let (before, now) = (before.of(key)?, now.of(key)?);
    let points = if matches!(key, Key::FailureRate | Key::Rework) { NOTABLE_POINTS } else { 0.0 };
    let (difference, more) = ((now - before).abs(), now > before);
    (difference > 0.0 && difference >= NOTABLE * before && difference >= points)
        .then(|| more == key.more_is_better())
}

/// By how many standard deviations there is more now, where nothing changed; `None`: too little
/// happened to say anything.
fn score(pair: &Pair<'_>, key: Key) -> Option<f64> {
    let (before, now) = (pair.before, pair.now);
    let deployed = [before, now].map(|tally| tally.deployed.count().unwrap_or_default());
    match key {
        // Of a team that stopped there is nothing now: that is the most that can be said.
        Key::Frequency => {
            deployed.iter().any(|count| *count >= LEAST).then(|| rates(deployed, pair.days, &pair.periods))
        }
        Key::FailureRate => shares([before.deployed.failed(), now.deployed.failed()], deployed),
        Key::Rework => shares([before.deployed.rework(), now.deployed.rework()], deployed),
        // Changes that one deployment brings wait together: they are as one.
        Key::LeadTime => durations(&before.lead_times, &now.lead_times, Some(deployed)),
        Key::Recovery => durations(&before.recoveries, &now.recoveries, None),
    }
    .filter(|score| score.is_finite())
}

/// Two counts of so many days, each of events by themselves; those that come in bursts vary more, as the
/// periods show.
fn rates([before, now]: [f64; 2], days: [f64; 2], periods: &[f64]) -> f64 {
    let mean = periods.iter().sum::<f64>() / periods.len().max(1) as f64;
    let spread = match periods.len() {
        4.. if mean > 0.0 => {
            let squares = periods.iter().map(|count| (count - mean).powi(2)).sum::<f64>();
            (squares / (periods.len() - 1) as f64 / mean).max(1.0)
        }
        _ => 1.0,
    };
    // Where nothing changed, each range has its part of all of them.
    let part = days[1] / (days[0] + days[1]);
    let all = now + before;
    (now - part * all) / (part * (1.0 - part) * all * spread).sqrt()
}

/// Two shares.
fn shares(parts: [f64; 2], of: [f64; 2]) -> Option<f64> {
    if of.iter().any(|count| *count < LEAST) || parts.iter().sum::<f64>() < LEAST_PARTS {
        return None;
    }
    let share = parts.iter().sum::<f64>() / of.iter().sum::<f64>();
    let deviation = (share * (1.0 - share) * (1.0 / of[0] + 1.0 / of[1])).sqrt();
    Some((parts[1] / of[1] - parts[0] / of[0]) / deviation)
}

/// Whether durations are longer now: by their ranks (Mann and Whitney), where all of a bucket have
/// one rank.
fn durations(before: &Observed, now: &Observed, deployed: Option<[f64; 2]>) -> Option<f64> {
    let both = before.side_by_side(now)?;
    let [a, b] = [0, 1].map(|side| both.iter().map(|counts| counts[side]).sum::<f64>());
    if a < LEAST || b < LEAST {
        return None;
    }
    let all = a + b;
    let (mut below, mut ranks, mut ties) = (0.0, 0.0, 0.0);
    for [before, now] in &both {
        let equal = before + now;
        ranks += now * (below + (equal + 1.0) / 2.0);
        ties += equal.powi(3) - equal;
        below += equal;
    }
    let more = ranks - b * (b + 1.0) / 2.0 - a * b / 2.0;
    let deviation = (a * b / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)))).sqrt();
    let together = deployed.map_or(1.0, |deployed| (all / deployed.iter().sum::<f64>().max(1.0)).max(1.0));
    Some(more / deviation / together.sqrt())
}

/// How likely a normal value is so far from its mean, or further: to seven digits (the
/// complementary error function, by Chebyshev's polynomials as in Numerical Recipes).
fn chance(score: f64) -> f64 {
    const TERMS: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let x = score.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * x);
    t * (TERMS.iter().rev().fold(0.0, |sum, term| sum * t + term) - x * x).exp()
}

/// The last period with a deployment, if those since then would rarely be without one by chance: as
/// rare as in one of the teams in [`MISTAKEN`] of the reports, and two weeks at least.
pub(super) fn pause(counts: &[Option<f64>], days: &[u32], teams: usize) -> Option<usize> {
    const SHORTEST: u32 = 14;
    let last = counts.iter().rposition(|count| count.is_some_and(|count| count >= 0.5))?;
    let since = counts.get(last + 1..)?;
    // Where nothing is stored nothing is known.
    let (until, without) = days.split_at(last + 1);
    let without: u32 = without.iter().sum();
    if since.iter().any(Option::is_none) || without < SHORTEST {
        return None;
    }
    let all: f64 = counts[..=last].iter().flatten().sum();
    let a_day = all / f64::from(until.iter().sum::<u32>().max(1));
    let chance = (-a_day * f64::from(without)).exp();
    (all >= LEAST && chance <= MISTAKEN / teams.max(1) as f64).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::super::tally::{Deployed, Observed, Tally};
    use super::*;

    fn tally(deployments: f64, failed: f64, lead_times: &[f64]) -> Tally {
        Tally {
            deployed: Deployed::of(deployments, failed, 0.0),
            lead_times: Observed::of(&[3600.0, 86_400.0, f64::INFINITY], lead_times),
            recoveries: Observed::default(),
        }
    }

    fn moved(before: &Tally, now: &Tally, others: usize) -> Vec<(&'static str, bool)> {
        let pair = |name: &str, before, now| Pair {
            name: Some(name.to_owned()),
            before,
            now,
            days: [84.0; 2],
            figures: [before, now].map(|tally: &Tally| tally.figures(84)),
            periods: vec![5.0; 12],
        };
        let mut pairs = vec![pair("a", before, now)];
        pairs.extend((0..others).map(|other| pair(&format!("o{other}"), before, before)));
        let found = moves(&pairs);
        assert!(found.keys().all(|name| name.as_deref() == Some("a")), "{found:?}");
        found.into_values().flatten().map(|one| (one.metric, one.better)).collect()
    }

    #[test]
    fn a_chance_is_that_of_the_normal_distribution() {
        for (score, expected) in [(0.0, 1.0), (1.0, 0.317_310_5), (-1.959_964, 0.05), (5.0, 5.733_031e-7)] {
            assert!((chance(score) / expected - 1.0).abs() < 1e-5, "{score}: {}", chance(score));
        }
    }

    #[test]
    fn what_happened_too_rarely_is_not_called_worse() {
        // Twice the failures of few deployments, and of many.
        assert_eq!(moved(&tally(19.0, 4.0, &[]), &tally(19.0, 16.0, &[]), 0), []);
        assert_eq!(moved(&tally(200.0, 3.0, &[]), &tally(200.0, 6.0, &[]), 0), []);
        assert_eq!(moved(&tally(200.0, 16.0, &[]), &tally(200.0, 48.0, &[]), 0), [("failure-rate", false)]);
        assert_eq!(moved(&tally(200.0, 48.0, &[]), &tally(200.0, 16.0, &[]), 0), [("failure-rate", true)]);
        // Of so much that chance cannot explain it, and too little to act on.
        assert_eq!(moved(&tally(1e6, 1e5, &[]), &tally(1e6, 1.1e5, &[]), 0), []);
        // More teams, more chances to be wrong: each has to be rarer.
        let (before, now) = (tally(60.0, 0.0, &[]), tally(34.0, 0.0, &[]));
        assert_eq!(moved(&before, &now, 0), [("frequency", false)]);
        assert_eq!(moved(&before, &now, 500), []);
        // A team that stopped.
        assert_eq!(moved(&tally(90.0, 0.0, &[]), &tally(0.0, 0.0, &[]), 500), [("frequency", false)]);
    }

    #[test]
    fn durations_are_compared_by_all_of_them_and_changes_of_one_deployment_are_as_one() {
        let of = |deployments, lead_times: &[f64]| tally(deployments, 0.0, lead_times);
        let (short, long) = ([80.0, 20.0, 0.0], [30.0, 60.0, 10.0]);
        assert_eq!(moved(&of(100.0, &short), &of(100.0, &long), 0), [("lead-time", false)]);
        assert_eq!(moved(&of(100.0, &long), &of(100.0, &short), 0), [("lead-time", true)]);
        assert_eq!(moved(&of(4.0, &short), &of(4.0, &long), 0), [], "a hundred changes of four deployments");
        assert_eq!(moved(&of(100.0, &[10.0, 5.0, 0.0]), &of(100.0, &[0.0, 5.0, 10.0]), 0), []);
    }

    #[test]
    fn bursts_are_no_decline() {
        assert!(rates([100.0, 60.0], [84.0; 2], &[5.0; 12]) < -3.0);
        let bursts = [0.0, 0.0, 0.0, 30.0, 0.0, 0.0, 30.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        assert!(rates([100.0, 60.0], [84.0; 2], &bursts) > -1.0);
    }

    #[test]
    fn fewer_days_are_no_decline() {
        assert!(rates([280.0, 230.0], [28.0, 23.0], &[]).abs() < 1e-9);
        assert!(rates([280.0, 115.0], [28.0, 23.0], &[]) < -5.0);
    }

    #[test]
    fn a_pause_is_told_of_who_deployed_often_enough() {
        let weeks = |counts: &[f64], teams| {
            pause(&counts.iter().copied().map(Some).collect::<Vec<_>>(), &vec![7; counts.len()], teams)
        };
        let stopped = [6.0, 5.0, 7.0, 6.0, 5.0, 6.0, 0.0, 0.0];
        assert_eq!((weeks(&stopped, 1), weeks(&stopped, 1000)), (Some(5), Some(5)));
        assert_eq!(weeks(&[6.0, 5.0, 7.0, 6.0, 5.0, 6.0, 0.0], 1), None, "a week may be a holiday");
        let rarely = [3.0, 2.0, 4.0, 3.0, 2.0, 3.0, 4.0, 0.0, 0.0];
        assert_eq!((weeks(&rarely, 1), weeks(&rarely, 1000)), (Some(6), None));
        assert_eq!(weeks(&[1.0, 0.0, 2.0, 1.0, 0.0, 0.0, 0.0], 1), None);
        let ended = [Some(9.0), Some(9.0), Some(9.0), None, None];
        assert_eq!(pause(&ended, &[7, 7, 7, 0, 0], 1), None, "nothing is stored of it: nothing is known");
        let counts = stopped.map(Some);
        assert_eq!(pause(&counts, &[7, 7, 7, 7, 7, 7, 7, 6], 1), None, "13 days");
    }
}

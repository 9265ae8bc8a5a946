//! What of a stored history another one says otherwise. A sample can be written once, and stays: so it is found out
//! before anything is sent.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use dorainfra_prometheus::{Past, Samples, Series};

use dorainfra_base::number::grouped;

/// Samples that both have, with other values.
#[derive(Debug, PartialEq)]
pub(super) struct Contradiction {
    pub different: u64,
    /// Of so many that the stored one has.
    pub of: u64,
    /// The series of the first of them.
    pub first: String,
}

/// What a plan says of one that nobody can take back: events that come late are as true as others.
impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { different, of, first } = self;
        let (different, of) = (grouped(*different), grouped(*of));
        write!(
            f,
            "{different} of {of} stored samples have other values now ({first} is the first): late events, or \
             `sources` or `settle_hours` that were changed. What is stored stays, the rest is added, and `verify` \
             fails until the change is taken back or all is fed anew under another `mimir.tenant`: `dorainfra \
             explain history-differs`"
        )
    }
}

pub(super) fn contradiction(stored: &dyn Past, wanted: &dyn Past) -> Option<Contradiction> {
    let key = |series: &Series| (series.name, series.labels.to_string());
    let there: HashMap<_, Cow<'_, Series>> = stored.series().map(|series| (key(&series), series)).collect();
    let (mut different, mut first) = (0, None);
    for series in wanted.series() {
        let Some(there) = there.get(&key(&series)) else { continue };
        let found = match (&there.samples, &series.samples) {
            (Samples::Plain(one), Samples::Plain(other)) => {
                others(one, other, |one, other| one.to_bits() == other.to_bits())
            }
            (Samples::Native(one), Samples::Native(other)) => others(one, other, |one, other| one == other),
            _ => 0,
        };
        if found > 0 {
            different += found;
            first.get_or_insert_with(|| format!("{}{}", series.name, series.labels));
        }
    }
    Some(Contradiction { different, of: stored.extent().samples, first: first? })
}

/// How many samples of the same time differ. Both are in the order of time.
fn others<T>(one: &[(i64, T)], other: &[(i64, T)], equal: impl Fn(&T, &T) -> bool) -> u64 {
    let mut rest = other.iter().peekable();
    let mut found = 0;
    for (time, value) in one {
        while rest.next_if(|(earlier, _)| earlier < time).is_some() {}
        if let Some((_, other)) = rest.next_if(|(same, _)| same == time)
            && !equal(value, other)
        {
            found += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use dorainfra_base::zone::Zone;
    use dorainfra_dora::metrics::Histograms;
    use dorainfra_dora::simulator;
    use time::macros::date;

    use super::super::activity::{Activity, History};
    use super::*;

    fn simulated(teams: u32, seed: u64, days: u32) -> History {
        let activity = Activity::Simulated { teams: simulator::teams(teams), seed };
        let histograms = Histograms { native: false, by_service: false };
        History::of(activity, date!(2026 - 02 - 28), days, histograms, Zone::UTC)
    }

    #[test]
    fn more_of_the_same_contradicts_nothing_and_another_seed_does() {
        let stored = simulated(3, 1, 20);
        for more in [simulated(3, 1, 20), simulated(5, 1, 20), simulated(3, 1, 30), simulated(2, 1, 5)] {
            assert_eq!(contradiction(&stored, &more), None);
        }
        let found = contradiction(&stored, &simulated(3, 2, 20)).unwrap();
        assert!(found.different > 0 && found.different < found.of, "{found:?}");
        assert_eq!(found.of, stored.extent().samples);
        assert!(found.first.contains("team="), "{found:?}");
    }

    #[test]
    fn only_what_is_of_the_same_time_is_compared() {
        let equal = |one: &u8, other: &u8| one == other;
        assert_eq!(others(&[(1, 1), (3, 3), (5, 5)], &[(2, 9), (3, 4), (5, 5), (7, 7)], equal), 1);
        assert_eq!(others(&[], &[(1, 1)], equal), 0);
        assert_eq!(others(&[(1, 1), (2, 2)], &[(1, 2), (2, 1)], equal), 2);
    }
}

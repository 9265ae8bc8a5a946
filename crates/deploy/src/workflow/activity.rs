//! What a deployment's teams did, simulated, collected or nothing, and the history of it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use dorainfra_base::zone::Zone;
use dorainfra_dora as dora;
use dorainfra_dora::metrics::{self, Histograms, Scope};
use dorainfra_dora::simulator::Team;
use dorainfra_prometheus::{Extent, Past, Series};
use sha2::{Digest as _, Sha256};
use time::{Date, OffsetDateTime};

/// Where a deployment's metrics come from.
pub enum Activity {
    Simulated {
        teams: Vec<String>,
        seed: u64,
    },
    Collected {
        events: Vec<dora::events::Event>,
        settle: time::Duration,
    },
    /// Nobody's: there is no source, and simulated teams were not asked for.
    Nothing,
}

impl Activity {
    /// What tells it from any other history.
    pub fn digest(&self) -> String {
        match self {
            Self::Simulated { seed, .. } => format!("seed {seed}"),
            Self::Nothing => "nothing".to_owned(),
            Self::Collected { events, settle } => {
                let mut text = Vec::new();
                // Into memory, which takes everything.
                let _ = dora::events::write(&mut text, events);
                format!("events {} after {settle}", hex::encode(Sha256::digest(text)))
            }
        }
    }

    /// The series of the `days` days up to `until` (included), made while they are read.
    pub fn series<'a>(
        &'a self,
        until: Date,
        days: u32,
        histograms: Histograms,
        zone: &'a Zone,
    ) -> Box<dyn Iterator<Item = Series> + Send + 'a> {
        match self {
            Self::Simulated { teams, seed } => {
                Box::new(metrics::simulated_in(zone.clone(), teams.clone(), *seed, until, days, histograms))
            }
            Self::Collected { events, settle } => {
                Box::new(metrics::collected_in(zone, &[], events, *settle, until, days, histograms))
            }
            Self::Nothing => Box::new(std::iter::empty()),
        }
    }

    pub fn scopes(&self) -> Vec<Scope> {
        match self {
            Self::Simulated { teams, seed } => {
                teams.iter().map(|name| Scope::of(&Team::new(name, *seed))).collect()
            }
            Self::Collected { events, .. } => metrics::scopes(events),
            Self::Nothing => Vec::new(),
        }
    }

    /// Their names as they are stored.
    pub fn teams(&self) -> Vec<String> {
        match self {
            Self::Simulated { teams, .. } => teams.clone(),
            Self::Collected { events, .. } => {
                let teams =
                    metrics::scopes(events).into_iter().map(|scope| dorainfra_prometheus::valid(&scope.team));
                teams.collect::<BTreeSet<String>>().into_iter().collect()
            }
            Self::Nothing => Vec::new(),
        }
    }
}

/// Every day of some range, by its date. A small one is held; a larger one is made
/// while it is read, each time the same.
pub struct History {
    pub activity: Activity,
    until: Date,
    days: u32,
    histograms: Histograms,
    /// Whose days have an end in it, beside those of UTC.
    zone: Zone,
    extent: Extent,
    held: Option<Vec<Series>>,
}

/// Plain samples, of 16 bytes, that are held at most, or what takes as much room:
/// more than 39 teams make in a year.
const HELD: u64 = 1_000_000;

impl History {
    /// The `days` days up to `until` (included).
    pub fn of(activity: Activity, until: Date, days: u32, histograms: Histograms, zone: Zone) -> Self {
        Self::holding(HELD, activity, until, days, histograms, zone)
    }

    /// Holds it if it takes at most as much room as so many plain samples.
    fn holding(
        most: u64,
        activity: Activity,
        until: Date,
        days: u32,
        histograms: Histograms,
        zone: Zone,
    ) -> Self {
        let mut history =
            Self { activity, until, days, histograms, zone, extent: Extent::default(), held: None };
        let (mut extent, mut held) = (Extent::default(), Some(Vec::new()));
        for one in history.made() {
            extent.add(&one);
            if extent.weight > most {
                held = None;
            }
            if let Some(held) = &mut held {
                held.push(one);
            }
        }
        (history.extent, history.held) = (extent, held);
        history
    }

    fn made(&self) -> Box<dyn Iterator<Item = Series> + Send + '_> {
        self.activity.series(self.until, self.days, self.histograms, &self.zone)
    }
}

impl Past for History {
    fn series(&self) -> Box<dyn Iterator<Item = Cow<'_, Series>> + Send + '_> {
        match &self.held {
            Some(held) => held.series(),
            None => Box::new(self.made().map(Cow::Owned)),
        }
    }

    fn extent(&self) -> Extent {
        self.extent
    }
}

/// The last whole day, UTC.
pub fn yesterday() -> Date {
    let today = OffsetDateTime::now_utc().date();
    today.previous_day().unwrap_or(today)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::date;

    #[test]
    fn a_large_history_is_not_held_and_tells_the_same_each_time() {
        let of = |most| {
            let activity = Activity::Simulated { teams: dorainfra_dora::simulator::teams(2), seed: 3 };
            History::holding(most, activity, date!(2025 - 02 - 28), 3, Histograms::NATIVE, Zone::UTC)
        };
        let held = of(HELD);
        let weight = held.extent().weight;
        assert!(held.held.is_some() && held.extent() == Extent::of(held.series()));
        let made = of(weight - 1);
        assert!(made.held.is_none() && made.extent() == held.extent());
        assert!(made.series().eq(held.series()));
        assert!(made.series().eq(made.series()));
    }
}

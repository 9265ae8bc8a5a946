//! A history as it is passed on: read as often as somebody needs it, a team at a
//! time, and the same each time. So nobody has to hold it whole: what is sent,
//! counted and proven may be longer than the memory.

use std::borrow::Cow;

use super::Series;

/// Series that can be read again and again.
pub trait Past: Sync {
    /// All series, always in the same order; those of one team follow each other.
    fn series(&self) -> Box<dyn Iterator<Item = Cow<'_, Series>> + Send + '_>;

    /// How much that is, without going through all of it again where it is known.
    fn extent(&self) -> Extent {
        Extent::of(self.series())
    }
}

/// How much a history is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    pub series: u64,
    pub samples: u64,
    /// Those of them that are native histograms.
    pub native: u64,
    /// So many plain samples would take as much room, roughly.
    pub weight: u64,
    /// The oldest and the newest sample's times, milliseconds since 1970.
    pub oldest: Option<i64>,
    pub newest: Option<i64>,
}

impl Extent {
    pub fn of<'a>(series: impl Iterator<Item = Cow<'a, Series>>) -> Self {
        let mut extent = Self::default();
        series.for_each(|one| extent.add(&one));
        extent
    }

    pub fn add(&mut self, one: &Series) {
        self.series += 1;
        let samples = one.samples.len() as u64;
        self.samples += samples;
        self.native += if one.samples.is_native() { samples } else { 0 };
        self.weight += one.samples.weight();
        let first = one.samples.times().next();
        self.oldest = self.oldest.into_iter().chain(first).min();
        self.newest = self.newest.max(one.samples.last_time());
    }
}

/// What of a history is not older than some time.
pub struct Since<'a> {
    pub past: &'a dyn Past,
    /// Milliseconds since 1970.
    pub time: i64,
}

impl Past for Since<'_> {
    fn series(&self) -> Box<dyn Iterator<Item = Cow<'_, Series>> + Send + '_> {
        let newer = self.past.series().filter_map(|series| series.since(self.time));
        Box::new(newer.map(Cow::Owned))
    }
}

/// One that is held whole.
impl Past for Vec<Series> {
    fn series(&self) -> Box<dyn Iterator<Item = Cow<'_, Series>> + Send + '_> {
        Box::new(self.iter().map(Cow::Borrowed))
    }
}

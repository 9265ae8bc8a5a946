//! A believable year of many teams, as [`Event`]s: the source of every metric
//! that is shown before a team's own events are read.
//!
//! What begins on a day depends on the seed, the team and the date only, so a
//! range can be extended or made again and the days in it stay what they were.
//! What begins together belongs together, in an [`Episode`]: a planned
//! deployment with its changes, and where it fails, the failure, the rework that
//! mends it and the recovery. An outage that hits many teams gives each of them
//! an episode of its own.
//!
//! Arithmetic is restricted to what IEEE 754 defines to the last bit
//! (`dora::draw`) and times are whole seconds, so one seed gives one year,
//! byte for byte, on every machine. Nothing here computes a metric.

mod calendar;
mod day;
mod stream;
mod team;

use time::{Date, Duration, OffsetDateTime};

use super::events::Event;
pub use super::teams::{MAX_TEAMS, teams};
pub use stream::events;
pub use team::Team;

/// The longest lead time of a change.
pub const LONGEST_LEAD_DAYS: i64 = 60;
/// The longest time from an episode's day (UTC) to its last event.
pub const LONGEST_AFTERMATH_DAYS: i64 = 24;

/// What began with one planned deployment or one outage, in the order of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Episode(pub Vec<Event>);

impl Episode {
    /// Without what happened at `end` or later; `None` if nothing of it happened
    /// at `first` or later: it has nothing to do with that range.
    fn within(mut self, first: OffsetDateTime, end: OffsetDateTime) -> Option<Self> {
        self.0.retain(|event| event.at() < end);
        self.0.iter().any(|event| event.at() >= first).then_some(self)
    }
}

/// The episodes that have an event on one of the days (UTC) from `first` to
/// `until`, whole: some began earlier, and some end later.
pub fn episodes(team: &Team, first: Date, until: Date) -> impl Iterator<Item = Episode> {
    let begin = days_after(first, -LONGEST_AFTERMATH_DAYS);
    // Changes come before their deployment.
    let end = days_after(until, LONGEST_LEAD_DAYS + 1);
    let (from, to) = (midnight(first), midnight(days_after(until, 1)));
    dates(begin, end)
        .flat_map(|date| team.day(date))
        .filter(move |episode| episode.0.iter().any(|event| (from..to).contains(&event.at())))
}

/// The episodes of which anything but a change may be on the days (UTC) from
/// `first` to `until`: all that a metric of these days needs.
pub fn deployed(team: &Team, first: Date, until: Date) -> impl Iterator<Item = Episode> {
    // A team's own day may begin on the day before in UTC, or the day after.
    dates(days_after(first, -LONGEST_AFTERMATH_DAYS), days_after(until, 1)).flat_map(|date| team.day(date))
}

/// The days from `first` to `until`, both included.
fn dates(first: Date, until: Date) -> impl Iterator<Item = Date> {
    std::iter::successors(Some(first), |date| date.next_day()).take_while(move |date| *date <= until)
}

/// A date some days away, or the calendar's end.
fn days_after(date: Date, days: i64) -> Date {
    let end = if days < 0 { Date::MIN } else { Date::MAX };
    date.checked_add(Duration::days(days)).unwrap_or(end)
}

/// A day's first instant, UTC.
fn midnight(date: Date) -> OffsetDateTime {
    date.midnight().assume_utc()
}

#[cfg(test)]
mod tests;

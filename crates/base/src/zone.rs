//! Where a day begins: in UTC, or in a time zone by its IANA name.
//!
//! The rules of all zones are part of the program, so that a day is as long on every
//! machine: 24 hours, and 23 or 25 where clocks change.

use std::fmt;

use jiff::civil;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use time::{Date, OffsetDateTime};

/// A time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(Option<TimeZone>);

impl Zone {
    pub const UTC: Self = Self(None);

    /// By its IANA name: `Europe/Berlin`. `None`: there is no such zone.
    pub fn named(name: &str) -> Option<Self> {
        if name == "UTC" {
            return Some(Self::UTC);
        }
        TimeZoneDatabase::bundled().get(name).ok().map(|zone| Self(Some(zone)))
    }

    /// Of a configuration, which has been checked.
    pub fn configured(name: &str) -> Self {
        Self::named(name).unwrap_or(Self::UTC)
    }

    pub fn is_utc(&self) -> bool {
        self.0.is_none()
    }

    /// The first instant of a day, which is the last one's end. Midnight, or what clocks
    /// show instead where they are set forward then; the first of two.
    pub fn begin(&self, day: Date) -> OffsetDateTime {
        let utc = day.midnight().assume_utc();
        let Some(zone) = &self.0 else { return utc };
        let (Ok(year), Ok(month), Ok(number)) =
            (i16::try_from(day.year()), i8::try_from(u8::from(day.month())), i8::try_from(day.day()))
        else {
            return utc;
        };
        // Of two midnights the first, as clocks are set back.
        let begin = civil::Date::new(year, month, number).and_then(|date| date.to_zoned(zone.clone()));
        // Only of the first and the last days that there are.
        let Ok(begin) = begin else { return utc };
        OffsetDateTime::from_unix_timestamp(begin.timestamp().as_second()).unwrap_or(utc)
    }

    /// The day that an instant belongs to.
    pub fn day(&self, at: OffsetDateTime) -> Date {
        let utc = at.to_offset(time::UtcOffset::UTC).date();
        // No zone is further from UTC than a day.
        let near = [utc.next_day(), Some(utc), utc.previous_day()];
        near.into_iter().flatten().find(|day| self.begin(*day) <= at).unwrap_or(utc)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_ref().and_then(TimeZone::iana_name).unwrap_or("UTC"))
    }
}

#[cfg(test)]
mod tests {
    use time::macros::{date, datetime};

    use super::*;

    fn hours(zone: &Zone, day: Date) -> i64 {
        (zone.begin(day.next_day().unwrap()) - zone.begin(day)).whole_hours()
    }

    #[test]
    fn a_day_is_as_long_as_its_clocks_say() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        assert_eq!(berlin.begin(date!(2026 - 03 - 29)), datetime!(2026-03-28 23:00 UTC));
        assert_eq!(berlin.begin(date!(2026 - 03 - 30)), datetime!(2026-03-29 22:00 UTC));
        assert_eq!(hours(&berlin, date!(2026 - 03 - 29)), 23);
        assert_eq!(hours(&berlin, date!(2026 - 10 - 25)), 25);
        assert_eq!(hours(&berlin, date!(2026 - 10 - 26)), 24);
        let new_york = Zone::named("America/New_York").unwrap();
        assert_eq!(new_york.begin(date!(2026 - 01 - 01)), datetime!(2026-01-01 5:00 UTC));
        assert_eq!(
            (hours(&new_york, date!(2026 - 03 - 08)), hours(&new_york, date!(2026 - 11 - 01))),
            (23, 25)
        );
        assert_eq!(hours(&Zone::UTC, date!(2026 - 03 - 29)), 24);
        assert_eq!((berlin.to_string(), Zone::UTC.to_string()), ("Europe/Berlin".into(), "UTC".into()));
    }

    #[test]
    fn where_clocks_change_at_midnight_the_day_begins_once() {
        // Set forward from 00:00 to 01:00, and back from 01:00 to 00:00.
        let havana = Zone::named("America/Havana").unwrap();
        assert_eq!(havana.begin(date!(2020 - 03 - 08)), datetime!(2020-03-08 5:00 UTC));
        assert_eq!((hours(&havana, date!(2020 - 03 - 08)), hours(&havana, date!(2020 - 11 - 01))), (23, 25));
        // A day that there was not.
        assert_eq!(hours(&Zone::named("Pacific/Apia").unwrap(), date!(2011 - 12 - 30)), 0);
    }

    #[test]
    fn an_instant_belongs_to_the_day_that_clocks_show() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        assert_eq!(berlin.day(datetime!(2026-01-14 22:59:59 UTC)), date!(2026 - 01 - 14));
        assert_eq!(berlin.day(datetime!(2026-01-14 23:30 UTC)), date!(2026 - 01 - 15));
        assert_eq!(berlin.day(datetime!(2026-07-14 22:00 UTC)), date!(2026 - 07 - 15));
        let kiritimati = Zone::named("Pacific/Kiritimati").unwrap();
        assert_eq!(kiritimati.day(datetime!(2026-01-14 10:00 UTC)), date!(2026 - 01 - 15));
        assert_eq!(Zone::UTC.day(datetime!(2026-01-14 23:30 UTC)), date!(2026 - 01 - 14));
        assert_eq!(Zone::named("Europe/Atlantis"), None);
    }
}

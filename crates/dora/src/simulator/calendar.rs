//! Where teams sit, and what their calendars say: time zones with their summer
//! time, holidays, the December freeze, and when in a week people deploy.

use time::{Date, Month, UtcOffset, Weekday};

/// Where a team works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Minutes east of UTC, in winter.
    minutes: i32,
    rule: Rule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Europe,
    America,
    /// No summer time.
    Asia,
}

/// Berlin (twice as likely as the others), London, New York, San Francisco,
/// Bengaluru, Singapore.
pub(super) const PLACES: [Place; 7] = [
    Place { minutes: 60, rule: Rule::Europe },
    Place { minutes: 60, rule: Rule::Europe },
    Place { minutes: 0, rule: Rule::Europe },
    Place { minutes: -300, rule: Rule::America },
    Place { minutes: -480, rule: Rule::America },
    Place { minutes: 330, rule: Rule::Asia },
    Place { minutes: 480, rule: Rule::Asia },
];

/// Deployments in each hour of a working day, per thousand; nights nearly none.
const WORKING_HOURS: [u32; 24] =
    [1, 1, 1, 1, 1, 2, 8, 25, 70, 120, 140, 125, 70, 95, 125, 110, 70, 25, 8, 4, 3, 2, 1, 1];
/// The same on a weekend, where only what can't wait is deployed.
const WEEKEND_HOURS: [u32; 24] =
    [20, 15, 10, 10, 10, 10, 20, 30, 50, 70, 80, 80, 70, 60, 60, 60, 50, 50, 50, 50, 45, 40, 30, 30];

impl Place {
    /// The offset that clocks show on this date. A day on which they change has
    /// the offset of its afternoon: nobody deploys at two in the morning.
    pub fn offset(self, date: Date) -> UtcOffset {
        let year = date.year();
        let summer = match self.rule {
            Rule::Europe => {
                date >= last_sunday(year, Month::March) && date < last_sunday(year, Month::October)
            }
            Rule::America => {
                date >= nth(year, Month::March, Weekday::Sunday, 2)
                    && date < nth(year, Month::November, Weekday::Sunday, 1)
            }
            Rule::Asia => false,
        };
        let minutes = self.minutes + if summer { 60 } else { 0 };
        UtcOffset::from_whole_seconds(minutes * 60).unwrap_or(UtcOffset::UTC)
    }

    /// How much of a full working day a date is.
    pub fn intensity(self, date: Date) -> f64 {
        if freeze(date) || self.holiday(date) {
            return 0.03;
        }
        match date.weekday() {
            Weekday::Monday => 0.9,
            Weekday::Tuesday | Weekday::Wednesday => 1.15,
            Weekday::Thursday => 1.1,
            Weekday::Friday => 0.6,
            Weekday::Saturday => 0.05,
            Weekday::Sunday => 0.03,
        }
    }

    fn holiday(self, date: Date) -> bool {
        let (year, month, day) = date.to_calendar_date();
        if (month, day) == (Month::January, 1) || (month, day) == (Month::December, 25) {
            return true;
        }
        match self.rule {
            Rule::Europe => {
                let easter = easter(year);
                (month, day) == (Month::May, 1)
                    || (month, day) == (Month::December, 26)
                    || easter.is_some_and(|sunday| {
                        let after = (date - sunday).whole_days();
                        after == -2 || after == 1
                    })
            }
            Rule::America => {
                (month, day) == (Month::July, 4)
                    || date == nth(year, Month::September, Weekday::Monday, 1)
                    || date == nth(year, Month::November, Weekday::Thursday, 4)
            }
            Rule::Asia => (month, day) == (Month::May, 1) || (month, day) == (Month::August, 15),
        }
    }
}

/// Nobody wants to be called on Christmas Eve.
pub(super) fn freeze(date: Date) -> bool {
    (date.month() == Month::December && date.day() >= 18)
        || (date.month() == Month::January && date.day() <= 2)
}

/// The weight of each hour of a date's local day.
pub(super) fn hours(date: Date) -> &'static [u32; 24] {
    match date.weekday() {
        Weekday::Saturday | Weekday::Sunday => &WEEKEND_HOURS,
        _ => &WORKING_HOURS,
    }
}

/// The `count`th such weekday of a month.
fn nth(year: i32, month: Month, weekday: Weekday, count: u8) -> Date {
    let matching = |date: &Date| date.weekday() == weekday;
    let begin = count.saturating_sub(1) * 7 + 1;
    let days = begin..begin + 7;
    let mut dates = days.filter_map(|day| Date::from_calendar_date(year, month, day).ok());
    dates.find(matching).unwrap_or(Date::MIN)
}

/// The last Sunday of a month of 31 days.
fn last_sunday(year: i32, month: Month) -> Date {
    let mut dates = (25..=31).filter_map(|day| Date::from_calendar_date(year, month, day).ok());
    dates.find(|date| date.weekday() == Weekday::Sunday).unwrap_or(Date::MAX)
}

/// Easter Sunday of the Gregorian calendar (the anonymous algorithm).
fn easter(year: i32) -> Option<Date> {
    let (a, b, c) = (year % 19, year / 100, year % 100);
    let g = (8 * b + 13) / 25;
    let h = (19 * a + b - b / 4 - g + 15) % 30;
    let l = (32 + 2 * (b % 4) + 2 * (c / 4) - h - c % 4) % 7;
    let m = (a + 11 * h + 22 * l) / 451;
    let sum = h + l - 7 * m + 114;
    let month = Month::try_from(u8::try_from(sum / 31).ok()?).ok()?;
    Date::from_calendar_date(year, month, u8::try_from(sum % 31 + 1).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::date;

    #[test]
    fn easter_and_summer_time_are_where_calendars_have_them() {
        for (year, expected) in [
            (2019, date!(2019 - 04 - 21)),
            (2024, date!(2024 - 03 - 31)),
            (2025, date!(2025 - 04 - 20)),
            (2026, date!(2026 - 04 - 05)),
        ] {
            assert_eq!(easter(year), Some(expected));
        }
        let hours = |place: usize, date| PLACES[place].offset(date).whole_hours();
        assert_eq!((hours(0, date!(2025 - 03 - 29)), hours(0, date!(2025 - 03 - 30))), (1, 2));
        assert_eq!((hours(0, date!(2025 - 10 - 25)), hours(0, date!(2025 - 10 - 26))), (2, 1));
        assert_eq!((hours(3, date!(2025 - 03 - 08)), hours(3, date!(2025 - 03 - 09))), (-5, -4));
        assert_eq!((hours(3, date!(2025 - 11 - 01)), hours(3, date!(2025 - 11 - 02))), (-4, -5));
        assert_eq!(PLACES[5].offset(date!(2025 - 07 - 01)).whole_minutes(), 330);
    }

    #[test]
    fn holidays_are_quiet_where_they_are_kept() {
        let full = |place: usize, date| PLACES[place].intensity(date) > 0.5;
        assert!(!full(0, date!(2025 - 04 - 21)) && full(3, date!(2025 - 04 - 21)));
        assert!(!full(3, date!(2025 - 11 - 27)) && full(0, date!(2025 - 11 - 27)));
        assert!(!full(0, date!(2025 - 12 - 23)));
    }
}

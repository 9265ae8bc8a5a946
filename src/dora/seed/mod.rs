//! The four gauges of the system that this one replaces, with believable values.
//!
//! A value is a function of seed, team, metric and date, and of nothing else: a
//! date has the same value whatever the range it is asked in, on every machine.
//! So randomness is addressed (a ChaCha stream per team, a position per day) and
//! arithmetic is restricted to what IEEE 754 defines to the last bit: no call of
//! a mathematics library, sums of integers, results rounded to fixed decimals.
//!
//! Gauges cannot be added up over teams or weeks; what can be done is to make
//! the four agree with each other. All four are read from one simulated day:
//!
//! | gauge | value on a date | unit |
//! | --- | --- | --- |
//! | `dora_deployment_frequency` | deployments of that day | per day |
//! | `dora_lead_time_ms` | mean over the deployments of the 28 days up to it | ms |
//! | `dora_change_failure_rate` | failed / all deployments of those 28 days | ratio |
//! | `dora_mttr_minutes` | mean recovery of the failures of those 28 days | minutes |
//!
//! With no deployment in 28 days the last three are 0; a failure rate above 0
//! comes with a recovery time above 0, and only then.

mod team;

use std::collections::VecDeque;

use time::{Date, Duration};

use super::{Labels, Series};
use team::{Day, Profile};

/// The gauges' names, in the order of [`TeamYear::days`].
pub const METRICS: [&str; 4] =
    ["dora_deployment_frequency", "dora_lead_time_ms", "dora_change_failure_rate", "dora_mttr_minutes"];

/// Days that the three averaged gauges look back, the day itself included.
pub const WINDOW_DAYS: usize = 28;

/// The most teams that one deployment is meant for.
pub const MAX_TEAMS: u32 = 10_000;

const NAMED: [&str; 39] = [
    "accounts",
    "analytics",
    "api-gateway",
    "audit",
    "authentication",
    "billing",
    "booking",
    "catalogue",
    "checkout",
    "compliance",
    "content",
    "crm",
    "customer-portal",
    "data-platform",
    "delivery",
    "developer-experience",
    "documents",
    "fraud",
    "identity",
    "insights",
    "inventory",
    "ledger",
    "logistics",
    "loyalty",
    "marketing",
    "messaging",
    "mobile-android",
    "mobile-ios",
    "notifications",
    "observability",
    "orders",
    "partner-api",
    "payments",
    "pricing",
    "recommendations",
    "reporting",
    "search",
    "subscriptions",
    "web-storefront",
];

/// The first `count` team names: 39 that read well, then `team-0040` and on.
pub fn teams(count: u32) -> Vec<String> {
    (0..count as usize)
        .map(|index| match NAMED.get(index) {
            Some(name) => (*name).to_owned(),
            None => format!("team-{:04}", index + 1),
        })
        .collect()
}

/// A day's time stamp: its first instant, UTC, in milliseconds since 1970.
pub fn timestamp_ms(date: Date) -> i64 {
    date.midnight().assume_utc().unix_timestamp() * 1000
}

/// The four gauges of one team over consecutive days.
#[derive(Clone, Debug, PartialEq)]
pub struct TeamYear {
    pub team: String,
    pub first: Date,
    /// One row a day, columns as in [`METRICS`].
    pub days: Vec<[f64; 4]>,
}

/// The values of `team` on the `days` days that end with `until` (included).
/// Days before the calendar's beginning are left out.
pub fn team_year(team: &str, seed: u64, until: Date, days: u32) -> TeamYear {
    let profile = Profile::of(team, seed);
    let days = i64::from(days);
    let back = (days - 1).max(0);
    let first = until.checked_sub(Duration::days(back)).unwrap_or(Date::MIN);
    if days == 0 {
        return TeamYear { team: team.to_owned(), first, days: Vec::new() };
    }
    let warm_up = WINDOW_DAYS as i64 - 1;
    let begin = first.checked_sub(Duration::days(warm_up)).unwrap_or(Date::MIN);

    let mut source = profile.source();
    let mut window: VecDeque<Day> = VecDeque::with_capacity(WINDOW_DAYS);
    let mut sum = Day::default();
    let mut rows = Vec::with_capacity(days as usize);
    let mut date = begin;
    loop {
        if window.len() == WINDOW_DAYS
            && let Some(old) = window.pop_front()
        {
            sum.subtract(&old);
        }
        let day = profile.day(&mut source, date);
        sum.add(&day);
        if date >= first {
            rows.push([
                day.deployments as f64,
                sum.lead_time_ms.checked_div(sum.deployments).unwrap_or(0) as f64,
                ratio(sum.failures, sum.deployments, 10_000.0),
                ratio(sum.recovery_seconds, sum.failures * 60, 100.0),
            ]);
        }
        window.push_back(day);
        match date.next_day() {
            Some(next) if date < until => date = next,
            _ => break,
        }
    }
    TeamYear { team: team.to_owned(), first, days: rows }
}

/// The four gauges of `team` on one date, columns as in [`METRICS`].
pub fn values(team: &str, seed: u64, date: Date) -> [f64; 4] {
    team_year(team, seed, date, 1).days.first().copied().unwrap_or_default()
}

/// The history of the first `teams` teams: `days` daily samples a series, the
/// last one of `until`. Made while it is read, a team at a time, so that its
/// length costs no memory; four series follow each other for each team.
///
/// The values of a day are known when it is over: let `until` be yesterday.
pub fn series(teams: u32, seed: u64, until: Date, days: u32) -> impl Iterator<Item = Series> + Send {
    self::teams(teams).into_iter().flat_map(move |team| {
        let year = team_year(&team, seed, until, days);
        let first = timestamp_ms(year.first);
        METRICS.into_iter().enumerate().map(move |(column, name)| Series {
            name,
            labels: Labels::new([("team", year.team.as_str())]),
            samples: year
                .days
                .iter()
                .enumerate()
                .map(|(day, row)| (first + day as i64 * DAY_MS, row[column]))
                .collect(),
        })
    })
}

const DAY_MS: i64 = 86_400_000;

/// numerator / denominator, rounded to `1 / scale`; 0 when nothing is counted.
fn ratio(numerator: u64, denominator: u64, scale: f64) -> f64 {
    if denominator == 0 {
        return 0.0;
    }
    (numerator as f64 / denominator as f64 * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::Weekday;
    use time::macros::date;

    use super::team::calendar;

    fn any_date() -> impl Strategy<Value = Date> {
        (0i32..30_000).prop_map(|days| date!(1990 - 01 - 01) + Duration::days(i64::from(days)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_date_has_one_value_whatever_the_range(
            seed: u64, until in any_date(), days in 1u32..120, later in 0i64..90, index in 0usize..39,
        ) {
            let team = NAMED[index];
            let short = team_year(team, seed, until, days);
            let long = team_year(team, seed, until + Duration::days(later), days + later as u32 + 7);
            let skip = (short.first - long.first).whole_days() as usize;
            prop_assert_eq!(&long.days[skip..skip + short.days.len()], &short.days[..]);
            prop_assert_eq!(values(team, seed, until), short.days[short.days.len() - 1]);
        }

        #[test]
        fn the_four_gauges_agree_with_each_other(seed: u64, until in any_date(), index in 0usize..39) {
            for [frequency, lead_time, failure_rate, recovery] in team_year(NAMED[index], seed, until, 60).days {
                prop_assert!(frequency >= 0.0 && frequency.fract() == 0.0);
                prop_assert!((0.0..=1.0).contains(&failure_rate));
                prop_assert_eq!(recovery > 0.0, failure_rate > 0.0);
                prop_assert!(failure_rate == 0.0 || lead_time > 0.0);
                prop_assert!(frequency == 0.0 || lead_time > 0.0);
                prop_assert!([frequency, lead_time, failure_rate, recovery].iter().all(|v| v.is_finite()));
            }
        }
    }

    #[test]
    fn working_days_are_busier_than_weekends_and_the_freeze() {
        let (mut working, mut weekend, mut freeze) = ((0.0, 0), (0.0, 0), (0.0, 0));
        for team in teams(39) {
            let year = team_year(&team, 7, date!(2025 - 12 - 31), 365);
            for (offset, row) in year.days.iter().enumerate() {
                let date = year.first + Duration::days(offset as i64);
                let kind = match date.weekday() {
                    _ if calendar(date) == 0.04 && date.weekday() != Weekday::Sunday => &mut freeze,
                    Weekday::Saturday | Weekday::Sunday => &mut weekend,
                    _ => &mut working,
                };
                kind.0 += row[0];
                kind.1 += 1;
            }
        }
        let mean = |(sum, count): (f64, u32)| sum / f64::from(count);
        assert!(mean(working) > 10.0 * mean(weekend), "{working:?} {weekend:?}");
        assert!(mean(working) > 10.0 * mean(freeze), "{working:?} {freeze:?}");
    }

    #[test]
    fn teams_differ_and_mature_teams_do_better() {
        let mut teams: Vec<(f64, [f64; 4])> = teams(39)
            .iter()
            .map(|team| {
                let year = team_year(team, 1, date!(2025 - 12 - 01), 300);
                let mean = |column: usize| {
                    year.days.iter().map(|row| row[column]).sum::<f64>() / year.days.len() as f64
                };
                (Profile::of(team, 1).maturity, [mean(0), mean(1), mean(2), mean(3)])
            })
            .collect();
        teams.sort_by(|a, b| a.0.total_cmp(&b.0));
        let average = |part: &[(f64, [f64; 4])], column: usize| {
            part.iter().map(|(_, means)| means[column]).sum::<f64>() / part.len() as f64
        };
        let (worst, best) = (&teams[..13], &teams[26..]);
        assert!(average(best, 0) > 2.0 * average(worst, 0));
        for column in 1..4 {
            assert!(average(best, column) < average(worst, column), "column {column}");
        }
    }

    #[test]
    fn names_are_distinct_up_to_the_largest_size() {
        let names = teams(MAX_TEAMS);
        assert_eq!(names.len(), MAX_TEAMS as usize);
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len());
        assert_eq!(&names[38..40], ["web-storefront", "team-0040"]);
    }

    #[test]
    fn series_carry_true_dates_and_all_samples() {
        let all: Vec<Series> = series(39, 1, date!(2025 - 03 - 02), 365).collect();
        assert_eq!(all.len(), 39 * 4);
        assert!(all.iter().all(|series| series.samples.len() == 365));
        let last = all[0].samples[364];
        assert_eq!(last.0, 1_740_873_600_000); // 2025-03-02T00:00:00Z
        assert_eq!(last.1, values("accounts", 1, date!(2025 - 03 - 02))[0]);
        assert!(series(3, 1, date!(2025 - 03 - 02), 0).all(|series| series.samples.is_empty()));
    }
}

//! Whether the data is whole and fresh, check by check.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use time::Date;

use super::words::{count, counted, some};
use super::{Report, Team};

/// Seconds that a newest value may be old.
pub const FRESH: f64 = 300.0;
/// Seconds that an agent may be behind.
const LAG: f64 = 60.0;

/// What was found about the data itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Integrity {
    /// Series of the metrics that have a sample in the range.
    pub series: u64,
    /// The samples that close the days of the range.
    pub days: Vec<Day>,
    /// What the agent tells of its deliveries; `None`: the endpoint knows of none.
    pub delivery: Option<Delivery>,
    pub checks: Vec<Check>,
}

/// The samples that close a day: one for each series.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Day {
    #[serde(serialize_with = "super::day")]
    #[schemars(with = "String")]
    pub date: Date,
    pub stored: u64,
    /// `None`: the sender is not known here.
    pub sent: Option<u64>,
}

/// Of a Prometheus agent, by its own metrics at the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Delivery {
    /// Newest sample scraped less newest sample delivered, seconds.
    pub lag: f64,
    /// Samples that waited for delivery.
    #[serde(serialize_with = "super::whole")]
    #[schemars(with = "u64")]
    pub pending: f64,
    /// Samples that were given up within the last day.
    #[serde(serialize_with = "super::whole")]
    #[schemars(with = "u64")]
    pub failed: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    Good,
    Bad,
    /// The endpoint can't tell.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "IntegrityCheck")]
pub struct Check {
    /// Stable: `series`, `freshness`, `gaps`, `history`, `delivery`.
    pub name: &'static str,
    pub title: &'static str,
    pub standing: Standing,
    pub found: String,
}

impl Report {
    /// Checks that found something wrong.
    pub fn problems(&self) -> usize {
        self.integrity.checks.iter().filter(|check| check.standing == Standing::Bad).count()
    }
}

impl Team {
    pub(super) fn stale(&self) -> bool {
        self.age.is_none_or(|age| age > FRESH)
    }
}

/// All checks, over what was found.
/// `lacking`: days at the beginning of what was asked that are not stored.
pub(super) fn checks(integrity: &Integrity, teams: &[Team], days: u32, lacking: u32) -> Vec<Check> {
    vec![
        series(integrity, teams),
        freshness(teams),
        gaps(teams, days, lacking),
        history(&integrity.days),
        delivery(integrity.delivery),
    ]
}

fn check(name: &'static str, title: &'static str, standing: Standing, found: impl Into<String>) -> Check {
    Check { name, title, standing, found: found.into() }
}

fn good(good: bool) -> Standing {
    if good { Standing::Good } else { Standing::Bad }
}

fn series(integrity: &Integrity, teams: &[Team]) -> Check {
    let found = format!("{} series of {}", count(integrity.series as f64), counted(teams.len(), "team"));
    check("series", "Series", good(integrity.series > 0), found)
}

fn freshness(teams: &[Team]) -> Check {
    let make = |standing, found: String| check("freshness", "Freshness", standing, found);
    let stale: Vec<String> = teams
        .iter()
        .filter(|team| team.stale())
        .map(|team| match (team.age, team.last_day) {
            (Some(age), _) => format!("{} ({} ago)", team.name, super::words::duration(Some(age))),
            (None, Some(day)) => format!("{} (last on {day})", team.name),
            (None, None) => team.name.clone(),
        })
        .collect();
    match (teams.len(), stale.len()) {
        (0, _) => make(Standing::Unknown, "no team has any series".into()),
        (all, 0) => {
            make(Standing::Good, format!("{} a value of the last 5 minutes", of_all(all, "has", "have")))
        }
        (all, none) if all == none => make(
            Standing::Bad,
            format!("nothing live: no team has a value of the last 5 minutes; {}", newest(teams)),
        ),
        (all, some_are) => make(
            Standing::Bad,
            format!(
                "{} of {} teams have no value of the last 5 minutes: {}",
                count(some_are as f64),
                count(all as f64),
                some(&stale)
            ),
        ),
    }
}

fn of_all(teams: usize, one: &str, more: &str) -> String {
    match teams {
        1 => format!("the one team {one}"),
        teams => format!("all {} {more}", counted(teams, "team")),
    }
}

fn newest(teams: &[Team]) -> String {
    let age = teams.iter().filter_map(|team| team.age).reduce(f64::min);
    let day = teams.iter().filter_map(|team| team.last_day).max();
    match (age, day) {
        (Some(age), _) => format!("the newest is {} old", super::words::duration(Some(age))),
        (None, Some(day)) => format!("the newest is of {day}"),
        (None, None) => "there is none in the whole range".into(),
    }
}

fn gaps(teams: &[Team], days: u32, lacking: u32) -> Check {
    let beginning = match lacking {
        0 => String::new(),
        lacking => format!("nothing is stored of the first {lacking} of {} days; ", lacking + days),
    };
    let make = |standing, found: String| {
        let standing = if lacking > 0 { Standing::Bad } else { standing };
        check("gaps", "Gaps", standing, format!("{beginning}{found}"))
    };
    if teams.iter().all(|team| team.first_day.is_none()) {
        return make(Standing::Bad, "no day of the range has a sample".into());
    }
    let holes: Vec<String> = teams
        .iter()
        .filter(|team| !team.gaps.is_empty())
        .map(|team| match team.gaps.as_slice() {
            [one] => format!("{} ({one})", team.name),
            gaps => format!("{} ({} days from {})", team.name, gaps.len(), gaps[0]),
        })
        .collect();
    if !holes.is_empty() {
        // A day that all lack is one event, not one for each team.
        let mut teams_of: BTreeMap<Date, usize> = BTreeMap::new();
        for day in teams.iter().flat_map(|team| &team.gaps) {
            *teams_of.entry(*day).or_default() += 1;
        }
        let of_all: Vec<String> = teams_of
            .iter()
            .filter(|(_, lacking)| **lacking > 1 && **lacking == teams.len())
            .map(|(day, _)| day.to_string())
            .collect();
        let found = match of_all.as_slice() {
            [] => format!("days without a sample: {}", some(&holes)),
            days if holes.len() == teams.len() && teams.iter().all(|team| team.gaps.len() == days.len()) => {
                format!("all teams lack {}", some(days))
            }
            days => format!("all teams lack {}; {}", some(days), some(&holes)),
        };
        return make(Standing::Bad, found);
    }
    let late =
        teams.iter().filter(|team| team.first_day != teams.iter().filter_map(|one| one.first_day).min());
    let late = match late.count() {
        0 => String::new(),
        late => format!("; {late} began later than the others"),
    };
    make(Standing::Good, format!("{} of {} have samples{late}", counted(days as usize, "day"), days))
}

fn history(days: &[Day]) -> Check {
    let make = |standing, found: String| check("history", "Sent and stored", standing, found);
    let stored: u64 = days.iter().map(|day| day.stored).sum();
    let stored_text = count(stored as f64);
    if days.iter().all(|day| day.sent.is_none()) {
        return make(
            Standing::Unknown,
            format!(
                "{stored_text} daily samples are stored; what was sent is only known where the sender is"
            ),
        );
    }
    let sent: u64 = days.iter().filter_map(|day| day.sent).sum();
    let lacking = days.iter().filter(|day| day.sent.is_some_and(|sent| day.stored < sent));
    let lacking: Vec<String> = lacking.map(|day| day.date.to_string()).collect();
    let all = count(sent as f64);
    // Nobody sends these any more, and they are in every figure.
    let more = days.iter().filter(|day| day.sent.is_some_and(|sent| day.stored > sent));
    let more: Vec<&Day> = more.collect();
    let too_many: u64 = more.iter().map(|day| day.stored - day.sent.unwrap_or_default()).sum();
    if let ([], [first, ..]) = (lacking.as_slice(), more.as_slice()) {
        let found = format!(
            "{} daily samples are stored beside the {all} that were sent, on {} from {}: what a team, a service or \
             an environment was called before is counted, too",
            count(too_many as f64),
            counted(more.len(), "day"),
            first.date
        );
        return make(Standing::Bad, found);
    }
    match lacking.as_slice() {
        [] => make(Standing::Good, format!("all {all} daily samples that were sent are stored")),
        days => make(
            Standing::Bad,
            format!("{stored_text} of {all} daily samples are stored; missing on {}", some(days)),
        ),
    }
}

fn delivery(delivery: Option<Delivery>) -> Check {
    let make = |standing, found: String| check("delivery", "Delivery", standing, found);
    let Some(Delivery { lag, pending, failed }) = delivery else {
        return make(Standing::Unknown, "the endpoint holds no metrics of a collector".into());
    };
    let found = format!(
        "the collector was {} behind, {} samples waited, {} were given up within a day",
        super::words::duration(Some(lag)),
        count(pending),
        count(failed)
    );
    make(good(lag <= LAG && failed < 0.5), found)
}

#[cfg(test)]
mod tests {
    use time::macros::date;

    use super::*;

    #[test]
    fn what_is_stored_and_not_sent_any_more_is_no_good_history() {
        let day = |stored, sent| Day { date: date!(2026 - 03 - 01), stored, sent };
        let found = |days: &[Day]| {
            let check = history(days);
            (check.standing, check.found)
        };
        assert_eq!(found(&[day(3, Some(3)), day(9, None)]).0, Standing::Good);
        assert_eq!(found(&[day(3, None)]).0, Standing::Unknown);
        let (standing, said) = found(&[day(2, Some(3)), day(5, Some(3))]);
        assert!(standing == Standing::Bad && said.contains("missing on 2026-03-01"), "{said}");
        // A service that was renamed: under both names.
        let (standing, said) = found(&[day(6, Some(3)), day(3, Some(3))]);
        assert!(
            standing == Standing::Bad && said.starts_with("3 daily samples are stored beside the 6"),
            "{said}"
        );
    }
}

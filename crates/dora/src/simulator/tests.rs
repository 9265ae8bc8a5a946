use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use sha2::{Digest, Sha256};
use time::Weekday;
use time::macros::date;

use super::*;
use crate::events::{self as lines, Deployment, Kind};

fn all(count: u32, seed: u64) -> Vec<Team> {
    teams(count).iter().map(|name| Team::new(name, seed)).collect()
}

fn text(events: impl Iterator<Item = Event>) -> Vec<u8> {
    let events: Vec<Event> = events.collect();
    let mut out = Vec::new();
    lines::write(&mut out, &events).unwrap();
    out
}

fn deployments(events: &[Event]) -> Vec<&Deployment> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Deployment(deployment) => Some(deployment),
            _ => None,
        })
        .collect()
}

/// A change here changes everybody's history: it needs an entry in the changelog.
#[test]
fn one_seed_gives_one_year_byte_for_byte() {
    let year = text(events(all(39, 1), date!(2025 - 01 - 01), date!(2025 - 12 - 31)));
    insta::assert_snapshot!(hex::encode(Sha256::digest(&year)), @"415f42c16ab81e73ea468fb8251ded15c6f2154607bc82fff5b0e8b7204d765a");
}

#[test]
fn lines_are_readable() {
    let few = text(events(all(1, 1), date!(2025 - 03 - 28), date!(2025 - 03 - 28)).skip(9).take(2));
    insta::assert_snapshot!(String::from_utf8(few).unwrap(), @r#"
    {"type":"change","id":"accounts-2025-04-01-1.8","team":"accounts","service":"accounts-web","at":"2025-03-28T06:31:13+01:00"}
    {"type":"deployment","id":"accounts-2025-03-28-1","team":"accounts","service":"accounts-web","environment":"production","at":"2025-03-28T16:49:43+01:00","kind":"planned","changes":["accounts-2025-03-28-1.1","accounts-2025-03-28-1.2","accounts-2025-03-28-1.3","accounts-2025-03-28-1.4","accounts-2025-03-28-1.5","accounts-2025-03-28-1.6"]}
    "#);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_day_is_the_same_whatever_the_range(seed: u64, day in 0i64..3000, before in 0i64..40, after in 0i64..40) {
        let date = date!(2020 - 01 - 01) + Duration::days(day);
        let on = |event: &Event| event.at().to_offset(time::UtcOffset::UTC).date() == date;
        let short: Vec<Event> = events(all(3, seed), date, date).filter(on).collect();
        let first = date - Duration::days(before);
        let long: Vec<Event> = events(all(3, seed), first, date + Duration::days(after)).filter(on).collect();
        prop_assert_eq!(short, long);
    }

    #[test]
    fn everything_that_is_referred_to_is_there_and_came_before(seed: u64, day in 0i64..3000) {
        let first = date!(2020 - 01 - 01) + Duration::days(day);
        let mut seen: BTreeMap<String, OffsetDateTime> = BTreeMap::new();
        let mut last = OffsetDateTime::UNIX_EPOCH;
        for event in events(all(3, seed), first, first + Duration::days(40)) {
            prop_assert!(event.at() >= last && event.at() < midnight(first + Duration::days(41)));
            last = event.at();
            let (id, needs): (Option<&str>, Vec<&String>) = match &event {
                Event::Change(change) => (Some(&change.id), vec![]),
                Event::Deployment(deployment) => (Some(&deployment.id), deployment.changes.iter().collect()),
                Event::Failure(failure) => (Some(&failure.id), failure.deployment.iter().collect()),
                Event::Recovery(end) => (None, std::iter::once(&end.failure).chain(&end.deployment).collect()),
            };
            for needed in needs {
                prop_assert!(seen.contains_key(needed), "{needed} of {event:?}");
            }
            if let Some(id) = id {
                prop_assert!(seen.insert(id.to_owned(), event.at()).is_none(), "{id} twice");
            }
        }
    }
}

/// What an episode may reach is what [`events`] relies on to sort while reading.
#[test]
fn no_episode_reaches_further_than_is_said() {
    for team in all(39, 3) {
        for date in dates(date!(2025 - 01 - 01), date!(2025 - 12 - 31)) {
            for episode in team.day(date) {
                let (first, last) = (episode.0[0].at(), episode.0[episode.0.len() - 1].at());
                assert!(first >= midnight(days_after(date, -LONGEST_LEAD_DAYS - 1)), "{episode:?}");
                assert!(last < midnight(days_after(date, LONGEST_AFTERMATH_DAYS)), "{episode:?}");
            }
        }
    }
}

#[test]
fn a_year_looks_like_one() {
    let year: Vec<Event> = events(all(39, 7), date!(2025 - 01 - 01), date!(2025 - 12 - 31)).collect();
    let planned: Vec<_> =
        deployments(&year).into_iter().filter(|deployment| deployment.kind == Kind::Planned).collect();
    assert!((10_000..60_000).contains(&planned.len()), "{}", planned.len());

    // Weekdays by day, night and weekend, in the team's own time.
    let share = |test: &dyn Fn(OffsetDateTime) -> bool| {
        planned.iter().filter(|deployment| test(deployment.at)).count() as f64 / planned.len() as f64
    };
    assert!(share(&|at| at.hour() < 6 || at.hour() > 20) < 0.03);
    assert!(share(&|at| matches!(at.weekday(), Weekday::Saturday | Weekday::Sunday)) < 0.04);
    assert!(share(&|at| calendar::freeze(at.date())) < 0.01);

    // A failed deployment is mended by a rework.
    let reworks = deployments(&year).len() - planned.len();
    let failures: BTreeSet<&str> = year
        .iter()
        .filter_map(|event| match event {
            Event::Failure(failure) => failure.deployment.as_deref(),
            _ => None,
        })
        .collect();
    assert!(reworks <= failures.len() && failures.len() - reworks < 40, "{reworks} {}", failures.len());
    let rate = failures.len() as f64 / planned.len() as f64;
    assert!((0.02..0.25).contains(&rate), "{rate}");

    // Some outages hit several teams on one day.
    let mut outages: BTreeMap<Date, usize> = BTreeMap::new();
    for event in &year {
        if let Event::Failure(failure) = event
            && failure.deployment.is_none()
        {
            *outages.entry(failure.at.to_offset(time::UtcOffset::UTC).date()).or_default() += 1;
        }
    }
    assert!(outages.len() > 4 && outages.values().any(|teams| *teams > 5), "{outages:?}");
}

#[test]
fn mature_teams_and_small_batches_do_better() {
    let mut teams = all(60, 1);
    teams.sort_by(|a, b| a.maturity.total_cmp(&b.maturity));
    let fails = |teams: &[Team], test: &dyn Fn(usize) -> bool| {
        let (mut all, mut failed) = (0.0, 0.0);
        for team in teams {
            for date in dates(date!(2025 - 01 - 01), date!(2025 - 12 - 15)) {
                for episode in team.day(date) {
                    let planned = deployments(&episode.0);
                    if let Some(first) = planned.first()
                        && test(first.changes.len())
                    {
                        all += 1.0;
                        failed += f64::from(u8::from(planned.len() > 1));
                    }
                }
            }
        }
        (all, failed / all)
    };
    let (worst, best) = (fails(&teams[..20], &|_| true), fails(&teams[40..], &|_| true));
    assert!(best.0 > 3.0 * worst.0 && best.1 < 0.6 * worst.1, "{best:?} {worst:?}");
    let (small, large) = (fails(&teams[..20], &|size| size <= 3), fails(&teams[..20], &|size| size > 6));
    assert!(small.1 < 0.8 * large.1, "{small:?} {large:?}");
}

//! `report` of teams that began late, ended early, lack days, or were there for one: each figure is of the days
//! that are stored, beside a recount from the events. A real Prometheus stores and computes.

use std::collections::{BTreeMap, BTreeSet};

use dorainfra_base::zone::Zone;
use dorainfra_dora::events::{Change, Deployment, Event, Failure, Kind, Recovery};
use dorainfra_dora::metrics;
use dorainfra_dora::truth::{Days, Summary, summary};
use dorainfra_model::Events;
use dorainfra_prometheus::query::Query;
use dorainfra_prometheus::remote_write::{Client, Limits};
use dorainfra_prometheus::{Samples, Series};
use dorainfra_report::{Figures, Question, Report, collect};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use time::macros::{date, datetime};
use time::{Date, Duration};

use crate::collector::{Receiver, ReceiverOptions};

/// The first day that anything is stored of; there are [`STORED`].
const FIRST: Date = date!(2025 - 03 - 03);
const STORED: i64 = 84;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// The days whose ends are stored of a team, counted from the day before the first one.
fn presence() -> impl Strategy<Value = BTreeSet<i64>> {
    let all = || -STORED..=0;
    let days = |from: i64, until: i64| (from..=until).collect::<BTreeSet<i64>>();
    prop_oneof![
        2 => Just(days(-STORED, 0)),
        2 => (20i64..80).prop_map(move |late| days(late - STORED, 0)),
        2 => (1i64..60).prop_map(move |early| days(-STORED, -early)),
        1 => (10i64..70, 1i64..30).prop_map(move |(from, long)| days(from - STORED, (from - STORED + long).min(0))),
        2 => (1i64..80, 1i64..25).prop_map(move |(from, long)| {
            let hole = from - STORED..from - STORED + long;
            all().filter(|day| !hole.contains(day)).collect()
        }),
        1 => all().prop_map(|day| BTreeSet::from([day])),
        1 => (all(), 0i64..2).prop_map(|(day, more)| BTreeSet::from([day, (day + more).min(0)])),
    ]
}

/// So many deployments on each day: the same on all, or random ones.
fn paces() -> impl Strategy<Value = Vec<u8>> {
    let days = STORED as usize;
    prop_oneof![
        (1u8..4).prop_map(move |pace| vec![pace; days]),
        proptest::collection::vec(0u8..5, days),
        Just(vec![0; days]),
    ]
}

fn events_of(case: &str, team: &str, pace: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    for (day, count) in pace.iter().enumerate() {
        for number in 0..*count {
            let at = (FIRST + Duration::days(day as i64)).midnight().assume_utc()
                + Duration::hours(2 + 5 * i64::from(number));
            let id = format!("{case}/{team}/{day}/{number}");
            let (team, service) = (team.to_owned(), format!("s{}", number % 2));
            let change = Change {
                id: id.clone(),
                team: team.clone(),
                service: service.clone(),
                at: at - Duration::hours(3),
            };
            events.push(Event::Change(change));
            if number == 0 {
                events.push(Event::Failure(Failure {
                    id: id.clone(),
                    team: team.clone(),
                    service: service.clone(),
                    at: at + Duration::minutes(5),
                    deployment: Some(id.clone()),
                }));
                let at = at + Duration::minutes(25);
                events.push(Event::Recovery(Recovery { failure: id.clone(), at, deployment: None }));
            }
            events.push(Event::Deployment(Deployment {
                id: id.clone(),
                team,
                service,
                environment: case.to_owned(),
                at,
                kind: if number == 1 { Kind::Rework } else { Kind::Planned },
                changes: vec![id],
            }));
        }
    }
    // Who deploys nothing has series all the same, as it deployed before.
    if events.is_empty() {
        events.push(Event::Deployment(Deployment {
            id: format!("{case}/{team}"),
            team: team.to_owned(),
            service: "s0".into(),
            environment: case.to_owned(),
            at: FIRST.midnight().assume_utc() - Duration::days(10),
            kind: Kind::Planned,
            changes: Vec::new(),
        }));
    }
    events
}

/// What is stored of it: the ends of these days.
fn stored(events: &[Event], there: &BTreeMap<&str, BTreeSet<Date>>) -> Vec<Series> {
    let mut series = metrics::series(events, FIRST, FIRST + Duration::days(STORED - 1));
    for one in &mut series {
        let days = &there[one.labels.get("team")];
        let Samples::Plain(samples) = &mut one.samples else { continue };
        samples.retain(|(at, _)| {
            let end = time::OffsetDateTime::from_unix_timestamp(at.div_euclid(1000)).unwrap();
            days.contains(&(end.date() - Duration::days(1)))
        });
    }
    series.retain(|one| matches!(&one.samples, Samples::Plain(samples) if !samples.is_empty()));
    series
}

/// The days between the first and the last sample of these days: what is known.
fn known(there: &BTreeSet<Date>, first: Date, until: Date) -> Option<Days> {
    let mut day = first - Duration::days(1);
    let mut samples = Vec::new();
    while day <= until {
        samples.extend(there.contains(&day).then_some(day));
        day += Duration::days(1);
    }
    let (first, until) = (*samples.first()?, *samples.last()?);
    (first < until).then_some(Days { first: first + Duration::days(1), until })
}

/// What some teams did, each on the days that are known of it.
#[derive(Default)]
struct Recount {
    deployments: u64,
    failed: u64,
    rework: u64,
    changes: u64,
    recoveries: u64,
    days: Option<(Date, Date)>,
}

impl Recount {
    fn add(&mut self, one: &Summary, days: Days) {
        self.deployments += one.deployments;
        self.failed += one.failed;
        self.rework += one.rework;
        self.changes += one.lead_times.len() as u64;
        self.recoveries += one.recoveries.len() as u64;
        let (first, until) = self.days.unwrap_or((days.first, days.until));
        self.days = Some((first.min(days.first), until.max(days.until)));
    }

    fn count(&self) -> i64 {
        self.days.map_or(0, |(first, until)| (until - first).whole_days() + 1)
    }

    #[track_caller]
    fn is(&self, found: &Figures, what: &str) {
        if self.days.is_none() {
            assert_eq!(found, &Figures::default(), "{what}");
            return;
        }
        let counts = [found.deployments, found.failed, found.rework, found.changes, found.recoveries];
        let right = [self.deployments, self.failed, self.rework, self.changes, self.recoveries];
        assert_eq!(counts, right.map(|count| Some(count as f64)), "{what}");
        let pace = self.deployments as f64 / self.count() as f64;
        assert!((found.frequency.unwrap() - pace).abs() < 1e-9, "{what}: {:?}, not {pace}", found.frequency);
        assert_eq!(found.lead_time.is_some(), self.changes > 0, "{what}");
        // Each took three hours, and 20 minutes.
        assert!(found.lead_time.is_none_or(|median| (3_600.0..=14_400.0).contains(&median)), "{what}");
        assert!(found.recovery.is_none_or(|median| (900.0..=1_800.0).contains(&median)), "{what}");
    }
}

struct Case {
    name: String,
    events: Vec<Event>,
    there: BTreeMap<&'static str, BTreeSet<Date>>,
    /// Each team has the same on each day.
    steady: bool,
}

impl Case {
    fn recount<'a>(&self, teams: impl IntoIterator<Item = &'a str>, first: Date, until: Date) -> Recount {
        let mut all = Recount::default();
        for team in teams {
            if let Some(days) = known(&self.there[team], first, until) {
                all.add(&summary(&self.events, days, &self.name, &[team]), days);
            }
        }
        all
    }

    fn check(&self, report: &Report) {
        let (first, until) = (report.first, report.until);
        let what = |of: &str| format!("{of} of {} in {first}..{until} ({:?})", self.name, self.there);
        let everybody = || self.there.keys().copied();
        let all = self.recount(everybody(), first, until);
        all.is(&report.all, &what("all"));
        if all.days.is_some() {
            assert_eq!(i64::from(report.covered_days), all.count(), "{}", what("days"));
        }
        for team in &report.teams {
            let name = team.name.as_str();
            let right = self.recount([name], first, until);
            right.is(&team.figures, &what(name));
            assert_eq!(i64::from(team.days), right.count(), "{}", what(name));
            if let Some((began, ended)) = right.days {
                assert_eq!((team.first_day, team.last_day), (Some(began), Some(ended)), "{}", what(name));
            }
        }
        let services = report.services.as_ref().unwrap().iter();
        let of_services: f64 = services.map(|service| service.deployments).sum();
        assert_eq!(of_services, all.deployments as f64, "{}", what("services"));

        // Periods, and that they are all of it where each day is in one of them.
        let mut covered: BTreeMap<&str, i64> = BTreeMap::new();
        for (index, period) in report.periods.iter().enumerate() {
            let begins = period.until - Duration::days(i64::from(report.period_days) - 1);
            let right = self.recount(everybody(), begins, period.until);
            right.is(&period.figures, &what(&format!("period to {}", period.until)));
            assert_eq!(i64::from(period.days), right.count());
            for team in &report.teams {
                let right = self.recount([team.name.as_str()], begins, period.until);
                let expected = right.days.map(|_| right.deployments as f64);
                assert_eq!(team.deployments_by_period[index], expected, "{}", what(&team.name));
                assert_eq!(i64::from(team.days_by_period[index]), right.count(), "{}", what(&team.name));
                *covered.entry(&team.name).or_default() += right.count();
            }
        }
        if report.teams.iter().all(|team| covered.get(team.name.as_str()) == Some(&i64::from(team.days))) {
            let sum: f64 = report.periods.iter().filter_map(|period| period.figures.deployments).sum();
            assert_eq!(sum, all.deployments as f64, "{}", what("sum of the periods"));
        }

        // Both ranges of the same teams, which are there from the beginning to the last day of anybody.
        let days = Duration::days(i64::from(report.days));
        let (before, ended) = (first - days, first - Duration::days(1));
        let compared: Vec<&str> = everybody()
            .filter(|team| {
                let whole = known(&self.there[team], before, ended);
                let now = known(&self.there[team], first, until);
                whole.is_some_and(|days| (days.first, days.until) == (before, ended))
                    && now.is_some_and(|days| {
                        Some((days.first, days.until)) == Some((first, all.days.unwrap().1))
                    })
            })
            .collect();
        let marked: Vec<&str> =
            report.teams.iter().filter(|team| team.compared).map(|team| team.name.as_str()).collect();
        assert_eq!(marked, compared, "{}", what("compared"));
        assert_eq!(report.comparison.is_some(), !compared.is_empty(), "{}", what("comparison"));
        let Some(comparison) = &report.comparison else {
            assert_eq!(report.previous, None);
            return;
        };
        let now = self.recount(compared.iter().copied(), first, until);
        now.is(&comparison.now, &what("now"));
        self.recount(compared.iter().copied(), before, ended).is(&comparison.before, &what("before"));
        let out = everybody().filter(|team| {
            let there = |first, until| known(&self.there[team], first, until).is_some();
            !compared.contains(team) && (there(before, ended) || there(first, until))
        });
        assert_eq!(comparison.without, out.collect::<Vec<_>>(), "{}", what("without"));
        assert_eq!(report.previous, comparison.without.is_empty().then_some(comparison.before));
        if self.steady {
            let pace = |figures: &Figures| (figures.frequency.unwrap() * 1e6).round();
            assert_eq!(pace(&comparison.now), pace(&comparison.before), "{}", what("steady"));
            assert_eq!(comparison.moves, []);
            for team in report.teams.iter().filter(|team| team.compared) {
                assert_eq!(pace(&team.figures), pace(&team.before.unwrap()), "{}", what(&team.name));
                assert_eq!(team.moves, []);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_of_the_days_that_are_stored_whoever_was_there_when() {
    let dir = tempfile::tempdir().unwrap();
    let options = ReceiverOptions { out_of_order_window: "5000d", tls: None };
    let receiver = Receiver::start_keeping(dir.path(), options, "5000d").await;
    let client = Client::new(&receiver.target).unwrap();
    let query = Query::new(&receiver.target).unwrap();
    let mut runner = TestRunner::deterministic();
    let mut of = |number: usize| {
        let name = format!("case-{number}");
        let (mut events, mut there, mut steady) = (Vec::new(), BTreeMap::new(), true);
        // Of all together the feed ends early in some.
        let ended = (0i64..9).new_tree(&mut runner).unwrap().current() - 3;
        for team in NAMES {
            let pace = paces().new_tree(&mut runner).unwrap().current();
            let days = presence().new_tree(&mut runner).unwrap().current();
            steady &= pace.iter().all(|count| *count == pace[0]);
            let days = days.into_iter().filter(|day| *day <= -ended.max(0));
            let days = days.map(|day| FIRST + Duration::days(STORED - 1 + day));
            there.insert(team, days.collect::<BTreeSet<Date>>());
            events.extend(events_of(&name, team, &pace));
        }
        Case { name, events, there, steady }
    };
    for case in (0..20).map(&mut of).collect::<Vec<_>>() {
        client.send(&stored(&case.events, &case.there), Limits::default(), 0, &Events::none()).await.unwrap();
        for (back, days) in [(0, 28), (0, 40), (9, 14), (4, 7), (30, 1)] {
            let until = FIRST + Duration::days(STORED - 1 - back);
            let question = Question {
                subject: "dora".into(),
                source: "here".into(),
                environment: case.name.clone(),
                sources: false,
                settle_hours: None,
                teams: Vec::new(),
                without: Vec::new(),
                first: until - Duration::days(days - 1),
                until,
                zone: Zone::UTC,
                bands_year: 2024,
                services: true,
                now: datetime!(2025-06-01 12:00 UTC),
                native: false,
                simulated: false,
            };
            let unknown = std::future::ready(BTreeMap::new());
            match collect(&query, &question, unknown, &|_| {}).await {
                Ok(report) => case.check(&report),
                Err(error) => assert!(error.to_string().contains("has no samples"), "{}: {error}", case.name),
            }
        }
    }
}

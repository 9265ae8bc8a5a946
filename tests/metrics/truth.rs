//! The truth check: metrics by PromQL from what is stored equal those computed
//! from the events themselves. A real Prometheus stores and computes; with a Mimir in
//! `DORAINFRA_MIMIR_BINARY`, that one does.

use crate::collector::Receiver;
use dorainfra_dora::events::{self, Change, Deployment, Event, Failure, Kind, PRODUCTION, Recovery};
use dorainfra_dora::metrics::{
    self, DEPLOYMENTS, GAUGES, Histograms, LEAD_TIME, LEAD_TIME_EDGES, RECOVERY, RECOVERY_EDGES,
};
use dorainfra_dora::simulator::{self, Team};
use dorainfra_dora::truth::{Days, Summary, summary, summary_where};
use dorainfra_model::Events;
use dorainfra_prometheus::remote_write::{Client, Limits};
use dorainfra_prometheus::{Labels, Samples, Series};
use dorainfra_report::Key;
use dorainfra_report::keys::{Ask, window};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use time::macros::date;
use time::{Date, Duration, UtcOffset};

/// The first day of what is stored; the range has [`DAYS`].
const FIRST: Date = date!(2025 - 03 - 24);
const DAYS: i64 = 14;

/// An engine, and what is asked of it.
struct Store {
    receiver: Receiver,
    http: reqwest::Client,
}

impl Store {
    async fn start(dir: &std::path::Path) -> Self {
        let receiver = Receiver::real_where_given(dir, "5000d", "5000d").await;
        let http = receiver.target.http_client().unwrap();
        Self { receiver, http }
    }

    async fn send(&self, series: &[Series]) {
        let client = Client::new(&self.receiver.target).unwrap();
        client.send(series, Limits::default(), 0, &Events::none()).await.unwrap();
    }

    /// The single value of a query at the end of a day; `None`: nothing, or not a number.
    async fn ask(&self, query: &str, until: Date) -> Option<f64> {
        let end = until.next_day().unwrap().midnight().assume_utc().unix_timestamp();
        let url = self.receiver.target.query_url("/api/v1/query");
        let answer: serde_json::Value = self
            .http
            .get(url)
            .query(&[("query", query), ("time", &end.to_string())])
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let result = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{query}: {answer}"));
        assert!(result.len() < 2, "{query}: {answer}");
        let value: f64 = result.first()?["value"][1].as_str().unwrap().parse().unwrap();
        value.is_finite().then_some(value)
    }

    /// What docs/metrics.md says that one asks, for `teams` (a regular expression).
    async fn check(&self, truth: &Summary, teams: &str, days: Days) {
        let window = window(days.count());
        let selector = |more: &str| format!("{{environment=\"production\",team=~\"{teams}\"{more}}}");
        let increase =
            |name: &str, more: &str| format!("round(sum(increase({name}{}[{window}])))", selector(more));
        let until = days.until;
        let about = format!("{teams} {days:?} {truth:?}");

        let deployments = self.ask(&increase(DEPLOYMENTS, ""), until).await.unwrap_or_default();
        assert_eq!(deployments.round() as u64, truth.deployments, "{about}");
        assert!((deployments - deployments.round()).abs() < 1e-3, "{deployments}");
        let frequency = deployments / days.count() as f64;
        assert!((frequency - truth.frequency_per_day).abs() < 1e-4, "{frequency} {about}");

        for (label, count, expected) in [
            ("outcome=\"failure\"", truth.failed, truth.failure_rate),
            ("kind=\"rework\"", truth.rework, truth.rework_rate),
        ] {
            let part = increase(DEPLOYMENTS, &format!(",{label}"));
            let found = self.ask(&part, until).await.unwrap_or_default();
            assert_eq!(found.round() as u64, count, "{label} {about}");
            let rate = self.ask(&format!("{part} / {}", increase(DEPLOYMENTS, "")), until).await;
            assert_eq!(rate.is_some(), expected.is_some(), "{label} {about}");
            if let (Some(rate), Some(expected)) = (rate, expected) {
                assert!((rate - expected).abs() < 1e-12, "{label}: {rate} {about}");
            }
        }

        for (name, values, edges) in
            [(LEAD_TIME, &truth.lead_times, LEAD_TIME_EDGES), (RECOVERY, &truth.recoveries, RECOVERY_EDGES)]
        {
            let part = |part: &str| increase(&format!("{name}_{part}"), "");
            let count = self.ask(&part("count"), until).await.unwrap_or_default();
            assert_eq!(count.round() as usize, values.len(), "{name} {about}");
            let sum = self.ask(&part("sum"), until).await.unwrap_or_default();
            assert!((sum - values.iter().sum::<u64>() as f64).abs() < 1e-3 * sum.max(1.0), "{name} {about}");
            let median = format!(
                "histogram_quantile(0.5, round(sum by (le) (increase({name}_bucket{}[{window}]))))",
                selector("")
            );
            let median = self.ask(&median, until).await;
            assert_eq!(median.is_some(), !values.is_empty(), "{name} {about}");
            if let Some(median) = median {
                // Of an even number, anything between the two in the middle.
                let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
                let expected = bucket(&edges, low as f64)..=bucket(&edges, high as f64);
                assert!(expected.contains(&bucket(&edges, median)), "{name}: {median} {about}");
            }
        }
    }
}

/// Which bucket a value is in; an interpolated edge belongs to the one below,
/// and above all edges a histogram knows the last one only.
fn bucket(edges: &[u64], value: f64) -> usize {
    edges.partition_point(|edge| (*edge as f64) < value * (1.0 - 1e-6)).min(edges.len() - 1)
}

fn days(first: i64, count: i64) -> Days {
    let first = FIRST + Duration::days(first);
    Days { first, until: first + Duration::days(count - 1) }
}

fn store_of(events: &[Event]) -> Vec<Series> {
    metrics::series(events, FIRST, FIRST + Duration::days(DAYS - 1))
}

/// What may happen: seconds since the first day, and what comes of it.
fn some_events(prefix: &'static str) -> impl Strategy<Value = Vec<Event>> {
    let one = (
        (0..DAYS * 86_400, 0usize..3, 0usize..2, any::<bool>(), 0i32..3),
        proptest::collection::vec(0i64..80 * 86_400, 0..4),
        proptest::option::weighted(
            0.4,
            (0i64..5 * 86_400, proptest::option::weighted(0.8, 0i64..9 * 86_400)),
        ),
    );
    proptest::collection::vec(one, 0..40).prop_map(move |all| {
        let mut events = Vec::new();
        for (index, ((at, team, service, rework, hours), leads, failed)) in all.into_iter().enumerate() {
            let offset = UtcOffset::from_hms(i8::try_from(hours).unwrap() - 1, 0, 0).unwrap();
            let at = (FIRST.midnight().assume_utc() + Duration::seconds(at)).to_offset(offset);
            let (team, service) = (format!("{prefix}-{team}"), format!("service-{service}"));
            let id = format!("{prefix}{index}");
            let change = |number: usize| format!("{id}.{number}");
            events.extend(leads.iter().enumerate().map(|(number, lead)| {
                let at = at - Duration::seconds(*lead);
                Event::Change(Change { id: change(number), team: team.clone(), service: service.clone(), at })
            }));
            events.push(Event::Deployment(Deployment {
                id: id.clone(),
                team: team.clone(),
                service: service.clone(),
                environment: if index % 7 == 6 { "staging".into() } else { PRODUCTION.into() },
                at,
                kind: if rework { Kind::Rework } else { Kind::Planned },
                changes: (0..leads.len()).map(change).collect(),
            }));
            if let Some((noticed, recovered)) = failed {
                let begun = at + Duration::seconds(noticed);
                let failure = format!("{id}!");
                events.push(Event::Failure(Failure {
                    id: failure.clone(),
                    team,
                    service,
                    at: begun,
                    deployment: Some(id),
                }));
                events.extend(recovered.map(|after| {
                    Event::Recovery(Recovery {
                        failure,
                        at: begun + Duration::seconds(after),
                        deployment: None,
                    })
                }));
            }
        }
        events
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_series_tell_the_truth_about_random_events() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::start(dir.path()).await;
    let mut runner = TestRunner::deterministic();
    for prefix in ["a", "b", "c", "d", "e", "f"] {
        let events = some_events(prefix).new_tree(&mut runner).unwrap().current();
        store.send(&store_of(&events)).await;
        for days in [days(0, DAYS), days(3, 7), days(5, 1), days(DAYS - 1, 1)] {
            store
                .check(
                    &summary(&events, days, PRODUCTION, &own(prefix, &[0, 1, 2])),
                    &format!("{prefix}-."),
                    days,
                )
                .await;
            store
                .check(&summary(&events, days, PRODUCTION, &own(prefix, &[1])), &format!("{prefix}-1"), days)
                .await;
        }
    }
}

/// Names live as long as the tests: leaking a few bytes is simpler than owning them.
fn own(prefix: &str, teams: &[u32]) -> Vec<&'static str> {
    teams.iter().map(|team| &*format!("{prefix}-{team}").leak()).collect()
}

/// Lead times and recoveries of random services, by the queries of report and dashboards.
#[tokio::test(flavor = "multi_thread")]
async fn services_tell_the_truth_where_they_are_stored_whole_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::start(dir.path()).await;
    let mut runner = TestRunner::deterministic();
    // With a team that has both before the last week.
    let earlier = |events: &[Event], name: &&'static str| {
        let earlier = summary(events, days(0, DAYS - 7), PRODUCTION, &[name]);
        !earlier.lead_times.is_empty() && !earlier.recoveries.is_empty()
    };
    let (events, name) = (0..100)
        .find_map(|_| {
            let events = some_events("svc").new_tree(&mut runner).unwrap().current();
            let name = own("svc", &[0, 1, 2]).into_iter().find(|name| earlier(&events, name))?;
            (events.len() > 80).then_some((events, name))
        })
        .unwrap();
    let until = FIRST + Duration::days(DAYS - 1);
    let scopes = metrics::scopes(&events);
    let history = |histograms| {
        metrics::history(&scopes, &events, FIRST, until, metrics::Start::WithTheRange, histograms)
    };
    let ask_of = |team: &str, service: &str, length: i64| {
        let team = Ask::over_days(format!("environment=\"production\",team=\"{team}\""), length, "");
        let only = format!("label_replace(vector(1), \"service\", \"{service}\", \"\", \"\")");
        let named = |query: String| format!("({query}) and on (service) {only}");
        [
            named(team.changes_by_service()),
            named(team.recoveries_by_service()),
            named(team.lead_time_by_service(0.5)),
            named(team.recovery_by_service(0.5)),
        ]
    };

    // As it was stored before services were wanted: the team's figures, and none of a service.
    let theirs = |series: Vec<Series>| -> Vec<Series> {
        series.into_iter().filter(|one| one.name.starts_with("dora_service_")).collect()
    };
    store.send(&history(Histograms::CLASSIC)).await;
    let all = days(0, DAYS);
    let team = summary(&events, all, PRODUCTION, &[name]);
    store.check(&team, name, all).await;
    for query in ask_of(name, "service-0", DAYS) {
        assert_eq!(store.ask(&query, until).await, None, "{query}");
    }
    // Then they are wanted, and the last week of them has come: of that week they tell, and of
    // more nothing.
    let mut late = theirs(history(Histograms::CLASSIC.by_service(true)));
    let week = (FIRST + Duration::days(DAYS - 7)).midnight().assume_utc().unix_timestamp() * 1000;
    late.iter_mut().for_each(|one| *one = one.since(week).unwrap());
    store.send(&late).await;
    for query in ask_of(name, "service-0", DAYS) {
        assert_eq!(store.ask(&query, until).await, None, "{query}");
    }
    let compare = async |range: Days| {
        let mut told = 0;
        for team in ["svc-0", "svc-1", "svc-2"] {
            for service in ["service-0", "service-1"] {
                let truth = summary_where(&events, range, PRODUCTION, |of, by| of == team && by == service);
                let about = format!("{team} {service} {range:?} {truth:?}");
                let [changes, recoveries, lead, recovery] = ask_of(team, service, range.count());
                let known = scopes.iter().any(|one| {
                    one.team == team && one.services[0] == service && one.environment == PRODUCTION
                });
                for (query, values) in [(changes, &truth.lead_times), (recoveries, &truth.recoveries)] {
                    let found = store.ask(&query, range.until).await;
                    assert_eq!(found.unwrap_or_default() as usize, values.len(), "{about}");
                    assert_eq!(found.is_some(), known, "{about}");
                }
                for (query, values, edges) in [
                    (lead, &truth.lead_times, LEAD_TIME_EDGES),
                    (recovery, &truth.recoveries, RECOVERY_EDGES),
                ] {
                    let median = store.ask(&query, range.until).await;
                    assert_eq!(median.is_some(), !values.is_empty(), "{about}");
                    let Some(median) = median else { continue };
                    let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
                    let expected = bucket(&edges, low as f64)..=bucket(&edges, high as f64);
                    assert!(expected.contains(&bucket(&edges, median)), "{median}: {about}");
                    told += 1;
                }
            }
        }
        told
    };
    assert!(compare(days(DAYS - 7, 7)).await > 4);
    // All of them: and the team's own are counted once.
    store.send(&theirs(history(Histograms::CLASSIC.by_service(true)))).await;
    assert!(compare(all).await > 4);
    assert!(compare(days(3, 7)).await > 2);
    store.check(&team, name, all).await;
    // They are wanted no more, and two days have passed with events of the team: of these days,
    // and of all that hold them, nothing is told.
    let more = r#"
{"type":"change","id":"after","team":"NAME","service":"service-0","at":"2025-04-07T09:00:00Z"}
{"type":"deployment","id":"d-after","team":"NAME","service":"service-0","at":"2025-04-07T10:00:00Z","changes":["after"]}"#;
    let more = more.replace("NAME", name);
    let more: Vec<Event> = events::read(more.as_bytes()).collect::<Result<_, _>>().unwrap();
    let events: Vec<Event> = events.iter().cloned().chain(more).collect();
    store.send(&metrics::series(&events, FIRST, until + Duration::days(1))).await;
    let [changes, _, lead, _] = ask_of(name, "service-0", DAYS + 1);
    for query in [changes, lead] {
        assert_eq!(store.ask(&query, until + Duration::days(1)).await, None, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edges_are_right() {
    // No deployment on the 26th; a failure that is never over; a recovery after
    // midnight UTC; a change before the clocks went forward in Berlin (30 March),
    // deployed after it: 24 hours on the clock, 23 in truth.
    let lines = r#"
{"type":"change","id":"c1","team":"edge","service":"s","at":"2025-03-29T12:00:00+01:00"}
{"type":"deployment","id":"d0","team":"edge","service":"s","at":"2025-03-25T12:00:00Z"}
{"type":"failure","id":"f0","team":"edge","service":"s","at":"2025-03-25T12:10:00Z","deployment":"d0"}
{"type":"deployment","id":"d1","team":"edge","service":"s","at":"2025-03-30T12:00:00+02:00","changes":["c1"]}
{"type":"deployment","id":"d2","team":"edge","service":"s","at":"2025-04-01T00:30:00+02:00"}
{"type":"failure","id":"f2","team":"edge","service":"s","at":"2025-04-01T00:40:00+02:00","deployment":"d2"}
{"type":"recovery","failure":"f2","at":"2025-04-01T03:00:00+02:00","deployment":"d3"}
{"type":"deployment","id":"d3","team":"edge","service":"s","at":"2025-04-01T02:55:00+02:00","kind":"rework"}"#;
    let events: Vec<Event> = events::read(lines.as_bytes()).collect::<Result<_, _>>().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::start(dir.path()).await;
    store.send(&store_of(&events)).await;
    for day in 0..DAYS {
        store.check(&summary(&events, days(day, 1), PRODUCTION, &["edge"]), "edge", days(day, 1)).await;
    }
    let empty = summary(&events, days(2, 1), PRODUCTION, &["edge"]);
    assert_eq!((empty.deployments, empty.failure_rate), (0, None));
    let spring = summary(&events, days(6, 1), PRODUCTION, &["edge"]);
    assert_eq!(spring.lead_times, [23 * 3600]);
    // Deployed on 31 March in UTC, recovered on 1 April.
    let (last, first) =
        (summary(&events, days(7, 1), PRODUCTION, &[]), summary(&events, days(8, 1), PRODUCTION, &[]));
    assert_eq!((last.deployments, last.failed, last.recoveries.len()), (1, 1, 0));
    assert_eq!((first.deployments, first.rework, first.recoveries), (1, 1, vec![140 * 60]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulated_history_is_true_across_the_new_year_when_counters_start_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::start(dir.path()).await;
    let names = simulator::teams(3);
    let until = date!(2025 - 02 - 20);
    let series: Vec<Series> = metrics::simulated(names.clone(), 5, until, 100, Histograms::CLASSIC).collect();
    let total = |series: &[Series]| series.iter().map(|one| one.samples.len()).sum::<usize>();
    let mut counters = series.iter().filter(|one| !GAUGES.contains(&one.name));
    assert!(counters.all(|one| one.samples.len() == 102), "{}", total(&series));
    store.send(&series).await;
    let events: Vec<Event> = names
        .iter()
        .flat_map(|name| {
            let team = Team::new(name, 5);
            simulator::episodes(&team, date!(2024 - 10 - 01), until).collect::<Vec<_>>()
        })
        .flat_map(|episode| episode.0)
        .collect();
    for (first, until) in [
        (date!(2024 - 12 - 10), date!(2025 - 02 - 20)),
        (date!(2024 - 11 - 13), date!(2024 - 12 - 31)),
        (date!(2024 - 12 - 31), date!(2025 - 01 - 01)),
        (date!(2025 - 01 - 01), date!(2025 - 01 - 31)),
    ] {
        let days = Days { first, until };
        store.check(&summary(&events, days, PRODUCTION, &[]), ".+", days).await;
        store.check(&summary(&events, days, PRODUCTION, &[&names[1]]), &names[1], days).await;
    }
}

/// Real events count three days after they happened; what they tell is the same.
#[tokio::test(flavor = "multi_thread")]
async fn collected_events_are_true_once_they_are_settled() {
    const SETTLE: i64 = 3;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::start(dir.path()).await;
    let events = some_events("real").new_tree(&mut TestRunner::deterministic()).unwrap().current();
    let until = FIRST + Duration::days(DAYS - 1 + SETTLE);
    let days_of_history = u32::try_from(DAYS + SETTLE).unwrap();
    let history =
        metrics::collected(&[], &events, Duration::days(SETTLE), until, days_of_history, Histograms::CLASSIC);
    store.send(&history.collect::<Vec<_>>()).await;
    for asked in [days(0, DAYS), days(3, 7), days(5, 1)] {
        let truth = summary(&events, asked, PRODUCTION, &own("real", &[0, 1, 2]));
        assert!(truth.deployments > 0, "{asked:?}");
        let later = Duration::days(SETTLE);
        let stored = Days { first: asked.first + later, until: asked.until + later };
        store.check(&truth, "real-.", stored).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_that_starts_again_in_the_middle_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::start(dir.path()).await;
    let labels = [
        ("team", "reset"),
        ("service", "s"),
        ("environment", PRODUCTION),
        ("outcome", "success"),
        ("kind", "planned"),
    ];
    let begin = FIRST.midnight().assume_utc().unix_timestamp() * 1000;
    let values = [0.0, 4.0, 9.0, 2.0, 5.0];
    let samples = Samples::Plain((0..).map(|day| begin + day * 86_400_000).zip(values).collect());
    store
        .send(&[Series { name: DEPLOYMENTS, labels: Labels::new(labels), samples, exemplars: Vec::new() }])
        .await;
    let query = format!("sum(increase({DEPLOYMENTS}{{team=\"reset\"}}[4d125ms]))");
    let found = store.ask(&query, FIRST + Duration::days(3)).await.unwrap();
    assert!((found - 14.0).abs() < 1e-3, "{found}");
}

/// Half an hour and more than ten hours: the median of two is the lower one's edge. Where
/// the buckets between them differ by what is extrapolated, it is found hours above.
#[tokio::test(flavor = "multi_thread")]
async fn a_median_is_not_looked_for_in_an_empty_bucket() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::start(dir.path()).await;
    let begin = FIRST.midnight().assume_utc().unix_timestamp() * 1000;
    let (earlier, lasted) = ([600_000.0; 5], [1_453.0, 38_288.0]);
    let bucket = |edge: Option<u64>| {
        let le = edge.map_or("+Inf".into(), |edge| format!("{edge}.0"));
        let below =
            |all: &[f64]| all.iter().filter(|one| edge.is_none_or(|edge| **one <= edge as f64)).count();
        let (before, after) = (below(&earlier) as f64, below(&[&earlier[..], &lasted].concat()) as f64);
        let labels = [("team", "two"), ("environment", PRODUCTION), ("le", &*le)];
        // Buckets that begin at zero are not extrapolated, and the others are.
        let samples = (0..=90).map(|day| (begin + day * 86_400_000, if day < 90 { before } else { after }));
        Series {
            name: "dora_deployment_recovery_seconds_bucket",
            labels: Labels::new(labels),
            samples: Samples::Plain(samples.collect()),
            exemplars: Vec::new(),
        }
    };
    let edges = RECOVERY_EDGES.iter().map(|edge| Some(*edge)).chain([None]);
    store.send(&edges.map(bucket).collect::<Vec<_>>()).await;
    for days in 1..=89 {
        let ask = Ask::over_days(format!("environment=\"{PRODUCTION}\""), days, "team");
        let found = store.ask(&Key::Recovery.promql(&ask), FIRST + Duration::days(89)).await;
        assert_eq!(found, Some(1_800.0), "over {days} days");
    }
}

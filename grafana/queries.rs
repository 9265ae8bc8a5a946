//! Every query of every panel, its variables resolved, is asked of a real engine (of
//! Mimir, where `DORAINFRA_MIMIR_BINARY` names one) over a year of simulated data and has to find something. The data is damaged
//! on purpose: a hole of a day, a stale and a silent team, a lost replica have to
//! be seen by the queries behind the panels that are to show them.

use std::collections::BTreeSet;

use dorainfra_dora::metrics::{self, Histograms};
use dorainfra_dora::simulator;
use dorainfra_model::Events;
use dorainfra_prometheus::query::{Instant, Query, Range};
use dorainfra_prometheus::remote_write::{Client, Limits};
use dorainfra_prometheus::{Labels, Samples, Series};
use time::{Duration, OffsetDateTime};

use super::collector::Receiver;
use super::mimir::{self, Shown};
use super::{alerts, board, boards, pipeline};

const DAY: i64 = 86_400_000;
const YEAR: i64 = 365 * DAY;
const MINUTE: i64 = 60_000;
/// How far back live values reach.
const LIVE: i64 = 40 * MINUTE;
const SCRAPE: i64 = 15_000;

/// The four teams, and what is wrong with three of them.
pub struct Damage {
    pub sound: String,
    /// Lacks the day before yesterday's predecessor.
    hole: String,
    hole_ends: i64,
    /// Its live values end twenty minutes ago.
    stale: String,
    /// Has no sample for three days.
    silent: String,
}

/// A year of four teams, live values, and what agent and engine say of themselves.
pub async fn store(receiver: &Receiver) -> (Query, Damage, i64) {
    let now = OffsetDateTime::now_utc();
    let today = now.date();
    let midnight = today.midnight().assume_utc().unix_timestamp() * 1000;
    let now = now.unix_timestamp() * 1000;
    let names = simulator::teams(4);
    let damage = Damage {
        sound: names[0].clone(),
        hole: names[1].clone(),
        hole_ends: midnight - 5 * DAY,
        stale: names[2].clone(),
        silent: names[3].clone(),
    };
    let mut all: Vec<Series> =
        metrics::simulated(names, 1, today - Duration::days(1), 365, Histograms::CLASSIC.by_service(true))
            .collect();
    for one in &mut all {
        let Samples::Plain(samples) = &mut one.samples else { continue };
        let last = samples.last().map_or(0.0, |(_, value)| *value);
        let team = one.labels.get("team").to_owned();
        if team == damage.hole {
            samples.retain(|(at, _)| *at != damage.hole_ends);
        }
        if team == damage.silent {
            samples.retain(|(at, _)| *at < midnight - 3 * DAY);
            continue;
        }
        let until = if team == damage.stale { now - 20 * MINUTE } else { now };
        // Live values are later than what closed the last day.
        let first = (now - LIVE).max(midnight + 1000);
        samples.extend((first..=until).step_by(SCRAPE as usize).map(|at| (at, last)));
    }
    for team in [&damage.sound, &damage.hole, &damage.stale] {
        let until = if *team == damage.stale { now - 20 * MINUTE } else { now };
        all.push(told("push_time_seconds", &[("team", team)], now - LIVE, until, |at| at as f64 / 1000.0));
    }
    let of_itself = |name, labels: &[(&str, &str)], value: &dyn Fn(i64) -> f64| {
        told(name, labels, now - LIVE, now, value)
    };
    let agent = [("instance", "127.0.0.1:9090")];
    let growing = |at: i64| (at - (now - LIVE)) as f64 / 100.0;
    all.extend([
        of_itself("prometheus_remote_storage_highest_timestamp_in_seconds", &agent, &|at| at as f64 / 1000.0),
        of_itself("prometheus_remote_storage_queue_highest_sent_timestamp_seconds", &agent, &|at| {
            at as f64 / 1000.0 - 2.0
        }),
        of_itself("prometheus_remote_storage_samples_total", &agent, &growing),
        of_itself("prometheus_remote_storage_samples_failed_total", &agent, &|_| 0.0),
        of_itself("prometheus_remote_storage_samples_retried_total", &agent, &|_| 0.0),
        of_itself("prometheus_remote_storage_samples_pending", &agent, &|_| 3.0),
        of_itself("cortex_distributor_received_samples_total", &[("user", "dora")], &growing),
        of_itself("cortex_ingester_memory_series", &[("instance", "dorainfra-mimir")], &|_| 1318.0),
        of_itself("up", &agent, &|_| 1.0),
    ]);
    let of_mimir = mimir::shown().into_iter().map(|(name, labels, shown)| {
        of_itself(name, &labels, &|at| match shown {
            Shown::Grows => growing(at),
            Shown::Now => at as f64 / 1000.0,
            Shown::Stays(value) => value,
        })
    });
    all.extend(of_mimir);
    // Three replicas, of which one is lost ten minutes ago.
    let lost = |at: i64| at > now - 10 * MINUTE;
    all.push(of_itself("cortex_ring_members", &[("name", "ingester"), ("state", "ACTIVE")], &|at| {
        if lost(at) { 2.0 } else { 3.0 }
    }));
    all.push(of_itself("cortex_ring_members", &[("name", "ingester"), ("state", "Unhealthy")], &|at| {
        if lost(at) { 1.0 } else { 0.0 }
    }));
    let client = Client::new(&receiver.target).unwrap();
    client.send(&all, Limits::default(), 0, &Events::none()).await.unwrap();
    let query = Query::new(&receiver.target).unwrap();
    record(&client, &query, now).await;
    (query, damage, now)
}

/// What the recording rules come to at `now`, written as their engine would: a rule after
/// the other, as one may read what the one before it has recorded.
pub async fn record(client: &Client, query: &Query, now: i64) {
    let mut recorded = 0;
    for text in [include_str!("../mimir/rules/alerts.yaml"), include_str!("../mimir/rules/dora.yaml")] {
        let document: serde_json::Value = serde_saphyr::from_str(text).unwrap();
        let groups = document["groups"].as_array().unwrap().iter();
        for rule in groups.flat_map(|group| group["rules"].as_array().unwrap()) {
            // The history has the former gauges.
            let Some(name) = rule["record"].as_str().filter(|name| name.starts_with("team:")) else {
                continue;
            };
            let expression = rule["expr"].as_str().unwrap();
            // Who is stale now was live within the day.
            let from = if name == "team:dora_newest_sample:timestamp" { now - 60 * MINUTE } else { now };
            let found = query.range(expression, from, now, 2 * MINUTE).await.unwrap();
            assert!(!found.is_empty(), "nothing is recorded as {name}: {expression}");
            let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
            let series: Vec<Series> = found
                .iter()
                .map(|one| Series {
                    name,
                    labels: Labels::new(
                        one.metric
                            .iter()
                            .filter(|(label, _)| *label != "job" && *label != "__name__")
                            .map(|(label, value)| (label.as_str(), value.as_str())),
                    ),
                    samples: Samples::Plain(one.samples().collect()),
                    exemplars: Vec::new(),
                })
                .collect();
            client.send(&series, Limits::default(), 0, &Events::none()).await.unwrap();
            recorded += 1;
        }
    }
    assert_eq!(recorded, 42);
}

/// A series as a scrape would have made it.
fn told(
    name: &'static str,
    labels: &[(&str, &str)],
    from: i64,
    until: i64,
    value: impl Fn(i64) -> f64,
) -> Series {
    let samples = (from..=until).step_by(SCRAPE as usize).map(|at| (at, value(at))).collect();
    Series {
        name,
        labels: Labels::new(labels.iter().copied()),
        samples: Samples::Plain(samples),
        exemplars: Vec::new(),
    }
}

/// As Grafana writes the variables, for a range of a year.
pub fn resolved(expression: &str, team: &str) -> String {
    resolved_over(expression, team, YEAR, &Chosen::default())
}

/// What is chosen on a dashboard beside its team and its range.
pub struct Chosen {
    pub days: &'static str,
    pub percentile: &'static str,
    pub page: u32,
    /// What the label `simulated` is matched with.
    pub simulated: &'static str,
    /// The teams of the page.
    pub shown: String,
}

impl Default for Chosen {
    fn default() -> Self {
        Self { days: "28", percentile: "50", page: 1, simulated: "simulated|true", shown: ".+".into() }
    }
}

pub fn resolved_over(expression: &str, team: &str, range: i64, chosen: &Chosen) -> String {
    let seconds = (range / 1000).to_string();
    let resolved = expression
        .replace("${__range_s}", &seconds)
        .replace("$__range_s", &seconds)
        .replace("$__range", &format!("{seconds}s"))
        .replace("$__rate_interval", "1m")
        .replace("$environment", "production")
        .replace("$simulated", chosen.simulated)
        .replace("${days}", chosen.days)
        .replace("$days", chosen.days)
        .replace("${percentile}", chosen.percentile)
        .replace("$page", &chosen.page.to_string())
        .replace("$shown", &chosen.shown)
        .replace("$goal_frequency", "1")
        .replace("$goal_lead_time", "86400")
        .replace("$goal_failure_rate", "0.1")
        .replace("$goal_recovery", "3600")
        .replace("$team", team);
    assert!(!resolved.contains('$'), "a variable is not resolved: {resolved}");
    resolved
}

/// At the times that Grafana asks for: multiples of the step.
async fn over_time(query: &Query, expression: &str, step: &str, now: i64) -> Vec<Range> {
    let (step, range) = match step {
        "7d" => (7 * DAY, YEAR),
        "1d" => (DAY, YEAR),
        "5m" => (5 * MINUTE, 60 * MINUTE),
        "1m" => (MINUTE, 60 * MINUTE),
        other => panic!("no step {other}"),
    };
    let end = now - now.rem_euclid(step);
    query
        .range(expression, end - range, end, step)
        .await
        .unwrap_or_else(|error| panic!("{expression}: {error}"))
}

fn teams(found: &[Instant]) -> BTreeSet<&str> {
    found.iter().map(|one| one.metric["team"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_has_an_answer_and_what_is_damaged_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::real_where_given(dir.path(), "500d", "600d").await;
    let (query, damage, now) = store(&receiver).await;

    let mut asked = 0;
    for board in boards() {
        for panel in board.panels() {
            for one in &panel.queries {
                let expression = resolved(&one.expression, &damage.sound);
                let about = format!("{}: {}: {expression}", board.uid, panel.title);
                let values: Vec<f64> = match one.step {
                    Some(step) if !one.instant => {
                        let found = over_time(&query, &expression, step, now).await;
                        found.iter().flat_map(|series| series.samples().map(|(_, value)| value)).collect()
                    }
                    _ => {
                        let found: Vec<Instant> = query
                            .instant(&expression, Some(now))
                            .await
                            .unwrap_or_else(|error| panic!("{about}: {error}"));
                        found.iter().map(Instant::value).collect()
                    }
                };
                assert!(!values.is_empty(), "nothing is found by {about}");
                assert!(values.iter().all(|value| value.is_finite()), "no number is found by {about}");
                asked += 1;
            }
        }
        for annotation in &board.annotations {
            let expression = resolved(annotation["expr"].as_str().unwrap(), ".+");
            assert!(!over_time(&query, &expression, "1d", now).await.is_empty(), "{expression}");
        }
    }
    assert!(asked > 50, "{asked}");

    let at = |expression: String| {
        let query = &query;
        async move { query.instant::<Instant>(&resolved(&expression, ".+"), Some(now)).await.unwrap() }
    };
    let selector = "environment=\"production\"";

    // A stale team, and only that one (who is silent has no age any more).
    let old = at(format!("{} > {}", pipeline::age(selector), pipeline::FRESH)).await;
    assert_eq!(teams(&old), BTreeSet::from([damage.stale.as_str()]));
    let age = old[0].value();
    assert!((1200.0..1400.0).contains(&age), "{age}");

    let silent = at(pipeline::silent(selector, "$__range")).await;
    assert_eq!(teams(&silent), BTreeSet::from([damage.silent.as_str()]));

    // The hole of a day, at its end; the silent team's days are missing, too.
    let gaps = over_time(&query, &pipeline::gaps(selector), "1d", now).await;
    let days = |team: &str| -> Vec<i64> {
        let found = gaps.iter().find(|one| one.metric["team"] == team);
        found.map(|one| one.samples().map(|(at, _)| at).collect()).unwrap_or_default()
    };
    assert_eq!(days(&damage.hole), [damage.hole_ends]);
    assert!(days(&damage.sound).is_empty() && days(&damage.stale).is_empty());
    assert!(days(&damage.silent).len() >= 3, "{:?}", days(&damage.silent));

    // The lost replica: now, and not before it was lost.
    let lost = at(pipeline::lost_replicas()).await;
    assert!((lost[0].value() - 1.0).abs() < 1e-9);
    let before = query.instant::<Instant>(&pipeline::lost_replicas(), Some(now - 20 * MINUTE)).await.unwrap();
    assert!(before[0].value().abs() < 1e-9);

    // The alerts ask what can be answered.
    for alert in alerts::alerts() {
        assert!(!at(alert.expression.clone()).await.is_empty(), "{}", alert.expression);
    }
}

/// The values of the choice between real and simulated teams, as Grafana finds them: of each answer as it
/// writes it, by the variable's expression and sorted by their names.
async fn kinds(query: &Query, now: i64) -> Vec<(String, String)> {
    let pattern = regex::Regex::new(board::KIND.trim_matches('/')).unwrap();
    let found: Vec<Instant> = query.instant(&resolved(&board::kinds(), ".+"), Some(now)).await.unwrap();
    let mut values: Vec<(String, String)> = found
        .iter()
        .filter_map(|one| {
            let labels: Vec<String> =
                one.metric.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            let line = format!("{{{}}} {} {now}", labels.join(","), one.value());
            let found = pattern.captures(&line)?;
            Some((found["text"].to_owned(), found["value"].to_owned()))
        })
        .collect();
    values.sort();
    values
}

/// A dashboard that is just opened shows real teams where there are any, else simulated ones, which it
/// says above all else.
#[tokio::test(flavor = "multi_thread")]
async fn real_teams_are_what_is_shown_at_first_and_simulated_ones_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::real_where_given(dir.path(), "500d", "600d").await;
    let query = Query::new(&receiver.target).unwrap();
    let client = Client::new(&receiver.target).unwrap();
    let yesterday = OffsetDateTime::now_utc().date() - Duration::days(1);
    let now = OffsetDateTime::now_utc().unix_timestamp() * 1000;
    assert!(kinds(&query, now).await.is_empty());

    let simulated: Vec<Series> =
        metrics::simulated(simulator::teams(3), 1, yesterday, 30, Histograms::CLASSIC).collect();
    client.send(&simulated, Limits::default(), 0, &Events::none()).await.unwrap();
    let own = |text: &str, value: &str| (text.to_owned(), value.to_owned());
    assert_eq!(kinds(&query, now).await, [own("simulated", "simulated|true")]);

    // A real team with the name of a simulated one.
    let real: Vec<Series> = simulated
        .iter()
        .filter(|one| one.labels.get("team") == simulator::teams(1)[0])
        .map(|one| {
            let labels = one.labels.iter().filter(|(name, _)| !["job", metrics::SIMULATED].contains(name));
            Series { labels: Labels::new(labels), ..one.clone() }
        })
        .collect();
    client.send(&real, Limits::default(), 0, &Events::none()).await.unwrap();
    let both = kinds(&query, now).await;
    assert_eq!(both, [own("real", "real|"), own("simulated", "simulated|true")]);

    // What is shown by the one and by the other, and where nothing can be chosen.
    let boards = boards();
    let shown = async |title: &str, simulated: &'static str| -> Vec<f64> {
        let overview = boards.iter().find(|board| board.uid == "dora-overview").unwrap();
        let panel = overview.panels().find(|panel| panel.title == title).unwrap();
        let chosen = Chosen { simulated, ..Chosen::default() };
        let expression = resolved_over(&panel.queries[0].expression, ".+", 30 * DAY, &chosen);
        let found: Vec<Instant> = query.instant(&expression, Some(now)).await.unwrap();
        found.iter().map(Instant::value).collect()
    };
    assert_eq!(shown("Whose data", "simulated|true").await, [3.0]);
    for real in ["real|", ""] {
        assert!(shown("Whose data", real).await.is_empty());
    }
    let one = shown("Deployments a day and team", "real|").await;
    assert_eq!(one, shown("Deployments a day and team", "").await);
    assert!(one.len() == 1 && one != shown("Deployments a day and team", "simulated|true").await);
}

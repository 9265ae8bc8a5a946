//! Native histograms at real receivers: a Mimir, where `DORAINFRA_MIMIR_BINARY` names
//! one, has to tell of them what the events tell; Prometheus 2.42, which takes none,
//! has to be understood.

#![allow(clippy::disallowed_methods, reason = "the environment is a test's own input")]

use std::process::{Command, Stdio};
use std::time::Duration as Wait;

use crate::collector::{Receiver, ReceiverOptions, eventually};
use dorainfra_config::Feeds;
use dorainfra_deploy::verify::{self, Bounds, Report, Request};
use dorainfra_dora::events::{Event, PRODUCTION};
use dorainfra_dora::metrics::{self, Histograms, LEAD_TIME, RECOVERY, Start};
use dorainfra_dora::simulator::{self, Team};
use dorainfra_dora::truth::{Days, summary};
use dorainfra_model::Events;
use dorainfra_prometheus::Target;
use dorainfra_prometheus::native::{bound, index};
use dorainfra_prometheus::remote_write::{Client, Limits, Reason, WriteError};
use dorainfra_prometheus::{Extent, Past, Samples, Series};
use dorainfra_report::Key;
use dorainfra_report::keys::Ask;
use rustix::process::{Pid, Signal, kill_process};
use time::macros::date;
use time::{Date, Duration};

const FIRST: Date = date!(2025 - 03 - 03);
const UNTIL: Date = date!(2025 - 05 - 25);

/// What three teams did, one of them nothing at all for a while.
fn events(names: &[String]) -> Vec<Event> {
    let of = |name: &String| {
        let team = Team::new(name, 3);
        simulator::episodes(&team, FIRST - Duration::days(90), UNTIL).collect::<Vec<_>>()
    };
    names.iter().flat_map(of).flat_map(|episode| episode.0).collect()
}

/// The single value of a query at the end of a day; `None`: nothing, or not a number.
async fn ask(target: &Target, query: &str, until: Date) -> Option<f64> {
    let end = until.next_day().unwrap().midnight().assume_utc().unix_timestamp().to_string();
    let request = target.http_client().unwrap().get(target.query_url("/api/v1/query"));
    let request = request.query(&[("query", query), ("time", &end)]);
    let answer: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
    let result = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{query}: {answer}"));
    assert!(result.len() < 2, "{query}: {answer}");
    let value: f64 = result.first()?["value"][1].as_str().unwrap().parse().unwrap();
    value.is_finite().then_some(value)
}

async fn send(target: &Target, history: &Vec<Series>) -> Result<(), WriteError> {
    let client = Client::new(target).unwrap();
    let accepted = client.send(history, Limits::default(), 0, &Events::none()).await?;
    let Extent { samples, native, .. } = history.extent();
    assert_eq!((accepted.samples, accepted.native), (samples, native));
    Ok(())
}

async fn prove(target: &Target, history: &dyn Past) -> Report {
    let request = Request {
        target,
        live: None,
        history,
        feeds: Feeds::Simulated,
        teams: &[],
        bucket: None,
        as_blocks: true,
        known: None,
        bounds: Bounds::default(),
    };
    verify::run(&request, &Events::none()).await
}

#[track_caller]
fn needs_mimir() {
    let given = std::env::var_os("DORAINFRA_MIMIR_BINARY").is_some_and(|path| !path.is_empty());
    assert!(given, "DORAINFRA_MIMIR_BINARY names no Mimir");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Mimir (DORAINFRA_MIMIR_BINARY): scripts/nightly"]
async fn native_histograms_tell_the_truth_and_are_proven() {
    needs_mimir();
    let dir = tempfile::tempdir().unwrap();
    let Receiver { ref target, .. } = Receiver::real_where_given(dir.path(), "5000d", "5000d").await;
    let names = simulator::teams(3);
    let events = events(&names);
    let scopes = metrics::scopes(&events);
    let start = Start::WithTheRange;
    let history = metrics::history(&scopes, &events, FIRST, UNTIL, start, Histograms::NATIVE);
    assert!(history.iter().any(|one| one.samples.is_native()));
    send(target, &history).await.unwrap();
    // Again, as an interrupted run does: older than what is there, and the same.
    send(target, &history).await.unwrap();

    let all = (names.join("|"), names.iter().map(String::as_str).collect::<Vec<_>>());
    for (first, until) in [(FIRST, UNTIL), (FIRST, FIRST), (date!(2025 - 04 - 07), date!(2025 - 05 - 04))] {
        for (pattern, teams) in [&all, &(names[1].clone(), vec![names[1].as_str()])] {
            let days = Days { first, until };
            let truth = summary(&events, days, PRODUCTION, teams);
            let window = format!("{}ms", days.count() * 86_400_000 + 1);
            for (name, values) in [(LEAD_TIME, &truth.lead_times), (RECOVERY, &truth.recoveries)] {
                let about = format!("{name} {pattern} {days:?} {values:?}");
                let counted = format!(
                    "sum(increase({name}{{environment=\"production\",team=~\"{pattern}\"}}[{window}]))"
                );
                let of = |function: &str| format!("{function}({counted})");
                let count = ask(target, &of("histogram_count"), until).await.unwrap_or_default();
                // A millisecond's share of a day is extrapolated.
                assert!((count - values.len() as f64).abs() < 1e-3, "{count}: {about}");
                let sum = ask(target, &of("histogram_sum"), until).await.unwrap_or_default();
                let expected = values.iter().sum::<u64>() as f64;
                assert!((sum - expected).abs() < 1e-6 * expected.max(1.0), "{sum}: {about}");
                let median = ask(target, &format!("histogram_quantile(0.5, {counted})"), until).await;
                assert_eq!(median.is_some(), !values.is_empty(), "{about}");
                if let Some(median) = median {
                    // Of an even number, anything between the two in the middle.
                    let [low, high] = [values[(values.len() - 1) / 2], values[values.len() / 2]].map(index);
                    let low = low.map_or(0.0, |low| bound(low - 1));
                    let high = high.map_or(0.0, bound);
                    let within = low * (1.0 - 1e-9)..=high * (1.0 + 1e-9);
                    assert!(within.contains(&median), "{median}: {about}");
                    // As report, dashboards and rules ask.
                    let key = if name == LEAD_TIME { Key::LeadTime } else { Key::Recovery };
                    let selector = format!("environment=\"production\",team=~\"{pattern}\"");
                    let asked = Ask::over_days(selector, days.count(), "").native_where_whole(true);
                    let median = ask(target, &key.promql(&asked), until).await.unwrap();
                    assert!(within.contains(&median), "{median}: {about}");
                }
            }
        }
    }

    let report = prove(target, &history).await;
    let sent = history.extent().samples;
    assert!(report.ok() && report.samples_found == Some(sent), "{report:#?}");

    // One that was not sent, and one that says something else.
    let mut other = history.clone();
    let native = other.iter_mut().find(|one| one.name == LEAD_TIME).unwrap();
    let Samples::Native(samples) = &mut native.samples else { panic!("{native:?}") };
    samples[30].0 += 1;
    samples[50].1.add(77);
    let report = prove(target, &other).await;
    assert_eq!((report.samples_sent, report.samples_found), (sent, Some(sent - 2)));
    let found: Vec<_> =
        report.mismatches.iter().map(|one| (one.part.as_deref(), one.found.is_some())).collect();
    assert_eq!(found, [(None, false), (Some("count"), true)]);
}

/// Native ones that began within the range tell of a part of it: then the classic ones are asked.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Mimir (DORAINFRA_MIMIR_BINARY): scripts/nightly"]
async fn native_histograms_of_a_part_of_the_range_are_not_taken_for_the_whole() {
    needs_mimir();
    let dir = tempfile::tempdir().unwrap();
    let Receiver { ref target, .. } = Receiver::real_where_given(dir.path(), "5000d", "5000d").await;
    let mut history: Vec<Series> =
        metrics::simulated(simulator::teams(1), 1, UNTIL, 60, Histograms::NATIVE).collect();
    for one in &mut history {
        if let Samples::Native(samples) = &mut one.samples {
            samples.drain(..30);
        }
    }
    send(target, &history).await.unwrap();
    let median = async |days: i64, native: bool| {
        let asked = Ask::over_days("environment=\"production\"", days, "").native_where_whole(native);
        ask(target, &Key::LeadTime.promql(&asked), UNTIL).await.unwrap()
    };
    for (days, same) in [(60, true), (45, true), (28, false), (7, false)] {
        let (native, classic) = (median(days, true).await, median(days, false).await);
        assert_eq!((native - classic).abs() < 1e-6, same, "{days} days: {native}, {classic}");
    }
}

/// What lives goes on as a native histogram, and ends as one.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Mimir (DORAINFRA_MIMIR_BINARY): scripts/nightly"]
async fn live_values_go_on_with_them() {
    needs_mimir();
    let dir = tempfile::tempdir().unwrap();
    let Receiver { ref target, .. } = Receiver::real_where_given(dir.path(), "500d", "600d").await;
    let (url, connect) = (target.write_url(), target.connect.to_string());
    let mut child = Command::new(env!("CARGO_BIN_EXE_dorainfra"))
        .current_dir(dir.path())
        .args(["generate", "--live", "--interval", "1", "--teams", "2", "--withdraw", "--native-histograms"])
        .args(["--remote-write", &url, "--connect", &connect])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let http = target.http_client().unwrap();
    let there = async |query: &str| {
        let request = http.get(target.query_url("/api/v1/query")).query(&[("query", query)]);
        let Ok(answer) = request.send().await else { return 0.0 };
        let answer: serde_json::Value = answer.json().await.unwrap();
        answer["data"]["result"][0]["value"][1].as_str().map_or(0.0, |value| value.parse().unwrap())
    };
    let native = format!("count(histogram_count({LEAD_TIME}{{job=\"dora\"}}))");
    eventually("both teams have one", async || there(&native).await == 2.0).await;
    // The same as the classic one, at the same time.
    let same = format!("count(histogram_count({LEAD_TIME}) == {LEAD_TIME}_count)");
    let sums = format!("count(histogram_sum({RECOVERY}) == {RECOVERY}_sum)");
    eventually("both ways count the same", async || there(&same).await == 2.0 && there(&sums).await == 2.0)
        .await;
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert!(child.wait().unwrap().success());
    eventually("they have ended", async || there(&native).await == 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_takes_none_is_understood() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(dir.path(), ReceiverOptions { out_of_order_window: "5000d", tls: None });
    let receiver = receiver.await;
    let names = simulator::teams(1);
    let history = metrics::simulated(names, 1, UNTIL, 5, Histograms::NATIVE);
    let begun = std::time::Instant::now();
    let error = send(&receiver.target, &history.collect::<Vec<_>>()).await.unwrap_err();
    assert!(matches!(error, WriteError::Refused { reason: Reason::NativeHistograms, .. }), "{error}");
    assert!(begun.elapsed() < Wait::from_secs(20), "it was tried again and again");
    assert!(error.accounting().refused > 0, "{error}");
    let hint = error.hint().unwrap();
    for word in ["native-histograms", "limits.native_histograms_ingestion_enabled"] {
        assert!(hint.contains(word), "{hint}");
    }
}

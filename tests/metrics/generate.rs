//! `generate --events`: events for whoever has no configuration yet.

use std::path::Path;

use crate::collector;
use crate::collector::{Receiver, ReceiverOptions};
use assert_cmd::Command;
use dorainfra_dora::events::{Event, read};
use dorainfra_dora::metrics::{self, Histograms};
use dorainfra_dora::simulator;

fn generate(folder: &Path, arguments: &[&str]) -> assert_cmd::assert::Assert {
    let usual = ["generate", "--seed", "7", "--teams", "3", "--days", "20", "--until", "2025-03-31"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_dorainfra"));
    command.current_dir(folder).args(usual).args(arguments).assert()
}

#[test]
fn events_are_sorted_readable_and_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    generate(folder.path(), &["--events", "out.jsonl"]).success();
    let written = std::fs::read(folder.path().join("out.jsonl")).unwrap();
    let events: Vec<Event> = read(written.as_slice()).collect::<Result<_, _>>().unwrap();
    assert!(events.len() > 50, "{}", events.len());
    assert!(events.is_sorted_by_key(Event::at));

    let said = generate(folder.path(), &["--events", "-"]).success();
    assert!(said.get_output().stdout == written, "standard output has other events than the file");
}

#[test]
fn what_the_command_line_does_not_say_the_configuration_does() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = "generator: {teams: 3, days: 40, seed: 5}\n";
    std::fs::write(folder.path().join("dorainfra.yaml"), configuration).unwrap();
    let written = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dorainfra"));
        command.current_dir(folder.path()).args(["generate", "--events", "-", "--until", "2025-03-31"]);
        command.args(more).assert().success().get_output().stdout.clone()
    };
    let all = written(&[]);
    assert_eq!(all, written(&["--teams", "3", "--days", "40", "--seed", "5"]));
    assert_ne!(all, written(&["--teams", "4"]));
}

#[test]
fn what_cannot_be_written_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let said = generate(folder.path(), &["--events", "nowhere/out.jsonl"]).failure();
    let errors = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    assert!(errors.contains("nowhere/out.jsonl") && errors.contains("folder"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_written_to_any_endpoint_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let options = ReceiverOptions { out_of_order_window: "5000d", tls: None };
    let receiver = Receiver::start_keeping(folder.path(), options, "5000d").await;
    let url = receiver.target.write_url();
    let said = generate(folder.path(), &["--remote-write", &url]).success();
    let until = time::macros::date!(2025 - 03 - 31);
    let history: Vec<_> =
        metrics::simulated(simulator::teams(3), 7, until, 20, Histograms::CLASSIC).collect();
    let samples: usize = history.iter().map(|one| one.samples.len()).sum();
    let errors = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    assert!(errors.contains(&format!("{samples} samples accepted")), "{errors}");
    assert!(dorainfra_deploy::verify::history_stored(&receiver.target, &history).await);

    // Nobody there: an error with what became of each sample, and no success.
    let nowhere = format!("http://127.0.0.1:{}/write", collector::free_port());
    let said = generate(folder.path(), &["--remote-write", &nowhere, "--out", "x"]).failure();
    assert_eq!(said.get_output().status.code(), Some(3), "two places to write to");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_history_is_written_from_its_events_and_no_simulated_one() {
    let folder = tempfile::tempdir().unwrap();
    let options = ReceiverOptions { out_of_order_window: "5000d", tls: None };
    let receiver = Receiver::start_keeping(folder.path(), options, "5000d").await;
    let event = |kind: &str, rest: &str| format!(r#"{{"type":"{kind}","team":"real","service":"s",{rest}}}"#);
    let lines = [
        event("change", r#""id":"c1","at":"2025-03-17T09:00:00Z""#),
        event("deployment", r#""id":"d1","at":"2025-03-18T09:00:00Z","changes":["c1"]"#),
        event("deployment", r#""id":"d2","at":"2025-03-20T09:00:00Z""#),
        event("failure", r#""id":"f1","at":"2025-03-20T10:00:00Z","deployment":"d2""#),
    ];
    std::fs::write(folder.path().join("real.jsonl"), lines.join("\n")).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dorainfra"));
        command
            .current_dir(folder.path())
            .args(["generate", "--follow", "real.jsonl"])
            .args(arguments)
            .assert()
    };
    let url = receiver.target.write_url();
    let range = ["--days", "20", "--until", "2025-03-31"];
    let said = run(&[&["--remote-write", url.as_str()][..], &range].concat()).success();
    let errors = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    assert!(!errors.contains("queries show"), "{errors}");

    let events: Vec<Event> = read(lines.join("\n").as_bytes()).collect::<Result<_, _>>().unwrap();
    let (until, settle) = (time::macros::date!(2025 - 03 - 31), time::Duration::hours(72));
    let history: Vec<_> = metrics::collected(&[], &events, settle, until, 20, Histograms::CLASSIC).collect();
    let deployed: f64 = history
        .iter()
        .filter(|one| one.name == metrics::DEPLOYMENTS)
        .map(|one| one.samples.plain().last().unwrap().1)
        .sum();
    assert!((deployed - 2.0).abs() < 1e-9);
    assert!(dorainfra_deploy::verify::history_stored(&receiver.target, &history).await);

    // Days that have not been yet would be stored as they are now, and stay so.
    let said = run(&["--remote-write", url.as_str(), "--until", "2199-03-31"]).failure();
    let errors = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    assert!(
        said.get_output().status.code() == Some(3) && errors.contains("2199-03-31 is not over yet"),
        "{errors}"
    );
    // Without a place to write to, and without events, it says so.
    assert_eq!(run(&range).failure().get_output().status.code(), Some(3));
    std::fs::write(folder.path().join("real.jsonl"), "").unwrap();
    let said = run(&[&["--remote-write", url.as_str()][..], &range].concat()).failure();
    assert!(String::from_utf8_lossy(&said.get_output().stderr).contains("holds no events"));
}

/// What takes a history and shows none of it: a Mimir as it comes.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_shows_nothing_of_a_history_is_told_with_its_reason() {
    use axum::extract::Request;
    let answer = |config: &'static str| {
        axum::Router::new().fallback(move |request: Request| async move {
            let body = match request.uri().path() {
                "/config" => config,
                "/api/v1/push" => return (axum::http::StatusCode::NO_CONTENT, ""),
                _ => r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#,
            };
            (axum::http::StatusCode::OK, body)
        })
    };
    for (config, expected) in [
        ("querier:\n  query_ingesters_within: 13h0m0s\n", "asks its ingesters for the last 13h0m0s only"),
        ("limits:\n  query_ingesters_within: 0s\n", "a receiver may show them later"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/v1/push", listener.local_addr().unwrap());
        let server = tokio::spawn(axum::serve(listener, answer(config)).into_future());
        let said =
            tokio::task::block_in_place(|| generate(folder.path(), &["--remote-write", &url]).success());
        let errors = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
        assert!(errors.contains("queries show 0 of") && errors.contains(expected), "{errors}");
        server.abort();
    }
}

//! `generate --events`: events for whoever has no configuration yet.

// In a test a panic is the report; clippy knows that of #[test] functions only.
#![allow(clippy::unwrap_used)]

mod collector;

use std::path::Path;

use assert_cmd::Command;
use collector::{Receiver, ReceiverOptions};
use dorainfra::dora::events::{Event, read};
use dorainfra::dora::metrics::{self, Histograms};
use dorainfra::dora::simulator;

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
        metrics::simulated(simulator::teams(3), 7, until, 20, Histograms::Classic).collect();
    let samples: usize = history.iter().map(|one| one.samples.len()).sum();
    let errors = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    assert!(errors.contains(&format!("{samples} samples accepted")), "{errors}");
    assert!(dorainfra::verify::history_stored(&receiver.target, &history).await);

    // Nobody there: an error with what became of each sample, and no success.
    let nowhere = format!("http://127.0.0.1:{}/write", collector::free_port());
    let said = generate(folder.path(), &["--remote-write", &nowhere, "--out", "x"]).failure();
    assert_eq!(said.get_output().status.code(), Some(3), "two places to write to");
}

//! `generate --events`: events for whoever has no configuration yet.

// In a test a panic is the report; clippy knows that of #[test] functions only.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use assert_cmd::Command;
use dorainfra::dora::events::{Event, read};

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

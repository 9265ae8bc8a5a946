//! The figures computed once more, in Python and from the documentation alone
//! (`tests/recompute/`): what queries and the report say of simulated years, and which
//! events `collect git` tells of made-up repositories. `scripts/nightly` has all days and
//! more repositories.

#![allow(clippy::disallowed_methods, reason = "the environment is a test's own input")]

use std::path::Path;
use std::process::Command;

use crate::collector::Receiver;

const UNTIL: &str = "2025-06-30";

fn nightly() -> bool {
    std::env::var_os("NIGHTLY").is_some()
}

fn dorainfra(folder: &Path, arguments: &[&str]) {
    assert_cmd::Command::new(env!("CARGO_BIN_EXE_dorainfra"))
        .current_dir(folder)
        .args(arguments)
        .assert()
        .success();
}

/// Runs a script of `tests/recompute`, and answers what it says in the end.
#[track_caller]
fn recompute(folder: &Path, script: &str, arguments: &[&str]) -> String {
    recompute_in("UTC", folder, script, arguments)
}

#[track_caller]
fn recompute_in(zone: &str, folder: &Path, script: &str, arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recompute").join(script);
    let mut command = Command::new("python3");
    command.arg("-B").arg(script).args(arguments).current_dir(folder).env("ZONE", zone);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said.lines().last().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_and_report_say_what_the_events_do() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::real_where_given(dir.path(), "9000d", "9000d").await;
    let url = format!("{}/prometheus", receiver.target.base_url);
    let url = url.as_str();
    let history = ["generate", "--teams", "3", "--seed", "11", "--until", UNTIL, "--days", "920"];
    dorainfra(dir.path(), &[&history[..], &["--events", "events.jsonl"]].concat());
    let write = receiver.target.write_url();
    dorainfra(dir.path(), &[&history[..], &["--remote-write", &write, "--service-histograms"]].concat());

    let days = if nightly() { "1-450,900" } else { "1-10,28,84,190-210/3,365,450" };
    let documentation = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let (documentation, program) = (documentation.to_str().unwrap(), env!("CARGO_BIN_EXE_dorainfra"));
    let inputs = ["events.jsonl", url, UNTIL, days, documentation];
    let report = [program, "report", "--format", "json", "--services", "--endpoint", url];
    let said = recompute(dir.path(), "figures.py", &[&inputs[..], &report].concat());
    let compared: usize = said.split(' ').next().unwrap().parse().unwrap();
    assert!(compared > 1800, "{said}");

    // That it can fail: the events lack one deployment of the last day.
    let events = std::fs::read_to_string(dir.path().join("events.jsonl")).unwrap();
    let last = events.lines().rfind(|line| line.contains("\"deployment\",\"id\"")).unwrap();
    std::fs::write(dir.path().join("fewer.jsonl"), events.replace(&format!("{last}\n"), "")).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recompute/figures.py");
    let inputs = ["fewer.jsonl", url, UNTIL, "1", documentation];
    let output = Command::new("python3").arg("-B").arg(script).args(inputs).current_dir(dir.path()).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("deployment frequency of"), "{output:?}");
}

/// Days and weeks in which clocks change, and those beside them.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_another_zone_is_of_the_days_that_its_clocks_show() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::real_where_given(dir.path(), "9000d", "9000d").await;
    let url = format!("{}/prometheus", receiver.target.base_url);
    let url = url.as_str();
    let write = receiver.target.write_url();
    let history = ["generate", "--teams", "3", "--seed", "11", "--until", "2025-11-10", "--days", "600"];
    dorainfra(dir.path(), &[&history[..], &["--events", "events.jsonl"]].concat());
    let documentation = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let (documentation, program) = (documentation.to_str().unwrap(), env!("CARGO_BIN_EXE_dorainfra"));
    let mut compared = 0;
    for (zone, untils) in [
        ("Europe/Berlin", ["2025-03-29", "2025-03-30", "2025-03-31", "2025-10-26", "2025-10-27"]),
        ("America/New_York", ["2025-03-08", "2025-03-09", "2025-03-10", "2025-11-02", "2025-01-01"]),
        ("Asia/Kolkata", ["2025-03-30", "2025-06-30", "2024-12-31", "2025-01-01", "2025-01-05"]),
    ] {
        let timezone = format!("timezone={zone}");
        let to = ["--remote-write", &write, "--service-histograms", "--set", &timezone];
        dorainfra(dir.path(), &[&history[..], &to].concat());
        // The first ones of the others are enough for each day.
        let few = if nightly() || zone == "Europe/Berlin" { 5 } else { 2 };
        for until in &untils[..few] {
            let inputs = ["events.jsonl", url, until, "1,7,28,84", documentation];
            let report = ["report", "--format", "json", "--services", "--endpoint", url, "--timezone", zone];
            let arguments = [&inputs[..], &[program], &report].concat();
            let said = recompute_in(zone, dir.path(), "figures.py", &arguments);
            compared += said.split(' ').next().unwrap().parse::<usize>().unwrap();
        }
    }
    assert!(compared > 3000, "{compared}");
}

#[test]
fn repositories_tell_the_events_that_the_rules_say() {
    let dir = tempfile::tempdir().unwrap();
    let last = if nightly() { "500" } else { "25" };
    let program = env!("CARGO_BIN_EXE_dorainfra");
    let folder = dir.path().to_str().unwrap();
    let said = recompute(dir.path(), "repositories.py", &[folder, "1", last, program, "collect", "git"]);
    assert!(said.ends_with(" 0 repositories differ"), "{said}");
}

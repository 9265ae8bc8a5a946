//! The script for a first run in a project of Google's, rehearsed: all its steps pass
//! in a sandbox that is as unkind as Google, and what it makes is deleted, also where
//! the script itself is killed.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod deployment;

use std::path::Path;
use std::process::{Command, Stdio};

use deployment::Deployment;

fn script(deployment: &Deployment) -> Command {
    let given = deployment.command(&[]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut run = Command::new(root.join("scripts/first-real-run"));
    run.args(["--sandbox", "--yes", "--report", "run", "--binary", env!("CARGO_BIN_EXE_dorainfra")])
        .current_dir(deployment.path())
        .env_clear()
        .stdin(Stdio::null());
    run.envs(given.get_envs().filter_map(|(name, value)| Some((name, value?))));
    run
}

#[test]
fn every_step_of_the_rehearsal_passes_and_nothing_is_left() {
    let deployment = Deployment::empty();
    let output = script(&deployment).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    let report = std::fs::read_to_string(deployment.path().join("run/report.md")).unwrap_or_default();
    assert!(output.status.success(), "{shown}\n{}\n{report}", String::from_utf8_lossy(&output.stderr));
    assert!(report.contains("| clean-up | nothing is left |"), "{report}");
    for step in ["a change in place", "certificates are rotated", "verify over its data"] {
        assert!(report.contains(&format!("| {step} | 0 |")), "{step}:\n{report}");
    }
    // It is made to be sent to others.
    for private in ["my-gcp", "first-run-", "127.0.0.1"] {
        assert!(!report.contains(private), "{private}:\n{report}");
    }
}

#[test]
fn what_a_killed_run_has_made_is_deleted_by_its_guard() {
    let deployment = Deployment::empty();
    let mut run = script(&deployment).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let folder = deployment.path().join("run/work");
    let counts = || {
        let status = deployment.command(&["sandbox", "status", "--json"]).current_dir(&folder).output();
        let text = String::from_utf8(status.unwrap().stdout).unwrap();
        let status: serde_json::Value = serde_json::from_str(text.trim()).unwrap_or_default();
        let count = |kind: &str| status["result"]["counts"][kind].as_u64().unwrap_or_default();
        ["buckets", "objects", "secrets", "serviceAccounts"].map(count)
    };
    deployment.until("something is made", || folder.is_dir() && counts()[2] > 2);
    run.kill().unwrap();
    run.wait().unwrap();
    deployment.until("the guard has deleted it", || deployment.path().join("run/.clean").exists());
    // The accounts are the sandbox's owner and Compute Engine's own.
    assert_eq!(counts(), [0, 0, 0, 2], "the guard says that it is clean");
}

#[test]
fn what_would_cost_too_much_or_names_no_project_is_refused_before_anything_happens() {
    let refused = |arguments: &[&str]| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output = Command::new(root.join("scripts/first-real-run")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&[]).contains("--project"));
    assert!(refused(&["--project", "p", "--budget", "0.10"]).contains("cents"));
    assert!(refused(&["--project", "p", "--minutes", "soon"]).contains("--minutes"));
}

//! Grafana's dashboards and alert rules, as code. They are written to
//! `grafana/dashboards` and `grafana/alerting`, which the Compose stack mounts:
//!
//!     UPDATE_DASHBOARDS=1 cargo test --test dashboards
//!
//! and the tests in here say that the files are current, that each dashboard is
//! one by Grafana's published schema and by the rules of its dashboard-linter,
//! that every query has an answer, and, where a Grafana is given, that
//! it loads and shows all of it (`running`).

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
// The environment is a test's own input, and a skip has to say its reason.
#![allow(clippy::disallowed_methods, clippy::print_stderr)]

mod alerts;
mod answers;
mod board;
mod browser;
#[path = "../tests/support/collector/mod.rs"]
mod collector;
mod compare;
mod lint;
mod mimir;
mod overview;
mod panel;
mod pipeline;
mod queries;
mod questions;
mod running;
mod scale;
mod team;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use board::Board;
use serde_json::Value;

fn boards() -> Vec<Board> {
    let mut boards: Vec<Board> = mimir::boards().into();
    boards.extend([overview::board(), compare::board(), team::board(), pipeline::board()]);
    boards
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana")
}

/// The files that are generated, below `grafana/`.
fn files() -> Vec<(String, Value)> {
    let boards: Vec<Value> = boards().iter().map(Board::json).collect();
    let rules = alerts::json(boards.last().unwrap());
    let name = |board: &Value| format!("dashboards/{}.json", board["uid"].as_str().unwrap());
    let dashboards = boards.iter().map(|board| (name(board), board.clone())).collect::<Vec<_>>().into_iter();
    dashboards.chain([("alerting/rules.json".into(), rules)]).collect()
}

#[test]
fn what_is_committed_is_what_is_generated() {
    let update = std::env::var_os("UPDATE_DASHBOARDS").is_some();
    let mut known = Vec::new();
    for (name, json) in files() {
        let path = folder().join(&name);
        let text = serde_json::to_string_pretty(&json).unwrap() + "\n";
        if update {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(there == text, "{name} is not current: UPDATE_DASHBOARDS=1 cargo test --test dashboards");
        known.push(path);
    }
    for file in ["dashboards", "alerting"]
        .map(|name| fs::read_dir(folder().join(name)).unwrap())
        .into_iter()
        .flatten()
    {
        let path = file.unwrap().path();
        assert!(known.contains(&path), "{} is not generated", path.display());
    }
}

/// Grafana's own types, generated from its schemas, read each dashboard and
/// write it again: what they do not know is lost, and what is missing fails.
#[test]
fn dashboards_are_of_grafanas_published_schema() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/python/bin/python");
    if !python.exists() {
        assert!(std::env::var_os("CI").is_none(), "Grafana's schema is not installed: scripts/setup --tests");
        eprintln!("skipped: Grafana's schema is not installed (scripts/setup --tests)");
        return;
    }
    let output = Command::new(python)
        .arg("-B")
        .arg(folder().join("schema.py"))
        .args(boards().iter().map(|board| folder().join(format!("dashboards/{}.json", board.uid))))
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert_eq!(stdout.matches(" is of the schema").count(), boards().len(), "{stdout}");
}

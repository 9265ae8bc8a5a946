//! What has checked which method: committed lists that each test holds itself to,
//! and that the table in docs/sandbox.md is made of.
//!
//! A list is `tests/coverage/NAME.txt`: `# ` and the names of the table's columns
//! that it counts for (`# Python client, discovery`), then a method's id on each
//! line (`storage.objects.get`; of the metadata server, `metadata.` and the path).

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The ids of the methods that were called, of the answer of `GET /sandbox/requests`.
pub fn called(requests: &Value) -> BTreeSet<String> {
    let entries = requests["requests"].as_array().expect("the list of calls");
    let ids = entries.iter().filter(|entry| entry["status"].as_u64().is_some_and(|status| status < 400));
    let ids = ids.filter_map(|entry| entry["api"].as_str()).filter(|id| !id.is_empty());
    ids.map(str::to_owned).collect()
}

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/coverage")
}

/// Fails unless a test has called with success just what its list says.
/// `INSTA_UPDATE=always`, as for all other snapshots, writes the list.
#[track_caller]
pub fn holds(list: &str, methods: &BTreeSet<String>) {
    let path = folder().join(list).with_extension("txt");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (title, _) = text.split_once('\n').expect("a list begins with the check's name");
    let current: String = methods.iter().map(|method| format!("{method}\n")).collect();
    let current = format!("{title}\n{current}");
    #[expect(clippy::disallowed_methods, reason = "the switch of the snapshots")]
    if std::env::var("INSTA_UPDATE").is_ok_and(|mode| mode == "always") {
        std::fs::write(&path, &current).unwrap();
        return;
    }
    let listed: BTreeSet<String> = text.lines().skip(1).map(str::to_owned).collect();
    let missing: Vec<_> = listed.difference(methods).collect();
    let more: Vec<_> = methods.difference(&listed).collect();
    assert!(
        text == current,
        "{} is stale (INSTA_UPDATE=always writes it): not called {missing:?}, called too {more:?}",
        path.display()
    );
}

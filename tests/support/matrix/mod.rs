//! What a matrix tried and what came of it, kept for docs/reliability.md.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

/// One matrix's results: of its last run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Results {
    pub title: String,
    /// What was done, and what had to hold.
    pub what: String,
    /// Of this project's tests: `TARGET TEST`.
    pub test: String,
    /// All of it, or a sample.
    pub whole: bool,
    /// Kinds of events, each with what came of it.
    pub kinds: BTreeMap<String, Kind>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Kind {
    pub tried: usize,
    pub survived: usize,
    /// One message that was shown, of those that were.
    pub message: Option<String>,
}

/// A matrix that is being gone through.
pub struct Matrix(Mutex<Results>);

impl Matrix {
    pub fn new(title: &str, what: &str, test: &str, whole: bool) -> Self {
        let (title, what, test) = (title.into(), what.into(), test.into());
        Self(Mutex::new(Results { title, what, test, whole, kinds: BTreeMap::new() }))
    }

    pub fn tried(&self, kind: &str, survived: bool, message: Option<String>) {
        let mut results = self.0.lock().unwrap();
        let kind = results.kinds.entry(kind.to_owned()).or_default();
        kind.tried += 1;
        kind.survived += usize::from(survived);
        kind.message = kind.message.take().or(message);
    }

    /// Many at once, as of a model.
    pub fn counted(&self, kind: &str, tried: usize) {
        let kind_of = Kind { tried, survived: tried, message: None };
        self.0.lock().unwrap().kinds.insert(kind.to_owned(), kind_of);
    }

    /// Writes them down, however the matrix ends.
    pub fn keep(&self) {
        let results = self.0.lock().unwrap();
        std::fs::create_dir_all(folder()).unwrap();
        let name = results.test.split_whitespace().next_back().unwrap();
        std::fs::write(
            folder().join(format!("{name}.json")),
            serde_json::to_string_pretty(&*results).unwrap(),
        )
        .unwrap();
    }
}

impl Drop for Matrix {
    fn drop(&mut self) {
        self.keep();
    }
}

/// Where the results of the last runs are.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("reliability")
}

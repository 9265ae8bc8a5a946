//! The list of calls that were made, for tests and for people.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::sync::lock;

/// How many are kept.
const KEPT: usize = 20_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it arrived, RFC 3339.
    pub time: String,
    /// `owner`, a service account's address, or `anonymous`.
    pub caller: String,
    pub method: String,
    /// With its query; without what stands for a caller.
    pub path: String,
    /// The client's name for itself (`User-Agent`), or what it adds to it for
    /// Google (`x-goog-api-client`).
    #[serde(default)]
    pub client: String,
    /// The method's id in the API's description; empty where there is none.
    pub api: String,
    /// 0: no answer was given (a fault).
    pub status: u16,
    /// From the last byte of the request's head to the answer's head.
    pub latency_ms: u64,
    /// Whether it changes something, by its HTTP method.
    pub write: bool,
    /// What was said, where the switch for it was on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bodies: Option<Bodies>,
}

/// What was said in a call; `null`: nothing, or no JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bodies {
    pub request: Value,
    pub response: Value,
}

/// The newest entries of one kind.
#[derive(Debug)]
pub struct Log<T> {
    entries: Mutex<VecDeque<T>>,
    bodies: AtomicBool,
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self { entries: Mutex::default(), bodies: AtomicBool::default() }
    }
}

impl<T: Clone> Log<T> {
    /// Whether bodies are kept, too.
    pub fn records(&self) -> bool {
        self.bodies.load(Ordering::Relaxed)
    }

    pub fn record(&self, bodies: bool) {
        self.bodies.store(bodies, Ordering::Relaxed);
    }

    pub fn add(&self, entry: T) {
        let mut entries = lock(&self.entries);
        if entries.len() == KEPT {
            entries.pop_front();
        }
        entries.push_back(entry);
    }

    pub fn list(&self) -> Vec<T> {
        lock(&self.entries).iter().cloned().collect()
    }

    pub fn clear(&self) {
        lock(&self.entries).clear();
    }
}

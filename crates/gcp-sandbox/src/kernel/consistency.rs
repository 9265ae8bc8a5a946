//! How late the world sees a change. At Google a new service account, a grant and
//! an enabled service are not there at once; here they are, unless a switch says
//! how long it takes. What is on its way is not kept over a restart: by then
//! everybody sees it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::sync::lock;

/// Milliseconds until a change is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Lag {
    /// A new service account: reads, grants to it and machines that run as it.
    pub service_accounts_ms: u64,
    /// A changed policy: what it allows, not what it reads.
    pub grants_ms: u64,
    /// An enabled service: the calls of its API.
    pub services_ms: u64,
    /// A secret and its versions: whatever is not asked for by a version's number.
    pub secrets_ms: u64,
    /// The `default` network, after Compute Engine was enabled.
    pub default_network_ms: u64,
    /// The project itself, since it was made: every third call does not know of it.
    pub project_ms: u64,
    /// For as long again, some replicas see it and others do not: of accounts, services
    /// and secrets.
    pub flapping: bool,
}

/// The key of the project's record.
pub const PROJECT: &str = "project";

#[derive(Debug, Default)]
pub struct Consistency {
    lag: Mutex<Lag>,
    /// When a record became what it is (by its key).
    made: Mutex<HashMap<String, Instant>>,
    /// How often something was looked for while replicas differ.
    looks: AtomicU32,
    /// The same of the project, so that neither changes what the other sees.
    looks_for_project: AtomicU32,
    /// Policies and secrets that were replaced, oldest first: when, and what they were.
    replaced: Mutex<HashMap<String, Vec<(Instant, Value)>>>,
}

impl Consistency {
    pub fn new(lag: Lag) -> Self {
        Self { lag: Mutex::new(lag), ..Self::default() }
    }

    pub fn lag(&self) -> Lag {
        *lock(&self.lag)
    }

    /// Holds for what is on its way already, too.
    pub fn set(&self, lag: Lag) {
        *lock(&self.lag) = lag;
    }

    /// The record with this key is new once `after` is over.
    pub fn made(&self, key: &str, after: Duration) {
        lock(&self.made).insert(key.to_owned(), Instant::now() + after);
    }

    pub fn sees_account(&self, key: &str) -> bool {
        self.sees(key, self.lag().service_accounts_ms)
    }

    pub fn sees_service(&self, key: &str) -> bool {
        self.sees(key, self.lag().services_ms)
    }

    /// For a version of a secret, and for a secret that is new.
    pub fn sees_secret(&self, key: &str) -> bool {
        self.sees(key, self.lag().secrets_ms)
    }

    pub fn sees_project(&self) -> bool {
        let made = lock(&self.made).get(PROJECT).copied();
        let new = made.is_some_and(|made| made.elapsed() < Duration::from_millis(self.lag().project_ms));
        !new || self.looks_for_project.fetch_add(1, Ordering::Relaxed) % 3 != 2
    }

    fn sees(&self, key: &str, ms: u64) -> bool {
        let made = lock(&self.made).get(key).copied();
        let (Some(made), lag) = (made.filter(|_| ms > 0), Duration::from_millis(ms)) else { return true };
        if Instant::now() < made + lag {
            return false;
        }
        if self.lag().flapping && Instant::now() < made + 2 * lag {
            // Never three in a row that see it.
            return !self.looks.fetch_add(1, Ordering::Relaxed).is_multiple_of(3);
        }
        true
    }

    /// A policy or a secret was replaced; `before` is what it was.
    pub fn replaced(&self, key: &str, before: Value) {
        lock(&self.replaced).entry(key.to_owned()).or_default().push((Instant::now(), before));
    }

    /// The policy that holds now in place of the one that is written; `None`:
    /// the one that is written.
    pub fn in_force(&self, key: &str) -> Option<Value> {
        self.as_it_was(key, self.lag().grants_ms)
    }

    /// A changed secret as it is still shown; `None`: as it is.
    pub fn shown_secret(&self, key: &str) -> Option<Value> {
        self.as_it_was(key, self.lag().secrets_ms)
    }

    fn as_it_was(&self, key: &str, ms: u64) -> Option<Value> {
        let lag = Duration::from_millis(ms);
        let mut replaced = lock(&self.replaced);
        let earlier = replaced.get_mut(key)?;
        earlier.retain(|(at, _)| at.elapsed() < lag);
        earlier.first().map(|(_, policy)| policy.clone())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn without_a_lag_everything_is_seen_at_once() {
        let world = Consistency::default();
        world.made("a", Duration::ZERO);
        world.replaced("p", json!(1));
        assert!(world.sees_account("a") && world.sees_service("a"));
        assert_eq!(world.in_force("p"), None);
    }

    #[test]
    fn what_is_new_is_seen_after_its_lag_and_each_kind_has_its_own() {
        let world = Consistency::new(Lag { service_accounts_ms: HOUR, grants_ms: HOUR, ..Lag::default() });
        world.made("a", Duration::ZERO);
        assert!(!world.sees_account("a") && world.sees_service("a"));
        assert!(world.sees_account("older"));
        world.replaced("p", json!("first"));
        world.replaced("p", json!("second"));
        assert_eq!(world.in_force("p"), Some(json!("first")), "the newer changes are still on their way");
        world.set(Lag::default());
        assert!(world.sees_account("a"));
        assert_eq!(world.in_force("p"), None);
    }
}

//! Faults on demand: rules that match requests and say what goes wrong. They
//! come over HTTP while the sandbox runs and are not kept over a restart.

use std::sync::Mutex;

use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::lock;

/// One rule. Without `nth` and `times` it holds for every matching request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Rule {
    /// HTTP method; absent: any.
    pub method: Option<String>,
    /// Glob over the path with its query: `*` is any run of characters.
    pub path: Option<String>,
    /// The method's id, or a glob over ids (`compute.instances.*`).
    pub api: Option<String>,
    /// Only from the nth matching request on (1: the first).
    pub nth: Option<u64>,
    /// How often it strikes; absent: until it is removed.
    pub times: Option<u64>,
    /// 0 to 1; absent: 1.
    pub probability: Option<f64>,
    pub action: Action,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Action {
    /// Answers this status instead of carrying the request out.
    pub status: Option<u16>,
    /// `errors[].reason` of that answer (`rateLimitExceeded`).
    pub reason: Option<String>,
    pub message: Option<String>,
    /// Closes the connection with a reset, without an answer.
    pub reset: Option<Moment>,
    /// Holds the request until the rule is removed.
    pub hang: Option<Moment>,
    pub delay_before_ms: Option<u64>,
    pub delay_after_ms: Option<u64>,
    /// The operation that the request starts ends with this error.
    pub operation_error: Option<OperationError>,
    /// The operation that the request starts takes this long.
    pub operation_ms: Option<u64>,
}

/// Relative to the request's effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Moment {
    Before,
    After,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationError {
    pub code: String,
    pub message: String,
}

/// A rule that strikes a request.
#[derive(Clone, Debug)]
pub struct Strike {
    id: u64,
    pub action: Action,
}

#[derive(Debug)]
struct Kept {
    id: u64,
    rule: Rule,
    seen: u64,
    struck: u64,
}

#[derive(Debug)]
pub struct Faults {
    rules: Mutex<Vec<Kept>>,
    /// Bumped with every change of the rules; those who hang listen.
    version: watch::Sender<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { rules: Mutex::default(), version: watch::Sender::new(0) }
    }
}

impl Faults {
    pub fn set(&self, rules: Vec<Rule>) {
        self.version.send_modify(|version| *version += 1);
        let first = *self.version.borrow() << 32;
        let kept = (first..).zip(rules).map(|(id, rule)| Kept { id, rule, seen: 0, struck: 0 });
        *lock(&self.rules) = kept.collect();
        self.version.send_modify(|version| *version += 1);
    }

    pub fn list(&self) -> Vec<Rule> {
        lock(&self.rules).iter().map(|kept| kept.rule.clone()).collect()
    }

    /// Counts the request at every rule and answers the first that strikes.
    pub fn strike(&self, method: &str, path: &str, api: &str) -> Option<Strike> {
        let mut first = None;
        for kept in lock(&self.rules).iter_mut() {
            let rule = &kept.rule;
            let matches = rule.method.as_deref().is_none_or(|each| each.eq_ignore_ascii_case(method))
                && rule.path.as_deref().is_none_or(|glob| glob_matches(glob, path))
                && rule.api.as_deref().is_none_or(|glob| glob_matches(glob, api));
            if !matches {
                continue;
            }
            kept.seen += 1;
            let due = kept.seen >= rule.nth.unwrap_or(1)
                && kept.struck < rule.times.unwrap_or(u64::MAX)
                && rule.probability.is_none_or(|chance| rand::rng().random::<f64>() < chance);
            if due && first.is_none() {
                kept.struck += 1;
                first = Some(Strike { id: kept.id, action: rule.action.clone() });
            }
        }
        first
    }

    /// Waits until the rule behind `strike` is gone.
    pub async fn removed(&self, strike: &Strike) {
        let mut version = self.version.subscribe();
        while lock(&self.rules).iter().any(|kept| kept.id == strike.id) {
            if version.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Whether `text` is what `glob` says; `*` stands for any run of characters.
pub fn glob_matches(glob: &str, text: &str) -> bool {
    match glob.split_once('*') {
        None => glob == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|tail| {
            (0..=tail.len()).any(|at| tail.is_char_boundary(at) && glob_matches(rest, &tail[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (glob, text, expected) in [
            ("*", "", true),
            ("/a/*/c", "/a/b/b/c", true),
            ("/a/*/c", "/a/b/d", false),
            ("*insert", "compute.disks.insert", true),
            ("a*b*c", "aXbYbc", true),
            ("abc", "abcd", false),
        ] {
            assert_eq!(glob_matches(glob, text), expected, "{glob} {text}");
        }
    }

    #[test]
    fn the_nth_request_is_struck_and_as_often_as_said() {
        let faults = Faults::default();
        faults.set(vec![Rule {
            method: Some("get".into()),
            nth: Some(2),
            times: Some(2),
            ..Rule::default()
        }]);
        let struck: Vec<bool> = (0..5).map(|_| faults.strike("GET", "/", "").is_some()).collect();
        assert_eq!(struck, [false, true, true, false, false]);
        assert!(faults.strike("POST", "/", "").is_none());
    }
}

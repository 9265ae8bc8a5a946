//! Faults on demand: rules that match requests and say what goes wrong. They
//! come over HTTP while the sandbox runs and are not kept over a restart.

use std::sync::Mutex;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::sync::lock;

/// One rule. Without `nth` and `times` it holds for every matching request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Rule {
    /// HTTP method; absent: any.
    pub method: Option<String>,
    /// The resource: a glob over the path with its query; `*` is any run of
    /// characters.
    pub path: Option<String>,
    /// The method's id, or a glob over ids (`compute.instances.*`); `metadata` are the
    /// requests of machines to their metadata servers, which no other rule strikes.
    pub api: Option<String>,
    /// `owner`, `anonymous`, or a glob over service accounts' addresses; of `metadata`, over
    /// names of machines.
    pub caller: Option<String>,
    /// Only from the nth matching request on (1: the first).
    pub nth: Option<u64>,
    /// How often it strikes; absent: until it is removed.
    pub times: Option<u64>,
    /// 0 to 1; absent: 1.
    pub probability: Option<f64>,
    /// The same seed strikes the same requests; absent: another each time.
    pub seed: Option<u64>,
    pub action: Action,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Action {
    /// Answers this status instead of carrying the request out, or, with
    /// `statusAt: after`, although it was carried out.
    pub status: Option<u16>,
    pub status_at: Option<Moment>,
    /// `errors[].reason` of that answer (`rateLimitExceeded`).
    pub reason: Option<String>,
    pub message: Option<String>,
    /// The whole body of that answer, instead of one with `reason` and `message`.
    pub answer: Option<serde_json::Value>,
    /// Closes the connection with a reset, without an answer.
    pub reset: Option<Moment>,
    /// Holds the request until the rule is removed.
    pub hang: Option<Moment>,
    /// What is wrong with the body of the answer.
    pub body: Option<Damage>,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Damage {
    /// It ends in the middle, and the connection with it.
    Truncated,
    /// It is all there and makes no sense: half a document.
    Malformed,
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
    chance: ChaCha8Rng,
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
        let kept = (first..).zip(rules).map(|(id, rule)| {
            let seed = rule.seed.unwrap_or_else(|| rand::rng().random());
            Kept { id, rule, chance: ChaCha8Rng::seed_from_u64(seed), seen: 0, struck: 0 }
        });
        *lock(&self.rules) = kept.collect();
        self.version.send_modify(|version| *version += 1);
    }

    /// The rules, and how often each has struck.
    pub fn list(&self) -> Vec<(Rule, u64)> {
        lock(&self.rules).iter().map(|kept| (kept.rule.clone(), kept.struck)).collect()
    }

    /// Counts the request at every rule and answers the first that strikes.
    pub fn strike(&self, method: &str, path: &str, api: &str, caller: &str) -> Option<Strike> {
        let mut first = None;
        for kept in lock(&self.rules).iter_mut() {
            let rule = &kept.rule;
            let meant = api != "metadata" || rule.api.as_deref() == Some("metadata");
            let matches = meant
                && rule.method.as_deref().is_none_or(|each| each.eq_ignore_ascii_case(method))
                && rule.path.as_deref().is_none_or(|glob| glob_matches(glob, path))
                && rule.api.as_deref().is_none_or(|glob| glob_matches(glob, api))
                && rule.caller.as_deref().is_none_or(|glob| glob_matches(glob, caller));
            if !matches {
                continue;
            }
            kept.seen += 1;
            // Drawn for each, so that a seed means the same whatever else strikes.
            let drawn = kept.chance.random::<f64>();
            let due = kept.seen >= rule.nth.unwrap_or(1)
                && kept.struck < rule.times.unwrap_or(u64::MAX)
                && rule.probability.is_none_or(|chance| drawn < chance);
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
    fn a_seed_strikes_the_same_requests_again() {
        let strikes = |seed| {
            let faults = Faults::default();
            faults.set(vec![Rule { probability: Some(0.5), seed, ..Rule::default() }]);
            (0..200).map(|_| faults.strike("GET", "/", "", "owner").is_some()).collect::<Vec<_>>()
        };
        assert_eq!(strikes(Some(7)), strikes(Some(7)));
        assert_ne!(strikes(Some(7)), strikes(Some(8)));
        let struck = strikes(Some(7)).into_iter().filter(|struck| *struck).count();
        assert!((60..140).contains(&struck), "{struck} of 200 at one half");
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
        let struck: Vec<bool> = (0..5).map(|_| faults.strike("GET", "/", "", "owner").is_some()).collect();
        assert_eq!(struck, [false, true, true, false, false]);
        assert!(faults.strike("POST", "/", "", "owner").is_none());
    }

    #[test]
    fn a_rule_is_for_who_it_says() {
        let faults = Faults::default();
        faults.set(vec![Rule { caller: Some("vm@*".into()), ..Rule::default() }]);
        assert!(faults.strike("GET", "/", "", "vm@p.iam.gserviceaccount.com").is_some());
        assert!(faults.strike("GET", "/", "", "owner").is_none());
    }
}

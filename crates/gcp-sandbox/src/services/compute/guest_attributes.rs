//! Guest attributes: what a machine says of itself. Compute Engine's limit on them: ten queries a minute of one machine,
//! three of them within a second. Reads from outside, and reads and writes on the
//! machine itself, by whatever program, share it.
//!
//! Source: Compute Engine's documentation, "Setting and querying guest attributes".
//! It says that beyond the limit attributes that are being written may be removed, so
//! such a write is answered and lost here. What a read is told is not said there: that
//! it is refused as beyond any other of Compute's rates (403 `rateLimitExceeded`, on the
//! machine 429) is assumed, and that what is refused does not count.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::state::state;
use super::{link, target};
use crate::kernel::call::Call;
use crate::kernel::error::ApiError;
use crate::kernel::store::Tx;
use crate::kernel::sync::lock;

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
const A_MINUTE: usize = 10;
const A_SECOND: usize = 3;

/// The queries of the last minute, by the instance's record key.
#[derive(Debug, Default)]
pub struct Budget(Mutex<HashMap<String, VecDeque<Instant>>>);

impl Budget {
    /// Whether one more query of the machine is served; then it counts.
    pub fn take(&self, instance: &str) -> bool {
        self.take_at(instance, Instant::now())
    }

    fn take_at(&self, instance: &str, now: Instant) -> bool {
        let mut queries = lock(&self.0);
        let queries = queries.entry(instance.to_owned()).or_default();
        while queries.front().is_some_and(|first| now.duration_since(*first) >= MINUTE) {
            queries.pop_front();
        }
        let burst = queries.iter().rev().take_while(|at| now.duration_since(**at) < SECOND).count();
        let served = queries.len() < A_MINUTE && burst < A_SECOND;
        if served {
            queries.push_back(now);
        }
        served
    }
}

/// The refusal of a read. Its words are those of Compute's rate quotas.
fn too_many() -> ApiError {
    let mut error = ApiError::forbidden("Rate Limit Exceeded");
    (error.reason, error.domain) = ("rateLimitExceeded", "usageLimits");
    error
}

/// `instances.getGuestAttributes`
pub fn get(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    if call.cloud.profile().guest_attributes_pace && !state(&call.cloud).guest_attributes.take(&key) {
        return Err(too_many());
    }
    let items = record["metadata"]["items"].as_array().map_or(&[][..], Vec::as_slice);
    let enabled = items.iter().any(|item| {
        item["key"] == "enable-guest-attributes"
            && item["value"].as_str().is_some_and(|value| value.eq_ignore_ascii_case("true"))
    });
    if !enabled {
        return Err(ApiError::condition("Guest attributes endpoint access is disabled."));
    }
    let (query, variable) = (call.query("queryPath"), call.query("variableKey"));
    let path = variable.or(query).unwrap_or_default();
    let root = format!("guest/{}/{}/", call.path("zone"), call.path("instance"));
    let wanted = format!("{root}{path}");
    let found: Vec<(String, Value)> = tx
        .scan(&root)
        .into_iter()
        .filter(|(each, _)| {
            path.is_empty()
                || *each == wanted
                || each.starts_with(&format!("{}/", wanted.trim_end_matches('/')))
        })
        .collect();
    if found.is_empty() {
        return Err(ApiError::not_found(format!(
            "The resource '{path}' of type 'Guest Attribute' was not found."
        )));
    }
    let mut answer = json!({
        "kind": "compute#guestAttributes",
        "selfLink": format!("{}/guestAttributes/{path}", link(&call.cloud.project, &key)),
    });
    if let Some(variable) = variable {
        answer["variableKey"] = json!(variable);
        answer["variableValue"] = found[0].1.clone();
        return Ok(answer);
    }
    let entries: Vec<Value> = found
        .iter()
        .filter_map(|(each, value)| {
            let (namespace, name) = each.strip_prefix(&root)?.split_once('/')?;
            Some(json!({"namespace": namespace, "key": name, "value": value}))
        })
        .collect();
    answer["queryPath"] = json!(path);
    answer["queryValue"] = json!({"items": entries});
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_a_second_and_ten_a_minute_for_each_machine() {
        let (budget, begin) = (Budget::default(), Instant::now());
        let at = |machine: &str, ms: u64| budget.take_at(machine, begin + Duration::from_millis(ms));
        assert_eq!([0, 100, 200, 300].map(|ms| at("a", ms)), [true, true, true, false]);
        assert!(at("b", 300), "another machine has its own");
        assert!([1200, 2400, 3600, 4800, 6000, 7200, 8400].into_iter().all(|ms| at("a", ms)));
        assert!(!at("a", 30_000) && !at("a", 59_999));
        assert!(at("a", 60_000), "the first one is a minute ago");
    }
}

//! Compute Engine's limit on guest attributes: ten queries a minute of one machine,
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

use super::error::ApiError;
use super::sync::lock;

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
pub fn too_many() -> ApiError {
    let mut error = ApiError::forbidden("Rate Limit Exceeded");
    (error.reason, error.domain) = ("rateLimitExceeded", "usageLimits");
    error
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

//! How often, and after which wait, a request is repeated.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, reason = "numbers of others are computed with"))]

use std::time::Duration;

use dorainfra_base::answer;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// The bounds of repeating one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all; at least 1.
    pub attempts: u32,
    /// The first wait is up to this long, each further one up to twice the last.
    pub base: Duration,
    pub longest: Duration,
    /// No wait begins that would end later than this after the first attempt.
    pub budget: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 10,
            base: Duration::from_millis(200),
            longest: Duration::from_secs(15),
            budget: Duration::from_secs(120),
        }
    }
}

/// Full jitter: uniform between 0 and `base × 2^attempt`, at most `longest`.
/// So many clients that were turned away at once do not come back at once.
pub fn jitter(base: Duration, attempt: u32, longest: Duration) -> Duration {
    let ceiling = base.saturating_mul(1u32.checked_shl(attempt).unwrap_or(u32::MAX)).min(longest);
    let nanoseconds = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
    let random = StdRng::try_from_rng(&mut rand::rngs::SysRng).map_or(u64::MAX, |mut rng| rng.next_u64());
    Duration::from_nanos((u128::from(random).saturating_mul(u128::from(nanoseconds)) >> 64) as u64)
}

/// `Retry-After`: seconds, or a date, which is counted from `now`; never longer than
/// [`answer::LONGEST_WAIT`].
pub fn retry_after(value: &str, now: OffsetDateTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(answer::seconds(seconds));
    }
    let date = OffsetDateTime::parse(value, &Rfc2822).ok()?;
    let seconds = date.unix_timestamp().saturating_sub(now.unix_timestamp());
    Some(answer::seconds(u64::try_from(seconds).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn both_forms_of_retry_after_are_read() {
        let now = datetime!(2015-10-21 07:27:30 UTC);
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:20:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
        for far in ["18446744073709551615", "Fri, 31 Dec 9999 23:59:59 -2359"] {
            assert_eq!(retry_after(far, now), Some(answer::LONGEST_WAIT), "{far}");
        }
        assert_eq!(retry_after("18446744073709551616", now), None);
    }

    #[test]
    fn waits_grow_and_stay_below_the_longest() {
        let (base, longest) = (Duration::from_millis(100), Duration::from_secs(2));
        for attempt in 0..70 {
            let ceiling = base.saturating_mul(1 << attempt.min(20)).min(longest);
            assert!(jitter(base, attempt, longest) <= ceiling);
        }
        assert!((0..64).any(|_| jitter(base, 10, longest) > Duration::from_millis(200)));
    }
}

//! The moment that is shown: the present, or, for demonstrations, one that comes
//! faster.
//!
//! At a speed of N, a second of real time is N seconds of what is shown, from the
//! start on. The counters have what happened until the shown moment; a sample's
//! own time is real, because nobody stores samples of the future. So the values
//! run ahead of the history: N times as much happens in an hour of a graph.

use std::str::FromStr;

use time::OffsetDateTime;

/// How fast the shown time passes: 1 to [`Speed::FASTEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speed(u32);

impl Speed {
    pub const REAL: Self = Self(1);
    /// A day each second.
    pub const FASTEST: u32 = 86_400;

    pub fn is_real(self) -> bool {
        self == Self::REAL
    }
}

/// `60x`, or `60`.
impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_suffix(['x', 'X']).unwrap_or(text).parse() {
            Ok(speed) if (1..=Self::FASTEST).contains(&speed) => Ok(Self(speed)),
            _ => Err(format!(
                "give it as `60x`: a whole number from 1 (as it really happens) to {} (a day each second)",
                Self::FASTEST
            )),
        }
    }
}

impl std::fmt::Display for Speed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x", self.0)
    }
}

/// Time as it passes, and as it is shown.
pub struct Clock {
    now: Box<dyn Fn() -> OffsetDateTime + Send + Sync>,
    began: OffsetDateTime,
    speed: Speed,
}

impl Clock {
    /// One whose shown time begins with the present.
    pub fn new(now: impl Fn() -> OffsetDateTime + Send + Sync + 'static, speed: Speed) -> Self {
        let began = now();
        Self { now: Box::new(now), began, speed }
    }

    /// The real time.
    pub fn now(&self) -> OffsetDateTime {
        (self.now)()
    }

    /// The moment to be shown; never before the clock's own beginning.
    pub fn shown(&self) -> OffsetDateTime {
        let now = self.now();
        if self.speed.is_real() {
            return now;
        }
        let passed = (now - self.began).max(time::Duration::ZERO);
        let shown = passed.checked_mul(self.speed.0.try_into().unwrap_or(i32::MAX));
        // At the calendar's end time stands still.
        shown.and_then(|ahead| self.began.checked_add(ahead)).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};
    use time::macros::datetime;

    #[test]
    fn a_speed_is_a_whole_number_of_at_least_one() {
        for (text, speed) in [("60x", Some(60)), ("1x", Some(1)), ("86400X", Some(86_400)), ("7", Some(7))] {
            assert_eq!(text.parse::<Speed>().ok().map(|speed| speed.0), speed);
        }
        for text in ["0x", "0", "-60x", "x", "", "1.5x", "infx", "NaN", "86401x", "60xx", "99999999999x"] {
            assert!(text.parse::<Speed>().is_err_and(|error| error.contains("60x")), "{text}");
        }
        assert_eq!(Speed(60).to_string(), "60x");
    }

    #[test]
    fn a_minute_is_shown_each_second_and_the_real_time_stays_known() {
        static SECONDS: AtomicI64 = AtomicI64::new(0);
        let start = datetime!(2026-03-02 10:00 UTC);
        let now = move || start + time::Duration::seconds(SECONDS.load(Ordering::SeqCst));
        let (real, fast) = (Clock::new(now, Speed::REAL), Clock::new(now, Speed(60)));
        assert_eq!((real.shown(), fast.shown()), (start, start));
        SECONDS.store(90, Ordering::SeqCst);
        assert_eq!(real.shown(), datetime!(2026-03-02 10:01:30 UTC));
        assert_eq!(fast.shown(), datetime!(2026-03-02 11:30 UTC));
        assert_eq!(fast.now(), real.now());
        // A clock that is set back shows nothing twice, and one far ahead ends nothing.
        SECONDS.store(-90, Ordering::SeqCst);
        assert_eq!(fast.shown(), start);
        SECONDS.store(250_000_000_000, Ordering::SeqCst);
        assert_eq!(Clock::new(move || start, Speed(60)).shown(), start);
    }
}

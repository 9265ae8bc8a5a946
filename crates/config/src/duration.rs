//! Durations as Prometheus and Mimir write them: `15s`, `1h30m`, `400d`, `2y`.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, reason = "numbers of others are computed with"))]

use std::time::Duration;

/// Units, largest first: they must be written in this order, each at most once.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 60 * 60 * 1000),
    ("w", 7 * 24 * 60 * 60 * 1000),
    ("d", 24 * 60 * 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// Prometheus keeps a duration as nanoseconds in 64 bits with a sign.
const LONGEST_MS: u64 = (i64::MAX / 1_000_000) as u64;

/// Why a text is not a Prometheus duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("is empty")]
    Empty,
    #[error("has no unit behind `{0}`")]
    NoUnit(String),
    #[error("has no number before `{0}`")]
    NoNumber(String),
    #[error("has the unit `{0}`, which a duration doesn't know")]
    UnknownUnit(String),
    #[error("has a fraction")]
    Fraction,
    #[error("has `{0}` in the wrong order or twice")]
    Order(String),
    #[error("is longer than the 292 years that Prometheus can hold")]
    TooLong,
}

impl DurationError {
    /// What to write instead.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownUnit(unit) if matches!(unit.as_str(), "mo" | "M" | "month" | "months") => {
                Some("months differ in length, so write days: 13 months are `396d`".into())
            }
            Self::NoUnit(number) => Some(format!("days, for example: `{number}d`")),
            Self::Fraction => Some("write the next smaller unit too: `1d12h` for one and a half days".into()),
            Self::Order(_) => Some("the largest unit comes first: `1d12h`".into()),
            _ => None,
        }
    }
}

/// Reads a Prometheus duration; a year has 365 days, a week 7, a day 24 hours.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    let (mut rest, mut total, mut next_unit) = (text, 0u64, 0);
    while !rest.is_empty() {
        let (digits, behind) = split_at_first(rest, |c| !c.is_ascii_digit());
        let (unit, behind) = split_at_first(behind, |c| c.is_ascii_digit());
        if digits.is_empty() {
            return Err(DurationError::NoNumber(unit.into()));
        }
        if unit.is_empty() {
            return Err(DurationError::NoUnit(digits.into()));
        }
        if unit.starts_with('.') {
            return Err(DurationError::Fraction);
        }
        let index = UNITS
            .iter()
            .position(|(name, _)| *name == unit)
            .ok_or_else(|| DurationError::UnknownUnit(unit.into()))?;
        if index < next_unit {
            return Err(DurationError::Order(format!("{digits}{unit}")));
        }
        total = digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(UNITS[index].1))
            .and_then(|ms| ms.checked_add(total))
            .filter(|total| *total <= LONGEST_MS)
            .ok_or(DurationError::TooLong)?;
        next_unit = index.saturating_add(1);
        rest = behind;
    }
    Ok(Duration::from_millis(total))
}

fn split_at_first(text: &str, matches: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(matches).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_prometheus_takes() {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        for (text, expected) in [
            ("0", Duration::ZERO),
            ("0s", Duration::ZERO),
            ("1ms", Duration::from_millis(1)),
            ("1h30m", Duration::from_secs(5400)),
            ("400d", days(400)),
            ("2w", days(14)),
            ("2y", days(730)),
            ("1y1w1d1h1m1s1ms", days(373) + Duration::from_millis(3_661_001)),
        ] {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_prometheus_refuses() {
        use DurationError::*;
        for (text, expected) in [
            ("", Empty),
            ("13mo", UnknownUnit("mo".into())),
            ("1.5d", Fraction),
            ("-1d", NoNumber("-".into())),
            ("1 d", UnknownUnit(" d".into())),
            ("400", NoUnit("400".into())),
            ("1d2", NoUnit("2".into())),
            ("d", NoNumber("d".into())),
            ("1h1d", Order("1d".into())),
            ("1d1d", Order("1d".into())),
            ("300y", TooLong),
            ("99999999999999999999d", TooLong),
        ] {
            assert_eq!(parse_duration(text), Err(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_sum_of_units_is_their_sum(days in 0u64..1000, hours in 0u64..1000, seconds in 0u64..1000) {
            prop_assert_eq!(
                parse_duration(&format!("{days}d{hours}h{seconds}s")),
                Ok(Duration::from_secs(days * 86_400 + hours * 3_600 + seconds))
            );
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse_duration(&text);
        }
    }
}

//! Figures as people read them.

use dorainfra_base::number::{self, grouped};

/// Where there is no figure.
pub(super) const NOTHING: &str = "–";

/// `1.4 h`, `3.0 d`: seconds in the largest unit that leaves a number above one.
pub(super) fn duration(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else { return NOTHING.into() };
    for (unit, length) in [("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)] {
        if seconds >= length {
            return format!("{} {unit}", short(seconds / length));
        }
    }
    format!("{seconds:.0} s")
}

/// `12.3 %`
pub(super) fn share(value: Option<f64>) -> String {
    value.map_or(NOTHING.into(), |value| format!("{:.1} %", value * 100.0))
}

/// `2.31`, `35.9`, `1,204`: three digits are enough to compare by.
pub(super) fn rate(value: f64) -> String {
    match value {
        _ if value >= 100.0 => count(value),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// `1,234`
pub(super) fn count(value: f64) -> String {
    grouped(value.max(0.0).round_ties_even() as u64)
}

/// The same, where it is known.
pub(super) fn known(value: Option<f64>) -> String {
    value.map_or(NOTHING.into(), count)
}

/// `1 team`, `2 teams`.
pub(super) fn counted(number: usize, one: &str) -> String {
    number::counted(number as u64, one)
}

/// A frequency a day as people say it: `once a week`.
pub(super) fn times(a_day: f64) -> String {
    match (1.0 / a_day).round() as i64 {
        ..=1 => "once a day".into(),
        7 => "once a week".into(),
        30 => "once a month".into(),
        days => format!("once in {days} days"),
    }
}

/// The same of any frequency: `2.31 a day`, `3.5 a week`, `every 2 weeks`.
pub(super) fn often(a_day: f64) -> String {
    let every = |days: f64| match (days.round() as i64, (days / 7.0).round() as i64) {
        (..=1, _) => "once a day".into(),
        (7, _) => "once a week".into(),
        (days @ ..=12, _) => format!("every {days} days"),
        (_, weeks @ ..=8) => format!("every {weeks} weeks"),
        (days, _) => format!("every {} months", (days as f64 / 30.0).round()),
    };
    match a_day {
        none if none <= 0.0 => "never".into(),
        _ if a_day >= 1.05 => format!("{} a day", rate(a_day)),
        _ if a_day >= 0.95 => "once a day".into(),
        _ if a_day * 7.0 >= 1.75 => format!("{} a week", short(a_day * 7.0)),
        _ => every(1.0 / a_day),
    }
}

/// The first few of a list.
pub(super) fn some(items: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = items.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match items.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// One decimal, unless it is a zero.
pub(super) fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_have_their_unit() {
        assert_eq!(duration(Some(45.0)), "45 s");
        assert_eq!(duration(Some(5_400.0)), "1.5 h");
        assert_eq!(duration(Some(259_200.0)), "3 d");
        assert_eq!((duration(None).as_str(), share(None).as_str()), ("–", "–"));
        assert_eq!(share(Some(0.1234)), "12.3 %");
        assert_eq!((count(1_234_567.2).as_str(), count(12.0).as_str()), ("1,234,567", "12"));
        assert_eq!(
            (rate(0.456).as_str(), rate(35.91).as_str(), rate(1204.4).as_str()),
            ("0.46", "35.9", "1,204")
        );
        let said: Vec<String> =
            [74.2, 1.9, 1.0, 0.6, 0.25, 1.0 / 7.0, 0.1, 0.07, 0.03, 0.01, 0.0].map(often).into();
        let expected = [
            "74.2 a day",
            "1.90 a day",
            "once a day",
            "4.2 a week",
            "1.8 a week",
            "once a week",
            "every 10 days",
            "every 2 weeks",
            "every 5 weeks",
            "every 3 months",
            "never",
        ];
        assert_eq!(said, expected);
        assert_eq!((counted(1, "day").as_str(), counted(2000, "day").as_str()), ("1 day", "2,000 days"));
        let names: Vec<String> = (0..10).map(|n| n.to_string()).collect();
        assert_eq!(some(&names), "0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
    }
}

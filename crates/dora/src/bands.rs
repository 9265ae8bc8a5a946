//! Performance bands, by the year of the report that published them. A band is
//! a finding of one year's survey, not a law: the year is part of every answer.
//!
//! Only thresholds with a source are here, and nothing is filled in between:
//!
//! | year | what is known |
//! | --- | --- |
//! | 2019 | all four; its failure rate tells only the low from the others, and recovery not high from medium |
//! | 2020 | nothing: there was no report |
//! | 2021 | all four; its failure rate tells only the elite from the others |
//! | 2022 | all four; it found no elite |
//! | 2023 | all four |
//! | 2024 | all but the failure rate: its clusters are not in order there (high: 20 %, medium: 10 %), so that is no threshold; recovery does not tell high from medium |
//! | 2025 | none: seven archetypes took the place of the tiers |
//!
//! Where a report leaves a gap between two bands, a value in the gap has the
//! lower one.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Band {
    Low,
    Medium,
    High,
    Elite,
}

/// A metric that is put into bands, and its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measured {
    /// Deployments per day.
    Frequency(f64),
    /// Median, seconds.
    LeadTime(f64),
    /// 0..1
    FailureRate(f64),
    /// Median, seconds.
    Recovery(f64),
}

/// What a year's report says about a value; its text names the year.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    Banded { year: u16, band: Band, source: &'static str },
    Unknown { year: u16, reason: &'static str },
}

/// One year's limits: elite, high, medium; what is beyond is low.
struct Year {
    year: u16,
    source: &'static str,
    /// Deployments per day: more than the first, at least the others.
    frequency: Option<[f64; 3]>,
    /// Seconds, below the first, at most the others.
    lead_time: Option<[f64; 3]>,
    failure_rate: Rates,
    recovery: Option<[f64; 3]>,
}

enum Rates {
    /// At most.
    Limits([f64; 3]),
    /// Up to here elite; the other bands are not told apart.
    OnlyElite(f64),
    /// Beyond this low; the other bands are not told apart.
    OnlyLow(f64),
    None(&'static str),
}

const HOUR: f64 = 3600.0;
const DAY: f64 = 24.0 * HOUR;
const WEEK: f64 = 7.0 * DAY;
const MONTH: f64 = 30.0 * DAY;

const ON_DEMAND: f64 = 1.0;
const WEEKLY: f64 = 1.0 / 7.0;
const MONTHLY: f64 = 1.0 / 30.0;
const HALF_YEARLY: f64 = 1.0 / 182.0;

/// Limits that no value reaches: there is no such band.
const NOT_OFTEN_ENOUGH: f64 = f64::INFINITY;
const NOT_SHORT_ENOUGH: f64 = 0.0;
const NOT_RARE_ENOUGH: f64 = -1.0;

const YEARS: [Year; 5] = [
    Year {
        year: 2019,
        source: "Accelerate State of DevOps 2019, the table of performance profiles",
        frequency: Some([ON_DEMAND, WEEKLY, MONTHLY]),
        lead_time: Some([DAY, WEEK, MONTH]),
        // 0–15 % of the elite, the high and the medium; 46–60 % of the low.
        failure_rate: Rates::OnlyLow(0.15),
        // High and medium: less than a day, both of them.
        recovery: Some([HOUR, DAY, DAY]),
    },
    Year {
        year: 2021,
        source: "Accelerate State of DevOps 2021, the table of performance levels",
        // High is weekly to monthly, medium monthly to half-yearly.
        frequency: Some([ON_DEMAND, MONTHLY, HALF_YEARLY]),
        lead_time: Some([HOUR, WEEK, 6.0 * MONTH]),
        failure_rate: Rates::OnlyElite(0.15),
        recovery: Some([HOUR, DAY, WEEK]),
    },
    Year {
        year: 2022,
        source: "Accelerate State of DevOps 2022, the table of its three clusters",
        // High is on demand, medium weekly to monthly.
        frequency: Some([NOT_OFTEN_ENOUGH, ON_DEMAND, MONTHLY]),
        lead_time: Some([NOT_SHORT_ENOUGH, WEEK, MONTH]),
        failure_rate: Rates::Limits([NOT_RARE_ENOUGH, 0.15, 0.30]),
        recovery: Some([NOT_SHORT_ENOUGH, DAY, WEEK]),
    },
    Year {
        year: 2023,
        // Of the failure rate the report has 5, 10, 15 and 64 %, a value for each cluster;
        // that all above 15 % is low, DevLake says.
        source: "Accelerate State of DevOps 2023, with the limits of Apache DevLake's documentation",
        frequency: Some([ON_DEMAND, WEEKLY, MONTHLY]),
        lead_time: Some([DAY, WEEK, MONTH]),
        failure_rate: Rates::Limits([0.05, 0.10, 0.15]),
        recovery: Some([HOUR, DAY, WEEK]),
    },
    Year {
        year: 2024,
        source: "Accelerate State of DevOps 2024, the table of performance levels",
        frequency: Some([ON_DEMAND, WEEKLY, MONTHLY]),
        lead_time: Some([DAY, WEEK, MONTH]),
        failure_rate: Rates::None("the failure rates of its clusters are not in the order of the bands"),
        // High and medium: less than a day, both of them.
        recovery: Some([HOUR, DAY, DAY]),
    },
];

const ARCHETYPES: &str =
    "its report has no tiers, but seven archetypes of teams, which numbers alone do not distinguish";
const NO_REPORT: &str = "there was no report";
const NO_SOURCE: &str = "no thresholds with a source are known";
const NO_VALUE: &str = "there is no value";

/// The band of a value by the report of a year.
pub fn band(measured: Measured, year: u16) -> Verdict {
    let unknown = |reason| Verdict::Unknown { year, reason };
    match year {
        2020 => return unknown(NO_REPORT),
        2025 => return unknown(ARCHETYPES),
        _ => {}
    }
    let Some(table) = YEARS.iter().find(|table| table.year == year) else { return unknown(NO_SOURCE) };
    let banded = |band| Verdict::Banded { year, band, source: table.source };
    let (value, found) = match measured {
        Measured::Frequency(value) => (value, table.frequency.map(|limits| at_least(value, limits))),
        Measured::LeadTime(value) => (value, table.lead_time.map(|limits| below(value, limits))),
        Measured::Recovery(value) => (value, table.recovery.map(|limits| below(value, limits))),
        Measured::FailureRate(value) => match &table.failure_rate {
            Rates::Limits(limits) => (value, Some(at_most(value, *limits))),
            Rates::OnlyElite(limit) if value <= *limit => (value, Some(Band::Elite)),
            Rates::OnlyElite(_) => {
                return unknown("not elite; its report does not distinguish the other bands");
            }
            Rates::OnlyLow(limit) if value > *limit => (value, Some(Band::Low)),
            Rates::OnlyLow(_) => return unknown("not low; its report does not distinguish the other bands"),
            Rates::None(reason) => return unknown(reason),
        },
    };
    match found {
        _ if !value.is_finite() || value < 0.0 => unknown(NO_VALUE),
        Some(band) => banded(band),
        None => unknown(NO_SOURCE),
    }
}

/// A year's limits, as far as its report tells them: where elite, high and medium
/// end. Units are those of [`Measured`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    pub source: &'static str,
    /// More than the first, at least the others.
    pub frequency: Option<[f64; 3]>,
    /// Below the first, at most the others; so is `recovery`.
    pub lead_time: Option<[f64; 3]>,
    /// At most.
    pub failure_rate: Option<[f64; 3]>,
    pub recovery: Option<[f64; 3]>,
}

/// The limits of a year; `None`: it has no table here.
pub fn thresholds(year: u16) -> Option<Thresholds> {
    let table = YEARS.iter().find(|table| table.year == year)?;
    Some(Thresholds {
        source: table.source,
        frequency: table.frequency,
        lead_time: table.lead_time,
        failure_rate: match table.failure_rate {
            Rates::Limits(limits) => Some(limits),
            Rates::OnlyElite(_) | Rates::OnlyLow(_) | Rates::None(_) => None,
        },
        recovery: table.recovery,
    })
}

/// The years that have a table, the newest last.
pub fn years() -> impl Iterator<Item = u16> {
    YEARS.iter().map(|table| table.year)
}

fn at_least(value: f64, [elite, high, medium]: [f64; 3]) -> Band {
    match value {
        _ if value > elite => Band::Elite,
        _ if value >= high => Band::High,
        _ if value >= medium => Band::Medium,
        _ => Band::Low,
    }
}

fn below(value: f64, [elite, high, medium]: [f64; 3]) -> Band {
    if value < elite { Band::Elite } else { at_most(value, [0.0, high, medium]) }
}

fn at_most(value: f64, [elite, high, medium]: [f64; 3]) -> Band {
    match value {
        _ if value <= elite => Band::Elite,
        _ if value <= high => Band::High,
        _ if value <= medium => Band::Medium,
        _ => Band::Low,
    }
}

impl fmt::Display for Band {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Elite => "elite",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Banded { year, band, .. } => write!(f, "{band} ({year})"),
            Self::Unknown { year, reason } => write!(f, "no band ({year}: {reason})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_in_the_bands_of_their_year() {
        for (measured, year, expected) in [
            (Measured::Frequency(3.0), 2023, "elite (2023)"),
            (Measured::Frequency(1.0), 2023, "high (2023)"),
            (Measured::Frequency(0.1), 2023, "medium (2023)"),
            (Measured::Frequency(0.1), 2021, "high (2021)"),
            (Measured::LeadTime(2.0 * HOUR), 2021, "high (2021)"),
            (Measured::LeadTime(2.0 * HOUR), 2023, "elite (2023)"),
            (Measured::LeadTime(DAY), 2023, "high (2023)"),
            (Measured::LeadTime(40.0 * DAY), 2024, "low (2024)"),
            (Measured::FailureRate(0.05), 2023, "elite (2023)"),
            (Measured::FailureRate(0.2), 2023, "low (2023)"),
            (Measured::Recovery(8.0 * DAY), 2023, "low (2023)"),
            (Measured::Frequency(3.0), 2019, "elite (2019)"),
            (Measured::LeadTime(40.0 * DAY), 2019, "low (2019)"),
            (Measured::FailureRate(0.5), 2019, "low (2019)"),
            (Measured::Recovery(2.0 * HOUR), 2019, "high (2019)"),
            (Measured::Frequency(30.0), 2022, "high (2022)"),
            (Measured::Frequency(0.5), 2022, "medium (2022)"),
            (Measured::LeadTime(60.0), 2022, "high (2022)"),
            (Measured::FailureRate(0.0), 2022, "high (2022)"),
            (Measured::FailureRate(0.2), 2022, "medium (2022)"),
            (Measured::Recovery(60.0), 2022, "high (2022)"),
            (Measured::Recovery(2.0 * DAY), 2024, "low (2024)"),
        ] {
            assert_eq!(band(measured, year).to_string(), expected, "{measured:?}");
        }
    }

    #[test]
    fn what_is_not_known_says_so_with_the_year() {
        for (measured, year) in [
            (Measured::FailureRate(0.2), 2021),
            (Measured::FailureRate(0.2), 2024),
            (Measured::FailureRate(0.1), 2019),
            (Measured::LeadTime(60.0), 2020),
            (Measured::LeadTime(60.0), 2018),
            (Measured::LeadTime(60.0), 2025),
            (Measured::LeadTime(f64::NAN), 2023),
        ] {
            let verdict = band(measured, year);
            assert!(matches!(verdict, Verdict::Unknown { .. }), "{verdict}");
            assert!(verdict.to_string().contains(&year.to_string()));
        }
        assert_eq!(years().last(), Some(2024));
    }
}

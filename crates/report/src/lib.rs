//! A report on a deployment's metrics, from any endpoint that answers the
//! Prometheus query API: what was measured ([`collect`]), and the same figures as
//! a page, as tables and as data.
//!
//! How the metrics are defined, docs/metrics.md says; that every single sample
//! arrived, `verify` proves. Here is only asked and shown.

mod attention;
mod capabilities;
mod chart;
mod collect;
mod comparison;
mod coverage;
mod figures;
mod integrity;
pub mod keys;
mod kind;
mod known;
mod moves;
mod now;
mod page;
mod question;
mod services;
mod spans;
mod stages;
mod stored;
mod tables;
mod tally;
mod words;

use dorainfra_dora::bands::{self, Band, Verdict};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use time::{Date, OffsetDateTime};

pub use collect::collect;
pub use integrity::{Check, Day, Delivery, Integrity, Standing};
pub use keys::Key;
pub use moves::Move;
pub use page::html;
pub use question::Question;
pub use services::Service;
pub use spans::CollectError;
pub use stages::Progress;
pub use tables::{csv, markdown};

/// The version of the report's JSON: fields are added to it, never renamed.
pub const SCHEMA: u32 = 1;

/// Everything that a report shows.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    pub schema: u32,
    /// What is reported on, for people: the deployment's name, or the endpoint.
    pub subject: String,
    /// Where the figures come from, for people.
    pub source: String,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String")]
    pub generated: OffsetDateTime,
    pub environment: String,
    /// Whether every figure is of simulated teams.
    pub simulated: bool,
    /// Simulated teams of the range that are left out, as the figures are of real ones.
    pub simulated_left_out: u32,
    /// Hours after which a real event counts, where the events are real: every figure is of
    /// what happened so much earlier.
    pub settle_hours: Option<u32>,
    /// Whose days all of these are: `UTC`, `Europe/Berlin`.
    pub timezone: String,
    /// The first day that was asked for.
    #[serde(serialize_with = "day")]
    #[schemars(with = "String")]
    pub asked: Date,
    /// The first day that is stored, of those that were asked for, and the last one;
    /// all figures are of these days, both included.
    #[serde(serialize_with = "day")]
    #[schemars(with = "String")]
    pub first: Date,
    #[serde(serialize_with = "day")]
    #[schemars(with = "String")]
    pub until: Date,
    pub days: u32,
    /// Of how many of these days something is stored: what the frequency of `all` is by. Fewer, where the
    /// last ones are not stored.
    pub covered_days: u32,
    /// The year of the report whose bands the figures are put into.
    pub bands_year: u16,
    /// Of all teams together.
    pub all: Figures,
    /// The same, of as many days before; `None`: they are not stored from their beginning on, or
    /// not of all teams, and `comparison` has what can be compared.
    pub previous: Option<Figures>,
    /// Both ranges of the teams that are stored in both; `None`: there is none.
    pub comparison: Option<Comparison>,
    /// What the year's report says about `all`; about the frequency of its average team.
    pub bands: Vec<Classified>,
    /// Days of each of `periods`.
    pub period_days: u32,
    /// In the order of time, the last one ending with `until`.
    pub periods: Vec<Period>,
    /// What the teams are ranked by; `None`: they are in the order of their names.
    pub ranked_by: Option<&'static str>,
    /// By team.
    pub teams: Vec<Team>,
    /// By team and name, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<Service>>,
    pub integrity: Integrity,
    /// All other environments of the range, where this one has nothing; else those whose names
    /// differ from its in case only.
    pub other_environments: Vec<String>,
    /// Whether medians are read from native histograms (within 9 %), where those hold all of
    /// the range, and not from classic ones.
    pub native_histograms: bool,
    /// How many queries the endpoint was asked: as many for a thousand teams as for two.
    pub queries: u64,
}

/// Figures of two ranges that follow each other, of the same teams.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Comparison {
    pub now: Figures,
    /// Of as many days before the range.
    pub before: Figures,
    /// The days of the range that `now` is of: those that are stored.
    pub days: u32,
    /// What got better or worse by more than chance would explain.
    pub moves: Vec<Move>,
    /// Teams that are in none of the two, as they are not stored from the beginning of the days before on,
    /// or not up to the last day.
    pub without: Vec<String>,
}

/// The four keys and the rework rate. `None`: nothing happened that could be measured, or
/// nothing is stored, and what happened is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Figures {
    #[serde(serialize_with = "count")]
    #[schemars(with = "Option<u64>")]
    pub deployments: Option<f64>,
    /// Per day.
    pub frequency: Option<f64>,
    /// Median, seconds.
    pub lead_time: Option<f64>,
    /// 0..1
    pub failure_rate: Option<f64>,
    /// Median, seconds.
    pub recovery: Option<f64>,
    /// 0..1
    pub rework_rate: Option<f64>,
    /// What the medians and the shares are of, and what was counted for these: changes with a
    /// known lead time, failed deployments, recoveries, and rework.
    #[serde(serialize_with = "count")]
    #[schemars(with = "Option<u64>")]
    pub changes: Option<f64>,
    #[serde(serialize_with = "count")]
    #[schemars(with = "Option<u64>")]
    pub failed: Option<f64>,
    #[serde(serialize_with = "count")]
    #[schemars(with = "Option<u64>")]
    pub recoveries: Option<f64>,
    #[serde(serialize_with = "count")]
    #[schemars(with = "Option<u64>")]
    pub rework: Option<f64>,
}

impl Report {
    /// By how much what is shown is late, in words.
    fn settled(&self) -> Option<String> {
        let hours = self.settle_hours.filter(|hours| *hours > 0)?;
        let days = f64::from(hours) / 24.0;
        Some(format!(
            "Real events count {hours} hours after they happened, when it is known what failed: the figures of \
             a day are of what happened {} days before it.",
            words::short(days)
        ))
    }
}

impl Figures {
    /// Whether anything was deployed, as far as is known.
    fn any(&self) -> bool {
        self.deployments.is_some_and(|count| count >= 0.5)
    }

    pub fn of(&self, key: Key) -> Option<f64> {
        match key {
            Key::Frequency => self.frequency,
            Key::LeadTime => self.lead_time,
            Key::FailureRate => self.failure_rate,
            Key::Recovery => self.recovery,
            Key::Rework => self.rework_rate,
        }
    }

    /// How many events a figure is of: `40`, `7 of 56`. A share of few says little.
    pub fn count(&self, key: Key) -> String {
        let of = |part| format!("{} of {}", words::known(part), words::known(self.deployments));
        match key {
            Key::Frequency => words::known(self.deployments),
            Key::LeadTime => words::known(self.changes),
            Key::FailureRate => of(self.failed),
            Key::Recovery => words::known(self.recoveries),
            Key::Rework => of(self.rework),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Team {
    pub name: String,
    pub simulated: bool,
    #[serde(flatten)]
    pub figures: Figures,
    /// Whether it is part of the report's comparison: it is stored from the beginning of the days
    /// before on, and up to the last day.
    pub compared: bool,
    /// Its figures of as many days before, where it is compared.
    pub before: Option<Figures>,
    /// What got better or worse by more than chance would explain.
    pub moves: Vec<Move>,
    /// The end of the last period with a deployment, where it deployed so often before that chance
    /// makes such a pause unlikely.
    #[serde(serialize_with = "some_day")]
    #[schemars(with = "Option<String>")]
    pub silent_since: Option<Date>,
    /// Days of the range that are known of it: what its figures are of.
    pub days: u32,
    /// Deployments of each period, in their order; `None`: nothing is stored of it.
    #[serde(serialize_with = "counts")]
    #[schemars(with = "Vec<Option<u64>>")]
    pub deployments_by_period: Vec<Option<f64>>,
    /// Of how many days of each period these are.
    pub days_by_period: Vec<u32>,
    /// Age of the newest value, seconds; `None`: none in the last day.
    pub age: Option<f64>,
    /// The first and the last day of the range that its figures are of; where there are none, of its samples.
    #[serde(serialize_with = "some_day")]
    #[schemars(with = "Option<String>")]
    pub first_day: Option<Date>,
    #[serde(serialize_with = "some_day")]
    #[schemars(with = "Option<String>")]
    pub last_day: Option<Date>,
    /// Days without a single sample since the first one with any.
    #[serde(serialize_with = "days")]
    #[schemars(with = "Vec<String>")]
    pub gaps: Vec<Date>,
}

/// The figures of some days, of all teams together.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Period {
    /// Its last day.
    #[serde(serialize_with = "day")]
    #[schemars(with = "String")]
    pub until: Date,
    /// Of how many of its days something is stored: what its figures are of.
    pub days: u32,
    #[serde(flatten)]
    pub figures: Figures,
}

/// What a year's report says about a metric's value.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Classified {
    pub metric: &'static str,
    /// `elite`; `None`: `reason` says why there is none.
    pub band: Option<String>,
    pub year: u16,
    pub source: Option<&'static str>,
    pub reason: Option<&'static str>,
}

/// The band of a value, where the year's report has one for it.
pub(crate) fn band_of(key: Key, figures: &Figures, year: u16) -> Option<Band> {
    match bands::band(key.measured(figures.of(key)?)?, year) {
        Verdict::Banded { band, .. } => Some(band),
        Verdict::Unknown { .. } => None,
    }
}

/// What a year's report says about each metric of some teams together. Bands are
/// about one team: the frequency is compared with that of the average team.
fn classify(figures: &Figures, teams: usize, year: u16) -> Vec<Classified> {
    let figures = &Figures { frequency: figures.frequency.map(|all| all / teams.max(1) as f64), ..*figures };
    let unknown = |key: Key, reason| Classified {
        metric: key.id(),
        band: None,
        year,
        source: None,
        reason: Some(reason),
    };
    let one = |key: Key| {
        let Some(value) = figures.of(key) else {
            return unknown(key, "nothing happened that could be measured");
        };
        let Some(measured) = key.measured(value) else {
            return unknown(key, "DORA's reports publish no bands for this metric");
        };
        match bands::band(measured, year) {
            Verdict::Banded { band, source, .. } => Classified {
                metric: key.id(),
                band: Some(band.to_string()),
                year,
                source: Some(source),
                reason: None,
            },
            Verdict::Unknown { reason, .. } => unknown(key, reason),
        }
    };
    match figures.any() {
        true => Key::ALL.map(one).to_vec(),
        false => Key::ALL.map(|key| unknown(key, "nothing happened that could be measured")).to_vec(),
    }
}

/// What is counted comes from metrics, as floating-point numbers.
fn whole<S: Serializer>(count: &f64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(count.round().max(0.0) as u64)
}

fn count<S: Serializer>(count: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
    count.filter(|count| count.is_finite()).map(|count| count.round().max(0.0) as u64).serialize(to)
}

fn counts<S: Serializer>(counts: &[Option<f64>], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(counts.iter().map(|count| count.map(|count| count.round().max(0.0) as u64)))
}

fn day<S: Serializer>(day: &Date, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(day)
}

fn some_day<S: Serializer>(day: &Option<Date>, to: S) -> Result<S::Ok, S::Error> {
    day.map(|day| day.to_string()).serialize(to)
}

fn days<S: Serializer>(days: &[Date], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(days.iter().map(Date::to_string))
}

#[cfg(test)]
mod tests;

//! What a report is asked about.

use std::collections::{BTreeMap, BTreeSet};

use dorainfra_base::zone::Zone;
use time::{Date, Duration, OffsetDateTime};

use super::keys::{Ask, literal, of_kind};
use super::spans::Span;

/// What is to be reported on.
#[derive(Clone, Debug)]
pub struct Question {
    pub subject: String,
    pub source: String,
    pub environment: String,
    /// Whether the configuration has sources: then no simulated team is reported on.
    pub sources: bool,
    /// Of real events, where it is known.
    pub settle_hours: Option<u32>,
    /// Only these; none: all.
    pub teams: Vec<String>,
    /// Not these.
    pub without: Vec<String>,
    /// The first and the last day, both included and over.
    pub first: Date,
    pub until: Date,
    /// Whose days these are.
    pub zone: Zone,
    pub bands_year: u16,
    /// Whether each service is shown, too.
    pub services: bool,
    pub now: OffsetDateTime,
    /// Whether there are native histograms: found out by [`crate::collect()`].
    pub native: bool,
    /// Whether it is of simulated teams: found out by [`crate::collect()`].
    pub simulated: bool,
}

impl Question {
    pub(super) fn days(&self) -> i64 {
        (self.until - self.first).whole_days() + 1
    }

    pub(super) fn span(&self) -> Span {
        Span::of(&self.zone, self.first, self.until)
    }

    /// The matchers of every series that is asked for.
    pub(super) fn selector(&self) -> String {
        self.selector_with(&[self.of_environment(), of_kind(self.simulated).to_owned()])
    }

    /// The same of real and of simulated teams.
    pub(super) fn selector_of_both(&self) -> String {
        self.selector_with(&[self.of_environment()])
    }

    fn of_environment(&self) -> String {
        format!("environment=\"{}\"", dorainfra_prometheus::escaped(&self.environment))
    }

    fn selector_with(&self, matchers: &[String]) -> String {
        let mut selector = matchers.join(",");
        for (names, matcher) in [(&self.teams, "=~"), (&self.without, "!~")] {
            if !names.is_empty() {
                let names: Vec<String> = names.iter().map(|name| literal(name)).collect();
                let names = dorainfra_prometheus::escaped(&names.join("|"));
                selector.push_str(&format!(",team{matcher}\"{names}\""));
            }
        }
        selector
    }

    /// Of what was asked the days that are stored, which are those of any team: over
    /// others nothing can be divided, and no increase be told.
    pub(super) fn narrowed(&self, stored: &BTreeMap<String, BTreeSet<Date>>) -> Self {
        let earliest = stored.values().filter_map(BTreeSet::first).min();
        let first = earliest.map_or(self.first, |day| begins(*day, self));
        Self { first, ..self.clone() }
    }

    /// The same of these teams; `all`: those that there are.
    pub(super) fn of<T>(&self, teams: &[String], all: &BTreeMap<String, T>) -> Self {
        let teams = if teams.len() == all.len() { self.teams.clone() } else { teams.to_vec() };
        Self { teams, ..self.clone() }
    }

    pub(super) fn ask(&self, span: &Span, by: &'static str) -> Ask {
        Ask::over(self.selector(), span.days, span.milliseconds, by).native_where_whole(self.native)
    }

    /// As many days before.
    pub(super) fn span_before(&self) -> Span {
        let days = Duration::days(self.days());
        Span::of(&self.zone, self.first - days, self.until - days)
    }

    /// Days of a period: few enough of them to be seen apart.
    pub(super) fn period(&self) -> i64 {
        match self.days() {
            ..28 => 1,
            28..=420 => 7,
            _ => 28,
        }
    }
}

/// The first day that is known whole, where `first` is the first one with any sample: the
/// counters' values at its beginning are of the day before.
pub(super) fn begins(first: Date, question: &Question) -> Date {
    (first + Duration::days(1)).clamp(question.first, question.until)
}

/// The team of a series.
pub(super) fn label(metric: &BTreeMap<String, String>) -> String {
    metric.get("team").cloned().unwrap_or_default()
}

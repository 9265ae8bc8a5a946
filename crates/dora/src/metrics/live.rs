//! The counters of one team at the present moment.

use std::collections::VecDeque;

use dorainfra_prometheus::{Labels, native};
use time::{Date, Duration, OffsetDateTime, UtcOffset};

use super::super::simulator::{self, LONGEST_AFTERMATH_DAYS, Team};
use super::{Counters, Histograms, Observation, Scope, marked, observe, year_of};

/// Goes on where the history ends: at the end of a day the values are the ones
/// that the history has there.
pub struct Live {
    /// Who has more happen, where it is simulated.
    team: Option<Team>,
    counters: Counters,
    names: Vec<(&'static str, Labels)>,
    native_names: Vec<(&'static str, Labels)>,
    /// The year that is counted.
    year: i32,
    /// The last day of the team's calendar whose episodes are known.
    known: Date,
    /// What is yet to come, in the order of time.
    coming: VecDeque<Observation>,
}

impl Live {
    /// A simulated team.
    pub fn new(name: &str, seed: u64, histograms: Histograms, now: OffsetDateTime) -> Self {
        let team = Team::new(name, seed);
        let counters = Counters::zero([&Scope::of(&team)], histograms);
        let (mut names, mut native_names) = (counters.names(), counters.native_names());
        names.iter_mut().chain(&mut native_names).for_each(|(_, labels)| *labels = marked(labels));
        let today = now.to_offset(UtcOffset::UTC).date();
        let begin = year_of(today);
        let known = begin.checked_sub(Duration::days(LONGEST_AFTERMATH_DAYS + 1)).unwrap_or(Date::MIN);
        let (team, year) = (Some(team), today.year());
        let mut live = Self { team, counters, names, native_names, year, known, coming: VecDeque::new() };
        live.learn(today);
        let since = begin.midnight().assume_utc();
        live.coming.retain(|one| one.at >= since);
        live.advance(now);
        live
    }

    /// Of what is known already: the observations of one team, in the order of time.
    pub fn of(
        scopes: &[Scope],
        observations: Vec<Observation>,
        histograms: Histograms,
        now: OffsetDateTime,
    ) -> Self {
        let mut counters = Counters::zero(scopes, histograms);
        for Observation { team, service, environment, .. } in &observations {
            counters.open(team, service, environment);
        }
        let today = now.to_offset(UtcOffset::UTC).date();
        let since = year_of(today).midnight().assume_utc();
        let mut live = Self {
            team: None,
            names: counters.names(),
            native_names: counters.native_names(),
            counters,
            year: today.year(),
            known: today,
            coming: observations.into_iter().filter(|one| one.at >= since).collect(),
        };
        live.advance(now);
        live
    }

    /// Counts what happened up to `now`; whether anything did.
    pub fn advance(&mut self, now: OffsetDateTime) -> bool {
        let today = now.to_offset(UtcOffset::UTC).date();
        self.learn(today);
        let mut changed = false;
        if today.year() > self.year {
            self.year = today.year();
            let since = year_of(today).midnight().assume_utc();
            self.coming.retain(|one| one.at >= since);
            self.counters.reset();
            changed = true;
        }
        // The end of a day doesn't belong to it: as in the history.
        let past = self.coming.partition_point(|one| one.at < now);
        for one in self.coming.drain(..past) {
            self.counters.add(&one);
            changed = true;
        }
        changed
    }

    /// Has the episodes of every day on which something may have begun.
    fn learn(&mut self, today: Date) {
        let Some(team) = &self.team else { return };
        let tomorrow = today.next_day().unwrap_or(today);
        let mut new = Vec::new();
        while self.known < tomorrow
            && let Some(next) = self.known.next_day()
        {
            self.known = next;
            new.extend(team.day(next).into_iter().flat_map(|simulator::Episode(events)| events));
        }
        if !new.is_empty() {
            self.coming.extend(observe(&new));
            self.coming.make_contiguous().sort_by_key(|one| one.at);
        }
    }

    /// Names, labels and present values.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, &Labels, u64)> {
        self.names.iter().zip(self.counters.values()).map(|((name, labels), value)| (*name, labels, value))
    }

    /// The same of the native histograms.
    pub fn natives(&self) -> impl Iterator<Item = (&'static str, &Labels, &native::Histogram)> {
        let named = self.native_names.iter().zip(self.counters.natives());
        named.map(|((name, labels), histogram)| (*name, labels, histogram))
    }
}

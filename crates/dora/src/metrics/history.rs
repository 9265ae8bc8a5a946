//! Series with their true dates: each counter's value at the end of each day, and
//! the former gauges' values of that day.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use dorainfra_base::zone::Zone;
use dorainfra_prometheus::valid;
use dorainfra_prometheus::{Exemplar, Samples, Series};
use time::{Date, Duration, OffsetDateTime, Time};

use super::super::events::Event;
use super::counters::{Bucket, bucket};
use super::{
    Counters, Histograms, Observation, Scope, WINDOW_DAYS, first_day, gauges, observe, settled, year_of,
};
use crate::events::PRODUCTION;

/// Where the counters begin at zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the range's first day.
    WithTheRange,
    /// On each first of January (UTC), as if everything had been restarted: so a
    /// day's values do not depend on the range. The events have to begin with
    /// [`Start::of`].
    EachYear,
}

impl Start {
    /// The first day whose events a history needs that begins with `first`: the
    /// counters' own beginning, and what the gauges look back to.
    pub fn of(self, first: Date) -> Date {
        let window = first.checked_sub(Duration::days(WINDOW_DAYS - 1)).unwrap_or(Date::MIN);
        self.counters(first).min(window)
    }

    /// The day that the counters begin with.
    fn counters(self, first: Date) -> Date {
        match self {
            Self::WithTheRange => first,
            Self::EachYear => year_of(first),
        }
    }
}

/// A restart is seen by a value that is lower than the one before: one second
/// into the year, all are zero.
const RESTART: Duration = Duration::seconds(1);

/// The history of what some events say, for whoever appears in them.
pub fn series(events: &[Event], first: Date, until: Date) -> Vec<Series> {
    history(&scopes(events), events, first, until, Start::WithTheRange, Histograms::CLASSIC)
}

/// The history of real events, a team at a time, over the `days` days up to
/// `until` (included): each counts when it is settled. `known` have series from
/// the beginning, beside those that appear in the events.
pub fn collected(
    known: &[Scope],
    events: &[Event],
    settle: Duration,
    until: Date,
    days: u32,
    histograms: Histograms,
) -> impl Iterator<Item = Series> + Send + use<> {
    collected_in(&Zone::UTC, known, events, settle, until, days, histograms)
}

/// The same, with a sample where each day of a zone begins, too.
pub fn collected_in(
    zone: &Zone,
    known: &[Scope],
    events: &[Event],
    settle: Duration,
    until: Date,
    days: u32,
    histograms: Histograms,
) -> impl Iterator<Item = Series> + Send + use<> {
    let zone = zone.clone();
    let mut teams: BTreeMap<String, (Vec<Scope>, Vec<Observation>)> = BTreeMap::new();
    for scope in known.iter().cloned().chain(scopes(events)) {
        teams.entry(valid(&scope.team)).or_default().0.push(scope);
    }
    for one in settled(events, settle) {
        teams.entry(valid(&one.team)).or_default().1.push(one);
    }
    teams.into_values().flat_map(move |(scopes, observations)| {
        let first = first_day(until, days);
        let Some(first) = first else { return Vec::new() };
        of(&zone, &scopes, &observations, first, until, Start::EachYear, histograms)
    })
}

/// Whoever deployed something in some events.
pub fn scopes(events: &[Event]) -> Vec<Scope> {
    let known: BTreeSet<(&str, &str, &str)> = events
        .iter()
        .filter_map(|event| match event {
            Event::Deployment(it) => Some((it.team.as_str(), it.service.as_str(), it.environment.as_str())),
            _ => None,
        })
        .collect();
    let scope = |(team, service, environment): (&str, &str, &str)| Scope {
        team: team.to_owned(),
        services: vec![service.to_owned()],
        environment: environment.to_owned(),
    };
    known.into_iter().map(scope).collect()
}

/// One sample for each counter at the beginning of `first` (UTC) and at the end
/// of each day up to `until`, which is the next day's first instant; then the
/// gauges of each team.
pub fn history(
    scopes: &[Scope],
    events: &[Event],
    first: Date,
    until: Date,
    start: Start,
    histograms: Histograms,
) -> Vec<Series> {
    of(&Zone::UTC, scopes, &observe(events), first, until, start, histograms)
}

/// The same, with a sample where each day of a zone begins, too.
pub(super) fn history_in(
    zone: &Zone,
    scopes: &[Scope],
    events: &[Event],
    first: Date,
    until: Date,
    histograms: Histograms,
) -> Vec<Series> {
    of(zone, scopes, &observe(events), first, until, Start::EachYear, histograms)
}

fn of(
    zone: &Zone,
    scopes: &[Scope],
    observations: &[Observation],
    first: Date,
    until: Date,
    start: Start,
    histograms: Histograms,
) -> Vec<Series> {
    let mut all = counters(zone, scopes, observations, first, until, start, histograms);
    let mut teams: BTreeMap<String, Vec<&Observation>> = BTreeMap::new();
    for scope in scopes.iter().filter(|scope| scope.environment == PRODUCTION) {
        teams.entry(valid(&scope.team)).or_default();
    }
    for one in observations.iter().filter(|one| one.environment == PRODUCTION) {
        teams.entry(valid(&one.team)).or_default().push(one);
    }
    for (team, observations) in teams {
        all.extend(gauges::series(&team, &gauges::rows(observations, first, until)));
    }
    all
}

fn counters(
    zone: &Zone,
    scopes: &[Scope],
    observations: &[Observation],
    first: Date,
    until: Date,
    start: Start,
    histograms: Histograms,
) -> Vec<Series> {
    let mut counters = Counters::zero(scopes, histograms);
    // Whatever will ever be counted is there from the beginning.
    for Observation { team, service, environment, .. } in observations {
        counters.open(team, service, environment);
    }
    let days = usize::try_from((until - first).whole_days() + 1).unwrap_or(0);
    let series = |(name, labels), samples| Series { name, labels, samples, exemplars: Vec::new() };
    let plain = |named| series(named, Samples::Plain(Vec::with_capacity(days + 2)));
    let native = |named| series(named, Samples::Native(Vec::with_capacity(days + 2)));
    let mut all: Vec<Series> = counters.names().into_iter().map(plain).collect();
    if histograms.native {
        all.extend(counters.native_names().into_iter().map(native));
    }
    if days == 0 {
        return all;
    }
    let begin = start.counters(first);
    let since = begin.midnight().assume_utc();
    let mut observations = observations.iter().skip_while(|one| one.at < since).peekable();
    let mut exemplars = Exemplars::of(&all);
    let (from, end) =
        (first.midnight().assume_utc(), until.next_day().unwrap_or(until).midnight().assume_utc());
    for now in ends(zone, begin, first, until) {
        while let Some(one) = observations.next_if(|one| one.at < now) {
            counters.add(one);
            if now > from {
                exemplars.note(one);
            }
        }
        if now >= from {
            exemplars.store(&mut all);
            sample(&mut all, &counters, now);
        }
        let new_year = now.ordinal() == 1 && now.time() == Time::MIDNIGHT;
        if start == Start::EachYear && new_year && now < end {
            counters.reset();
            if now >= from {
                sample(&mut all, &counters, now + RESTART);
            }
        }
    }
    all
}

/// Where days end, of UTC from `begin` on, and of a zone from `first` on. Those of UTC are always
/// among them: rules and dashboards ask for these.
fn ends(zone: &Zone, begin: Date, first: Date, until: Date) -> BTreeSet<OffsetDateTime> {
    let days = |from: Date| std::iter::successors(Some(from), |day: &Date| day.next_day());
    let until = until.next_day().unwrap_or(until);
    let mut all: BTreeSet<OffsetDateTime> =
        days(begin).take_while(|day| *day <= until).map(|day| day.midnight().assume_utc()).collect();
    if !zone.is_utc() {
        let range = first.midnight().assume_utc()..=until.midnight().assume_utc();
        let near = first.previous_day().unwrap_or(first);
        // No zone is further from UTC than a day.
        let days = days(near).take_while(|day| *day <= until + Duration::days(1));
        all.extend(days.map(|day| zone.begin(day)).filter(|at| range.contains(at)));
    }
    all
}

/// The newest thing that each bucket counted on a day.
struct Exemplars {
    /// Where the series of each bucket is: by name, team, environment and edge.
    buckets: HashMap<(&'static str, String, String, String), usize>,
    newest: BTreeMap<usize, Exemplar>,
}

impl Exemplars {
    fn of(series: &[Series]) -> Self {
        let buckets = series.iter().enumerate().filter(|(_, one)| !one.labels.get("le").is_empty());
        let key = |one: &Series| {
            let label = |name| one.labels.get(name).to_owned();
            (one.name, label("team"), label("environment"), label("le"))
        };
        Self { buckets: buckets.map(|(index, one)| (key(one), index)).collect(), newest: BTreeMap::new() }
    }

    fn note(&mut self, one: &Observation) {
        let Some(Bucket { name, le, seconds, label }) = bucket(one.observed) else { return };
        let key = (name, valid(&one.team), valid(&one.environment), le);
        if let Some(index) = self.buckets.get(&key) {
            let exemplar = Exemplar {
                timestamp_ms: one.at.unix_timestamp() * 1000,
                value: seconds as f64,
                label,
                id: valid(&one.id),
            };
            self.newest.insert(*index, exemplar);
        }
    }

    fn store(&mut self, all: &mut [Series]) {
        while let Some((index, exemplar)) = self.newest.pop_first() {
            all[index].exemplars.push(exemplar);
        }
    }
}

fn sample(all: &mut [Series], counters: &Counters, at: OffsetDateTime) {
    let milliseconds = at.unix_timestamp() * 1000;
    let (mut values, mut natives) = (counters.values(), counters.natives());
    for series in all {
        match &mut series.samples {
            Samples::Plain(samples) => {
                samples.extend(values.next().map(|value| (milliseconds, value as f64)));
            }
            Samples::Native(samples) => {
                samples.extend(natives.next().map(|histogram| (milliseconds, histogram.clone())));
            }
        }
    }
}

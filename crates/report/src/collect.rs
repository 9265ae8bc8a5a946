//! The queries behind a report: what is stored first, and then all the rest of it at once.

use std::collections::{BTreeMap, BTreeSet};

use dorainfra_dora::metrics::{DEPLOYMENTS, LEAD_TIME, RECOVERY};
use dorainfra_prometheus::query::{Query, QueryError};
use time::{Date, Duration, OffsetDateTime};

use super::figures::{both, compared, figures, known_days, partly_stored, stored_before, summed};
use super::integrity::{self, Integrity};
use super::kind;
use super::moves::pause;
use super::now::now;
use super::question::Question;
use super::services::{Service, services};
use super::spans::{CollectError, Span, cut};
use super::stages::{Progress, stage};
use super::stored::{Days, integrity_of, stored};
use super::tally::{ByTeam, Observed, Tally, deployed, native_of_all, observed, sum};
use super::{Comparison, Figures, Period, Report, SCHEMA, Team, classify};

/// Asks everything; the answers belong to the same moment. `sent`: how many samples close each day, where the
/// sender is known: waited for when all else is known. `told`: how far it is.
///
/// # Errors
/// The first query that is not answered; an environment or a team that has nothing, where others
/// have.
pub async fn collect(
    query: &Query,
    asked: &Question,
    sent: impl Future<Output = BTreeMap<Date, u64>>,
    told: &(dyn Fn(Progress) + Sync),
) -> Result<Report, CollectError> {
    let first = async { tokio::try_join!(kind::stored(query, asked), stored(query, asked)) };
    let (kinds, stored) = stage(query, "what is stored", told, first).await?;
    let asked = &kinds.of_one_kind(asked);
    kinds.check(asked)?;
    let simulated_left_out = if asked.simulated { 0 } else { kinds.simulated_in(&asked.environment) };
    let stored = stored.of_kind(asked.simulated);
    let narrowed = asked.narrowed(stored);
    let question = &Question { native: kinds.has_native(&narrowed), ..narrowed };
    let found = stage(query, "figures and checks", told, ask(query, question, stored)).await?;
    let other_environments = kinds.other_environments(question, !found.teams.is_empty());
    let mut integrity = found.integrity;
    // Without sources, what this configuration sends is simulated, if anything.
    let sent = if asked.sources || asked.simulated { sent.await } else { BTreeMap::new() };
    let any = |day: Date| stored.values().any(|days| days.contains(&day));
    for day in &mut integrity.days {
        day.sent = sent.get(&day.date).copied();
    }
    // Days since the history was sent have live values, and no sample at their end.
    for day in integrity.days.iter_mut().rev().take_while(|day| day.stored == 0 && any(day.date)) {
        day.sent = None;
    }
    let days = question.days() as u32;
    let lacking = (question.first - asked.first).whole_days() as u32;
    let checks = integrity::checks(&integrity, &found.teams, days, lacking);
    let comparison = found.comparison;
    Ok(Report {
        schema: SCHEMA,
        subject: question.subject.clone(),
        source: question.source.clone(),
        generated: question.now,
        environment: question.environment.clone(),
        simulated: question.simulated && !found.teams.is_empty(),
        simulated_left_out,
        timezone: question.zone.to_string(),
        settle_hours: question.settle_hours,
        asked: asked.first,
        first: question.first,
        until: question.until,
        days,
        bands_year: question.bands_year,
        bands: classify(&found.all, found.teams.len(), question.bands_year),
        all: found.all,
        previous: comparison.as_ref().filter(|of| of.without.is_empty()).map(|of| of.before),
        comparison,
        period_days: question.period() as u32,
        periods: found.periods,
        ranked_by: None,
        teams: found.teams,
        services: found.services,
        integrity: Integrity { checks, ..integrity },
        other_environments,
        native_histograms: question.native,
        queries: query.asked(),
    })
}

/// What the second stage finds.
struct Found {
    all: Figures,
    comparison: Option<Comparison>,
    periods: Vec<Period>,
    teams: Vec<Team>,
    services: Option<Vec<Service>>,
    integrity: Integrity,
}

async fn ask(query: &Query, question: &Question, stored: &Days) -> Result<Found, CollectError> {
    let (span, days) = (question.span(), question.days());
    let spans = [span];
    let (both, partly, native, before, (periods, by_period), now, integrity, services, ()) = tokio::try_join!(
        told(both(query, question)),
        told(partly_stored(query, question, stored)),
        told(native_of_all(query, question, &spans)),
        told(stored_before(query, question)),
        told(periods(query, question)),
        told(now(query, question)),
        told(integrity_of(query, question)),
        told(by_service(query, question, stored)),
        whole_days(query, question, stored),
    )?;
    let mut figures_of = figures(&both.now, &span);
    for (team, own) in partly {
        match own {
            Some(own) => figures_of.insert(team, own),
            None => figures_of.remove(&team),
        };
    }
    let names: BTreeSet<&String> = figures_of.keys().chain(now.newest.keys()).chain(stored.keys()).collect();
    let range: Vec<Date> = (0..days).map(|day| question.first + Duration::days(day)).collect();
    let nothing = BTreeSet::new();
    let newest_day = stored.values().filter_map(BTreeSet::last).max();
    let team = |name: &String| {
        let there = stored.get(name).unwrap_or(&nothing);
        let first_day = first_day(there, question);
        let gap = |day: &&Date| first_day.is_some_and(|first| **day > first) && !there.contains(day);
        Team {
            name: name.clone(),
            simulated: question.simulated,
            figures: figures_of.get(name).copied().unwrap_or_default(),
            compared: before.contains(name) && figures_of.contains_key(name) && there.last() == newest_day,
            before: None,
            moves: Vec::new(),
            silent_since: None,
            days: days_of(there, question),
            deployments_by_period: by_period.get(name).cloned().unwrap_or_else(|| vec![None; periods.len()]),
            age: now.newest.get(name).map(|at| (seconds(question.now) - at).max(0.0)),
            first_day,
            last_day: there.last().copied(),
            gaps: range.iter().filter(gap).copied().collect(),
        }
    };
    let mut teams: Vec<Team> = names.into_iter().map(team).collect();
    let [lead_time, recovery] = native.get(&span.until).copied().unwrap_or_default();
    let mut all = sum(both.now.values()).with_native(lead_time, recovery).figures(days);
    if teams.iter().any(|team| team.days > 0 && i64::from(team.days) < days) {
        let last = stored.values().map(|there| known_days(there, question).1).max();
        all = summed(all, &teams, last.map_or(days, |last| (last - question.first).whole_days() + 1));
    }
    let mut compared = compared(query, question, &all, &teams, &before, &both).await?;
    let ends: Vec<Date> = periods.iter().map(|period| period.until).collect();
    let several = teams.len();
    for team in &mut teams {
        if let Some((before, moves)) = compared.teams.remove(&team.name) {
            (team.before, team.moves) = (Some(before), moves);
        }
        let counts = &team.deployments_by_period;
        team.silent_since =
            pause(counts, question.period(), several).and_then(|last| ends.get(last).copied());
    }
    let comparison = compared.all;
    let integrity = Integrity { delivery: now.delivery, ..integrity };
    Ok(Found { all, comparison, periods, teams, services, integrity })
}

async fn told<T>(answer: impl Future<Output = Result<T, QueryError>>) -> Result<T, CollectError> {
    Ok(answer.await?)
}

fn seconds(at: OffsetDateTime) -> f64 {
    at.unix_timestamp_nanos() as f64 / 1e9
}

/// The first day of the range with a sample.
fn first_day(stored: &BTreeSet<Date>, question: &Question) -> Option<Date> {
    stored.range(question.first..).next().copied()
}

/// Days of the range that a team's figures are about.
fn days_of(stored: &BTreeSet<Date>, question: &Question) -> u32 {
    let (known, last) = known_days(stored, question);
    let days = ((last - known).whole_days() + 1).max(0);
    first_day(stored, question).map_or(0, |_| days as u32)
}

/// That the range and its periods begin and end where something is stored.
async fn whole_days(query: &Query, question: &Question, stored: &Days) -> Result<(), CollectError> {
    if stored.is_empty() {
        return Ok(());
    }
    // Where the range begins, and each end of what is told.
    let begun = Span::before(&question.zone, question.first - Duration::days(1), 1, 1);
    let ends = [begun, spans(question)].concat();
    cut(query, &question.zone, &format!("{DEPLOYMENTS}{{{}}}", question.selector()), &ends).await
}

/// The periods. The days that are left over are before the first.
fn spans(question: &Question) -> Vec<Span> {
    let period = question.period();
    Span::before(&question.zone, question.until, period, question.days() / period)
}

/// Deployments by period, of each team.
type ByPeriod = BTreeMap<String, Vec<Option<f64>>>;

/// Period by period, of all teams together; and the deployments of each.
async fn periods(query: &Query, question: &Question) -> Result<(Vec<Period>, ByPeriod), QueryError> {
    let spans = spans(question);
    let (deployed, lead_times, recoveries) = tokio::try_join!(
        deployed(query, question, &spans),
        observed(query, question, &spans, "", LEAD_TIME),
        observed(query, question, &spans, "", RECOVERY),
    )?;
    let one = |span: &Span| {
        let of_all = |found: &ByTeam<Observed>| {
            found.get(&span.until).and_then(|of| of.get("")).cloned().unwrap_or_default()
        };
        let tally = Tally {
            deployed: sum(deployed.get(&span.until).into_iter().flat_map(BTreeMap::values)),
            lead_times: of_all(&lead_times),
            recoveries: of_all(&recoveries),
        };
        Period { until: span.until, figures: tally.figures(span.days) }
    };
    let mut by_team = ByPeriod::new();
    for (index, span) in spans.iter().enumerate() {
        for (team, counted) in deployed.get(&span.until).into_iter().flatten() {
            let of_team = by_team.entry(team.clone()).or_insert_with(|| vec![None; spans.len()]);
            of_team[index] = counted.count().filter(|count| count.is_finite());
        }
    }
    Ok((spans.iter().map(one).collect(), by_team))
}

/// Each service, where they are asked for.
async fn by_service(
    query: &Query,
    question: &Question,
    stored: &Days,
) -> Result<Option<Vec<Service>>, QueryError> {
    if !question.services {
        return Ok(None);
    }
    let days = stored.iter().map(|(team, there)| (team.as_str(), days_of(there, question))).collect();
    Ok(Some(services(query, &question.ask(&question.span(), ""), question.end(), &days).await?))
}

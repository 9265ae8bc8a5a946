//! The queries behind a report: what is stored first, and then all the rest of it at once.

use std::collections::{BTreeMap, BTreeSet};

use dorainfra_dora::metrics::{DEPLOYMENTS, LEAD_TIME, RECOVERY};
use dorainfra_prometheus::query::{Query, QueryError};
use time::{Date, Duration, OffsetDateTime};

use super::figures::{both, comparable, compared, stored_before};
use super::integrity::{self, Integrity};
use super::kind;
use super::known::{count, known, known_tallies, partly, together};
use super::moves::pause;
use super::now::now;
use super::question::Question;
use super::services::{Service, services};
use super::spans::{CollectError, Span, cut};
use super::stages::{Progress, stage};
use super::stored::{Days, integrity_of, stored, within};
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
    let with_before = stored.of_kind(asked.simulated);
    let stored = &within(with_before, asked);
    let narrowed = asked.narrowed(stored);
    let question = &Question { native: kinds.has_native(&narrowed), ..narrowed };
    let found = stage(query, "figures and checks", told, ask(query, question, stored, with_before)).await?;
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
        covered_days: found.covered,
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
    /// Of so many days.
    covered: u32,
    comparison: Option<Comparison>,
    periods: Vec<Period>,
    teams: Vec<Team>,
    services: Option<Vec<Service>>,
    integrity: Integrity,
}

/// `with_before`: what is stored of the days before the range, too.
async fn ask(
    query: &Query,
    question: &Question,
    stored: &Days,
    with_before: &Days,
) -> Result<Found, CollectError> {
    let (span, days) = (question.span(), question.days());
    let spans = [span];
    let (both, native, began, (periods, by_period), now, integrity, services, ()) = tokio::try_join!(
        told(both(query, question, with_before)),
        told(native_of_all(query, question, &spans)),
        told(stored_before(query, question)),
        told(periods(query, question, stored)),
        told(now(query, question)),
        told(integrity_of(query, question)),
        told(by_service(query, question, stored)),
        whole_days(query, question, stored),
    )?;
    let known_of = |name: &String| stored.get(name).and_then(|days| known(days, &span));
    let deployed = both.now.iter().filter(|(_, tally)| tally.deployed.count().is_some());
    let figures_of: BTreeMap<&String, Figures> =
        deployed.filter_map(|(name, tally)| Some((name, tally.figures(count(known_of(name)?))))).collect();
    let comparable = comparable(question, with_before, &began);
    let names: BTreeSet<&String> =
        figures_of.keys().copied().chain(now.newest.keys()).chain(stored.keys()).collect();
    let range: Vec<Date> = (0..days).map(|day| question.first + Duration::days(day)).collect();
    let nothing = BTreeSet::new();
    let team = |name: &String| {
        let there = stored.get(name).unwrap_or(&nothing);
        let known = known_of(name);
        let first_day = known.map(|(first, _)| first).or_else(|| first_sample(there, question));
        let gap = |day: &&Date| first_day.is_some_and(|first| **day >= first) && !there.contains(day);
        let by_period = by_period.get(name);
        Team {
            name: name.clone(),
            simulated: question.simulated,
            figures: figures_of.get(name).copied().unwrap_or_default(),
            compared: comparable.contains(name) && figures_of.contains_key(name),
            before: None,
            moves: Vec::new(),
            silent_since: None,
            days: known.map_or(0, |known| count(known) as u32),
            deployments_by_period: by_period
                .map_or_else(|| vec![None; periods.len()], |(counts, _)| counts.clone()),
            days_by_period: by_period.map_or_else(|| vec![0; periods.len()], |(_, days)| days.clone()),
            age: now.newest.get(name).map(|at| (seconds(question.now) - at).max(0.0)),
            first_day,
            last_day: there.last().copied(),
            gaps: range.iter().filter(gap).copied().collect(),
        }
    };
    let mut teams: Vec<Team> = names.into_iter().map(team).collect();
    let [lead_time, recovery] = native.get(&span.until).copied().unwrap_or_default();
    let covered = together(stored.values().filter_map(|days| known(days, &span))).map_or(days, count);
    let all = sum(both.now.values()).with_native(lead_time, recovery).figures(covered);
    let mut compared = compared(query, question, &all, &teams, with_before, &both).await?;
    let ends: Vec<Date> = periods.iter().map(|period| period.until).collect();
    let several = teams.len();
    for team in &mut teams {
        if let Some((before, moves)) = compared.teams.remove(&team.name) {
            (team.before, team.moves) = (Some(before), moves);
        }
        let counts = &team.deployments_by_period;
        team.silent_since =
            pause(counts, &team.days_by_period, several).and_then(|last| ends.get(last).copied());
    }
    let comparison = compared.all;
    let integrity = Integrity { delivery: now.delivery, ..integrity };
    let covered = covered as u32;
    Ok(Found { all, covered, comparison, periods, teams, services, integrity })
}

async fn told<T>(answer: impl Future<Output = Result<T, QueryError>>) -> Result<T, CollectError> {
    Ok(answer.await?)
}

fn seconds(at: OffsetDateTime) -> f64 {
    at.unix_timestamp_nanos() as f64 / 1e9
}

/// The first day of the range with a sample.
fn first_sample(stored: &BTreeSet<Date>, question: &Question) -> Option<Date> {
    stored.range(question.first..).next().copied()
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

/// Deployments by period, of each team, and of how many days of it they are.
type ByPeriod = BTreeMap<String, (Vec<Option<f64>>, Vec<u32>)>;

/// Period by period, of all teams together; and the deployments of each. Where somebody began, ended, or
/// was not stored, each team is asked for by itself.
async fn periods(
    query: &Query,
    question: &Question,
    stored: &Days,
) -> Result<(Vec<Period>, ByPeriod), QueryError> {
    let spans = spans(question);
    let uneven: Vec<Span> =
        spans.iter().filter(|span| partly(stored, span).next().is_some()).copied().collect();
    let (deployed, lead_times, recoveries, known_of) = tokio::try_join!(
        deployed(query, question, &spans),
        observed(query, question, &spans, "", LEAD_TIME),
        observed(query, question, &spans, "", RECOVERY),
        known_tallies(query, question, stored, &uneven, &uneven),
    )?;
    let one = |span: &Span| {
        let days = together(stored.values().filter_map(|days| known(days, span))).map_or(0, count);
        let of_all = |found: &ByTeam<Observed>| {
            found.get(&span.until).and_then(|of| of.get("")).cloned().unwrap_or_default()
        };
        let tally = match known_of.get(&span.until) {
            Some(teams) => sum(teams.values()),
            None => Tally {
                deployed: sum(deployed.get(&span.until).into_iter().flat_map(BTreeMap::values)),
                lead_times: of_all(&lead_times),
                recoveries: of_all(&recoveries),
            },
        };
        let figures = if days > 0 { tally.figures(days) } else { Figures::default() };
        Period { until: span.until, days: days as u32, figures }
    };
    let none = || (vec![None; spans.len()], vec![0; spans.len()]);
    let mut by_team = ByPeriod::new();
    for (index, span) in spans.iter().enumerate() {
        for (team, there) in stored {
            let Some(days) = known(there, span) else { continue };
            let counted = match known_of.get(&span.until) {
                Some(teams) => teams.get(team).map(|tally| tally.deployed),
                None => deployed.get(&span.until).and_then(|teams| teams.get(team)).copied(),
            };
            let (counts, known_days) = by_team.entry(team.clone()).or_insert_with(none);
            counts[index] = counted.and_then(|of| of.count()).filter(|count| count.is_finite());
            known_days[index] = count(days) as u32;
        }
    }
    Ok((spans.iter().map(one).collect(), by_team))
}

/// Each service, where they are asked for, of the days that are known of its team.
async fn by_service(
    query: &Query,
    question: &Question,
    stored: &Days,
) -> Result<Option<Vec<Service>>, QueryError> {
    if !question.services {
        return Ok(None);
    }
    let mut teams_of: BTreeMap<(Date, Date), Vec<String>> = BTreeMap::new();
    for (team, days) in stored {
        if let Some(days) = known(days, &question.span()) {
            teams_of.entry(days).or_default().push(team.clone());
        }
    }
    let each = teams_of.into_iter().map(|((first, last), teams)| async move {
        let question = question.of(&teams, stored);
        services(query, &question, &Span::of(&question.zone, first, last)).await
    });
    let mut all: Vec<Service> = futures::future::try_join_all(each).await?.into_iter().flatten().collect();
    all.sort_by(|a, b| (&a.team, &a.name).cmp(&(&b.team, &b.name)));
    Ok(Some(all))
}

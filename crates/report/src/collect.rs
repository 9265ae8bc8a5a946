//! The queries behind a report, all under way at once.

use std::collections::{BTreeMap, BTreeSet};

use dorainfra_dora::metrics::{DEPLOYMENTS, LEAD_TIME, RECOVERY};
use dorainfra_prometheus::JOB;
use dorainfra_prometheus::query::{Instant, Query, QueryError};
use time::{Date, Duration, OffsetDateTime};

use super::figures::{Counted, before, by_team, compared, figures, known_days, measured, summed};
use super::integrity::{self, Day, Delivery, Integrity};
use super::keys::{Ask, of_kind};
use super::kind;
use super::question::{Question, label};
use super::services::services;
use super::spans::{CollectError, Span, cut, over};
use super::{Period, Report, SCHEMA, Team, classify};

/// Whether the endpoint holds native histograms of the range. One that holds none may not
/// know the functions for them either.
async fn native(query: &Query, question: &Question) -> Result<bool, QueryError> {
    let of = |name| {
        format!(
            "count(last_over_time({name}{{{}}}[{}ms]))",
            question.selector(),
            question.span().milliseconds
        )
    };
    let found = query.instant::<Instant>(&of(LEAD_TIME), Some(question.end())).await?;
    Ok(!found.is_empty())
}

/// Asks everything; the answers belong to the same moment.
///
/// # Errors
/// The first query that is not answered; an environment or a team that has nothing, where others
/// have.
pub async fn collect(query: &Query, asked: &Question) -> Result<Report, CollectError> {
    let span = asked.span();
    let kinds = kind::stored(query, span.milliseconds, span.end).await?;
    let asked = &kinds.of_one_kind(asked);
    kinds.check(asked)?;
    let simulated_left_out = if asked.simulated { 0 } else { kinds.simulated_in(&asked.environment) };
    let stored = stored(query, asked).await?;
    let mut question = asked.narrowed(&stored);
    question.native = native(query, &question).await?;
    let question = &question;
    let (end, days, span) = (question.end(), question.days(), question.span());
    if !stored.is_empty() {
        // Where the range begins, and each end of what is told.
        let begun = Span::before(&question.zone, question.first - Duration::days(1), 1, 1);
        let ends = [begun, spans(question)].concat();
        cut(query, &question.zone, &format!("{DEPLOYMENTS}{{{}}}", question.selector()), &ends).await?;
    }
    let (all, before, figures_of, periods, by_period, newest, integrity, mut other_environments) = tokio::try_join!(
        figures(query, question, "", &span),
        before(query, question),
        by_team(query, question, &stored),
        periods(query, question),
        deployments_by_period(query, question),
        newest(query, question),
        integrity(query, question),
        environments(query, question),
    )?;
    let names: BTreeSet<&String> = figures_of.keys().chain(newest.keys()).chain(stored.keys()).collect();
    let range: Vec<Date> = (0..days).map(|day| question.first + Duration::days(day)).collect();
    let nothing = BTreeSet::new();
    let newest_day = stored.values().filter_map(BTreeSet::last).max();
    let team = |name: &String| {
        let there = stored.get(name).unwrap_or(&nothing);
        let first_day = there.range(question.first..).next().copied();
        let (known, last) = known_days(there, question);
        let days = ((last - known).whole_days() + 1).max(0);
        let gap = |day: &&Date| first_day.is_some_and(|first| **day > first) && !there.contains(day);
        Team {
            name: name.clone(),
            simulated: question.simulated,
            figures: figures_of.get(name).copied().unwrap_or_default(),
            compared: before.contains(name) && figures_of.contains_key(name) && there.last() == newest_day,
            days: first_day.map_or(0, |_| days as u32),
            deployments_by_period: by_period.get(name).cloned().unwrap_or_else(|| vec![None; periods.len()]),
            age: newest.get(name).map(|at| (seconds(question.now) - at).max(0.0)),
            first_day,
            last_day: there.last().copied(),
            gaps: range.iter().filter(gap).copied().collect(),
        }
    };
    let teams: Vec<Team> = names.into_iter().map(team).collect();
    let services = match question.services {
        true => Some(services(query, &question.ask(&span, ""), end, &teams).await?),
        false => None,
    };
    let mut all = all.get("").copied().unwrap_or_default();
    if teams.iter().any(|team| team.days > 0 && i64::from(team.days) < days) {
        let last = stored.values().map(|there| known_days(there, question).1).max();
        all = summed(all, &teams, last.map_or(days, |last| (last - question.first).whole_days() + 1));
    }
    let comparison = compared(query, question, &all, &teams, &before).await?;
    let mut integrity = integrity;
    let any = |day: Date| stored.values().any(|days| days.contains(&day));
    // Days since the history was sent have live values, and no sample at their end.
    for day in integrity.days.iter_mut().rev().take_while(|day| day.stored == 0 && any(day.date)) {
        day.sent = None;
    }
    let lacking = (question.first - asked.first).whole_days() as u32;
    let checks = integrity::checks(&integrity, &teams, days as u32, lacking);
    // Besides what was asked for, only what somebody may mean by it.
    if !teams.is_empty() {
        other_environments.retain(|name| name.eq_ignore_ascii_case(&question.environment));
    }
    Ok(Report {
        schema: SCHEMA,
        subject: question.subject.clone(),
        source: question.source.clone(),
        generated: question.now,
        environment: question.environment.clone(),
        simulated: question.simulated && !teams.is_empty(),
        simulated_left_out,
        timezone: question.zone.to_string(),
        settle_hours: question.settle_hours,
        asked: asked.first,
        first: question.first,
        until: question.until,
        days: days as u32,
        bands_year: question.bands_year,
        bands: classify(&all, teams.len(), question.bands_year),
        all,
        previous: comparison.as_ref().filter(|of| of.without.is_empty()).map(|of| of.before),
        comparison,
        period_days: question.period() as u32,
        periods,
        teams,
        services,
        integrity: Integrity { checks, ..integrity },
        other_environments,
        native_histograms: question.native,
        queries: query.asked(),
    })
}

fn seconds(at: OffsetDateTime) -> f64 {
    at.unix_timestamp_nanos() as f64 / 1e9
}

/// The periods. The days that are left over are before the first.
fn spans(question: &Question) -> Vec<Span> {
    let period = question.period();
    Span::before(&question.zone, question.until, period, question.days() / period)
}

/// Period by period, of all teams together.
async fn periods(query: &Query, question: &Question) -> Result<Vec<Period>, QueryError> {
    let spans = spans(question);
    let at = |of: fn(&Ask) -> String| {
        let spans = &spans;
        async move {
            let found = over(query, spans, |span| of(&question.ask(span, ""))).await?;
            Ok::<_, QueryError>(found.into_iter().next().map(|(_, values)| values).unwrap_or_default())
        }
    };
    let (deployments, failed, rework, lead_time, recovery, changes, recoveries) = tokio::try_join!(
        at(Ask::deployments),
        at(Ask::failed),
        at(Ask::rework),
        at(|ask| ask.lead_time(0.5)),
        at(|ask| ask.recovery(0.5)),
        at(Ask::changes),
        at(Ask::recoveries)
    )?;
    let one = |span: &Span| {
        let of = |values: &BTreeMap<Date, f64>| values.get(&span.until).copied();
        let counted = Counted {
            deployments: of(&deployments),
            failed: of(&failed),
            rework: of(&rework),
            changes: of(&changes),
            recoveries: of(&recoveries),
        };
        let figures = measured(counted, of(&lead_time), of(&recovery), span.days);
        Period { until: span.until, figures }
    };
    Ok(spans.iter().map(one).collect())
}

/// The deployments of each team, period by period.
async fn deployments_by_period(
    query: &Query,
    question: &Question,
) -> Result<BTreeMap<String, Vec<Option<f64>>>, QueryError> {
    let spans = spans(question);
    let found = over(query, &spans, |span| question.ask(span, "team").deployments()).await?;
    let team = |(metric, values): &(BTreeMap<String, String>, BTreeMap<Date, f64>)| {
        let of = |span: &Span| values.get(&span.until).copied().filter(|value| value.is_finite());
        (label(metric), spans.iter().map(of).collect())
    };
    Ok(found.iter().map(team).collect())
}

/// When each team's newest value came to be, Unix seconds; of the last day.
///
/// Who is live tells it to the second. Of the others the rules have recorded it, and where
/// there are none of these, it is looked for at every four minutes of the day: a series that
/// has a value at one of them and none at the next has its newest between five minutes and one
/// before it. (To have `timestamp()` look at each of them takes 80 s for a thousand teams.)
/// A Pushgateway shows the last value for ever: where the time of the last push is known,
/// the older of the two counts.
async fn newest(query: &Query, question: &Question) -> Result<BTreeMap<String, f64>, QueryError> {
    let selector = question.selector();
    let live = format!("max by (team) (timestamp({DEPLOYMENTS}{{{selector}}}))");
    let recorded = format!("max by (team) (max_over_time({NEWEST}{{{selector}}}[1d]))");
    let seen = format!("max_over_time((time() * group by (team) ({DEPLOYMENTS}{{{selector}}}))[1d:4m])");
    let late = format!("{seen} - {BETWEEN} unless group by (team) ({DEPLOYMENTS}{{{selector}}})");
    let pushed = format!("max by (team) (push_time_seconds{{job=\"{JOB}\"}})");
    let now = question.now.unix_timestamp() * 1000;
    let at = |expression: String| async move { query.instant::<Instant>(&expression, Some(now)).await };
    let (live, recorded, late, pushed) = tokio::try_join!(at(live), at(recorded), at(late), at(pushed))?;
    let mut newest: BTreeMap<String, f64> = BTreeMap::new();
    // What is exact comes last.
    for one in late.iter().chain(&recorded).chain(&live) {
        newest.insert(label(&one.metric), one.value());
    }
    for one in &pushed {
        newest.entry(label(&one.metric)).and_modify(|at| *at = at.min(one.value()));
    }
    Ok(newest)
}

/// What `mimir/rules/alerts.yaml` records.
const NEWEST: &str = "team:dora_newest_sample:timestamp";
/// Seconds, the middle of five minutes and one.
const BETWEEN: u32 = 180;

/// The days on which each team has any sample, from the day before the first one on: a
/// sample at the beginning of the range is that day's last.
async fn stored(query: &Query, question: &Question) -> Result<BTreeMap<String, BTreeSet<Date>>, QueryError> {
    // A day's sample is taken at its end, which is the next day's midnight; the
    // midnight at its beginning belongs to the day before.
    let expression = |span: &Span| {
        let window = span.milliseconds - 1;
        format!("count by (team) (count_over_time({DEPLOYMENTS}{{{}}}[{window}ms]))", question.selector())
    };
    let days = Span::before(&question.zone, question.until, 1, question.days() + 1);
    let found = over(query, &days, expression).await?;
    let team = |(metric, values): &(BTreeMap<String, String>, BTreeMap<Date, f64>)| {
        (label(metric), values.keys().copied().collect())
    };
    Ok(found.iter().map(team).collect())
}

/// What is stored, and how it was delivered; the checks are the caller's.
async fn integrity(query: &Query, question: &Question) -> Result<Integrity, QueryError> {
    let span = question.span();
    let (lead, recovery) =
        (format!("{LEAD_TIME}_(bucket|sum|count)"), format!("{RECOVERY}_(bucket|sum|count)"));
    let all = format!("{{__name__=~\"{DEPLOYMENTS}|{lead}|{recovery}\",{}}}", question.selector());
    // `last_over_time` keeps the names, so that equal labels stay apart.
    let series = format!("count(last_over_time({all}[{}ms]))", span.milliseconds);
    // The samples at the very end of each day.
    let closing = format!("count(last_over_time({all}[1ms]))");
    let days = Span::before(&question.zone, question.until, 1, span.days);
    let (series, closing, delivery) = tokio::try_join!(
        query.instant::<Instant>(&series, Some(span.end)),
        over(query, &days, |_| closing.clone()),
        delivery(query, question),
    )?;
    let stored = closing.into_iter().next().map(|(_, values)| values).unwrap_or_default();
    let day = |span: &Span| Day {
        date: span.until,
        stored: stored.get(&span.until).map_or(0, |count| *count as u64),
        sent: question.sent.get(&span.until).copied(),
    };
    Ok(Integrity {
        series: series.first().map_or(0, |found| found.value() as u64),
        days: days.iter().map(day).collect(),
        delivery,
        checks: Vec::new(),
    })
}

/// What a collector that scrapes itself told the endpoint about its deliveries.
async fn delivery(query: &Query, question: &Question) -> Result<Option<Delivery>, QueryError> {
    const OF: &str = "prometheus_remote_storage";
    let now = question.now.unix_timestamp() * 1000;
    let at = |expression: String| async move {
        let found = query.instant::<Instant>(&expression, Some(now)).await?;
        Ok::<_, QueryError>(found.first().map(Instant::value).filter(|value| value.is_finite()))
    };
    let (lag, pending, failed) = tokio::try_join!(
        at(format!(
            "max(max by (instance) ({OF}_highest_timestamp_in_seconds) \
             - min by (instance) ({OF}_queue_highest_sent_timestamp_seconds > 0))"
        )),
        at(format!("sum({OF}_samples_pending)")),
        at(format!("sum(increase({OF}_samples_failed_total[1d]))")),
    )?;
    Ok(lag.map(|lag| Delivery {
        lag: lag.max(0.0),
        pending: pending.unwrap_or_default(),
        failed: failed.unwrap_or_default(),
    }))
}

/// The environments that have deployments in the range.
async fn environments(query: &Query, question: &Question) -> Result<Vec<String>, QueryError> {
    let expression = format!(
        "group by (environment) (count_over_time({DEPLOYMENTS}{{{}}}[{}ms]))",
        of_kind(question.simulated),
        question.span().milliseconds
    );
    let found = query.instant::<Instant>(&expression, Some(question.end())).await?;
    let mut names: Vec<String> =
        found.iter().filter_map(|one| one.metric.get("environment").cloned()).collect();
    names.retain(|name| *name != question.environment);
    names.sort();
    Ok(names)
}

//! The figures of a range, and those of as many days before that they are compared with.

use std::collections::{BTreeMap, BTreeSet};

use dorainfra_dora::metrics::DEPLOYMENTS;
use dorainfra_prometheus::query::{Instant, Query, QueryError};
use time::{Date, Duration};

use super::question::{Question, label};
use super::spans::Span;
use super::{Comparison, Figures, Team};

/// The teams that are stored from the beginning of the days before on. What is there of others
/// can't be compared.
pub(super) async fn before(query: &Query, question: &Question) -> Result<BTreeSet<String>, QueryError> {
    let span = question.span_before();
    // Days of UTC may have begun any time before; those of another zone begin where a sample is.
    let within = if question.zone.is_utc() { "1d" } else { "5m" };
    let any = format!("group by (team) (last_over_time({DEPLOYMENTS}{{{}}}[{within}]))", question.selector());
    let found = query.instant::<Instant>(&any, Some(span.beginning())).await?;
    Ok(found.iter().map(|one| label(&one.metric)).collect())
}

/// The range and as many days before, of the teams that are stored in both. `all`: of everybody.
pub(super) async fn compared(
    query: &Query,
    question: &Question,
    all: &Figures,
    teams: &[Team],
    stored_before: &BTreeSet<String>,
) -> Result<Option<Comparison>, QueryError> {
    // Who ended within the range would be decline.
    let last = teams.iter().filter_map(|team| team.last_day).max();
    let known = teams.iter().filter(|team| team.figures.deployments.is_some() && team.last_day == last);
    let now: BTreeSet<String> = known.map(|team| team.name.clone()).collect();
    if now.is_disjoint(stored_before) {
        return Ok(None);
    }
    // Who began since would be growth, and who ended or has another name would be decline.
    let without: Vec<String> = now.symmetric_difference(stored_before).cloned().collect();
    let both = Question { without: without.clone(), ..question.clone() };
    let of = async |span| {
        let found = figures(query, &both, "", &span).await?;
        Ok::<_, QueryError>(found.get("").copied().unwrap_or_default())
    };
    let before = of(question.span_before());
    let (now, before) = match without.is_empty() {
        true => (*all, before.await?),
        false => tokio::try_join!(of(question.span()), before)?,
    };
    Ok(before.deployments.is_some().then_some(Comparison { now, before, without }))
}

/// The figures of each team: of those that began or ended within the range over the days that
/// are stored of them. (Over others an increase would be extrapolated, by up to a day's worth.)
pub(super) async fn by_team(
    query: &Query,
    question: &Question,
    stored: &BTreeMap<String, BTreeSet<Date>>,
) -> Result<BTreeMap<String, Figures>, QueryError> {
    let whole = (question.first, question.until);
    let mut groups: BTreeMap<(Date, Date), Vec<String>> = BTreeMap::new();
    for (team, days) in stored {
        let known = known_days(days, question);
        if known != whole {
            groups.entry(known).or_default().push(team.clone());
        }
    }
    let own = groups.iter().map(|(&(first, until), teams)| async move {
        if first > until {
            // A single sample: of no day is it known what happened.
            return Ok(BTreeMap::new());
        }
        let question = Question { teams: teams.clone(), ..question.clone() };
        figures(query, &question, "team", &Span::of(&question.zone, first, until)).await
    });
    let span = question.span();
    let (mut all, own) =
        tokio::try_join!(figures(query, question, "team", &span), futures::future::try_join_all(own))?;
    for team in groups.values().flatten() {
        all.remove(team);
    }
    all.extend(own.into_iter().flatten());
    Ok(all)
}

/// The first and the last day of which all is known.
pub(super) fn known_days(stored: &BTreeSet<Date>, question: &Question) -> (Date, Date) {
    let first = stored.first().map_or(question.first, |first| *first + Duration::days(1));
    let last = stored.last().copied().unwrap_or(question.until);
    (first.max(question.first), last.min(question.until))
}

/// The counts of all, where some teams are stored in part: their sums. The medians are those of
/// one histogram.
pub(super) fn summed(all: Figures, teams: &[Team], days: i64) -> Figures {
    let sum = |of: fn(&Figures) -> Option<f64>| {
        teams.iter().filter_map(|team| of(&team.figures)).reduce(|a, b| a + b)
    };
    let counted = Counted {
        deployments: sum(|one| one.deployments),
        failed: sum(|one| one.failed),
        rework: sum(|one| one.rework),
        changes: sum(|one| one.changes),
        recoveries: sum(|one| one.recoveries),
    };
    measured(counted, all.lead_time, all.recovery, days)
}

/// The figures of a range, by the value of the label `by`.
pub(super) async fn figures(
    query: &Query,
    question: &Question,
    by: &'static str,
    span: &Span,
) -> Result<BTreeMap<String, Figures>, QueryError> {
    let (days, end) = (span.days, span.end);
    let ask = question.ask(span, by);
    let at = |expression: String| async move { query.instant::<Instant>(&expression, Some(end)).await };
    let (deployments, failed, rework, lead_time, recovery, changes, recoveries) = tokio::try_join!(
        at(ask.deployments()),
        at(ask.failed()),
        at(ask.rework()),
        at(ask.lead_time(0.5)),
        at(ask.recovery(0.5)),
        at(ask.changes()),
        at(ask.recoveries())
    )?;
    let values = |found: Vec<Instant>| -> BTreeMap<String, f64> {
        found.iter().map(|one| (one.metric.get(by).cloned().unwrap_or_default(), one.value())).collect()
    };
    let (failed, rework) = (values(failed), values(rework));
    let (lead_time, recovery) = (values(lead_time), values(recovery));
    let (changes, recoveries) = (values(changes), values(recoveries));
    let figures = values(deployments).into_iter().map(|(name, deployments)| {
        let of = |values: &BTreeMap<String, f64>| values.get(&name).copied();
        let counted = Counted {
            deployments: Some(deployments),
            failed: of(&failed),
            rework: of(&rework),
            changes: of(&changes),
            recoveries: of(&recoveries),
        };
        let figures = measured(counted, of(&lead_time), of(&recovery), days);
        (name, figures)
    });
    Ok(figures.collect())
}

pub(super) fn measured(
    counted: Counted,
    lead_time: Option<f64>,
    recovery: Option<f64>,
    days: i64,
) -> Figures {
    let number = |value: Option<f64>| value.filter(|value| value.is_finite());
    let Some(deployments) = number(counted.deployments) else { return Figures::default() };
    // Deployments are told by outcome and kind: those that are not there are none.
    let count = |value: Option<f64>| number(value).unwrap_or_default();
    let (failed, rework) = (count(counted.failed), count(counted.rework));
    // And no share, where nothing was deployed at all.
    let share = |part: f64| (deployments >= 0.5).then(|| part / deployments);
    Figures {
        deployments: Some(deployments),
        frequency: Some(deployments / days as f64),
        lead_time: number(lead_time),
        failure_rate: share(failed),
        recovery: number(recovery),
        rework_rate: share(rework),
        changes: number(counted.changes),
        failed: Some(failed),
        recoveries: number(counted.recoveries),
        rework: Some(rework),
    }
}

/// What was counted; `None`: there is no such series.
pub(super) struct Counted {
    pub deployments: Option<f64>,
    pub failed: Option<f64>,
    pub rework: Option<f64>,
    pub changes: Option<f64>,
    pub recoveries: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::super::Key;
    use super::*;

    #[test]
    fn nothing_deployed_is_no_rate_and_no_number_is_none() {
        let counted = |deployments, failed, rework| Counted {
            deployments,
            failed,
            rework,
            changes: Some(f64::NAN),
            recoveries: None,
        };
        let figures = measured(counted(Some(0.0), Some(f64::NAN), None), Some(f64::NAN), None, 7);
        let none = Some(0.0);
        let expected =
            Figures { deployments: none, frequency: none, failed: none, rework: none, ..Figures::default() };
        assert_eq!(figures, expected);
        // Nothing is stored: nothing is known.
        assert_eq!(measured(counted(None, None, None), None, None, 7), Figures::default());
        let figures = measured(counted(Some(14.0), None, Some(7.0)), Some(60.0), Some(f64::INFINITY), 7);
        assert_eq!(
            (figures.count(Key::FailureRate), figures.count(Key::Rework)),
            ("0 of 14".into(), "7 of 14".into())
        );
        assert_eq!((figures.failure_rate, figures.rework_rate), (Some(0.0), Some(0.5)));
        assert_eq!((figures.frequency, figures.recovery), (Some(2.0), None));
    }
}

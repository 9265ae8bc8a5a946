//! The figures of a range, and those of as many days before that they are compared with.

use std::collections::{BTreeMap, BTreeSet};

use dorainfra_dora::metrics::DEPLOYMENTS;
use dorainfra_prometheus::query::{Instant, Query, QueryError};
use time::{Date, Duration};

use super::moves::{Move, Pair, moves};
use super::question::{Question, label};
use super::spans::Span;
use super::tally::{Counted, Tally, measured, native_of_all, sum, tallies};
use super::{Comparison, Figures, Team};

/// The teams that are stored from the beginning of the days before on. What is there of others
/// can't be compared.
pub(super) async fn stored_before(
    query: &Query,
    question: &Question,
) -> Result<BTreeSet<String>, QueryError> {
    let span = question.span_before();
    // Days of UTC may have begun any time before; those of another zone begin where a sample is.
    let within = if question.zone.is_utc() { "1d" } else { "5m" };
    let any = format!("group by (team) (last_over_time({DEPLOYMENTS}{{{}}}[{within}]))", question.selector());
    let found = query.instant::<Instant>(&any, Some(span.beginning())).await?;
    Ok(found.iter().map(|one| label(&one.metric)).collect())
}

/// What is counted of each team, of the range and of as many days before it.
pub(super) struct Both {
    pub now: BTreeMap<String, Tally>,
    pub before: BTreeMap<String, Tally>,
}

/// Asks for both at once.
pub(super) async fn both(query: &Query, question: &Question) -> Result<Both, QueryError> {
    let (before, now) = (question.span_before(), question.span());
    let mut found = tallies(query, question, &[before, now]).await?;
    let mut of = |span: &Span| found.remove(&span.until).unwrap_or_default();
    Ok(Both { now: of(&now), before: of(&before) })
}

/// What is compared, and what of it moved.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub all: Option<Comparison>,
    /// Of each team: its figures before, and its moves.
    pub teams: BTreeMap<String, (Figures, Vec<Move>)>,
}

/// The range and as many days before, of the teams that are stored in both. `all`: of everybody.
pub(super) async fn compared(
    query: &Query,
    question: &Question,
    all: &Figures,
    teams: &[Team],
    stored_before: &BTreeSet<String>,
    both: &Both,
) -> Result<Compared, QueryError> {
    // Who ended within the range would be decline.
    let last = teams.iter().filter_map(|team| team.last_day).max();
    let known = teams.iter().filter(|team| team.figures.deployments.is_some() && team.last_day == last);
    let known: BTreeSet<String> = known.map(|team| team.name.clone()).collect();
    if known.is_disjoint(stored_before) {
        return Ok(Compared::default());
    }
    // Who began since would be growth, and who ended or has another name would be decline.
    let without: Vec<String> = known.symmetric_difference(stored_before).cloned().collect();
    let of_both = Question { without: without.clone(), ..question.clone() };
    let (then, now) = (question.span_before(), question.span());
    let native = native_of_all(query, &of_both, &[then, now]).await?;
    let of = |teams: &BTreeMap<String, Tally>, span: &Span| {
        let compared = teams.iter().filter(|(name, _)| !without.contains(name)).map(|(_, tally)| tally);
        let [lead_time, recovery] = native.get(&span.until).copied().unwrap_or_default();
        sum(compared).with_native(lead_time, recovery)
    };
    let [tally_before, tally_now] = [of(&both.before, &then), of(&both.now, &now)];
    let before = tally_before.figures(then.days);
    if before.deployments.is_none() {
        return Ok(Compared::default());
    }
    let now_figures = if without.is_empty() { *all } else { tally_now.figures(now.days) };
    // A team of which a part of the range is stored is not measured by the same days.
    let whole = |team: &&Team| team.compared && i64::from(team.days) == now.days;
    let pair = |team: &Team| {
        let (before, now) = (both.before.get(&team.name)?, both.now.get(&team.name)?);
        Some(Pair {
            name: Some(team.name.clone()),
            before,
            now,
            figures: [before.figures(then.days), team.figures],
            periods: team.deployments_by_period.iter().copied().flatten().collect(),
        })
    };
    let of_teams = teams.iter().filter(whole).filter_map(pair);
    let periods = (0..teams.first().map_or(0, |team| team.deployments_by_period.len())).map(|period| {
        let compared = teams.iter().filter(|team| !without.contains(&team.name));
        compared.filter_map(|team| team.deployments_by_period[period]).sum()
    });
    let of_all = Pair {
        name: None,
        before: &tally_before,
        now: &tally_now,
        figures: [before, now_figures],
        periods: periods.collect(),
    };
    let pairs: Vec<Pair<'_>> = std::iter::once(of_all).chain(of_teams).collect();
    let mut moves = moves(&pairs);
    let all =
        Comparison { now: now_figures, before, moves: moves.remove(&None).unwrap_or_default(), without };
    let teams = pairs.into_iter().filter_map(|pair| {
        let moved = moves.remove(&pair.name).unwrap_or_default();
        Some((pair.name?, (pair.figures[0], moved)))
    });
    let teams = teams.collect();
    Ok(Compared { all: Some(all), teams })
}

/// The figures of those teams that began or ended within the range, over the days that are stored
/// of them. (Over others an increase would be extrapolated, by up to a day's worth.)
pub(super) async fn partly_stored(
    query: &Query,
    question: &Question,
    stored: &BTreeMap<String, BTreeSet<Date>>,
) -> Result<BTreeMap<String, Option<Figures>>, QueryError> {
    let whole = (question.first, question.until);
    let mut groups: BTreeMap<(Date, Date), Vec<String>> = BTreeMap::new();
    for (team, days) in stored {
        let known = known_days(days, question);
        if known != whole {
            groups.entry(known).or_default().push(team.clone());
        }
    }
    let figures_of = groups.iter().map(|(&(first, until), teams)| async move {
        // A single sample: of no day is it known what happened.
        let found = match first > until {
            true => BTreeMap::new(),
            false => {
                let question = Question { teams: teams.clone(), ..question.clone() };
                let span = Span::of(&question.zone, first, until);
                let found = tallies(query, &question, &[span]).await?;
                figures(&found.into_values().next().unwrap_or_default(), &span)
            }
        };
        Ok::<_, QueryError>(teams.iter().map(move |team| (team.clone(), found.get(team).copied())))
    });
    Ok(futures::future::try_join_all(figures_of).await?.into_iter().flatten().collect())
}

/// The figures of each team that has a counter of deployments.
pub(super) fn figures(tallies: &BTreeMap<String, Tally>, span: &Span) -> BTreeMap<String, Figures> {
    let deployed = tallies.iter().filter(|(_, tally)| tally.deployed.count().is_some());
    deployed.map(|(team, tally)| (team.clone(), tally.figures(span.days))).collect()
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

//! The figures of a range, and those of as many days before that they are compared with.

use std::collections::{BTreeMap, BTreeSet};

use dorainfra_dora::metrics::DEPLOYMENTS;
use dorainfra_prometheus::query::{Instant, Query, QueryError};
use time::{Date, Duration};

use super::known::{known, known_tallies, together, whole};
use super::moves::{Move, Pair, moves};
use super::question::{Question, label};
use super::spans::Span;
use super::stored::Days;
use super::tally::{Tally, native_of_all, sum};
use super::{Comparison, Figures, Team};

/// The teams that have a sample where the days before begin.
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
    /// Of those only of whom all of these days are known: no others are compared.
    pub before: BTreeMap<String, Tally>,
}

/// Asks for both at once.
pub(super) async fn both(query: &Query, question: &Question, stored: &Days) -> Result<Both, QueryError> {
    let (before, now) = (question.span_before(), question.span());
    let mut found = known_tallies(query, question, stored, &[before, now], &[now]).await?;
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

/// Who can be compared: who is known from the beginning of the days before on, as `began` says of a zone's
/// days, too, and up to the last day of all. Who began since would be growth, and who ended or has another name
/// decline.
pub(super) fn comparable(question: &Question, stored: &Days, began: &BTreeSet<String>) -> BTreeSet<String> {
    let (then, now) = (question.span_before(), question.span());
    let Some((_, last)) = together(stored.values().filter_map(|days| known(days, &now))) else {
        return BTreeSet::new();
    };
    let is_whole =
        |days: &BTreeSet<Date>| whole(days, &then) && known(days, &now) == Some((now.first(), last));
    let compared = stored.iter().filter(|(team, days)| began.contains(*team) && is_whole(days));
    compared.map(|(team, _)| team.clone()).collect()
}

/// Who is known on any of the days that are compared, and can't be.
fn left_out(question: &Question, stored: &Days, compared: &BTreeSet<String>) -> Vec<String> {
    let spans = [question.span_before(), question.span()];
    let there = |days: &BTreeSet<Date>| spans.iter().any(|span| known(days, span).is_some());
    let out = stored.iter().filter(|(team, days)| !compared.contains(*team) && there(days));
    out.map(|(team, _)| team.clone()).collect()
}

/// The range and as many days before, of the teams that are known in both. `all`: of everybody.
pub(super) async fn compared(
    query: &Query,
    question: &Question,
    all: &Figures,
    teams: &[Team],
    stored: &Days,
    both: &Both,
) -> Result<Compared, QueryError> {
    let names: BTreeSet<String> =
        teams.iter().filter(|team| team.compared).map(|team| team.name.clone()).collect();
    let days = teams.iter().filter(|team| team.compared).map(|team| i64::from(team.days)).max();
    let Some(days) = days else { return Ok(Compared::default()) };
    let without = left_out(question, stored, &names);
    let of_both = Question { without: without.clone(), ..question.clone() };
    // Where nothing is stored of the last days, the range ends with the last that is.
    let until = question.first + Duration::days(days - 1);
    let (then, now) = (question.span_before(), Span::of(&question.zone, question.first, until));
    let native = native_of_all(query, &of_both, &[then, now]).await?;
    let of = |teams: &BTreeMap<String, Tally>, span: &Span| {
        let compared = teams.iter().filter(|(name, _)| names.contains(*name)).map(|(_, tally)| tally);
        let [lead_time, recovery] = native.get(&span.until).copied().unwrap_or_default();
        sum(compared).with_native(lead_time, recovery)
    };
    let [tally_before, tally_now] = [of(&both.before, &then), of(&both.now, &now)];
    let before = tally_before.figures(then.days);
    if before.deployments.is_none() {
        return Ok(Compared::default());
    }
    let now_figures = if without.is_empty() { *all } else { tally_now.figures(days) };
    let of_days = [then.days as f64, days as f64];
    let of_whole_periods = |team: &Team| {
        let whole = |known: u32| i64::from(known) == question.period();
        let periods = team.days_by_period.iter().zip(&team.deployments_by_period);
        periods.map(|(known, count)| count.filter(|_| whole(*known))).collect::<Vec<_>>()
    };
    let pair = |team: &Team| {
        let (before, now) = (both.before.get(&team.name)?, both.now.get(&team.name)?);
        Some(Pair {
            name: Some(team.name.clone()),
            before,
            now,
            days: of_days,
            figures: [before.figures(then.days), team.figures],
            periods: of_whole_periods(team).into_iter().flatten().collect(),
        })
    };
    let of_teams = teams.iter().filter(|team| team.compared).filter_map(pair);
    let compared: Vec<Vec<Option<f64>>> =
        teams.iter().filter(|team| team.compared).map(of_whole_periods).collect();
    let periods = (0..compared.first().map_or(0, Vec::len))
        .filter_map(|period| compared.iter().map(|counts| counts[period]).sum::<Option<f64>>());
    let of_all = Pair {
        name: None,
        before: &tally_before,
        now: &tally_now,
        days: of_days,
        figures: [before, now_figures],
        periods: periods.collect(),
    };
    let pairs: Vec<Pair<'_>> = std::iter::once(of_all).chain(of_teams).collect();
    let mut moves = moves(&pairs);
    let moved = moves.remove(&None).unwrap_or_default();
    let all = Comparison { now: now_figures, before, days: days as u32, moves: moved, without };
    let teams = pairs.into_iter().filter_map(|pair| {
        let moved = moves.remove(&pair.name).unwrap_or_default();
        Some((pair.name?, (pair.figures[0], moved)))
    });
    let teams = teams.collect();
    Ok(Compared { all: Some(all), teams })
}

//! What was counted on the days that are known of a team: those between its first and its last sample
//! of a span, the one at its very beginning included. Over other days an increase would be
//! extrapolated, and what is told of them be made up. So a span of which a part is known is asked
//! for over that part.

use std::collections::{BTreeMap, BTreeSet};

use dorainfra_prometheus::query::Query;
use dorainfra_prometheus::query::QueryError;
use time::{Date, Duration};

use super::question::Question;
use super::spans::Span;
use super::stored::Days;
use super::tally::{ByTeam, Tally, tallies};

/// The first and the last of some days.
pub(super) type FirstAndLast = (Date, Date);

/// The days of a span that are known of whom this is stored; `None`: not one.
pub(super) fn known(stored: &BTreeSet<Date>, span: &Span) -> Option<FirstAndLast> {
    let mut there = stored.range(span.first() - Duration::days(1)..=span.until);
    let (beginning, last) = (there.next()?, there.next_back()?);
    Some((*beginning + Duration::days(1), *last))
}

/// How many days these are.
pub(super) fn count((first, last): FirstAndLast) -> i64 {
    (last - first).whole_days() + 1
}

/// The days from the first to the last one that is known of any of them; of nobody's, the span's.
pub(super) fn together(all: impl IntoIterator<Item = FirstAndLast>) -> Option<FirstAndLast> {
    all.into_iter().reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

/// Whether the whole span is known.
pub(super) fn whole(stored: &BTreeSet<Date>, span: &Span) -> bool {
    known(stored, span) == Some((span.first(), span.until))
}

/// Those of whom a part of a span is known, or nothing although there are samples in it, which an increase
/// would be told of.
pub(super) fn partly<'a>(
    stored: &'a Days,
    span: &Span,
) -> impl Iterator<Item = (&'a String, Option<FirstAndLast>)> {
    let (span, first) = (*span, span.first());
    let is_part =
        move |days: &BTreeSet<Date>| !whole(days, &span) && days.range(first..=span.until).next().is_some();
    stored.iter().filter(move |(_, days)| is_part(days)).map(move |(team, days)| (team, known(days, &span)))
}

/// What is counted of each team in each span, of the days that are known of it. Of spans that are not among
/// `parts`, only who is known whole is told of.
pub(super) async fn known_tallies(
    query: &Query,
    question: &Question,
    stored: &Days,
    spans: &[Span],
    parts: &[Span],
) -> Result<ByTeam<Tally>, QueryError> {
    let asked: Vec<Span> =
        spans.iter().filter(|span| stored.values().any(|days| whole(days, span))).copied().collect();
    let (mut all, mut of_parts) =
        tokio::try_join!(tallies(query, question, &asked), partial(query, question, stored, parts))?;
    for span in spans {
        let teams = all.entry(span.until).or_default();
        teams.retain(|team, _| stored.get(team).is_some_and(|days| whole(days, span)));
        teams.extend(of_parts.remove(&span.until).unwrap_or_default());
    }
    Ok(all)
}

/// What is counted of those of whom a part of a span is known: three queries for each such part.
async fn partial(
    query: &Query,
    question: &Question,
    stored: &Days,
    spans: &[Span],
) -> Result<ByTeam<Tally>, QueryError> {
    let found = groups(stored, spans).into_iter().map(|((until, first, last), teams)| async move {
        let question = question.of(&teams, stored);
        let found = tallies(query, &question, &[Span::of(&question.zone, first, last)]).await?;
        Ok::<_, QueryError>((until, found.into_values().next().unwrap_or_default()))
    });
    let mut all = ByTeam::<Tally>::new();
    for (until, teams) in futures::future::try_join_all(found).await? {
        all.entry(until).or_default().extend(teams);
    }
    Ok(all)
}

/// Teams by the part of a span that is known of them: the span's last day, and the part's first and last.
fn groups(stored: &Days, spans: &[Span]) -> BTreeMap<(Date, Date, Date), Vec<String>> {
    let mut groups: BTreeMap<(Date, Date, Date), Vec<String>> = BTreeMap::new();
    for span in spans {
        for (team, known) in partly(stored, span) {
            if let Some((first, last)) = known {
                groups.entry((span.until, first, last)).or_default().push(team.clone());
            }
        }
    }
    groups
}

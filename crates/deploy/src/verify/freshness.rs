//! Is every team's newest value fresh?
//!
//! A Pushgateway shows the last value for ever, and each scrape gives it a new
//! time stamp. So a sample's time alone proves only that the agent lives; when
//! the team was pushed last is in `push_time_seconds`, which travels with it.
//! The older of the two counts.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dorainfra_config::Feeds;
use dorainfra_dora::metrics;
use dorainfra_model::Check;
use dorainfra_prometheus::JOB;
use dorainfra_prometheus::query::{self, Query, QueryError};
use time::OffsetDateTime;

use super::{Report, Request, Stage, counted};

/// Stale teams that are named in the check's text.
const NAMED: usize = 5;

pub(super) async fn check(request: &Request<'_>, query: &Query, stage: Stage, report: &mut Report) -> Check {
    let fresh = request.bounds.fresh;
    let teams = request.teams.len() as u64;
    let expected = format!("{} not older than {} s", counted(teams, "team"), fresh.as_secs());
    if request.live.is_none() {
        return stage.not_applicable(expected, "no collector stack runs");
    }
    if teams == 0 {
        return stage.not_applicable(expected, "no team is expected to be live");
    }
    let begun = Instant::now();
    let stale = loop {
        let newest = match newest(query, request.feeds).await {
            Ok(newest) => newest,
            Err(error) => return stage.failed(expected, error.to_string(), error.hint()),
        };
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos() as f64 / 1e9;
        let stale = stale(request.teams, &newest, now, fresh.as_secs_f64());
        if stale.is_empty() {
            let oldest = newest.values().copied().fold(now, f64::min);
            return stage.passed(expected, format!("the oldest is {:.0} s old", (now - oldest).max(0.0)));
        }
        if begun.elapsed() >= request.bounds.settle {
            break stale;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };

    let named: Vec<String> = stale
        .iter()
        .take(NAMED)
        .map(|(team, age)| match age {
            Some(age) => format!("{team} ({age:.0} s)"),
            None => format!("{team} (none in the last 5 minutes)"),
        })
        .collect();
    let more = if stale.len() > NAMED { ", …" } else { "" };
    let found = format!("{} of {teams} stale: {}{more}", stale.len(), named.join(", "));
    let hint = if stale.len() as u64 == teams {
        "the generator or the Prometheus agent does not run: `dorainfra stack status`"
    } else {
        "the generator does not push these teams: compare `generator.teams`, and see its log \
         (`dorainfra stack status` says where)"
    };
    report.stale_teams = stale.into_iter().map(|(team, _)| team).collect();
    stage.failed(expected, found, hint)
}

/// By team: when its newest value came to be, Unix seconds.
/// A team of the other kind with the same name is another one.
pub(super) async fn newest(query: &Query, feeds: Feeds) -> Result<HashMap<String, f64>, QueryError> {
    let kind = match feeds {
        Feeds::Simulated => metrics::ONLY_SIMULATED,
        Feeds::Real | Feeds::Nothing => metrics::ONLY_REAL,
    };
    let sampled = format!("max by (team) (timestamp({}{{job=\"{JOB}\",{kind}}}))", metrics::DEPLOYMENTS);
    let pushed = format!("max by (team) (push_time_seconds{{job=\"{JOB}\"}})");
    let (sampled, pushed) = futures::try_join!(
        query.instant::<query::Instant>(&sampled, None),
        query.instant::<query::Instant>(&pushed, None),
    )?;
    let mut newest = by_team(sampled);
    for (team, time) in by_team(pushed) {
        newest.entry(team).and_modify(|newest| *newest = newest.min(time));
    }
    Ok(newest)
}

fn by_team(series: Vec<query::Instant>) -> HashMap<String, f64> {
    series
        .into_iter()
        .filter_map(|mut series| Some((series.metric.remove("team")?, series.value())))
        .collect()
}

/// The stale teams in the order given, with their age in seconds where known.
pub(super) fn stale(
    teams: &[String],
    newest: &HashMap<String, f64>,
    now: f64,
    fresh: f64,
) -> Vec<(String, Option<f64>)> {
    teams
        .iter()
        .filter_map(|team| match newest.get(team) {
            Some(time) if now - time <= fresh => None,
            time => Some((team.clone(), time.map(|time| now - time))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_absent_teams_are_stale() {
        let newest = HashMap::from([("a".to_owned(), 95.0), ("b".to_owned(), 60.0)]);
        let teams = ["a", "b", "c"].map(str::to_owned);
        let stale = stale(&teams, &newest, 100.0, 10.0);
        assert_eq!(stale, [("b".to_owned(), Some(40.0)), ("c".to_owned(), None)]);
    }
}

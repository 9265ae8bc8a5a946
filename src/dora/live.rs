//! Live values: each interval, one `PUT` for each team to a Pushgateway, in a
//! group of its own (`job="dora"`, `team`).
//!
//! Live and history are the same series: the counters go on where the history
//! ends, and count what happens until now ([`Feed`] says where). A Pushgateway
//! that is away is waited for, with backoff; nothing is queued, because only the
//! present value counts.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use time::OffsetDateTime;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::JOB;
use super::feed::{Feed, Teams};
use super::pushgateway::{Gateway, GatewayError, Group};
use super::remote_write::jitter;
use crate::event::Events;

/// What to push, where to, and how often.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `http://127.0.0.1:9091`
    pub pushgateway: String,
    pub feed: Feed,
    /// Between the beginnings of two rounds.
    pub interval: Duration,
    /// Pushes under way at the same time.
    pub concurrency: usize,
    /// Delete the groups of teams that the feed has not: without it a team that
    /// went keeps its last value for ever.
    pub remove_departed: bool,
}

impl Settings {
    pub fn new(pushgateway: impl Into<String>, teams: Vec<String>, seed: u64, interval: Duration) -> Self {
        Self::with(pushgateway, Feed::Simulated { teams, seed }, interval)
    }

    pub fn with(pushgateway: impl Into<String>, feed: Feed, interval: Duration) -> Self {
        Self { pushgateway: pushgateway.into(), feed, interval, concurrency: 16, remove_departed: true }
    }
}

/// What was done until the stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rounds in which every team was pushed.
    pub rounds: u64,
    pub pushes: u64,
    /// Pushes that failed, and were made up for by a later round or not at all.
    pub failures: u64,
    /// Groups of departed teams that were deleted.
    pub removed: u64,
}

/// The longest wait for a Pushgateway that is away.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Pushes until `stop` is cancelled; what is under way then is finished.
/// `now` is asked once a round: what happened until then is what is pushed.
pub async fn run(
    settings: &Settings,
    now: impl Fn() -> OffsetDateTime,
    stop: &CancellationToken,
    events: &Events,
) -> Result<Summary, GatewayError> {
    let gateway = Gateway::new(&settings.pushgateway)?;
    let mut summary = Summary::default();
    let mut teams = Teams::new(settings.feed.clone());
    let mut away: Option<(Instant, u32)> = None;
    let mut cleaned = !settings.remove_departed;
    // Said once, not each round: the same words would fill the log.
    let mut refused: Option<String> = None;
    let mut unreadable: Option<String> = None;
    // A period of zero is refused by tokio, and would be a busy loop.
    let mut ticks = tokio::time::interval(settings.interval.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);

    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(summary),
            _ = ticks.tick() => {}
        }
        if let Err(error) = teams.advance(now(), stop).await {
            let text = error.to_string();
            if unreadable.as_ref() != Some(&text) {
                events.warn(text.clone(), error.hint());
                unreadable = Some(text);
            }
        } else {
            unreadable = None;
        }
        let outcome = push_round(&gateway, settings, &teams, stop, &mut summary).await;
        match outcome {
            Ok(()) => {
                if let Some((since, _)) = away.take() {
                    let seconds = since.elapsed().as_secs();
                    events.note(format!("the Pushgateway at {} is back after {seconds} s", gateway.url()));
                }
                refused = None;
                if !stop.is_cancelled() {
                    summary.rounds += 1;
                }
                if !cleaned && !stop.is_cancelled() {
                    cleaned = remove_departed(&gateway, &teams, &mut summary, events).await;
                }
            }
            Err(error @ GatewayError::Unreachable { .. }) => {
                let (since, attempt) = away.unwrap_or((Instant::now(), 0));
                if attempt == 0 {
                    events.warn(format!("{error}; waiting for it"), error.hint());
                }
                away = Some((since, attempt + 1));
                let wait = jitter(settings.interval.min(Duration::from_secs(1)), attempt, LONGEST_WAIT);
                tokio::select! {
                    () = stop.cancelled() => return Ok(summary),
                    () = tokio::time::sleep(wait) => {}
                }
                ticks.reset_immediately();
            }
            Err(error) => {
                let text = error.to_string();
                if refused.as_ref() != Some(&text) {
                    events.warn(text.clone(), error.hint());
                    refused = Some(text);
                }
            }
        }
    }
}

/// Pushes every team; ends early when the Pushgateway is away or a stop is asked for.
async fn push_round(
    gateway: &Gateway,
    settings: &Settings,
    teams: &Teams,
    stop: &CancellationToken,
    summary: &mut Summary,
) -> Result<(), GatewayError> {
    let bodies: Vec<(Group, Bytes)> =
        teams.texts().map(|(team, text)| (Group::job(JOB).label("team", team), text.clone())).collect();
    let mut pushes = futures::stream::iter(bodies)
        .take_while(|_| std::future::ready(!stop.is_cancelled()))
        .map(|(group, body)| async move { gateway.put(&group, body).await })
        .buffer_unordered(settings.concurrency.max(1));
    let mut first_error = None;
    while let Some(result) = pushes.next().await {
        match result {
            Ok(()) => summary.pushes += 1,
            Err(error) => {
                summary.failures += 1;
                let away = matches!(error, GatewayError::Unreachable { .. });
                first_error.get_or_insert(error);
                if away {
                    break;
                }
            }
        }
    }
    first_error.map_or(Ok(()), Err)
}

/// Deletes the groups of this job whose team is not pushed any more.
/// False: could not be done now, try again after the next round.
async fn remove_departed(gateway: &Gateway, teams: &Teams, summary: &mut Summary, events: &Events) -> bool {
    let Ok(groups) = gateway.groups().await else { return false };
    let present: BTreeSet<&str> = teams.texts().map(|(team, _)| team).collect();
    for group in groups {
        let team = match group.labels.get("team") {
            Some(team) if group.labels.get("job").is_some_and(|job| job == JOB) => team,
            _ => continue,
        };
        if group.labels.len() != 2 || present.contains(team.as_str()) {
            continue;
        }
        if gateway.delete(&Group::job(JOB).label("team", team)).await.is_err() {
            return false;
        }
        summary.removed += 1;
        events.note(format!("team {team} went: its group at the Pushgateway is deleted"));
    }
    true
}

//! Live values: each interval, what has happened until now is shown, by one of
//! three ways ([`Outlet`]): pushed to a Pushgateway ([`Pushed`]), served to
//! whoever scrapes ([`Served`]), or written straight to the endpoint
//! ([`Written`]).
//!
//! Live and history are the same series: the counters go on where the history
//! ends, and count what happens until now ([`Feed`] says where). A Pushgateway
//! or an endpoint that is away is waited for, with backoff; nothing is queued,
//! because only the present value counts.

mod clock;
mod error;
mod push;
mod serve;
mod write;

use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

pub use clock::{Clock, Speed};
pub use error::LiveError;
pub use push::Pushed;
pub use serve::Served;
pub use write::{Connect, Written};

use dorainfra_model::Events;
use dorainfra_prometheus::remote_write::jitter;

use super::feed::{Feed, Teams};
use super::metrics::Histograms;

/// When the values were shown last, Unix seconds. Not of Pushgateways, which say
/// it themselves.
pub const SHOWN: &str = "dora_live_shown_timestamp_seconds";

/// What to show, how often, and until when it lasts.
#[derive(Clone, Debug)]
pub struct Settings {
    pub feed: Feed,
    /// What is counted of lead times and recoveries.
    pub histograms: Histograms,
    /// Between the beginnings of two rounds.
    pub interval: Duration,
    /// Take the values back at the stop. Without it they end as the other side
    /// has it: a Pushgateway shows the last ones for ever.
    pub withdraw: bool,
}

/// What was done until the stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rounds in which every team was shown.
    pub rounds: u64,
    /// Teams that were shown, over all rounds.
    pub shown: u64,
    /// What failed, and was made up for by a later round or not at all.
    pub failures: u64,
    /// Departed teams whose values were ended.
    pub removed: u64,
}

/// One time that values are shown.
pub struct Round<'a> {
    pub teams: &'a Teams,
    /// The real time, whatever moment the values are of.
    pub at: OffsetDateTime,
    /// What is under way is finished, nothing new begun, once this is cancelled.
    pub stop: &'a CancellationToken,
    pub events: &'a Events,
}

/// A way to show values.
#[async_trait]
pub trait Outlet: Send {
    /// Shows each team's present values, and ends those of teams that went: who
    /// is not shown any more must not keep the last value for ever.
    async fn show(&mut self, round: &Round<'_>, summary: &mut Summary) -> Result<(), LiveError>;

    /// After the last round: ends what it keeps open, and with `withdraw` all values.
    async fn close(&mut self, last: &Round<'_>, withdraw: bool) -> Result<(), LiveError>;
}

/// The longest wait for somebody who is away.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Shows values until `stop` is cancelled; what is under way then is finished.
///
/// # Errors
/// Only of the end: until then, what fails is told by an event and tried again.
pub async fn run(
    settings: &Settings,
    outlets: &mut [Box<dyn Outlet>],
    clock: &Clock,
    stop: &CancellationToken,
    events: &Events,
) -> Result<Summary, LiveError> {
    let mut summary = Summary::default();
    let mut teams = Teams::new(settings.feed.clone(), settings.histograms);
    let mut trouble = Trouble::default();
    // Said once, not each round: the same words would fill the log.
    let mut unreadable: Option<String> = None;
    // A period of zero is refused by tokio, and would be a busy loop.
    let mut ticks = tokio::time::interval(settings.interval.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);

    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        if let Err(error) = teams.advance(clock.shown(), stop).await {
            let text = error.to_string();
            if unreadable.as_ref() != Some(&text) {
                events.warn(text.clone(), error.hint());
                unreadable = Some(text);
            }
        } else {
            unreadable = None;
        }
        if stop.is_cancelled() {
            // Perhaps not every team has been counted through.
            break;
        }
        let round = Round { teams: &teams, at: clock.now(), stop, events };
        let mut outcome = Ok(());
        for outlet in outlets.iter_mut() {
            outcome = outcome.and(outlet.show(&round, &mut summary).await);
        }
        if outcome.is_ok() && !stop.is_cancelled() {
            summary.rounds += 1;
        }
        if let Some(wait) = trouble.of(outcome, settings.interval, events) {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
            ticks.reset_immediately();
        }
    }
    let last = Round { teams: &teams, at: clock.now(), stop, events };
    let mut outcome = Ok(());
    for outlet in outlets.iter_mut() {
        outcome = outcome.and(outlet.close(&last, settings.withdraw).await);
    }
    outcome.map(|()| summary)
}

/// What has gone wrong lately: each trouble is told once, and its end.
#[derive(Default)]
struct Trouble {
    /// Since when somebody is away, and how often that was found.
    away: Option<(Instant, u32)>,
    refused: Option<String>,
}

impl Trouble {
    /// Tells of it; how long to wait before the next round, if somebody is away.
    fn of(
        &mut self,
        outcome: Result<(), LiveError>,
        interval: Duration,
        events: &Events,
    ) -> Option<Duration> {
        match outcome {
            Ok(()) => {
                if let Some((since, _)) = self.away.take() {
                    let seconds = since.elapsed().as_secs();
                    events.note(format!("live values arrive again: it is back after {seconds} s"));
                }
                self.refused = None;
                None
            }
            Err(error) if error.is_away() => {
                let (since, attempt) = self.away.unwrap_or((Instant::now(), 0));
                if attempt == 0 {
                    events.warn(format!("{error}; waiting for it"), error.hint());
                }
                self.away = Some((since, attempt + 1));
                Some(jitter(interval.min(Duration::from_secs(1)), attempt, LONGEST_WAIT))
            }
            Err(error) => {
                let text = error.to_string();
                if self.refused.as_ref() != Some(&text) {
                    events.warn(text.clone(), error.hint());
                    self.refused = Some(text);
                }
                None
            }
        }
    }
}

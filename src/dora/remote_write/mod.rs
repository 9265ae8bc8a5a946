//! History by Prometheus Remote Write 1.0: samples with their true dates.
//!
//! Series become requests bounded in bytes and samples ([`Batches`]), which are
//! sent over several lanes at once. A series stays in its lane, so its samples
//! arrive in the order of time. 429, 5xx and lost connections are repeated with
//! full jitter, honouring `Retry-After`; repeating is harmless, because a
//! receiver takes the same sample twice without a word. Every sample is
//! accounted for, whatever happens.

mod batch;
mod error;
mod lane;
mod retry;
pub mod wire;

use std::borrow::Borrow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use batch::{Batch, Batches, Limits};
pub use error::{Reason, WriteError};
pub use retry::{Retry, jitter};

use super::Series;
use crate::event::{Event, Events};
use crate::stack::{Target, TargetError};
use lane::{Failure, Lane};

/// What became of the samples, when all were accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Accepted {
    pub samples: u64,
    /// Requests that were answered with success.
    pub requests: u64,
    /// Compressed bytes of those requests.
    pub bytes: u64,
    /// Attempts that failed and were made up for.
    pub retries: u64,
    pub elapsed: Duration,
}

/// What became of each sample, when not all were accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Accounting {
    pub accepted: u64,
    /// In requests that the receiver refused: it may have stored the good ones
    /// among them.
    pub refused: u64,
    /// In requests whose answer never came.
    pub unknown: u64,
    /// Never sent.
    pub unsent: u64,
}

impl Accounting {
    pub fn total(&self) -> u64 {
        self.accepted + self.refused + self.unknown + self.unsent
    }
}

impl std::fmt::Display for Accounting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} samples accepted", self.accepted, self.total())?;
        for (count, what) in
            [(self.refused, "in refused requests"), (self.unknown, "unanswered"), (self.unsent, "not sent")]
        {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

/// A writer to one receiver.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    url: Arc<str>,
    tenant: Option<Arc<str>>,
    retry: Retry,
    lanes: usize,
}

impl Client {
    pub fn new(target: &Target) -> Result<Self, TargetError> {
        Ok(Self {
            http: target.http_client()?,
            url: target.write_url().into(),
            tenant: target.tenant.as_deref().map(Into::into),
            retry: Retry::default(),
            lanes: 4,
        })
    }

    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Requests under way at the same time; at least 1.
    #[must_use]
    pub fn with_lanes(mut self, lanes: usize) -> Self {
        self.lanes = lanes.max(1);
        self
    }

    /// Sends all samples of `series`, which is read as it is sent: memory is
    /// bounded by lanes × [`Limits::bytes`], not by the history's length.
    /// `total` (samples) is for the progress events only.
    ///
    /// Ends at the first request that is refused for good; what is under way on
    /// other lanes is finished first. Dropping the future stops all lanes.
    pub async fn send<I>(
        &self,
        series: I,
        limits: Limits,
        total: u64,
        events: &Events,
    ) -> Result<Accepted, WriteError>
    where
        I: IntoIterator,
        I::Item: Borrow<Series>,
    {
        let started = Instant::now();
        let stop = CancellationToken::new();
        let mut batches = Batches::new(series.into_iter(), limits);
        let mut unsent = 0;

        let (reports, mut progress) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        let mut queues = Vec::with_capacity(self.lanes);
        for _ in 0..self.lanes {
            let (sender, receiver) = mpsc::channel::<Batch>(1);
            queues.push(sender);
            let lane = Lane { client: self.clone(), stop: stop.clone(), progress: reports.clone() };
            tasks.spawn(lane.run(receiver));
        }
        drop(reports);

        let mut done = 0;
        let mut report = |samples: u64| {
            done += samples;
            events.send(Event::Progress { what: "history".into(), done, total, unit: "samples" });
        };
        let mut lane = 0;
        for batch in batches.by_ref() {
            // The rest of a series follows its beginning on the same lane.
            if !batch.continues {
                lane = (lane + 1) % queues.len();
            }
            let samples = batch.samples;
            tokio::select! {
                biased;
                () = stop.cancelled() => { unsent += samples; break; }
                sent = queues[lane].send(batch) => if sent.is_err() { unsent += samples; break; }
            }
            while let Ok(samples) = progress.try_recv() {
                report(samples);
            }
        }
        unsent += batches.samples_left();
        drop(queues);
        while let Some(samples) = progress.recv().await {
            report(samples);
        }

        let mut counted = Accounting { unsent, ..Accounting::default() };
        let mut accepted =
            Accepted { samples: 0, requests: 0, bytes: 0, retries: 0, elapsed: Duration::ZERO };
        let mut failure: Option<Failure> = None;
        while let Some(joined) = tasks.join_next().await {
            // A lane cannot be cancelled from elsewhere; a panic in it goes on in here.
            let end = match joined {
                Ok(end) => end,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            };
            accepted.samples += end.accepted.samples;
            accepted.requests += end.accepted.requests;
            accepted.bytes += end.accepted.bytes;
            accepted.retries += end.accepted.retries;
            counted.refused += end.refused;
            counted.unknown += end.unknown;
            counted.unsent += end.unsent;
            failure = failure.or(end.failure);
        }
        counted.accepted = accepted.samples;
        accepted.elapsed = started.elapsed();
        match failure {
            None => Ok(accepted),
            Some(failure) => Err(WriteError::new(failure, &self.url, counted)),
        }
    }
}

//! History by Prometheus Remote Write, 2.0 where the receiver speaks it and else
//! 1.0: samples with their true dates.
//!
//! Series become requests bounded in bytes and samples ([`Batches`]), which are
//! sent over several shards at once. A series stays in its shard, so its samples
//! arrive in the order of time. 429, 5xx and lost connections are repeated with
//! full jitter, honouring `Retry-After`; repeating is harmless, because a
//! receiver takes the same sample twice without a word. Every sample is
//! accounted for, whatever happens, and a [`Checkpoint`] lets an interrupted
//! history go on where it was.

mod batch;
mod checkpoint;
mod encode;
mod error;
mod negotiate;
mod retry;
mod shard;
pub mod wire;

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use batch::{Batch, Batches, Limits};
pub use checkpoint::Checkpoint;
pub use encode::Version;
pub use error::{Reason, WriteError};
pub(crate) use retry::retry_after;
pub use retry::{Retry, jitter};

use dorainfra_model::{Event, Events};
use shard::{Failure, Shard};

use super::Series;
use crate::{Target, TargetError};

/// How a receiver of version 2.0 says how many samples it has written.
const WRITTEN: &str = "x-prometheus-remote-write-samples-written";
/// The same of native histograms, which are no samples there.
const NATIVE_WRITTEN: &str = "x-prometheus-remote-write-histograms-written";

/// What became of the samples, when all were accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Accepted {
    pub samples: u64,
    /// Those of them that are native histograms.
    pub native: u64,
    /// Accepted by an earlier run, and not sent again.
    pub before: u64,
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
    /// By this run, or by an earlier one that it goes on from.
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
    shards: usize,
    checkpoint: Option<Checkpoint>,
    /// What the receiver speaks, once it has said so.
    spoken: Arc<OnceLock<Version>>,
}

impl Client {
    pub fn new(target: &Target) -> Result<Self, TargetError> {
        Ok(Self {
            http: target.http_client()?,
            url: target.write_url().into(),
            tenant: target.tenant.as_deref().map(Into::into),
            retry: Retry::default(),
            shards: 4,
            checkpoint: None,
            spoken: Arc::default(),
        })
    }

    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Requests under way at the same time; at least 1.
    #[must_use]
    pub fn with_shards(mut self, shards: usize) -> Self {
        self.shards = shards.max(1);
        self
    }

    /// Goes on where an interrupted run was, and notes how far this one has come.
    #[must_use]
    pub fn with_checkpoint(mut self, checkpoint: Checkpoint) -> Self {
        self.checkpoint = Some(checkpoint);
        self
    }

    fn post(&self, version: Version, body: bytes::Bytes) -> reqwest::RequestBuilder {
        let request = self
            .http
            .post(&*self.url)
            .header("Content-Type", version.content_type())
            .header("Content-Encoding", "snappy")
            .header("X-Prometheus-Remote-Write-Version", version.number())
            .body(body);
        match &self.tenant {
            Some(tenant) => request.header("X-Scope-OrgID", &**tenant),
            None => request,
        }
    }

    /// Sends all samples of `series`, which is read as it is sent: memory is
    /// bounded by shards × [`Limits::bytes`], not by the history's length.
    /// `total` (samples) is for the progress events only.
    ///
    /// Ends at the first request that is refused for good; what is under way on
    /// other shards is finished first. Dropping the future stops all shards.
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
        let version = self.negotiate().await;
        let mut batches = Batches::new(series.into_iter(), version, limits);
        let before = self.checkpoint.as_ref().map_or(0, Checkpoint::accepted);
        batches.skip_samples(before);
        let mut unsent = 0;

        let (reports, mut progress) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        let mut queues = Vec::with_capacity(self.shards);
        for _ in 0..self.shards {
            let (sender, receiver) = mpsc::channel::<(usize, Batch)>(1);
            queues.push(sender);
            let shard =
                Shard { client: self.clone(), version, stop: stop.clone(), progress: reports.clone() };
            tasks.spawn(shard.run(receiver));
        }
        drop(reports);

        let mut progress_so_far = Progress::new(before, self.checkpoint.as_ref());
        let mut report = |accepted: Delivered| {
            let done = progress_so_far.add(accepted, events);
            events.send(Event::Progress { what: "history".into(), done, total, unit: "samples" });
        };
        let mut shard = 0;
        for (index, batch) in batches.by_ref().enumerate() {
            // The rest of a series follows its beginning on the same shard.
            if !batch.continues {
                shard = (shard + 1) % queues.len();
            }
            let samples = batch.samples;
            tokio::select! {
                biased;
                () = stop.cancelled() => { unsent += samples; break; }
                sent = queues[shard].send((index, batch)) => if sent.is_err() { unsent += samples; break; }
            }
            while let Ok(accepted) = progress.try_recv() {
                report(accepted);
            }
        }
        unsent += batches.samples_left();
        drop(queues);
        while let Some(accepted) = progress.recv().await {
            report(accepted);
        }

        let mut counted = Accounting { unsent, ..Accounting::default() };
        let mut accepted = Accepted { before, ..Accepted::default() };
        let mut failure: Option<Failure> = None;
        while let Some(joined) = tasks.join_next().await {
            // A shard cannot be cancelled from elsewhere; a panic in it goes on in here.
            let end = match joined {
                Ok(end) => end,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            };
            accepted.samples += end.accepted.samples;
            accepted.native += end.accepted.native;
            accepted.requests += end.accepted.requests;
            accepted.bytes += end.accepted.bytes;
            accepted.retries += end.accepted.retries;
            counted.refused += end.refused;
            counted.unknown += end.unknown;
            counted.unsent += end.unsent;
            failure = failure.or(end.failure);
        }
        counted.accepted = before + accepted.samples;
        accepted.elapsed = started.elapsed();
        match failure {
            None => {
                self.checkpoint.iter().for_each(Checkpoint::remove);
                Ok(accepted)
            }
            Some(failure) => Err(WriteError::new(failure, &self.url, counted)),
        }
    }
}

/// A request that was accepted: which one it was, and its samples.
type Delivered = (usize, u64);

/// How far a history has come. Lanes overtake each other; what counts for going
/// on later is what was accepted without a gap from the beginning.
struct Progress<'a> {
    checkpoint: Option<&'a Checkpoint>,
    done: u64,
    /// Accepted without a gap, and the request that comes next.
    whole: u64,
    next: usize,
    /// Accepted ahead of others.
    ahead: BTreeMap<usize, u64>,
}

impl<'a> Progress<'a> {
    fn new(before: u64, checkpoint: Option<&'a Checkpoint>) -> Self {
        Self { checkpoint, done: before, whole: before, next: 0, ahead: BTreeMap::new() }
    }

    /// Samples that were accepted until now.
    fn add(&mut self, (index, samples): Delivered, events: &Events) -> u64 {
        self.done += samples;
        self.ahead.insert(index, samples);
        let before = self.whole;
        while let Some(samples) = self.ahead.remove(&self.next) {
            self.whole += samples;
            self.next += 1;
        }
        if let Some(checkpoint) = self.checkpoint
            && self.whole > before
            && let Err(error) = checkpoint.save(self.whole)
        {
            events.warn(
                format!("how far the history has come can't be noted: {error}"),
                Some("it is sent all the same; an interrupted one begins anew".into()),
            );
            self.checkpoint = None;
        }
        self.done
    }
}

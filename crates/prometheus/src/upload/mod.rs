//! History by Mimir's API for the upload of blocks: what was sent is in the bucket,
//! and never was in the ingester.
//!
//! A block is announced with its metadata, its files follow, and Mimir looks at it
//! before it counts. Every step may be repeated, and a block that is there already
//! says so: whoever was interrupted begins anew and sends what is missing. 429, 5xx
//! and lost connections are repeated as in [`super::remote_write`], and every sample
//! is accounted for in the same way.

mod error;
mod step;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde::Serialize;

pub use error::{UploadError, Why};

use dorainfra_model::{Event, Events};
use error::Failure;
use step::Steps;

use super::remote_write::{Accounting, Retry};
use super::tsdb::Block;
use crate::{Target, TargetError};

/// What became of the blocks, when all are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Uploaded {
    pub blocks: u64,
    pub samples: u64,
    /// Those of them that are native histograms.
    pub native: u64,
    /// In blocks that were there already.
    pub before: u64,
    /// Of the files that were sent.
    pub bytes: u64,
    /// Attempts that failed and were made up for.
    pub retries: u64,
    pub elapsed: Duration,
}

/// An uploader to one Mimir.
#[derive(Clone, Debug)]
pub struct Uploader {
    http: reqwest::Client,
    target: Arc<Target>,
    retry: Retry,
    shards: usize,
    patience: Duration,
}

/// A name that no block has: to ask whether there is such an API.
const NOBODY: &str = "00000000000000000000000000";

impl Uploader {
    pub fn new(target: &Target) -> Result<Self, TargetError> {
        Ok(Self {
            http: target.http_client()?,
            target: Arc::new(target.clone()),
            retry: Retry::default(),
            // As many as Mimir looks at at the same time (templates/vm/mimir.yaml.j2).
            shards: 4,
            // Mimir notices after five minutes that whoever looked at a block is gone.
            patience: Duration::from_secs(10 * 60),
        })
    }

    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// How long Mimir may look at one block.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Whether blocks may be sent at all: not to other receivers, nor to a Mimir
    /// that has not been told to take them.
    ///
    /// # Errors
    /// Nobody said yes or no.
    pub async fn is_taken(&self) -> Result<bool, UploadError> {
        let mut steps = Steps::new(self);
        let answer = steps.check(NOBODY).await;
        let answer = answer.map_err(|failure| self.error(failure, Accounting::default()))?;
        // Who has no such API doesn't know that this is about a block.
        Ok(answer.status.is_success() || answer.status == 404 && answer.text.contains("block"))
    }

    /// Sends all blocks, which are made as they are sent. `total` (samples) is for
    /// the progress events only.
    ///
    /// Ends at the first that is refused for good; what is under way is finished
    /// first. Dropping the future stops all of it.
    pub async fn send(
        &self,
        blocks: impl Iterator<Item = Block> + Send,
        total: u64,
        events: &Events,
    ) -> Result<Uploaded, UploadError> {
        let started = Instant::now();
        let mut uploaded = Uploaded::default();
        let mut counted = Accounting::default();
        let mut failure = None;
        let mut blocks = blocks.fuse();
        let mut under_way = futures::stream::FuturesUnordered::new();
        loop {
            while failure.is_none()
                && under_way.len() < self.shards
                && let Some(block) = blocks.next()
            {
                under_way.push(self.upload(block));
            }
            let Some(Ended { block, result, retries }) = under_way.next().await else { break };
            let samples = block.meta.stats.num_samples;
            uploaded.retries += retries;
            match result {
                Ok(new) => {
                    counted.accepted += samples;
                    uploaded.blocks += 1;
                    uploaded.samples += samples;
                    uploaded.native += block.meta.stats.num_histogram_samples;
                    match new {
                        true => uploaded.bytes += (block.index.len() + block.chunks.len()) as u64,
                        false => uploaded.before += samples,
                    }
                    events.send(Event::Progress {
                        what: "history".into(),
                        done: counted.accepted,
                        total,
                        unit: "samples",
                    });
                }
                Err(error) => {
                    match error.is_answered() {
                        true => counted.refused += samples,
                        false => counted.unknown += samples,
                    }
                    failure = failure.or(Some(error));
                }
            }
        }
        uploaded.elapsed = started.elapsed();
        match failure {
            None => Ok(uploaded),
            Some(failure) => {
                counted.unsent += blocks.map(|block| block.meta.stats.num_samples).sum::<u64>();
                Err(self.error(failure, counted))
            }
        }
    }

    async fn upload(&self, block: Block) -> Ended {
        let mut steps = Steps::new(self);
        let result = steps.upload(&block).await;
        Ended { block, result, retries: steps.retries }
    }

    fn error(&self, failure: Failure, accounting: Accounting) -> UploadError {
        UploadError { url: self.target.base_url.clone(), failure, accounting }
    }
}

struct Ended {
    block: Block,
    /// Whether it is new there.
    result: Result<bool, Failure>,
    retries: u64,
}

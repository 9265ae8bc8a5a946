//! One shard: requests one after the other, each until it is accepted or refused
//! for good.

use std::time::{Duration, Instant};

use dorainfra_base::answer;
use dorainfra_base::error::Why;
use http::{HeaderMap, StatusCode};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::batch::Batch;
use super::encode::Version;
use super::retry::{jitter, retry_after};
use super::{Accepted, Client, Delivered, NATIVE_WRITTEN, Reason, WRITTEN};
use crate::tls_failure;

pub(super) struct Shard {
    pub client: Client,
    pub version: Version,
    /// Cancelled by the first shard that fails for good.
    pub stop: CancellationToken,
    /// Each accepted request.
    pub progress: mpsc::UnboundedSender<Delivered>,
}

/// What a shard did until its end.
#[derive(Default)]
pub(super) struct ShardEnd {
    pub accepted: Accepted,
    pub refused: u64,
    pub unknown: u64,
    pub unsent: u64,
    pub failure: Option<Failure>,
}

/// Why a request was given up.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// Answered with a status that repeating cannot change.
    Refused { status: u16, message: String },
    /// TLS did not come about: certificates, not the weather.
    Tls { message: Why },
    /// Still unavailable after all attempts.
    Unavailable { attempts: u32, last: Why, answered: bool },
    /// The request could not even be made.
    Broken { message: Why },
    /// Who answered is not the receiver.
    SomebodyElse { message: String },
}

/// What receivers answer to samples that they have taken: the protocol says 2xx, and
/// these are those that any of them uses.
const ACCEPTED: [StatusCode; 3] = [StatusCode::OK, StatusCode::ACCEPTED, StatusCode::NO_CONTENT];

/// How a request ended that was not accepted.
enum Undelivered {
    Failed(Failure),
    /// Another shard failed for good while this one waited to try again.
    Stopped {
        answered: bool,
    },
}

impl Shard {
    pub async fn run(self, mut queue: mpsc::Receiver<(usize, Batch)>) -> ShardEnd {
        let mut end = ShardEnd::default();
        while let Some((index, batch)) = queue.recv().await {
            if self.stop.is_cancelled() {
                end.unsent += batch.samples;
                continue;
            }
            match self.deliver(&batch, &mut end.accepted.retries).await {
                Ok(()) => {
                    end.accepted.samples += batch.samples;
                    end.accepted.native += batch.native;
                    end.accepted.requests += 1;
                    end.accepted.bytes += batch.body.len() as u64;
                    // Nobody listens any more: the whole run was dropped.
                    let _ = self.progress.send((index, batch.samples));
                }
                Err(Undelivered::Stopped { answered: true }) => end.refused += batch.samples,
                Err(Undelivered::Stopped { answered: false }) => end.unknown += batch.samples,
                Err(Undelivered::Failed(failure)) => {
                    match &failure {
                        Failure::Refused { .. }
                        | Failure::SomebodyElse { .. }
                        | Failure::Unavailable { answered: true, .. } => {
                            end.refused += batch.samples;
                        }
                        Failure::Unavailable { .. } => end.unknown += batch.samples,
                        Failure::Tls { .. } | Failure::Broken { .. } => end.unsent += batch.samples,
                    }
                    end.failure = end.failure.or(Some(failure));
                    self.stop.cancel();
                }
            }
        }
        end
    }

    /// Sends until accepted, refused for good, or out of attempts.
    async fn deliver(&self, batch: &Batch, retries: &mut u64) -> Result<(), Undelivered> {
        let retry = self.client.retry;
        let started = Instant::now();
        let mut attempt = 0;
        loop {
            let (last, answered, asked) = match self.attempt(batch).await {
                Ok(()) => return Ok(()),
                Err(Attempt::Final(failure)) => return Err(Undelivered::Failed(failure)),
                Err(Attempt::Again { message, answered, after }) => (message, answered, after),
            };
            attempt += 1;
            // Added to what was asked for, so that clients told the same time spread out.
            let wait =
                asked.unwrap_or_default().saturating_add(jitter(retry.base, attempt - 1, retry.longest));
            if attempt >= retry.attempts || started.elapsed().saturating_add(wait) > retry.budget {
                let failure = Failure::Unavailable { attempts: attempt, last, answered };
                return Err(Undelivered::Failed(failure));
            }
            *retries += 1;
            tokio::select! {
                () = self.stop.cancelled() => return Err(Undelivered::Stopped { answered }),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn attempt(&self, batch: &Batch) -> Result<(), Attempt> {
        let request = self.client.post(self.version, batch.body.clone());
        let response = request.send().await.map_err(Attempt::of)?;
        let status = response.status();
        if let Some(message) = answer::of_somebody_else(&response)
            && !status.is_server_error()
        {
            return Err(Attempt::Final(Failure::SomebodyElse { message }));
        }
        if ACCEPTED.contains(&status) {
            let lacking =
                (self.version == Version::Two).then(|| lacking(batch, response.headers())).flatten();
            return match lacking {
                Some(message) => Err(Attempt::Final(Failure::Refused { status: status.as_u16(), message })),
                None => Ok(()),
            };
        }
        let after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after(value, OffsetDateTime::now_utc()));
        let message = answer::words(response, 1000).await;
        // Prometheus says 500 to samples that are too old: repeating makes them no younger.
        let passes = status == StatusCode::TOO_MANY_REQUESTS
            || status.is_server_error() && !Reason::of(status.as_u16(), &message).is_lasting();
        if passes {
            let message = format!("{status}: {message}").into();
            return Err(Attempt::Again { message, answered: true, after });
        }
        Err(Attempt::Final(Failure::Refused { status: status.as_u16(), message }))
    }
}

/// What a receiver of version 2.0 did not write of a request that it accepted, by
/// what it says itself.
fn lacking(batch: &Batch, headers: &HeaderMap) -> Option<String> {
    let written = |name| headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
    let plain = batch.samples - batch.native;
    if let Some(written) = written(WRITTEN)
        && written != plain
    {
        return Some(format!("it says that it has written {written} of {plain} samples"));
    }
    // Who says nothing of them doesn't know what they are.
    let native = written(NATIVE_WRITTEN).unwrap_or_default();
    (batch.native > 0 && native != batch.native)
        .then(|| format!("it says that it has written {native} of {} native histograms", batch.native))
}

enum Attempt {
    Final(Failure),
    Again { message: Why, answered: bool, after: Option<Duration> },
}

impl Attempt {
    fn of(error: reqwest::Error) -> Self {
        if let Some(message) = tls_failure(&error) {
            return Self::Final(Failure::Tls { message: Why::said(message, error) });
        }
        if error.is_builder() {
            return Self::Final(Failure::Broken { message: Why::reason(error) });
        }
        Self::Again { message: Why::reason(error), answered: false, after: None }
    }
}

//! The steps of one block: each a request that is repeated until it is answered.

use std::time::Instant;

use bytes::Bytes;
use dorainfra_base::answer;
use dorainfra_base::error::Why as Cause;
use http::{Method, StatusCode};
use serde::Deserialize;
use time::OffsetDateTime;

use super::Uploader;
use super::error::{Failure, Why};
use crate::remote_write::{jitter, retry_after};
use crate::tls_failure;
use crate::tsdb::{Block, CHUNKS, INDEX};

/// Words of Mimir's refusal while it looks at a block.
const LOOKING: &str = "validation in progress";
/// Names that one block is tried under.
const NAMES: u32 = 5;

pub(super) struct Steps<'a> {
    uploader: &'a Uploader,
    /// Attempts that failed and were made up for.
    pub retries: u64,
}

/// What was answered, whatever it says.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub text: String,
}

/// What Mimir says of a block.
#[derive(Deserialize)]
struct State {
    result: String,
    #[serde(default)]
    error: String,
}

/// Where a step leads to.
enum Next {
    GoOn,
    /// It is being looked at.
    Look,
    There,
}

impl<'a> Steps<'a> {
    pub fn new(uploader: &'a Uploader) -> Self {
        Self { uploader, retries: 0 }
    }

    /// Until the block counts; whether it did not before.
    pub async fn upload(&mut self, block: &Block) -> Result<bool, Failure> {
        let mut meta = block.meta.clone();
        let mut names = 1;
        let begun = loop {
            let body = serde_json::to_vec(&meta).map_err(|error| Failure::Broken(Cause::of(error)))?;
            match self.post(&meta.ulid, "start", None, body.into()).await {
                Err(Failure::Refused { status, message, .. })
                    if names < NAMES && Why::of(status, &message) == Why::FailedBefore =>
                {
                    (meta, names) = (meta.renamed(), names + 1);
                }
                begun => break begun?,
            }
        };
        let name = &meta.ulid;
        match begun {
            Next::There => return Ok(false),
            Next::Look => return self.look(name).await,
            Next::GoOn => {}
        }
        for (path, bytes) in [(CHUNKS, &block.chunks), (INDEX, &block.index)] {
            match self.post(name, "files", Some(path), bytes.clone()).await? {
                Next::There => return Ok(false),
                Next::Look => return self.look(name).await,
                Next::GoOn => {}
            }
        }
        match self.post(name, "finish", None, Bytes::new()).await? {
            // The first answer was lost, or somebody else sends the same.
            Next::There => Ok(true),
            Next::GoOn | Next::Look => self.look(name).await,
        }
    }

    pub async fn check(&mut self, name: &str) -> Result<Answer, Failure> {
        self.call(&Method::GET, name, "check", None, Bytes::new()).await
    }

    async fn post(
        &mut self,
        name: &str,
        step: &'static str,
        path: Option<&str>,
        body: Bytes,
    ) -> Result<Next, Failure> {
        let answer = self.call(&Method::POST, name, step, path, body).await?;
        match answer.status {
            StatusCode::OK => Ok(Next::GoOn),
            StatusCode::CONFLICT => Ok(Next::There),
            StatusCode::BAD_REQUEST if answer.text.contains(LOOKING) => Ok(Next::Look),
            status => Err(Failure::Refused { step, status: status.as_u16(), message: answer.text }),
        }
    }

    /// Until it has been looked at.
    async fn look(&mut self, name: &str) -> Result<bool, Failure> {
        let began = Instant::now();
        let mut round = 0;
        loop {
            let answer = self.check(name).await?;
            let state = match answer.status.is_success().then(|| serde_json::from_str::<State>(&answer.text))
            {
                Some(Ok(state)) => state,
                // Mimir looks for one file, then for the other, and turns the latter into the
                // former meanwhile: for a moment it has found neither.
                None if answer.status == StatusCode::NOT_FOUND => {
                    State { result: "not to be found".into(), error: answer.text }
                }
                _ => {
                    let (status, message) = (answer.status.as_u16(), answer.text);
                    return Err(Failure::Refused { step: "check", status, message });
                }
            };
            match state.result.as_str() {
                "complete" => return Ok(true),
                "failed" => return Err(Failure::Invalid { block: name.into(), message: state.error }),
                // Whoever looked at it is gone: it is asked for again.
                "uploading" => {
                    if let Next::There = self.post(name, "finish", None, Bytes::new()).await? {
                        return Ok(true);
                    }
                }
                _ => {}
            }
            if began.elapsed() > self.uploader.patience {
                return Err(Failure::Unavailable {
                    attempts: round + 1,
                    last: format!("the block {name} is still {}", state.result).into(),
                    answered: false,
                });
            }
            tokio::time::sleep(jitter(self.uploader.retry.base, round.min(3), self.uploader.retry.longest))
                .await;
            round += 1;
        }
    }

    async fn call(
        &mut self,
        method: &Method,
        name: &str,
        step: &'static str,
        path: Option<&str>,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let retry = self.uploader.retry;
        let started = Instant::now();
        let mut attempt = 0;
        loop {
            let url = self.uploader.target.block_url(name, step);
            let mut request = self.uploader.http.request(method.clone(), url).body(body.clone());
            if let Some(path) = path {
                request = request.query(&[("path", path)]);
            }
            if let Some(tenant) = &self.uploader.target.tenant {
                request = request.header("X-Scope-OrgID", tenant);
            }
            let (last, answered, asked) = match request.send().await {
                Ok(response) => {
                    let status = response.status();
                    if let Some(message) = answer::of_somebody_else(&response)
                        && !status.is_server_error()
                    {
                        return Err(Failure::SomebodyElse(message));
                    }
                    let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
                    let after = after.and_then(|value| retry_after(value, OffsetDateTime::now_utc()));
                    let text = answer::words(response, 1000).await;
                    if status != StatusCode::TOO_MANY_REQUESTS && !status.is_server_error() {
                        return Ok(Answer { status, text });
                    }
                    (format!("{status}: {text}").into(), true, after)
                }
                Err(error) => {
                    if let Some(message) = tls_failure(&error) {
                        return Err(Failure::Tls(Cause::said(message, error)));
                    }
                    if error.is_builder() {
                        return Err(Failure::Broken(Cause::reason(error)));
                    }
                    (Cause::reason(error), false, None)
                }
            };
            attempt += 1;
            let wait =
                asked.unwrap_or_default().saturating_add(jitter(retry.base, attempt - 1, retry.longest));
            if attempt >= retry.attempts || started.elapsed().saturating_add(wait) > retry.budget {
                return Err(Failure::Unavailable { attempts: attempt, last, answered });
            }
            self.retries += 1;
            tokio::time::sleep(wait).await;
        }
    }
}

//! Object data through Google's own client (resumable uploads, CRC32C), object
//! metadata through the JSON API.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dorainfra_base::error::{Cause, chain, innermost};
use dorainfra_engine::Fence;
use futures::{StreamExt as _, TryStreamExt as _};
use google_cloud_auth::credentials::{CacheableResource, Credentials, CredentialsProvider, EntityTag};
use google_cloud_auth::errors::CredentialsError;
use google_cloud_gax::exponential_backoff::ExponentialBackoffBuilder;
use google_cloud_gax::retry_policy::{RetryPolicy, RetryPolicyExt as _};
use google_cloud_gax::retry_result::RetryResult;
use google_cloud_gax::retry_state::RetryState;
use google_cloud_storage::client::Storage;
use google_cloud_storage::model::Object;
use google_cloud_storage::retry_policy::RetryableErrors;
use google_cloud_storage::streaming_source::{Payload, Seek, SizeHint, StreamingSource};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::Value;
use time::OffsetDateTime;

use super::client::{Answer, FIRST_BACKOFF, Inner};
use super::outage::{self, Moved, Outage, may_write_for};
use super::{Api, ApiError, Call, Client, Error};

/// Deletions under way at once.
const DELETES: usize = 32;

/// What a stored object is.
#[derive(Clone, Debug, Default)]
pub struct Upload {
    pub content_type: String,
    pub metadata: Vec<(String, String)>,
    /// Write only if the object's generation is this; 0: only if it is absent.
    pub if_generation: Option<i64>,
}

/// What is stored.
#[derive(Clone, Debug)]
pub enum Body {
    Bytes(Bytes),
    File(PathBuf),
}

impl Client {
    /// Stores an object; answers its generation.
    pub async fn put(&self, bucket: &str, name: &str, content: &Body, upload: &Upload) -> Result<i64, Error> {
        self.may_write(&format!("writing {bucket}/{name}"))?;
        self.renewing(|| self.stored(bucket, name, content, upload, true)).await
    }

    /// As [`put`](Self::put), whatever the fence says: the lease itself is written so.
    pub(super) async fn store(
        &self,
        bucket: &str,
        name: &str,
        content: &Body,
        upload: &Upload,
    ) -> Result<i64, Error> {
        self.renewing(|| self.stored(bucket, name, content, upload, false)).await
    }

    /// Refused before anything was done: once more, with a fresh token. (Google's client
    /// would go on with the old one.)
    async fn renewing<T, F>(&self, work: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let token = self.inner.auth.token().await?;
        let done = match work().await {
            Err(Error::Api(error)) if error.status == 401 => {
                self.inner.auth.refused(&token).await;
                work().await
            }
            done => done,
        };
        if matches!(done, Ok(_) | Err(Error::Api(_))) {
            self.inner.outage.answered(&outage::host(&self.inner.endpoints.storage));
        }
        done
    }

    async fn stored(
        &self,
        bucket: &str,
        name: &str,
        content: &Body,
        upload: &Upload,
        fenced: bool,
    ) -> Result<i64, Error> {
        let path = format!("projects/_/buckets/{bucket}");
        let what = format!("writing {bucket}/{name}");
        let object = match content {
            Body::Bytes(bytes) => self.write(&what, path, name, bytes.clone().into(), upload, fenced).await?,
            Body::File(file) => {
                let open = tokio::fs::File::open(file).await;
                let file = open.map_err(|error| Error::unreadable(file.display().to_string(), error))?;
                self.write(&what, path, name, file.into(), upload, fenced).await?
            }
        };
        Ok(object.generation)
    }

    async fn write<S>(
        &self,
        what: &str,
        bucket: String,
        name: &str,
        payload: Payload<S>,
        upload: &Upload,
        fenced: bool,
    ) -> Result<Object, Error>
    where
        S: StreamingSource + Seek + Send + Sync + 'static,
    {
        let (client, what_is_written) = (self.clone(), what.to_owned());
        let may_write = move || if fenced { client.may_write(&what_is_written) } else { Ok(()) };
        let moved = Moved::now();
        let source = Guarded { source: payload, may_write: may_write.clone(), moved: moved.clone() };
        let mut write = self
            .storage()
            .await?
            .write_object(bucket, name, source)
            .set_content_type(&upload.content_type)
            .set_metadata(upload.metadata.clone());
        if let Some(generation) = upload.if_generation {
            write = write.set_if_generation_match(generation);
        }
        // Why it broke off is the fence, where that is closed.
        let failed = |error| may_write().err().unwrap_or_else(|| self.of_storage(what, error));
        let host = outage::host(&self.inner.endpoints.storage);
        self.inner.outage.while_moving(&host, what, &moved, write.send_unbuffered()).await?.map_err(failed)
    }

    /// An object's bytes and generation; `None`: there is none.
    pub async fn read_object(&self, bucket: &str, name: &str) -> Result<Option<(Bytes, i64)>, Error> {
        self.renewing(|| self.read(bucket, name)).await
    }

    async fn read(&self, bucket: &str, name: &str) -> Result<Option<(Bytes, i64)>, Error> {
        let what = format!("reading {bucket}/{name}");
        let (host, moved) = (outage::host(&self.inner.endpoints.storage), Moved::now());
        let whole = async {
            let storage = self.storage().await?;
            let read = storage.read_object(format!("projects/_/buckets/{bucket}"), name).send().await;
            let mut response = match read.map_err(|error| self.of_storage(&what, error)) {
                Ok(response) => response,
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => return Err(error),
            };
            let generation = response.object().generation;
            let mut bytes = BytesMut::new();
            while let Some(chunk) = response.next().await {
                bytes.extend_from_slice(&chunk.map_err(|error| self.of_storage(&what, error))?);
                moved.again();
            }
            Ok(Some((bytes.freeze(), generation)))
        };
        self.inner.outage.while_moving(&host, &what, &moved, whole).await?
    }

    /// An object's metadata, as the API spells it; `None`: there is none.
    pub async fn stat_object(&self, bucket: &str, name: &str) -> Result<Option<Value>, Error> {
        let path = format!("storage/v1/b/{bucket}/o/{}", encoded(name));
        match self.call(&Call::get(Api::Storage, path)).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// As [`stat_object`](Self::stat_object), with the time by Google's clock, in whole
    /// seconds, where it was told.
    pub(super) async fn stat_object_now(
        &self,
        bucket: &str,
        name: &str,
    ) -> Result<Option<(Value, Option<OffsetDateTime>)>, Error> {
        let path = format!("storage/v1/b/{bucket}/o/{}", encoded(name));
        match self.answer(&Call::get(Api::Storage, path)).await {
            Ok(Answer { body, at }) => Ok(Some((body, at))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects whose names begin with `prefix`; an absent bucket holds none.
    pub async fn list_objects(&self, bucket: &str, prefix: &str) -> Result<Vec<Value>, Error> {
        let call = Call::get(Api::Storage, format!("storage/v1/b/{bucket}/o")).query("prefix", prefix);
        match self.list(call, "items").await {
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            other => other,
        }
    }

    /// Deletes one object; an absent one is deleted already.
    pub async fn delete_object(
        &self,
        bucket: &str,
        name: &str,
        generation: Option<i64>,
    ) -> Result<(), Error> {
        let path = format!("storage/v1/b/{bucket}/o/{}", encoded(name));
        let mut call = match generation {
            // Bound to a generation, a repeat can't hit a newer object.
            Some(_) => Call::idempotent(Api::Storage, Method::DELETE, path),
            None => Call::write(Api::Storage, Method::DELETE, path),
        };
        if let Some(generation) = generation {
            call = call.query("ifGenerationMatch", generation.to_string());
        }
        match self.call(&call).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Deletes every object of a bucket, old versions too, many at a time;
    /// `progress` hears how many of how many are gone.
    pub async fn empty_bucket(&self, bucket: &str, progress: impl Fn(u64, u64)) -> Result<(), Error> {
        let call = Call::get(Api::Storage, format!("storage/v1/b/{bucket}/o"))
            .query("versions", "true")
            .query("fields", "items(name,generation),nextPageToken");
        let versions = match self.list(call, "items").await {
            Err(error) if error.is_not_found() => return Ok(()),
            other => other?,
        };
        let total = versions.len() as u64;
        let mut done: u64 = 0;
        let mut deletions = futures::stream::iter(versions)
            .map(|version| async move {
                let name = encoded(version["name"].as_str().unwrap_or_default());
                let generation = integer(&version["generation"]).unwrap_or_default();
                // Of one version, and so the same when done twice.
                let call =
                    Call::idempotent(Api::Storage, Method::DELETE, format!("storage/v1/b/{bucket}/o/{name}"))
                        .query("generation", generation.to_string());
                match self.call(&call).await {
                    Err(error) if error.is_not_found() => Ok(()),
                    other => other.map(|_| ()),
                }
            })
            .buffer_unordered(DELETES);
        while (deletions.try_next().await?).is_some() {
            done = done.saturating_add(1);
            progress(done, total);
        }
        Ok(())
    }

    /// Google's client's error as ours.
    fn of_storage(&self, what: &str, error: google_cloud_storage::Error) -> Error {
        if let Some(code) = error.http_status_code() {
            let body = error.http_payload().map(|body| String::from_utf8_lossy(body).into_owned());
            let mut api = ApiError::of(what, code, body.as_deref().unwrap_or_default());
            // The client keeps either the body or what it read from it.
            if let Some(status) = error.status() {
                api.message.clone_from(&status.message);
            }
            return Error::Api(api);
        }
        let host = outage::host(&self.inner.endpoints.storage);
        // Which of its attempts was sent is not told.
        let silent = self.inner.outage.of_host(&host, what, true).filter(|_| is_connect(&error));
        let (what, reason) = (what.to_owned(), innermost(&error));
        let source = Some(Cause::from(Box::from(error)));
        match silent {
            Some(Error::Unreachable { tried, .. }) => {
                Error::Unreachable { host, what, reason, tried, sent: true, source }
            }
            _ => Error::Transport { what, reason, sent: true, source },
        }
    }

    async fn storage(&self) -> Result<&Storage, Error> {
        self.inner
            .storage
            .get_or_try_init(|| async {
                let retries = Retries {
                    policy: RetryableErrors.with_time_limit(RETRY_FOR),
                    outage: Arc::clone(&self.inner.outage),
                    fence: Arc::clone(&self.inner.fence),
                    host: outage::host(&self.inner.endpoints.storage),
                };
                let backoff = ExponentialBackoffBuilder::new()
                    .with_initial_delay(FIRST_BACKOFF)
                    .with_maximum_delay(outage::SAID_EVERY)
                    .clamp();
                Storage::builder()
                    .with_retry_policy(retries)
                    .with_backoff_policy(backoff)
                    .with_endpoint(self.inner.endpoints.storage.trim_end_matches('/'))
                    .with_credentials(Credentials::from(Shared(self.inner.clone())))
                    .build()
                    .await
                    .map_err(|error| Error::unreadable("the storage client", error))
            })
            .await
    }
}

/// How long Google's client goes on trying.
const RETRY_FOR: Duration = Duration::from_secs(300);

/// Google's client's retries: a cloud that does not answer is what it is for all other calls.
#[derive(Debug)]
struct Retries<P> {
    policy: P,
    outage: Arc<Outage>,
    fence: Arc<OnceLock<Arc<Fence>>>,
    host: String,
}

impl<P: RetryPolicy> RetryPolicy for Retries<P> {
    fn on_error(&self, state: &RetryState, error: google_cloud_storage::Error) -> RetryResult {
        match self.policy.on_error(state, error) {
            RetryResult::Continue(error) if error.is_connect() => {
                let within = may_write_for(&self.fence);
                match self.outage.failed(&self.host, &innermost(&error), None, within) {
                    Duration::ZERO => RetryResult::Exhausted(error),
                    _ => RetryResult::Continue(error),
                }
            }
            other => other,
        }
    }

    fn remaining_time(&self, state: &RetryState) -> Option<Duration> {
        self.policy.remaining_time(state)
    }
}

/// Our tokens in the form that Google's client takes.
#[derive(Debug)]
struct Shared(Arc<Inner>);

impl CredentialsProvider for Shared {
    async fn headers(
        &self,
        _: http::Extensions,
    ) -> Result<CacheableResource<http::HeaderMap>, CredentialsError> {
        let fails = |reason: String| CredentialsError::from_msg(false, reason);
        let token = self.0.auth.token().await.map_err(|error| fails(error.to_string()))?;
        let mut value = http::HeaderValue::from_str(&format!("Bearer {}", token.value))
            .map_err(|_| fails("the token is no header value".into()))?;
        value.set_sensitive(true);
        let mut data = http::HeaderMap::from_iter([(http::header::AUTHORIZATION, value)]);
        if let Some(project) = token.quota_project.and_then(|project| project.try_into().ok()) {
            data.insert("x-goog-user-project", project);
        }
        Ok(CacheableResource::New { entity_tag: EntityTag::new(), data })
    }

    async fn universe_domain(&self) -> Option<String> {
        None
    }
}

/// What is sent only as long as it may be: an upload takes its time, and Google's client begins it
/// anew by itself.
struct Guarded<S, F> {
    source: Payload<S>,
    may_write: F,
    moved: Moved,
}

impl<S, F: Fn() -> Result<(), Error>> Guarded<S, F> {
    fn check(&self) -> Result<(), std::io::Error> {
        (self.may_write)().map_err(std::io::Error::other)
    }
}

impl<S, F> StreamingSource for Guarded<S, F>
where
    S: StreamingSource + Send + Sync,
    F: Fn() -> Result<(), Error> + Send + Sync,
{
    type Error = std::io::Error;

    async fn next(&mut self) -> Option<Result<Bytes, Self::Error>> {
        // At the end, too: what has no end is not stored.
        if let Err(error) = self.check() {
            return Some(Err(error));
        }
        self.moved.again();
        Some(self.source.next().await?.map_err(std::io::Error::other))
    }

    async fn size_hint(&self) -> Result<SizeHint, Self::Error> {
        self.source.size_hint().await.map_err(std::io::Error::other)
    }
}

impl<S, F> Seek for Guarded<S, F>
where
    S: Seek + Send + Sync,
    F: Fn() -> Result<(), Error> + Send + Sync,
{
    type Error = std::io::Error;

    async fn seek(&mut self, offset: u64) -> Result<(), Self::Error> {
        self.check()?;
        self.source.seek(offset).await.map_err(std::io::Error::other)
    }
}

/// Nobody took the connection; an error that says that no more is tried wraps the last one.
fn is_connect(error: &google_cloud_storage::Error) -> bool {
    chain(error).any(|cause| {
        cause
            .downcast_ref::<google_cloud_storage::Error>()
            .is_some_and(google_cloud_storage::Error::is_connect)
    })
}

/// All but the characters that RFC 3986 calls unreserved.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// An object's name as one path segment.
pub fn encoded(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

/// Google spells 64-bit numbers as strings.
pub fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn an_upload_whose_run_may_not_write_any_more_goes_no_further() {
        let open = Arc::new(AtomicBool::new(true));
        let is_open = Arc::clone(&open);
        let may_write = move || match is_open.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err(Error::Fenced { what: "writing b/o".into() }),
        };
        let mut upload =
            Guarded { source: Payload::from(Bytes::from_static(b"bytes")), may_write, moved: Moved::now() };
        assert_eq!(upload.size_hint().await.unwrap().exact(), Some(5));
        assert_eq!(upload.next().await.unwrap().unwrap(), "bytes");
        open.store(false, Ordering::Relaxed);
        // Neither the end of what was sent, nor a second attempt.
        assert!(upload.next().await.unwrap().is_err());
        assert!(upload.seek(0).await.is_err());
        open.store(true, Ordering::Relaxed);
        upload.seek(2).await.unwrap();
        assert_eq!(upload.next().await.unwrap().unwrap(), "tes");
        assert!(upload.next().await.is_none());
    }
}

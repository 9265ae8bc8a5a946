//! The one HTTP transport: a token, a time limit, retries with full jitter of
//! what may be repeated, request ids on Compute writes.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dorainfra_base::answer::{self, BodyError};
use dorainfra_base::error::{Cause, innermost};
use dorainfra_engine::{Fence, SystemClock};
use dorainfra_model::Events;
use rand::RngExt as _;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::auth::{Auth, Token};
use super::call::{Api, Call};
use super::outage::{self, Outage, may_write_for};
use super::{ApiError, Endpoints, Error, Identity};

/// The longest wait of one request; `wait` calls of operations hold theirs for
/// up to two minutes.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(150);
/// The most pages of a list: far more than any deployment has.
const MOST_PAGES: u32 = 2000;
/// How long one call goes on trying, and all calls together where nobody answers.
pub const RETRY_FOR: Duration = Duration::from_secs(90);
/// How long the first calls of a run wait for one of them to see the project.
const FIRST_SEEN_WITHIN: Duration = Duration::from_secs(1);
/// The same for an answer that may mean either: the project, or a permission.
const FORBIDDEN_WITHIN: Duration = Duration::from_secs(5);
/// How long an enabled service may be unseen by its own API: minutes, by Service Usage's
/// documentation.
const ENABLED_WITHIN: Duration = Duration::from_secs(5 * 60);
/// How long a proxy is tried that takes no connection: what is set up wrong stays so.
const PROXY_WITHIN: Duration = Duration::from_secs(3);
pub(super) const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

/// What a client needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    pub endpoints: Endpoints,
    /// A key file; `None`: search where Google's tools do.
    pub credentials: Option<PathBuf>,
    /// The metadata server's tokens are a person's, as in Cloud Shell.
    pub person: bool,
    /// gcloud may have a user, and is asked where there is nothing else.
    pub gcloud: bool,
    pub project: String,
    /// The proxy that the environment names, for people.
    pub proxy: Option<String>,
    /// Hears of a cloud that does not answer.
    pub events: Events,
    /// How long that one is tried: [`RETRY_FOR`].
    pub retry_for: Duration,
}

/// Google's APIs for one project. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) inner: Arc<Inner>,
    /// The longest that a call goes on trying, where that is shorter than usual.
    patience: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) http: reqwest::Client,
    pub(super) auth: Auth,
    pub(super) endpoints: Endpoints,
    pub(super) project: String,
    proxy: Option<String>,
    pub(super) outage: Arc<Outage>,
    pub(super) storage: tokio::sync::OnceCell<google_cloud_storage::client::Storage>,
    /// The project's number, once it is known.
    pub(super) number: tokio::sync::OnceCell<String>,
    /// Since when Service Usage has said that the services are enabled.
    enabled: OnceLock<Instant>,
    /// Something of the project was answered: that it is "not found" passes.
    pub(super) seen: AtomicBool,
    /// Seconds that Google's clock was ahead of this one's at the last answer; none yet: `i64::MIN`.
    clock_ahead: AtomicI64,
    /// What writes ask, where they need a lease.
    pub(super) fence: Arc<OnceLock<Arc<Fence>>>,
}

/// What was answered, and when by Google's clock, in whole seconds.
pub(super) struct Answer {
    pub body: Value,
    pub at: Option<OffsetDateTime>,
}

impl Client {
    /// No call is made, and no credentials are looked for, before the first use.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let mut http = reqwest::Client::builder();
        if settings.endpoints.compute.starts_with("http://127.") {
            // A proxy can't reach this machine's own loopback.
            http = http.no_proxy();
        }
        let http = http
            .connect_timeout(Duration::from_secs(10))
            .timeout(REQUEST_TIMEOUT)
            .user_agent(concat!("dorainfra/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::Transport {
                what: "the HTTP client".into(),
                reason: error.to_string(),
                sent: false,
                source: Some(Cause::from(Box::from(error))),
            })?;
        let auth = Auth::new(settings.credentials, settings.person, settings.gcloud, &settings.project);
        let inner = Inner {
            http,
            auth,
            endpoints: settings.endpoints,
            project: settings.project,
            proxy: settings.proxy,
            outage: Arc::new(Outage::new(settings.events, settings.retry_for)),
            storage: tokio::sync::OnceCell::new(),
            number: tokio::sync::OnceCell::new(),
            enabled: OnceLock::new(),
            seen: AtomicBool::new(false),
            clock_ahead: AtomicI64::new(i64::MIN),
            fence: Arc::default(),
        };
        Ok(Self { inner: Arc::new(inner), patience: None })
    }

    /// The same client for whoever would rather be told soon than after a second try.
    #[must_use]
    pub fn patient_for(&self, patience: Duration) -> Self {
        Self { inner: Arc::clone(&self.inner), patience: Some(patience) }
    }

    /// Has a token, so that nothing else is done first where there are no credentials.
    ///
    /// # Errors
    /// There are none, or they give no token.
    pub async fn sign_in(&self) -> Result<(), Error> {
        let token = self.inner.auth.token().await;
        token.map(drop).map_err(|error| error.by_proxy(self.inner.proxy.as_deref()))
    }

    /// Whose credentials are used.
    ///
    /// # Errors
    /// As of [`sign_in`](Self::sign_in).
    pub async fn identity(&self) -> Result<Identity, Error> {
        let identity = self.inner.auth.identity().await;
        identity.map_err(|error| error.by_proxy(self.inner.proxy.as_deref()))
    }

    /// Seconds that Google's clock was ahead of this machine's (negative: behind) at the last
    /// answer; `None`: none has told the time.
    pub fn clock_ahead(&self) -> Option<i64> {
        Some(self.inner.clock_ahead.load(Ordering::Relaxed)).filter(|ahead| *ahead != i64::MIN)
    }

    pub fn project(&self) -> &str {
        &self.inner.project
    }

    fn base(&self, api: Api) -> String {
        let endpoints = &self.inner.endpoints;
        match api {
            Api::Compute => format!("{}projects/{}/", endpoints.compute, self.inner.project),
            Api::ComputeOfAll => endpoints.compute.clone(),
            Api::Storage => endpoints.storage.clone(),
            Api::Iam => endpoints.iam.clone(),
            Api::ResourceManager => endpoints.cloudresourcemanager.clone(),
            Api::Billing => endpoints.cloudbilling.clone(),
            Api::ServiceUsage => endpoints.serviceusage.clone(),
            Api::SecretManager => endpoints.secretmanager.clone(),
        }
    }

    /// From now on an API that says of itself that it is disabled has only not heard of it,
    /// yet: it is asked again. (Before, nothing of the deployment is there.)
    pub fn services_are_enabled(&self) {
        self.inner.enabled.get_or_init(Instant::now);
    }

    /// From now on a write is made only while this fence is open.
    pub fn fenced(&self, fence: Arc<Fence>) {
        // The same one for all that is done with this client: the first stays.
        let _ = self.inner.fence.set(fence);
    }

    /// # Errors
    /// The fence is closed: the lease that this run's writes need is over.
    pub(super) fn may_write(&self, what: &str) -> Result<(), Error> {
        match self.inner.fence.get() {
            Some(fence) if !fence.is_open(&SystemClock) => Err(Error::Fenced { what: what.into() }),
            _ => Ok(()),
        }
    }

    /// What a run fails of while the cloud does not answer; `None`: it does.
    pub fn unreachable(&self) -> Option<Error> {
        self.inner.outage.error()
    }

    /// Makes the call. An empty answer is `Value::Null`.
    pub async fn call(&self, call: &Call) -> Result<Value, Error> {
        self.answer(call).await.map(|answer| answer.body)
    }

    pub(super) async fn answer(&self, call: &Call) -> Result<Answer, Error> {
        let (began, mut within) = (Instant::now(), RETRY_FOR);
        let mut backoff = FIRST_BACKOFF;
        let mut renewed = false;
        // An attempt before the last one may have had its effect.
        let mut sent_before = false;
        let host = outage::host(&self.base(call.api));
        loop {
            let token =
                self.inner.auth.token().await.map_err(|error| error.by_proxy(self.inner.proxy.as_deref()))?;
            // Right before it goes out: whatever was waited for may have taken long.
            if call.method != Method::GET {
                self.may_write(&call.what())?;
            }
            let (mut error, after) = match self.once(call, &token).await {
                Ok(answer) => {
                    if call.names_project(&self.inner.project) {
                        self.inner.seen.store(true, Ordering::Relaxed);
                    }
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            if let Error::Api(api) = &mut error
                && api.is_service_disabled()
            {
                // Whose is not said is nobody's word on the deployment's project.
                api.foreign_consumer = match api.consumer.clone() {
                    Some(consumer) => !self.is_ours(&consumer, &token).await,
                    None => true,
                };
            }
            // Refused before anything was done: once more, with a fresh token.
            if error.api().is_some_and(|api| api.status == 401) && !renewed {
                renewed = true;
                self.inner.auth.refused(&token).await;
                continue;
            }
            let again = match &error {
                // A refused connection never reached anybody.
                Error::Transport { reason, sent, source, .. } => {
                    if error.is_by_proxy() {
                        within = PROXY_WITHIN;
                    }
                    if !sent {
                        // Nobody waits for a lease that ends before.
                        let left =
                            within.saturating_sub(began.elapsed()).min(may_write_for(&self.inner.fence));
                        let left = self.inner.outage.failed(&host, reason, source.clone(), left);
                        within = began.elapsed().saturating_add(left);
                    }
                    call.repeatable || !sent
                }
                Error::Api(api) if api.is_service_disabled() => {
                    // One bound for all calls together.
                    within = ENABLED_WITHIN;
                    self.inner.enabled.get().is_some_and(|since| since.elapsed() < ENABLED_WITHIN)
                }
                // Refused before anything was done. One that nobody has seen yet is rather
                // misspelt, unless a call beside this one was answered.
                Error::Api(api) if api.is_project_unseen() => {
                    // What is refused with 403 may be a permission for good.
                    if api.status == 403 {
                        within = FORBIDDEN_WITHIN;
                    }
                    self.inner.seen.load(Ordering::Relaxed) || began.elapsed() < FIRST_SEEN_WITHIN
                }
                Error::Api(api) => api.is_transient() && !call.once && (call.repeatable || not_executed(api)),
                _ => false,
            };
            // Who says "at once" again and again is not believed.
            within = within.min(self.patience.unwrap_or(within));
            let wait = after.unwrap_or_default().min(RETRY_FOR).max(jitter(backoff));
            if !again || began.elapsed().saturating_add(wait) > within {
                if matches!(error, Error::Transport { sent: false, .. })
                    && let Some(unreachable) = self.inner.outage.of_host(&host, &call.what(), sent_before)
                {
                    return Err(unreachable);
                }
                if let Error::Api(api) = &mut error
                    && matches!(api.status, 400 | 403 | 404)
                    && !self.project_is_seen(&token).await
                {
                    api.unseen_project = Some(self.inner.project.clone());
                    api.caller = self.identity().await.ok().map(|identity| identity.name());
                }
                return Err(error);
            }
            sent_before |= matches!(error, Error::Transport { sent: true, .. });
            let next = Instant::now().checked_add(wait).unwrap_or_else(Instant::now);
            while Instant::now() < next {
                let pause = next.saturating_duration_since(Instant::now()).min(outage::SAID_EVERY);
                tokio::time::sleep(pause).await;
                self.inner.outage.still(&host, within.saturating_sub(began.elapsed()));
            }
            backoff = backoff.saturating_mul(2).min(LONGEST_BACKOFF);
        }
    }

    /// One attempt; with the server's `Retry-After`, where it gave one.
    pub(super) async fn once(&self, call: &Call, token: &Token) -> Result<Answer, (Error, Option<Duration>)> {
        let url = format!("{}{}", self.base(call.api), call.path);
        let mut request =
            self.inner.http.request(call.method.clone(), url).bearer_auth(&token.value).query(&call.query);
        if let Some(project) = &token.quota_project {
            request = request.header("x-goog-user-project", project);
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        } else if call.method == Method::POST {
            request = request.header("content-length", "0");
        }
        let lost = |error: reqwest::Error| {
            let sent = !error.is_connect() && !error.is_builder();
            let proxy = self.inner.proxy.as_deref().filter(|_| error.is_connect());
            let (what, reason) = (call.what(), innermost(&error));
            let source = Some(Cause::from(Box::from(error)));
            (Error::Transport { what, reason, sent, source }.by_proxy(proxy), None)
        };
        let (outage, host) = (&self.inner.outage, outage::host(&self.base(call.api)));
        let within = |passed| REQUEST_TIMEOUT.saturating_sub(passed).min(may_write_for(&self.inner.fence));
        let sent = outage.watch(&host, call.holds(), within, Box::pin(request.send()));
        let response = sent.await.map_err(lost)?;
        let status = response.status();
        let after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(answer::seconds);
        let (clock_ahead, at) = (answer::clock_ahead(&response), answer::time_there(&response));
        if let Some(ahead) = clock_ahead {
            self.inner.clock_ahead.store(ahead, Ordering::Relaxed);
        }
        let body = answer::body(response, answer::LARGE).await.map_err(|error| match error {
            BodyError::Lost(error) => lost(error),
            BodyError::TooLarge(_) => (Error::unreadable(call.what(), error), None),
        })?;
        let text = String::from_utf8_lossy(&body);
        // A body that was cut off on the way: the effect, if any, is there.
        let damaged = |error: serde_json::Error| {
            let (what, reason) = (call.what(), format!("the answer is damaged: {error}"));
            let source = Some(Cause::from(Box::from(error)));
            (Error::Transport { what, reason, sent: true, source }, None)
        };
        if !status.is_success() {
            // Half of a refusal says less than none; what is no JSON is a proxy's.
            if text.starts_with('{') {
                serde_json::from_str::<serde::de::IgnoredAny>(&text).map_err(damaged)?;
            }
            let error = ApiError::of(&call.what(), status.as_u16(), &text);
            return Err((Error::Api(ApiError { clock_ahead, ..error }), after));
        }
        if text.trim().is_empty() || status == StatusCode::NO_CONTENT {
            return Ok(Answer { body: Value::Null, at });
        }
        let body: Value = serde_json::from_str(&text).map_err(damaged)?;
        if !body.is_object() {
            let reason = "the answer is no JSON object".into();
            return Err((Error::Unexpected { what: call.what(), reason, source: None }, None));
        }
        Ok(Answer { body, at })
    }

    /// All pages of a list, items concatenated.
    pub async fn list(&self, call: Call, items: &str) -> Result<Vec<Value>, Error> {
        let mut found = Vec::new();
        let mut page = None::<String>;
        for _ in 0..MOST_PAGES {
            let mut call = call.clone();
            if let Some(token) = page {
                call = call.query("pageToken", token);
            }
            let mut answer = self.call(&call).await?;
            if let Value::Array(more) = answer[items].take() {
                if !more.iter().all(Value::is_object) {
                    let reason = "an item of the list is no object".into();
                    return Err(Error::Unexpected { what: call.what(), reason, source: None });
                }
                found.extend(more);
            }
            match answer["nextPageToken"].as_str() {
                Some(token) if !token.is_empty() => page = Some(token.to_owned()),
                _ => return Ok(found),
            }
        }
        let reason = format!("a list without an end: {MOST_PAGES} pages were read");
        Err(Error::Unexpected { what: call.what(), reason, source: None })
    }

    /// The project as Resource Manager tells it.
    pub async fn described(&self) -> Result<Value, Error> {
        self.call(&self.project_itself()).await
    }

    /// The permissions of `wanted` that the caller lacks in the project.
    pub async fn lacking(&self, wanted: &[String]) -> Result<Vec<String>, Error> {
        /// `testIamPermissions` takes this many.
        const AT_ONCE: usize = 100;
        let project = self.project();
        let test = |wanted: &[String]| {
            let path = format!("v3/projects/{project}:testIamPermissions");
            Call::idempotent(Api::ResourceManager, Method::POST, path)
                .body(serde_json::json!({"permissions": wanted}))
        };
        let tests: Vec<Call> = wanted.chunks(AT_ONCE).map(test).collect();
        let answers = futures::future::try_join_all(tests.iter().map(|call| self.call(call))).await?;
        let granted: Vec<&str> = answers
            .iter()
            .flat_map(|answer| answer["permissions"].as_array().into_iter().flatten())
            .filter_map(Value::as_str)
            .collect();
        Ok(wanted.iter().filter(|name| !granted.contains(&name.as_str())).cloned().collect())
    }
}

/// A refusal before anything was done, whatever the method.
fn not_executed(error: &ApiError) -> bool {
    error.status == 429 || error.status == 403
}

/// Full jitter: anything up to the backoff, so that many callers spread out.
pub fn jitter(backoff: Duration) -> Duration {
    let most = backoff.as_millis().max(1) as u64;
    Duration::from_millis(rand::rng().random_range(1..=most))
}

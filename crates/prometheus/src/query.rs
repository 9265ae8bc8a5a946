//! The Prometheus query API of an endpoint: instant and range queries.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, reason = "numbers of others are computed with"))]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dorainfra_base::answer::{self, BodyError};
use dorainfra_base::error::Why;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use crate::remote_write::jitter;
use crate::{Target, TargetError, tls_failure};

/// Why a query was not answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("no TLS connection to the endpoint: {0}")]
    Tls(#[source] Why),
    #[error("the endpoint cannot be reached: {0}")]
    Unreachable(#[source] Why),
    #[error("the endpoint took a query and gave no answer within {0} s")]
    Silent(u64),
    #[error("something else than the endpoint answers at its address: {0}")]
    SomebodyElse(String),
    /// The query was understood, but costs more than the endpoint allows (422).
    #[error("the endpoint refused to execute a query: {0}")]
    TooMuch(String),
    #[error("the endpoint answered {status} to a query: {message}")]
    Refused { status: u16, message: String },
    #[error("the endpoint's answer cannot be read: {0}")]
    Unreadable(#[source] Why),
}

impl QueryError {
    pub fn hint(&self) -> String {
        match self {
            Self::Tls(_) => crate::TLS_HINT.into(),
            Self::Unreachable(_) => {
                "check `access.allow` (your address may have changed) and `dorainfra status`".into()
            }
            Self::SomebodyElse(_) => {
                "a proxy or a login stands in front of it: give the address of the query API itself".into()
            }
            Self::Refused { status: 401 | 403, .. } => "check `mimir.tenant`".into(),
            Self::Silent(_) | Self::TooMuch(_) | Self::Refused { .. } | Self::Unreadable(_) => {
                "`dorainfra status` shows the machine; its engine's log says more".into()
            }
        }
    }
}

/// A series at one instant.
#[derive(Debug, Deserialize)]
pub struct Instant {
    pub metric: BTreeMap<String, String>,
    /// Unix seconds, value.
    value: (f64, String),
}

impl Instant {
    pub fn value(&self) -> f64 {
        number(&self.value.1)
    }
}

/// A series' raw samples.
#[derive(Debug, Deserialize)]
pub struct Range {
    pub metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
    /// Of a series of native histograms, instead.
    #[serde(default)]
    histograms: Vec<(f64, StoredHistogram)>,
}

/// A native histogram.
#[derive(Debug, Deserialize)]
pub struct StoredHistogram {
    count: String,
    sum: String,
    /// Which bounds belong to it, both bounds, and its count; the empty ones are left out.
    #[serde(default)]
    buckets: Vec<(u8, String, String, String)>,
}

impl Range {
    /// Milliseconds since 1970 and value, in the order of time.
    pub fn samples(&self) -> impl Iterator<Item = (i64, f64)> + '_ {
        self.values.iter().map(|(seconds, value)| (to_milliseconds(*seconds), number(value)))
    }

    /// The same of native histograms.
    pub fn histograms(&self) -> impl Iterator<Item = (i64, &StoredHistogram)> {
        self.histograms.iter().map(|(seconds, histogram)| (to_milliseconds(*seconds), histogram))
    }
}

impl StoredHistogram {
    pub fn count(&self) -> f64 {
        number(&self.count)
    }

    pub fn sum(&self) -> f64 {
        number(&self.sum)
    }

    /// Upper bounds and counts. The upper bound of the bucket around zero is zero.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, f64)> {
        self.buckets.iter().map(|(_, lower, upper, count)| {
            let around_zero = number(lower) < 0.0 && number(upper) > 0.0;
            (if around_zero { 0.0 } else { number(upper) }, number(count))
        })
    }
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or(f64::NAN)
}

fn to_milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

/// How an endpoint that is no deployment of ours lets us in.
#[derive(Clone, Default)]
pub struct Access {
    /// Sent as `X-Scope-OrgID`.
    pub tenant: Option<String>,
    /// PEM; these authorities are trusted and no other. `None`: the system's.
    pub ca: Option<String>,
    /// Certificate and key, PEM.
    pub identity: Option<(String, String)>,
}

/// The query side of an endpoint.
#[derive(Clone, Debug)]
pub struct Query {
    http: reqwest::Client,
    url: String,
    tenant: Option<String>,
    places: Arc<Semaphore>,
    asked: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
}

const ATTEMPTS: u32 = 4;
/// How long one answer may take. Who did not answer for so long is not asked again.
const PATIENCE: Duration = Duration::from_secs(60);
/// Queries of one client that are answered at the same time. With [`answer::LARGE`], the
/// bound of the memory that an endpoint can make us take.
const AT_ONCE: usize = 8;

impl Query {
    pub fn new(target: &Target) -> Result<Self, TargetError> {
        Ok(Self {
            http: target.http_client()?,
            url: target.query_url("/api/v1"),
            tenant: target.tenant.clone(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            asked: Arc::default(),
            answered: Arc::default(),
        })
    }

    /// An endpoint that is no deployment of ours, by its address with the path
    /// before `/api/v1`: `https://mimir.example.com/prometheus`.
    ///
    /// # Errors
    /// An address that is none, credentials that cannot be used.
    pub fn at(url: &str, access: &Access) -> Result<Self, TargetError> {
        let address = |message: Why| TargetError::Address { url: url.into(), message };
        let parsed = reqwest::Url::parse(url).map_err(|error| address(Why::of(error)))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(address(format!("`{}` is neither http nor https", parsed.scheme()).into()));
        }
        let broken = |what| {
            move |error: reqwest::Error| TargetError::Credentials { what, message: Why::reason(error) }
        };
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("dorainfra/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .timeout(PATIENCE);
        if let Some(ca) = &access.ca {
            let authorities =
                reqwest::Certificate::from_pem_bundle(ca.as_bytes()).map_err(broken("CA certificate"))?;
            if authorities.is_empty() {
                let message = "it holds no certificate".into();
                return Err(TargetError::Credentials { what: "CA certificate", message });
            }
            builder = builder.tls_certs_only(authorities);
        }
        if let Some((certificate, key)) = &access.identity {
            let identity = reqwest::Identity::from_pem(format!("{certificate}\n{key}").as_bytes())
                .map_err(broken("certificate or key"))?;
            builder = builder.identity(identity);
        }
        let http = builder.build().map_err(|error| TargetError::Client(Why::reason(error)))?;
        let url = format!("{}/api/v1", url.trim_end_matches('/'));
        Ok(Self {
            http,
            url,
            tenant: access.tenant.clone(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            asked: Arc::default(),
            answered: Arc::default(),
        })
    }

    /// Queries that have been asked by now; one that is tried again is one.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// How many of these have been answered.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// The client, for requests outside of the query API.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// `T` is [`Instant`] or, for a range selector, [`Range`]. `at`: milliseconds
    /// since 1970; `None`: the endpoint's now. What may pass is tried again.
    pub async fn instant<T: DeserializeOwned>(
        &self,
        expression: &str,
        at: Option<i64>,
    ) -> Result<Vec<T>, QueryError> {
        let time: Vec<_> = at.map(|at| ("time", milliseconds(at))).into_iter().collect();
        self.ask("query", form(expression, &time)).await
    }

    /// The values of an expression at `start`, each `step` later and at most at
    /// `end`: milliseconds since 1970, all three.
    pub async fn range(
        &self,
        expression: &str,
        start: i64,
        end: i64,
        step: i64,
    ) -> Result<Vec<Range>, QueryError> {
        let times = [("start", start), ("end", end), ("step", step)];
        self.ask("query_range", form(expression, &times.map(|(name, at)| (name, milliseconds(at))))).await
    }

    async fn ask<T: DeserializeOwned>(&self, route: &str, body: String) -> Result<Vec<T>, QueryError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut attempt: u32 = 0;
        loop {
            let error = match self.attempt(route, &body).await {
                Ok(result) => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    return Ok(result);
                }
                Err(error) => error,
            };
            let passes = match &error {
                QueryError::Unreachable(_) => true,
                QueryError::Refused { status, .. } => *status == 429 || *status >= 500,
                _ => false,
            };
            attempt = attempt.saturating_add(1);
            if !passes || attempt == ATTEMPTS {
                return Err(error);
            }
            tokio::time::sleep(jitter(Duration::from_millis(200), attempt, Duration::from_secs(3))).await;
        }
    }

    async fn attempt<T: DeserializeOwned>(&self, route: &str, body: &str) -> Result<Vec<T>, QueryError> {
        let mut request = self
            .http
            .post(format!("{}/{route}", self.url))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(body.to_owned());
        if let Some(tenant) = &self.tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        // Nobody closes it.
        let _place = self.places.acquire().await;
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status().as_u16();
        if let Some(message) = answer::of_somebody_else(&response) {
            return Err(QueryError::SomebodyElse(message));
        }
        let bytes = answer::body(response, answer::LARGE).await.map_err(|error| match error {
            BodyError::Lost(error) => unreachable(error),
            too_large @ BodyError::TooLarge(_) => QueryError::Unreadable(Why::of(too_large)),
        })?;
        if status != 200 {
            let message = match serde_json::from_slice::<Refusal>(&bytes) {
                Ok(refusal) => refusal.error,
                Err(_) => String::from_utf8_lossy(&bytes).trim().chars().take(500).collect(),
            };
            return Err(match status {
                422 => QueryError::TooMuch(message),
                _ => QueryError::Refused { status, message },
            });
        }
        let answer: Answer<T> =
            serde_json::from_slice(&bytes).map_err(|error| QueryError::Unreadable(Why::of(error)))?;
        Ok(answer.data.result)
    }
}

fn unreachable(error: reqwest::Error) -> QueryError {
    match tls_failure(&error) {
        Some(message) => QueryError::Tls(Why::said(message, error)),
        None if error.is_timeout() && !error.is_connect() => QueryError::Silent(PATIENCE.as_secs()),
        None => QueryError::Unreachable(Why::reason(error)),
    }
}

/// The body of a form: queries outgrow what a URL may hold.
fn form(expression: &str, more: &[(&str, String)]) -> String {
    let mut url = reqwest::Url::parse("form:").expect("a constant");
    let mut pairs = url.query_pairs_mut();
    pairs.append_pair("query", expression).extend_pairs(more);
    drop(pairs);
    url.query().unwrap_or_default().to_owned()
}

/// As the API takes times and steps: seconds, to the millisecond.
fn milliseconds(at: i64) -> String {
    format!("{}.{:03}", at.div_euclid(1000), at.rem_euclid(1000))
}

#[derive(Deserialize)]
struct Answer<T> {
    data: Data<T>,
}

#[derive(Deserialize)]
struct Data<T> {
    result: Vec<T>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzzed_answers_are_told_or_read() {
        dorainfra_testutils::fuzzing::five_seconds("query-answers", |input| {
            let Ok(answer) = serde_json::from_slice::<Answer<Range>>(input) else { return };
            for range in answer.data.result {
                let samples: Vec<_> = range.samples().collect();
                let histograms: Vec<_> = range.histograms().map(|(at, one)| (at, one.count())).collect();
                let _ = format!("{samples:?} {histograms:?} {}", milliseconds(i64::MIN));
            }
        });
    }

    #[test]
    fn forms_are_encoded_and_times_exact() {
        assert_eq!(
            form(r#"a{b="c d"}[5ms]"#, &[("time", milliseconds(1_740_873_600_007))]),
            "query=a%7Bb%3D%22c+d%22%7D%5B5ms%5D&time=1740873600.007"
        );
        assert_eq!(form("up", &[]), "query=up");
    }

    #[test]
    fn raw_samples_keep_their_milliseconds() {
        let text = r#"{"metric":{"team":"a"},"values":[[1740873600.007,"0.125"],[1740960000,"NaN"]]}"#;
        let range: Range = serde_json::from_str(text).unwrap();
        let samples: Vec<_> = range.samples().collect();
        assert_eq!(samples[0], (1_740_873_600_007, 0.125));
        assert!(samples[1].0 == 1_740_960_000_000 && samples[1].1.is_nan());
    }
}

//! A client of the Pushgateway's API, as much of it as is needed: replace a
//! group, delete it, and list what there is.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dorainfra_base::answer::{self, BodyError};
use dorainfra_base::error::Why;
use serde::Deserialize;

/// Why a call to the Pushgateway failed.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("the Pushgateway at {url} cannot be reached: {source}")]
    Unreachable { url: String, source: reqwest::Error },
    #[error("the Pushgateway at {url} refused group {group}: {status} {message}")]
    Refused { url: String, group: String, status: u16, message: String },
    #[error("the Pushgateway at {url} gave an answer that cannot be read: {message}")]
    Unreadable {
        url: String,
        #[source]
        message: Why,
    },
    #[error("`{url}` is not the address of a Pushgateway: {message}")]
    Address {
        url: String,
        #[source]
        message: Why,
    },
}

impl GatewayError {
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreachable { .. } => {
                "start the collector stack with `dorainfra stack up`, or name the Pushgateway's address"
                    .into()
            }
            Self::Refused { status: 400, .. } => {
                "another program pushed a metric of the same name and another type: delete its group, or \
                 restart the Pushgateway"
                    .into()
            }
            Self::Refused { .. } | Self::Unreadable { .. } => {
                "check that a Pushgateway answers at this address, and its log".into()
            }
            Self::Address { .. } => "give it as http://127.0.0.1:9091".into(),
        })
    }
}

/// One group: `job` and further labels, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group(Vec<(String, String)>);

impl Group {
    pub fn job(job: &str) -> Self {
        Self(vec![("job".into(), job.into())])
    }

    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.0.push((name.into(), value.into()));
        self
    }

    /// The path under `/metrics`. A value that is not plain is sent in base64:
    /// percent signs do not survive every proxy, and `/` not even the route.
    fn path(&self) -> String {
        let mut path = String::from("metrics");
        for (name, value) in &self.0 {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            path.push('/');
            path.push_str(name);
            // `.` and `..` would be taken for steps of the path.
            if !value.is_empty() && value.chars().all(plain) && !value.chars().all(|c| c == '.') {
                path.push('/');
                path.push_str(value);
            } else {
                path.push_str("@base64/");
                match value.as_str() {
                    "" => path.push('='),
                    value => path.push_str(&URL_SAFE_NO_PAD.encode(value)),
                }
            }
        }
        path
    }
}

/// A group as the Pushgateway lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    pub labels: BTreeMap<String, String>,
    /// When it was pushed last, Unix seconds.
    pub pushed: Option<f64>,
}

/// A client of one Pushgateway.
#[derive(Clone, Debug)]
pub struct Gateway {
    http: reqwest::Client,
    base: String,
}

impl Gateway {
    /// `url`: `http://127.0.0.1:9091`, with or without a path.
    pub fn new(url: &str) -> Result<Self, GatewayError> {
        let address = |message: Why| GatewayError::Address { url: url.into(), message };
        let parsed = reqwest::Url::parse(url).map_err(|error| address(Why::of(error)))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(address(format!("`{}` is neither http nor https", parsed.scheme()).into()));
        }
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(3))
            .timeout(Duration::from_secs(10))
            .build()
            .map_err(|error| address(Why::reason(error)))?;
        Ok(Self { http, base: url.trim_end_matches('/').to_owned() })
    }

    pub fn url(&self) -> &str {
        &self.base
    }

    /// Replaces all metrics of a group.
    pub async fn put(&self, group: &Group, exposition: impl Into<reqwest::Body>) -> Result<(), GatewayError> {
        let request = self.http.put(self.address(group)).body(exposition);
        self.send(request.header("content-type", "text/plain; version=0.0.4"), group).await
    }

    /// Deletes a group; one that is not there is no error.
    pub async fn delete(&self, group: &Group) -> Result<(), GatewayError> {
        self.send(self.http.delete(self.address(group)), group).await
    }

    /// All groups, with the time of their last push.
    pub async fn groups(&self) -> Result<Vec<Listed>, GatewayError> {
        let url = format!("{}/api/v1/metrics", self.base);
        let response = self.http.get(url).send().await.map_err(|source| self.unreachable(source))?;
        let status = response.status();
        let body = self.body(response).await?;
        let unreadable = |message: Why| GatewayError::Unreadable { url: self.base.clone(), message };
        if !status.is_success() {
            return Err(unreadable(status.to_string().into()));
        }
        let answer: Answer = serde_json::from_slice(&body).map_err(|error| unreadable(Why::of(error)))?;
        Ok(answer
            .data
            .into_iter()
            .map(|group| Listed {
                pushed: group
                    .push_time_seconds
                    .and_then(|family| family.metrics.into_iter().next())
                    .and_then(|metric| metric.value.parse().ok()),
                labels: group.labels,
            })
            .collect())
    }

    async fn body(&self, response: reqwest::Response) -> Result<bytes::Bytes, GatewayError> {
        answer::body(response, answer::LARGE).await.map_err(|error| match error {
            BodyError::Lost(source) => self.unreachable(source),
            BodyError::TooLarge(_) => {
                GatewayError::Unreadable { url: self.base.clone(), message: Why::of(error) }
            }
        })
    }

    /// Whether it says of itself that it is ready.
    pub async fn ready(&self) -> bool {
        let answer = self.http.get(format!("{}/-/ready", self.base)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    fn address(&self, group: &Group) -> String {
        format!("{}/{}", self.base, group.path())
    }

    async fn send(&self, request: reqwest::RequestBuilder, group: &Group) -> Result<(), GatewayError> {
        let response = request.send().await.map_err(|source| self.unreachable(source))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let message = answer::words(response, 1000).await;
        Err(GatewayError::Refused {
            url: self.base.clone(),
            group: group.path().trim_start_matches("metrics/").to_owned(),
            status: status.as_u16(),
            message: message.trim().chars().take(500).collect(),
        })
    }

    fn unreachable(&self, source: reqwest::Error) -> GatewayError {
        GatewayError::Unreachable { url: self.base.clone(), source: source.without_url() }
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    data: Vec<AnsweredGroup>,
}

#[derive(Deserialize)]
struct AnsweredGroup {
    labels: BTreeMap<String, String>,
    push_time_seconds: Option<Family>,
}

#[derive(Deserialize)]
struct Family {
    metrics: Vec<Metric>,
}

#[derive(Deserialize)]
struct Metric {
    value: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values_stay_readable_and_others_are_encoded() {
        let path = |team: &str| Group::job("dora").label("team", team).path();
        assert_eq!(path("api-gateway"), "metrics/job/dora/team/api-gateway");
        assert_eq!(path("a/b"), "metrics/job/dora/team@base64/YS9i");
        assert_eq!(path("Zoë & co"), "metrics/job/dora/team@base64/Wm_DqyAmIGNv");
        assert_eq!(path(""), "metrics/job/dora/team@base64/=");
        assert_eq!(path(".."), "metrics/job/dora/team@base64/Li4");
    }

    #[test]
    fn an_address_that_is_none_is_named() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let error = Gateway::new("127.0.0.1:9091").unwrap_err();
        assert!(error.to_string().contains("127.0.0.1:9091"), "{error}");
        assert!(error.hint().is_some());
    }
}

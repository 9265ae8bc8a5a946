//! Mimir's own API for rule groups and for the alertmanager's configuration. Bodies
//! are YAML; what is written may be JSON, which is YAML.

use std::sync::Arc;
use std::time::Duration;

use dorainfra_base::answer::{self, BodyError};
use dorainfra_base::error::{Cause, reason};
use dorainfra_engine::ProviderError;
use dorainfra_prometheus::{Target, TargetError, tls_failure};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Our own namespace in the ruler: every group in it is ours, no other is touched.
pub(super) const NAMESPACE: &str = "dorainfra";

/// How often a call is made that gets no answer, or one that may pass.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(300);

/// Why Mimir did not do or tell something.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum MimirError {
    #[error("Mimir at {at} cannot be reached from here: {reason}")]
    Unreachable { at: String, reason: String, sent: bool, source: Cause },
    #[error("Mimir at {at} accepted a request, but did not answer in time")]
    Silent { at: String },
    #[error("no TLS connection to Mimir at {at}: {reason}")]
    Tls { at: String, reason: String, source: Cause },
    #[error("Mimir refused to {what}: {message} (HTTP {status})")]
    Refused { what: String, status: u16, message: String },
    #[error("Mimir's answer to {what} cannot be read")]
    Unreadable { what: String },
    #[error(transparent)]
    Client(Arc<TargetError>),
}

impl From<TargetError> for MimirError {
    fn from(error: TargetError) -> Self {
        Self::Client(Arc::new(error))
    }
}

impl MimirError {
    /// For people. `unreachable`: what to do where the port cannot be reached.
    pub fn told(self, unreachable: &str) -> ProviderError {
        let hint = match &self {
            Self::Unreachable { .. } => Some(unreachable.to_owned()),
            Self::Tls { .. } => Some(
                "`dorainfra credentials list` shows the certificates; `dorainfra status` the machine".into(),
            ),
            Self::Refused { status: 400, .. } => {
                Some("fix what it complains of, and run the command again".into())
            }
            // The way is open: it is the machine that is slow.
            Self::Silent { .. } | Self::Refused { .. } | Self::Unreadable { .. } => {
                Some("`dorainfra status` shows the machine; its engine's log says more".into())
            }
            Self::Client(_) => None,
        };
        let unknown_outcome = match &self {
            Self::Unreachable { sent, .. } => *sent,
            Self::Silent { .. } => true,
            Self::Refused { status, .. } => *status >= 500,
            _ => false,
        };
        ProviderError { message: self.to_string(), hint, unknown_outcome, source: Some(Arc::new(self)) }
    }
}

/// The alertmanager's configuration as Mimir keeps it.
#[derive(Deserialize)]
struct Stored {
    alertmanager_config: String,
}

/// A connection to one Mimir.
#[derive(Clone, Debug)]
pub(super) struct MimirApi {
    http: reqwest::Client,
    target: Target,
}

impl MimirApi {
    pub fn new(target: Target) -> Result<Self, MimirError> {
        Ok(Self { http: target.http_client()?, target })
    }

    fn at(&self) -> String {
        self.target.connect.to_string()
    }

    /// Whether it takes requests.
    pub async fn ready(&self) -> Result<(), MimirError> {
        let (status, text) = self.once(Method::GET, &self.target.ready_url(), None).await?;
        match status.is_success() {
            true => Ok(()),
            false => Err(refused("serve", status, &text)),
        }
    }

    /// All groups in our namespace. One that has no ruler has none.
    pub async fn groups(&self) -> Result<Vec<Value>, MimirError> {
        let what = "list its rule groups";
        let Some(text) = self.get(what, &self.rules_url(None)).await? else { return Ok(Vec::new()) };
        let mut namespaces: Map<String, Value> = read(what, &text)?;
        match namespaces.remove(NAMESPACE) {
            Some(Value::Array(groups)) => Ok(groups),
            _ => Ok(Vec::new()),
        }
    }

    pub async fn group(&self, name: &str) -> Result<Option<Value>, MimirError> {
        let what = format!("show the rule group {name}");
        match self.get(&what, &self.rules_url(Some(name))).await? {
            Some(text) => Ok(Some(read(&what, &text)?)),
            None => Ok(None),
        }
    }

    /// Makes the group, or replaces it.
    pub async fn put_group(&self, name: &str, group: &Value) -> Result<(), MimirError> {
        let what = format!("take the rule group {name}");
        self.write(&what, Method::POST, &self.rules_url(None), Some(group)).await
    }

    /// Already gone is success.
    pub async fn delete_group(&self, name: &str) -> Result<(), MimirError> {
        let what = format!("delete the rule group {name}");
        self.write(&what, Method::DELETE, &self.rules_url(Some(name)), None).await
    }

    /// The text of the alertmanager's configuration.
    pub async fn alertmanager(&self) -> Result<Option<String>, MimirError> {
        let what = "show the alertmanager's configuration";
        match self.get(what, &self.alerts_url()).await? {
            Some(text) => Ok(Some(read::<Stored>(what, &text)?.alertmanager_config)),
            None => Ok(None),
        }
    }

    pub async fn put_alertmanager(&self, text: &str) -> Result<(), MimirError> {
        let body = json!({"alertmanager_config": text, "template_files": {}});
        let what = "take the alertmanager's configuration";
        let written = self.write(what, Method::POST, &self.alerts_url(), Some(&body)).await;
        written.map_err(|error| match error {
            MimirError::Refused { what, status, message } => {
                MimirError::Refused { what, status, message: without_quotations(&message) }
            }
            other => other,
        })
    }

    pub async fn delete_alertmanager(&self) -> Result<(), MimirError> {
        self.write("delete the alertmanager's configuration", Method::DELETE, &self.alerts_url(), None).await
    }

    fn rules_url(&self, group: Option<&str>) -> String {
        let url = self.target.query_url(&format!("/config/v1/rules/{NAMESPACE}"));
        match group {
            // Names may hold what means something in a path.
            Some(name) => format!("{url}/{}", dorainfra_gcp::encoded(name)),
            None => url,
        }
    }

    fn alerts_url(&self) -> String {
        format!("{}/api/v1/alerts", self.target.base_url.trim_end_matches('/'))
    }

    /// `None` where there is no such thing.
    async fn get(&self, what: &str, url: &str) -> Result<Option<String>, MimirError> {
        let (status, text) = self.call(Method::GET, url, None).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(text)),
            status => Err(refused(what, status, &text)),
        }
    }

    async fn write(
        &self,
        what: &str,
        method: Method,
        url: &str,
        body: Option<&Value>,
    ) -> Result<(), MimirError> {
        let gone = method == Method::DELETE;
        let (status, text) = self.call(method, url, body).await?;
        match status.is_success() || (gone && status == StatusCode::NOT_FOUND) {
            true => Ok(()),
            false => Err(refused(what, status, &text)),
        }
    }

    /// Every call may be made again: what is written is written whole.
    async fn call(
        &self,
        method: Method,
        url: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, String), MimirError> {
        let mut attempt = 1;
        loop {
            let answer = self.once(method.clone(), url, body).await;
            let passes = match &answer {
                // A port that answers nothing at all is not asked four times.
                Err(MimirError::Silent { .. }) => false,
                Err(MimirError::Unreachable { reason, .. }) => !reason.contains("timed out"),
                Err(_) => false,
                Ok((status, _)) => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            };
            if !passes || attempt == ATTEMPTS {
                return answer;
            }
            tokio::time::sleep(PAUSE * attempt).await;
            attempt += 1;
        }
    }

    async fn once(
        &self,
        method: Method,
        url: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, String), MimirError> {
        let unreachable = |error: reqwest::Error| match tls_failure(&error) {
            Some(reason) => MimirError::Tls { at: self.at(), reason, source: Arc::new(error) },
            None if error.is_timeout() && !error.is_connect() => MimirError::Silent { at: self.at() },
            None => {
                let (at, sent, reason) = (self.at(), !error.is_connect(), reason(&error));
                MimirError::Unreachable { at, sent, reason, source: Arc::new(error) }
            }
        };
        let mut request = self.http.request(method, url);
        if let Some(tenant) = &self.target.tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        if let Some(body) = body {
            request = request.header("Content-Type", "application/yaml").body(body.to_string());
        }
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let text = answer::text(response).await.map_err(|error| match error {
            BodyError::Lost(error) => unreachable(error),
            BodyError::TooLarge(_) => {
                let (at, reason) = (self.at(), error.to_string());
                MimirError::Unreachable { at, sent: true, reason, source: Arc::new(error) }
            }
        })?;
        Ok((status, text))
    }
}

fn refused(what: &str, status: StatusCode, text: &str) -> MimirError {
    let message = text.trim().chars().take(500).collect();
    MimirError::Refused { what: what.into(), status: status.as_u16(), message }
}

/// What a parser says may quote what it parsed, which may be a secret: it is not
/// passed on.
fn read<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T, MimirError> {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|_| MimirError::Unreadable { what: format!("\"{what}\"") })
}

/// A message about a file with secrets in it may quote one: in double quotes, in
/// backticks, or as an address.
fn without_quotations(message: &str) -> String {
    let mut told = String::with_capacity(message.len());
    let mut open: Option<char> = None;
    for c in message.chars() {
        match open {
            Some(quote) if c == quote => {
                open = None;
                told.push(c);
            }
            Some(_) => {}
            None if matches!(c, '"' | '`' | '\'') => {
                open = Some(c);
                told.push(c);
                told.push('…');
            }
            None => told.push(c),
        }
    }
    let words = told.split(' ').map(|word| if word.contains("://") { "…" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mimir_quotes_of_a_secret_file_is_left_out() {
        for (message, told) in [
            (r#"undefined receiver "b" used in route"#, r#"undefined receiver "…" used in route"#),
            ("cannot unmarshal !!str `https:/...` into int", "cannot unmarshal !!str `…` into int"),
            ("parse https://hooks/s3cret : no", "parse … : no"),
            (r#"unclosed "s3cret"#, r#"unclosed "…"#),
        ] {
            assert_eq!(without_quotations(message), told);
        }
    }
}

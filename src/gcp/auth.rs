//! Tokens: from a key file, or from wherever Google's tools would look.

use std::path::Path;
use std::sync::Arc;

use gcp_auth::{CustomServiceAccount, TokenProvider};
use google_cloud_auth::credentials::{self, AccessTokenCredentials};
use serde_json::Value;
use tokio::sync::{Mutex, OnceCell};

use super::Error;

const SCOPES: &[&str] = &["https://www.googleapis.com/auth/cloud-platform"];

/// Where tokens come from; found at the first use, so that what needs no call
/// needs no credentials.
pub struct Auth {
    key_file: Option<std::path::PathBuf>,
    source: OnceCell<Source>,
    /// Held while a token is asked for: the libraries cache it, but would let
    /// everybody who comes before the first answer ask for one of his own.
    asking: Mutex<()>,
}

#[derive(Clone)]
enum Source {
    Provider(Arc<dyn TokenProvider>),
    /// Files of types that gcp_auth does not read (CI's usual way).
    Federated(AccessTokenCredentials),
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("key_file", &self.key_file).finish_non_exhaustive()
    }
}

impl Auth {
    pub fn new(key_file: Option<std::path::PathBuf>) -> Self {
        Self { key_file, source: OnceCell::new(), asking: Mutex::new(()) }
    }

    /// A valid access token. Cached until it expires; concurrent callers share one fetch.
    pub async fn token(&self) -> Result<String, Error> {
        let _asking = self.asking.lock().await;
        match self.source.get_or_try_init(|| find(self.key_file.as_deref())).await? {
            Source::Provider(provider) => {
                let token =
                    provider.token(SCOPES).await.map_err(|error| Error::Credentials(chain(&error)))?;
                Ok(token.as_str().to_owned())
            }
            Source::Federated(credentials) => {
                let token =
                    credentials.access_token().await.map_err(|error| Error::Credentials(chain(&error)))?;
                Ok(token.token)
            }
        }
    }
}

async fn find(key_file: Option<&Path>) -> Result<Source, Error> {
    let Some(path) = key_file else {
        return gcp_auth::provider()
            .await
            .map(Source::Provider)
            .map_err(|error| Error::Credentials(chain(&error)));
    };
    let fails = |reason: String| Error::Credentials(format!("{}: {reason}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| fails(error.to_string()))?;
    let file: Value = serde_json::from_str(&text).map_err(|_| fails("not a credentials file".into()))?;
    match file["type"].as_str() {
        Some("external_account") => credentials::external_account::Builder::new(file)
            .with_scopes(SCOPES.iter().copied())
            .build_access_token_credentials()
            .map(Source::Federated)
            .map_err(|error| fails(chain(&error))),
        Some("impersonated_service_account") => credentials::impersonated::Builder::new(file)
            .with_scopes(SCOPES.iter().copied())
            .build_access_token_credentials()
            .map(Source::Federated)
            .map_err(|error| fails(chain(&error))),
        Some("authorized_user") => credentials::user_account::Builder::new(file)
            .with_scopes(SCOPES.iter().copied())
            .build_access_token_credentials()
            .map(Source::Federated)
            .map_err(|error| fails(chain(&error))),
        _ => CustomServiceAccount::from_json(&text)
            .map(|account| Source::Provider(Arc::new(account)))
            .map_err(|error| fails(chain(&error))),
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

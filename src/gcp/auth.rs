//! Tokens: from a key file, or from wherever Google's tools would look.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gcp_auth::{CustomServiceAccount, TokenProvider};
use google_cloud_auth::credentials::{self, AccessTokenCredentials};
use serde_json::Value;
use tokio::sync::Mutex;

use super::Error;

const SCOPES: &[&str] = &["https://www.googleapis.com/auth/cloud-platform"];

/// Where tokens come from; found at the first use, so that what needs no call
/// needs no credentials.
pub struct Auth {
    key_file: Option<PathBuf>,
    person: bool,
    project: String,
    /// Held while a token is asked for: the libraries cache it, but would let
    /// everybody who comes before the first answer ask for one of his own.
    source: Mutex<Option<Source>>,
}

/// What a request carries.
#[derive(Clone)]
pub struct Token {
    pub value: String,
    /// `x-goog-user-project`: whose quota the call counts against. Several APIs
    /// refuse end users' credentials that come without one.
    pub quota_project: Option<String>,
}

struct Source {
    tokens: Tokens,
    quota_project: Option<String>,
}

enum Tokens {
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
    /// `person`: the metadata server's tokens are somebody's, not a machine's.
    /// `project`: the one that people's calls count against. Their credentials may name
    /// another (`quota_project_id`), and then whether an API is enabled would be asked of
    /// that one.
    pub fn new(key_file: Option<PathBuf>, person: bool, project: &str) -> Self {
        Self { key_file, person, project: project.to_owned(), source: Mutex::new(None) }
    }

    /// A valid access token. Cached until it expires; concurrent callers share one fetch.
    pub async fn token(&self) -> Result<Token, Error> {
        let mut source = self.source.lock().await;
        let source = match &mut *source {
            Some(source) => source,
            empty => empty.insert(find(self.key_file.as_deref(), self.person, &self.project).await?),
        };
        Ok(Token { value: source.tokens.get().await?, quota_project: source.quota_project.clone() })
    }

    /// Forgets a token that was refused although its time was not over (a key
    /// replaced, a session revoked): the next one is asked for anew.
    pub async fn refused(&self, token: &Token) {
        let mut source = self.source.lock().await;
        let same = match &*source {
            Some(source) => source.tokens.get().await.is_ok_and(|value| value == token.value),
            None => false,
        };
        if same {
            *source = None;
        }
    }
}

impl Tokens {
    async fn get(&self) -> Result<String, Error> {
        match self {
            Self::Provider(provider) => {
                provider.token(SCOPES).await.map(|token| token.as_str().to_owned()).map_err(fails)
            }
            Self::Federated(credentials) => {
                credentials.access_token().await.map(|token| token.token).map_err(fails)
            }
        }
    }
}

/// The order of Google's tools: a file, the machine's own identity, gcloud's user.
async fn find(key_file: Option<&Path>, person: bool, project: &str) -> Result<Source, Error> {
    if let Some(path) = key_file {
        return from_file(path, project);
    }
    match gcp_auth::MetadataServiceAccount::new().await {
        Ok(account) => {
            let quota_project = person.then(|| project.to_owned());
            Ok(Source { tokens: Tokens::Provider(Arc::new(account)), quota_project })
        }
        Err(_) => match gcp_auth::GCloudAuthorizedUser::new().await {
            Ok(user) => {
                let quota_project = Some(project.to_owned());
                Ok(Source { tokens: Tokens::Provider(Arc::new(user)), quota_project })
            }
            Err(_) => Err(Error::Credentials(
                "GOOGLE_APPLICATION_CREDENTIALS is not set, there are no application default \
                 credentials, this is no machine of Google's, and gcloud has no user"
                    .into(),
            )),
        },
    }
}

fn from_file(path: &Path, project: &str) -> Result<Source, Error> {
    let fails = |reason: String| Error::Credentials(format!("{}: {reason}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| fails(error.to_string()))?;
    let file: Value = serde_json::from_str(&text).map_err(|_| fails("not a credentials file".into()))?;
    // Whoever signs in through a workforce pool is a person, too.
    let person = file["type"] == "authorized_user" || !file["workforce_pool_user_project"].is_null();
    let quota_project = person.then(|| project.to_owned());
    let scopes = SCOPES.iter().copied();
    let federated = match file["type"].as_str() {
        Some("external_account") => credentials::external_account::Builder::new(file)
            .with_scopes(scopes)
            .build_access_token_credentials(),
        Some("impersonated_service_account") => {
            credentials::impersonated::Builder::new(file).with_scopes(scopes).build_access_token_credentials()
        }
        Some("authorized_user") => {
            credentials::user_account::Builder::new(file).with_scopes(scopes).build_access_token_credentials()
        }
        _ => {
            let account = CustomServiceAccount::from_json(&text).map_err(|error| fails(chain(&error)))?;
            return Ok(Source { tokens: Tokens::Provider(Arc::new(account)), quota_project });
        }
    };
    let federated = federated.map_err(|error| fails(chain(&error)))?;
    Ok(Source { tokens: Tokens::Federated(federated), quota_project })
}

fn fails(error: impl std::error::Error) -> Error {
    Error::Credentials(chain(&error))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn quota_project(file: &str) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        std::fs::write(&path, file).unwrap();
        from_file(&path, "acme").unwrap().quota_project
    }

    // The builder of user credentials wants a runtime.
    #[tokio::test]
    async fn an_end_users_calls_count_against_a_project() {
        let user = r#""type":"authorized_user","client_id":"c","client_secret":"s","refresh_token":"r""#;
        assert_eq!(quota_project(&format!("{{{user}}}")).as_deref(), Some("acme"));
        let named = format!(r#"{{{user},"quota_project_id":"billing"}}"#);
        assert_eq!(
            quota_project(&named).as_deref(),
            Some("acme"),
            "another project's services do not matter"
        );
    }

    #[test]
    fn a_file_that_is_none_is_told_by_its_path_and_without_its_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        std::fs::write(&path, "private stuff").unwrap();
        let Err(error) = from_file(&path, "acme") else { panic!("accepted") };
        let text = error.to_string();
        assert!(text.contains("key.json: not a credentials file"), "{text}");
        assert!(!text.contains("private"));
    }
}

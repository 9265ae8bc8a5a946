//! Tokens: from a key file, or from wherever Google's tools would look.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dorainfra_base::error::Why;
use gcp_auth::TokenProvider;
use google_cloud_auth::credentials::{self, AccessTokenCredentials, service_account::AccessSpecifier};
use serde_json::Value;
use tokio::sync::Mutex;

use super::Error;
use super::identity::{self, Identity};

const SCOPES: &[&str] = &["https://www.googleapis.com/auth/cloud-platform"];

/// Where tokens come from; found at the first use, so that what needs no call
/// needs no credentials.
pub struct Auth {
    key_file: Option<PathBuf>,
    person: bool,
    gcloud: bool,
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
    /// As far as it is known without a call.
    identity: Identity,
}

enum Tokens {
    /// A machine's own, or gcloud's: no call of these goes through a proxy.
    Local(Arc<dyn TokenProvider>),
    /// A file's. The key of a service account signs its tokens here; what has to be
    /// asked for goes where the environment says (`HTTPS_PROXY`, `NO_PROXY`).
    File {
        credentials: AccessTokenCredentials,
        path: PathBuf,
        /// Where it says that the identity of somebody else's is to be found.
        subject: Option<PathBuf>,
    },
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("key_file", &self.key_file).finish_non_exhaustive()
    }
}

impl Auth {
    /// `person`: the metadata server's tokens are somebody's, not a machine's.
    /// `gcloud`: it may have a user; where it has none, its start is a second of nothing.
    /// `project`: the one that people's calls count against. Their credentials may name
    /// another (`quota_project_id`), and then whether an API is enabled would be asked of
    /// that one.
    pub fn new(key_file: Option<PathBuf>, person: bool, gcloud: bool, project: &str) -> Self {
        Self { key_file, person, gcloud, project: project.to_owned(), source: Mutex::new(None) }
    }

    /// A valid access token. Cached until it expires; concurrent callers share one fetch.
    pub async fn token(&self) -> Result<Token, Error> {
        let mut source = self.source.lock().await;
        let source = match &mut *source {
            Some(source) => source,
            empty => empty.insert(self.find().await?),
        };
        Ok(Token { value: source.tokens.get().await?, quota_project: source.quota_project.clone() })
    }

    /// The order of Google's tools: a file, the machine's own identity, gcloud's user.
    async fn find(&self) -> Result<Source, Error> {
        let project = self.project.as_str();
        if let Some(path) = &self.key_file {
            return from_file(path, project);
        }
        // Elsewhere its name is found by nobody, or its address takes no connection: which of both is known
        // before the library, which tries for as long as the system does, is let at it.
        if let Some(account) = identity::of_metadata(identity::METADATA).await
            && let Ok(metadata) = gcp_auth::MetadataServiceAccount::new().await
        {
            let quota_project = self.person.then(|| project.to_owned());
            let source = if self.person { "Cloud Shell" } else { "the metadata server" };
            let identity =
                Identity { account, person: self.person, source: source.into(), ..Identity::default() };
            return Ok(Source { tokens: Tokens::Local(Arc::new(metadata)), quota_project, identity });
        }
        if self.gcloud
            && let Ok(user) = gcp_auth::GCloudAuthorizedUser::new().await
        {
            let quota_project = Some(project.to_owned());
            let identity = Identity { person: true, source: "gcloud's user".into(), ..Identity::default() };
            return Ok(Source { tokens: Tokens::Local(Arc::new(user)), quota_project, identity });
        }
        Err(Error::Credentials(
            "GOOGLE_APPLICATION_CREDENTIALS is not set, there are no application default \
             credentials, this is not a Google Cloud machine, and gcloud has no user"
                .into(),
        ))
    }

    /// Whose credentials these are, and until when the present token is good.
    ///
    /// # Errors
    /// There are none, or they give no token.
    pub async fn identity(&self) -> Result<Identity, Error> {
        let token = self.token().await?;
        let source = self.source.lock().await;
        let mut identity = source.as_ref().map(|source| source.identity.clone()).unwrap_or_default();
        if let Some(Source { tokens: Tokens::Local(provider), .. }) = &*source {
            let present = provider.token(SCOPES).await.map_err(fails)?;
            identity.until = time::OffsetDateTime::from_unix_timestamp(present.expires_at().timestamp()).ok();
        }
        drop(source);
        identity.complete(&token.value).await;
        Ok(identity)
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
            Self::Local(provider) => {
                provider.token(SCOPES).await.map(|token| token.as_str().to_owned()).map_err(fails)
            }
            Self::File { credentials, path, subject } => {
                let token = credentials.access_token().await;
                token.map(|token| token.token).map_err(|error| {
                    let missing = subject.as_deref().filter(|subject| !subject.is_file());
                    let why = match missing {
                        Some(subject) => {
                            let words = format!("its `credential_source` is missing: {}", subject.display());
                            Why::said(words, error)
                        }
                        None => Why::reason(error),
                    };
                    Error::Credentials(why.after(&path.display().to_string()))
                })
            }
        }
    }
}

fn from_file(path: &Path, project: &str) -> Result<Source, Error> {
    let fails = |why: Why| Error::Credentials(why.after(&path.display().to_string()));
    let text = dorainfra_base::file::text(path).map_err(|error| fails(Why::of(error)))?;
    // What the parser says may quote a secret.
    let file: Value = serde_json::from_str(&text).map_err(|_| fails("not a credentials file".into()))?;
    // Whoever signs in through a workforce pool is a person, too.
    let person = file["type"] == "authorized_user" || !file["workforce_pool_user_project"].is_null();
    let quota_project = person.then(|| project.to_owned());
    let subject = file["credential_source"]["file"].as_str().map(PathBuf::from);
    let identity = Identity::of_file(path, &file, person);
    let scopes = SCOPES.iter().copied();
    let kind = file["type"].as_str().unwrap_or_default().to_owned();
    let credentials = match &*kind {
        "service_account" => credentials::service_account::Builder::new(file)
            .with_access_specifier(AccessSpecifier::from_scopes(scopes))
            .build_access_token_credentials(),
        "authorized_user" => {
            credentials::user_account::Builder::new(file).with_scopes(scopes).build_access_token_credentials()
        }
        "external_account" => credentials::external_account::Builder::new(file)
            .with_scopes(scopes)
            .build_access_token_credentials(),
        "impersonated_service_account" => {
            credentials::impersonated::Builder::new(file).with_scopes(scopes).build_access_token_credentials()
        }
        "external_account_authorized_user" => {
            return Err(fails(
                "a login through a workforce pool (`external_account_authorized_user`), which only gcloud can \
                 use; `gcloud auth application-default login --impersonate-service-account=ACCOUNT` makes a \
                 file that does"
                    .into(),
            ));
        }
        "" => return Err(fails("not a credentials file: it says no `type`".into())),
        other => {
            let words = format!(
                "a file of the type `{other}`; known are service_account, authorized_user, external_account \
                 and impersonated_service_account"
            );
            return Err(fails(words.into()));
        }
    };
    let credentials = credentials.map_err(|error| fails(Why::reason(error)))?;
    let tokens = Tokens::File { credentials, path: path.to_owned(), subject };
    Ok(Source { tokens, quota_project, identity })
}

fn fails(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Credentials(Why::reason(error))
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
    fn what_a_key_file_can_not_be_read_for_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gone.json");
        let Err(error) = from_file(&path, "acme") else { panic!("accepted") };
        assert!(error.to_string().contains("gone.json"), "{error}");
        let io = |cause: &(dyn std::error::Error + 'static)| cause.is::<std::io::Error>();
        assert!(dorainfra_base::error::chain(&error).any(io), "{error:?}");
        assert!(error.cause().is_some_and(|cause| dorainfra_base::error::chain(&*cause).any(io)));
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

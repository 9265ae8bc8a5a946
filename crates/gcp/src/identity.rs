//! Whose credentials are used, and until when a token is good: for people, and for the advice that
//! names an account.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dorainfra_base::answer;
use serde_json::Value;
use time::OffsetDateTime;

/// The metadata server of Google's machines.
pub(super) const METADATA: &str = "http://metadata.google.internal";
/// Who tells whose a token is.
const TOKEN_INFO: &str = "https://oauth2.googleapis.com/tokeninfo";
/// How long it may take until the metadata server takes a connection: a machine of Google's has
/// it beside itself.
const CONNECTS_WITHIN: Duration = Duration::from_secs(1);
/// How long it may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
/// The same where nothing depends on it.
const BESIDE_WITHIN: Duration = Duration::from_secs(1);
/// The longest address of an account.
const LONGEST: usize = 1024;

/// Whose credentials these are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The address; `None`: nothing says it.
    pub account: Option<String>,
    /// Somebody, and not a service account.
    pub person: bool,
    /// Where they come from, for people.
    pub source: String,
    /// The end of the present token, which is renewed by itself.
    pub until: Option<OffsetDateTime>,
}

impl Identity {
    /// What a credentials file says of itself.
    pub(super) fn of_file(path: &Path, file: &Value, person: bool) -> Self {
        let text = |field: &str| file[field].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let impersonated = text("service_account_impersonation_url").and_then(|url| {
            let account = url.rsplit('/').next()?.split(':').next()?.to_owned();
            account.contains('@').then_some(account)
        });
        // Whoever is impersonated calls, and not who impersonates.
        let person = person && impersonated.is_none();
        let account = impersonated.or_else(|| text("client_email")).or_else(|| text("account"));
        Self { account, person, source: path.display().to_string(), until: None }
    }

    /// For people: the account, else where the credentials are from.
    pub fn name(&self) -> String {
        self.account.clone().unwrap_or_else(|| format!("the credentials of {}", self.source))
    }

    /// As a policy of IAM names it; `None`: it is not known.
    pub fn member(&self) -> Option<String> {
        let account = self.account.as_ref()?;
        let service = account.ends_with(".gserviceaccount.com");
        Some(format!("{}:{account}", if service { "serviceAccount" } else { "user" }))
    }

    /// Adds what the token says, or Google of the token.
    pub(super) async fn complete(&mut self, token: &str) {
        if let Some(claims) = claims(token) {
            self.until = self.until.or_else(|| moment(&claims["exp"]));
        }
        // A login of somebody's at Google itself; what stands in for Google is told no token.
        if self.person
            && (self.account.is_none() || self.until.is_none())
            && let Some(info) = asked(TOKEN_INFO, token).await
        {
            self.account = self.account.take().or_else(|| info["email"].as_str().map(str::to_owned));
            self.until = self.until.or_else(|| moment(&info["exp"]));
        }
    }
}

/// The claims of a token that is signed here: nobody else has to be asked.
fn claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// Seconds since 1970, as a number or a text.
fn moment(value: &Value) -> Option<OffsetDateTime> {
    let seconds = value.as_i64().or_else(|| value.as_str()?.parse().ok())?;
    OffsetDateTime::from_unix_timestamp(seconds).ok()
}

async fn asked(url: &str, token: &str) -> Option<Value> {
    let client = reqwest::Client::builder().timeout(BESIDE_WITHIN).build().ok()?;
    let response = client.post(url).form(&[("access_token", token)]).send().await.ok()?;
    if !response.status().is_success() {
        return None;
    }
    serde_json::from_slice(&answer::body(response, answer::LARGE).await.ok()?).ok()
}

/// The account of this machine, by its metadata server; the inner `None`: the server is there,
/// and says none. The outer: there is no such server.
pub(super) async fn of_metadata(base: &str) -> Option<Option<String>> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECTS_WITHIN)
        .timeout(ANSWERS_WITHIN)
        .build()
        .ok()?;
    let url = format!("{base}/computeMetadata/v1/instance/service-accounts/default/email");
    let response = client.get(url).header("Metadata-Flavor", "Google").send().await.ok()?;
    // Whatever answers under that name elsewhere (a captive portal) does not say so.
    if response.headers().get("metadata-flavor").is_none_or(|flavor| flavor != "Google") {
        return None;
    }
    if !response.status().is_success() {
        return Some(None);
    }
    let body = answer::body(response, LONGEST).await.ok()?;
    let account = String::from_utf8_lossy(&body).trim().to_owned();
    Some(account.contains('@').then_some(account))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn of(file: Value, person: bool) -> Identity {
        Identity::of_file(Path::new("key.json"), &file, person)
    }

    #[test]
    fn a_file_says_whose_it_is() {
        let key = of(json!({"client_email": "a@p.iam.gserviceaccount.com"}), false);
        assert_eq!(key.member().as_deref(), Some("serviceAccount:a@p.iam.gserviceaccount.com"));
        let url = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/b@p.iam.gserviceaccount.com:generateAccessToken";
        let ci = of(json!({"service_account_impersonation_url": url, "audience": "//iam"}), false);
        assert_eq!(ci.account.as_deref(), Some("b@p.iam.gserviceaccount.com"));
        // As gcloud writes it: the account is empty.
        let login = of(json!({"account": "", "refresh_token": "r"}), true);
        assert_eq!((login.member(), login.name().as_str()), (None, "the credentials of key.json"));
        let person = of(json!({"account": "ada@example.com"}), true);
        assert_eq!(person.member().as_deref(), Some("user:ada@example.com"));
    }

    #[test]
    fn a_token_that_is_signed_here_says_its_end() {
        let payload = URL_SAFE_NO_PAD.encode(r#"{"exp":1767225600}"#);
        let claims = claims(&format!("x.{payload}.y")).unwrap();
        assert_eq!(moment(&claims["exp"]).unwrap().unix_timestamp(), 1_767_225_600);
        assert_eq!(moment(&json!("1767225600")).unwrap().unix_timestamp(), 1_767_225_600);
        assert!(super::claims("ya29.opaque").is_none());
    }

    /// Answers one request with this text.
    async fn server(answer: &'static str) -> String {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _ = client.read(&mut request).await;
                let _ = client.write_all(answer.as_bytes()).await;
            }
        });
        base
    }

    #[tokio::test]
    async fn only_a_metadata_server_is_taken_for_one() {
        let there = server(
            "HTTP/1.1 200 OK\r\nMetadata-Flavor: Google\r\nContent-Length: 27\r\n\r\na@p.iam.gserviceaccount.com",
        );
        assert_eq!(of_metadata(&there.await).await, Some(Some("a@p.iam.gserviceaccount.com".into())));
        let without = server("HTTP/1.1 404 No\r\nMetadata-Flavor: Google\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(of_metadata(&without.await).await, Some(None));
        let portal = server("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nlog in");
        assert_eq!(of_metadata(&portal.await).await, None);
        assert_eq!(of_metadata("http://127.0.0.1:9").await, None);
    }

    #[tokio::test]
    async fn whose_an_opaque_token_is_google_says() {
        let body = r#"{"email":"ada@example.com","exp":"1767225600"}"#;
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let info = asked(&server(answer.leak()).await, "ya29.x").await.unwrap();
        assert_eq!(info["email"], "ada@example.com");
        let refusal = server("HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\n{}").await;
        assert_eq!(asked(&refusal, "ya29.x").await, None);
    }
}

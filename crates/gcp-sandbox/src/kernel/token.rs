//! OAuth: access tokens, and the token endpoint that a key file's assertion is
//! exchanged at. A token carries what it stands for under a MAC, so tokens live
//! through a restart and none is kept.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::clock;
use super::contract::base64_bytes;

/// Seconds that a token is good for.
pub const LIFETIME: u64 = 3599;

/// Who calls, as the token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    pub email: String,
    /// The identity behind the address: another after deletion and re-creation.
    pub unique_id: String,
    pub scopes: Vec<String>,
    /// Somebody signed in, not a service account: the calls count against a project
    /// that the client names.
    #[serde(default)]
    pub person: bool,
    /// The instance whose metadata server gave the token out, by its key.
    #[serde(default)]
    pub machine: Option<String>,
    expires: u64,
}

impl Caller {
    /// Somebody whose identity needs no token.
    pub fn known(email: &str, unique_id: &str) -> Self {
        let scopes = vec![CLOUD_PLATFORM.to_owned()];
        Self {
            email: email.to_owned(),
            unique_id: unique_id.to_owned(),
            scopes,
            person: false,
            machine: None,
            expires: u64::MAX,
        }
    }

    /// Nobody in particular: may do what `allUsers` may.
    pub fn anonymous() -> Self {
        Self::known("", "")
    }

    pub fn is_anonymous(&self) -> bool {
        self.email.is_empty()
    }

    pub fn has_scope(&self, any_of: &[&str]) -> bool {
        self.scopes.iter().any(|scope| {
            let short = scope.trim_start_matches("https://www.googleapis.com/auth/");
            short == "cloud-platform" || any_of.contains(&short)
        })
    }
}

pub struct Tokens {
    key: hmac::Key,
}

impl Tokens {
    pub fn new(secret: &[u8]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret) }
    }

    pub fn issue(&self, grant: &Grant, unique_id: &str, lifetime: u64) -> String {
        let caller = Caller {
            email: grant.email.clone(),
            unique_id: unique_id.to_owned(),
            scopes: grant.scopes.clone(),
            person: grant.person,
            machine: grant.machine.clone(),
            expires: clock::seconds() + lifetime,
        };
        let payload = URL_SAFE_NO_PAD.encode(json!(caller).to_string());
        let mac = hmac::sign(&self.key, payload.as_bytes());
        format!("ya29.{payload}.{}", URL_SAFE_NO_PAD.encode(mac.as_ref()))
    }

    /// Whom the token stands for; `None`: not one of ours, or expired.
    pub fn verify(&self, token: &str) -> Option<Caller> {
        let (payload, mac) = token.strip_prefix("ya29.")?.split_once('.')?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        hmac::verify(&self.key, payload.as_bytes(), &mac).ok()?;
        let caller: Caller = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        (caller.expires > clock::seconds()).then_some(caller)
    }
}

/// What a good assertion asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub email: String,
    pub scopes: Vec<String>,
    pub person: bool,
    pub machine: Option<String>,
}

/// The scope that has all others in it.
const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";

/// What stands for a login in a file of application default credentials.
pub const REFRESH_TOKEN: &str = "1//sandbox-owner";

/// `(error, error_description)` of RFC 6749.
pub type Refusal = (&'static str, &'static str);

/// Checks the form of a token request (`grant_type`, `assertion`) against the
/// public key of `email`.
pub fn exchange(form: &[(String, String)], email: &str, public_key: &[u8]) -> Result<Grant, Refusal> {
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    if field("grant_type") == Some("refresh_token") {
        if field("refresh_token") != Some(REFRESH_TOKEN) {
            return Err(("invalid_grant", "Token has been expired or revoked."));
        }
        let scopes = vec![CLOUD_PLATFORM.to_owned()];
        return Ok(Grant { email: email.to_owned(), scopes, person: true, machine: None });
    }
    if field("grant_type") != Some("urn:ietf:params:oauth:grant-type:jwt-bearer") {
        return Err((
            "unsupported_grant_type",
            "Invalid grant_type: the sandbox knows jwt-bearer and refresh_token.",
        ));
    }
    let assertion = field("assertion").ok_or(("invalid_request", "Missing parameter: assertion"))?;
    let scopes = scopes(&signed(assertion, email, public_key)?);
    if scopes.is_empty() {
        return Err(("invalid_scope", "Empty or missing scope not allowed."));
    }
    Ok(Grant { email: email.to_owned(), scopes, person: false, machine: None })
}

/// A service account's own signature instead of a token, as Google's newer
/// clients send it: good for the scopes that it names or, where it names the API
/// that it is for (`aud`), for that API.
pub fn self_signed(token: &str, email: &str, unique_id: &str, public_key: &[u8]) -> Option<Caller> {
    let claims = signed(token, email, public_key).ok()?;
    let for_an_api = claims["aud"].as_str().is_some_and(|api| api.ends_with(".googleapis.com/"));
    let scopes = match (scopes(&claims), for_an_api) {
        (named, _) if !named.is_empty() => named,
        (_, true) => vec![CLOUD_PLATFORM.to_owned()],
        _ => return None,
    };
    let expires = claims["exp"].as_u64()?;
    let (email, unique_id) = (email.to_owned(), unique_id.to_owned());
    Some(Caller { email, unique_id, scopes, person: false, machine: None, expires })
}

fn scopes(claims: &Value) -> Vec<String> {
    claims["scope"].as_str().unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

/// The claims of a JWT that `email` has signed and that is good now.
fn signed(jwt: &str, email: &str, public_key: &[u8]) -> Result<Value, Refusal> {
    let bad = ("invalid_grant", "Invalid JWT: the assertion is not three base64url parts.");
    let mut parts = jwt.split('.');
    let (Some(head), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad);
    };
    let json = |part: &str| -> Option<Value> { serde_json::from_slice(&base64_bytes(part)?).ok() };
    let (header, body) = (json(head).ok_or(bad)?, json(claims).ok_or(bad)?);
    if header["alg"] != "RS256" {
        return Err(("invalid_grant", "Invalid JWT: the signature algorithm has to be RS256."));
    }
    if body["iss"] != *email {
        return Err(("invalid_grant", "Invalid grant: account not found"));
    }
    let signature = base64_bytes(signature).ok_or(bad)?;
    ring::signature::UnparsedPublicKey::new(&ring::signature::RSA_PKCS1_2048_8192_SHA256, public_key)
        .verify(format!("{head}.{claims}").as_bytes(), &signature)
        .map_err(|_| ("invalid_grant", "Invalid JWT Signature."))?;
    let now = clock::seconds();
    let (issued, expires) = (body["iat"].as_u64().unwrap_or(0), body["exp"].as_u64().unwrap_or(0));
    if expires <= now || issued > now + 300 || expires > issued + 3660 {
        return Err((
            "invalid_grant",
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check \
             your iat and exp values in the JWT claim.",
        ));
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_until_it_expires_and_only_here() {
        let tokens = Tokens::new(b"one");
        let grant = |scopes| Grant { email: "a@b".into(), scopes, person: false, machine: None };
        let token = tokens.issue(&grant(vec![CLOUD_PLATFORM.into()]), "1", 60);
        assert_eq!(tokens.verify(&token).unwrap().email, "a@b");
        assert_eq!(Tokens::new(b"two").verify(&token), None);
        assert_eq!(tokens.verify(&tokens.issue(&grant(Vec::new()), "1", 0)), None);
        assert_eq!(tokens.verify("ya29.x.y"), None);
    }

    #[test]
    fn scopes_are_held_to() {
        let tokens = Tokens::new(b"one");
        let of = |scope: &str| {
            let grant = Grant { email: "a".into(), scopes: vec![scope.into()], person: false, machine: None };
            tokens.verify(&tokens.issue(&grant, "1", 60)).unwrap()
        };
        let read_only = of("https://www.googleapis.com/auth/devstorage.read_only");
        assert!(read_only.has_scope(&["devstorage.read_only"]));
        assert!(!read_only.has_scope(&["devstorage.read_write"]));
        assert!(of(CLOUD_PLATFORM).has_scope(&["compute"]));
    }

    #[test]
    fn a_bad_assertion_says_why() {
        let form = |kind: &str, assertion: &str| {
            vec![("grant_type".to_owned(), kind.to_owned()), ("assertion".to_owned(), assertion.to_owned())]
        };
        let jwt = "urn:ietf:params:oauth:grant-type:jwt-bearer";
        assert_eq!(exchange(&form("password", ""), "a", &[]).unwrap_err().0, "unsupported_grant_type");
        assert_eq!(exchange(&form(jwt, "a.b"), "a", &[]).unwrap_err().0, "invalid_grant");
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let forged = format!("{}.{}.AAAA", part(json!({"alg": "RS256"})), part(json!({"iss": "a"})));
        assert_eq!(exchange(&form(jwt, &forged), "a", &[1]).unwrap_err().1, "Invalid JWT Signature.");
    }
}

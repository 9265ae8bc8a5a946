//! `secretmanager.secretVersion`: a certificate with its key, or an authority.
//! Keys are made when a version is, and are written nowhere else. What can be
//! known without the key (until when, by whom, trusting whom) is an annotation
//! of the secret, so that planning needs no permission to see one.
//!
//! A manifest says `certificate: valid`; what is read says `valid` or why it is
//! not. The words of a rotation ([`ROTATED`], [`OVERLAPPING`], [`SUCCEEDED`])
//! are never what is read: whoever puts one into a manifest has it done.

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use dorainfra_engine::{Change, KindSpec, Manifest, Mark, Observed, Ownership};
use dorainfra_gcp::{Api, Call, Client, Error};
use dorainfra_model::Events;
use dorainfra_pki::{self as tls, Authority, Credentials, TlsError, Usage, Validity};
use reqwest::Method;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::patience::{is_late, once_seen, until_seen};
use super::secret::{self, Secret, path, seconds};
use super::{Cloud, Exported, Kind, found, short, text};

const VERSION: KindSpec = KindSpec {
    // How it is made; what came of it is compared instead.
    write_only: &["secret", "material", "issuer", "trust", "commonName", "dnsNames"],
    sets: &["trusts"],
    renewed: &["version", "fingerprint", "bundle"],
    // It dies with its secret, whose mark is enough.
    markable: false,
    ..KindSpec::plain("secretmanager.secretVersion")
};

/// Nothing is wrong with it.
const VALID: &str = "valid";
/// Another one in its place, although nothing is wrong with it.
pub const ROTATED: &str = "rotated";
/// An authority with a successor that is trusted and does not sign yet.
pub const OVERLAPPING: &str = "overlapping";
/// The successor in the place of its authority.
pub const SUCCEEDED: &str = "succeeded";

/// The secret's annotation.
const ANNOTATION: &str = "dorainfra-certificate";

/// What the newest version of a secret holds. Not one word of it is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Description {
    /// The version that this is said of.
    pub version: String,
    /// SHA-256 of the certificate.
    pub fingerprint: String,
    /// That of the authority which signed it; of itself for an authority.
    pub issued_by: String,
    /// Those of the authorities that its holder trusts; an authority's own, and
    /// its successor's.
    pub trusts: Vec<String>,
    pub ttl: String,
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
}

impl Description {
    /// From a secret's annotations.
    pub(super) fn of(secret: &Value) -> Option<Self> {
        serde_json::from_str(secret["annotations"][ANNOTATION].as_str()?).ok()
    }

    pub(super) fn validity(&self) -> Validity {
        Validity { not_before: self.not_before, not_after: self.not_after }
    }

    /// [`VALID`], or why it is not.
    fn certificate(&self, now: OffsetDateTime) -> String {
        let validity = self.validity();
        let day = self.not_after.date();
        match (validity.is_over(now), validity.is_due(now)) {
            (true, _) => format!("ended on {day}"),
            (_, true) => format!("ends on {day}"),
            _ => VALID.into(),
        }
    }
}

pub struct SecretVersion;

#[async_trait]
impl Kind for SecretVersion {
    fn spec(&self) -> &KindSpec {
        &VERSION
    }

    fn exported(&self) -> Exported {
        // No value in a state: it is looked at.
        Exported { terraform: Some("data.google_secret_manager_secret_version"), marked: None }
    }

    /// Version and description are two answers, and one replica may give the older of one.
    fn is_seen(&self, read: Option<&Observed>) -> bool {
        read.is_some_and(|observed| observed.body["version"].is_string())
    }

    async fn read(&self, cloud: &Cloud, manifest: &Manifest) -> Result<Option<Observed>, Error> {
        let secret = text(&manifest.body, "secret")?;
        let newest = match &cloud.wave {
            Some(_) => newest_in_wave(cloud, secret).await?,
            None => newest(&cloud.client, secret).await?,
        };
        let Some((mut version, description)) = newest else { return Ok(None) };
        version["secret"] = json!(secret);
        version["certificate"] = json!("not described yet");
        if let Some(known) = description {
            let authority = is_authority(manifest)?;
            // An authority is not made anew because its end is near: whoever
            // trusts it has to know its successor first.
            let certificate =
                if authority { VALID.into() } else { known.certificate(OffsetDateTime::now_utc()) };
            version["certificate"] = json!(certificate);
            version["version"] = json!(known.version);
            version["fingerprint"] = json!(known.fingerprint);
            version["notAfter"] = json!(known.not_after.format(&Rfc3339).unwrap_or_default());
            version["issuedBy"] = json!(known.issued_by);
            version[if authority { "bundle" } else { "trusts" }] = json!(known.trusts);
            version["ttl"] = if authority { manifest.body["ttl"].clone() } else { json!(known.ttl) };
        }
        Ok(Some(Observed { id: manifest.id(), body: version, ownership: Ownership::Ours, applied: None }))
    }

    async fn create(&self, cloud: &Cloud, manifest: &Manifest, _: &Mark, _: &Events) -> Result<(), Error> {
        settle(cloud, manifest).await
    }

    async fn update(
        &self,
        cloud: &Cloud,
        manifest: &Manifest,
        _: &Observed,
        _: &[Change],
        _: &Mark,
        _: &Events,
    ) -> Result<(), Error> {
        settle(cloud, manifest).await
    }

    /// Destroys the key material; the secret keeps the version's number.
    async fn delete(&self, cloud: &Cloud, observed: &Observed, _: &Events) -> Result<(), Error> {
        let (secret, version) = (text(&observed.body, "secret")?, text(&observed.body, "name")?);
        destroy(&cloud.client, secret, short(version)).await
    }
}

fn is_authority(manifest: &Manifest) -> Result<bool, Error> {
    Ok(matches!(text(&manifest.body, "material")?, "ca" | "authority"))
}

/// The newest version of a secret, where it is enabled, and what is known of it.
async fn newest(client: &Client, secret: &str) -> Result<Option<(Value, Option<Description>)>, Error> {
    let version = Call::get(Api::SecretManager, format!("{}/versions/latest", path(client, secret)));
    let secret = Call::get(Api::SecretManager, path(client, secret));
    let (version, secret) = tokio::join!(client.call(&version), client.call(&secret));
    let (Some(version), Some(secret)) = (found(version)?, found(secret)?) else { return Ok(None) };
    Ok(enabled(version, &secret))
}

/// The same where the list of all secrets tells what is known of this one: which version is the
/// newest, and whether it is enabled, is in no list.
async fn newest_in_wave(cloud: &Cloud, secret: &str) -> Result<Option<(Value, Option<Description>)>, Error> {
    let client = &cloud.client;
    let listed = match &cloud.wave {
        Some(wave) => wave.shown(&Secret, cloud, secret, &Value::Null).await,
        None => None,
    };
    let known = match listed {
        Some(listed) => listed.map(|seen| seen.body),
        None => found(cloud.ask(&Call::get(Api::SecretManager, path(client, secret))).await)?,
    };
    let Some(known) = known else { return Ok(None) };
    let latest = Call::get(Api::SecretManager, format!("{}/versions/latest", path(client, secret)));
    Ok(found(client.call(&latest).await)?.and_then(|version| enabled(version, &known)))
}

fn enabled(version: Value, secret: &Value) -> Option<(Value, Option<Description>)> {
    if version["state"] != "ENABLED" {
        return None;
    }
    let number = short(version["name"].as_str().unwrap_or_default());
    // A run that was cut off may have left a version that nothing is said of.
    let description = Description::of(secret).filter(|known| known.version == number);
    Some((version, description))
}

/// Has the secret hold what the manifest says. What holds it already stays, as
/// the answer to an earlier attempt may have been lost.
async fn settle(cloud: &Cloud, manifest: &Manifest) -> Result<(), Error> {
    match is_authority(manifest)? {
        true => settle_authority(cloud, &manifest.body).await,
        false => settle_leaf(cloud, &manifest.body).await,
    }
}

async fn settle_authority(cloud: &Cloud, body: &Value) -> Result<(), Error> {
    let client = &cloud.client;
    let (secret, name, life) = (text(body, "secret")?, text(body, "commonName")?, life(body)?);
    let now = OffsetDateTime::now_utc();
    let present = match newest(client, secret).await? {
        Some((version, _)) => {
            let number = short(text(&version, "name")?);
            let held = payload::<Authority>(client, secret, number).await?;
            Some((version, held))
        }
        None => None,
    };
    let (version, authority) = match (present, text(body, "certificate")?) {
        (Some((_, present)), OVERLAPPING) if present.successor.is_none() => {
            (None, present.overlapping(name, life, now).map_err(not_made)?)
        }
        (Some((_, present)), SUCCEEDED) if present.successor.is_some() => {
            (None, present.succeeded().map_err(not_made)?)
        }
        (Some(_), ROTATED) | (None, _) => (None, Authority::new(name, life, now).map_err(not_made)?),
        (Some((version, present)), _) => (Some(version), present),
    };
    let fingerprint = first(tls::fingerprints(&authority.certificate).map_err(not_made)?);
    let version = match version {
        Some(version) => version,
        None => add(client, secret, &authority).await?,
    };
    let validity = Validity::of(&authority.certificate).map_err(not_made)?;
    let description = Description {
        version: short(text(&version, "name")?).to_owned(),
        issued_by: fingerprint.clone(),
        fingerprint,
        trusts: tls::fingerprints(&authority.ca).map_err(not_made)?,
        ttl: text(body, "ttl")?.to_owned(),
        not_before: validity.not_before,
        not_after: validity.not_after,
    };
    describe(cloud, secret, &description).await?;
    // The newest version holds all that there is: no older key is of any use.
    prune(client, secret, &description.version, 1).await
}

async fn settle_leaf(cloud: &Cloud, body: &Value) -> Result<(), Error> {
    let client = &cloud.client;
    let secret = text(body, "secret")?;
    let now = OffsetDateTime::now_utc();
    let (issued_by, mut trusts) = (text(body, "issuedBy")?, strings(&body["trusts"]));
    trusts.sort();
    let valid = text(body, "certificate")? == VALID;
    let present = newest(client, secret).await?.filter(|_| valid);
    if let Some((_, Some(known))) = &present {
        let mut present = known.trusts.clone();
        present.sort();
        let same = present == trusts && known.issued_by == issued_by && known.ttl == text(body, "ttl")?;
        if same && known.certificate(now) == VALID {
            return Ok(());
        }
    }
    // Some were made a moment ago, by this run: `latest` is late.
    let (issuer, mut trust) = once_seen(is_late, || authorities(client, body, &trusts)).await?;
    let usage = match text(body, "material")? {
        "server" => {
            // The machine asks itself, showing the same certificate.
            trust.insert_str(0, &format!("{}\n", issuer.certificate.trim_end()));
            Usage::Server
        }
        _ => Usage::Client,
    };
    // A run that was cut off may have got as far as this.
    let undescribed = match present {
        Some((version, None)) => {
            let found: Credentials = payload(client, secret, short(text(&version, "name")?)).await?;
            let signed = tls::is_signed_by(&found.certificate, &issuer.certificate).map_err(not_made)?;
            let due = Validity::of(&found.certificate).map_err(not_made)?.is_due(now);
            (signed && !due && found.ca == trust).then_some((version, found))
        }
        _ => None,
    };
    let (version, issued) = match undescribed {
        Some(found) => found,
        None => {
            let (name, names) = (text(body, "commonName")?, strings(&body["dnsNames"]));
            let issued = issuer.issue(usage, name, &names, life(body)?, trust, now).map_err(not_made)?;
            (add(client, secret, &issued).await?, issued)
        }
    };
    let validity = Validity::of(&issued.certificate).map_err(not_made)?;
    let description = Description {
        version: short(text(&version, "name")?).to_owned(),
        fingerprint: first(tls::fingerprints(&issued.certificate).map_err(not_made)?),
        issued_by: issued_by.to_owned(),
        trusts,
        ttl: text(body, "ttl")?.to_owned(),
        not_before: validity.not_before,
        not_after: validity.not_after,
    };
    describe(cloud, secret, &description).await?;
    // A machine may be about to read the one before.
    prune(client, secret, &description.version, 2).await
}

/// Who signs, and the certificates of all that are trusted: as they were planned.
async fn authorities(client: &Client, body: &Value, trusts: &[String]) -> Result<(Authority, String), Error> {
    let issuer: Authority = payload(client, text(body, "issuer")?, "latest").await?;
    let mut trust = String::new();
    let mut fingerprints = Vec::new();
    for authority in strings(&body["trust"]) {
        let authority: Authority = payload(client, &authority, "latest").await?;
        fingerprints.extend(tls::fingerprints(&authority.ca).map_err(not_made)?);
        trust.push_str(authority.ca.trim_end());
        trust.push('\n');
    }
    fingerprints.sort();
    let signer = first(tls::fingerprints(&issuer.certificate).map_err(not_made)?);
    if signer != text(body, "issuedBy")? || fingerprints != trusts {
        return Err(Error::Unexpected {
            what: format!("secret {}", text(body, "secret")?),
            reason: "its authorities were changed meanwhile; run the command again".into(),
            source: None,
        });
    }
    Ok((issuer, trust))
}

fn not_made(error: TlsError) -> Error {
    Error::unreadable("the certificate", error)
}

fn life(body: &Value) -> Result<Duration, Error> {
    let ttl = text(body, "ttl")?;
    let seconds = seconds(ttl).and_then(|seconds| i64::try_from(seconds).ok());
    seconds.map(Duration::seconds).ok_or_else(|| Error::Unexpected {
        what: "the manifest".into(),
        reason: format!("`ttl` is `{ttl}`, not seconds such as `7776000s`"),
        source: None,
    })
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn first(mut list: Vec<String>) -> String {
    if list.is_empty() { String::new() } else { list.swap_remove(0) }
}

/// Adds a version; answers it.
async fn add(client: &Client, secret: &str, payload: &impl Serialize) -> Result<Value, Error> {
    let payload =
        serde_json::to_vec(payload).map_err(|error| Error::unreadable(format!("secret {secret}"), error))?;
    let call = Call::write(Api::SecretManager, Method::POST, format!("{}:addVersion", path(client, secret)))
        .body(json!({"payload": {
            "data": BASE64_STANDARD.encode(&payload),
            "dataCrc32c": crc32c::crc32c(&payload).to_string(),
        }}));
    client.call(&call).await
}

/// Writes the annotation, beside those that others have made, and waits until whoever
/// asks is told of it and of its version: only a version that is asked for by its number
/// is there at once (Secret Manager's documentation, "Data consistency").
async fn describe(cloud: &Cloud, secret: &str, description: &Description) -> Result<(), Error> {
    let client = &cloud.client;
    annotate(client, secret, description).await?;
    let late = || Error::Unexpected {
        what: format!("secret {secret}"),
        reason: format!(
            "its version {} was written, but not all of Secret Manager shows it yet; run the command again",
            description.version
        ),
        source: None,
    };
    until_seen(is_late, || async {
        // The next plan goes by the list.
        let listed = secret::shown(client, &cloud.deployment, secret);
        let (newest, listed) = tokio::try_join!(newest(client, secret), listed)?;
        let shown = [newest.and_then(|(_, known)| known), listed.as_ref().and_then(Description::of)];
        let all = shown.iter().all(|shown| shown.as_ref() == Some(description));
        all.then_some(()).ok_or_else(late)
    })
    .await
}

async fn annotate(client: &Client, secret: &str, description: &Description) -> Result<(), Error> {
    let read = Call::get(Api::SecretManager, path(client, secret));
    let present = once_seen(Error::is_not_found, || client.call(&read)).await?;
    if Description::of(&present).as_ref() == Some(description) {
        return Ok(());
    }
    let mut annotations = match &present["annotations"] {
        Value::Object(annotations) => annotations.clone(),
        _ => serde_json::Map::new(),
    };
    let text = serde_json::to_string(description)
        .map_err(|error| Error::unreadable(format!("secret {secret}"), error))?;
    annotations.insert(ANNOTATION.into(), json!(text));
    let call = Call::idempotent(Api::SecretManager, Method::PATCH, path(client, secret))
        .query("updateMask", "annotations")
        .body(json!({"annotations": annotations}));
    client.call(&call).await?;
    Ok(())
}

/// Destroys all but the newest `keep` versions, up to `newest`.
async fn prune(client: &Client, secret: &str, newest: &str, keep: usize) -> Result<(), Error> {
    let call = Call::get(Api::SecretManager, format!("{}/versions", path(client, secret)));
    let versions = client.list(call, "versions").await?;
    let mut numbers: Vec<u64> = versions
        .iter()
        .filter(|version| version["state"] != "DESTROYED")
        .filter_map(|version| short(version["name"].as_str()?).parse().ok())
        // A list may be late, and lack the newest.
        .chain(newest.parse())
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    for number in numbers.iter().rev().skip(keep) {
        destroy(client, secret, &number.to_string()).await?;
    }
    Ok(())
}

async fn destroy(client: &Client, secret: &str, version: &str) -> Result<(), Error> {
    let path = format!("{}/versions/{version}:destroy", path(client, secret));
    found(client.call(&Call::write(Api::SecretManager, Method::POST, path).body(json!({}))).await)?;
    Ok(())
}

/// The newest version of a secret that holds a certificate and its key.
pub async fn read_credentials(client: &Client, secret: &str) -> Result<Credentials, Error> {
    match payload(client, secret, "latest").await {
        // `latest` may be late, which a number is not.
        Err(error) if error.is_not_found() => {
            let described = client.call(&Call::get(Api::SecretManager, path(client, secret))).await;
            match described.ok().and_then(|secret| Description::of(&secret)) {
                Some(known) => payload(client, secret, &known.version).await,
                None => Err(error),
            }
        }
        other => other,
    }
}

async fn payload<T: DeserializeOwned>(client: &Client, secret: &str, version: &str) -> Result<T, Error> {
    let path = format!("{}/versions/{version}:access", path(client, secret));
    let answer = client.call(&Call::get(Api::SecretManager, path)).await?;
    let damaged =
        |reason: String| Error::Unexpected { what: format!("secret {secret}"), reason, source: None };
    let data = BASE64_STANDARD
        .decode(text(&answer["payload"], "data")?)
        .map_err(|error| damaged(error.to_string()))?;
    // The error of a parser may quote what it parsed: it is not passed on.
    serde_json::from_slice(&data).map_err(|_| damaged("it holds no certificate".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(days: i64) -> Description {
        let now = OffsetDateTime::now_utc();
        Description {
            version: "3".into(),
            fingerprint: "ab".into(),
            issued_by: "cd".into(),
            trusts: vec!["ef".into()],
            ttl: "31536000s".into(),
            not_before: now - Duration::days(300),
            not_after: now + Duration::days(days),
        }
    }

    #[test]
    fn the_annotation_tells_whether_the_certificate_is_valid() {
        let now = OffsetDateTime::now_utc();
        assert_eq!(description(31).certificate(now), VALID);
        assert!(description(29).certificate(now).starts_with("ends on 2"));
        assert!(description(-1).certificate(now).starts_with("ended on 2"));
    }

    #[test]
    fn the_annotation_comes_back_and_fits() {
        let mut known = description(31);
        known.trusts = vec!["0".repeat(64); 100];
        let text = serde_json::to_string(&known).unwrap();
        assert!(text.len() < 16 << 10, "Google allows 16 KiB of annotations");
        let secret = json!({"annotations": {ANNOTATION: text}});
        assert_eq!(Description::of(&secret), Some(known));
        assert_eq!(Description::of(&json!({"annotations": {ANNOTATION: "{}"}})), None);
        assert_eq!(Description::of(&json!({})), None);
    }
}

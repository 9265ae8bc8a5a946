//! `secretmanager.secret` and `secretmanager.secretVersion`: the deployment's
//! CA and certificates. Keys are made when a version is, and are written
//! nowhere else.

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{Cloud, Kind, found, mark, short, text};
use crate::engine::{Change, KindSpec, Manifest, Mark, Observed, Ownership, ResourceId};
use crate::event::Events;
use crate::gcp::{Api, Call, Client, Error};
use crate::tls::{self, Credentials, Usage};

const SECRET: KindSpec =
    KindSpec { whole: &["labels"], immutable: &["replication"], ..KindSpec::plain("secretmanager.secret") };

const VERSION: KindSpec = KindSpec {
    // What the certificate says can't be told without reading the key: a
    // version is there or it is not. `credentials rotate` makes a new one.
    write_only: &["secret", "authority", "material", "commonName", "dnsNames"],
    // It dies with its secret, whose mark is enough.
    markable: false,
    ..KindSpec::plain("secretmanager.secretVersion")
};

pub struct Secret;

fn path(client: &Client, secret: &str) -> String {
    format!("v1/projects/{}/secrets/{secret}", client.project())
}

fn observed(cloud: &Cloud, answer: Value) -> Observed {
    let id = ResourceId::new(SECRET.kind, short(answer["name"].as_str().unwrap_or_default()));
    mark::from_labels(&cloud.deployment, id, answer, "labels")
}

#[async_trait]
impl Kind for Secret {
    fn spec(&self) -> &KindSpec {
        &SECRET
    }

    async fn read(&self, cloud: &Cloud, manifest: &Manifest) -> Result<Option<Observed>, Error> {
        let call = Call::get(Api::SecretManager, path(&cloud.client, &manifest.name));
        Ok(found(cloud.client.call(&call).await)?.map(|answer| observed(cloud, answer)))
    }

    async fn list(&self, cloud: &Cloud, deployment: &str) -> Result<Vec<Observed>, Error> {
        let project = cloud.client.project();
        let call = Call::get(Api::SecretManager, format!("v1/projects/{project}/secrets"))
            .query("filter", format!("labels.{}={deployment}", mark::DEPLOYMENT));
        let secrets = match cloud.client.list(call, "secrets").await {
            Err(error) if super::absent(&error) => Vec::new(),
            other => other?,
        };
        let ours = |secret: &Observed| secret.ownership == Ownership::Ours;
        Ok(secrets.into_iter().map(|secret| observed(cloud, secret)).filter(ours).collect())
    }

    async fn create(&self, cloud: &Cloud, manifest: &Manifest, mark: &Mark, _: &Events) -> Result<(), Error> {
        let mut body = manifest.body.clone();
        body["labels"] = mark::labelled(&manifest.body["labels"], mark);
        let project = cloud.client.project();
        let call = Call::write(Api::SecretManager, Method::POST, format!("v1/projects/{project}/secrets"))
            .query("secretId", &manifest.name)
            .body(body);
        cloud.client.call(&call).await?;
        Ok(())
    }

    async fn update(
        &self,
        cloud: &Cloud,
        manifest: &Manifest,
        _: &Observed,
        _: &[Change],
        mark: &Mark,
        _: &Events,
    ) -> Result<(), Error> {
        let labels = mark::labelled(&manifest.body["labels"], mark);
        let call = Call::idempotent(Api::SecretManager, Method::PATCH, path(&cloud.client, &manifest.name))
            .query("updateMask", "labels")
            .body(json!({"labels": labels}));
        cloud.client.call(&call).await?;
        Ok(())
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observed, _: &Events) -> Result<(), Error> {
        let call = Call::write(Api::SecretManager, Method::DELETE, path(&cloud.client, &observed.id.name));
        found(cloud.client.call(&call).await)?;
        Ok(())
    }
}

pub struct SecretVersion;

#[async_trait]
impl Kind for SecretVersion {
    fn spec(&self) -> &KindSpec {
        &VERSION
    }

    async fn read(&self, cloud: &Cloud, manifest: &Manifest) -> Result<Option<Observed>, Error> {
        let secret = text(&manifest.body, "secret")?;
        let call = Call::get(Api::SecretManager, format!("{}/versions/latest", path(&cloud.client, secret)));
        let Some(mut version) = found(cloud.client.call(&call).await)? else { return Ok(None) };
        if version["state"] != "ENABLED" {
            return Ok(None);
        }
        version["secret"] = json!(secret);
        Ok(Some(Observed { id: manifest.id(), body: version, ownership: Ownership::Ours, applied: None }))
    }

    async fn create(&self, cloud: &Cloud, manifest: &Manifest, _: &Mark, _: &Events) -> Result<(), Error> {
        // The answer to an earlier attempt may have been lost: never two.
        if self.read(cloud, manifest).await?.is_some() {
            return Ok(());
        }
        let credentials = material(cloud, &manifest.body).await?;
        let payload = serde_json::to_vec(&credentials).map_err(|error| Error::Unexpected {
            what: manifest.id().to_string(),
            reason: error.to_string(),
        })?;
        let secret = text(&manifest.body, "secret")?;
        let call = Call::write(
            Api::SecretManager,
            Method::POST,
            format!("{}:addVersion", path(&cloud.client, secret)),
        )
        .body(json!({"payload": {
            "data": BASE64_STANDARD.encode(&payload),
            "dataCrc32c": crc32c::crc32c(&payload).to_string(),
        }}));
        cloud.client.call(&call).await?;
        Ok(())
    }

    async fn update(
        &self,
        _: &Cloud,
        _: &Manifest,
        _: &Observed,
        _: &[Change],
        _: &Mark,
        _: &Events,
    ) -> Result<(), Error> {
        Ok(())
    }

    /// Destroys the key material; the secret keeps the version's number.
    async fn delete(&self, cloud: &Cloud, observed: &Observed, _: &Events) -> Result<(), Error> {
        let secret = path(&cloud.client, text(&observed.body, "secret")?);
        let version = short(text(&observed.body, "name")?);
        let call =
            Call::write(Api::SecretManager, Method::POST, format!("{secret}/versions/{version}:destroy"))
                .body(json!({}));
        found(cloud.client.call(&call).await)?;
        Ok(())
    }
}

/// Makes what the manifest describes: the CA, or a certificate signed by it.
async fn material(cloud: &Cloud, body: &Value) -> Result<Credentials, Error> {
    let now = OffsetDateTime::now_utc();
    let common_name = text(body, "commonName")?;
    let fails = |error: tls::TlsError| Error::Unexpected {
        what: "the certificate".into(),
        reason: error.to_string(),
    };
    let usage = match text(body, "material")? {
        "ca" => return tls::authority(common_name, now).map_err(fails),
        "server" => Usage::Server,
        _ => Usage::Client,
    };
    let names: Vec<String> = body["dnsNames"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    let authority = read_credentials(&cloud.client, text(body, "authority")?).await?;
    tls::issue(&authority, usage, common_name, &names, now).map_err(fails)
}

/// The newest version of a secret that holds a certificate.
pub async fn read_credentials(client: &Client, secret: &str) -> Result<Credentials, Error> {
    let call = Call::get(Api::SecretManager, format!("{}/versions/latest:access", path(client, secret)));
    let answer = client.call(&call).await?;
    let damaged = |reason: String| Error::Unexpected { what: format!("secret {secret}"), reason };
    let data = BASE64_STANDARD
        .decode(text(&answer["payload"], "data")?)
        .map_err(|error| damaged(error.to_string()))?;
    // The error of a parser may quote what it parsed: it is not passed on.
    serde_json::from_slice(&data).map_err(|_| damaged("it holds no certificate".into()))
}

//! `secretmanager.secret`: where a certificate and its key are kept, and what
//! the labels of all of a deployment's secrets tell. What is in them is
//! `certificate`'s.

use std::collections::BTreeSet;

use async_trait::async_trait;
use dorainfra_engine::{Change, KindSpec, Manifest, Mark, Observed, Owned, Ownership, ResourceId};
use dorainfra_gcp::{Api, Call, Client, Error};
use dorainfra_model::Events;
use dorainfra_pki::Validity;
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::certificate::Description;
use super::compute::Marked;
use super::patience::{is_late, until_seen};
use super::permissions::Permissions;
use super::{Cloud, Exported, Kind, Wave, found, mark, short};

const SECRET: KindSpec =
    KindSpec { whole: &["labels"], immutable: &["replication"], ..KindSpec::plain("secretmanager.secret") };

/// What the secret holds: `ca`, `server`, `authority` or `client`.
const MATERIAL: &str = "dorainfra-material";
/// Whose it is, for the latter two.
const CLIENT: &str = "dorainfra-client";
/// How long the client's certificates live, as Google spells it: `7776000s`.
const TTL: &str = "dorainfra-ttl";
/// On its way out: whatever happens to the revocation, no plan takes it for a
/// client again.
const REVOKED: &str = "dorainfra-revoked";

pub struct Secret;

pub(super) fn path(client: &Client, secret: &str) -> String {
    format!("v1/projects/{}/secrets/{secret}", client.project())
}

fn observed(cloud: &Cloud, answer: Value) -> Observed {
    let id = ResourceId::new(SECRET.kind, short(answer["name"].as_str().unwrap_or_default()));
    mark::from_labels(&cloud.deployment, id, answer, "labels")
}

/// The list of the secrets that carry a deployment's name.
fn of_deployment(client: &Client, deployment: &str) -> Call {
    Call::get(Api::SecretManager, format!("v1/projects/{}/secrets", client.project()))
        .query("filter", format!("labels.{}={deployment}", mark::DEPLOYMENT))
}

const LISTED: &str = "secrets";

/// As the next command is shown a secret: it begins with a list. `None`: the list lacks it, yet.
pub(super) async fn shown(client: &Client, deployment: &str, secret: &str) -> Result<Option<Value>, Error> {
    let all = client.list(of_deployment(client, deployment), LISTED).await;
    let all = super::listed(all, &mut BTreeSet::new())?;
    Ok(all.into_iter().find(|other| short(other["name"].as_str().unwrap_or_default()) == secret))
}

/// Waits until a new secret is found, by its name and in the list that the next command
/// begins with: both may be late.
async fn seen(cloud: &Cloud, secret: &str) -> Result<(), Error> {
    let late = || Error::Unexpected {
        what: format!("secret {secret}"),
        reason: "it was made, but not all of Secret Manager shows it yet; run the command again".into(),
        source: None,
    };
    let read = Call::get(Api::SecretManager, path(&cloud.client, secret));
    until_seen(is_late, || async {
        let list = shown(&cloud.client, &cloud.deployment, secret);
        let (_, listed) = futures::try_join!(cloud.client.call(&read), list)?;
        listed.map(|_| ()).ok_or_else(late)
    })
    .await
}

/// One of a deployment's certificates, as far as it is known without its key.
#[derive(Clone, Debug)]
pub struct Held {
    pub secret: String,
    pub material: String,
    /// The client that it is of; none for CA and server.
    pub client: Option<String>,
    /// Seconds.
    pub ttl: Option<u64>,
    /// The secret's newest version; empty before the first.
    pub version: String,
    /// `None` before there is a certificate.
    pub validity: Option<Validity>,
    /// A CA whose successor is trusted, but does not sign yet.
    pub overlapping: bool,
    /// Being revoked.
    pub revoked: bool,
}

impl Held {
    /// The secret as a resource.
    pub fn id(&self) -> ResourceId {
        ResourceId::new(SECRET.kind, &self.secret)
    }
}

/// All of a deployment's certificates, read from labels and annotations: no
/// permission to see a key is needed.
pub async fn held(client: &Client, deployment: &str) -> Result<Vec<Held>, Error> {
    held_in(&Wave::default(), client, deployment).await
}

/// The same, as the beginning of a wave: a plan of it reads none of them again.
pub async fn held_in(wave: &Wave, client: &Client, deployment: &str) -> Result<Vec<Held>, Error> {
    let secrets = wave.list(client, of_deployment(client, deployment), LISTED).await;
    let secrets = super::listed(secrets, &mut BTreeSet::new())?;
    let ours = |secret: &&Value| {
        mark::from_labels(deployment, ResourceId::new("", ""), (*secret).clone(), "labels").ownership
            == Ownership::Ours
    };
    let held = secrets.iter().filter(ours).filter_map(|secret| {
        let label = |name: &str| secret["labels"][name].as_str().map(str::to_owned);
        let description = Description::of(secret);
        Some(Held {
            secret: short(secret["name"].as_str()?).to_owned(),
            material: label(MATERIAL)?,
            client: label(CLIENT),
            ttl: label(TTL).as_deref().and_then(seconds),
            version: description.as_ref().map(|known| known.version.clone()).unwrap_or_default(),
            validity: description.as_ref().map(Description::validity),
            overlapping: description.is_some_and(|known| known.trusts.len() > 1)
                && label(MATERIAL).as_deref() == Some("ca"),
            revoked: label(REVOKED).is_some(),
        })
    });
    Ok(held.collect())
}

/// `7776000s` → 7776000.
pub(super) fn seconds(text: &str) -> Option<u64> {
    text.strip_suffix('s')?.parse().ok()
}

/// Marks a client's secrets as revoked: from now on no plan makes them anew or
/// trusts them, and the next one deletes them.
pub async fn mark_revoked(client: &Client, secrets: &[Held]) -> Result<(), Error> {
    let mark = secrets.iter().map(|held| async move {
        let secret = client.call(&Call::get(Api::SecretManager, path(client, &held.secret))).await?;
        let mut labels = secret["labels"].clone();
        labels[REVOKED] = json!("true");
        let call = Call::idempotent(Api::SecretManager, Method::PATCH, path(client, &held.secret))
            .query("updateMask", "labels")
            .body(json!({"labels": labels}));
        client.call(&call).await
    });
    try_join_all(mark).await?;
    Ok(())
}

#[async_trait]
impl Kind for Secret {
    fn spec(&self) -> &KindSpec {
        &SECRET
    }

    fn exported(&self) -> Exported {
        Exported { terraform: Some("google_secret_manager_secret"), marked: Some(Marked::Labels) }
    }

    fn permissions(&self) -> &'static [Permissions] {
        &[
            (
                "secretmanager.secrets",
                &["create", "delete", "get", "getIamPolicy", "list", "setIamPolicy", "update"],
            ),
            ("secretmanager.versions", &["access", "add", "destroy", "get", "list"]),
        ]
    }

    async fn read(&self, cloud: &Cloud, manifest: &Manifest) -> Result<Option<Observed>, Error> {
        let call = Call::get(Api::SecretManager, path(&cloud.client, &manifest.name));
        Ok(found(cloud.ask(&call).await)?.map(|answer| observed(cloud, answer)))
    }

    async fn list(&self, cloud: &Cloud, deployment: &str) -> Result<Owned, Error> {
        let mut owned = Owned::default();
        let secrets = cloud.ask_list(of_deployment(&cloud.client, deployment), LISTED).await;
        let secrets = super::listed(secrets, &mut owned.off)?;
        let ours = |secret: &Observed| secret.ownership == Ownership::Ours;
        owned.found.extend(secrets.into_iter().map(|secret| observed(cloud, secret)).filter(ours));
        Ok(owned)
    }

    async fn create(&self, cloud: &Cloud, manifest: &Manifest, mark: &Mark, _: &Events) -> Result<(), Error> {
        let mut body = manifest.body.clone();
        body["labels"] = mark::labelled(&manifest.body["labels"], mark);
        let project = cloud.client.project();
        let call = Call::write(Api::SecretManager, Method::POST, format!("v1/projects/{project}/secrets"))
            .query("secretId", &manifest.name)
            .body(body);
        cloud.client.call(&call).await?;
        seen(cloud, &manifest.name).await
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

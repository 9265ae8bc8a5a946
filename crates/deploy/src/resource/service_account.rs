//! `iam.serviceAccount`: the machine's identity.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use dorainfra_engine::{Change, KindSpec, Manifest, Mark, Observed, Owned, Ownership, ResourceId};
use dorainfra_gcp::{Api, ApiError, Call, Error};
use dorainfra_model::Events;
use reqwest::Method;
use serde_json::{Value, json};

use super::compute::Marked;
use super::patience::until_seen;
use super::permissions::Permissions;
use super::{Cloud, Exported, Kind, found, mark, short};

const SPEC: KindSpec = KindSpec::plain("iam.serviceAccount");

pub struct ServiceAccount;

#[async_trait]
impl Kind for ServiceAccount {
    fn spec(&self) -> &KindSpec {
        &SPEC
    }

    fn exported(&self) -> Exported {
        Exported { terraform: Some("google_service_account"), marked: Some(Marked::Description) }
    }

    fn permissions(&self) -> &'static [Permissions] {
        &[("iam.serviceAccounts", &["create", "delete", "get", "list", "update"])]
    }

    /// Seen by its own creation, and not by the replica that is asked next.
    fn is_seen(&self, read: Option<&Observed>) -> bool {
        read.is_some()
    }

    async fn read(&self, cloud: &Cloud, manifest: &Manifest) -> Result<Option<Observed>, Error> {
        let answer = found(cloud.client.call(&Call::get(Api::Iam, path(cloud, &manifest.name))).await)?;
        Ok(answer.map(|answer| observed(cloud, answer)))
    }

    async fn list(&self, cloud: &Cloud, _: &str) -> Result<Owned, Error> {
        let project = cloud.client.project();
        let call =
            Call::get(Api::Iam, format!("v1/projects/{project}/serviceAccounts")).query("pageSize", "100");
        let mut owned = Owned::default();
        let accounts = super::listed(cloud.client.list(call, "accounts").await, &mut owned.off)?;
        let ours = |account: &Observed| account.ownership == Ownership::Ours;
        owned.found.extend(accounts.into_iter().map(|account| observed(cloud, account)).filter(ours));
        Ok(owned)
    }

    async fn create(&self, cloud: &Cloud, manifest: &Manifest, mark: &Mark, _: &Events) -> Result<(), Error> {
        let project = cloud.client.project();
        let call = Call::write(Api::Iam, Method::POST, format!("v1/projects/{project}/serviceAccounts"))
            .body(json!({
                "accountId": manifest.name,
                "serviceAccount": {
                    "displayName": manifest.body["displayName"],
                    "description": mark::described(&manifest.body["description"], mark),
                },
            }));
        // Made by a creation whose answer was lost, or one that a read did not show yet; or
        // somebody else's.
        let conflict = match cloud.client.call(&call).await {
            Ok(_) => None,
            Err(error) if error.api().is_some_and(ApiError::is_conflict) => Some(error),
            Err(error) => return Err(error),
        };
        // Reads lag behind the creation, too: IAM says that there is no such account,
        // or, for the same reason, that one may not read it.
        let get = Call::get(Api::Iam, path(cloud, &manifest.name));
        let unseen = |error: &Error| {
            error.is_not_found()
                || error.api().is_some_and(|api| api.status == 403 && !api.is_service_disabled())
        };
        cloud.fresh.account.store(true, Ordering::Relaxed);
        until_seen(unseen, || async { cloud.client.call(&get).await.map(|_| ()) }).await?;
        match (conflict, self.read(cloud, manifest).await?) {
            (Some(error), Some(there)) if there.ownership != Ownership::Ours => Err(error),
            _ => Ok(()),
        }
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
        let path = path(cloud, &manifest.name);
        let call = Call::idempotent(Api::Iam, Method::PATCH, path).body(json!({
            "serviceAccount": {
                "displayName": manifest.body["displayName"],
                "description": mark::described(&manifest.body["description"], mark),
            },
            "updateMask": "displayName,description",
        }));
        cloud.client.call(&call).await?;
        Ok(())
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observed, _: &Events) -> Result<(), Error> {
        let call = Call::write(Api::Iam, Method::DELETE, path(cloud, &observed.id.name));
        found(cloud.client.call(&call).await)?;
        Ok(())
    }
}

fn path(cloud: &Cloud, account: &str) -> String {
    let project = cloud.client.project();
    format!("v1/projects/{project}/serviceAccounts/{account}@{project}.iam.gserviceaccount.com")
}

fn observed(cloud: &Cloud, answer: Value) -> Observed {
    let email = short(answer["name"].as_str().unwrap_or_default());
    let account = email.split('@').next().unwrap_or_default();
    let id = ResourceId::new(SPEC.kind, account);
    mark::from_description(&cloud.deployment, id, answer)
}

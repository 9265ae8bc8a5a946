//! `serviceusage.services`: the APIs that the project has to have enabled. One
//! resource for all of them; `destroy` leaves them as they are.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use dorainfra_engine::{Change, KindSpec, Manifest, Mark, Observed, Ownership};
use dorainfra_gcp::{Api, Call, Error};
use dorainfra_model::{Event, Events};
use reqwest::Method;
use serde_json::{Value, json};

use super::patience::until_seen;
use super::permissions::Permissions;
use super::{Cloud, Exported, Kind, preflight};

const SPEC: KindSpec = KindSpec {
    sets: &["services"],
    markable: false,
    keep_on_destroy: true,
    ..KindSpec::plain("serviceusage.services")
};

pub struct Services;

#[async_trait]
impl Kind for Services {
    fn spec(&self) -> &KindSpec {
        &SPEC
    }

    fn exported(&self) -> Exported {
        Exported { terraform: Some("google_project_service"), marked: None }
    }

    fn permissions(&self) -> &'static [Permissions] {
        &[("serviceusage.services", &["enable", "get"])]
    }

    /// Absent while none of the wanted ones is enabled.
    async fn read(&self, cloud: &Cloud, manifest: &Manifest) -> Result<Option<Observed>, Error> {
        let project = cloud.client.project();
        let mut call = Call::get(Api::ServiceUsage, format!("v1/projects/{project}/services:batchGet"));
        for service in wanted(manifest) {
            call = call.query("names", format!("projects/{project}/services/{service}"));
        }
        let answer = cloud.client.call(&call).await?;
        let enabled: Vec<_> = answer["services"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|service| service["state"] == "ENABLED")
            .filter_map(|service| service["name"].as_str().map(|name| json!(super::short(name))))
            .collect();
        if enabled.is_empty() {
            return Ok(None);
        }
        // All of them: perhaps since a second ago, by a run that was killed then.
        if wanted(manifest).iter().all(|name| enabled.iter().any(|one| one == name)) {
            cloud.client.services_are_enabled();
        }
        Ok(Some(Observed {
            id: manifest.id(),
            body: json!({"services": enabled}),
            ownership: Ownership::Ours,
            applied: None,
        }))
    }

    async fn create(
        &self,
        cloud: &Cloud,
        manifest: &Manifest,
        _: &Mark,
        events: &Events,
    ) -> Result<(), Error> {
        let project = cloud.client.project();
        let path = format!("v1/projects/{project}/services:batchEnable");
        // Enabling what is enabled changes nothing: it may be repeated.
        let call = Call::idempotent(Api::ServiceUsage, Method::POST, path)
            .body(json!({"serviceIds": wanted(manifest)}));
        let operation = cloud.client.call(&call).await?;
        cloud.client.wait_service(operation).await?;
        until_enabled(cloud, manifest, events).await?;
        preflight::again(cloud, &manifest.id(), events).await
    }

    async fn update(
        &self,
        cloud: &Cloud,
        manifest: &Manifest,
        _: &Observed,
        _: &[Change],
        mark: &Mark,
        events: &Events,
    ) -> Result<(), Error> {
        self.create(cloud, manifest, mark, events).await
    }

    /// Other things in the project may use them.
    async fn delete(&self, _: &Cloud, _: &Observed, _: &Events) -> Result<(), Error> {
        Ok(())
    }
}

fn wanted(manifest: &Manifest) -> Vec<&str> {
    manifest.body["services"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Waits until the APIs themselves believe that they are enabled, so that what
/// comes after needs no retries of its own.
async fn until_enabled(cloud: &Cloud, manifest: &Manifest, events: &Events) -> Result<(), Error> {
    let project = cloud.client.project();
    let probes = [
        Call::get(Api::Compute, "global/firewalls").query("maxResults", "1"),
        Call::get(Api::Iam, format!("v1/projects/{project}/serviceAccounts")).query("pageSize", "1"),
        Call::get(Api::SecretManager, format!("v1/projects/{project}/secrets")).query("pageSize", "1"),
    ];
    cloud.client.services_are_enabled();
    cloud.fresh.services.store(true, Ordering::Relaxed);
    let message = "waiting until the APIs see that they are enabled".into();
    events.send(Event::ResourceProgress { id: manifest.id(), message });
    // Three times in a row: replicas differ. Any refusal but that one is for the kind that
    // meets it, which knows better.
    let late = |error: &Error| error.api().is_some_and(|api| api.is_service_disabled());
    until_seen(late, || async {
        let answers = futures::future::join_all(probes.iter().map(|probe| cloud.client.call(probe))).await;
        answers.into_iter().find_map(|answer| answer.err().filter(late)).map_or(Ok(()), Err)
    })
    .await
}

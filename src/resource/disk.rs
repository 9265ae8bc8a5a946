//! `compute.disk`: the data disk. It grows online, never shrinks, and keeps its
//! snapshot schedule.

use async_trait::async_trait;
use reqwest::Method;
use serde_json::{Value, json};

use super::compute::{self, Marked, Row, Scope};
use super::links::linked;
use super::{Cloud, Kind};
use crate::engine::{Change, KindSpec, Manifest, Mark, Observed};
use crate::event::Events;
use crate::gcp::{Api, ApiError, Call, Error, integer};

const ROW: Row = Row {
    spec: KindSpec {
        immutable: &["zone", "type", "sourceSnapshot"],
        sets: &["resourcePolicies"],
        whole: &["labels"],
        ..KindSpec::plain("compute.disk")
    },
    collection: "disks",
    scope: Scope::Zone,
    marked: Marked::Labels,
    ..compute::ROW
};

pub struct Disk;

#[async_trait]
impl Kind for Disk {
    fn spec(&self) -> &KindSpec {
        const { &ROW.spec }
    }

    async fn read(&self, cloud: &Cloud, manifest: &Manifest) -> Result<Option<Observed>, Error> {
        ROW.read(cloud, manifest).await
    }

    async fn list(&self, cloud: &Cloud, deployment: &str) -> Result<Vec<Observed>, Error> {
        ROW.list(cloud, deployment).await
    }

    async fn create(
        &self,
        cloud: &Cloud,
        manifest: &Manifest,
        mark: &Mark,
        events: &Events,
    ) -> Result<(), Error> {
        ROW.insert(cloud, manifest, mark, events).await
    }

    async fn update(
        &self,
        cloud: &Cloud,
        manifest: &Manifest,
        observed: &Observed,
        changes: &[Change],
        mark: &Mark,
        events: &Events,
    ) -> Result<(), Error> {
        let path = ROW.path(&manifest.body, &manifest.name)?;
        let changed = |field: &str| changes.iter().any(|change| change.path.starts_with(field));
        if changed("sizeGb") {
            let (now, wanted) = (integer(&observed.body["sizeGb"]), integer(&manifest.body["sizeGb"]));
            if wanted < now {
                return Err(Error::Api(ApiError {
                    what: format!("resizing {}", manifest.id()),
                    reason: "diskShrink".into(),
                    message: format!(
                        "a disk can't shrink: it has {} GB, the configuration says {}",
                        now.unwrap_or_default(),
                        wanted.unwrap_or_default()
                    ),
                    ..ApiError::default()
                }));
            }
            let call = Call::write(Api::Compute, Method::POST, format!("{path}/resize"))
                .body(json!({"sizeGb": wanted.unwrap_or_default().to_string()}));
            cloud.client.compute(&call, &manifest.id(), events).await?;
        }
        if changed("resourcePolicies") {
            let (has, wants) =
                (strings(&observed.body["resourcePolicies"]), strings(&manifest.body["resourcePolicies"]));
            let gone: Vec<_> = has.iter().filter(|policy| !wants.contains(policy)).collect();
            let new: Vec<_> = wants.iter().filter(|policy| !has.contains(policy)).collect();
            for (verb, policies) in [("removeResourcePolicies", gone), ("addResourcePolicies", new)] {
                if policies.is_empty() {
                    continue;
                }
                let call = Call::write(Api::Compute, Method::POST, format!("{path}/{verb}")).body(linked(
                    cloud.client.project(),
                    json!({"resourcePolicies": policies}),
                    &manifest.body,
                ));
                cloud.client.compute(&call, &manifest.id(), events).await?;
            }
        }
        // Last: the digest in the labels says that all of the above is done.
        ROW.set_labels(cloud, manifest, mark, events).await
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observed, events: &Events) -> Result<(), Error> {
        ROW.delete(cloud, observed, events).await
    }
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

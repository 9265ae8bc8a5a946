//! `compute.disk`: the data disk. It grows online, never shrinks, and keeps its
//! snapshot schedule.

use async_trait::async_trait;
use dorainfra_engine::{Change, Finding, KindSpec, Manifest, Mark, Observed, Owned};
use dorainfra_gcp::{Api, Call, Error, integer};
use dorainfra_model::Events;
use reqwest::Method;
use serde_json::{Value, json};

use super::compute::{self, Marked, Row, Scope};
use super::links::{Link, linked};
use super::permissions::Permissions;
use super::{Cloud, Exported, Kind};

pub const ROW: Row = Row {
    spec: KindSpec {
        immutable: &["zone", "type", "sourceSnapshot"],
        sets: &["resourcePolicies"],
        whole: &["labels"],
        ..KindSpec::plain("compute.disk")
    },
    collection: "disks",
    scope: Scope::Zone,
    marked: Marked::Labels,
    links: &[
        Link::new("type", Scope::Zone, "diskTypes"),
        Link::new("sourceSnapshot", Scope::Global, "snapshots"),
        Link::new("resourcePolicies", Scope::Region, "resourcePolicies"),
    ],
    permissions: &[
        (
            "compute.disks",
            &[
                "addResourcePolicies",
                "create",
                "delete",
                "get",
                "list",
                "removeResourcePolicies",
                "resize",
                "setLabels",
                "use",
            ],
        ),
        ("compute.snapshots", &["delete", "list"]),
    ],
    terraform: "google_compute_disk",
    ..compute::ROW
};

pub struct Disk;

#[async_trait]
impl Kind for Disk {
    fn spec(&self) -> &KindSpec {
        const { &ROW.spec }
    }

    fn exported(&self) -> Exported {
        ROW.exported()
    }

    fn permissions(&self) -> &'static [Permissions] {
        ROW.permissions
    }

    async fn read(&self, cloud: &Cloud, manifest: &Manifest) -> Result<Option<Observed>, Error> {
        ROW.read(cloud, manifest).await
    }

    async fn list(&self, cloud: &Cloud, deployment: &str) -> Result<Owned, Error> {
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
            let wanted = integer(&manifest.body["sizeGb"]);
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
                    ROW.links,
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

    fn impossible(&self, manifest: &Manifest, observed: &Observed, changes: &[Change]) -> Option<Finding> {
        let changed = |field: &str| changes.iter().any(|change| change.path == field);
        let refuse = |problem: String, instead: String| {
            Some(Finding { subject: manifest.id(), problem, instead, refuses: true })
        };
        let size = |body: &Value| integer(&body["sizeGb"]).unwrap_or_default();
        let (now, wanted) = (size(&observed.body), size(&manifest.body));
        if changed("sizeGb") && wanted < now {
            return refuse(
                format!("a disk cannot shrink: it has {now} GB, the configuration says {wanted}"),
                format!("set `mimir.disk_gb: {now}`"),
            );
        }
        // The machine would go to the new zone, and its data would stay in the old one.
        if changed("zone") {
            let zone = observed.body["zone"].as_str().unwrap_or_default();
            return refuse(
                format!("the data disk is in {zone}, and a disk cannot move to another zone"),
                format!(
                    "set `zones` (and `region`) back to {zone}; or move by a snapshot (each night there is one, \
                     `gcloud compute snapshots list`): `dorainfra apply --restore-disk SNAPSHOT --delete-data` with \
                     the new zone makes disk and machine there. What is newer than the snapshot, and not in the bucket, is then lost"
                ),
            );
        }
        None
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observed, events: &Events) -> Result<(), Error> {
        ROW.delete(cloud, observed, events).await
    }
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

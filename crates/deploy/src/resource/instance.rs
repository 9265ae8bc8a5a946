//! `compute.instance`: the machine. Metadata, labels and tags change in place
//! while it runs; its machine type by a stop and a start.

use std::time::Duration;

use async_trait::async_trait;
use dorainfra_engine::{Change, KindSpec, Manifest, Mark, Observed, Owned, ProviderError, ResourceId};
use dorainfra_gcp::{Api, Call, Error};
use dorainfra_model::{Event, Events};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::compute::{self, Marked, Row, Scope, fingerprinted};
use super::links::{Link, linked};
use super::permissions::Permissions;
use super::{Cloud, Exported, Kind, short};
use crate::machine;

pub const ROW: Row = Row {
    spec: KindSpec {
        immutable: &["zone", "disks", "networkInterfaces", "shieldedInstanceConfig", "scheduling"],
        sets: &["tags.items", "serviceAccounts.scopes"],
        keyed: &[("metadata.items", "key"), ("disks", "deviceName")],
        // A boot disk is made from these; afterwards it is a disk like any other.
        write_only: &["disks.initializeParams"],
        whole: &["labels"],
        lives_in: Some("compute.disk"),
        ..KindSpec::plain("compute.instance")
    },
    collection: "instances",
    scope: Scope::Zone,
    marked: Marked::Labels,
    links: &[
        Link::new("machineType", Scope::Zone, "machineTypes"),
        Link::new("disks.source", Scope::Zone, "disks"),
        Link::new("networkInterfaces.network", Scope::Global, "networks"),
        Link::new("networkInterfaces.subnetwork", Scope::Region, "subnetworks"),
    ],
    permissions: &[
        (
            "compute.instances",
            &[
                "create",
                "delete",
                "get",
                "getGuestAttributes",
                "getSerialPortOutput",
                "list",
                "resume",
                "setDeletionProtection",
                "setLabels",
                "setMachineType",
                "setMetadata",
                "setServiceAccount",
                "setTags",
                "start",
                "stop",
            ],
        ),
        ("compute.subnetworks", &["use"]),
        ("compute.zoneOperations", &["get"]),
    ],
    terraform: "google_compute_instance",
    ..compute::ROW
};

/// How long a machine may take to come to a state that it can be started from.
const UP_WITHIN: Duration = Duration::from_secs(10 * 60);
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// After that, whoever waits for a flush is told that they need not.
const LONG: Duration = Duration::from_secs(30);

pub struct Instance;

/// Whether these changes of a machine can be made only while it is stopped.
pub fn stops(changes: &[Change]) -> bool {
    let fields = ["machineType", "serviceAccounts"];
    changes.iter().any(|change| fields.iter().any(|field| change.path.starts_with(field)))
}

/// How a machine in a state (`instances.status`) gets to run.
#[derive(Debug, PartialEq)]
enum WayUp {
    None,
    Call(&'static str),
    Wait,
}

fn way_up(status: &str) -> WayUp {
    match status {
        "TERMINATED" | "STOPPED" => WayUp::Call("start"),
        "SUSPENDED" => WayUp::Call("resume"),
        // Google brings it up again itself after a repair.
        "STOPPING" | "SUSPENDING" | "REPAIRING" | "PENDING_STOP" => WayUp::Wait,
        _ => WayUp::None,
    }
}

/// One that has been started is as it should be: its machine is waited for by itself.
fn starting_is_running(mut observed: Observed) -> Observed {
    if matches!(observed.body["status"].as_str(), Some("PROVISIONING" | "STAGING" | "PENDING")) {
        observed.body["status"] = json!("RUNNING");
    }
    observed
}

/// Has the machine run, whatever it is doing now.
async fn run(cloud: &Cloud, path: &str, manifest: &Manifest, events: &Events) -> Result<(), Error> {
    let id = manifest.id();
    let deadline = Instant::now() + UP_WITHIN;
    loop {
        let now = cloud.client.call(&Call::get(Api::Compute, path)).await?;
        let status = now["status"].as_str().unwrap_or_default();
        match way_up(status) {
            WayUp::None => return Ok(()),
            WayUp::Call(verb) => {
                let call = Call::write(Api::Compute, Method::POST, format!("{path}/{verb}"));
                return match cloud.client.compute(&call, &id, events).await {
                    Err(error) => Err(with_other_zones(cloud, manifest, error).await),
                    Ok(_) => Ok(()),
                };
            }
            // It goes by itself: down, to be started then, or up again.
            WayUp::Wait if Instant::now() < deadline => {
                let message = status.to_ascii_lowercase();
                events.send(Event::ResourceProgress { id: id.clone(), message });
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            WayUp::Wait => {
                let reason = format!("it is still {status} after {} minutes", UP_WITHIN.as_secs() / 60);
                return Err(Error::Unexpected { what: id.to_string(), reason, source: None });
            }
        }
    }
}

#[async_trait]
impl Kind for Instance {
    fn spec(&self) -> &KindSpec {
        const { &ROW.spec }
    }

    fn exported(&self) -> Exported {
        ROW.exported()
    }

    fn permissions(&self) -> &'static [Permissions] {
        ROW.permissions
    }

    fn permissions_of(&self, manifest: &Manifest) -> Vec<String> {
        let is_set = |list: &Value| list.as_array().is_some_and(|all| !all.is_empty());
        let external = is_set(&manifest.body["networkInterfaces"][0]["accessConfigs"]);
        // Of an account that is named the right may be on the account alone.
        let email = manifest.body["serviceAccounts"][0]["email"].as_str().unwrap_or_default();
        let own = email.starts_with('$');
        [(external, "compute.subnetworks.useExternalIp"), (own, "iam.serviceAccounts.actAs")]
            .into_iter()
            .filter(|(needed, _)| *needed)
            .map(|(_, permission)| permission.to_owned())
            .collect()
    }

    async fn read(&self, cloud: &Cloud, manifest: &Manifest) -> Result<Option<Observed>, Error> {
        Ok(ROW.read(cloud, manifest).await?.map(starting_is_running))
    }

    async fn list(&self, cloud: &Cloud, deployment: &str) -> Result<Owned, Error> {
        let mut owned = ROW.list(cloud, deployment).await?;
        owned.found = owned.found.into_iter().map(starting_is_running).collect();
        Ok(owned)
    }

    async fn create(
        &self,
        cloud: &Cloud,
        manifest: &Manifest,
        mark: &Mark,
        events: &Events,
    ) -> Result<(), Error> {
        match ROW.insert(cloud, manifest, mark, events).await {
            Err(error) => Err(with_other_zones(cloud, manifest, error).await),
            Ok(()) => Ok(()),
        }
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
        let id = manifest.id();
        let changed = |field: &str| changes.iter().any(|change| change.path.starts_with(field));
        let post = |verb: &str| Call::write(Api::Compute, Method::POST, format!("{path}/{verb}"));
        if stops(changes) {
            let linked = linked(ROW.links, cloud.client.project(), manifest.body.clone(), &manifest.body);
            // Neither can change while it runs. Disks and addresses stay.
            match observed.body["status"].as_str() {
                Some("TERMINATED") => {}
                Some("RUNNING") => cloud.client.compute(&post("stop"), &id, events).await.map(drop)?,
                // Suspended, or on its way: neither takes a stop.
                _ => {
                    run(cloud, &path, manifest, events).await?;
                    cloud.client.compute(&post("stop"), &id, events).await?;
                }
            }
            if changed("machineType") {
                let call = post("setMachineType").body(json!({"machineType": linked["machineType"]}));
                cloud.client.compute(&call, &id, events).await?;
            }
            if changed("serviceAccounts") {
                let call = post("setServiceAccount").body(manifest.body["serviceAccounts"][0].clone());
                cloud.client.compute(&call, &id, events).await?;
            }
        }
        if changed("deletionProtection") {
            let wanted = manifest.body["deletionProtection"] == true;
            let call = post("setDeletionProtection").query("deletionProtection", wanted.to_string());
            cloud.client.compute(&call, &id, events).await?;
        }
        if changed("tags") {
            fingerprinted(
                cloud,
                &path,
                |current| {
                    post("setTags").body(json!({
                        "items": manifest.body["tags"]["items"],
                        "fingerprint": current["tags"]["fingerprint"],
                    }))
                },
                &id,
                events,
            )
            .await?;
        }
        if changed("metadata") {
            fingerprinted(
                cloud,
                &path,
                |current| {
                    post("setMetadata").body(json!({
                        "items": manifest.body["metadata"]["items"],
                        "fingerprint": current["metadata"]["fingerprint"],
                    }))
                },
                &id,
                events,
            )
            .await?;
        }
        // Also after a run that was cut off between the stop and the start.
        run(cloud, &path, manifest, events).await?;
        // Last: the digest in the labels says that all of the above is done.
        ROW.set_labels(cloud, manifest, mark, events).await
    }

    async fn serves(&self, cloud: &Cloud, observed: &Observed) -> Result<(), ProviderError> {
        super::rolling::serves(cloud, observed).await
    }

    async fn settle(&self, cloud: &Cloud, manifest: &Manifest, events: &Events) -> Result<(), ProviderError> {
        super::rolling::settle(cloud, manifest, events).await
    }

    /// That it goes was agreed to by now: so the protection is lifted. First the
    /// machine writes what is on its data disk only; where it cannot, that stays
    /// in the write-ahead log on the disk.
    async fn delete(&self, cloud: &Cloud, observed: &Observed, events: &Events) -> Result<(), Error> {
        let path = ROW.path(&observed.body, &observed.id.name)?;
        if cloud.flush && observed.body["status"] == "RUNNING" {
            flush(cloud, &path, &observed.id, events).await?;
        } else if cloud.flush {
            events.warn(
                format!(
                    "{} is not running: what it has not written to the bucket is in the log on its data disk only",
                    observed.id
                ),
                Some(
                    "nothing is lost: the disk is kept, and the next machine takes it up. To have all of it in the \
                     bucket, start the machine (`dorainfra apply`) before it goes"
                        .into(),
                ),
            );
        }
        if observed.body["deletionProtection"] == true {
            // Cut off from here on, it is not somebody in the cloud who has changed it.
            ROW.unfinished(cloud, &path, &observed.id, events).await?;
            let call = Call::write(Api::Compute, Method::POST, format!("{path}/setDeletionProtection"))
                .query("deletionProtection", "false");
            cloud.client.compute(&call, &observed.id, events).await?;
        }
        ROW.delete(cloud, observed, events).await
    }
}

/// A machine that cannot write does not stop its deletion: it keeps what it has on its disk.
///
/// # Errors
/// The run was interrupted before all was written: nothing is deleted then.
async fn flush(cloud: &Cloud, path: &str, id: &ResourceId, events: &Events) -> Result<(), Error> {
    let order = uuid::Uuid::new_v4().to_string();
    let set = |order: &str| {
        let item = json!({"key": machine::FLUSH_ITEM, "value": order});
        let path = path.to_owned();
        move |current: &Value| {
            let mut items = current["metadata"]["items"].as_array().cloned().unwrap_or_default();
            items.retain(|other| other["key"] != machine::FLUSH_ITEM);
            items.push(item.clone());
            let body = json!({"items": items, "fingerprint": current["metadata"]["fingerprint"]});
            Call::write(Api::Compute, Method::POST, format!("{path}/setMetadata")).body(body)
        }
    };
    let flushed = async {
        if !machine::can_flush(&cloud.machines, path).await? {
            return Ok(None);
        }
        fingerprinted(cloud, path, set(&order), id, events).await?;
        let progress = |message: String| {
            events.send(Event::ResourceProgress { id: id.clone(), message });
        };
        machine::flushed(&cloud.machines, path, &order, progress).await.map(Some)
    };
    let how_to_go_on = async {
        tokio::time::sleep(LONG).await;
        events.note(format!(
            "{id} is deleted once what it holds is in the bucket. To skip the wait, press Ctrl-C; then `dorainfra destroy \
             --no-flush` leaves it on the data disk"
        ));
        std::future::pending().await
    };
    let flushed = tokio::select! {
        flushed = flushed => flushed,
        never = how_to_go_on => never,
        () = cloud.interrupt.cancelled() => {
            return Err(Error::NotDone {
                why: format!("interrupted before {id} had written what it holds to the bucket"),
                instead: "the machine is still there: the same command waits for it again, and `dorainfra \
                          destroy --no-flush` leaves on the data disk what is not written"
                    .into(),
            });
        }
    };
    match flushed {
        Ok(done) => done.into_iter().for_each(|message| events.note(format!("{id} is deleted: {message}"))),
        Err(error) => events.warn(
            format!("{id} is deleted without having written everything to the bucket: {error}"),
            Some(
                "nothing is lost: the rest is in the write-ahead log on its data disk, which the next \
                 machine takes up"
                    .into(),
            ),
        ),
    }
    Ok(())
}

/// A zone that has no machines left: its region's other zones are named.
async fn with_other_zones(cloud: &Cloud, manifest: &Manifest, error: Error) -> Error {
    let Error::Api(mut api) = error else { return error };
    let zone = manifest.body["zone"].as_str().unwrap_or_default();
    if let Some((region, _)) = zone.rsplit_once('-')
        && api.is_out_of_stock()
        && let Ok(answer) = cloud.client.call(&Call::get(Api::Compute, format!("regions/{region}"))).await
    {
        let zones = answer["zones"].as_array().into_iter().flatten().filter_map(Value::as_str).map(short);
        api.other_zones = zones.filter(|other| *other != zone).map(str::to_owned).collect();
    }
    Error::Api(api)
}

//! Snapshots: copies of what a disk holds, and the disks that are made from them.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::operations::{Edit, Effect, start};
use super::{delete, disk_content, existing, fresh_in, key_of_link, not_found, not_ready, target};
use crate::kernel::access::require;
use crate::kernel::call::{Call, Handler};
use crate::kernel::error::ApiError;
use crate::kernel::faults::OperationError;
use crate::kernel::store::Tx;
use crate::kernel::{clock, locations};

pub fn handler(verb: &str) -> Option<Handler> {
    Some(match verb {
        "insert" => insert,
        "delete" => remove,
        _ => return None,
    })
}

/// `disks.createSnapshot`: the path names the disk, the body the snapshot.
pub fn of_disk(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (disk, _) = target(call, tx)?;
    require(call, tx, "compute.snapshots.create")?;
    take(call, tx, &disk)
}

fn insert(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let source = call.text("sourceDisk");
    if source.is_empty() {
        return Err(ApiError::new(400, "required", "Required field 'resource.sourceDisk' not specified"));
    }
    let (disk, _) = existing(call, tx, source, "disks", "resource.sourceDisk")?;
    require(call, tx, "compute.disks.createSnapshot")?;
    take(call, tx, &disk)
}

fn take(call: &Call, tx: &mut Tx, disk_key: &str) -> Result<Value, ApiError> {
    let disk = tx.get(disk_key).cloned().ok_or_else(|| not_found(call, disk_key))?;
    let others = ["snapshotEncryptionKey", "sourceDiskEncryptionKey", "chainName", "params"];
    if let Some(field) = others.into_iter().find(|field| !call.body[*field].is_null()) {
        return Err(ApiError::unimplemented(&format!("snapshots with {field}")));
    }
    let (key, mut record) = fresh_in(call, tx, "compute#snapshot", "global", "snapshots")?;
    if disk["status"] != "READY" {
        return Err(not_ready(call, disk_key));
    }
    let region = locations::region_of(disk_key.split('/').nth(2).unwrap_or_default());
    for field in ["licenses", "guestOsFeatures", "architecture"] {
        if !disk[field].is_null() {
            record[field] = disk[field].clone();
        }
    }
    record["sourceDisk"] = disk["selfLink"].clone();
    record["sourceDiskId"] = disk["id"].clone();
    record["diskSizeGb"] = disk["sizeGb"].clone();
    record["snapshotType"] = json!(call.body["snapshotType"].as_str().unwrap_or("STANDARD"));
    record["storageBytesStatus"] = json!("UPDATING");
    record["autoCreated"] = json!(false);
    record["labelFingerprint"] = json!(clock::fingerprint());
    if record["storageLocations"].is_null() {
        record["storageLocations"] = json!([region]);
    }
    record["status"] = json!("CREATING");
    tx.put(key.clone(), record);
    let copy = folders(call, disk_key, &key);
    let effect = Effect {
        fail: too_often(call, disk_key),
        done: vec![Edit::Merge(key.clone(), json!({"status": "READY", "storageBytesStatus": "UP_TO_DATE"}))],
        undo: vec![Edit::Remove(key.clone())],
        copy,
        ..Effect::default()
    };
    let on = if call.short_id() == "snapshots.insert" { key } else { disk_key.to_owned() };
    start(call, tx, &on, effect)
}

/// What a copy of a disk or of a snapshot fails with, where there were too many.
pub fn too_often(call: &Call, source: &str) -> Option<OperationError> {
    if !call.cloud.profile().snapshots_pace {
        return None;
    }
    super::state::state(&call.cloud).copies.copy(source, &super::relative(&call.cloud.project, source))
}

fn folders(call: &Call, from: &str, to: &str) -> Option<(PathBuf, PathBuf)> {
    let dir = &call.cloud.dir;
    Some((disk_content::folder(dir, from)?, disk_content::folder(dir, to)?))
}

fn remove(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, _) = target(call, tx)?;
    delete(call, tx, &key, Some("DELETING"))
}

/// Makes a new disk's record one of a snapshot's content; answers what the
/// operation has to copy.
pub fn restore(
    call: &Call,
    tx: &Tx,
    disk_key: &str,
    disk: &mut Value,
) -> Result<Option<(PathBuf, PathBuf)>, ApiError> {
    let Some(text) = disk["sourceSnapshot"].as_str().map(str::to_owned) else { return Ok(None) };
    let (key, snapshot) = existing(call, tx, &text, "snapshots", "resource.sourceSnapshot")?;
    require(call, tx, "compute.snapshots.useReadOnly")?;
    if snapshot["status"] != "READY" {
        return Err(not_ready(call, &key));
    }
    disk["sourceSnapshot"] = snapshot["selfLink"].clone();
    disk["sourceSnapshotId"] = snapshot["id"].clone();
    for field in ["licenses", "guestOsFeatures", "architecture"] {
        if !snapshot[field].is_null() {
            disk[field] = snapshot[field].clone();
        }
    }
    Ok(folders(call, &key, disk_key))
}

/// The size that a disk from this snapshot has at least.
pub fn least_gb(tx: &Tx, disk: &Value) -> Option<i64> {
    let key = key_of_link(disk["sourceSnapshot"].as_str()?)?;
    tx.get(&key)?["diskSizeGb"].as_str()?.parse().ok()
}

/// What the schedules make in a night: a snapshot of each disk that follows one, with
/// the labels that the schedule says. It stays when disk and schedule are gone. Answers
/// how many.
pub fn by_schedule(tx: &mut Tx) -> usize {
    let disks: Vec<(String, Value)> =
        tx.scan("compute/zones/").into_iter().filter(|(key, _)| key.contains("/disks/")).collect();
    let mut made = 0;
    for (_, disk) in disks {
        for policy in disk["resourcePolicies"].as_array().into_iter().flatten() {
            let Some(schedule) = policy.as_str().and_then(key_of_link).and_then(|key| tx.get(&key).cloned())
            else {
                continue;
            };
            made += 1;
            let name =
                format!("{}-{}", disk["name"].as_str().unwrap_or_default(), uuid::Uuid::new_v4().simple());
            let name: String = name.chars().take(63).collect();
            let properties = &schedule["snapshotSchedulePolicy"]["snapshotProperties"];
            let link = disk["selfLink"].as_str().unwrap_or_default();
            let project = link.split("/zones/").next().unwrap_or_default();
            let record = json!({
                "kind": "compute#snapshot", "name": name, "status": "READY", "autoCreated": true,
                "id": made.to_string(), "creationTimestamp": clock::timestamp(),
                "selfLink": format!("{project}/global/snapshots/{name}"),
                "sourceDisk": disk["selfLink"], "sourceDiskId": disk["id"], "diskSizeGb": disk["sizeGb"],
                "sourceSnapshotSchedulePolicy": policy, "labels": properties["labels"],
                "labelFingerprint": clock::fingerprint(), "storageLocations": properties["storageLocations"],
                "storageBytes": "1024", "storageBytesStatus": "UP_TO_DATE", "snapshotType": "STANDARD",
            });
            tx.put(format!("compute/global/snapshots/{name}"), record);
        }
    }
    made
}

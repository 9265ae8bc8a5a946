//! Instances after their creation: stop, start, reset, delete, and the fields
//! that can be set.

use std::sync::Arc;

use serde_json::{Value, json};

use super::machines::{self, MachineAction, MachineTask};
use super::operations::{Edit, Effect, start};
use super::state::state;
use super::{
    addresses, guest_attributes, insert, instance_groups, key_of_link, link, machine_series, modify,
    not_ready, relative, target,
};
use crate::kernel::call::{Call, Handler};
use crate::kernel::error::ApiError;
use crate::kernel::store::{After, Tx};
use crate::kernel::{clock, locations};
use crate::machines::MachineId;

pub fn handler(verb: &str) -> Option<Handler> {
    Some(match verb {
        "insert" => insert::insert,
        "delete" => delete,
        "start" => power_on,
        "stop" => power_off,
        "reset" => reset,
        "suspend" => suspend,
        "resume" => resume,
        "setMetadata" => set_metadata,
        "setTags" => set_tags,
        "setMachineType" => set_machine_type,
        "setServiceAccount" => set_service_account,
        "setScheduling" => set_scheduling,
        "setDiskAutoDelete" => set_disk_auto_delete,
        "setDeletionProtection" => set_deletion_protection,
        "updateShieldedInstanceConfig" => update_shielded,
        "attachDisk" => attach,
        "detachDisk" => detach,
        "getGuestAttributes" => guest_attributes::get,
        "getSerialPortOutput" => serial_port,
        _ => return None,
    })
}

fn settled(call: &Call, key: &str, record: &Value) -> Result<(), ApiError> {
    if matches!(record["status"].as_str(), Some("RUNNING" | "TERMINATED")) {
        return Ok(());
    }
    Err(not_ready(call, key))
}

fn delete(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, instance) = target(call, tx)?;
    if instance["deletionProtection"] == true {
        return Err(ApiError::new(
            400,
            "invalidResourceUsage",
            "Invalid resource usage: 'Resource cannot be deleted if it's protected against deletion.'.",
        ));
    }
    let mut effect = Effect {
        machine: Some(MachineTask { what: MachineAction::Delete, key: key.clone() }),
        undo: vec![Edit::Merge(key.clone(), json!({"status": instance["status"]}))],
        ..Effect::default()
    };
    for disk in instance["disks"].as_array().into_iter().flatten() {
        let disk_key = key_of_link(disk["source"].as_str().unwrap_or_default()).unwrap_or_default();
        effect.done.push(if disk["autoDelete"] == true {
            Edit::Remove(disk_key)
        } else {
            Edit::Merge(disk_key, json!({"users": null, "lastDetachTimestamp": clock::timestamp()}))
        });
    }
    let own = link(&call.cloud.project, &key);
    effect.done.extend(addresses::release_all(tx, &own));
    effect.done.extend(instance_groups::leave_all(tx, &own));
    for (attribute, _) in tx.scan(&format!("guest/{}/{}/", call.path("zone"), call.path("instance"))) {
        effect.done.push(Edit::Remove(attribute));
    }
    effect.done.push(Edit::Remove(key.clone()));
    tx.edit(&key, |record| record["status"] = json!("STOPPING"));
    start(call, tx, &key, effect)
}

fn power_off(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    settled(call, &key, &record)?;
    if record["status"] == "TERMINATED" {
        return start(call, tx, &key, Effect::default());
    }
    tx.edit(&key, |record| record["status"] = json!("STOPPING"));
    let mut stopped = json!({"status": "TERMINATED", "lastStopTimestamp": clock::timestamp()});
    let region = locations::region_of(call.path("zone"));
    if let Some(interfaces) = addresses::without_ephemeral(tx, region, &record["networkInterfaces"]) {
        stopped["networkInterfaces"] = interfaces;
    }
    let effect = Effect {
        done: vec![Edit::Merge(key.clone(), stopped)],
        undo: vec![Edit::Merge(key.clone(), json!({"status": "RUNNING"}))],
        machine: Some(MachineTask { what: MachineAction::Stop, key: key.clone() }),
        ..Effect::default()
    };
    start(call, tx, &key, effect)
}

fn power_on(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    settled(call, &key, &record)?;
    if record["status"] == "RUNNING" {
        return start(call, tx, &key, Effect::default());
    }
    let region = locations::region_of(call.path("zone"));
    let interfaces = addresses::with_ephemeral(call, tx, region, &record["networkInterfaces"])?;
    if let Some(interfaces) = interfaces {
        tx.edit(&key, |record| record["networkInterfaces"] = interfaces);
    }
    boot(call, tx, &key, "TERMINATED")
}

/// The machine is gone until it is resumed, and boots anew then: nothing keeps its memory.
fn suspend(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    if record["status"] != "RUNNING" {
        return Err(not_ready(call, &key));
    }
    tx.edit(&key, |record| record["status"] = json!("SUSPENDING"));
    let suspended = json!({"status": "SUSPENDED", "lastSuspendedTimestamp": clock::timestamp()});
    let effect = Effect {
        done: vec![Edit::Merge(key.clone(), suspended)],
        undo: vec![Edit::Merge(key.clone(), json!({"status": "RUNNING"}))],
        machine: Some(MachineTask { what: MachineAction::Stop, key: key.clone() }),
        ..Effect::default()
    };
    start(call, tx, &key, effect)
}

fn resume(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    if record["status"] != "SUSPENDED" {
        return Err(ApiError::new(
            400,
            "invalidResourceUsage",
            format!(
                "Invalid resource usage: 'Instance should be in SUSPENDED state to be resumed. Current state: {}.'.",
                record["status"].as_str().unwrap_or_default()
            ),
        ));
    }
    boot(call, tx, &key, "SUSPENDED")
}

/// Has the machine run, out of the state `from`.
fn boot(call: &Call, tx: &mut Tx, key: &str, from: &str) -> Result<Value, ApiError> {
    tx.edit(key, |record| record["status"] = json!("PROVISIONING"));
    let running = json!({"status": "RUNNING", "lastStartTimestamp": clock::timestamp()});
    let effect = Effect {
        done: vec![Edit::Merge(key.to_owned(), running)],
        undo: vec![Edit::Merge(key.to_owned(), json!({"status": from}))],
        machine: Some(MachineTask { what: MachineAction::Boot, key: key.to_owned() }),
        ..Effect::default()
    };
    start(call, tx, key, effect)
}

fn reset(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    if record["status"] != "RUNNING" {
        return Err(not_ready(call, &key));
    }
    let effect = Effect {
        machine: Some(MachineTask { what: MachineAction::Reset, key: key.clone() }),
        ..Effect::default()
    };
    start(call, tx, &key, effect)
}

/// Checks metadata items and gives them a fingerprint.
pub fn metadata(wanted: &Value) -> Result<Value, ApiError> {
    let items = wanted["items"].as_array().cloned().unwrap_or_default();
    let mut seen = std::collections::BTreeSet::new();
    let mut total = 0;
    for (at, item) in items.iter().enumerate() {
        let key = item["key"].as_str().unwrap_or_default();
        let good = (1..=128).contains(&key.len())
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if !good {
            return Err(ApiError::invalid(format!(
                "Invalid value for field 'metadata.items[{at}].key': '{key}'. Must be a match of regex \
                 '[a-zA-Z0-9-_]{{1,128}}'"
            )));
        }
        if !seen.insert(key.to_owned()) {
            return Err(ApiError::invalid(format!(
                "Invalid value for field 'metadata': ''. Metadata has duplicate keys: {key}"
            )));
        }
        let size = item["value"].as_str().map_or(0, str::len);
        total += size + key.len();
        if size > 262_144 || total > 524_288 {
            return Err(ApiError::invalid(format!(
                "Value for field 'metadata.items[{at}].value' is too large: maximum size 262144 character(s); \
                 actual size {size}."
            )));
        }
    }
    let mut metadata = json!({"kind": "compute#metadata", "fingerprint": clock::fingerprint()});
    if !items.is_empty() {
        metadata["items"] = json!(items);
    }
    Ok(metadata)
}

/// Checks network tags and gives them a fingerprint.
/// Network tags of one machine. Source: "Add network tags", limits.
const MOST_TAGS: usize = 64;

pub fn tags(wanted: &Value) -> Result<Value, ApiError> {
    let items = wanted["items"].as_array().cloned().unwrap_or_default();
    if items.len() > MOST_TAGS {
        return Err(ApiError::invalid(format!(
            "Invalid value for field 'tags.items': '{}'. Must have at most {MOST_TAGS} elements.",
            items.len()
        )));
    }
    for item in &items {
        crate::kernel::labels::check_name(item.as_str().unwrap_or_default()).map_err(|_| {
            ApiError::invalid(format!(
                "Invalid value for field 'tags.items': {item}. Must be a match of regex \
                 '(?:[a-z](?:[-a-z0-9]{{0,61}}[a-z0-9])?)'"
            ))
        })?;
    }
    let mut tags = json!({"fingerprint": clock::fingerprint()});
    if !items.is_empty() {
        tags["items"] = json!(items);
    }
    Ok(tags)
}

fn check_fingerprint(call: &Call, current: &Value, what: &str) -> Result<(), ApiError> {
    if current["fingerprint"].as_str() == Some(call.text("fingerprint")) {
        return Ok(());
    }
    Err(ApiError::condition(format!("Supplied fingerprint does not match current {what} fingerprint.")))
}

fn set_metadata(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    check_fingerprint(call, &record["metadata"], "metadata")?;
    let metadata = metadata(&call.body)?;
    let (cloud, instance) = (Arc::clone(&call.cloud), key.clone());
    tx.after(After::Spawn(Box::pin(machines::metadata_changed(cloud, instance))));
    modify(call, tx, &key, &json!({"metadata": metadata, "fingerprint": clock::fingerprint()}))
}

fn set_tags(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    check_fingerprint(call, &record["tags"], "tags")?;
    modify(call, tx, &key, &json!({"tags": tags(&call.body)?, "fingerprint": clock::fingerprint()}))
}

fn stopped(call: &Call, key: &str, record: &Value, what: &str) -> Result<(), ApiError> {
    if record["status"] == "TERMINATED" {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "Invalid resource usage: 'The instance {} must be stopped before its {what} can be changed.'.",
        relative(&call.cloud.project, key)
    )))
}

fn fits(tx: &Tx, machine_type: &str, disks: &Value) -> Result<(), ApiError> {
    machine_series::mismatch(tx, machine_type, disks).map_or(Ok(()), |(disk, machine)| {
        let words = format!("{disk} disk type cannot be used by {machine} machine type.");
        Err(ApiError::new(400, "badRequest", words))
    })
}

fn set_machine_type(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    stopped(call, &key, &record, "machine type")?;
    let link = insert::machine_type(call, call.path("zone"), call.text("machineType"), "machineType")?;
    fits(tx, &link, &record["disks"])?;
    modify(call, tx, &key, &json!({"machineType": link}))
}

fn set_service_account(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    stopped(call, &key, &record, "service account")?;
    let wanted = match call.text("email") {
        "" => Value::Null,
        _ => json!([call.body]),
    };
    let accounts = insert::service_accounts(call, tx, &wanted)?;
    modify(call, tx, &key, &json!({"serviceAccounts": accounts}))
}

fn set_deletion_protection(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, _) = target(call, tx)?;
    // On, unless the caller says no: clients write `false` and `False`.
    let wanted = call.query("deletionProtection").is_none() || call.flag("deletionProtection");
    modify(call, tx, &key, &json!({"deletionProtection": wanted}))
}

/// Who starts the machine again when it fails, and what else may happen to it.
fn set_scheduling(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    let mut scheduling = record["scheduling"].clone();
    for (name, value) in call.body.as_object().into_iter().flatten() {
        match name.as_str() {
            "automaticRestart" | "onHostMaintenance" => scheduling[name] = value.clone(),
            // Said, but nothing: the Terraform provider writes every field.
            _ if insert::is_nothing(value) => {}
            "preemptible" | "provisioningModel" if scheduling[name] == *value => {}
            "preemptible" | "provisioningModel" => {
                return Err(ApiError::invalid(format!(
                    "Invalid value for field 'resource.{name}': the field can be set only when the instance is \
                     created."
                )));
            }
            other => return Err(ApiError::unimplemented(&format!("instances.setScheduling with {other}"))),
        }
    }
    insert::check_scheduling(&scheduling, record["machineType"].as_str().unwrap_or_default())?;
    modify(call, tx, &key, &json!({"scheduling": scheduling}))
}

fn set_disk_auto_delete(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    let device = call.query("deviceName").unwrap_or_default();
    let mut disks = record["disks"].clone();
    let found = disks.as_array_mut().into_iter().flatten().find(|disk| disk["deviceName"] == device);
    let Some(disk) = found else {
        return Err(ApiError::invalid(format!("No attached disk found with device name '{device}'")));
    };
    disk["autoDelete"] = json!(call.flag("autoDelete"));
    modify(call, tx, &key, &json!({"disks": disks}))
}

fn update_shielded(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    stopped(call, &key, &record, "Shielded VM configuration")?;
    let mut config = record["shieldedInstanceConfig"].clone();
    for (name, value) in call.body.as_object().into_iter().flatten() {
        config[name] = value.clone();
    }
    modify(call, tx, &key, &json!({"shieldedInstanceConfig": config}))
}

fn attach(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    settled(call, &key, &record)?;
    crate::kernel::access::require(call, tx, "compute.disks.use")?;
    let before = record["disks"].clone();
    let mut disks = before.as_array().cloned().unwrap_or_default();
    let index =
        disks.iter().filter_map(|disk| disk["index"].as_u64()).max().map_or(0, |last| last as usize + 1);
    let mut effect = Effect::default();
    let own = link(&call.cloud.project, &key);
    let entry = insert::attach_disk(call, tx, &call.body, index, &own, &mut effect)?;
    if disks.iter().any(|disk| disk["deviceName"] == entry["deviceName"]) {
        return Err(ApiError::invalid(format!(
            "Invalid value for field 'deviceName': {}. The device name is already used.",
            entry["deviceName"]
        )));
    }
    if record["status"] == "RUNNING" {
        let device = entry["deviceName"].as_str().unwrap_or_default().to_owned();
        effect.machine = Some(MachineTask { what: MachineAction::Attach(device), key: key.clone() });
    }
    fits(tx, record["machineType"].as_str().unwrap_or_default(), &json!([entry]))?;
    disks.push(entry);
    tx.edit(&key, |record| record["disks"] = json!(disks));
    effect.undo.push(Edit::Merge(key.clone(), json!({"disks": before})));
    start(call, tx, &key, effect)
}

fn detach(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    settled(call, &key, &record)?;
    let device = call.query("deviceName").unwrap_or_default();
    let disks = record["disks"].as_array().cloned().unwrap_or_default();
    let Some(disk) = disks.iter().find(|disk| disk["deviceName"] == device) else {
        return Err(ApiError::invalid(format!("No attached disk found with device name '{device}'")));
    };
    if disk["boot"] == true && record["status"] == "RUNNING" {
        return Err(ApiError::invalid(
            "Invalid resource usage: 'The boot disk of a running instance cannot be detached.'.",
        ));
    }
    let source = key_of_link(disk["source"].as_str().unwrap_or_default()).unwrap_or_default();
    let rest: Vec<Value> = disks.iter().filter(|disk| disk["deviceName"] != device).cloned().collect();
    let effect = Effect {
        done: vec![
            Edit::Merge(key.clone(), json!({"disks": rest})),
            Edit::Merge(source, json!({"users": null, "lastDetachTimestamp": clock::timestamp()})),
        ],
        machine: (record["status"] == "RUNNING")
            .then(|| MachineTask { what: MachineAction::Detach(device.to_owned()), key: key.clone() }),
        ..Effect::default()
    };
    start(call, tx, &key, effect)
}

fn serial_port(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    if record["status"] == "TERMINATED" {
        return Err(not_ready(call, &key));
    }
    let port = call.number("port").unwrap_or(1);
    if !(1..=4).contains(&port) {
        return Err(ApiError::invalid(format!(
            "Invalid value for field 'port': '{port}'. Must be greater than or equal to 1 and less than or equal \
             to 4"
        )));
    }
    let start = call.number("start").unwrap_or(0);
    let from = u64::try_from(start).unwrap_or(0);
    let (mut contents, next) = match (port, state(&call.cloud).machines.get()) {
        (1, Some(machines)) => {
            let (zone, name) = (call.path("zone").to_owned(), call.path("instance").to_owned());
            machines.serial_output(&MachineId { zone, name }, from)
        }
        _ => (String::new(), from),
    };
    // A negative start: so many of the newest bytes.
    if let Ok(newest) = usize::try_from(start.unsigned_abs())
        && start < 0
        && newest < contents.len()
    {
        let cut = (contents.len() - newest..contents.len()).find(|at| contents.is_char_boundary(*at));
        contents.drain(..cut.unwrap_or(contents.len()));
    }
    Ok(json!({
        "kind": "compute#serialPortOutput",
        "contents": contents,
        "start": next.saturating_sub(contents.len() as u64).to_string(),
        "next": next.to_string(),
        "selfLink": format!("{}/serialPort", link(&call.cloud.project, &key)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_keys_are_unique_and_plain() {
        let items = |keys: &[&str]| json!({"items": keys.iter().map(|key| json!({"key": key, "value": ""})).collect::<Vec<_>>()});
        assert!(metadata(&items(&["startup-script", "a_b"])).is_ok());
        assert!(metadata(&items(&["a", "a"])).unwrap_err().message.contains("duplicate keys: a"));
        assert!(metadata(&items(&["a b"])).is_err());
        assert_eq!(metadata(&Value::Null).unwrap()["items"], Value::Null);
    }

    #[test]
    fn a_link_is_turned_into_its_key() {
        assert_eq!(
            key_of_link("https://www.googleapis.com/compute/v1/projects/p/zones/z/disks/d").as_deref(),
            Some("compute/zones/z/disks/d")
        );
    }
}

//! Persistent disks.

use serde_json::{Value, json};

use super::operations::{Edit, Effect, start};
use super::{
    catalogue, delete, fresh, key_of_link, link, modify, not_found, reference, refuse_in_use, snapshots,
    target,
};
use crate::kernel::call::{Call, Handler};
use crate::kernel::error::ApiError;
use crate::kernel::store::Tx;
use crate::kernel::{clock, locations};

pub fn handler(verb: &str) -> Option<Handler> {
    Some(match verb {
        "insert" => insert,
        "createSnapshot" => super::snapshots::of_disk,
        "delete" => remove,
        "resize" => resize,
        "addResourcePolicies" => add_policies,
        "removeResourcePolicies" => remove_policies,
        _ => return None,
    })
}

/// The full link of a disk type; only links name one.
pub fn disk_type(call: &Call, zone: &str, text: &str, field: &str) -> Result<String, ApiError> {
    let key = reference(call, text, "diskTypes", field)?;
    let name = key.rsplit_once('/').map_or("", |(_, name)| name);
    if !catalogue::DISK_TYPES.contains(&name) || !key.starts_with(&format!("compute/zones/{zone}/")) {
        return Err(not_found(call, &key));
    }
    Ok(link(&call.cloud.project, &key))
}

/// A size in GB, between what the type and the image need and what Google has.
pub fn size_gb(value: &Value, default: i64, least: i64, field: &str) -> Result<i64, ApiError> {
    let given = value.as_str().and_then(|text| text.parse().ok()).or_else(|| value.as_i64());
    let size = given.filter(|size| *size != 0).unwrap_or(default);
    if size < least || size > 65_536 {
        return Err(ApiError::invalid(format!(
            "Invalid value for field '{field}': '{size}'. Requested disk size cannot be smaller than the minimum \
             size ({least} GB) or larger than 65536 GB."
        )));
    }
    Ok(size)
}

/// What the type lets be chosen, within its limits.
/// Source: "Hyperdisk Balanced volumes", limits; "Persistent Disk performance overview".
pub fn performance(record: &Value, field: &str) -> Result<(), ApiError> {
    let number = |value: &Value| value.as_str().and_then(|text| text.parse().ok()).or_else(|| value.as_i64());
    let kind = record["type"].as_str().and_then(|link| link.rsplit('/').next()).unwrap_or_default();
    let size = number(&record["sizeGb"]).unwrap_or_default();
    let most = size.saturating_mul(500).min(160_000);
    for (name, limits) in [
        (
            "provisionedIops",
            match kind {
                "hyperdisk-balanced" => Some((most.min(3_000), most)),
                "pd-extreme" => Some((2_500, 120_000)),
                _ => None,
            },
        ),
        ("provisionedThroughput", (kind == "hyperdisk-balanced").then_some((140, 2_400))),
    ] {
        let Some(wanted) = number(&record[name]).filter(|wanted| *wanted != 0) else { continue };
        let Some((least, most)) = limits else {
            return Err(ApiError::invalid(format!(
                "Invalid value for field '{field}.{name}': '{wanted}'. {name} is not supported for the disk type {kind}."
            )));
        };
        if !(least..=most).contains(&wanted) {
            return Err(ApiError::invalid(format!(
                "Invalid value for field '{field}.{name}': '{wanted}'. A disk of the type {kind} with {size} GB takes \
                 {least} to {most}."
            )));
        }
    }
    Ok(())
}

fn policies(call: &Call, tx: &Tx, wanted: &Value) -> Result<Vec<String>, ApiError> {
    let region = locations::region_of(call.path("zone"));
    let texts = wanted.as_array().into_iter().flatten().filter_map(Value::as_str);
    let links = texts.map(|text| {
        let key = reference(call, text, "resourcePolicies", "resource.resourcePolicies")?;
        if !key.starts_with(&format!("compute/regions/{region}/")) {
            return Err(ApiError::invalid(format!(
                "Invalid value for field 'resource.resourcePolicies': '{text}'. The resource policy must be in the \
                 region of the disk, {region}."
            )));
        }
        if tx.has(&key) { Ok(link(&call.cloud.project, &key)) } else { Err(not_found(call, &key)) }
    });
    links.collect()
}

fn insert(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, mut record) = fresh(call, tx, "compute#disk")?;
    let zone = call.path("zone");
    let image = call.query("sourceImage").or_else(|| record["sourceImage"].as_str()).map(str::to_owned);
    let mut least = 10;
    if let Some(image) = image {
        let image = catalogue::image(tx, &image, "resource.sourceImage")?;
        catalogue::check_usable(&image)?;
        least = image["diskSizeGb"].as_str().and_then(|size| size.parse().ok()).unwrap_or(10);
        record["sourceImage"] = image["selfLink"].clone();
        record["sourceImageId"] = image["id"].clone();
        record["licenses"] = image["licenses"].clone();
        record["guestOsFeatures"] = image["guestOsFeatures"].clone();
        record["architecture"] = image["architecture"].clone();
    }
    let others = ["sourceDisk", "sourceInstantSnapshot", "diskEncryptionKey", "replicaZones", "params"];
    if let Some(field) = others.into_iter().find(|field| !record[*field].is_null()) {
        return Err(ApiError::unimplemented(&format!("disks with {field}")));
    }
    let copy = snapshots::restore(call, tx, &key, &mut record)?;
    least = snapshots::least_gb(tx, &record).unwrap_or(least);
    let of_content = copy.is_some() || record["sourceImage"].is_string();
    let default = if of_content { least } else { 500 };
    record["sizeGb"] = json!(size_gb(&record["sizeGb"], default, least, "resource.sizeGb")?.to_string());
    let kind =
        record["type"].as_str().map_or_else(|| format!("zones/{zone}/diskTypes/pd-standard"), str::to_owned);
    record["type"] = json!(disk_type(call, zone, &kind, "resource.type")?);
    performance(&record, "resource")?;
    if record["resourcePolicies"].is_array() {
        record["resourcePolicies"] = json!(policies(call, tx, &record["resourcePolicies"])?);
    }
    record["labelFingerprint"] = json!(clock::fingerprint());
    record["physicalBlockSizeBytes"] = json!("4096");
    record["status"] = json!("CREATING");
    record.as_object_mut().map(|object| object.remove("users"));
    let snapshot = record["sourceSnapshot"].as_str().and_then(key_of_link);
    tx.put(key.clone(), record);
    let effect = Effect {
        fail: snapshot.and_then(|snapshot| snapshots::too_often(call, &snapshot)),
        done: vec![Edit::Merge(key.clone(), json!({"status": "READY"}))],
        undo: vec![Edit::Remove(key.clone())],
        copy,
        ..Effect::default()
    };
    start(call, tx, &key, effect)
}

fn remove(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    refuse_in_use(call, "disk", &key, &record)?;
    delete(call, tx, &key, Some("DELETING"))
}

fn resize(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    let now = size_gb(&record["sizeGb"], 0, 0, "sizeGb")?;
    let size = size_gb(&call.body["sizeGb"], 0, 0, "sizeGb")?;
    if size <= now {
        return Err(ApiError::invalid(format!(
            "Invalid value for field 'sizeGb': '{size}'. New disk size '{size}' must be larger than existing size \
             '{now}'."
        )));
    }
    // An instance that the disk is attached to names the size as well.
    let user = record["users"].get(0).and_then(Value::as_str).and_then(key_of_link);
    if let Some(user) = user {
        tx.edit(&user, |instance| {
            for disk in instance["disks"].as_array_mut().into_iter().flatten() {
                if disk["source"] == record["selfLink"] {
                    disk["diskSizeGb"] = json!(size.to_string());
                }
            }
        });
    }
    modify(call, tx, &key, &json!({"sizeGb": size.to_string()}))
}

fn add_policies(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    let mut links: Vec<String> =
        serde_json::from_value(record["resourcePolicies"].clone()).unwrap_or_default();
    for each in policies(call, tx, &call.body["resourcePolicies"])? {
        if !links.contains(&each) {
            links.push(each);
        }
    }
    if links.len() > 1 {
        return Err(ApiError::invalid("A disk can have only one snapshot schedule."));
    }
    modify(call, tx, &key, &json!({"resourcePolicies": links}))
}

fn remove_policies(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    let mut links: Vec<String> =
        serde_json::from_value(record["resourcePolicies"].clone()).unwrap_or_default();
    for each in policies(call, tx, &call.body["resourcePolicies"])? {
        if !links.contains(&each) {
            return Err(ApiError::invalid(format!(
                "The resource policy '{each}' is not attached to the disk."
            )));
        }
        links.retain(|link| *link != each);
    }
    let links = if links.is_empty() { Value::Null } else { json!(links) };
    modify(call, tx, &key, &json!({"resourcePolicies": links}))
}

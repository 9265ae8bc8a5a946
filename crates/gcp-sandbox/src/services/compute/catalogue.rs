//! What is there before anybody creates anything: regions, zones, machine types,
//! disk types, public images. (The `default` network is a record: it can be deleted.)

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{BASE, capacity, custom_types, last, link, lists};
use crate::kernel::call::{Call, Handler};
use crate::kernel::error::ApiError;
use crate::kernel::store::Tx;
use crate::kernel::{clock, locations};

/// Machine types: name, CPUs, MB of memory, shared core.
const MACHINE_TYPES: [(&str, u32, u32, bool); 21] = [
    ("e2-micro", 2, 1024, true),
    ("e2-small", 2, 2048, true),
    ("e2-medium", 2, 4096, true),
    ("e2-standard-2", 2, 8192, false),
    ("e2-standard-4", 4, 16_384, false),
    ("e2-standard-8", 8, 32_768, false),
    ("e2-highmem-2", 2, 16_384, false),
    ("e2-highmem-4", 4, 32_768, false),
    ("n1-standard-1", 1, 3840, false),
    ("n1-standard-2", 2, 7680, false),
    ("n2-standard-2", 2, 8192, false),
    ("n2-standard-4", 4, 16_384, false),
    ("n2d-standard-2", 2, 8192, false),
    ("n2-highmem-4", 4, 32_768, false),
    ("n4-standard-2", 2, 8192, false),
    ("n4-standard-4", 4, 16_384, false),
    ("n4d-standard-2", 2, 8192, false),
    ("c3-standard-4", 4, 16_384, false),
    ("c3d-standard-4", 4, 16_384, false),
    ("c4-standard-2", 2, 7168, false),
    ("c4a-standard-1", 1, 4096, false),
];

pub const DISK_TYPES: [&str; 5] =
    ["pd-standard", "pd-balanced", "pd-ssd", "pd-extreme", "hyperdisk-balanced"];

/// Public images: project, family, name.
const IMAGES: [(&str, &str, &str); 3] = [
    ("debian-cloud", "debian-12", "debian-12-bookworm-v20260114"),
    ("debian-cloud", "debian-12-arm64", "debian-12-bookworm-arm64-v20260114"),
    ("debian-cloud", "debian-11", "debian-11-bullseye-v20260114"),
];

const SINCE: &str = "2018-01-01T00:00:00.000-08:00";

pub fn handler(collection: &str, verb: &str) -> Option<Handler> {
    Some(match (collection, verb) {
        ("projects", "get") => get_project,
        ("zones", "get") => get_zone,
        ("zones", "list") => list_zones,
        ("regions", "get") => get_region,
        ("regions", "list") => list_regions,
        ("machineTypes", "get") => get_machine_type,
        ("machineTypes", "list") => list_machine_types,
        ("machineTypes", "aggregatedList") => all_machine_types,
        ("images", "getFromFamily") => image_from_family,
        ("images", "get") => get_image,
        ("images", "list") => list_images,
        ("imageFamilyViews", "get") => view_image_family,
        ("diskTypes", "get") => get_disk_type,
        ("diskTypes", "list") => list_disk_types,
        ("diskTypes", "aggregatedList") => all_disk_types,
        _ => return None,
    })
}

pub fn is_machine_type(name: &str) -> bool {
    type_named(name).is_some()
}

/// A predefined type, or a custom one.
fn type_named(name: &str) -> Option<(&str, u32, u32, bool)> {
    let predefined = MACHINE_TYPES.iter().find(|(each, ..)| *each == name).copied();
    predefined.or_else(|| custom_types::size(name).map(|(cpus, memory)| (name, cpus, memory, false)))
}

/// CPUs of a machine type.
pub fn cpus(machine_type: &str) -> u32 {
    type_named(machine_type).map_or(0, |(_, cpus, ..)| cpus)
}

fn id(text: &str) -> String {
    clock::number_of(text).to_string()
}

fn missing(call: &Call, path: &str) -> ApiError {
    ApiError::not_found(format!("The resource 'projects/{}/{path}' was not found", call.path("project")))
}

fn resource(call: &Call, kind: &str, path: &str, more: Value) -> Value {
    let mut resource = json!({
        "kind": format!("compute#{kind}"),
        "id": id(path),
        "name": last(path),
        "creationTimestamp": SINCE,
        "selfLink": link(&call.cloud.project, &format!("compute/{path}")),
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        resource[name] = value.clone();
    }
    resource
}

fn get_project(call: &Call, _tx: &mut Tx) -> Result<Value, ApiError> {
    let project = &call.cloud.project;
    Ok(json!({
        "kind": "compute#project", "id": call.cloud.number.to_string(), "name": project,
        "creationTimestamp": SINCE, "selfLink": format!("{BASE}projects/{project}"),
        "defaultServiceAccount": format!("{}-compute@developer.gserviceaccount.com", call.cloud.number),
        "defaultNetworkTier": "PREMIUM", "xpnProjectStatus": "UNSPECIFIED_XPN_PROJECT_STATUS",
    }))
}

fn zone(call: &Call, name: &str) -> Value {
    let region = link(&call.cloud.project, &format!("compute/regions/{}", locations::region_of(name)));
    resource(call, "zone", &format!("zones/{name}"), json!({"status": "UP", "region": region}))
}

fn get_zone(call: &Call, _tx: &mut Tx) -> Result<Value, ApiError> {
    let name = call.path("zone");
    if locations::is_zone(name) { Ok(zone(call, name)) } else { Err(missing(call, &format!("zones/{name}"))) }
}

fn list_zones(call: &Call, _tx: &mut Tx) -> Result<Value, ApiError> {
    let items = locations::zones().map(|name| (name.clone(), zone(call, &name))).collect();
    lists::answer(call, "zone", "zones", items)
}

fn region(call: &Call, tx: &Tx, name: &str) -> Value {
    let zones = locations::zones().filter(|zone| locations::region_of(zone) == name);
    let zones: Vec<String> =
        zones.map(|zone| link(&call.cloud.project, &format!("compute/zones/{zone}"))).collect();
    let more = json!({"status": "UP", "zones": zones, "quotas": capacity::quotas(tx, name)});
    resource(call, "region", &format!("regions/{name}"), more)
}

fn get_region(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let name = call.path("region");
    if locations::is_region(name) {
        Ok(region(call, tx, name))
    } else {
        Err(missing(call, &format!("regions/{name}")))
    }
}

fn list_regions(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    lists::answer(
        call,
        "region",
        "regions",
        locations::regions().map(|name| (name.to_owned(), region(call, tx, name))).collect(),
    )
}

fn machine_type(call: &Call, zone: &str, entry: (&str, u32, u32, bool)) -> Value {
    let (name, cpus, memory, shared) = entry;
    let more = json!({
        "zone": zone, "guestCpus": cpus, "memoryMb": memory, "isSharedCpu": shared,
        "maximumPersistentDisks": 128, "maximumPersistentDisksSizeGb": "263168", "architecture": "X86_64",
    });
    resource(call, "machineType", &format!("zones/{zone}/machineTypes/{name}"), more)
}

fn get_machine_type(call: &Call, _tx: &mut Tx) -> Result<Value, ApiError> {
    let zone = super::scope(call)?.replacen("zones/", "", 1);
    let name = call.path("machineType");
    let entry = type_named(name);
    let entry = entry.ok_or_else(|| missing(call, &format!("zones/{zone}/machineTypes/{name}")))?;
    Ok(machine_type(call, &zone, entry))
}

fn list_machine_types(call: &Call, _tx: &mut Tx) -> Result<Value, ApiError> {
    let zone = super::scope(call)?.replacen("zones/", "", 1);
    let items = MACHINE_TYPES.iter().map(|entry| (entry.0.to_owned(), machine_type(call, &zone, *entry)));
    lists::answer(call, "machineType", &format!("zones/{zone}/machineTypes"), items.collect())
}

/// Types as an aggregated list has them: those of every zone.
fn all_machine_types(call: &Call, _tx: &mut Tx) -> Result<Value, ApiError> {
    let of_zone = |zone: &str| {
        MACHINE_TYPES.iter().map(|entry| (entry.0.to_owned(), machine_type(call, zone, *entry))).collect()
    };
    lists::of_zones(call, "machineType", "machineTypes", of_zone)
}

fn all_disk_types(call: &Call, _tx: &mut Tx) -> Result<Value, ApiError> {
    let of_zone = |zone: &str| {
        DISK_TYPES.iter().map(|name| ((*name).to_owned(), disk_type(call, zone, name))).collect()
    };
    lists::of_zones(call, "diskType", "diskTypes", of_zone)
}

fn disk_type(call: &Call, zone: &str, name: &str) -> Value {
    let more = json!({
        "zone": link(&call.cloud.project, &format!("compute/zones/{zone}")),
        "defaultDiskSizeGb": "500", "validDiskSize": "10GB-65536GB",
    });
    resource(call, "diskType", &format!("zones/{zone}/diskTypes/{name}"), more)
}

fn get_disk_type(call: &Call, _tx: &mut Tx) -> Result<Value, ApiError> {
    let zone = super::scope(call)?.replacen("zones/", "", 1);
    let name = call.path("diskType");
    if !DISK_TYPES.contains(&name) {
        return Err(missing(call, &format!("zones/{zone}/diskTypes/{name}")));
    }
    Ok(disk_type(call, &zone, name))
}

fn list_disk_types(call: &Call, _tx: &mut Tx) -> Result<Value, ApiError> {
    let zone = super::scope(call)?.replacen("zones/", "", 1);
    let items = DISK_TYPES.iter().map(|name| ((*name).to_owned(), disk_type(call, &zone, name)));
    lists::answer(call, "diskType", &format!("zones/{zone}/diskTypes"), items.collect())
}

fn describe_image(tx: &Tx, (project, family, name): (&str, &str, &str)) -> Value {
    let arm = name.contains("arm64");
    let mut image = json!({
        "kind": "compute#image", "id": id(name), "name": name, "family": family, "status": "READY",
        "creationTimestamp": "2026-01-14T12:00:00.000-08:00",
        "selfLink": format!("{BASE}projects/{project}/global/images/{name}"),
        "description": format!("Debian, {family}, built on 20260114"),
        "diskSizeGb": "10", "archiveSizeBytes": "1200000000", "sourceType": "RAW",
        "architecture": if arm { "ARM64" } else { "X86_64" },
        "licenses": [format!("{BASE}projects/{project}/global/licenses/{}", family.trim_end_matches("-arm64"))],
        "guestOsFeatures": [{"type": "UEFI_COMPATIBLE"}, {"type": "VIRTIO_SCSI_MULTIQUEUE"}, {"type": "GVNIC"}],
        "labelFingerprint": "42WmSpB8rSM=",
    });
    if let Some(state) = state(tx, name) {
        image["deprecated"] = json!({"state": state, "deprecated": "2026-06-01T00:00:00.000-07:00"});
    }
    image
}

/// What has become of an image: nothing, or its owner's word.
fn state(tx: &Tx, image: &str) -> Option<Value> {
    tx.get(&format!("images/{image}")).cloned()
}

/// Gives public images the states that their owner gave them; by name.
pub fn deprecate(tx: &mut Tx, states: BTreeMap<String, String>) -> Result<Value, ApiError> {
    for (key, _) in tx.scan("images/") {
        tx.remove(key);
    }
    for (name, state) in &states {
        if !["DEPRECATED", "OBSOLETE", "DELETED"].contains(&state.as_str()) {
            return Err(ApiError::invalid(format!("Invalid state of an image: {state}")));
        }
        if !IMAGES.iter().any(|(_, _, each)| each == name) {
            return Err(ApiError::not_found(format!("There is no image {name}.")));
        }
        tx.put(format!("images/{name}"), json!(state));
    }
    Ok(json!(states))
}

/// Refuses an image that may not be used any more.
pub fn check_usable(image: &Value) -> Result<(), ApiError> {
    match image["deprecated"]["state"].as_str() {
        Some(state @ ("OBSOLETE" | "DELETED")) => {
            let path = image["selfLink"].as_str().unwrap_or_default().trim_start_matches(BASE);
            Err(ApiError::invalid(format!("The resource '{path}' is {}.", state.to_ascii_lowercase())))
        }
        _ => Ok(()),
    }
}

/// A public image from a reference: `projects/P/global/images/family/F` or
/// `projects/P/global/images/N`.
pub fn image(tx: &Tx, text: &str, field: &str) -> Result<Value, ApiError> {
    let path = text.split_once("/compute/v1/").map_or(text, |(_, path)| path);
    let parts: Vec<&str> = path.split('/').collect();
    let (project, family, name) = match parts.as_slice() {
        ["projects", project, "global", "images", "family", family]
        // In a zone's form, as gcloud writes it; `-` is any zone.
        | ["projects", project, "zones", _, "imageFamilyViews", family] => (*project, Some(*family), ""),
        ["projects", project, "global", "images", name] => (*project, None, *name),
        _ => {
            return Err(ApiError::invalid(format!(
                "Invalid value for field '{field}': '{text}'. The URL is malformed."
            )));
        }
    };
    // The newest of a family that may still be used.
    let found = IMAGES.iter().find(|(owner, of, each)| {
        let wanted = family.map_or(*each == name, |family| *of == family && state(tx, each).is_none());
        *owner == project && wanted
    });
    found
        .map(|entry| describe_image(tx, *entry))
        .ok_or_else(|| ApiError::not_found(format!("The resource '{path}' was not found")))
}

fn image_from_family(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    image(
        tx,
        &format!("projects/{}/global/images/family/{}", call.path("project"), call.path("family")),
        "family",
    )
}

/// The newest image of a family as a zone sees it.
fn view_image_family(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let zone = call.path("zone");
    if zone != "-" && !locations::is_zone(zone) {
        return Err(missing(call, &format!("zones/{zone}")));
    }
    Ok(json!({"image": image_from_family(call, tx)?}))
}

/// A public project's images; this project has none of its own.
fn list_images(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let own = IMAGES.iter().filter(|(project, ..)| *project == call.path("project"));
    let items = own.map(|entry| (entry.2.to_owned(), describe_image(tx, *entry))).collect();
    lists::answer(call, "image", "global/images", items)
}

fn get_image(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    image(tx, &format!("projects/{}/global/images/{}", call.path("project"), call.path("image")), "image")
}

//! Compute Engine: resources by scope, and what all of them have in common:
//! keys, links, references, reading, listing, labels.
//!
//! A resource's record is the resource as it is answered, under
//! `compute/SCOPE/COLLECTION/NAME` (`SCOPE`: `zones/Z`, `regions/R`, `global`).

mod addresses;
mod backend_services;
pub mod capacity;
pub mod catalogue;
mod collections;
mod constraints;
mod custom_types;
mod disk_content;
mod disks;
mod firewalls;
mod forwarding_rules;
mod guest_attributes;
mod health_checks;
mod insert;
mod instance_groups;
mod instances;
mod lists;
pub mod load_balancing;
mod machine_series;
pub mod machines;
mod metadata_source;
pub mod networks;
pub mod operations;
mod rate_limit;
mod resource_policies;
mod service;
pub mod snapshots;
mod state;
mod subnetworks;

use serde_json::{Value, json};

use self::operations::{Edit, Effect, start};
pub use self::service::SERVICE;
pub use self::state::{network, state};
use crate::kernel::call::Call;
use crate::kernel::error::ApiError;
use crate::kernel::store::{After, Tx};
use crate::kernel::{clock, labels, locations};

const BASE: &str = "https://www.googleapis.com/compute/v1/";

/// The key of a resource's record.
pub fn key(scope: &str, collection: &str, name: &str) -> String {
    format!("compute/{scope}/{collection}/{name}")
}

/// The full link of what the record under `key` holds.
pub fn link(project: &str, key: &str) -> String {
    format!("{BASE}{}", relative(project, key))
}

/// `projects/P/zones/Z/disks/D`, as messages name a resource.
pub fn relative(project: &str, key: &str) -> String {
    format!("projects/{project}/{}", key.trim_start_matches("compute/"))
}

/// The scope that a call's path names; it has to exist.
pub fn scope(call: &Call) -> Result<String, ApiError> {
    let (zone, region) = (call.path("zone"), call.path("region"));
    if !zone.is_empty() {
        if !locations::is_zone(zone) {
            return Err(ApiError::invalid(format!(
                "Invalid value for field 'zone': '{zone}'. Unknown zone."
            )));
        }
        return Ok(format!("zones/{zone}"));
    }
    if !region.is_empty() {
        if !locations::is_region(region) {
            return Err(ApiError::invalid(format!(
                "Invalid value for field 'region': '{region}'. Unknown region."
            )));
        }
        return Ok(format!("regions/{region}"));
    }
    Ok("global".into())
}

/// The collection as paths and keys name it.
fn collection(call: &Call) -> &str {
    let id = call.short_id().split_once('.').map_or("", |(id, _)| id);
    collections::named(id).map_or(id, |collection| collection.path)
}

/// The name that a call's path has besides its scope.
fn name(call: &Call) -> &str {
    let scope = ["project", "zone", "region"];
    call.path.iter().find(|(variable, _)| !scope.contains(&variable.as_str())).map_or("", |(_, name)| name)
}

/// What a call is about, for the refusal of a permission.
pub fn resource_of(call: &Call) -> String {
    let collection = collection(call);
    let place = ["zone", "region"]
        .iter()
        .find(|place| !call.path(place).is_empty())
        .map_or_else(|| "global".to_owned(), |place| format!("{place}s/{}", call.path(place)));
    let given = match name(call) {
        "" => call.text("name"),
        given => given,
    };
    if given.is_empty() {
        format!("projects/{}", call.path("project"))
    } else {
        relative(call.path("project"), &key(&place, collection, given))
    }
}

/// The last part of a link, a path or a key.
fn last(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn not_found(call: &Call, key: &str) -> ApiError {
    ApiError::not_found(format!("The resource '{}' was not found", relative(&call.cloud.project, key)))
}

/// The key and the record that a call's path names.
fn target(call: &Call, tx: &Tx) -> Result<(String, Value), ApiError> {
    let key = key(&scope(call)?, collection(call), name(call));
    if let Some(record) = tx.get(&key) {
        return Ok((key, record.clone()));
    }
    // A resource's number will do for its name, which begins with a letter.
    let (place, given) = key.rsplit_once('/').unwrap_or_default();
    let numbered = given.bytes().all(|byte| byte.is_ascii_digit());
    let found =
        tx.scan(&format!("{place}/")).into_iter().find(|(_, record)| numbered && record["id"] == given);
    found.ok_or_else(|| not_found(call, &key))
}

fn get(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    target(call, tx).map(|(_, record)| record)
}

/// What every new resource starts from: the body, a name that is free and well
/// formed, labels that are, and the fields that Google sets.
fn fresh(call: &Call, tx: &Tx, kind: &str) -> Result<(String, Value), ApiError> {
    fresh_in(call, tx, kind, &scope(call)?, collection(call))
}

/// The same in a collection that the call's path does not name.
fn fresh_in(
    call: &Call,
    tx: &Tx,
    kind: &str,
    scope: &str,
    collection: &str,
) -> Result<(String, Value), ApiError> {
    let name = call.text("name");
    if name.is_empty() {
        return Err(ApiError::new(400, "required", "Required field 'resource.name' not specified"));
    }
    labels::check_name(name)?;
    labels::check(&call.body["labels"], "resource.labels")?;
    let key = key(scope, collection, name);
    if tx.has(&key) {
        return Err(ApiError::new(
            409,
            "alreadyExists",
            format!("The resource '{}' already exists", relative(&call.cloud.project, &key)),
        ));
    }
    let mut record = call.body.clone();
    record["kind"] = json!(kind);
    record["id"] = json!(clock::resource_id());
    record["creationTimestamp"] = json!(clock::timestamp());
    record["selfLink"] = json!(link(&call.cloud.project, &key));
    if let Some((place, _)) = scope.split_once('/') {
        record[place.trim_end_matches('s')] = json!(link(&call.cloud.project, &format!("compute/{scope}")));
    }
    if record["labels"].as_object().is_some_and(serde_json::Map::is_empty) {
        record.as_object_mut().map(|object| object.remove("labels"));
    }
    Ok((key, record))
}

/// Creates the record now, in the status of something that is being made;
/// `ready` are the members that change when it is.
fn create(call: &Call, tx: &mut Tx, key: &str, record: Value, ready: Value) -> Result<Value, ApiError> {
    tx.put(key, record);
    let effect = Effect {
        done: vec![Edit::Merge(key.to_owned(), ready)],
        undo: vec![Edit::Remove(key.to_owned())],
        ..Effect::default()
    };
    start(call, tx, key, effect)
}

/// Changes members of a record now; the operation takes them back if it fails.
fn modify(call: &Call, tx: &mut Tx, key: &str, members: &Value) -> Result<Value, ApiError> {
    let mut before = json!({});
    tx.edit(key, |record| {
        for (name, value) in members.as_object().into_iter().flatten() {
            before[name] = record[name].clone();
            if value.is_null() {
                record.as_object_mut().map(|object| object.remove(name));
            } else {
                record[name] = value.clone();
            }
        }
    });
    tx.after(After::Changed(key.to_owned()));
    let effect = Effect { undo: vec![Edit::Merge(key.to_owned(), before)], ..Effect::default() };
    start(call, tx, key, effect)
}

/// Deletes a record when the operation is done.
fn delete(call: &Call, tx: &mut Tx, key: &str, deleting: Option<&str>) -> Result<Value, ApiError> {
    let mut undo = Vec::new();
    if let Some(status) = deleting {
        let before = tx.get(key).map(|record| record["status"].clone()).unwrap_or_default();
        undo.push(Edit::Merge(key.to_owned(), json!({"status": before})));
        tx.edit(key, |record| record["status"] = json!(status));
    }
    start(call, tx, key, Effect { done: vec![Edit::Remove(key.to_owned())], undo, ..Effect::default() })
}

fn set_labels(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    labels::check(&call.body["labels"], "labels")?;
    if record["labelFingerprint"].as_str() != Some(call.text("labelFingerprint")) {
        return Err(ApiError::condition("Labels fingerprint either invalid or resource labels have changed"));
    }
    let labels = call.body["labels"].clone();
    modify(call, tx, &key, &json!({"labels": labels, "labelFingerprint": clock::fingerprint()}))
}

/// A resource's key from a reference: a full link, `projects/P/…` or `zones/…`.
/// A bare name is none.
fn reference(call: &Call, text: &str, collection: &str, field: &str) -> Result<String, ApiError> {
    let malformed =
        || ApiError::invalid(format!("Invalid value for field '{field}': '{text}'. The URL is malformed."));
    let path = match text.split_once("/compute/v1/") {
        Some((_, path)) => path,
        None if text.contains("://") => return Err(malformed()),
        None => text,
    };
    let path = match path.strip_prefix("projects/") {
        Some(rest) => {
            let (project, path) = rest.split_once('/').ok_or_else(malformed)?;
            if project != call.cloud.project && project != call.cloud.number.to_string() {
                return Err(ApiError::not_found(format!("The resource 'projects/{project}' was not found")));
            }
            path
        }
        None => path,
    };
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["zones" | "regions", _, kind, name] if *kind == collection && !name.is_empty() => {}
        ["global", kind, name] if *kind == collection && !name.is_empty() => {}
        _ => return Err(malformed()),
    }
    Ok(format!("compute/{path}"))
}

/// The record that a reference names, and its key.
fn existing(
    call: &Call,
    tx: &Tx,
    text: &str,
    collection: &str,
    field: &str,
) -> Result<(String, Value), ApiError> {
    let key = reference(call, text, collection, field)?;
    match tx.get(&key) {
        Some(record) => Ok((key, record.clone())),
        None if ["networks", "subnetworks"].contains(&collection) => Err(ApiError::invalid(format!(
            "Invalid value for field '{field}': '{text}'. The referenced {} resource cannot be found.",
            collection.trim_end_matches('s')
        ))),
        None => Err(not_found(call, &key)),
    }
}

/// The key of what a full link names.
pub fn key_of_link(link: &str) -> Option<String> {
    let tail = link.strip_prefix(BASE)?.splitn(3, '/').nth(2)?;
    Some(format!("compute/{tail}"))
}

/// Whether the value holds the text anywhere.
fn holds(value: &Value, text: &str) -> bool {
    match value {
        Value::String(own) => own == text,
        Value::Array(items) => items.iter().any(|item| holds(item, text)),
        Value::Object(members) => members.values().any(|member| holds(member, text)),
        _ => false,
    }
}

/// Refuses while another resource names this one; those of the collections
/// `ignored` may.
fn refuse_if_named(call: &Call, tx: &Tx, kind: &str, key: &str, ignored: &[&str]) -> Result<(), ApiError> {
    let own = link(&call.cloud.project, key);
    let of = |key: &str, collection: &&str| key.contains(&format!("/{collection}/"));
    let user = tx.scan("compute/").into_iter().find(|(other, record)| {
        other != key && !ignored.iter().any(|collection| of(other, collection)) && holds(record, &own)
    });
    match user {
        None => Ok(()),
        Some((user, _)) => Err(in_use(call, kind, key, &relative(&call.cloud.project, &user))),
    }
}

fn in_use(call: &Call, kind: &str, key: &str, user: &str) -> ApiError {
    let own = relative(&call.cloud.project, key);
    ApiError::new(
        400,
        "resourceInUseByAnotherResource",
        format!("The {kind} resource '{own}' is already being used by '{user}'"),
    )
}

/// Members that every resource keeps.
const IDENTITY: [&str; 9] = [
    "kind",
    "id",
    "creationTimestamp",
    "selfLink",
    "selfLinkWithId",
    "name",
    "region",
    "zone",
    "labelFingerprint",
];

/// Refuses a change of what cannot be changed.
fn refuse_other_members(wanted: &Value, now: &Value, changeable: &[&str]) -> Result<(), ApiError> {
    let refused = wanted.as_object().into_iter().flatten().find(|(name, value)| {
        !changeable.contains(&name.as_str()) && !IDENTITY.contains(&name.as_str()) && now[*name] != **value
    });
    match refused {
        None => Ok(()),
        Some((name, _)) => Err(ApiError::invalid(format!(
            "Invalid value for field 'resource.{name}': this field cannot be changed by this method."
        ))),
    }
}

/// The members that turn `before` into `after`, for [`modify`].
fn replacement(before: &Value, after: &Value) -> Value {
    let mut members = json!({});
    for name in before.as_object().into_iter().flatten().map(|(name, _)| name) {
        members[name] = Value::Null;
    }
    for (name, value) in after.as_object().into_iter().flatten() {
        members[name] = value.clone();
    }
    for kept in IDENTITY {
        members[kept] = before[kept].clone();
    }
    members
}

/// Refuses a body whose fingerprint is missing or stale.
fn check_fingerprint(body: &Value, record: &Value) -> Result<(), ApiError> {
    if body["fingerprint"].is_string() && body["fingerprint"] == record["fingerprint"] {
        return Ok(());
    }
    Err(ApiError::condition("Invalid fingerprint."))
}

/// Refuses while something uses the resource.
fn refuse_in_use(call: &Call, kind: &str, key: &str, record: &Value) -> Result<(), ApiError> {
    match record["users"].get(0).and_then(Value::as_str) {
        None => Ok(()),
        Some(user) => Err(in_use(call, kind, key, user.trim_start_matches(BASE))),
    }
}

fn not_ready(call: &Call, key: &str) -> ApiError {
    ApiError::new(
        400,
        "resourceNotReady",
        format!("The resource '{}' is not ready", relative(&call.cloud.project, key)),
    )
}

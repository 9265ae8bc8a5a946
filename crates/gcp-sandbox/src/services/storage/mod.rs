//! Cloud Storage: buckets and objects by the JSON API, uploads, media and the
//! XML paths. Metadata are records; an object's bytes are a file by its
//! generation, written whole before the record that names it.

mod buckets;
mod configuration;
mod copies;
pub mod media;
mod objects;
pub mod preconditions;
pub mod rate_limit;
pub mod resumable;
mod retention;
mod service;
pub mod soft_delete;
pub mod transcoding;
pub mod upload;
pub mod xml;

use serde_json::{Value, json};

pub use self::service::SERVICE;
use crate::kernel::access;
use crate::kernel::call::{Call, Handler};
use crate::kernel::cloud::Cloud;
use crate::kernel::error::ApiError;
use crate::kernel::store::Tx;

pub fn handler(method: &str) -> Option<Handler> {
    let short = method.strip_prefix("storage.")?;
    match short.split_once('.')? {
        ("buckets", "lockRetentionPolicy") => Some(retention::lock),
        ("buckets", "restore") => Some(soft_delete::restore_bucket),
        ("objects", "restore") => Some(soft_delete::restore_object),
        ("objects", verb @ ("compose" | "copy" | "rewrite" | "move")) => copies::handler(verb),
        ("managedFolders", "list") => Some(buckets::managed_folders),
        ("buckets", verb) => buckets::handler(verb),
        ("objects", verb) => objects::handler(verb),
        _ => None,
    }
}

/// The record of a live object.
fn object_key(bucket: &str, name: &str) -> String {
    format!("objects/{bucket}/{name}")
}

/// The record of a version that is live no more. No object name has a line feed.
fn version_key(bucket: &str, name: &str, generation: &str) -> String {
    format!("versions/{bucket}/{name}\n{generation}")
}

/// The bucket that a call's path names; somebody else's is forbidden, as Google
/// tells nobody what others have.
fn bucket(call: &Call, tx: &Tx) -> Result<Value, ApiError> {
    bucket_named(call, tx, call.path("bucket"))
}

fn bucket_named(call: &Call, tx: &Tx, name: &str) -> Result<Value, ApiError> {
    if tx.has(&format!("foreign/{name}")) {
        let permission = access::needed(call).map(|(permission, _)| permission).unwrap_or_default();
        return Err(access::denied(call, &permission));
    }
    tx.get(&format!("buckets/{name}"))
        .cloned()
        .ok_or_else(|| ApiError::not_found("The specified bucket does not exist."))
}

/// The object that a call names, by its generation where one is given.
fn object(call: &Call, tx: &Tx) -> Result<Value, ApiError> {
    let (bucket, name) = (call.path("bucket"), call.path("object"));
    find(tx, bucket, name, call.query("generation"))
        .ok_or_else(|| ApiError::not_found(format!("No such object: {bucket}/{name}")))
}

fn find(tx: &Tx, bucket: &str, name: &str, generation: Option<&str>) -> Option<Value> {
    let live = tx.get(&object_key(bucket, name));
    match generation {
        None => live.cloned(),
        Some(generation) => live
            .filter(|object| object["generation"] == generation)
            .or_else(|| tx.get(&version_key(bucket, name, generation)))
            .cloned(),
    }
}

/// An object as it is answered: its links lead to this sandbox.
fn shown(cloud: &Cloud, bucket: &Value, object: &Value) -> Value {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let name = dorainfra_gcp::encoded(text("name"));
    let base = format!("http://127.0.0.1:{}", cloud.port);
    let path = format!("storage/v1/b/{}/o/{name}", text("bucket"));
    let mut shown = object.clone();
    retention::show(bucket, &mut shown);
    shown["selfLink"] = json!(format!("{base}/{path}"));
    shown["mediaLink"] = json!(format!("{base}/download/{path}?generation={}&alt=media", text("generation")));
    shown
}

/// Merges as `PATCH` does: `null` removes, objects are merged, the rest is set.
fn merge_patch(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().map(|object| object.remove(name));
        } else {
            merge_patch(&mut target[name.as_str()], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_sets_merges_and_removes() {
        let mut value = json!({"labels": {"a": "1", "b": "2"}, "kept": [1], "gone": 1});
        merge_patch(&mut value, &json!({"labels": {"a": null, "c": "3"}, "gone": null, "new": {"x": [2]}}));
        assert_eq!(value, json!({"labels": {"b": "2", "c": "3"}, "kept": [1], "new": {"x": [2]}}));
    }
}

//! What Cloud Storage gives to the kernel: its permissions, its refusals, its limits.

use std::sync::Arc;

use super::handler;
use super::rate_limit::WriteRate;
use crate::kernel::call::{Call, Permission, Service};
use crate::kernel::error::ApiError;
use crate::kernel::store::Tx;
use crate::services::org_policy::{LOCATIONS, NOT_PUBLIC, UNIFORM_ACCESS, allowed_location, enforced};

pub static SERVICE: Service = Service {
    project: |call| call.query("project"),
    unknown_project: Some(|_, project| ApiError::invalid(format!("Unknown project id: {project}"))),
    project_is_late: true,
    scopes: [
        &[
            "devstorage.read_only",
            "devstorage.read_write",
            "devstorage.full_control",
            "cloud-platform.read-only",
        ],
        &["devstorage.read_write", "devstorage.full_control"],
    ],
    consumer_is_target: true,
    constraints: Some(constraints),
    state: Some(|state| {
        state.insert(Arc::new(WriteRate::default()));
    }),
    ..Service::new("storage", |method| handler(&method.id), permission, denied)
};

fn permission(call: &Call, collection: &str, verb: &str) -> Option<Permission> {
    let verb = match verb {
        "compose" | "copy" | "rewrite" => "create",
        "lockRetentionPolicy" => "update",
        verb => verb,
    };
    // A copy writes to its destination; what it reads is asked for besides.
    let bucket = call.path.get("destinationBucket").map_or(call.path("bucket"), String::as_str);
    let permission = match verb {
        "getStorageLayout" => "storage.objects.list".into(),
        verb => format!("storage.{collection}.{verb}"),
    };
    Some((permission, format!("policy/buckets/{bucket}")))
}

fn denied(call: &Call, permission: &str) -> ApiError {
    let object = call.path.get("object").or(call.path.get("destinationObject"));
    let what = match (object, call.path.get("bucket")) {
        (Some(_), _) => "Google Cloud Storage object",
        (None, Some(_)) => "Google Cloud Storage bucket",
        (None, None) => "Google Cloud project",
    };
    let who = if call.caller.is_anonymous() { "Anonymous caller" } else { &call.caller.email };
    let message = format!(
        "{who} does not have {permission} access to the {what}. Permission '{permission}' denied on resource (or it \
         may not exist)."
    );
    if call.caller.is_anonymous() {
        return ApiError { message, reason: "required", ..ApiError::unauthenticated() };
    }
    ApiError::forbidden(message)
}

/// What the organisation's policies forbid.
fn constraints(call: &Call, tx: &Tx) -> Result<(), ApiError> {
    if !["buckets.insert", "buckets.update", "buckets.patch"].contains(&call.short_id()) {
        return Ok(());
    }
    let condition = |message: String| {
        let mut error = ApiError::new(412, "conditionNotMet", message);
        error.location = None;
        Err(error)
    };
    let made = call.short_id() == "buckets.insert";
    let location = call.body["location"].as_str().unwrap_or("US");
    if made && !allowed_location(tx, location) {
        return condition(format!("'{}' violates constraint '{LOCATIONS}'", location.to_ascii_lowercase()));
    }
    // What a patch does not name stays as it is.
    let access = &call.body["iamConfiguration"];
    let uniform = &access["uniformBucketLevelAccess"]["enabled"];
    if enforced(tx, UNIFORM_ACCESS) && *uniform != true && (made || !uniform.is_null()) {
        return condition(format!("Request violates constraint '{UNIFORM_ACCESS}'"));
    }
    // Without a word the policy's own value holds.
    if enforced(tx, NOT_PUBLIC) && access["publicAccessPrevention"] == "inherited" && !made {
        return condition(format!("Request violates constraint '{NOT_PUBLIC}'"));
    }
    Ok(())
}

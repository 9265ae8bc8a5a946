//! What the organisation's policies forbid of Compute Engine.

use serde_json::Value;

use super::resource_of;
use crate::kernel::call::Call;
use crate::kernel::error::ApiError;
use crate::kernel::store::Tx;
use crate::services::org_policy::{
    CONFIDENTIAL, EXTERNAL_ADDRESSES, GUEST_ATTRIBUTES, LOCATIONS, OS_LOGIN, SHIELDED, allowed_location,
    allows, enforced,
};

const DOCUMENTATION: &str =
    "https://cloud.google.com/resource-manager/docs/organization-policy/org-policy-constraints";

pub fn check(call: &Call, tx: &Tx) -> Result<(), ApiError> {
    match call.short_id() {
        "instances.getGuestAttributes" if enforced(tx, GUEST_ATTRIBUTES) => {
            Err(violated(call, GUEST_ATTRIBUTES, ""))
        }
        "instances.setMetadata" => os_login(call, tx, &call.body),
        "instances.insert" => place(call, tx).and_then(|()| instance(call, tx)),
        id if id.ends_with(".insert") => place(call, tx),
        _ => Ok(()),
    }
}

fn violated(call: &Call, constraint: &str, more: &str) -> ApiError {
    ApiError::condition(
        format!("Constraint {constraint} violated for project {}. {more}", call.cloud.number).trim(),
    )
}

fn place(call: &Call, tx: &Tx) -> Result<(), ApiError> {
    let (kind, location) = match (call.path("zone"), call.path("region")) {
        ("", "") => return Ok(()),
        ("", region) => ("REGION", region),
        (zone, _) => ("ZONE", zone),
    };
    if allowed_location(tx, location) {
        return Ok(());
    }
    let resource = resource_of(call);
    Err(ApiError::condition(format!(
        "Location {kind}:{location} violates constraint {LOCATIONS} on the resource {resource}."
    )))
}

fn instance(call: &Call, tx: &Tx) -> Result<(), ApiError> {
    let body = &call.body;
    let resource = resource_of(call);
    let interfaces = body["networkInterfaces"].as_array().into_iter().flatten();
    let external =
        interfaces.filter_map(|each| each["accessConfigs"].as_array()).any(|list| !list.is_empty());
    if external && !allows(tx, EXTERNAL_ADDRESSES, |value| value == resource) {
        let more = format!("Add instance {resource} to the constraint to use external IP with it.");
        return Err(violated(call, EXTERNAL_ADDRESSES, &more));
    }
    let shielded = &body["shieldedInstanceConfig"];
    if enforced(tx, SHIELDED) && shielded["enableSecureBoot"] != true {
        let more = format!(
            "Secure Boot is not enabled in the 'shielded_instance_config' field. See {DOCUMENTATION} for more \
             information."
        );
        return Err(violated(call, SHIELDED, &more));
    }
    let confidential = body["confidentialInstanceConfig"]["enableConfidentialCompute"] == true;
    if !confidential && !allows(tx, CONFIDENTIAL, |value| value == "compute.googleapis.com") {
        let more =
            format!("Confidential computing is not enabled. See {DOCUMENTATION} for more information.");
        return Err(violated(call, CONFIDENTIAL, &more));
    }
    os_login(call, tx, &body["metadata"])
}

fn os_login(call: &Call, tx: &Tx, metadata: &Value) -> Result<(), ApiError> {
    let off = metadata["items"].as_array().into_iter().flatten().any(|item| {
        item["key"] == "enable-oslogin"
            && !item["value"].as_str().is_some_and(|value| value.eq_ignore_ascii_case("true"))
    });
    if off && enforced(tx, OS_LOGIN) {
        let more = "The metadata key 'enable-oslogin' must not turn OS Login off.";
        return Err(violated(call, OS_LOGIN, more));
    }
    Ok(())
}

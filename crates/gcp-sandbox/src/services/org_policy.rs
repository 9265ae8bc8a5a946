//! What an organisation has ruled for the project: its policies, set by a control route
//! (at Google they come from above the project, and no owner of it may change them), read
//! as Resource Manager tells them, and enforced in the words of the API that refuses.

use serde_json::{Value, json};

use super::compute;
use crate::kernel::call::Call;
use crate::kernel::error::ApiError;
use crate::kernel::locations;
use crate::kernel::store::Tx;

const EXTERNAL_ADDRESSES: &str = "constraints/compute.vmExternalIpAccess";
const OS_LOGIN: &str = "constraints/compute.requireOsLogin";
const SHIELDED: &str = "constraints/compute.requireShieldedVm";
const CONFIDENTIAL: &str = "constraints/compute.restrictNonConfidentialComputing";
const GUEST_ATTRIBUTES: &str = "constraints/compute.disableGuestAttributesAccess";
const NO_DEFAULT_NETWORK: &str = "constraints/compute.skipDefaultNetworkCreation";
const NO_ACCOUNTS: &str = "constraints/iam.disableServiceAccountCreation";
const LOCATIONS: &str = "constraints/gcp.resourceLocations";
const UNIFORM_ACCESS: &str = "constraints/storage.uniformBucketLevelAccess";
const NOT_PUBLIC: &str = "constraints/storage.publicAccessPrevention";

/// Those that are enforced, and whether each is a list.
const KNOWN: [(&str, bool); 10] = [
    (EXTERNAL_ADDRESSES, true),
    (OS_LOGIN, false),
    (SHIELDED, false),
    (CONFIDENTIAL, true),
    (GUEST_ATTRIBUTES, false),
    (NO_DEFAULT_NETWORK, false),
    (NO_ACCOUNTS, false),
    (LOCATIONS, true),
    (UNIFORM_ACCESS, false),
    (NOT_PUBLIC, false),
];

const DOCUMENTATION: &str =
    "https://cloud.google.com/resource-manager/docs/organization-policy/org-policy-constraints";

fn key(constraint: &str) -> String {
    format!("constraints/{constraint}")
}

/// All that are set.
pub fn list(tx: &Tx) -> Value {
    json!({"policies": tx.scan("constraints/").into_iter().map(|(_, policy)| policy).collect::<Vec<_>>()})
}

/// Replaces all of them; in the form of Resource Manager's `OrgPolicy`.
pub fn replace(tx: &mut Tx, policies: Vec<Value>) -> Result<Value, ApiError> {
    for (key, _) in tx.scan("constraints/") {
        tx.remove(key);
    }
    for policy in policies {
        let constraint = policy["constraint"].as_str().unwrap_or_default().to_owned();
        let Some((_, of_list)) = KNOWN.iter().find(|(known, _)| *known == constraint) else {
            return Err(ApiError::unimplemented(&format!("the constraint `{constraint}`")));
        };
        if !policy[if *of_list { "listPolicy" } else { "booleanPolicy" }].is_object() {
            let kind = if *of_list { "a listPolicy" } else { "a booleanPolicy" };
            return Err(ApiError::invalid(format!("The policy of {constraint} has to be {kind}.")));
        }
        if constraint == LOCATIONS {
            let lists = ["allowedValues", "deniedValues"].map(|list| &policy["listPolicy"][list]);
            for value in lists.iter().filter_map(|list| list.as_array()).flatten() {
                let value = value.as_str().unwrap_or_default();
                if value.starts_with("in:") && group(value).is_none_or(|group| !is_group(group)) {
                    return Err(ApiError::invalid(format!("Invalid location value group: {value}")));
                }
            }
        }
        tx.put(key(&constraint), policy);
    }
    Ok(list(tx))
}

/// `projects.getEffectiveOrgPolicy`: what holds, set or not.
pub fn effective(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let asked = call.text("constraint");
    let Some((constraint, of_list)) = KNOWN.iter().find(|(known, _)| *known == asked) else {
        return Err(ApiError::unimplemented(&format!("the constraint `{asked}`")));
    };
    Ok(tx.get(&key(constraint)).cloned().unwrap_or_else(|| match of_list {
        true => json!({"constraint": constraint, "listPolicy": {"allValues": "ALLOW"}}),
        false => json!({"constraint": constraint, "booleanPolicy": {}}),
    }))
}

fn enforced(tx: &Tx, constraint: &str) -> bool {
    tx.get(&key(constraint)).is_some_and(|policy| policy["booleanPolicy"]["enforced"] == true)
}

/// Whether a project made under these policies gets no network by itself.
pub fn no_default_network(tx: &Tx) -> bool {
    enforced(tx, NO_DEFAULT_NETWORK)
}

/// Whether a list policy lets a value through.
fn allows(tx: &Tx, constraint: &str, covers: impl Fn(&str) -> bool) -> bool {
    let Some(policy) = tx.get(&key(constraint)) else { return true };
    let list = &policy["listPolicy"];
    let in_list = |name: &str| -> bool {
        list[name].as_array().into_iter().flatten().filter_map(Value::as_str).any(&covers)
    };
    match list["allValues"].as_str() {
        Some("ALLOW") => true,
        Some("DENY") => false,
        _ if in_list("deniedValues") => false,
        _ => list["allowedValues"].is_null() || in_list("allowedValues"),
    }
}

/// The group that a value stands for; a region does for its own.
fn group(value: &str) -> Option<&str> {
    match value.strip_prefix("in:") {
        Some(rest) => rest.strip_suffix("-locations"),
        None => Some(value).filter(|value| locations::is_region(value)),
    }
}

const CONTINENTS: [&str; 6] = ["eu", "europe", "us", "asia", "australia", "northamerica"];
/// European, and not in the Union.
const OUTSIDE_THE_UNION: [&str; 2] = ["europe-west2", "europe-west6"];

fn is_group(group: &str) -> bool {
    CONTINENTS.contains(&group) || locations::is_region(group)
}

/// Whether a value of the policy covers a place, in lower case.
fn covers(value: &str, location: &str) -> bool {
    let Some(group) = group(value) else { return value == location };
    let region = if locations::is_zone(location) { locations::region_of(location) } else { location };
    let on = |continent: &str| region == continent || region.starts_with(&format!("{continent}-"));
    match group {
        "eu" => region == "eu" || (on("europe") && !OUTSIDE_THE_UNION.contains(&region)),
        "europe" => region == "eu" || on("europe"),
        continent if CONTINENTS.contains(&continent) => on(continent),
        own => region == own,
    }
}

fn allowed_location(tx: &Tx, location: &str) -> bool {
    let location = location.to_ascii_lowercase();
    allows(tx, LOCATIONS, |value| covers(value, &location))
}

/// What stands before a write besides permissions.
pub fn check(call: &Call, tx: &Tx) -> Result<(), ApiError> {
    match (call.method.api, call.short_id()) {
        ("compute", "instances.getGuestAttributes") if enforced(tx, GUEST_ATTRIBUTES) => {
            Err(violated(call, GUEST_ATTRIBUTES, ""))
        }
        ("compute", "instances.setMetadata") => os_login(call, tx, &call.body),
        ("compute", "instances.insert") => place(call, tx).and_then(|()| instance(call, tx)),
        ("compute", id) if id.ends_with(".insert") => place(call, tx),
        ("iam", "projects.serviceAccounts.create") if enforced(tx, NO_ACCOUNTS) => Err(no_accounts(call)),
        ("storage", "buckets.insert" | "buckets.update" | "buckets.patch") => bucket(call, tx),
        ("secretmanager", "projects.secrets.create") => secret(call, tx),
        _ => Ok(()),
    }
}

/// Compute's words for most of them.
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
    let resource = compute::resource_of(call);
    Err(ApiError::condition(format!(
        "Location {kind}:{location} violates constraint {LOCATIONS} on the resource {resource}."
    )))
}

fn instance(call: &Call, tx: &Tx) -> Result<(), ApiError> {
    let body = &call.body;
    let resource = compute::resource_of(call);
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

fn no_accounts(call: &Call) -> ApiError {
    let description = "Service account creation is not allowed on this project.";
    let mut error = ApiError::new(400, "failedPrecondition", description);
    let subject = format!("projects/{}", call.cloud.project);
    error.details.push(json!({
        "@type": "type.googleapis.com/google.rpc.PreconditionFailure",
        "violations": [{"type": NO_ACCOUNTS, "subject": subject, "description": description}],
    }));
    error
}

fn bucket(call: &Call, tx: &Tx) -> Result<(), ApiError> {
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

fn secret(call: &Call, tx: &Tx) -> Result<(), ApiError> {
    let replicas = call.body["replication"]["userManaged"]["replicas"].as_array();
    let places: Vec<&str> = match replicas {
        None => vec!["global"],
        Some(replicas) => replicas.iter().filter_map(|each| each["location"].as_str()).collect(),
    };
    match places.iter().find(|place| !allowed_location(tx, place)) {
        None => Ok(()),
        Some(place) => Err(ApiError::new(
            400,
            "failedPrecondition",
            format!(
                "Constraint {LOCATIONS} violated for [orgpolicy:projects/{}] attempting to create a secret in \
                 [{place}]",
                call.cloud.number
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_covers_its_regions_and_their_zones() {
        for (value, location, covered) in [
            ("in:europe-west1-locations", "europe-west1-b", true),
            ("in:europe-west1-locations", "europe-west1", true),
            ("europe-west1", "europe-west1-b", true),
            ("europe-west1-b", "europe-west1-b", true),
            ("europe-west1-b", "europe-west1", false),
            ("in:europe-west1-locations", "europe-west10", false),
            ("in:eu-locations", "europe-west3-a", true),
            ("in:eu-locations", "eu", true),
            ("in:eu-locations", "europe-west2", false),
            ("in:europe-locations", "europe-west2", true),
            ("in:us-locations", "us-east1-b", true),
            ("in:us-locations", "global", false),
            ("us", "us", true),
        ] {
            assert_eq!(covers(value, location), covered, "{value}: {location}");
        }
    }
}

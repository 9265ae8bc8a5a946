//! What an organisation has ruled for the project: its policies, set by a control route
//! (at Google they come from above the project, and no owner of it may change them), read
//! as Resource Manager tells them. Each API enforces those that are about it, in its own
//! words.

use serde_json::{Value, json};

use crate::kernel::call::Call;
use crate::kernel::error::ApiError;
use crate::kernel::locations;
use crate::kernel::store::Tx;

pub const EXTERNAL_ADDRESSES: &str = "constraints/compute.vmExternalIpAccess";
pub const OS_LOGIN: &str = "constraints/compute.requireOsLogin";
pub const SHIELDED: &str = "constraints/compute.requireShieldedVm";
pub const CONFIDENTIAL: &str = "constraints/compute.restrictNonConfidentialComputing";
pub const GUEST_ATTRIBUTES: &str = "constraints/compute.disableGuestAttributesAccess";
const NO_DEFAULT_NETWORK: &str = "constraints/compute.skipDefaultNetworkCreation";
pub const NO_ACCOUNTS: &str = "constraints/iam.disableServiceAccountCreation";
pub const LOCATIONS: &str = "constraints/gcp.resourceLocations";
pub const UNIFORM_ACCESS: &str = "constraints/storage.uniformBucketLevelAccess";
pub const NOT_PUBLIC: &str = "constraints/storage.publicAccessPrevention";

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

/// Whether a policy of the boolean kind is on.
pub fn enforced(tx: &Tx, constraint: &str) -> bool {
    tx.get(&key(constraint)).is_some_and(|policy| policy["booleanPolicy"]["enforced"] == true)
}

/// Whether a project made under these policies gets no network by itself.
pub fn no_default_network(tx: &Tx) -> bool {
    enforced(tx, NO_DEFAULT_NETWORK)
}

/// Whether a list policy lets a value through.
pub fn allows(tx: &Tx, constraint: &str, covers: impl Fn(&str) -> bool) -> bool {
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

/// Whether things may be made in a place.
pub fn allowed_location(tx: &Tx, location: &str) -> bool {
    let location = location.to_ascii_lowercase();
    allows(tx, LOCATIONS, |value| covers(value, &location))
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

//! Subnetworks: ranges of a network in a region. In the sandbox a range is
//! checked and kept; the addresses of machines come from loopback all the same.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::operations::{Edit, Effect, start};
use super::{existing, fresh, key_of_link, link, modify, refuse_if_named, refuse_other_members, target};
use crate::kernel::access::require;
use crate::kernel::call::{Call, Handler};
use crate::kernel::error::ApiError;
use crate::kernel::store::Tx;
use crate::kernel::{clock, locations};

/// Where the subnetworks of auto mode lie; others of such a network stay out of it.
const AUTOMATIC: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 128, 0, 0), 9);

/// Ranges that no subnetwork may touch.
const FORBIDDEN: [Ipv4Net; 5] = [
    Ipv4Net::new_assert(Ipv4Addr::new(0, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4),
    Ipv4Net::new_assert(Ipv4Addr::new(255, 255, 255, 255), 32),
];

pub fn handler(verb: &str) -> Option<Handler> {
    Some(match verb {
        "insert" => insert,
        "patch" => patch,
        "delete" => remove,
        "expandIpCidrRange" => expand,
        "setPrivateIpGoogleAccess" => set_private_access,
        _ => return None,
    })
}

/// The subnetwork that a network of auto mode has in a region.
pub fn automatic(project: &str, region: &str, name: &str, network: &str) -> Value {
    let key = super::key(&format!("regions/{region}"), "subnetworks", name);
    let mut record = json!({
        "kind": "compute#subnetwork", "id": clock::resource_id(), "name": name,
        "creationTimestamp": clock::timestamp(), "selfLink": link(project, &key),
        "network": link(project, network), "ipCidrRange": locations::automatic_range(region),
        "region": link(project, &format!("compute/regions/{region}")),
    });
    complete(&mut record);
    record
}

/// What Google fills in.
fn complete(record: &mut Value) {
    let gateway = range_of(record).and_then(|range| range.hosts().next());
    record["gatewayAddress"] = json!(gateway.map(|address| address.to_string()));
    for (field, default) in [
        ("privateIpGoogleAccess", json!(false)),
        ("privateIpv6GoogleAccess", json!("DISABLE_GOOGLE_ACCESS")),
        ("purpose", json!("PRIVATE")),
        ("stackType", json!("IPV4_ONLY")),
    ] {
        if record[field].is_null() {
            record[field] = default;
        }
    }
    record["fingerprint"] = json!(clock::fingerprint());
}

fn range_of(record: &Value) -> Option<Ipv4Net> {
    record["ipCidrRange"].as_str()?.parse().ok()
}

fn overlap(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(b) || b.contains(a)
}

fn bad_range(text: &str, why: &str) -> ApiError {
    ApiError::invalid(format!("Invalid value for field 'resource.ipCidrRange': '{text}'. {why}"))
}

/// Reads a range that could be a subnetwork's.
fn parse_range(text: &str) -> Result<Ipv4Net, ApiError> {
    let range: Ipv4Net = text
        .parse()
        .ok()
        .filter(|range: &Ipv4Net| range.addr() == range.network())
        .ok_or_else(|| bad_range(text, "Must be a valid IPv4 address range in CIDR notation."))?;
    if !(4..=29).contains(&range.prefix_len()) {
        return Err(bad_range(text, "The prefix length must be between 4 and 29."));
    }
    if let Some(other) = FORBIDDEN.iter().find(|other| overlap(&range, other)) {
        return Err(bad_range(text, &format!("The range overlaps with the prohibited range {other}.")));
    }
    Ok(range)
}

/// Refuses a range that another subnetwork of the network has.
fn check_free(tx: &Tx, own: &str, network: &Value, range: &Ipv4Net) -> Result<(), ApiError> {
    for (key, record) in tx.scan("compute/regions/") {
        if !key.contains("/subnetworks/") || key == own || record["network"] != *network {
            continue;
        }
        if range_of(&record).is_some_and(|other| overlap(range, &other)) {
            let (name, region) = (&record["name"], record["region"].as_str().unwrap_or_default());
            let region = region.rsplit_once('/').map_or("", |(_, region)| region);
            return Err(bad_range(
                &range.to_string(),
                &format!(
                    "Invalid IPCidrRange: {range} conflicts with existing subnetwork '{}' in region '{region}'.",
                    name.as_str().unwrap_or_default()
                ),
            ));
        }
    }
    Ok(())
}

fn insert(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, mut record) = fresh(call, tx, "compute#subnetwork")?;
    for field in ["network", "ipCidrRange"] {
        if call.text(field).is_empty() {
            return Err(ApiError::new(
                400,
                "required",
                format!("Required field 'resource.{field}' not specified"),
            ));
        }
    }
    let others = ["secondaryIpRanges", "reservedInternalRange", "ipCollection", "role", "params"];
    if let Some(field) = others.into_iter().find(|field| !record[*field].is_null()) {
        return Err(ApiError::unimplemented(&format!("subnetworks with {field}")));
    }
    if record["stackType"].as_str().is_some_and(|stack| stack != "IPV4_ONLY")
        || record["purpose"].as_str().is_some_and(|purpose| purpose != "PRIVATE")
    {
        return Err(ApiError::unimplemented("subnetworks other than PRIVATE and IPV4_ONLY"));
    }
    let (network_key, network) = existing(call, tx, call.text("network"), "networks", "resource.network")?;
    require(call, tx, "compute.networks.updatePolicy")?;
    let range = parse_range(call.text("ipCidrRange"))?;
    if network["autoCreateSubnetworks"] == true && overlap(&range, &AUTOMATIC) {
        let why = "Extended subnetworks in auto subnet mode networks cannot overlap with 10.128.0.0/9";
        return Err(bad_range(call.text("ipCidrRange"), why));
    }
    record["network"] = network["selfLink"].clone();
    check_free(tx, &key, &record["network"], &range)?;
    complete(&mut record);
    let own = record["selfLink"].clone();
    let mut links = network["subnetworks"].as_array().cloned().unwrap_or_default();
    links.push(own);
    tx.edit(&network_key, |network| network["subnetworks"] = json!(links));
    tx.put(key.clone(), record);
    let undo = vec![
        Edit::Remove(key.clone()),
        Edit::Merge(network_key, json!({"subnetworks": network["subnetworks"]})),
    ];
    start(call, tx, &key, Effect { undo, ..Effect::default() })
}

fn patch(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    super::check_fingerprint(&call.body, &record)?;
    let changeable = ["logConfig", "enableFlowLogs", "fingerprint"];
    refuse_other_members(&call.body, &record, &changeable)?;
    let mut members = json!({"fingerprint": clock::fingerprint()});
    for field in ["logConfig", "enableFlowLogs"] {
        if !call.body[field].is_null() {
            members[field] = call.body[field].clone();
        }
    }
    modify(call, tx, &key, &members)
}

fn expand(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    let text = call.text("ipCidrRange");
    let range = parse_range(text)?;
    let larger = range_of(&record).is_some_and(|now| range.contains(&now) && range != now);
    if !larger {
        return Err(bad_range(text, "The new range must contain the existing range and be larger."));
    }
    check_free(tx, &key, &record["network"], &range)?;
    modify(call, tx, &key, &json!({"ipCidrRange": text, "fingerprint": clock::fingerprint()}))
}

fn set_private_access(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, _) = target(call, tx)?;
    let wanted = call.body["privateIpGoogleAccess"] == true;
    modify(call, tx, &key, &json!({"privateIpGoogleAccess": wanted, "fingerprint": clock::fingerprint()}))
}

fn remove(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    let network_key = key_of_link(record["network"].as_str().unwrap_or_default()).unwrap_or_default();
    let network = tx.get(&network_key).cloned().unwrap_or_default();
    let automatic = network["autoCreateSubnetworks"] == true && record["name"] == network["name"];
    if automatic {
        return Err(ApiError::new(
            400,
            "invalidResourceUsage",
            "Invalid resource usage: 'Cannot delete auto subnetwork from an auto subnet mode network.'.",
        ));
    }
    refuse_if_named(call, tx, "subnetwork", &key, &["networks"])?;
    let own = &record["selfLink"];
    let links: Vec<Value> = network["subnetworks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|each| *each != own)
        .cloned()
        .collect();
    let links = if links.is_empty() { Value::Null } else { json!(links) };
    let done = vec![Edit::Remove(key.clone()), Edit::Merge(network_key, json!({"subnetworks": links}))];
    start(call, tx, &key, Effect { done, ..Effect::default() })
}

/// Network and subnetwork, by their keys, that a resource in `region` names; what
/// is not named follows from the other, and from `default` where neither is.
pub fn resolve(
    call: &Call,
    tx: &Tx,
    region: &str,
    network: Option<&str>,
    subnetwork: Option<&str>,
    field: &str,
) -> Result<(String, String), ApiError> {
    if let Some(text) = subnetwork {
        let at = format!("{field}.subnetwork");
        let (key, record) = existing(call, tx, text, "subnetworks", &at)?;
        if !key.starts_with(&format!("compute/regions/{region}/")) {
            return Err(ApiError::invalid(format!(
                "Invalid value for field '{at}': '{text}'. The subnetwork is not in region '{region}'."
            )));
        }
        let own = key_of_link(record["network"].as_str().unwrap_or_default()).unwrap_or_default();
        if let Some(text) = network {
            let named = super::networks::named(call, tx, text, &format!("{field}.network"))?;
            if named != own {
                return Err(ApiError::invalid(format!(
                    "Invalid value for field '{at}': '{text}'. The specified subnetwork is not in the specified \
                     network."
                )));
            }
        }
        return Ok((own, key));
    }
    let at = format!("{field}.network");
    let text = network.unwrap_or("global/networks/default");
    let (key, record) = existing(call, tx, text, "networks", &at)?;
    let name = record["name"].as_str().unwrap_or_default();
    let own = super::key(&format!("regions/{region}"), "subnetworks", name);
    if record["autoCreateSubnetworks"] != true || !tx.has(&own) {
        return Err(ApiError::invalid(format!(
            "Invalid value for field '{field}': ''. Subnetwork should be specified for custom subnetmode network"
        )));
    }
    Ok((key, own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_network_of_a_size_that_google_has() {
        for (text, good) in [
            ("10.0.0.0/24", true),
            ("192.168.4.0/29", true),
            ("203.0.113.0/24", true),
            ("10.0.0.1/24", false),
            ("10.0.0.0/30", false),
            ("127.0.0.0/24", false),
            ("169.254.0.0/20", false),
            ("fd00::/64", false),
            ("10.0.0.0", false),
        ] {
            assert_eq!(parse_range(text).is_ok(), good, "{text}");
        }
    }
}

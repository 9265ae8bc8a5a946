//! Addresses: static ones, and how one is chosen.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::operations::Edit;
use super::state::network;
use super::{create, delete, fresh, link, not_ready, refuse_in_use, subnetworks, target};
use crate::kernel::access::require;
use crate::kernel::call::{Call, Handler};
use crate::kernel::clock;
use crate::kernel::error::ApiError;
use crate::kernel::store::Tx;
use crate::machines::Network;

pub fn handler(verb: &str) -> Option<Handler> {
    Some(match verb {
        "insert" => insert,
        "delete" => remove,
        _ => return None,
    })
}

/// An address that neither a static address nor an instance has.
pub fn allocate(network: Network, tx: &Tx, region: &str) -> Result<Ipv4Addr, ApiError> {
    let mut taken = BTreeSet::new();
    for (key, record) in tx.scan("compute/regions/").into_iter().chain(tx.scan("compute/zones/")) {
        if key.contains("/addresses/") {
            taken.extend(record["address"].as_str().map(str::to_owned));
        } else if key.contains("/forwardingRules/") {
            taken.extend(record["IPAddress"].as_str().map(str::to_owned));
        } else if key.contains("/instances/") {
            let interface = &record["networkInterfaces"][0];
            let external = &interface["accessConfigs"][0]["natIP"];
            taken.extend(
                [&interface["networkIP"], external]
                    .iter()
                    .filter_map(|each| each.as_str())
                    .map(str::to_owned),
            );
        }
    }
    network.hosts().find(|each| !taken.contains(&each.to_string())).ok_or_else(|| {
        let message = format!("Quota 'IN_USE_ADDRESSES' exceeded.  Limit: 253.0 in region {region}.");
        ApiError::new(403, "quotaExceeded", message)
    })
}

fn insert(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, mut record) = fresh(call, tx, "compute#address")?;
    let kind = record["addressType"].as_str().unwrap_or("EXTERNAL").to_owned();
    let others = ["network", "ipCollection", "prefixLength", "ipv6EndpointType"];
    if let Some(field) = others.into_iter().find(|field| !record[*field].is_null()) {
        return Err(ApiError::unimplemented(&format!("addresses with {field}")));
    }
    if record["ipVersion"] == "IPV6" {
        return Err(ApiError::unimplemented("addresses of IPV6"));
    }
    complete_internal(call, tx, &mut record, &kind)?;
    if record["address"].is_string() {
        return Err(ApiError::invalid(format!(
            "Invalid value for field 'resource.address': '{}'. The address is not one of this project's.",
            call.text("address")
        )));
    }
    record["address"] = json!(allocate(network(&call.cloud), tx, call.path("region"))?.to_string());
    record["addressType"] = json!(kind);
    record["labelFingerprint"] = json!(clock::fingerprint());
    if kind == "EXTERNAL" {
        for (field, default) in [("networkTier", "PREMIUM"), ("ipVersion", "IPV4")] {
            if record[field].is_null() {
                record[field] = json!(default);
            }
        }
    }
    record["status"] = json!("RESERVING");
    create(call, tx, &key, record, json!({"status": "RESERVED"}))
}

/// The subnetwork that an internal address is of; an external one has none.
fn complete_internal(call: &Call, tx: &Tx, record: &mut Value, kind: &str) -> Result<(), ApiError> {
    let bad = |field: &str, why: &str| {
        let value = record[field].as_str().unwrap_or_default();
        Err(ApiError::invalid(format!("Invalid value for field 'resource.{field}': '{value}'. {why}")))
    };
    if kind != "INTERNAL" {
        return match ["subnetwork", "purpose"].into_iter().find(|field| !record[*field].is_null()) {
            Some(field) => bad(field, "The field is for addresses of type INTERNAL only."),
            None => Ok(()),
        };
    }
    if !record["networkTier"].is_null() {
        return bad("networkTier", "Network tier cannot be specified for an internal address.");
    }
    if record["purpose"].as_str().is_some_and(|purpose| purpose != "GCE_ENDPOINT") {
        return Err(ApiError::unimplemented("internal addresses of another purpose than GCE_ENDPOINT"));
    }
    require(call, tx, "compute.addresses.createInternal")?;
    require(call, tx, "compute.subnetworks.use")?;
    let wanted = record["subnetwork"].as_str();
    let (_, subnetwork) = subnetworks::resolve(call, tx, call.path("region"), None, wanted, "resource")?;
    record["subnetwork"] = json!(link(&call.cloud.project, &subnetwork));
    record["purpose"] = json!("GCE_ENDPOINT");
    Ok(())
}

/// The address resource of a region that has this address.
pub fn find(tx: &Tx, region: &str, address: &str) -> Option<(String, Value)> {
    let all = tx.scan(&format!("compute/regions/{region}/addresses/"));
    all.into_iter().find(|(_, record)| record["address"] == address)
}

/// Makes `user` (a link) a user of the address; answers the address.
pub fn take(
    call: &Call,
    tx: &mut Tx,
    key: &str,
    record: &Value,
    user: &str,
    undo: &mut Vec<Edit>,
) -> Result<String, ApiError> {
    if record["status"] == "RESERVING" {
        return Err(not_ready(call, key));
    }
    let mut users = record["users"].as_array().cloned().unwrap_or_default();
    users.push(json!(user));
    tx.edit(key, |record| {
        record["status"] = json!("IN_USE");
        record["users"] = json!(users);
    });
    undo.push(Edit::Merge(key.to_owned(), json!({"status": record["status"], "users": record["users"]})));
    Ok(record["address"].as_str().unwrap_or_default().to_owned())
}

/// What frees the addresses that `user` (a link) uses.
pub fn release_all(tx: &Tx, user: &str) -> Vec<Edit> {
    let mut edits = Vec::new();
    for (key, record) in tx.scan("compute/regions/") {
        let users = record["users"].as_array().cloned().unwrap_or_default();
        if !key.contains("/addresses/") || !users.iter().any(|each| each == user) {
            continue;
        }
        let rest: Vec<Value> = users.into_iter().filter(|each| each != user).collect();
        edits.push(Edit::Merge(
            key,
            if rest.is_empty() {
                json!({"status": "RESERVED", "users": null})
            } else {
                json!({"users": rest})
            },
        ));
    }
    edits
}

/// The interfaces of an instance without the external address that it has for as long as it
/// runs only: a stop takes that. `None`: it has a static one, or none.
pub fn without_ephemeral(tx: &Tx, region: &str, interfaces: &Value) -> Option<Value> {
    let address = interfaces[0]["accessConfigs"][0]["natIP"].as_str()?;
    if find(tx, region, address).is_some() {
        return None;
    }
    let mut interfaces = interfaces.clone();
    interfaces[0]["accessConfigs"][0].as_object_mut()?.remove("natIP");
    Some(interfaces)
}

/// The same with another one, at a start.
pub fn with_ephemeral(
    call: &Call,
    tx: &Tx,
    region: &str,
    interfaces: &Value,
) -> Result<Option<Value>, ApiError> {
    let access = &interfaces[0]["accessConfigs"][0];
    if !access.is_object() || access["natIP"].is_string() {
        return Ok(None);
    }
    let mut interfaces = interfaces.clone();
    interfaces[0]["accessConfigs"][0]["natIP"] =
        json!(allocate(network(&call.cloud), tx, region)?.to_string());
    Ok(Some(interfaces))
}

fn remove(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    refuse_in_use(call, "address", &key, &record)?;
    delete(call, tx, &key, None)
}

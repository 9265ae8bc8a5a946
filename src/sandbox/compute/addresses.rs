//! Addresses: static ones, and how one is chosen.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::{create, delete, fresh, refuse_in_use, target};
use crate::sandbox::call::{Call, Handler};
use crate::sandbox::clock;
use crate::sandbox::error::ApiError;
use crate::sandbox::machine::Network;
use crate::sandbox::store::Tx;

pub fn handler(verb: &str) -> Option<Handler> {
    Some(match verb {
        "insert" => insert,
        "delete" => remove,
        _ => return None,
    })
}

/// An address that neither a static address nor an instance has.
pub fn allocate(network: Network, tx: &Tx) -> Result<Ipv4Addr, ApiError> {
    let mut taken = BTreeSet::new();
    for (key, record) in tx.scan("compute/regions/").into_iter().chain(tx.scan("compute/zones/")) {
        if key.contains("/addresses/") {
            taken.extend(record["address"].as_str().map(str::to_owned));
        } else if key.contains("/instances/") {
            taken.extend(record["networkInterfaces"][0]["networkIP"].as_str().map(str::to_owned));
        }
    }
    network.hosts().find(|each| !taken.contains(&each.to_string())).ok_or_else(|| {
        ApiError::new(403, "quotaExceeded", "Quota 'STATIC_ADDRESSES' exceeded.  Limit: 253.0 in region.")
    })
}

fn insert(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, mut record) = fresh(call, tx, "compute#address")?;
    let kind = record["addressType"].as_str().unwrap_or("EXTERNAL").to_owned();
    if record["address"].is_string() {
        return Err(ApiError::invalid(format!(
            "Invalid value for field 'resource.address': '{}'. The address is not one of this project's.",
            call.text("address")
        )));
    }
    record["address"] = json!(allocate(call.cloud.network(), tx)?.to_string());
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

fn remove(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    refuse_in_use(call, "address", &key, &record)?;
    delete(call, tx, &key, None)
}

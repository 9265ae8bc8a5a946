//! Addresses: static ones, and how a loopback address is chosen.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::{create, delete, fresh, refuse_in_use, target};
use crate::sandbox::call::{Call, Handler};
use crate::sandbox::clock;
use crate::sandbox::error::ApiError;
use crate::sandbox::store::Tx;

pub fn handler(verb: &str) -> Option<Handler> {
    Some(match verb {
        "insert" => insert,
        "delete" => remove,
        _ => return None,
    })
}

/// A sandbox's addresses are 127.A.B.2 to 127.A.B.254, A and B being the high
/// and low byte of its port: two sandboxes of one machine share none.
fn network(port: u16) -> [u8; 3] {
    let [high, low] = port.to_be_bytes();
    [127, if high == 0 { 255 } else { high }, low]
}

/// An address that neither a static address nor an instance has.
pub fn allocate(port: u16, tx: &Tx) -> Result<Ipv4Addr, ApiError> {
    let mut taken = BTreeSet::new();
    for (key, record) in tx.scan("compute/regions/").into_iter().chain(tx.scan("compute/zones/")) {
        if key.contains("/addresses/") {
            taken.extend(record["address"].as_str().map(str::to_owned));
        } else if key.contains("/instances/") {
            taken.extend(record["networkInterfaces"][0]["networkIP"].as_str().map(str::to_owned));
        }
    }
    let [a, b, c] = network(port);
    (2..=254u8)
        .map(|last| Ipv4Addr::new(a, b, c, last))
        .find(|each| !taken.contains(&each.to_string()))
        .ok_or_else(|| {
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
    record["address"] = json!(allocate(call.cloud.port, tx)?.to_string());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ports_have_two_networks() {
        assert_eq!(network(0x9c40), [127, 0x9c, 0x40]);
        assert_ne!(network(40000), network(40001));
        assert_ne!(network(40000), network(40000 - 256));
    }
}

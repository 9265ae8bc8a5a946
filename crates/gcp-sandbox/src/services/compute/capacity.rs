//! What a region lets a project have (its quotas), and what a zone has left. Both
//! can be set by the sandbox's control routes, and both are refused where Google
//! refuses: in the operation that would need more.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{catalogue, last};
use crate::kernel::call::Call;
use crate::kernel::error::ApiError;
use crate::kernel::faults::OperationError;
use crate::kernel::locations;
use crate::kernel::store::Tx;

/// The quotas of a region and their limits unless they are set.
const LIMITS: [(&str, f64); 8] = [
    ("CPUS", 72.0),
    ("N2_CPUS", 24.0),
    ("N2D_CPUS", 24.0),
    ("DISKS_TOTAL_GB", 40_960.0),
    ("SSD_TOTAL_GB", 8_192.0),
    ("INSTANCES", 240.0),
    ("IN_USE_ADDRESSES", 64.0),
    ("STATIC_ADDRESSES", 64.0),
];

fn limit_key(region: &str, metric: &str) -> String {
    format!("quotas/{region}/{metric}")
}

fn stockout_key(zone: &str) -> String {
    format!("stockouts/{zone}")
}

/// Sets a limit (`None`: what it is by itself).
pub fn set_limit(tx: &mut Tx, region: &str, metric: &str, limit: Option<f64>) -> Result<(), ApiError> {
    if !locations::is_region(region) || !LIMITS.iter().any(|(name, _)| *name == metric) {
        let known: Vec<&str> = LIMITS.iter().map(|(name, _)| *name).collect();
        return Err(ApiError::new(
            400,
            "badRequest",
            format!("No quota {metric} of region {region}; the quotas are {}.", known.join(", ")),
        ));
    }
    match limit {
        Some(limit) => tx.put(limit_key(region, metric), json!(limit)),
        None => tx.remove(limit_key(region, metric)),
    }
    Ok(())
}

/// Lets a zone run out of machines, or have some again.
pub fn set_stockout(tx: &mut Tx, zone: &str, available: bool) -> Result<(), ApiError> {
    if !locations::is_zone(zone) {
        return Err(ApiError::new(400, "badRequest", format!("There is no zone {zone}.")));
    }
    if available {
        tx.remove(stockout_key(zone));
    } else {
        tx.put(stockout_key(zone), json!(true));
    }
    Ok(())
}

type Usage = BTreeMap<&'static str, f64>;

/// What the records of a region use.
fn usage<'a>(region: &str, records: impl Iterator<Item = (&'a String, &'a Value)>) -> Usage {
    let mut usage = Usage::new();
    let mut add = |metric: &'static str, amount: f64| *usage.entry(metric).or_default() += amount;
    let (zones, regional) = (format!("compute/zones/{region}-"), format!("compute/regions/{region}/"));
    for (key, record) in records.filter(|(key, _)| key.starts_with(&zones) || key.starts_with(&regional)) {
        let external = |field: &str| record[field] == "EXTERNAL";
        if key.contains("/instances/") {
            add("INSTANCES", 1.0);
            if record["status"] != "TERMINATED" {
                let kind = last(record["machineType"].as_str().unwrap_or_default());
                add(cpu_metric(kind), f64::from(catalogue::cpus(kind)));
                if record["networkInterfaces"][0]["accessConfigs"].is_array() {
                    add("IN_USE_ADDRESSES", 1.0);
                }
            }
        } else if key.contains("/disks/") {
            let size = record["sizeGb"].as_str().and_then(|size| size.parse().ok()).unwrap_or(0.0);
            let standard = record["type"].as_str().is_some_and(|kind| kind.ends_with("/pd-standard"));
            add(if standard { "DISKS_TOTAL_GB" } else { "SSD_TOTAL_GB" }, size);
        } else if key.contains("/addresses/") && external("addressType") {
            add("STATIC_ADDRESSES", 1.0);
        } else if key.contains("/forwardingRules/") && external("loadBalancingScheme") {
            add("IN_USE_ADDRESSES", 1.0);
        }
    }
    usage
}

fn cpu_metric(machine_type: &str) -> &'static str {
    match machine_type.split('-').next() {
        Some("n2") => "N2_CPUS",
        Some("n2d") => "N2D_CPUS",
        _ => "CPUS",
    }
}

fn limit(tx: &Tx, region: &str, metric: &str) -> f64 {
    let own = LIMITS.iter().find(|(name, _)| *name == metric).map_or(0.0, |(_, limit)| *limit);
    tx.get(&limit_key(region, metric)).and_then(Value::as_f64).unwrap_or(own)
}

/// The quotas of a region, as its resource lists them.
pub fn quotas(tx: &Tx, region: &str) -> Value {
    let records = tx.scan("compute/");
    let usage = usage(region, records.iter().map(|(key, record)| (key, record)));
    let all = LIMITS.iter().map(|(metric, _)| {
        let used = usage.get(metric).copied().unwrap_or(0.0);
        json!({"metric": metric, "limit": limit(tx, region, metric), "usage": used})
    });
    Value::Array(all.collect())
}

/// What the operation of this call fails with, because the changes that it has
/// begun (those in `tx`) need more than there is.
pub fn lacking(call: &Call, tx: &Tx, scope: &str) -> Option<OperationError> {
    let place = scope.split_once('/').map(|(_, place)| place)?;
    let starts = ["instances.insert", "instances.start"].contains(&call.short_id());
    if starts && tx.has(&stockout_key(place)) {
        return Some(OperationError {
            code: "ZONE_RESOURCE_POOL_EXHAUSTED".into(),
            message: format!(
                "The zone 'projects/{}/zones/{place}' does not have enough resources available to fulfill the \
                 request.  Try a different zone, or try again later.",
                call.cloud.project
            ),
        });
    }
    let region = if scope.starts_with("zones/") { locations::region_of(place) } else { place };
    let records = tx.scan("compute/");
    let now = usage(region, records.iter().map(|(key, record)| (key, record)));
    let before = usage(region, tx.committed("compute/"));
    now.into_iter().find_map(|(metric, used)| {
        let limit = limit(tx, region, metric);
        let more = used > before.get(metric).copied().unwrap_or(0.0);
        (more && used > limit).then(|| OperationError {
            code: "QUOTA_EXCEEDED".into(),
            message: format!("Quota '{metric}' exceeded.  Limit: {limit:.1} in region {region}."),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_counted_by_region_and_kind() {
        let records: Vec<(String, Value)> = [
            (
                "compute/zones/europe-west1-b/instances/a",
                json!({"status": "RUNNING", "machineType": "x/e2-medium",
                    "networkInterfaces": [{"accessConfigs": []}]}),
            ),
            (
                "compute/zones/europe-west1-c/instances/b",
                json!({"status": "TERMINATED", "machineType": "x/e2-medium"}),
            ),
            ("compute/zones/europe-west1-b/disks/a", json!({"sizeGb": "10", "type": "x/pd-standard"})),
            ("compute/zones/europe-west1-b/disks/b", json!({"sizeGb": "20", "type": "x/pd-balanced"})),
            ("compute/regions/europe-west1/addresses/a", json!({"addressType": "INTERNAL"})),
            ("compute/zones/europe-west10-a/disks/b", json!({"sizeGb": "20", "type": "x/pd-balanced"})),
        ]
        .into_iter()
        .map(|(key, record)| (key.to_owned(), record))
        .collect();
        let found = usage("europe-west1", records.iter().map(|(key, record)| (key, record)));
        let expected = [
            ("CPUS", 2.0),
            ("DISKS_TOTAL_GB", 10.0),
            ("INSTANCES", 2.0),
            ("IN_USE_ADDRESSES", 1.0),
            ("SSD_TOTAL_GB", 20.0),
        ];
        assert_eq!(found, Usage::from(expected));
    }
}

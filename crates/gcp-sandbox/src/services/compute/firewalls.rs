//! Firewall rules.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{create, delete, fresh, link, modify, replacement, target};
use crate::kernel::call::{Call, Handler};
use crate::kernel::error::ApiError;
use crate::kernel::store::Tx;

pub fn handler(verb: &str) -> Option<Handler> {
    Some(match verb {
        "insert" => insert,
        "patch" => patch,
        "update" => update,
        "delete" => remove,
        _ => return None,
    })
}

fn insert(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, mut record) = fresh(call, tx, "compute#firewall")?;
    crate::kernel::access::require(call, tx, "compute.networks.updatePolicy")?;
    complete(call, tx, &mut record)?;
    create(call, tx, &key, record, json!({}))
}

/// Checks a whole rule and fills in what Google fills in.
fn complete(call: &Call, tx: &Tx, rule: &mut Value) -> Result<(), ApiError> {
    let network = rule["network"].as_str().unwrap_or("global/networks/default").to_owned();
    let network = super::networks::named(call, tx, &network, "resource.network")?;
    rule["network"] = json!(link(&call.cloud.project, &network));
    for (field, default) in
        [("direction", json!("INGRESS")), ("priority", json!(1000)), ("disabled", json!(false))]
    {
        if rule[field].is_null() {
            rule[field] = default;
        }
    }
    if rule["logConfig"].is_null() {
        rule["logConfig"] = json!({"enable": false});
    }
    let priority = rule["priority"].as_i64().unwrap_or(-1);
    if !(0..=65_535).contains(&priority) {
        return Err(ApiError::invalid(format!(
            "Invalid value for field 'resource.priority': '{priority}'. Must be greater than or equal to 0 and \
             less than or equal to 65535"
        )));
    }
    let list = |field: &str| rule[field].as_array().map_or(0, Vec::len);
    if (list("allowed") == 0) == (list("denied") == 0) {
        return Err(ApiError::invalid(
            "Invalid value for field 'resource.allowed': ''. Either allowed or denied must be specified, but not \
             both.",
        ));
    }
    for (at, each) in ["allowed", "denied"]
        .iter()
        .flat_map(|field| rule[*field].as_array().into_iter().flatten().enumerate())
    {
        check_ports(at, each)?;
    }
    for field in ["sourceRanges", "destinationRanges"] {
        for (at, range) in rule[field].as_array().into_iter().flatten().enumerate() {
            check_range(&format!("resource.{field}[{at}]"), range.as_str().unwrap_or_default())?;
        }
    }
    let ranges = ["sourceRanges", "destinationRanges"].iter().flat_map(|field| rule[*field].as_array());
    let sixes: Vec<bool> =
        ranges.flatten().map(|range| range.as_str().is_some_and(|text| text.contains(':'))).collect();
    if sixes.contains(&true) && sixes.contains(&false) {
        return Err(ApiError::invalid(
            "Invalid value for field 'resource': ''. A firewall rule cannot have both IPv4 and IPv6 ranges.",
        ));
    }
    let ingress = rule["direction"] == "INGRESS";
    if !ingress && ["sourceRanges", "sourceTags", "sourceServiceAccounts"].iter().any(|field| list(field) > 0)
    {
        return Err(ApiError::invalid(
            "Invalid value for field 'resource.sourceRanges': ''. Sources cannot be specified for EGRESS rules.",
        ));
    }
    let by_account = list("targetServiceAccounts") + list("sourceServiceAccounts") > 0;
    if by_account && list("targetTags") + list("sourceTags") > 0 {
        return Err(ApiError::invalid("Firewall rules cannot mix tags and service accounts."));
    }
    if ingress && list("sourceRanges") + list("sourceTags") + list("sourceServiceAccounts") == 0 {
        rule["sourceRanges"] = json!(["0.0.0.0/0"]);
    }
    Ok(())
}

fn check_ports(at: usize, each: &Value) -> Result<(), ApiError> {
    let protocol = each["IPProtocol"].as_str().unwrap_or_default();
    let known = ["tcp", "udp", "icmp", "esp", "ah", "sctp", "ipip", "all"].contains(&protocol);
    if !known && protocol.parse::<u8>().is_err() {
        return Err(ApiError::invalid(format!(
            "Invalid value for field 'resource.allowed[{at}].IPProtocol': '{protocol}'. The protocol is unknown."
        )));
    }
    let numbered = ["tcp", "udp", "sctp", "6", "17", "132"].contains(&protocol);
    if !numbered && each["ports"].as_array().is_some_and(|ports| !ports.is_empty()) {
        return Err(ApiError::invalid(format!(
            "Invalid value for field 'resource.allowed[{at}].ports': ''. Ports may only be specified on rules whose \
             protocol is one of [TCP, UDP, SCTP]."
        )));
    }
    for (index, port) in each["ports"].as_array().into_iter().flatten().enumerate() {
        let port = port.as_str().unwrap_or_default();
        let (from, to) = port.split_once('-').unwrap_or((port, port));
        let good = matches!((from.parse::<u16>(), to.parse::<u16>()), (Ok(from), Ok(to)) if from <= to);
        if !good {
            return Err(ApiError::invalid(format!(
                "Invalid value for field 'resource.allowed[{at}].ports[{index}]': '{port}'. Must be an integer or \
                 a range between 0 and 65535."
            )));
        }
    }
    Ok(())
}

/// A CIDR whose address has no bits beyond its mask, or a plain address.
fn check_range(field: &str, text: &str) -> Result<(), ApiError> {
    let good = match text.split_once('/') {
        None => text.parse::<IpAddr>().is_ok(),
        Some(_) => text.parse::<ipnet::IpNet>().is_ok_and(|net| net.addr() == net.network()),
    };
    if good {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "Invalid value for field '{field}': '{text}'. Must be a valid IP address range in CIDR notation."
    )))
}

fn replaced(call: &Call, tx: &mut Tx, mut rule: Value, key: &str, before: &Value) -> Result<Value, ApiError> {
    complete(call, tx, &mut rule)?;
    if rule["network"] != before["network"] || rule["direction"] != before["direction"] {
        return Err(ApiError::invalid("The network and the direction of a firewall rule cannot be changed."));
    }
    modify(call, tx, key, &replacement(before, &rule))
}

fn patch(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, before) = target(call, tx)?;
    crate::kernel::access::require(call, tx, "compute.networks.updatePolicy")?;
    let mut rule = before.clone();
    for (name, value) in call.body.as_object().into_iter().flatten() {
        rule[name] = value.clone();
    }
    replaced(call, tx, rule, &key, &before)
}

fn update(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, before) = target(call, tx)?;
    crate::kernel::access::require(call, tx, "compute.networks.updatePolicy")?;
    replaced(call, tx, call.body.clone(), &key, &before)
}

fn remove(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, _) = target(call, tx)?;
    crate::kernel::access::require(call, tx, "compute.networks.updatePolicy")?;
    delete(call, tx, &key, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_networks() {
        for (range, good) in
            [("10.0.0.0/8", true), ("10.0.0.1/8", false), ("10.0.0.1", true), ("::/0", true), ("x", false)]
        {
            assert_eq!(check_range("f", range).is_ok(), good, "{range}");
        }
    }

    #[test]
    fn ports_are_numbers_or_ranges() {
        for (ports, good) in [(json!(["22"]), true), (json!(["1-5"]), true), (json!(["5-1"]), false)] {
            assert_eq!(check_ports(0, &json!({"IPProtocol": "tcp", "ports": ports})).is_ok(), good);
        }
        assert!(check_ports(0, &json!({"IPProtocol": "tpc"})).is_err());
    }
}

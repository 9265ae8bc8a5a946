//! Forwarding rules: the address and the ports at which a backend service is
//! reached. The `balancer` listens there.

use serde_json::{Value, json};

use super::operations::{Edit, Effect, start};
use super::state::network;
use super::{
    addresses, existing, fresh, key_of_link, link, modify, refuse_other_members, subnetworks, target,
};
use crate::kernel::access::require;
use crate::kernel::call::{Call, Handler};
use crate::kernel::clock;
use crate::kernel::error::ApiError;
use crate::kernel::store::Tx;

/// Ports that one rule may have here: each is a listener.
const MOST_PORTS: usize = 64;

pub fn handler(verb: &str) -> Option<Handler> {
    Some(match verb {
        "insert" => insert,
        "patch" => patch,
        "delete" => remove,
        _ => return None,
    })
}

fn bad(field: &str, value: &str, why: &str) -> ApiError {
    ApiError::invalid(format!("Invalid value for field 'resource.{field}': '{value}'. {why}"))
}

/// The ports that a rule names; empty: none that can be read.
pub fn ports(rule: &Value) -> Vec<u16> {
    let listed = rule["ports"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let ranges = listed.chain(rule["portRange"].as_str());
    ranges
        .filter_map(|text| {
            let (from, to) = text.split_once('-').unwrap_or((text, text));
            Some(from.parse::<u16>().ok()?..=to.parse::<u16>().ok()?)
        })
        .flatten()
        .filter(|port| *port > 0)
        .collect()
}

fn check_ports(rule: &mut Value) -> Result<(), ApiError> {
    if rule["allPorts"] == true {
        return Err(ApiError::unimplemented("forwarding rules with allPorts"));
    }
    let listed = rule["ports"].as_array().map_or(0, Vec::len);
    if (listed == 0) == rule["portRange"].is_null() {
        return Err(bad("ports", "", "Exactly one of ports, portRange and allPorts must be specified."));
    }
    if listed > 5 {
        return Err(bad("ports", "", "At most 5 ports may be specified."));
    }
    for (at, port) in rule["ports"].as_array().into_iter().flatten().enumerate() {
        let port = port.as_str().unwrap_or_default();
        if port.parse::<u16>().map_or(true, |port| port == 0) {
            return Err(bad(&format!("ports[{at}]"), port, "Must be a port between 1 and 65535."));
        }
    }
    if let Some(range) = rule["portRange"].as_str() {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        if ports(rule).is_empty() {
            return Err(bad("portRange", range, "Must be a port, or a range of ports as 80-90."));
        }
        rule["portRange"] = json!(format!("{from}-{to}"));
    }
    if ports(rule).len() > MOST_PORTS {
        return Err(ApiError::unimplemented(&format!("forwarding rules of more than {MOST_PORTS} ports")));
    }
    Ok(())
}

fn insert(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, mut rule) = fresh(call, tx, "compute#forwardingRule")?;
    let others = [
        "target",
        "serviceLabel",
        "sourceIpRanges",
        "isMirroringCollector",
        "ipCollection",
        "metadataFilters",
        "serviceDirectoryRegistrations",
        "allowPscGlobalAccess",
    ];
    if let Some(field) = others.into_iter().find(|field| !rule[*field].is_null() && rule[*field] != false) {
        return Err(ApiError::unimplemented(&format!("forwarding rules with {field}")));
    }
    let scheme = rule["loadBalancingScheme"].as_str().unwrap_or("EXTERNAL").to_owned();
    if !["EXTERNAL", "INTERNAL"].contains(&scheme.as_str()) {
        return Err(ApiError::unimplemented(&format!("forwarding rules of scheme {scheme}")));
    }
    if rule["IPProtocol"].as_str().is_some_and(|protocol| protocol != "TCP") {
        return Err(ApiError::unimplemented("forwarding rules of another protocol than TCP"));
    }
    rule["IPProtocol"] = json!("TCP");
    rule["loadBalancingScheme"] = json!(scheme);
    check_ports(&mut rule)?;
    check_service(call, tx, &mut rule, &scheme)?;
    let region = call.path("region").to_owned();
    if scheme == "INTERNAL" {
        require(call, tx, "compute.subnetworks.use")?;
        let (network, subnetwork) = subnetworks::resolve(
            call,
            tx,
            &region,
            rule["network"].as_str(),
            rule["subnetwork"].as_str(),
            "resource",
        )?;
        rule["network"] = json!(link(&call.cloud.project, &network));
        rule["subnetwork"] = json!(link(&call.cloud.project, &subnetwork));
        if rule["allowGlobalAccess"].is_null() {
            rule["allowGlobalAccess"] = json!(false);
        }
    } else {
        for field in ["network", "subnetwork"] {
            if let Some(text) = rule[field].as_str() {
                return Err(bad(field, text, "An external forwarding rule has no network or subnetwork."));
            }
        }
        if rule["allowGlobalAccess"] == true {
            return Err(bad(
                "allowGlobalAccess",
                "true",
                "Global access is for INTERNAL forwarding rules only.",
            ));
        }
    }
    if rule["networkTier"].is_null() {
        rule["networkTier"] = json!("PREMIUM");
    }
    let mut undo = vec![Edit::Remove(key.clone())];
    let address = match rule["IPAddress"].as_str().map(str::to_owned) {
        None => addresses::allocate(network(&call.cloud), tx, call.path("region"))?.to_string(),
        Some(text) => {
            require(
                call,
                tx,
                if scheme == "INTERNAL" { "compute.addresses.useInternal" } else { "compute.addresses.use" },
            )?;
            bind(call, tx, &text, &rule, &mut undo)?
        }
    };
    rule["IPAddress"] = json!(address);
    rule["fingerprint"] = json!(clock::fingerprint());
    rule["labelFingerprint"] = json!(clock::fingerprint());
    tx.put(key.clone(), rule);
    start(call, tx, &key, Effect { undo, ..Effect::default() })
}

fn check_service(call: &Call, tx: &Tx, rule: &mut Value, scheme: &str) -> Result<(), ApiError> {
    let text = rule["backendService"].as_str().unwrap_or_default().to_owned();
    if text.is_empty() {
        return Err(ApiError::new(400, "required", "Required field 'resource.backendService' not specified"));
    }
    let (key, service) = existing(call, tx, &text, "backendServices", "resource.backendService")?;
    require(call, tx, "compute.regionBackendServices.use")?;
    if !key.starts_with(&format!("compute/regions/{}/", call.path("region"))) {
        let why = format!("The backend service is not in region '{}'.", call.path("region"));
        return Err(bad("backendService", &text, &why));
    }
    if service["loadBalancingScheme"] != scheme {
        let why = format!(
            "The load balancing scheme {scheme} of the forwarding rule differs from that of the backend service, {}.",
            service["loadBalancingScheme"].as_str().unwrap_or_default()
        );
        return Err(bad("loadBalancingScheme", scheme, &why));
    }
    rule["backendService"] = service["selfLink"].clone();
    Ok(())
}

/// Takes the static address that a rule names, by itself or by its resource.
/// External ones may be shared by rules of other ports.
fn bind(
    call: &Call,
    tx: &mut Tx,
    text: &str,
    rule: &Value,
    undo: &mut Vec<Edit>,
) -> Result<String, ApiError> {
    let region = call.path("region");
    let kind = rule["loadBalancingScheme"].as_str().unwrap_or_default();
    let own = rule["selfLink"].as_str().unwrap_or_default();
    let (key, record) = if text.parse::<std::net::IpAddr>().is_ok() {
        addresses::find(tx, region, text).ok_or_else(|| {
            bad(
                "IPAddress",
                text,
                &format!("The specified IP address '{text}' was not found in region '{region}'."),
            )
        })?
    } else {
        let (key, record) = existing(call, tx, text, "addresses", "resource.IPAddress")?;
        if !key.starts_with(&format!("compute/regions/{region}/")) {
            return Err(bad("IPAddress", text, &format!("The address is not in region '{region}'.")));
        }
        (key, record)
    };
    if record["addressType"] != kind {
        let why = format!(
            "The address is {}, the forwarding rule {kind}.",
            record["addressType"].as_str().unwrap_or_default()
        );
        return Err(bad("IPAddress", text, &why));
    }
    if !rule["subnetwork"].is_null() && record["subnetwork"] != rule["subnetwork"] {
        return Err(bad("IPAddress", text, "The address is not in the subnetwork of the forwarding rule."));
    }
    let taken = |user: &Value| {
        let other = user.as_str().and_then(key_of_link).and_then(|key| tx.get(&key).cloned());
        let shares = kind == "EXTERNAL"
            && other.is_some_and(|other| {
                other["kind"] == "compute#forwardingRule"
                    && ports(&other).iter().all(|port| !ports(rule).contains(port))
            });
        !shares
    };
    if record["users"].as_array().into_iter().flatten().any(taken) {
        let address = record["address"].as_str().unwrap_or_default();
        return Err(bad(
            "IPAddress",
            address,
            "Specified IP address is in-use and would result in a conflict.",
        ));
    }
    addresses::take(call, tx, &key, &record, own, undo)
}

fn patch(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    if !call.text("fingerprint").is_empty() {
        super::check_fingerprint(&call.body, &record)?;
    }
    refuse_other_members(&call.body, &record, &["allowGlobalAccess", "fingerprint"])?;
    let wanted = &call.body["allowGlobalAccess"];
    if *wanted == true && record["loadBalancingScheme"] == "EXTERNAL" {
        return Err(bad("allowGlobalAccess", "true", "Global access is for INTERNAL forwarding rules only."));
    }
    let mut members = json!({"fingerprint": clock::fingerprint()});
    if wanted.is_boolean() {
        members["allowGlobalAccess"] = wanted.clone();
    }
    modify(call, tx, &key, &members)
}

fn remove(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    let own = record["selfLink"].as_str().unwrap_or_default();
    let mut done = vec![Edit::Remove(key.clone())];
    done.extend(addresses::release_all(tx, own));
    start(call, tx, &key, Effect { done, ..Effect::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_listed_or_a_range() {
        let check = |rule: Value| {
            let mut rule = rule;
            check_ports(&mut rule).map(|()| rule)
        };
        assert_eq!(ports(&check(json!({"ports": ["80", "443"]})).unwrap()), [80, 443]);
        let range = check(json!({"portRange": "9009"})).unwrap();
        assert_eq!((&range["portRange"], ports(&range)), (&json!("9009-9009"), vec![9009]));
        assert_eq!(ports(&check(json!({"portRange": "1-3"})).unwrap()), [1, 2, 3]);
        for (bad, code) in [
            (json!({}), 400),
            (json!({"ports": ["80"], "portRange": "80"}), 400),
            (json!({"ports": ["0"]}), 400),
            (json!({"ports": ["80-90"]}), 400),
            (json!({"portRange": "9-1"}), 400),
            (json!({"portRange": "1-9999"}), 501),
            (json!({"allPorts": true}), 501),
        ] {
            assert_eq!(check(bad.clone()).unwrap_err().code, code, "{bad}");
        }
    }
}

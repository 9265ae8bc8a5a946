//! Networks: the `default` one that every project has, and own ones of either
//! mode. Their subnetworks are in `subnetworks`.

use serde_json::{Value, json};

use super::{
    catalogue, delete, existing, fresh, link, modify, refuse_if_named, refuse_other_members, subnetworks,
    target,
};
use crate::sandbox::call::{Call, Handler};
use crate::sandbox::clock;
use crate::sandbox::error::ApiError;
use crate::sandbox::faults::OperationError;
use crate::sandbox::operation::{Edit, Effect, start};
use crate::sandbox::store::Tx;

pub fn handler(verb: &str) -> Option<Handler> {
    Some(match verb {
        "insert" => insert,
        "patch" => patch,
        "delete" => remove,
        _ => return None,
    })
}

/// Puts the network in place that Google makes with a project.
pub fn found(project: &str, tx: &mut Tx) {
    let key = super::key("global", "networks", "default");
    let mut network = json!({
        "kind": "compute#network", "id": clock::resource_id(), "name": "default",
        "creationTimestamp": clock::timestamp(), "selfLink": link(project, &key),
        "autoCreateSubnetworks": true, "description": "Default network for the project",
    });
    complete(&mut network);
    network["subnetworks"] = json!(add_automatic(project, tx, &key).1);
    tx.put(key, network);
}

/// What a request says of routing, but for what is no more than an order to forget.
fn routing(config: &mut Value) {
    if let Some(members) = config.as_object_mut()
        && members.remove("deleteBgpAlwaysCompareMed") == Some(json!(true))
    {
        members.remove("bgpAlwaysCompareMed");
    }
}

/// What Google fills in.
fn complete(network: &mut Value) {
    routing(&mut network["routingConfig"]);
    for (field, default) in [
        ("routingConfig", json!({"routingMode": "REGIONAL"})),
        ("networkFirewallPolicyEnforcementOrder", json!("AFTER_CLASSIC_FIREWALL")),
    ] {
        if network[field].is_null() {
            network[field] = default;
        }
    }
    let id = network["id"].as_str().unwrap_or_default();
    let own = network["selfLink"].as_str().unwrap_or_default();
    let parent = own.rsplit_once('/').map_or("", |(parent, _)| parent);
    network["selfLinkWithId"] = json!(format!("{parent}/{id}"));
}

/// One subnetwork in each region, as networks of auto mode have them; answers
/// their keys and links.
fn add_automatic(project: &str, tx: &mut Tx, network: &str) -> (Vec<String>, Vec<String>) {
    let name = network.rsplit_once('/').map_or("", |(_, name)| name);
    let mut added = (Vec::new(), Vec::new());
    for region in catalogue::regions() {
        let key = super::key(&format!("regions/{region}"), "subnetworks", name);
        tx.put(key.clone(), subnetworks::automatic(project, region, name, network));
        added.1.push(link(project, &key));
        added.0.push(key);
    }
    added
}

fn check(call: &Call) -> Result<(), ApiError> {
    let body = &call.body;
    if let Some(mtu) = body["mtu"].as_i64().filter(|mtu| !(1300..=8896).contains(mtu)) {
        return Err(ApiError::invalid(format!(
            "Invalid value for field 'resource.mtu': '{mtu}'. Mtu must be between 1300 and 8896."
        )));
    }
    let mode = body["routingConfig"]["routingMode"].as_str().unwrap_or("REGIONAL");
    if !["REGIONAL", "GLOBAL"].contains(&mode) {
        return Err(ApiError::invalid(format!(
            "Invalid value for field 'resource.routingConfig.routingMode': '{mode}'. Must be REGIONAL or GLOBAL."
        )));
    }
    let others = ["enableUlaInternalIpv6", "internalIpv6Range", "networkProfile", "params"];
    match others.into_iter().find(|field| !body[*field].is_null() && body[*field] != false) {
        Some(field) => Err(ApiError::unimplemented(&format!("networks with {field}"))),
        None => Ok(()),
    }
}

fn insert(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, mut record) = fresh(call, tx, "compute#network")?;
    check(call)?;
    let Some(automatic) = record["autoCreateSubnetworks"].as_bool() else {
        return Err(ApiError::unimplemented(
            "legacy networks: networks.insert without autoCreateSubnetworks",
        ));
    };
    if !record["IPv4Range"].is_null() {
        return Err(ApiError::invalid(
            "Invalid value for field 'resource.IPv4Range': IPv4Range cannot be given together with \
             autoCreateSubnetworks.",
        ));
    }
    complete(&mut record);
    let mut undo = vec![Edit::Remove(key.clone())];
    if automatic {
        let (keys, links) = add_automatic(&call.cloud.project, tx, &key);
        undo.extend(keys.into_iter().map(Edit::Remove));
        record["subnetworks"] = json!(links);
    }
    tx.put(key.clone(), record);
    start(call, tx, &key, Effect { undo, ..Effect::default() })
}

fn patch(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    check(call)?;
    let changeable = ["routingConfig", "mtu", "networkFirewallPolicyEnforcementOrder"];
    refuse_other_members(&call.body, &record, &changeable)?;
    let mut members = json!({});
    for field in changeable.into_iter().filter(|field| !call.body[*field].is_null()) {
        members[field] = call.body[field].clone();
    }
    if members["routingConfig"].is_object() {
        routing(&mut members["routingConfig"]);
    }
    modify(call, tx, &key, &members)
}

fn remove(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    let own: Vec<String> = record["subnetworks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|link| super::key_of_link(link.as_str()?))
        .collect();
    let automatic = record["autoCreateSubnetworks"] == true;
    let used = match automatic {
        false => refuse_if_named(call, tx, "network", &key, &[]),
        // Its automatic subnetworks go with it, unless they are used.
        true => refuse_if_named(call, tx, "network", &key, &["subnetworks"]).and_then(|()| {
            own.iter().try_for_each(|each| refuse_if_named(call, tx, "subnetwork", each, &["networks"]))
        }),
    };
    // Unlike other resources, whose users are looked for at once.
    if let Err(error) = used {
        let code = "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE".to_owned();
        let fail = Some(OperationError { code, message: error.message });
        return start(call, tx, &key, Effect { fail, ..Effect::default() });
    }
    if !automatic {
        return delete(call, tx, &key, None);
    }
    let done = own.into_iter().chain([key.clone()]).map(Edit::Remove).collect();
    start(call, tx, &key, Effect { done, ..Effect::default() })
}

/// The network that a reference names, by its key.
pub fn named(call: &Call, tx: &Tx, text: &str, field: &str) -> Result<String, ApiError> {
    existing(call, tx, text, "networks", field).map(|(key, _)| key)
}

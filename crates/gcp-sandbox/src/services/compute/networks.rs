//! Networks: the `default` one that most projects have, and own ones of either
//! mode. Their subnetworks are in `subnetworks`.

use serde_json::{Value, json};

use super::operations::{Edit, Effect, start};
use super::{
    delete, existing, fresh, link, modify, refuse_if_named, refuse_other_members, subnetworks, target,
};
use crate::kernel::call::{Call, Handler};
use crate::kernel::error::ApiError;
use crate::kernel::faults::OperationError;
use crate::kernel::operation::later;
use crate::kernel::store::Tx;
use crate::kernel::{clock, locations};

pub fn handler(verb: &str) -> Option<Handler> {
    Some(match verb {
        "insert" => insert,
        "patch" => patch,
        "delete" => remove,
        "getEffectiveFirewalls" => effective_firewalls,
        _ => return None,
    })
}

/// The network that Google makes once Compute Engine is enabled, unless a policy says
/// otherwise: what makes it, or nothing, where it comes later than the API by itself.
pub fn comes_with_the_api(call: &Call, tx: &mut Tx) -> Vec<Edit> {
    let made = tx.get("project").is_some_and(|project| project["network"] == true);
    if made || crate::services::org_policy::no_default_network(tx) {
        return Vec::new();
    }
    tx.edit("project", |project| project["network"] = json!(true));
    let edits = default(&call.cloud.project);
    let late = call.cloud.consistency.lag().default_network_ms;
    if late == 0 {
        return edits;
    }
    let time = call.cloud.operation_time(call.short_id()) + std::time::Duration::from_millis(late);
    later(&call.cloud, tx, "operations/services/default-network", time, edits);
    Vec::new()
}

fn default(project: &str) -> Vec<Edit> {
    let key = super::key("global", "networks", "default");
    let mut network = json!({
        "kind": "compute#network", "id": clock::resource_id(), "name": "default",
        "creationTimestamp": clock::timestamp(), "selfLink": link(project, &key),
        "autoCreateSubnetworks": true, "description": "Default network for the project",
    });
    complete(&mut network);
    let (mut edits, links) = automatic(project, &key);
    network["subnetworks"] = json!(links);
    edits.push(Edit::Put(key, network));
    edits
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

/// One subnetwork in each region, as networks of auto mode have them, and their links.
fn automatic(project: &str, network: &str) -> (Vec<Edit>, Vec<String>) {
    let name = network.rsplit_once('/').map_or("", |(_, name)| name);
    let mut all = (Vec::new(), Vec::new());
    for region in locations::regions() {
        let key = super::key(&format!("regions/{region}"), "subnetworks", name);
        all.1.push(link(project, &key));
        all.0.push(Edit::Put(key, subnetworks::automatic(project, region, name, network)));
    }
    all
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
        let (edits, links) = self::automatic(&call.cloud.project, &key);
        for edit in edits {
            if let Edit::Put(key, record) = edit {
                tx.put(key.clone(), record);
                undo.push(Edit::Remove(key));
            }
        }
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

/// What an organisation's firewall policy is called.
const POLICY: &str = "organisation";

/// Sets the rules of the organisation's firewall policy, which holds before all rules of the
/// project's networks; in the form of Compute Engine's `FirewallPolicyRule`.
pub fn set_policy(tx: &mut Tx, rules: Vec<Value>) -> Result<Value, ApiError> {
    for rule in &rules {
        if rule["direction"] != "INGRESS" {
            return Err(ApiError::unimplemented("rules of firewall policies for what goes out"));
        }
        if !["allow", "deny", "goto_next"].contains(&rule["action"].as_str().unwrap_or_default()) {
            return Err(ApiError::invalid(format!("Invalid action of a rule: {}", rule["action"])));
        }
        let named = rule["match"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
        if let Some(other) = named.into_iter().find(|name| !["srcIpRanges", "layer4Configs"].contains(name)) {
            return Err(ApiError::unimplemented(&format!("rules of firewall policies with {other}")));
        }
    }
    tx.put(POLICY_KEY, json!(rules));
    Ok(json!({"rules": rules}))
}

/// Where they are kept.
pub const POLICY_KEY: &str = "hierarchy/firewall";

fn effective_firewalls(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (_, network) = target(call, tx)?;
    let own = &network["selfLink"];
    let rules = tx.scan("compute/global/firewalls/").into_iter().map(|(_, rule)| rule);
    let mut answer = json!({"firewalls": rules.filter(|rule| rule["network"] == *own).collect::<Vec<_>>()});
    if let Some(rules) =
        tx.get(POLICY_KEY).filter(|rules| rules.as_array().is_some_and(|all| !all.is_empty()))
    {
        answer["firewallPolicys"] =
            json!([{"type": "HIERARCHY", "name": "123456789012", "shortName": POLICY, "rules": rules}]);
    }
    Ok(answer)
}

/// The network that a reference names, by its key.
pub fn named(call: &Call, tx: &Tx, text: &str, field: &str) -> Result<String, ApiError> {
    existing(call, tx, text, "networks", field).map(|(key, _)| key)
}

//! Unmanaged instance groups. Who is in a group is no member of the resource, so
//! it has a record of its own: `members/zones/Z/instanceGroups/G`, a list of links.

use serde_json::{Value, json};

use super::operations::{Edit, Effect, start};
use super::{
    delete as delete_record, existing, fresh, link, lists, modify, refuse_if_named, relative, target,
};
use crate::kernel::access::require;
use crate::kernel::call::{Call, Handler};
use crate::kernel::clock;
use crate::kernel::cloud::Cloud;
use crate::kernel::error::ApiError;
use crate::kernel::faults::OperationError;
use crate::kernel::store::Tx;

pub fn handler(verb: &str) -> Option<Handler> {
    Some(match verb {
        "insert" => insert,
        "delete" => remove,
        "addInstances" => add,
        "removeInstances" => take_out,
        "listInstances" => list_instances,
        "setNamedPorts" => set_named_ports,
        _ => return None,
    })
}

/// The record of a group's members.
pub fn members_key(group: &str) -> String {
    format!("members/{}", group.trim_start_matches("compute/"))
}

fn members(tx: &Tx, group: &str) -> Vec<String> {
    let list = tx.get(&members_key(group)).cloned().unwrap_or_default();
    serde_json::from_value(list).unwrap_or_default()
}

fn check_ports(ports: &Value, field: &str) -> Result<(), ApiError> {
    for (at, each) in ports.as_array().into_iter().flatten().enumerate() {
        crate::kernel::labels::check_name(each["name"].as_str().unwrap_or_default())?;
        let port = each["port"].as_i64().unwrap_or(0);
        if !(1..=65_535).contains(&port) {
            return Err(ApiError::invalid(format!(
                "Invalid value for field '{field}[{at}].port': '{port}'. Must be greater than or equal to 1 and \
                 less than or equal to 65535"
            )));
        }
    }
    Ok(())
}

fn insert(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, mut record) = fresh(call, tx, "compute#instanceGroup")?;
    check_ports(&record["namedPorts"], "resource.namedPorts")?;
    for (field, collection) in [("network", "networks"), ("subnetwork", "subnetworks")] {
        if let Some(text) = record[field].as_str() {
            let (_, named) = existing(call, tx, text, collection, &format!("resource.{field}"))?;
            record[field] = named["selfLink"].clone();
        }
    }
    record["size"] = json!(0);
    record["fingerprint"] = json!(clock::fingerprint());
    super::create(call, tx, &key, record, json!({}))
}

fn remove(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, _) = target(call, tx)?;
    refuse_if_named(call, tx, "instance_group", &key, &[])?;
    tx.remove(members_key(&key));
    delete_record(call, tx, &key, None)
}

/// The instances that a body names: keys and records.
fn named(call: &Call, tx: &Tx) -> Result<Vec<(String, Value)>, ApiError> {
    let all = call.body["instances"].as_array().cloned().unwrap_or_default();
    let named = all.iter().enumerate().map(|(at, each)| {
        let field = format!("instances[{at}].instance");
        let text = each["instance"].as_str().unwrap_or_default();
        let (key, record) = existing(call, tx, text, "instances", &field)?;
        if !key.starts_with(&format!("compute/zones/{}/", call.path("zone"))) {
            return Err(ApiError::invalid(format!(
                "Invalid value for field '{field}': '{text}'. The instance is not in zone '{}'.",
                call.path("zone")
            )));
        }
        Ok((key, record))
    });
    let named = named.collect::<Result<Vec<_>, _>>()?;
    if named.is_empty() {
        return Err(ApiError::new(400, "required", "Required field 'instances' not specified"));
    }
    Ok(named)
}

/// Writes who is in the group; the operation takes it back if it fails.
fn set_members(
    call: &Call,
    tx: &mut Tx,
    key: &str,
    group: &Value,
    now: &[String],
    more: Value,
) -> Result<Value, ApiError> {
    let before = members(tx, key);
    tx.put(members_key(key), json!(now));
    let mut changed = json!({"size": now.len()});
    let mut back = json!({"size": group["size"]});
    for (name, value) in more.as_object().into_iter().flatten() {
        changed[name] = value.clone();
        back[name] = group[name].clone();
    }
    tx.edit(key, |record| {
        for (name, value) in changed.as_object().into_iter().flatten() {
            record[name] = value.clone();
        }
    });
    let undo = vec![Edit::Put(members_key(key), json!(before)), Edit::Merge(key.to_owned(), back)];
    start(call, tx, key, Effect { undo, ..Effect::default() })
}

fn add(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, group) = target(call, tx)?;
    let project = &call.cloud.project;
    let mut now = members(tx, &key);
    let mut more = json!({});
    let mut network = group["network"].clone();
    for (instance, record) in named(call, tx)? {
        require(call, tx, "compute.instances.use")?;
        let own = link(project, &instance);
        if now.contains(&own) {
            return Err(ApiError::new(
                400,
                "memberAlreadyExists",
                format!(
                    "Resource '{}' is already a member of '{}'.",
                    relative(project, &instance),
                    relative(project, &key)
                ),
            ));
        }
        let interface = &record["networkInterfaces"][0];
        if network.is_null() {
            network = interface["network"].clone();
            more = json!({"network": network, "subnetwork": interface["subnetwork"]});
        } else if network != interface["network"] {
            return Err(ApiError::invalid(format!(
                "Invalid value for field 'instances': '{own}'. All instances of an instance group must be in the \
                 same network."
            )));
        }
        if balanced(tx, project, &key)
            && let Some(other) = other_balanced(tx, project, &key, &own)
        {
            let fail = OperationError {
                code: "INSTANCE_IN_MULTIPLE_LOAD_BALANCED_IGS".into(),
                message: format!(
                    "Validation failed for instance '{}': instance may belong to at most one load-balanced \
                     instance group ('{}').",
                    relative(project, &instance),
                    relative(project, &other)
                ),
            };
            return start(call, tx, &key, Effect { fail: Some(fail), ..Effect::default() });
        }
        now.push(own);
    }
    set_members(call, tx, &key, &group, &now, more)
}

/// Whether a backend service has the group as a backend.
fn balanced(tx: &Tx, project: &str, group: &str) -> bool {
    let own = link(project, group);
    let services = tx.scan("compute/regions/").into_iter();
    services
        .filter(|(key, _)| key.contains("/backendServices/"))
        .any(|(_, service)| super::holds(&service["backends"], &own))
}

/// Another group with a backend service that has the instance.
fn other_balanced(tx: &Tx, project: &str, group: &str, instance: &str) -> Option<String> {
    let all = tx.scan("members/").into_iter();
    all.filter(|(_, list)| super::holds(list, instance))
        .map(|(key, _)| key.replacen("members/", "compute/", 1))
        .find(|other| other != group && balanced(tx, project, other))
}

fn take_out(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, group) = target(call, tx)?;
    let project = &call.cloud.project;
    let mut now = members(tx, &key);
    for (instance, _) in named(call, tx)? {
        let own = link(project, &instance);
        if !now.contains(&own) {
            return Err(ApiError::new(
                400,
                "memberNotFound",
                format!(
                    "Resource '{}' is not a member of '{}'.",
                    relative(project, &instance),
                    relative(project, &key)
                ),
            ));
        }
        now.retain(|each| *each != own);
    }
    set_members(call, tx, &key, &group, &now, json!({}))
}

/// What an instance's deletion does to the groups that it is in.
pub fn leave_all(tx: &Tx, instance: &str) -> Vec<Edit> {
    let mut edits = Vec::new();
    for (key, list) in tx.scan("members/") {
        let mut left: Vec<String> = serde_json::from_value(list).unwrap_or_default();
        let before = left.len();
        left.retain(|each| each != instance);
        if left.len() != before {
            edits.push(Edit::Merge(key.replacen("members/", "compute/", 1), json!({"size": left.len()})));
            edits.push(Edit::Put(key, json!(left)));
        }
    }
    edits
}

fn list_instances(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, group) = target(call, tx)?;
    let only_running = call.body["instanceState"] == "RUNNING";
    let mut items = Vec::new();
    for own in members(tx, &key) {
        let status = super::key_of_link(&own)
            .and_then(|key| Some(tx.get(&key)?["status"].clone()))
            .unwrap_or_else(|| json!("TERMINATED"));
        if only_running && status != "RUNNING" {
            continue;
        }
        let mut item = json!({"instance": own, "status": status});
        if !group["namedPorts"].is_null() {
            item["namedPorts"] = group["namedPorts"].clone();
        }
        items.push((own, item));
    }
    items.sort_by(|a, b| a.0.cmp(&b.0));
    let path = format!("{}/listInstances", key.trim_start_matches("compute/"));
    let mut list = lists::answer(call, "instanceGroups", &path, items)?;
    list["kind"] = json!("compute#instanceGroupsListInstances");
    Ok(list)
}

fn set_named_ports(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, group) = target(call, tx)?;
    if !call.text("fingerprint").is_empty() {
        super::check_fingerprint(&call.body, &group)?;
    }
    check_ports(&call.body["namedPorts"], "namedPorts")?;
    let ports = call.body["namedPorts"].clone();
    modify(call, tx, &key, &json!({"namedPorts": ports, "fingerprint": clock::fingerprint()}))
}

/// The instances of a group, by their keys, as the records are now.
pub fn instances_of(cloud: &Cloud, group: &str) -> Vec<String> {
    let list = cloud.read(&members_key(group)).unwrap_or_default();
    let links: Vec<String> = serde_json::from_value(list).unwrap_or_default();
    links.iter().filter_map(|link| super::key_of_link(link)).collect()
}

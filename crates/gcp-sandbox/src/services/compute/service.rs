//! What Compute Engine gives to the kernel: its permissions, its refusals, and what
//! follows from its records.

use std::sync::Arc;

use super::state::{State, state};
use super::{collections, constraints, disk_content, networks, operations, resource_of};
use crate::kernel::call::{Call, Permission, Service};
use crate::kernel::cloud::{Cloud, Hooks};
use crate::kernel::error::ApiError;
use crate::kernel::store::{After, Written};

pub static SERVICE: Service = Service {
    project,
    unknown_project: Some(|_, project| {
        ApiError::not_found(format!("The resource 'projects/{project}' was not found"))
    }),
    project_is_late: true,
    scopes: [&["compute", "compute.readonly", "cloud-platform.read-only"], &["compute"]],
    // Some reads take a body, or hold the request.
    reads: &["getHealth", "listInstances", "wait"],
    consumer_is_target: true,
    constraints: Some(constraints::check),
    hooks: Some(&Hooks { committed, work: operations::work }),
    state: Some(|state| {
        state.insert(Arc::new(State::default()));
    }),
    ..Service::new("compute", |method| collections::handler(&method.id), permission, denied)
};

fn permission(_call: &Call, collection: &str, verb: &str) -> Option<Permission> {
    if ["images", "imageFamilyViews"].contains(&collection) {
        return None;
    }
    let verb = match verb {
        "wait" | "getHealth" => "get",
        "listInstances" => "list",
        "addInstances" | "removeInstances" | "setNamedPorts" => "update",
        verb => verb,
    };
    Some((format!("compute.{collection}.{verb}"), "policy/project".into()))
}

/// Public images are of projects of Google's.
fn project(call: &Call) -> Option<&str> {
    let images = ["images.", "imageFamilyViews."].iter().any(|prefix| call.short_id().starts_with(prefix));
    Some(call.path("project")).filter(|project| !(images && project.ends_with("-cloud")))
}

fn denied(call: &Call, permission: &str) -> ApiError {
    ApiError::forbidden(format!("Required '{permission}' permission for '{}'", resource_of(call)))
}

/// Disks and snapshots that are gone lose their content; load balancers look again, and
/// machines are told when it may differ who reaches whom.
fn committed(cloud: &Cloud, written: &[Written]) -> Vec<After> {
    let gone = written.iter().filter(|each| each.removed);
    let mut after: Vec<After> =
        gone.filter_map(|each| disk_content::folder(&cloud.dir, &each.key)).map(After::Discard).collect();
    let own = |key: &str| key.starts_with("compute/");
    if written.iter().any(|each| own(&each.key) || each.key.starts_with("members/")) {
        state(cloud).balancer.look();
    }
    let reach = |key: &str| {
        key == networks::POLICY_KEY
            || own(key) && ["/firewalls/", "/instances/"].iter().any(|each| key.contains(each))
    };
    if written.iter().any(|each| reach(&each.key))
        && let Some(machines) = state(cloud).machines.get().cloned()
    {
        after.push(After::Spawn(Box::pin(async move { machines.network_changed().await })));
    }
    after
}

//! Resource Manager: the one project of a sandbox.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{iam, org_policy};
use crate::kernel::access::{self, denied_with_info};
use crate::kernel::call::{Call, Handler, Permission, Service};
use crate::kernel::cloud::Cloud;
use crate::kernel::consistency::PROJECT;
use crate::kernel::contract::Method;
use crate::kernel::error::{ApiError, SandboxError};
use crate::kernel::filter::Filter;
use crate::kernel::store::Tx;
use crate::kernel::{clock, policy};

pub static SERVICE: Service = Service {
    project,
    unknown_project: Some(|_, _| ApiError::forbidden("The caller does not have permission")),
    reads: &["getEffectiveOrgPolicy"],
    ..Service::new("cloudresourcemanager", handler, permission, denied)
};

fn permission(_call: &Call, _collection: &str, verb: &str) -> Option<Permission> {
    let permission = match verb {
        "getEffectiveOrgPolicy" => "orgpolicy.policy.get".into(),
        // Whoever asks is told of those projects that they may see.
        "list" => return None,
        verb => format!("resourcemanager.projects.{verb}"),
    };
    Some((permission, "policy/project".into()))
}

/// Version 1 names it otherwise.
fn project(call: &Call) -> Option<&str> {
    let names = ["projectsId", "projectId", "resource"];
    names.iter().find_map(|name| call.path.get(*name)).map(String::as_str)
}

pub fn denied(call: &Call, permission: &str) -> ApiError {
    let project = &call.cloud.project;
    let message = format!(
        "Permission '{permission}' denied on resource '//cloudresourcemanager.googleapis.com/projects/{project}' \
         (or it may not exist)."
    );
    let resource = format!("projects/{project}");
    denied_with_info(message, permission, "cloudresourcemanager.googleapis.com", &resource)
}

fn handler(method: &Method) -> Option<Handler> {
    let version = method.version();
    Some(match method.id.as_str() {
        "cloudresourcemanager.projects.get" if version == "v1" => get_v1,
        "cloudresourcemanager.projects.list" => list_v1,
        "cloudresourcemanager.projects.getEffectiveOrgPolicy" => org_policy::effective,
        "cloudresourcemanager.projects.get" => get,
        "cloudresourcemanager.projects.testIamPermissions" => test_permissions,
        "cloudresourcemanager.projects.getIamPolicy" => get_policy,
        "cloudresourcemanager.projects.setIamPolicy" => set_policy,
        _ => return None,
    })
}

fn get(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let created = tx.get("project").map(|project| project["createTime"].clone()).unwrap_or_default();
    Ok(json!({
        "name": format!("projects/{}", call.cloud.number),
        "projectId": call.cloud.project,
        "displayName": call.cloud.project,
        "state": "ACTIVE",
        "createTime": created,
        "updateTime": created,
        "etag": "W/\"1\"",
    }))
}

/// The project as version 1 of the API tells it, which gcloud and Terraform ask.
fn project_v1(call: &Call, tx: &Tx) -> Value {
    let created = tx.get("project").map(|project| project["createTime"].clone()).unwrap_or_default();
    json!({
        "projectNumber": call.cloud.number.to_string(),
        "projectId": call.cloud.project,
        "name": call.cloud.project,
        "lifecycleState": "ACTIVE",
        "createTime": created,
    })
}

fn get_v1(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    Ok(project_v1(call, tx))
}

/// Those that the caller may see.
fn list_v1(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let filter = Filter::parse(call.query("filter"))?;
    let project = project_v1(call, tx);
    let seen = access::allowed(call, tx, "resourcemanager.projects.get", "policy/project");
    Ok(if seen && filter.matches(&project) { json!({"projects": [project]}) } else { json!({}) })
}

fn test_permissions(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let asked: Vec<String> = serde_json::from_value(call.body["permissions"].clone()).unwrap_or_default();
    if let Some(bad) = asked.iter().find(|each| each.contains('*') || each.split('.').count() < 3) {
        return Err(ApiError::invalid(format!("Permission {bad} is not valid for this resource.")));
    }
    Ok(access::held(call, tx, &asked, "policy/project"))
}

fn get_policy(_call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    Ok(policy::get(tx, "policy/project"))
}

fn set_policy(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    policy::set(call, tx, "policy/project", &call.body["policy"], policy::concurrent_change())
}

/// Puts the records in place that every project has.
pub async fn found(cloud: &Arc<Cloud>) -> Result<(), SandboxError> {
    let own = Arc::clone(cloud);
    let founded = cloud.transact(move |tx| {
        if tx.has("project") {
            return Ok(());
        }
        let now = clock::timestamp();
        own.consistency.made(PROJECT, Duration::ZERO);
        tx.put(PROJECT, json!({"projectId": own.project, "createTime": now, "port": own.port}));
        for name in
            ["storage.googleapis.com", "serviceusage.googleapis.com", "cloudresourcemanager.googleapis.com"]
        {
            tx.put(format!("services/{name}"), json!({"state": "ENABLED"}));
        }
        let owner = iam::account(&own, &own.owner, "Owner of the sandbox", "");
        tx.put(format!("serviceAccounts/{}", own.owner), owner);
        let binding = json!([{"role": "roles/owner", "members": [format!("serviceAccount:{}", own.owner)]}]);
        tx.put("policy/project", json!({"version": 1, "etag": clock::fingerprint(), "bindings": binding}));
        Ok(())
    });
    founded.await.map_err(|error| SandboxError::Store(error.message.into()))
}

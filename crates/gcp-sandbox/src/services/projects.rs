//! Resource Manager: the one project of a sandbox.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::iam;
use super::org_policy as constraints;
use crate::kernel::access;
use crate::kernel::call::{Call, Handler};
use crate::kernel::clock;
use crate::kernel::cloud::Cloud;
use crate::kernel::consistency::PROJECT;
use crate::kernel::error::{ApiError, SandboxError};
use crate::kernel::filter::Filter;
use crate::kernel::policy;
use crate::kernel::store::Tx;

pub fn handler(method: &str, version: &str) -> Option<Handler> {
    Some(match method {
        "cloudresourcemanager.projects.get" if version == "v1" => get_v1,
        "cloudresourcemanager.projects.list" => list_v1,
        "cloudresourcemanager.projects.getEffectiveOrgPolicy" => constraints::effective,
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
    founded.await.map_err(|error| SandboxError::Store(error.message))
}

//! Service Usage: which APIs the project has enabled.

use serde_json::{Value, json};

use super::{billing, compute, iam};
use crate::kernel::access::denied_with_info;
use crate::kernel::call::{Call, Handler, Permission, Service, page};
use crate::kernel::consumer::service_title;
use crate::kernel::contract::Method;
use crate::kernel::error::ApiError;
use crate::kernel::operation::{self, Edit, Effect};
use crate::kernel::store::Tx;

/// The most services of one `batchEnable`.
const BATCH: usize = 20;

pub static SERVICE: Service = Service {
    project: |call| call.path.get("v1Id1").map(String::as_str),
    unknown_project: Some(|_, project| {
        ApiError::forbidden(format!("Project '{project}' not found or permission denied."))
    }),
    project_is_late: true,
    ..Service::new("serviceusage", handler, permission, denied)
};

fn permission(_call: &Call, collection: &str, verb: &str) -> Option<Permission> {
    let verb = match verb {
        _ if collection == "operations" => return None,
        "batchEnable" => "enable",
        "batchGet" => "get",
        verb => verb,
    };
    Some((format!("serviceusage.services.{verb}"), "policy/project".into()))
}

fn denied(call: &Call, permission: &str) -> ApiError {
    let message = format!("Permission denied to call the service: {permission} is required.");
    let resource = format!("projects/{}", call.cloud.project);
    denied_with_info(message, permission, "serviceusage.googleapis.com", &resource)
}

fn handler(method: &Method) -> Option<Handler> {
    Some(match method.id.as_str() {
        "serviceusage.services.batchEnable" => batch_enable,
        "serviceusage.services.batchGet" => batch_get,
        "serviceusage.services.get" => get,
        "serviceusage.services.list" => list,
        "serviceusage.services.enable" => enable,
        "serviceusage.services.disable" => disable,
        "serviceusage.operations.get" => operation,
        _ => return None,
    })
}

fn resource(call: &Call, tx: &Tx, name: &str) -> Result<Value, ApiError> {
    let title = service_title(name).ok_or_else(|| {
        ApiError::forbidden(format!(
            "Not found or permission denied for service(s): {name}. If you're trying to get a service, please \
             check its name."
        ))
    })?;
    let state =
        tx.get(&format!("services/{name}")).map_or(json!("DISABLED"), |record| record["state"].clone());
    let parent = format!("projects/{}", call.cloud.number);
    Ok(json!({
        "name": format!("{parent}/services/{name}"),
        "parent": parent,
        "state": state,
        "config": {"name": name, "title": title},
    }))
}

fn get(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    resource(call, tx, call.path("servicesId"))
}

fn batch_get(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let names = call.query.get("names").cloned().unwrap_or_default();
    if names.is_empty() || names.len() > 30 {
        return Err(ApiError::invalid("The request has to name 1 to 30 services."));
    }
    let parent = format!("projects/{}/services/", call.path("v1Id1"));
    let services: Result<Vec<Value>, ApiError> = names
        .iter()
        .map(|name| match name.strip_prefix(&parent) {
            Some(short) => resource(call, tx, short),
            None => Err(ApiError::invalid(format!(
                "Invalid service name: {name}. The service's parent has to be the parent of the request."
            ))),
        })
        .collect();
    Ok(json!({"services": services?}))
}

fn list(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let wanted = match call.query("filter") {
        None => None,
        Some("state:ENABLED") => Some("ENABLED"),
        Some("state:DISABLED") => Some("DISABLED"),
        Some(other) => return Err(ApiError::invalid(format!("Invalid filter: {other}"))),
    };
    let mut items = Vec::new();
    for (key, record) in tx.scan("services/") {
        if wanted.is_none_or(|state| record["state"] == state) {
            items.push((key.clone(), resource(call, tx, key.trim_start_matches("services/"))?));
        }
    }
    let size = usize::try_from(call.number("pageSize").unwrap_or(50)).unwrap_or(50);
    let (services, next) = page(items, size.clamp(1, 200), call.query("pageToken"))?;
    let mut answer = json!({"services": services});
    if let Some(next) = next {
        answer["nextPageToken"] = json!(next);
    }
    Ok(answer)
}

/// The services of an operation change when its time is over: it is the record
/// that says when.
fn start(call: &Call, tx: &mut Tx, names: &[String], state: &str, answer: &str) -> Result<Value, ApiError> {
    if let Some(unknown) = names.iter().find(|name| service_title(name).is_none()) {
        return Err(ApiError::forbidden(format!(
            "Not found or permission denied for service(s): {unknown}."
        )));
    }
    let already = names.iter().all(|name| {
        let now = tx.get(&format!("services/{name}"));
        now.map_or("DISABLED", |record| record["state"].as_str().unwrap_or_default()) == state
    });
    let mut services = Vec::new();
    for name in names {
        let mut service = resource(call, tx, name)?;
        service["state"] = json!(state);
        services.push(service);
    }
    let response = match answer {
        "BatchEnableServicesResponse" => json!({"services": services}),
        _ => json!({"service": services.first()}),
    };
    let mut response = response;
    response["@type"] = json!(format!("type.googleapis.com/google.api.serviceusage.v1.{answer}"));
    if already {
        return Ok(json!({"name": "operations/noop.DONE_OPERATION", "done": true, "response": response}));
    }
    let name = format!("acat.p2-{}-{}", call.cloud.number, uuid::Uuid::new_v4());
    let key = format!("operations/services/{name}");
    let kind = call.short_id();
    for each in names.iter().map(|each| format!("services/{each}")) {
        if state == "ENABLED" && tx.get(&each).is_none_or(|record| record["state"] != state) {
            call.cloud.consistency.made(&each, call.cloud.operation_time(kind));
        }
    }
    if state == "ENABLED" {
        let off = |name: &&String| {
            tx.get(&format!("services/{name}")).is_none_or(|record| record["state"] != state)
        };
        let new: Vec<String> = names.iter().filter(off).cloned().collect();
        billing::check(call, tx, &new)?;
    }
    let mut done: Vec<Edit> =
        names.iter().map(|each| Edit::Put(format!("services/{each}"), json!({"state": state}))).collect();
    let default = iam::compute_default(&call.cloud);
    let account = format!("serviceAccounts/{default}");
    if state == "ENABLED" && names.iter().any(|name| name == "compute.googleapis.com") && !tx.has(&account) {
        let made = iam::account(&call.cloud, &default, "Compute Engine default service account", "");
        done.push(Edit::Put(account, made));
    }
    if state == "ENABLED" && names.iter().any(|name| name == "compute.googleapis.com") {
        done.extend(compute::networks::comes_with_the_api(call, tx));
    }
    let effect = Effect { done, ..Effect::default() };
    operation::start(call, tx, &key, json!({"status": "PENDING", "response": response}), effect, None);
    Ok(json!({"name": format!("operations/{name}")}))
}

fn batch_enable(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let names: Vec<String> = serde_json::from_value(call.body["serviceIds"].clone()).unwrap_or_default();
    if names.is_empty() || names.len() > BATCH {
        return Err(ApiError::invalid(format!("The request has to name 1 to {BATCH} services.")));
    }
    start(call, tx, &names, "ENABLED", "BatchEnableServicesResponse")
}

fn enable(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    start(call, tx, &[call.path("servicesId").to_owned()], "ENABLED", "EnableServiceResponse")
}

fn disable(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    start(call, tx, &[call.path("servicesId").to_owned()], "DISABLED", "DisableServiceResponse")
}

fn operation(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let name = call.path("operationsId");
    if name == "noop.DONE_OPERATION" {
        return Ok(json!({"name": "operations/noop.DONE_OPERATION", "done": true}));
    }
    let record = tx
        .get(&format!("operations/services/{name}"))
        .ok_or_else(|| ApiError::not_found(format!("Operation {name} not found.")))?;
    let mut operation = json!({"name": format!("operations/{name}")});
    if record["operation"]["status"] == "DONE" {
        operation["done"] = json!(true);
        match record["operation"]["error"]["errors"].get(0) {
            Some(error) => operation["error"] = json!({"code": 13, "message": error["message"]}),
            None => operation["response"] = record["operation"]["response"].clone(),
        }
    }
    Ok(operation)
}

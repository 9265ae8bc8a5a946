//! Regional backend services of passthrough load balancers: which groups of
//! instances serve, and which of them are healthy.

use serde_json::{Value, json};

use super::{
    create, delete, existing, fresh, key_of_link, modify, reference, refuse_if_named, replacement, target,
};
use crate::kernel::access::require;
use crate::kernel::call::{Call, Handler};
use crate::kernel::error::ApiError;
use crate::kernel::store::Tx;
use crate::kernel::{clock, locations};

pub fn handler(verb: &str) -> Option<Handler> {
    Some(match verb {
        "insert" => insert,
        "patch" => patch,
        "update" => update,
        "delete" => remove,
        "getHealth" => health,
        _ => return None,
    })
}

/// Members that mean something else than passthrough of TCP, or something that
/// the sandbox's data plane does not do.
const OTHERS: [&str; 21] = [
    "affinityCookieTtlSec",
    "cdnPolicy",
    "circuitBreakers",
    "compressionMode",
    "connectionTrackingPolicy",
    "consistentHash",
    "customMetrics",
    "failoverPolicy",
    "haPolicy",
    "iap",
    "localityLbPolicies",
    "localityLbPolicy",
    "logConfig",
    "maxStreamDuration",
    "networkPassThroughLbTrafficPolicy",
    "outlierDetection",
    "port",
    "portName",
    "serviceBindings",
    "strongSessionAffinityCookie",
    "subsetting",
];

fn bad(field: &str, value: &str, why: &str) -> ApiError {
    ApiError::invalid(format!("Invalid value for field 'resource.{field}': '{value}'. {why}"))
}

/// Checks a whole backend service and fills in what Google fills in.
fn complete(call: &Call, tx: &Tx, service: &mut Value) -> Result<(), ApiError> {
    for (field, default) in [
        ("loadBalancingScheme", json!("EXTERNAL")),
        ("protocol", json!("TCP")),
        ("sessionAffinity", json!("NONE")),
        ("timeoutSec", json!(30)),
        ("connectionDraining", json!({"drainingTimeoutSec": 0})),
    ] {
        if service[field].is_null() {
            service[field] = default;
        }
    }
    let scheme = service["loadBalancingScheme"].as_str().unwrap_or_default().to_owned();
    if !["EXTERNAL", "INTERNAL"].contains(&scheme.as_str()) {
        return Err(ApiError::unimplemented(&format!("backend services of scheme {scheme}")));
    }
    if service["protocol"] != "TCP" {
        return Err(ApiError::unimplemented(&format!(
            "backend services of protocol {}",
            service["protocol"]
        )));
    }
    if let Some(field) = OTHERS.into_iter().find(|field| !service[*field].is_null()) {
        return Err(ApiError::unimplemented(&format!("regional backend services with {field}")));
    }
    let checks = service["healthChecks"].as_array().cloned().unwrap_or_default();
    let [check] = checks.as_slice() else {
        return Err(bad("healthChecks", "", "Exactly one health check is required."));
    };
    let text = check.as_str().unwrap_or_default();
    let (key, check) = existing(call, tx, text, "healthChecks", "resource.healthChecks[0]")?;
    let here = format!("compute/regions/{}/", call.path("region"));
    if !key.starts_with(&here) && (scheme == "EXTERNAL" || key.starts_with("compute/regions/")) {
        let why = format!(
            "The health check must be regional, in region '{}', for a backend service of scheme {scheme}.",
            call.path("region")
        );
        return Err(bad("healthChecks[0]", text, &why));
    }
    require(call, tx, used(&key))?;
    service["healthChecks"] = json!([check["selfLink"]]);
    if let Some(text) = service["network"].as_str() {
        if scheme == "EXTERNAL" {
            return Err(bad("network", text, "A network is for backend services of scheme INTERNAL only."));
        }
        let (_, network) = existing(call, tx, text, "networks", "resource.network")?;
        service["network"] = network["selfLink"].clone();
    }
    complete_backends(call, tx, service, &scheme)?;
    service["fingerprint"] = json!(clock::fingerprint());
    Ok(())
}

/// The permission that using a health check takes.
fn used(check: &str) -> &'static str {
    if check.starts_with("compute/global/") {
        "compute.healthChecks.useReadOnly"
    } else {
        "compute.regionHealthChecks.useReadOnly"
    }
}

fn complete_backends(call: &Call, tx: &Tx, service: &mut Value, scheme: &str) -> Result<(), ApiError> {
    let mut seen = Vec::new();
    for (at, backend) in service["backends"].as_array_mut().into_iter().flatten().enumerate() {
        let text = backend["group"].as_str().unwrap_or_default().to_owned();
        let field = format!("backends[{at}].group");
        if text.is_empty() {
            return Err(ApiError::new(
                400,
                "required",
                format!("Required field 'resource.{field}' not specified"),
            ));
        }
        if text.contains("/networkEndpointGroups/") {
            return Err(ApiError::unimplemented("backends that are network endpoint groups"));
        }
        let (key, group) = existing(call, tx, &text, "instanceGroups", &format!("resource.{field}"))?;
        require(call, tx, "compute.instanceGroups.use")?;
        let zone = key.split('/').nth(2).unwrap_or_default();
        if locations::region_of(zone) != call.path("region") {
            let why = format!("The instance group is not in region '{}'.", call.path("region"));
            return Err(bad(&field, &text, &why));
        }
        if seen.contains(&key) {
            return Err(bad(&field, &text, "The instance group is named twice."));
        }
        seen.push(key);
        backend["group"] = group["selfLink"].clone();
        let mode = backend["balancingMode"].as_str().unwrap_or("CONNECTION").to_owned();
        if mode != "CONNECTION" {
            let why = format!("Balancing mode must be CONNECTION for an {scheme} backend service.");
            return Err(bad(&format!("backends[{at}].balancingMode"), &mode, &why));
        }
        backend["balancingMode"] = json!(mode);
        if backend["failover"] == true {
            return Err(ApiError::unimplemented("failover backends"));
        }
        let limits = backend.as_object().into_iter().flatten().map(|(name, _)| name);
        if let Some(limit) = limits.into_iter().find(|name| name.starts_with("max")) {
            let why = format!("A limit cannot be set on a backend of an {scheme} backend service.");
            return Err(bad(&format!("backends[{at}].{limit}"), "", &why));
        }
    }
    Ok(())
}

fn insert(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, mut record) = fresh(call, tx, "compute#backendService")?;
    complete(call, tx, &mut record)?;
    create(call, tx, &key, record, json!({}))
}

fn patch(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, before) = target(call, tx)?;
    super::check_fingerprint(&call.body, &before)?;
    let mut service = before.clone();
    for (name, value) in call.body.as_object().into_iter().flatten() {
        service[name] = value.clone();
    }
    changed(call, tx, &key, &before, service)
}

fn update(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, before) = target(call, tx)?;
    super::check_fingerprint(&call.body, &before)?;
    changed(call, tx, &key, &before, call.body.clone())
}

fn changed(
    call: &Call,
    tx: &mut Tx,
    key: &str,
    before: &Value,
    mut service: Value,
) -> Result<Value, ApiError> {
    if let Some(object) = service.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
    complete(call, tx, &mut service)?;
    for field in ["loadBalancingScheme", "network"] {
        if service[field] != before[field] {
            let value = service[field].as_str().unwrap_or_default();
            return Err(bad(field, value, "The field cannot be changed after the backend service is made."));
        }
    }
    modify(call, tx, key, &replacement(before, &service))
}

fn remove(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, _) = target(call, tx)?;
    refuse_if_named(call, tx, "backend_service", &key, &[])?;
    delete(call, tx, &key, None)
}

/// What the balancer knows of the instances of one backend.
fn health(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, service) = target(call, tx)?;
    let text = call.text("group");
    if text.is_empty() {
        return Err(ApiError::new(400, "required", "Required field 'group' not specified"));
    }
    let group = reference(call, text, "instanceGroups", "group")?;
    let backends = service["backends"].as_array().map_or(&[][..], Vec::as_slice);
    let is_backend = backends
        .iter()
        .any(|each| each["group"].as_str().and_then(key_of_link).is_some_and(|key| key == group));
    if !is_backend {
        return Err(ApiError::invalid(format!(
            "Invalid value for field 'group': '{text}'. The group is no backend of the backend service."
        )));
    }
    let own = service["selfLink"].clone();
    let rule = tx
        .scan(&format!("compute/regions/{}/forwardingRules/", call.path("region")))
        .into_iter()
        .find(|(_, rule)| rule["backendService"] == own)
        .map(|(_, rule)| rule);
    let mut statuses = Vec::new();
    for state in super::state::state(&call.cloud).balancer.states(&key, &group) {
        let mut status = json!({
            "instance": super::link(&call.cloud.project, &state.instance),
            "healthState": if state.healthy { "HEALTHY" } else { "UNHEALTHY" },
            "ipAddress": state.address.map(|address| address.to_string()),
            "port": state.port,
        });
        if let Some(rule) = &rule {
            status["forwardingRule"] = rule["selfLink"].clone();
            status["forwardingRuleIp"] = rule["IPAddress"].clone();
        }
        statuses.push(status);
    }
    let mut answer = json!({"kind": "compute#backendServiceGroupHealth"});
    if !statuses.is_empty() {
        answer["healthStatus"] = json!(statuses);
    }
    Ok(answer)
}

//! Health checks, global and regional: how it is found out whether a backend
//! serves. They are carried out by the `balancer`.

use serde_json::{Value, json};

use super::{create, delete, fresh, modify, refuse_if_named, replacement, target};
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

/// The kinds that can be carried out: type, member, port that Google assumes.
const KINDS: [(&str, &str, u16); 3] =
    [("TCP", "tcpHealthCheck", 80), ("HTTP", "httpHealthCheck", 80), ("HTTPS", "httpsHealthCheck", 443)];

/// The member of a check that says how it probes.
pub fn member(kind: &str) -> Option<&'static str> {
    KINDS.iter().find(|(each, ..)| *each == kind).map(|(_, member, _)| *member)
}

fn bad(field: &str, value: &Value, why: &str) -> ApiError {
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    ApiError::invalid(format!("Invalid value for field 'resource.{field}': '{value}'. {why}"))
}

/// Checks a whole health check and fills in what Google fills in.
fn complete(check: &mut Value) -> Result<(), ApiError> {
    let kind = check["type"].as_str().unwrap_or_default().to_owned();
    if kind.is_empty() {
        return Err(ApiError::new(400, "required", "Required field 'resource.type' not specified"));
    }
    let Some((_, member, port)) = KINDS.iter().find(|(each, ..)| *each == kind) else {
        return Err(ApiError::unimplemented(&format!("health checks of type {kind}")));
    };
    let all = check.as_object().into_iter().flatten().map(|(name, _)| name);
    if let Some(other) = all.into_iter().find(|name| name.ends_with("HealthCheck") && name != member) {
        return Err(bad(other, &json!(""), &format!("A health check of type {kind} has no such field.")));
    }
    for (field, default, most) in [
        ("checkIntervalSec", 5, 300),
        ("timeoutSec", 5, 300),
        ("healthyThreshold", 2, 10),
        ("unhealthyThreshold", 2, 10),
    ] {
        if check[field].is_null() {
            check[field] = json!(default);
        }
        let given = check[field].as_i64().unwrap_or(0);
        if !(1..=most).contains(&given) {
            let why = format!("Must be greater than or equal to 1 and less than or equal to {most}");
            return Err(bad(field, &check[field], &why));
        }
    }
    if check["timeoutSec"].as_i64() > check["checkIntervalSec"].as_i64() {
        return Err(bad(
            "timeoutSec",
            &check["timeoutSec"],
            "TimeoutSec should be less than checkIntervalSec.",
        ));
    }
    if !check["sourceRegions"].is_null() {
        return Err(ApiError::unimplemented("health checks with sourceRegions"));
    }
    if check[*member].is_null() {
        check[*member] = json!({});
    }
    let probe = &mut check[*member];
    if !probe["portName"].is_null()
        || probe["portSpecification"].as_str().is_some_and(|how| how != "USE_FIXED_PORT")
    {
        return Err(ApiError::unimplemented("health checks of a named or the serving port"));
    }
    if probe["proxyHeader"].as_str().is_some_and(|header| header != "NONE") {
        return Err(ApiError::unimplemented("health checks with proxyHeader"));
    }
    probe["proxyHeader"] = json!("NONE");
    if probe["port"].is_null() {
        probe["port"] = json!(port);
    }
    if !(1..=65_535).contains(&probe["port"].as_i64().unwrap_or(0)) {
        let why = "Must be greater than or equal to 1 and less than or equal to 65535";
        return Err(bad(&format!("{member}.port"), &probe["port"], why));
    }
    if kind != "TCP" {
        if probe["requestPath"].is_null() {
            probe["requestPath"] = json!("/");
        }
        if !probe["requestPath"].as_str().is_some_and(|path| path.starts_with('/')) {
            return Err(bad(&format!("{member}.requestPath"), &probe["requestPath"], "Must start with '/'."));
        }
    }
    Ok(())
}

fn insert(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, mut record) = fresh(call, tx, "compute#healthCheck")?;
    complete(&mut record)?;
    create(call, tx, &key, record, json!({}))
}

fn patch(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, before) = target(call, tx)?;
    let mut check = before.clone();
    for (name, value) in call.body.as_object().into_iter().flatten() {
        match (check[name].as_object_mut(), value.as_object()) {
            (Some(own), Some(given)) => own.extend(given.clone()),
            _ => check[name] = value.clone(),
        }
    }
    changed(call, tx, &key, &before, check)
}

fn update(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, before) = target(call, tx)?;
    changed(call, tx, &key, &before, call.body.clone())
}

fn changed(call: &Call, tx: &mut Tx, key: &str, before: &Value, mut check: Value) -> Result<Value, ApiError> {
    if let Some(object) = check.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
    complete(&mut check)?;
    modify(call, tx, key, &replacement(before, &check))
}

fn remove(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, _) = target(call, tx)?;
    refuse_if_named(call, tx, "health_check", &key, &[])?;
    delete(call, tx, &key, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_completed_or_refused() {
        let mut check = json!({"type": "TCP", "tcpHealthCheck": {"port": 9009}});
        complete(&mut check).unwrap();
        assert_eq!((&check["checkIntervalSec"], &check["unhealthyThreshold"]), (&json!(5), &json!(2)));
        let mut check = json!({"type": "HTTPS"});
        complete(&mut check).unwrap();
        assert_eq!(check["httpsHealthCheck"]["port"], 443);
        for (bad, code) in [
            (json!({}), 400),
            (json!({"type": "GRPC"}), 501),
            (json!({"type": "TCP", "httpHealthCheck": {}}), 400),
            (json!({"type": "TCP", "timeoutSec": 6}), 400),
            (json!({"type": "TCP", "healthyThreshold": 11}), 400),
            (json!({"type": "TCP", "tcpHealthCheck": {"portSpecification": "USE_SERVING_PORT"}}), 501),
            (json!({"type": "HTTP", "httpHealthCheck": {"requestPath": "ready"}}), 400),
        ] {
            assert_eq!(complete(&mut bad.clone()).unwrap_err().code, code, "{bad}");
        }
    }
}

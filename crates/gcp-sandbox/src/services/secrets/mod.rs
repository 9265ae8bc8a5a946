//! Secret Manager: secrets and their policies; `versions` holds the payloads.
//! Names in answers carry the project's number, as Google's do.

mod versions;

use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::kernel::access::denied_with_info;
use crate::kernel::call::{Call, Handler, Permission, Service, page};
use crate::kernel::error::ApiError;
use crate::kernel::filter::Filter;
use crate::kernel::store::Tx;
use crate::kernel::{access, clock, labels, locations, policy};
use crate::services::org_policy::{LOCATIONS, allowed_location};

pub static SERVICE: Service = Service {
    constraints: Some(constraints),
    ..Service::new("secretmanager", |method| handler(&method.id), permission, denied)
};

fn permission(call: &Call, collection: &str, verb: &str) -> Option<Permission> {
    let verb = if verb == "addVersion" { "add" } else { verb };
    let versions = verb == "add" || collection.ends_with("versions");
    let kind = if versions { "versions" } else { "secrets" };
    Some((format!("secretmanager.{kind}.{verb}"), format!("policy/secrets/{}", call.path("secretsId"))))
}

fn denied(call: &Call, permission: &str) -> ApiError {
    let part = |name: &str, collection: &str| {
        call.path.get(name).map(|id| format!("/{collection}/{id}")).unwrap_or_default()
    };
    let (secret, version) = (part("secretsId", "secrets"), part("versionsId", "versions"));
    let resource = format!("projects/{}{secret}{version}", call.path("projectsId"));
    let message =
        format!("Permission '{permission}' denied for resource '{resource}' (or it may not exist).");
    denied_with_info(message, permission, "iam.googleapis.com", &resource)
}

/// What the organisation's policies forbid.
fn constraints(call: &Call, tx: &Tx) -> Result<(), ApiError> {
    if call.short_id() != "projects.secrets.create" {
        return Ok(());
    }
    let replicas = call.body["replication"]["userManaged"]["replicas"].as_array();
    let places: Vec<&str> = match replicas {
        None => vec!["global"],
        Some(replicas) => replicas.iter().filter_map(|each| each["location"].as_str()).collect(),
    };
    match places.iter().find(|place| !allowed_location(tx, place)) {
        None => Ok(()),
        Some(place) => Err(ApiError::new(
            400,
            "failedPrecondition",
            format!(
                "Constraint {LOCATIONS} violated for [orgpolicy:projects/{}] attempting to create a secret in \
                 [{place}]",
                call.cloud.number
            ),
        )),
    }
}

fn handler(method: &str) -> Option<Handler> {
    Some(match method.strip_prefix("secretmanager.projects.secrets.")? {
        "create" => create,
        "get" => get,
        "list" => list,
        "patch" => patch,
        "delete" => delete,
        "getIamPolicy" => get_policy,
        "setIamPolicy" => set_policy,
        "testIamPermissions" => test_permissions,
        other => return versions::handler(other),
    })
}

fn key(call: &Call) -> String {
    format!("secrets/{}", call.path("secretsId"))
}

fn policy_key(call: &Call) -> String {
    format!("policy/secrets/{}", call.path("secretsId"))
}

fn name(call: &Call, id: &str) -> String {
    format!("projects/{}/secrets/{id}", call.cloud.number)
}

fn found(call: &Call, tx: &Tx) -> Result<Value, ApiError> {
    tx.get(&key(call)).filter(|secret| !expired(secret)).cloned().ok_or_else(|| {
        ApiError::not_found(format!("Secret [{}] not found.", name(call, call.path("secretsId"))))
    })
}

fn create(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let id = call.query("secretId").unwrap_or_default();
    let good = (1..=255).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if !good {
        return Err(ApiError::bad_request(
            "secret_id",
            format!("The provided Secret ID [{id}] does not match the expected format [[a-zA-Z_0-9]+]"),
        ));
    }
    let key = format!("secrets/{id}");
    if tx.get(&key).is_some_and(|secret| !expired(secret)) {
        return Err(ApiError::new(
            409,
            "alreadyExists",
            format!("Secret [{}] already exists.", name(call, id)),
        ));
    }
    let replication = &call.body["replication"];
    if !replication["automatic"].is_object() && !replication["userManaged"].is_object() {
        return Err(ApiError::bad_request(
            "secret.replication",
            "The request is missing a required field: secret.replication.".into(),
        ));
    }
    for (at, replica) in replication["userManaged"]["replicas"].as_array().into_iter().flatten().enumerate() {
        let place = replica["location"].as_str().unwrap_or_default();
        if !locations::is_region(place) {
            return Err(ApiError::bad_request(
                &format!("secret.replication.user_managed.replicas[{at}].location"),
                format!("The location [{place}] is not one that secrets can be kept in."),
            ));
        }
    }
    labels::check(&call.body["labels"], "secret.labels")?;
    let mut secret = call.body.clone();
    secret["name"] = json!(name(call, id));
    secret["createTime"] = json!(clock::timestamp());
    secret["etag"] = json!(etag());
    expiry(&mut secret)?;
    aliases(tx, id, &secret["versionAliases"])?;
    call.cloud.consistency.made(&key, Duration::ZERO);
    tx.put(key, secret.clone());
    Ok(secret)
}

/// Turns a time to live into the time that is kept: how long it was is not told.
fn expiry(secret: &mut Value) -> Result<(), ApiError> {
    let now = clock::seconds();
    if let Some(text) = secret["ttl"].as_str().map(str::to_owned) {
        let seconds = text.strip_suffix('s').and_then(|number| number.parse::<f64>().ok());
        let Some(seconds) = seconds.filter(|seconds| (1.0..3.2e9).contains(seconds)) else {
            return Err(ApiError::bad_request(
                "secret.ttl",
                format!("The provided ttl [{text}] is not a duration of at least one second."),
            ));
        };
        secret["expireTime"] = json!(clock::rfc3339(now + seconds as u64));
        secret.as_object_mut().map(|members| members.remove("ttl"));
    } else if expired(secret) {
        return Err(ApiError::bad_request(
            "secret.expire_time",
            "The expire_time has to be in the future.".into(),
        ));
    }
    Ok(())
}

/// Whether the secret's time is over: then it is gone, as if it had been deleted.
fn expired(secret: &Value) -> bool {
    let time = secret["expireTime"].as_str().and_then(clock::parsed);
    time.is_some_and(|time| time <= OffsetDateTime::now_utc())
}

/// Other names of versions have to look like names, of versions that are there.
fn aliases(tx: &Tx, id: &str, wanted: &Value) -> Result<(), ApiError> {
    for (alias, version) in wanted.as_object().into_iter().flatten() {
        let good = (1..=63).contains(&alias.len())
            && alias.starts_with(|first: char| first.is_ascii_alphabetic())
            && alias.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && alias != "latest";
        if !good {
            return Err(ApiError::bad_request(
                "secret.version_aliases",
                format!("The provided version alias [{alias}] is not valid."),
            ));
        }
        let number = version.as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
        if !versions::exists(tx, id, number) {
            return Err(ApiError::bad_request(
                "secret.version_aliases",
                format!("The version [{number}] of the alias [{alias}] does not exist."),
            ));
        }
    }
    Ok(())
}

fn etag() -> String {
    format!("\"{:x}\"", clock::unique(0))
}

/// A secret that was made is found at once (the clients rely on it); how it was changed
/// is told late.
fn get(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let secret = found(call, tx)?;
    Ok(call.cloud.consistency.shown_secret(&key(call)).unwrap_or(secret))
}

fn list(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let filter = Filter::parse(call.query("filter"))?;
    let mut all = tx.scan("secrets/");
    all.retain(|(key, _)| call.cloud.consistency.sees_secret(key));
    for (key, secret) in &mut all {
        *secret = call.cloud.consistency.shown_secret(key).unwrap_or_else(|| secret.take());
    }
    all.retain(|(_, secret)| !expired(secret) && filter.matches(secret));
    let total = all.len();
    let size = usize::try_from(call.number("pageSize").unwrap_or(0)).unwrap_or(0);
    let size = if size == 0 { 25_000 } else { size.min(25_000) };
    let (secrets, next) = page(all, size, call.query("pageToken"))?;
    let mut answer = json!({});
    if total > 0 {
        answer["secrets"] = json!(secrets);
        answer["totalSize"] = json!(total);
    }
    if let Some(next) = next {
        answer["nextPageToken"] = json!(next);
    }
    Ok(answer)
}

fn check_etag(wanted: Option<&str>, current: &Value) -> Result<(), ApiError> {
    match wanted {
        Some(etag) if !etag.is_empty() && current["etag"] != etag => Err(ApiError::new(
            400,
            "failedPrecondition",
            "The provided etag does not match the current etag of the resource.",
        )),
        _ => Ok(()),
    }
}

fn patch(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let mut secret = found(call, tx)?;
    let before = secret.clone();
    check_etag(call.body["etag"].as_str(), &secret)?;
    let mask = call.query("updateMask").ok_or_else(|| {
        ApiError::bad_request("update_mask", "The request is missing a required field: update_mask.".into())
    })?;
    labels::check(&call.body["labels"], "secret.labels")?;
    for path in mask.split(',').map(str::trim) {
        let field = match path {
            "labels" | "annotations" | "topics" | "rotation" | "ttl" => path,
            "expire_time" | "expireTime" => "expireTime",
            "version_aliases" | "versionAliases" => "versionAliases",
            "version_destroy_ttl" | "versionDestroyTtl" => "versionDestroyTtl",
            other => {
                return Err(ApiError::bad_request(
                    "update_mask",
                    format!("The field [{other}] is immutable or unknown and cannot be updated."),
                ));
            }
        };
        match &call.body[field] {
            Value::Null => {
                secret.as_object_mut().map(|object| object.remove(field));
            }
            value => secret[field] = value.clone(),
        }
    }
    expiry(&mut secret)?;
    aliases(tx, call.path("secretsId"), &secret["versionAliases"])?;
    secret["etag"] = json!(etag());
    call.cloud.consistency.replaced(&key(call), before);
    tx.put(key(call), secret.clone());
    Ok(secret)
}

fn delete(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let secret = found(call, tx)?;
    check_etag(call.query("etag"), &secret)?;
    let id = call.path("secretsId").to_owned();
    for prefix in [format!("secretVersions/{id}/"), format!("secretPayloads/{id}/")] {
        for (each, _) in tx.scan(&prefix) {
            tx.remove(each);
        }
    }
    tx.remove(policy_key(call));
    tx.remove(key(call));
    Ok(json!({}))
}

fn get_policy(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    found(call, tx)?;
    Ok(policy::get(tx, &policy_key(call)))
}

fn set_policy(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    found(call, tx)?;
    policy::set(call, tx, &policy_key(call), &call.body["policy"], policy::concurrent_change())
}

fn test_permissions(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    found(call, tx)?;
    let asked: Vec<String> = serde_json::from_value(call.body["permissions"].clone()).unwrap_or_default();
    Ok(access::held(call, tx, &asked, &policy_key(call)))
}

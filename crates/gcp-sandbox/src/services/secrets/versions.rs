//! Versions of secrets: payloads that can be added, read, disabled and destroyed,
//! never changed.

use std::time::Duration;

use serde_json::{Value, json};

use super::{check_etag, etag, found, name};
use crate::kernel::call::{Call, Handler, page};
use crate::kernel::clock;
use crate::kernel::contract::base64_bytes;
use crate::kernel::error::ApiError;
use crate::kernel::store::Tx;

/// The most bytes of a payload.
const MOST: usize = 65_536;

pub fn handler(method: &str) -> Option<Handler> {
    Some(match method {
        "addVersion" => add,
        "versions.list" => list,
        "versions.get" => get,
        "versions.access" => access,
        "versions.destroy" => destroy,
        "versions.enable" => enable,
        "versions.disable" => disable,
        _ => return None,
    })
}

/// Versions sort by number: the key holds it with leading zeros.
fn key(kind: &str, secret: &str, version: u64) -> String {
    format!("{kind}/{secret}/{version:010}")
}

pub fn exists(tx: &Tx, secret: &str, version: u64) -> bool {
    tx.has(&key("secretVersions", secret, version))
}

fn add(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    use base64::Engine as _;
    let secret = found(call, tx)?;
    let payload = &call.body["payload"];
    let data = payload["data"].as_str().and_then(base64_bytes).unwrap_or_default();
    if data.is_empty() {
        return Err(ApiError::bad_request(
            "payload",
            "The request is missing a required field: payload.data.".into(),
        ));
    }
    if data.len() > MOST {
        return Err(ApiError::bad_request(
            "payload.data",
            format!("The payload is {} bytes long; the most is {MOST}.", data.len()),
        ));
    }
    let sum = crc32c::crc32c(&data);
    let given = match &payload["dataCrc32c"] {
        Value::Null => None,
        Value::String(text) => text.parse::<u64>().ok(),
        other => other.as_u64(),
    };
    if given.is_some_and(|given| given != u64::from(sum)) {
        return Err(ApiError::bad_request(
            "payload.data_crc32c",
            "The checksum of the payload does not match the given data_crc32c.".into(),
        ));
    }
    let id = call.path("secretsId");
    let last = tx.scan(&format!("secretVersions/{id}/")).pop();
    let number = last.and_then(|(key, _)| key.rsplit_once('/')?.1.parse::<u64>().ok()).unwrap_or(0) + 1;
    let status = if secret["replication"]["automatic"].is_object() {
        json!({"automatic": {}})
    } else {
        let replicas =
            secret["replication"]["userManaged"]["replicas"].as_array().cloned().unwrap_or_default();
        let places: Vec<Value> = replicas.iter().map(|each| json!({"location": each["location"]})).collect();
        json!({"userManaged": {"replicas": places}})
    };
    let version = json!({
        "name": format!("{}/versions/{number}", name(call, id)),
        "createTime": clock::timestamp(),
        "state": "ENABLED",
        "replicationStatus": status,
        "etag": etag(),
        "clientSpecifiedPayloadChecksum": given.is_some(),
    });
    call.cloud.consistency.made(&key("secretVersions", id, number), Duration::ZERO);
    tx.put(key("secretVersions", id, number), version.clone());
    let encoded = base64::engine::general_purpose::STANDARD.encode(&data);
    tx.put(key("secretPayloads", id, number), json!({"data": encoded, "dataCrc32c": sum.to_string()}));
    Ok(version)
}

/// The version that the path names, by number or as `latest`.
fn wanted(call: &Call, tx: &Tx) -> Result<(u64, Value), ApiError> {
    let secret = found(call, tx)?;
    let (id, which) = (call.path("secretsId"), call.path("versionsId"));
    let all = tx.scan(&format!("secretVersions/{id}/"));
    if which == "latest" {
        let last = all
            .into_iter()
            .rfind(|(key, _)| call.cloud.consistency.sees_secret(key))
            .and_then(|(key, version)| Some((key.rsplit_once('/')?.1.parse().ok()?, version)));
        return last.ok_or_else(|| {
            ApiError::not_found(format!("Secret [{}] not found or has no versions.", name(call, id)))
        });
    }
    let alias = secret["versionAliases"][which].as_str();
    let number: u64 = alias.unwrap_or(which).parse().map_err(|_| {
        ApiError::bad_request(
            "name",
            format!("The provided version [{which}] is neither a number nor an alias."),
        )
    })?;
    let version = tx.get(&key("secretVersions", id, number)).cloned();
    version.map(|version| (number, version)).ok_or_else(|| {
        ApiError::not_found(format!("Secret Version [{}/versions/{number}] not found.", name(call, id)))
    })
}

fn get(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    wanted(call, tx).map(|(_, version)| version)
}

fn list(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    found(call, tx)?;
    let filter = crate::kernel::filter::Filter::parse(call.query("filter"))?;
    let mut all = tx.scan(&format!("secretVersions/{}/", call.path("secretsId")));
    all.retain(|(key, version)| filter.matches(version) && call.cloud.consistency.sees_secret(key));
    // Newest first.
    all.reverse();
    let total = all.len();
    let keyed =
        all.into_iter().enumerate().map(|(at, (_, version))| (format!("{at:010}"), version)).collect();
    let size = usize::try_from(call.number("pageSize").unwrap_or(0)).unwrap_or(0);
    let (versions, next) = page(keyed, if size == 0 { 25_000 } else { size }, call.query("pageToken"))?;
    let mut answer = json!({});
    if total > 0 {
        answer["versions"] = json!(versions);
        answer["totalSize"] = json!(total);
    }
    if let Some(next) = next {
        answer["nextPageToken"] = json!(next);
    }
    Ok(answer)
}

fn in_state(version: &Value) -> ApiError {
    let text = |name: &str| version[name].as_str().unwrap_or_default().to_owned();
    ApiError::new(
        400,
        "failedPrecondition",
        format!("Secret Version [{}] is in {} state.", text("name"), text("state")),
    )
}

fn access(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (number, version) = wanted(call, tx)?;
    if version["state"] != "ENABLED" {
        return Err(in_state(&version));
    }
    let payload = tx.get(&key("secretPayloads", call.path("secretsId"), number)).cloned().unwrap_or_default();
    Ok(json!({"name": version["name"], "payload": payload}))
}

fn change(call: &Call, tx: &mut Tx, state: &str) -> Result<Value, ApiError> {
    let (number, mut version) = wanted(call, tx)?;
    check_etag(call.body["etag"].as_str(), &version)?;
    if version["state"] == "DESTROYED" {
        return Err(in_state(&version));
    }
    version["state"] = json!(state);
    version["etag"] = json!(etag());
    if state == "DESTROYED" {
        version["destroyTime"] = json!(clock::timestamp());
        tx.remove(key("secretPayloads", call.path("secretsId"), number));
    }
    tx.put(key("secretVersions", call.path("secretsId"), number), version.clone());
    Ok(version)
}

fn destroy(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    change(call, tx, "DESTROYED")
}

fn enable(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    change(call, tx, "ENABLED")
}

fn disable(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    change(call, tx, "DISABLED")
}

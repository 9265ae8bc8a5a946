//! The sandbox's own routes below `/sandbox/`: state, faults, the list of calls,
//! and switches that no API of Google's has. They ask for a token that is in the
//! sandbox's folder, and tell no secret.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::kernel::cloud::Cloud;
use crate::kernel::consistency::Lag;
use crate::kernel::error::ApiError;
use crate::kernel::faults::Rule;
use crate::kernel::guard::{self, Unread};
use crate::kernel::profile::Profile;
use crate::kernel::response::{error_response, json_response};
use crate::kernel::{clock, files};
use crate::services::compute::{self, capacity, catalogue, machines};
use crate::services::{billing, org_policy, projects};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deny {
    /// `owner` or a service account's address.
    member: String,
    permission: String,
    /// `true` takes the denial back.
    #[serde(default)]
    allow: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recording {
    bodies: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Billing {
    enabled: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Disable {
    service: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Foreign {
    bucket: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Quota {
    region: String,
    /// `CPUS`, `SSD_TOTAL_GB`, …
    metric: String,
    /// Absent: the limit that it has by itself.
    limit: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stockout {
    zone: String,
    /// `true`: the zone has machines again.
    #[serde(default)]
    available: bool,
}

pub async fn handle(cloud: &Arc<Cloud>, parts: &Parts, body: Body) -> Response {
    if let Some(page) = caller_page(cloud, parts) {
        return page;
    }
    let bytes = match guard::may_control(&parts.headers, &cloud.control_token, &cloud.dir) {
        Err(error) => return error_response("", &error),
        Ok(()) => match guard::read(parts, body, guard::largest(false, true)).await {
            Ok(bytes) => bytes,
            Err(Unread::TooLarge(error)) => return error_response("", &error),
            Err(Unread::Broken) => return Response::new(Body::empty()),
        },
    };
    let done = match (parts.method.as_str(), parts.uri.path()) {
        ("GET", "/sandbox/status") => Ok(status(cloud)),
        ("GET", "/sandbox/metadata") => Ok(json!({"requests": compute::state(cloud).asked.list()})),
        ("GET", "/sandbox/requests") => Ok(json!({"requests": cloud.requests.list()})),
        ("DELETE", "/sandbox/requests") => {
            cloud.requests.clear();
            Ok(json!({}))
        }
        ("GET", "/sandbox/faults") => Ok(faults(cloud)),
        ("PUT", "/sandbox/faults") => set_faults(cloud, &bytes),
        ("DELETE", "/sandbox/faults") => {
            cloud.faults.set(Vec::new());
            Ok(json!({}))
        }
        ("PUT", "/sandbox/recording") => parse(&bytes).map(|Recording { bodies }| {
            cloud.requests.record(bodies);
            json!({"bodies": bodies})
        }),
        ("GET", "/sandbox/profile") => Ok(json!(cloud.profile())),
        ("PUT", "/sandbox/profile") => profile(cloud, &bytes),
        ("GET", "/sandbox/consistency") => Ok(json!(cloud.consistency.lag())),
        ("PUT", "/sandbox/consistency") => parse::<Lag>(&bytes).map(|lag| {
            cloud.set_profile(Profile { lag, ..cloud.profile() });
            json!(lag)
        }),
        ("GET", "/sandbox/policies") => cloud.transact(|tx| Ok(org_policy::list(tx))).await,
        ("PUT", "/sandbox/policies") => policies(cloud, &bytes).await,
        ("PUT", "/sandbox/billing") => billing(cloud, &bytes).await,
        ("POST", "/sandbox/disable") => disable(cloud, &bytes).await,
        ("PUT", "/sandbox/images") => images(cloud, &bytes).await,
        ("PUT", "/sandbox/firewall-policy") => {
            let rules: Result<Vec<Value>, ApiError> = parse(&bytes);
            match rules {
                Ok(rules) => cloud.transact(move |tx| compute::networks::set_policy(tx, rules)).await,
                Err(error) => Err(error),
            }
        }
        ("POST", "/sandbox/deny") => deny(cloud, &bytes).await,
        ("POST", "/sandbox/quota") => quota(cloud, &bytes).await,
        ("POST", "/sandbox/stockout") => stockout(cloud, &bytes).await,
        ("POST", "/sandbox/foreign") => foreign(cloud, &bytes).await,
        ("POST", "/sandbox/night") => {
            cloud.transact(|tx| Ok(json!({"snapshots": compute::snapshots::by_schedule(tx)}))).await
        }
        ("POST", "/sandbox/reset") => reset(cloud).await,
        ("POST", "/sandbox/stop") => {
            cloud.stop_wanted.cancel();
            Ok(json!({"stopping": true}))
        }
        (method, path) => Err(ApiError::not_found(format!("The sandbox has no route {method} {path}."))),
    };
    match done {
        Ok(value) => json_response(StatusCode::OK, &value),
        Err(error) => error_response("", &error),
    }
}

/// What services on the internet say of a caller's address: one that has closed down,
/// one that was asked over IPv6, and one that is well.
fn caller_page(cloud: &Cloud, parts: &Parts) -> Option<Response> {
    let rest = parts.uri.path().strip_prefix("/sandbox/caller")?;
    let (status, kind, text) = match rest {
        "/closed" => (StatusCode::FOUND, "text/html; charset=utf-8", "<h1>We have moved</h1>".to_owned()),
        "/ipv6" => (StatusCode::OK, "text/plain", "2001:db8::7\n".to_owned()),
        "" => (StatusCode::OK, "text/plain", format!("{}\n", compute::network(cloud).caller)),
        _ => return None,
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", http::HeaderValue::from_static(kind));
    if status.is_redirection() {
        response.headers_mut().insert("location", http::HeaderValue::from_static("https://sites.example/"));
    }
    Some(response)
}

fn status(cloud: &Cloud) -> Value {
    let running = machines::running(cloud);
    let names: Vec<&str> =
        running.iter().filter_map(|key| key.rsplit_once('/')).map(|(_, name)| name).collect();
    let count = |prefix: &str| cloud.scan(prefix).len();
    json!({
        "project": cloud.project, "port": cloud.port, "pid": std::process::id(), "dir": cloud.dir,
        "time": clock::timestamp(), "owner": cloud.owner, "machines": names,
        "latencyMs": u64::try_from(cloud.latency.as_millis()).unwrap_or(u64::MAX),
        "counts": {
            "buckets": count("buckets/"), "objects": count("objects/"), "secrets": count("secrets/"),
            "serviceAccounts": count("serviceAccounts/"), "compute": count("compute/"),
        },
    })
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| ApiError::new(400, "badRequest", error.to_string()))
}

/// Changes the switches that are named, and leaves the others as they are.
fn profile(cloud: &Cloud, bytes: &[u8]) -> Result<Value, ApiError> {
    let mut switches = json!(cloud.profile());
    for (name, value) in parse::<serde_json::Map<String, Value>>(bytes)? {
        switches[name] = value;
    }
    let profile: Profile = parse(switches.to_string().as_bytes())?;
    cloud.set_profile(profile.clone());
    Ok(json!(profile))
}

/// A list of rules, or one rule.
fn faults(cloud: &Cloud) -> Value {
    let (rules, struck): (Vec<Rule>, Vec<u64>) = cloud.faults.list().into_iter().unzip();
    json!({"rules": rules, "struck": struck})
}

fn set_faults(cloud: &Cloud, bytes: &[u8]) -> Result<Value, ApiError> {
    let value: Value = parse(bytes)?;
    let list = if value.is_array() { value } else { json!([value]) };
    let rules: Vec<Rule> =
        serde_json::from_value(list).map_err(|error| ApiError::new(400, "badRequest", error.to_string()))?;
    cloud.faults.set(rules);
    Ok(faults(cloud))
}

async fn deny(cloud: &Arc<Cloud>, bytes: &[u8]) -> Result<Value, ApiError> {
    let deny: Deny = parse(bytes)?;
    cloud
        .transact(move |tx| {
            let key = format!("deny/{}/{}", deny.member, deny.permission);
            if deny.allow {
                tx.remove(key);
            } else {
                tx.put(key, json!(true));
            }
            Ok(json!({}))
        })
        .await
}

async fn quota(cloud: &Arc<Cloud>, bytes: &[u8]) -> Result<Value, ApiError> {
    let Quota { region, metric, limit } = parse(bytes)?;
    cloud
        .transact(move |tx| {
            capacity::set_limit(tx, &region, &metric, limit)?;
            Ok(json!({"quotas": capacity::quotas(tx, &region)}))
        })
        .await
}

async fn stockout(cloud: &Arc<Cloud>, bytes: &[u8]) -> Result<Value, ApiError> {
    let Stockout { zone, available } = parse(bytes)?;
    cloud.transact(move |tx| capacity::set_stockout(tx, &zone, available).map(|()| json!({}))).await
}

/// The policies of the organisation, all of them.
async fn policies(cloud: &Arc<Cloud>, bytes: &[u8]) -> Result<Value, ApiError> {
    let policies: Vec<Value> = parse(bytes)?;
    cloud.transact(move |tx| org_policy::replace(tx, policies)).await
}

async fn billing(cloud: &Arc<Cloud>, bytes: &[u8]) -> Result<Value, ApiError> {
    let Billing { enabled } = parse(bytes)?;
    cloud.transact(move |tx| Ok(billing::set(tx, enabled))).await
}

/// Takes a service off, at once: as in a project of which little has been enabled yet.
async fn disable(cloud: &Arc<Cloud>, bytes: &[u8]) -> Result<Value, ApiError> {
    let Disable { service } = parse(bytes)?;
    cloud
        .transact(move |tx| {
            tx.remove(format!("services/{service}"));
            Ok(json!({"service": service}))
        })
        .await
}

/// What has become of public images, by name: `DEPRECATED`, `OBSOLETE`, `DELETED`.
async fn images(cloud: &Arc<Cloud>, bytes: &[u8]) -> Result<Value, ApiError> {
    let states: std::collections::BTreeMap<String, String> = parse(bytes)?;
    cloud.transact(move |tx| catalogue::deprecate(tx, states)).await
}

async fn foreign(cloud: &Arc<Cloud>, bytes: &[u8]) -> Result<Value, ApiError> {
    let Foreign { bucket } = parse(bytes)?;
    cloud
        .transact(move |tx| {
            if tx.has(&format!("buckets/{bucket}")) {
                return Err(ApiError::new(409, "conflict", "The bucket is this project's own."));
            }
            tx.put(format!("foreign/{bucket}"), json!(true));
            Ok(json!({}))
        })
        .await
}

/// Takes everything away: machines, records, bytes. What is under way in other
/// requests finds nothing any more.
async fn reset(cloud: &Arc<Cloud>) -> Result<Value, ApiError> {
    for (key, _) in cloud.scan("compute/zones/") {
        if key.contains("/instances/") {
            let order = machines::MachineTask { what: machines::MachineAction::Delete, key };
            let _ = machines::carry_out(cloud, &order).await;
        }
    }
    cloud
        .transact(|tx| {
            for (key, _) in tx.scan("") {
                tx.remove(key);
            }
            Ok(())
        })
        .await?;
    for folder in files::FOLDERS {
        let path = cloud.dir.join(folder);
        let _ = tokio::fs::remove_dir_all(&path).await;
        let _ = tokio::fs::create_dir_all(&path).await;
    }
    cloud.faults.set(Vec::new());
    cloud.requests.clear();
    projects::found(cloud).await.map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(json!({}))
}

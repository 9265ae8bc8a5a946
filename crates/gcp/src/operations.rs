//! Long-running operations: Compute's `wait` calls hold the request until the
//! operation is done, so no polling interval is lost.

use std::time::Duration;

use dorainfra_engine::ResourceId;
use dorainfra_model::{Event, Events};
use reqwest::Method;
use serde_json::Value;
use tokio::time::Instant;

use super::client::jitter;
use super::{Api, ApiError, Call, Client, Error};

/// How long an operation may take before this run gives up waiting for it.
const LONGEST: Duration = Duration::from_secs(20 * 60);

impl Client {
    /// Makes a Compute write and waits for its operation.
    ///
    /// # Errors
    /// The call's, or the operation's own (HTTP 200 with `error.errors[]`).
    pub async fn compute(&self, call: &Call, id: &ResourceId, events: &Events) -> Result<Value, Error> {
        let operation = self.call(call).await?;
        self.wait(operation, id, events).await
    }

    async fn wait(&self, mut operation: Value, id: &ResourceId, events: &Events) -> Result<Value, Error> {
        let began = Instant::now();
        loop {
            if operation["status"] == "DONE" {
                let what = format!("{} of {id}", operation["operationType"].as_str().unwrap_or("operation"));
                return match ApiError::of_operation(&what, &operation) {
                    Some(error) => Err(Error::Api(error)),
                    None => Ok(operation),
                };
            }
            let path = wait_path(&operation)?;
            events.send(Event::ResourceProgress { id: id.clone(), message: progress(&operation) });
            if began.elapsed() > LONGEST {
                return Err(Error::Transport {
                    what: format!("the operation on {id}"),
                    reason: format!("not done after {} minutes", LONGEST.as_secs() / 60),
                    sent: true,
                    source: None,
                });
            }
            match self.call(&Call::idempotent(Api::Compute, Method::POST, path)).await {
                Ok(newer) => operation = newer,
                // Throttled or cut off while waiting says nothing about the
                // operation: giving up here would lose the resource.
                Err(Error::Transport { sent: true, .. }) => {
                    tokio::time::sleep(jitter(Duration::from_secs(2))).await
                }
                Err(Error::Api(error)) if error.is_transient() => {
                    tokio::time::sleep(jitter(Duration::from_secs(5))).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for an operation of Service Usage, which has no `wait` call.
    pub async fn wait_service(&self, mut operation: Value) -> Result<Value, Error> {
        let began = Instant::now();
        while operation["done"] != true {
            let name = operation["name"].as_str().unwrap_or_default().to_owned();
            if name.is_empty() || began.elapsed() > LONGEST {
                return Err(Error::Unexpected {
                    what: "enabling services".into(),
                    reason: "its operation does not end".into(),
                    source: None,
                });
            }
            // Whatever it takes, at most a twentieth of it is lost.
            let pause =
                began.elapsed().div_f64(20.0).clamp(Duration::from_millis(50), Duration::from_secs(2));
            tokio::time::sleep(pause).await;
            operation = self.call(&Call::get(Api::ServiceUsage, format!("v1/{name}"))).await?;
        }
        match operation["error"]["message"].as_str() {
            None => Ok(operation),
            Some(message) => Err(Error::Api(ApiError {
                what: "enabling services".into(),
                reason: operation["error"]["status"].as_str().unwrap_or("unknown").into(),
                message: message.into(),
                ..ApiError::default()
            })),
        }
    }
}

/// `zones/Z/operations/O/wait`, whatever the operation's scope.
fn wait_path(operation: &Value) -> Result<String, Error> {
    let name = operation["name"].as_str().ok_or_else(|| Error::Unexpected {
        what: "a Compute write".into(),
        reason: "no operation came back".into(),
        source: None,
    })?;
    let last = |field: &str| operation[field].as_str().and_then(|link| link.rsplit('/').next());
    Ok(match (last("zone"), last("region")) {
        (Some(zone), _) => format!("zones/{zone}/operations/{name}/wait"),
        (None, Some(region)) => format!("regions/{region}/operations/{name}/wait"),
        (None, None) => format!("global/operations/{name}/wait"),
    })
}

fn progress(operation: &Value) -> String {
    let status = operation["status"].as_str().unwrap_or("PENDING").to_ascii_lowercase();
    match operation["progress"].as_u64() {
        Some(percent) if percent > 0 => format!("{status} {percent} %"),
        _ => status,
    }
}

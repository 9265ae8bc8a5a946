//! Compute Engine's operations: their form, what machines and disks have to do for them,
//! and that a request with an id that is known starts none.

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::machines::{self, MachineTask};
use super::{capacity, disk_content, link, scope};
use crate::kernel::call::Call;
use crate::kernel::cloud::Cloud;
use crate::kernel::error::ApiError;
use crate::kernel::faults::OperationError;
pub use crate::kernel::operation::Edit;
use crate::kernel::store::Tx;
use crate::kernel::{clock, operation};

/// What an operation does when its time has come.
#[derive(Clone, Debug, Default)]
pub struct Effect {
    /// Changes of records, when it succeeds.
    pub done: Vec<Edit>,
    /// What takes the start's changes back, when it fails.
    pub undo: Vec<Edit>,
    /// What a machine has to do first; its failure is the operation's.
    pub machine: Option<MachineTask>,
    /// Contents of a disk that are copied first: from this folder to that one.
    pub copy: Option<(PathBuf, PathBuf)>,
    /// What the operation fails with, instead of any of this.
    pub fail: Option<OperationError>,
}

/// What is done outside the records, as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Work {
    machine: Option<MachineTask>,
    copy: Option<(PathBuf, PathBuf)>,
}

/// Copies disks and moves machines, as an operation says.
pub fn work(cloud: Arc<Cloud>, work: Map<String, Value>) -> BoxFuture<'static, Result<(), String>> {
    Box::pin(async move {
        let work = serde_json::from_value(Value::Object(work));
        let Work { machine, copy } = work.map_err(|error| error.to_string())?;
        if let Some((from, to)) = copy {
            let copied = disk_content::copy(&from, &to).await;
            copied.map_err(|why| format!("The disk's content could not be copied: {why}"))?;
        }
        if let Some(order) = machine {
            let moved = machines::carry_out(&cloud, &order).await;
            moved.map_err(|why| format!("The machine could not be moved: {why}"))?;
        }
        Ok(())
    })
}

/// Starts an operation on the record `target`; answers it as the API does.
pub fn start(call: &Call, tx: &mut Tx, target: &str, effect: Effect) -> Result<Value, ApiError> {
    let (scope, _) = target
        .strip_prefix("compute/")
        .and_then(|path| path.rsplit_once('/'))
        .and_then(|(path, _)| path.rsplit_once('/'))
        .unwrap_or(("global", ""));
    let kind = call.short_id();
    let id = clock::unique(0);
    let name = format!("operation-{id}-{:08x}", crc32c::crc32c(target.as_bytes()));
    let now = clock::timestamp();
    let target_id = tx.get(target).map(|record| record["id"].clone()).unwrap_or_default();
    let mut answer = json!({
        "kind": "compute#operation",
        "id": (4_000_000_000_000_000_000 + id).to_string(),
        "name": name,
        "operationType": kind.rsplit_once('.').map_or(kind, |(_, verb)| verb),
        "targetLink": link(&call.cloud.project, target),
        "status": "PENDING",
        "user": call.caller.email,
        "progress": 0,
        "insertTime": now,
        "selfLink": link(&call.cloud.project, &format!("compute/{scope}/operations/{name}")),
    });
    if target_id.is_string() {
        answer["targetId"] = target_id;
    }
    if let Some((place, _)) = scope.split_once('/') {
        answer[place.trim_end_matches('s')] = json!(link(&call.cloud.project, &format!("compute/{scope}")));
    }
    let key = format!("operations/{scope}/{name}");
    if let Some(request) = call.query("requestId") {
        tx.put(format!("replay/{request}"), json!({"operation": key, "method": call.method.id}));
    }
    let Effect { done, undo, machine, copy, fail } = effect;
    let work = json!(Work { machine, copy });
    let work = work.as_object().cloned().unwrap_or_default();
    let fail = fail.or_else(|| capacity::lacking(call, tx, scope));
    operation::start(call, tx, &key, answer.clone(), operation::Effect { done, undo, work }, fail);
    Ok(answer)
}

/// The operation that an earlier request with the same id has started.
pub fn replay(call: &Call, tx: &Tx) -> Result<Option<Value>, ApiError> {
    let Some(request) = call.query("requestId") else { return Ok(None) };
    if uuid::Uuid::parse_str(request).map_or(true, |id| id.is_nil()) {
        return Err(ApiError::invalid(format!(
            "Invalid value for field 'requestId': '{request}'. Must be a valid non-zero UUID."
        )));
    }
    let earlier = tx.get(&format!("replay/{request}"));
    Ok(earlier.and_then(|earlier| tx.get(earlier["operation"].as_str()?)).map(operation::shown))
}

/// `zoneOperations.get`, and those of the other scopes.
pub fn get(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let key = key(call)?;
    tx.get(&key).map(operation::shown).ok_or_else(|| {
        let path = key.replacen("operations/", "", 1);
        let (scope, name) = path.rsplit_once('/').unwrap_or(("global", &path));
        ApiError::not_found(format!(
            "The resource 'projects/{}/{scope}/operations/{name}' was not found",
            call.cloud.project
        ))
    })
}

/// The record of the operation that a call's path names.
pub fn key(call: &Call) -> Result<String, ApiError> {
    Ok(format!("operations/{}/{}", scope(call)?, call.path("operation")))
}

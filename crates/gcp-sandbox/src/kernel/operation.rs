//! Compute's long-running operations: started with a write, carried out after
//! their time, finished after a restart of the sandbox.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::call::Call;
use super::clock;
use super::cloud::Cloud;
use super::error::ApiError;
use super::faults::OperationError;
use super::store::{After, Tx};
use crate::services::compute::{self, capacity, content, machines};

/// How long `wait` holds a request.
const WAIT: Duration = Duration::from_secs(120);

/// What an operation does when its time has come.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Effect {
    /// Changes of records, when it succeeds.
    pub done: Vec<Edit>,
    /// What takes the start's changes back, when it fails.
    pub undo: Vec<Edit>,
    /// What a machine has to do first; its failure is the operation's.
    pub machine: Option<machines::Order>,
    /// Contents of a disk that are copied first: from this folder to that one.
    #[serde(default)]
    pub copy: Option<(PathBuf, PathBuf)>,
    /// What the operation fails with, instead of any of this.
    #[serde(default)]
    pub fail: Option<OperationError>,
}

/// A change of one record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Edit {
    /// Sets members; `null` removes one. Nothing where the record is gone.
    Merge(String, Value),
    Put(String, Value),
    Remove(String),
}

impl Edit {
    fn apply(self, tx: &mut Tx, dir: &std::path::Path) {
        match self {
            Self::Merge(key, members) => tx.edit(&key, |record| merge(record, &members)),
            Self::Put(key, value) => tx.put(key, value),
            Self::Remove(key) => {
                if let Some(folder) = content::folder(dir, &key) {
                    tx.after(After::Discard(folder));
                }
                tx.remove(key);
            }
        }
    }

    fn key(&self) -> &str {
        match self {
            Self::Merge(key, _) | Self::Put(key, _) | Self::Remove(key) => key,
        }
    }
}

fn merge(record: &mut Value, members: &Value) {
    let (Some(record), Some(members)) = (record.as_object_mut(), members.as_object()) else { return };
    for (name, value) in members {
        if value.is_null() {
            record.remove(name);
        } else {
            record.insert(name.clone(), value.clone());
        }
    }
}

/// The kept form of an operation.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    operation: Value,
    effect: Effect,
    ms: u64,
    /// Milliseconds since 1970.
    began: u64,
    fail: Option<OperationError>,
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
    let mut operation = json!({
        "kind": "compute#operation",
        "id": (4_000_000_000_000_000_000 + id).to_string(),
        "name": name,
        "operationType": kind.rsplit_once('.').map_or(kind, |(_, verb)| verb),
        "targetLink": compute::link(&call.cloud.project, target),
        "status": "PENDING",
        "user": call.caller.email,
        "progress": 0,
        "insertTime": now,
        "selfLink": compute::link(&call.cloud.project, &format!("compute/{scope}/operations/{name}")),
    });
    if target_id.is_string() {
        operation["targetId"] = target_id;
    }
    if let Some((place, _)) = scope.split_once('/') {
        operation[place.trim_end_matches('s')] =
            json!(compute::link(&call.cloud.project, &format!("compute/{scope}")));
    }
    let time = call.cloud.operation_time(kind).as_millis();
    let fail = call.fault.operation_error.clone().or_else(|| effect.fail.clone());
    let fail = fail.or_else(|| capacity::lacking(call, tx, scope));
    let record = Record {
        operation: operation.clone(),
        effect,
        ms: call.fault.operation_ms.unwrap_or(u64::try_from(time).unwrap_or(u64::MAX)),
        began: u64::try_from(id).unwrap_or(0) / 1000,
        fail,
    };
    let key = format!("operations/{scope}/{name}");
    tx.put(key.clone(), json!(record));
    if let Some(request) = call.query("requestId") {
        tx.put(format!("replay/{request}"), json!({"operation": key, "method": call.method.id}));
    }
    tx.after(After::Run(key));
    Ok(operation)
}

/// Starts an operation of an API whose operations have another form: only its
/// time, its effect and its answer are kept.
pub fn start_plain(call: &Call, tx: &mut Tx, key: &str, kind: &str, done: Vec<Edit>, response: Value) {
    let time = call.cloud.operation_time(kind).as_millis();
    let record = Record {
        operation: json!({"status": "PENDING", "response": response}),
        effect: Effect { done, ..Effect::default() },
        ms: call.fault.operation_ms.unwrap_or(u64::try_from(time).unwrap_or(u64::MAX)),
        began: u64::try_from(clock::unique(0)).unwrap_or(0) / 1000,
        fail: call.fault.operation_error.clone(),
    };
    tx.put(key, json!(record));
    tx.after(After::Run(key.to_owned()));
}

/// Has records changed after a while, which nobody can ask about.
pub fn later(tx: &mut Tx, key: &str, time: Duration, done: Vec<Edit>) {
    let record = Record {
        operation: json!({"status": "PENDING"}),
        effect: Effect { done, ..Effect::default() },
        ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        began: u64::try_from(clock::unique(0)).unwrap_or(0) / 1000,
        fail: None,
    };
    tx.put(key, json!(record));
    tx.after(After::Run(key.to_owned()));
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
    Ok(earlier.and_then(|earlier| tx.get(earlier["operation"].as_str()?)).map(shown))
}

/// An operation's record as the API answers it: progress by the clock.
pub fn shown(record: &Value) -> Value {
    let mut operation = record["operation"].clone();
    if operation["status"] != "DONE" {
        let now = u64::try_from(clock::unique(0)).unwrap_or(0) / 1000;
        let gone = now.saturating_sub(record["began"].as_u64().unwrap_or(0));
        let percent = (gone * 100 / record["ms"].as_u64().unwrap_or(1).max(1)).min(99);
        if percent >= 10 {
            operation["status"] = json!("RUNNING");
            operation["progress"] = json!(percent);
            operation["startTime"] = operation["insertTime"].clone();
        }
    }
    operation
}

/// Holds until the operation is done, or for two minutes.
pub async fn wait(cloud: &Cloud, key: &str) -> Option<Value> {
    let mut ended = cloud.ended.subscribe();
    let give_up = tokio::time::sleep(WAIT);
    tokio::pin!(give_up);
    loop {
        let operation = shown(&cloud.read(key)?);
        if operation["status"] == "DONE" {
            return Some(operation);
        }
        tokio::select! {
            _ = ended.changed() => {}
            () = &mut give_up => return Some(operation),
            () = cloud.stop.cancelled() => return Some(operation),
        }
    }
}

/// Carries an operation out: waits its time, moves the machine, writes the effect.
/// Boxed, as it ends in a transaction, which may start another.
pub fn run(cloud: Arc<Cloud>, key: String) -> BoxFuture<'static, ()> {
    Box::pin(carry_out(cloud, key))
}

async fn carry_out(cloud: Arc<Cloud>, key: String) {
    let record = cloud.read(&key).and_then(|record| serde_json::from_value::<Record>(record).ok());
    let Some(record) = record.filter(|record| record.operation["status"] != "DONE") else { return };
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(record.ms)) => {}
        // It is finished at the next start.
        () = cloud.stop.cancelled() => return,
    }
    let mut failure = record.fail.clone().map(|fault| (fault.code, fault.message));
    if let (None, Some((from, to))) = (&failure, &record.effect.copy)
        && let Err(why) = content::copy(from, to).await
    {
        failure = Some(("INTERNAL_ERROR".into(), format!("The disk's content could not be copied: {why}")));
    }
    if let (None, Some(order)) = (&failure, &record.effect.machine)
        && let Err(why) = machines::carry_out(&cloud, order).await
    {
        failure = Some(("INTERNAL_ERROR".into(), format!("The machine could not be moved: {why}")));
    }
    if cloud.stop.is_cancelled() {
        return;
    }
    let dir = cloud.dir.clone();
    let _ = cloud
        .transact(move |tx| {
            finish(tx, &key, record, failure, &dir);
            Ok(())
        })
        .await;
    cloud.ended.send_modify(|version| *version += 1);
}

fn finish(
    tx: &mut Tx,
    key: &str,
    mut record: Record,
    failure: Option<(String, String)>,
    dir: &std::path::Path,
) {
    let edits = match &failure {
        None => std::mem::take(&mut record.effect.done),
        Some(_) => std::mem::take(&mut record.effect.undo),
    };
    for edit in edits {
        if edit.key().contains("/instances/") {
            tx.after(After::Changed(edit.key().to_owned()));
        }
        edit.apply(tx, dir);
    }
    let now = clock::timestamp();
    merge(
        &mut record.operation,
        &json!({"status": "DONE", "progress": 100, "endTime": now, "startTime": now}),
    );
    if let Some((code, message)) = failure {
        record.operation["error"] = json!({"errors": [{"code": code, "message": message}]});
        let (status, words) = match code.as_str() {
            "QUOTA_EXCEEDED" => (403, "FORBIDDEN"),
            "ZONE_RESOURCE_POOL_EXHAUSTED" | "INTERNAL_ERROR" => (503, "SERVICE UNAVAILABLE"),
            _ => (400, "BAD REQUEST"),
        };
        merge(&mut record.operation, &json!({"httpErrorStatusCode": status, "httpErrorMessage": words}));
    }
    record.effect = Effect::default();
    tx.put(key, json!(record));
}

/// Takes up what an earlier run of the sandbox has left unfinished.
pub fn resume(cloud: &Arc<Cloud>) {
    for (key, record) in cloud.scan("operations/") {
        if record["operation"]["status"] != "DONE" {
            tokio::spawn(run(Arc::clone(cloud), key));
        }
    }
}

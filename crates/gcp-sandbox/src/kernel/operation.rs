//! Long-running operations: started with a write, carried out after
//! their time, finished after a restart of the sandbox.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::call::Call;
use super::clock;
use super::cloud::Cloud;
use super::faults::OperationError;
use super::store::{After, Tx};

/// How long `wait` holds a request.
const WAIT: Duration = Duration::from_secs(120);

/// What an operation does when its time has come.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Effect {
    /// Changes of records, when it succeeds.
    pub done: Vec<Edit>,
    /// What takes the start's changes back, when it fails.
    pub undo: Vec<Edit>,
    /// What its API does first ([`Hooks::work`](super::cloud::Hooks)); its failure is the
    /// operation's.
    #[serde(flatten)]
    pub work: Map<String, Value>,
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
    fn apply(self, tx: &mut Tx) {
        match self {
            Self::Merge(key, members) => tx.edit(&key, |record| merge(record, &members)),
            Self::Put(key, value) => tx.put(key, value),
            Self::Remove(key) => tx.remove(key),
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

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    u64::try_from(clock::unique(0)).unwrap_or(0) / 1000
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

/// Starts an operation, whose record gets this key. What its call's fault says of it comes
/// before what it would do by itself.
pub fn start(
    call: &Call,
    tx: &mut Tx,
    key: &str,
    operation: Value,
    effect: Effect,
    fail: Option<OperationError>,
) {
    let time = call.cloud.operation_time(call.short_id()).as_millis();
    let record = Record {
        operation,
        effect,
        ms: call.fault.operation_ms.unwrap_or(u64::try_from(time).unwrap_or(u64::MAX)),
        began: now_ms(),
        fail: call.fault.operation_error.clone().or(fail),
    };
    tx.put(key, json!(record));
    tx.after(After::Spawn(run(Arc::clone(&call.cloud), key.to_owned())));
}

/// Has records changed after a while, which nobody can ask about.
pub fn later(cloud: &Arc<Cloud>, tx: &mut Tx, key: &str, time: Duration, done: Vec<Edit>) {
    let record = Record {
        operation: json!({"status": "PENDING"}),
        effect: Effect { done, ..Effect::default() },
        ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        began: now_ms(),
        fail: None,
    };
    tx.put(key, json!(record));
    tx.after(After::Spawn(run(Arc::clone(cloud), key.to_owned())));
}

/// An operation's record as the API answers it: progress by the clock.
pub fn shown(record: &Value) -> Value {
    let mut operation = record["operation"].clone();
    if operation["status"] != "DONE" {
        let gone = now_ms().saturating_sub(record["began"].as_u64().unwrap_or(0));
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
    for hooks in &cloud.hooks {
        if failure.is_none()
            && let Err(why) = (hooks.work)(Arc::clone(&cloud), record.effect.work.clone()).await
        {
            failure = Some(("INTERNAL_ERROR".into(), why));
        }
    }
    if cloud.stop.is_cancelled() {
        return;
    }
    let _ = cloud
        .transact(move |tx| {
            finish(tx, &key, record, failure);
            Ok(())
        })
        .await;
    cloud.ended.send_modify(|version| *version += 1);
}

fn finish(tx: &mut Tx, key: &str, mut record: Record, failure: Option<(String, String)>) {
    let edits = match &failure {
        None => std::mem::take(&mut record.effect.done),
        Some(_) => std::mem::take(&mut record.effect.undo),
    };
    for edit in edits {
        tx.after(After::Changed(edit.key().to_owned()));
        edit.apply(tx);
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

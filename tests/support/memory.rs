//! A cloud in memory, for tests and benches of the engine: a few kinds that
//! behave as real ones do where it matters (computed fields, things that hold
//! others, things that are in use), faults at chosen writes, and a journal.

// Each test program uses its own part of it; and a test may unwrap.
#![allow(dead_code, unused_imports, clippy::unwrap_used)]

#[path = "memory_lease.rs"]
mod lease;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use dorainfra_engine::{
    Change, KindSpec, Manifest, Mark, Observed, Owned, Ownership, Provider, ProviderError, ResourceId,
};
use dorainfra_model::Events;
pub use lease::{AWAY, MemoryLease, UNREADABLE, clock};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

const PLAIN: KindSpec = KindSpec::plain("");

const KINDS: &[KindSpec] = &[
    KindSpec { kind: "mem.services", markable: false, keep_on_destroy: true, sets: &["services"], ..PLAIN },
    KindSpec { kind: "mem.net", immutable: &["range"], ..PLAIN },
    KindSpec { kind: "mem.disk", immutable: &["zone"], ..PLAIN },
    KindSpec {
        kind: "mem.vm",
        immutable: &["zone", "disk"],
        sets: &["tags"],
        keyed: &[("items", "key")],
        write_only: &["password"],
        ..PLAIN
    },
    KindSpec { kind: "mem.bucket", immutable: &["location"], ..PLAIN },
    KindSpec { kind: "mem.object", immutable: &["content", "bucket"], lives_in: Some("mem.bucket"), ..PLAIN },
    KindSpec { kind: "mem.grant", immutable: &["role"], markable: false, ..PLAIN },
];

/// What happens at a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Fails, and has done nothing.
    Fail,
    /// The answer is lost; nothing was done.
    LostBefore,
    /// The answer is lost; it was done.
    LostAfter,
    /// [`Memory::killed`] is told, and the write never returns. Nothing was done.
    KillBefore,
    /// The same, but it was done.
    KillAfter,
    Panic,
}

/// One resource. A place is part of its identity: the same name may exist in
/// two zones.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    body: Value,
    mark: Option<Mark>,
}

type Key = (ResourceId, String);

#[derive(Clone, Debug, Default)]
pub struct State {
    entries: BTreeMap<Key, Entry>,
    serial: u64,
}

#[derive(Default)]
struct Record {
    writes: usize,
    reads: usize,
    active: usize,
    peak: usize,
    journal: Vec<String>,
}

/// How long a call takes: the verb (`read`, `list`, `create`, …) and the resource.
type Delay = Box<dyn Fn(&str, &ResourceId) -> Duration + Send + Sync>;

pub struct Memory {
    state: Mutex<State>,
    record: Mutex<Record>,
    faults: Mutex<BTreeMap<usize, Fault>>,
    failing: Mutex<BTreeSet<ResourceId>>,
    /// Members of rolling groups that do not serve: changed, and not settled yet.
    taken: Mutex<BTreeSet<ResourceId>>,
    delay: Delay,
    /// Disks tell which machines use them, as real ones do.
    pub tells_users: AtomicBool,
    /// Cancelled when a write reaches a `Kill…` fault.
    pub killed: CancellationToken,
}

impl Memory {
    pub fn new() -> Arc<Self> {
        Self::with(State::default(), |_, _| Duration::ZERO)
    }

    pub fn with(
        state: State,
        delay: impl Fn(&str, &ResourceId) -> Duration + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(state),
            record: Mutex::default(),
            faults: Mutex::default(),
            failing: Mutex::default(),
            taken: Mutex::default(),
            delay: Box::new(delay),
            tells_users: AtomicBool::new(false),
            killed: CancellationToken::new(),
        })
    }

    /// At the `nth` write from now on (from 0), `fault` happens.
    pub fn fault(&self, nth: usize, fault: Fault) {
        let writes = self.record().writes;
        self.faults.lock().unwrap().insert(writes + nth, fault);
    }

    /// Every write of this resource fails.
    pub fn failing(&self, id: &str) {
        self.failing.lock().unwrap().insert(id.parse().unwrap());
    }

    pub fn heal(&self) {
        self.failing.lock().unwrap().clear();
        self.faults.lock().unwrap().clear();
    }

    /// From now on it does not serve, until it is settled.
    pub fn take_down(&self, id: &str) {
        self.taken.lock().unwrap().insert(id.parse().unwrap());
    }

    /// As time does: what was changed serves by itself.
    pub fn recover(&self) {
        self.taken.lock().unwrap().clear();
    }

    pub fn snapshot(&self) -> State {
        self.state().clone()
    }

    pub fn writes(&self) -> usize {
        self.record().writes
    }

    /// The most calls that were under way at once.
    pub fn peak(&self) -> usize {
        self.record().peak
    }

    /// `verb kind/name`, for each write as it begins and (`verb kind/name done`) ends.
    pub fn journal(&self) -> Vec<String> {
        self.record().journal.clone()
    }

    pub fn note(&self, line: String) {
        self.record().journal.push(line);
    }

    pub fn exists(&self, id: &str) -> bool {
        let id: ResourceId = id.parse().unwrap();
        self.state().entries.keys().any(|(other, _)| *other == id)
    }

    /// The world without what differs from one run to another: how often things
    /// were made. `kind/name@zone` to body.
    pub fn world(&self) -> BTreeMap<String, Value> {
        self.state()
            .entries
            .iter()
            .map(|((id, zone), entry)| {
                let owner = entry.mark.as_ref().map_or("", |mark| mark.deployment.as_str());
                let digest = entry.mark.as_ref().map_or("", |mark| mark.digest.as_str());
                let body = json!({ "body": without_serials(&entry.body), "owner": owner, "digest": digest });
                (format!("{id}@{zone}"), body)
            })
            .collect()
    }

    /// Somebody else changes the cloud: sets a field, or, with `null`, removes it.
    pub fn meddle(&self, id: &str, field: &str, value: Value) {
        let id: ResourceId = id.parse().unwrap();
        for ((other, _), entry) in &mut self.state().entries {
            if *other == id {
                entry.body[field] = value.clone();
            }
        }
    }

    /// Somebody else deletes a resource, whatever uses it.
    pub fn vanish(&self, id: &str) {
        let id: ResourceId = id.parse().unwrap();
        self.state().entries.retain(|(other, _), _| *other != id);
    }

    /// Puts a resource there, with a mark (`deployment`) or without.
    pub fn put(&self, manifest: &Manifest, deployment: Option<&str>) {
        let mark = deployment
            .map(|name| Mark { deployment: name.to_owned(), digest: dorainfra_engine::digest(manifest) });
        insert(&mut self.state(), manifest, mark);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap()
    }

    fn with_users(&self, state: &State, mut disk: Observed) -> Observed {
        if self.tells_users.load(Ordering::Relaxed) && disk.id.kind == "mem.disk" {
            let uses = |entry: &&Entry| entry.body["disk"] == disk.body["uid"];
            let users: Vec<&Value> =
                state.entries.values().filter(uses).map(|entry| &entry.body["uid"]).collect();
            disk.body["users"] = json!(users);
        }
        disk
    }

    /// A call's time, counted as under way.
    async fn call(&self, verb: &str, id: &ResourceId) {
        {
            let mut record = self.record();
            record.active += 1;
            record.peak = record.peak.max(record.active);
        }
        let delay = (self.delay)(verb, id);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.record().active -= 1;
    }

    async fn write<T>(
        &self,
        verb: &str,
        id: &ResourceId,
        effect: impl FnOnce(&mut State) -> Result<T, ProviderError> + Send,
    ) -> Result<T, ProviderError> {
        let nth = {
            let mut record = self.record();
            record.journal.push(format!("{verb} {id}"));
            record.writes += 1;
            record.writes - 1
        };
        let fault = self.faults.lock().unwrap().get(&nth).copied();
        if id.kind == "mem.vm" {
            let mut taken = self.taken.lock().unwrap();
            taken.insert(id.clone());
            let down: Vec<String> = taken.iter().map(ToString::to_string).collect();
            self.note(format!("down {}", down.join(" ")));
        }
        self.call(verb, id).await;
        if self.failing.lock().unwrap().contains(id) {
            return Err(error(format!("{verb} {id} failed")));
        }
        match fault {
            Some(Fault::Fail) => return Err(error(format!("{verb} {id} failed"))),
            Some(Fault::LostBefore) => return Err(lost()),
            Some(Fault::Panic) => panic!("a fault in {verb} {id}"),
            Some(Fault::KillBefore) => {
                self.killed.cancel();
                std::future::pending::<()>().await;
            }
            Some(Fault::LostAfter | Fault::KillAfter) | None => {}
        }
        let result = effect(&mut self.state());
        match fault {
            Some(Fault::LostAfter) => return Err(lost()),
            Some(Fault::KillAfter) => {
                self.killed.cancel();
                std::future::pending::<()>().await;
            }
            _ => {}
        }
        self.note(format!("{verb} {id} done"));
        result
    }
}

#[async_trait]
impl Provider for Memory {
    fn spec(&self, kind: &str) -> Option<&KindSpec> {
        KINDS.iter().find(|spec| spec.kind == kind)
    }

    async fn read(&self, manifest: &Manifest) -> Result<Option<Observed>, ProviderError> {
        self.record().reads += 1;
        self.call("read", &manifest.id()).await;
        if self.failing.lock().unwrap().contains(&ResourceId::new("read", &manifest.name)) {
            return Err(error(format!("read {} failed", manifest.id())));
        }
        let key = key(manifest);
        let state = self.state();
        Ok(state.entries.get(&key).map(|entry| self.with_users(&state, observed(&key, entry))))
    }

    async fn list_owned(&self, deployment: &str) -> Result<Owned, ProviderError> {
        self.call("list", &ResourceId::new("all", "all")).await;
        let state = self.state();
        let ours = |entry: &Entry| entry.mark.as_ref().is_some_and(|mark| mark.deployment == deployment);
        Ok(state
            .entries
            .iter()
            .filter(|(_, entry)| ours(entry))
            .map(|(key, entry)| self.with_users(&state, observed(key, entry)))
            .collect::<Vec<_>>()
            .into())
    }

    async fn create(
        &self,
        manifest: &Manifest,
        mark: &Mark,
        _events: &Events,
    ) -> Result<Observed, ProviderError> {
        let id = manifest.id();
        self.write("create", &id, |state| {
            assert!(!manifest.body.to_string().contains("${mem."), "unresolved: {}", manifest.body);
            let key = key(manifest);
            if state.entries.contains_key(&key) {
                return Err(error(format!("{id} exists already")));
            }
            if let Some(bucket) = manifest.body["bucket"].as_str()
                && !state.entries.contains_key(&(ResourceId::new("mem.bucket", bucket), String::new()))
            {
                return Err(error(format!("there is no bucket {bucket}")));
            }
            let markable = self.spec(&manifest.kind).expect("a kind of ours").markable;
            insert(state, manifest, markable.then(|| mark.clone()));
            Ok(observed(&key, &state.entries[&key]))
        })
        .await
    }

    async fn update(
        &self,
        manifest: &Manifest,
        before: &Observed,
        changes: &[Change],
        mark: &Mark,
        _events: &Events,
    ) -> Result<Observed, ProviderError> {
        let id = manifest.id();
        self.write("update", &id, |state| {
            assert!(!manifest.body.to_string().contains("${mem."), "unresolved: {}", manifest.body);
            assert!(changes.iter().all(|change| !change.forces_replacement && change.after.is_some()));
            let key = key(manifest);
            let markable = self.spec(&manifest.kind).expect("a kind of ours").markable;
            let Some(entry) = state.entries.get_mut(&key) else {
                return Err(error(format!("{id} is gone")));
            };
            if before.body["uid"] != entry.body["uid"] {
                return Err(error(format!("{id} is not the one that was read")));
            }
            merge(&mut entry.body, &stored(manifest));
            entry.mark = markable.then(|| mark.clone());
            Ok(observed(&key, entry))
        })
        .await
    }

    async fn serves(&self, observed: &Observed) -> Result<(), ProviderError> {
        self.call("serves", &observed.id).await;
        match self.taken.lock().unwrap().contains(&observed.id) {
            true => Err(error("it is down".into())),
            false => Ok(()),
        }
    }

    async fn settle(&self, manifest: &Manifest, _events: &Events) -> Result<(), ProviderError> {
        let id = manifest.id();
        self.note(format!("settle {id}"));
        self.call("settle", &id).await;
        if self.failing.lock().unwrap().contains(&ResourceId::new("settle", &id.name)) {
            return Err(error(format!("{id} does not get ready")));
        }
        self.taken.lock().unwrap().remove(&id);
        self.note(format!("settle {id} done"));
        Ok(())
    }

    async fn delete(&self, observed: &Observed, _events: &Events) -> Result<(), ProviderError> {
        let id = observed.id.clone();
        self.write("delete", &id, |state| {
            let zone = observed.body["zone"].as_str().unwrap_or_default().to_owned();
            let Some(entry) = state.entries.get(&(id.clone(), zone.clone())) else { return Ok(()) };
            let uid = entry.body["uid"].clone();
            if let Some(((user, _), _)) = state.entries.iter().find(|(_, other)| other.body["disk"] == uid) {
                return Err(error(format!("{id} is in use by {user}")));
            }
            state.entries.remove(&(id.clone(), zone));
            if id.kind == "mem.bucket" {
                state.entries.retain(|_, other| other.body["bucket"] != json!(id.name));
            }
            Ok(())
        })
        .await
    }
}

fn key(manifest: &Manifest) -> Key {
    (manifest.id(), manifest.body["zone"].as_str().unwrap_or_default().to_owned())
}

/// What the cloud keeps of a declared body.
fn stored(manifest: &Manifest) -> Value {
    let mut body = manifest.body.clone();
    if let Some(map) = body.as_object_mut() {
        map.remove("password");
        // 64-bit integers come back as strings.
        if let Some(size) = map.get("size").and_then(Value::as_i64) {
            map.insert("size".into(), Value::String(size.to_string()));
        }
    }
    body
}

fn insert(state: &mut State, manifest: &Manifest, mark: Option<Mark>) {
    state.serial += 1;
    let mut body = stored(manifest);
    body["uid"] = json!(format!("uid/{}/{}", state.serial, manifest.id()));
    body["status"] = json!("READY");
    state.entries.insert(key(manifest), Entry { body, mark });
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn observed((id, _): &Key, entry: &Entry) -> Observed {
    Observed {
        id: id.clone(),
        body: entry.body.clone(),
        ownership: match &entry.mark {
            None => Ownership::Unmarked,
            // A memory serves one deployment's tests; anything else is another's.
            Some(mark) if mark.deployment == "test" => Ownership::Ours,
            Some(mark) => Ownership::Other(mark.deployment.clone()),
        },
        applied: entry.mark.as_ref().map(|mark| mark.digest.clone()),
    }
}

fn without_serials(body: &Value) -> Value {
    match body {
        Value::String(text) => match text.split_once("uid/") {
            Some((before, rest)) => {
                let id = rest.trim_start_matches(|c: char| c.is_ascii_digit());
                json!(format!("{before}uid{id}"))
            }
            None => body.clone(),
        },
        Value::Array(items) => items.iter().map(without_serials).collect(),
        Value::Object(map) => Value::Object(
            map.iter().map(|(key, item)| (key.clone(), without_serials(item))).collect::<Map<_, _>>(),
        ),
        scalar => scalar.clone(),
    }
}

fn error(message: String) -> ProviderError {
    ProviderError::new(message, "look at the test")
}

fn lost() -> ProviderError {
    ProviderError { message: "the answer was lost".into(), hint: None, unknown_outcome: true, source: None }
}

/// A manifest in a line: `id`, body and what else it depends on.
pub fn manifest(id: &str, body: Value, depends_on: &[&str]) -> Manifest {
    let id: ResourceId = id.parse().unwrap();
    Manifest {
        depends_on: depends_on.iter().map(|id| id.parse().unwrap()).collect(),
        ..Manifest::new(id.kind, id.name, body)
    }
}

/// A small deployment with one of each kind: `version` names its bundle.
pub fn stack(zone: &str, version: &str) -> Vec<Manifest> {
    let object = format!("mem.object/bundles/{version}.tar");
    let bundle = format!("${{{object}.content}}");
    vec![
        manifest("mem.services/p", json!({"services": ["compute", "storage"]}), &[]),
        manifest("mem.net/n", json!({"range": "10.0.0.0/8"}), &["mem.services/p"]),
        Manifest {
            protect: true,
            arbiter: true,
            ..manifest("mem.bucket/b", json!({"location": "eu"}), &["mem.services/p"])
        },
        manifest(
            "mem.grant/g",
            json!({"role": "admin", "bucket": "${mem.bucket/b.name}", "member": "net:${mem.net/n.uid}"}),
            &[],
        ),
        Manifest { protect: true, ..manifest("mem.disk/data", json!({"zone": zone, "size": 50}), &[]) },
        manifest(&object, json!({"bucket": "${mem.bucket/b.name}", "content": version}), &[]),
        manifest(
            "mem.vm/v",
            json!({
                "zone": zone,
                "disk": "${mem.disk/data.uid}",
                "net": "${mem.net/n.uid}",
                "tags": ["web", "db"],
                "items": [{"key": "bundle", "value": bundle}, {"key": "script", "value": "echo ${HOME}"}],
                "password": "hunter2",
            }),
            &["mem.grant/g"],
        ),
    ]
}

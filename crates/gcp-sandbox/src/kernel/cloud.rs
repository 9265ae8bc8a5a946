//! What all APIs of one sandbox share: its records, its identity, and how a
//! change is made durable before it is answered.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use http::Extensions;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::consistency::Consistency;
use super::error::ApiError;
use super::faults::Faults;
use super::profile::Profile;
use super::requests::{Entry, Log};
use super::store::{After, Store, Tx, Written};
use super::sync::lock;
use super::token::{Caller, Tokens};

/// Does what an operation says in members of its API's own.
pub type Work = fn(Arc<Cloud>, Map<String, Value>) -> BoxFuture<'static, Result<(), String>>;

/// What an API does with transactions and operations beyond its own calls.
pub struct Hooks {
    /// What follows from the records that a transaction, of whichever API, has written. It
    /// is called with all records locked.
    pub committed: fn(&Cloud, &[Written]) -> Vec<After>,
    /// What an operation does before it changes records; `Err` is what it fails with.
    pub work: Work,
}

/// What a cloud is made of.
pub struct Setup {
    pub project: String,
    pub number: u64,
    pub dir: PathBuf,
    pub port: u16,
    pub owner: String,
    pub owner_key: Vec<u8>,
    pub control_token: String,
    pub tokens: Tokens,
    pub profile: Profile,
    pub latency: Duration,
    pub operation_ms: BTreeMap<String, u64>,
    pub stop_wanted: CancellationToken,
    pub store: Store,
    pub hooks: Vec<&'static Hooks>,
    pub state: Extensions,
}

pub struct Cloud {
    pub project: String,
    pub number: u64,
    pub dir: PathBuf,
    pub port: u16,
    /// The owner's service account.
    pub owner: String,
    pub owner_key: Vec<u8>,
    /// What the control routes ask for, another one with each start.
    pub control_token: String,
    pub tokens: Tokens,
    pub faults: Faults,
    pub requests: Log<Entry>,
    pub consistency: Consistency,
    profile: Mutex<Profile>,
    /// Added to every API call.
    pub latency: Duration,
    /// Somebody wants the sandbox to end.
    pub stop_wanted: CancellationToken,
    /// It ends: requests are cut, operations are left for the next start.
    pub stop: CancellationToken,
    operation_ms: BTreeMap<String, u64>,
    /// `None` once the sandbox has ended.
    store: Mutex<Option<Store>>,
    /// Bumped whenever an operation ends.
    pub(super) ended: watch::Sender<u64>,
    /// By a record's key.
    watchers: Mutex<HashMap<String, watch::Sender<u64>>>,
    pub(super) hooks: Vec<&'static Hooks>,
    /// What APIs keep in memory, by its type.
    state: Extensions,
}

impl Cloud {
    pub fn new(setup: Setup) -> Self {
        Self {
            project: setup.project,
            number: setup.number,
            dir: setup.dir,
            port: setup.port,
            owner: setup.owner,
            owner_key: setup.owner_key,
            control_token: setup.control_token,
            tokens: setup.tokens,
            faults: Faults::default(),
            requests: Log::default(),
            consistency: Consistency::new(setup.profile.lag),
            profile: Mutex::new(setup.profile),
            latency: setup.latency,
            stop_wanted: setup.stop_wanted,
            stop: CancellationToken::new(),
            operation_ms: setup.operation_ms,
            store: Mutex::new(Some(setup.store)),
            ended: watch::Sender::new(0),
            watchers: Mutex::default(),
            hooks: setup.hooks,
            state: setup.state,
        }
    }

    /// What an API keeps in memory.
    pub fn state<T: Send + Sync + 'static>(&self) -> &T {
        self.state.get::<Arc<T>>().expect("each API puts its state in at the start")
    }

    /// Runs `work` on the records; on success its changes are on disk when this
    /// answers, and what follows from them is under way.
    pub async fn transact<T, W>(self: &Arc<Self>, work: W) -> Result<T, ApiError>
    where
        T: Send + 'static,
        W: FnOnce(&mut Tx) -> Result<T, ApiError> + Send + 'static,
    {
        let cloud = Arc::clone(self);
        // All of it happens although the client may be gone by then.
        let whole = move || {
            let (answer, tasks) = cloud.commit(work)?;
            for task in tasks {
                tokio::spawn(task);
            }
            Ok(answer)
        };
        let done = tokio::task::spawn_blocking(whole).await;
        done.unwrap_or_else(|error| Err(ApiError::internal(error.to_string())))
    }

    /// The same for whoever cannot wait; what would have to be begun after it is not.
    pub fn transact_now<T>(&self, work: impl FnOnce(&mut Tx) -> Result<T, ApiError>) -> Result<T, ApiError> {
        self.commit(work).map(|(answer, _)| answer)
    }

    /// Answers what is to be begun besides.
    fn commit<T>(
        &self,
        work: impl FnOnce(&mut Tx) -> Result<T, ApiError>,
    ) -> Result<(T, Vec<BoxFuture<'static, ()>>), ApiError> {
        let mut store = lock(&self.store);
        let store =
            store.as_mut().ok_or_else(|| ApiError::new(503, "backendError", "The sandbox is ending."))?;
        let mut tx = store.begin();
        let answer = work(&mut tx)?;
        let written = tx.written();
        let mut after = tx.commit().map_err(|error| ApiError::internal(error.to_string()))?;
        after.extend(self.hooks.iter().flat_map(|hooks| (hooks.committed)(self, &written)));
        let mut tasks = Vec::new();
        for each in after {
            match each {
                After::Discard(path) => {
                    // Left-overs are found and removed at the next start.
                    let _ = if path.is_dir() {
                        std::fs::remove_dir_all(path)
                    } else {
                        std::fs::remove_file(path)
                    };
                }
                After::Changed(key) => self.changed(&key),
                After::Spawn(task) => tasks.push(task),
            }
        }
        Ok((answer, tasks))
    }

    /// The owner, as a caller.
    pub fn owner_caller(&self) -> Caller {
        let account = self.read(&format!("serviceAccounts/{}", self.owner)).unwrap_or_default();
        Caller::known(&self.owner, account["uniqueId"].as_str().unwrap_or_default())
    }

    /// How unkind the world is now.
    pub fn profile(&self) -> Profile {
        lock(&self.profile).clone()
    }

    /// Holds for whatever is asked from now on.
    pub fn set_profile(&self, profile: Profile) {
        self.consistency.set(profile.lag);
        *lock(&self.profile) = profile;
    }

    /// Wakes up who waits for a change of the record with this key.
    pub fn changed(&self, key: &str) {
        if let Some(sender) = lock(&self.watchers).get(key) {
            sender.send_modify(|version| *version += 1);
        }
    }

    /// Ticks with every change of the record with this key.
    pub fn subscribe(&self, key: String) -> watch::Receiver<u64> {
        lock(&self.watchers).entry(key).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// Reads a record as it is now.
    pub fn read(&self, key: &str) -> Option<Value> {
        lock(&self.store).as_ref()?.get(key).cloned()
    }

    pub fn scan(&self, prefix: &str) -> Vec<(String, Value)> {
        lock(&self.store).as_ref().map_or_else(Vec::new, |store| {
            store.scan(prefix).map(|(key, value)| (key.clone(), value.clone())).collect()
        })
    }

    /// Ends the use of the records; the folder can be opened again.
    pub fn close(&self) {
        lock(&self.store).take();
    }

    /// How long an operation of that kind (`instances.insert`) takes.
    pub fn operation_time(&self, kind: &str) -> Duration {
        let default = || match kind {
            "addresses.insert" => 150,
            "instances.insert" => 600,
            "instances.delete" | "instances.stop" | "instances.start" => 400,
            "services.batchEnable" | "services.enable" => 200,
            _ => 300,
        };
        let told = self.operation_ms.get(kind).or_else(|| self.operation_ms.get("*"));
        Duration::from_millis(told.copied().unwrap_or_else(default))
    }
}

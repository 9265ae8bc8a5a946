//! What all APIs of one sandbox share: its records, its identity, and how a
//! change is made durable before it is answered.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::consistency::{Consistency, PROJECT};
use super::error::{ApiError, SandboxError};
use super::faults::Faults;
use super::pace::Pace;
use super::profile::Profile;
use super::requests::{Entry, Log};
use super::store::{After, Store, Tx};
use super::sync::lock;
use super::token::{Caller, Grant, LIFETIME, Tokens};
use super::{clock, files, guest, key, operation};
use crate::machines::balancer::Balancer;
use crate::machines::{Asked, Machines, Network, World};
use crate::services::compute;

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
    /// What machines have asked their metadata servers.
    pub asked: Log<Asked>,
    pub balancer: Balancer,
    pub consistency: Consistency,
    pub pace: Pace,
    /// Queries of guest attributes.
    pub guest: guest::Budget,
    pub profile: Mutex<Profile>,
    /// Added to every API call.
    pub latency: Duration,
    /// Somebody wants the sandbox to end.
    pub stop_wanted: CancellationToken,
    /// It ends: requests are cut, operations are left for the next start.
    pub stop: CancellationToken,
    pub machines: OnceLock<Arc<dyn Machines>>,
    pub operation_ms: BTreeMap<String, u64>,
    /// `None` once the sandbox has ended.
    pub store: Mutex<Option<Store>>,
    /// Bumped whenever an operation ends.
    pub ended: watch::Sender<u64>,
    /// By an instance's record key.
    pub watchers: Mutex<HashMap<String, watch::Sender<u64>>>,
}

impl Cloud {
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
            let (answer, after) = cloud.transact_now(work)?;
            for each in after {
                match each {
                    After::Run(key) => {
                        tokio::spawn(operation::run(Arc::clone(&cloud), key));
                    }
                    After::Metadata(key) => {
                        tokio::spawn(compute::machines::metadata_changed(Arc::clone(&cloud), key));
                    }
                    After::Network => {
                        if let Some(machines) = cloud.machines.get().cloned() {
                            tokio::spawn(async move { machines.network_changed().await });
                        }
                    }
                    After::Discard(_) | After::Changed(_) => {}
                }
            }
            Ok(answer)
        };
        let done = tokio::task::spawn_blocking(whole).await;
        done.unwrap_or_else(|error| Err(ApiError::internal(error.to_string())))
    }

    fn transact_now<T>(
        &self,
        work: impl FnOnce(&mut Tx) -> Result<T, ApiError>,
    ) -> Result<(T, Vec<After>), ApiError> {
        let mut store = lock(&self.store);
        let store =
            store.as_mut().ok_or_else(|| ApiError::new(503, "backendError", "The sandbox is ending."))?;
        let mut tx = store.begin();
        let answer = work(&mut tx)?;
        let balanced = ["compute/", "members/"].iter().any(|prefix| tx.wrote(prefix));
        let after = tx.commit().map_err(|error| ApiError::internal(error.to_string()))?;
        if balanced {
            self.balancer.look();
        }
        for each in &after {
            match each {
                After::Discard(path) => {
                    // Left-overs are found and removed at the next start.
                    let _ = if path.is_dir() {
                        std::fs::remove_dir_all(path)
                    } else {
                        std::fs::remove_file(path)
                    };
                }
                After::Changed(key) => self.changed(key),
                After::Run(_) | After::Metadata(_) | After::Network => {}
            }
        }
        Ok((answer, after))
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

    /// Wakes up who waits for a change of the instance with this key.
    pub fn changed(&self, instance: &str) {
        if let Some(sender) = lock(&self.watchers).get(instance) {
            sender.send_modify(|version| *version += 1);
        }
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

    /// Where instances get their addresses from.
    pub fn network(&self) -> Network {
        self.machines
            .get()
            .map_or_else(|| Network::of_loopback(self.port), |machines| machines.network(self.port))
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

    /// Puts the records in place that every project has.
    pub async fn found(self: &Arc<Self>) -> Result<(), SandboxError> {
        let cloud = Arc::clone(self);
        let founded = self.transact(move |tx| {
            if tx.has("project") {
                return Ok(());
            }
            let now = clock::timestamp();
            cloud.consistency.made(PROJECT, Duration::ZERO);
            tx.put(PROJECT, json!({"projectId": cloud.project, "createTime": now, "port": cloud.port}));
            for name in [
                "storage.googleapis.com",
                "serviceusage.googleapis.com",
                "cloudresourcemanager.googleapis.com",
            ] {
                tx.put(format!("services/{name}"), json!({"state": "ENABLED"}));
            }
            let owner = crate::services::iam::account(&cloud, &cloud.owner, "Owner of the sandbox", "");
            tx.put(format!("serviceAccounts/{}", cloud.owner), owner);
            let binding =
                json!([{"role": "roles/owner", "members": [format!("serviceAccount:{}", cloud.owner)]}]);
            tx.put(
                "policy/project",
                json!({"version": 1, "etag": clock::fingerprint(), "bindings": binding}),
            );
            Ok(())
        });
        founded.await.map_err(|error| SandboxError::Store(error.message))
    }
}

impl World for Cloud {
    fn instance(&self, project: &str, zone: &str, name: &str) -> Option<Value> {
        (project == self.project)
            .then(|| self.read(&compute::key(&format!("zones/{zone}"), "instances", name)))?
    }

    fn set_guest_attribute(
        &self,
        project: &str,
        zone: &str,
        name: &str,
        namespace: &str,
        key: &str,
        value: Option<String>,
    ) {
        if self.instance(project, zone, name).is_none() {
            return;
        }
        let record = format!("guest/{zone}/{name}/{namespace}/{key}");
        let instance = compute::key(&format!("zones/{zone}"), "instances", name);
        // The machine is told nothing of a sandbox that is ending.
        let _ = self.transact_now(|tx| {
            match value {
                Some(value) => tx.put(record, json!(value)),
                None => tx.remove(record),
            }
            tx.after(After::Changed(instance));
            Ok(())
        });
    }

    fn guest_attributes_served(&self, _project: &str, zone: &str, name: &str) -> bool {
        let key = compute::key(&format!("zones/{zone}"), "instances", name);
        !self.profile().guest_attributes_pace || self.guest.take(&key)
    }

    fn guest_attributes(
        &self,
        _project: &str,
        zone: &str,
        name: &str,
    ) -> BTreeMap<String, BTreeMap<String, String>> {
        let root = format!("guest/{zone}/{name}/");
        let mut attributes: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (key, value) in self.scan(&root) {
            if let Some((namespace, key)) = key[root.len()..].split_once('/') {
                let value = value.as_str().unwrap_or_default().to_owned();
                attributes.entry(namespace.to_owned()).or_default().insert(key.to_owned(), value);
            }
        }
        attributes
    }

    fn forwarded_ips(&self, _project: &str, zone: &str, name: &str) -> Vec<String> {
        self.balancer.forwarded_ips(&compute::key(&format!("zones/{zone}"), "instances", name))
    }

    fn faults(&self) -> Option<&super::faults::Faults> {
        Some(&self.faults)
    }

    fn project_number(&self, _project: &str) -> u64 {
        self.number
    }

    fn firewalls(&self, _project: &str) -> Vec<Value> {
        self.scan("compute/global/firewalls/").into_iter().map(|(_, rule)| rule).collect()
    }

    fn firewall_policy(&self, _project: &str) -> Vec<Value> {
        let rules = self.read(compute::networks::POLICY_KEY).unwrap_or_default();
        rules.as_array().cloned().unwrap_or_default()
    }

    fn powered_off(&self, _project: &str, zone: &str, name: &str) {
        let key = compute::key(&format!("zones/{zone}"), "instances", name);
        let _ = self.transact_now(|tx| {
            tx.edit(&key, |instance| {
                if instance["status"] == "RUNNING" {
                    instance["status"] = json!("TERMINATED");
                    instance["lastStopTimestamp"] = json!(clock::timestamp());
                }
            });
            tx.after(After::Changed(key));
            Ok(())
        });
    }

    fn asked(&self, asked: Asked) {
        self.asked.add(asked);
    }

    fn token(&self, zone: &str, name: &str, service_account_email: &str, scopes: &[String]) -> (String, u64) {
        let account = self.read(&format!("serviceAccounts/{service_account_email}"));
        let unique_id = account.as_ref().and_then(|each| each["uniqueId"].as_str()).unwrap_or_default();
        let grant = Grant {
            email: service_account_email.to_owned(),
            scopes: scopes.to_vec(),
            person: false,
            machine: Some(compute::key(&format!("zones/{zone}"), "instances", name)),
        };
        (self.tokens.issue(&grant, unique_id, LIFETIME), LIFETIME)
    }

    fn identity(&self, service_account_email: &str, audience: &str) -> Option<String> {
        let account = self.read(&format!("serviceAccounts/{service_account_email}"))?;
        let now = clock::seconds();
        let claims = json!({
            "iss": "https://accounts.google.com", "aud": audience, "azp": account["uniqueId"],
            "sub": account["uniqueId"], "email": service_account_email, "email_verified": true,
            "iat": now, "exp": now + LIFETIME,
        });
        key::sign(&files::key_file(&self.dir), &claims)
    }

    fn subscribe(&self, _project: &str, zone: &str, name: &str) -> watch::Receiver<u64> {
        let key = compute::key(&format!("zones/{zone}"), "instances", name);
        lock(&self.watchers).entry(key).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }
}

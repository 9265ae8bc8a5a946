//! One wave of reads, as a plan makes it: each kind is read by one list, what several
//! need is asked for once, and one by one is asked for only what no list tells.
//!
//! What a list shows is there. What it does not show is asked for by its name before it is
//! said to be absent: a list lacks a place that does not answer, may be late (Secret Manager,
//! IAM), and one of what carries our mark lacks what is somebody else's under a name of ours.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use dorainfra_engine::{Observed, Owned};
use dorainfra_gcp::{Call, Client, Error};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::patience::Fresh;
use super::{Cloud, Kind};

type Once<T> = Arc<OnceCell<Result<T, Error>>>;

/// Where a resource is, in a manifest's and in an observed body.
const PLACES: [&str; 3] = ["zone", "region", "bucket"];

/// What was asked for by then, and what was answered.
#[derive(Default)]
pub struct Wave {
    /// By kind.
    lists: Mutex<HashMap<&'static str, Once<Arc<Owned>>>>,
    answers: Mutex<HashMap<String, Once<Arc<Value>>>>,
}

fn cell<K: Eq + Hash, T>(of: &Mutex<HashMap<K, Once<T>>>, key: K) -> Once<T> {
    Arc::clone(of.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default())
}

impl Wave {
    /// Everything of a kind that carries the deployment's mark.
    pub(super) async fn owned(&self, kind: &dyn Kind, cloud: &Cloud) -> Result<Arc<Owned>, Error> {
        let once = cell(&self.lists, kind.spec().kind);
        let list = || async { kind.list(cloud, &cloud.deployment).await.map(Arc::new) };
        once.get_or_init(list).await.clone()
    }

    /// What the list of its kind tells of a resource, by its name and by where the body of its
    /// manifest has it; `None`: nothing, and it has to be asked for by its name.
    pub(super) async fn shown(
        &self,
        kind: &dyn Kind,
        cloud: &Cloud,
        name: &str,
        body: &Value,
    ) -> Option<Option<Observed>> {
        // Why there is no list says less than a refusal of the resource itself.
        let owned = self.owned(kind, cloud).await.ok()?;
        let is_it = |seen: &&Observed| {
            let here = |field: &str| body[field].is_null() || body[field] == seen.body[field];
            seen.id.name == name && PLACES.iter().all(|field| here(field))
        };
        match owned.found.iter().find(is_it) {
            Some(found) => Some(Some(found.clone())),
            // A service that is off has nothing, by whatever name.
            None if !owned.off.is_empty() => Some(None),
            None => None,
        }
    }

    /// All pages of a list.
    pub(super) async fn list(&self, client: &Client, call: Call, items: &str) -> Result<Vec<Value>, Error> {
        let once = cell(&self.answers, call.key());
        let all = || async { client.list(call, items).await.map(|all| Arc::new(Value::Array(all))) };
        let answer = once.get_or_init(all).await.clone()?;
        Ok(answer.as_array().cloned().unwrap_or_default())
    }

    async fn call(&self, client: &Client, call: &Call) -> Result<Value, Error> {
        let once = cell(&self.answers, call.key());
        let answer = once.get_or_init(|| async { client.call(call).await.map(Arc::new) }).await.clone()?;
        Ok(Value::clone(&answer))
    }
}

impl Cloud {
    pub(super) fn reading(&self, wave: Arc<Wave>) -> Self {
        let Self { client, machines, deployment, contents, flush, interrupt, unread, at_once, .. } = self;
        Self {
            client: client.clone(),
            machines: machines.clone(),
            deployment: deployment.clone(),
            contents: contents.clone(),
            flush: *flush,
            interrupt: interrupt.clone(),
            fresh: Fresh::default(),
            unread: unread.clone(),
            at_once: *at_once,
            wave: Some(wave),
        }
    }

    /// A read: in a wave what was asked for already is not asked for again.
    pub(super) async fn ask(&self, call: &Call) -> Result<Value, Error> {
        match &self.wave {
            Some(wave) => wave.call(&self.client, call).await,
            None => self.client.call(call).await,
        }
    }

    /// The same, of a list.
    pub(super) async fn ask_list(&self, call: Call, items: &str) -> Result<Vec<Value>, Error> {
        match &self.wave {
            Some(wave) => wave.list(&self.client, call, items).await,
            None => self.client.list(call, items).await,
        }
    }
}

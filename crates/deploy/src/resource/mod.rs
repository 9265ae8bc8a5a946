//! One file per kind of Google resource: how to read, create, change and delete
//! it, what cannot change, how Google spells a value back, what to wait for, which
//! permissions it takes, and what it uses.
//! What a resource should be stands in its manifest (`templates/resources`). What
//! lives in Mimir itself is in `mimir`.

mod answer;
mod binding;
mod bucket;
mod bundle;
mod certificate;
mod compute;
mod deployments;
mod disk;
mod explained;
mod exposure;
mod group_member;
mod instance;
mod links;
mod mark;
mod mimir;
mod object;
mod patience;
mod permissions;
mod preflight;
mod remains;
mod rolling;
mod secret;
mod service_account;
mod services;
mod wave;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use dorainfra_engine::{
    Change, Finding, KindSpec, Manifest, Mark, Observed, Owned, Provider, ProviderError, ResourceId,
};
use dorainfra_gcp::{self as gcp, Client};
use dorainfra_model::Events;
use futures::future::try_join_all;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::compute::Marked;
use self::patience::{Fresh, patiently};
use crate::blueprint::Content;
use crate::machine::{Machine, Reader};

pub(crate) use answer::{absent, found, id, listed, short, text};
pub use bundle::{VersionChange, show_files};
pub use certificate::{OVERLAPPING, ROTATED, SUCCEEDED, read_credentials};
pub use deployments::{Deployment, Deployments, deployments};
pub use explained::{KindFacts, kind_facts, kind_names};
pub use instance::stops;
pub use mimir::{Mimir, Reach, ReachError, lives_in_mimir};
pub use permissions::{Command, Permissions, permissions};
pub use preflight::{Preflight, Room};
pub use remains::{Remains, delete_snapshots, snapshots};
pub use secret::{Held, held, held_in, mark_revoked};
pub use wave::Wave;

/// What a kind works with.
pub(crate) struct Cloud {
    pub client: Client,
    /// What the machines tell of themselves.
    pub machines: Reader,
    /// Whose marks are ours.
    pub deployment: String,
    pub contents: Arc<BTreeMap<String, Content>>,
    /// Whether a machine that goes has to write first what is on its data disk only.
    pub flush: bool,
    /// Ends the wait for that; the machine stays then.
    pub interrupt: CancellationToken,
    /// What this run has made that others see late.
    pub fresh: Fresh,
    /// What was planned while nothing could be asked about what it needs.
    /// What may be on its way is not waited for.
    pub at_once: bool,
    pub unread: Arc<Mutex<Vec<Manifest>>>,
    /// What is read belongs to this wave; `None`: each read is asked anew.
    pub wave: Option<Arc<Wave>>,
}

/// How long a change may be unseen by a read that follows.
const SEEN_WITHIN: Duration = Duration::from_secs(3 * 60);

/// How a kind is written down for other tools. What they are told of one is in the templates of its
/// name in `templates/export`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exported {
    /// What Terraform calls one; `None`: it can't take one over.
    pub terraform: Option<&'static str>,
    /// Where one carries the mark.
    pub marked: Option<Marked>,
}

/// A kind of resource. The same contract as [`Provider`], for one kind.
#[async_trait]
pub(crate) trait Kind: Send + Sync {
    fn spec(&self) -> &KindSpec;

    fn exported(&self) -> Exported;

    async fn read(&self, cloud: &Cloud, manifest: &Manifest) -> Result<Option<Observed>, gcp::Error>;

    /// Whether a read right after a change has seen it. What replicas may not know of yet,
    /// or only in part, is read again.
    fn is_seen(&self, _read: Option<&Observed>) -> bool {
        true
    }

    /// Everything of this kind that carries the deployment's mark.
    async fn list(&self, _cloud: &Cloud, _deployment: &str) -> Result<Owned, gcp::Error> {
        Ok(Owned::default())
    }

    async fn create(
        &self,
        cloud: &Cloud,
        manifest: &Manifest,
        mark: &Mark,
        events: &Events,
    ) -> Result<(), gcp::Error>;

    async fn update(
        &self,
        cloud: &Cloud,
        manifest: &Manifest,
        observed: &Observed,
        changes: &[Change],
        mark: &Mark,
        events: &Events,
    ) -> Result<(), gcp::Error>;

    async fn delete(&self, cloud: &Cloud, observed: &Observed, events: &Events) -> Result<(), gcp::Error>;

    async fn serves(&self, _cloud: &Cloud, _observed: &Observed) -> Result<(), ProviderError> {
        Ok(())
    }

    /// What of the project's permissions each resource of this kind takes, and the search for
    /// those of an earlier configuration (`list`).
    fn permissions(&self) -> &'static [Permissions] {
        &[]
    }

    /// What this one takes on top.
    fn permissions_of(&self, _: &Manifest) -> Vec<String> {
        Vec::new()
    }

    /// As [`Provider::impossible`].
    fn impossible(&self, _: &Manifest, _: &Observed, _: &[Change]) -> Option<Finding> {
        None
    }

    async fn settle(
        &self,
        _cloud: &Cloud,
        _manifest: &Manifest,
        _events: &Events,
    ) -> Result<(), ProviderError> {
        Ok(())
    }
}

/// All kinds that are Google's.
fn kinds() -> Vec<Box<dyn Kind>> {
    let mut kinds: Vec<Box<dyn Kind>> = vec![
        Box::new(services::Services),
        Box::new(service_account::ServiceAccount),
        Box::new(bucket::Bucket),
        Box::new(binding::Binding::bucket()),
        Box::new(secret::Secret),
        Box::new(certificate::SecretVersion),
        Box::new(binding::Binding::secret()),
        Box::new(disk::Disk),
        Box::new(object::Object),
        Box::new(instance::Instance),
        Box::new(group_member::GroupMember),
    ];
    for row in compute::TABLE {
        kinds.push(Box::new(compute::Compute(row)));
    }
    kinds
}

/// How a kind that is Google's is written down for other tools.
pub(crate) fn exported(kind: &str) -> Option<Exported> {
    kinds().iter().find(|candidate| candidate.spec().kind == kind).map(|found| found.exported())
}

/// A body as it is at Google, with the mark where its kind carries it.
pub(crate) fn marked(body: &Value, place: Option<Marked>, mark: &Mark) -> Value {
    let mut body = body.clone();
    match place {
        Some(Marked::Labels) => body["labels"] = mark::labelled(&body["labels"], mark),
        Some(Marked::Description) => body["description"] = mark::described(&body["description"], mark),
        None => {}
    }
    body
}

/// Google Cloud as the engine's provider.
pub struct Google {
    cloud: Cloud,
    kinds: Vec<Box<dyn Kind>>,
    /// `None`: nobody looks into it.
    mimir: Option<Arc<Mimir>>,
    /// What the last plan's preflight found.
    found: Arc<Mutex<Preflight>>,
}

impl Google {
    /// `contents`: the bytes behind `storage.object` manifests, by SHA-256.
    pub fn new(
        client: Client,
        machines: Reader,
        deployment: &str,
        contents: Arc<BTreeMap<String, Content>>,
    ) -> Self {
        Self {
            cloud: Cloud {
                client,
                machines,
                deployment: deployment.to_owned(),
                contents,
                flush: true,
                interrupt: CancellationToken::new(),
                fresh: Fresh::default(),
                at_once: false,
                unread: Arc::default(),
                wave: None,
            },
            kinds: kinds(),
            mimir: None,
            found: Arc::default(),
        }
    }

    /// Who reaches the machine's ports besides those whom these manifests let in, and what
    /// keeps those out.
    pub async fn exposure(&self, manifests: &[Manifest]) -> Vec<Finding> {
        exposure::findings(&self.cloud, manifests).await
    }

    /// The same for whoever only asks how things are: what may be on its way is not waited for.
    #[must_use]
    pub fn at_once(mut self) -> Self {
        self.cloud.at_once = true;
        self
    }

    /// What the preflight of the last plan found, by what it is about.
    pub fn found_before(&self) -> Preflight {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is wrong with the project's billing.
    pub async fn billing(&self) -> Option<Finding> {
        preflight::billing(&self.cloud).await
    }

    /// What is wrong with the networks that the machines are in, or will be.
    pub async fn network(&self, manifests: &[Manifest]) -> Vec<Finding> {
        preflight::network(&self.cloud, manifests.iter()).await
    }

    /// What new resources need of the quotas, and what is left.
    pub async fn room(&self, creating: &[&Manifest]) -> Result<Vec<Room>, gcp::Error> {
        preflight::room(&self.cloud, creating).await
    }

    /// The same as a plan reads it: all of its reads are of one wave.
    #[must_use]
    pub fn reading(&self, wave: Arc<Wave>) -> Self {
        let cloud = || self.cloud.reading(wave.clone());
        if let Some(mimir) = &self.mimir {
            mimir.beside(cloud());
        }
        Self { cloud: cloud(), kinds: kinds(), mimir: self.mimir.clone(), found: self.found.clone() }
    }

    /// Without what lives in the deployment's Mimir.
    #[must_use]
    pub fn without_mimir(mut self) -> Self {
        self.mimir = None;
        self
    }

    /// With what lives in the deployment's Mimir, beside what is Google's.
    #[must_use]
    pub fn with_mimir(mut self, mimir: Arc<Mimir>) -> Self {
        self.mimir = Some(mimir);
        self
    }

    /// Why the load balancer sends nobody to a machine that is ready; `None`: it does, or there is
    /// none.
    pub async fn unbalanced(&self, machine: &Machine) -> Result<Option<String>, ProviderError> {
        Ok(rolling::unbalanced(&self.cloud, machine).await?)
    }

    /// By whom all of a run read what the machines tell: how often is limited.
    pub fn machines(&self) -> &Reader {
        &self.cloud.machines
    }

    fn mimir(&self, kind: &str) -> Option<&Mimir> {
        self.mimir.as_deref().filter(|_| lives_in_mimir(kind))
    }

    fn vanished(id: &ResourceId) -> ProviderError {
        ProviderError {
            message: format!("{id} was written, but is not there"),
            hint: Some("somebody may have deleted it meanwhile: run the command again".into()),
            unknown_outcome: true,
            source: None,
        }
    }

    /// Machines go at once: the data is deleted anyway, or stays on its disk.
    #[must_use]
    pub fn without_flush(mut self) -> Self {
        self.cloud.flush = false;
        self
    }

    /// A machine is no longer waited for once this is cancelled.
    #[must_use]
    pub fn interrupted_by(mut self, interrupt: CancellationToken) -> Self {
        self.cloud.interrupt = interrupt;
        self
    }

    fn kind(&self, kind: &str) -> Result<&dyn Kind, ProviderError> {
        self.kinds.iter().find(|candidate| candidate.spec().kind == kind).map(|found| &**found).ok_or_else(
            || {
                let mut known: Vec<&str> = self.kinds.iter().map(|kind| kind.spec().kind).collect();
                known.sort_unstable();
                ProviderError::new(
                    format!("`{kind}` is not a kind of resource"),
                    format!("the kinds are {}", known.join(", ")),
                )
            },
        )
    }

    /// The resource as it is now, after a write.
    async fn after(&self, kind: &dyn Kind, manifest: &Manifest) -> Result<Observed, ProviderError> {
        let began = Instant::now();
        loop {
            let read = kind.read(&self.cloud, manifest).await?;
            if kind.is_seen(read.as_ref()) || began.elapsed() >= SEEN_WITHIN {
                return read.ok_or_else(|| Self::vanished(&manifest.id()));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

#[async_trait]
impl Provider for Google {
    fn spec(&self, kind: &str) -> Option<&KindSpec> {
        let own = self.kinds.iter().map(|candidate| candidate.spec()).find(|spec| spec.kind == kind);
        own.or_else(|| mimir::spec(kind))
    }

    async fn read(&self, manifest: &Manifest) -> Result<Option<Observed>, ProviderError> {
        if lives_in_mimir(&manifest.kind) {
            return match &self.mimir {
                Some(mimir) => mimir.read(manifest).await,
                None => Ok(None),
            };
        }
        let kind = self.kind(&manifest.kind)?;
        if let Some(wave) = &self.cloud.wave
            && let Some(shown) = wave.shown(kind, &self.cloud, &manifest.name, &manifest.body).await
        {
            return Ok(shown);
        }
        Ok(kind.read(&self.cloud, manifest).await?)
    }

    async fn list_owned(&self, deployment: &str) -> Result<Owned, ProviderError> {
        let lists = self.kinds.iter().map(async |kind| match &self.cloud.wave {
            Some(wave) => wave.owned(&**kind, &self.cloud).await.map(Arc::unwrap_or_clone),
            None => kind.list(&self.cloud, deployment).await,
        });
        let inside = async {
            match &self.mimir {
                Some(mimir) => mimir.list_owned(deployment).await,
                None => Ok(Owned::default()),
            }
        };
        let google = async { Ok(try_join_all(lists).await?) };
        let (google, mut owned) = futures::try_join!(google, inside)?;
        owned.extend(google);
        Ok(owned)
    }

    fn impossible(&self, manifest: &Manifest, observed: &Observed, changes: &[Change]) -> Option<Finding> {
        self.kind(&manifest.kind).ok()?.impossible(manifest, observed, changes)
    }

    async fn preflight(&self, creating: &[&Manifest], changing: &[(&Manifest, &[Change])]) -> Vec<Finding> {
        let (mut findings, of_changes) = futures::join!(
            async {
                match creating {
                    [] => Vec::new(),
                    creating => {
                        let found = preflight::findings(&self.cloud, creating).await;
                        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found.clone();
                        found.all()
                    }
                }
            },
            preflight::of_changes(&self.cloud, changing)
        );
        findings.extend(of_changes);
        findings
    }

    async fn create(
        &self,
        manifest: &Manifest,
        mark: &Mark,
        events: &Events,
    ) -> Result<Observed, ProviderError> {
        if let Some(mimir) = self.mimir(&manifest.kind) {
            return mimir.create(manifest, mark, events).await;
        }
        let kind = self.kind(&manifest.kind)?;
        patiently(&self.cloud, &manifest.id(), events, || kind.create(&self.cloud, manifest, mark, events))
            .await?;
        self.after(kind, manifest).await
    }

    async fn update(
        &self,
        manifest: &Manifest,
        observed: &Observed,
        changes: &[Change],
        mark: &Mark,
        events: &Events,
    ) -> Result<Observed, ProviderError> {
        if let Some(mimir) = self.mimir(&manifest.kind) {
            return mimir.update(manifest, observed, changes, mark, events).await;
        }
        let kind = self.kind(&manifest.kind)?;
        patiently(&self.cloud, &manifest.id(), events, || {
            kind.update(&self.cloud, manifest, observed, changes, mark, events)
        })
        .await?;
        self.after(kind, manifest).await
    }

    async fn serves(&self, observed: &Observed) -> Result<(), ProviderError> {
        self.kind(&observed.id.kind)?.serves(&self.cloud, observed).await
    }

    async fn settle(&self, manifest: &Manifest, events: &Events) -> Result<(), ProviderError> {
        self.kind(&manifest.kind)?.settle(&self.cloud, manifest, events).await
    }

    async fn delete(&self, observed: &Observed, events: &Events) -> Result<(), ProviderError> {
        if let Some(mimir) = self.mimir(&observed.id.kind) {
            return mimir.delete(observed, events).await;
        }
        let kind = self.kind(&observed.id.kind)?;
        Ok(patiently(&self.cloud, &observed.id, events, || kind.delete(&self.cloud, observed, events))
            .await?)
    }
}

#[cfg(test)]
mod tests;

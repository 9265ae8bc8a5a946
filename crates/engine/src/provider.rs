//! What the engine asks of a cloud. `resource::Google` is the real one; tests
//! use one in memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use dorainfra_model::Events;

use super::{Change, Manifest, Observed, ResourceId};

/// The facts about a kind that comparing needs. Paths are dotted
/// (`scheduling.preemptible`); a path names its whole subtree.
#[derive(Clone, Copy, Debug)]
pub struct KindSpec {
    pub kind: &'static str,
    /// Fields that cannot be changed in place: a difference means replacement.
    pub immutable: &'static [&'static str],
    /// Lists in which order means nothing.
    pub sets: &'static [&'static str],
    /// Lists of objects that are compared by a key: `("metadata.items", "key")`. Of
    /// several keys of one list the first that all its items have.
    pub keyed: &'static [(&'static str, &'static str)],
    /// Declared fields that the cloud never gives back: not compared.
    pub write_only: &'static [&'static str],
    /// `false` where the thing cannot carry our mark (an IAM binding, an enabled
    /// service): it is ours by its place, and its removal is the kind's affair.
    pub markable: bool,
    /// `destroy` leaves it as it is (an enabled service is the project's).
    pub keep_on_destroy: bool,
    /// Maps that are declared whole: a key that the cloud has on top is a
    /// difference.
    pub whole: &'static [&'static str],
    /// Fields to which any change of the resource gives a new value: until it is
    /// made, what refers to them is not known.
    pub renewed: &'static [&'static str],
    /// The kind of the resource that one of this kind cannot outlive (an object its bucket, a
    /// machine the disk that is attached to it): it is made again when that is replaced.
    /// Unmarkable kinds go with whatever they depend on anyway.
    pub lives_in: Option<&'static str>,
    /// Kinds whose resources go after those of this kind that use them. What manifests refer to
    /// is known anyway; this is for those that no manifest names any more.
    pub uses: &'static [&'static str],
}

impl KindSpec {
    /// A kind whose fields can all be changed in place, and that carries a mark.
    pub const fn plain(kind: &'static str) -> Self {
        Self {
            kind,
            immutable: &[],
            sets: &[],
            keyed: &[],
            write_only: &[],
            markable: true,
            keep_on_destroy: false,
            whole: &[],
            renewed: &[],
            lives_in: None,
            uses: &[],
        }
    }
}

/// The digest in the mark of what a run has begun to take down or to change, and has not finished:
/// what differs is that run's doing, and nobody else's.
pub const UNFINISHED: &str = "unfinished";

/// The ownership mark that a provider writes on what it creates and changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub deployment: String,
    /// Digest of the manifest as applied (32 lower-case hex digits): tells
    /// "you changed the configuration" from "somebody changed the cloud".
    pub digest: String,
}

/// Why a provider could not do something, in words for people.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// What failed and why, one sentence.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// The outcome of a write is unknown (the answer was lost): the engine reads
    /// back before it decides.
    pub unknown_outcome: bool,
    pub source: Option<Cause>,
}

/// What caused an error that is cloned.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

impl ProviderError {
    /// Nothing was done.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()), unknown_outcome: false, source: None }
    }

    /// With what caused it.
    pub fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }
}

/// What stands in the way of a plan, or is to be known before it: found by the
/// provider, who knows what its cloud takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub subject: ResourceId,
    /// One sentence.
    pub problem: String,
    /// The way that works.
    pub instead: String,
    /// The plan can't be carried out.
    pub refuses: bool,
}

/// What a cloud lists of a deployment.
#[derive(Clone, Debug, Default)]
pub struct Owned {
    pub found: Vec<Observed>,
    /// Places that could not be asked, for people: what is there is not known.
    pub unseen: BTreeSet<String>,
    /// Services that are off, for people: what they keep is in no list. Of a new project
    /// nothing follows from that; of one that is to be empty, that it may not be.
    pub off: BTreeSet<String>,
}

impl From<Vec<Observed>> for Owned {
    fn from(found: Vec<Observed>) -> Self {
        Self { found, ..Self::default() }
    }
}

impl Extend<Self> for Owned {
    fn extend<T: IntoIterator<Item = Self>>(&mut self, lists: T) {
        for list in lists {
            self.found.extend(list.found);
            self.unseen.extend(list.unseen);
            self.off.extend(list.off);
        }
    }
}

/// A cloud, seen through its resources. Every method may be called
/// concurrently. `body` has all references resolved, except in `read`.
#[async_trait]
pub trait Provider: Send + Sync {
    /// The facts about a kind; `None`: no such kind.
    fn spec(&self, kind: &str) -> Option<&KindSpec>;

    /// Reads one resource by its name; `Ok(None)` where there is none. The
    /// manifest's `body` may still hold references: a read uses literal fields only.
    async fn read(&self, manifest: &Manifest) -> Result<Option<Observed>, ProviderError>;

    /// Everything that carries `deployment`'s mark, of all markable kinds.
    async fn list_owned(&self, deployment: &str) -> Result<Owned, ProviderError>;

    /// Creates it and waits until it is usable. Answers the resource as it is.
    async fn create(
        &self,
        manifest: &Manifest,
        mark: &Mark,
        events: &Events,
    ) -> Result<Observed, ProviderError>;

    /// Brings `observed` to `manifest`, in place; `changes` are what differs.
    /// With no changes it only writes the mark (adoption, a new digest).
    async fn update(
        &self,
        manifest: &Manifest,
        observed: &Observed,
        changes: &[Change],
        mark: &Mark,
        events: &Events,
    ) -> Result<Observed, ProviderError>;

    /// Whether a member of a rolling group serves as it is; the error says why
    /// not. Asked of all others before one of them is taken down.
    async fn serves(&self, _observed: &Observed) -> Result<(), ProviderError> {
        Ok(())
    }

    /// Waits until a member of a rolling group serves as its manifest says.
    async fn settle(&self, _manifest: &Manifest, _events: &Events) -> Result<(), ProviderError> {
        Ok(())
    }

    /// Why these changes of a resource cannot be made in place, and what can be done
    /// instead; `None`: they can.
    fn impossible(&self, _manifest: &Manifest, _observed: &Observed, _changes: &[Change]) -> Option<Finding> {
        None
    }

    /// What would stop these resources from being made, and those from being changed in
    /// place. Asked once for all of them, before anything is changed.
    async fn preflight(&self, _creating: &[&Manifest], _changing: &[(&Manifest, &[Change])]) -> Vec<Finding> {
        Vec::new()
    }

    /// Deletes it and waits until it is gone. Already gone is success.
    async fn delete(&self, observed: &Observed, events: &Events) -> Result<(), ProviderError>;
}

//! Reading the world for a plan: every manifest's resource by its name and, at
//! the same time, whatever else carries this deployment's mark. One wave: the
//! time it takes is that of its slowest read.

use std::collections::{BTreeMap, BTreeSet};

use dorainfra_model::{Event, Events};
use futures::stream::{self, StreamExt};

use super::{EngineError, Manifest, Observed, Provider, ResourceId};

/// What was found.
#[derive(Debug)]
pub(super) struct ObservedState {
    /// The manifests' resources that exist under their name and place.
    pub read: BTreeMap<ResourceId, Observed>,
    /// Marked resources beside those: either of a manifest's name, but
    /// elsewhere (another zone), or of no manifest at all.
    pub owned: BTreeMap<ResourceId, Observed>,
    /// Names under which the listing found more than one resource.
    pub doubles: Vec<ResourceId>,
    /// Places that could not be asked what is there.
    pub unseen: BTreeSet<String>,
    /// Services that are off, and answer nothing.
    pub off: BTreeSet<String>,
}

impl ObservedState {
    /// The resource of that name, at its place or elsewhere.
    pub fn find(&self, id: &ResourceId) -> Option<&Observed> {
        self.read.get(id).or_else(|| self.owned.get(id))
    }
}

pub(super) async fn read(
    deployment: &str,
    manifests: &[&Manifest],
    provider: &dyn Provider,
    parallelism: usize,
    events: &Events,
) -> Result<ObservedState, EngineError> {
    let total = manifests.len() as u64;
    let mut reads = stream::iter(manifests.iter().enumerate())
        .map(|(index, manifest)| async move { (index, manifest.id(), provider.read(manifest).await) })
        .buffer_unordered(parallelism.max(1));
    let reading = async {
        let mut read = BTreeMap::new();
        let mut done = 0;
        let mut pending: BTreeSet<usize> = (0..manifests.len()).collect();
        let mut failed: Option<(usize, EngineError)> = None;
        while let Some((index, id, answer)) = reads.next().await {
            pending.remove(&index);
            match answer {
                Ok(observed) => {
                    done += 1;
                    events.send(Event::Progress { what: "reading".into(), done, total, unit: "resources" });
                    read.extend(observed.map(|observed| (id, observed)));
                }
                Err(error) if failed.as_ref().is_none_or(|(first, _)| index < *first) => {
                    failed = Some((index, EngineError::Provider { id, error }));
                }
                Err(_) => {}
            }
            // Of several failures the manifest's first one is told, whichever
            // answer came first: the bucket's says more than its policy's.
            if let Some((first, error)) = failed.take() {
                if pending.range(..first).next().is_none() {
                    return Err(error);
                }
                failed = Some((first, error));
            }
        }
        Ok(read)
    };
    // What a resource is refused with says more than why it is in no list.
    let listing = async { Ok(provider.list_owned(deployment).await) };
    let (read, listed) = futures::try_join!(reading, listing)?;
    let listed = listed.map_err(|error| EngineError::Listing { error })?;

    let mut owned = BTreeMap::new();
    let mut doubles = Vec::new();
    for observed in listed.found {
        if read.contains_key(&observed.id) {
            continue;
        }
        if let Some(other) = owned.insert(observed.id.clone(), observed) {
            doubles.push(other.id);
        }
    }
    Ok(ObservedState { read, owned, doubles, unseen: listed.unseen, off: listed.off })
}

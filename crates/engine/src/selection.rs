//! Which manifests take part in a plan: all of them, or the targets with what
//! has to go along.

use super::graph::{Graph, reachable};
use super::observed_state::ObservedState;
use super::{EngineError, Manifest, PlanOptions, ResourceId};

/// Which manifests take part.
pub(super) struct Selection {
    /// By position: gets a step.
    pub included: Vec<bool>,
    /// By position: is read. The arbiter is read in any case, as it tells
    /// whether there is a place for the lease.
    pub read: Vec<bool>,
    /// The arbiter's position, and what it needs, if targets leave it out.
    arbiter: Option<(ResourceId, Vec<bool>)>,
    /// What was asked for by name; empty: everything.
    targets: Vec<ResourceId>,
}

impl Selection {
    pub fn for_apply(manifests: &[Manifest], graph: &Graph, options: &PlanOptions) -> Self {
        if options.targets.is_empty() {
            let all = vec![true; manifests.len()];
            return Self { included: all.clone(), read: all, arbiter: None, targets: Vec::new() };
        }
        let positions = options.targets.iter().filter_map(|id| graph.position(id));
        let included = reachable(&graph.needs, positions);
        let mut read = included.clone();
        let arbiter = manifests.iter().position(|manifest| manifest.arbiter).map(|position| {
            let closure = reachable(&graph.needs, [position]);
            for (read, needed) in read.iter_mut().zip(&closure) {
                *read |= needed;
            }
            (graph.ids[position].clone(), closure)
        });
        Self { included, read, arbiter, targets: options.targets.clone() }
    }

    pub fn for_destroy(manifests: &[Manifest], graph: &Graph, options: &PlanOptions) -> Self {
        let included = if options.targets.is_empty() {
            vec![true; graph.ids.len()]
        } else {
            let targets: Vec<usize> = options.targets.iter().filter_map(|id| graph.position(id)).collect();
            // What needs a resource that is kept can stay.
            let kept = |&position: &usize| manifests[position].protect && !options.delete_data;
            let (kept, deletions): (Vec<usize>, Vec<usize>) = targets.into_iter().partition(kept);
            let mut included = reachable(&graph.dependents, deletions);
            kept.into_iter().for_each(|position| included[position] = true);
            included
        };
        Self {
            // All are read: the arbiter tells whether there is a lease to take,
            // and a kept resource may use a targeted one.
            read: vec![true; included.len()],
            included,
            arbiter: None,
            targets: options.targets.clone(),
        }
    }

    /// Without an arbiter no change can be made: then it is part of every plan.
    pub fn settle(&mut self, state: &ObservedState) {
        if let Some((id, closure)) = &self.arbiter
            && !state.read.contains_key(id)
        {
            for (included, needed) in self.included.iter_mut().zip(closure) {
                *included |= needed;
            }
        }
    }

    pub fn wants_orphan(&self, id: &ResourceId) -> bool {
        self.targets.is_empty() || self.targets.contains(id)
    }

    /// Everything that was asked for by name has to be in the plan.
    pub fn check(
        &self,
        graph: &Graph,
        state: &ObservedState,
        options: &PlanOptions,
    ) -> Result<(), EngineError> {
        let known = |id: &ResourceId| graph.contains(id) || state.owned.contains_key(id);
        let planned = |id: &ResourceId| match graph.position(id) {
            Some(position) => self.included[position],
            None => state.owned.contains_key(id) && self.wants_orphan(id),
        };
        let missing = self
            .targets
            .iter()
            .find(|id| !known(id))
            .or_else(|| options.replace.iter().find(|id| !planned(id)));
        match missing {
            None => Ok(()),
            Some(id) => Err(EngineError::UnknownTarget { id: id.clone(), known: graph.ids.clone() }),
        }
    }
}

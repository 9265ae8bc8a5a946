//! Resources of this deployment that no manifest names any more: which of them
//! go, and when.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::{Graph, reachable, topological};
use super::observed_state::ObservedState;
use super::planning::seen;
use super::removal::{Deletion, KindOrder, Mentions, deletion_needs, known_uses};
use super::selection::Selection;
use super::{Action, Manifest, Observed, Provider, ResourceId, Step};

pub(super) const HOLDS_DATA: &str = "it holds data; --delete-data deletes it";

pub(super) fn orphans<'a>(
    state: &'a ObservedState,
    graph: &Graph,
    selection: &Selection,
) -> impl Iterator<Item = &'a Observed> {
    let wanted: Vec<&Observed> = state
        .owned
        .values()
        .filter(|observed| !graph.contains(&observed.id))
        .filter(|observed| selection.wants_orphan(&observed.id))
        .collect();
    wanted.into_iter()
}

pub(super) fn protected_kinds(manifests: &[Manifest]) -> BTreeSet<&str> {
    manifests.iter().filter(|manifest| manifest.protect).map(|manifest| manifest.kind.as_str()).collect()
}

/// One `Delete` step for each of `deletions`, those that go first first.
pub(super) fn removals(
    deletions: &[Deletion<'_>],
    needs: &[Vec<usize>],
    reason: &str,
    notes: &dyn Fn(&Deletion<'_>) -> BTreeMap<String, String>,
) -> Vec<Step> {
    let mut dependents = vec![Vec::new(); deletions.len()];
    for (node, firsts) in needs.iter().enumerate() {
        for &first in firsts {
            dependents[first].push(node);
        }
    }
    topological(needs, &dependents)
        .into_iter()
        .map(|index| Step {
            id: deletions[index].observed.id.clone(),
            action: Action::Delete,
            reason: reason.into(),
            changes: Vec::new(),
            needs: needs[index].iter().map(|&first| deletions[first].observed.id.clone()).collect(),
            notes: notes(&deletions[index]),
        })
        .collect()
}

/// The orphans of a plan that is no `destroy`.
pub(super) struct Orphans<'a> {
    state: &'a ObservedState,
    kept: Vec<&'a Observed>,
    deletions: Vec<Deletion<'a>>,
}

impl<'a> Orphans<'a> {
    /// An orphan has no manifest to say that it holds data: so it is kept if a
    /// manifest of its kind is protected.
    pub fn of(
        state: &'a ObservedState,
        manifests: &[Manifest],
        graph: &Graph,
        selection: &Selection,
        delete_data: bool,
    ) -> Self {
        let kept_kinds = protected_kinds(manifests);
        let (kept, deletions): (Vec<&Observed>, Vec<&Observed>) = orphans(state, graph, selection)
            .partition(|observed| kept_kinds.contains(observed.id.kind.as_str()) && !delete_data);
        let deletions = deletions.into_iter().map(|observed| Deletion { observed, position: None }).collect();
        Self { state, kept, deletions }
    }

    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.kept.iter().map(|observed| {
            format!(
                "{} is not in the configuration any more, but may hold data and is kept; \
                 --delete-data deletes it",
                observed.id
            )
        })
    }

    pub fn digests(&self) -> impl Iterator<Item = (ResourceId, String)> {
        let deletions = self.deletions.iter().map(|one| (one.observed, Action::Delete));
        let all = self.kept.iter().map(|observed| (*observed, Action::Keep)).chain(deletions);
        all.map(|(observed, action)| (observed.id.clone(), seen(Some(observed), action, &[])))
    }

    /// Adds the steps to those of the manifests. Orphans are removed last, after
    /// `ends`, as whatever is changed may still use them; but those that use
    /// something which is to be replaced have to go before that can go.
    pub fn add_steps(
        &self,
        steps: &mut Vec<Step>,
        ends: &[ResourceId],
        graph: &Graph,
        provider: &dyn Provider,
    ) {
        let kinds = KindOrder::new(graph, &known_uses(provider, graph, &self.deletions));
        let needs = deletion_needs(&self.deletions, graph, &kinds);
        let early = self.users_of_replaced(steps, &needs, &kinds);
        let reason = "not in the configuration any more";
        let removals = removals(&self.deletions, &needs, reason, &|_| BTreeMap::new());
        let mut first = Vec::new();
        let mut last = Vec::new();
        for mut step in removals {
            if let Some(users) = early.get(&step.id) {
                step.needs.clone_from(users);
                first.push(step);
            } else {
                // The others of them wait for what waits for the changes.
                if step.needs.iter().all(|id| early.contains_key(id)) {
                    step.needs.splice(0..0, ends.iter().cloned());
                }
                last.push(step);
            }
        }
        steps.splice(0..0, first);
        steps.extend(self.kept.iter().map(|observed| Step {
            id: observed.id.clone(),
            action: Action::Keep,
            reason: HOLDS_DATA.into(),
            changes: Vec::new(),
            needs: Vec::new(),
            notes: BTreeMap::new(),
        }));
        steps.extend(last);
    }

    /// The orphans that use what is replaced, and those that use them, each
    /// with its users. The steps that replace something are made to need them.
    /// Only what a body names counts here, not an order of the kinds.
    fn users_of_replaced(
        &self,
        steps: &mut [Step],
        needs: &[Vec<usize>],
        kinds: &KindOrder,
    ) -> BTreeMap<ResourceId, Vec<ResourceId>> {
        let id = |index: usize| self.deletions[index].observed.id.clone();
        let count = self.deletions.len();
        let (replaced, observed): (Vec<&mut Step>, Vec<&Observed>) = steps
            .iter_mut()
            .filter(|step| step.action == Action::Replace)
            .filter_map(|step| {
                let observed = self.state.find(&step.id)?;
                Some((step, observed))
            })
            .unzip();
        let mentions = Mentions::new(self.deletions.iter().map(|one| one.observed).chain(observed), kinds);
        let mut early = Vec::new();
        for (at, step) in replaced.into_iter().enumerate() {
            for index in mentions.users_of(count + at).filter(|&index| index < count) {
                step.needs.push(id(index));
                early.push(index);
            }
        }
        let users: Vec<Vec<usize>> = (0..count)
            .map(|used| mentions.users_of(used).filter(|user| needs[used].contains(user)).collect())
            .collect();
        let early = reachable(&users, early);
        (0..count)
            .filter(|&index| early[index])
            .map(|index| (id(index), users[index].iter().map(|&user| id(user)).collect()))
            .collect()
    }
}

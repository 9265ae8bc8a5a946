//! The plan that takes a deployment down.

use std::collections::BTreeMap;

use dorainfra_model::Events;

use super::graph::{Graph, reachable};
use super::orphans::{HOLDS_DATA, orphans, protected_kinds, removals};
use super::planning::{all_observed, doubles, finish, read, seen, specs};
use super::removal::{Deletion, KindOrder, deletion_needs, goes_last, known_uses};
use super::selection::Selection;
use super::{
    Action, Basis, EngineError, KindSpec, Manifest, Observed, Ownership, Plan, PlanOptions, Provider,
    ResourceId, Step,
};

/// Says what taking the whole deployment down would do. Changes nothing.
///
/// Protected resources are kept unless `options.delete_data`, and so is what a
/// kept one refers to. Kinds with `keep_on_destroy` and resources that do not
/// exist are not in the plan; resources without this deployment's mark are left
/// as they are, with a warning.
///
/// # Errors
/// As [`plan`](super::plan()), but for [`EngineError::NotOurs`]; and
/// [`EngineError::Unseen`], as what can't be seen would be left behind.
pub async fn plan_destroy(
    deployment: &str,
    manifests: Vec<Manifest>,
    provider: &dyn Provider,
    options: &PlanOptions,
    events: &Events,
) -> Result<Plan, EngineError> {
    let graph = Graph::new(&manifests)?;
    let specs = specs(&manifests, provider)?;
    let selection = Selection::for_destroy(&manifests, &graph, options);
    let state = read(deployment, &manifests, &selection, provider, options, events).await?;
    selection.check(&graph, &state, options)?;
    if !state.unseen.is_empty() {
        return Err(EngineError::Unseen { places: state.unseen });
    }

    let mut warnings = doubles(&state);
    warnings.extend(state.off.iter().map(|service| {
        format!("{service} is off: what it keeps of this deployment can't be seen, and stays")
    }));
    let kept_kinds = protected_kinds(&manifests);
    let mut candidates = Vec::new();
    let mut kept: BTreeMap<ResourceId, String> = BTreeMap::new();
    for orphan in orphans(&state, &graph, &selection) {
        if provider.spec(&orphan.id.kind).is_some_and(|spec| spec.keep_on_destroy) {
            continue;
        }
        if kept_kinds.contains(orphan.id.kind.as_str()) && !options.delete_data {
            kept.insert(orphan.id.clone(), HOLDS_DATA.into());
        }
        candidates.push(Deletion { observed: orphan, position: None });
    }
    for &position in graph.order.iter().rev().filter(|&&position| selection.included[position]) {
        let (id, spec) = (&graph.ids[position], specs[position]);
        let Some(observed) = state.find(id) else { continue };
        if spec.keep_on_destroy {
            continue;
        }
        if let Some(owner) = not_ours(spec, observed) {
            warnings.push(format!("{id} {owner}: it is left as it is"));
            continue;
        }
        if manifests[position].protect && !options.delete_data {
            kept.insert(id.clone(), HOLDS_DATA.into());
            for used in used_by_body(&graph, position) {
                let used = graph.ids[used].clone();
                kept.entry(used).or_insert_with(|| format!("used by {id}, which is kept"));
            }
        }
        candidates.push(Deletion { observed, position: Some(position) });
    }
    let (kept_ones, deletions): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|one| kept.contains_key(&one.observed.id));

    let kinds = KindOrder::new(&graph, &known_uses(provider, &graph, &deletions));
    let mut needs = deletion_needs(&deletions, &graph, &kinds);
    let arbiter = manifests.iter().position(|manifest| manifest.arbiter);
    if let Some(last) = deletions.iter().position(|one| one.position.is_some() && one.position == arbiter) {
        goes_last(&mut needs, last);
    }
    let notes = |one: &Deletion<'_>| one.position.map(|at| manifests[at].notes.clone()).unwrap_or_default();
    let mut steps = removals(&deletions, &needs, "taken down with the deployment", &notes);
    for one in &kept_ones {
        let id = one.observed.id.clone();
        let reason = kept[&id].clone();
        steps.push(Step {
            id,
            action: Action::Keep,
            reason,
            changes: Vec::new(),
            needs: Vec::new(),
            notes: notes(one),
        });
    }
    let digests = deletions
        .iter()
        .map(|one| (one, Action::Delete))
        .chain(kept_ones.iter().map(|one| (one, Action::Keep)))
        .map(|(one, action)| (one.observed.id.clone(), seen(Some(one.observed), action, &[])))
        .collect();
    let basis = Basis { destroy: true, options: options.clone(), digests, observed: all_observed(state) };
    Ok(finish(deployment, manifests, steps, warnings, basis))
}

/// What a resource's body refers to, and what that refers to.
fn used_by_body(graph: &Graph, position: usize) -> Vec<usize> {
    let reached = reachable(&graph.refers, [position]);
    (0..reached.len()).filter(|&other| reached[other] && other != position).collect()
}

/// Why a resource is not ours, if so.
fn not_ours(spec: &KindSpec, observed: &Observed) -> Option<String> {
    match &observed.ownership {
        Ownership::Other(deployment) => Some(format!("belongs to the deployment `{deployment}`")),
        Ownership::Unmarked if spec.markable => Some("exists without a mark of this deployment".into()),
        Ownership::Unmarked | Ownership::Ours => None,
    }
}

//! What the two ways to make a plan have in common: what is read, what is
//! remembered of it, and the finished plan.

use std::collections::{BTreeMap, BTreeSet};

use dorainfra_model::{ChangeDocument, Events};
use serde_json::json;

use super::observed_state::{self, ObservedState};
use super::selection::Selection;
use super::{
    Action, Basis, Change, EngineError, KindSpec, Manifest, Observed, Ownership, Plan, PlanOptions, Provider,
    ResourceId, Step, canonical,
};

pub(super) fn specs<'a>(
    manifests: &[Manifest],
    provider: &'a dyn Provider,
) -> Result<Vec<&'a KindSpec>, EngineError> {
    manifests
        .iter()
        .map(|manifest| {
            provider.spec(&manifest.kind).ok_or_else(|| EngineError::UnknownKind { id: manifest.id() })
        })
        .collect()
}

pub(super) async fn read(
    deployment: &str,
    manifests: &[Manifest],
    selection: &Selection,
    provider: &dyn Provider,
    options: &PlanOptions,
    events: &Events,
) -> Result<ObservedState, EngineError> {
    let chosen: Vec<&Manifest> = manifests
        .iter()
        .zip(&selection.read)
        .filter(|(_, read)| **read)
        .map(|(manifest, _)| manifest)
        .collect();
    observed_state::read(deployment, &chosen, provider, options.parallelism, events).await
}

pub(super) fn doubles(state: &ObservedState) -> Vec<String> {
    state
        .doubles
        .iter()
        .map(|id| format!("{id} exists more than once: one is handled now, the others by the next run"))
        .collect()
}

pub(super) fn all_observed(state: ObservedState) -> BTreeMap<ResourceId, Observed> {
    state.owned.into_iter().chain(state.read).collect()
}

/// The digest of what a step was decided from. Fields that no manifest declares
/// are left out: a status or a timestamp does not make a plan stale.
pub(super) fn seen(observed: Option<&Observed>, action: Action, changes: &[Change]) -> String {
    let owner = observed.map(|observed| match &observed.ownership {
        Ownership::Ours => "ours".to_owned(),
        Ownership::Unmarked => "unmarked".to_owned(),
        Ownership::Other(deployment) => format!("other {deployment}"),
    });
    let applied = observed.and_then(|observed| observed.applied.clone());
    let changes: Vec<ChangeDocument> = changes.iter().map(ChangeDocument::from).collect();
    canonical::short_hash(
        &json!({ "owner": owner, "applied": applied, "action": action, "changes": changes }),
    )
}

pub(super) fn finish(
    deployment: &str,
    manifests: Vec<Manifest>,
    mut steps: Vec<Step>,
    warnings: Vec<String>,
    basis: Basis,
) -> Plan {
    // With targets, a step can need what is not in the plan, and is there.
    let planned: BTreeSet<ResourceId> = steps.iter().map(|step| step.id.clone()).collect();
    for step in &mut steps {
        step.needs.retain(|id| planned.contains(id));
    }
    let observed = canonical::short_hash(&basis.digests);
    Plan { deployment: deployment.to_owned(), steps, manifests, observed, warnings, basis }
}

//! What the cloud has otherwise than it was applied, from a plan that was just read. A plan does not
//! tell that apart from what the configuration would newly change; the digest in a resource's mark
//! does: it is of the manifest that was applied last. Pure.

use serde::Serialize;
use serde_json::Value;

use super::canonical::digest;
use super::{Action, Plan, ResourceId};

/// How a resource differs from what was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriftKind {
    /// The configuration is the one that was applied; the cloud is not.
    Changed,
    /// It is not there: deleted, or new in the configuration. What is not there carries no mark.
    Missing,
    /// It differs and carries no mark: the cloud has changed, or the configuration.
    Unmarked,
}

/// A field that differs; `null` where it is absent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Differs {
    pub path: String,
    pub expected: Value,
    pub found: Value,
}

/// A resource that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Drifted {
    pub id: ResourceId,
    pub kind: DriftKind,
    pub fields: Vec<Differs>,
}

/// What a plan tells of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drift {
    pub found: Vec<Drifted>,
    /// Those that the configuration means to change: whether the cloud has changed, too, is not known.
    pub pending: Vec<ResourceId>,
    /// How many are as they were applied.
    pub same: usize,
    /// Whether anything is there that carries the deployment's mark.
    pub exists: bool,
}

/// `plan` is of all resources, and was read and not saved.
pub fn drift(plan: &Plan) -> Drift {
    let observed = &plan.basis.observed;
    let exists = observed.values().any(|observed| observed.applied.is_some());
    let mut drift = Drift { exists, ..Drift::default() };
    for step in &plan.steps {
        let manifest = plan.manifests.iter().find(|manifest| manifest.id() == step.id);
        let applied = observed.get(&step.id).and_then(|observed| observed.applied.as_ref());
        // What will only be known after something else is made anew is that one's drift.
        let fields: Vec<Differs> = step
            .changes
            .iter()
            .filter_map(|change| {
                let (found, expected) = (change.before.clone().unwrap_or_default(), change.after.clone()?);
                Some(Differs { path: change.path.clone(), expected, found })
            })
            .collect();
        let kind = match (step.action, manifest) {
            (Action::Create, _) => DriftKind::Missing,
            (Action::Keep | Action::Update | Action::Replace | Action::Adopt, Some(manifest))
                if !fields.is_empty() =>
            {
                match applied {
                    Some(applied) if *applied == digest(manifest) => DriftKind::Changed,
                    Some(_) => {
                        drift.pending.push(step.id.clone());
                        continue;
                    }
                    None => DriftKind::Unmarked,
                }
            }
            (Action::Delete, _) => {
                drift.pending.push(step.id.clone());
                continue;
            }
            _ => {
                drift.same += 1;
                continue;
            }
        };
        let fields = if kind == DriftKind::Missing { Vec::new() } else { fields };
        drift.found.push(Drifted { id: step.id.clone(), kind, fields });
    }
    drift
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::super::{Basis, Change, Manifest, Observed, Ownership, Step};
    use super::*;

    fn change(before: Value, after: Option<Value>) -> Change {
        Change { path: "size".into(), before: Some(before), after, forces_replacement: false }
    }

    /// A plan of disks: name, action, changes, and the size that was applied; `None`: no mark.
    fn plan(disks: &[(&str, Action, Vec<Change>, Option<u32>)]) -> Plan {
        let manifest = |name: &str, size: u32| Manifest::new("mem.disk", name, json!({"size": size}));
        let mut plan = Plan::default();
        let mut observed = BTreeMap::new();
        for (name, action, changes, applied) in disks {
            let id = manifest(name, 1).id();
            if *action != Action::Delete {
                plan.manifests.push(manifest(name, 1));
            }
            if *action != Action::Create {
                let applied = applied.map(|size| digest(&manifest(name, size)));
                let ownership = Ownership::Ours;
                observed.insert(id.clone(), Observed { id: id.clone(), body: json!({}), ownership, applied });
            }
            plan.steps.push(Step {
                id,
                action: *action,
                reason: String::new(),
                changes: changes.clone(),
                needs: Vec::new(),
                notes: BTreeMap::new(),
            });
        }
        plan.basis = Basis { observed, ..Basis::default() };
        plan
    }

    #[test]
    fn what_was_changed_in_the_cloud_is_told_apart_from_what_the_configuration_changes() {
        let other = || vec![change(json!(9), Some(json!(1)))];
        let drift = drift(&plan(&[
            ("same", Action::NoOp, Vec::new(), Some(1)),
            ("changed", Action::Update, other(), Some(1)),
            ("kept", Action::Keep, other(), Some(1)),
            ("configured", Action::Update, other(), Some(2)),
            ("unmarked", Action::Update, other(), None),
            ("gone", Action::Create, Vec::new(), None),
            ("follows", Action::Update, vec![change(json!(1), None)], Some(1)),
            ("over", Action::Delete, Vec::new(), Some(1)),
        ]));
        let found: Vec<_> = drift.found.iter().map(|one| (one.id.name.as_str(), one.kind)).collect();
        let expected = [
            ("changed", DriftKind::Changed),
            ("kept", DriftKind::Changed),
            ("unmarked", DriftKind::Unmarked),
            ("gone", DriftKind::Missing),
        ];
        assert_eq!(found, expected);
        let pending: Vec<_> = drift.pending.iter().map(|id| id.name.as_str()).collect();
        assert_eq!(pending, ["configured", "over"]);
        assert_eq!((drift.same, drift.exists), (2, true));
    }

    #[test]
    fn nothing_there_is_told_as_that() {
        // What carries no mark may be there for others.
        let drift = drift(&plan(&[
            ("gone", Action::Create, Vec::new(), None),
            ("shared", Action::NoOp, Vec::new(), None),
        ]));
        assert!(!drift.exists);
        assert_eq!((drift.found.len(), drift.same), (1, 1));
    }
}

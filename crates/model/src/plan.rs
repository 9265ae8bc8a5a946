//! The plan as data: what `plan` makes, `ui` shows, a plan file holds and
//! `apply` carries out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Manifest, Observed, ResourceId};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    NoOp,
    Create,
    Update,
    Replace,
    Delete,
    /// Exists without our mark and `--adopt` was given: mark it, then as update.
    Adopt,
    /// Would be deleted or replaced, but holds data: stays as it is.
    Keep,
}

/// One declared field that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Dotted path; list items by index or key (`metadata.items[startup-script].value`).
    pub path: String,
    /// What the cloud has; `None`: absent.
    pub before: Option<Value>,
    /// What the manifest says; `None`: known after apply.
    pub after: Option<Value>,
    pub forces_replacement: bool,
}

/// What will be done to one resource, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub id: ResourceId,
    pub action: Action,
    /// One line for people: "replace, because `zone` cannot change";
    /// "not in the configuration any more"; "somebody changed it in the cloud".
    pub reason: String,
    pub changes: Vec<Change>,
    /// Steps that have to be done before this one.
    pub needs: Vec<ResourceId>,
    /// The manifest's notes (`access`, `cost`).
    pub notes: BTreeMap<String, String>,
}

/// All steps, in an order that respects `needs`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub deployment: String,
    pub steps: Vec<Step>,
    /// The manifests that the plan was made from, in the blueprint's order.
    pub manifests: Vec<Manifest>,
    /// Digest of everything that was observed: a saved plan is stale when a
    /// new reading gives another one.
    pub observed: String,
    pub warnings: Vec<String>,
    /// What the plan was made from, beside the manifests.
    #[serde(default)]
    pub basis: Basis,
}

/// How `plan` was called and what it read: enough to make the same plan again
/// and to tell what has changed since.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Basis {
    /// Made by `plan_destroy`.
    pub destroy: bool,
    pub options: PlanOptions,
    /// For each step, the digest of what it was decided from.
    pub digests: BTreeMap<ResourceId, String>,
    /// The resources as they were read. Not in a plan file: a plan that comes
    /// from one is made again, and compared, before it can be applied.
    #[serde(skip)]
    pub observed: BTreeMap<ResourceId, Observed>,
}

/// What a plan may do, and to which resources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanOptions {
    /// Take over resources that exist under a manifest's name without a mark.
    pub adopt: bool,
    /// Only these, with what they need (`destroy`: with what needs them); all
    /// where empty.
    pub targets: Vec<ResourceId>,
    /// Make these anew.
    pub replace: Vec<ResourceId>,
    /// Delete and replace what holds data, too.
    pub delete_data: bool,
    /// How many reads are under way at once, at most.
    pub parallelism: usize,
    /// For those who only look: what can't be done is a warning of the plan, and no error.
    #[serde(skip)]
    pub survey: bool,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            adopt: false,
            targets: Vec::new(),
            replace: Vec::new(),
            delete_data: false,
            parallelism: 32,
            survey: false,
        }
    }
}

impl Plan {
    /// Whether applying would change anything.
    pub fn has_changes(&self) -> bool {
        self.steps.iter().any(|step| !matches!(step.action, Action::NoOp | Action::Keep))
    }

    /// Whether it is of a part of the resources only.
    pub fn is_targeted(&self) -> bool {
        !self.basis.options.targets.is_empty()
    }

    pub fn count(&self, action: Action) -> usize {
        self.steps.iter().filter(|step| step.action == action).count()
    }
}

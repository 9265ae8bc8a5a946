//! A plan as it is written down: in `--json`'s `planned` and in a saved plan. Programs read it, and
//! so does a later build: fields are added, never renamed or removed, whatever becomes of the
//! engine's own [`Plan`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::{Action, Basis, Change, Manifest, Plan, PlanOptions, ResourceId, Step};

/// What would be done, and what that was decided from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Plan")]
pub struct PlanDocument {
    pub deployment: String,
    /// In an order that respects what each `needs`.
    pub steps: Vec<StepDocument>,
    /// What the plan was made from: what each resource should be.
    pub manifests: Vec<Manifest>,
    /// Digest of everything that was read: a saved plan is stale when a new reading gives another one.
    pub observed: String,
    pub warnings: Vec<String>,
    #[serde(default)]
    pub basis: BasisDocument,
}

/// What will be done to one resource, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Step")]
pub struct StepDocument {
    pub id: ResourceId,
    pub action: Action,
    /// One line for people.
    pub reason: String,
    pub changes: Vec<ChangeDocument>,
    /// The steps that have to be done before this one.
    pub needs: Vec<ResourceId>,
    /// For people: `access` (what is reachable from where), `cost` (what is billed).
    pub notes: BTreeMap<String, String>,
}

/// One declared field that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Change")]
pub struct ChangeDocument {
    /// Dotted; items of a list by index or key: `metadata.items[startup-script].value`.
    pub path: String,
    /// What the cloud has; `null`: absent.
    pub before: Option<Value>,
    /// What is declared; `null`: known after apply.
    pub after: Option<Value>,
    pub forces_replacement: bool,
}

/// How the plan was made: enough to make it again, and to say what has changed since.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Basis")]
pub struct BasisDocument {
    /// It takes the deployment down.
    pub destroy: bool,
    pub options: OptionsDocument,
    /// For each resource, the digest of what its step was decided from.
    pub digests: BTreeMap<ResourceId, String>,
}

/// What the plan may do, and to which resources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Options")]
pub struct OptionsDocument {
    /// Resources that exist under a manifest's name without a mark are taken over.
    pub adopt: bool,
    /// Only these, with what they need; all where it is empty.
    pub targets: Vec<ResourceId>,
    /// Resources that are made anew.
    pub replace: Vec<ResourceId>,
    /// What holds data may be deleted and replaced.
    pub delete_data: bool,
    /// How many reads are under way at once, at most.
    pub parallelism: usize,
}

impl Default for OptionsDocument {
    fn default() -> Self {
        Self::from(&PlanOptions::default())
    }
}

impl From<&Plan> for PlanDocument {
    fn from(plan: &Plan) -> Self {
        Self {
            deployment: plan.deployment.clone(),
            steps: plan.steps.iter().map(StepDocument::from).collect(),
            manifests: plan.manifests.clone(),
            observed: plan.observed.clone(),
            warnings: plan.warnings.clone(),
            basis: BasisDocument::from(&plan.basis),
        }
    }
}

impl From<&Step> for StepDocument {
    fn from(step: &Step) -> Self {
        Self {
            id: step.id.clone(),
            action: step.action,
            reason: step.reason.clone(),
            changes: step.changes.iter().map(ChangeDocument::from).collect(),
            needs: step.needs.clone(),
            notes: step.notes.clone(),
        }
    }
}

impl From<&Change> for ChangeDocument {
    fn from(change: &Change) -> Self {
        Self {
            path: change.path.clone(),
            before: change.before.clone(),
            after: change.after.clone(),
            forces_replacement: change.forces_replacement,
        }
    }
}

impl From<&Basis> for BasisDocument {
    fn from(basis: &Basis) -> Self {
        Self {
            destroy: basis.destroy,
            options: OptionsDocument::from(&basis.options),
            digests: basis.digests.clone(),
        }
    }
}

impl From<&PlanOptions> for OptionsDocument {
    fn from(options: &PlanOptions) -> Self {
        Self {
            adopt: options.adopt,
            targets: options.targets.clone(),
            replace: options.replace.clone(),
            delete_data: options.delete_data,
            parallelism: options.parallelism,
        }
    }
}

/// Without what was read: a plan that comes from a file is made again, and compared, before it can
/// be applied.
impl From<&PlanDocument> for Plan {
    fn from(document: &PlanDocument) -> Self {
        Self {
            deployment: document.deployment.clone(),
            steps: document.steps.iter().map(Step::from).collect(),
            manifests: document.manifests.clone(),
            observed: document.observed.clone(),
            warnings: document.warnings.clone(),
            basis: Basis::from(&document.basis),
        }
    }
}

impl From<&StepDocument> for Step {
    fn from(document: &StepDocument) -> Self {
        Self {
            id: document.id.clone(),
            action: document.action,
            reason: document.reason.clone(),
            changes: document.changes.iter().map(Change::from).collect(),
            needs: document.needs.clone(),
            notes: document.notes.clone(),
        }
    }
}

impl From<&ChangeDocument> for Change {
    fn from(document: &ChangeDocument) -> Self {
        Self {
            path: document.path.clone(),
            before: document.before.clone(),
            after: document.after.clone(),
            forces_replacement: document.forces_replacement,
        }
    }
}

impl From<&BasisDocument> for Basis {
    fn from(document: &BasisDocument) -> Self {
        let OptionsDocument { adopt, targets, replace, delete_data, parallelism } = document.options.clone();
        Self {
            destroy: document.destroy,
            options: PlanOptions { adopt, targets, replace, delete_data, parallelism, survey: false },
            digests: document.digests.clone(),
            observed: BTreeMap::new(),
        }
    }
}

/// For an event that carries a plan.
pub(crate) fn write<S: Serializer>(plan: &Plan, serializer: S) -> Result<S::Ok, S::Error> {
    PlanDocument::from(plan).serialize(serializer)
}

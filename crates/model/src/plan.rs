//! The plan as data: what `plan` makes, `ui` shows and `apply` carries out. Written down it is a
//! [`PlanDocument`](crate::PlanDocument).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Manifest, Observed, ResourceId};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq)]
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
#[derive(Clone, Debug, PartialEq)]
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
#[derive(Clone, Debug, Default, PartialEq)]
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
    pub basis: Basis,
}

/// How `plan` was called and what it read: enough to make the same plan again
/// and to tell what has changed since.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Basis {
    /// Made by `plan_destroy`.
    pub destroy: bool,
    pub options: PlanOptions,
    /// For each step, the digest of what it was decided from.
    pub digests: BTreeMap<ResourceId, String>,
    /// The resources as they were read. Not in a plan file: a plan that comes
    /// from one is made again, and compared, before it can be applied.
    pub observed: BTreeMap<ResourceId, Observed>,
}

/// What a plan may do, and to which resources.
#[derive(Clone, Debug, PartialEq, Eq)]
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Event, FeedStep, PlanDocument};

    /// One with every field.
    fn plan() -> Plan {
        let id = |text: &str| text.parse::<ResourceId>().unwrap();
        let (disk, machine) = (id("compute.disk/dorainfra-data"), id("compute.instance/dorainfra-mimir"));
        let change = |before, after, forces_replacement| Change {
            path: "sizeGb".into(),
            before,
            after,
            forces_replacement,
        };
        let manifest = Manifest {
            protect: true,
            rolling: Some("mimir".into()),
            depends_on: vec![disk.clone()],
            notes: BTreeMap::from([("cost".into(), "20 GB".into())]),
            ..Manifest::new("compute.disk", "dorainfra-data", json!({"sizeGb": "20"}))
        };
        Plan {
            deployment: "dorainfra".into(),
            steps: vec![
                Step {
                    id: disk.clone(),
                    action: Action::Update,
                    reason: "the configuration changed".into(),
                    changes: vec![
                        change(Some(json!("10")), Some(json!("20")), false),
                        change(None, None, true),
                    ],
                    needs: Vec::new(),
                    notes: BTreeMap::from([("cost".into(), "20 GB".into())]),
                },
                Step {
                    id: machine.clone(),
                    action: Action::NoOp,
                    reason: String::new(),
                    changes: Vec::new(),
                    needs: vec![disk.clone()],
                    notes: BTreeMap::new(),
                },
            ],
            manifests: vec![manifest],
            observed: "0f".into(),
            warnings: vec!["careful".into()],
            basis: Basis {
                destroy: false,
                options: PlanOptions {
                    targets: vec![machine.clone()],
                    replace: vec![disk.clone()],
                    survey: true,
                    ..PlanOptions::default()
                },
                digests: BTreeMap::from([(disk, "1e".into())]),
                observed: BTreeMap::new(),
            },
        }
    }

    /// These are the bytes that programs read: fields are added, and nothing else.
    #[test]
    fn the_json_of_a_plan_is_what_it_was() {
        let feed = vec![FeedStep {
            what: "history".into(),
            action: Action::Create,
            reason: "22,954 samples".into(),
        }];
        let text = serde_json::to_string(&Event::Planned { plan: plan(), feed, cost: None }).unwrap();
        let expected = concat!(
            r#"{"type":"planned","plan":{"deployment":"dorainfra","steps":[{"id":"compute.disk/dorainfra-data","#,
            r#""action":"update","reason":"the configuration changed","changes":[{"path":"sizeGb","before":"10","#,
            r#""after":"20","forces_replacement":false},{"path":"sizeGb","before":null,"after":null,"#,
            r#""forces_replacement":true}],"needs":[],"notes":{"cost":"20 GB"}},"#,
            r#"{"id":"compute.instance/dorainfra-mimir","action":"no-op","reason":"","changes":[],"#,
            r#""needs":["compute.disk/dorainfra-data"],"notes":{}}],"#,
            r#""manifests":[{"kind":"compute.disk","name":"dorainfra-data","protect":true,"arbiter":false,"#,
            r#""rolling":"mimir","dependsOn":["compute.disk/dorainfra-data"],"notes":{"cost":"20 GB"},"#,
            r#""body":{"sizeGb":"20"}}],"observed":"0f","warnings":["careful"],"#,
            r#""basis":{"destroy":false,"options":{"adopt":false,"targets":["compute.instance/dorainfra-mimir"],"#,
            r#""replace":["compute.disk/dorainfra-data"],"delete_data":false,"parallelism":32},"#,
            r#""digests":{"compute.disk/dorainfra-data":"1e"}}},"#,
            r#""feed":[{"what":"history","action":"create","reason":"22,954 samples"}]}"#,
        );
        assert_eq!(text, expected);

        let read: serde_json::Value = serde_json::from_str(expected).unwrap();
        let document: PlanDocument = serde_json::from_value(read["plan"].clone()).unwrap();
        // A survey is never saved.
        let mut before = plan();
        before.basis.options.survey = false;
        assert_eq!(Plan::from(&document), before);
    }
}

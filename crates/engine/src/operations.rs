//! A plan's steps as single operations with their order. A replacement is two:
//! what uses the resource, and is replaced too, has to be gone before it can
//! go, and can be made only after it is there again.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::Graph;
use super::operation::{Operation, Operations, Work};
use super::removal::{KindOrder, Mentions};
use super::rolling::roll;
use super::schedule::Node;
use super::{Action, EngineError, Observed, Plan, ResourceId, Step};

/// The operations of a plan, and for the schedule, by the same position, their
/// order. `arbiter_first`: nothing but what the arbiter needs comes before it
/// is made. `down`: members of rolling groups that do not serve.
///
/// # Errors
/// Members of a rolling group that wait for each other.
pub(super) fn operations(
    plan: &Plan,
    arbiter_first: Option<&ResourceId>,
    down: &BTreeSet<ResourceId>,
) -> Result<(Vec<Operation>, Vec<Node>), EngineError> {
    let at: BTreeMap<&ResourceId, usize> =
        plan.steps.iter().enumerate().map(|(index, step)| (&step.id, index)).collect();
    let mut list = Operations::default();
    for (step, planned) in plan.steps.iter().enumerate() {
        match planned.action {
            Action::NoOp | Action::Keep => list.add_single(step, Work::Pass),
            Action::Create => list.add_single(step, Work::Make),
            Action::Update | Action::Adopt => list.add_single(step, Work::Change),
            Action::Delete => list.add_single(step, Work::Remove),
            Action::Replace => list.add_replacement(step),
        }
    }
    let replaces = |step: usize| plan.steps[step].action == Action::Replace;
    // Steps that come after a replacement anyway. Steps are in an order that
    // respects their needs.
    let mut after_replaced = vec![false; plan.steps.len()];
    for (step, planned) in plan.steps.iter().enumerate() {
        for need in planned.needs.iter().filter_map(|id| at.get(id).copied()) {
            let (first, last) = (list.first[step], list.last[step]);
            list.edge(last, list.last[need]);
            after_replaced[step] |= replaces(need) || after_replaced[need];
            if !replaces(step) {
                continue;
            }
            if replaces(need) {
                list.edge(list.first[need], first);
            } else if !after_replaced[need] {
                // Take down as late as possible: if something it needs cannot
                // be made, the old one still serves.
                list.edge(first, list.last[need]);
            }
        }
    }
    release(&mut list, plan);
    roll(&mut list, plan, down)?;
    if let Some(arbiter) = arbiter_first.and_then(|id| at.get(id).copied()) {
        put_first(&mut list, arbiter);
    }
    Ok((list.all, list.nodes))
}

/// What uses a resource now that is replaced or deleted has to let go of it first. The manifests don't tell; the resources as observed do.
fn release(list: &mut Operations, plan: &Plan) {
    let replaces = |step: &Step| step.action == Action::Replace;
    let updates = |step: &Step| matches!(step.action, Action::Update | Action::Adopt);
    let goes = |step: &Step| replaces(step) || step.action == Action::Delete;
    let Ok(graph) = Graph::new(&plan.manifests) else { return };
    let kinds = KindOrder::new(&graph, &[]);
    let (steps, observed): (Vec<usize>, Vec<&Observed>) = plan
        .steps
        .iter()
        .enumerate()
        .filter(|(_, step)| goes(step) || updates(step))
        .filter_map(|(at, step)| Some((at, plan.basis.observed.get(&step.id)?)))
        .unzip();
    let mentions = Mentions::new(observed, &kinds);
    // What goes itself counts more than what is only changed, where both can't be.
    for releases in [&replaces as &dyn Fn(&Step) -> bool, &updates] {
        for (used, &at) in steps.iter().enumerate().filter(|&(_, &at)| goes(&plan.steps[at])) {
            let users = mentions.users_of(used).map(|user| steps[user]);
            for user in users.filter(|&user| releases(&plan.steps[user])) {
                let (removal, letting_go) = (list.first[at], list.first[user]);
                // One that will still use it is changed after it is made again.
                if !list.before(letting_go)[removal] {
                    list.edge(removal, letting_go);
                }
            }
        }
    }
}

fn put_first(list: &mut Operations, arbiter: usize) {
    let made = list.last[arbiter];
    let before = list.before(made);
    for node in (0..list.nodes.len()).filter(|&node| !before[node]) {
        list.edge(node, made);
    }
}

#[cfg(test)]
mod tests {
    use dorainfra_model::Ownership;
    use serde_json::json;

    use super::*;

    fn plan(steps: &[(&str, Action, &[&str])]) -> Plan {
        let id = |name: &str| ResourceId::new("mem.box", name);
        let steps = steps
            .iter()
            .map(|(name, action, needs)| Step {
                id: id(name),
                action: *action,
                reason: String::new(),
                changes: vec![],
                needs: needs.iter().map(|name| id(name)).collect(),
                notes: BTreeMap::new(),
            })
            .collect();
        Plan { steps, ..Plan::default() }
    }

    /// `work step: needs` for each operation.
    fn told(plan: &Plan, arbiter: Option<&str>) -> Vec<String> {
        let arbiter = arbiter.map(|name| ResourceId::new("mem.box", name));
        let (all, nodes) = operations(plan, arbiter.as_ref(), &BTreeSet::new()).unwrap();
        let name = |at: usize| format!("{:?} {}", all[at].work, plan.steps[all[at].step].id.name);
        nodes
            .iter()
            .enumerate()
            .map(|(at, node)| {
                let needs: Vec<String> = node.needs.iter().map(|&need| name(need)).collect();
                format!("{}: {}", name(at), needs.join(", "))
            })
            .collect()
    }

    #[test]
    fn a_user_that_is_replaced_goes_before_what_it_uses() {
        let plan = plan(&[
            ("address", Action::Create, &[]),
            ("disk", Action::Replace, &[]),
            ("label", Action::Update, &["disk"]),
            ("vm", Action::Replace, &["disk", "address", "label"]),
        ]);
        assert_eq!(
            told(&plan, None),
            [
                "Make address: ",
                "Remove disk: Remove vm",
                "Make disk: Remove disk",
                "Change label: Make disk",
                "Remove vm: Make address",
                "Make vm: Remove vm, Make disk, Make address, Change label",
            ]
        );
    }

    #[test]
    fn what_used_a_replaced_one_lets_go_of_it_first() {
        let mut plan = plan(&[
            ("disk", Action::Replace, &[]),
            ("vm", Action::Replace, &[]),
            ("other", Action::Update, &[]),
            ("user", Action::Update, &["disk"]),
        ]);
        for name in ["disk", "vm", "other", "user"] {
            let observed = Observed {
                id: ResourceId::new("mem.box", name),
                body: json!({"uses": ["zones/a/disk"], "script": "cat x/vm"}),
                ownership: Ownership::Ours,
                applied: None,
            };
            plan.basis.observed.insert(observed.id.clone(), observed);
        }
        assert_eq!(
            told(&plan, None),
            [
                "Remove disk: Remove vm, Change other",
                "Make disk: Remove disk",
                "Remove vm: ",
                "Make vm: Remove vm",
                "Change other: ",
                "Change user: Make disk",
            ]
        );
    }

    #[test]
    fn all_but_its_own_needs_waits_for_the_arbiter() {
        let plan = plan(&[
            ("services", Action::Create, &[]),
            ("account", Action::Create, &[]),
            ("bucket", Action::Create, &["services"]),
            ("object", Action::Create, &["bucket"]),
        ]);
        assert_eq!(
            told(&plan, Some("bucket")),
            [
                "Make services: ",
                "Make account: Make bucket",
                "Make bucket: Make services",
                "Make object: Make bucket"
            ]
        );
    }
}

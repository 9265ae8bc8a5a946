//! Rolling groups: their members serve one thing together, so those that are
//! there are taken down one at a time, and only while all the others serve.
//!
//! A member that is changed or replaced has its *turn*: it begins when the
//! others are seen to serve, and ends when the member itself serves again.
//! Members that do not serve have their turn first, and need nobody's leave:
//! nothing is lost by them. Members that do not exist yet are made at once, and
//! before any turn. What goes with a member (its place in a load balancer) goes
//! and comes back within its turn.

use std::collections::BTreeSet;

use futures::future::join_all;

use super::operation::{Operations, Work};
use super::{Action, EngineError, Plan, Provider, ResourceId};

/// The members of one group that the plan has steps for, by their position.
struct Group {
    name: String,
    /// Changed or replaced.
    turns: Vec<usize>,
    /// Made for the first time.
    made: Vec<usize>,
}

fn takes_a_turn(action: Action) -> bool {
    matches!(action, Action::Update | Action::Adopt | Action::Replace)
}

fn groups(plan: &Plan) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for manifest in &plan.manifests {
        let (Some(name), id) = (&manifest.rolling, manifest.id()) else { continue };
        let Some(step) = plan.steps.iter().position(|step| step.id == id) else { continue };
        let at = groups.iter().position(|group| group.name == *name).unwrap_or_else(|| {
            groups.push(Group { name: name.clone(), turns: Vec::new(), made: Vec::new() });
            groups.len() - 1
        });
        match plan.steps[step].action {
            action if takes_a_turn(action) => groups[at].turns.push(step),
            Action::Create => groups[at].made.push(step),
            _ => {}
        }
    }
    groups.retain(|group| !group.turns.is_empty());
    groups
}

/// The other members of the group that a resource belongs to.
pub(super) fn others(plan: &Plan, id: &ResourceId) -> Vec<ResourceId> {
    let group =
        plan.manifests.iter().find(|manifest| manifest.id() == *id).and_then(|one| one.rolling.as_ref());
    let Some(group) = group else { return Vec::new() };
    let members = plan.manifests.iter().filter(|manifest| manifest.rolling.as_ref() == Some(group));
    members.map(super::Manifest::id).filter(|member| member != id).collect()
}

/// Those that are to have a turn, and do not serve as it is.
pub(super) async fn down(plan: &Plan, provider: &dyn Provider) -> BTreeSet<ResourceId> {
    let turns = groups(plan).into_iter().flat_map(|group| group.turns);
    let asked = turns.map(|step| async move {
        let id = &plan.steps[step].id;
        let serves = match plan.basis.observed.get(id) {
            Some(observed) => provider.serves(observed).await.is_ok(),
            None => false,
        };
        (!serves).then(|| id.clone())
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Adds the turns to the operations of a plan.
///
/// # Errors
/// Members of a group that wait for each other.
pub(super) fn roll(
    list: &mut Operations,
    plan: &Plan,
    down: &BTreeSet<ResourceId>,
) -> Result<(), EngineError> {
    for group in groups(plan) {
        let going = going(plan, &plan.steps[group.turns[0]].id.kind);
        let entangled = |step: usize| EngineError::Entangled {
            group: group.name.clone(),
            member: plan.steps[step].id.clone(),
        };
        let mut before: Vec<usize> = Vec::new();
        for &step in &group.made {
            let made = list.before(list.last[step]);
            if group.turns.iter().any(|&turn| made[list.first[turn]]) {
                return Err(entangled(step));
            }
            let settle = list.add(step, Work::Settle);
            list.edge(settle, list.last[step]);
            before.push(settle);
        }
        let mut waiting = group.turns.clone();
        waiting.sort_by_key(|&step| !down.contains(&plan.steps[step].id));
        while !waiting.is_empty() {
            // In this order, unless other edges want another one.
            let free = (0..waiting.len()).find(|&at| {
                let before = list.before(list.last[waiting[at]]);
                waiting.iter().all(|&other| other == waiting[at] || !before[list.first[other]])
            });
            let step = waiting.remove(free.ok_or_else(|| entangled(waiting[0]))?);
            let guarded = !down.contains(&plan.steps[step].id);
            let needed = !waiting.is_empty() || !going.is_empty();
            before = add_turn(list, plan, step, &before, &waiting, guarded, needed);
            for &one in &going {
                for &settled in &before {
                    if !list.before(settled)[list.first[one]] {
                        list.edge(list.first[one], settled);
                    }
                }
            }
        }
    }
    Ok(())
}

/// Those that may have been members, and what has to go before them: a load balancer whose last
/// members they are. They go when the others serve.
fn going(plan: &Plan, kind: &str) -> Vec<usize> {
    let deleted = |step: &usize| plan.steps[*step].action == Action::Delete;
    let members = (0..plan.steps.len()).filter(deleted).filter(|&step| plan.steps[step].id.kind == kind);
    let mut going: Vec<usize> = members.collect();
    let mut at = 0;
    while let Some(&step) = going.get(at) {
        let first = (0..plan.steps.len()).filter(deleted);
        let first = first.filter(|&other| plan.steps[step].needs.contains(&plan.steps[other].id));
        let first: Vec<usize> = first.filter(|other| !going.contains(other)).collect();
        going.extend(first);
        at += 1;
    }
    going
}

/// Answers what the next turn has to wait for.
fn add_turn(
    list: &mut Operations,
    plan: &Plan,
    step: usize,
    before: &[usize],
    later: &[usize],
    guarded: bool,
    settled: bool,
) -> Vec<usize> {
    let (first, last) = (list.first[step], list.last[step]);
    let turn = list.add(step, if guarded { Work::Turn } else { Work::Pass });
    for &need in before {
        list.edge(turn, need);
    }
    // What is taken down because of this one is taken down in its turn.
    let (ahead, past) = (list.before(first), list.before(turn));
    let with_it: Vec<usize> = (0..ahead.len())
        .filter(|&node| node != first && ahead[node] && !past[node] && list.all[node].work == Work::Remove)
        .collect();
    list.edge(first, turn);
    for &node in &with_it {
        list.edge(node, turn);
    }
    if !settled {
        return Vec::new();
    }
    let settle = list.add(step, Work::Settle);
    list.edge(settle, last);
    for node in with_it {
        let back = list.last[list.all[node].step];
        let comes = list.before(back);
        let waits_for_another = later.iter().any(|&other| comes[list.first[other]]);
        if plan.steps[list.all[node].step].action == Action::Replace && !waits_for_another {
            list.edge(settle, back);
        }
    }
    vec![settle]
}

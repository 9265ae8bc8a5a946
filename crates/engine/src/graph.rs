//! Which resource needs which: edges from references and `depends_on`, checked
//! to be without circles, in an order that follows the manifests' own.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::reference::{NAME, Reference, references};
use super::{EngineError, Manifest, ResourceId};

/// The manifests by position, with their edges.
#[derive(Debug)]
pub(super) struct Graph {
    pub ids: Vec<ResourceId>,
    index: BTreeMap<ResourceId, usize>,
    /// By position: what it needs, each once, in the order of the manifest.
    pub needs: Vec<Vec<usize>>,
    /// By position: what its body refers to (a part of `needs`).
    pub refers: Vec<Vec<usize>>,
    /// By position: what needs it.
    pub dependents: Vec<Vec<usize>>,
    /// Every position, each after all that it needs; otherwise in the
    /// manifests' order.
    pub order: Vec<usize>,
}

impl Graph {
    pub fn new(manifests: &[Manifest]) -> Result<Self, EngineError> {
        let ids: Vec<ResourceId> = manifests.iter().map(Manifest::id).collect();
        let mut index = BTreeMap::new();
        for (position, id) in ids.iter().enumerate() {
            if index.insert(id.clone(), position).is_some() {
                return Err(EngineError::Duplicate { id: id.clone() });
            }
        }
        let mut needs = Vec::with_capacity(ids.len());
        let mut refers = Vec::with_capacity(ids.len());
        for (position, manifest) in manifests.iter().enumerate() {
            let referred = referred_by(manifest, position, &index)?;
            let mut all = referred.clone();
            for to in &manifest.depends_on {
                let target = index
                    .get(to)
                    .ok_or_else(|| EngineError::UnknownDependency { from: manifest.id(), to: to.clone() })?;
                if !all.contains(target) {
                    all.push(*target);
                }
            }
            needs.push(all);
            refers.push(referred);
        }
        let mut dependents = vec![Vec::new(); ids.len()];
        for (position, all) in needs.iter().enumerate() {
            for &need in all {
                dependents[need].push(position);
            }
        }
        let order = topological(&needs, &dependents);
        if order.len() < ids.len() {
            let members = cycle(&needs, &order);
            return Err(EngineError::Cycle {
                members: members.into_iter().map(|position| ids[position].clone()).collect(),
            });
        }
        Ok(Self { ids, index, needs, refers, dependents, order })
    }

    pub fn position(&self, id: &ResourceId) -> Option<usize> {
        self.index.get(id).copied()
    }

    pub fn contains(&self, id: &ResourceId) -> bool {
        self.index.contains_key(id)
    }
}

fn referred_by(
    manifest: &Manifest,
    position: usize,
    index: &BTreeMap<ResourceId, usize>,
) -> Result<Vec<usize>, EngineError> {
    let found = references(&manifest.body, &|id| index.contains_key(id))
        .map_err(|malformed| EngineError::BadReference { from: manifest.id(), text: malformed.0 })?;
    let mut targets = Vec::new();
    for Reference { to, field } in found {
        let Some(&target) = index.get(&to) else {
            return Err(EngineError::UnknownReference { from: manifest.id(), to, field });
        };
        // A resource may spell its own name by reference: that needs nothing.
        let own_name = target == position && field == NAME;
        if !own_name && !targets.contains(&target) {
            targets.push(target);
        }
    }
    Ok(targets)
}

/// Kahn's algorithm, the lowest free position first. Members of a cycle, and
/// what needs them, are missing from the result.
pub(super) fn topological(needs: &[Vec<usize>], dependents: &[Vec<usize>]) -> Vec<usize> {
    let mut missing: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut free: BinaryHeap<Reverse<usize>> =
        (0..needs.len()).filter(|&node| missing[node] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(needs.len());
    while let Some(Reverse(node)) = free.pop() {
        order.push(node);
        for &dependent in &dependents[node] {
            missing[dependent] -= 1;
            if missing[dependent] == 0 {
                free.push(Reverse(dependent));
            }
        }
    }
    order
}

/// One cycle among what `order` left out, beginning with its lowest member.
fn cycle(needs: &[Vec<usize>], order: &[usize]) -> Vec<usize> {
    let mut ordered = vec![false; needs.len()];
    for &node in order {
        ordered[node] = true;
    }
    let Some(mut node) = ordered.iter().position(|&done| !done) else { return Vec::new() };
    let mut path = Vec::new();
    // Whatever is left needs something that is left: following that for long
    // enough comes by the same place twice.
    loop {
        if let Some(start) = path.iter().position(|&seen| seen == node) {
            let mut members = path.split_off(start);
            let lowest = (0..members.len()).min_by_key(|&at| members[at]).unwrap_or(0);
            members.rotate_left(lowest);
            return members;
        }
        path.push(node);
        match needs[node].iter().find(|&&need| !ordered[need]) {
            Some(&next) => node = next,
            None => return path,
        }
    }
}

/// Marks everything that can be reached from `from` along `edges`, `from` too.
pub(super) fn reachable(edges: &[Vec<usize>], from: impl IntoIterator<Item = usize>) -> Vec<bool> {
    let mut seen = vec![false; edges.len()];
    let mut open: Vec<usize> = from.into_iter().collect();
    while let Some(node) = open.pop() {
        if !std::mem::replace(&mut seen[node], true) {
            open.extend(edges[node].iter().copied().filter(|&next| !seen[next]));
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn manifest(name: &str, body: Value, depends_on: &[&str]) -> Manifest {
        Manifest {
            depends_on: depends_on.iter().map(|name| ResourceId::new("mem.box", *name)).collect(),
            ..Manifest::new("mem.box", name, body)
        }
    }

    fn names(graph: &Graph) -> Vec<&str> {
        graph.order.iter().map(|&at| graph.ids[at].name.as_str()).collect()
    }

    #[test]
    fn order_follows_the_manifests_where_nothing_else_decides() {
        let graph = Graph::new(&[
            manifest("late", json!({"to": "x${mem.box/base.uid}"}), &["other"]),
            manifest("first", json!({}), &[]),
            manifest("base", json!({}), &[]),
            manifest("other", json!({}), &[]),
        ])
        .unwrap();
        assert_eq!(names(&graph), ["first", "base", "other", "late"]);
        assert_eq!(graph.needs[0], [2, 3]);
        assert_eq!(graph.refers[0], [2]);
        assert_eq!(graph.dependents[2], [0]);
    }

    #[test]
    fn a_cycle_is_told_by_its_members_in_order() {
        let error = Graph::new(&[
            manifest("outside", json!({}), &["b"]),
            manifest("b", json!({"to": "${mem.box/c.uid}"}), &[]),
            manifest("a", json!({}), &["b"]),
            manifest("c", json!({}), &["a"]),
        ])
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "resources need each other in a circle: mem.box/b → mem.box/c → mem.box/a → mem.box/b"
        );
    }

    #[test]
    fn a_reference_to_oneself_is_a_cycle_unless_it_is_the_name() {
        assert!(Graph::new(&[manifest("a", json!({"label": "${mem.box/a.name}"}), &[])]).is_ok());
        let error = Graph::new(&[manifest("a", json!({"label": "${mem.box/a.uid}"}), &[])]).unwrap_err();
        assert!(matches!(error, EngineError::Cycle { members } if members.len() == 1));
    }

    #[test]
    fn what_does_not_exist_cannot_be_needed() {
        let error = Graph::new(&[manifest("a", json!({"to": "${mem.box/b.uid}"}), &[])]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "mem.box/a refers to mem.box/b (`uid`), which is not among the resources"
        );
        let error = Graph::new(&[manifest("a", json!({}), &["b"])]).unwrap_err();
        assert!(matches!(error, EngineError::UnknownDependency { .. }));
        let error = Graph::new(&[manifest("a", json!({"to": "${mem.box/b}"}), &[])]).unwrap_err();
        assert!(matches!(error, EngineError::BadReference { .. }));
        let error = Graph::new(&[manifest("a", json!({}), &[]), manifest("a", json!({}), &[])]).unwrap_err();
        assert!(matches!(error, EngineError::Duplicate { .. }));
    }

    proptest! {
        #[test]
        fn every_graph_is_ordered_or_has_a_real_cycle(
            edges in prop::collection::vec((0usize..12, 0usize..12), 0..30)
        ) {
            let manifests: Vec<Manifest> = (0..12)
                .map(|at| {
                    let needs: Vec<String> =
                        edges.iter().filter(|(from, _)| *from == at).map(|(_, to)| to.to_string()).collect();
                    manifest(&at.to_string(), json!({}), &needs.iter().map(String::as_str).collect::<Vec<_>>())
                })
                .collect();
            match Graph::new(&manifests) {
                Ok(graph) => {
                    let at: BTreeMap<usize, usize> =
                        graph.order.iter().enumerate().map(|(place, &node)| (node, place)).collect();
                    prop_assert_eq!(at.len(), 12);
                    for (from, to) in edges {
                        prop_assert!(at[&to] < at[&from]);
                    }
                }
                Err(EngineError::Cycle { members }) => {
                    let nodes: Vec<usize> = members.iter().map(|id| id.name.parse().unwrap()).collect();
                    prop_assert_eq!(Some(&nodes[0]), nodes.iter().min());
                    for (place, &node) in nodes.iter().enumerate() {
                        let next = nodes[(place + 1) % nodes.len()];
                        prop_assert!(edges.contains(&(node, next)));
                    }
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }
}

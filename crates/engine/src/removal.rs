//! In which order resources are taken down: what uses another goes before it.
//!
//! Between manifests the graph tells. An orphan has no manifest: what its body
//! names (a disk's path in an instance) goes after it; where that says nothing,
//! or both name each other, its place is that of its kind.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::graph::{Graph, reachable, topological};
use super::{Observed, Provider};

/// A resource that is to go.
pub(super) struct Deletion<'a> {
    pub observed: &'a Observed,
    /// Its manifest's position in the graph; `None` for an orphan.
    pub position: Option<usize>,
}

/// For each of `deletions`, by position, those that have to be gone before it.
pub(super) fn deletion_needs(
    deletions: &[Deletion<'_>],
    graph: &Graph,
    kinds: &KindOrder,
) -> Vec<Vec<usize>> {
    let mut uses = used_by_graph(deletions, graph);
    add_orphans(&mut uses, deletions, kinds);
    let mut needs = vec![Vec::new(); deletions.len()];
    for (user, used) in uses.iter().enumerate() {
        for &used in used {
            needs[used].push(user);
        }
    }
    needs
}

/// The uses, as (user, used), that the provider knows of these kinds and of those that they use.
pub(super) fn known_uses<'k>(
    provider: &dyn Provider,
    graph: &'k Graph,
    deletions: &'k [Deletion<'_>],
) -> Vec<(&'k str, &'k str)> {
    let deleted = deletions.iter().map(|one| &one.observed.id);
    let mut open: Vec<&str> = graph.ids.iter().chain(deleted).map(|id| id.kind.as_str()).collect();
    let (mut seen, mut known) = (BTreeSet::new(), Vec::new());
    while let Some(user) = open.pop() {
        let uses = provider.spec(user).map_or(&[][..], |spec| spec.uses);
        if seen.insert(user) {
            known.extend(uses.iter().map(|used| (user, *used)));
            open.extend(uses);
        }
    }
    known
}

/// Lets `last` go after everything but what has to go after it anyway.
pub(super) fn goes_last(needs: &mut [Vec<usize>], last: usize) {
    let mut after = vec![Vec::new(); needs.len()];
    for (node, firsts) in needs.iter().enumerate() {
        for &first in firsts {
            after[first].push(node);
        }
    }
    let later = reachable(&after, [last]);
    needs[last] = (0..needs.len()).filter(|&node| !later[node]).collect();
}

/// Direct use, and use through resources that are not to go.
fn used_by_graph(deletions: &[Deletion<'_>], graph: &Graph) -> Vec<Vec<usize>> {
    let mut at = vec![None; graph.ids.len()];
    for (index, one) in deletions.iter().enumerate() {
        if let Some(position) = one.position {
            at[position] = Some(index);
        }
    }
    deletions
        .iter()
        .map(|one| {
            let mut used = Vec::new();
            let Some(position) = one.position else { return used };
            let mut open = graph.needs[position].clone();
            let mut seen = BTreeSet::new();
            while let Some(need) = open.pop() {
                if seen.insert(need) {
                    match at[need] {
                        Some(index) => used.push(index),
                        None => open.extend(&graph.needs[need]),
                    }
                }
            }
            used.sort_unstable();
            used
        })
        .collect()
}

fn add_orphans(uses: &mut [Vec<usize>], deletions: &[Deletion<'_>], kinds: &KindOrder) {
    let orphan = |index: usize| deletions[index].position.is_none();
    let mentions = Mentions::new(deletions.iter().map(|one| one.observed), kinds);
    for used in 0..deletions.len() {
        for user in mentions.users_of(used).filter(|&user| orphan(user) || orphan(used)) {
            // A hint is not worth a circle.
            if !reachable(uses, [used])[user] {
                uses[user].push(used);
            }
        }
    }
    // By kind only where it agrees with all of that.
    let kind = |index: usize| deletions[index].observed.id.kind.as_str();
    let place = places(uses, &|index| kinds.rank(kind(index)));
    for a in (0..deletions.len()).filter(|&a| orphan(a)) {
        for b in (0..deletions.len()).filter(|&b| b != a) {
            for (user, used) in [(a, b), (b, a)] {
                if place[user] < place[used] && kinds.uses(kind(user), kind(used)) {
                    uses[user].push(used);
                }
            }
        }
    }
    for used in uses {
        used.sort_unstable();
        used.dedup();
    }
}

/// For each node its place in an order in which users come first and, where
/// that leaves a choice, those of the lower `rank`.
fn places(uses: &[Vec<usize>], rank: &dyn Fn(usize) -> usize) -> Vec<usize> {
    let mut by_rank: Vec<usize> = (0..uses.len()).collect();
    by_rank.sort_by_key(|&node| rank(node));
    let mut ranked = vec![0; uses.len()];
    for (at, &node) in by_rank.iter().enumerate() {
        ranked[node] = at;
    }
    let after: Vec<Vec<usize>> =
        by_rank.iter().map(|&node| uses[node].iter().map(|&used| ranked[used]).collect()).collect();
    let mut before = vec![Vec::new(); uses.len()];
    for (at, after) in after.iter().enumerate() {
        for &used in after {
            before[used].push(at);
        }
    }
    let mut places = vec![0; uses.len()];
    for (place, at) in topological(&before, &after).into_iter().enumerate() {
        places[by_rank[at]] = place;
    }
    places
}

/// Which resources, as observed, use which: those that have the other's name
/// among their strings, or a path that ends in it. Where both name each other
/// (a disk its users), the order of their kinds decides.
pub(super) struct Mentions<'a> {
    observed: Vec<&'a Observed>,
    /// By the name, or a path's end; in the order of `observed`, each once.
    by_end: HashMap<&'a str, Vec<usize>>,
    kinds: &'a KindOrder,
}

impl<'a> Mentions<'a> {
    pub fn new(observed: impl IntoIterator<Item = &'a Observed>, kinds: &'a KindOrder) -> Self {
        let observed: Vec<&Observed> = observed.into_iter().collect();
        let mut by_end: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, one) in observed.iter().enumerate() {
            let mut open = vec![&one.body];
            while let Some(value) = open.pop() {
                match value {
                    Value::String(text) => {
                        for end in ends(text) {
                            let users = by_end.entry(end).or_default();
                            if users.last() != Some(&index) {
                                users.push(index);
                            }
                        }
                    }
                    Value::Array(items) => open.extend(items),
                    Value::Object(map) => open.extend(map.values()),
                    _ => {}
                }
            }
        }
        Self { observed, by_end, kinds }
    }

    /// Those that use the one at `used`, by their position.
    pub fn users_of(&self, used: usize) -> impl Iterator<Item = usize> {
        let kind = |index: usize| self.observed[index].id.kind.as_str();
        self.naming(used).filter(move |&user| {
            // An address tells the rules that use it.
            let told_back = self.kinds.is_known(kind(used), kind(user));
            !told_back
                && (self.naming(user).all(|other| other != used) || self.kinds.uses(kind(user), kind(used)))
        })
    }

    /// Those that name the one at `named`. A name that both have (an instance
    /// and its address) says nothing.
    fn naming(&self, named: usize) -> impl Iterator<Item = usize> {
        let name = self.observed[named].id.name.as_str();
        let all = self.by_end.get(name).map(Vec::as_slice).unwrap_or_default();
        all.iter().copied().filter(move |&user| self.observed[user].id.name != name)
    }
}

/// A path and each of its ends: `a/b/c`, `b/c`, `c`. Scripts are no paths.
fn ends(text: &str) -> impl Iterator<Item = &str> {
    let path = text.len() <= 1024 && !text.contains(char::is_whitespace);
    let whole = path.then_some(text);
    whole.into_iter().chain(text.match_indices('/').filter(move |_| path).map(|(at, _)| &text[at + 1..]))
}

/// Which kinds use which, as far as the manifests show and the provider knows.
pub(super) struct KindOrder {
    index: BTreeMap<String, usize>,
    reach: Vec<Vec<bool>>,
    known: BTreeSet<(String, String)>,
}

impl KindOrder {
    /// `known` are pairs of user and used.
    pub fn new(graph: &Graph, known: &[(&str, &str)]) -> Self {
        let mut index = BTreeMap::new();
        let known_kinds = known.iter().flat_map(|(user, used)| [*user, *used]);
        for kind in graph.ids.iter().map(|id| id.kind.as_str()).chain(known_kinds) {
            let next = index.len();
            index.entry(kind.to_owned()).or_insert(next);
        }
        let mut edges = vec![Vec::new(); index.len()];
        for (user, used) in known {
            edges[index[*user]].push(index[*used]);
        }
        for (position, needs) in graph.needs.iter().enumerate() {
            let user = index[&graph.ids[position].kind];
            for &need in needs {
                let used = index[&graph.ids[need].kind];
                if used != user && !edges[user].contains(&used) {
                    edges[user].push(used);
                }
            }
        }
        let reach = (0..edges.len()).map(|kind| reachable(&edges, [kind])).collect();
        let known = known.iter().map(|(user, used)| ((*user).to_owned(), (*used).to_owned())).collect();
        Self { index, reach, known }
    }

    fn is_known(&self, user: &str, used: &str) -> bool {
        self.known.contains(&(user.to_owned(), used.to_owned()))
    }

    /// Whether resources of one kind use those of the other, and not the other
    /// way round too.
    fn uses(&self, user: &str, used: &str) -> bool {
        match (self.index.get(user), self.index.get(used)) {
            (Some(&user), Some(&used)) => self.reach[user][used] && !self.reach[used][user],
            _ => false,
        }
    }

    /// Lower for a kind than for all that it uses.
    fn rank(&self, kind: &str) -> usize {
        let used =
            self.index.get(kind).map_or(0, |&kind| self.reach[kind].iter().filter(|used| **used).count());
        self.index.len() - used
    }
}

#[cfg(test)]
mod tests {
    use dorainfra_model::{Manifest, Ownership, ResourceId};
    use serde_json::json;

    use super::*;

    fn manifest(id: &str, needs: &[&str]) -> Manifest {
        let id: ResourceId = id.parse().unwrap();
        Manifest {
            depends_on: needs.iter().map(|id| id.parse().unwrap()).collect(),
            ..Manifest::new(id.kind, id.name, json!({}))
        }
    }

    fn observed(id: &str, body: Value) -> Observed {
        Observed { id: id.parse().unwrap(), body, ownership: Ownership::Ours, applied: None }
    }

    /// For each resource that is deleted, what has to go before it.
    fn order(manifests: &[Manifest], deletions: &[Observed]) -> BTreeMap<String, Vec<String>> {
        order_knowing(manifests, deletions, &[])
    }

    fn order_knowing(
        manifests: &[Manifest],
        deletions: &[Observed],
        known: &[(&str, &str)],
    ) -> BTreeMap<String, Vec<String>> {
        let graph = Graph::new(manifests).unwrap();
        let list: Vec<Deletion<'_>> = deletions
            .iter()
            .map(|observed| Deletion { observed, position: graph.position(&observed.id) })
            .collect();
        deletion_needs(&list, &graph, &KindOrder::new(&graph, known))
            .into_iter()
            .enumerate()
            .map(|(index, needs)| {
                let names = needs.into_iter().map(|need| deletions[need].id.to_string()).collect();
                (deletions[index].id.to_string(), names)
            })
            .collect()
    }

    #[test]
    fn users_go_first_even_through_what_stays() {
        let manifests = [
            manifest("m.bucket/b", &[]),
            manifest("m.grant/g", &["m.bucket/b"]),
            manifest("m.vm/v", &["m.grant/g"]),
        ];
        let needs = order(&manifests, &[observed("m.bucket/b", json!({})), observed("m.vm/v", json!({}))]);
        assert_eq!(needs["m.bucket/b"], ["m.vm/v"]);
        assert!(needs["m.vm/v"].is_empty());
    }

    #[test]
    fn an_orphan_goes_with_its_kind() {
        let manifests = [manifest("m.disk/d", &[]), manifest("m.vm/v", &["m.disk/d"])];
        let needs = order(
            &manifests,
            &[
                observed("m.disk/old", json!({})),
                observed("m.vm/old", json!({})),
                observed("m.disk/d", json!({})),
                observed("m.vm/v", json!({})),
            ],
        );
        assert_eq!(needs["m.disk/old"], ["m.vm/old", "m.vm/v"]);
        assert_eq!(needs["m.disk/d"], ["m.vm/old", "m.vm/v"]);
        assert!(needs["m.vm/old"].is_empty() && needs["m.vm/v"].is_empty());
    }

    #[test]
    fn a_name_in_a_body_orders_unknown_kinds_without_a_circle() {
        let needs = order(
            &[],
            &[
                observed("m.disk/d", json!({"users": ["zones/a/vms/v"]})),
                observed("m.vm/v", json!({"name": "v", "disks": [{"source": "zones/a/disks/d"}]})),
                observed("m.ip/v", json!({"name": "v"})),
                observed("m.rule/r", json!({"target": "d"})),
            ],
        );
        // Disk and instance name each other: that says nothing.
        assert_eq!(needs["m.disk/d"], ["m.rule/r"]);
        assert!(needs["m.vm/v"].is_empty());
        assert_eq!(needs["m.ip/v"], ["m.disk/d"]);
    }

    #[test]
    fn what_a_body_names_counts_more_than_the_kind() {
        // By the manifests disks use instances; this old instance uses a disk.
        let manifests = [manifest("m.vm/v", &[]), manifest("m.disk/d", &["m.vm/v"])];
        let needs = order(
            &manifests,
            &[observed("m.vm/old", json!({"disk": "disks/d"})), observed("m.disk/d", json!({}))],
        );
        assert_eq!(needs["m.disk/d"], ["m.vm/old"]);
        assert!(needs["m.vm/old"].is_empty());
    }

    #[test]
    fn what_the_provider_knows_counts_more_than_what_is_told_back() {
        let deletions = [
            observed("m.ip/front", json!({"users": ["rules/rule"]})),
            observed("m.rule/rule", json!({"address": "10.0.0.1", "backend": "same"})),
            observed("m.backend/same", json!({"groups": ["groups/same"]})),
            observed("m.group/same", json!({})),
        ];
        let known = [("m.rule", "m.ip"), ("m.rule", "m.backend"), ("m.backend", "m.group")];
        let needs = order_knowing(&[], &deletions, &known);
        assert_eq!(needs["m.ip/front"], ["m.rule/rule"]);
        assert_eq!(needs["m.backend/same"], ["m.rule/rule"]);
        assert_eq!(needs["m.group/same"], ["m.rule/rule", "m.backend/same"]);
        assert!(needs["m.rule/rule"].is_empty());
    }

    #[test]
    fn what_goes_last_waits_for_all_but_what_it_uses() {
        // 1 uses 0, 2 uses nothing: 1 goes last, but before 0.
        let mut needs = vec![vec![1], vec![], vec![]];
        goes_last(&mut needs, 1);
        assert_eq!(needs, [vec![1], vec![2], vec![]]);
    }
}

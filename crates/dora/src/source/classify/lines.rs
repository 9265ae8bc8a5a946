//! What the commits' parents tell: what a merge brought, what is built on what, and which
//! changes are copies of others.

use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap, HashSet};

use time::OffsetDateTime;

use super::super::project::{MergedChange, Project};
use super::Run;

/// The commits of a merged branch, among those that are `here`: what its other parents have
/// and its first has not. None for what is no merge, or whose parents nobody reported.
pub(super) fn merged<'a>(project: &'a Project, merge: &str, here: &HashSet<&'a str>) -> Vec<&'a str> {
    // One parent is no merge: what is before it is not looked at, for each commit anew.
    let [first, others @ ..] = parents(project, merge) else { return Vec::new() };
    if others.is_empty() {
        return Vec::new();
    }
    let reachable = |from: &mut dyn Iterator<Item = &String>, not: &HashSet<&str>| -> HashSet<&'a str> {
        let mut found = HashSet::new();
        let mut waiting: Vec<&str> = from.map(String::as_str).collect();
        while let Some(id) = waiting.pop() {
            let Some(id) = here.get(id).copied().filter(|id| !not.contains(id)) else { continue };
            if found.insert(id) {
                waiting.extend(parents(project, id).iter().map(String::as_str));
            }
        }
        found
    };
    let line = reachable(&mut std::iter::once(first), &HashSet::new());
    let mut branch: Vec<&str> = reachable(&mut others.iter(), &line).into_iter().collect();
    branch.sort_unstable();
    branch
}

/// Whether what a merge brought was deployed before: its commits are known, and none of them is `here`.
pub(super) fn was_merged_before(project: &Project, merge: &str, here: &HashSet<&str>) -> bool {
    let others = parents(project, merge).get(1..).unwrap_or_default();
    let known = |id: &String| project.changes.get(id).is_some_and(|change| change.order.is_some());
    others.iter().any(known) && merged(project, merge, here).is_empty()
}

/// By commit, its place in an order in which each one comes after all that it is built on. Of
/// those that are not built on each other, the order stays.
pub(super) fn ages<'a>(
    project: &'a Project,
    commits: impl Iterator<Item = &'a str>,
) -> HashMap<&'a str, usize> {
    let mut ages = HashMap::new();
    let mut begun: HashSet<&str> = HashSet::new();
    for id in commits {
        let mut waiting = vec![id];
        while let Some(id) = waiting.last().copied() {
            if begun.insert(id) {
                let known = parents(project, id).iter().filter_map(|id| project.changes.get_key_value(id));
                waiting.extend(known.map(|(id, _)| id.as_str()).filter(|id| !begun.contains(id)));
                continue;
            }
            waiting.pop();
            let next = ages.len();
            ages.entry(id).or_insert(next);
        }
    }
    ages
}

fn parents<'a>(project: &'a Project, id: &str) -> &'a [String] {
    project.changes.get(id).map_or(&[][..], |change| change.parents.as_slice())
}

/// All that was deployed, in an order in which each commit comes after all that it is built on.
/// Of those that are not built on each other, what was deployed or written first comes first.
pub(super) struct Lines<'a> {
    project: &'a Project,
    places: HashMap<&'a str, usize>,
}

impl<'a> Lines<'a> {
    /// `runs` by time.
    pub fn of(project: &'a Project, runs: &[Run<'a>]) -> Self {
        let mut all: Vec<&str> = Vec::new();
        for run in runs {
            let begin = all.len();
            all.extend(&run.changes);
            all[begin..].sort_by_key(|id| (project.changes.get(*id).and_then(|change| change.at), *id));
            all.push(&run.ran.revision);
        }
        Self { project, places: ages(project, all.into_iter()) }
    }

    pub fn place(&self, id: &str) -> Option<usize> {
        self.places.get(id).copied()
    }

    /// Whether a commit is built on another one; `None`: nobody reported all the commits between.
    pub fn is_built_on(&self, id: &str, other: &str) -> Option<bool> {
        let first = self.place(other)?;
        let mut whole = true;
        let mut seen = HashSet::from([id]);
        let mut waiting = vec![id];
        while let Some(id) = waiting.pop() {
            if id == other {
                return Some(true);
            }
            let parents = parents(self.project, id);
            whole &= !parents.is_empty();
            for parent in parents.iter().map(String::as_str) {
                match self.place(parent) {
                    // What comes before it can't be built on it.
                    Some(place) if place < first => {}
                    Some(_) if seen.insert(parent) => waiting.push(parent),
                    Some(_) => {}
                    None => whole = false,
                }
            }
        }
        whole.then_some(false)
    }

    /// Whether neither of two commits is built on the other one, as far as that is known.
    pub fn are_apart(&self, a: &str, b: &str) -> bool {
        self.is_built_on(a, b) == Some(false) && self.is_built_on(b, a) == Some(false)
    }

    /// Of the commits that `ran` and that this one is built on, the last ones: no other of them is
    /// built on one. The one on its own line of first parents alone, if there is one: what was
    /// merged into it is of other lines.
    pub fn last_that(&self, from: &'a str, ran: impl Fn(&str) -> bool) -> Vec<&'a str> {
        #[derive(Clone, Copy)]
        struct State {
            on_first_parents: bool,
            /// One that ran is built on it.
            before: bool,
        }
        let (mut found, mut open) = (Vec::new(), 1);
        let mut states = HashMap::from([(from, State { on_first_parents: true, before: false })]);
        let mut waiting = BinaryHeap::from([(self.place(from).unwrap_or(usize::MAX), from)]);
        while open > 0
            && let Some((place, id)) = waiting.pop()
        {
            let State { on_first_parents, before } = states[id];
            open -= usize::from(!before);
            let is_one = !before && id != from && ran(id);
            if is_one && on_first_parents {
                return vec![id];
            }
            found.extend(is_one.then_some(id));
            let before = before || is_one;
            for (nth, parent) in parents(self.project, id).iter().enumerate() {
                // Only who reports a ring has one that comes later.
                let Some(at) = self.place(parent).filter(|at| *at < place) else { continue };
                let on_first_parents = on_first_parents && nth == 0;
                match states.entry(parent.as_str()) {
                    Entry::Vacant(state) => {
                        state.insert(State { on_first_parents, before });
                        waiting.push((at, parent));
                        open += usize::from(!before);
                    }
                    Entry::Occupied(mut state) => {
                        let state = state.get_mut();
                        open -= usize::from(before && !state.before);
                        state.on_first_parents |= on_first_parents;
                        state.before |= before;
                    }
                }
            }
        }
        found
    }
}

/// What is one change, whichever branch it is on.
#[derive(Default)]
pub(super) struct Copies<'a> {
    /// Of each commit that was deployed or picked, the copy that was deployed first.
    commits: HashMap<&'a str, &'a str>,
    /// A copy keeps the time at which it was written, and its title.
    written: HashMap<(OffsetDateTime, &'a str), &'a str>,
    /// Of those of which there are several, by the first one: all that were deployed, in that order.
    several: HashMap<&'a str, Vec<&'a str>>,
}

impl<'a> Copies<'a> {
    /// Whether it is the first of its copies.
    pub fn insert(&mut self, id: &'a str, change: &'a MergedChange) -> bool {
        // Who tells no title tells too little: two may be written in one second.
        let written = change.at.map(|at| (at, change.title.as_str())).filter(|(_, title)| !title.is_empty());
        let picked = change.picked.as_deref();
        let first = self.commits.get(id).or_else(|| self.commits.get(picked?));
        let first = first.or_else(|| self.written.get(&written?)).copied().unwrap_or(id);
        for commit in [Some(id), picked].into_iter().flatten() {
            self.commits.entry(commit).or_insert(first);
        }
        if let Some(written) = written {
            self.written.entry(written).or_insert(first);
        }
        if first != id {
            self.several.entry(first).or_insert_with(|| vec![first]).push(id);
        }
        first == id
    }

    /// The copies that were deployed before this one.
    pub fn before(&self, id: &str) -> &[&'a str] {
        let all = self.all(id);
        &all[..all.iter().position(|copy| *copy == id).unwrap_or_default()]
    }

    fn all(&self, id: &str) -> &[&'a str] {
        let all = self.commits.get(id).and_then(|first| self.several.get(first));
        all.map_or(&[], Vec::as_slice)
    }

    /// The copy that was deployed first: what is one change has one name.
    pub fn first(&self, id: &'a str) -> &'a str {
        self.commits.get(id).copied().unwrap_or(id)
    }

    /// All of which there are several, with the first of each.
    pub fn all_of_several(&self) -> impl Iterator<Item = (&'a str, &[&'a str])> {
        self.several.iter().map(|(first, all)| (*first, all.as_slice()))
    }
}

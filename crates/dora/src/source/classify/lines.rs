//! What the commits' parents tell: what a merge brought, what is built on what, and which
//! changes are copies of others.

use std::collections::{HashMap, HashSet, VecDeque};

use time::OffsetDateTime;

use super::super::project::{MergedChange, Project};

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

    /// The copy of a change that `on` is built on; the change itself, where nobody knows better.
    pub fn of_line(&self, project: &'a Project, change: &'a str, on: &'a str) -> &'a str {
        let all = self.all(change);
        if all.is_empty() {
            return change;
        }
        let mut nearest = None;
        let mut seen = HashSet::from([on]);
        let mut waiting = VecDeque::from([on]);
        while let Some(id) = waiting.pop_front() {
            if id == change {
                return change;
            }
            nearest = nearest.or_else(|| all.iter().copied().find(|copy| *copy == id));
            waiting.extend(parents(project, id).iter().map(String::as_str).filter(|id| seen.insert(id)));
        }
        nearest.unwrap_or(change)
    }
}

//! What takes back what, and what of it users saw. Something that is taken back before it
//! was ever deployed has failed nobody, and what takes back a revert gives it back.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::message::{depth, named, plain, reapplied};
use super::super::project::{MergedChange, Project};
use super::super::rules::Rules;
use super::Run;
use super::lines::Copies;

/// The reverts among what was deployed.
#[derive(Default)]
pub(super) struct Reverts<'a> {
    all: HashMap<&'a str, Revert<'a>>,
    /// What is taken back by the very deployment that brought it, and what does that.
    unseen: HashSet<&'a str>,
}

/// A change that takes back others.
struct Revert<'a> {
    targets: Vec<&'a str>,
    /// Whether it says what it takes back, be that known or not.
    names: bool,
    does: Does,
}

/// What a change does. One that takes back a change and a revert together does both.
#[derive(Clone, Copy, Default)]
struct Does {
    /// 1: it takes something back; 2: it takes a revert back, and gives something back.
    depth: usize,
    gives: bool,
    takes: bool,
}

impl Does {
    /// What its title says.
    fn of(depth: usize) -> Self {
        Self { depth, gives: depth.is_multiple_of(2), takes: !depth.is_multiple_of(2) }
    }
}

impl<'a> Reverts<'a> {
    /// `runs` by time, each with what it brought first.
    pub fn among(project: &'a Project, rules: &Rules, runs: &[Run<'a>], copies: &Copies<'a>) -> Self {
        let change = |id: &str| project.changes.get(id);
        let known = Known::of(project, runs);
        let mut reverts = Self::default();
        for id in runs.iter().flat_map(|run| &run.changes) {
            let Some(change) = change(id).filter(|change| !change.elsewhere) else { continue };
            let by_title = rules.revert.matches(&change.title);
            if !by_title && change.reverts.is_empty() && reapplied(&change.title).is_none() {
                continue;
            }
            let (targets, names) = known.targets(id, change, by_title);
            let targets = targets.into_iter().map(|target| copies.of_line(project, target, id)).collect();
            reverts.all.insert(id, Revert { targets, names, does: Does::default() });
        }
        let all = reverts.what_they_do(project);
        let gives = |id: &str| all.get(id).copied().unwrap_or_else(|| said(project, id)).gives;
        for (id, revert) in &mut reverts.all {
            revert.does = all[id];
        }
        for run in runs {
            reverts.settle(project, run, &gives);
        }
        for run in runs {
            for id in &run.changes {
                reverts.leave_to_others(id, copies);
            }
        }
        for revert in reverts.all.values_mut().filter(|revert| revert.does.takes) {
            // What is given back by it has failed nobody.
            revert.targets.retain(|target| gives(target));
        }
        reverts
    }

    /// A copy takes back what its own line has. What the first one took back has failed once.
    fn leave_to_others(&mut self, id: &str, copies: &Copies<'a>) {
        let before = copies.before(id).iter().filter_map(|copy| self.all.get(copy));
        let mut before = before.peekable();
        if before.peek().is_none() {
            return;
        }
        let taken: HashSet<&str> = before.flat_map(|revert| revert.targets.iter().copied()).collect();
        if let Some(revert) = self.all.get_mut(id) {
            revert.targets.retain(|target| !taken.contains(target));
            revert.does.takes &= !revert.targets.is_empty();
        }
    }

    /// What each revert does: the contrary of what its targets do, whichever was read first. A
    /// chain may be as long as the history, so this keeps its own stack.
    fn what_they_do(&self, project: &'a Project) -> HashMap<&'a str, Does> {
        let mut all: HashMap<&str, Does> = HashMap::new();
        let mut begun: HashSet<&str> = HashSet::new();
        let mut ids: Vec<&str> = self.all.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let mut waiting = vec![id];
            while let Some(id) = waiting.last().copied() {
                let targets = &self.all[id].targets;
                if begun.insert(id) {
                    // Those that were begun and have no depth yet take each other back in a ring.
                    let open = |target: &&&str| self.all.contains_key(**target) && !begun.contains(**target);
                    waiting.extend(targets.iter().filter(open));
                    continue;
                }
                waiting.pop();
                let its = targets.iter().map(|target| all.get(target).copied());
                let its = its.zip(targets).map(|(does, id)| does.unwrap_or_else(|| said(project, id)));
                let contrary = its.reduce(|a, b| Does {
                    depth: a.depth.max(b.depth),
                    gives: a.gives || b.gives,
                    takes: a.takes || b.takes,
                });
                let does = match contrary {
                    Some(Does { depth, gives, takes }) if !reapplies(project, id) => {
                        Does { depth: depth + 1, gives: takes, takes: gives }
                    }
                    _ => Does::of(said(project, id).depth.max(1)),
                };
                all.insert(id, does);
            }
        }
        all
    }

    /// What comes and goes in one deployment. The last word first: a revert that is taken
    /// back itself takes nothing back.
    fn settle(&mut self, project: &'a Project, run: &Run<'a>, gives: &impl Fn(&str) -> bool) {
        let here: HashSet<&str> = run.changes.iter().copied().collect();
        let mut reverts: Vec<&str> =
            run.changes.iter().filter(|id| self.all.contains_key(*id)).copied().collect();
        reverts.sort_by_key(|id| std::cmp::Reverse((self.all[id].does.depth, *id)));
        for id in reverts {
            if self.unseen.contains(id) {
                continue;
            }
            let Some(revert) = self.all.get_mut(id) else { continue };
            let inside: Vec<&str> = revert.targets.iter().filter(|id| here.contains(*id)).copied().collect();
            if !inside.is_empty() && inside.len() == revert.targets.len() {
                self.unseen.insert(id);
            } else if !inside.is_empty() {
                revert.targets.retain(|target| !here.contains(target));
                revert.does.takes &= revert.targets.iter().any(|target| gives(target));
            }
            for target in inside {
                self.unseen.extend(super::merged(project, target, &here));
                self.unseen.insert(target);
            }
        }
    }

    /// Whether users saw nothing of it.
    pub fn unseen(&self, id: &str) -> bool {
        self.unseen.contains(id)
    }

    /// Whether it takes something back that users had.
    pub fn takes_back(&self, id: &str) -> bool {
        !self.unseen(id) && self.all.get(id).is_some_and(|revert| revert.does.takes)
    }

    /// What it takes back, and whether that is all that it says: nothing else is to blame.
    pub fn targets(&self, id: &str) -> (&[&'a str], bool) {
        self.all.get(id).map_or((&[], false), |revert| (&revert.targets, revert.names))
    }
}

/// What the title of a change says that it does.
fn said(project: &Project, id: &str) -> Does {
    Does::of(project.changes.get(id).map_or(0, |change| depth(&change.title)))
}

fn reapplies(project: &Project, id: &str) -> bool {
    project.changes.get(id).is_some_and(|change| reapplied(&change.title).is_some())
}

/// What was deployed, by everything that it is called, the newest last.
struct Known<'a> {
    project: &'a Project,
    deployed: HashSet<&'a str>,
    names: BTreeMap<&'a str, Vec<&'a str>>,
    requests: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Known<'a> {
    fn of(project: &'a Project, runs: &[Run<'a>]) -> Self {
        let mut known =
            Self { project, deployed: HashSet::new(), names: BTreeMap::new(), requests: BTreeMap::new() };
        for run in runs {
            let brought = run.changes.iter().filter_map(|id| Some((project.changes.get(*id)?, *id)));
            let mut brought: Vec<_> = brought.filter(|(change, _)| !change.elsewhere).collect();
            brought.sort_by_key(|(change, id)| (change.at, *id));
            for (change, id) in brought {
                known.deployed.insert(id);
                known.names.entry(&change.title).or_default().push(id);
                let short = plain(&change.title);
                if short != change.title {
                    known.names.entry(short).or_default().push(id);
                }
                for request in &change.requests {
                    known.requests.entry(request).or_default().push(id);
                }
            }
        }
        known
    }

    /// What a change takes back, and whether it says so itself.
    fn targets(&self, id: &'a str, change: &'a MergedChange, by_title: bool) -> (Vec<&'a str>, bool) {
        if !change.reverts.is_empty() {
            let target = |named: &String| match named.starts_with(['#', '!']) {
                true => self.newest(self.requests.get(named.as_str())?, id, change),
                false => self.hash(named),
            };
            let mut targets: Vec<&str> = change.reverts.iter().filter_map(target).collect();
            targets.dedup();
            // Who names a commit that nobody knows, or another project's request, means no other of
            // the same title. A request of one's own that no commit tells of may have landed by a
            // rebase, which leaves its commits as they were: then the title says which.
            let by_request = change.reverts.iter().all(|named| named.starts_with(['#', '!']));
            if !targets.is_empty() || !by_request {
                return (targets, true);
            }
        }
        if let Some(again) = reapplied(&change.title) {
            let revert = |(title, ids): (&&'a str, &Vec<&'a str>)| {
                named(title).filter(|(name, _)| *name == again || plain(name) == again)?;
                self.newest(ids, id, change)
            };
            return (self.names.iter().rev().find_map(revert).into_iter().collect(), true);
        }
        let Some((name, quoted)) = named(&change.title).filter(|_| by_title) else {
            return (Vec::new(), !change.reverts.is_empty());
        };
        let called = [name, plain(name)].into_iter().filter_map(|name| self.names.get(name));
        // Who names a request means none that came with another one.
        let without =
            |other: &&str| self.project.changes.get(*other).is_some_and(|it| it.requests.is_empty());
        let mut found = called.filter_map(|ids| match change.reverts.is_empty() {
            true => self.newest(ids, id, change),
            false => self.newest(&ids.iter().copied().filter(without).collect::<Vec<_>>(), id, change),
        });
        let found = found.next();
        (found.into_iter().collect(), quoted || found.is_some() || !change.reverts.is_empty())
    }

    /// Of several with one name it is the newest that was there to be taken back.
    fn newest(&self, ids: &[&'a str], id: &str, revert: &MergedChange) -> Option<&'a str> {
        let before = |other: &&&'a str| {
            let at = self.project.changes.get(**other).and_then(|change| change.at);
            **other != id && at.zip(revert.at).is_none_or(|(at, reverted)| at <= reverted)
        };
        ids.iter().rev().find(before).copied()
    }

    /// A change by its hash, or the beginning of it.
    fn hash(&self, named: &str) -> Option<&'a str> {
        let mut longer = self.project.changes.range(named.to_owned()..);
        let (id, _) = longer.next().filter(|(id, _)| id.starts_with(named))?;
        self.deployed.get(id.as_str()).copied()
    }
}

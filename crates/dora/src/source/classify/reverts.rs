//! What takes back what, and what of it users saw. Something that is taken back before it
//! was ever deployed has failed nobody, and what takes back a revert gives it back.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::super::message::{depth, is_number, named, plain, reapplied};
use super::super::project::{MergedChange, Project};
use super::super::rules::Rules;
use super::Run;
use super::lines::{Copies, Lines};

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
    /// 1: it takes something back; 2: it takes a revert back, and gives something back.
    depth: usize,
    /// Whether it takes back something that is no revert.
    takes: bool,
}

/// What a change does to the changes that there are: each by the first of its copies. One that takes
/// back a change and a revert together does both.
#[derive(Clone, Default)]
struct Does<'a> {
    depth: usize,
    gives: BTreeSet<&'a str>,
    takes: BTreeSet<&'a str>,
}

impl<'a> Does<'a> {
    /// What its title says, where that is all that is known.
    fn of(depth: usize, change: &'a str) -> Self {
        let (gives, takes) = match depth.is_multiple_of(2) {
            true => ([change].into(), BTreeSet::new()),
            false => (BTreeSet::new(), [change].into()),
        };
        Self { depth, gives, takes }
    }

    /// The one change that it gives or takes, and whether it gives it.
    fn one(&self) -> Option<(&'a str, bool)> {
        let mut all = self.gives.iter().map(|id| (*id, true)).chain(self.takes.iter().map(|id| (*id, false)));
        all.next().filter(|_| all.next().is_none())
    }
}

impl<'a> Reverts<'a> {
    /// `runs` by time, each with what it brought first.
    pub fn among(
        project: &'a Project,
        rules: &Rules,
        runs: &[Run<'a>],
        copies: &Copies<'a>,
        lines: &Lines<'a>,
    ) -> Self {
        let known = Known::of(project, lines, runs);
        let mut reverts = Self::default();
        for id in runs.iter().flat_map(|run| &run.changes) {
            let Some(change) = project.changes.get(*id).filter(|change| !change.elsewhere) else { continue };
            let by_title = rules.revert.matches(change.does());
            if !by_title && change.takes_back().next().is_none() && reapplied(change.does()).is_none() {
                continue;
            }
            let (targets, names) = known.targets(id, change, by_title);
            reverts.all.insert(id, Revert { targets, names, depth: 0, takes: false });
        }
        reverts.as_of_then(project, copies, lines);
        let all = reverts.what_they_do(project, copies);
        for (id, revert) in &mut reverts.all {
            (revert.depth, revert.takes) = (all[id].depth, !all[id].takes.is_empty());
        }
        let gives = |id: &str| match all.get(id) {
            Some(does) => !does.gives.is_empty(),
            None => said(project, id).is_multiple_of(2),
        };
        for run in runs {
            reverts.settle(project, run, &gives);
        }
        for run in runs {
            for id in &run.changes {
                reverts.leave_to_others(id, copies);
            }
        }
        for revert in reverts.all.values_mut().filter(|revert| revert.takes) {
            // What is given back by it has failed nobody.
            revert.targets.retain(|target| gives(target));
        }
        reverts
    }

    /// Whichever copy a revert names, and whichever landing of what was given back since: what it
    /// takes back is the one that users had it from on its own line, when it was written. It is
    /// the one after which the change was there, and before which it was not.
    fn as_of_then(&mut self, project: &'a Project, copies: &Copies<'a>, lines: &Lines<'a>) {
        let all = self.what_they_do(project, copies);
        // All that gives or takes a change, in the order in which that was done.
        let mut words: HashMap<&str, Vec<(usize, &str, bool)>> = HashMap::new();
        let mut add = |change: &'a str, id: &'a str, gives: bool| {
            let place = lines.place(id).unwrap_or_default();
            words.entry(change).or_default().push((place, id, gives));
        };
        for (id, does) in &all {
            does.takes.iter().for_each(|change| add(change, id, false));
            does.gives.iter().for_each(|change| add(change, id, true));
        }
        for (first, copies) in copies.all_of_several() {
            copies.iter().filter(|id| !all.contains_key(*id)).for_each(|id| add(first, id, true));
        }
        for (change, words) in &mut words {
            if words.iter().all(|(_, id, _)| id != change) && !all.contains_key(change) {
                words.push((lines.place(change).unwrap_or_default(), change, true));
            }
            words.sort_unstable();
        }
        let then = |target: &'a str, id: &'a str| {
            let does = all
                .get(target)
                .cloned()
                .unwrap_or_else(|| Does::of(said(project, target), copies.first(target)));
            let (change, gives) = does.one()?;
            let words = words.get(change)?;
            // It and its target alone: there is nothing to choose.
            if words.len() <= 2 {
                return None;
            }
            let (mut there, mut found) = (false, None);
            for (_, word, gives_it) in
                words.iter().filter(|(_, word, _)| known_before(project, lines, word, id))
            {
                let turns = *gives_it != there;
                there = *gives_it;
                // Users had it since it came; what took it back last is what there is to undo.
                if there == gives && (turns || !gives) {
                    found = Some(*word);
                }
            }
            found
        };
        let chosen = self.all.iter().map(|(id, revert)| {
            let targets = revert.targets.iter().map(|target| then(target, id).unwrap_or(target));
            (*id, once(targets))
        });
        let chosen: Vec<(&str, Vec<&str>)> = chosen.collect();
        for (id, targets) in chosen {
            if let Some(revert) = self.all.get_mut(id) {
                revert.targets = targets;
            }
        }
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
            revert.takes &= !revert.targets.is_empty();
        }
    }

    /// What each revert does: the contrary of what its targets do, whichever was read first. A
    /// chain may be as long as the history, so this keeps its own stack.
    fn what_they_do(&self, project: &'a Project, copies: &Copies<'a>) -> HashMap<&'a str, Does<'a>> {
        let mut all: HashMap<&str, Does<'a>> = HashMap::new();
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
                if all.contains_key(id) {
                    continue;
                }
                let mut does = Does::default();
                for target in targets {
                    let its = all.get(target).cloned();
                    let its = its.unwrap_or_else(|| Does::of(said(project, target), copies.first(target)));
                    does.depth = does.depth.max(its.depth + 1);
                    does.takes.extend(its.gives);
                    does.gives.extend(its.takes);
                }
                let depth = said(project, id).max(1);
                if targets.is_empty() {
                    does = Does::of(depth, copies.first(id));
                } else if reapplies(project, id) {
                    does.depth = does.depth.max(depth);
                    does.gives.append(&mut does.takes);
                }
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
        reverts.sort_by_key(|id| std::cmp::Reverse((self.all[id].depth, *id)));
        for id in reverts {
            if self.unseen.contains(id) {
                continue;
            }
            let Some(revert) = self.all.get_mut(id) else { continue };
            let mut inside: Vec<&str> =
                revert.targets.iter().filter(|id| here.contains(*id)).copied().collect();
            if !inside.is_empty() && inside.len() == revert.targets.len() {
                inside.push(id);
            } else if !inside.is_empty() {
                revert.targets.retain(|target| !here.contains(target));
                revert.takes &= revert.targets.iter().any(|target| gives(target));
            }
            for unseen in inside {
                self.unseen.extend(super::merged(project, unseen, &here));
                self.unseen.insert(unseen);
            }
        }
    }

    /// Whether users saw nothing of it.
    pub fn unseen(&self, id: &str) -> bool {
        self.unseen.contains(id)
    }

    /// Whether it takes something back that users had.
    pub fn takes_back(&self, id: &str) -> bool {
        !self.unseen(id) && self.all.get(id).is_some_and(|revert| revert.takes)
    }

    /// What it takes back, and whether that is all that it says: nothing else is to blame.
    pub fn targets(&self, id: &str) -> (&[&'a str], bool) {
        self.all.get(id).map_or((&[], false), |revert| (&revert.targets, revert.names))
    }
}

/// How often the title of a change says that it takes back.
fn said(project: &Project, id: &str) -> usize {
    project.changes.get(id).map_or(0, |change| depth(change.does()))
}

fn reapplies(project: &Project, id: &str) -> bool {
    project.changes.get(id).is_some_and(|change| reapplied(change.does()).is_some())
}

/// Whether a commit was there when another one was written: that is built on it, or, where nobody
/// knows that, it was deployed and written later.
fn known_before(project: &Project, lines: &Lines<'_>, id: &str, revert: &str) -> bool {
    let at = |id: &str| project.changes.get(id).and_then(|change| change.at);
    id != revert
        && lines.is_built_on(revert, id).unwrap_or_else(|| {
            lines.place(id) < lines.place(revert) && at(id).zip(at(revert)).is_none_or(|(a, b)| a <= b)
        })
}

/// Each of them once, in their order.
fn once<'a>(all: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = HashSet::new();
    all.filter(|id| seen.insert(*id)).collect()
}

/// What was deployed, by everything that it is called.
struct Known<'a, 'b> {
    project: &'a Project,
    lines: &'b Lines<'a>,
    deployed: HashSet<&'a str>,
    names: HashMap<&'a str, Vec<&'a str>>,
    /// Reverts, by what their titles name.
    reverts: HashMap<&'a str, Vec<&'a str>>,
    requests: HashMap<&'a str, Vec<&'a str>>,
}

impl<'a, 'b> Known<'a, 'b> {
    fn of(project: &'a Project, lines: &'b Lines<'a>, runs: &[Run<'a>]) -> Self {
        let mut known = Self {
            project,
            lines,
            deployed: HashSet::new(),
            names: HashMap::new(),
            reverts: HashMap::new(),
            requests: HashMap::new(),
        };
        for id in runs.iter().flat_map(|run| &run.changes) {
            let Some(change) = project.changes.get(*id).filter(|change| !change.elsewhere) else { continue };
            known.deployed.insert(id);
            let titles = [Some(change.title.as_str()), change.merges.as_deref()];
            for title in titles.into_iter().flatten() {
                for name in once([title, plain(title)].into_iter()) {
                    known.names.entry(name).or_default().push(id);
                }
                if let Some((reverted, _)) = named(title) {
                    for name in once([reverted, plain(reverted)].into_iter()) {
                        known.reverts.entry(name).or_default().push(id);
                    }
                }
            }
            for request in &change.requests {
                known.requests.entry(request).or_default().push(id);
            }
        }
        known
    }

    /// What a change takes back, and whether it says so itself.
    fn targets(&self, id: &'a str, change: &'a MergedChange, by_title: bool) -> (Vec<&'a str>, bool) {
        let says: Vec<&str> = change.takes_back().collect();
        let is_request = |named: &&str| named.starts_with(['#', '!']);
        let target = |named: &&str| match is_request(named) {
            true => self.newest(self.requests.get(named)?.iter().copied(), id, change),
            false => self.hash(named),
        };
        let targets = once(says.iter().filter_map(target));
        // Who names a commit that nobody knows, or another project's request, means no other of
        // the same title. A request of one's own that no commit tells of may have landed by a
        // rebase, which leaves its commits as they were: then the title says which. It does below
        // `revert: …` with the number of a ticket, too: digits alone, and no commit's name.
        let conventional = named(change.does()).is_some_and(|(_, quoted)| !quoted);
        let by_title_then = |named: &&str| is_request(named) || conventional && is_number(named);
        if !targets.is_empty() || !says.iter().all(by_title_then) {
            return (targets, true);
        }
        let does = change.does();
        if let Some(again) = reapplied(does) {
            let reverts = self.reverts.get(again).into_iter().flatten().copied();
            return (self.newest(reverts, id, change).into_iter().collect(), true);
        }
        let by_request = says.iter().any(is_request);
        let Some((name, quoted)) = named(does).filter(|_| by_title) else {
            return (Vec::new(), !says.is_empty());
        };
        // Who names a request means none that came with another one.
        let may_be = |other: &&str| {
            !by_request || self.project.changes.get(*other).is_some_and(|it| it.requests.is_empty())
        };
        let called = [name, plain(name)].into_iter().filter_map(|name| self.names.get(name));
        let found =
            called.filter_map(|ids| self.newest(ids.iter().copied().filter(may_be), id, change)).next();
        (found.into_iter().collect(), quoted || found.is_some() || !says.is_empty())
    }

    /// Of several with one name it is the newest on its own line that was there to be taken back;
    /// the newest of all where its line has none, or nobody knows of lines.
    fn newest(&self, ids: impl Iterator<Item = &'a str>, id: &str, revert: &MergedChange) -> Option<&'a str> {
        let at = |id: &str| self.project.changes.get(id).and_then(|change| change.at);
        let place = |id: &str| self.lines.place(id);
        let before = |other: &&str| match at(other).zip(revert.at) {
            Some((at, reverted)) => *other != id && at <= reverted,
            None => place(other) < place(id),
        };
        let mut ids: Vec<&str> = ids.filter(before).collect();
        ids.sort_by_key(|id| std::cmp::Reverse((at(id), place(id))));
        let is_on_line = |other: &&str| self.lines.is_built_on(id, other) == Some(true);
        ids.iter().copied().find(is_on_line).or(ids.first().copied())
    }

    /// A change by its hash, or the beginning of it.
    fn hash(&self, named: &str) -> Option<&'a str> {
        let mut longer = self.project.changes.range(named.to_owned()..);
        let (id, _) = longer.next().filter(|(id, _)| id.starts_with(named))?;
        self.deployed.get(id.as_str()).copied()
    }
}

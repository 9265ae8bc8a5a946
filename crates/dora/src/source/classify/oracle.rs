//! Small histories of two release lines, and what is said of them by keeping, for each commit, all
//! that a checkout of it would have: so slow and so plain that it can be read beside docs/sources.md.
//! It shares nothing with the rules but the facts.

use std::collections::{BTreeMap, BTreeSet};

use super::tests::{change, classified, ran_at};
use crate::source::project::Fact;

/// What a checkout has of each change: whether it is there, and the commit that said so last.
type Content = BTreeMap<usize, (bool, usize)>;

#[derive(Clone)]
struct Commit {
    parents: Vec<usize>,
    title: String,
    message: String,
    at: i64,
    /// The change that it brings, takes back or gives back; none of a merge.
    change: Option<usize>,
    /// It lands a change, or a copy of one: it gives nothing back.
    lands: bool,
    mends: bool,
    content: Content,
}

struct Ran {
    commit: usize,
    at: i64,
    is_rollback: bool,
}

struct Histories {
    seed: u64,
    commits: Vec<Commit>,
    runs: Vec<Ran>,
    /// The last commit of each of the two lines.
    heads: [usize; 2],
    hour: i64,
    changes: usize,
}

impl Histories {
    fn of(seed: u64) -> Self {
        let mut one =
            Self { seed, commits: Vec::new(), runs: Vec::new(), heads: [0; 2], hour: 0, changes: 0 };
        one.lands(0, &[]);
        one.heads = [0; 2];
        one.runs(0, 0, false);
        for _ in 0..one.next(30) {
            let line = one.next(2) as usize;
            match one.next(12) {
                0..=2 => one.lands(line, &[]),
                3 => one.lands(line, &["Hotfix", "hotfix:"]),
                4..=6 => one.takes_back(line),
                7 => one.gives_back(line),
                8 => one.picks(line),
                9 => one.merges(line),
                10 => one.rolls_back(line),
                _ => {}
            }
            if one.next(3) == 0 {
                one.releases(line);
            }
        }
        for line in 0..2 {
            one.releases(line);
        }
        one
    }

    fn next(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below
    }

    fn id(commit: usize) -> String {
        format!("{commit:04}abcdef")
    }

    fn commit(
        &mut self,
        line: usize,
        title: String,
        body: &str,
        change: Option<usize>,
        is_there: bool,
    ) -> usize {
        self.hour += 1;
        let id = self.commits.len();
        let parents: Vec<usize> = if id == 0 { Vec::new() } else { vec![self.heads[line]] };
        let mut content = parents.first().map(|head| self.commits[*head].content.clone()).unwrap_or_default();
        content.extend(change.map(|change| (change, (is_there, id))));
        let message = format!("{title}\n\n{body}");
        let at = self.hour;
        self.commits.push(Commit {
            parents,
            title,
            message,
            at,
            change,
            lands: false,
            mends: false,
            content,
        });
        self.heads[line] = id;
        id
    }

    fn lands(&mut self, line: usize, hotfix: &[&str]) {
        let change = self.changes;
        self.changes += 1;
        // Some have the same title.
        let title = match (hotfix, self.next(3)) {
            ([], 0) => "Update deps".to_owned(),
            ([], _) => format!("Change {change}"),
            (words, _) => format!("{} {change}", words[self.next(words.len() as u64) as usize]),
        };
        let id = self.commit(line, title, "", Some(change), true);
        (self.commits[id].lands, self.commits[id].mends) = (true, !hotfix.is_empty());
    }

    /// The commit that brought a change first on this line.
    fn first(&self, line: usize, change: usize) -> usize {
        let behind = self.behind(self.heads[line]);
        let brings = |id: &&usize| self.commits[**id].change == Some(change) && self.commits[**id].lands;
        *behind.iter().find(brings).expect("it is there")
    }

    /// The changes of a line that are there, or are not there any more.
    fn those(&self, line: usize, there: bool) -> Vec<usize> {
        let content = &self.commits[self.heads[line]].content;
        content.iter().filter(|(_, (is_there, _))| *is_there == there).map(|(change, _)| *change).collect()
    }

    fn takes_back(&mut self, line: usize) {
        let those = self.those(line, true);
        if those.is_empty() {
            return;
        }
        let change = those[self.next(those.len() as u64) as usize];
        let (first, last) = (self.first(line, change), self.commits[self.heads[line]].content[&change].1);
        let title = self.commits[first].title.clone();
        // By its title: only the newest one of that name on this line.
        let behind = self.behind(self.heads[line]);
        let of_title = behind.iter().filter(|id| self.commits[**id].title == title);
        let newest = of_title.max_by_key(|id| (self.commits[**id].at, **id)).copied();
        let is_newest = newest.is_some_and(|id| self.commits[id].change == Some(change));
        let by_hash = |id: usize| format!("This reverts commit {}.", Self::id(id));
        let (title, body) = match self.next(3) {
            0 if is_newest => (format!("Revert \"{title}\""), String::new()),
            1 => (format!("Revert \"{title}\""), by_hash(first)),
            2 => ("Take it back".to_owned(), by_hash(first)),
            _ => (format!("Revert \"{}\"", self.commits[last].title), by_hash(last)),
        };
        self.commit(line, title, &body, Some(change), false);
    }

    fn gives_back(&mut self, line: usize) {
        let those = self.those(line, false);
        if those.is_empty() {
            return;
        }
        let change = those[self.next(those.len() as u64) as usize];
        let (first, last) = (self.first(line, change), self.commits[self.heads[line]].content[&change].1);
        let title = self.commits[first].title.clone();
        if self.next(3) == 0 && self.was_released(last) {
            // As `git cherry-pick` does it: the time and the title of the first.
            let at = self.commits[first].at;
            let id = self.commit(line, title, "", Some(change), true);
            (self.commits[id].at, self.commits[id].lands) = (at, true);
            return;
        }
        let body = format!("This reverts commit {}.", Self::id(last));
        self.commit(line, format!("Reapply \"{title}\""), &body, Some(change), true);
    }

    /// A change of the other line that this one has not.
    fn picks(&mut self, line: usize) {
        let here = self.commits[self.heads[line]].content.clone();
        let there = self.those(1 - line, true);
        let there: Vec<usize> = there.into_iter().filter(|change| !here.contains_key(change)).collect();
        if there.is_empty() {
            return;
        }
        let change = there[self.next(there.len() as u64) as usize];
        let first = self.commits[self.first(1 - line, change)].clone();
        let id = self.commit(line, first.title, "", Some(change), true);
        (self.commits[id].at, self.commits[id].lands) = (first.at, true);
        self.commits[id].mends = first.mends;
    }

    /// The other line into this one, where both did nothing to the same change.
    fn merges(&mut self, line: usize) {
        let [mine, other] = [self.heads[line], self.heads[1 - line]];
        let (behind_mine, behind_other) = (self.behind(mine), self.behind(other));
        let changes = |ids: &BTreeSet<usize>, not: &BTreeSet<usize>| -> BTreeSet<usize> {
            ids.difference(not).filter_map(|id| self.commits[*id].change).collect()
        };
        let (mut both, theirs) = (changes(&behind_mine, &behind_other), changes(&behind_other, &behind_mine));
        both.retain(|change| theirs.contains(change));
        let titles = |ids: &BTreeSet<usize>, not: &BTreeSet<usize>| -> BTreeSet<&str> {
            ids.difference(not).map(|id| self.commits[*id].title.as_str()).collect()
        };
        let same_title = titles(&behind_mine, &behind_other)
            .intersection(&titles(&behind_other, &behind_mine))
            .next()
            .is_some();
        if theirs.is_empty() || !both.is_empty() || same_title {
            return;
        }
        let content = self.commits[other].content.clone();
        let id = self.commit(line, "Merge branch 'other'".into(), "", None, true);
        self.commits[id].parents.push(other);
        self.commits[id].content.extend(theirs.iter().map(|change| (*change, content[change])));
    }

    fn releases(&mut self, line: usize) {
        let head = self.heads[line];
        if self.runs.iter().all(|ran| ran.commit != head) {
            self.hour += 1;
            self.runs(head, self.hour, false);
        }
    }

    fn rolls_back(&mut self, line: usize) {
        let behind = self.behind(self.heads[line]);
        let ran: Vec<usize> =
            self.runs.iter().map(|ran| ran.commit).filter(|commit| behind.contains(commit)).collect();
        self.hour += 1;
        let commit = ran[self.next(ran.len() as u64) as usize];
        self.runs(commit, self.hour, true);
    }

    fn runs(&mut self, commit: usize, at: i64, is_rollback: bool) {
        self.runs.push(Ran { commit, at, is_rollback });
    }

    /// A commit and all that it is built on.
    fn behind(&self, commit: usize) -> BTreeSet<usize> {
        let mut all = BTreeSet::from([commit]);
        // Each one comes after its parents.
        for id in (0..=commit).rev() {
            if all.contains(&id) {
                all.extend(&self.commits[id].parents);
            }
        }
        all
    }

    fn was_released(&self, commit: usize) -> bool {
        self.runs.iter().any(|ran| self.behind(ran.commit).contains(&commit))
    }

    fn facts(&self) -> Vec<Fact> {
        let mut facts = Vec::new();
        for (id, commit) in self.commits.iter().enumerate() {
            let at = (commit.parents.len() < 2).then_some(commit.at);
            let Fact::Landed { id, change: mut landed } = change(&Self::id(id), commit.at, &commit.message)
            else {
                unreachable!("it landed")
            };
            landed.at = landed.at.filter(|_| at.is_some());
            landed.parents = commit.parents.iter().map(|id| Self::id(*id)).collect();
            facts.push(Fact::Landed { id, change: landed });
        }
        let mut before = BTreeSet::new();
        for (index, ran) in self.runs.iter().enumerate() {
            let all = self.behind(ran.commit);
            let new: Vec<String> = all.difference(&before).map(|id| Self::id(*id)).collect();
            let new: Vec<&str> = new.iter().map(String::as_str).collect();
            let Fact::Ran { id, mut deployment } =
                ran_at(&format!("d{index}"), ran.at, &Self::id(ran.commit), &new)
            else {
                unreachable!("it ran")
            };
            deployment.mends = ran.is_rollback;
            facts.push(Fact::Ran { id, deployment });
            before.extend(all);
        }
        facts
    }

    /// Of each deployment whether it is rework, and the failures: what failed, and what mended it.
    fn expected(&self) -> (Vec<bool>, BTreeSet<(usize, usize)>) {
        let (mut rework, mut failures) = (Vec::new(), BTreeSet::new());
        let mut before = BTreeSet::new();
        // Of each commit, the deployment that brought it.
        let mut brought = BTreeMap::new();
        let mut landed = BTreeSet::new();
        for (index, ran) in self.runs.iter().enumerate() {
            let all = self.behind(ran.commit);
            let new: BTreeSet<usize> = all.difference(&before).copied().collect();
            brought.extend(new.iter().map(|id| (*id, index)));
            // What comes and goes in one deployment is nothing to anybody: of all that was done to a
            // change, the last words cancel each other in pairs, and the first one may be left.
            let mut words: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for id in &new {
                if let Some(change) = self.commits[*id].change {
                    words.entry(change).or_default().push(*id);
                }
            }
            let left = words.values().filter(|ids| ids.len() % 2 == 1).map(|ids| ids[0]);
            let (mut mending, mut all, mut causes, mut hotfix) = (0, 0, BTreeSet::new(), ran.is_rollback);
            let copies: BTreeSet<usize> = new
                .iter()
                .filter(|id| self.commits[**id].lands && !landed.insert(self.commits[**id].change))
                .copied()
                .collect();
            for id in left {
                let commit = &self.commits[id];
                let change = commit.change.expect("it has one");
                let was = commit.parents.first().and_then(|it| self.commits[*it].content.get(&change));
                match commit.content[&change] {
                    (true, _) if copies.contains(&id) => {}
                    (true, _) => {
                        all += 1;
                        mending += usize::from(commit.mends);
                        hotfix |= commit.mends;
                    }
                    (false, _) => {
                        (all, mending) = (all + 1, mending + 1);
                        causes.insert(brought[&was.expect("it was there").1]);
                    }
                }
            }
            let is_rework = ran.is_rollback || mending > 0 && 2 * mending >= all;
            if causes.is_empty() && is_rework && hotfix {
                causes.extend(self.before(index));
            }
            failures.extend(causes.into_iter().map(|cause| (cause, index)));
            rework.push(is_rework);
            before.extend(self.behind(ran.commit));
        }
        (rework, failures)
    }

    /// The deployment that ran just before this one on its own line.
    fn before(&self, index: usize) -> Option<usize> {
        let commit = self.runs[index].commit;
        let mine = self.behind(commit);
        let earlier = || (0..index).rev();
        let is_new = earlier().all(|run| !self.behind(self.runs[run].commit).contains(&commit));
        if !is_new {
            let is_one = |run: &usize| {
                let other = self.runs[*run].commit;
                mine.contains(&other) || self.behind(other).contains(&commit)
            };
            return earlier().find(is_one);
        }
        let below: Vec<usize> = earlier().filter(|run| mine.contains(&self.runs[*run].commit)).collect();
        let is_last = |run: &&usize| {
            let commit = self.runs[**run].commit;
            below.iter().all(|other| {
                let other = self.runs[*other].commit;
                other == commit || !self.behind(other).contains(&commit)
            })
        };
        let last: Vec<usize> = below.iter().filter(is_last).copied().collect();
        let mut trunk = vec![commit];
        while let Some(parent) = trunk.last().and_then(|id| self.commits[*id].parents.first()) {
            trunk.push(*parent);
        }
        let on_trunk = last.iter().find(|run| trunk.contains(&self.runs[**run].commit));
        on_trunk.or(last.first()).copied().or(index.checked_sub(1))
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(512))]
    #[test]
    fn rollbacks_reworks_and_reverts_of_two_lines_are_judged_as_a_checkout_of_each_would(seed: u64) {
        let histories = Histories::of(seed);
        let (rework, failures) = histories.expected();
        let reported = classified(histories.facts());
        let mut shown = String::new();
        for (id, commit) in histories.commits.iter().enumerate() {
            shown += &format!("{id} {:?} {} {:?}\n", commit.parents, commit.at, commit.message);
        }
        for (index, is_rework) in rework.iter().enumerate() {
            let kind = if *is_rework { "Rework" } else { "Planned" };
            let line = format!(" {kind} d{index} ");
            let found = reported.lines().any(|it| format!("{it} ").contains(&line));
            proptest::prop_assert!(found, "{line}\n{reported}\n{shown}");
        }
        let mut expected: Vec<String> =
            failures.iter().map(|(cause, by)| format!("d{cause}~d{by}")).collect();
        expected.sort_unstable();
        let mut found: Vec<&str> = super::tests::failures(&reported);
        found.sort_unstable();
        proptest::prop_assert_eq!(&found, &expected, "\n{}\n{}", reported, shown);
    }
}

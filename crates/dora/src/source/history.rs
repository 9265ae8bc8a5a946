//! What many deployments brought, by a list of commits: a page of a hundred of them tells of
//! dozens of deployments, where comparing takes a request for each.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::project::Landed;
use super::rest::Page;
use super::state::ToCompare;

/// From how many comparisons on a list is asked for.
pub(super) const ENOUGH: usize = 10;

/// Commits that one can get to from a commit, the newest first, as far as they were listed. The
/// list of a commit never changes, so one that was cut off is gone on with.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct History {
    begun: bool,
    next: Option<String>,
    pages: usize,
    commits: Vec<(String, Landed)>,
}

/// The base and the head of each comparison that a list can answer.
pub(super) fn wanted(asked: &[ToCompare]) -> Vec<(&str, &str)> {
    let new = asked.iter().filter(|one| !one.bases.contains(&one.head));
    new.filter_map(|one| Some((one.bases.first()?.as_str(), one.head.as_str()))).collect()
}

pub(super) fn is_hash(revision: &str) -> bool {
    matches!(revision.len(), 40 | 64) && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The commit of a revision, which may be a tag.
fn commit<'a>(tags: &'a BTreeMap<String, String>, revision: &'a str) -> &'a str {
    tags.get(revision).map_or(revision, String::as_str)
}

impl History {
    pub fn is_empty(&self) -> bool {
        !self.begun
    }

    pub fn is_begun(&self) -> bool {
        self.begun
    }

    /// Begins with the first page, unless it has begun.
    pub fn begin(&mut self, first: impl FnOnce() -> Option<String>) {
        if !self.begun {
            (self.begun, self.next) = (true, first());
        }
    }

    /// The page to ask for; `None`: all is there, or comparing would be as much to ask for: what
    /// was deployed from other branches is in no page, however many there are.
    pub fn next(&mut self, tags: &BTreeMap<String, String>, wanted: &[(&str, &str)]) -> Option<String> {
        let places = self.places();
        let known = |revision: &str| places.contains_key(commit(tags, revision));
        let complete = wanted.iter().all(|(base, head)| known(base) && known(head));
        if complete || self.pages >= wanted.len().div_ceil(2) {
            self.end();
        }
        self.next.clone()
    }

    pub fn add(&mut self, page: Page<Vec<(String, Landed)>>) {
        self.pages += 1;
        self.commits.extend(page.items);
        self.next = page.next;
    }

    /// No more of it is asked for.
    pub fn end(&mut self) {
        self.next = None;
    }

    fn places(&self) -> HashMap<&str, usize> {
        self.commits.iter().enumerate().rev().map(|(place, (id, _))| (id.as_str(), place)).collect()
    }

    /// What each deployment brought, the oldest commit first, where the list is sure of it: what
    /// ran before is an ancestor of what was deployed, and all between the two was listed.
    pub fn differences(
        &self,
        tags: &BTreeMap<String, String>,
        asked: &[ToCompare],
    ) -> HashMap<String, Vec<(String, Landed)>> {
        let places = self.places();
        let mut told = HashMap::new();
        if places.is_empty() {
            return told;
        }
        // The ancestors of a base, and the base. The next one's are those of this head.
        let mut ancestors = vec![false; self.commits.len()];
        let mut of = None;
        for one in asked.iter().filter(|one| !one.bases.contains(&one.head)) {
            let place = |revision: &str| places.get(commit(tags, revision)).copied();
            let (Some(base), Some(head)) = (one.bases.first().and_then(|base| place(base)), place(&one.head))
            else {
                continue;
            };
            if of != Some(base) {
                ancestors.fill(false);
                self.walk(&places, base, &mut ancestors);
            }
            let (mut new, mut reached, mut unknown) = (Vec::new(), false, false);
            let (mut seen, mut left) = (ancestors.clone(), vec![head]);
            while let Some(place) = left.pop() {
                reached |= place == base;
                if std::mem::replace(&mut seen[place], true) {
                    continue;
                }
                new.push(place);
                for parent in &self.commits[place].1.parents {
                    match places.get(parent.as_str()) {
                        Some(parent) => left.push(*parent),
                        None => unknown = true,
                    }
                }
            }
            if !reached || unknown {
                of = Some(base);
                continue;
            }
            (ancestors, of) = (seen, Some(head));
            // Numbered from the newest.
            new.sort_unstable_by(|a, b| b.cmp(a));
            told.insert(one.id.clone(), new.into_iter().map(|place| self.commits[place].clone()).collect());
        }
        told
    }

    fn walk(&self, places: &HashMap<&str, usize>, from: usize, seen: &mut [bool]) {
        let mut left = vec![from];
        while let Some(place) = left.pop() {
            if !std::mem::replace(&mut seen[place], true) {
                let parents = &self.commits[place].1.parents;
                left.extend(parents.iter().filter_map(|parent| places.get(parent.as_str()).copied()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Each commit's parents are older: they have lower numbers.
    fn ancestors(parents: &[Vec<usize>], of: usize) -> BTreeSet<usize> {
        let (mut seen, mut left) = (BTreeSet::new(), vec![of]);
        while let Some(commit) = left.pop() {
            if seen.insert(commit) {
                left.extend(&parents[commit]);
            }
        }
        seen
    }

    fn listed(parents: &[Vec<usize>], head: usize, pages: usize, size: usize) -> History {
        let mut history = History::default();
        history.begin(|| Some("first".into()));
        let commits: Vec<usize> = ancestors(parents, head).into_iter().rev().collect();
        for page in commits.chunks(size).take(pages) {
            let items = page.iter().map(|commit| {
                let parents = parents[*commit].iter().map(usize::to_string).collect();
                (commit.to_string(), Landed { parents, ..Landed::default() })
            });
            history.add(Page { items: items.collect(), next: None });
        }
        history
    }

    fn deployed(revisions: &[usize]) -> Vec<ToCompare> {
        let each = revisions.windows(2).enumerate().map(|(number, pair)| ToCompare {
            id: format!("d{number}"),
            bases: vec![pair[0].to_string()],
            head: pair[1].to_string(),
            at: time::OffsetDateTime::UNIX_EPOCH,
            lines: false,
        });
        each.collect()
    }

    #[test]
    fn a_merge_brings_its_branch_and_what_is_not_all_listed_is_not_told() {
        // 0 - 1 - 2 - 5: a branch 1 - 3 - 4 was merged with 5.
        let parents = [vec![], vec![0], vec![1], vec![1], vec![3], vec![2, 4]];
        let asked = deployed(&[2, 5]);
        let told = listed(&parents, 5, 9, 9).differences(&BTreeMap::new(), &asked);
        let ids: Vec<&str> = told["d0"].iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["3", "4", "5"]);
        // 3's parent is in no page that was read.
        assert!(listed(&parents, 5, 4, 1).differences(&BTreeMap::new(), &asked).is_empty());
        // 4 is no ancestor of 2, nor the other way round.
        assert!(listed(&parents, 5, 9, 9).differences(&BTreeMap::new(), &deployed(&[4, 2])).is_empty());
    }

    /// What was deployed from another branch is in no page.
    #[test]
    fn a_list_ends_when_it_has_taken_half_of_what_comparing_takes() {
        let asked = deployed(&(0..41).collect::<Vec<_>>());
        let (wanted, mut history) = (wanted(&asked), History::default());
        history.begin(|| Some("page".into()));
        let mut pages = 0;
        while history.next(&BTreeMap::new(), &wanted).is_some() {
            pages += 1;
            history.add(Page { items: Vec::new(), next: Some("page".into()) });
        }
        assert_eq!((wanted.len(), pages), (40, 20));
        // It does not begin again.
        history.begin(|| Some("page".into()));
        assert_eq!(history.next(&BTreeMap::new(), &wanted), None);
    }

    proptest! {
        /// Whatever was merged and however far it was listed, what is told is what git says.
        #[test]
        fn what_is_told_is_the_difference(
            seeds in prop::collection::vec((0usize..1000, 0usize..1000, any::<bool>()), 1..40),
            deployments in prop::collection::vec(0usize..1000, 2..12),
            (pages, size) in (1usize..8, 1usize..12),
        ) {
            let mut parents: Vec<Vec<usize>> = vec![Vec::new()];
            for (first, second, merge) in seeds {
                let newest = parents.len();
                // Mostly one after the other.
                let first = newest - 1 - (first % 3).min(newest - 1);
                let mut own = vec![first];
                if merge && second % newest != first {
                    own.push(second % newest);
                }
                parents.push(own);
            }
            let mut revisions: Vec<usize> = deployments.iter().map(|seed| seed % parents.len()).collect();
            revisions.dedup();
            let head = *revisions.last().unwrap();
            let asked = deployed(&revisions);
            let told = listed(&parents, head, pages, size).differences(&BTreeMap::new(), &asked);
            for one in &asked {
                let (base, head) = (one.bases[0].parse().unwrap(), one.head.parse().unwrap());
                let (before, after) = (ancestors(&parents, base), ancestors(&parents, head));
                if let Some(found) = told.get(&one.id) {
                    let found: Vec<usize> = found.iter().map(|(id, _)| id.parse().unwrap()).collect();
                    let expected: Vec<usize> = after.difference(&before).copied().collect();
                    prop_assert_eq!(found, expected);
                } else {
                    // It tells of all that it can: nothing is left to be asked for without need.
                    let whole = pages * size >= ancestors(&parents, *revisions.last().unwrap()).len();
                    let listed = ancestors(&parents, *revisions.last().unwrap());
                    prop_assert!(!(whole && listed.contains(&head) && after.contains(&base)));
                }
            }
        }
    }
}

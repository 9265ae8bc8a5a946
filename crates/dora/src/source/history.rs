//! What many deployments brought, by a list of commits: a page of a hundred of them tells of
//! dozens of deployments, where comparing takes a request for each.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::compared::{Compared, ToCompare};
use super::project::MergedChange;
use super::rest::Page;

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
    commits: Vec<(String, MergedChange)>,
}

/// The base and the head of each comparison that a list can answer.
pub(super) fn wanted(asked: &[ToCompare]) -> Vec<(&str, &str)> {
    let new = asked.iter().filter(|one| !one.again);
    new.filter_map(|one| Some((one.bases.first()?.as_str(), one.head.as_str()))).collect()
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

    pub fn add(&mut self, page: Page<Vec<(String, MergedChange)>>) {
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

    /// To ask for what deployments brought.
    pub fn differences<'a>(&'a self, tags: &'a BTreeMap<String, String>) -> Differences<'a> {
        Differences {
            history: self,
            tags,
            places: self.places(),
            ancestors: vec![false; self.commits.len()],
            of: None,
        }
    }

    fn walk(&self, places: &HashMap<&str, usize>, from: usize, seen: &mut [bool]) -> bool {
        let (mut left, mut whole) = (vec![from], true);
        while let Some(place) = left.pop() {
            if !std::mem::replace(&mut seen[place], true) {
                let parents = &self.commits[place].1.parents;
                let known = parents.iter().filter_map(|parent| places.get(parent.as_str()).copied());
                let before = left.len();
                left.extend(known);
                whole &= left.len() - before == parents.len();
            }
        }
        whole
    }
}

/// What the commits of a list say of deployments, one after the other.
pub(super) struct Differences<'a> {
    history: &'a History,
    tags: &'a BTreeMap<String, String>,
    places: HashMap<&'a str, usize>,
    /// The ancestors of a base, and the base. The next one's are those of this head.
    ancestors: Vec<bool>,
    of: Option<usize>,
}

impl Differences<'_> {
    fn place(&self, revision: &str) -> Option<usize> {
        self.places.get(commit(self.tags, revision)).copied()
    }

    /// What a deployment brought, the oldest commit first, where the list is sure of it: what ran
    /// before is an ancestor of what was deployed, and all between the two was listed. What the
    /// first deployment had is left out. Answers, too, whether this one has all of that.
    pub fn of(
        &mut self,
        one: &ToCompare,
        compared: &Compared,
    ) -> Option<(Vec<(String, MergedChange)>, bool)> {
        let (base, head) = (self.place(one.bases.first()?)?, self.place(&one.head)?);
        let commits = &self.history.commits;
        if self.of != Some(base) {
            self.ancestors.fill(false);
            self.history.walk(&self.places, base, &mut self.ancestors);
            self.of = Some(base);
        }
        let (mut new, mut reached) = (Vec::new(), false);
        let (mut seen, mut left) = (self.ancestors.clone(), vec![head]);
        while let Some(place) = left.pop() {
            reached |= place == base;
            if std::mem::replace(&mut seen[place], true) {
                continue;
            }
            new.push(place);
            for parent in &commits[place].1.parents {
                left.push(self.places.get(parent.as_str()).copied()?);
            }
        }
        if !reached {
            return None;
        }
        let first = compared.first().and_then(|first| self.place(first));
        if !compared.is_whole(&one.bases[0]) && first.is_none_or(|first| !self.ancestors[first]) {
            let mut of_first = vec![false; commits.len()];
            if !self.history.walk(&self.places, first?, &mut of_first) {
                return None;
            }
            new.retain(|place| !of_first[*place]);
        }
        let whole = compared.is_whole(&one.bases[0]) || first.is_some_and(|first| seen[first]);
        (self.ancestors, self.of) = (seen, Some(head));
        // Numbered from the newest.
        new.sort_unstable_by(|a, b| b.cmp(a));
        Some((new.into_iter().map(|place| commits[place].clone()).collect(), whole))
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
                (commit.to_string(), MergedChange { parents, ..MergedChange::default() })
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
            again: revisions[..=number].contains(&pair[1]),
        });
        each.collect()
    }

    /// What is reported of deployments, of which `revisions` has the first one.
    fn reported(
        history: &History,
        asked: &[ToCompare],
        first: usize,
    ) -> (BTreeMap<String, Vec<usize>>, Compared) {
        let (tags, mut compared) = (BTreeMap::new(), Compared::since(&first.to_string()));
        let (mut differences, mut all) = (history.differences(&tags), BTreeMap::new());
        for one in asked.iter().filter(|one| !one.again) {
            let Some((found, whole)) = differences.of(one, &compared) else { continue };
            compared.done(one.id.clone(), &one.head, whole);
            all.insert(one.id.clone(), found.iter().map(|(id, _)| id.parse().unwrap()).collect());
        }
        drop(differences);
        (all, compared)
    }

    #[test]
    fn a_merge_brings_its_branch_and_what_is_not_all_listed_is_not_told() {
        // 0 - 1 - 2 - 5: a branch 1 - 3 - 4 was merged with 5.
        let parents = [vec![], vec![0], vec![1], vec![1], vec![3], vec![2, 4]];
        let asked = deployed(&[2, 5]);
        assert_eq!(reported(&listed(&parents, 5, 9, 9), &asked, 2).0["d0"], [3, 4, 5]);
        // 3's parent is in no page that was read.
        assert!(reported(&listed(&parents, 5, 4, 1), &asked, 2).0.is_empty());
        // 4 is no ancestor of 2, nor the other way round.
        assert!(reported(&listed(&parents, 5, 9, 9), &deployed(&[4, 2]), 4).0.is_empty());
        // 2 ran already when 1 was deployed again: 5 does not bring it.
        let asked = deployed(&[2, 1, 5]);
        assert_eq!(reported(&listed(&parents, 5, 9, 9), &asked, 2).0["d1"], [3, 4, 5]);
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
        /// Whatever was merged and however far it was listed, what is reported is what git says.
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
            let first = revisions[0];
            let (reported, compared) = reported(&listed(&parents, head, pages, size), &asked, first);
            let listed = ancestors(&parents, head);
            for one in asked.iter().filter(|one| !one.again) {
                let (base, head) = (one.bases[0].parse().unwrap(), one.head.parse().unwrap());
                let (before, after) = (ancestors(&parents, base), ancestors(&parents, head));
                let begun = ancestors(&parents, first);
                if compared.is_whole(&one.head) {
                    prop_assert!(begun.is_subset(&after));
                }
                if let Some(found) = reported.get(&one.id) {
                    let expected: Vec<usize> =
                        after.difference(&before).filter(|commit| !begun.contains(commit)).copied().collect();
                    prop_assert_eq!(found, &expected);
                } else {
                    // It tells of all that it can: nothing is left to be asked for without need.
                    let whole = pages * size >= listed.len() && listed.contains(&first);
                    prop_assert!(!(whole && listed.contains(&head) && after.contains(&base)));
                }
            }
        }
    }
}

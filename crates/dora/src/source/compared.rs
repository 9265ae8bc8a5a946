//! Which deployments of a forge's project are to be compared with which earlier ones.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::project::{DeploymentRecord, Project};

/// Earlier revisions that one is compared with, at most.
const MOST_BASES: usize = 6;

/// A deployment whose changes are to be asked for.
pub(super) struct ToCompare {
    pub id: String,
    /// Earlier revisions: the one before in time, then, if that one is gone, the likeliest. None:
    /// nobody can say what the first one brought.
    pub bases: Vec<String>,
    pub head: String,
    /// When it ran first.
    pub at: OffsetDateTime,
    /// It ran before.
    pub again: bool,
}

/// What was compared, and from where on: nobody tells what the first deployment brought, so what
/// it had is nobody's change.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Compared {
    /// The first deployment, and its revision.
    first: Option<(String, String)>,
    /// Deployments whose changes are known, as seen from that one.
    done: BTreeSet<String>,
    /// Revisions that have all that the first one has.
    whole: BTreeSet<String>,
    /// The commits of revisions that are no commits' names, where they were reported.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub commits: BTreeMap<String, String>,
}

impl Compared {
    /// The deployments whose changes are to be asked for, in the order of time. Where another one
    /// is the first now, all are: what was before it is known, and what it had.
    pub fn asked(&mut self, project: &Project, environment: &str) -> Vec<ToCompare> {
        let mut runs: Vec<_> = project
            .deployments
            .iter()
            .filter(|(_, ran)| ran.environment == environment)
            .filter_map(|(id, ran)| Some((ran.at()?, id, ran)))
            .collect();
        runs.sort_by_key(|(at, id, _)| (*at, *id));
        let first = runs.first().map(|(_, id, ran)| ((*id).clone(), ran.revision.clone()));
        if self.first != first {
            let whole = first.iter().map(|(_, revision)| revision.clone()).collect();
            *self = Self { first, whole, commits: std::mem::take(&mut self.commits), ..Self::default() };
        }
        let mut asked = Vec::new();
        for (index, (at, id, ran)) in runs.iter().enumerate() {
            if ran.changes.is_some() && self.done.contains(*id) {
                continue;
            }
            let alike = |name: &str| name.bytes().zip(ran.name.bytes()).take_while(|(a, b)| a == b).count();
            let mut earlier = runs[..index].iter().rev().map(|(_, _, before)| *before);
            let again = earlier.clone().any(|before| before.revision == ran.revision);
            let before = earlier.next();
            let mut others: Vec<&DeploymentRecord> = earlier.collect();
            others.sort_by_key(|before| std::cmp::Reverse(alike(&before.name)));
            let mut bases: Vec<String> = Vec::new();
            for base in before.into_iter().chain(others).map(|before| &before.revision) {
                if bases.len() < MOST_BASES && !bases.contains(base) {
                    bases.push(base.clone());
                }
            }
            asked.push(ToCompare { id: (*id).clone(), bases, head: ran.revision.clone(), at: *at, again });
        }
        asked
    }

    #[cfg(test)]
    pub fn since(first: &str) -> Self {
        let first = first.to_owned();
        Self { whole: [first.clone()].into(), first: Some((first.clone(), first)), ..Self::default() }
    }

    /// The revision of the first deployment.
    pub fn first(&self) -> Option<&str> {
        self.first.as_ref().map(|(_, revision)| revision.as_str())
    }

    /// Whether a revision is known to have all that the first one has.
    pub fn is_whole(&self, revision: &str) -> bool {
        self.whole.contains(revision)
    }

    /// What a deployment brought is known.
    pub fn done(&mut self, id: String, head: &str, whole: bool) {
        self.done.insert(id);
        if whole {
            self.whole.insert(head.to_owned());
        }
    }

    /// The commit of a revision, where it is known.
    pub fn commit<'a>(&'a self, revision: &'a str) -> Option<&'a str> {
        match is_hash(revision) {
            true => Some(revision),
            false => self.commits.get(revision).map(String::as_str),
        }
    }
}

pub(super) fn is_hash(revision: &str) -> bool {
    matches!(revision.len(), 40 | 64) && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

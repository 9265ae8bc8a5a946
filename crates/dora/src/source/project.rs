//! The facts of one project, as its tools tell them, and how later ones are
//! added: in any order and any number of times, with the same result.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::super::events;
use super::message;

/// All that is known of a project, by the ids that its tools give.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Project {
    /// By their hashes.
    pub changes: BTreeMap<String, MergedChange>,
    pub deployments: BTreeMap<String, DeploymentRecord>,
    pub incidents: BTreeMap<String, Incident>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<String, Failed>,
    /// Changes that have landed: the place of the next one.
    landed: u64,
}

/// A change on the branch that is deployed from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergedChange {
    /// When it was written; `None`: it is no change by itself (a merge), or not known yet.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub at: Option<OffsetDateTime>,
    #[serde(default)]
    pub title: String,
    #[serde(default)]
    pub labels: Vec<String>,
    /// When the tool said so of the labels, and of what the request takes back.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub labelled: Option<OffsetDateTime>,
    /// What it says it takes back: commits by their hashes, requests as `#12` or `!12`, after
    /// the project's name where it is said.
    #[serde(default)]
    pub reverts: Vec<String>,
    /// What the text of the request that it was merged with says, in the same way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request_reverts: Vec<String>,
    /// Of a merge, the title of the request that it brought, where its message says that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merges: Option<String>,
    /// The commit that it is a copy of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picked: Option<String>,
    /// The requests that it came with: `#12`, `!12`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<String>,
    /// It is a change, but `at`, where there is one, is when it landed: nobody knows when it was written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untimed: bool,
    /// When it was merged by a request as this one commit, or as the last of several.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub merged: Option<OffsetDateTime>,
    /// When the first commit of its request was written, where the forge was asked.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub begun: Option<OffsetDateTime>,
    /// The commits that it builds on, where that is reported; those of a merge have the branch that
    /// it went into first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<String>,
    /// It changes nothing of this service, and only has parents: what is built on it is found by them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub elsewhere: bool,
    /// Its place in the order of landing; `None`: only its labels are known yet.
    #[serde(default)]
    pub order: Option<u64>,
}

/// A deployment, however it went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentRecord {
    pub environment: String,
    /// The tag or branch, or the title of a merge.
    #[serde(default)]
    pub name: String,
    /// The commit that runs.
    #[serde(default)]
    pub revision: String,
    /// What was said of it, by time.
    #[serde(default)]
    pub statuses: Vec<Status>,
    /// What it brought there for the first time. `None`: all that landed up to
    /// its revision and was not deployed before.
    #[serde(default)]
    pub changes: Option<Vec<String>>,
    /// Its tool says that it mends what users suffered from.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mends: bool,
}

/// Whether a deployment ran at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    pub ok: bool,
}

/// An issue, which is a failure if its labels say so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    #[serde(with = "time::serde::rfc3339")]
    pub opened: OffsetDateTime,
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub closed: Option<OffsetDateTime>,
    #[serde(default)]
    pub labels: Vec<String>,
    /// When the tool said so: an older word does not replace it.
    #[serde(with = "time::serde::rfc3339")]
    pub updated: OffsetDateTime,
    /// As of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub moved: Option<OffsetDateTime>,
}

/// A failure of which single words are reported, in any order: that it began, that it is over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failed {
    /// Empty: the one that counts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub environment: String,
    /// What was said of it, by time: `ok` is its end.
    pub statuses: Vec<Status>,
    /// The deployment that caused it, where its tool says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// When its tool said whose it is, where it may become another service's: the newest word
    /// counts. `None`: another service's of the same id is another one.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub moved: Option<OffsetDateTime>,
}

/// One thing to be known of a project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "lowercase")]
pub enum Fact {
    Landed {
        id: String,
        change: MergedChange,
    },
    /// What is said of the request that a commit was merged with: labels, and what its text takes back.
    Labelled {
        id: String,
        labels: Vec<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        reverts: Vec<String>,
        /// When the tool said so: an older word does not replace it.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
        updated: Option<OffsetDateTime>,
    },
    /// A request was merged, and this commit is what landed.
    Merged {
        id: String,
        /// `#12`, `!12`
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<String>,
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
        /// When its first commit was written, where that was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
        begun: Option<OffsetDateTime>,
    },
    Ran {
        id: String,
        deployment: DeploymentRecord,
    },
    Reported {
        id: String,
        incident: Incident,
    },
    Failed {
        id: String,
        failure: Failed,
    },
}

impl Fact {
    /// What is wrong with it by itself. Of facts without a problem come events that
    /// can be written and read again.
    pub fn problem(&self) -> Option<String> {
        let (id, times, named): (&str, Vec<OffsetDateTime>, &[(&str, &str)]) = match self {
            Self::Landed { id, change } => (id, change.at.into_iter().collect(), &[]),
            Self::Merged { id, at, begun, .. } => (id, begun.iter().chain([at]).copied().collect(), &[]),
            Self::Labelled { id, updated, .. } => (id, updated.iter().copied().collect(), &[]),
            Self::Ran { id, deployment } => (
                id,
                deployment.statuses.iter().map(|status| status.at).collect(),
                &[("environment", &deployment.environment)],
            ),
            Self::Reported { id, incident } => {
                let times = [Some(incident.opened), incident.closed, Some(incident.updated)];
                (id, times.into_iter().flatten().collect(), &[])
            }
            Self::Failed { id, failure } => {
                (id, failure.statuses.iter().map(|status| status.at).collect(), &[])
            }
        };
        if let Some(problem) = times.into_iter().find_map(events::time_problem) {
            return Some(format!("a time is {problem}"));
        }
        let mut fields = [("id", id)].into_iter().chain(named.iter().copied());
        fields.find(|(_, text)| text.trim().is_empty()).map(|(name, _)| format!("its {name} is empty"))
    }
}

/// A squashed commit is written by the forge while it merges.
const WHILE_MERGING: Duration = Duration::minutes(1);

impl MergedChange {
    /// Whether its title says that it is a request squashed into one commit: `A (#12)`.
    pub(super) fn came_with_request(&self) -> bool {
        message::plain(&self.title) != self.title
    }

    /// What it does: its title, or that of the request that it brought.
    pub(super) fn does(&self) -> &str {
        self.merges.as_deref().unwrap_or(&self.title)
    }

    /// What it says it takes back, or its request does.
    pub(super) fn takes_back(&self) -> impl Iterator<Item = &str> {
        self.reverts.iter().chain(&self.request_reverts).map(String::as_str)
    }

    /// Whether it is a change at all, and no merge of others.
    pub fn is_change(&self) -> bool {
        (self.at.is_some() || self.untimed) && !self.elsewhere
    }

    /// When work on it began; `None`: all that is known is when it landed.
    pub fn begun(&self) -> Option<OffsetDateTime> {
        let squashed =
            self.merged.zip(self.at).is_some_and(|(merged, at)| (merged - at).abs() <= WHILE_MERGING);
        self.begun.or_else(|| self.at.filter(|_| !squashed && !self.untimed))
    }

    /// What a commit's message says of it, or the text of a request.
    pub(super) fn reported(at: Option<OffsetDateTime>, message: &str) -> Self {
        let (title, reverts) = (message::title(message), message::reverted(message));
        let (requests, picked) = (message::requests(message), message::picked(message));
        let merges = message::merged_request(message);
        Self { at, title, reverts, merges, requests, picked, ..Self::default() }
    }
}

impl DeploymentRecord {
    /// When it ran there first.
    pub fn at(&self) -> Option<OffsetDateTime> {
        self.statuses.iter().filter(|status| status.ok).map(|status| status.at).min()
    }

    /// When it was said to have broken, after it had run.
    pub fn broke(&self) -> Option<OffsetDateTime> {
        let ran = self.at()?;
        self.statuses.iter().filter(|status| !status.ok && status.at > ran).map(|status| status.at).min()
    }
}

impl Failed {
    /// When it began; `None`: only its end was reported yet.
    pub fn begun(&self) -> Option<OffsetDateTime> {
        self.statuses.iter().filter(|status| !status.ok).map(|status| status.at).min()
    }

    /// When it was over; `None`: it goes on, or began again.
    pub fn over(&self) -> Option<OffsetDateTime> {
        let last = self.statuses.iter().filter(|status| !status.ok).map(|status| status.at).max()?;
        self.statuses.iter().filter(|status| status.ok && status.at >= last).map(|status| status.at).min()
    }
}

impl Project {
    /// What this project is called, as `owner/name` or its address: what it takes back of another
    /// project is none of its own requests. `None`: nobody knows, and all are taken for its own.
    pub fn is_called(&mut self, name: Option<&str>) {
        let name = name.map(str::to_lowercase);
        let changes = self.changes.values_mut();
        for reverted in changes.flat_map(|it| it.reverts.iter_mut().chain(&mut it.request_reverts)) {
            let Some(at) = reverted.find(['#', '!']) else { continue };
            let place = reverted[..at].to_lowercase();
            let own = name.as_ref().is_none_or(|name| {
                let rest = name.strip_suffix(&place);
                rest.is_some_and(|rest| rest.is_empty() || rest.ends_with(['/', ':']))
            });
            if place.is_empty() || own {
                *reverted = reverted[at..].to_owned();
            }
        }
    }

    /// What another source reported of the same project.
    pub fn merge(&mut self, other: Self) {
        other.facts().into_iter().for_each(|fact| self.add(fact));
    }

    /// All that is known, each thing once: added to nothing, they make this again.
    pub fn facts(self) -> Vec<Fact> {
        let mut all = Vec::new();
        let mut landed: Vec<(String, MergedChange)> = self.changes.into_iter().collect();
        landed.sort_by_key(|(_, change)| change.order);
        for (id, mut change) in landed {
            let (labels, updated) = (std::mem::take(&mut change.labels), change.labelled.take());
            let reverts = std::mem::take(&mut change.request_reverts);
            let (merged, begun, request) =
                (change.merged.take(), change.begun.take(), change.requests.first().cloned());
            if change.order.is_some() {
                all.push(Fact::Landed { id: id.clone(), change });
            }
            if !labels.is_empty() || !reverts.is_empty() || updated.is_some() {
                all.push(Fact::Labelled { id: id.clone(), labels, reverts, updated });
            }
            if let Some(at) = merged {
                all.push(Fact::Merged { id, request, at, begun });
            }
        }
        all.extend(self.deployments.into_iter().map(|(id, deployment)| Fact::Ran { id, deployment }));
        all.extend(self.incidents.into_iter().map(|(id, incident)| Fact::Reported { id, incident }));
        all.extend(self.failures.into_iter().map(|(id, failure)| Fact::Failed { id, failure }));
        all
    }

    pub fn add(&mut self, fact: Fact) {
        match fact {
            Fact::Landed { id, change } => {
                let known = self.changes.entry(id).or_default();
                let order = *known.order.get_or_insert_with(|| {
                    self.landed += 1;
                    self.landed
                });
                known.elsewhere |= change.elsewhere;
                if known.parents.is_empty() {
                    known.parents.clone_from(&change.parents);
                }
                // A push knows a merge's place, and its request when it was written: either may
                // come first.
                if change.at.is_some() && !change.untimed || !known.is_change() {
                    let (labels, labelled) = (std::mem::take(&mut known.labels), known.labelled);
                    let request_reverts = std::mem::take(&mut known.request_reverts);
                    let (merged, begun) = (known.merged, known.begun);
                    let mut requests = std::mem::take(&mut known.requests);
                    requests.extend(change.requests);
                    requests.sort_unstable();
                    requests.dedup();
                    let (order, elsewhere) = (Some(order), known.elsewhere);
                    // Nor does a push know what it was built on, which git does.
                    let parents = match change.parents.is_empty() {
                        true => std::mem::take(&mut known.parents),
                        false => change.parents,
                    };
                    *known = MergedChange {
                        order,
                        labels,
                        labelled,
                        request_reverts,
                        merged,
                        begun,
                        requests,
                        parents,
                        elsewhere,
                        ..change
                    };
                }
            }
            Fact::Merged { id, request, at, begun } => {
                let known = self.changes.entry(id).or_default();
                known.merged = Some(at);
                known.begun = known.begun.into_iter().chain(begun).min();
                known.requests.extend(request);
                known.requests.sort_unstable();
                known.requests.dedup();
            }
            Fact::Labelled { id, labels, reverts, updated } => {
                let known = self.changes.entry(id).or_default();
                if updated >= known.labelled {
                    (known.labels, known.request_reverts, known.labelled) = (labels, reverts, updated);
                }
            }
            Fact::Ran { id, deployment } => {
                let known = self.deployments.entry(id).or_default();
                known.environment = deployment.environment;
                known.statuses.extend(deployment.statuses);
                known.statuses.sort_unstable();
                known.statuses.dedup();
                for (known, new) in
                    [(&mut known.name, deployment.name), (&mut known.revision, deployment.revision)]
                {
                    if !new.is_empty() {
                        *known = new;
                    }
                }
                if deployment.changes.is_some() {
                    known.changes = deployment.changes;
                }
                known.mends |= deployment.mends;
            }
            Fact::Reported { id, incident } => match self.incidents.get_mut(&id) {
                Some(known) if known.updated > incident.updated => {}
                Some(known) => *known = incident,
                None => {
                    self.incidents.insert(id, incident);
                }
            },
            Fact::Failed { id, failure } => {
                let known = self.failures.entry(id).or_default();
                known.statuses.extend(failure.statuses);
                known.statuses.sort_unstable();
                known.statuses.dedup();
                if !failure.environment.is_empty() {
                    known.environment = failure.environment;
                }
                known.deployment = known.deployment.take().or(failure.deployment);
                known.moved = known.moved.max(failure.moved);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_failure_may_end_before_it_is_told_that_it_began_and_begin_again() {
        let word = |at, ok| Fact::Failed {
            id: "f".into(),
            failure: Failed { statuses: vec![Status { at, ok }], ..Failed::default() },
        };
        let (ten, eleven) = (datetime!(2026-03-02 10:00 UTC), datetime!(2026-03-02 11:00 UTC));
        let mut project = Project::default();
        project.add(word(eleven, true));
        assert_eq!((project.failures["f"].begun(), project.failures["f"].over()), (None, None));
        project.add(word(ten, false));
        project.add(word(eleven, true));
        assert_eq!((project.failures["f"].begun(), project.failures["f"].over()), (Some(ten), Some(eleven)));
        let mut again = Project::default();
        again.merge(project.clone());
        assert_eq!(again, project);
        project.add(word(datetime!(2026-03-02 12:00 UTC), false));
        assert_eq!((project.failures["f"].begun(), project.failures["f"].over()), (Some(ten), None));
    }

    /// A push tells a commit's time and not what it was built on, nor whose folders it changes.
    #[test]
    fn what_git_knows_of_a_commit_stays_whatever_a_push_tells_of_it() {
        let at = Some(datetime!(2026-03-02 08:00 UTC));
        let landed = |change| Fact::Landed { id: "c".into(), change };
        let git = |at, elsewhere| {
            landed(MergedChange { at, parents: vec!["p".into()], elsewhere, ..MergedChange::default() })
        };
        let push = || landed(MergedChange { at, title: "C".into(), ..MergedChange::default() });
        for (git, is_change) in [(git(None, true), false), (git(at, false), true)] {
            for facts in [[git.clone(), push()], [push(), git.clone()]] {
                let mut project = Project::default();
                facts.into_iter().for_each(|fact| project.add(fact));
                let change = &project.changes["c"];
                assert_eq!((change.parents.len(), change.is_change()), (1, is_change), "{change:?}");
            }
        }
    }

    #[test]
    fn facts_may_come_again_and_in_any_order() {
        let status = |at, ok| Fact::Ran {
            id: "d".into(),
            deployment: DeploymentRecord {
                environment: "production".into(),
                statuses: vec![Status { at, ok }],
                ..DeploymentRecord::default()
            },
        };
        let facts = [
            status(datetime!(2026-03-02 12:00 UTC), false),
            status(datetime!(2026-03-02 10:00 UTC), true),
            status(datetime!(2026-03-02 09:00 UTC), false),
            Fact::Labelled {
                id: "c".into(),
                labels: vec!["hotfix".into()],
                reverts: Vec::new(),
                updated: None,
            },
            Fact::Landed {
                id: "c".into(),
                change: MergedChange { at: Some(datetime!(2026-03-02 08:00 UTC)), ..MergedChange::default() },
            },
        ];
        let mut project = Project::default();
        facts.iter().chain(&facts).for_each(|fact| project.add(fact.clone()));
        let mut backwards = Project::default();
        facts.iter().rev().for_each(|fact| backwards.add(fact.clone()));
        assert_eq!(project.deployments, backwards.deployments);
        let deployment = &project.deployments["d"];
        assert_eq!(deployment.at(), Some(datetime!(2026-03-02 10:00 UTC)));
        assert_eq!(deployment.broke(), Some(datetime!(2026-03-02 12:00 UTC)));
        assert_eq!(project.changes["c"].labels, ["hotfix"]);
        assert_eq!(project.changes, backwards.changes);
        let mut merged = backwards.clone();
        merged.merge(project.clone());
        assert_eq!(merged, project);
    }
}

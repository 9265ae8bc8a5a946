//! Facts → events: what is a deployment, a change, a failure, a recovery.
//! docs/sources.md says the same in words; a change here is a change there.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use time::OffsetDateTime;

use super::super::events::{Change, Deployment, Event, Failure, Kind, Recovery};
use super::super::metrics::OUTCOME_WINDOW;
use super::project::{Landed, Project, Ran};
use super::rules::{Owner, Rules};

/// The events of an owner, sorted by time. Of the same facts and rules, the same.
pub fn events(project: &Project, owner: &Owner, rules: &Rules) -> Vec<Event> {
    let judge = Judge { project, owner, rules, prefix: owner.prefix() };
    let runs = judge.runs();
    let mut events = Vec::new();
    judge.deployed(&runs, &mut events);
    let mut blamed = judge.incidents(&runs, &mut events);
    judge.broken(&runs, &mut blamed, &mut events);
    judge.mended(&runs, &blamed, &mut events);
    super::store::sort(&mut events);
    events
}

struct Judge<'a> {
    project: &'a Project,
    owner: &'a Owner,
    rules: &'a Rules,
    prefix: String,
}

/// A deployment that ran, with what it brought first.
struct Run<'a> {
    id: &'a str,
    at: OffsetDateTime,
    ran: &'a Ran,
    changes: Vec<&'a str>,
    kind: Kind,
}

/// Changes by their titles.
type Titles<'a> = BTreeMap<&'a str, Vec<&'a str>>;

impl<'a> Judge<'a> {
    /// What ran in the owner's environment, by time. Each change is with the
    /// deployment that brought it first.
    fn runs(&self) -> Vec<Run<'a>> {
        let here =
            self.project.deployments.iter().filter(|(_, ran)| ran.environment == self.owner.environment);
        let mut runs: Vec<Run<'a>> = here
            .filter_map(|(id, ran)| {
                Some(Run { id, at: ran.at()?, ran, changes: Vec::new(), kind: Kind::Planned })
            })
            .collect();
        runs.sort_by(|a, b| (a.at, a.id).cmp(&(b.at, b.id)));

        let changes = self.project.changes.iter().filter(|(_, change)| change.order.is_some());
        let mut landed: Vec<(&str, &Landed)> = changes.map(|(id, change)| (id.as_str(), change)).collect();
        landed.sort_by_key(|(_, change)| change.order);
        let place: HashMap<&str, usize> =
            landed.iter().enumerate().map(|(place, (id, _))| (*id, place)).collect();
        let mut deployed: HashSet<&str> = HashSet::new();
        for run in &mut runs {
            let brought: Vec<&str> = match &run.ran.changes {
                Some(changes) => changes.iter().map(String::as_str).collect(),
                None => match place.get(run.ran.revision.as_str()) {
                    Some(last) => landed[..=*last].iter().map(|(id, _)| *id).collect(),
                    None => Vec::new(),
                },
            };
            run.changes = brought.into_iter().filter(|id| deployed.insert(id)).collect();
            run.kind = self.kind(run);
        }
        runs
    }

    /// Rework: its name says so, or at least half of its changes mend something.
    fn kind(&self, run: &Run<'_>) -> Kind {
        let mending = run.changes.iter().filter(|id| self.mends(id)).count();
        // Merges are no changes, but a hotfix's branch or label may be known by them.
        let all = run.changes.iter().filter(|id| self.writes(id) || self.mends(id)).count();
        let named = self.rules.hotfix.matches(&run.ran.name) || self.rules.revert.matches(&run.ran.name);
        if named || (mending > 0 && 2 * mending >= all) { Kind::Rework } else { Kind::Planned }
    }

    fn writes(&self, id: &str) -> bool {
        self.project.changes.get(id).is_some_and(|change| change.at.is_some())
    }

    fn mends(&self, id: &str) -> bool {
        self.project.changes.get(id).is_some_and(|change| {
            self.rules.hotfix.matches(&change.title)
                || self.rules.revert.matches(&change.title)
                || !change.reverts.is_empty()
                || change.labels.iter().any(|label| self.rules.hotfix_labels.matches(label))
        })
    }

    fn deployed(&self, runs: &[Run<'_>], events: &mut Vec<Event>) {
        for run in runs {
            let known = |id: &&&str| self.change(id).is_some_and(|change| change.at.is_some());
            let changes: Vec<&str> = run.changes.iter().filter(known).copied().collect();
            for id in &changes {
                let Some(at) = self.change(id).and_then(|change| change.at) else { continue };
                events.push(Event::Change(Change {
                    id: self.id(id),
                    team: self.owner.team.clone(),
                    service: self.owner.service.clone(),
                    at,
                }));
            }
            events.push(Event::Deployment(Deployment {
                id: self.id(run.id),
                team: self.owner.team.clone(),
                service: self.owner.service.clone(),
                environment: self.owner.environment.clone(),
                at: run.at,
                kind: run.kind,
                changes: changes.into_iter().map(|id| self.id(id)).collect(),
            }));
        }
    }

    /// Issues with an incident's label: failures of the deployment before them,
    /// where that was not too long ago. Answers the deployments that are to blame.
    fn incidents(&self, runs: &[Run<'a>], events: &mut Vec<Event>) -> BTreeSet<&'a str> {
        let mut blamed = BTreeSet::new();
        for (id, incident) in &self.project.incidents {
            if !incident.labels.iter().any(|label| self.rules.incident_labels.matches(label)) {
                continue;
            }
            let before = runs.partition_point(|run| run.at <= incident.opened);
            let cause = runs[..before].last().filter(|run| incident.opened - run.at <= OUTCOME_WINDOW);
            blamed.extend(cause.map(|run| run.id));
            let id = format!("issue-{id}");
            events.push(self.failure(&id, incident.opened, cause.map(|run| run.id)));
            if let Some(closed) = incident.closed {
                events.push(self.recovery(&id, closed, None));
            }
        }
        blamed
    }

    /// Deployments that their own tool says have broken: over with the next one.
    fn broken(&self, runs: &[Run<'a>], blamed: &mut BTreeSet<&'a str>, events: &mut Vec<Event>) {
        for (index, run) in runs.iter().enumerate() {
            let Some(broke) = run.ran.broke() else { continue };
            if !blamed.insert(run.id) {
                continue;
            }
            let id = format!("{}~broke", run.id);
            events.push(self.failure(&id, broke, Some(run.id)));
            if let Some(next) = runs[index + 1..].iter().find(|next| next.at > broke) {
                events.push(self.recovery(&id, next.at, Some(next.id)));
            }
        }
    }

    /// What a later deployment mends had failed: the deployment that brought what
    /// is taken back, or else the one before a rework. It began, as far as one can
    /// see, when the first commit that mends it was written.
    fn mended(&self, runs: &[Run<'a>], blamed: &BTreeSet<&str>, events: &mut Vec<Event>) {
        let brought: HashMap<&str, usize> = runs
            .iter()
            .enumerate()
            .flat_map(|(index, run)| run.changes.iter().map(move |id| (*id, index)))
            .collect();
        let titles = self.titles(runs);
        for (index, run) in runs.iter().enumerate() {
            // By the deployment that failed: when that was noticed.
            let mut failed: BTreeMap<usize, OffsetDateTime> = BTreeMap::new();
            let mut begun: Option<OffsetDateTime> = None;
            for id in run.changes.iter().filter(|id| self.mends(id)) {
                let Some(change) = self.change(id) else { continue };
                let at = change.at.unwrap_or(run.at);
                begun = Some(begun.map_or(at, |begun| begun.min(at)));
                for target in self.taken_back(change, &titles) {
                    if let Some(cause) = self.find(&target, &brought).filter(|cause| *cause < index) {
                        let noticed = failed.entry(cause).or_insert(at);
                        *noticed = at.min(*noticed);
                    }
                }
            }
            if failed.is_empty() && run.kind == Kind::Rework && index > 0 {
                failed.insert(index - 1, begun.unwrap_or(run.at));
            }
            for (cause, noticed) in failed {
                let cause = &runs[cause];
                if blamed.contains(cause.id) {
                    continue;
                }
                let id = format!("{}~{}", cause.id, run.id);
                events.push(self.failure(&id, noticed.clamp(cause.at, run.at), Some(cause.id)));
                events.push(self.recovery(&id, run.at, Some(run.id)));
            }
        }
    }

    /// The changes that one takes back: by their hashes, or by the title in quotes.
    fn taken_back(&self, change: &Landed, titles: &Titles<'_>) -> Vec<String> {
        if !change.reverts.is_empty() || !self.rules.revert.matches(&change.title) {
            return change.reverts.clone();
        }
        let quoted = change.title.split_once('"').and_then(|(_, rest)| rest.rsplit_once('"'));
        let landed = quoted.and_then(|(title, _)| titles.get(title)).into_iter().flatten();
        // Of several with one title it is the newest that was there to be taken back.
        let before = landed.rev().find(|id| {
            let at = self.change(id).and_then(|change| change.at);
            at.zip(change.at).is_none_or(|(at, taken_back)| at < taken_back)
        });
        before.map(|id| (*id).to_owned()).into_iter().collect()
    }

    /// What was deployed under each title, the newest last.
    fn titles(&self, runs: &[Run<'a>]) -> Titles<'a> {
        let mut titles = Titles::new();
        for run in runs {
            let mut brought: Vec<_> =
                run.changes.iter().filter_map(|id| Some((self.change(id)?, *id))).collect();
            brought.sort_by_key(|(change, id)| (change.at, *id));
            for (change, id) in brought {
                titles.entry(&change.title).or_default().push(id);
            }
        }
        titles
    }

    /// The deployment that brought a change, which may be named by the beginning
    /// of its hash.
    fn find(&self, target: &str, brought: &HashMap<&str, usize>) -> Option<usize> {
        if let Some(index) = brought.get(target) {
            return Some(*index);
        }
        let mut longer = self.project.changes.range(target.to_owned()..);
        let (id, _) = longer.next().filter(|(id, _)| id.starts_with(target))?;
        brought.get(id.as_str()).copied()
    }

    fn change(&self, id: &str) -> Option<&'a Landed> {
        self.project.changes.get(id)
    }

    fn id(&self, id: &str) -> String {
        format!("{}{id}", self.prefix)
    }

    fn failure(&self, id: &str, at: OffsetDateTime, deployment: Option<&str>) -> Event {
        Event::Failure(Failure {
            id: self.id(id),
            team: self.owner.team.clone(),
            service: self.owner.service.clone(),
            at,
            deployment: deployment.map(|id| self.id(id)),
        })
    }

    fn recovery(&self, failure: &str, at: OffsetDateTime, deployment: Option<&str>) -> Event {
        Event::Recovery(Recovery {
            failure: self.id(failure),
            at,
            deployment: deployment.map(|id| self.id(id)),
        })
    }
}

#[cfg(test)]
mod tests;

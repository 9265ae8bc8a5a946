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
        let titles: HashMap<&str, &str> =
            brought.keys().filter_map(|id| Some((self.change(id)?.title.as_str(), *id))).collect();
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
    fn taken_back(&self, change: &Landed, titles: &HashMap<&str, &str>) -> Vec<String> {
        if !change.reverts.is_empty() || !self.rules.revert.matches(&change.title) {
            return change.reverts.clone();
        }
        let quoted = change.title.split_once('"').and_then(|(_, rest)| rest.rsplit_once('"'));
        let found = quoted.and_then(|(title, _)| titles.get(title));
        found.map(|id| (*id).to_owned()).into_iter().collect()
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
mod tests {
    use super::super::project::{Fact, Incident, Status};
    use super::*;
    use time::macros::datetime;

    const NOON: OffsetDateTime = datetime!(2026-03-02 12:00 UTC);

    fn hours(hours: i64) -> OffsetDateTime {
        NOON + time::Duration::hours(hours)
    }

    fn change(id: &str, at: i64, title: &str) -> Fact {
        let reverts = super::super::project::reverted(title);
        let title = super::super::project::title(title);
        Fact::Landed {
            id: id.into(),
            change: Landed { at: Some(hours(at)), title, reverts, ..Landed::default() },
        }
    }

    fn ran(id: &str, at: i64, changes: &[&str]) -> Fact {
        Fact::Ran {
            id: id.into(),
            deployment: Ran {
                environment: "production".into(),
                name: id.into(),
                statuses: vec![Status { at: hours(at), ok: true }],
                changes: Some(changes.iter().map(|id| (*id).to_owned()).collect()),
                ..Ran::default()
            },
        }
    }

    fn issue(id: &str, opened: i64, closed: Option<i64>) -> Fact {
        Fact::Reported {
            id: id.into(),
            incident: Incident {
                opened: hours(opened),
                closed: closed.map(hours),
                labels: vec!["Incident".into()],
                updated: hours(opened),
            },
        }
    }

    /// One line for each event: what, which, hours since noon, what it refers to.
    fn judged(facts: Vec<Fact>) -> String {
        let mut project = Project::default();
        facts.into_iter().for_each(|fact| project.add(fact));
        let owner = Owner { team: "t".into(), service: "s".into(), environment: "production".into() };
        let lines = events(&project, &owner, &Rules::default()).into_iter().map(|event| {
            let hour = (event.at() - NOON).whole_hours();
            let text = match event {
                Event::Change(it) => format!("{hour} change {}", it.id),
                Event::Deployment(it) => format!("{hour} {:?} {} {}", it.kind, it.id, it.changes.join(" ")),
                Event::Failure(it) => {
                    format!("{hour} failure {} of {}", it.id, it.deployment.unwrap_or_default())
                }
                Event::Recovery(it) => {
                    format!("{hour} recovery {} by {}", it.failure, it.deployment.unwrap_or_default())
                }
            };
            text.trim_end().replace("t/s@", "") + "\n"
        });
        lines.collect()
    }

    #[test]
    fn a_revert_is_the_failure_of_what_brought_the_reverted_change() {
        insta::assert_snapshot!(judged(vec![
            change("aaaaaaa1", -5, "Add a cart"),
            change("bbbbbbb2", -4, "Add a list"),
            change("ccccccc3", 30, "Revert \"Add a cart\"\n\nThis reverts commit aaaaaaa1."),
            change("ddddddd4", 31, "Go on"),
            change("eeeeeee5", 32, "And on"),
            ran("v1", 0, &["aaaaaaa1"]),
            ran("v2", 24, &["bbbbbbb2", "aaaaaaa1"]),
            ran("v3", 48, &["ccccccc3", "ddddddd4", "eeeeeee5"]),
        ]), @r"
        -5 change aaaaaaa1
        -4 change bbbbbbb2
        0 Planned v1 aaaaaaa1
        24 Planned v2 bbbbbbb2
        30 change ccccccc3
        30 failure v1~v3 of v1
        31 change ddddddd4
        32 change eeeeeee5
        48 Planned v3 ccccccc3 ddddddd4 eeeeeee5
        48 recovery v1~v3 by v3
        ");
    }

    #[test]
    fn a_hotfix_is_rework_and_the_failure_of_the_deployment_before() {
        insta::assert_snapshot!(judged(vec![
            change("a", -5, "Add a cart"),
            change("b", 2, "Hotfix: the cart is empty"),
            ran("v1", 0, &["a"]),
            ran("v1.0.1", 3, &["b"]),
            ran("hotfix-2", 5, &[]),
        ]), @r"
        -5 change a
        0 Planned v1 a
        2 change b
        2 failure v1~v1.0.1 of v1
        3 Rework v1.0.1 b
        3 recovery v1~v1.0.1 by v1.0.1
        5 Rework hotfix-2
        5 failure v1.0.1~hotfix-2 of v1.0.1
        5 recovery v1.0.1~hotfix-2 by hotfix-2
        ");
    }

    #[test]
    fn an_incident_blames_the_deployment_before_it_and_counts_once() {
        insta::assert_snapshot!(judged(vec![
            issue("7", 1, Some(4)),
            issue("8", 100, None),
            issue("9", -1, Some(0)),
            change("b", 2, "hotfix it"),
            ran("v1", 0, &[]),
            ran("v2", 3, &["b"]),
        ]), @r"
        -1 failure issue-9 of
        0 Planned v1
        0 recovery issue-9 by
        1 failure issue-7 of v1
        2 change b
        3 Rework v2 b
        4 recovery issue-7 by
        100 failure issue-8 of
        ");
    }

    #[test]
    fn without_a_list_a_deployment_brings_what_landed_up_to_its_revision() {
        let at = |id: &str, at: i64, revision: &str| Fact::Ran {
            id: id.into(),
            deployment: Ran {
                environment: "production".into(),
                revision: revision.into(),
                statuses: vec![Status { at: hours(at), ok: true }, Status { at: hours(at + 1), ok: at == 2 }],
                ..Ran::default()
            },
        };
        insta::assert_snapshot!(judged(vec![
            change("z", -3, "one"),
            change("y", -2, "two"),
            change("x", 1, "three"),
            at("1", 0, "y"),
            at("2", 2, "x"),
            at("3", 9, "unknown"),
        ]), @r"
        -3 change z
        -2 change y
        0 Planned 1 z y
        1 change x
        1 failure 1~broke of 1
        2 Planned 2 x
        2 recovery 1~broke by 2
        9 Planned 3
        10 failure 3~broke of 3
        ");
    }
}

//! Facts → events: what is a deployment, a change, a failure, a recovery.
//! docs/sources.md says the same in words; a change here is a change there.

mod lines;
mod reverts;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;

use time::OffsetDateTime;

use self::lines::{Copies, Lines, merged};
use self::reverts::Reverts;
use super::super::events::{Change, Deployment, Event, Failure, Kind, Recovery};
use super::super::metrics::OUTCOME_WINDOW;
use super::message::{depth, merged_from};
use super::project::{DeploymentRecord, MergedChange, Project};
use super::releases;
use super::rules::{Owner, Rules};

/// The events of an owner, sorted by time. Of the same facts and rules, the same.
pub fn events(project: &Project, owner: &Owner, rules: &Rules) -> Vec<Event> {
    let mut classifier =
        Classifier { project, owner, rules, prefix: owner.prefix(), reverts: Reverts::default() };
    let (mut runs, copies) = classifier.runs();
    let lines = Lines::of(project, &runs);
    classifier.reverts = Reverts::among(project, rules, &runs, &copies, &lines);
    classifier.kinds(&mut runs);
    let mut events = Vec::new();
    classifier.deployed(&runs, &mut events);
    let mut blamed = classifier.incidents(&runs, &mut events);
    classifier.broken(&runs, &mut blamed, &mut events);
    classifier.mended(&runs, &lines, &blamed, &mut events);
    super::store::sort(&mut events);
    events
}

struct Classifier<'a> {
    project: &'a Project,
    owner: &'a Owner,
    rules: &'a Rules,
    prefix: String,
    reverts: Reverts<'a>,
}

/// A deployment that ran, with what it brought first.
struct Run<'a> {
    id: &'a str,
    at: OffsetDateTime,
    ran: &'a DeploymentRecord,
    changes: Vec<&'a str>,
    /// Those of them that are changes, and no copies of earlier ones.
    new: Vec<&'a str>,
    /// Those of them that mend what users suffered from.
    mending: Vec<&'a str>,
    kind: Kind,
}

impl Run<'_> {
    /// Whether a failure at this time counts as its own.
    fn may_fail(&self, at: OffsetDateTime) -> bool {
        self.at <= at && at - self.at <= OUTCOME_WINDOW
    }
}

/// What is known of what ran.
struct Deployed<'a, 'b> {
    lines: &'b Lines<'a>,
    /// Of each change, the run that brought it first.
    brought: HashMap<&'a str, usize>,
    /// Of each revision, the runs that had it, by time.
    places: HashMap<&'a str, Vec<usize>>,
}

impl<'a, 'b> Deployed<'a, 'b> {
    fn of(runs: &[Run<'a>], lines: &'b Lines<'a>) -> Self {
        let each = runs.iter().enumerate();
        let brought = each.clone().flat_map(|(index, run)| run.changes.iter().map(move |id| (*id, index)));
        let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
        // Two of which nobody knows what they run have nothing in common.
        for (index, run) in each.clone().filter(|(_, run)| !run.ran.revision.is_empty()) {
            places.entry(run.ran.revision.as_str()).or_default().push(index);
        }
        Self { lines, brought: brought.collect(), places }
    }

    /// The last run of a revision before this one.
    fn ran_before(&self, revision: &str, index: usize) -> Option<usize> {
        let places = self.places.get(revision)?;
        places[..places.partition_point(|place| *place < index)].last().copied()
    }
}

impl<'a> Classifier<'a> {
    /// What ran in the owner's environment, by time. Each change is with the
    /// deployment that brought it first.
    fn runs(&self) -> (Vec<Run<'a>>, Copies<'a>) {
        let here =
            self.project.deployments.iter().filter(|(_, ran)| ran.environment == self.owner.environment);
        let mut runs: Vec<Run<'a>> = here
            .filter_map(|(id, ran)| {
                Some(Run {
                    id,
                    at: ran.at()?,
                    ran,
                    changes: Vec::new(),
                    new: Vec::new(),
                    mending: Vec::new(),
                    kind: Kind::Planned,
                })
            })
            .collect();
        runs.sort_by(|a, b| (a.at, a.id).cmp(&(b.at, b.id)));
        // Of one second, what the other one is built on ran first.
        if runs.windows(2).any(|two| two[0].at == two[1].at) {
            let ages = lines::ages(self.project, runs.iter().map(|run| run.ran.revision.as_str()));
            let age = |run: &Run<'_>| ages.get(run.ran.revision.as_str()).copied();
            runs.sort_by(|a, b| (a.at, age(a), a.id).cmp(&(b.at, age(b), b.id)));
        }

        let changes = self.project.changes.iter().filter(|(_, change)| change.order.is_some());
        let mut landed: Vec<(&str, &MergedChange)> =
            changes.map(|(id, change)| (id.as_str(), change)).collect();
        landed.sort_by_key(|(_, change)| change.order);
        let place: HashMap<&str, usize> =
            landed.iter().enumerate().map(|(place, (id, _))| (*id, place)).collect();
        let mut deployed: HashSet<&str> = HashSet::new();
        let mut copies = Copies::default();
        // What came with a release that does not count is the next one's of its line.
        let mut carried: Vec<(&str, Vec<&str>)> = Vec::new();
        runs.retain_mut(|run| {
            let brought: Vec<&str> = match &run.ran.changes {
                Some(changes) => changes.iter().map(String::as_str).collect(),
                None => match self.place(&place, &run.ran.revision) {
                    Some(last) => landed[..=last].iter().map(|(id, _)| *id).collect(),
                    None => Vec::new(),
                },
            };
            if self.rules.exclude.leaves_out(run.id, run.ran) {
                carried.push((run.id, brought));
                return false;
            }
            let here: Vec<_> =
                carried.extract_if(.., |(from, _)| releases::leads_to(from, &run.ran.name)).collect();
            let brought = here.into_iter().flat_map(|(_, changes)| changes).chain(brought);
            run.changes = brought.filter(|id| deployed.insert(id)).collect();
            let written = run.changes.iter().copied().filter(|id| self.writes(id));
            run.new = written
                .filter_map(|id| Some((id, self.change(id)?)))
                .filter_map(|(id, change)| copies.insert(id, change).then_some(id))
                .collect();
            true
        });
        (runs, copies)
    }

    /// The place of a revision; some tools shorten a commit's hash, of the change or of what runs.
    fn place(&self, place: &HashMap<&str, usize>, revision: &str) -> Option<usize> {
        const SHORTEST: usize = 7;
        if let Some(place) = place.get(revision) {
            return Some(*place);
        }
        if revision.len() < SHORTEST || !revision.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let shorter = (SHORTEST..revision.len()).rev().find_map(|length| place.get(&revision[..length]));
        let from = self.project.changes.range::<str, _>((Bound::Included(revision), Bound::Unbounded));
        let mut longer =
            from.take_while(|(id, _)| id.starts_with(revision)).filter_map(|(id, _)| place.get(id.as_str()));
        match (shorter, longer.next(), longer.next()) {
            (Some(place), None, None) | (None, Some(place), None) => Some(*place),
            // Nobody can tell which one it is.
            _ => None,
        }
    }

    /// The deployment that a rework mends: the one that ran just before it on its own line. What goes
    /// back to what ran already goes back from that one; what is new is built on it. Where nobody
    /// knows of lines, it is the one before in time.
    fn before(&self, runs: &[Run<'a>], known: &Deployed<'a, '_>, index: usize) -> Option<usize> {
        let revision = runs[index].ran.revision.as_str();
        let in_time = index.checked_sub(1);
        let ran = |revision: &str| known.ran_before(revision, index);
        if ran(revision).is_some() || known.brought.get(revision).is_some_and(|run| *run < index) {
            let is_its_own = |before: &usize| !known.lines.are_apart(&runs[*before].ran.revision, revision);
            return (0..index).rev().find(is_its_own).or(in_time);
        }
        let last = known.lines.last_that(revision, |id| ran(id).is_some());
        last.into_iter().filter_map(ran).max().or(in_time)
    }

    /// Rework: its name says so, or at least half of its changes mend something.
    fn kinds(&self, runs: &mut [Run<'a>]) {
        for run in runs {
            let here: HashSet<&str> = run.changes.iter().copied().collect();
            let new: HashSet<&str> = run.new.iter().copied().collect();
            let counts = |id: &str| new.contains(id) && !self.reverts.unseen(id);
            // A copy of a revert may take back what only its own line has.
            let takes_back = |id: &&str| {
                self.reverts.takes_back(id)
                    && (self.writes(id) || !lines::was_merged_before(self.project, id, &here))
            };
            // What a merged request says of itself it says of all its changes. Where its commits
            // are not known, the merge stands for them.
            let mut by_request: HashSet<&str> = HashSet::new();
            for id in run.changes.iter().filter(|id| self.says_hotfix(id)) {
                if self.writes(id) || self.stands_for_itself(id, &here) {
                    by_request.insert(id);
                }
                by_request.extend(merged(self.project, id, &here).iter().filter(|id| self.writes(id)));
            }
            let mends = |id: &&str| {
                let is_one = counts(id) || !self.writes(id) && !self.reverts.unseen(id);
                takes_back(id) || is_one && by_request.contains(id)
            };
            run.mending = run.changes.iter().filter(|id| mends(id)).copied().collect();
            // A merge that takes back does so with its commits: it is none beside them, nor beside one
            // that takes back the same.
            let merges = run.mending.iter().filter(|id| !self.writes(id) && takes_back(id));
            let with_merges: HashSet<&str> = merges.flat_map(|id| merged(self.project, id, &here)).collect();
            let by_commits = run.mending.iter().filter(|id| self.writes(id));
            let by_commits: HashSet<&str> =
                by_commits.flat_map(|id| self.reverts.targets(id).0).copied().collect();
            let is_more = |id: &&&str| {
                let (targets, _) = self.reverts.targets(id);
                let is_told = !targets.is_empty() && targets.iter().all(|it| by_commits.contains(it));
                self.writes(id) || self.stands_for_itself(id, &here) && !is_told
            };
            let mut mending = run.mending.iter().filter(is_more).count();
            let others = run.changes.iter().filter(|id| counts(id) && !mends(id));
            let (with_merges, others): (Vec<&str>, Vec<&str>) =
                others.partition(|id| with_merges.contains(*id));
            mending += with_merges.len();
            let all = mending + others.len();
            let rework = self.named(run) || (mending > 0 && 2 * mending >= all);
            run.kind = if rework { Kind::Rework } else { Kind::Planned };
        }
    }

    /// Whether a merge, which writes nothing, counts for what was merged: nobody tells which
    /// commits these are.
    fn stands_for_itself(&self, merge: &str, here: &HashSet<&'a str>) -> bool {
        merged(self.project, merge, here).is_empty() && !lines::was_merged_before(self.project, merge, here)
    }

    /// Whether its tag, branch or merge says that it mends something. Where that is the title
    /// of a change, it is classified as one.
    fn named(&self, run: &Run<'_>) -> bool {
        if run.ran.mends {
            return true;
        }
        let name = &run.ran.name;
        let is_title = || run.changes.iter().any(|id| self.change(id).is_some_and(|it| it.title == *name));
        self.is_hotfix(name) || self.rules.revert.matches(name) && !is_title()
    }

    fn writes(&self, id: &str) -> bool {
        self.change(id).is_some_and(MergedChange::is_change)
    }

    /// By a title, or by a name like one. What a revert quotes is no title of its own: what
    /// gives a hotfix back mends nothing.
    fn is_hotfix(&self, title: &str) -> bool {
        depth(title) == 0 && self.rules.hotfix.matches(merged_from(title))
    }

    fn says_hotfix(&self, id: &str) -> bool {
        self.change(id).filter(|change| !change.elsewhere).is_some_and(|change| {
            self.is_hotfix(&change.title)
                || change.labels.iter().any(|label| self.rules.hotfix_labels.matches(label))
        })
    }

    fn deployed(&self, runs: &[Run<'_>], events: &mut Vec<Event>) {
        for run in runs {
            for id in &run.new {
                // Of one that has only the time of its landing, the lead time is unknown.
                let Some(at) = self.change(id).and_then(MergedChange::begun) else { continue };
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
                changes: run.new.iter().map(|id| self.id(id)).collect(),
            }));
        }
    }

    /// Issues with an incident's label, and what tools for incidents say: failures of the
    /// deployment before them, where that was not too long ago. Answers the deployments that are
    /// to blame: those whose failures count.
    fn incidents(&self, runs: &[Run<'a>], events: &mut Vec<Event>) -> BTreeSet<&'a str> {
        let mut blamed = BTreeSet::new();
        for (id, incident) in &self.project.incidents {
            if !incident.labels.iter().any(|label| self.rules.incident_labels.matches(label)) {
                continue;
            }
            let cause = Self::shortly_before(runs, incident.opened);
            blamed.extend(cause.filter(|run| run.may_fail(incident.opened)).map(|run| run.id));
            let id = format!("issue-{id}");
            events.push(self.failure(&id, incident.opened, cause.map(|run| run.id)));
            if let Some(closed) = incident.closed {
                events.push(self.recovery(&id, closed, None));
            }
        }
        for (id, failure) in &self.project.failures {
            let here = failure.environment.is_empty() || failure.environment == self.owner.environment;
            let Some(begun) = failure.begun().filter(|_| here) else { continue };
            let named = failure.deployment.as_deref();
            let named = named.and_then(|id| runs.iter().find(|run| run.id == id && run.at <= begun));
            let cause = named.or_else(|| Self::shortly_before(runs, begun));
            blamed.extend(cause.filter(|run| run.may_fail(begun)).map(|run| run.id));
            let id = format!("incident-{id}");
            events.push(self.failure(&id, begun, cause.map(|run| run.id)));
            if let Some(over) = failure.over() {
                events.push(self.recovery(&id, over, None));
            }
        }
        blamed
    }

    fn shortly_before<'r>(runs: &'r [Run<'a>], at: OffsetDateTime) -> Option<&'r Run<'a>> {
        let before = runs.partition_point(|run| run.at <= at);
        runs[..before].last().filter(|run| run.may_fail(at))
    }

    /// Deployments that their own tool says have broken: over with the next one.
    fn broken(&self, runs: &[Run<'a>], blamed: &mut BTreeSet<&'a str>, events: &mut Vec<Event>) {
        for (index, run) in runs.iter().enumerate() {
            let Some(broke) = run.ran.broke() else { continue };
            if blamed.contains(run.id) {
                continue;
            }
            blamed.extend(run.may_fail(broke).then_some(run.id));
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
    fn mended(&self, runs: &[Run<'a>], lines: &Lines<'a>, blamed: &BTreeSet<&str>, events: &mut Vec<Event>) {
        let known = Deployed::of(runs, lines);
        for (index, run) in runs.iter().enumerate() {
            let here: HashSet<&str> = run.changes.iter().copied().collect();
            // By the deployment that failed: when that was noticed, if anybody knows.
            let mut failed: BTreeMap<usize, Option<OffsetDateTime>> = BTreeMap::new();
            let mut begun: Option<OffsetDateTime> = None;
            let mut unnamed = self.named(run);
            for id in &run.mending {
                let Some(change) = self.change(id) else { continue };
                // Of a merge that says what it takes back, the commits of its branch do that.
                let commits = merged(self.project, id, &here);
                let commits = commits.iter().filter_map(|id| self.change(id)?.begun());
                let at = commits.chain(change.begun()).min();
                begun = earlier(begun, at);
                let (targets, names) = self.reverts.targets(id);
                unnamed |= !names;
                for target in targets {
                    if let Some(cause) = known.brought.get(target).copied().filter(|cause| *cause < index) {
                        let noticed = failed.entry(cause).or_insert(at);
                        *noticed = earlier(*noticed, at);
                    }
                }
            }
            if failed.is_empty() && unnamed && run.kind == Kind::Rework {
                failed.extend(self.before(runs, &known, index).map(|before| (before, begun)));
            }
            for (cause, noticed) in failed {
                let cause = &runs[cause];
                if blamed.contains(cause.id) {
                    continue;
                }
                let id = format!("{}~{}", cause.id, run.id);
                let noticed = noticed.map(|at| at.clamp(cause.at, run.at));
                events.push(self.failure(&id, noticed.unwrap_or(run.at), Some(cause.id)));
                // How long it lasted is unknown where its beginning is: no time is no zero.
                if noticed.is_some() {
                    events.push(self.recovery(&id, run.at, Some(run.id)));
                }
            }
        }
    }

    fn change(&self, id: &str) -> Option<&'a MergedChange> {
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

fn earlier(a: Option<OffsetDateTime>, b: Option<OffsetDateTime>) -> Option<OffsetDateTime> {
    a.into_iter().chain(b).min()
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

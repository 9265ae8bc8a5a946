//! From the journal to the file of events: all that was reported of a service, by whichever tool, is
//! classified together, by one set of rules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use time::format_description::well_known::Rfc3339;

use super::super::super::events::Event;
use super::super::super::metrics::OUTCOME_WINDOW;
use super::super::SourceError;
use super::super::classify;
use super::super::project::{DeploymentRecord, Fact, Failed, Project};
use super::super::rules::Owner;
use super::super::state;
use super::super::store::{Merged, Store};
use super::cdevents;
use super::events_by_owner;
use super::journal::{self, About, Delivery, JournalContents, Sender};
use super::subscriptions::{Counts, Place, Subscriptions, here, rolled_back};

/// The projects as the journal tells them, and the file of events. Each copy knows the same.
#[derive(Clone)]
pub(super) struct Maker {
    events: PathBuf,
    /// Where it says what was made.
    made: PathBuf,
    subscriptions: Arc<Subscriptions>,
    known: Arc<Mutex<Known>>,
}

/// What was reported. Whoever asks and who adds wait for each other; who writes the file holds nobody up.
#[derive(Default)]
struct Known {
    reported: JournalContents,
    /// By what an owner's ids begin with, what is about it.
    owners: BTreeMap<String, BTreeSet<About>>,
    /// The owners, by what their ids begin with, of whom something new was reported.
    changed: BTreeSet<String>,
}

/// What a delivery names that nobody has reported of. It counts once somebody does.
#[derive(Debug, PartialEq)]
pub(super) enum Unknown {
    /// The deployment that an incident names: none of this name ran before it.
    Deployment(String),
    /// A deployment that ran so long before that the incident is none of its failures.
    LongAgo(String),
    /// The beginning of an incident that is over.
    Beginning(String),
    /// An incident that would be over before it began: of its end,
    Order(String),
    /// and of its beginning.
    Late(String),
}

/// What was reported of an owner.
#[derive(Debug, Default)]
pub struct Facts {
    pub project: Project,
    /// How many deployments ran in each environment that senders call theirs, and is not the owner's.
    pub elsewhere: BTreeMap<String, usize>,
}

/// All that was reported of an owner so far, with what `also` says is its, too.
pub fn facts(
    journal: &Path,
    subscriptions: &Subscriptions,
    owner: &Owner,
    also: Option<(Sender, &str)>,
) -> Result<Facts, SourceError> {
    let reported = JournalContents::of(journal::read(journal)?);
    let Facts { project: mut known, mut elsewhere } = Facts::default();
    for (about, (name, project)) in reported.into_projects() {
        let place = subscriptions.place(&about, &name);
        let is_its = also
            .is_some_and(|(sender, project)| about.sender == sender && name.eq_ignore_ascii_case(project));
        if is_its || place.owner.prefix() == owner.prefix() {
            let counts = Counts::of(&place, &owner.environment);
            if !counts.deployments {
                let theirs =
                    |ran: &&DeploymentRecord| ran.environment == place.environment && ran.at().is_some();
                let ran = project.deployments.values().filter(theirs).count();
                *elsewhere.entry(place.environment.clone()).or_default() += ran;
            }
            known.merge(here(project, about.sender, &place, &owner.environment, counts));
        }
    }
    settle(&mut known, &owner.environment);
    elsewhere.retain(|_, ran| *ran > 0);
    Ok(Facts { project: known, elsewhere })
}

/// What only all facts together say.
fn settle(project: &mut Project, environment: &str) {
    cdevents::find_named(project, environment);
    rolled_back(project, environment);
}

/// What is classified together: all of an owner in one environment.
struct Group {
    place: Place,
    project: Project,
    /// Of deployments whose senders call the environment otherwise, how.
    named: BTreeMap<String, String>,
}

impl Group {
    fn new(place: Place) -> Self {
        Self { place, project: Project::default(), named: BTreeMap::new() }
    }

    /// Adds what somebody reported.
    fn add(&mut self, reported: &Project, sender: Sender, place: &Place, counts: Counts) {
        let ours = self.place.owner.environment.clone();
        self.project.merge(here(reported.clone(), sender, place, &ours, counts));
    }

    /// Deployments that count are said to be where their sender says.
    fn keep_names(&mut self, reported: &Project, place: &Place) {
        let prefix = self.place.owner.prefix();
        let its = reported.deployments.iter().filter(|(_, ran)| ran.environment == place.environment);
        self.named.extend(its.map(|(id, _)| (format!("{prefix}{id}"), place.environment.clone())));
    }

    fn events(mut self) -> Vec<Event> {
        settle(&mut self.project, &self.place.owner.environment);
        let mut events = classify::events(&self.project, &self.place.owner, &self.place.rules);
        for event in &mut events {
            if let Event::Deployment(deployment) = event
                && let Some(name) = self.named.remove(&deployment.id)
            {
                deployment.environment = name;
            }
        }
        events
    }
}

/// What is known of an owner.
struct Gathered {
    groups: Vec<Group>,
    /// No other source makes events of the owner.
    whole: bool,
}

impl Gathered {
    fn events(self) -> Vec<Event> {
        let mut known = BTreeSet::new();
        let all = self.groups.into_iter().flat_map(Group::events);
        // A change may be deployed to two environments.
        all.filter(|event| known.insert((event.order().1, event.order().2.to_owned()))).collect()
    }
}

impl Maker {
    pub fn new(journal: &Path, events: PathBuf, subscriptions: Arc<Subscriptions>) -> Self {
        Self { events, made: events_by_owner::path(journal), subscriptions, known: Arc::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of a journal has to be added before anything is made.
    pub fn add(&self, deliveries: impl IntoIterator<Item = Delivery>) {
        let Known { reported, owners, changed } = &mut *self.known();
        for delivery in deliveries {
            for about in reported.add(delivery) {
                let Some((name, _)) = reported.get(&about) else { continue };
                let prefix = self.subscriptions.place(&about, name).owner.prefix();
                owners.entry(prefix.clone()).or_default().insert(about);
                changed.insert(prefix);
            }
        }
    }

    /// Whether a source makes all events of an owner, and not this.
    fn is_elsewhere(&self, prefix: &str) -> bool {
        self.subscriptions.elsewhere.iter().any(|one| one.prefix() == prefix)
    }

    /// Makes the events of owners of which no other source does, and answers them, too.
    pub fn others(&self) -> Result<(Merged, Vec<Event>), SourceError> {
        let changed = {
            let changed = &mut self.known().changed;
            changed.retain(|prefix| self.subscriptions.read_by(prefix).is_none());
            changed.clone()
        };
        let mut events = Vec::new();
        for prefix in &changed {
            if let Some(gathered) = self.gather(prefix)? {
                events.extend(gathered.events());
            }
        }
        Ok((self.make()?, events))
    }

    /// Makes the events of all of whom something new was reported; after an error the next time does.
    pub fn make(&self) -> Result<Merged, SourceError> {
        let (changed, owners): (BTreeSet<String>, BTreeSet<String>) = {
            let known = &mut *self.known();
            (std::mem::take(&mut known.changed), known.owners.keys().cloned().collect())
        };
        let made = self.make_of(&changed, &owners);
        if made.is_err() {
            self.known().changed.extend(changed);
        }
        made
    }

    /// `owners`: all that there are.
    fn make_of(&self, changed: &BTreeSet<String>, owners: &BTreeSet<String>) -> Result<Merged, SourceError> {
        let mut store = Store::open(&self.events)?;
        let mut all = Merged::default();
        let before = events_by_owner::read(&self.made);
        let mut made = before.clone();
        for prefix in changed.iter().filter(|prefix| !self.is_elsewhere(prefix)) {
            let Some(gathered) = self.gather(prefix)? else { continue };
            let whole = gathered.whole;
            let events = gathered.events();
            let ids: BTreeSet<String> = events.iter().map(|event| event.order().2.to_owned()).collect();
            all.add(match whole {
                true => store.replace(prefix, events),
                // Somebody else may have written of the same owner: that stays.
                false => store.update(before.get(prefix).unwrap_or(&BTreeSet::new()), events),
            });
            made.insert(prefix.clone(), ids);
        }
        // What the configuration gives to others now.
        for (prefix, ids) in &before {
            if !owners.contains(prefix) {
                made.remove(prefix);
                if self.subscriptions.read_by(prefix).is_none() {
                    all.add(store.update(ids, Vec::new()));
                }
            }
        }
        if !all.is_empty() {
            if made != before {
                // Whatever a kill leaves in the file is known as made of this.
                let mut both = before.clone();
                for (prefix, ids) in &made {
                    both.entry(prefix.clone()).or_default().extend(ids.iter().cloned());
                }
                events_by_owner::write(&self.made, &both)?;
            }
            store.save()?;
        }
        if made != before {
            events_by_owner::write(&self.made, &made)?;
        }
        Ok(Merged { total: store.total(), ..all })
    }

    /// What a delivery names that nobody has reported of.
    pub fn unknown(&self, delivery: &Delivery) -> Result<Option<Unknown>, SourceError> {
        let incidents = delivery.facts.iter().filter_map(|fact| match fact {
            Fact::Failed { id, failure } => Some((id, failure)),
            _ => None,
        });
        let incidents: Vec<(&String, &Failed)> = incidents.collect();
        // Most deliveries name nothing.
        if delivery.sender != Sender::Cdevents || incidents.is_empty() {
            return Ok(None);
        }
        let owner = self.subscriptions.place(&delivery.about(), &delivery.project).owner;
        let of = format!("{}/{}", owner.team, owner.service);
        let mut known = Project::default();
        let mut environment = owner.environment.clone();
        if let Some(gathered) = self.gather(&owner.prefix())? {
            for group in gathered.groups {
                if gathered.whole {
                    environment.clone_from(&group.place.owner.environment);
                }
                known.merge(group.project);
            }
        }
        for (id, failure) in incidents {
            let begun = failure.begun();
            let named = failure.deployment.as_deref().and_then(|named| named.strip_prefix(cdevents::CALLED));
            if let (Some(named), Some(begun)) = (named, begun) {
                let ran = |ran: &DeploymentRecord| {
                    ran.environment == environment && ran.at().is_some_and(|at| at <= begun)
                };
                let all = cdevents::named(&known.deployments, named).map(|(_, deployment)| deployment);
                let Some(last) = all.filter(|one| ran(one)).filter_map(DeploymentRecord::at).max() else {
                    return Ok(Some(Unknown::Deployment(format!(
                        "no deployment `{named}` of {of} ran in {environment} before this incident"
                    ))));
                };
                if begun - last > OUTCOME_WINDOW {
                    return Ok(Some(Unknown::LongAgo(format!(
                        "deployment `{named}` of {of} ran more than {} days before this incident",
                        OUTCOME_WINDOW.whole_days()
                    ))));
                }
            }
            let name = id.rsplit_once('#').map_or(id.as_str(), |(_, name)| name);
            if let Some(begun) = begun {
                let ended = self.known().reported.ended(delivery.sender, id);
                if let Some(ended) = ended.filter(|ended| *ended < begun) {
                    return Ok(Some(Unknown::Late(format!(
                        "incident `{name}` of {of} was over before, at {}",
                        ended.format(&Rfc3339).unwrap_or_default()
                    ))));
                }
                continue;
            }
            let Some(began) = self.known().reported.began(delivery.sender, id) else {
                return Ok(Some(Unknown::Beginning(format!("no incident `{name}` of {of} is known"))));
            };
            if failure.statuses.iter().all(|end| end.at < began) {
                return Ok(Some(Unknown::Order(format!(
                    "incident `{name}` of {of} began later, at {}",
                    began.format(&Rfc3339).unwrap_or_default()
                ))));
            }
        }
        Ok(None)
    }

    /// What each sender reported of an owner so far.
    fn its(&self, prefix: &str) -> Vec<Its> {
        let Known { reported, owners, .. } = &*self.known();
        let its = owners.get(prefix).into_iter().flatten().filter_map(|about| {
            let (name, reported) = reported.get(about)?;
            let place = self.subscriptions.place(about, name);
            Some(Its { sender: about.sender, place, name: name.clone(), reported: reported.clone() })
        });
        its.collect()
    }

    /// All that is known of an owner. Where a forge tells of it, its source's rules are the
    /// owner's, and its source's name for the environment.
    fn gather(&self, prefix: &str) -> Result<Option<Gathered>, SourceError> {
        let mut its = self.its(prefix);
        its.sort_by_key(|one| !one.is_forge());
        // A project of a forge that has sent nothing yet.
        let silent = self.subscriptions.projects.iter().find(|one| one.owner.prefix() == prefix);
        let forge = its.first().filter(|one| one.is_forge());
        let name = forge.map(|one| one.name.clone()).or(silent.map(|one| one.project.clone()));
        let has_forge = forge.is_some();
        let main = silent.map(Subscriptions::silent);
        let Some(main) = main.or_else(|| forge.map(|one| one.place.clone())) else {
            let mut groups = by_environment(&its);
            groups.iter_mut().for_each(|group| group.project.is_called(None));
            return Ok((!groups.is_empty()).then_some(Gathered { groups, whole: false }));
        };
        let whole = main.configured || has_forge;
        let mut group = Group::new(main);
        if let Some(state) = &group.place.state {
            group.project = state::project(state)?;
        }
        for Its { sender, place, reported, .. } in its {
            let counts = Counts::of(&place, &group.place.owner.environment);
            group.add(&reported, sender, &place, counts);
        }
        group.project.is_called(name.as_deref());
        Ok(Some(Gathered { groups: vec![group], whole }))
    }
}

/// What one sender reported of an owner.
struct Its {
    sender: Sender,
    place: Place,
    name: String,
    reported: Project,
}

impl Its {
    fn is_forge(&self) -> bool {
        matches!(self.sender, Sender::Forge(_))
    }

    /// Of two names that differ in case only, somebody means one environment.
    fn environment(&self) -> String {
        self.place.environment.to_lowercase()
    }
}

/// Each source says for its own deliveries which environment counts, so there may be several.
fn by_environment(its: &[Its]) -> Vec<Group> {
    let deploys =
        |one: &&Its| one.reported.deployments.values().any(|ran| ran.environment == one.place.environment);
    let deployed: BTreeSet<String> = its.iter().filter(deploys).map(Its::environment).collect();
    // Who tells of incidents often knows no environments: there is only one that they can be of.
    let home = |one: &Its| match (deployed.contains(&one.environment()), deployed.len()) {
        (false, 1) => deployed.first().cloned().unwrap_or_default(),
        _ => one.environment(),
    };
    let all: BTreeSet<String> = its.iter().map(Its::environment).chain(its.iter().map(home)).collect();
    let group = |environment: String| {
        let first = its.iter().find(|one| one.environment() == environment)?;
        let mut group = Group::new(first.place.clone());
        for one in its {
            let counts =
                Counts { deployments: one.environment() == environment, failures: home(one) == environment };
            group.add(&one.reported, one.sender, &one.place, counts);
            if counts.deployments {
                group.keep_names(&one.reported, &one.place);
            }
        }
        Some(group)
    };
    all.into_iter().filter_map(group).collect()
}

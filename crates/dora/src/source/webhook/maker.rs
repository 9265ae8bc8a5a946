//! From the journal to the file of events: all that was told of a service, by whichever tool, is
//! judged together, by one set of rules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::super::events::Event;
use super::super::SourceError;
use super::super::judge;
use super::super::project::Project;
use super::super::rules::Owner;
use super::super::state;
use super::super::store::{Merged, Store};
use super::journal::{self, About, Delivery, Sender};
use super::subscriptions::{Place, Subscriptions, here};

/// The projects as the journal tells them, and the file of events.
pub(super) struct Maker {
    events: PathBuf,
    subscriptions: Arc<Subscriptions>,
    told: Journalled,
    /// By what an owner's ids begin with, what is about it.
    owners: BTreeMap<String, BTreeSet<About>>,
    /// The owners, by what their ids begin with, of whom something new was told.
    changed: BTreeSet<String>,
    /// The ids that were made for an owner before.
    made: BTreeMap<String, BTreeSet<String>>,
}

/// As they were called first, whose events their ids name, and what is known of them.
type Journalled = BTreeMap<About, (String, Project)>;

fn add(told: &mut Journalled, delivery: Delivery) -> (About, String) {
    let about = delivery.about();
    let (name, project) = told.entry(about.clone()).or_insert_with(|| (delivery.project, Project::default()));
    delivery.facts.into_iter().for_each(|fact| project.add(fact));
    (about, name.clone())
}

/// All that was told of an owner so far, with what `also` says is its, too.
pub fn facts(
    journal: &Path,
    subscriptions: &Subscriptions,
    owner: &Owner,
    also: Option<(Sender, &str)>,
) -> Result<Project, SourceError> {
    let mut told = Journalled::new();
    for delivery in journal::read(journal)? {
        add(&mut told, delivery);
    }
    let mut known = Project::default();
    for (about, (name, project)) in told {
        let place = subscriptions.place(&about, &name);
        let is_its = also
            .is_some_and(|(sender, project)| about.sender == sender && name.eq_ignore_ascii_case(project));
        if is_its || place.owner.prefix() == owner.prefix() {
            known.merge(here(project, about.sender, &place, &owner.environment));
        }
    }
    Ok(known)
}

impl Maker {
    pub fn new(events: PathBuf, subscriptions: Arc<Subscriptions>) -> Self {
        Self {
            events,
            subscriptions,
            told: Journalled::new(),
            owners: BTreeMap::new(),
            changed: BTreeSet::new(),
            made: BTreeMap::new(),
        }
    }

    pub fn add(&mut self, deliveries: impl IntoIterator<Item = Delivery>) {
        for delivery in deliveries {
            let (about, name) = add(&mut self.told, delivery);
            let prefix = self.subscriptions.place(&about, &name).owner.prefix();
            self.owners.entry(prefix.clone()).or_default().insert(about);
            self.changed.insert(prefix);
        }
    }

    /// Makes the events of owners of which no other source does, and answers them, too.
    pub fn others(&mut self) -> Result<(Merged, Vec<Event>), SourceError> {
        let projects = &self.subscriptions.projects;
        self.changed.retain(|prefix| projects.iter().all(|one| one.owner.prefix() != *prefix));
        self.changed.retain(|prefix| !self.subscriptions.elsewhere.contains(prefix));
        let mut events = Vec::new();
        for prefix in &self.changed {
            if let Some((place, project, _)) = self.gather(prefix)? {
                events.extend(judge::events(&project, &place.owner, &place.rules));
            }
        }
        Ok((self.make()?, events))
    }

    pub fn make(&mut self) -> Result<Merged, SourceError> {
        let mut store = Store::open(&self.events)?;
        let mut all = Merged::default();
        let mut made = BTreeMap::new();
        for prefix in self.changed.iter().filter(|prefix| !self.subscriptions.elsewhere.contains(prefix)) {
            let Some((place, project, forge)) = self.gather(prefix)? else { continue };
            let events = judge::events(&project, &place.owner, &place.rules);
            let ids: BTreeSet<String> = events.iter().map(|event| event.order().2.to_owned()).collect();
            all.add(match place.configured || forge {
                true => store.replace(prefix, events),
                // Somebody else may have written of the same owner: that stays.
                false => store.update(self.made.get(prefix).unwrap_or(&BTreeSet::new()), events),
            });
            made.insert(prefix.clone(), ids);
        }
        if !all.is_empty() {
            store.save()?;
        }
        self.made.append(&mut made);
        self.changed.clear();
        Ok(Merged { total: store.total(), ..all })
    }

    /// All that is known of an owner, and whether a forge tells of it. Where several tools do,
    /// the forge's rules are the owner's.
    fn gather(&self, prefix: &str) -> Result<Option<(Place, Project, bool)>, SourceError> {
        let abouts = self.owners.get(prefix).into_iter().flatten();
        let its = abouts.filter_map(|about| {
            let (name, told) = self.told.get(about)?;
            Some((about.sender, self.subscriptions.place(about, name), name, told))
        });
        let mut its: Vec<_> = its.collect();
        // A project of a forge that has sent nothing yet.
        let silent = self.subscriptions.projects.iter().find(|one| one.owner.prefix() == prefix);
        let is_forge = |sender: &Sender| matches!(sender, Sender::Github | Sender::Gitlab);
        its.sort_by_key(|(sender, ..)| !is_forge(sender));
        let forge = its.first().filter(|(sender, ..)| is_forge(sender));
        let name = forge.map(|(_, _, name, _)| (*name).clone()).or(silent.map(|one| one.project.clone()));
        let has_forge = forge.is_some();
        let mut project = Project::default();
        let mut main: Option<Place> = silent.map(Subscriptions::silent);
        if let Some(state) = main.as_ref().and_then(|place| place.state.as_ref()) {
            project = state::project(state)?;
        }
        for (sender, place, _, told) in its {
            let environment = main.as_ref().map_or(&place.environment, |main| &main.owner.environment);
            project.merge(here(told.clone(), sender, &place, environment));
            main.get_or_insert(place);
        }
        project.is_called(name.as_deref());
        Ok(main.map(|main| (main, project, has_forge)))
    }
}

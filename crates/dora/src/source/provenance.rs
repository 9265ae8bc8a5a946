//! Which source reported what of a file of events. What a source made has to go when its events
//! get another owner, and what a file reported is no other source's to remove, whatever its ids
//! begin with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{SourceError, durable};

/// Kept beside the file of events, among what the sources keep.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Provenance {
    /// By what a source reads, what the ids of its events begin with.
    owners: BTreeMap<String, BTreeSet<String>>,
    /// The events of files, by kind and id.
    files: BTreeSet<(u8, String)>,
    /// By what can be read in several ways, those in which the configuration's sources read it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    places: BTreeMap<String, BTreeSet<String>>,
    /// By what a source reads, where that is, and what people call it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    names: BTreeMap<String, (String, String)>,
}

/// What a source reads, however its owner is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// What is read, and in which way.
    pub reading: String,
    /// How earlier releases called this; what they kept is found by it.
    pub former: String,
    /// What is read: a repository, or a project.
    pub place: String,
    /// For people: `git /srv/shop`.
    pub name: String,
}

/// The sources that there are.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// What the ids of their events begin with.
    pub prefixes: Vec<String>,
    /// What they read, where these are all of a configuration; `None`: somebody named one, and there
    /// may be others.
    pub configured: Option<Vec<Origin>>,
}

impl Provenance {
    /// What is known of a file of events; of one from before this was kept, nothing.
    pub fn of(events: &Path) -> Result<Self, SourceError> {
        durable::load(&place(events))
    }

    pub fn save(&self, events: &Path) -> Result<(), SourceError> {
        durable::save(&place(events), self)
    }

    /// Whether a file reported it.
    pub fn is_of_file(&self, event: &(u8, String)) -> bool {
        self.files.contains(event)
    }

    /// A file tells these, beside what files reported before.
    pub fn file(&mut self, events: impl IntoIterator<Item = (u8, String)>) {
        self.files.extend(events);
    }

    /// These, with the events of files that `other` knows.
    pub fn with_files_of(&self, other: &Self) -> Self {
        Self { files: other.files.clone(), ..self.clone() }
    }

    /// Who told the events that begin with `prefix` last, if that is at another place than `source`.
    pub fn elsewhere(&self, source: &Origin, prefix: &str) -> Option<String> {
        let tells = |reading: &str| self.owners.get(reading).is_some_and(|its| its.contains(prefix));
        let here = |(reading, (place, _)): &(&String, &(String, String))| {
            *place == source.place || **reading == source.reading
        };
        let mut told = self.names.iter().filter(|(reading, _)| tells(reading));
        told.find(|one| !here(one)).map(|(_, (_, name))| name.clone())
    }

    /// The events of what `source` reads begin with `prefix` now. Answers what they began with
    /// before, and no longer do: neither is it `kept`, the beginning of another source that
    /// there is, nor did another one tell it since.
    pub fn owns(&mut self, source: &Origin, prefix: &str, kept: &Kept) -> Vec<String> {
        if let Some(owners) = self.owners.remove(&source.former) {
            self.owners.entry(source.reading.clone()).or_default().extend(owners);
        }
        if let Some(configured) = &kept.configured {
            self.reads(source, configured);
        }
        for (other, owners) in &mut self.owners {
            if *other != source.reading {
                owners.remove(prefix);
            }
        }
        self.owners.retain(|_, owners| !owners.is_empty());
        self.names.retain(|reading, _| self.owners.contains_key(reading));
        self.names.insert(source.reading.clone(), (source.place.clone(), source.name.clone()));
        let elsewhere: BTreeSet<String> = self
            .owners
            .iter()
            .filter(|(other, _)| **other != source.reading)
            .flat_map(|(_, owners)| owners.iter().cloned())
            .chain(kept.prefixes.iter().cloned())
            .collect();
        let own = self.owners.entry(source.reading.clone()).or_default();
        own.insert(prefix.to_owned());
        let former = own.iter().filter(|one| *one != prefix && !elsewhere.contains(*one));
        let former: Vec<String> = former.cloned().collect();
        own.retain(|one| !former.contains(one));
        former
    }

    /// A source that reads the same repository in another way than any before, where at least as many
    /// are new as are gone, is one that was gone: it takes over what that one was called. Where more are
    /// gone, somebody has removed one, and nobody can tell which: all of them keep what they reported.
    fn reads(&mut self, source: &Origin, configured: &[Origin]) {
        let here = configured.iter().filter(|one| one.place == source.place);
        let here: BTreeSet<String> = here.map(|one| one.reading.clone()).collect();
        let before = self.places.insert(source.place.clone(), here.clone()).unwrap_or_default();
        let gone: Vec<&String> = before.difference(&here).collect();
        let new: Vec<&String> = here.difference(&before).collect();
        if new.contains(&&source.reading) && new.len() >= gone.len() {
            let owners: BTreeSet<String> =
                gone.into_iter().filter_map(|one| self.owners.remove(one)).flatten().collect();
            self.owners.entry(source.reading.clone()).or_default().extend(owners);
        }
    }
}

fn place(events: &Path) -> PathBuf {
    durable::beside(events, ".state").join("provenance.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(reading: &str, place: &str) -> Origin {
        Origin {
            reading: reading.into(),
            former: format!("former {reading}"),
            place: place.into(),
            name: reading.into(),
        }
    }

    #[test]
    fn a_former_owner_is_told_unless_it_is_somebody_elses_now() {
        let mut provenance = Provenance::default();
        let mut owns = |reading: &str, prefix: &str, kept: &[String]| {
            let kept = Kept { prefixes: kept.to_vec(), configured: None };
            provenance.owns(&origin(reading, "somewhere"), prefix, &kept)
        };
        assert!(owns("git-1", "a/s@", &[]).is_empty());
        assert!(owns("git-1", "a/s@", &[]).is_empty());
        assert_eq!(owns("git-1", "b/s@", &[]), ["a/s@"]);
        // Reported once: it is gone then.
        assert!(owns("git-1", "b/s@", &[]).is_empty());
        // Two services that are read from the same.
        let both = ["b/s@".to_owned(), "b/t@".to_owned()];
        assert!(owns("git-1", "b/t@", &both).is_empty());
        assert!(owns("git-1", "b/s@", &both).is_empty());
        let one_renamed = ["b/s@".to_owned(), "b/u@".to_owned()];
        assert_eq!(owns("git-1", "b/s@", &one_renamed), ["b/t@"]);
        // Two that change their names with each other.
        assert!(owns("git-2", "c/s@", &[]).is_empty());
        let swapped = ["c/s@".to_owned(), "b/s@".to_owned()];
        assert!(owns("git-1", "c/s@", &swapped).is_empty());
        assert!(owns("git-2", "b/s@", &swapped).is_empty());
        // Who reads the same service in another way has taken it over: with `tags: x*`, say.
        assert!(owns("git-3", "b/s@", &[]).is_empty());
        assert_eq!(owns("git-3", "d/s@", &[]), ["b/s@"]);
    }
    /// What is collected of a configuration: each reading of one repository, and its owner.
    fn round(provenance: &mut Provenance, sources: &[(&str, &str)]) -> Vec<String> {
        let kept = Kept {
            prefixes: sources.iter().map(|(_, prefix)| (*prefix).to_owned()).collect(),
            configured: Some(sources.iter().map(|(reading, _)| origin(reading, "shop")).collect()),
        };
        let former = sources
            .iter()
            .flat_map(|(reading, prefix)| provenance.owns(&origin(reading, "shop"), prefix, &kept));
        former.collect()
    }

    #[test]
    fn a_source_that_is_read_in_another_way_is_the_same() {
        let mut it = Provenance::default();
        assert!(round(&mut it, &[("tags", "a/s@")]).is_empty());
        assert_eq!(round(&mut it, &[("branch", "b/s@")]), ["a/s@"]);
        assert!(round(&mut it, &[("branch", "b/s@"), ("web", "b/web@")]).is_empty(), "a second one");
        // Both at once; then one is removed, and keeps what it reported.
        let mut both = round(&mut it, &[("x", "c/s@"), ("y", "c/web@")]);
        both.sort();
        assert_eq!(both, ["b/s@", "b/web@"]);
        assert!(round(&mut it, &[("x", "c/s@")]).is_empty());
        // Of two that are gone and one that is new nobody can tell which it was.
        assert!(round(&mut it, &[("x", "c/s@"), ("y", "c/web@")]).is_empty());
        assert!(round(&mut it, &[("z", "d/s@")]).is_empty());
        assert!(round(&mut it, &[("z", "d/s@")]).is_empty());
    }

    #[test]
    fn what_an_earlier_release_kept_is_found_by_its_name_there() {
        let text = r#"{"owners":{"former tags":["a/s@"],"git-0123456789abcdef":["z/t@"]},"files":[]}"#;
        let mut it: Provenance = serde_json::from_str(text).unwrap();
        assert_eq!(round(&mut it, &[("tags", "b/s@")]), ["a/s@"]);
        // Nobody knows what that one read: its events stay, until a source tells the same.
        assert!(round(&mut it, &[("tags", "b/s@"), ("other", "z/t@")]).is_empty());
        assert!(!it.owners.contains_key("git-0123456789abcdef"), "{it:?}");
    }
}

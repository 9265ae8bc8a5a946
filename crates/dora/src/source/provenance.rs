//! Which source told what of a file of events. What a source made has to go when its events
//! get another owner, and what a file told is no other source's to remove, whatever its ids
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
}

impl Provenance {
    /// What is known of a file of events; of one from before this was kept, nothing.
    pub fn of(events: &Path) -> Result<Self, SourceError> {
        durable::load(&place(events))
    }

    pub fn save(&self, events: &Path) -> Result<(), SourceError> {
        durable::save(&place(events), self)
    }

    /// Whether a file told it.
    pub fn is_of_file(&self, event: &(u8, String)) -> bool {
        self.files.contains(event)
    }

    /// A file tells these, beside what files told before.
    pub fn file(&mut self, events: impl IntoIterator<Item = (u8, String)>) {
        self.files.extend(events);
    }

    /// These, with the events of files that `other` knows.
    pub fn with_files_of(&self, other: &Self) -> Self {
        Self { files: other.files.clone(), ..self.clone() }
    }

    /// The events of what `source` reads begin with `prefix` now. Answers what they began with
    /// before, and no longer do: neither is it `kept`, the beginning of another source that
    /// there is, nor did another one tell it since.
    pub fn owns(&mut self, source: &str, prefix: &str, kept: &[String]) -> Vec<String> {
        for (other, owners) in &mut self.owners {
            if other != source {
                owners.remove(prefix);
            }
        }
        self.owners.retain(|_, owners| !owners.is_empty());
        let elsewhere: BTreeSet<String> = self
            .owners
            .iter()
            .filter(|(other, _)| *other != source)
            .flat_map(|(_, owners)| owners.iter().cloned())
            .chain(kept.iter().cloned())
            .collect();
        let own = self.owners.entry(source.to_owned()).or_default();
        own.insert(prefix.to_owned());
        let former = own.iter().filter(|one| *one != prefix && !elsewhere.contains(*one));
        let former: Vec<String> = former.cloned().collect();
        own.retain(|one| !former.contains(one));
        former
    }
}

fn place(events: &Path) -> PathBuf {
    durable::beside(events, ".state").join("provenance.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_former_owner_is_told_unless_it_is_somebody_elses_now() {
        let mut provenance = Provenance::default();
        assert!(provenance.owns("git-1", "a/s@", &[]).is_empty());
        assert!(provenance.owns("git-1", "a/s@", &[]).is_empty());
        assert_eq!(provenance.owns("git-1", "b/s@", &[]), ["a/s@"]);
        // Told once: it is gone then.
        assert!(provenance.owns("git-1", "b/s@", &[]).is_empty());
        // Two services that are read from the same.
        let both = ["b/s@".to_owned(), "b/t@".to_owned()];
        assert!(provenance.owns("git-1", "b/t@", &both).is_empty());
        assert!(provenance.owns("git-1", "b/s@", &both).is_empty());
        let one_renamed = ["b/s@".to_owned(), "b/u@".to_owned()];
        assert_eq!(provenance.owns("git-1", "b/s@", &one_renamed), ["b/t@"]);
        // Two that change their names with each other.
        assert!(provenance.owns("git-2", "c/s@", &[]).is_empty());
        let swapped = ["c/s@".to_owned(), "b/s@".to_owned()];
        assert!(provenance.owns("git-1", "c/s@", &swapped).is_empty());
        assert!(provenance.owns("git-2", "b/s@", &swapped).is_empty());
        // Who reads the same service in another way has taken it over: with `tags: x*`, say.
        assert!(provenance.owns("git-3", "b/s@", &[]).is_empty());
        assert_eq!(provenance.owns("git-3", "d/s@", &[]), ["b/s@"]);
    }
}

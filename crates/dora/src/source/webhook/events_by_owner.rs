//! Which events were made of a journal, and of whom: what has become another's has to go under
//! its former name, and nobody can tell from the file of events alone who wrote what.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::super::SourceError;
use super::super::store::{beside, write_durably};
use dorainfra_base::error::Why;

/// By what an owner's ids begin with, the ids.
pub(super) type EventsByOwner = BTreeMap<String, BTreeSet<String>>;

/// Beside the journal: `webhooks.jsonl.made`.
pub(super) fn path(journal: &Path) -> PathBuf {
    beside(journal, ".made")
}

/// What is there; nothing, if it can't be read: then nothing of it is removed either.
pub(super) fn read(path: &Path) -> EventsByOwner {
    std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

pub(super) fn write(path: &Path, made: &EventsByOwner) -> Result<(), SourceError> {
    let text = serde_json::to_vec(made).map_err(|error| SourceError::Journal(Why::of(error)))?;
    write_durably(path, &text)
}

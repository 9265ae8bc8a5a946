//! What the next reading of the sources will come to. It is done over a copy of what is kept of them, in the very way
//! in which `apply` does it, and the copy is deleted.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dorainfra_config::Source;
use dorainfra_model::Events;
use tokio::time::timeout;

use super::activity::Activity;
use super::error::{Error, Result};
use super::event_sources::{self, Ask, Collected, Collecting, Files};
use super::run::Run;

/// How long a plan waits for one forge. What is new since the last reading takes some requests.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

pub(super) struct Ahead {
    collected: Collected,
    /// Sources that can't be read now, each with the reason.
    failed: Vec<String>,
    /// Forges that were never read: a year of theirs can take long, and is left to `apply`.
    unread: Vec<String>,
    /// `None`: there is nothing to be fed yet.
    pub activity: Option<Activity>,
}

impl Ahead {
    /// What it is that may be new, for people; nothing: nothing is.
    pub fn news(&self) -> Vec<String> {
        let mut news = Vec::new();
        let Collected { added, changed, removed, .. } = self.collected;
        if added + changed + removed > 0 {
            news.push(format!("{added} events added, {changed} changed, {removed} removed"));
        }
        if !self.unread.is_empty() {
            news.push(format!("read for the first time: {}", self.unread.join(", ")));
        }
        news.extend(self.failed.iter().map(|failed| format!("can't be read now: {failed}")));
        news
    }

    /// A source may tell more than is known now.
    pub fn is_partial(&self) -> bool {
        !self.unread.is_empty() || !self.failed.is_empty()
    }
}

impl Run {
    /// `None`: there is no source.
    pub(super) async fn collect_ahead(&self) -> Result<Option<Ahead>> {
        let config = &self.project.config;
        if config.sources.is_empty() {
            return Ok(None);
        }
        let own = self.workspace.collected(&config.name);
        let copy = Copy::of(&own).map_err(|source| Error::Unmakeable { path: own, source })?;
        let files = Files::of(copy.events.clone())?;
        let was_read = |source: &Source| !source.kind.is_forge() || files.of_source(source).exists();
        let (sources, unread): (Vec<Source>, Vec<Source>) =
            config.sources.iter().cloned().partition(was_read);
        let (sources, failed) =
            event_sources::with_known_teams(&self.workspace, sources, &files, Ask::Once).await;
        let mut failed: Vec<String> =
            failed.iter().map(|failed| format!("{} ({})", failed.source, failed.error)).collect();
        let all = [&sources[..], &unread[..]].concat();
        let mut collecting = Collecting::begin(&files, &all)?;
        let since = event_sources::usual_since();
        for source in &sources {
            let none = Events::none();
            let reading = collecting.collect_all(&self.workspace, std::slice::from_ref(source), since, &none);
            if !source.kind.is_forge() {
                failed.extend(reading.await.iter().map(|one| format!("{} ({})", one.source, one.error)));
                continue;
            }
            match timeout(ANSWERS_WITHIN, reading).await {
                Ok(errors) => {
                    failed.extend(errors.iter().map(|one| format!("{} ({})", one.source, one.error)))
                }
                Err(_) => failed.push(format!(
                    "{} (no answer within {} s)",
                    named(source),
                    ANSWERS_WITHIN.as_secs()
                )),
            }
        }
        let collected = collecting.end(&files.events, &[]);
        let activity = self.activity_of(&files.events).ok();
        let unread = unread.iter().map(named).collect();
        Ok(Some(Ahead { collected, failed, unread, activity }))
    }
}

/// "github example/shop"
pub(super) fn named(source: &Source) -> String {
    let kind = serde_json::json!(source.kind);
    let path = source.path.as_ref().map(|path| path.display().to_string());
    let what = source.project.clone().or(path).unwrap_or_default();
    format!("{} {what}", kind.as_str().unwrap_or_default())
}

/// Of the events of a deployment, and of how far its sources were read.
struct Copy {
    folder: PathBuf,
    events: PathBuf,
}

impl Copy {
    fn of(events: &Path) -> io::Result<Self> {
        let (Some(from), Some(name)) = (events.parent(), events.file_name()) else {
            return Err(io::ErrorKind::InvalidFilename.into());
        };
        let folder = from.with_file_name(format!("ahead-{}", uuid::Uuid::new_v4()));
        // Deleted also where it does not get whole.
        let copy = Self { events: folder.join(name), folder };
        private(&copy.folder)?;
        copied(from, &copy.folder)?;
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// What is replaced meanwhile is copied as it was, or as it is; what is deleted, not at all.
fn copied(from: &Path, to: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            private(&to)?;
            copied(&entry.path(), &to)?;
            continue;
        }
        match fs::copy(entry.path(), &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_all_and_is_gone_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let events = folder.path().join("events/events.jsonl");
        let first = Copy::of(&events).unwrap();
        assert!(!first.events.exists() && first.folder.is_dir(), "there is nothing yet");
        drop(first);
        fs::create_dir_all(folder.path().join("events/events.jsonl.state")).unwrap();
        fs::write(&events, "one").unwrap();
        fs::write(folder.path().join("events/events.jsonl.state/github.json"), "two").unwrap();
        let copy = Copy::of(&events).unwrap();
        fs::write(&copy.events, "changed").unwrap();
        assert_eq!(fs::read_to_string(copy.folder.join("events.jsonl.state/github.json")).unwrap(), "two");
        drop(copy);
        assert_eq!(fs::read_to_string(&events).unwrap(), "one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

//! The file of collected events: JSON lines, sorted by time, each event once.
//!
//! It is written whole, beside itself, and then renamed: a reader sees the old
//! events or the new ones, and a killed writer harms neither. One writer at a
//! time holds the lock, a file beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::super::events::{self, Event};
use super::SourceError;
pub(super) use super::durable::beside;
pub use super::durable::write_durably;
use super::provenance::Provenance;
pub use super::provenance::{Kept, Origin};
use super::rules::Owner;

/// A file of events that is being changed; nobody else changes it meanwhile.
pub struct Store {
    path: PathBuf,
    events: BTreeMap<Key, Event>,
    /// Lines that are no events, as they are: they stay where they can be mended.
    bad: Vec<BadLine>,
    provenance: Provenance,
    /// As they are stored.
    provenance_before: Provenance,
    _lock: File,
}

/// What an event is referred to by: the kind, and the id among them.
type Key = (u8, String);
/// The kind of failures.
const FAILURE: u8 = 2;

/// What a merge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    pub added: u64,
    pub changed: u64,
    pub removed: u64,
    /// Of events that could not be read again, and so are not written.
    pub refused: u64,
    /// All that are there now.
    pub total: u64,
}

impl Merged {
    /// Of another merge into the same file.
    pub fn add(&mut self, other: Self) {
        self.added += other.added;
        self.changed += other.changed;
        self.removed += other.removed;
        self.refused += other.refused;
        self.total = other.total;
    }

    pub fn is_empty(&self) -> bool {
        self.added + self.changed + self.removed == 0
    }
}

impl Store {
    /// Waits for another writer, then reads what is there; a file that is not
    /// there yet is empty.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let fails = SourceError::file("can't be locked", path);
        let lock = beside(path, ".lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(lock).map_err(fails)?;
        lock.lock().map_err(SourceError::file("can't be locked", path))?;
        let Events { events, bad } = read(path)?;
        let events = events.into_iter().map(|event| (key(&event), event)).collect();
        let provenance = Provenance::of(path)?;
        Ok(Self {
            path: path.to_owned(),
            events,
            bad,
            provenance_before: provenance.clone(),
            provenance,
            _lock: lock,
        })
    }

    /// Adds events; one that is there already is replaced by the newer word.
    pub fn merge(&mut self, new: impl IntoIterator<Item = Event>) -> Merged {
        let mut merged = Merged::default();
        for event in new {
            if event.problem().is_some() {
                merged.refused += 1;
                continue;
            }
            match self.events.insert(key(&event), event.clone()) {
                None => merged.added += 1,
                Some(old) if old != event => merged.changed += 1,
                Some(_) => {}
            }
        }
        merged.total = self.events.len() as u64;
        merged
    }

    /// Those of these that are told anew as another team's or service's, with whose they were.
    pub fn moved<'a>(&self, new: &'a [Event]) -> Vec<(&'a str, String)> {
        let moved = new.iter().filter_map(|event| {
            let ((team, service), now) = (self.events.get(&key(event))?.owner()?, event.owner()?);
            (now != (team, service)).then(|| (event.order().2, format!("{team}/{service}")))
        });
        moved.collect()
    }

    /// Adds the events of a file; no other source removes them.
    pub fn merge_file(&mut self, new: Vec<Event>) -> Merged {
        self.provenance.file(new.iter().map(key));
        self.merge(new)
    }

    /// Has of an owner (as `prefix` names it) these events and no others, but for what files
    /// reported.
    pub fn replace(&mut self, prefix: &str, new: Vec<Event>) -> Merged {
        self.replace_all(&[prefix.to_owned()], new)
    }

    /// Has of what `source` reads these events and no others. Answers, too, what its ids began
    /// with before, if its owner has another name now: what was made then is gone. `kept`: what
    /// the ids of all sources that there are begin with.
    ///
    /// # Errors
    /// Another repository was read as this team's service, and no configuration says that it is
    /// this one now; nothing is changed then.
    pub fn replace_source(
        &mut self,
        source: &Origin,
        prefix: &str,
        kept: &Kept,
        new: Vec<Event>,
    ) -> Result<(Merged, Vec<String>), SourceError> {
        if kept.configured.is_none()
            && let Some(other) = self.provenance.elsewhere(source, prefix)
            && !self.tells_again(prefix, &new)
        {
            let owner = prefix.trim_end_matches('@').to_owned();
            return Err(SourceError::Others { owner, other, path: self.path.clone() });
        }
        let former = self.provenance.owns(source, prefix, kept);
        let mut prefixes = former.clone();
        prefixes.push(prefix.to_owned());
        Ok((self.replace_all(&prefixes, new), former))
    }

    /// Whether any of the owner's events is among these, or there are none: a commit is in no other
    /// repository, and a clone of the same has all of them.
    fn tells_again(&self, prefix: &str, new: &[Event]) -> bool {
        let owned: BTreeSet<&Key> = self.owned(prefix).collect();
        owned.is_empty()
            || new.iter().any(|event| self.events.get(&key(event)).is_some_and(|old| old == event))
    }

    /// The events whose owner is the one that `prefix` names: that their ids begin with it is not
    /// enough, as a service may be called `c`, and another one `c@x`.
    fn owned(&self, prefix: &str) -> impl Iterator<Item = &Key> {
        let is_its = move |event: &Event| {
            let whose = match event {
                Event::Recovery(it) => self.events.get(&(FAILURE, it.failure.clone())).and_then(Event::owner),
                other => other.owner(),
            };
            // What recovers from nothing that is known counts nowhere.
            whose.is_none_or(|(team, service)| Owner::prefix_of(team, service) == prefix)
        };
        let its = self.events.iter().filter(move |(key, event)| key.1.starts_with(prefix) && is_its(event));
        its.map(|(key, _)| key).filter(|key| !self.provenance.is_of_file(key))
    }

    fn replace_all(&mut self, prefixes: &[String], new: Vec<Event>) -> Merged {
        let fresh: BTreeMap<Key, Event> = new.into_iter().map(|event| (key(&event), event)).collect();
        let its = prefixes.iter().flat_map(|prefix| self.owned(prefix));
        // What can't be written is refused below, and gone all the same.
        let gone: BTreeSet<Key> = its.filter(|key| !fresh.contains_key(*key)).cloned().collect();
        self.events.retain(|key, _| !gone.contains(key));
        Merged { removed: gone.len() as u64, ..self.merge(fresh.into_values()) }
    }

    /// Has these events, and of those that were made `before` (by their ids) no others.
    pub fn update(&mut self, before: &BTreeSet<String>, new: Vec<Event>) -> Merged {
        let fresh: BTreeMap<Key, Event> = new.into_iter().map(|event| (key(&event), event)).collect();
        let count = self.events.len();
        let provenance = &self.provenance;
        let stays = |key: &Key| fresh.contains_key(key) || provenance.is_of_file(key);
        self.events.retain(|key, _| !before.contains(&key.1) || stays(key));
        let removed = (count - self.events.len()) as u64;
        Merged { removed, ..self.merge(fresh.into_values()) }
    }

    /// The lines of the file that are no events. [`Store::save`] moves them beside it.
    pub fn bad(&self) -> &[BadLine] {
        &self.bad
    }

    /// How many events there are.
    pub fn total(&self) -> u64 {
        self.events.len() as u64
    }

    /// Writes all of it, durably. What was no event is in `NAME.refused` by then.
    pub fn save(&self) -> Result<(), SourceError> {
        // A kill between the two does no harm: what a file reported is known before it is there, and
        // a former owner until its events are gone.
        self.save_provenance(self.provenance_before.with_files_of(&self.provenance))?;
        self.save_events()?;
        self.save_provenance(self.provenance.clone())
    }

    /// Writes who reported what, where nothing of the events has changed.
    pub fn save_unchanged(&self) -> Result<(), SourceError> {
        self.save_provenance(self.provenance.clone())
    }

    fn save_provenance(&self, provenance: Provenance) -> Result<(), SourceError> {
        if provenance == self.provenance_before { Ok(()) } else { provenance.save(&self.path) }
    }

    fn save_events(&self) -> Result<(), SourceError> {
        set_aside(&self.path, self.bad.iter().map(|line| line.text.as_str()))?;
        let mut all: Vec<&Event> = self.events.values().collect();
        all.sort_by(|a, b| a.order().cmp(&b.order()));
        let mut text = Vec::new();
        events::write(&mut text, all).map_err(SourceError::file("can't be written", &self.path))?;
        write_durably(&self.path, &text)
    }
}

/// What a file of events holds.
#[derive(Debug, Default)]
pub struct Events {
    pub events: Vec<Event>,
    pub bad: Vec<BadLine>,
}

/// A line that is no event, among others that are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// From 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
    pub text: String,
}

impl BadLine {
    /// For people, with its place.
    pub fn described(&self, path: &Path) -> String {
        format!("{}:{}: {}; it is left out", path.display(), self.line, self.message)
    }
}

/// The events of a file; none if it is not there. One bad line does not hide the
/// others.
///
/// # Errors
/// The file can't be read, or no line of it is an event: it holds something else.
pub fn read(path: &Path) -> Result<Events, SourceError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Events::default()),
        Err(error) => return Err(SourceError::file("can't be read", path)(error)),
    };
    // Some editors write a mark before the first line.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    let mut found = Events::default();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = String::from_utf8_lossy(line);
        if line.trim().is_empty() {
            continue;
        }
        match events::event_of(&line) {
            Ok(event) => found.events.push(event),
            Err((_, message)) => {
                found.bad.push(BadLine { line: index + 1, message, text: line.into_owned() });
            }
        }
    }
    match found.bad.first() {
        Some(first) if found.events.is_empty() => {
            let message = format!("line {}: {}", first.line, first.message);
            Err(SourceError::NoEvents { path: path.to_owned(), message })
        }
        _ => Ok(found),
    }
}

/// Appends lines to `NAME.refused`, durably, for a person to look at.
pub(super) fn set_aside<'a>(
    path: &Path,
    lines: impl IntoIterator<Item = &'a str>,
) -> Result<(), SourceError> {
    let mut text = String::new();
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    if text.is_empty() {
        return Ok(());
    }
    let aside = beside(path, ".refused");
    let fails = |error| SourceError::file("can't be written", &aside)(error);
    let mut file = OpenOptions::new().create(true).append(true).open(&aside).map_err(fails)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fails)
}

/// What of some events can be stored, each once (the last word counts), and how many can't be.
pub fn storable(events: Vec<Event>) -> (Vec<Event>, usize) {
    let all: BTreeMap<Key, Event> = events.into_iter().map(|event| (key(&event), event)).collect();
    let before = all.len();
    let kept: Vec<Event> = all.into_values().filter(|event| event.problem().is_none()).collect();
    let refused = before - kept.len();
    (kept, refused)
}

/// By time; at one moment, what is referred to comes first.
pub(super) fn sort(events: &mut [Event]) {
    events.sort_by(|a, b| a.order().cmp(&b.order()));
}

fn key(event: &Event) -> Key {
    let (_, rank, id) = event.order();
    (rank, id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"{"type":"change","id":"t/s@c","team":"t","service":"s","at":"2026-03-02T09:00:00Z"}
{"type":"deployment","id":"t/s@d","team":"t","service":"s","environment":"production","at":"2026-03-02T15:30:00Z","kind":"planned","changes":["t/s@c"]}
"#;

    fn parsed(text: &str) -> Vec<Event> {
        events::read(text.as_bytes()).collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn events_are_there_once_and_the_newer_word_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let mut store = Store::open(&path).unwrap();
        assert_eq!(store.merge(parsed(LINES)), Merged { added: 2, total: 2, ..Merged::default() });
        store.save().unwrap();
        drop(store);

        let mut store = Store::open(&path).unwrap();
        assert_eq!(store.merge(parsed(LINES)), Merged { total: 2, ..Merged::default() });
        let moved = LINES.replace("T15:30", "T16:30");
        assert_eq!(store.merge(parsed(&moved)), Merged { changed: 1, total: 2, ..Merged::default() });
        store.save().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), moved);
    }

    #[test]
    fn an_owner_has_what_it_has_now_and_others_keep_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(&folder.path().join("events.jsonl")).unwrap();
        store.merge(parsed(LINES));
        store.merge(parsed(&LINES.replace("t/s@", "other")));
        let merged = store.replace("t/s@", parsed(LINES.lines().next().unwrap()));
        assert_eq!(merged, Merged { removed: 1, total: 3, ..Merged::default() });
    }

    #[test]
    fn an_id_that_begins_alike_is_of_whom_its_event_says() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(&folder.path().join("events.jsonl")).unwrap();
        let failed = r#"{"type":"failure","id":"t/s@x@f","team":"t","service":"s@x","at":"2026-03-02T15:42:00Z"}
{"type":"recovery","failure":"t/s@x@f","at":"2026-03-02T16:10:00Z"}
"#;
        store.merge(parsed(failed));
        store.merge(parsed(&LINES.replace("t/s@", "t/s@x@").replace("\"s\"", "\"s@x\"")));
        store.merge(parsed(LINES));
        assert_eq!(store.replace("t/s@", Vec::new()), Merged { removed: 2, total: 4, ..Merged::default() });
        assert_eq!(store.replace("t/s@x@", Vec::new()), Merged { removed: 4, ..Merged::default() });
    }

    #[test]
    fn one_bad_line_hides_no_other_and_is_kept_aside_when_the_file_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let bad = LINES.lines().next().unwrap().replace("2026", "1926");
        std::fs::write(&path, format!("{bad}\n{LINES}\u{0}half a li")).unwrap();
        let found = read(&path).unwrap();
        assert_eq!(found.events, parsed(LINES));
        let marked = folder.path().join("marked.jsonl");
        std::fs::write(&marked, format!("\u{feff}{LINES}")).unwrap();
        let of_marked = read(&marked).unwrap();
        assert_eq!((of_marked.events, of_marked.bad.len()), (parsed(LINES), 0));
        let reported: Vec<_> =
            found.bad.iter().map(|line| (line.line, line.message.contains("1970"))).collect();
        assert_eq!(reported, [(1, true), (4, false)]);
        assert!(
            found.bad[0].described(&path).ends_with("events.jsonl:1: `at` is before 1970; it is left out")
        );

        let mut store = Store::open(&path).unwrap();
        assert_eq!(store.bad().len(), 2);
        // An event that could not be read again is not written.
        let twice = parsed(&[LINES, LINES].concat());
        assert_eq!(storable(twice), (parsed(LINES), 0), "counted once");
        let far = parsed(LINES).into_iter().map(|mut event| {
            let Event::Change(change) = &mut event else { return event };
            change.at = time::macros::datetime!(9999-12-31 23:59 -1);
            event
        });
        let far: Vec<Event> = far.collect();
        assert_eq!(storable(far.clone()), (parsed(LINES)[1..].to_vec(), 1));
        assert_eq!(store.merge(far).refused, 1);
        store.save().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), LINES);
        let aside = std::fs::read_to_string(folder.path().join("events.jsonl.refused")).unwrap();
        assert_eq!(aside, format!("{bad}\n\u{0}half a li\n"));
    }

    #[test]
    fn a_file_that_holds_something_else_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        std::fs::write(&path, "hello\n").unwrap();
        let error = Store::open(&path).err().unwrap().to_string();
        assert!(error.contains("events.jsonl") && error.contains("line 1"), "{error}");
    }
}

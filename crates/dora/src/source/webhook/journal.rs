//! The queue on the disk: one line for each delivery, appended and flushed
//! before it is answered.
//!
//! When it has become large, it is made anew beside itself and renamed: what old
//! deliveries reported is then one line a project, each fact once. Whoever reads it,
//! and whenever a process is killed, finds the old one or the new one, whole.

mod contents;

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::SourceError;
use super::super::forges::{self, Known};
use super::super::project::Fact;
use super::super::store::{BadLine, beside, set_aside};

pub(super) use contents::JournalContents;

/// Who sent something. In the journal it is a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum Sender {
    Forge(Known),
    Cdevents,
    /// A mapped webhook.
    Webhook,
}

const CDEVENTS: &str = "cdevents";
const WEBHOOK: &str = "webhook";

impl From<Sender> for &'static str {
    fn from(sender: Sender) -> Self {
        match sender {
            Sender::Forge(Known(forge)) => forge.name(),
            Sender::Cdevents => CDEVENTS,
            Sender::Webhook => WEBHOOK,
        }
    }
}

impl TryFrom<String> for Sender {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.as_str() {
            CDEVENTS => Ok(Self::Cdevents),
            WEBHOOK => Ok(Self::Webhook),
            forge => match forges::named(forge) {
                Some(forge) => Ok(Self::Forge(Known(forge))),
                None => Err(format!("no sender is called `{name}`")),
            },
        }
    }
}

/// What one webhook reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// The sender's: the same when it is delivered again.
    pub id: String,
    #[serde(rename = "forge")]
    pub sender: Sender,
    /// `owner/name`; of what is no forge's, the service.
    pub project: String,
    /// Whose it is, where a payload that is no forge's says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Of a mapped webhook: its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<String>,
    pub facts: Vec<Fact>,
}

/// What a delivery is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct About {
    pub sender: Sender,
    pub hook: Option<String>,
    pub team: Option<String>,
    pub project: String,
}

impl Delivery {
    /// The project, in whichever case somebody writes it: forges know no difference.
    pub fn about(&self) -> About {
        let project = match self.sender {
            Sender::Forge(_) => self.project.to_lowercase(),
            Sender::Cdevents | Sender::Webhook => self.project.clone(),
        };
        About { sender: self.sender, hook: self.hook.clone(), team: self.team.clone(), project }
    }
}

/// When a journal is made anew, and what of it stays as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compaction {
    /// Not below so many bytes.
    pub least: u64,
    /// The newest deliveries, which their senders may repeat.
    pub recent: usize,
}

impl Default for Compaction {
    /// About 50,000 deliveries; GitHub repeats those of the last three days.
    fn default() -> Self {
        Self { least: 16 << 20, recent: 10_000 }
    }
}

pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines.
    length: u64,
    seen: HashSet<String>,
    compaction: Compaction,
    /// The length at which it is made anew.
    large: u64,
}

impl Journal {
    /// Opens it for this process alone, with all that is in it. A last line that
    /// a killed process did not finish was answered by nobody: it goes.
    /// A line that is no delivery is moved to `NAME.refused`: it takes nothing
    /// with it.
    pub fn open(path: &Path, compaction: Compaction) -> Result<Opened, SourceError> {
        let fails = |what| SourceError::file(what, path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(fails("can't be written"))?;
        }
        let mut file = Self::lock(path)?;
        let text = std::fs::read(path).map_err(fails("can't be read"))?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let Lines { deliveries, bad } = lines(&text[..whole]);
        file.set_len(whole as u64).map_err(fails("can't be written"))?;
        file.seek(SeekFrom::End(0)).map_err(fails("can't be written"))?;
        let (length, seen) = (whole as u64, deliveries.iter().map(key).collect());
        let path = path.to_owned();
        let mut journal = Self { path, file, length, seen, compaction, large: compaction.least };
        if bad.is_empty() {
            journal.compact_if_large();
        } else {
            // They are kept for a person, and are in nobody's way at the next start.
            set_aside(&journal.path, bad.iter().map(|line| line.text.as_str()))?;
            journal.replace(&deliveries).map_err(SourceError::file("can't be written", &journal.path))?;
        }
        Ok(Opened { journal, deliveries, bad })
    }

    /// The file that is at the path, for this process alone: not one that another
    /// process has just replaced.
    fn lock(path: &Path) -> Result<File, SourceError> {
        let fails = |what| SourceError::file(what, path);
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
                .map_err(fails("can't be opened"))?;
            file.try_lock().map_err(|_| SourceError::Taken(path.display().to_string()))?;
            let locked = file.metadata().map_err(fails("can't be read"))?.ino();
            if std::fs::metadata(path).is_ok_and(|there| there.ino() == locked) {
                return Ok(file);
            }
        }
    }

    fn compact_if_large(&mut self) {
        if self.length >= self.large {
            // What can't be made smaller now is whole all the same: later again.
            let _ = self.compact();
            self.large = self.compaction.least.max(2 * self.length);
        }
    }

    /// Makes it anew: what was reported before the newest deliveries, each fact once.
    fn compact(&mut self) -> io::Result<()> {
        let all = read(&self.path).map_err(io::Error::other)?;
        self.replace(&compacted(all, self.compaction.recent))
    }

    /// Has these in it and no others, at once.
    fn replace(&mut self, deliveries: &[Delivery]) -> io::Result<()> {
        let mut text = Vec::new();
        for delivery in deliveries {
            serde_json::to_writer(&mut text, delivery)?;
            text.push(b'\n');
        }
        let beside = beside(&self.path, ".new");
        // One that a killed process left there is in nobody's way.
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&beside)?;
        file.try_lock().map_err(|_| io::Error::other("it is locked by another process"))?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&beside, &self.path)?;
        self.file = file;
        self.length = text.len() as u64;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    /// Whether a delivery is in it.
    pub fn has(&self, delivery: &Delivery) -> bool {
        self.seen.contains(&key(delivery))
    }

    /// Appends those that are new and flushes the disk. Answers for each whether
    /// it was new. After an error none of them is in it.
    pub fn append(&mut self, deliveries: &[Delivery]) -> io::Result<Vec<bool>> {
        let mut text = Vec::new();
        let mut fresh = HashSet::new();
        let mut new = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let key = key(delivery);
            let is_new = !self.seen.contains(&key) && fresh.insert(key);
            if is_new {
                serde_json::to_writer(&mut text, delivery)?;
                text.push(b'\n');
            }
            new.push(is_new);
        }
        if text.is_empty() {
            return Ok(new);
        }
        if let Err(error) = self.file.write_all(&text).and_then(|()| self.file.sync_data()) {
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::End(0))?;
            return Err(error);
        }
        self.length += text.len() as u64;
        self.seen.extend(fresh);
        self.compact_if_large();
        Ok(new)
    }
}

/// The same facts in fewer deliveries: the `recent` newest stay, and all that came
/// before them is one for each project.
fn compacted(mut all: Vec<Delivery>, recent: usize) -> Vec<Delivery> {
    let newest = all.split_off(all.len().saturating_sub(recent));
    let old = JournalContents::of(all).into_projects().into_iter().map(|(about, (project, known))| {
        let team = about.team.as_ref().map(|team| format!("{team}/")).unwrap_or_default();
        Delivery {
            id: format!("before: {team}{project}"),
            sender: about.sender,
            project,
            team: about.team,
            hook: about.hook,
            facts: known.facts(),
        }
    });
    old.chain(newest).collect()
}

/// A journal, and what was in it.
pub(super) struct Opened {
    pub journal: Journal,
    pub deliveries: Vec<Delivery>,
    /// Lines that are no deliveries, now beside it.
    pub bad: Vec<BadLine>,
}

/// All deliveries of a journal, whoever may be writing it; none if it is not there.
pub(super) fn read(path: &Path) -> Result<Vec<Delivery>, SourceError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(SourceError::file("can't be read", path)(error)),
    };
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    Ok(lines(&text[..whole]).deliveries)
}

struct Lines {
    deliveries: Vec<Delivery>,
    bad: Vec<BadLine>,
}

fn lines(text: &[u8]) -> Lines {
    let mut found = Lines { deliveries: Vec::new(), bad: Vec::new() };
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(delivery) => found.deliveries.push(delivery),
            Err(error) => found.bad.push(BadLine {
                line: index + 1,
                message: format!("no delivery: {error}"),
                text: String::from_utf8_lossy(line).into_owned(),
            }),
        }
    }
    found
}

/// Two senders may give the same id.
fn key(delivery: &Delivery) -> String {
    let hook = delivery.hook.as_deref().unwrap_or_default();
    format!("{:?} {hook} {}", delivery.sender, delivery.id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::super::github::Github;
    use super::super::super::project::Project;
    use super::*;

    fn delivery(id: &str) -> Delivery {
        Delivery {
            id: id.into(),
            sender: Sender::Forge(Known(&Github)),
            project: "o/r".into(),
            team: None,
            hook: None,
            facts: vec![Fact::Labelled {
                id: "c".into(),
                labels: vec!["hotfix".into()],
                reverts: Vec::new(),
                updated: None,
            }],
        }
    }

    #[test]
    fn a_delivery_is_kept_once_and_a_torn_line_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/webhooks.jsonl");
        let Opened { mut journal, deliveries, .. } = Journal::open(&path, Compaction::default()).unwrap();
        assert!(deliveries.is_empty());
        let all = [delivery("1"), delivery("2"), delivery("1")];
        assert_eq!(journal.append(&all).unwrap(), [true, true, false]);
        assert_eq!(journal.append(&all).unwrap(), [false, false, false]);
        assert!(Journal::open(&path, Compaction::default()).is_err(), "two receivers of one journal");
        drop(journal);

        let mut text = std::fs::read(&path).unwrap();
        text.extend_from_slice(b"{\"id\":\"3\",\"for");
        std::fs::write(&path, &text).unwrap();
        assert_eq!(read(&path).unwrap().len(), 2);
        let Opened { mut journal, deliveries, .. } = Journal::open(&path, Compaction::default()).unwrap();
        assert_eq!(deliveries, [delivery("1"), delivery("2")]);
        assert_eq!(journal.append(&[delivery("3"), delivery("2")]).unwrap(), [true, false]);
        assert_eq!(read(&path).unwrap().len(), 3);
    }

    #[test]
    fn a_damaged_line_takes_no_other_with_it_and_is_kept_for_a_person() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("webhooks.jsonl");
        let line = |id| serde_json::to_string(&delivery(id)).unwrap();
        std::fs::write(&path, format!("{}\n{{\"id\":7}}\n\0\0\n{}\n", line("1"), line("2"))).unwrap();
        assert_eq!(read(&path).unwrap().len(), 2);
        let opened = Journal::open(&path, Compaction::default()).unwrap();
        assert_eq!(opened.deliveries, [delivery("1"), delivery("2")]);
        assert_eq!(opened.bad.iter().map(|line| line.line).collect::<Vec<_>>(), [2, 3]);
        drop(opened);
        let aside = || std::fs::read_to_string(folder.path().join("webhooks.jsonl.refused")).unwrap();
        assert_eq!(aside(), "{\"id\":7}\n\0\0\n");
        let mut opened = Journal::open(&path, Compaction::default()).unwrap();
        assert!(opened.bad.is_empty() && opened.deliveries.len() == 2);
        assert_eq!(opened.journal.append(&[delivery("2"), delivery("3")]).unwrap(), [false, true]);
        assert_eq!(aside().lines().count(), 2, "each is kept once");
    }

    fn reported(path: &Path) -> BTreeMap<String, Project> {
        let mut projects: BTreeMap<String, Project> = BTreeMap::new();
        for delivery in read(path).unwrap() {
            let project = projects.entry(delivery.project).or_default();
            delivery.facts.into_iter().for_each(|fact| project.add(fact));
        }
        projects
    }

    #[test]
    fn a_large_journal_is_made_anew_and_tells_the_same() {
        use super::super::super::project::{DeploymentRecord, MergedChange, Status};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("webhooks.jsonl");
        let compaction = Compaction { least: 4000, recent: 3 };
        let mut journal = Journal::open(&path, compaction).unwrap().journal;
        let at =
            |minute: i64| time::macros::datetime!(2026-03-02 12:00 UTC) + time::Duration::minutes(minute);
        let (mut whole, mut longest) = (BTreeMap::<String, Project>::new(), 0);
        let mut written = 0;
        for number in 0..120_i64 {
            // Each deployment is reported of many times, each change twice.
            let id = (number / 20).to_string();
            let status = Status { at: at(number % 4), ok: number % 2 == 0 };
            let deployment = DeploymentRecord {
                environment: "production".into(),
                statuses: vec![status],
                ..DeploymentRecord::default()
            };
            let change = MergedChange { at: Some(at(number)), title: id.clone(), ..MergedChange::default() };
            let one = Delivery {
                id: number.to_string(),
                sender: Sender::Forge(Known(&Github)),
                project: format!("o/{}", number % 2),
                team: None,
                hook: None,
                facts: vec![
                    Fact::Landed { id: format!("c{}", number / 30), change },
                    Fact::Labelled {
                        id: format!("c{}", number / 40),
                        labels: vec![number.to_string()],
                        reverts: Vec::new(),
                        updated: None,
                    },
                    Fact::Ran { id, deployment },
                ],
            };
            assert_eq!(journal.append(std::slice::from_ref(&one)).unwrap(), [true]);
            written += serde_json::to_vec(&one).unwrap().len() as u64 + 1;
            let project = whole.entry(one.project.clone()).or_default();
            one.facts.clone().into_iter().for_each(|fact| project.add(fact));
            assert_eq!(reported(&path), whole, "after {number}");
            longest = longest.max(std::fs::metadata(&path).unwrap().len());
        }
        assert!(4 * longest < written, "{longest} of {written} bytes");
        assert!(read(&path).unwrap().len() < 60);
        // The newest are known by their ids, after a restart too, and the place is still taken.
        assert!(Journal::open(&path, compaction).is_err(), "two receivers of one journal");
        drop(journal);
        // What a kill in the middle of it leaves: half a file beside.
        std::fs::write(folder.path().join("webhooks.jsonl.new"), "{\"id\":\"4").unwrap();
        let Opened { mut journal, deliveries, .. } = Journal::open(&path, compaction).unwrap();
        let newest = deliveries.last().unwrap().clone();
        assert_eq!(newest.id, "119");
        assert_eq!(journal.append(&[newest]).unwrap(), [false]);
        assert_eq!(reported(&path), whole);
    }

    /// A kill leaves what is on the disk at that moment, which is what somebody
    /// else sees there: at each moment all that was answered, whole.
    #[test]
    fn at_no_moment_is_anything_missing_that_was_answered() {
        use super::super::super::project::DeploymentRecord;
        use std::sync::atomic::{AtomicI64, Ordering};
        const LAST: i64 = 200;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("webhooks.jsonl");
        let answered = AtomicI64::new(-1);
        let looks = std::thread::scope(|scope| {
            scope.spawn(|| {
                let compaction = Compaction { least: 2000, recent: 2 };
                let mut journal = Journal::open(&path, compaction).unwrap().journal;
                for number in 0..=LAST {
                    let facts =
                        vec![Fact::Ran { id: number.to_string(), deployment: DeploymentRecord::default() }];
                    let one = Delivery { id: number.to_string(), facts, ..delivery("") };
                    journal.append(&[one]).unwrap();
                    answered.store(number, Ordering::SeqCst);
                }
            });
            let mut looks = 0;
            loop {
                let before = answered.load(Ordering::SeqCst);
                let known = reported(&path).remove("o/r").unwrap_or_default().deployments;
                let missing: Vec<_> =
                    (0..=before).filter(|one| !known.contains_key(&one.to_string())).collect();
                assert!(missing.is_empty(), "{missing:?} of {before} are missing");
                looks += 1;
                if before == LAST {
                    return looks;
                }
            }
        });
        assert!(looks > 3, "{looks} looks");
    }
}

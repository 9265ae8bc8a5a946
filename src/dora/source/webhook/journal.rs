//! The queue on the disk: one line for each delivery, appended and flushed
//! before it is answered.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::SourceError;
use super::super::project::Fact;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forge {
    Github,
    Gitlab,
}

/// What one webhook told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// The sender's: the same when it is delivered again.
    pub id: String,
    pub forge: Forge,
    /// `owner/name`
    pub project: String,
    pub facts: Vec<Fact>,
}

pub(super) struct Journal {
    file: File,
    /// Bytes of whole lines.
    length: u64,
    seen: HashSet<String>,
}

impl Journal {
    /// Opens it for this process alone, with all that is in it. A last line that
    /// a killed process did not finish was answered by nobody: it goes.
    pub fn open(path: &Path) -> Result<(Self, Vec<Delivery>), SourceError> {
        let fails = |what| SourceError::file(what, path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(fails("can't be written"))?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(fails("can't be opened"))?;
        file.try_lock().map_err(|_| {
            fails("is another receiver's")(io::Error::other("it is locked by another process"))
        })?;
        let text = std::fs::read(path).map_err(fails("can't be read"))?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let deliveries = lines(path, &text[..whole])?;
        file.set_len(whole as u64).map_err(fails("can't be written"))?;
        file.seek(SeekFrom::End(0)).map_err(fails("can't be written"))?;
        let seen = deliveries.iter().map(key).collect();
        Ok((Self { file, length: whole as u64, seen }, deliveries))
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
        Ok(new)
    }
}

/// All deliveries of a journal, whoever may be writing it; none if it is not there.
pub(super) fn read(path: &Path) -> Result<Vec<Delivery>, SourceError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(SourceError::file("can't be read", path)(error)),
    };
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    lines(path, &text[..whole])
}

fn lines(path: &Path, text: &[u8]) -> Result<Vec<Delivery>, SourceError> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let parsed = lines.enumerate().map(|(index, line)| {
        serde_json::from_slice(line).map_err(|error| {
            let message = format!("line {} is no delivery: {error}", index + 1);
            SourceError::file("can't be used", path)(io::Error::other(message))
        })
    });
    parsed.collect()
}

/// Two forges may give the same id.
fn key(delivery: &Delivery) -> String {
    format!("{:?} {}", delivery.forge, delivery.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(id: &str) -> Delivery {
        Delivery {
            id: id.into(),
            forge: Forge::Github,
            project: "o/r".into(),
            facts: vec![Fact::Labelled { id: "c".into(), labels: vec!["hotfix".into()] }],
        }
    }

    #[test]
    fn a_delivery_is_kept_once_and_a_torn_line_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/webhooks.jsonl");
        let (mut journal, past) = Journal::open(&path).unwrap();
        assert!(past.is_empty());
        let all = [delivery("1"), delivery("2"), delivery("1")];
        assert_eq!(journal.append(&all).unwrap(), [true, true, false]);
        assert_eq!(journal.append(&all).unwrap(), [false, false, false]);
        assert!(Journal::open(&path).is_err(), "two receivers of one journal");
        drop(journal);

        let mut text = std::fs::read(&path).unwrap();
        text.extend_from_slice(b"{\"id\":\"3\",\"for");
        std::fs::write(&path, &text).unwrap();
        assert_eq!(read(&path).unwrap().len(), 2);
        let (mut journal, past) = Journal::open(&path).unwrap();
        assert_eq!(past, [delivery("1"), delivery("2")]);
        assert_eq!(journal.append(&[delivery("3"), delivery("2")]).unwrap(), [true, false]);
        assert_eq!(read(&path).unwrap().len(), 3);
    }
}

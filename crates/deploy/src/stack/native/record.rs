//! What runs: `<dir>/stack.json`, and one file for each part in `<dir>/run/`
//! that the part itself writes at its start.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use dorainfra_base::error::Why;
use serde::{Deserialize, Serialize};

use super::error::StackError;
use super::part::{Command, Part};
use super::process::{self, Identity};
use crate::stack::private;

/// One part as it was started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Started {
    pub digest: String,
    /// Program and arguments.
    pub command: Vec<String>,
    pub port: Option<u16>,
    /// Unix seconds.
    pub at: i64,
    /// Where this run's lines begin in the log.
    pub log_from: u64,
    /// `None`: written before the start; the part's own file says.
    pub process: Option<Identity>,
    /// Who starts it again; empty: nobody, as in an earlier version.
    #[serde(default)]
    pub keeper: String,
}

/// The record of a stack's folder.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Record {
    pub parts: BTreeMap<Part, Started>,
}

impl Record {
    /// An absent record is an empty one.
    pub fn load(dir: &Path) -> Result<Self, StackError> {
        let path = file(dir);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(StackError::file("cannot read", &path)(error)),
        };
        let mut record: Self = serde_json::from_str(&text)
            .map_err(|error| StackError::Record { path, message: Why::of(error) })?;
        for (part, started) in &mut record.parts {
            // It may have been started again since.
            started.process = process::identity(&identity_file(dir, *part)).or(started.process);
        }
        Ok(record)
    }

    /// As [`Record::load`], but gives a part that was being started when its
    /// starter was killed a moment to write down who it is.
    pub async fn settled(dir: &Path) -> Result<Self, StackError> {
        let begun = std::time::Instant::now();
        loop {
            let record = Self::load(dir)?;
            let unknown = record.parts.values().any(|started| started.process.is_none());
            if !unknown || begun.elapsed() > std::time::Duration::from_secs(2) {
                return Ok(record);
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    pub fn save(&self, dir: &Path) -> Result<(), StackError> {
        let text = serde_json::to_string_pretty(self).expect("a record has string keys only");
        write(&file(dir), &format!("{text}\n"))
    }

    pub fn remove(dir: &Path) -> Result<(), StackError> {
        remove(&file(dir))?;
        for part in Part::ALL {
            for path in [identity_file(dir, part), keep_file(dir, part), keeper_file(dir, part)] {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// The process of a part, if it runs.
    pub fn running(&self, part: Part) -> Option<(&Started, Identity)> {
        let started = self.parts.get(&part)?;
        let process = started.process.filter(|process| process::alive(*process))?;
        Some((started, process))
    }
}

impl Started {
    pub fn now(command: &Command, log: &Path) -> Self {
        let mut line = vec![command.program.display().to_string()];
        line.extend(command.args.iter().cloned());
        Self {
            digest: command.digest.clone(),
            command: line,
            port: command.port,
            at: time::OffsetDateTime::now_utc().unix_timestamp(),
            log_from: fs::metadata(log).map_or(0, |data| data.len()),
            process: None,
            keeper: uuid::Uuid::new_v4().to_string(),
        }
    }
}

fn file(dir: &Path) -> PathBuf {
    dir.join("stack.json")
}

pub(super) fn identity_file(dir: &Path, part: Part) -> PathBuf {
    dir.join("run").join(part.name())
}

/// Names the keeper that may start the part again.
pub(super) fn keep_file(dir: &Path, part: Part) -> PathBuf {
    identity_file(dir, part).with_extension("keep")
}

/// The identity of the keeper.
pub(super) fn keeper_file(dir: &Path, part: Part) -> PathBuf {
    identity_file(dir, part).with_extension("keeper")
}

pub(super) fn log_file(dir: &Path, part: Part) -> PathBuf {
    dir.join("logs").join(format!("{}.log", part.name()))
}

/// Makes a folder (and those above it) for this user's eyes only.
pub(super) fn folder(path: &Path) -> Result<(), StackError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(StackError::file("cannot make the folder", path))
}

/// Writes a file for this user's eyes only; whole, or not at all.
pub(super) fn write(path: &Path, contents: &str) -> Result<(), StackError> {
    private::write(path, contents.as_bytes(), None).map_err(StackError::file("cannot write", path))
}

pub(super) fn remove(path: &Path) -> Result<(), StackError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StackError::file("cannot delete", path)(error))
        }
        _ => Ok(()),
    }
}

/// The last lines of a log, from `begin` (bytes) on.
pub(super) fn tail(log: &Path, begin: u64, lines: usize) -> Vec<String> {
    use std::io::{Read, Seek, SeekFrom};
    const REACH: u64 = 64 * 1024;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = fs::File::open(log)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(begin.min(end).max(end.saturating_sub(REACH))))?;
        let mut bytes = Vec::new();
        file.take(REACH).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_full_disk_is_told_apart() {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let error = (&full).write_all(b"x").unwrap_err();
        let error = StackError::file("cannot write", Path::new("stack/prometheus.yml"))(error);
        assert!(matches!(error, StackError::DiskFull { .. }), "{error}");
        assert!(error.hint().unwrap().contains("df -h stack"));
    }

    #[test]
    fn files_are_for_this_user_only_and_replaced_whole() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let folder_path = dir.path().join("a/b");
        folder(&folder_path).unwrap();
        let path = folder_path.join("client.key");
        for contents in ["long secret", "short"] {
            write(&path, contents).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), contents);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&folder_path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&folder_path).unwrap().count(), 1);
    }

    #[test]
    fn only_the_last_lines_of_this_run_are_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x.log");
        fs::write(&log, "old\none\n\ntwo\nthree\n").unwrap();
        assert_eq!(tail(&log, 4, 2), ["two", "three"]);
        assert_eq!(tail(&log, 4, 9), ["one", "two", "three"]);
        assert!(tail(&dir.path().join("absent"), 0, 9).is_empty());
    }

    #[test]
    fn a_record_that_was_cut_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("stack.json"), "{\"parts\": {").unwrap();
        let error = Record::load(dir.path()).unwrap_err();
        assert!(error.to_string().contains("stack.json"), "{error}");
        assert!(error.hint().is_some());
    }
}

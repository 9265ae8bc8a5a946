//! What a program is, remembered: a Mimir binary has more than a hundred megabytes, and takes
//! long to read and longer to say its version. It is asked again when anything of its file is
//! another.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dorainfra_base::file::{self, Mode};
use serde::{Deserialize, Serialize};

use super::{ArtifactError, sha256_of, version_of, word_after};

/// A file whose last change is not older than this may change once more without a sign of it:
/// file systems tell times by steps of up to a second.
const SETTLED: Duration = Duration::from_secs(2);
/// Programs that are remembered.
const MOST: usize = 32;

/// A file as it was. The time of its last change of any kind (`ctime`) can't be set by whoever
/// replaces what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    size: u64,
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Seen {
    fn of(path: &Path) -> Option<Self> {
        let data = std::fs::metadata(path).ok()?;
        Some(Self {
            size: data.size(),
            device: data.dev(),
            inode: data.ino(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        })
    }

    fn is_settled(&self, now: SystemTime) -> bool {
        let since = u64::try_from(self.changed.0).ok().map(Duration::from_secs);
        let changed = since.and_then(|since| UNIX_EPOCH.checked_add(since));
        changed.and_then(|changed| now.duration_since(changed).ok()).is_some_and(|age| age > SETTLED)
    }
}

/// What a program was found to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Program {
    pub sha256: String,
    /// As it says it; `None`: it says none.
    pub version: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    seen: Seen,
    program: Program,
}

/// The programs that were asked, in a file of the workspace.
pub struct Known(PathBuf);

impl Known {
    /// Kept in this folder. Where it can't be written, a program is asked each time.
    pub fn in_folder(folder: &Path) -> Self {
        Self(folder.join("programs.json"))
    }

    /// The digest of a program, and the version that it prints with `flag`.
    pub(super) async fn program(&self, path: &Path, flag: &str) -> Result<Program, ArtifactError> {
        self.program_at(path, flag, SystemTime::now()).await
    }

    async fn program_at(&self, path: &Path, flag: &str, now: SystemTime) -> Result<Program, ArtifactError> {
        let key = std::path::absolute(path).unwrap_or_else(|_| path.into()).display().to_string();
        let before = Seen::of(path);
        if let Some(entry) = self.read().remove(&key)
            && Some(&entry.seen) == before.as_ref()
        {
            return Ok(entry.program);
        }
        let (sha256, printed) = tokio::try_join!(sha256_of(path), version_of(path, flag))?;
        let program = Program { sha256, version: word_after(&printed, "version") };
        // Of one that was changed meanwhile, digest and version are of different files.
        if let Some(seen) =
            before.filter(|seen| seen.is_settled(now) && Seen::of(path).as_ref() == Some(seen))
        {
            self.keep(key, Entry { seen, program: program.clone() });
        }
        Ok(program)
    }

    /// What can't be read is not known.
    fn read(&self) -> BTreeMap<String, Entry> {
        let text = file::text(&self.0).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    fn keep(&self, key: String, entry: Entry) {
        let mut all = self.read();
        all.retain(|path, _| Path::new(path).exists());
        while all.len() >= MOST && all.pop_first().is_some() {}
        all.insert(key, entry);
        let text = serde_json::to_vec_pretty(&all).unwrap_or_default();
        let _ = file::replace(&self.0, &text, Mode::Private);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that counts how often it is asked.
    struct Counting {
        folder: tempfile::TempDir,
    }

    impl Counting {
        fn new() -> Self {
            let counting = Self { folder: tempfile::tempdir().unwrap() };
            counting.write("3.2.0");
            counting
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("mimir")
        }

        fn write(&self, version: &str) {
            let asked = self.folder.path().join("asked");
            let text = format!(
                "#!/bin/sh\necho asked >>'{}'\necho 'Mimir, version {version} (branch: HEAD)'\n",
                asked.display()
            );
            std::fs::write(self.path(), text).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(self.path(), mode).unwrap();
        }

        fn asked(&self) -> usize {
            std::fs::read_to_string(self.folder.path().join("asked")).unwrap_or_default().lines().count()
        }

        /// Some time after it was written.
        async fn program(&self) -> Program {
            let later = SystemTime::now() + 2 * SETTLED;
            Known::in_folder(self.folder.path()).program_at(&self.path(), "-version", later).await.unwrap()
        }
    }

    #[tokio::test]
    async fn a_program_is_asked_once_and_again_when_its_file_changes() {
        let counting = Counting::new();
        let first = counting.program().await;
        assert_eq!(first.version.as_deref(), Some("3.2.0"));
        assert_eq!((counting.program().await, counting.asked()), (first.clone(), 1));
        // Of the same size, with the time of its last change set back.
        let modified = std::fs::metadata(counting.path()).unwrap().modified().unwrap();
        counting.write("3.2.1");
        std::fs::File::options().write(true).open(counting.path()).unwrap().set_modified(modified).unwrap();
        let other = counting.program().await;
        assert_eq!((other.version.as_deref(), counting.asked()), (Some("3.2.1"), 2));
        assert_ne!(other.sha256, first.sha256);
        // What was kept and can't be read is not known.
        std::fs::write(counting.folder.path().join("programs.json"), "{").unwrap();
        assert_eq!((counting.program().await, counting.asked()), (other, 3));
    }

    #[tokio::test]
    async fn a_program_that_has_just_been_written_is_asked_each_time() {
        let counting = Counting::new();
        let known = Known::in_folder(counting.folder.path());
        for times in 1..3 {
            // Whatever the machine was at meanwhile: this is when it was written.
            let written = std::fs::metadata(counting.path()).unwrap().modified().unwrap();
            known.program_at(&counting.path(), "-version", written).await.unwrap();
            assert_eq!(counting.asked(), times);
        }
    }
}

//! How far a history has been accepted, in a file: an interrupted one goes on
//! from there. Losing the file costs time and nothing else, because a receiver
//! takes the same sample twice.

use std::fs;
use std::io;
use std::path::PathBuf;

use dorainfra_base::file;
use serde::{Deserialize, Serialize};

/// The place of a checkpoint, and what it is about.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    path: PathBuf,
    /// What is being sent, and where to: a checkpoint of something else does not count.
    key: String,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    key: String,
    /// Samples that were accepted, from the beginning of the history on.
    samples: u64,
}

impl Checkpoint {
    pub fn new(path: PathBuf, key: String) -> Self {
        Self { path, key }
    }

    /// Samples that need not be sent again. Nothing that can be read: none.
    pub fn accepted(&self) -> u64 {
        let saved = fs::read(&self.path).ok().and_then(|bytes| serde_json::from_slice::<Saved>(&bytes).ok());
        saved.filter(|saved| saved.key == self.key).map_or(0, |saved| saved.samples)
    }

    /// At once, so that a kill leaves this one or the one before.
    pub(super) fn save(&self, samples: u64) -> io::Result<()> {
        let saved = serde_json::to_vec(&Saved { key: self.key.clone(), samples })?;
        let folder = self.path.parent().unwrap_or(std::path::Path::new("."));
        fs::create_dir_all(folder)?;
        file::replace(&self.path, &saved, file::Mode::Private)
    }

    /// When everything was accepted.
    pub(super) fn remove(&self) {
        // One that stays is of a history that is stored: harmless.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_history_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/history.json");
        let checkpoint = Checkpoint::new(path.clone(), "a".into());
        assert_eq!(checkpoint.accepted(), 0);
        checkpoint.save(40).unwrap();
        assert_eq!(checkpoint.accepted(), 40);
        assert_eq!(Checkpoint::new(path.clone(), "b".into()).accepted(), 0);
        fs::write(&path, "{\"key\":\"a\",\"sam").unwrap();
        assert_eq!(checkpoint.accepted(), 0);
        checkpoint.remove();
        assert!(!path.exists());
    }
}

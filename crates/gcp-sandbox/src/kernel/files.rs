//! The files in a sandbox's folder: `sandbox.json` for those who look for a
//! running one, `key.json`, and how a file is replaced whole.

use std::path::{Path, PathBuf};

use dorainfra_base::file::{self, Mode};
use serde::{Deserialize, Serialize};

use super::error::SandboxError;

/// The folders of a sandbox's state.
pub const FOLDERS: [&str; 5] = ["objects", "uploads", "disks", "snapshots", "machines"];

/// `sandbox.json`: written when the sandbox answers, removed when it ends in
/// order. After a crash it stays and names a port that does not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFile {
    pub port: u16,
    pub pid: u32,
    pub project: String,
    pub dir: PathBuf,
    /// RFC 3339.
    pub started: String,
}

impl StateFile {
    pub fn path(dir: &Path) -> PathBuf {
        dir.join("sandbox.json")
    }

    /// `None`: there is none, or it is not one.
    pub fn read(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::path(dir)).ok()?).ok()
    }

    pub fn write(&self) -> Result<(), SandboxError> {
        let text = serde_json::to_string_pretty(self).expect("a plain struct is written as JSON");
        replace(&Self::path(&self.dir), text.as_bytes())
    }
}

pub fn key_file(dir: &Path) -> PathBuf {
    dir.join("key.json")
}

/// The port of the last start, which outlives a reset.
pub fn port_file(dir: &Path) -> PathBuf {
    dir.join("port")
}

/// The token of the control routes, while the sandbox runs.
pub fn control_token(dir: &Path) -> PathBuf {
    dir.join("control.token")
}

/// A folder that only its owner may enter: keys and secrets are in it.
pub fn create_dir(path: &Path) -> Result<(), SandboxError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path).map_err(|source| SandboxError::File {
        what: "create the folder",
        path: path.to_owned(),
        source,
    })
}

/// Replaces a file whole: a reader sees the old one or the new one.
pub fn replace(path: &Path, contents: &[u8]) -> Result<(), SandboxError> {
    persist(path, contents, Mode::Public)
}

/// The same for a file that only its owner may read.
pub fn write_private(path: &Path, contents: &[u8]) -> Result<(), SandboxError> {
    persist(path, contents, Mode::Private)
}

fn persist(path: &Path, contents: &[u8], mode: Mode) -> Result<(), SandboxError> {
    file::replace_durably(path, contents, mode).map_err(|source| SandboxError::File {
        what: "write",
        path: path.to_owned(),
        source,
    })
}

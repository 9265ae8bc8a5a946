//! Files that are replaced as a whole: a reader sees the old one or the new one, and a kill
//! leaves one of them.

use std::path::{Path, PathBuf};

use dorainfra_base::file;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::SourceError;

/// What was kept; a file that is not there yet is an empty state.
pub(super) fn load<T: DeserializeOwned + Default>(path: &Path) -> Result<T, SourceError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(T::default()),
        Err(error) => return Err(SourceError::file("can't be read", path)(error)),
    };
    serde_json::from_slice(&text).map_err(|error| {
        let message = format!("it holds no state of a source ({error}); delete it to read everything again");
        SourceError::file("can't be used", path)(std::io::Error::other(message))
    })
}

pub(super) fn save<T: Serialize>(path: &Path, state: &T) -> Result<(), SourceError> {
    let fails = || SourceError::file("can't be written", path);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(fails())?;
    }
    let text = serde_json::to_vec(state).map_err(|error| fails()(error.into()))?;
    write_durably(path, &text)
}

/// Replaces a file by another text, or leaves it as it is.
pub fn write_durably(path: &Path, text: &[u8]) -> Result<(), SourceError> {
    file::replace_durably(path, text, file::Mode::Public).map_err(SourceError::file("can't be written", path))
}

/// `events.jsonl` → `events.jsonl.lock`
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

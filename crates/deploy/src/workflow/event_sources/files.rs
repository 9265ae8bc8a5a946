//! The files that event sources are kept in, and those that they need.

use std::path::{Path, PathBuf};

use dorainfra_config::{Source, SourceKind};
use sha2::{Digest as _, Sha256};

use super::super::error::{Error, InputError, Result};

/// What to do where a file can't be read.
pub(super) const CHECK_THE_PATH: &str = "check the path and its permissions";

/// The file of events, and the folder beside it where sources keep how far they
/// went.
pub struct Files {
    pub events: PathBuf,
    state: PathBuf,
}

impl Files {
    /// Makes the folders.
    pub fn of(events: PathBuf) -> Result<Self> {
        let mut state = events.clone().into_os_string();
        state.push(".state");
        let state = PathBuf::from(state);
        std::fs::create_dir_all(&state)
            .map_err(|source| Error::Unmakeable { path: state.clone(), source })?;
        Ok(Self { events, state })
    }

    /// The webhooks' queue.
    pub fn journal(&self) -> PathBuf {
        self.state.join("webhooks.jsonl")
    }

    /// What a source of one service reads, however its owner is called.
    pub(super) fn origin(source: &Source) -> String {
        let path = source.path.as_ref().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone()));
        let project = source.project.as_deref().map(str::to_lowercase);
        // In git an environment is a name.
        let environment = source.environment.as_ref().filter(|_| source.kind != SourceKind::Git);
        let which = (&source.url, environment, source.deployments, &source.tags, &source.branch);
        let read = format!("{:?}", (source.kind, path, project, which, &source.paths));
        let digest = hex::encode(Sha256::digest(read));
        format!("{:?}-{}", source.kind, &digest[..16]).to_lowercase()
    }

    /// What a forge's source keeps. Another way to read is another file.
    pub fn of_source(&self, source: &Source) -> PathBuf {
        let kind = if source.kind == SourceKind::Gitlab { "gitlab" } else { "github" };
        let read = format!(
            "{:?}",
            (&source.url, &source.environment, source.deployments, source.changes, &source.project)
        );
        let digest = hex::encode(Sha256::digest(read));
        let project = source.project.as_deref().unwrap_or_default().replace('/', "+");
        self.state.join(format!("{kind}-{project}-{}.json", &digest[..8]))
    }
}

/// The content of a file that holds a secret, without the line's end.
pub fn secret_of(file: &Path) -> Result<String> {
    let text = dorainfra_base::file::text(file).map_err(|source| InputError::Unreadable {
        path: file.to_path_buf(),
        source,
        hint: CHECK_THE_PATH,
    })?;
    Ok(text.trim().to_owned())
}

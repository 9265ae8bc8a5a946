//! What the services of one machine share: its file system, its console, its units.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::hostnames::Resolve;
use super::unit::{Unit, UnitError};
use crate::machines::console::Console;

/// Where a machine's units are, as the machine sees it.
const UNITS: &str = "/etc/systemd/system";
/// Folders that belong to the machine; every other path is the host's.
const OWN_FOLDERS: &[&str] = &["/var/lib/dorainfra", UNITS, "/dev/disk"];

/// What the services of one machine share.
pub(super) struct Host {
    /// Where the machine's file system begins.
    pub(super) root: PathBuf,
    pub(super) environment: Vec<(String, String)>,
    pub(super) console: Arc<Console>,
    /// Finds machines by the names that services are given.
    pub(super) resolve: Resolve,
    /// Unit files as read at first use; `daemon-reload` reads them again.
    loaded: Mutex<BTreeMap<String, Unit>>,
    /// The machine goes down: nothing is started any more.
    closing: AtomicBool,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("Unit {0} not found.")]
    NotFound(String),
    #[error("Unit {name} could not be read: {source}.")]
    Unreadable { name: String, source: std::io::Error },
    #[error("Unit has a bad unit file setting: {0}.")]
    Bad(#[from] UnitError),
}

impl Host {
    pub(super) fn new(
        root: PathBuf,
        environment: Vec<(String, String)>,
        console: Arc<Console>,
        resolve: Resolve,
    ) -> Self {
        let (loaded, closing) = (Mutex::new(BTreeMap::new()), AtomicBool::new(false));
        Self { root, environment, console, resolve, loaded, closing }
    }

    /// Forgets what the unit files said.
    pub(super) fn forget_units(&self) {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// From now on nothing is started.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    /// A path of the machine as a path of the host.
    pub(super) fn rooted(&self, path: &str) -> PathBuf {
        let own = OWN_FOLDERS.iter().any(|folder| {
            path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if own {
            // Not joined: an absolute path would replace the root.
            let mut rooted = self.root.clone().into_os_string();
            rooted.push(path);
            rooted.into()
        } else {
            path.into()
        }
    }

    /// A data disk is mounted by a link to its folder.
    pub(super) fn is_mounted(&self, path: &Path) -> bool {
        path.is_symlink()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    pub(super) fn units(&self) -> PathBuf {
        self.rooted(UNITS)
    }

    pub(super) fn load(&self, name: &str) -> Result<Unit, LoadError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(unit) = loaded.get(name) {
            return Ok(unit.clone());
        }
        if !name.ends_with(".service") || name.contains('/') {
            return Err(LoadError::NotFound(name.to_owned()));
        }
        let path = self.units().join(name);
        let text = fs::read_to_string(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => LoadError::NotFound(name.to_owned()),
            _ => LoadError::Unreadable { name: name.to_owned(), source },
        })?;
        let unit = Unit::parse(&path, &text)?;
        loaded.insert(name.to_owned(), unit.clone());
        Ok(unit)
    }
}

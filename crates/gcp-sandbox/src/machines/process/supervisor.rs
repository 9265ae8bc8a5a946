//! What systemd is on a real machine: the units that were installed, and the
//! services that run from them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::names::Resolve;
use super::service::{Service, StartError, Status};
use super::unit::{Unit, UnitError};
use crate::machines::console::Console;

/// Where a machine's units are, as the machine sees it.
const UNITS: &str = "/etc/systemd/system";
/// Folders that belong to the machine; every other path is the host's.
const OWN_FOLDERS: &[&str] = &["/var/lib/dorainfra", UNITS, "/dev/disk"];
/// The target that a machine boots into.
const BOOT_TARGET: &str = "multi-user.target";

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

    fn units(&self) -> PathBuf {
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

/// All services of one machine.
pub(super) struct Supervisor {
    pub(super) host: Arc<Host>,
    services: Mutex<BTreeMap<String, Arc<Service>>>,
}

impl Supervisor {
    pub(super) fn new(
        root: PathBuf,
        environment: Vec<(String, String)>,
        console: Arc<Console>,
        resolve: Resolve,
    ) -> Self {
        let host = Host {
            root,
            environment,
            console,
            resolve,
            loaded: Mutex::new(BTreeMap::new()),
            closing: AtomicBool::new(false),
        };
        Self { host: Arc::new(host), services: Mutex::new(BTreeMap::new()) }
    }

    /// Forgets what the unit files said. Running services go on as they are.
    pub(super) fn daemon_reload(&self) {
        self.host.loaded.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn service(&self, name: &str) -> Arc<Service> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(
            services
                .entry(name.to_owned())
                .or_insert_with(|| Arc::new(Service::new(name.to_owned(), Arc::clone(&self.host)))),
        )
    }

    /// Every service that was ever named, with its state.
    pub(super) fn list(&self) -> Vec<(String, Status)> {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.iter().map(|(name, service)| (name.clone(), service.status())).collect()
    }

    /// Starts what was enabled, as a boot does. What fails says so on the console.
    pub(super) async fn start_enabled(&self) {
        let Ok(entries) = fs::read_dir(self.host.units().join(format!("{BOOT_TARGET}.wants"))) else {
            return;
        };
        for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
            let _ = self.service(&name).start().await;
        }
    }

    /// From now on nothing is started.
    pub(super) fn close(&self) {
        self.host.closing.store(true, Ordering::SeqCst);
    }

    /// Stops all services, together, for good.
    pub(super) async fn stop_all(&self) {
        self.close();
        let services: Vec<_> = {
            let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
            services.values().cloned().collect()
        };
        futures::future::join_all(services.iter().map(|service| service.stop())).await;
    }

    /// Whether the machine starts the unit at boot.
    pub(super) fn is_enabled(&self, name: &str) -> bool {
        self.host.units().join(format!("{BOOT_TARGET}.wants")).join(name).is_symlink()
    }

    /// Links the unit into the targets that its `[Install]` names, or takes the links away.
    pub(super) fn enable(&self, name: &str, enabled: bool) -> Result<(), StartError> {
        let unit = self.host.load(name)?;
        for target in &unit.wanted_by {
            let folder = self.host.units().join(format!("{target}.wants"));
            let link = folder.join(name);
            let done = if enabled {
                fs::create_dir_all(&folder).and_then(|()| {
                    if link.is_symlink() {
                        return Ok(());
                    }
                    std::os::unix::fs::symlink(Path::new("..").join(name), &link)
                })
            } else {
                fs::remove_file(&link).or_else(|error| match error.kind() {
                    std::io::ErrorKind::NotFound => Ok(()),
                    _ => Err(error),
                })
            };
            done.map_err(|source| LoadError::Unreadable { name: name.to_owned(), source })?;
        }
        Ok(())
    }
}

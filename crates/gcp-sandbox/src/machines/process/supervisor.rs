//! What systemd is on a real machine: the units that were installed, and the
//! services that run from them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::host::{Host, LoadError};
use super::hostnames::Resolve;
use super::service::{Service, StartError, Status};
use crate::machines::console::Console;

/// The target that a machine boots into.
const BOOT_TARGET: &str = "multi-user.target";

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
        let host = Host::new(root, environment, console, resolve);
        Self { host: Arc::new(host), services: Mutex::new(BTreeMap::new()) }
    }

    /// Forgets what the unit files said. Running services go on as they are.
    pub(super) fn daemon_reload(&self) {
        self.host.forget_units();
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
        self.host.close();
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

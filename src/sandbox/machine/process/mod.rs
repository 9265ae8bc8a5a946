//! The `process` driver: a machine is a loopback address, a folder and a tree of
//! processes on this host. Unprivileged, on any Linux with bash and curl. It
//! runs the very startup script and units of the bundle; in systemd's place a
//! supervisor of its own reads the unit files.
//!
//! What differs from a machine: one user owns everything, nothing is confined,
//! a disk is a folder without a size, and no DNS knows the machines' names.

mod control;
mod end;
mod names;
mod service;
mod shims;
mod supervisor;
mod systemctl;
#[cfg(test)]
mod tests;
mod tree;
mod unit;
mod vm;
mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::{Mutex as AsyncMutex, watch};

use self::vm::{BootError, Vm};
use super::console::Console;
use super::metadata::Subject;
use super::{Boot, Machines, World};

#[derive(Debug, thiserror::Error)]
enum MachineError {
    #[error("machine {0} runs already")]
    Running(String),
    #[error("machine {name}: {source}")]
    Boot { name: String, source: BootError },
    #[error("machine {0} was never booted")]
    Unknown(String),
    #[error("machine {name}: its boot disk {} cannot be deleted: {source}", dir.display())]
    Delete { name: String, dir: PathBuf, source: std::io::Error },
}

/// Machines as processes. Dropping it kills what still runs, a moment later.
pub struct ProcessMachines {
    world: Arc<dyn World>,
    machines: Mutex<BTreeMap<String, Arc<Machine>>>,
}

/// A machine that was booted at least once, running or not.
struct Machine {
    name: String,
    dir: PathBuf,
    console: Arc<Console>,
    /// Ticks when the driver is told of changed metadata.
    changes: watch::Sender<u64>,
    /// What it was last booted with, and what runs; held while it changes.
    vm: AsyncMutex<(Option<Boot>, Option<Vm>)>,
}

impl ProcessMachines {
    pub fn new(world: Arc<dyn World>) -> Self {
        Self { world, machines: Mutex::new(BTreeMap::new()) }
    }

    fn machines(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Machine>>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &str) -> Option<Arc<Machine>> {
        self.machines().get(name).cloned()
    }

    fn register(&self, boot: &Boot) -> Result<Arc<Machine>, MachineError> {
        let mut machines = self.machines();
        if let Some(machine) = machines.get(&boot.name).filter(|machine| machine.dir == boot.dir) {
            return Ok(Arc::clone(machine));
        }
        if machines.get(&boot.name).is_some_and(|machine| {
            // Busy is as good as running: the name is taken.
            machine.vm.try_lock().map_or(true, |vm| vm.1.is_some())
        }) {
            return Err(MachineError::Running(boot.name.clone()));
        }
        std::fs::create_dir_all(&boot.dir).map_err(|source| MachineError::Boot {
            name: boot.name.clone(),
            source: BootError::Folder { path: boot.dir.clone(), source },
        })?;
        let machine = Arc::new(Machine {
            name: boot.name.clone(),
            dir: boot.dir.clone(),
            console: Arc::new(Console::open(&boot.dir)),
            changes: watch::Sender::new(0),
            vm: AsyncMutex::new((None, None)),
        });
        machines.insert(boot.name.clone(), Arc::clone(&machine));
        Ok(machine)
    }

    async fn start(&self, machine: &Machine, boot: Boot) -> Result<Vm, MachineError> {
        let subject = Subject::new(&boot, machine.changes.subscribe());
        Vm::boot(boot, Arc::clone(&self.world), Arc::clone(&machine.console), subject)
            .await
            .map_err(|source| MachineError::Boot { name: machine.name.clone(), source })
    }
}

#[async_trait]
impl Machines for ProcessMachines {
    async fn boot(&self, boot: Boot) -> Result<(), String> {
        let machine = self.register(&boot).map_err(|error| error.to_string())?;
        let mut vm = machine.vm.lock().await;
        if vm.1.is_some() {
            return Err(MachineError::Running(boot.name).to_string());
        }
        vm.0 = Some(boot.clone());
        vm.1 = Some(self.start(&machine, boot).await.map_err(|error| error.to_string())?);
        Ok(())
    }

    async fn stop(&self, name: &str) -> Result<(), String> {
        if let Some(machine) = self.find(name)
            && let Some(vm) = machine.vm.lock().await.1.take()
        {
            vm.shut_down().await;
        }
        Ok(())
    }

    async fn reset(&self, name: &str) -> Result<(), String> {
        let unknown = || MachineError::Unknown(name.to_owned()).to_string();
        let machine = self.find(name).ok_or_else(unknown)?;
        let mut vm = machine.vm.lock().await;
        let mut boot = vm.0.clone().ok_or_else(unknown)?;
        if let Some(running) = vm.1.take() {
            running.kill().await;
        }
        if let Some(instance) = self.world.instance(&boot.project, &boot.zone, &boot.name) {
            boot.instance = instance;
        }
        vm.0 = Some(boot.clone());
        vm.1 = Some(self.start(&machine, boot).await.map_err(|error| error.to_string())?);
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result<(), String> {
        let Some(machine) = self.find(name) else { return Ok(()) };
        let mut vm = machine.vm.lock().await;
        if let Some(running) = vm.1.take() {
            running.kill().await;
        }
        vm.0 = None;
        // Data disks are links in here; removing a tree does not follow links.
        match std::fs::remove_dir_all(&machine.dir) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                let (name, dir) = (name.to_owned(), machine.dir.clone());
                return Err(MachineError::Delete { name, dir, source }.to_string());
            }
            _ => {}
        }
        self.machines().remove(name);
        Ok(())
    }

    async fn metadata_changed(&self, name: &str, _metadata: Value) {
        // Nothing to store: the metadata server reads the world.
        if let Some(machine) = self.find(name) {
            machine.changes.send_modify(|tick| *tick += 1);
        }
    }

    async fn shutdown(&self) {
        let names: Vec<String> = self.machines().keys().cloned().collect();
        futures::future::join_all(names.iter().map(|name| self.stop(name))).await;
    }

    fn serial_output(&self, name: &str, start: u64) -> (String, u64) {
        self.find(name).map_or((String::new(), start), |machine| machine.console.read(start))
    }
}

//! What drivers have in common: which machines there are, that each runs once,
//! that calls for one are carried out one after another, and that what goes
//! wrong at a boot is on its serial port. How a machine runs is its driver's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::{Mutex as AsyncMutex, watch};

use super::console::Console;
use super::metadata::Subject;
use super::{Boot, Front, MachineId, Machines, Network, World};

#[derive(Debug, thiserror::Error)]
enum ManagerError<E: std::error::Error> {
    #[error("machine {0} runs already")]
    Running(MachineId),
    #[error("machine {0} was never booted")]
    Unknown(MachineId),
    #[error("machine {0}: {1}")]
    Driver(MachineId, E),
    #[error("machine {id}: its folder {} cannot be made: {source}", dir.display())]
    Folder { id: MachineId, dir: PathBuf, source: std::io::Error },
    #[error("machine {id}: its boot disk {} cannot be deleted: {source}", dir.display())]
    Delete { id: MachineId, dir: PathBuf, source: std::io::Error },
}

/// One way to run machines.
#[async_trait]
pub(super) trait Driver: Sized + Send + Sync + 'static {
    type Vm: Running;
    type Error: std::error::Error + Send;

    /// Starts a machine: returns as soon as its metadata server answers and its
    /// startup script runs.
    async fn start(
        manager: &Manager<Self>,
        boot: Boot,
        console: Arc<Console>,
        subject: Subject,
    ) -> Result<Self::Vm, Self::Error>;

    /// A disk appears in a machine that runs, where there are devices.
    async fn attach(_vm: &Self::Vm, _device: &str, _folder: &Path, _gb: u64) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn detach(_vm: &Self::Vm, _device: &str) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Who may reach whom has changed.
    async fn network_changed(_manager: &Manager<Self>) -> Result<(), Self::Error> {
        Ok(())
    }

    /// What load balancers pass on has changed.
    async fn pass_on(_manager: &Manager<Self>, _fronts: Vec<Front>) -> Result<(), Self::Error> {
        Ok(())
    }

    fn network(port: u16) -> Network;

    /// Takes away what was there for all machines, when the last has stopped.
    async fn shut_down(&self) {}
}

/// A machine that runs.
#[async_trait]
pub(super) trait Running: Sized + Send + Sync + 'static {
    /// Whether it has ended by itself.
    fn has_ended(&self) -> bool {
        false
    }

    /// In order.
    async fn shut_down(self);

    /// Pulls the plug.
    async fn kill(self);
}

/// The machines of one driver.
pub(super) struct Manager<D: Driver> {
    pub(super) world: Arc<dyn World>,
    pub(super) driver: D,
    machines: Mutex<BTreeMap<MachineId, Arc<Machine<D::Vm>>>>,
}

/// A machine that was booted at least once, running or not.
struct Machine<V> {
    id: MachineId,
    dir: PathBuf,
    console: Arc<Console>,
    /// Ticks when the driver is told of changed metadata.
    changes: watch::Sender<u64>,
    /// What it was last booted with.
    boot: Mutex<Option<Boot>>,
    /// What runs; held while it changes.
    vm: AsyncMutex<Option<V>>,
}

impl<V> Machine<V> {
    fn boot(&self) -> MutexGuard<'_, Option<Boot>> {
        self.boot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Driver> Manager<D> {
    pub(super) fn new(driver: D, world: Arc<dyn World>) -> Self {
        Self { world, driver, machines: Mutex::default() }
    }

    /// What each machine was last booted with, whether or not it runs.
    pub(super) fn boots(&self) -> Vec<Boot> {
        self.machines().values().filter_map(|machine| machine.boot().clone()).collect()
    }

    fn machines(&self) -> MutexGuard<'_, BTreeMap<MachineId, Arc<Machine<D::Vm>>>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &MachineId) -> Option<Arc<Machine<D::Vm>>> {
        self.machines().get(id).cloned()
    }

    fn register(&self, boot: &Boot) -> Result<Arc<Machine<D::Vm>>, ManagerError<D::Error>> {
        let id = boot.id();
        let mut machines = self.machines();
        if let Some(machine) = machines.get(&id) {
            return Ok(Arc::clone(machine));
        }
        if let Err(source) = std::fs::create_dir_all(&boot.dir) {
            return Err(ManagerError::Folder { id, dir: boot.dir.clone(), source });
        }
        let machine = Arc::new(Machine {
            id: id.clone(),
            dir: boot.dir.clone(),
            console: Arc::new(Console::open(&boot.dir)),
            changes: watch::Sender::new(0),
            boot: Mutex::default(),
            vm: AsyncMutex::default(),
        });
        machines.insert(id, Arc::clone(&machine));
        Ok(machine)
    }

    async fn start(&self, machine: &Machine<D::Vm>, boot: Boot) -> Result<D::Vm, ManagerError<D::Error>> {
        *machine.boot() = Some(boot.clone());
        let subject = Subject::new(&boot, machine.changes.subscribe());
        D::start(self, boot, Arc::clone(&machine.console), subject).await.map_err(|error| {
            machine.console.say(&format!("kernel: it does not boot: {error}"));
            ManagerError::Driver(machine.id.clone(), error)
        })
    }

    async fn try_boot(&self, boot: Boot) -> Result<(), ManagerError<D::Error>> {
        let machine = self.register(&boot)?;
        let mut vm = machine.vm.lock().await;
        if vm.as_ref().is_some_and(|vm| !vm.has_ended()) {
            return Err(ManagerError::Running(boot.id()));
        }
        *vm = None;
        *vm = Some(self.start(&machine, boot).await?);
        Ok(())
    }

    async fn try_reset(&self, id: &MachineId) -> Result<(), ManagerError<D::Error>> {
        let unknown = || ManagerError::Unknown(id.clone());
        let machine = self.find(id).ok_or_else(unknown)?;
        let mut vm = machine.vm.lock().await;
        let mut boot = machine.boot().clone().ok_or_else(unknown)?;
        if let Some(running) = vm.take() {
            running.kill().await;
        }
        if let Some(instance) = self.world.instance(&boot.project, &boot.zone, &boot.name) {
            boot.instance = instance;
        }
        let project = boot.project.clone();
        match self.start(&machine, boot).await {
            Ok(running) => *vm = Some(running),
            Err(error) => {
                self.world.powered_off(&project, &id.zone, &id.name);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn try_delete(&self, id: &MachineId) -> Result<(), ManagerError<D::Error>> {
        let Some(machine) = self.find(id) else { return Ok(()) };
        let mut vm = machine.vm.lock().await;
        if let Some(running) = vm.take() {
            running.kill().await;
        }
        *machine.boot() = None;
        // Data disks may be links in here; removing a tree does not follow links.
        match std::fs::remove_dir_all(&machine.dir) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(ManagerError::Delete { id: id.clone(), dir: machine.dir.clone(), source });
            }
            _ => {}
        }
        self.machines().remove(id);
        Ok(())
    }
}

impl<D: Driver> Manager<D> {
    /// What is nobody's in particular is told on each serial port.
    fn tell_failure(&self, done: Result<(), D::Error>) {
        if let Err(error) = done {
            for machine in self.machines().values() {
                machine.console.say(&format!("kernel: {error}"));
            }
        }
    }
}

#[async_trait]
impl<D: Driver> Machines for Manager<D> {
    async fn boot(&self, boot: Boot) -> Result<(), String> {
        self.try_boot(boot).await.map_err(|error| error.to_string())
    }

    async fn restore(&self, boots: Vec<Boot>) {
        let booted = boots.into_iter().map(|boot| async move {
            let (project, id) = (boot.project.clone(), boot.id());
            if self.try_boot(boot).await.is_err() {
                self.world.powered_off(&project, &id.zone, &id.name);
            }
        });
        futures::future::join_all(booted).await;
    }

    async fn stop(&self, id: &MachineId) -> Result<(), String> {
        if let Some(machine) = self.find(id)
            && let Some(vm) = machine.vm.lock().await.take()
        {
            vm.shut_down().await;
        }
        Ok(())
    }

    async fn reset(&self, id: &MachineId) -> Result<(), String> {
        self.try_reset(id).await.map_err(|error| error.to_string())
    }

    async fn delete(&self, id: &MachineId) -> Result<(), String> {
        self.try_delete(id).await.map_err(|error| error.to_string())
    }

    async fn metadata_changed(&self, id: &MachineId, _metadata: Value) {
        // Nothing to store: the metadata server reads the world.
        if let Some(machine) = self.find(id) {
            machine.changes.send_modify(|tick| *tick += 1);
        }
    }

    async fn attach(&self, id: &MachineId, device: &str, folder: PathBuf, gb: u64) -> Result<(), String> {
        let Some(machine) = self.find(id) else { return Ok(()) };
        let vm = machine.vm.lock().await;
        let Some(vm) = &*vm else { return Ok(()) };
        let attached = D::attach(vm, device, &folder, gb).await;
        attached.map_err(|error| ManagerError::Driver(id.clone(), error).to_string())
    }

    async fn detach(&self, id: &MachineId, device: &str) -> Result<(), String> {
        let Some(machine) = self.find(id) else { return Ok(()) };
        let vm = machine.vm.lock().await;
        let Some(vm) = &*vm else { return Ok(()) };
        let detached = D::detach(vm, device).await;
        detached.map_err(|error| ManagerError::Driver(id.clone(), error).to_string())
    }

    async fn network_changed(&self) {
        self.tell_failure(D::network_changed(self).await);
    }

    async fn pass_on(&self, fronts: Vec<Front>) {
        self.tell_failure(D::pass_on(self, fronts).await);
    }

    fn network(&self, port: u16) -> Network {
        D::network(port)
    }

    async fn shutdown(&self) {
        let ids: Vec<MachineId> = self.machines().keys().cloned().collect();
        futures::future::join_all(ids.iter().map(|id| self.stop(id))).await;
        self.driver.shut_down().await;
    }

    fn serial_output(&self, id: &MachineId, start: u64) -> (String, u64) {
        self.find(id).map_or((String::new(), start), |machine| machine.console.read(start))
    }
}

//! The `nspawn` driver: a machine is a Debian 12 under its own systemd, in a
//! container with a network of its own, where Google's guest agent runs the very
//! startup script. For Linux, as root.
//!
//! What differs from a machine at Google: the kernel, its memory and its
//! processors are the host's; where the sandbox's APIs are is told by systemd's
//! environment; and there is no name server.

mod base;
mod disk;
mod firewall;
mod host;
mod network;
mod vm;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::{Mutex as AsyncMutex, OnceCell, watch};

pub use self::base::{BaseSystem, NspawnError};
use self::firewall::Member;
use self::host::{Guard, HostError, Names};
use self::network::{NetworkError, Router};
use self::vm::{Vm, VmError};
use super::console::Console;
use super::metadata::Subject;
use super::{Boot, Machines, Network, World};

#[derive(Debug, thiserror::Error)]
enum MachineError {
    #[error("machine {0} runs already")]
    Running(String),
    #[error("machine {name}: {source}")]
    Vm { name: String, source: VmError },
    #[error("machine {name}: the firewall's rules cannot be put in force: {source}")]
    Firewall { name: String, source: HostError },
    #[error("machine {0} was never booted")]
    Unknown(String),
    #[error("machine {name}: its boot disk {} cannot be deleted: {source}", dir.display())]
    Delete { name: String, dir: PathBuf, source: std::io::Error },
}

/// What the machines of one sandbox share on this host.
pub(super) struct Site {
    names: Names,
    /// The folder of all data disks.
    disks: PathBuf,
    base: PathBuf,
    /// Made for the first machine: a sandbox without one changes nothing here.
    router: OnceCell<Router>,
}

impl Site {
    async fn router(&self, port: u16) -> Result<&Router, NetworkError> {
        self.router.get_or_try_init(|| Router::start(self.names.clone(), port)).await
    }
}

/// Machines as containers with a systemd. When the sandbox ends without
/// [`Machines::shutdown`], a guard takes away what it leaves.
pub struct NspawnMachines {
    world: Arc<dyn World>,
    site: Arc<Site>,
    machines: Mutex<BTreeMap<String, Arc<Machine>>>,
    guard: AsyncMutex<Option<Guard>>,
    /// Held while rules are read and put in force: the newest are the last.
    rules: AsyncMutex<()>,
}

/// A machine that was booted at least once, running or not.
struct Machine {
    name: String,
    dir: PathBuf,
    console: Arc<Console>,
    /// Ticks when the driver is told of changed metadata.
    changes: watch::Sender<u64>,
    /// What it was last booted with.
    boot: Mutex<Option<Boot>>,
    /// What runs; held while it changes.
    vm: AsyncMutex<Option<Vm>>,
}

impl Machine {
    fn last_boot(&self) -> Option<Boot> {
        self.boot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_boot(&self, boot: Option<Boot>) {
        *self.boot.lock().unwrap_or_else(PoisonError::into_inner) = boot;
    }

    fn failed(&self, source: VmError) -> String {
        MachineError::Vm { name: self.name.clone(), source }.to_string()
    }
}

impl NspawnMachines {
    /// `dir` is the sandbox's folder. What a killed sandbox has left of its
    /// machines is taken away when the first one boots.
    pub fn new(world: Arc<dyn World>, dir: &Path, base: BaseSystem) -> Result<Self, String> {
        let dir = dir.canonicalize().map_err(|error| format!("{}: {error}", dir.display()))?;
        let site = Site {
            names: Names::of(&dir),
            disks: dir.join("disks"),
            base: base.path,
            router: OnceCell::new(),
        };
        Ok(Self {
            world,
            site: Arc::new(site),
            machines: Mutex::default(),
            guard: AsyncMutex::default(),
            rules: AsyncMutex::default(),
        })
    }

    fn machines(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Machine>>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &str) -> Option<Arc<Machine>> {
        self.machines().get(name).cloned()
    }

    fn register(&self, boot: &Boot) -> Result<Arc<Machine>, MachineError> {
        let mut machines = self.machines();
        if let Some(machine) = machines.get(&boot.name) {
            if machine.dir == boot.dir {
                return Ok(Arc::clone(machine));
            }
            // Busy is as good as running: the name is taken.
            if machine.vm.try_lock().map_or(true, |vm| vm.is_some()) {
                return Err(MachineError::Running(boot.name.clone()));
            }
        }
        std::fs::create_dir_all(&boot.dir).map_err(|source| MachineError::Vm {
            name: boot.name.clone(),
            source: VmError::Folder { path: boot.dir.clone(), source },
        })?;
        let machine = Arc::new(Machine {
            name: boot.name.clone(),
            dir: boot.dir.clone(),
            console: Arc::new(Console::open(&boot.dir)),
            changes: watch::Sender::new(0),
            boot: Mutex::default(),
            vm: AsyncMutex::default(),
        });
        machines.insert(boot.name.clone(), Arc::clone(&machine));
        Ok(machine)
    }

    /// Boots it behind the firewall as it is now.
    async fn start(&self, machine: &Machine, boot: Boot) -> Result<Vm, MachineError> {
        let failed = |source| MachineError::Vm { name: machine.name.clone(), source };
        machine.set_boot(Some(boot.clone()));
        self.take_over().await.map_err(|source| failed(source.into()))?;
        self.site.router(boot.sandbox_port).await.map_err(|source| failed(source.into()))?;
        self.enforce()
            .await
            .map_err(|source| MachineError::Firewall { name: machine.name.clone(), source })?;
        let subject = Subject::new(&boot, machine.changes.subscribe());
        Vm::boot(boot, Arc::clone(&self.site), Arc::clone(&self.world), Arc::clone(&machine.console), subject)
            .await
            .map_err(failed)
    }

    /// Once, before the first machine: takes away what a killed sandbox has left,
    /// and sets the guard.
    async fn take_over(&self) -> Result<(), HostError> {
        let mut guard = self.guard.lock().await;
        if guard.is_none() {
            self.site.teardown(None).await?;
            *guard = Some(Guard::spawn(&self.site.names, &self.site.disks)?);
        }
        Ok(())
    }

    /// Puts the rules in force, for all machines as they are now.
    async fn enforce(&self) -> Result<(), HostError> {
        let Some(router) = self.site.router.get() else { return Ok(()) };
        let _newest_last = self.rules.lock().await;
        let boots: Vec<Boot> = self.machines().values().filter_map(|machine| machine.last_boot()).collect();
        let Some(project) = boots.first().map(|boot| boot.project.clone()) else { return Ok(()) };
        let members: Vec<Member> = boots
            .iter()
            .filter_map(|boot| {
                let std::net::IpAddr::V4(address) = boot.address else { return None };
                let instance = self.world.instance(&boot.project, &boot.zone, &boot.name)?;
                Some(Member::of(address, &instance))
            })
            .collect();
        router.enforce(&firewall::ruleset(&self.world.firewalls(&project), &members, router.port())).await
    }
}

#[async_trait]
impl Machines for NspawnMachines {
    async fn boot(&self, boot: Boot) -> Result<(), String> {
        let machine = self.register(&boot).map_err(|error| error.to_string())?;
        let mut vm = machine.vm.lock().await;
        if vm.as_ref().is_some_and(|vm| !vm.has_ended()) {
            return Err(MachineError::Running(boot.name).to_string());
        }
        *vm = None;
        *vm = Some(self.start(&machine, boot).await.map_err(|error| error.to_string())?);
        Ok(())
    }

    async fn stop(&self, name: &str) -> Result<(), String> {
        if let Some(machine) = self.find(name)
            && let Some(vm) = machine.vm.lock().await.take()
        {
            vm.shut_down().await;
        }
        Ok(())
    }

    async fn reset(&self, name: &str) -> Result<(), String> {
        let unknown = || MachineError::Unknown(name.to_owned()).to_string();
        let machine = self.find(name).ok_or_else(unknown)?;
        let mut vm = machine.vm.lock().await;
        let mut boot = machine.last_boot().ok_or_else(unknown)?;
        if let Some(running) = vm.take() {
            running.kill().await;
        }
        if let Some(instance) = self.world.instance(&boot.project, &boot.zone, &boot.name) {
            boot.instance = instance;
        }
        *vm = Some(self.start(&machine, boot).await.map_err(|error| error.to_string())?);
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result<(), String> {
        let Some(machine) = self.find(name) else { return Ok(()) };
        let mut vm = machine.vm.lock().await;
        if let Some(running) = vm.take() {
            running.kill().await;
        }
        machine.set_boot(None);
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

    async fn attach(&self, name: &str, device: &str, folder: PathBuf, gb: u64) -> Result<(), String> {
        let Some(machine) = self.find(name) else { return Ok(()) };
        let vm = machine.vm.lock().await;
        let Some(vm) = &*vm else { return Ok(()) };
        vm.attach(device, &folder, gb).await.map_err(|error| machine.failed(error))
    }

    async fn detach(&self, name: &str, device: &str) -> Result<(), String> {
        let Some(machine) = self.find(name) else { return Ok(()) };
        let vm = machine.vm.lock().await;
        let Some(vm) = &*vm else { return Ok(()) };
        vm.detach(device).await.map_err(|error| machine.failed(error))
    }

    async fn network_changed(&self) {
        if let Err(error) = self.enforce().await {
            let machines: Vec<Arc<Machine>> = self.machines().values().cloned().collect();
            for machine in machines {
                machine.console.say(&format!("firewall: the rules cannot be put in force: {error}"));
            }
        }
    }

    fn network(&self, port: u16) -> Network {
        Network::private(port)
    }

    async fn shutdown(&self) {
        let names: Vec<String> = self.machines().keys().cloned().collect();
        futures::future::join_all(names.iter().map(|name| self.stop(name))).await;
        if let Some(guard) = self.guard.lock().await.take() {
            // Where this fails the guard tries it once more.
            if self.site.teardown(None).await.is_ok() {
                guard.dismiss().await;
            }
        }
    }

    fn serial_output(&self, name: &str, start: u64) -> (String, u64) {
        self.find(name).map_or((String::new(), start), |machine| machine.console.read(start))
    }
}

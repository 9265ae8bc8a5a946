//! The `nspawn` driver: a machine is a Debian 12 under its own systemd, in a
//! container with a network of its own, where Google's guest agent runs the very
//! startup script. For Linux, as root.
//!
//! What differs from a machine at Google: the kernel, its memory and its
//! processors are the host's; where the sandbox's APIs are is told by systemd's
//! environment; and its name server knows the names of machines only.

mod base;
mod disk;
mod dns;
mod firewall;
mod host;
mod network;
mod vm;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Mutex, OnceCell};

pub use self::base::{BaseSystem, NspawnError};
use self::firewall::Member;
use self::host::{Guard, HostError, Names};
use self::network::{NetworkError, Router};
use self::vm::{Vm, VmError};
use super::console::Console;
use super::manager::{Driver, Manager, Running};
use super::metadata::Subject;
use super::{Boot, Front, Machines, Network, World};

/// What the machines of one sandbox share on this host.
pub(super) struct Site {
    names: Names,
    /// The folder of all data disks.
    disks: PathBuf,
    base: PathBuf,
    world: Arc<dyn World>,
    /// Made for the first machine: a sandbox without one changes nothing here.
    router: OnceCell<Router>,
}

impl Site {
    /// One sandbox has one project: any machine of it says which.
    async fn router(&self, boot: &Boot) -> Result<&Router, NetworkError> {
        let (world, project) = (Arc::clone(&self.world), boot.project.clone());
        let resolve = move |name: &str| world.resolve(&project, name)?.parse().ok();
        self.router.get_or_try_init(|| Router::start(self.names.clone(), boot.sandbox_port, resolve)).await
    }
}

/// Machines as containers with a systemd. When the sandbox ends without
/// [`Machines::shutdown`], a guard takes away what it leaves. `dir` is the
/// sandbox's folder. What a killed sandbox has left of its machines is taken away
/// when the first one boots.
pub fn nspawn_machines(
    world: Arc<dyn World>,
    dir: &Path,
    base: BaseSystem,
) -> Result<Arc<dyn Machines>, String> {
    let dir = dir.canonicalize().map_err(|error| format!("{}: {error}", dir.display()))?;
    let site = Site {
        names: Names::of(&dir),
        disks: dir.join("disks"),
        base: base.path,
        world: Arc::clone(&world),
        router: OnceCell::new(),
    };
    let containers = Containers { site: Arc::new(site), guard: Mutex::default(), fronts: Mutex::default() };
    Ok(Arc::new(Manager::new(containers, world)))
}

struct Containers {
    site: Arc<Site>,
    guard: Mutex<Option<Guard>>,
    /// What load balancers pass on. Held while rules are read and put in force: the
    /// newest are the last.
    fronts: Mutex<Vec<Front>>,
}

impl Containers {
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
}

/// Puts the rules in force, for all machines as they are now.
async fn enforce(manager: &Manager<Containers>) -> Result<(), VmError> {
    let Some(router) = manager.driver.site.router.get() else { return Ok(()) };
    let fronts = manager.driver.fronts.lock().await;
    let boots = manager.boots();
    let Some(project) = boots.first().map(|boot| boot.project.clone()) else { return Ok(()) };
    let members: Vec<Member> = boots
        .iter()
        .filter_map(|boot| {
            let std::net::IpAddr::V4(address) = boot.address else { return None };
            let instance = manager.world.instance(&boot.project, &boot.zone, &boot.name)?;
            Some(Member::of(address, &instance))
        })
        .collect();
    let world = &manager.world;
    let (rules, policy) = (world.firewalls(&project), world.firewall_policy(&project));
    let rules = firewall::ruleset(&rules, &policy, &members, &fronts, router.port());
    router.enforce(&rules).await.map_err(VmError::Firewall)
}

#[async_trait]
impl Driver for Containers {
    type Vm = Vm;
    type Error = VmError;

    /// Boots it behind the firewall as it is now.
    async fn start(
        manager: &Manager<Self>,
        boot: Boot,
        console: Arc<Console>,
        subject: Subject,
    ) -> Result<Vm, VmError> {
        let site = Arc::clone(&manager.driver.site);
        manager.driver.take_over().await?;
        site.router(&boot).await?;
        enforce(manager).await?;
        Vm::boot(boot, site, Arc::clone(&manager.world), console, subject).await
    }

    async fn attach(vm: &Vm, device: &str, folder: &Path, gb: u64) -> Result<(), VmError> {
        vm.attach(device, folder, gb).await
    }

    async fn detach(vm: &Vm, device: &str) -> Result<(), VmError> {
        vm.detach(device).await
    }

    async fn network_changed(manager: &Manager<Self>) -> Result<(), VmError> {
        enforce(manager).await
    }

    async fn pass_on(manager: &Manager<Self>, fronts: Vec<Front>) -> Result<(), VmError> {
        *manager.driver.fronts.lock().await = fronts;
        enforce(manager).await
    }

    fn network(port: u16) -> Network {
        Network::private(port)
    }

    async fn shut_down(&self) {
        if let Some(guard) = self.guard.lock().await.take() {
            // Where this fails the guard tries it once more.
            if self.site.teardown(None).await.is_ok() {
                guard.dismiss().await;
            }
        }
    }
}

#[async_trait]
impl Running for Vm {
    fn has_ended(&self) -> bool {
        Self::has_ended(self)
    }

    async fn shut_down(self) {
        Self::shut_down(self).await;
    }

    async fn kill(self) {
        Self::kill(self).await;
    }
}

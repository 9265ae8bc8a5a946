//! The `process` driver: a machine is a loopback address, a folder and a tree of
//! processes on this host. Unprivileged, on any Linux with bash and curl. It
//! runs the very startup script and units of the bundle; in systemd's place a
//! supervisor of its own reads the unit files.
//!
//! What differs from a machine: one user owns everything, nothing is confined,
//! a disk is a folder without a size, and no DNS knows the machines' names.

mod control;
mod exit;
mod host;
mod hostnames;
mod service;
mod shims;
mod supervisor;
mod syntax;
mod systemctl;
#[cfg(test)]
mod tests;
mod tree;
mod unit;
mod vm;

use std::sync::Arc;

use async_trait::async_trait;

use self::vm::{BootError, Vm};
use super::console::Console;
use super::manager::{Driver, Manager, Running};
use super::metadata::Subject;
use super::{Boot, Machines, Network, World};

/// Machines as processes. Dropping them kills what still runs, a moment later.
pub fn process_machines(world: Arc<dyn World>) -> Arc<dyn Machines> {
    Arc::new(Manager::new(Processes, world))
}

struct Processes;

#[async_trait]
impl Driver for Processes {
    type Vm = Vm;
    type Error = BootError;

    async fn start(
        manager: &Manager<Self>,
        boot: Boot,
        console: Arc<Console>,
        subject: Subject,
    ) -> Result<Vm, BootError> {
        Vm::boot(boot, Arc::clone(&manager.world), console, subject).await
    }

    fn network(port: u16) -> Network {
        Network::of_loopback(port)
    }
}

#[async_trait]
impl Running for Vm {
    async fn shut_down(self) {
        Self::shut_down(self).await;
    }

    async fn kill(self) {
        Self::kill(self).await;
    }
}

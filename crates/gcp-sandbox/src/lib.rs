//! A Google Cloud on loopback: the APIs that this project calls, with the real
//! ones' contract, operations that take time, permissions, preconditions and
//! error bodies; faults on demand; and machines that run. State is on disk and
//! lives through a kill.
//!
//! It leaves to others: what is provisioned (the product knows no sandbox, only
//! endpoints). It binds 127.0.0.0/8 only.
//!
//! - `kernel`: what every API is made of; it knows none of them.
//! - `machines`: what runs behind Compute Engine.
//! - `services`: the APIs, each of which gives itself to the kernel.
//! - `sandbox`: all of it put together, with the routes that control it.

mod kernel;
mod machines;
mod sandbox;
mod services;

/// The machines behind the sandbox's Compute API, and the drivers that run them.
pub mod machine {
    pub use crate::machines::{
        Asked, BaseSystem, Boot, Front, MachineId, Machines, Network, NoMachines, NspawnError, World,
        nspawn_machines, process_machines,
    };
}

pub use kernel::consistency::Lag;
pub use kernel::error::SandboxError;
pub use kernel::faults::{Action as FaultAction, Damage, Moment, OperationError, Rule};
pub use kernel::files::StateFile;
pub use kernel::profile::Profile;
pub use kernel::requests::Entry as Request;
pub use sandbox::handle::Handle;
pub use sandbox::start::{Driver, MachineFactory, Options, forget, is_there, make_folder, serve};

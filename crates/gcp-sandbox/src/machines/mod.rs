//! The machines behind the sandbox's Compute API: what an instance does once it
//! is RUNNING. A driver ([`Machines`]) boots, stops, resets and deletes them; a
//! metadata server of its own answers each of them out of the [`World`].
//!
//! Left to others: which instances exist and what state they are in (the
//! Compute API decides and then calls the driver), who may call, and every
//! other API. A machine talks to those over HTTP like any client.

pub mod balancer;
mod console;
mod manager;
mod metadata;
mod nspawn;
mod process;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use async_trait::async_trait;
pub use metadata::Asked;
pub use nspawn::{BaseSystem, NspawnError, nspawn_machines};
pub use process::process_machines;
use serde_json::Value;
use tokio::sync::watch;

use crate::kernel::faults::Faults;

/// Which machine: each zone may have one of the same name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MachineId {
    /// Short form: `europe-west1-b`.
    pub zone: String,
    pub name: String,
}

impl std::fmt::Display for MachineId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} in {}", self.name, self.zone)
    }
}

/// Everything that a driver needs to know to boot one machine.
#[derive(Clone, Debug)]
pub struct Boot {
    pub project: String,
    /// Short form: `europe-west1-b`.
    pub zone: String,
    pub name: String,
    /// The machine's own address; its services bind to it.
    pub address: IpAddr,
    /// The instance resource, as `instances.get` answers it.
    pub instance: Value,
    /// Attached data disks: device name (`data` is found in the machine as
    /// `/dev/disk/by-id/google-data`) and where the disk's content lives. The
    /// folder belongs to the disk: no driver ever deletes it. The size is in
    /// the instance's `disks`.
    pub disks: Vec<(String, PathBuf)>,
    /// Where this machine's own state goes (its boot disk, its serial port log).
    pub dir: PathBuf,
    /// The port of the sandbox's APIs on 127.0.0.1.
    pub sandbox_port: u16,
}

impl Boot {
    pub fn id(&self) -> MachineId {
        MachineId { zone: self.zone.clone(), name: self.name.clone() }
    }
}

/// How instances come to life. Errors are one sentence each, for the operation
/// that reports them. Calls for one machine are carried out one after another.
#[async_trait]
pub trait Machines: Send + Sync {
    /// Starts the machine: returns as soon as its metadata server answers and
    /// its startup script runs. Also how a stopped machine is started again.
    async fn boot(&self, boot: Boot) -> Result<(), String>;

    /// Boots again what ran before the sandbox itself was stopped or killed.
    /// What cannot be booted is reported as powered off.
    async fn restore(&self, boots: Vec<Boot>);

    /// Shuts the machine down in order and leaves no process behind. A machine
    /// that does not run is fine.
    async fn stop(&self, id: &MachineId) -> Result<(), String>;

    /// Pulls the plug and boots again, with the instance as it is now. What then
    /// does not boot is reported as powered off.
    async fn reset(&self, id: &MachineId) -> Result<(), String>;

    /// Pulls the plug and deletes the boot disk; data disks stay.
    async fn delete(&self, id: &MachineId) -> Result<(), String>;

    /// The instance's `metadata` was changed: wakes up whoever waits for it.
    async fn metadata_changed(&self, id: &MachineId, metadata: Value);

    /// A disk was attached to a machine that runs: it appears under its device
    /// name. A driver without devices shows it at the next boot.
    async fn attach(&self, _id: &MachineId, _device: &str, _folder: PathBuf, _gb: u64) -> Result<(), String> {
        Ok(())
    }

    /// A disk is taken from a machine that runs.
    async fn detach(&self, _id: &MachineId, _device: &str) -> Result<(), String> {
        Ok(())
    }

    /// A firewall rule, or what one selects machines by, was changed.
    async fn network_changed(&self) {}

    /// What load balancers pass on, all of it, as it is now. A driver whose machines
    /// have addresses of the host's own has no part in it.
    async fn pass_on(&self, _fronts: Vec<Front>) {}

    /// The network that a sandbox on `port` gives its machines' addresses from.
    fn network(&self, port: u16) -> Network {
        Network::of_loopback(port)
    }

    /// Stops every machine; the sandbox's last act.
    async fn shutdown(&self);

    /// What serial port 1 has shown from byte `start` on, and the offset to go
    /// on from. Output older than about a megabyte is gone, as at Google.
    fn serial_output(&self, id: &MachineId, start: u64) -> (String, u64);
}

/// An address and a port of a load balancer, and the machines behind it that get
/// its packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Front {
    pub address: Ipv4Addr,
    pub port: u16,
    pub backends: Vec<Ipv4Addr>,
}

/// 254 addresses. Two ports have two networks, so that two sandboxes on one
/// host never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    prefix: [u8; 3],
    /// As whom the machines see a client on this host.
    pub caller: Ipv4Addr,
    /// As whom they see health checks: where the driver has a firewall, from where
    /// Google's come (<https://cloud.google.com/load-balancing/docs/health-check-concepts>).
    pub prober: Ipv4Addr,
}

impl Network {
    /// A.B is the port's high and low byte, in `first`.A.B.0/24.
    fn prefix(first: u8, port: u16) -> [u8; 3] {
        let [high, low] = port.to_be_bytes();
        [first, if high == 0 { 255 } else { high }, low]
    }

    /// Every address is the host's own: nothing has to be set up.
    pub fn of_loopback(port: u16) -> Self {
        let (caller, prober) = (Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
        Self { prefix: Self::prefix(127, port), caller, prober }
    }

    /// A private network, whose first address is the host's.
    pub fn private(port: u16) -> Self {
        let prefix = Self::prefix(10, port);
        let caller = Ipv4Addr::from([prefix[0], prefix[1], prefix[2], 1]);
        Self { prefix, caller, prober: Ipv4Addr::new(35, 191, 0, 1) }
    }

    /// The addresses for machines.
    pub fn hosts(self) -> impl Iterator<Item = Ipv4Addr> {
        let [a, b, c] = self.prefix;
        (2..=254).map(move |last| Ipv4Addr::new(a, b, c, last))
    }

    /// `10.156.64.0/24`
    pub fn cidr(self) -> String {
        let [a, b, c] = self.prefix;
        format!("{a}.{b}.{c}.0/24")
    }

    pub fn contains(self, address: Ipv4Addr) -> bool {
        address.octets().starts_with(&self.prefix)
    }
}

/// What the metadata servers read and write: the sandbox's state. Every method
/// answers at once.
pub trait World: Send + Sync + 'static {
    /// The instance resource; `None` once it is deleted.
    fn instance(&self, project: &str, zone: &str, name: &str) -> Option<Value>;

    /// Writes (`None`: deletes) one guest attribute.
    fn set_guest_attribute(
        &self,
        project: &str,
        zone: &str,
        name: &str,
        namespace: &str,
        key: &str,
        value: Option<String>,
    );

    /// Whether one more query of the machine's guest attributes is served; then it counts.
    fn guest_attributes_served(&self, _project: &str, _zone: &str, _name: &str) -> bool {
        true
    }

    /// All guest attributes: namespace → key → value.
    fn guest_attributes(
        &self,
        project: &str,
        zone: &str,
        name: &str,
    ) -> BTreeMap<String, BTreeMap<String, String>>;

    /// An access token of a service account for a machine, and the seconds it has left.
    fn token(&self, zone: &str, name: &str, service_account_email: &str, scopes: &[String]) -> (String, u64);

    /// An identity token (a signed JWT) for an audience; `None`: not supported here.
    fn identity(&self, _service_account_email: &str, _audience: &str) -> Option<String> {
        None
    }

    /// Ticks on every change of the instance, its guest attributes or its forwarded addresses.
    fn subscribe(&self, project: &str, zone: &str, name: &str) -> watch::Receiver<u64>;

    /// The address behind a name of the network's own DNS: `NAME.ZONE.c.PROJECT.internal`.
    fn resolve(&self, project: &str, name: &str) -> Option<String> {
        let (name, zone) = name.strip_suffix(&format!(".c.{project}.internal"))?.split_once('.')?;
        let instance = self.instance(project, zone, name)?;
        instance["networkInterfaces"][0]["networkIP"].as_str().map(str::to_owned)
    }

    /// The addresses of the load balancers that it is behind.
    fn forwarded_ips(&self, _project: &str, _zone: &str, _name: &str) -> Vec<String> {
        Vec::new()
    }

    /// The project's number.
    fn project_number(&self, project: &str) -> u64;

    /// All firewall rules, as `firewalls.list` answers them.
    fn firewalls(&self, _project: &str) -> Vec<Value> {
        Vec::new()
    }

    /// The rules of the organisation's firewall policy, which come before them.
    fn firewall_policy(&self, _project: &str) -> Vec<Value> {
        Vec::new()
    }

    /// The machine has powered itself off.
    fn powered_off(&self, _project: &str, _zone: &str, _name: &str) {}

    /// What strikes the requests to a metadata server.
    fn faults(&self) -> Option<&Faults> {
        None
    }

    /// A machine has asked its metadata server something, and was answered.
    fn asked(&self, _asked: Asked) {}

    /// The project-wide metadata (`commonInstanceMetadata`): key → value.
    fn project_attributes(&self, _project: &str) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
}

/// Instances that are records only (`--machines none`): every call succeeds and
/// nothing runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMachines;

#[async_trait]
impl Machines for NoMachines {
    async fn boot(&self, _boot: Boot) -> Result<(), String> {
        Ok(())
    }

    async fn restore(&self, _boots: Vec<Boot>) {}

    async fn stop(&self, _id: &MachineId) -> Result<(), String> {
        Ok(())
    }

    async fn reset(&self, _id: &MachineId) -> Result<(), String> {
        Ok(())
    }

    async fn delete(&self, _id: &MachineId) -> Result<(), String> {
        Ok(())
    }

    async fn metadata_changed(&self, _id: &MachineId, _metadata: Value) {}

    async fn shutdown(&self) {}

    fn serial_output(&self, _id: &MachineId, start: u64) -> (String, u64) {
        (String::new(), start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ports_have_two_networks() {
        assert_eq!(Network::of_loopback(0x9c40).cidr(), "127.156.64.0/24");
        assert_eq!(Network::private(0x9c40).cidr(), "10.156.64.0/24");
        assert_eq!(Network::private(80).cidr(), "10.255.80.0/24");
        assert_ne!(Network::private(40000), Network::private(40000 - 256));
        assert!(Network::private(40000).contains(Network::private(40000).caller));
        assert!(!Network::private(40000).contains(Ipv4Addr::LOCALHOST));
        assert_eq!(Network::of_loopback(40000).hosts().count(), 253);
    }
}

//! What should be probed, and where should be listened.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// One instance behind one backend service, and how it is probed.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Keys of records.
    pub group: String,
    pub instance: String,
    /// `None` while it does not run.
    pub address: Option<IpAddr>,
    pub check: Check,
}

/// A health check, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    pub port: u16,
    pub interval: Duration,
    pub timeout: Duration,
    pub healthy_after: u64,
    pub unhealthy_after: u64,
    pub probe: Probe,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// Connects; sends and expects these bytes where there are some.
    Tcp { request: String, response: String },
    /// Gets a page, which has to answer 200 and to begin with these bytes.
    Http { tls: bool, host: Option<String>, path: String, response: String },
}

/// One backend service.
#[derive(Debug)]
pub struct Service {
    pub specs: Vec<Spec>,
    /// How long connections to an instance live on when it is none of the service's any more.
    pub draining: Duration,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Desired {
    /// By the backend service's key.
    pub services: BTreeMap<String, Service>,
    /// Rule and address to listen at, to the backend service behind.
    pub fronts: BTreeMap<(String, SocketAddr), String>,
}

impl Desired {
    /// By an instance's key, the addresses that it is reached by, too.
    pub fn forwarded(&self) -> BTreeMap<String, BTreeSet<IpAddr>> {
        let mut forwarded: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
        for ((_, at), service) in &self.fronts {
            for spec in self.services.get(service).iter().flat_map(|service| &service.specs) {
                forwarded.entry(spec.instance.clone()).or_default().insert(at.ip());
            }
        }
        forwarded
    }
}

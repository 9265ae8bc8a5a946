//! What Compute Engine keeps in memory: the machines, and what is counted.

use std::sync::{Arc, OnceLock};

use super::guest_attributes::Budget;
use super::rate_limit::CopyRate;
use crate::kernel::cloud::Cloud;
use crate::kernel::requests::Log;
use crate::machines::balancer::Balancer;
use crate::machines::{Asked, Machines, Network};

#[derive(Default)]
pub struct State {
    /// Who runs the instances; nobody before the sandbox has started.
    pub machines: OnceLock<Arc<dyn Machines>>,
    pub balancer: Arc<Balancer>,
    /// What machines have asked their metadata servers.
    pub asked: Log<Asked>,
    /// Queries of guest attributes.
    pub guest_attributes: Budget,
    /// Copies of disks and snapshots.
    pub copies: CopyRate,
}

pub fn state(cloud: &Cloud) -> &State {
    cloud.state()
}

/// Where instances get their addresses from.
pub fn network(cloud: &Cloud) -> Network {
    let machines = state(cloud).machines.get();
    machines.map_or_else(|| Network::of_loopback(cloud.port), |machines| machines.network(cloud.port))
}

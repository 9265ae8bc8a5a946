//! The data plane of load balancers: what forwarding rules, backend services,
//! groups and health checks say is carried out. Backends are probed as their health
//! check wants, and what arrives at a rule's address and ports is passed on to a
//! backend that is healthy: by the machines' driver where they have a network of
//! their own, packet by packet as Google does it; on loopback by sockets here, byte
//! for byte.
//!
//! The records are the truth: whenever they change, what should be is computed
//! again and compared with what is. So a restart of the sandbox needs nothing
//! more, and no request ever waits for a socket. What a load balancer may say is
//! left to `compute`.
//!
//! As at Google, a connection outlives the health of its backend, and the backend's place
//! in the group for as long as the service drains connections: whoever takes a machine
//! away has to have it end them.
//!
//! On loopback it differs from Google's: the backend sees the sandbox's address, not
//! the client's; which backend is chosen depends on no hash; and the connections of a
//! machine that is gone end, where Google's hang.

pub mod desired;
mod probe;
mod proxy;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::desired::{Desired, Service, Spec};
use super::{Front, Machines};
use crate::kernel::cloud::Cloud;
use crate::kernel::sync::lock;

/// When an address could not be listened on, it is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Balancer {
    /// Ticks when records have changed.
    changes: watch::Sender<u64>,
    /// By backend service, its backends' instances.
    members: Mutex<BTreeMap<String, Vec<Arc<Member>>>>,
    /// By an instance's key, the addresses of the load balancers that it is behind.
    forwarded: Mutex<BTreeMap<String, BTreeSet<IpAddr>>>,
}

impl Default for Balancer {
    fn default() -> Self {
        Self { changes: watch::Sender::new(0), members: Mutex::default(), forwarded: Mutex::default() }
    }
}

/// An instance behind a backend service, while it is probed.
#[derive(Debug)]
struct Member {
    spec: Spec,
    healthy: AtomicBool,
    /// The balancer's.
    changes: watch::Sender<u64>,
    /// Ends the connections that were passed on to it.
    connections: CancellationToken,
    /// Ends the probing.
    stop: CancellationToken,
    _probing: DropGuard,
}

impl Member {
    fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    fn set_healthy(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::Release);
        self.changes.send_modify(|tick| *tick += 1);
    }

    /// Whether connections to that one go on as connections to this one.
    fn takes_over(&self, before: &Self) -> bool {
        let (now, before) = (&self.spec, &before.spec);
        (&now.group, &now.instance, now.address) == (&before.group, &before.instance, before.address)
    }
}

/// What is known of one instance of a backend.
pub struct State {
    /// The instance's key.
    pub instance: String,
    pub healthy: bool,
    /// Where it is probed; `None`: it does not run.
    pub address: Option<IpAddr>,
    pub port: u16,
}

impl Balancer {
    /// Tells that records have changed.
    pub fn look(&self) {
        self.changes.send_modify(|tick| *tick += 1);
    }

    /// The instances of one group behind a backend service (both by their keys).
    pub fn states(&self, service: &str, group: &str) -> Vec<State> {
        let members = lock(&self.members);
        let all = members.get(service).map_or(&[][..], Vec::as_slice).iter();
        all.filter(|member| member.spec.group == group)
            .map(|member| State {
                instance: member.spec.instance.clone(),
                healthy: member.is_healthy(),
                address: member.spec.address,
                port: member.spec.check.port,
            })
            .collect()
    }

    /// Where new connections to the service may go: its healthy members. Without
    /// any, all that run, as Google does as a last resort.
    fn candidates(&self, service: &str) -> Vec<(IpAddr, Arc<Member>)> {
        let members = lock(&self.members);
        let all = members.get(service).map_or(&[][..], Vec::as_slice).iter();
        let running: Vec<(IpAddr, Arc<Member>)> =
            all.filter_map(|member| Some((member.spec.address?, Arc::clone(member)))).collect();
        let healthy: Vec<_> = running.iter().filter(|(_, member)| member.is_healthy()).cloned().collect();
        if healthy.is_empty() { running } else { healthy }
    }

    /// The addresses of the load balancers that an instance is behind, by its key.
    pub fn forwarded_ips(&self, instance: &str) -> Vec<String> {
        let forwarded = lock(&self.forwarded);
        forwarded.get(instance).into_iter().flatten().map(IpAddr::to_string).collect()
    }

    /// Puts down who is behind which address; answers whose have changed.
    fn forward(&self, desired: &Desired) -> Vec<String> {
        let now = desired.forwarded();
        let before = std::mem::replace(&mut *lock(&self.forwarded), now.clone());
        let all: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
        all.into_iter().filter(|each| before.get(*each) != now.get(*each)).cloned().collect()
    }

    /// What the machines' own network has to pass on.
    fn beyond_loopback(&self, desired: &Desired) -> Vec<Front> {
        let fronts = desired.fronts.iter().filter_map(|((_, at), service)| {
            let SocketAddr::V4(at) = at else { return None };
            let backends = self.candidates(service).into_iter();
            let backends = backends.filter_map(|(address, _)| match address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            });
            Some(Front { address: *at.ip(), port: at.port(), backends: backends.collect() })
        });
        fronts.filter(|front| !front.address.is_loopback()).collect()
    }

    /// Starts probing what is new, from `prober`, and stops what is wanted no more.
    fn probe(&self, desired: &Desired, prober: Ipv4Addr) {
        let mut members = lock(&self.members);
        let mut all = std::mem::take(&mut *members);
        for (name, service) in &desired.services {
            let mut before = all.remove(name).unwrap_or_default();
            let now = service.specs.iter().map(|spec| {
                if let Some(at) = before.iter().position(|each| each.spec == *spec) {
                    return before.swap_remove(at);
                }
                let mut member = probe::begin(spec.clone(), self.changes.clone());
                if let Some(at) = before.iter().position(|each| member.takes_over(each)) {
                    // Another check of the same machine.
                    member.connections = before.swap_remove(at).connections.clone();
                }
                probe::start(member, prober)
            });
            members.insert(name.clone(), now.collect());
            before.into_iter().for_each(|gone| drain(&gone, service));
        }
        // Of a service that is gone itself.
        all.into_values().flatten().for_each(|gone| gone.connections.cancel());
    }
}

/// The member is none of the service's any more: its connections end, in a while if it
/// still runs.
fn drain(gone: &Member, service: &Service) {
    let there = |spec: &Spec| spec.instance == gone.spec.instance;
    let (connections, draining) = (gone.connections.clone(), service.draining);
    if service.specs.iter().any(there) || draining.is_zero() {
        return connections.cancel();
    }
    tokio::spawn(async move {
        tokio::time::sleep(draining).await;
        connections.cancel();
    });
}

/// Listening at one address for a rule.
struct Listening {
    service: String,
    _until: DropGuard,
}

/// Keeps sockets and the machines' network as the records say, until the sandbox ends.
pub async fn run(
    cloud: Arc<Cloud>,
    balancer: Arc<Balancer>,
    machines: Arc<dyn Machines>,
    desired: fn(&Cloud) -> Desired,
) {
    let mut changes = balancer.changes.subscribe();
    let prober = machines.network(cloud.port).prober;
    let mut fronts: BTreeMap<(String, SocketAddr), Listening> = BTreeMap::new();
    let mut told = Vec::new();
    loop {
        changes.mark_unchanged();
        let desired = desired(&cloud);
        balancer.probe(&desired, prober);
        for instance in balancer.forward(&desired) {
            cloud.changed(&instance);
        }
        let beyond = balancer.beyond_loopback(&desired);
        if beyond != told {
            machines.pass_on(beyond.clone()).await;
            told = beyond;
        }
        fronts.retain(|at, front| desired.fronts.get(at) == Some(&front.service));
        let mut refused = false;
        for (at, service) in &desired.fronts {
            // No other address is ever bound, whatever a record says.
            if fronts.contains_key(at) || !at.1.ip().is_loopback() {
                continue;
            }
            match TcpListener::bind(at.1).await {
                Ok(listener) => {
                    let stop = cloud.stop.child_token();
                    tokio::spawn(proxy::serve(
                        listener,
                        Arc::clone(&balancer),
                        service.clone(),
                        stop.clone(),
                    ));
                    fronts.insert(
                        at.clone(),
                        Listening { service: service.clone(), _until: stop.drop_guard() },
                    );
                }
                // Its last listener may just be closing.
                Err(_) => refused = true,
            }
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = tokio::time::sleep(AGAIN), if refused => {}
            () = cloud.stop.cancelled() => break,
        }
    }
    balancer.probe(&Desired::default(), prober);
}

//! The data plane of load balancers: what forwarding rules, backend services,
//! groups and health checks say is carried out with sockets. Backends are probed
//! as their health check wants, and each rule's address and ports listen on
//! loopback and pass connections on, byte for byte, to a backend that is healthy.
//!
//! The records are the truth: whenever they change, what should be is computed
//! again and compared with what is. So a restart of the sandbox needs nothing
//! more, and no request ever waits for a socket. What a load balancer may say is
//! left to `compute`.
//!
//! It differs from Google's: the backend sees the sandbox's address, not the
//! client's; which backend is chosen depends on no hash; and connections to a
//! backend that became unhealthy end at once.

mod desired;
mod probe;
mod proxy;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::desired::{Desired, Spec};
use super::cloud::Cloud;
use super::lock;

/// When an address could not be listened on, it is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Balancer {
    /// Ticks when records have changed.
    changes: watch::Sender<u64>,
    /// By backend service, its backends' instances.
    members: Mutex<BTreeMap<String, Vec<Arc<Member>>>>,
}

impl Default for Balancer {
    fn default() -> Self {
        Self { changes: watch::Sender::new(0), members: Mutex::default() }
    }
}

/// An instance behind a backend service, while it is probed.
#[derive(Debug)]
struct Member {
    spec: Spec,
    healthy: AtomicBool,
    /// Ends the connections that were passed on to it.
    connections: Mutex<CancellationToken>,
    /// Ends the probing.
    _probing: DropGuard,
}

impl Member {
    fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    fn set_healthy(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::Release);
        if !healthy {
            self.drop_connections();
        }
    }

    fn drop_connections(&self) {
        std::mem::take(&mut *lock(&self.connections)).cancel();
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

    /// Starts probing what is new, and stops what is wanted no more.
    fn probe(&self, desired: &Desired) {
        let mut members = lock(&self.members);
        let mut before: Vec<Arc<Member>> = std::mem::take(&mut *members).into_values().flatten().collect();
        for (service, specs) in &desired.services {
            let now = specs.iter().map(|spec| match before.iter().position(|each| each.spec == *spec) {
                Some(at) => before.swap_remove(at),
                None => probe::start(spec.clone()),
            });
            members.insert(service.clone(), now.collect());
        }
        before.iter().for_each(|gone| gone.drop_connections());
    }
}

/// Listening at one address for a rule.
struct Front {
    service: String,
    _listening: DropGuard,
}

/// Keeps sockets as the records say, until the sandbox ends.
pub async fn run(cloud: Arc<Cloud>) {
    let mut changes = cloud.balancer.changes.subscribe();
    let mut fronts: BTreeMap<(String, SocketAddr), Front> = BTreeMap::new();
    loop {
        changes.mark_unchanged();
        let desired = Desired::read(&cloud);
        cloud.balancer.probe(&desired);
        fronts.retain(|at, front| desired.fronts.get(at) == Some(&front.service));
        let mut refused = false;
        for (at, service) in &desired.fronts {
            if fronts.contains_key(at) {
                continue;
            }
            match TcpListener::bind(at.1).await {
                Ok(listener) => {
                    let stop = CancellationToken::new();
                    tokio::spawn(proxy::serve(listener, Arc::clone(&cloud), service.clone(), stop.clone()));
                    fronts.insert(
                        at.clone(),
                        Front { service: service.clone(), _listening: stop.drop_guard() },
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
    cloud.balancer.probe(&Desired::default());
}

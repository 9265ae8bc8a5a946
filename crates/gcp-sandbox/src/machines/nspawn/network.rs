//! The network of one sandbox: a router in a namespace of its own, with a line
//! to the host and one to each machine, and on it, at 169.254.169.254, what
//! Google puts there. The host gets one interface and one route, nothing else
//! of it changes; and nothing in here has a way to anywhere beyond the host.
//!
//! ```text
//! host 10.A.B.1 ── router 169.254.169.254 ── eth0 10.A.B.x of a machine
//!                  (nftables: firewall.rs)
//! ```
//!
//! What is addressed to a load balancer gets a mark from the firewall, which says
//! to which machine it goes, as it is: it is for the machine to know the address
//! as one of its own. Google's guest agent sees to that.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::{fs, io};

use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

use super::dns;
use super::host::{HostError, Names, ip, run};
use crate::machines::metadata::mac;
use crate::machines::{MachineId, Network};

/// Where a machine finds its metadata server, and the sandbox's APIs.
pub(super) const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

#[derive(Debug, thiserror::Error)]
pub(super) enum NetworkError {
    #[error("the sandbox's network cannot be made: {0}")]
    Host(#[from] HostError),
    #[error("the sandbox's network cannot be used: {0}")]
    Io(#[from] io::Error),
    #[error("{network} is in use on this host ({by}); start the sandbox on another --port")]
    Taken { network: String, by: String },
    #[error(
        "the address {address} is not of this sandbox's network {network}: it was given out by another \
         driver or on another port; delete the instance and its address, and make them again"
    )]
    Foreign { address: String, network: String },
}

/// The router. Taken away by `teardown.sh`.
pub(super) struct Router {
    names: Names,
    network: Network,
    port: u16,
    relay: JoinHandle<()>,
    dns: JoinHandle<()>,
    /// The machines whose mark has a rule.
    marks: Mutex<BTreeSet<u8>>,
}

impl Drop for Router {
    fn drop(&mut self) {
        self.relay.abort();
        self.dns.abort();
    }
}

impl Router {
    /// Makes the router and its line to the host. `port`: of the sandbox's APIs
    /// on the host's loopback. `resolve`: what its name server answers.
    pub(super) async fn start(
        names: Names,
        port: u16,
        resolve: impl Fn(&str) -> Option<Ipv4Addr> + Send + 'static,
    ) -> Result<Self, NetworkError> {
        let network = Network::private(port);
        refuse_taken(network).await?;
        let (space, link, cidr) = (names.router(), names.link(), network.cidr());
        let Network { caller: host, prober, .. } = network;
        run("ip", ["netns", "add", &space], "").await?;
        ip(
            None,
            &format!(
                "link add {link} type veth peer name uplink netns {space}\n\
                 address add {host}/32 dev {link}\n\
                 address add {prober}/32 dev {link}\n\
                 link set {link} up\n"
            ),
        )
        .await?;
        ip(
            Some(&space),
            &format!(
                "link set lo up\n\
                 address add {METADATA}/32 dev lo\n\
                 link set uplink up\n\
                 route add {host}/32 dev uplink\n\
                 route add {prober}/32 dev uplink\n"
            ),
        )
        .await?;
        ip(None, &format!("route add {cidr} via {METADATA} dev {link} onlink src {host}\n")).await?;
        within(&space, || {
            fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
            // A machine answers in a load balancer's name, to whose address no route leads.
            fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "0")?;
            fs::write("/proc/sys/net/ipv4/conf/default/rp_filter", "0")
        })?;
        let listener = listen(&space, port, None)?;
        let relay = tokio::spawn(relay(listener, port));
        let socket = within(&space, || std::net::UdpSocket::bind((METADATA, 53)))?;
        socket.set_nonblocking(true)?;
        let dns = tokio::spawn(dns::serve(UdpSocket::from_std(socket)?, resolve));
        Ok(Self { names, network, port, relay, dns, marks: Mutex::default() })
    }

    /// Draws the line to a machine, whose namespace is made for it.
    pub(super) async fn connect(&self, id: &MachineId, address: Ipv4Addr) -> Result<(), NetworkError> {
        if !self.network.contains(address) {
            let (address, network) = (address.to_string(), self.network.cidr());
            return Err(NetworkError::Foreign { address, network });
        }
        let (router, machine, line) = (self.names.router(), self.names.machine(id), line(address));
        let (mac, mark) = (mac(address), mark(address));
        // The line may be a new one; the rule stays.
        let table = 1000 + u32::from(mark);
        let is_new = self.marks.lock().unwrap_or_else(PoisonError::into_inner).insert(mark);
        let rule = if is_new { format!("rule add fwmark {mark} lookup {table}\n") } else { String::new() };
        run("ip", ["netns", "add", &machine], "").await?;
        ip(
            Some(&router),
            &format!(
                "link add {line} type veth peer name eth0 address {mac} netns {machine}\n\
                 link set {line} up\n\
                 route add {address}/32 dev {line}\n\
                 route add default via {address} dev {line} onlink table {table}\n\
                 {rule}"
            ),
        )
        .await?;
        // As on Google's machines: an address without a network, and a gateway.
        ip(
            Some(&machine),
            &format!(
                "link set lo up\n\
                 address add {address}/32 dev eth0\n\
                 link set eth0 mtu 1460 up\n\
                 route add {METADATA}/32 dev eth0\n\
                 route add default via {METADATA}\n"
            ),
        )
        .await?;
        Ok(())
    }

    /// Port 80 of the metadata server's address, as one machine sees it.
    pub(super) fn metadata_listener(&self, address: Ipv4Addr) -> io::Result<TcpListener> {
        listen(&self.names.router(), 80, Some(&line(address)))
    }

    /// Puts the whole set of rules in force, at once.
    pub(super) async fn enforce(&self, rules: &str) -> Result<(), HostError> {
        run("ip", ["netns", "exec", &self.names.router(), "nft", "-f", "-"], rules).await.map(drop)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

/// The router's end of a machine's line.
pub(super) fn line(address: Ipv4Addr) -> String {
    format!("vm{}", mark(address))
}

/// What a packet is marked with that goes to this machine, whatever its address says.
pub(super) fn mark(machine: Ipv4Addr) -> u8 {
    machine.octets()[3]
}

/// No other interface of the host may be in the network that would be ours.
async fn refuse_taken(network: Network) -> Result<(), NetworkError> {
    let routes =
        run("ip", ["-4", "-oneline", "route", "show", "table", "all", "root", &network.cidr()], "").await?;
    match routes.lines().next() {
        None => Ok(()),
        Some(route) => Err(NetworkError::Taken { network: network.cidr(), by: route.trim().to_owned() }),
    }
}

/// Does something inside a network namespace: on a thread of its own, because a
/// namespace is a thread's. A socket stays in the one that it was made in.
fn within<T: Send>(space: &str, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    use std::os::fd::AsFd as _;

    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    let namespace = fs::File::open(Path::new("/run/netns").join(space))?;
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            work()
        });
        inside.join().unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace has panicked")))
    })
}

fn listen(space: &str, port: u16, interface: Option<&str>) -> io::Result<TcpListener> {
    let socket = within(space, || {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind_device(interface.map(str::as_bytes))?;
        socket.bind(SocketAddr::from((METADATA, port)))?;
        Ok(socket)
    })?;
    socket.listen(1024)
}

/// Hands connections on to the sandbox's APIs on the host's loopback.
async fn relay(listener: TcpListener, port: u16) {
    loop {
        let Ok((mut machine, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        tokio::spawn(async move {
            if let Ok(mut sandbox) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                let _ = tokio::io::copy_bidirectional(&mut machine, &mut sandbox).await;
            }
        });
    }
}

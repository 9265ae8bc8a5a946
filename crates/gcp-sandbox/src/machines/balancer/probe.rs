//! One backend, asked again and again whether it serves.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Member;
use super::desired::{Check, Probe, Spec};

/// A backend that nobody has asked yet. `changes` ticks when its health changes.
pub fn begin(spec: Spec, changes: watch::Sender<u64>) -> Member {
    let (connections, stop) = (CancellationToken::new(), CancellationToken::new());
    let probing = stop.clone().drop_guard();
    Member { healthy: AtomicBool::new(false), changes, connections, stop, _probing: probing, spec }
}

/// Begins to probe. A backend is unhealthy until it has passed as often as its
/// check wants; one that does not run stays so.
pub fn start(member: Member, prober: Ipv4Addr) -> Arc<Member> {
    let (stop, member) = (member.stop.clone(), Arc::new(member));
    if let Some(address) = member.spec.address {
        let (check, probed) = (member.spec.check.clone(), Arc::downgrade(&member));
        tokio::spawn(async move {
            let (mut passed, mut failed) = (0, 0);
            let mut clock = tokio::time::interval(check.interval);
            clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let client = client(&check, prober);
            loop {
                tokio::select! {
                    _ = clock.tick() => {}
                    () = stop.cancelled() => return,
                }
                let asked =
                    tokio::time::timeout(check.timeout, passes(&check, address, prober, client.as_ref()));
                let good = tokio::select! {
                    good = asked => good.unwrap_or(false),
                    () = stop.cancelled() => return,
                };
                (passed, failed) = if good { (passed + 1, 0) } else { (0, failed + 1) };
                let Some(member) = probed.upgrade() else { return };
                if passed >= check.healthy_after && !member.is_healthy() {
                    member.set_healthy(true);
                } else if failed >= check.unhealthy_after && member.is_healthy() {
                    member.set_healthy(false);
                }
            }
        });
    }
    member
}

/// A client for pages; certificates of backends are not checked, as Google's are not.
fn client(check: &Check, prober: Ipv4Addr) -> Option<reqwest::Client> {
    matches!(check.probe, Probe::Http { .. }).then_some(())?;
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let builder = builder.local_address(IpAddr::from(prober));
    builder.tls_danger_accept_invalid_certs(true).pool_max_idle_per_host(0).build().ok()
}

async fn passes(check: &Check, address: IpAddr, from: Ipv4Addr, client: Option<&reqwest::Client>) -> bool {
    let at = SocketAddr::new(address, check.port);
    match &check.probe {
        Probe::Tcp { request, response } => tcp(at, from, request, response).await.unwrap_or(false),
        Probe::Http { tls, host, path, response } => {
            let Some(client) = client else { return false };
            let scheme = if *tls { "https" } else { "http" };
            let mut page = client.get(format!("{scheme}://{at}{path}"));
            if let Some(host) = host {
                page = page.header("host", host);
            }
            let Ok(answer) = page.send().await else { return false };
            let found = answer.status() == reqwest::StatusCode::OK;
            found
                && (response.is_empty()
                    || answer.bytes().await.is_ok_and(|body| body.starts_with(response.as_bytes())))
        }
    }
}

async fn tcp(at: SocketAddr, from: Ipv4Addr, request: &str, response: &str) -> std::io::Result<bool> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    let mut stream = socket.connect(at).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = vec![0; response.len()];
    stream.read_exact(&mut answer).await?;
    Ok(answer == response.as_bytes())
}

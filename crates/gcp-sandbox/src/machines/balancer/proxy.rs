//! One address and port of a forwarding rule: accepts, chooses a backend and
//! passes the bytes on, on the same port.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{Balancer, Member};

/// How long a backend may take to accept.
const CONNECT: Duration = Duration::from_secs(10);

pub async fn serve(listener: TcpListener, balancer: Arc<Balancer>, service: String, stop: CancellationToken) {
    let port = listener.local_addr().map_or(0, |address| address.port());
    let mut turn = 0usize;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((client, _)) = accepted else {
            // Out of file handles, most likely: not to be asked in a circle.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let candidates = balancer.candidates(&service);
        turn = turn.wrapping_add(1);
        let Some((address, member)) = candidates.get(turn.checked_rem(candidates.len()).unwrap_or(0)) else {
            reset(&client);
            continue;
        };
        let (address, member, stop) = (*address, Arc::clone(member), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = pass_on(client, address, port, &member) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

/// Closing without lingering sends a reset: what a client gets from a machine
/// where nobody listens.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

async fn pass_on(mut client: TcpStream, address: IpAddr, port: u16, member: &Member) {
    let gone = member.connections.clone();
    let connecting = tokio::time::timeout(CONNECT, TcpStream::connect(SocketAddr::new(address, port)));
    let Ok(Ok(mut backend)) = connecting.await else {
        reset(&client);
        return;
    };
    let _ = (client.set_nodelay(true), backend.set_nodelay(true));
    let ended = tokio::select! {
        copied = tokio::io::copy_bidirectional(&mut client, &mut backend) => copied.is_ok(),
        () = gone.cancelled() => false,
    };
    if !ended {
        reset(&client);
        reset(&backend);
    }
}

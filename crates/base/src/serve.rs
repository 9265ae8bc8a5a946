//! A small HTTP server for whatever strangers can reach: it can't be exhausted by
//! connections that say nothing, and no web page can talk to it through a browser.
//! What is answered, and how large a body may be, is its users' affair.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, reason = "numbers of others are computed with"))]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections at once; further ones wait to be taken.
const CONNECTIONS: usize = 256;
/// How long the head of a request may take, also of the next one on a connection.
const HEAD: Duration = Duration::from_secs(10);
/// The longest head.
const HEAD_BYTES: usize = 32 * 1024;
/// How long whoever is just being answered may take, once it is to end.
const LAST_ANSWER: Duration = Duration::from_secs(5);
/// Before the next try where no connection could be taken (no file handles left).
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop` is cancelled, and for five seconds longer at most.
pub async fn serve(listener: TcpListener, app: Router, stop: &CancellationToken) {
    let app = app.layer(axum::middleware::from_fn(refuse_web_pages));
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let place = tokio::select! {
            () = stop.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        let (app, stop) = (app.clone(), stop.clone());
        connections.spawn(async move {
            let _place = place;
            // How a stranger's connection ends is nobody's concern.
            let _ = connection(stream, app, &stop).await;
        });
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_ANSWER, ended).await;
}

async fn connection(stream: TcpStream, app: Router, stop: &CancellationToken) -> Result<(), hyper::Error> {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES);
    let service = TowerToHyperService::new(app);
    let mut connection = std::pin::pin!(server.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// A browser names the page that asks. No page has any business here, whatever it
/// asks for: none of our clients is one.
pub async fn refuse_web_pages(request: Request, next: Next) -> Response {
    let headers = request.headers();
    if headers.contains_key(ORIGIN) || headers.contains_key("sec-fetch-site") {
        return (StatusCode::FORBIDDEN, "web pages are not answered\n").into_response();
    }
    next.run(request).await
}

/// The name or address that a client asked for, without its port. Empty: none.
pub fn asked_name(headers: &HeaderMap) -> &str {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

/// Whether the host that a client asked for is this machine's own name for itself:
/// a name that somebody else points here is a page's that wants to read what is
/// served on loopback.
pub fn asks_loopback(headers: &HeaderMap) -> bool {
    let name = asked_name(headers);
    let address = name.parse::<std::net::IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// Binds, with the address that it became.
///
/// # Errors
/// Those of the system: the address is not this machine's, the port is taken.
pub async fn bind(address: std::net::SocketAddr) -> io::Result<(TcpListener, std::net::SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr().unwrap_or(address);
    Ok((listener, address))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn started() -> (std::net::SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let (listener, address) = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let stop = CancellationToken::new();
        let app = Router::new().route("/", get(|| async { "here" }));
        let server = tokio::spawn({
            let stop = stop.clone();
            async move { serve(listener, app, &stop).await }
        });
        (address, stop, server)
    }

    async fn says(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn a_page_is_refused_and_a_client_is_answered() {
        let (address, ..) = started().await;
        let answer = |more: &str| {
            let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n");
            async move { says(address, &request).await }
        };
        assert!(answer("").await.ends_with("here"));
        assert!(answer("Origin: http://evil.example\r\n").await.starts_with("HTTP/1.1 403"));
        assert!(answer("Origin: null\r\n").await.starts_with("HTTP/1.1 403"));
        assert!(answer("Sec-Fetch-Site: cross-site\r\n").await.starts_with("HTTP/1.1 403"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_does_not_end_its_head_is_not_held() {
        let (address, ..) = started().await;
        let mut half = Vec::new();
        for _ in 0..CONNECTIONS + 50 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.unwrap();
            half.push(stream);
        }
        // Time is not waited for here: it jumps to the next moment that somebody waits for.
        let answer = says(address, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(answer.ends_with("here"), "{answer}");
        for mut stream in half {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        }
    }

    #[tokio::test]
    async fn it_ends_although_somebody_holds_a_connection() {
        let (address, stop, server) = started().await;
        let mut open = TcpStream::connect(address).await.unwrap();
        open.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let began = Instant::now();
        stop.cancel();
        tokio::time::timeout(2 * LAST_ANSWER, server).await.unwrap().unwrap();
        assert!(began.elapsed() < 2 * LAST_ANSWER);
    }

    #[test]
    fn only_names_of_this_machine_ask_loopback() {
        let asks = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            asks_loopback(&headers)
        };
        for own in ["localhost", "LOCALHOST:80", "127.0.0.1:9", "127.8.9.1", "[::1]:90", "[::1]"] {
            assert!(asks(own), "{own}");
        }
        for other in ["evil.example", "localhost.evil.example:80", "10.0.0.1", "", "127.0.0.1.evil.example"] {
            assert!(!asks(other), "{other}");
        }
    }
}

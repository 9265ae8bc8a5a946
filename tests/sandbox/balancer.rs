//! The data plane of load balancers: connections reach backends that are healthy,
//! and only those.
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::sandbox_support::*;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const NAMES: [&str; 2] = ["a", "b"];

fn regional(collection: &str) -> String {
    format!("regions/{REGION}/{collection}")
}

fn zonal(collection: &str) -> String {
    format!("zones/{ZONE}/{collection}")
}

/// Greets with its name, then echoes.
async fn backend(name: &'static str, at: SocketAddr) -> JoinHandle<()> {
    let listener = TcpListener::bind(at).await.unwrap();
    tokio::spawn(async move {
        let mut talks = tokio::task::JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            talks.spawn(async move {
                if stream.write_all(name.as_bytes()).await.is_ok() {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                }
            });
        }
    })
}

/// Who answers at `at`; `None`: nobody.
async fn greeting(at: SocketAddr) -> Option<(String, TcpStream)> {
    let talk = async {
        let mut stream = TcpStream::connect(at).await.ok()?;
        let mut name = [0];
        stream.read_exact(&mut name).await.ok()?;
        Some((String::from_utf8_lossy(&name).into_owned(), stream))
    };
    tokio::time::timeout(Duration::from_secs(10), talk).await.ok()?
}

async fn address_of(sandbox: &Sandbox, instance: &str) -> IpAddr {
    let record = sandbox.read(&sandbox.compute(&zonal(&format!("instances/{instance}")))).await;
    record["networkInterfaces"][0]["networkIP"].as_str().unwrap().parse().unwrap()
}

/// Two instances behind a rule on `port`; answers where the rule is.
async fn balanced(sandbox: &Sandbox, port: u16, check: Value) -> SocketAddr {
    sandbox.insert(&zonal("instanceGroups"), json!({"name": "g"})).await;
    for name in NAMES {
        sandbox.insert(&zonal("instances"), instance(name)).await;
        let naming = json!({"instances": [{"instance": zonal(&format!("instances/{name}"))}]});
        sandbox.operate(Method::POST, &zonal("instanceGroups/g/addInstances"), Some(naming)).await;
    }
    let mut check = check;
    for (field, value) in [
        ("name", json!("check")),
        ("checkIntervalSec", json!(1)),
        ("timeoutSec", json!(1)),
        ("healthyThreshold", json!(1)),
        ("unhealthyThreshold", json!(1)),
    ] {
        check[field] = value;
    }
    sandbox.insert(&regional("healthChecks"), check).await;
    let service = json!({"name": "web", "healthChecks": [regional("healthChecks/check")],
        "connectionDraining": {"drainingTimeoutSec": 2}, "backends": [{"group": zonal("instanceGroups/g")}]});
    sandbox.insert(&regional("backendServices"), service).await;
    sandbox.insert(&regional("addresses"), json!({"name": "front"})).await;
    let rule = json!({"name": "front", "IPAddress": regional("addresses/front"), "ports": [port.to_string()],
        "backendService": regional("backendServices/web")});
    sandbox.insert(&regional("forwardingRules"), rule).await;
    let address = sandbox.read(&sandbox.compute(&regional("addresses/front"))).await;
    SocketAddr::new(address["address"].as_str().unwrap().parse().unwrap(), port)
}

/// The instances that `getHealth` calls healthy.
async fn healthy(sandbox: &Sandbox) -> Vec<String> {
    let path = sandbox.compute(&regional("backendServices/web/getHealth"));
    let (status, answer) = sandbox.post(&path, json!({"group": zonal("instanceGroups/g")})).await;
    assert_eq!(status, 200, "{answer}");
    let all = answer["healthStatus"].as_array().cloned().unwrap_or_default();
    assert!(all.iter().all(|each| each["forwardingRule"].is_string()), "{answer}");
    let healthy = all.iter().filter(|each| each["healthState"] == "HEALTHY");
    healthy.map(|each| each["instance"].as_str().unwrap().rsplit_once('/').unwrap().1.to_owned()).collect()
}

#[tokio::test]
async fn a_dead_backend_gets_nothing_and_a_restarted_sandbox_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = try_start(options(dir.path())).await.unwrap();
    sandbox.enable().await;
    let port = 7001;
    let check = json!({"type": "TCP", "tcpHealthCheck": {"port": port}});
    let front = balanced(&sandbox, port, check).await;
    assert_eq!(healthy(&sandbox).await, Vec::<String>::new());

    let a = backend("a", SocketAddr::new(address_of(&sandbox, "a").await, port)).await;
    let b = backend("b", SocketAddr::new(address_of(&sandbox, "b").await, port)).await;
    eventually("both are healthy", || async { healthy(&sandbox).await.len() == 2 }).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        let (name, mut stream) = greeting(front).await.unwrap();
        stream.write_all(b"ping").await.unwrap();
        let mut echo = [0; 4];
        stream.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"ping");
        seen.push(name);
    }
    assert!(NAMES.iter().all(|name| seen.contains(&(*name).to_owned())), "both serve: {seen:?}");

    // A machine that hangs: its connections stay open until it is found out.
    let mut to_a = greeting(front).await.unwrap();
    while to_a.0 != "a" {
        to_a = greeting(front).await.unwrap();
    }
    a.abort();
    let _ = a.await;
    eventually("only b is healthy", || async { healthy(&sandbox).await == ["b"] }).await;
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), to_a.1.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection to the dead backend is dropped");
    for _ in 0..4 {
        assert_eq!(greeting(front).await.unwrap().0, "b");
    }

    // A stopped instance is not healthy, whatever answers at its address.
    sandbox.operate(Method::POST, &zonal("instances/b/stop"), None).await;
    eventually("nobody is healthy", || async { healthy(&sandbox).await.is_empty() }).await;
    sandbox.operate(Method::POST, &zonal("instances/b/start"), None).await;
    eventually("b is healthy again", || async { healthy(&sandbox).await == ["b"] }).await;

    sandbox.stop().await;
    assert!(TcpStream::connect(front).await.is_err(), "nobody listens when the sandbox has ended");
    let sandbox = try_start(options(dir.path())).await.unwrap();
    eventually("the front is back", || async { greeting(front).await.is_some_and(|(name, _)| name == "b") })
        .await;

    sandbox.operate(Method::DELETE, &regional("forwardingRules/front"), None).await;
    eventually("the front is gone", || async { TcpStream::connect(front).await.is_err() }).await;
    b.abort();
    let _ = b.await;
    sandbox.stop().await;
}

#[tokio::test]
async fn a_page_is_asked_for_where_the_check_says_so() {
    let sandbox = start().await;
    let port = 7002;
    let check = json!({"type": "HTTP", "httpHealthCheck": {"port": 7003, "requestPath": "/ready"}});
    balanced(&sandbox, port, check).await;
    let mut servers = Vec::new();
    for (name, status) in [("a", 200), ("b", 503)] {
        let listener = TcpListener::bind((address_of(&sandbox, name).await, 7003)).await.unwrap();
        let status = axum::http::StatusCode::from_u16(status).unwrap();
        let app = axum::Router::new().route("/ready", axum::routing::get(move || async move { status }));
        servers.push(tokio::spawn(async move { axum::serve(listener, app).await.unwrap() }));
    }
    eventually("a is healthy", || async { healthy(&sandbox).await == ["a"] }).await;
    servers.iter().for_each(JoinHandle::abort);
    eventually("nobody is healthy", || async { healthy(&sandbox).await.is_empty() }).await;
    sandbox.stop().await;
}

/// As at Google: what was connected stays so, until its time is up when the instance has left.
#[tokio::test]
async fn connections_outlive_health_and_for_a_while_the_place_in_the_group() {
    let sandbox = start().await;
    let port = 7004;
    let check = json!({"type": "HTTP", "httpHealthCheck": {"port": 7005, "requestPath": "/ready"}});
    let front = balanced(&sandbox, port, check).await;
    let addresses = [address_of(&sandbox, "a").await, address_of(&sandbox, "b").await];
    let ready = std::sync::Arc::new([true, true].map(std::sync::atomic::AtomicBool::new));
    let mut servers = Vec::new();
    for (at, name) in NAMES.into_iter().enumerate() {
        servers.push(backend(name, SocketAddr::new(addresses[at], port)).await);
        let listener = TcpListener::bind((addresses[at], 7005)).await.unwrap();
        let ready = std::sync::Arc::clone(&ready);
        let answer = move || async move {
            let ready = ready[at].load(std::sync::atomic::Ordering::SeqCst);
            if ready { axum::http::StatusCode::OK } else { axum::http::StatusCode::SERVICE_UNAVAILABLE }
        };
        let app = axum::Router::new().route("/ready", axum::routing::get(answer));
        servers.push(tokio::spawn(async move { axum::serve(listener, app).await.unwrap() }));
    }
    eventually("both are healthy", || async { healthy(&sandbox).await.len() == 2 }).await;
    let (mut to_a, mut to_b) = (None, None);
    while to_a.is_none() || to_b.is_none() {
        let (name, stream) = greeting(front).await.unwrap();
        if name == "a" { to_a = Some(stream) } else { to_b = Some(stream) }
    }
    let (mut to_a, mut to_b) = (to_a.unwrap(), to_b.unwrap());

    ready[0].store(false, std::sync::atomic::Ordering::SeqCst);
    eventually("a is out", || async { healthy(&sandbox).await == ["b"] }).await;
    assert!(echoes(&mut to_a).await, "what was connected stays so");
    for _ in 0..4 {
        assert_eq!(greeting(front).await.unwrap().0, "b");
    }
    // Another check is no end of a connection.
    let slower = json!({"checkIntervalSec": 2});
    sandbox.operate(Method::PATCH, &regional("healthChecks/check"), Some(slower)).await;
    assert!(echoes(&mut to_a).await && echoes(&mut to_b).await);

    let naming = json!({"instances": [{"instance": zonal("instances/b")}]});
    sandbox.operate(Method::POST, &zonal("instanceGroups/g/removeInstances"), Some(naming)).await;
    assert!(echoes(&mut to_b).await, "it has left, and takes leave");
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), to_b.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "its time is up");
    assert!(echoes(&mut to_a).await);
    // One that is stopped is no backend, and what was connected to it ends.
    sandbox.operate(Method::POST, &zonal("instances/a/stop"), None).await;
    let ended = tokio::time::timeout(Duration::from_secs(20), to_a.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the machine is gone");
    servers.iter().for_each(JoinHandle::abort);
    sandbox.stop().await;
}

async fn echoes(stream: &mut TcpStream) -> bool {
    let mut echo = [0; 4];
    stream.write_all(b"ping").await.is_ok() && stream.read_exact(&mut echo).await.is_ok() && &echo == b"ping"
}

//! A client that writes and asks all the time, and tries once more where that fails: with
//! connections that it keeps, and with a new one for each request. And how far behind the
//! collector is meanwhile.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dorainfra_deploy::stack::native;
use serde_json::json;
use tokio_util::sync::CancellationToken;

const SERVER: &str = "mimir.dorainfra.internal";
/// Between two requests of one kind.
const PAUSE: Duration = Duration::from_millis(50);
/// As long as anybody waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub struct Outcome {
    pub writes: usize,
    pub queries: usize,
    /// What went well only the second time: when, and what was wrong.
    pub repeated: Vec<String>,
    /// What went wrong twice, and when, in Unix seconds.
    pub failed: Vec<(f64, String)>,
    /// The furthest that the collector was behind, seconds.
    pub behind: f64,
    /// How often that was looked at.
    pub looks: usize,
}

pub struct Traffic {
    stop: CancellationToken,
    thread: JoinHandle<()>,
    seen: Arc<Mutex<Outcome>>,
}

impl Traffic {
    /// `tls`: a client's files. `collector`: the port of the agent on this machine.
    pub fn start(at: SocketAddr, tls: &Path, collector: Option<u16>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (stop, seen) = (CancellationToken::new(), Arc::new(Mutex::new(Outcome::default())));
        let clients = [client(at, tls, true), client(at, tls, false)];
        let (stopped, shared) = (stop.clone(), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let begun = Instant::now();
            runtime.block_on(async {
                let mut tasks = tokio::task::JoinSet::new();
                for (which, client) in clients.into_iter().enumerate() {
                    let of = |write: bool| {
                        let series = write.then_some(which);
                        again_and_again(client.clone(), series, begun, Arc::clone(&shared))
                    };
                    tasks.spawn(until(stopped.clone(), of(true)));
                    tasks.spawn(until(stopped.clone(), of(false)));
                }
                if let Some(port) = collector {
                    tasks.spawn(until(stopped.clone(), look(port, Arc::clone(&shared))));
                }
                while tasks.join_next().await.is_some() {}
            });
        });
        Self { stop, thread, seen }
    }

    /// How many writes went well so far.
    pub fn writes(&self) -> usize {
        self.seen.lock().unwrap().writes
    }

    pub fn failed(&self) -> usize {
        self.seen.lock().unwrap().failed.len()
    }

    pub fn stop(self) -> Outcome {
        self.stop.cancel();
        self.thread.join().unwrap();
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

/// How many of the samples that were written are found.
pub fn stored(at: SocketAddr, tls: &Path) -> usize {
    asked(at, tls, "sum(count_over_time(traffic_written[1h]))").map_or(0, |count| count as usize)
}

/// The value of a query that has one.
pub fn asked(at: SocketAddr, tls: &Path, query: &str) -> Option<f64> {
    let client = client(at, tls, true);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let request = client.get(format!("https://{SERVER}:9009/prometheus/api/v1/query"));
        let answer: serde_json::Value =
            request.query(&[("query", query)]).send().await.unwrap().json().await.unwrap();
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    })
}

fn client(at: SocketAddr, tls: &Path, keeps: bool) -> reqwest::Client {
    let file = |name: &str| std::fs::read(tls.join(name)).unwrap();
    let authorities = reqwest::Certificate::from_pem_bundle(&file("ca.crt")).unwrap();
    let identity = [file("client.crt"), b"\n".to_vec(), file("client.key")].concat();
    reqwest::Client::builder()
        .no_proxy()
        .http1_only()
        .timeout(PATIENCE)
        .tls_certs_only(authorities)
        .identity(reqwest::Identity::from_pem(&identity).unwrap())
        .resolve(SERVER, at)
        .pool_max_idle_per_host(if keeps { 8 } else { 0 })
        .build()
        .unwrap()
}

async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = stop.cancelled() => {}
    }
}

/// Writes samples of a series of its own, or asks.
async fn again_and_again(
    client: reqwest::Client,
    series: Option<usize>,
    begun: Instant,
    seen: Arc<Mutex<Outcome>>,
) {
    let mut clock = tokio::time::interval(PAUSE);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let mut errors = Vec::new();
        while errors.len() < 2 {
            match once(&client, series, now).await {
                Ok(()) => break,
                Err(error) => {
                    errors.push(format!("{:.1} s: {error}", begun.elapsed().as_secs_f64()));
                }
            }
        }
        let mut seen = seen.lock().unwrap();
        if errors.len() == 2 {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            seen.failed.push((now.as_secs_f64(), errors.join("; again ")));
            continue;
        }
        seen.repeated.extend(errors);
        if series.is_some() {
            seen.writes += 1;
        } else {
            seen.queries += 1;
        }
    }
}

async fn once(client: &reqwest::Client, series: Option<usize>, now: u128) -> Result<(), String> {
    let request = if let Some(series) = series {
        let label = json!({"key": "series", "value": {"stringValue": series.to_string()}});
        let point = json!({"asDouble": 1.0, "timeUnixNano": now.to_string(), "attributes": [label]});
        let metric = json!({"name": "traffic_written", "gauge": {"dataPoints": [point]}});
        let body = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]});
        client.post(format!("https://{SERVER}:9009/otlp/v1/metrics")).json(&body)
    } else {
        client.get(format!("https://{SERVER}:9009/prometheus/api/v1/query?query=traffic_written"))
    };
    let what = if series.is_some() { "write" } else { "query" };
    let answer = request.send().await.map_err(|error| {
        let mut text = format!("{what}: {error}");
        let mut source = std::error::Error::source(&error);
        while let Some(inner) = source {
            text = format!("{text}: {inner}");
            source = inner.source();
        }
        text
    })?;
    let status = answer.status();
    let body = answer.text().await.map_err(|error| format!("{what}: {error}"))?;
    status.is_success().then_some(()).ok_or_else(|| format!("{what}: {status} {body}"))
}

async fn look(port: u16, seen: Arc<Mutex<Outcome>>) {
    let mut clock = tokio::time::interval(Duration::from_millis(500));
    loop {
        clock.tick().await;
        if let Some(told) = native::remote_write(port).await {
            let mut seen = seen.lock().unwrap();
            seen.behind = seen.behind.max(told.lag_seconds);
            seen.looks += 1;
        }
    }
}

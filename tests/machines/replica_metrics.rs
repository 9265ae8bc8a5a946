//! The program of each of three machines that writes Mimir's own metrics into Mimir, over a Mimir
//! in this process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use dorainfra_prometheus::remote_write::wire::WriteRequest;
use prost::Message as _;
use tokio::process::{Child, Command};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/templates/vm/metrics.py.j2");

/// A minute is far more than any of it takes.
const BOUND: Duration = Duration::from_secs(60);

type Series = BTreeMap<String, String>;

/// What is shown, what the next writes are answered with, and what was written.
#[derive(Default)]
struct Mimir {
    shown: Mutex<String>,
    answer: Mutex<Option<StatusCode>>,
    written: Mutex<Vec<Vec<(Series, f64, i64)>>>,
}

async fn pushed(State(mimir): State<Arc<Mimir>>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    assert_eq!(headers["content-encoding"], "snappy");
    assert_eq!(headers["content-type"], "application/x-protobuf");
    if let Some(refused) = *mimir.answer.lock().unwrap() {
        return (refused, "a reason".into());
    }
    let raw = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    let request = WriteRequest::decode(raw.as_slice()).unwrap();
    let series = request.timeseries.into_iter().map(|one| {
        let names: Vec<&str> = one.labels.iter().map(|label| label.name.as_str()).collect();
        assert!(names.is_sorted() && !names.is_empty(), "{names:?}");
        let [sample] = one.samples.as_slice() else { panic!("{:?}", one.samples) };
        let sample = (sample.value, sample.timestamp);
        (one.labels.into_iter().map(|label| (label.name, label.value)).collect(), sample.0, sample.1)
    });
    mimir.written.lock().unwrap().push(series.collect());
    (StatusCode::OK, String::new())
}

/// Port 9009 is Mimir's on every address: a loopback address of its own for each test.
async fn start(address: &str, shown: &str) -> (Arc<Mimir>, Child) {
    let mimir = Arc::new(Mimir { shown: Mutex::new(shown.to_owned()), ..Mimir::default() });
    let metrics = |State(mimir): State<Arc<Mimir>>| async move { mimir.shown.lock().unwrap().clone() };
    let routes = Router::new().route("/metrics", get(metrics)).route("/api/v1/push", post(pushed));
    let routes = routes.layer(axum::extract::DefaultBodyLimit::disable()).with_state(mimir.clone());
    let listener = tokio::net::TcpListener::bind((address, 9009)).await.unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    #[expect(clippy::disallowed_methods, reason = "where this machine has its Python")]
    let path = std::env::var_os("PATH").unwrap();
    let program = Command::new("python3")
        .arg(PROGRAM)
        .env_clear()
        .env("PATH", path)
        .envs([
            ("DORAINFRA_ADDRESS", address),
            ("DORAINFRA_INSTANCE", "mimir-2"),
            ("DORAINFRA_SERVER_NAME", ""),
        ])
        .envs([("DORAINFRA_REPLICAS", "3"), ("DORAINFRA_METRICS_INTERVAL", "0.2")])
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    (mimir, program)
}

async fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let found = async {
        loop {
            match look() {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(BOUND, found).await.unwrap_or_else(|_| panic!("never: {what}"))
}

fn labels(pairs: &[(&str, &str)]) -> Series {
    let own = [("job", "mimir"), ("instance", "mimir-2")];
    own.iter().chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn what_a_replica_shows_is_written_with_its_own_name() {
    let shown = "\
# HELP cortex_a Something # with {braces}=\"1\".
# TYPE cortex_a counter
cortex_a 17
cortex_b{route=\"api_v1_push\",le=\"5\"} 2.5e-07
cortex_b{route=\"api_v1_push\",le=\"+Inf\",} +Inf
cortex_c{ path=\"C:\\\\x\\n\\\"y\\\"\u{2028}, }=\" , empty=\"\" } NaN
cortex_d{job=\"blocks\",instance=\"x\"} -4 1700000000000
not a sample
cortex_e{broken=\"1} 3
cortex_f{a=\"1\"} three
\u{feff}cortex_g 1
";
    let before = time::OffsetDateTime::now_utc().unix_timestamp() * 1000;
    let (mimir, _program) = start("127.46.1.1", shown).await;
    let written = until("a write", || mimir.written.lock().unwrap().first().cloned()).await;
    let after = time::OffsetDateTime::now_utc().unix_timestamp() * 1000 + 1000;
    // All at one time, that of asking: a second's sample is not overwritten by an older one.
    let at = written.first().unwrap().2;
    assert!(written.iter().all(|one| one.2 == at) && (before..=after).contains(&at), "{before} {at} {after}");
    let got: Vec<(Series, String)> =
        written.into_iter().map(|(labels, value, _)| (labels, value.to_string())).collect();
    let name = |name| ("__name__", name);
    let expected = [
        (labels(&[name("cortex_a")]), "17"),
        (labels(&[name("cortex_b"), ("route", "api_v1_push"), ("le", "5.0")]), "0.00000025"),
        (labels(&[name("cortex_b"), ("route", "api_v1_push"), ("le", "+Inf")]), "inf"),
        (labels(&[name("cortex_c"), ("path", "C:\\x\n\"y\"\u{2028}, }=")]), "NaN"),
        (labels(&[name("cortex_d"), ("exported_job", "blocks"), ("exported_instance", "x")]), "-4"),
        (labels(&[name("up")]), "1"),
        (labels(&[name("dorainfra_replicas")]), "3"),
    ];
    let expected: Vec<(Series, String)> =
        expected.into_iter().map(|(labels, value)| (labels, value.to_owned())).collect();
    assert_eq!(got, expected);
    // And again.
    until("another write", || (mimir.written.lock().unwrap().len() > 1).then_some(())).await;
}

/// More than one of Snappy's blocks, and what does not fit into a byte or two.
#[tokio::test]
async fn as_much_as_a_mimir_shows_arrives_whole() {
    let lines: Vec<String> = (0..9000)
        .map(|n| format!("cortex_requests_total{{route=\"{}\",n=\"{n}\"}} {n}", "r".repeat(n % 300)))
        .collect();
    let (mimir, _program) = start("127.46.1.2", &lines.join("\n")).await;
    let written = until("a write", || mimir.written.lock().unwrap().first().cloned()).await;
    assert_eq!(written.len(), 9002);
    for (n, (labels, value, _)) in written.iter().take(9000).enumerate() {
        assert_eq!((labels["n"].as_str(), *value), (n.to_string().as_str(), n as f64));
        assert_eq!(labels.get("route").map_or(0, String::len), n % 300);
    }
}

/// Its unit ends it at 128 MB, which would be told nowhere but in systemd's own words.
#[tokio::test]
async fn more_than_fits_into_its_memory_is_told_and_not_read() {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let line = format!("cortex_a{{b=\"{}\"}} 1\n", "b".repeat(86));
    let (mimir, mut program) = start("127.46.1.4", &line.repeat(50_000)).await;
    let mut lines = BufReader::new(program.stderr.take().unwrap()).lines();
    let told = tokio::time::timeout(BOUND, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert!(told.starts_with("Mimir's own metrics are not written: /metrics: status 200, "), "{told}");
    assert!(mimir.written.lock().unwrap().is_empty());
    // What is under it, by a little, is read within that memory.
    *mimir.shown.lock().unwrap() = line.repeat(40_000);
    let written = until("a write", || mimir.written.lock().unwrap().first().cloned()).await;
    assert_eq!(written.len(), 40_002);
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id().unwrap())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 120 * 1024, "{peak} kB");
}

/// While Mimir starts it refuses: said once, and written again when it takes.
#[tokio::test]
async fn a_refusal_is_told_once_and_ends() {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let (mimir, mut program) = start("127.46.1.3", "cortex_a 1").await;
    let mut lines = BufReader::new(program.stderr.take().unwrap()).lines();
    let mut line = async || tokio::time::timeout(BOUND, lines.next_line()).await.unwrap().unwrap().unwrap();
    let count = || mimir.written.lock().unwrap().len();
    until("a write", || (count() > 0).then_some(())).await;
    *mimir.answer.lock().unwrap() = Some(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(line().await, "Mimir's own metrics are not written: /api/v1/push: status 503: a reason");
    *mimir.answer.lock().unwrap() = None;
    let before = count();
    assert_eq!(line().await, "Mimir's own metrics are written again");
    until("a write", || (count() > before).then_some(())).await;
}

/// Nothing of the template is rendered: what is tested here is what a machine runs.
#[test]
fn the_program_is_no_template() {
    let text = std::fs::read_to_string(Path::new(PROGRAM)).unwrap();
    assert!(!text.contains("{{") && !text.contains("{%") && !text.contains("{#"));
}

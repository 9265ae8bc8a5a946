//! What goes wrong while it runs, and what an operator does: docs/operations.md
//! names these tests. On real machines of the sandbox, with a real Mimir where
//! `DORAINFRA_MIMIR_BINARY` names one.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use crate::deployment::{Deployment, Run};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dorainfra_model::Events;
use dorainfra_prometheus::Flavour;
use dorainfra_prometheus::Target;
use dorainfra_prometheus::remote_write::{Client, Limits, Retry};
use dorainfra_prometheus::{Labels, Series};
use serde_json::{Value, json};

const INSTANCE: &str = "compute/v1/projects/my-gcp/zones/europe-west1-b/instances/dorainfra-mimir";
const DISK: &str = "compute/v1/projects/my-gcp/zones/europe-west1-b/disks/dorainfra-data";
const BUCKET: &str = "storage/v1/b/my-gcp-dorainfra-mimir";

/// A Mimir that starts again needs 16 s and more, on a machine that does nothing else.
const PATIENCE: Duration = Duration::from_secs(240);

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    assert!(within(PATIENCE, &mut condition), "{what}: not within {} s", PATIENCE.as_secs());
}

/// Whether it comes true in time.
fn within(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = std::time::Instant::now() + patience;
    while !condition() {
        if std::time::Instant::now() > deadline {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    true
}

/// A deployment and what its commands have in common.
struct Case {
    deployment: Deployment,
    settings: Vec<String>,
    mimir: Option<String>,
}

impl Case {
    fn new(settings: &[&str]) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the tests' own switch for a real Mimir")]
        let mimir = std::env::var("DORAINFRA_MIMIR_BINARY").ok().filter(|path| !path.is_empty());
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        Self { deployment: Deployment::new(), settings, mimir }
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let mut all = vec!["--sandbox", "--json"];
        for setting in &self.settings {
            all.extend(["--set", setting]);
        }
        if let Some(mimir) = &self.mimir {
            all.extend(["--mimir-binary", mimir]);
        }
        all.extend(arguments);
        self.deployment.run(&all)
    }

    fn address(&self) -> SocketAddr {
        let path = "compute/v1/projects/my-gcp/regions/europe-west1/addresses/dorainfra-mimir";
        let address = self.deployment.google("GET", path, "")["address"].as_str().unwrap().to_owned();
        SocketAddr::new(address.parse().unwrap(), 9009)
    }

    /// The endpoint as the collector reaches it.
    fn target(&self) -> Target {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let secret = "v1/projects/my-gcp/secrets/dorainfra-client-stack/versions/latest:access";
        let payload =
            self.deployment.google("GET", secret, "")["payload"]["data"].as_str().unwrap().to_owned();
        let credentials = serde_json::from_slice(&STANDARD.decode(payload).unwrap()).unwrap();
        let flavour = if self.mimir.is_some() { Flavour::Mimir } else { Flavour::StandIn };
        Target::new(flavour, "https://mimir.dorainfra.internal:9009", self.address())
            .with_tenant("dora")
            .with_tls(credentials)
    }

    /// What the machine tells of itself.
    fn guest(&self, key: &str) -> String {
        let serial = self.serial();
        let told = serial.lines().rev().find_map(|line| line.split_once("dorainfra-status "));
        let document: Value = serde_json::from_str(told.unwrap().1).unwrap();
        document[key].as_str().unwrap().to_owned()
    }

    fn serial(&self) -> String {
        self.deployment.google("GET", &format!("{INSTANCE}/serialPort"), "")["contents"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

/// A series of this test's own; the sample's value is its number.
fn sample(number: i64, at: i64) -> Series {
    Series {
        name: "operations_probe",
        labels: Labels::new([("probe", "one")]),
        samples: vec![(at, number as f64)].into(),
        exemplars: Vec::new(),
    }
}

fn now() -> i64 {
    i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis())
        .unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// How many samples of the probe are stored between two times.
async fn stored(target: &Target, from: i64, to: i64) -> usize {
    let client = target.http_client().unwrap();
    let seconds = (to - from) / 1000 + 2;
    let answer = client
        .get(target.query_url("/api/v1/query"))
        .header("X-Scope-OrgID", "dora")
        .query(&[
            ("query", format!("count_over_time(operations_probe[{seconds}s])")),
            ("time", (to / 1000 + 1).to_string()),
        ])
        .send()
        .await;
    let Ok(answer) = answer else { return 0 };
    let answer: Value = answer.json().await.unwrap_or_default();
    answer["data"]["result"][0]["value"][1].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Writes without a pause until it is told to stop; counts what was acknowledged.
struct Writer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicI64>,
    thread: std::thread::JoinHandle<(i64, i64)>,
}

impl Writer {
    fn start(target: Target) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
        let (stopped, count) = (stop.clone(), acknowledged.clone());
        let thread = std::thread::spawn(move || {
            let retry = Retry {
                attempts: u32::MAX,
                base: Duration::from_millis(50),
                longest: Duration::from_millis(500),
                budget: 2 * PATIENCE,
            };
            let client = Client::new(&target).unwrap().with_shards(1).with_retry(retry);
            let first = now();
            let mut last = first;
            runtime().block_on(async {
                while !stopped.load(Ordering::SeqCst) {
                    last = now().max(last + 1);
                    let number = count.load(Ordering::SeqCst);
                    // It repeats by itself what was not acknowledged.
                    client.send([sample(number, last)], Limits::default(), 1, &Events::none()).await.unwrap();
                    count.fetch_add(1, Ordering::SeqCst);
                }
            });
            (first, last)
        });
        Self { stop, acknowledged, thread }
    }

    fn acknowledged(&self) -> i64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// How many were acknowledged, and between which times.
    fn finish(self) -> (usize, i64, i64) {
        self.stop.store(true, Ordering::SeqCst);
        let (first, last) = self.thread.join().unwrap();
        (usize::try_from(self.acknowledged.load(Ordering::SeqCst)).unwrap(), first, last)
    }
}

#[test]
fn every_acknowledged_sample_is_there_after_a_kill_a_power_cut_and_a_bucket_that_is_away() {
    let case = Case::new(&[]);
    case.run(&["apply", "--yes", "--no-stack"]).ends_with(0);
    let target = case.target();
    let writer = Writer::start(target.clone());
    let goes_on = |what: &str| {
        let before = writer.acknowledged();
        let went_on = within(PATIENCE, || writer.acknowledged() > before + 50);
        assert!(went_on, "{what}: not within {} s; the machine said:\n{}", PATIENCE.as_secs(), case.serial());
    };
    goes_on("writing");

    let engine = || {
        let processes = case.deployment.processes();
        processes
            .iter()
            .find(|line| line.contains("current/engine "))
            .map(|line| line.split(' ').next().unwrap().to_owned())
    };
    let first = engine().unwrap();
    std::process::Command::new("kill").args(["-KILL", &first]).status().unwrap();
    goes_on("writing after the engine was killed");
    assert_ne!(engine().unwrap(), first);

    // As if the power were cut: no service is asked to end. Meanwhile the bucket
    // answers nobody; what the machine needs to start is on it.
    let away = json!([{"path": "/storage/*", "action": {"status": 503, "reason": "backendError"}}]);
    case.deployment.control("PUT", "faults", Some(away));
    let boots = case.serial().matches("kernel: dorainfra-mimir boots").count();
    case.deployment.google("POST", &format!("{INSTANCE}/reset"), "");
    goes_on("writing after the power cut, without the bucket");
    assert_eq!(case.serial().matches("kernel: dorainfra-mimir boots").count(), boots + 1);
    case.deployment.control("DELETE", "faults", None);

    let (acknowledged, from, to) = writer.finish();
    let runtime = runtime();
    case.deployment
        .until("every acknowledged sample", || runtime.block_on(stored(&target, from, to)) >= acknowledged);
}

#[test]
fn a_clock_that_is_an_hour_off_loses_no_sample() {
    let case = Case::new(&[]);
    case.run(&["apply", "--yes", "--no-stack"]).ends_with(0);
    let target = case.target();
    let runtime = runtime();
    let client = Client::new(&target).unwrap();
    const HOUR: i64 = 3_600_000;
    let now = now();
    for (number, at) in [(1, now), (2, now + HOUR), (3, now - HOUR)] {
        let events = Events::none();
        let sent = client.send([sample(number, at)], Limits::default(), 1, &events);
        assert_eq!(runtime.block_on(sent).unwrap().samples, 1);
    }
    assert_eq!(runtime.block_on(stored(&target, now - HOUR, now + HOUR)), 3);
}

#[test]
fn a_disk_grows_online_and_a_machine_that_goes_writes_what_it_holds_first() {
    let case = Case::new(&[]);
    case.run(&["apply", "--yes", "--no-stack"]).ends_with(0);
    assert_eq!(case.guest("disk-gb"), "20");
    let (engine, boots) = (case.guest("updated"), case.serial().matches("boots at").count());
    case.run(&["--set", "mimir.disk_gb=40", "apply", "--yes", "--no-stack"]).ends_with(0);
    assert_eq!(case.guest("disk-gb"), "40");
    assert_eq!(case.deployment.google("GET", DISK, "")["sizeGb"], "40");
    let serial = case.serial();
    assert!(serial.contains("growing the data disk to 40 GB"), "{serial}");
    assert_eq!(serial.matches("boots at").count(), boots, "without a reboot");
    assert_ne!(case.guest("updated"), engine);

    // Nobody deletes the machine by mistake; `destroy` lifts that itself.
    assert_eq!(case.deployment.google("GET", INSTANCE, "")["deletionProtection"], true);
    let run = case.run(&["--set", "mimir.disk_gb=40", "destroy", "--yes"]).ends_with(0);
    let told = run.events("resource-progress");
    let wrote = |event: &&Value| event["message"].as_str().unwrap().contains("asked to write what it holds");
    assert!(told.iter().any(|event| wrote(&event)), "{told:?}");
    assert!(run.events("warning").is_empty(), "{:?}", run.events("warning"));
}

#[test]
fn a_data_disk_is_restored_from_a_snapshot() {
    let case = Case::new(&[]);
    case.run(&["apply", "--yes", "--no-stack"]).ends_with(0);
    let runtime = runtime();
    let target = case.target();
    let at = now();
    let write = |number, at| {
        let client = Client::new(&target).unwrap();
        runtime.block_on(client.send([sample(number, at)], Limits::default(), 1, &Events::none())).unwrap();
    };
    write(1, at);
    case.deployment.google("POST", &format!("{DISK}/createSnapshot"), r#"{"name": "before"}"#);
    let snapshot = "compute/v1/projects/my-gcp/global/snapshots/before";
    until("snapshot", || case.deployment.google("GET", snapshot, "")["status"] == "READY");
    write(2, at + 1);

    // A disk that is there is not overwritten.
    let refused = case.run(&["apply", "--yes", "--no-stack", "--restore-disk", "before"]).ends_with(3);
    assert!(refused.stdout.contains("--delete-data"), "{}", refused.stdout);
    let restored =
        case.run(&["apply", "--yes", "--no-stack", "--restore-disk", "before", "--delete-data"]).ends_with(0);
    let plan = &restored.events("planned")[0]["plan"];
    for (id, action) in [
        ("compute.disk/dorainfra-data", "replace"),
        ("compute.instance/dorainfra-mimir", "replace"),
        ("storage.bucket/my-gcp-dorainfra-mimir", "no-op"),
    ] {
        let step = plan["steps"].as_array().unwrap().iter().find(|step| step["id"] == id).unwrap().clone();
        assert_eq!(step["action"], action, "{id}");
    }
    if case.mimir.is_none() {
        // With Mimir the bucket has the second one, too.
        assert_eq!(runtime.block_on(stored(&case.target(), at, at + 1)), 1);
    }
    // It is as configured now, and the same again is nothing to do.
    case.run(&["plan", "--no-stack", "--detailed-exitcode"]).ends_with(0);
    case.run(&["plan", "--no-stack", "--detailed-exitcode", "--restore-disk", "before"]).ends_with(0);
}

#[test]
fn a_private_machine_in_a_network_of_its_own_is_reached_through_a_tunnel() {
    let tunnel = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = tunnel.local_addr().unwrap();
    let mut case =
        Case::new(&["access.external=false", "network.create=true", "generator.teams=2", "generator.days=3"]);
    let run = case.run(&["apply", "--yes", "--no-stack"]).ends_with(0);
    let plan = &run.events("planned")[0]["plan"];
    let manifest = |id: &str| {
        let found = plan["manifests"].as_array().unwrap().iter().find(|manifest| {
            format!("{}/{}", manifest["kind"].as_str().unwrap(), manifest["name"].as_str().unwrap()) == id
        });
        found.unwrap_or_else(|| panic!("no {id}"))["body"].clone()
    };
    assert_eq!(manifest("compute.firewall/dorainfra-mimir")["sourceRanges"], json!(["35.235.240.0/20"]));
    assert_eq!(manifest("compute.subnetwork/dorainfra")["privateIpGoogleAccess"], true);
    let instance = case.deployment.google("GET", INSTANCE, "");
    assert!(instance["networkInterfaces"][0].get("accessConfigs").is_none(), "{instance}");

    let status = case.run(&["status"]).ends_with(0);
    let told = status.events("result")[0]["result"]["tunnel"].as_str().unwrap().to_owned();
    assert_eq!(
        told,
        "gcloud compute start-iap-tunnel dorainfra-mimir 9009 --local-host-port=localhost:9009 \
         --zone=europe-west1-b --project=my-gcp"
    );

    // What gcloud would do: forward what comes to the near end.
    let far = case.address();
    std::thread::spawn(move || {
        for near in tunnel.incoming().flatten() {
            let Ok(far) = TcpStream::connect(far) else { continue };
            for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    case.settings.push(format!("access.endpoint={near}"));
    case.run(&["apply", "--yes"]).ends_with(0);
    case.run(&["plan", "--detailed-exitcode"]).ends_with(0);

    // Nothing listens there: the machine is fine, and the way to it is told.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    *case.settings.last_mut().unwrap() = format!("access.endpoint={closed}");
    let run = case.run(&["apply", "--yes"]).ends_with(1);
    assert!(run.stdout.contains("start-iap-tunnel"), "{}", run.stdout);
}

#[test]
fn another_laptop_goes_on_with_what_the_cloud_knows() {
    let case = Case::new(&["generator.teams=2", "generator.days=3"]);
    case.run(&["apply", "--yes"]).ends_with(0);
    case.deployment.run(&["stack", "down"]).ends_with(0);
    let laptop = Deployment::empty();
    let command = |arguments: &[&str]| {
        let mut command = laptop.command(&["--sandbox", "--json"]);
        command.env("DORAINFRA_SANDBOX_DIR", case.deployment.path().join(".dorainfra/sandbox"));
        for setting in &case.settings {
            command.args(["--set", setting]);
        }
        if let Some(mimir) = &case.mimir {
            command.args(["--mimir-binary", mimir]);
        }
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stdout));
    };
    command(&["plan", "--no-stack", "--detailed-exitcode"]);
    let writes = case.deployment.changes().len();
    // Feeds and proves it with the client certificate from the cloud.
    command(&["apply", "--yes"]);
    assert_eq!(case.deployment.changes().len(), writes, "nothing had to be changed");
}

/// A deployment whose machines are records, with a binary that only names its version.
fn of_version(deployment: &Deployment, version: &str) -> String {
    let script = format!("#!/bin/sh\necho 'Mimir, version {version} (branch: test, revision: test)'\n");
    let path = deployment.write(&format!("mimir-{version}"), &script);
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_upgrade_is_planned_with_what_changes_on_the_machine() {
    let deployment = Deployment::of_records();
    let run = |version: &str, arguments: &[&str]| {
        let (binary, set) = (of_version(&deployment, version), format!("mimir.version={version}"));
        let mut all = vec!["--sandbox", "--json", "--mimir-binary", &binary, "--set", &set];
        all.extend(arguments);
        deployment.run(&all)
    };
    let target = "compute.instance/dorainfra-mimir";
    run("2.17.1", &["apply", "--yes", "--target", target]).ends_with(0);
    let extra = "mimir.extra={limits: {max_label_names_per_series: 40}}";
    let planned = run("3.0.4", &["--set", extra, "plan"]).ends_with(0);
    let plan = &planned.events("planned")[0]["plan"];
    let step = plan["steps"].as_array().unwrap().iter().find(|step| step["id"] == target).unwrap().clone();
    let changes: Vec<String> = step["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            format!("{}: {} → {}", change["path"].as_str().unwrap(), change["before"], change["after"])
        })
        .collect();
    for change in [
        "bundle.json: engine.version: \"2.17.1\" → \"3.0.4\"",
        "mimir.yaml: limits.max_label_names_per_series: null → 40",
    ] {
        assert!(changes.iter().any(|other| other == change), "{change}\n{changes:#?}");
    }
    let warnings = plan["warnings"].to_string();
    assert!(
        warnings.contains("2.17.1 to 3.0.4") && warnings.contains("frontend.downstream_url"),
        "{warnings}"
    );
}

#[test]
fn a_mimir_of_another_version_than_the_configured_one_is_refused_with_the_way_out() {
    let deployment = Deployment::of_records();
    let binary = of_version(&deployment, "3.1.2");
    let run =
        |more: &[&str]| deployment.run(&[&["--sandbox", "--json", "--mimir-binary", &binary], more].concat());
    for command in ["plan", "apply", "render"] {
        let error = run(&[command]).ends_with(3).events("error")[0].to_string();
        let default = dorainfra_config::default_version();
        assert!(error.contains("is Mimir 3.1.2") && error.contains(default), "{command}: {error}");
        assert!(error.contains("--set mimir.version=3.1.2"), "{command}: {error}");
    }
    run(&["--set", "mimir.version=3.1.2", "plan"]).ends_with(0);
    // Taking down needs no engine, and so none that fits.
    deployment.write("dorainfra.lock", "damaged");
    run(&["destroy", "--yes"]).ends_with(0);
}

#[test]
fn what_render_cannot_read_is_an_error_and_no_default() {
    let deployment = Deployment::empty();
    deployment.run(&["render", "--mimir-binary", "absent", "--out", "a"]).ends_with(1);
    deployment.write("dorainfra.lock", "damaged");
    let refused = deployment.run(&["render", "--out", "a"]).ends_with(1);
    assert!(refused.stderr.contains("dorainfra.lock"), "{}", refused.stderr);
    assert!(!deployment.path().join("a").exists());
}

#[test]
fn replicas_go_by_the_version_that_works_beside_both() {
    let deployment = Deployment::of_records();
    let run = |version: &str, topology: &str, arguments: &[&str]| {
        let (binary, set) = (of_version(&deployment, version), format!("mimir.version={version}"));
        let topology = format!("mimir.topology={topology}");
        let mut all =
            vec!["--sandbox", "--json", "--mimir-binary", &binary, "--set", &set, "--set", &topology];
        all.extend(arguments);
        deployment.run(&all)
    };
    let target = ["apply", "--yes", "--target", "compute.instance/dorainfra-mimir"];
    run("3.0.4", "single", &target).ends_with(0);
    // One process: all of it is of one version at any time.
    run("3.2.1", "single", &["plan"]).ends_with(0);
    // Who is in a group is asked by a POST, and a token is.
    let asked = |call: &String| call.ends_with("/listInstances") || call.contains("/token");
    let writes = || deployment.writes().into_iter().filter(|call| !asked(call)).collect::<Vec<_>>();
    let before = writes();
    for command in [&["plan"][..], &["apply", "--yes"]] {
        let refused = run("3.2.1", "ha", command).ends_with(3).events("error")[0].to_string();
        assert!(refused.contains("can't go from 3.0.4 to 3.2.1"), "{refused}");
        assert!(refused.contains("go through 3.1.4"), "{refused}");
    }
    assert_eq!(writes(), before, "nothing is changed before");
    // Over 3.1, and not back in one step either.
    run("3.1.4", "ha", &["plan"]).ends_with(0);
    run("3.2.1", "single", &target).ends_with(0);
    let refused = run("3.0.6", "ha", &["plan"]).ends_with(3).events("error")[0].to_string();
    assert!(refused.contains("from 3.2.1 to 3.0.6") && refused.contains("go through 3.1.4"), "{refused}");
}

#[test]
fn a_lifecycle_rule_that_somebody_added_is_told_and_taken_off() {
    let deployment = Deployment::of_records();
    let bucket =
        ["--sandbox", "--json", "apply", "--yes", "--target", "storage.bucket/my-gcp-dorainfra-mimir"];
    deployment.run(&bucket).ends_with(0);
    let rule = json!({"lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 30}}]}});
    deployment.google("PATCH", BUCKET, &rule.to_string());
    let run = deployment.run(&bucket).ends_with(0);
    let plan = run.events("planned")[0]["plan"].to_string();
    assert!(
        plan.contains("somebody changed it in the cloud") && plan.contains(r#""path":"lifecycle""#),
        "{plan}"
    );
    assert!(deployment.google("GET", BUCKET, "").get("lifecycle").is_none());
}

/// The bounds of a test's own waits are generous; this one is only to be short.
#[test]
fn a_machine_that_cannot_write_does_not_stop_its_own_end() {
    let deployment = Deployment::of_a_machine();
    let began = std::time::Instant::now();
    let run = deployment.run(&["--sandbox", "--json", "destroy", "--yes"]).ends_with(0);
    assert!(began.elapsed() < Duration::from_secs(60));
    assert!(run.events("warning").is_empty(), "a machine that never ran holds nothing");
}

/// It cannot be asked to write what it holds, and whoever takes it down has to know.
#[test]
fn a_machine_that_is_stopped_goes_with_a_warning() {
    let deployment = Deployment::of_a_machine();
    let instance = "compute/v1/projects/my-gcp/zones/europe-west1-b/instances/dorainfra-mimir";
    deployment.google("POST", &format!("{instance}/stop"), "");
    deployment.until("it has stopped", || deployment.try_google(instance)["status"] == "TERMINATED");
    let run = deployment.run(&["--sandbox", "--json", "destroy", "--yes"]).ends_with(0);
    let warned = run.events("warning");
    let message = warned.first().and_then(|warning| warning["message"].as_str()).unwrap_or_default();
    assert!(message.contains("is not running") && message.contains("data disk only"), "{warned:?}");
}

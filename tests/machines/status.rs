//! How a machine tells its state, and who believes it: within Compute Engine's limit on
//! guest attributes, by its serial port where they are closed, never of another boot,
//! and for as long as a grant takes to arrive. On machines of the sandbox, with a small
//! engine in Mimir's place.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::deployment::{Deployment, MACHINE, Run};
use serde_json::{Value, json};

const ENGINE: &str = include_str!("../support/engine.py");
const INSTANCE: &str = "compute/v1/projects/my-gcp/zones/europe-west1-b/instances/dorainfra-mimir";
/// What the engine does before it listens: it takes its time.
const SLOW: &str = "import time\ntime.sleep(4)\n";
/// As Mimir: its bucket is asked for first, and a refusal is its end.
const ASKS_ITS_BUCKET: &str = r#"import urllib.error, urllib.request
flavor = {"Metadata-Flavor": "Google"}
account = "/computeMetadata/v1/instance/service-accounts/default/token"
asked = urllib.request.Request("http://" + os.environ["GCE_METADATA_HOST"] + account, headers=flavor)
token = json.load(urllib.request.urlopen(asked))["access_token"]
bucket = re.search(r'bucket_name: "?([a-z0-9-]+)', text).group(1)
url = os.environ["STORAGE_EMULATOR_HOST"] + "/storage/v1/b/" + bucket + "/o"
try:
    urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": "Bearer " + token}))
except urllib.error.HTTPError as error:
    print("blocks storage: unable to successfully send a request to object storage:", error, flush=True)
    sys.exit(1)
"#;

struct Case {
    deployment: Deployment,
    engine: String,
}

impl Case {
    /// With an engine that does this before it listens.
    fn new(more: &[&str], first: &str) -> Self {
        let begins = "os.makedirs(\"data/tsdb\"";
        Self::with(more, &[(begins, &format!("{first}{begins}"))])
    }

    /// With an engine in which this is replaced by that.
    fn with(more: &[&str], edits: &[(&str, &str)]) -> Self {
        let deployment = Deployment::empty();
        deployment.start(&[&["--operation", "*=20"], more].concat());
        let engine = deployment.write("engine", &edited(ENGINE, edits));
        std::fs::set_permissions(&engine, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Self { deployment, engine: engine.to_str().unwrap().to_owned() }
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let always = ["--sandbox", "--json", "--mimir-binary", &self.engine, "--set", "alerts.rules=false"];
        self.deployment.run(&[&always[..], arguments].concat())
    }

    /// The machine gives up on an engine that writes nothing after six seconds, and not
    /// after five minutes.
    fn impatient() -> [&'static str; 2] {
        ["--set", "templates_dir=impatient"]
    }

    fn make_impatient(&self) {
        let folder = self.deployment.path().join("impatient/vm");
        std::fs::create_dir_all(&folder).unwrap();
        let machine = include_str!("../../templates/vm/machine.sh.j2");
        let unit = include_str!("../../templates/vm/mimir.service.j2");
        for (name, text, edit) in [
            ("machine.sh.j2", machine, ("idle_limit=300 ", "idle_limit=6 ")),
            ("mimir.service.j2", unit, ("TimeoutStopSec=300", "TimeoutStopSec=10")),
        ] {
            std::fs::write(folder.join(name), edited(text, &[edit])).unwrap();
        }
    }

    fn apply(&self, settings: &[&str]) -> Run {
        self.run(&[settings, &["apply", "--yes", "--no-stack"]].concat()).ends_with(0)
    }

    fn stages(run: &Run) -> Vec<(String, String)> {
        let text = |event: &Value, field: &str| event[field].as_str().unwrap().to_owned();
        run.events("machine-stage")
            .iter()
            .map(|event| (text(event, "stage"), text(event, "message")))
            .collect()
    }

    /// Whether something listens where clients connect, right now.
    #[track_caller]
    fn serves(&self) {
        let path = "compute/v1/projects/my-gcp/regions/europe-west1/addresses/dorainfra-mimir";
        let address = self.deployment.google("GET", path, "")["address"].as_str().unwrap().to_owned();
        let connected = TcpStream::connect(format!("{address}:9009"));
        assert!(connected.is_ok(), "told to be ready, and nothing listens\n{}", self.serial());
    }

    fn serial(&self) -> String {
        let answer = self.deployment.google("GET", &format!("{INSTANCE}/serialPort"), "");
        answer["contents"].as_str().unwrap().to_owned()
    }

    fn boots(&self) -> usize {
        self.serial().matches("kernel: dorainfra-mimir boots").count()
    }

    /// What machines and clients have asked of guest attributes: reads and writes.
    fn queries(&self) -> BTreeMap<String, usize> {
        let mut counted = BTreeMap::new();
        for (list, path) in [("metadata", "/guest-attributes/"), ("requests", "/getGuestAttributes")] {
            for entry in self.deployment.control("GET", list, None)["requests"].as_array().unwrap() {
                if entry["path"].as_str().unwrap().contains(path) {
                    *counted.entry(format!("{list} {}", entry["method"].as_str().unwrap())).or_default() += 1;
                }
            }
        }
        counted
    }

    /// The one attribute, asked for as seldom as one may.
    fn attribute(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(150);
        loop {
            let path = format!("{INSTANCE}/getGuestAttributes?queryPath=dorainfra/");
            let found = self.deployment.try_google(&path);
            let items = found["queryValue"]["items"].as_array().cloned().unwrap_or_default();
            let status = items.iter().find(|item| item["key"] == "status");
            let status = status.and_then(|item| serde_json::from_str(item["value"].as_str().unwrap()).ok());
            if let Some(status) = status.filter(|status| holds(status)) {
                assert_eq!(items.len(), 1, "one attribute: {items:?}");
                return status;
            }
            assert!(Instant::now() < deadline, "no attribute that {what}: {found}\n{}", self.serial());
            // All ten queries a minute would leave none to the machine.
            std::thread::park_timeout(Duration::from_secs(12));
        }
    }

    fn notes(run: &Run) -> String {
        run.events("note").iter().map(|event| event["message"].as_str().unwrap().to_owned() + "\n").collect()
    }
}

#[track_caller]
fn edited(text: &str, edits: &[(&str, &str)]) -> String {
    edits.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    })
}

#[test]
fn a_machine_tells_its_state_within_the_limit_of_guest_attributes() {
    let case = Case::new(&[], "");
    let run = case.apply(&[]);
    case.serves();
    let names: Vec<String> = Case::stages(&run).into_iter().map(|(stage, _)| stage).collect();
    assert_eq!(names.last().unwrap(), "ready", "{names:?}");
    let queries = case.queries();
    assert!(queries.values().sum::<usize>() <= 10, "{queries:?}");
    let status = case.attribute("says ready", |status| status["stage"] == "ready");
    assert!(status["boot"].as_str().unwrap().len() == 32 && status["seq"].as_u64() > Some(1000), "{status}");
    assert!(status["bundle"] == status["wanted"] && status["disk-gb"] == "20", "{status}");
    assert!(status.to_string().len() < 2048, "{status}");

    // What is lost is written again: others use the limit up while it tells something new.
    case.deployment.control("PUT", "profile", Some(json!({"guestAttributesPace": true})));
    let spend = || {
        for _ in 0..3 {
            case.deployment.try_google(&format!("{INSTANCE}/getGuestAttributes?queryPath=dorainfra/"));
        }
    };
    let window = ["--set", "mimir.limits.out_of_order_window=500d"];
    for _ in 0..4 {
        spend();
        std::thread::park_timeout(Duration::from_millis(1100));
    }
    case.apply(&window);
    case.serves();
    case.attribute("tells of the new bundle", |other| {
        other["stage"] == "ready" && other["bundle"] != status["bundle"]
    });
}

#[test]
fn guest_attributes_alone_are_enough_where_the_serial_port_cannot_be_read() {
    let case = Case::new(&[], "");
    let deny = json!({"member": "owner", "permission": "compute.instances.getSerialPortOutput"});
    case.deployment.control("POST", "deny", Some(deny));
    case.apply(&[]);
    case.serves();
    // Readers keep to the limit, too: twelve seconds lie between two looks.
    let queries = case.queries();
    let looks = queries.get("requests GET").copied().unwrap_or_default();
    assert!((1..=25).contains(&looks), "{queries:?}");
    let status = case.run(&["status"]).ends_with(0);
    let machine = &status.events("result")[0]["result"]["machines"][0];
    assert!(machine["stage"] == "ready" || machine["stage"] == "running", "{machine}");
}

#[test]
fn the_serial_port_serves_where_a_policy_closes_guest_attributes() {
    let case = Case::new(&[], "");
    let closed = json!([{"constraint": "constraints/compute.disableGuestAttributesAccess",
        "booleanPolicy": {"enforced": true}}]);
    case.deployment.control("PUT", "policies", Some(closed));
    let run = case.apply(&[]);
    case.serves();
    let told = Case::notes(&run);
    assert!(told.contains("compute.disableGuestAttributesAccess"), "{}", run.stdout);
    assert!(told.contains("serial port"), "{told}");
    let status = case.run(&["status"]).ends_with(0);
    assert_eq!(status.events("result")[0]["result"]["machines"][0]["state"], "ok");
    // What goes wrong is told as well.
    let refused =
        case.run(&["--set", "mimir.limits.out_of_order_window=900d", "apply", "--yes", "--no-stack"]);
    let refused = refused.ends_with(1);
    assert!(refused.stdout.contains("this configuration is refused"), "{}", refused.stdout);
}

/// The state from before is not believed: at the end the engine serves.
#[test]
fn ready_from_before_a_stop_or_a_reset_is_not_believed() {
    let case = Case::new(&[], SLOW);
    case.apply(&[]);
    case.serves();
    let larger = ["--set", "mimir.machine_type=e2-standard-4"];
    let boots = case.boots();
    case.apply(&larger);
    case.serves();
    assert_eq!(case.boots(), boots + 1);

    for _ in 0..2 {
        let boots = case.boots();
        case.deployment.google("POST", &format!("{INSTANCE}/reset"), "");
        case.deployment.until("it boots", || case.boots() > boots);
        case.apply(&larger);
        case.serves();
    }

    // Nor through guest attributes alone, where the API has started it.
    let deny = json!({"member": "owner", "permission": "compute.instances.getSerialPortOutput"});
    case.deployment.control("POST", "deny", Some(deny));
    case.apply(&[]);
    case.serves();
}

/// Typically two minutes and seven or more at times, at Google.
#[test]
fn a_grant_that_is_long_on_its_way_is_waited_for() {
    let case = Case::new(&["--lag", "grants=40000"], ASKS_ITS_BUCKET);
    let run = case.apply(&[]);
    case.serves();
    let stages = Case::stages(&run);
    let waited = |words: &str| stages.iter().any(|(_, message)| message.contains(words));
    assert!(waited("does not have storage.objects.get access") && waited("trying again"), "{stages:?}");
    assert!(!stages.iter().any(|(stage, _)| stage == "failed"), "{stages:?}");
}

/// The bucket's grant is seen by one replica and not by the next.
#[test]
fn an_engine_that_its_bucket_refuses_is_no_bad_bundle() {
    let case = Case::new(&[], ASKS_ITS_BUCKET);
    let refused = json!({"status": 403, "reason": "forbidden", "message": "no storage.objects.list access"});
    let rule =
        json!([{"api": "storage.objects.list", "caller": "dorainfra-*", "times": 8, "action": refused}]);
    case.deployment.control("PUT", "faults", Some(rule));
    let run = case.apply(&[]);
    case.serves();
    let stages = Case::stages(&run);
    assert!(stages.iter().any(|(_, message)| message.contains("waits for its bucket")), "{stages:?}");
    assert!(!stages.iter().any(|(stage, _)| stage == "failed"), "{stages:?}");
    assert_eq!(case.deployment.control("GET", "faults", None)["struck"], json!([8]));
}

/// A machine that an earlier release made: attribute by attribute, and one got lost.
#[test]
fn a_machine_of_an_earlier_release_is_understood_and_brought_up_to_date() {
    let case = Case::new(&[], "");
    let folder = case.deployment.path().join("older/vm");
    std::fs::create_dir_all(&folder).unwrap();
    let script = "#!/bin/bash\n\
        say() { curl -s -X PUT --data-raw \"$2\" -H 'Metadata-Flavor: Google' \
        \"http://$GCE_METADATA_HOST/computeMetadata/v1/instance/guest-attributes/dorainfra/$1\"; }\n\
        say stage wait-ready\nsay message older\necho 'dorainfra: wait-ready: older'\n";
    std::fs::write(folder.join("startup-script.sh.j2"), script).unwrap();
    let older = ["--set", "templates_dir=older"];
    case.run(&[&older[..], &["apply", "--yes", "--target", MACHINE]].concat()).ends_with(0);
    case.deployment.until("it has spoken", || case.serial().contains("wait-ready: older"));
    let status = case.run(&["status"]).ends_with(0);
    assert!(Case::notes(&status).contains("of an earlier release"), "{}", status.stdout);
    let machine = &status.events("result")[0]["result"]["machines"][0];
    assert!(machine["stage"] == "wait-ready" && machine["message"] == "older", "{machine}");
}

const HANDLES: &str = "    def do_POST(self):\n";

/// As Mimir where a lock is never given back: no request and no signal ends it.
#[test]
fn an_engine_that_hangs_does_not_hold_up_the_end_of_its_machine() {
    let hangs =
        "    def do_POST(self):\n        if self.path.startswith(\"/ingester/flush\"): time.sleep(1000)\n";
    let deaf = (
        "signal.signal(signal.SIGTERM, lambda *_: ending.set())",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    );
    let case = Case::with(&[], &[(HANDLES, hangs), deaf]);
    case.make_impatient();
    case.apply(&Case::impatient());

    // Whoever interrupts it keeps the machine, and is told how to go on.
    let mut destroy = case.deployment.spawn(&["--sandbox", "--quiet", "destroy", "--yes"]);
    case.deployment.until("it is asked", || case.serial().contains(r#""stage":"flush""#));
    interrupt(&mut destroy);
    let interrupted = Deployment::finish(destroy).ends_with(130);
    assert!(interrupted.stderr.contains("destroy --no-flush"), "{}", interrupted.stderr);
    assert_eq!(case.deployment.google("GET", INSTANCE, "")["status"], "RUNNING");

    let run = case.run(&["destroy", "--yes"]).ends_with(0);
    let warned = run.events("warning");
    let message = warned.first().map(|warning| warning["message"].as_str().unwrap()).unwrap_or_default();
    for part in ["without having written everything", "(timeout)", "wrote nothing for 6 s"] {
        assert!(message.contains(part), "{part}: {warned:?}");
    }
    assert!(case.deployment.try_google(INSTANCE)["status"].is_null(), "it is gone all the same");
}

/// It takes longer than one that hangs is given, and each block shows that it works.
#[test]
fn an_engine_that_writes_is_waited_for_and_may_be_left_unwritten() {
    let writes = r#"    def do_POST(self):
        if self.path.startswith("/ingester/flush"):
            for n in range(12):
                os.makedirs(f"data/tsdb/t/{n}", exist_ok=True)
                open(f"data/tsdb/t/{n}/meta.json", "w").write("{}")
                time.sleep(1)
            open("data/tsdb/t/mimir.shipper.json", "w").write(json.dumps([str(n) for n in range(12)]))
"#;
    let case = Case::with(&[], &[(HANDLES, writes)]);
    case.make_impatient();
    case.apply(&Case::impatient());
    let run = case.run(&["destroy", "--yes"]).ends_with(0);
    assert!(run.events("warning").is_empty(), "{:?}", run.events("warning"));
    assert!(run.stdout.contains("blocks are not in the bucket, after"), "{}", run.stdout);

    // Nobody waits where it is said not to.
    case.apply(&Case::impatient());
    let run = case.run(&["destroy", "--yes", "--no-flush"]).ends_with(0);
    assert!(!run.stdout.contains("writes what it holds"), "{}", run.stdout);
}

fn interrupt(child: &mut std::process::Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

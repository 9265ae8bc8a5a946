//! Faults of the calls that a *machine* makes: to its metadata server, for its token, its bundle and its
//! certificate, and where it tells its state. By sample; all of them in `scripts/nightly`. Whatever
//! fails a few times, the machine gets the new bundle and `apply` says so.

use crate::deployment;
use crate::matrix;
use std::net::TcpStream;

use crate::deployment::{Deployment, Run};
use serde_json::{Value, json};

const ENGINE: &str = include_str!("../support/engine.py");

struct Case {
    deployment: Deployment,
    engine: String,
}

impl Case {
    fn new() -> Self {
        let deployment = Deployment::empty();
        deployment.start(&["--operation", "*=20"]);
        let engine = deployment.write("engine", ENGINE);
        std::fs::set_permissions(&engine, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Self { deployment, engine: engine.to_str().unwrap().to_owned() }
    }

    /// With a bundle of its own for each `round`.
    fn apply(&self, round: usize) -> Run {
        let window = format!("mimir.limits.out_of_order_window={}d", round + 2);
        let always = ["--sandbox", "--json", "--mimir-binary", &self.engine, "--set", "alerts.rules=false"];
        let run = ["--set", &window, "apply", "--yes", "--no-stack"];
        self.deployment.run(&[&always[..], &run[..]].concat())
    }

    fn strike(&self, rules: Value) {
        self.deployment.control("PUT", "faults", Some(rules));
    }

    fn struck(&self) -> Vec<u64> {
        let faults = self.deployment.control("GET", "faults", None);
        faults["struck"].as_array().unwrap().iter().map(|times| times.as_u64().unwrap()).collect()
    }

    fn serves(&self) -> bool {
        let path = "compute/v1/projects/my-gcp/regions/europe-west1/addresses/dorainfra-mimir";
        let address = self.deployment.google("GET", path, "")["address"].as_str().unwrap().to_owned();
        TcpStream::connect(format!("{address}:9009")).is_ok()
    }
}

/// What a machine asks, each with the rule that strikes it.
fn calls() -> Vec<(&'static str, Value)> {
    let metadata = |path: &str| json!({"api": "metadata", "path": path});
    vec![
        ("asks which bundle to run", metadata("*attributes/dorainfra-bundle*")),
        ("asks for the bucket's name", metadata("*attributes/dorainfra-bucket*")),
        ("asks for its certificate's name", metadata("*attributes/dorainfra-certificate*")),
        ("asks for a token", metadata("*service-accounts/default/token*")),
        ("waits for a change", metadata("*wait_for_change=true*")),
        ("tells its state", json!({"api": "metadata", "method": "PUT", "path": "*guest-attributes*"})),
        (
            "fetches the bundle",
            json!({"api": "storage.objects.get", "caller": "dorainfra-*", "path": "*bundles*"}),
        ),
    ]
}

fn kinds() -> Vec<(&'static str, Value)> {
    vec![
        ("403", json!({"status": 403, "reason": "forbidden"})),
        ("404", json!({"status": 404})),
        ("429", json!({"status": 429, "reason": "rateLimitExceeded"})),
        ("500", json!({"status": 500})),
        ("503", json!({"status": 503})),
        ("reset", json!({"reset": "before"})),
        ("truncated", json!({"body": "truncated"})),
        ("three seconds late", json!({"delayBeforeMs": 3000})),
    ]
}

fn rule(call: &Value, action: &Value, times: u64) -> Value {
    let mut rule = call.clone();
    rule["times"] = json!(times);
    rule["action"] = action.clone();
    rule
}

#[test]
fn a_machine_gets_its_bundle_whatever_call_of_it_fails() {
    let whole = deployment::nightly();
    let matrix = matrix::Matrix::new(
        "Calls of the machine",
        "Each call that a machine makes for a new bundle is answered with a fault, once and three times. It \
         installs the bundle all the same, and `apply` ends with 0 when it serves.",
        "machine_faults a_machine_gets_its_bundle_whatever_call_of_it_fails",
        whole,
    );
    let case = Case::new();
    // The first boot: each of its calls fails in another way, its program and its certificate included.
    let mut first: Vec<(&str, Value)> = calls();
    first.push((
        "fetches the program",
        json!({"api": "storage.objects.get", "caller": "dorainfra-*", "path": "*artifacts*"}),
    ));
    first.push((
        "fetches its certificate",
        json!({"api": "secretmanager.projects.secrets.versions.access", "caller": "dorainfra-*"}),
    ));
    let at_boot: Vec<Value> = first
        .iter()
        .zip(kinds().iter().cycle())
        .map(|((_, call), (_, action))| rule(call, action, 1))
        .collect();
    case.strike(json!(at_boot));
    let run = case.apply(0).ends_with(0);
    assert!(case.serves(), "{}", run.stdout);
    for (((call, _), (kind, _)), struck) in first.iter().zip(kinds().iter().cycle()).zip(case.struck()) {
        // A machine that boots does not wait for a change.
        assert!(struck == 1 || *call == "waits for a change", "{call}: {kind}");
        matrix.tried(&format!("{call}, at the first boot"), true, None);
    }

    let calls = calls();
    let cases: Vec<_> = calls
        .iter()
        .flat_map(|call| {
            kinds().into_iter().flat_map(move |kind| [1, 3].map(|times| (call, kind.clone(), times)))
        })
        .collect();
    let step = if whole { 1 } else { 38 };
    let mut lacking = Vec::new();
    for (round, ((call, of), (kind, action), times)) in (1..).zip(cases.into_iter().step_by(step)) {
        case.strike(json!([rule(of, &action, times)]));
        let run = case.apply(round);
        let message = run.events("machine-stage").iter().rev().find_map(|stage| {
            let text = stage["message"].as_str()?;
            text.contains("trying again").then(|| text.to_owned())
        });
        let served = run.code == 0 && case.serves();
        // Its state it tells seldom, and perhaps after everybody has read it on the serial port.
        if call == &"tells its state" {
            case.deployment.until("it tells its state", || case.struck()[0] > 0);
        }
        let struck = case.struck()[0];
        case.strike(json!([]));
        matrix.tried(&format!("{call}: {kind}"), served, message);
        if !served || struck == 0 {
            lacking.push(format!("{call}: {kind} {times} times, struck {struck}: {}", run.stdout));
            case.apply(round).ends_with(0);
        }
    }
    assert!(lacking.is_empty(), "{}", lacking.join("\n"));

    // For ever: the serial port tells what guest attributes do not.
    case.strike(json!([{"api": "metadata", "method": "PUT", "path": "*guest-attributes*", "action": {"status": 503}}]));
    let run = case.apply(500);
    matrix.tried("tells its state: 503 for ever", run.code == 0 && case.serves(), None);
    case.deployment.until("it tells its state", || case.struck()[0] > 0);
    run.ends_with(0);
}

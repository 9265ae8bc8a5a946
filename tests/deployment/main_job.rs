//! The whole binary: a deployment planned, made, fed, proven, changed in place
//! and taken down, in a sandbox with real processes.

use std::io::{BufRead as _, BufReader};
use std::process::Command;

use crate::deployment::Deployment;
use dorainfra_dora::metrics::{GAUGES, Histograms, Scope, cardinality};
use dorainfra_dora::simulator::{self, Team};
use serde_json::Value;

#[test]
fn a_deployment_lives_from_init_to_destroy() {
    let deployment = Deployment::new();
    let sandbox = |arguments: &[&str]| {
        let mut all = vec!["--sandbox", "--json"];
        all.extend(arguments);
        deployment.run(&all)
    };
    sandbox(&["init"]).ends_with(0);
    let plan = sandbox(&["plan", "--detailed-exitcode"]).ends_with(2);
    assert_eq!(plan.events("planned").len(), 1);

    let apply = sandbox(&["apply", "--yes"]).ends_with(0);
    let result = &apply.events("result")[0]["result"];
    assert_eq!(result["ok"], true, "{result}");
    let samples = |name: &str, other: &str| {
        result["verified"][name].as_u64().or(result["verified"][other].as_u64()).unwrap()
    };
    let sent = samples("samplesSent", "samples_sent");
    assert_eq!(samples("samplesFound", "samples_found"), sent);
    // Each counter has its days' ends, the beginning of the first day, and a new year's;
    // a gauge has no sample for a day that it can't be computed for.
    let scopes = simulator::teams(39).into_iter().map(|name| Scope::of(&Team::new(&name, 1)));
    let (series, gauges) = (cardinality(scopes, Histograms::CLASSIC), 39 * GAUGES.len() as u64);
    let whole = |each: u64| (series - gauges) * each + 39 * 365..=(series - gauges) * each + gauges * 365;
    assert!((366..=367).any(|each| whole(each).contains(&sent)), "{sent} samples of {series} series");

    // Nothing is left to do, and a second apply does nothing.
    sandbox(&["plan", "--detailed-exitcode"]).ends_with(0);
    let writes = deployment.changes().len();
    sandbox(&["apply", "--yes", "--no-verify"]).ends_with(0);
    assert_eq!(deployment.changes().len(), writes);

    let status = sandbox(&["status"]).ends_with(0);
    let status = &status.events("result")[0]["result"];
    assert!(states(&status["resources"]).all(|state| state == "ok"), "{status}");
    assert!(states(&status["machines"]).all(|state| state == "ok"), "{status}");
    assert!(states(&status["stack"]).all(|state| state == "ok"), "{status}");
    sandbox(&["verify"]).ends_with(0);

    // The report finds it whole and new, and the pipeline can be watched.
    let report = deployment.run(&["--sandbox", "--quiet", "report", "--format", "json"]).ends_with(0);
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    let checks = report["integrity"]["checks"].as_array().unwrap();
    assert!(checks.len() == 5 && checks.iter().all(|check| check["standing"] == "good"), "{checks:?}");
    watch(&deployment);
    // And anything else can be asked, without a certificate at hand.
    let answer = sandbox(&["query", "count(count by (team) (dora_deployments_total))"]).ends_with(0);
    let series = &answer.events("result")[0]["result"]["series"];
    assert_eq!(series[0]["samples"][0][1], report["teams"].as_array().unwrap().len().to_string(), "{series}");
    let wrong = sandbox(&["query", "sum by ("]).ends_with(3);
    assert!(wrong.stdout.contains("the expression can't be evaluated"), "{}", wrong.stdout);

    logs(&deployment);
    // Nobody has changed anything; then somebody does, and the next `apply` puts it back.
    sandbox(&["drift"]).ends_with(0);
    let rule = "compute/v1/projects/my-gcp/global/firewalls/dorainfra-mimir";
    deployment.google("PATCH", rule, r#"{"sourceRanges": ["198.51.100.0/24"]}"#);
    deployment.until("the drift is seen", || sandbox(&["drift"]).code == 2);
    let drift = sandbox(&["drift"]).ends_with(2);
    let found = &drift.events("result")[0]["result"]["found"];
    assert_eq!((&found[0]["id"], &found[1]), (&"compute.firewall/dorainfra-mimir".into(), &Value::Null));
    assert_eq!(found[0]["fields"][0]["found"][0], "198.51.100.0/24", "{found}");

    // A changed configuration is installed in place: no new machine.
    let before = instance_id(&deployment);
    let changed = sandbox(&["--set", "mimir.limits.out_of_order_window=500d", "apply", "--yes"]).ends_with(0);
    let planned = &changed.events("planned")[0]["plan"];
    let steps = planned["steps"].as_array().unwrap();
    let instance = steps.iter().find(|step| step["id"] == "compute.instance/dorainfra-mimir").unwrap();
    assert_eq!(instance["action"], "update");
    assert_eq!(instance_id(&deployment), before);

    // Without --delete-data, bucket and disk stay, and are named.
    let destroyed = sandbox(&["destroy", "--yes"]).ends_with(0);
    let kept = destroyed.events("result")[0]["result"]["kept"].as_array().unwrap().clone();
    let kept: Vec<&str> = kept.iter().map(|kept| kept["id"].as_str().unwrap()).collect();
    assert!(kept.contains(&"storage.bucket/my-gcp-dorainfra-mimir"), "{kept:?}");
    assert!(kept.contains(&"compute.disk/dorainfra-data"), "{kept:?}");

    // They are taken up again, with the data on them.
    sandbox(&["apply", "--yes"]).ends_with(0);
    sandbox(&["destroy", "--yes", "--delete-data"]).ends_with(0);
    let plan = sandbox(&["plan"]).ends_with(0);
    let steps = plan.events("planned")[0]["plan"]["steps"].as_array().unwrap().clone();
    let left: Vec<&Value> = steps
        .iter()
        .filter(|step| {
            step["action"] != "create" && !step["id"].as_str().unwrap().starts_with("serviceusage")
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
    deployment.run(&["sandbox", "stop"]).ends_with(0);
    assert_eq!(deployment.processes(), Vec::<String>::new());
}

/// Two looks at the pipeline, and an end when asked to.
fn watch(deployment: &Deployment) {
    let mut watching = deployment.spawn(&["--sandbox", "--json", "status", "--watch", "1"]);
    let mut looks = Vec::new();
    let lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    for line in lines.map(Result::unwrap).filter(|line| line.contains("\"stages\"")) {
        looks.push(serde_json::from_str::<Value>(&line).unwrap());
        if looks.len() == 2 {
            break;
        }
    }
    Command::new("kill").args(["-INT", &watching.id().to_string()]).output().unwrap();
    assert_eq!(Deployment::finish(watching).code, 0);
    let stages = looks[1]["result"]["stages"].as_array().unwrap();
    let names: Vec<&str> = stages.iter().map(|stage| stage["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["generator", "Pushgateway", "agent", "Prometheus", "bucket"]);
    let health: Vec<&str> = stages.iter().map(|stage| stage["health"].as_str().unwrap()).collect();
    assert_eq!(health, ["good", "good", "good", "good", "none"], "{stages:?}");
    assert!(stages[2]["rate"].as_f64().is_some_and(|rate| rate >= 0.0), "{stages:?}");
}

/// What the machine and the stack say; following ends when asked to, at once.
fn logs(deployment: &Deployment) {
    let machine = deployment.run(&["--sandbox", "logs", "--lines", "3"]).ends_with(0);
    assert_eq!(machine.stdout.lines().count(), 3, "{}", machine.stdout);
    let stack = deployment.run(&["--sandbox", "--json", "logs", "stack", "-n", "1"]).ends_with(0);
    let parts: Vec<Value> = stack.events("stack-log").iter().map(|line| line["part"].clone()).collect();
    assert!(parts.contains(&"prometheus".into()), "{parts:?}");
    for what in ["machine", "stack"] {
        let mut following = deployment.spawn(&["--sandbox", "logs", what, "--follow"]);
        let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
        assert!(lines.next().is_some_and(|line| line.is_ok()), "{what}");
        Command::new("kill").args(["-INT", &following.id().to_string()]).output().unwrap();
        assert_eq!(Deployment::finish(following).code, 130, "{what}");
    }
}

fn states(list: &Value) -> impl Iterator<Item = &str> {
    let list = list.as_array().unwrap();
    assert!(!list.is_empty());
    list.iter().map(|item| item["state"].as_str().unwrap())
}

/// The number that Compute gave the instance: another machine has another one.
fn instance_id(deployment: &Deployment) -> String {
    let key = deployment.path().join(".dorainfra/sandbox/key.json");
    assert!(key.exists());
    let requests = deployment.control("GET", "requests", None);
    let entries = requests["requests"].as_array().or(requests.as_array()).cloned().unwrap_or_default();
    let inserts = entries
        .iter()
        .filter(|entry| entry["method"] == "POST")
        .filter(|entry| entry["path"].as_str().unwrap().split('?').next().unwrap().ends_with("/instances"))
        .count();
    format!("{inserts} inserts")
}

#[test]
fn a_machine_survives_a_restart_of_the_sandbox() {
    let deployment = Deployment::new();
    let apply = ["--sandbox", "apply", "--yes"];
    deployment.run(&apply).ends_with(0);
    let pid = deployment.sandbox().unwrap()["pid"].to_string();
    Command::new("kill").args(["-KILL", &pid]).output().unwrap();
    deployment.until("the sandbox is gone", || {
        !std::path::Path::new(&format!("/proc/{pid}/status")).exists() || {
            std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
        }
    });
    deployment.run(&["--sandbox", "plan"]).ends_with(1);
    deployment.start(&["--operation", "*=20"]);
    deployment.run(&["--sandbox", "plan", "--detailed-exitcode"]).ends_with(0);
    // The history is still there, on the data disk.
    deployment.run(&["--sandbox", "verify"]).ends_with(0);
    deployment.run(&["--sandbox", "destroy", "--yes", "--delete-data"]).ends_with(0);
}

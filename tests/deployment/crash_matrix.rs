//! `apply` is killed at every write that it makes, before and after the write
//! has had its effect (by sample: at every third of these moments; at all of them in
//! `scripts/nightly`); run again, it ends in the same world as one undisturbed run, with
//! nothing twice and nothing left over.

use crate::deployment;
use crate::matrix;
use std::collections::BTreeSet;
use std::process::Command;

use crate::deployment::Deployment;
use serde_json::{Value, json};

/// Everything but the machine's own start, which is not `apply`'s write.
const APPLY: [&str; 11] = [
    "--sandbox",
    "--mimir-binary",
    "engine",
    "apply",
    "--yes",
    "--target",
    "compute.instance/dorainfra-mimir",
    "--target",
    "compute.firewall/dorainfra-mimir",
    "--target",
    "compute.firewall/dorainfra-ssh",
];

/// What the sandbox holds, as the ids of a plan that has nothing to do.
fn world(deployment: &Deployment) -> BTreeSet<String> {
    let mut arguments = APPLY.to_vec();
    arguments[3] = "plan";
    arguments.retain(|argument| *argument != "--yes");
    arguments.push("--json");
    let plan = deployment.run(&arguments).ends_with(0);
    let steps = plan.events("planned")[0]["plan"]["steps"].as_array().unwrap().clone();
    for step in &steps {
        assert_eq!(step["action"], "no-op", "{step}");
    }
    // Secret versions and objects are counted, too: none may be there twice.
    let status = deployment.control("GET", "status", None);
    let counts = status["counts"].clone();
    let mut world: BTreeSet<String> =
        steps.iter().map(|step| step["id"].as_str().unwrap().to_owned()).collect();
    // Compute's count holds finished operations, too: its resources are in the plan.
    for kind in ["buckets", "objects", "secrets", "serviceAccounts"] {
        world.insert(format!("{} {kind}", counts[kind]));
    }
    assert!(counts["objects"].as_u64().is_some(), "{status}");
    world
}

/// A sandbox without machines: so what would run on one need not be a hundred
/// megabytes, to be uploaded each time.
fn deployment() -> Deployment {
    use std::os::unix::fs::PermissionsExt as _;
    let deployment = Deployment::of_records();
    let engine = deployment.write("engine", "#!/bin/sh\necho 'Mimir, version (branch: test)'\n");
    std::fs::set_permissions(engine, std::fs::Permissions::from_mode(0o755)).unwrap();
    deployment
}

/// The writes of an undisturbed run, as fault rules that strike one each, and
/// the world that it makes.
fn undisturbed() -> (Vec<Value>, BTreeSet<String>) {
    let deployment = deployment();
    deployment.run(&APPLY).ends_with(0);
    let mut rules = BTreeSet::new();
    for write in deployment.writes() {
        let (method, path) = write.split_once(' ').unwrap();
        if path.starts_with("/token") || path.starts_with("/sandbox") || path.contains("/wait") {
            continue;
        }
        // Request ids differ from run to run; an upload's name does not.
        let (place, query) = path.split_once('?').unwrap_or((path, ""));
        let name = query.split('&').find(|part| part.starts_with("name=")).unwrap_or_default();
        let glob = if name.is_empty() { format!("{place}*") } else { format!("{place}*{name}*") };
        rules.insert(format!("{method} {glob}"));
    }
    let rules = rules
        .iter()
        .map(|rule| {
            let (method, glob) = rule.split_once(' ').unwrap();
            json!({"method": method, "path": glob})
        })
        .collect();
    (rules, world(&deployment))
}

#[test]
fn a_run_killed_at_any_write_is_mended_by_the_next() {
    let (rules, expected) = undisturbed();
    assert!(rules.len() > 15, "{rules:?}");
    let moments: Vec<(&Value, &str)> =
        rules.iter().flat_map(|rule| [(rule, "before"), (rule, "after")]).collect();
    let step = if deployment::nightly() { 1 } else { 3 };
    let moments: Vec<(&Value, &str)> = moments.into_iter().step_by(step).collect();
    let results = matrix::Matrix::new(
        "Killed at a write",
        "`apply` gets SIGKILL right before a write reaches the API, or right after it was carried out. The next \
         run ends with 0, in the world that an undisturbed run makes: nothing twice, nothing left over.",
        "crash_matrix a_run_killed_at_any_write_is_mended_by_the_next",
        deployment::nightly(),
    );
    // Two at a time: each has a sandbox of its own.
    std::thread::scope(|scope| {
        for half in 0..2 {
            let (moments, expected, results) = (&moments, &expected, &results);
            scope.spawn(move || {
                for (rule, moment) in moments.iter().skip(half).step_by(2) {
                    killed_at(rule, moment, expected);
                    results.tried(&format!("{moment} a {}", rule["method"].as_str().unwrap()), true, None);
                }
            });
        }
    });
}

fn killed_at(rule: &Value, moment: &str, expected: &BTreeSet<String>) {
    let deployment = deployment();
    let mut rule = rule.clone();
    rule["times"] = json!(1);
    rule["action"] = json!({"hang": moment});
    deployment.control("PUT", "faults", Some(json!([rule])));
    let mut child = deployment.spawn(&APPLY);
    // The write in question hangs, and what does not wait for it has come to its end.
    let mut seen = (usize::MAX, std::time::Instant::now());
    deployment.until("it hangs or ends", || {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        if deployment.control("GET", "faults", None)["struck"][0] == 0 {
            return false;
        }
        let calls = deployment.calls();
        if calls != seen.0 {
            seen = (calls, std::time::Instant::now());
        }
        seen.1.elapsed() > std::time::Duration::from_millis(150)
    });
    let _ = Command::new("kill").args(["-KILL", &child.id().to_string()]).status();
    child.wait().unwrap();
    deployment.control("DELETE", "faults", None);
    deployment.run(&APPLY).ends_with(0);
    assert_eq!(&world(&deployment), expected, "killed {moment} {rule}");
}

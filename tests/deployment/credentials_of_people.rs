//! Whoever signs in with gcloud: whose project their calls count against, where this
//! machine is on the internet, and what neither is needed for.

use std::path::Path;
use std::process::Command;

use crate::deployment::{Deployment, Run};
use serde_json::{Value, json};

/// A file of application default credentials as gcloud writes it, with a quota project
/// of somebody else's.
fn login(deployment: &Deployment) -> String {
    let key: Value = serde_json::from_slice(
        &std::fs::read(deployment.path().join(".dorainfra/sandbox/key.json")).unwrap(),
    )
    .unwrap();
    let file = json!({
        "type": "authorized_user", "client_id": "764086051850-x.apps.googleusercontent.com",
        "client_secret": "public", "refresh_token": "1//sandbox-owner", "token_uri": key["token_uri"],
        "quota_project_id": "somebody-elses-billing", "universe_domain": "googleapis.com",
    });
    deployment.write("login.json", &file.to_string()).display().to_string()
}

/// The binary as somebody runs it at Google: no `--sandbox`, the variables that Google's
/// tools take, and a login.
fn at_google(deployment: &Deployment, arguments: &[&str]) -> Command {
    let exports = deployment.run(&["sandbox", "start", "--detach", "--json"]).ends_with(0);
    let exports = exports.events("result").remove(0);
    let mut command = deployment.command(arguments);
    for (name, value) in exports["result"]["environment"].as_object().unwrap() {
        command.env(name, value.as_str().unwrap());
    }
    command.env("GOOGLE_APPLICATION_CREDENTIALS", login(deployment));
    command
}

fn run(mut command: Command) -> Run {
    Run::of(command.output().unwrap())
}

fn caller_services(deployment: &Deployment, routes: &[&str]) -> String {
    let status = deployment.run(&["sandbox", "status", "--json"]).ends_with(0);
    let port = status.events("result")[0]["result"]["port"].as_u64().unwrap();
    let urls: Vec<String> =
        routes.iter().map(|route| format!("http://127.0.0.1:{port}/sandbox/{route}")).collect();
    format!("access.caller_services=[{}]", urls.join(","))
}

/// A run at Google with a program that is Mimir 3.2.0, and these services to be asked
/// for the caller's address.
fn with_mimir(deployment: &Deployment, mimir: &str, routes: &[&str], arguments: &[&str]) -> Run {
    let services = caller_services(deployment, routes);
    let common =
        ["--project", "my-gcp", "--mimir-binary", mimir, "--set", &services, "--set", "mimir.version=3.2.0"];
    run(at_google(deployment, &[&common[..], arguments].concat()))
}

#[test]
fn a_login_counts_against_the_deployments_project_whatever_its_file_says() {
    let deployment = Deployment::of_records();
    let mimir = deployment.said_to_be_mimir();
    let go = |arguments: &[&str]| with_mimir(&deployment, &mimir, &["caller"], arguments);
    let plan = go(&["plan", "--detailed-exitcode"]).ends_with(2);
    assert!(plan.stdout.contains("to create"), "{}", plan.stdout);
    go(&["apply", "--yes", "--target", "compute.disk/dorainfra-data"]).ends_with(0);
    // What is there is seen, and can be taken away.
    let destroy = go(&["destroy", "--yes", "--delete-data"]).ends_with(0);
    assert!(destroy.stdout.contains("compute.disk/dorainfra-data"), "{}", destroy.stdout);
}

/// Somebody else's project has its services off; nothing follows for ours. Before, the
/// disk seemed not to be there, and was billed on.
#[test]
fn what_another_projects_services_are_says_nothing_about_ours() {
    let deployment = Deployment::of_records();
    deployment.run(&["--sandbox", "apply", "--yes", "--target", "compute.disk/dorainfra-data"]).ends_with(0);
    let consumer = |number: u64| {
        json!({"error": {"code": 403, "message": "Compute Engine API has not been used in project.",
            "status": "PERMISSION_DENIED", "errors": [{"reason": "accessNotConfigured"}],
            "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED",
                "domain": "googleapis.com", "metadata": {"consumer": format!("projects/{number}"),
                    "service": "compute.googleapis.com"}}]}})
    };
    let fault = |answer: &Value| {
        let rule = json!({"api": "compute.*", "action": {"status": 403, "answer": answer}});
        deployment.control("PUT", "faults", Some(rule));
    };
    let old = |message: &str| json!({"error": {"code": 403, "message": message, "errors": [{"reason": "accessNotConfigured"}]}});
    let writes = deployment.writes().len();
    for (answer, words) in [
        (consumer(999), &["999", "gcloud services enable compute.googleapis.com --project 999"][..]),
        // In an older form, and by nobody's name.
        (
            old("Compute Engine API has not been used in project 999 before or it is disabled."),
            &["project 999"],
        ),
        (old("Access Not Configured."), &["whose project that speaks of is not said"]),
    ] {
        fault(&answer);
        let destroy = deployment.run(&["--sandbox", "destroy", "--yes"]).ends_with(1);
        for words in words {
            assert!(destroy.stderr.contains(words), "`{words}` is not in:\n{}", destroy.stderr);
        }
        assert!(!destroy.stdout.contains("othing to"), "{}", destroy.stdout);
    }
    assert_eq!(deployment.writes().len(), writes, "nothing was touched");
    deployment.control("DELETE", "faults", None);
    deployment.run(&["--sandbox", "destroy", "--yes", "--delete-data"]).ends_with(0);
}

#[test]
fn an_address_is_asked_for_where_it_is_written_and_remembered_elsewhere() {
    let deployment = Deployment::of_records();
    let mimir = deployment.said_to_be_mimir();
    let go = |routes: &[&str], arguments: &[&str]| with_mimir(&deployment, &mimir, routes, arguments);
    let rule = "compute.firewall/dorainfra-mimir";
    // One has closed down, one answers for IPv6: the third is taken.
    go(&["caller/closed", "caller/ipv6", "caller"], &["apply", "--yes", "--target", rule]).ends_with(0);
    // Nobody answers: the address that was found is gone on with, and that is said.
    let plan = go(&["caller/closed"], &["plan", "--target", rule]).ends_with(0);
    assert!(plan.stderr.contains("as remembered"), "{}", plan.stderr);
    // It has changed: told, and planned.
    let file = deployment.path().join(".dorainfra/dorainfra/caller.json");
    std::fs::write(&file, r#"{"address":"198.51.100.7/32"}"#).unwrap();
    let plan = go(&["caller"], &["plan", "--target", rule]).ends_with(0);
    assert!(plan.stderr.contains("your address has changed: 198.51.100.7 → 127.0.0.1"), "{}", plan.stderr);
    // Who writes no rule does not ask: nobody could answer, and nothing is remembered.
    std::fs::remove_file(&file).unwrap();
    go(&["caller/closed"], &["status"]).ends_with(0);
    let plan = go(&["caller/closed"], &["plan"]).ends_with(1);
    assert!(plan.stderr.contains("access.caller_services"), "{}", plan.stderr);
    // And `destroy` needs no Mimir, either: here there is none, and no release to be had.
    std::fs::remove_file(Path::new(&mimir)).unwrap();
    let destroy = run(at_google(&deployment, &["--project", "my-gcp", "destroy", "--yes"])).ends_with(0);
    assert!(destroy.stdout.contains(rule), "{}", destroy.stdout);
}

/// Where no release can be had: what it is, the machine says itself.
#[test]
fn who_only_looks_needs_no_release() {
    let deployment = Deployment::of_a_machine();
    let look = |arguments: &[&str]| {
        let common = ["--project", "my-gcp", "--set", "mimir.version=3.2.0"];
        run(at_google(&deployment, &[&common[..], arguments].concat()))
    };
    let status = look(&["status"]).ends_with(0);
    assert!(status.stdout.contains("dorainfra-mimir"), "{}", status.stdout);
    for words in ["can't be downloaded", "is shown as changed", "dorainfra.lock"] {
        assert!(status.stderr.contains(words), "`{words}` is not in:\n{}", status.stderr);
    }
    let verify = look(&["verify"]);
    assert!(!verify.stderr.contains("Error: Mimir 3.2.0 can't be downloaded"), "{}", verify.stderr);
    // Whoever writes has to know it.
    let plan = look(&["plan"]).ends_with(1);
    assert!(plan.stderr.contains("can't be downloaded"), "{}", plan.stderr);
    // One that is pinned is asked for by nobody.
    let pinned = json!({"mimir": {"3.2.0": {"linux-amd64": "1".repeat(64)}}});
    deployment.write("dorainfra.lock", &pinned.to_string());
    let status = look(&["status"]).ends_with(0);
    assert!(!status.stderr.contains("can't be downloaded"), "{}", status.stderr);
}

#[test]
fn a_token_that_is_refused_is_asked_for_anew() {
    let deployment = Deployment::of_records();
    let mimir = deployment.said_to_be_mimir();
    let refusal = json!([{"api": "compute.*", "times": 1, "action": {"status": 401, "reason": "authError"}}]);
    deployment.control("PUT", "faults", Some(refusal));
    with_mimir(&deployment, &mimir, &["caller"], &["plan"]).ends_with(0);
    let requests = deployment.control("GET", "requests", None);
    let requests = requests["requests"].as_array().unwrap();
    let asked = requests.iter().filter(|request| request["path"] == "/token").count();
    assert_eq!(asked, 2, "one at first, one after the refusal");
}

//! Bad days of the cloud, and the product's run goes on: a world that sees
//! changes late, answers that are damaged or lost, waiting that is throttled.

use crate::deployment::{Deployment, MACHINE, Run};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const DISK: &str = "compute.disk/dorainfra-data";
const BUCKET: &str = "storage.bucket/my-gcp-dorainfra-mimir";

fn faults(deployment: &Deployment, rules: Value) {
    deployment.control("PUT", "faults", Some(rules));
}

fn apply(deployment: &Deployment, target: &str) -> Run {
    deployment.run(&["--sandbox", "apply", "--yes", "--target", target]).ends_with(0)
}

/// The calls that were made of one method, with the status of each.
fn calls(deployment: &Deployment, api: &str) -> Vec<u64> {
    let requests = deployment.control("GET", "requests", None);
    let entries = requests["requests"].as_array().unwrap().iter();
    entries.filter(|entry| entry["api"] == api).map(|entry| entry["status"].as_u64().unwrap()).collect()
}

#[test]
fn an_apply_goes_through_in_a_world_that_sees_changes_late() {
    let deployment = Deployment::empty();
    let late = ["service-accounts=3000", "grants=12000", "services=2000", "secrets=1000"]
        .map(|lag| ["--lag", lag])
        .concat();
    let start = ["sandbox", "start", "--detach", "--as-google", "--operation", "*=20"];
    deployment.run(&[&start[..], &late].concat()).ends_with(0);
    let lag = deployment.control("GET", "consistency", None);
    let expected = json!({"defaultNetworkMs": 2000, "serviceAccountsMs": 3000, "grantsMs": 12000, "servicesMs": 2000, "secretsMs": 1000, "projectMs": 1500, "flapping": true});
    assert_eq!(lag, expected);
    let few = ["--sandbox", "--set", "generator.teams=2", "--set", "generator.days=7"];
    // A new account cannot be read at first; the secret's own grant is the last to arrive.
    let forbidden = json!({"status": 403, "reason": "forbidden"});
    faults(
        &deployment,
        json!([
            {"api": "iam.projects.serviceAccounts.get", "nth": 2, "times": 1, "action": forbidden},
            {"api": "secretmanager.projects.secrets.versions.access", "caller": "dorainfra-*", "times": 1,
                "action": forbidden},
        ]),
    );
    deployment.run(&[&few[..], &["apply", "--yes"]].concat()).ends_with(0);
    // Each kind of lateness was met.
    let met = |api: &str, status: u64| calls(&deployment, api).contains(&status);
    assert!(met("compute.firewalls.list", 403), "a service that is not seen to be enabled");
    assert!(met("iam.projects.serviceAccounts.get", 404), "an account that is not there yet");
    assert!(met("secretmanager.projects.secrets.versions.get", 404), "a version that is not shown yet");
    assert_eq!(deployment.control("GET", "faults", None)["struck"], json!([1, 1]));
    assert!(met("storage.objects.get", 403), "a machine whose grant has not arrived");
    assert!(calls(&deployment, "compute.instances.insert").iter().all(|status| *status == 200));
    // The switch works while the sandbox runs, too.
    deployment.control("PUT", "consistency", Some(json!({})));
    deployment.run(&[&few[..], &["plan", "--detailed-exitcode"]].concat()).ends_with(0);
    deployment.run(&[&few[..], &["destroy", "--yes", "--delete-data"]].concat()).ends_with(0);
}

#[test]
fn a_project_that_was_just_made_is_not_a_wrong_one() {
    let deployment = Deployment::empty();
    let start = ["sandbox", "start", "--detach", "--machines", "none", "--operation", "*=1"];
    deployment.run(&[&start[..], &["--lag", "project=600000"]].concat()).ends_with(0);
    apply(&deployment, DISK);
    deployment.run(&["--sandbox", "destroy", "--yes", "--delete-data"]).ends_with(0);
    let requests = deployment.control("GET", "requests", None);
    let refused = |entry: &&Value| matches!(entry["status"].as_u64(), Some(400 | 403 | 404));
    let unseen = requests["requests"].as_array().unwrap().iter().filter(refused).count();
    assert!(unseen > 10, "the project was unseen in {unseen} calls only");

    // What nobody ever saw is told at once, with what to do.
    let wrong = deployment.run(&["--sandbox", "--json", "plan", "--project", "no-such-project"]).ends_with(1);
    let error = &wrong.events("error")[0];
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("the project `no-such-project` is not found, or not visible to"),
        "{error}"
    );
    assert!(error["hints"][0].as_str().unwrap().contains("gcloud projects list"), "{error}");
}

#[test]
fn a_damaged_answer_of_a_read_is_asked_for_again() {
    let deployment = Deployment::of_records();
    apply(&deployment, DISK);
    let plan = |damage: Option<&str>| {
        let rule =
            |damage: &&str| json!({"method": "GET", "api": "*.get", "times": 3, "action": {"body": damage}});
        faults(&deployment, json!(damage.iter().map(rule).collect::<Vec<_>>()));
        deployment.run(&["--sandbox", "--json", "plan"]).ends_with(0).events("planned")[0]["plan"]["steps"]
            .clone()
    };
    let whole = plan(None);
    assert_eq!(plan(Some("truncated")), whole);
    assert_eq!(plan(Some("malformed")), whole);
}

#[test]
fn an_operation_is_not_given_up_for_being_throttled_or_cut_off_while_it_is_polled() {
    let deployment = Deployment::of_records();
    faults(
        &deployment,
        json!([
            {"api": "compute.zoneOperations.wait", "times": 2,
                "action": {"status": 429, "reason": "rateLimitExceeded"}},
            {"api": "compute.zoneOperations.wait", "times": 1, "action": {"status": 403, "reason": "rateLimitExceeded"}},
            {"api": "compute.zoneOperations.wait", "times": 1, "action": {"reset": "before"}},
            {"api": "serviceusage.operations.get", "times": 2, "action": {"status": 503}},
            {"api": "compute.disks.insert", "action": {"operationMs": 500}},
            {"api": "serviceusage.services.batchEnable", "action": {"operationMs": 200}},
        ]),
    );
    apply(&deployment, DISK);
    let waits = calls(&deployment, "compute.zoneOperations.wait");
    assert_eq!(waits.iter().filter(|status| **status != 200).count(), 4, "{waits:?}");
    assert_eq!(calls(&deployment, "compute.disks.insert"), [200], "it was made once");
}

#[test]
fn an_operation_that_hangs_is_waited_for_until_it_goes_on() {
    let deployment = Deployment::of_records();
    faults(&deployment, json!([{"api": "compute.zoneOperations.wait", "action": {"hang": "before"}}]));
    let arguments = ["--sandbox", "--json", "apply", "--yes", "--target", DISK];
    let child = deployment.spawn(&arguments);
    deployment.until("the disk is being made", || !calls(&deployment, "compute.disks.insert").is_empty());
    deployment.control("DELETE", "faults", None);
    Deployment::finish(child).ends_with(0);
    assert_eq!(calls(&deployment, "compute.disks.insert"), [200]);
}

#[test]
fn a_write_whose_answer_was_an_error_is_read_back() {
    let deployment = Deployment::of_records();
    for (action, api, target) in [
        (json!({"status": 503, "statusAt": "after"}), "storage.buckets.insert", BUCKET),
        (json!({"body": "truncated"}), "compute.disks.insert", DISK),
    ] {
        faults(&deployment, json!([{"api": api, "times": 1, "action": action}]));
        apply(&deployment, target);
    }
    deployment.run(&["--sandbox", "plan", "--detailed-exitcode", "--target", DISK]).ends_with(0);
    deployment.run(&["--sandbox", "plan", "--detailed-exitcode", "--target", BUCKET]).ends_with(0);
}

/// What passes by itself is waited out, in an answer and in an operation.
#[test]
fn a_resource_that_is_not_ready_yet_is_tried_again() {
    let deployment = Deployment::of_records();
    let message = "The resource 'projects/my-gcp/regions/europe-west1/subnetworks/default' is not ready";
    let answer = json!({"status": 400, "reason": "resourceNotReady", "message": message});
    let operation =
        json!({"operationError": {"code": "RESOURCE_OPERATION_RATE_EXCEEDED", "message": "Too fast"}});
    faults(
        &deployment,
        json!([
            {"api": "compute.disks.insert", "times": 2, "action": answer},
            {"api": "compute.disks.insert", "nth": 1, "times": 1, "action": operation},
        ]),
    );
    apply(&deployment, DISK);
    assert_eq!(deployment.control("GET", "faults", None)["struck"], json!([2, 1]));
}

#[test]
fn an_operation_that_fails_is_explained() {
    let deployment = Deployment::of_records();
    let error = json!({"code": "INVALID_USAGE", "message": "The resource is not usable"});
    faults(&deployment, json!([{"api": "compute.disks.insert", "action": {"operationError": error}}]));
    let run = deployment.run(&["--sandbox", "apply", "--yes", "--target", DISK]).ends_with(1);
    let all = format!("{}{}", run.stdout, run.stderr);
    assert!(all.contains("The resource is not usable (INVALID_USAGE)") && all.contains(DISK), "{all}");
}

/// The other run is let in a minute later; the first one, woken, changes nothing more.
#[test]
fn a_run_that_was_frozen_past_its_lease_writes_nothing_more() {
    let deployment = Deployment::empty();
    deployment.start(&["--machines", "none", "--operation", "*=2000"]);
    let frozen = deployment.spawn(&["--sandbox", "apply", "--yes", "--target", MACHINE]);
    let signal = |name: &str| {
        let pid = frozen.id().to_string();
        assert!(std::process::Command::new("kill").args([name, &pid]).status().unwrap().success());
    };
    deployment
        .until("a disk is being made", || deployment.writes().iter().any(|write| write.contains("/disks")));
    signal("-STOP");
    let lease = "storage/v1/b/my-gcp-dorainfra-mimir/o/dorainfra%2Flease";
    let time = |text: &Value| OffsetDateTime::parse(text.as_str().unwrap(), &Rfc3339).unwrap();
    let renewed = time(&deployment.google("GET", lease, "")["updated"]);
    let other = ["--sandbox", "--set", "labels.team=payments", "apply", "--yes", "--target", BUCKET];
    let begun = std::time::Instant::now();
    let mut refused = 0;
    loop {
        let run = deployment.run(&other);
        match run.code {
            0 => break,
            4 => refused += 1,
            code => panic!("{code}: {}{}", run.stdout, run.stderr),
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(100), "a lease ends after a minute");
        std::thread::park_timeout(std::time::Duration::from_secs(2));
    }
    // A minute by the clock of whoever keeps the lease, since the frozen run wrote it last.
    let taken = time(&deployment.google("GET", &format!("{lease}?alt=media"), "")["acquired"]);
    assert!(refused > 0 && taken - renewed >= time::Duration::minutes(1), "{renewed} {taken}");
    let writes = deployment.writes();
    signal("-CONT");
    let run = Deployment::finish(frozen);
    assert_ne!(run.code, 0, "{}", run.stdout);
    assert!(run.stderr.contains("lease"), "{}", run.stderr);
    assert_eq!(deployment.writes(), writes);
}

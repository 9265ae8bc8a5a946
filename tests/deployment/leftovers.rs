//! What a deployment leaves behind: after `destroy --delete-data` nothing that anybody
//! pays for, proven by lists that are whole; before, each thing by its name.

use std::collections::BTreeSet;

use crate::deployment::{Deployment, Run};
use serde_json::{Value, json};

const SNAPSHOTS: &str = "compute/v1/projects/my-gcp/global/snapshots";

fn snapshots(deployment: &Deployment) -> usize {
    deployment.google("GET", SNAPSHOTS, "")["items"].as_array().map_or(0, Vec::len)
}

#[test]
fn snapshots_that_outlive_schedule_and_disk_are_named_or_deleted() {
    let deployment = Deployment::of_a_machine();
    for _ in 0..2 {
        assert_eq!(deployment.control("POST", "night", None)["snapshots"], 1);
    }
    let kept = deployment.run(&["--sandbox", "destroy", "--yes"]).ends_with(0);
    assert!(kept.stdout.contains("kept, and still billed: 2 snapshots of the data disk"), "{}", kept.stdout);
    for left in ["compute.snapshot/", "compute.disk/dorainfra-data", "storage.bucket/"] {
        assert!(kept.stdout.contains(left), "`{left}` is not in:\n{}", kept.stdout);
    }
    assert_eq!(snapshots(&deployment), 2);
    let gone = deployment.run(&["--sandbox", "destroy", "--yes", "--delete-data"]).ends_with(0);
    assert!(gone.stdout.contains("nothing of dorainfra is left in my-gcp"), "{}", gone.stdout);
    assert_eq!(snapshots(&deployment), 0);
    // What is somebody else's stays, and a second time there is nothing to do.
    let again = deployment.run(&["--sandbox", "destroy", "--yes", "--delete-data"]).ends_with(0);
    assert!(again.stdout.contains("nothing of dorainfra exists in my-gcp"), "{}", again.stdout);
}

#[test]
fn what_was_deleted_softly_is_told_and_what_is_deleted_now_is_gone() {
    let deployment = Deployment::of_a_machine();
    let bucket = "storage/v1/b/my-gcp-dorainfra-mimir";
    let objects = |query: &str| {
        let list = deployment.google("GET", &format!("{bucket}/o{query}"), "");
        list["items"].as_array().cloned().unwrap_or_default()
    };
    let name = objects("")[0]["name"].as_str().unwrap().replace('/', "%2F");
    deployment.until("one is deleted", || {
        let url = format!("http://127.0.0.1:{}/{bucket}/o/{name}", deployment.port());
        let token = format!("Authorization: Bearer {}", deployment.token());
        let curl =
            std::process::Command::new("curl").args(["-fsS", "-X", "DELETE", "-H", &token, &url]).output();
        curl.unwrap().status.success()
    });
    // With the lease, which was renewed as often as the run took time, and given back.
    let deleted: BTreeSet<String> =
        objects("?softDeleted=true").iter().map(|object| object["name"].as_str().unwrap().into()).collect();
    assert_eq!(deleted, BTreeSet::from([name.replace("%2F", "/"), "dorainfra/lease".into()]));
    let run = deployment.run(&["--sandbox", "destroy", "--yes", "--delete-data"]).ends_with(0);
    assert!(
        run.stderr.contains(" objects of my-gcp-dorainfra-mimir that were deleted before"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("kept and billed until 20"), "{}", run.stderr);
}

#[test]
fn from_a_list_that_is_not_whole_nothing_is_concluded() {
    let deployment = Deployment::of_a_machine();
    deployment.control("PUT", "profile", Some(json!({"unreachable": ["europe-west1-c"]})));
    let writes = deployment.writes().len();
    let unseen = |run: &Run| {
        let all = format!("{}{}", run.stdout, run.stderr);
        assert!(all.contains("zones/europe-west1-c can't be asked now"), "{all}");
        assert!(!run.stdout.contains("othing"), "{all}");
    };
    // Neither is said to be gone what may be there, nor made a second time: a disk with
    // the data may be in the other zone.
    for command in [
        &["destroy", "--yes", "--delete-data"][..],
        &["--set", "zones=[europe-west1-d]", "apply", "--yes"],
        &["--set", "zones=[europe-west1-d]", "plan"],
    ] {
        unseen(&deployment.run(&[&["--sandbox"][..], command].concat()).ends_with(1));
    }
    assert_eq!(deployment.writes().len(), writes, "nothing was touched");
    // What is seen can be changed all the same.
    let grown = ["--set", "mimir.disk_gb=25", "apply", "--yes", "--target", "compute.disk/dorainfra-data"];
    unseen(&deployment.run(&[&["--sandbox"][..], &grown].concat()).ends_with(0));
    unseen(&deployment.run(&["--sandbox", "status"]).ends_with(0));
    deployment.control("PUT", "profile", Some(json!({"unreachable": []})));
    deployment.run(&["--sandbox", "destroy", "--yes", "--delete-data"]).ends_with(0);
}

/// A service that is off answers no list, and keeps what it has: it said that nothing is left.
#[test]
fn what_a_service_that_is_off_keeps_is_not_said_to_be_gone() {
    let deployment = Deployment::of_a_machine();
    let service = json!({"service": "secretmanager.googleapis.com"});
    deployment.control("POST", "disable", Some(service));
    let run = deployment.run(&["--sandbox", "destroy", "--yes", "--delete-data"]).ends_with(1);
    assert!(run.stderr.contains("secretmanager.googleapis.com is off"), "{}", run.stderr);
    assert!(run.stderr.contains("gcloud services enable secretmanager.googleapis.com"), "{}", run.stderr);
    // Where nothing is seen to be there, that is what is said.
    let run = deployment.run(&["--sandbox", "destroy", "--yes", "--delete-data"]).ends_with(0);
    let all = format!("{}{}", run.stdout, run.stderr);
    assert!(!all.contains("nothing of dorainfra is left"), "{all}");
    assert!(all.contains("is seen in my-gcp; what secretmanager.googleapis.com"), "{all}");
}

/// The lease of a short run is given back within a second of being taken, which Cloud
/// Storage refuses at first.
#[test]
fn limits_of_cloud_storage_are_waited_out() {
    let deployment = Deployment::of_a_machine();
    let quick = ["--sandbox", "apply", "--yes", "--target", "compute.disk/dorainfra-data"];
    deployment.run(&[&quick[..], &["--set", "mimir.disk_gb=25"]].concat()).ends_with(0);
    let requests = deployment.control("GET", "requests", None);
    let refused: Vec<&Value> = requests["requests"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["status"] == 429 && entry["api"].as_str().unwrap().starts_with("storage."))
        .collect();
    assert!(!refused.is_empty(), "the sandbox has no limits");
    // It was given back all the same.
    deployment.run(&[&quick[..], &["--set", "mimir.disk_gb=30"]].concat()).ends_with(0);
}

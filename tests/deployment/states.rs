//! A cloud that is not as the plan left it, and wishes that it cannot fulfil: what can
//! be mended is planned and done, what cannot is refused before anything is touched.

use crate::deployment::{Deployment, MACHINE};

const ZONE: &str = "compute/v1/projects/my-gcp/zones/europe-west1-b";

#[test]
fn a_machine_that_somebody_stopped_or_suspended_is_planned_and_started() {
    let deployment = Deployment::of_a_machine();
    let status =
        || deployment.google("GET", &format!("{ZONE}/instances/dorainfra-mimir"), "")["status"].clone();
    for (verb, state) in [("stop", "TERMINATED"), ("suspend", "SUSPENDED")] {
        deployment.google("POST", &format!("{ZONE}/instances/dorainfra-mimir/{verb}"), "");
        deployment.until("it is down", || status() == state);
        let plan =
            deployment.run(&["--sandbox", "plan", "--target", MACHINE, "--detailed-exitcode"]).ends_with(2);
        assert!(plan.stdout.contains(state) && plan.stdout.contains("RUNNING"), "{}", plan.stdout);
        assert!(plan.stdout.contains("somebody changed it in the cloud"), "{}", plan.stdout);
        deployment.run(&["--sandbox", "apply", "--yes", "--target", MACHINE]).ends_with(0);
        assert_eq!(status(), "RUNNING");
        deployment.run(&["--sandbox", "plan", "--target", MACHINE, "--detailed-exitcode"]).ends_with(0);
    }
    // Together with what can only change while it is stopped.
    deployment.google("POST", &format!("{ZONE}/instances/dorainfra-mimir/suspend"), "");
    deployment.until("it is down", || status() == "SUSPENDED");
    let larger = ["--sandbox", "--set", "mimir.machine_type=e2-standard-2"];
    deployment.run(&[&larger[..], &["apply", "--yes", "--target", MACHINE]].concat()).ends_with(0);
    assert_eq!(status(), "RUNNING");

    // It boots from what it was made with: a plan says so, with the way.
    let other = ["--sandbox", "--set", "mimir.machine_type=e2-standard-2", "--set", "mimir.boot_disk_gb=20"];
    let told = |more: &[&str]| deployment.run(&[&other[..], &["plan", "--target", MACHINE], more].concat());
    let plan = told(&[]).ends_with(0).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(plan.contains("boots from 10 GB of pd-balanced, and not from 20 GB"), "{plan}");
    let again = format!("`dorainfra {} apply --replace compute.instance/dorainfra-mimir`", other.join(" "));
    assert!(plan.contains(&again), "{plan}");
    let replaced = told(&["--replace", "compute.instance/dorainfra-mimir"]).ends_with(0).stdout;
    assert!(!replaced.contains("boots from"), "{replaced}");
}

#[test]
fn a_machine_that_is_down_is_shown_as_what_it_is_and_nobody_waits_for_its_answer() {
    let deployment = Deployment::of_a_machine();
    let instance = format!("{ZONE}/instances/dorainfra-mimir");
    for (verb, state, word) in [("stop", "TERMINATED", "stopped"), ("suspend", "SUSPENDED", "suspended")] {
        deployment.google("POST", &format!("{instance}/{verb}"), "");
        deployment.until("it is down", || deployment.google("GET", &instance, "")["status"] == state);
        let status = deployment.run(&["--sandbox", "status"]).ends_with(0);
        for words in [word, "`dorainfra --sandbox apply` starts it"] {
            assert!(status.stdout.contains(words), "`{words}` is not in:\n{}", status.stdout);
        }
        assert!(!status.stdout.contains("stopping"), "{}", status.stdout);
        for command in [&["verify"][..], &["report"], &["stack", "up"]] {
            let run = deployment.run(&[&["--sandbox"][..], command].concat()).ends_with(1);
            let told = format!("no machine answers: dorainfra-mimir is {word}");
            for words in [&*told, "`dorainfra --sandbox apply` starts it"] {
                assert!(run.stderr.contains(words), "{command:?}: `{words}` is not in:\n{}", run.stderr);
            }
        }
        deployment.run(&["--sandbox", "apply", "--yes", "--target", MACHINE]).ends_with(0);
    }
}

/// It has lifted the machine's protection, and its deletion was refused.
#[test]
fn what_a_destroy_has_changed_that_did_not_end_is_nobody_else_s_doing() {
    let deployment = Deployment::of_a_machine();
    let refused = serde_json::json!([{"api": "compute.instances.delete", "action": {"status": 403}}]);
    deployment.control("PUT", "faults", Some(refused));
    deployment.run(&["--sandbox", "destroy", "--yes"]).ends_with(1);
    deployment.control("DELETE", "faults", None);
    let plan = deployment.run(&["--sandbox", "plan", "--target", MACHINE]).ends_with(0);
    for words in ["deletionProtection", "an earlier run began to take it down, and did not end"] {
        assert!(plan.stdout.contains(words), "`{words}` is not in:\n{}", plan.stdout);
    }
    assert!(!plan.stdout.contains("somebody"), "{}", plan.stdout);
    // What is left of it is shown, and is mended.
    let status = deployment.run(&["--sandbox", "status"]).ends_with(0);
    assert!(status.stdout.contains("differs: deletionProtection"), "{}", status.stdout);
    deployment.run(&["--sandbox", "apply", "--yes", "--target", MACHINE]).ends_with(0);
    deployment.run(&["--sandbox", "plan", "--target", MACHINE, "--detailed-exitcode"]).ends_with(0);
}

#[test]
fn a_disk_that_was_grown_by_hand_is_not_planned_to_shrink() {
    let deployment = Deployment::of_a_machine();
    deployment.google("POST", &format!("{ZONE}/disks/dorainfra-data/resize"), r#"{"sizeGb": "35"}"#);
    deployment.until("it has grown", || {
        deployment.google("GET", &format!("{ZONE}/disks/dorainfra-data"), "")["sizeGb"] == "35"
    });
    let writes = deployment.writes().len();
    let plan = deployment.run(&["--sandbox", "plan"]).ends_with(1);
    assert!(plan.stderr.contains("cannot shrink: it has 35 GB"), "{}", plan.stderr);
    assert!(plan.stderr.contains("mimir.disk_gb: 35"), "{}", plan.stderr);
    deployment.run(&["--sandbox", "apply", "--yes"]).ends_with(1);
    assert_eq!(deployment.writes().len(), writes, "nothing was touched");
    // The way that it names works.
    let agreed = ["--sandbox", "--set", "mimir.disk_gb=35"];
    deployment.run(&[&agreed[..], &["apply", "--yes", "--target", MACHINE]].concat()).ends_with(0);
}

#[test]
fn a_move_that_would_leave_the_data_behind_is_refused_whole() {
    let deployment = Deployment::of_a_machine();
    let writes = deployment.writes().len();
    for keys in [
        &["--set", "zones=[europe-west1-c]"][..],
        &["--set", "region=us-central1", "--set", "zones=[us-central1-a]"],
    ] {
        let apply = deployment.run(&[&["--sandbox"][..], keys, &["apply", "--yes"]].concat()).ends_with(1);
        for words in ["the data disk is in europe-west1-b", "--restore-disk SNAPSHOT"] {
            assert!(apply.stderr.contains(words), "`{words}` is not in:\n{}", apply.stderr);
        }
    }
    assert_eq!(deployment.writes().len(), writes, "nothing was touched");
    deployment.run(&["--sandbox", "plan", "--target", MACHINE, "--detailed-exitcode"]).ends_with(0);
}

#[test]
fn what_the_project_does_not_have_is_told_by_the_plan() {
    let deployment = Deployment::of_records();
    // So that its services are on.
    deployment.run(&["--sandbox", "apply", "--yes", "--target", "compute.disk/dorainfra-data"]).ends_with(0);
    let network = r#"{"name": "cust", "autoCreateSubnetworks": false}"#;
    deployment.google("POST", "compute/v1/projects/my-gcp/global/networks", network);
    let seen = || deployment.try_google("compute/v1/projects/my-gcp/global/networks/cust");
    deployment.until("the network is there", || seen()["name"] == "cust");
    let subnet = r#"{"name": "other", "network": "global/networks/cust", "ipCidrRange": "10.77.0.0/24"}"#;
    let subnets = "compute/v1/projects/my-gcp/regions/europe-west1/subnetworks";
    deployment.google("POST", subnets, subnet);
    deployment.until("the subnet is there", || {
        deployment.try_google(&format!("{subnets}/other"))["name"] == "other"
    });
    let writes = deployment.writes().len();
    for (keys, words) in [
        (&["mimir.machine_type=e9-huge-8"][..], ["has no machine type `e9-huge-8`", "mimir.machine_type"]),
        (
            &["mimir.machine_type=n4-standard-2"],
            ["takes no disk of the type pd-balanced", "`mimir.boot_disk_type`"],
        ),
        (&["network.name=elsewhere"], ["has no network `elsewhere`", "network.create: true"]),
        (&["network.name=default", "network.subnet=gone"], ["has no subnet `gone`", "network.subnet"]),
        (&["network.name=cust"], ["gives no region a subnet", "set `network.subnet`"]),
        (
            &["network.name=default", "network.subnet=other"],
            ["is one of the network `cust`, not of `default`", "`network.name` and `network.subnet`"],
        ),
        (
            &["mimir.machine_type=n2-standard-2", "mimir.boot_disk_type=hyperdisk-balanced"],
            ["takes no disk of the type hyperdisk-balanced", "`mimir.boot_disk_type` to `pd-balanced`"],
        ),
        // The data disk is there, and stays.
        (
            &["mimir.machine_type=n4-standard-2", "mimir.boot_disk_type=hyperdisk-balanced"],
            ["takes no disk of the type pd-balanced", "`mimir.disk_type` to `hyperdisk-balanced`"],
        ),
        // What the key says already is no way out.
        (
            &[
                "mimir.machine_type=n4-standard-2",
                "mimir.boot_disk_type=hyperdisk-balanced",
                "mimir.disk_type=hyperdisk-balanced",
            ],
            ["the data disk that is there keeps its type", "--restore-disk SNAPSHOT --delete-data"],
        ),
        (&["access.external=false"], ["no Private Google Access", "--enable-private-ip-google-access"]),
    ] {
        let set: Vec<&str> = keys.iter().flat_map(|key| ["--set", key]).collect();
        for command in [&["plan"][..], &["apply", "--yes"]] {
            let run = deployment.run(&[&["--sandbox"][..], &set, command].concat()).ends_with(1);
            for words in words {
                assert!(run.stderr.contains(words), "`{words}` is not in:\n{}", run.stderr);
            }
        }
    }
    assert_eq!(deployment.writes().len(), writes, "nothing was touched");
    deployment
        .run(&["--sandbox", "plan", "--set", "network.create=true", "--set", "access.external=false"])
        .ends_with(0);
}

#[test]
fn a_newer_machine_series_runs_with_the_disks_that_it_takes() {
    let deployment = Deployment::of_records();
    let keys = [
        "mimir.machine_type=n4-standard-2",
        "mimir.disk_type=hyperdisk-balanced",
        "mimir.boot_disk_type=hyperdisk-balanced",
    ];
    let set: Vec<&str> =
        ["--sandbox"].into_iter().chain(keys.iter().flat_map(|key| ["--set", key])).collect();
    deployment.run(&["--sandbox", "apply", "--yes", "--target", MACHINE]).ends_with(0);
    // From the disk of an older one: the way that the refusal names.
    let snapshot = format!("{ZONE}/disks/dorainfra-data/createSnapshot");
    deployment.google("POST", &snapshot, r#"{"name": "last-night"}"#);
    let snapshot = "compute/v1/projects/my-gcp/global/snapshots/last-night";
    deployment.until("the snapshot is there", || deployment.try_google(snapshot)["status"] == "READY");
    let moved = ["apply", "--yes", "--target", MACHINE, "--restore-disk", "last-night", "--delete-data"];
    deployment.run(&[&set[..], &moved].concat()).ends_with(0);
    deployment.run(&[&set[..], &["plan", "--target", MACHINE, "--detailed-exitcode"]].concat()).ends_with(0);
    // The sandbox itself refuses what does not fit.
    let machine = r#"{"name": "m", "machineType": "zones/europe-west1-b/machineTypes/n4-standard-2",
        "disks": [{"boot": true, "initializeParams": {"sourceImage": "projects/debian-cloud/global/images/family/debian-12"}}],
        "networkInterfaces": [{"network": "global/networks/default"}]}"#;
    let refused = deployment.refused("POST", &format!("{ZONE}/instances"), machine);
    assert!(refused.contains("[pd-standard, n4-standard-2] features are not compatible"), "{refused}");
}

#[test]
fn a_machine_is_not_stopped_for_a_type_that_it_cannot_have() {
    let deployment = Deployment::of_a_machine();
    let writes = deployment.writes().len();
    for (machine_type, words) in [
        ("n4-standard-2", "takes no disk of the type pd-balanced"),
        ("e9-huge-8", "has no machine type `e9-huge-8`"),
    ] {
        let key = format!("mimir.machine_type={machine_type}");
        let run =
            deployment.run(&["--sandbox", "--set", &key, "apply", "--yes", "--target", MACHINE]).ends_with(1);
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
    assert_eq!(deployment.writes().len(), writes, "nothing was touched");
}

/// The disk in its place was deleted first, for a name that was misspelt.
#[test]
fn a_snapshot_that_can_not_be_restored_is_refused_before_anything_is_deleted() {
    let deployment = Deployment::of_a_machine();
    deployment.google("POST", &format!("{ZONE}/disks/dorainfra-data/createSnapshot"), r#"{"name": "mine"}"#);
    let snapshot = "compute/v1/projects/my-gcp/global/snapshots/mine";
    deployment.until("it is ready", || deployment.try_google(snapshot)["status"] == "READY");
    let writes = deployment.writes().len();
    for (keys, snapshot, words) in [
        (&[][..], "nosuch", "there is no snapshot `nosuch`"),
        (&["--set", "mimir.disk_gb=10"], "mine", "is of a disk of 20 GB, and this one has 10"),
    ] {
        let restore = ["--restore-disk", snapshot, "--delete-data"];
        for command in [&["plan"][..], &["apply", "--yes"]] {
            let run = deployment.run(&[&["--sandbox"], keys, command, &restore].concat()).ends_with(1);
            assert!(run.stderr.contains(words), "{}", run.stderr);
        }
    }
    assert_eq!(deployment.writes().len(), writes, "nothing was touched");
    let target = ["--restore-disk", "mine", "--delete-data", "--target", MACHINE];
    deployment.run(&[&["--sandbox", "plan"][..], &target].concat()).ends_with(0);
}

/// The check was made for new machines alone: an existing one had its firewall changed, and
/// then failed after five minutes.
#[test]
fn an_account_that_is_not_there_is_refused_for_a_machine_that_is() {
    let deployment = Deployment::of_a_machine();
    let writes = deployment.writes().len();
    let account = "mimir.service_account=foo@my-gcp.iam.gserviceaccount.com";
    for command in [&["plan"][..], &["apply", "--yes"]] {
        let run = deployment.run(&[&["--sandbox", "--set", account], command].concat()).ends_with(1);
        assert!(run.stderr.contains("there is no service account foo@my-gcp"), "{}", run.stderr);
    }
    assert_eq!(deployment.writes().len(), writes, "nothing was touched");
}

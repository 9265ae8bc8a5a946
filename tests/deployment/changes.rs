//! Changes of a deployment that is there, and what others did to it meanwhile:
//! the whole binary against a sandbox whose machines are records.

use crate::deployment;
use crate::deployment::{Deployment, Run};
use serde_json::json;

fn apply(deployment: &Deployment, set: &[&str]) -> Run {
    let mut arguments = vec!["--sandbox", "--json"];
    for setting in set {
        arguments.extend(["--set", setting]);
    }
    arguments.extend(["apply", "--yes", "--target", "compute.disk/dorainfra-data"]);
    arguments.extend(["--target", "storage.bucket/my-gcp-dorainfra-mimir"]);
    deployment.run(&arguments).ends_with(0)
}

/// What one resource's step changes, as `path: before → after`.
fn changes(run: &Run, id: &str) -> Vec<String> {
    let plan = &run.events("planned")[0]["plan"];
    let step = plan["steps"].as_array().unwrap().iter().find(|step| step["id"] == id).unwrap().clone();
    let changes = step["changes"].as_array().unwrap();
    changes
        .iter()
        .map(|c| format!("{}: {} → {}", c["path"].as_str().unwrap(), c["before"], c["after"]))
        .collect()
}

#[test]
fn a_label_that_left_the_configuration_is_taken_off() {
    let deployment = Deployment::of_records();
    apply(&deployment, &["labels.team=payments", "labels.env=prod"]);
    let run = apply(&deployment, &["labels.team=payments"]);
    for id in ["compute.disk/dorainfra-data", "storage.bucket/my-gcp-dorainfra-mimir"] {
        assert_eq!(changes(&run, id), [r#"labels.env: "prod" → null"#], "{id}");
    }
    let writes = deployment.changes().len();
    apply(&deployment, &["labels.team=payments"]);
    assert_eq!(deployment.changes().len(), writes, "nothing is left to change");
}

#[test]
fn a_bucket_with_old_versions_is_deleted_with_them() {
    let deployment = Deployment::of_records();
    apply(&deployment, &[]);
    let bucket = "storage/v1/b/my-gcp-dorainfra-mimir";
    let versioning = json!({"versioning": {"enabled": true}}).to_string();
    deployment.google("PATCH", bucket, &versioning);
    for body in ["one", "two", "three"] {
        let upload = format!("upload/{bucket}/o?uploadType=media&name=notes.txt");
        deployment.google("POST", &upload, body);
    }
    let versions = deployment.google("GET", &format!("{bucket}/o?versions=true&prefix=notes"), "");
    assert_eq!(versions["items"].as_array().unwrap().len(), 3, "{versions}");
    deployment.run(&["--sandbox", "destroy", "--yes", "--delete-data"]).ends_with(0);
    let buckets = deployment.google("GET", "storage/v1/b?project=my-gcp", "");
    assert_eq!(buckets.get("items").cloned().unwrap_or(json!([])), json!([]));
}

/// A deployment of the time when the machine could write to all of its bucket, the lease
/// included: no moment without a grant on the way from there.
#[test]
fn the_grant_of_an_earlier_version_is_narrowed_and_the_machine_never_without_one() {
    let deployment = Deployment::of_a_machine();
    let path = "storage/v1/b/my-gcp-dorainfra-mimir/iam?optionsRequestedPolicyVersion=3";
    let member = "serviceAccount:dorainfra-mimir@my-gcp.iam.gserviceaccount.com";
    let theirs = json!({"role": "roles/storage.objectViewer", "members": ["user:somebody@example.com"]});
    let admin = "roles/storage.objectAdmin";
    let grants = || {
        let policy = deployment.google("GET", path, "");
        let bindings = policy["bindings"].as_array().unwrap().clone();
        let ours = bindings.into_iter().filter(|binding| binding["members"].to_string().contains(member));
        let mut ours: Vec<String> = ours
            .map(|binding| {
                let on = if binding["condition"].is_null() { "always" } else { "on condition" };
                format!("{} {on}", binding["role"].as_str().unwrap())
            })
            .collect();
        ours.sort();
        (ours, policy)
    };
    let (ours, mut policy) = grants();
    let narrow = ["roles/storage.objectAdmin on condition", "roles/storage.objectViewer always"];
    assert_eq!(ours, narrow);
    policy["bindings"] = json!([theirs, {"role": admin, "members": [member]}]);
    deployment.google("PUT", path.split_once('?').unwrap().0, &policy.to_string());

    // One write for each: what it may go on to do is there before the other is taken away.
    let run = deployment
        .run(&["--sandbox", "--json", "apply", "--yes", "--target", deployment::MACHINE])
        .ends_with(0);
    let events: Vec<String> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|event| event["id"].as_str().is_some_and(|id| id.starts_with("storage.bucketIamBinding/")))
        .map(|event| format!("{} {}", event["type"], event["id"]).replace('"', ""))
        .filter(|event| event.starts_with("resource-started") || event.starts_with("resource-finished"))
        .collect();
    let (reads, objects) = (
        "storage.bucketIamBinding/dorainfra-mimir-reads",
        "storage.bucketIamBinding/dorainfra-mimir-objects",
    );
    let one_by_one = [reads, objects]
        .map(|id| ["started", "finished"].map(|what| format!("resource-{what} {id}")))
        .concat();
    assert_eq!(events, one_by_one);
    assert_eq!(run.machines_changed(), Vec::<String>::new(), "no machine is touched for it");
    let (ours, policy) = grants();
    assert_eq!(ours, narrow);
    assert_eq!(policy["bindings"][0]["members"][0], theirs["members"][0], "somebody else's stays");

    // Wider again by somebody's hand: told, and taken back.
    let mut wide = policy.clone();
    wide["bindings"].as_array_mut().unwrap().push(json!({"role": admin, "members": [member]}));
    deployment.google("PUT", path.split_once('?').unwrap().0, &wide.to_string());
    let plan = deployment.run(&["--sandbox", "--json", "plan"]).ends_with(0);
    let seen = changes(&plan, "storage.bucketIamBinding/dorainfra-mimir-objects");
    assert!(seen.iter().any(|change| change.starts_with("condition")), "{seen:?}");
    deployment.run(&["--sandbox", "apply", "--yes", "--target", deployment::MACHINE]).ends_with(0);
    assert_eq!(grants().0, narrow);
}

#[test]
fn a_zone_without_machines_is_told_with_the_regions_others() {
    let deployment = Deployment::of_records();
    let error = json!({"code": "ZONE_RESOURCE_POOL_EXHAUSTED", "message": "The zone does not have enough resources."});
    let fault = json!([{"api": "compute.instances.insert", "action": {"operationError": error}}]);
    deployment.control("PUT", "faults", Some(fault));
    let run = deployment.run(&["--sandbox", "apply", "--yes"]).ends_with(1);
    let all = format!("{}{}", run.stdout, run.stderr);
    assert!(all.contains("europe-west1-c, europe-west1-d"), "{all}");
}

#[test]
fn a_quota_that_is_used_up_is_named() {
    let deployment = Deployment::of_records();
    let error = json!({"code": "QUOTA_EXCEEDED", "message": "Quota 'SSD_TOTAL_GB' exceeded.  Limit: 250.0 in region europe-west1."});
    let fault = json!([{"api": "compute.disks.insert", "action": {"operationError": error}}]);
    deployment.control("PUT", "faults", Some(fault));
    let run = deployment.run(&["--sandbox", "apply", "--yes"]).ends_with(1);
    let all = format!("{}{}", run.stdout, run.stderr);
    assert!(all.contains("the quota SSD_TOTAL_GB"), "{all}");
}

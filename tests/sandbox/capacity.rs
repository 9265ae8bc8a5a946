//! What Compute refuses inside an operation, and what disks hold: quotas,
//! stock-outs, snapshots.
use std::fs;

use crate::sandbox_support::*;
use reqwest::Method;
use serde_json::{Value, json};

fn zonal(collection: &str) -> String {
    format!("zones/{ZONE}/{collection}")
}

async fn set(sandbox: &Sandbox, what: &str, body: Value) {
    let (status, answer) = sandbox.post(&format!("sandbox/{what}"), body).await;
    assert_eq!(status, 200, "{answer}");
}

/// The code and the message of the one error of an operation.
fn error(done: &Value) -> (String, String) {
    let error = &done["error"]["errors"][0];
    (error["code"].as_str().unwrap().to_owned(), error["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn quotas_end_in_the_operation() {
    let sandbox = start().await;
    let limit = |metric: &str, limit: Value| json!({"region": REGION, "metric": metric, "limit": limit});
    set(&sandbox, "quota", limit("CPUS", json!(2))).await;
    sandbox.insert(&zonal("instances"), instance("first")).await;
    let done = sandbox.operate(Method::POST, &zonal("instances"), Some(instance("second"))).await;
    let expected = format!("Quota 'CPUS' exceeded.  Limit: 2.0 in region {REGION}.");
    assert_eq!(error(&done), ("QUOTA_EXCEEDED".to_owned(), expected));
    assert_eq!(done["httpErrorStatusCode"], 403);
    sandbox.refused(Method::GET, &sandbox.compute(&zonal("instances/second")), None, 404).await;
    sandbox.refused(Method::GET, &sandbox.compute(&zonal("disks/second")), None, 404).await;
    let region = sandbox.read(&sandbox.compute(&format!("regions/{REGION}"))).await;
    let quotas = region["quotas"].as_array().unwrap();
    assert!(quotas.contains(&json!({"metric": "CPUS", "limit": 2.0, "usage": 2.0})), "{region}");
    // Elsewhere there is room, and so there is once the first is stopped.
    let mut elsewhere = instance("elsewhere");
    elsewhere["machineType"] = json!("zones/us-central1-a/machineTypes/e2-medium");
    sandbox.insert("zones/us-central1-a/instances", elsewhere).await;
    sandbox.operate(Method::POST, &zonal("instances/first/stop"), None).await;
    sandbox.insert(&zonal("instances"), instance("second")).await;
    let done = sandbox.operate(Method::POST, &zonal("instances/first/start"), None).await;
    assert_eq!(error(&done).0, "QUOTA_EXCEEDED");
    assert_eq!(sandbox.read(&sandbox.compute(&zonal("instances/first"))).await["status"], "TERMINATED");

    sandbox.insert(&zonal("disks"), json!({"name": "data", "sizeGb": "20"})).await;
    set(&sandbox, "quota", limit("DISKS_TOTAL_GB", json!(50))).await;
    let resize = zonal("disks/data/resize");
    let done = sandbox.operate(Method::POST, &resize, Some(json!({"sizeGb": "40"}))).await;
    assert_eq!(error(&done).0, "QUOTA_EXCEEDED");
    assert_eq!(sandbox.read(&sandbox.compute(&zonal("disks/data"))).await["sizeGb"], "20");
    set(&sandbox, "quota", limit("DISKS_TOTAL_GB", Value::Null)).await;
    sandbox.operate(Method::POST, &resize, Some(json!({"sizeGb": "40"}))).await;
    set(&sandbox, "quota", limit("STATIC_ADDRESSES", json!(0))).await;
    let addresses = format!("regions/{REGION}/addresses");
    let done = sandbox.operate(Method::POST, &addresses, Some(json!({"name": "front"}))).await;
    assert_eq!(error(&done).1, format!("Quota 'STATIC_ADDRESSES' exceeded.  Limit: 0.0 in region {REGION}."));
    let (status, _) = sandbox.post("sandbox/quota", limit("NOTHING", json!(1))).await;
    assert_eq!(status, 400);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_zone_can_be_out_of_machines() {
    let sandbox = start().await;
    set(&sandbox, "stockout", json!({"zone": ZONE})).await;
    let done = sandbox.operate(Method::POST, &zonal("instances"), Some(instance("vm"))).await;
    assert_eq!(
        error(&done),
        (
            "ZONE_RESOURCE_POOL_EXHAUSTED".to_owned(),
            format!(
                "The zone 'projects/{PROJECT}/zones/{ZONE}' does not have enough resources available to fulfill \
                 the request.  Try a different zone, or try again later."
            )
        )
    );
    sandbox.insert(&zonal("disks"), json!({"name": "data"})).await;
    set(&sandbox, "stockout", json!({"zone": ZONE, "available": true})).await;
    sandbox.insert(&zonal("instances"), instance("vm")).await;
    sandbox.stop().await;
}

#[tokio::test]
async fn snapshots_of_a_disk_and_disks_of_a_snapshot_are_limited() {
    let sandbox = start().await;
    sandbox.insert(&zonal("disks"), json!({"name": "data", "sizeGb": "20"})).await;
    sandbox.call(Method::PUT, "sandbox/profile", Some(json!({"snapshotsPace": true}))).await;
    let disk = |n: usize| json!({"name": format!("d{n}"), "sourceSnapshot": "global/snapshots/s0"});
    for n in 0..6 {
        sandbox.insert(&zonal("disks/data/createSnapshot"), json!({"name": format!("s{n}")})).await;
        sandbox.insert(&zonal("disks"), disk(n)).await;
    }
    for (path, body) in [("disks/data/createSnapshot", json!({"name": "s6"})), ("disks", disk(6))] {
        let refused = sandbox.operate(Method::POST, &zonal(path), Some(body)).await;
        assert_eq!(refused["error"]["errors"][0]["code"], "RESOURCE_OPERATION_RATE_EXCEEDED", "{refused}");
    }
    for path in ["global/snapshots/s6".to_owned(), zonal("disks/d6")] {
        sandbox.refused(Method::GET, &sandbox.compute(&path), None, 404).await;
    }
    // Another source has a limit of its own.
    sandbox.insert(&zonal("disks/d0/createSnapshot"), json!({"name": "of-another"})).await;
    sandbox.stop().await;
}

#[tokio::test]
async fn a_snapshot_keeps_what_the_disk_held() {
    let sandbox = start().await;
    let folder = |name: &str| sandbox.state.dir.join("disks").join(ZONE).join(name);
    sandbox.insert(&zonal("disks"), json!({"name": "data", "sizeGb": "20"})).await;
    fs::create_dir_all(folder("data").join("fs/tsdb")).unwrap();
    fs::write(folder("data").join("fs/tsdb/wal"), "before").unwrap();
    let snapshot = json!({"name": "snap", "labels": {"team": "a"}});
    sandbox.insert(&zonal("disks/data/createSnapshot"), snapshot.clone()).await;
    fs::write(folder("data").join("fs/tsdb/wal"), "after").unwrap();
    sandbox
        .refused(Method::POST, &sandbox.compute(&zonal("disks/data/createSnapshot")), Some(snapshot), 409)
        .await;
    let path = sandbox.compute("global/snapshots/snap");
    let read = sandbox.read(&path).await;
    assert_eq!((&read["status"], &read["diskSizeGb"]), (&json!("READY"), &json!("20")));
    assert!(read["sourceDisk"].as_str().unwrap().ends_with("/disks/data"));
    let labels = json!({"labels": {"team": "b"}, "labelFingerprint": read["labelFingerprint"]});
    sandbox.operate(Method::POST, "global/snapshots/snap/setLabels", Some(labels)).await;
    let list = sandbox.read(&format!("{}?filter=labels.team%3Db", sandbox.compute("global/snapshots"))).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);

    let disk =
        |size: Value| json!({"name": "restored", "sizeGb": size, "sourceSnapshot": "global/snapshots/snap"});
    let disks = sandbox.compute(&zonal("disks"));
    let message = sandbox.refused(Method::POST, &disks, Some(disk(json!("10"))), 400).await;
    assert!(message.contains("cannot be smaller"), "{message}");
    sandbox.insert(&zonal("disks"), disk(Value::Null)).await;
    let restored = sandbox.read(&format!("{disks}/restored")).await;
    assert_eq!((&restored["sizeGb"], &restored["sourceSnapshotId"]), (&json!("20"), &read["id"]));
    assert_eq!(fs::read_to_string(folder("restored").join("fs/tsdb/wal")).unwrap(), "before");
    // A disk outlives the snapshot that it came from, and the other way round.
    sandbox.operate(Method::DELETE, "global/snapshots/snap", None).await;
    sandbox.refused(Method::GET, &path, None, 404).await;
    assert!(!sandbox.state.dir.join("snapshots/snap").exists());
    assert!(folder("restored").join("fs/tsdb/wal").exists());
    let missing = sandbox.refused(Method::POST, &disks, Some(disk(Value::Null)), 409).await;
    assert!(missing.contains("already exists"), "{missing}");
    sandbox.insert("global/snapshots", json!({"name": "again", "sourceDisk": zonal("disks/restored")})).await;
    sandbox.operate(Method::DELETE, &zonal("disks/restored"), None).await;
    assert!(sandbox.state.dir.join("snapshots/again/fs/tsdb/wal").exists());
    sandbox.stop().await;
}

#[tokio::test]
async fn attached_disks_grow_and_are_let_go() {
    let sandbox = start().await;
    sandbox.insert(&zonal("disks"), json!({"name": "data", "sizeGb": "20"})).await;
    let mut body = instance("vm");
    body["disks"].as_array_mut().unwrap().push(json!({"source": zonal("disks/data"), "deviceName": "data"}));
    sandbox.insert(&zonal("instances"), body).await;
    sandbox.operate(Method::POST, &zonal("disks/data/resize"), Some(json!({"sizeGb": "30"}))).await;
    let path = sandbox.compute(&zonal("instances/vm"));
    assert_eq!(sandbox.read(&path).await["disks"][1]["diskSizeGb"], "30");
    let on = zonal("instances/vm/setDiskAutoDelete?autoDelete=true&deviceName=data");
    sandbox.operate(Method::POST, &on, None).await;
    let scheduling = json!({"automaticRestart": false});
    sandbox.operate(Method::POST, &zonal("instances/vm/setScheduling"), Some(scheduling)).await;
    let vm = sandbox.read(&path).await;
    assert_eq!(
        (&vm["scheduling"]["automaticRestart"], &vm["disks"][1]["autoDelete"]),
        (&json!(false), &json!(true))
    );
    let spot = json!({"provisioningModel": "SPOT"});
    sandbox
        .refused(Method::POST, &sandbox.compute(&zonal("instances/vm/setScheduling")), Some(spot), 400)
        .await;
    let protect = zonal("instances/vm/setDeletionProtection");
    sandbox.operate(Method::POST, &protect, None).await;
    let (_, body) = sandbox.delete(&path).await;
    assert_eq!(body["error"]["errors"][0]["reason"], "invalidResourceUsage");
    sandbox.operate(Method::POST, &format!("{protect}?deletionProtection=false"), None).await;
    sandbox.operate(Method::POST, &zonal("instances/vm/stop"), None).await;
    sandbox.refused(Method::GET, &format!("{path}/serialPort"), None, 400).await;
    sandbox.operate(Method::DELETE, &zonal("instances/vm"), None).await;
    sandbox.refused(Method::GET, &sandbox.compute(&zonal("disks/data")), None, 404).await;
    sandbox.stop().await;
}

#[tokio::test]
async fn lists_are_sorted_as_asked() {
    let sandbox = start().await;
    for name in ["b", "a", "c"] {
        sandbox.insert(&zonal("disks"), json!({"name": name})).await;
    }
    let disks = sandbox.compute(&zonal("disks"));
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap().iter();
        items.map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    let newest = format!("{disks}?orderBy=creationTimestamp%20desc&maxResults=2");
    let first = sandbox.read(&newest).await;
    assert_eq!(names(&first), ["c", "a"]);
    let token = first["nextPageToken"].as_str().unwrap();
    let second = sandbox.read(&format!("{newest}&pageToken={token}")).await;
    assert_eq!(names(&second), ["b"]);
    assert_eq!(names(&sandbox.read(&format!("{disks}?orderBy=name")).await), ["a", "b", "c"]);
    sandbox.refused(Method::GET, &format!("{disks}?orderBy=sizeGb"), None, 400).await;
    sandbox.stop().await;
}

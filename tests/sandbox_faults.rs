//! Faults by rule, and the list of requests.
#![allow(clippy::unwrap_used)]

mod sandbox_support;

use std::time::{Duration, Instant};

use reqwest::Method;
use sandbox_support::*;
use serde_json::{Value, json};

const BUCKET: &str = "fault-bucket";

#[tokio::test]
async fn the_nth_request_gets_the_status_of_the_rule() {
    let sandbox = start().await;
    sandbox
        .faults(json!([{"method": "GET", "path": "/storage/v1/b*", "nth": 2, "times": 1,
            "action": {"status": 429, "reason": "rateLimitExceeded"}}]))
        .await;
    let path = format!("storage/v1/b?project={PROJECT}");
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(sandbox.get(&path).await);
    }
    assert_eq!(statuses.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [200, 429, 200]);
    assert_eq!(statuses[1].1["error"]["errors"][0]["reason"], "rateLimitExceeded");
    sandbox.refused(Method::PUT, "sandbox/faults", Some(json!({"paht": "x"})), 400).await;
    sandbox.stop().await;
}

#[tokio::test]
async fn a_reset_comes_before_or_after_the_effect() {
    let sandbox = start().await;
    for (moment, there) in [("before", 404), ("after", 200)] {
        sandbox.faults(json!([{"api": "storage.buckets.insert", "action": {"reset": moment}}])).await;
        let request = sandbox
            .request(Method::POST, &format!("storage/v1/b?project={PROJECT}"))
            .json(&json!({"name": BUCKET}));
        let error = request.send().await.unwrap_err();
        assert!(!error.is_timeout(), "{error:?}");
        assert_eq!(sandbox.get(&format!("storage/v1/b/{BUCKET}")).await.0, there, "{moment}");
    }
    let log = sandbox.read("sandbox/requests").await;
    let cut = log["requests"].as_array().unwrap().iter().filter(|entry| entry["status"] == 0).count();
    assert_eq!(cut, 2);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_request_hangs_until_the_rule_is_removed() {
    let sandbox = start().await;
    sandbox.faults(json!([{"method": "POST", "api": "storage.*", "action": {"hang": "after"}}])).await;
    let request = sandbox
        .request(Method::POST, &format!("storage/v1/b?project={PROJECT}"))
        .json(&json!({"name": BUCKET}));
    let hanging = tokio::spawn(request.send());
    eventually("the effect is there", || async {
        sandbox.get(&format!("storage/v1/b/{BUCKET}")).await.0 == 200
    })
    .await;
    assert!(!hanging.is_finished());
    assert_eq!(sandbox.delete("sandbox/faults").await.0, 200);
    let answered = tokio::time::timeout(Duration::from_secs(10), hanging).await.unwrap().unwrap().unwrap();
    assert_eq!(answered.status(), 200);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_hanging_request_does_not_hold_the_end_up() {
    let sandbox = start().await;
    sandbox.faults(json!([{"api": "cloudresourcemanager.*", "action": {"hang": "before"}}])).await;
    let hanging = tokio::spawn(sandbox.request(Method::GET, &format!("v3/projects/{PROJECT}")).send());
    tokio::task::yield_now().await;
    tokio::time::timeout(Duration::from_secs(10), sandbox.stop()).await.unwrap();
    assert!(hanging.await.unwrap().is_err());
}

#[tokio::test]
async fn delays_and_failing_operations() {
    let sandbox = start().await;
    sandbox
        .faults(json!([
            {"api": "cloudresourcemanager.projects.get", "action": {"delayBeforeMs": 60, "delayAfterMs": 60}},
            {"api": "compute.disks.insert", "times": 1, "action": {"operationError":
                {"code": "QUOTA_EXCEEDED", "message": "Quota 'SSD_TOTAL_GB' exceeded.  Limit: 500.0"}}},
        ]))
        .await;
    let began = Instant::now();
    sandbox.read(&format!("v3/projects/{PROJECT}")).await;
    assert!(began.elapsed() >= Duration::from_millis(120));
    let disks = format!("zones/{ZONE}/disks");
    let failed = sandbox.operate(Method::POST, &disks, Some(json!({"name": "d"}))).await;
    assert_eq!(failed["error"]["errors"][0]["code"], "QUOTA_EXCEEDED");
    assert_eq!(failed["httpErrorStatusCode"], 403);
    assert_eq!(sandbox.get(&sandbox.compute(&format!("{disks}/d"))).await.0, 404, "nothing is left of it");
    sandbox.insert(&disks, json!({"name": "d"})).await;
    sandbox.stop().await;
}

#[tokio::test]
async fn latency_is_put_on_every_call_and_calls_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let mut slow = options(dir.path());
    slow.latency = Duration::from_millis(80);
    let sandbox = try_start(slow).await.unwrap();
    sandbox.delete("sandbox/requests").await;
    let began = Instant::now();
    sandbox.read(&format!("v3/projects/{PROJECT}")).await;
    assert!(began.elapsed() >= Duration::from_millis(80));
    sandbox.bucket(BUCKET).await;
    let log = sandbox.read("sandbox/requests").await;
    let entries: Vec<(&Value, &Value, &Value, &Value)> = log["requests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (&entry["caller"], &entry["api"], &entry["status"], &entry["write"]))
        .collect();
    assert_eq!(
        entries,
        [
            (&json!("owner"), &json!("cloudresourcemanager.projects.get"), &json!(200), &json!(false)),
            (&json!("owner"), &json!("storage.buckets.insert"), &json!(200), &json!(true)),
        ]
    );
    assert!(log["requests"][0]["latency_ms"].as_u64() >= Some(80));
    assert_eq!(sandbox.read("sandbox/caller").await, "127.0.0.1");
    sandbox.stop().await;
}

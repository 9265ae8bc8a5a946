//! Faults by rule, and the list of requests.
use std::time::{Duration, Instant};

use crate::sandbox_support::*;
use reqwest::Method;
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
    // Text with a line end, as services on the internet answer.
    assert_eq!(sandbox.read("sandbox/caller").await, "127.0.0.1\n");
    sandbox.stop().await;
}

#[tokio::test]
async fn an_answer_is_truncated_or_malformed() {
    let sandbox = start().await;
    let path = format!("v3/projects/{PROJECT}");
    let whole = sandbox.read(&path).await.to_string();
    sandbox.faults(json!([{"api": "cloudresourcemanager.*", "action": {"body": "truncated"}}])).await;
    let response = sandbox.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(
        (response.status(), response.content_length()),
        (reqwest::StatusCode::OK, Some(whole.len() as u64))
    );
    response.bytes().await.expect_err("the connection ends in the middle");
    sandbox.faults(json!([{"api": "cloudresourcemanager.*", "action": {"body": "malformed"}}])).await;
    let response = sandbox.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let half = response.text().await.unwrap();
    assert!(whole.starts_with(&half) && half.len() == whole.len() / 2, "{half}");
    sandbox.stop().await;
}

#[tokio::test]
async fn an_error_comes_although_the_effect_is_there() {
    let sandbox = start().await;
    sandbox
        .faults(json!([{"api": "storage.buckets.insert", "action": {"status": 503, "statusAt": "after"}}]))
        .await;
    let body = json!({"name": BUCKET});
    sandbox.refused(Method::POST, &format!("storage/v1/b?project={PROJECT}"), Some(body), 503).await;
    assert_eq!(sandbox.get(&format!("storage/v1/b/{BUCKET}")).await.0, 200);
    sandbox.stop().await;
}

#[tokio::test]
async fn chance_has_a_seed_and_a_rule_names_resources() {
    let sandbox = start().await;
    let path = format!("v3/projects/{PROJECT}");
    let mut runs = Vec::new();
    for _ in 0..2 {
        let rule =
            json!({"path": format!("/{path}"), "probability": 0.5, "seed": 3, "action": {"status": 500}});
        sandbox.faults(json!([rule])).await;
        let mut statuses = Vec::new();
        for _ in 0..20 {
            statuses.push(sandbox.get(&path).await.0);
        }
        runs.push(statuses);
    }
    assert_eq!(runs[0], runs[1]);
    assert!(runs[0].contains(&200) && runs[0].contains(&500), "{:?}", runs[0]);
    assert_eq!(sandbox.get(&sandbox.compute("zones")).await.0, 200, "another resource");
    sandbox.stop().await;
}

#[tokio::test]
async fn operations_hang_fail_and_are_throttled_while_they_are_polled() {
    let sandbox = start().await;
    sandbox
        .faults(json!([
            {"api": "compute.disks.insert", "times": 1, "action": {"operationMs": 3_600_000}},
            {"api": "compute.zoneOperations.*", "times": 1, "action": {"status": 429, "reason": "rateLimitExceeded"}},
        ]))
        .await;
    let disks = sandbox.compute(&format!("zones/{ZONE}/disks"));
    let (status, operation) = sandbox.post(&disks, json!({"name": "slow"})).await;
    assert_eq!(status, 200, "{operation}");
    let path = sandbox.compute(&format!("zones/{ZONE}/operations/{}", operation["name"].as_str().unwrap()));
    let (status, throttled) = sandbox.get(&path).await;
    assert_eq!((status, &throttled["error"]["errors"][0]["domain"]), (429, &json!("usageLimits")));
    assert_ne!(sandbox.read(&path).await["status"], "DONE", "it hangs");
    assert_eq!(sandbox.read(&format!("{disks}/slow")).await["status"], "CREATING");
    sandbox.stop().await;
}

#[tokio::test]
async fn what_is_said_is_listed_without_secrets_where_the_switch_is_on() {
    let sandbox = start().await;
    let secrets = format!("v1/projects/{PROJECT}/secrets");
    sandbox.post(&format!("{secrets}?secretId=s"), json!({"replication": {"automatic": {}}})).await;
    let log = sandbox.read("sandbox/requests").await;
    assert!(
        log["requests"].as_array().unwrap().iter().all(|entry| entry["bodies"].is_null()),
        "off by default"
    );
    sandbox.call(Method::PUT, "sandbox/recording", Some(json!({"bodies": true}))).await;
    sandbox.delete("sandbox/requests").await;
    let payload = json!({"payload": {"data": "c2VjcmV0"}});
    sandbox.post(&format!("{secrets}/s:addVersion"), payload).await;
    let read = sandbox.read(&format!("{secrets}/s/versions/latest:access")).await;
    assert_eq!(read["payload"]["data"], "c2VjcmV0", "the answer itself is whole");
    sandbox.get(&format!("{secrets}/s?access_token={}", sandbox.token)).await;
    sandbox.owner_token(SCOPE).await;
    let log = sandbox.read("sandbox/requests").await;
    let entries = log["requests"].as_array().unwrap();
    assert_eq!(entries.len(), 4);
    assert_eq!(entries[0]["bodies"]["request"], json!({"payload": {"data": "aGlkZGVu"}}));
    let text = log.to_string();
    assert!(
        !text.contains("c2VjcmV0") && !text.contains(&sandbox.token) && !text.contains("ya29."),
        "{text}"
    );
    assert!(entries[3]["bodies"].is_null(), "tokens' bodies are not kept at all");
    sandbox.stop().await;
}

#[tokio::test]
async fn what_is_not_served_is_refused_by_its_name() {
    let sandbox = start().await;
    for (method, path, name) in [
        (Method::GET, sandbox.compute("global/urlMaps"), "compute.urlMaps.list"),
        (Method::GET, "storage/v1/b/some-bucket/folders".to_owned(), "storage.folders.list"),
        (Method::GET, format!("v1/projects/{PROJECT}/locations"), "secretmanager.projects.locations.list"),
        (Method::POST, "batches/storage/v1".to_owned(), "POST /batches/storage/v1"),
    ] {
        let message = sandbox.refused(method, &path, None, 501).await;
        assert_eq!(message, format!("The sandbox does not serve {name}."));
    }
    sandbox.stop().await;
}

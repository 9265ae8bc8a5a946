//! Secret Manager.
use crate::sandbox_support::*;
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn versions_are_added_read_disabled_and_destroyed() {
    let sandbox = start().await;
    let secrets = format!("v1/projects/{PROJECT}/secrets");
    let body = json!({"replication": {"automatic": {}}, "labels": {"managed-by": "dorainfra"}});
    let (status, secret) = sandbox.post(&format!("{secrets}?secretId=ca"), body.clone()).await;
    assert_eq!(status, 200, "{secret}");
    let name = secret["name"].as_str().unwrap();
    assert!(name.starts_with("projects/") && !name.contains(PROJECT), "names carry the number: {name}");
    sandbox.refused(Method::POST, &format!("{secrets}?secretId=ca"), Some(body), 409).await;
    sandbox.refused(Method::POST, &format!("{secrets}?secretId=a.b"), Some(json!({})), 400).await;
    sandbox.refused(Method::POST, &format!("{secrets}?secretId=x"), Some(json!({})), 400).await;

    let ca = format!("{secrets}/ca");
    let latest = format!("{ca}/versions/latest");
    sandbox.refused(Method::GET, &format!("{latest}:access"), None, 404).await;
    let add = format!("{ca}:addVersion");
    let (_, first) = sandbox.post(&add, json!({"payload": {"data": "aGVsbG8="}})).await;
    assert_eq!((&first["state"], &first["name"]), (&json!("ENABLED"), &json!(format!("{name}/versions/1"))));
    let sum = crc32c::crc32c(b"world").to_string();
    let (status, _) = sandbox.post(&add, json!({"payload": {"data": "d29ybGQ=", "dataCrc32c": sum}})).await;
    assert_eq!(status, 200);
    sandbox
        .refused(Method::POST, &add, Some(json!({"payload": {"data": "d29ybGQ=", "dataCrc32c": "1"}})), 400)
        .await;
    sandbox.refused(Method::POST, &add, Some(json!({"payload": {"data": "***"}})), 400).await;
    let access = sandbox.read(&format!("{latest}:access")).await;
    assert_eq!(
        (&access["payload"]["data"], &access["payload"]["dataCrc32c"]),
        (&json!("d29ybGQ="), &json!(sum))
    );
    let versions = sandbox.read(&format!("{ca}/versions")).await;
    assert_eq!((&versions["totalSize"], &versions["versions"][0]["name"]), (&json!(2), &access["name"]));

    assert_eq!(sandbox.post(&format!("{ca}/versions/2:disable"), json!({})).await.1["state"], "DISABLED");
    let message = sandbox.refused(Method::GET, &format!("{latest}:access"), None, 400).await;
    assert!(message.ends_with("is in DISABLED state."), "{message}");
    assert_eq!(sandbox.post(&format!("{ca}/versions/2:enable"), json!({})).await.1["state"], "ENABLED");
    assert_eq!(sandbox.post(&format!("{ca}/versions/1:destroy"), json!({})).await.1["state"], "DESTROYED");
    sandbox.refused(Method::GET, &format!("{ca}/versions/1:access"), None, 400).await;
    sandbox.refused(Method::GET, &format!("{ca}/versions/9"), None, 404).await;
    sandbox.stop().await;
}

#[tokio::test]
async fn secrets_are_listed_by_label_and_changed_under_a_mask() {
    let sandbox = start().await;
    let secrets = format!("v1/projects/{PROJECT}/secrets");
    for (id, deployment) in [("a", "one"), ("b", "two")] {
        let body = json!({"replication": {"automatic": {}}, "labels": {"deployment": deployment}});
        sandbox.post(&format!("{secrets}?secretId={id}"), body).await;
    }
    let found = sandbox.read(&format!("{secrets}?filter=labels.deployment%3Dtwo")).await;
    assert_eq!(found["totalSize"], 1);
    let a = format!("{secrets}/a");
    sandbox.refused(Method::PATCH, &a, Some(json!({"labels": {"x": "y"}})), 400).await;
    let path = format!("{a}?updateMask=labels");
    let (status, patched) = sandbox.call(Method::PATCH, &path, Some(json!({"labels": {"x": "y"}}))).await;
    assert_eq!((status, &patched["labels"]), (200, &json!({"x": "y"})));
    let stale = json!({"labels": {}, "etag": "\"0\""});
    sandbox.refused(Method::PATCH, &path, Some(stale), 400).await;
    let replication = format!("{a}?updateMask=replication");
    sandbox.refused(Method::PATCH, &replication, Some(json!({"replication": {"automatic": {}}})), 400).await;
    assert_eq!(sandbox.delete(&a).await.0, 200);
    sandbox.refused(Method::GET, &a, None, 404).await;
    sandbox.stop().await;
}

#[tokio::test]
async fn a_secret_is_kept_only_where_there_is_a_region() {
    let sandbox = start().await;
    let path = format!("v1/projects/{PROJECT}/secrets?secretId=s");
    let at = |place: &str| json!({"replication": {"userManaged": {"replicas": [{"location": place}]}}});
    for place in ["europe-west99", "europe-west1-b", "EU", ""] {
        let refused = sandbox.refused(Method::POST, &path, Some(at(place)), 400).await;
        assert!(refused.contains("location"), "{place}: {refused}");
    }
    assert_eq!(sandbox.post(&path, at("europe-west1")).await.0, 200);
    sandbox.stop().await;
}

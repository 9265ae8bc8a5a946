//! Compute: lists, firewall rules, snapshot schedules, the catalogue.
use crate::sandbox_support::*;
use reqwest::Method;
use serde_json::{Value, json};

fn zonal(collection: &str) -> String {
    format!("zones/{ZONE}/{collection}")
}

#[tokio::test]
async fn lists_are_filtered_in_pages_and_over_all_scopes() {
    let sandbox = start().await;
    for (name, team) in [("a", "x"), ("b", "x"), ("c", "y")] {
        sandbox.insert(&zonal("disks"), json!({"name": name, "labels": {"team": team}})).await;
    }
    sandbox.insert("zones/us-central1-a/disks", json!({"name": "d", "labels": {"team": "x"}})).await;
    let disks = sandbox.compute(&zonal("disks"));
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&sandbox.read(&format!("{disks}?filter=labels.team%3Dx")).await), ["a", "b"]);
    let first = sandbox.read(&format!("{disks}?maxResults=2")).await;
    assert_eq!(names(&first), ["a", "b"]);
    let token = first["nextPageToken"].as_str().unwrap();
    let rest = sandbox.read(&format!("{disks}?maxResults=2&pageToken={token}")).await;
    assert_eq!(names(&rest), ["c"]);
    assert!(rest["nextPageToken"].is_null());
    sandbox.refused(Method::GET, &format!("{disks}?filter=nonsense"), None, 400).await;
    let all = sandbox.read(&format!("{}?filter=labels.team%3Dx", sandbox.compute("aggregated/disks"))).await;
    let scopes = all["items"].as_object().unwrap();
    assert_eq!(scopes[&format!("zones/{ZONE}")]["disks"].as_array().unwrap().len(), 2);
    assert_eq!(scopes["zones/us-central1-a"]["disks"].as_array().unwrap().len(), 1);
    assert_eq!(scopes["zones/us-east1-b"]["warning"]["code"], "NO_RESULTS_ON_PAGE");
    for collection in ["instances", "addresses", "resourcePolicies"] {
        sandbox.read(&sandbox.compute(&format!("aggregated/{collection}"))).await;
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn firewalls_and_schedules() {
    let sandbox = start().await;
    let rule = json!({"name": "ssh", "allowed": [{"IPProtocol": "tcp", "ports": ["22"]}],
        "sourceRanges": ["35.235.240.0/20"], "description": "a"});
    sandbox.insert("global/firewalls", rule).await;
    let path = sandbox.compute("global/firewalls/ssh");
    let read = sandbox.read(&path).await;
    assert_eq!((&read["direction"], &read["priority"]), (&json!("INGRESS"), &json!(1000)));
    assert!(read["network"].as_str().unwrap().ends_with("/global/networks/default"));
    let patch = json!({"sourceRanges": ["10.0.0.0/8"]});
    sandbox.operate(Method::PATCH, "global/firewalls/ssh", Some(patch)).await;
    let read = sandbox.read(&path).await;
    assert_eq!((&read["sourceRanges"], &read["description"]), (&json!(["10.0.0.0/8"]), &json!("a")));
    let bad = json!({"name": "bad", "allowed": [{"IPProtocol": "tcp"}], "sourceRanges": ["10.0.0.1/8"]});
    sandbox.refused(Method::POST, &sandbox.compute("global/firewalls"), Some(bad), 400).await;
    sandbox.operate(Method::DELETE, "global/firewalls/ssh", None).await;
    sandbox.refused(Method::GET, &path, None, 404).await;

    let schedule = json!({"name": "daily", "snapshotSchedulePolicy": {
        "schedule": {"dailySchedule": {"daysInCycle": 1, "startTime": "04:00"}},
        "retentionPolicy": {"maxRetentionDays": 14}}});
    let policies = format!("regions/{REGION}/resourcePolicies");
    sandbox.insert(&policies, schedule).await;
    sandbox.insert(&zonal("disks"), json!({"name": "data"})).await;
    let link = json!({"resourcePolicies": [format!("projects/{PROJECT}/{policies}/daily")]});
    sandbox.operate(Method::POST, &zonal("disks/data/addResourcePolicies"), Some(link.clone())).await;
    let daily = sandbox.compute(&format!("{policies}/daily"));
    sandbox.refused(Method::DELETE, &daily, None, 400).await;
    let patch = json!({"description": "new"});
    sandbox.operate(Method::PATCH, &format!("{policies}/daily"), Some(patch)).await;
    assert_eq!(sandbox.read(&daily).await["description"], "new");
    sandbox.operate(Method::POST, &zonal("disks/data/removeResourcePolicies"), Some(link)).await;
    sandbox.operate(Method::DELETE, &format!("{policies}/daily"), None).await;
    let resize = zonal("disks/data/resize");
    sandbox.operate(Method::POST, &resize, Some(json!({"sizeGb": 600}))).await;
    assert_eq!(sandbox.read(&sandbox.compute(&zonal("disks/data"))).await["sizeGb"], "600");
    sandbox.refused(Method::POST, &sandbox.compute(&resize), Some(json!({"sizeGb": "10"})), 400).await;
    sandbox.stop().await;
}

#[tokio::test]
async fn the_catalogue_is_there() {
    let sandbox = start().await;
    for path in [
        "zones",
        "regions",
        "global/networks",
        "global/networks/default",
        &format!("regions/{REGION}"),
        &format!("regions/{REGION}/subnetworks"),
        &format!("regions/{REGION}/subnetworks/default"),
        &zonal("machineTypes"),
        &zonal("machineTypes/e2-medium"),
        &format!("zones/{ZONE}"),
        &zonal("operations"),
        "global/operations",
    ] {
        sandbox.read(&sandbox.compute(path)).await;
    }
    sandbox.read(&format!("compute/v1/projects/{PROJECT}")).await;
    let image = sandbox.read("compute/v1/projects/debian-cloud/global/images/family/debian-12").await;
    assert_eq!(image["family"], "debian-12");
    sandbox.refused(Method::GET, &sandbox.compute(&zonal("machineTypes/x")), None, 404).await;
    sandbox.stop().await;
}

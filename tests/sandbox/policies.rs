//! The sandbox refuses as Google does what an organisation rules out and what nobody pays
//! for, and takes addresses as Google does.

use crate::sandbox_support::{PROJECT, REGION, Sandbox, ZONE, instance, options, start, try_start};
use reqwest::Method;
use serde_json::{Value, json};

async fn rule(sandbox: &Sandbox, policy: Value) {
    let (status, answer) = sandbox.call(Method::PUT, "sandbox/policies", Some(json!([policy]))).await;
    assert_eq!(status, 200, "{answer}");
}

fn enforced(constraint: &str) -> Value {
    json!({"constraint": format!("constraints/{constraint}"), "booleanPolicy": {"enforced": true}})
}

fn allowed(constraint: &str, values: &[&str]) -> Value {
    json!({"constraint": format!("constraints/{constraint}"), "listPolicy": {"allowedValues": values}})
}

/// What an insert of an instance says that differs from a small one.
fn machine(more: Value) -> Value {
    let mut body = instance("m");
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[tokio::test]
async fn policies_refuse_in_the_words_of_each_api() {
    let sandbox = start().await;
    let instances = format!("compute/v1/projects/{PROJECT}/zones/{ZONE}/instances");
    let (buckets, secrets) =
        (format!("storage/v1/b?project={PROJECT}"), format!("v1/projects/{PROJECT}/secrets?secretId=s"));
    let external =
        json!({"networkInterfaces": [{"network": "global/networks/default", "accessConfigs": [{}]}]});
    let off = json!({"metadata": {"items": [{"key": "enable-oslogin", "value": "FALSE"}]}});
    let automatic = json!({"replication": {"automatic": {}}});
    let elsewhere = json!({"replication": {"userManaged": {"replicas": [{"location": "us-east1"}]}}});
    let place = || allowed("gcp.resourceLocations", &["in:europe-west1-locations"]);
    let fine = json!({"name": "b-1", "location": "US"});
    for (policy, path, body, status, words) in [
        (
            allowed("compute.vmExternalIpAccess", &["nobody"]),
            &instances,
            machine(external),
            412,
            format!("Add instance projects/{PROJECT}/zones/{ZONE}/instances/m to the constraint"),
        ),
        (
            enforced("compute.requireShieldedVm"),
            &instances,
            machine(json!({})),
            412,
            "constraints/compute.requireShieldedVm violated for project".into(),
        ),
        (
            enforced("compute.requireOsLogin"),
            &instances,
            machine(off),
            412,
            "constraints/compute.requireOsLogin".into(),
        ),
        (
            allowed("gcp.resourceLocations", &["us-east1"]),
            &instances,
            machine(json!({})),
            412,
            format!(
                "Location ZONE:{ZONE} violates constraint constraints/gcp.resourceLocations on the resource"
            ),
        ),
        (
            place(),
            &buckets,
            fine.clone(),
            412,
            "'us' violates constraint 'constraints/gcp.resourceLocations'".into(),
        ),
        (
            enforced("storage.uniformBucketLevelAccess"),
            &buckets,
            fine,
            412,
            "Request violates constraint 'constraints/storage.uniformBucketLevelAccess'".into(),
        ),
        (place(), &secrets, automatic.clone(), 400, "attempting to create a secret in [global]".into()),
        (place(), &secrets, elsewhere, 400, "attempting to create a secret in [us-east1]".into()),
        (
            enforced("iam.disableServiceAccountCreation"),
            &format!("v1/projects/{PROJECT}/serviceAccounts"),
            json!({"accountId": "a-machine"}),
            400,
            "Service account creation is not allowed on this project.".into(),
        ),
    ] {
        rule(&sandbox, policy).await;
        let message = sandbox.refused(Method::POST, path, Some(body), status).await;
        assert!(message.contains(&words), "{message}");
    }
    // What obeys passes, and what was made before stays.
    sandbox.operate(Method::POST, &format!("zones/{ZONE}/instances"), Some(machine(json!({})))).await;
    rule(&sandbox, enforced("compute.disableGuestAttributesAccess")).await;
    let path = format!("{instances}/m/getGuestAttributes");
    assert!(sandbox.refused(Method::GET, &path, None, 412).await.contains("disableGuestAttributesAccess"));
    let effective = format!("v1/projects/{PROJECT}:getEffectiveOrgPolicy");
    let asked = json!({"constraint": "constraints/compute.disableGuestAttributesAccess"});
    let (_, policy) = sandbox.post(&effective, asked).await;
    assert_eq!(policy["booleanPolicy"]["enforced"], true, "{policy}");
    let (_, policy) =
        sandbox.post(&effective, json!({"constraint": "constraints/gcp.resourceLocations"})).await;
    assert_eq!(policy["listPolicy"]["allValues"], "ALLOW", "{policy}");
}

#[tokio::test]
async fn what_costs_money_is_not_enabled_where_nobody_pays() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = try_start(options(dir.path())).await.unwrap();
    sandbox.call(Method::PUT, "sandbox/billing", Some(json!({"enabled": false}))).await;
    let path = format!("v1/projects/{PROJECT}/services:batchEnable");
    let body = json!({"serviceIds": ["compute.googleapis.com", "iam.googleapis.com"]});
    let (status, answer) = sandbox.post(&path, body).await;
    assert_eq!((status, &answer["error"]["status"]), (400, &json!("FAILED_PRECONDITION")), "{answer}");
    assert!(answer.to_string().contains("UREQ_PROJECT_BILLING_NOT_FOUND"), "{answer}");
    let (status, answer) = sandbox.post(&path, json!({"serviceIds": ["iam.googleapis.com"]})).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn a_stop_takes_an_address_that_is_not_static_and_a_start_gives_another() {
    let sandbox = start().await;
    let external =
        json!({"networkInterfaces": [{"network": "global/networks/default", "accessConfigs": [{}]}]});
    let zone = format!("zones/{ZONE}/instances");
    sandbox.operate(Method::POST, &zone, Some(machine(external))).await;
    let read =
        async || sandbox.read(&sandbox.compute(&format!("{zone}/m"))).await["networkInterfaces"][0].clone();
    let first = read().await;
    assert!(first["accessConfigs"][0]["natIP"].is_string(), "{first}");
    sandbox.operate(Method::POST, &format!("{zone}/m/stop"), None).await;
    let stopped = read().await;
    assert!(stopped["accessConfigs"][0]["natIP"].is_null(), "{stopped}");
    // Somebody else may have it by now.
    sandbox.insert(&format!("regions/{REGION}/addresses"), json!({"name": "theirs"})).await;
    sandbox.operate(Method::POST, &format!("{zone}/m/start"), None).await;
    let again = read().await;
    assert!(again["accessConfigs"][0]["natIP"].is_string(), "{again}");
    assert_ne!(again["accessConfigs"][0]["natIP"], first["accessConfigs"][0]["natIP"]);
    assert_eq!(again["networkIP"], first["networkIP"]);
}

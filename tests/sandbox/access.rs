//! Tokens, services, permissions, policies: who may do what.
use std::sync::{Arc, Mutex};

use crate::sandbox_support::*;
use dorainfra_gcp_sandbox::machine::{NoMachines, World};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn a_call_without_a_good_token_is_unauthenticated() {
    let sandbox = start().await;
    for token in [None, Some("nonsense"), Some("ya29.e30.AAAA")] {
        let mut request = sandbox.http.get(sandbox.url(&format!("v3/projects/{PROJECT}")));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let (status, body) = answer(request.send().await.unwrap()).await;
        assert_eq!((status, &body["error"]["status"]), (401, &json!("UNAUTHENTICATED")));
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn the_token_endpoint_refuses_in_oauths_words() {
    let sandbox = start().await;
    for (form, error) in [
        ("grant_type=password&username=x&password=x", "unsupported_grant_type"),
        ("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=a.b.c", "invalid_grant"),
        // A login that is none, or has ended.
        ("grant_type=refresh_token&refresh_token=x", "invalid_grant"),
    ] {
        let request = sandbox.http.post(sandbox.url("token")).body(form);
        let (status, body) = answer(request.send().await.unwrap()).await;
        assert_eq!((status, &body["error"]), (400, &json!(error)), "{form}");
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn a_service_has_to_be_enabled_first() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = try_start(options(dir.path())).await.unwrap();
    let (status, body) = sandbox.get(&sandbox.compute("zones")).await;
    assert_eq!(status, 403);
    let error = &body["error"];
    assert_eq!(error["errors"][0]["reason"], "accessNotConfigured");
    let info = error["details"]
        .as_array()
        .unwrap()
        .iter()
        .find(|each| each["reason"] == "SERVICE_DISABLED")
        .unwrap();
    assert_eq!(info["metadata"]["service"], "compute.googleapis.com");
    let names = format!("names=projects/{PROJECT}/services/compute.googleapis.com");
    let batch = format!("v1/projects/{PROJECT}/services:batchGet?{names}");
    assert_eq!(sandbox.read(&batch).await["services"][0]["state"], "DISABLED");
    sandbox.enable().await;
    assert_eq!(sandbox.read(&batch).await["services"][0]["state"], "ENABLED");
    assert_eq!(sandbox.get(&sandbox.compute("zones")).await.0, 200);
    let again = sandbox
        .post(
            &format!("v1/projects/{PROJECT}/services:batchEnable"),
            json!({"serviceIds": ["compute.googleapis.com"]}),
        )
        .await;
    assert_eq!(again.1["done"], true, "nothing to do is done at once");
    let path = format!("v1/projects/{PROJECT}/services:batchEnable");
    sandbox.refused(Method::POST, &path, Some(json!({"serviceIds": ["no.such"]})), 403).await;
    sandbox.stop().await;
}

#[tokio::test]
async fn an_unknown_project_is_refused_as_each_api_does() {
    let sandbox = start().await;
    for (path, status) in [
        ("compute/v1/projects/nobody/zones", 404),
        ("v3/projects/nobody", 403),
        ("v1/projects/nobody/secrets", 403),
        ("v1/projects/nobody/serviceAccounts", 403),
        ("storage/v1/b?project=nobody", 400),
        ("v1/projects/nobody/services/iam.googleapis.com", 403),
    ] {
        let (found, body) = sandbox.get(path).await;
        assert_eq!(found, status, "{path}: {body}");
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn a_denied_permission_is_named() {
    let sandbox = start().await;
    let deny = |permission: &str| json!({"member": "owner", "permission": permission});
    sandbox.post("sandbox/deny", deny("compute.disks.create")).await;
    let disks = sandbox.compute(&format!("zones/{ZONE}/disks"));
    let message = sandbox.refused(Method::POST, &disks, Some(json!({"name": "d"})), 403).await;
    assert_eq!(
        message,
        format!("Required 'compute.disks.create' permission for 'projects/{PROJECT}/zones/{ZONE}/disks/d'")
    );
    let path = format!("v3/projects/{PROJECT}:testIamPermissions");
    let asked = json!({"permissions": ["compute.disks.create", "compute.disks.get"]});
    assert_eq!(sandbox.post(&path, asked.clone()).await.1["permissions"], json!(["compute.disks.get"]));
    let mut allow = deny("compute.disks.create");
    allow["allow"] = json!(true);
    sandbox.post("sandbox/deny", allow).await;
    assert_eq!(sandbox.post(&path, asked).await.1["permissions"].as_array().unwrap().len(), 2);

    sandbox.post("sandbox/deny", deny("storage.buckets.create")).await;
    let body = json!({"name": "some-bucket"});
    let message =
        sandbox.refused(Method::POST, &format!("storage/v1/b?project={PROJECT}"), Some(body), 403).await;
    let words = " does not have storage.buckets.create access to the Google Cloud project. Permission \
                 'storage.buckets.create' denied on resource (or it may not exist).";
    assert!(message.ends_with(words), "{message}");
    sandbox.post("sandbox/deny", deny("secretmanager.versions.access")).await;
    let path = format!("v1/projects/{PROJECT}/secrets/s/versions/1:access");
    let message = sandbox.refused(Method::GET, &path, None, 403).await;
    assert_eq!(
        message,
        format!(
            "Permission 'secretmanager.versions.access' denied for resource \
             'projects/{PROJECT}/secrets/s/versions/1' (or it may not exist)."
        )
    );
    sandbox.post("sandbox/deny", deny("secretmanager.secrets.create")).await;
    let path = format!("v1/projects/{PROJECT}/secrets?secretId=s");
    let (status, body) = sandbox.post(&path, json!({"replication": {"automatic": {}}})).await;
    assert_eq!((status, &body["error"]["status"]), (403, &json!("PERMISSION_DENIED")));
    assert_eq!(body["error"]["details"][0]["metadata"]["permission"], "secretmanager.secrets.create");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_machine_with_an_account_that_one_may_not_use_ends_in_its_operation() {
    let sandbox = start().await;
    let account = sandbox.account("runner").await;
    sandbox.post("sandbox/deny", json!({"member": "owner", "permission": "iam.serviceAccounts.actAs"})).await;
    let mut body = instance("vm");
    body["serviceAccounts"] = json!([{"email": account, "scopes": [SCOPE]}]);
    let done = sandbox.operate(Method::POST, &format!("zones/{ZONE}/instances"), Some(body)).await;
    let error = &done["error"]["errors"][0];
    assert_eq!(error["code"], "SERVICE_ACCOUNT_ACCESS_DENIED", "{done}");
    let words = format!("The user does not have access to service account '{account}'.  User: '");
    assert!(error["message"].as_str().unwrap().starts_with(&words), "{error}");
    for left in ["instances/vm", "disks/vm"] {
        sandbox.refused(Method::GET, &sandbox.compute(&format!("zones/{ZONE}/{left}")), None, 404).await;
    }
    sandbox.stop().await;
}

/// A world that the test gets hold of.
async fn with_world() -> (Sandbox, Arc<dyn World>) {
    let kept: Arc<Mutex<Option<Arc<dyn World>>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let sandbox = start_with(move |world| {
        *keep.lock().unwrap() = Some(world);
        Arc::new(NoMachines)
    })
    .await;
    let world = kept.lock().unwrap().clone().unwrap();
    (sandbox, world)
}

async fn grant(sandbox: &Sandbox, policy: &str, role: &str, member: &str) -> (u16, Value) {
    let mut current = sandbox.read(policy).await;
    let binding = json!({"role": role, "members": [member]});
    match current["bindings"].as_array_mut() {
        Some(bindings) => bindings.push(binding),
        None => current["bindings"] = json!([binding]),
    }
    if policy.starts_with("storage") {
        sandbox.call(Method::PUT, policy, Some(current)).await
    } else {
        let path = policy.replace(":getIamPolicy", ":setIamPolicy");
        sandbox.post(&path, json!({"policy": current})).await
    }
}

#[tokio::test]
async fn a_machine_may_do_what_its_bindings_grant_and_no_more() {
    let (mut sandbox, world) = with_world().await;
    let email = sandbox.account("machine-account").await;
    let member = format!("serviceAccount:{email}");
    sandbox.bucket("machine-bucket").await;
    sandbox.upload("machine-bucket", "a", b"x").await;
    let owner = sandbox.token.clone();
    let secret = format!("v1/projects/{PROJECT}/secrets/s");
    let create = format!("v1/projects/{PROJECT}/secrets?secretId=s");
    sandbox.post(&create, json!({"replication": {"automatic": {}}})).await;
    sandbox.post(&format!("{secret}:addVersion"), json!({"payload": {"data": "aGVsbG8="}})).await;

    let (token, lifetime) = world.token(ZONE, "some-machine", &email, &[SCOPE.to_owned()]);
    assert!(lifetime > 3000);
    let object = "storage/v1/b/machine-bucket/o/a";
    let access = format!("{secret}/versions/latest:access");
    sandbox.token.clone_from(&token);
    assert_eq!(sandbox.get(object).await.0, 403);
    assert_eq!(sandbox.get(&access).await.0, 403);
    assert_eq!(sandbox.get(&sandbox.compute("zones")).await.0, 403);

    sandbox.token.clone_from(&owner);
    let bucket_policy = "storage/v1/b/machine-bucket/iam";
    assert_eq!(grant(&sandbox, bucket_policy, "roles/storage.objectAdmin", &member).await.0, 200);
    let secret_policy = format!("{secret}:getIamPolicy");
    assert_eq!(grant(&sandbox, &secret_policy, "roles/secretmanager.secretAccessor", &member).await.0, 200);

    sandbox.token.clone_from(&token);
    assert_eq!(sandbox.get(object).await.0, 200);
    assert_eq!(sandbox.get("storage/v1/b/machine-bucket").await.0, 403, "objectAdmin sees no bucket");
    assert_eq!(sandbox.read(&access).await["payload"]["data"], "aGVsbG8=");
    assert_eq!(sandbox.get(&secret).await.0, 403, "the accessor sees payloads only");

    // A scope that is too small is another refusal.
    let read_only = "https://www.googleapis.com/auth/devstorage.read_only".to_owned();
    sandbox.token = world.token(ZONE, "some-machine", &email, &[read_only]).0;
    assert_eq!(sandbox.get(object).await.0, 200);
    let (status, body) = sandbox.delete(object).await;
    assert_eq!(
        (status, &body["error"]["details"][0]["reason"]),
        (403, &json!("ACCESS_TOKEN_SCOPE_INSUFFICIENT"))
    );

    // A deleted account is nobody; a new one of its name has none of its grants.
    sandbox.token.clone_from(&owner);
    let accounts = format!("v1/projects/{PROJECT}/serviceAccounts");
    assert_eq!(sandbox.delete(&format!("{accounts}/{email}")).await.0, 200);
    let members = sandbox.read(bucket_policy).await["bindings"].to_string();
    assert!(members.contains("deleted:serviceAccount:machine-account@"), "{members}");
    sandbox.token.clone_from(&token);
    assert_eq!(sandbox.get(object).await.0, 401);
    sandbox.token.clone_from(&owner);
    sandbox.account("machine-account").await;
    sandbox.token = world.token(ZONE, "some-machine", &email, &[SCOPE.to_owned()]).0;
    assert_eq!(sandbox.get(object).await.0, 403);
    sandbox.stop().await;
}

/// The condition as `apply` writes it, on every way in which an object can be written.
#[tokio::test]
async fn a_condition_keeps_a_machine_from_objects_by_name() {
    let (mut sandbox, world) = with_world().await;
    let email = sandbox.account("machine-account").await;
    let member = format!("serviceAccount:{email}");
    sandbox.bucket("machine-bucket").await;
    for name in ["dorainfra/lease", "blocks/a"] {
        sandbox.upload("machine-bucket", name, b"x").await;
    }
    let path = "storage/v1/b/machine-bucket/iam";
    let versioned = "storage/v1/b/machine-bucket/iam?optionsRequestedPolicyVersion=3";
    let objects = "projects/_/buckets/machine-bucket/objects/dorainfra/";
    let conditional = |etag: &Value, version: u8| {
        json!({"etag": etag, "version": version, "bindings": [{"role": "roles/storage.objectAdmin",
            "members": [member], "condition": {"title": "t", "expression":
                format!("!resource.name.startsWith(\"{objects}\")")}}]})
    };
    let etag = sandbox.read(path).await["etag"].clone();
    sandbox.refused(Method::PUT, path, Some(conditional(&etag, 1)), 400).await;
    assert_eq!(sandbox.call(Method::PUT, path, Some(conditional(&etag, 3))).await.0, 200);
    // Whoever knows no conditions is told so, and does not lose them.
    sandbox.refused(Method::GET, path, None, 400).await;
    let etag = sandbox.read(versioned).await["etag"].clone();
    sandbox.refused(Method::PUT, path, Some(json!({"etag": etag, "bindings": []})), 400).await;
    let off = json!({"iamConfiguration": {"uniformBucketLevelAccess": {"enabled": false}}});
    sandbox.refused(Method::PATCH, "storage/v1/b/machine-bucket", Some(off), 412).await;

    sandbox.token = world.token(ZONE, "some-machine", &email, &[SCOPE.to_owned()]).0;
    let object = "storage/v1/b/machine-bucket/o/";
    let upload = async |sandbox: &Sandbox, query: &str, name: &str| {
        let url = sandbox.url(&format!("upload/storage/v1/b/machine-bucket/o?{query}&name={name}"));
        let body = if query.ends_with("media") { "x" } else { "" };
        let request = sandbox.http.post(url).bearer_auth(&sandbox.token).header("content-length", body.len());
        request.body(body).send().await.unwrap().status().as_u16()
    };
    for (name, code) in
        [("dorainfra/lease", 403), ("dorainfra/new", 403), ("blocks/a", 200), ("blocks/b", 200)]
    {
        let encoded = name.replace('/', "%2F");
        for query in ["uploadType=media", "uploadType=resumable"] {
            assert_eq!(upload(&sandbox, query, &encoded).await, code, "{query} {name}");
        }
        let url = sandbox.url(&format!("machine-bucket/{name}"));
        let put = sandbox.http.put(url).bearer_auth(&sandbox.token).body("x").send().await.unwrap();
        assert_eq!(put.status(), code, "{name}");
        for how in ["copyTo", "rewriteTo"] {
            let copy = format!("{object}blocks%2Fa/{how}/b/machine-bucket/o/{encoded}");
            assert_eq!(sandbox.post(&copy, json!({})).await.0, code, "{how} {name}");
        }
        let compose = json!({"sourceObjects": [{"name": "blocks/a"}]});
        assert_eq!(sandbox.post(&format!("{object}{encoded}/compose"), compose).await.0, code, "{name}");
        let patch = json!({"contentType": "text/plain"});
        let (status, _) = sandbox.call(Method::PATCH, &format!("{object}{encoded}"), Some(patch)).await;
        assert_eq!(status, code, "{name}");
        assert_eq!(sandbox.get(&format!("{object}{encoded}")).await.0, code, "{name}");
    }
    // Neither end of a move, and no source of what is written elsewhere.
    for (from, to) in [("dorainfra%2Flease", "blocks%2Fc"), ("blocks%2Fb", "dorainfra%2Flease")] {
        let path = format!("{object}{from}/moveTo/o/{to}");
        assert_eq!(sandbox.post(&path, json!({})).await.0, 403, "{path}");
    }
    let compose = json!({"sourceObjects": [{"name": "dorainfra/lease"}]});
    assert_eq!(sandbox.post(&format!("{object}blocks%2Fc/compose"), compose).await.0, 403);
    assert_eq!(sandbox.delete(&format!("{object}dorainfra%2Flease")).await.0, 403);
    assert_eq!(sandbox.delete(&format!("{object}blocks%2Fa")).await.0, 204);
    // Asked for on the bucket, whose name is no object's.
    assert_eq!(sandbox.get("storage/v1/b/machine-bucket/o?prefix=dorainfra/").await.0, 200);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_machine_without_a_way_to_google_is_not_answered() {
    let (mut sandbox, world) = with_world().await;
    let email = sandbox.account("machine-account").await;
    let owner = sandbox.token.clone();
    let subnetworks = format!("regions/{REGION}/subnetworks");
    sandbox.insert("global/networks", json!({"name": "own", "autoCreateSubnetworks": false})).await;
    let range = json!({"name": "own", "network": "global/networks/own", "ipCidrRange": "10.10.0.0/24"});
    sandbox.insert(&subnetworks, range).await;
    for (name, access) in [("private", json!([])), ("public", json!([{"type": "ONE_TO_ONE_NAT"}]))] {
        let mut machine = instance(name);
        machine["networkInterfaces"] = json!([{"network": "global/networks/own",
            "subnetwork": format!("{subnetworks}/own"), "accessConfigs": access}]);
        sandbox.insert(&format!("zones/{ZONE}/instances"), machine).await;
    }
    let token = |name: &str| world.token(ZONE, name, &email, &[SCOPE.to_owned()]).0;
    let answered = async |sandbox: &Sandbox, name: &str| {
        let request = sandbox.http.get(sandbox.url("storage/v1/b/some-bucket")).bearer_auth(token(name));
        request.send().await.is_ok()
    };
    assert!(!answered(&sandbox, "private").await);
    assert!(answered(&sandbox, "public").await);
    sandbox.token = owner;
    let on = json!({"privateIpGoogleAccess": true});
    sandbox.operate(Method::POST, &format!("{subnetworks}/own/setPrivateIpGoogleAccess"), Some(on)).await;
    assert!(answered(&sandbox, "private").await);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_policy_is_written_under_its_etag() {
    let sandbox = start().await;
    sandbox.bucket("policy-bucket").await;
    let path = "storage/v1/b/policy-bucket/iam";
    let read = sandbox.read(path).await;
    let email = sandbox.account("some-account").await;
    let grant = |etag: &Value| {
        json!({"etag": etag, "version": 3,
            "bindings": [{"role": "roles/storage.objectViewer", "members": [format!("serviceAccount:{email}")]}]})
    };
    let (status, written) = sandbox.call(Method::PUT, path, Some(grant(&read["etag"]))).await;
    assert_eq!(status, 200, "{written}");
    assert_ne!(written["etag"], read["etag"]);
    sandbox.refused(Method::PUT, path, Some(grant(&read["etag"])), 412).await;
    let nobody = json!({"bindings": [{"role": "roles/storage.objectViewer",
        "members": [format!("serviceAccount:nobody@{PROJECT}.iam.gserviceaccount.com")]}]});
    let message = sandbox.refused(Method::PUT, path, Some(nobody), 400).await;
    assert!(message.ends_with("does not exist."), "{message}");
    let public = json!({"bindings": [{"role": "roles/storage.objectViewer", "members": ["allUsers"]}]});
    sandbox.refused(Method::PUT, path, Some(public), 412).await;

    let conditional = |condition: Value| {
        json!({"version": 3, "bindings": [{"role": "roles/storage.objectViewer",
            "members": [format!("serviceAccount:{email}")], "condition": condition}]})
    };
    for condition in [
        json!({"title": "t", "expression": ""}),
        json!({"title": "t", "expression": "resource.name.startsWith('x'"}),
        json!({"title": "t", "expression": "resource.name == \"x"}),
        json!({"title": "t", "expression": "a[0)]"}),
        json!({"expression": "true"}),
    ] {
        sandbox.refused(Method::PUT, path, Some(conditional(condition)), 400).await;
    }
    // What is not read is refused as that, and what is read is kept.
    let unread =
        json!({"title": "t", "expression": "resource.name.startsWith(\"a)'\\\"\") && size([1]) > 0"});
    sandbox.refused(Method::PUT, path, Some(conditional(unread)), 501).await;
    let good = json!({"title": "t", "expression": "resource.name.startsWith(\"a)'\")"});
    assert_eq!(sandbox.call(Method::PUT, path, Some(conditional(good))).await.0, 200);

    let project = format!("v3/projects/{PROJECT}");
    let (_, policy) = sandbox.post(&format!("{project}:getIamPolicy"), json!({})).await;
    let set = format!("{project}:setIamPolicy");
    assert_eq!(sandbox.post(&set, json!({"policy": policy})).await.0, 200);
    let (status, body) = sandbox.post(&set, json!({"policy": policy})).await;
    assert_eq!((status, &body["error"]["status"]), (409, &json!("ABORTED")));
    sandbox.stop().await;
}

#[tokio::test]
async fn service_accounts_are_kept_as_iam_keeps_them() {
    let sandbox = start().await;
    let accounts = format!("v1/projects/{PROJECT}/serviceAccounts");
    let body = json!({"accountId": "my-account", "serviceAccount": {"description": "before"}});
    let (_, account) = sandbox.post(&accounts, body.clone()).await;
    assert_eq!(
        account["name"],
        format!("projects/{PROJECT}/serviceAccounts/{}", account["email"].as_str().unwrap())
    );
    sandbox.refused(Method::POST, &accounts, Some(body), 409).await;
    sandbox.refused(Method::POST, &accounts, Some(json!({"accountId": "x"})), 400).await;
    let path = format!("{accounts}/{}", account["email"].as_str().unwrap());
    let patch = json!({"serviceAccount": {"description": "after"}, "updateMask": "description"});
    let (status, changed) = sandbox.call(Method::PATCH, &path, Some(patch)).await;
    assert_eq!((status, &changed["description"]), (200, &json!("after")));
    let by_id = format!("{accounts}/{}", account["uniqueId"].as_str().unwrap());
    assert_eq!(sandbox.read(&by_id).await["email"], account["email"]);
    let list = sandbox.read(&accounts).await;
    assert!(list["accounts"].as_array().unwrap().iter().any(|each| each["email"] == account["email"]));
    assert_eq!(sandbox.delete(&path).await.0, 200);
    sandbox.refused(Method::GET, &path, None, 404).await;
    sandbox.stop().await;
}

#[tokio::test]
async fn a_new_account_is_seen_late() {
    let sandbox = start().await;
    sandbox.bucket("late-bucket").await;
    let lag = |ms: u64| json!({"serviceAccountsMs": ms});
    sandbox.call(Method::PUT, "sandbox/consistency", Some(lag(3_600_000))).await;
    let email = sandbox.account("late-account").await;
    let accounts = format!("v1/projects/{PROJECT}/serviceAccounts");
    let path = format!("{accounts}/{email}");
    sandbox.refused(Method::GET, &path, None, 404).await;
    assert!(!sandbox.read(&accounts).await.to_string().contains(&email));
    let again = json!({"accountId": "late-account"});
    sandbox.refused(Method::POST, &accounts, Some(again), 409).await;
    let policy = json!({"bindings": [{"role": "roles/storage.objectViewer",
        "members": [format!("serviceAccount:{email}")]}]});
    let grants = "storage/v1/b/late-bucket/iam";
    let message = sandbox.refused(Method::PUT, grants, Some(policy.clone()), 400).await;
    assert_eq!(message, format!("Service account {email} does not exist."));
    let mut machine = instance("vm");
    machine["serviceAccounts"] = json!([{"email": email, "scopes": [SCOPE]}]);
    let instances = sandbox.compute(&format!("zones/{ZONE}/instances"));
    let message = sandbox.refused(Method::POST, &instances, Some(machine), 400).await;
    assert!(message.contains("was not found"), "{message}");
    // Everything is seen at once again.
    sandbox.call(Method::PUT, "sandbox/consistency", Some(lag(0))).await;
    sandbox.read(&path).await;
    assert_eq!(sandbox.call(Method::PUT, grants, Some(policy)).await.0, 200);
    sandbox.refused(Method::PUT, "sandbox/consistency", Some(json!({"grants": 1})), 400).await;
    sandbox.stop().await;
}

#[tokio::test]
async fn a_grant_works_late_and_so_does_its_end() {
    let (mut sandbox, world) = with_world().await;
    sandbox.bucket("late-bucket").await;
    sandbox.upload("late-bucket", "a", b"x").await;
    let email = sandbox.account("some-account").await;
    let member = format!("serviceAccount:{email}");
    let token = world.token(ZONE, "some-machine", &email, &[SCOPE.to_owned()]).0;
    let owner = sandbox.token.clone();
    let policy = "storage/v1/b/late-bucket/iam";
    let object = "storage/v1/b/late-bucket/o/a";
    let lag = |ms: u64| json!({"grantsMs": ms});
    sandbox.call(Method::PUT, "sandbox/consistency", Some(lag(1500))).await;
    grant(&sandbox, policy, "roles/storage.objectViewer", &member).await;
    let bindings = sandbox.read(policy).await["bindings"].to_string();
    assert!(bindings.contains(&member), "it is read at once: {bindings}");
    sandbox.token.clone_from(&token);
    let message = sandbox.refused(Method::GET, object, None, 403).await;
    assert!(message.contains("storage.objects.get"), "{message}");
    eventually("the grant has arrived", || async { sandbox.get(object).await.0 == 200 }).await;
    sandbox.token.clone_from(&owner);
    sandbox.call(Method::PUT, "sandbox/consistency", Some(lag(3_600_000))).await;
    let emptied = json!({"bindings": []});
    assert_eq!(sandbox.call(Method::PUT, policy, Some(emptied)).await.0, 200);
    sandbox.token.clone_from(&token);
    assert_eq!(sandbox.get(object).await.0, 200, "what was granted still works");
    sandbox.stop().await;
}

#[tokio::test]
async fn an_enabled_service_is_seen_late() {
    let dir = tempfile::tempdir().unwrap();
    let mut late = options(dir.path());
    late.profile.lag.services_ms = 1500;
    let sandbox = try_start(late).await.unwrap();
    sandbox.enable().await;
    let (status, body) = sandbox.get(&sandbox.compute("zones")).await;
    assert_eq!((status, &body["error"]["errors"][0]["reason"]), (403, &json!("accessNotConfigured")));
    let zones = sandbox.compute("zones");
    eventually("the service is seen", || async { sandbox.get(&zones).await.0 == 200 }).await;
    sandbox.stop().await;
}

#[tokio::test]
async fn a_copy_needs_a_right_on_both_sides() {
    let (mut sandbox, world) = with_world().await;
    for bucket in ["from-bucket", "into-bucket"] {
        sandbox.bucket(bucket).await;
    }
    sandbox.upload("from-bucket", "a", b"x").await;
    let email = sandbox.account("copy-account").await;
    let member = format!("serviceAccount:{email}");
    let owner = sandbox.token.clone();
    let token = world.token(ZONE, "some-machine", &email, &[SCOPE.to_owned()]).0;
    let rewrite = "storage/v1/b/from-bucket/o/a/rewriteTo/b/into-bucket/o/a";
    for (bucket, role, wanted) in [
        ("into-bucket", "roles/storage.objectCreator", "storage.objects.create"),
        ("from-bucket", "roles/storage.objectViewer", "storage.objects.get"),
    ] {
        sandbox.token.clone_from(&token);
        let message = sandbox.refused(Method::POST, rewrite, None, 403).await;
        assert!(message.contains(wanted), "{message}");
        sandbox.token.clone_from(&owner);
        grant(&sandbox, &format!("storage/v1/b/{bucket}/iam"), role, &member).await;
    }
    sandbox.token.clone_from(&token);
    assert_eq!(sandbox.post(rewrite, json!({})).await.0, 200);
    // What is there already may not be replaced without the right to delete.
    let message = sandbox.refused(Method::POST, rewrite, None, 403).await;
    assert!(message.contains("storage.objects.delete"), "{message}");
    sandbox.stop().await;
}

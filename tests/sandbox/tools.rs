//! What Google's own tools send, and what Google refuses: each was a way in which a
//! tool failed here and not there, or passed here and not there.

use crate::sandbox_support::*;
use reqwest::Method;
use serde_json::{Value, json};

async fn raw(request: reqwest::RequestBuilder) -> (u16, reqwest::header::HeaderMap, String) {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, headers, response.text().await.unwrap())
}

// gcloud

#[tokio::test]
async fn gclouds_uploads_lists_and_filters() {
    let sandbox = start().await;
    sandbox.bucket("small").await;
    let body = "--b\nContent-Type: application/json\nMIME-Version: 1.0\n\n{\"name\":\"o\"}\n--b\nContent-Type: text/plain\n\nhello\r\n\n--b--";
    let request = sandbox
        .request(Method::POST, "upload/storage/v1/b/small/o?uploadType=multipart")
        .header("content-type", "multipart/related; boundary=\"b\"")
        .body(body);
    let (status, _, uploaded) = raw(request).await;
    assert_eq!(status, 200, "{uploaded}");
    let (_, _, bytes) = raw(sandbox.request(Method::GET, "storage/v1/b/small/o/o?alt=media")).await;
    assert_eq!(bytes, "hello\r\n");

    let disks = sandbox.compute(&format!("zones/{ZONE}/disks"));
    let (status, disk) = sandbox.post(&disks, json!({"name": "data", "sizeGb": "10"})).await;
    assert_eq!(status, 200, "{disk}");
    sandbox.wait(&disk).await;
    let all = sandbox.read(&sandbox.compute("aggregated/disks?returnPartialSuccess=True")).await;
    assert_eq!(all["items"][format!("zones/{ZONE}")]["disks"][0]["name"], "data");
    for (filter, found) in [(r#"name eq ".*\bdata\b.*""#, true), (r#"name eq ".*\bdat\b.*""#, false)] {
        let query = [("filter", filter)];
        let (status, list) =
            answer(sandbox.request(Method::GET, &disks).query(&query).send().await.unwrap()).await;
        assert_eq!((status, list["items"].is_array()), (200, found), "{filter}: {list}");
    }
    let mixed = [("filter", "(name eq data) (sizeGb = 10)")];
    let (status, _) = answer(sandbox.request(Method::GET, &disks).query(&mixed).send().await.unwrap()).await;
    assert_eq!(status, 400, "regular expressions and comparisons do not mix");
    // By its number as by its name.
    let id = sandbox.read(&format!("{disks}/data")).await["id"].as_str().unwrap().to_owned();
    assert_eq!(sandbox.read(&format!("{disks}/{id}")).await["name"], "data");
    sandbox.refused(Method::GET, &format!("{disks}/123"), None, 404).await;
    sandbox.stop().await;
}

#[tokio::test]
async fn gclouds_machines_have_the_account_default_and_an_image_of_the_zone() {
    let sandbox = start().await;
    let mut body = instance("vm");
    body["serviceAccounts"] = json!([{"email": "default", "scopes": [SCOPE]}]);
    body["disks"][0]["initializeParams"]["sourceImage"] =
        json!(sandbox.url("compute/v1/projects/debian-cloud/zones/-/imageFamilyViews/debian-12"));
    body["machineType"] = json!(format!("zones/{ZONE}/machineTypes/n2-custom-4-8192"));
    sandbox.insert(&format!("zones/{ZONE}/instances"), body.clone()).await;
    let path = sandbox.compute(&format!("zones/{ZONE}/instances/vm"));
    let vm = sandbox.read(&path).await;
    let number =
        sandbox.read(sandbox.compute("").trim_end_matches('/')).await["id"].as_str().unwrap().to_owned();
    let email = format!("{number}-compute@developer.gserviceaccount.com");
    assert_eq!(vm["serviceAccounts"][0]["email"], email.as_str());
    for (said, expected) in [("True", true), ("False", false), ("true", true), ("false", false)] {
        let path = format!("zones/{ZONE}/instances/vm/setDeletionProtection?deletionProtection={said}");
        sandbox.operate(Method::POST, &path, None).await;
        assert_eq!(
            sandbox.read(&sandbox.compute(&format!("zones/{ZONE}/instances/vm"))).await["deletionProtection"],
            expected,
            "{said}"
        );
    }
    body["name"] = json!("odd");
    body["machineType"] = json!(format!("zones/{ZONE}/machineTypes/n2-custom-3-8192"));
    let message = sandbox
        .refused(Method::POST, &sandbox.compute(&format!("zones/{ZONE}/instances")), Some(body), 400)
        .await;
    assert!(message.contains("does not exist in zone"), "{message}");
    let view = sandbox
        .read(&format!("compute/v1/projects/debian-cloud/zones/{ZONE}/imageFamilyViews/debian-12"))
        .await;
    assert_eq!(view["image"]["family"], "debian-12");
    let images = sandbox.read("compute/v1/projects/debian-cloud/global/images").await;
    assert_eq!(images["items"].as_array().unwrap().len(), 3);
    assert!(sandbox.read("compute/v1/projects/ubuntu-os-cloud/global/images").await["items"].is_null());
    sandbox.stop().await;
}

#[tokio::test]
async fn resource_managers_first_version() {
    let sandbox = start().await;
    let project = sandbox.read(&format!("v1/projects/{PROJECT}")).await;
    assert_eq!((&project["projectId"], &project["lifecycleState"]), (&json!(PROJECT), &json!("ACTIVE")));
    let list = sandbox.read("v1/projects?filter=lifecycleState%3AACTIVE&pageSize=500").await;
    assert_eq!(list["projects"][0], project);
    assert_eq!(sandbox.read("v1/projects?filter=projectId%3Aother").await, json!({}));
    let (status, mut policy) = sandbox.post(&format!("v1/projects/{PROJECT}:getIamPolicy"), json!({})).await;
    assert_eq!(status, 200, "{policy}");
    let email = sandbox.account("reader").await;
    policy["bindings"]
        .as_array_mut()
        .unwrap()
        .push(json!({"role": "roles/compute.viewer", "members": [format!("serviceAccount:{email}")]}));
    let (status, _) =
        sandbox.post(&format!("v1/projects/{PROJECT}:setIamPolicy"), json!({"policy": policy})).await;
    assert_eq!(status, 200);
    let (_, same) = sandbox.post(&format!("v3/projects/{PROJECT}:getIamPolicy"), json!({})).await;
    assert!(same.to_string().contains("roles/compute.viewer"), "{same}");
    sandbox.stop().await;
}

// Terraform

#[tokio::test]
async fn what_the_terraform_provider_writes_for_nothing() {
    let sandbox = start().await;
    let mut body = instance("vm");
    body["scheduling"] = json!({"automaticRestart": true, "instanceTerminationAction": "", "nodeAffinities": null,
        "onHostMaintenance": "", "preemptible": false, "provisioningModel": ""});
    sandbox.insert(&format!("zones/{ZONE}/instances"), body).await;
    let path = format!("zones/{ZONE}/instances/vm");
    let expected = json!({"automaticRestart": true, "onHostMaintenance": "MIGRATE", "preemptible": false, "provisioningModel": "STANDARD"});
    assert_eq!(sandbox.read(&sandbox.compute(&path)).await["scheduling"], expected);
    let again = json!({"automaticRestart": false, "instanceTerminationAction": "", "nodeAffinities": [], "provisioningModel": ""});
    sandbox.operate(Method::POST, &format!("{path}/setScheduling"), Some(again)).await;
    let scheduling = sandbox.read(&sandbox.compute(&path)).await["scheduling"].clone();
    assert_eq!(
        (&scheduling["automaticRestart"], &scheduling["nodeAffinities"]),
        (&json!(false), &Value::Null)
    );

    sandbox.insert("global/networks", json!({"name": "n", "autoCreateSubnetworks": false})).await;
    let change = json!({"routingConfig": {"routingMode": "GLOBAL", "deleteBgpAlwaysCompareMed": true}});
    sandbox.operate(Method::PATCH, "global/networks/n", Some(change)).await;
    assert_eq!(
        sandbox.read(&sandbox.compute("global/networks/n")).await["routingConfig"],
        json!({"routingMode": "GLOBAL"})
    );
    sandbox.stop().await;
}

// Node and Go

#[tokio::test]
async fn clients_of_an_emulator_send_no_credentials() {
    let sandbox = start().await;
    sandbox.bucket("mine").await;
    // By `localhost`, as STORAGE_EMULATOR_HOST has it, with Node's path and the usual one.
    let list = format!("b?project={PROJECT}");
    for path in [list.as_str(), "b/mine", "storage/v1/b/mine", "b/mine/o"] {
        let url = format!("http://localhost:{}/{path}", sandbox.state.port);
        let (status, _, text) = raw(sandbox.http.get(url)).await;
        assert_eq!(status, 200, "{path}: {text}");
    }
    let url = format!("http://localhost:{}/b/mine", sandbox.state.port);
    // Nobody else is let in: not by the other name, not to another API, not with a bad token.
    assert_eq!(raw(sandbox.http.get(sandbox.url("storage/v1/b/mine"))).await.0, 401);
    assert_eq!(raw(sandbox.http.get(&url).bearer_auth("nonsense")).await.0, 401);
    let other = format!("http://localhost:{}/v1/projects/{PROJECT}/secrets", sandbox.state.port);
    assert_eq!(raw(sandbox.http.get(other)).await.0, 401);
    // Node waits with an empty text for a body.
    let disk = json!({"name": "data", "sizeGb": "10"});
    let (_, operation) = sandbox.post(&sandbox.compute(&format!("zones/{ZONE}/disks")), disk).await;
    let wait =
        sandbox.compute(&format!("zones/{ZONE}/operations/{}/wait", operation["name"].as_str().unwrap()));
    let request =
        sandbox.request(Method::POST, &wait).header("content-type", "application/json").body("\"\"");
    assert_eq!(raw(request).await.0, 200);
    sandbox.stop().await;
}

// What all of them may use

#[tokio::test]
async fn several_calls_in_one() {
    let sandbox = start().await;
    sandbox.bucket("batched").await;
    for name in ["a", "b"] {
        sandbox.upload("batched", name, b"x").await;
    }
    let part = |id: u8, verb: &str, path: &str| {
        format!(
            "--b\r\nContent-Type: application/http\r\nContent-ID: <x+{id}>\r\n\r\n{verb} {path} HTTP/1.1\r\n\r\n\r\n"
        )
    };
    let body = part(1, "DELETE", "/storage/v1/b/batched/o/a")
        + &part(2, "GET", "/storage/v1/b/batched/o/absent")
        + &part(3, "GET", "/storage/v1/b/batched/o/b?fields=name")
        + &part(4, "GET", "/download/storage/v1/b/batched/o/b?alt=media")
        + "--b--";
    let request = sandbox
        .request(Method::POST, "batch/storage/v1")
        .header("content-type", "multipart/mixed; boundary=b")
        .body(body);
    let (status, headers, text) = raw(request).await;
    assert_eq!(status, 200, "{text}");
    assert!(headers["content-type"].to_str().unwrap().starts_with("multipart/mixed; boundary="));
    for expected in [
        "Content-ID: <response-x+1>\r\n\r\nHTTP/1.1 204",
        "Content-ID: <response-x+2>\r\n\r\nHTTP/1.1 404",
        "Content-ID: <response-x+3>\r\n\r\nHTTP/1.1 200",
        "{\"name\":\"b\"}",
        "Content-ID: <response-x+4>\r\n\r\nHTTP/1.1 400",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    assert_eq!(sandbox.get("storage/v1/b/batched/o/a").await.0, 404);
    sandbox.stop().await;
}

#[tokio::test]
async fn parts_of_an_answer_and_etags() {
    let sandbox = start().await;
    sandbox.bucket("tagged").await;
    sandbox.upload("tagged", "o", b"x").await;
    let path = "storage/v1/b/tagged/o/o";
    assert_eq!(
        sandbox.read(&format!("{path}?fields=name,bucket")).await,
        json!({"name": "o", "bucket": "tagged"})
    );
    let list = sandbox.read("storage/v1/b/tagged/o?fields=items(name),nextPageToken").await;
    assert_eq!(list, json!({"items": [{"name": "o"}]}));
    let email = sandbox.account("partly").await;
    let account = sandbox.read(&format!("v1/projects/{PROJECT}/serviceAccounts/{email}?$fields=email")).await;
    assert_eq!(account, json!({"email": email}));
    sandbox.refused(Method::GET, &format!("{path}?fields=name("), None, 400).await;

    let (_, headers, text) = raw(sandbox.request(Method::GET, path)).await;
    let object: Value = serde_json::from_str(&text).unwrap();
    let etag = object["etag"].as_str().unwrap();
    assert_eq!(headers["etag"], etag);
    let asked = |verb: Method, name: &'static str, value: &str| {
        let body =
            if verb == Method::PATCH { json!({"contentType": "x/y"}).to_string() } else { String::new() };
        raw(sandbox.request(verb, path).header(name, value.to_owned()).body(body))
    };
    assert_eq!(asked(Method::GET, "if-none-match", etag).await.0, 304);
    assert_eq!(asked(Method::GET, "if-none-match", "other").await.0, 200);
    assert_eq!(asked(Method::PATCH, "if-match", "other").await.0, 412);
    assert_eq!(asked(Method::PATCH, "if-match", etag).await.0, 200);
    assert_eq!(asked(Method::DELETE, "if-match", etag).await.0, 412, "it has changed");
    sandbox.stop().await;
}

#[tokio::test]
async fn gzip_is_inflated_for_who_does_not_take_it() {
    use std::io::Write as _;
    let sandbox = start().await;
    sandbox.bucket("zipped").await;
    let mut child = std::process::Command::new("gzip")
        .arg("-nc")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all("hello ".repeat(1000).as_bytes()).unwrap();
    let bytes = child.wait_with_output().unwrap().stdout;
    let stored = bytes.len();
    let request = sandbox
        .request(Method::POST, "upload/storage/v1/b/zipped/o?uploadType=media&name=o&contentEncoding=gzip")
        .header("content-type", "text/plain")
        .body(bytes);
    assert_eq!(raw(request).await.0, 200);
    for path in ["storage/v1/b/zipped/o/o?alt=media", "zipped/o"] {
        let (status, headers, text) =
            raw(sandbox.request(Method::GET, path).header("range", "bytes=0-4")).await;
        assert_eq!((status, text.len()), (200, 6000), "{path}: no ranges of what is inflated");
        assert!(headers.get("content-encoding").is_none() && headers.get("content-length").is_none());
        assert_eq!(headers["x-goog-stored-content-encoding"], "gzip");
        let request = sandbox.request(Method::GET, path).header("accept-encoding", "gzip");
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-encoding"], "gzip");
        assert_eq!(response.bytes().await.unwrap().len(), stored);
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn everybody_and_signed_urls() {
    let sandbox = start().await;
    let (status, bucket) = sandbox
        .post(
            &format!("storage/v1/b?project={PROJECT}"),
            json!({"name": "open", "location": "EU",
        "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": true}}}),
        )
        .await;
    assert_eq!(status, 200, "{bucket}");
    sandbox.upload("open", "o", b"x").await;
    let anonymous = |path: &str| raw(sandbox.http.get(sandbox.url(path)));
    let (status, _, text) = anonymous("storage/v1/b/open/o/o").await;
    assert_eq!(status, 401);
    assert!(text.contains("Anonymous caller does not have storage.objects.get access"), "{text}");
    let policy = "storage/v1/b/open/iam";
    let mut wanted = sandbox.read(policy).await;
    wanted["bindings"]
        .as_array_mut()
        .unwrap()
        .push(json!({"role": "roles/storage.objectViewer", "members": ["allUsers"]}));
    assert_eq!(sandbox.call(Method::PUT, policy, Some(wanted.clone())).await.0, 200);
    for path in ["storage/v1/b/open/o/o", "storage/v1/b/open/o/o?alt=media", "open/o", "storage/v1/b/open/o"]
    {
        assert_eq!(anonymous(path).await.0, 200, "{path}");
    }
    assert_eq!(anonymous("storage/v1/b/open").await.0, 401, "only what is everybody's");
    let signed = "open/o?X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Signature=00";
    let (status, _, text) = anonymous(signed).await;
    assert_eq!(status, 501);
    assert!(text.contains("The sandbox does not serve signed URLs."), "{text}");
    // Basic roles are for projects.
    wanted.as_object_mut().unwrap().remove("etag");
    wanted["bindings"]
        .as_array_mut()
        .unwrap()
        .push(json!({"role": "roles/viewer", "members": ["allAuthenticatedUsers"]}));
    let message = sandbox.refused(Method::PUT, policy, Some(wanted), 400).await;
    assert!(message.contains("roles/viewer is not supported for this resource"), "{message}");
    sandbox.stop().await;
}

#[tokio::test]
async fn objects_are_moved_and_buckets_have_a_layout() {
    let sandbox = start().await;
    sandbox.bucket("plain").await;
    let before = sandbox.upload("plain", "a", b"bytes").await;
    let layout = sandbox.read("storage/v1/b/plain/storageLayout").await;
    assert_eq!(
        (&layout["locationType"], &layout["hierarchicalNamespace"]),
        (&json!("region"), &json!({"enabled": false}))
    );
    let (status, moved) = sandbox.post("storage/v1/b/plain/o/a/moveTo/o/c%2Fd", json!({})).await;
    assert_eq!((status, &moved["name"], &moved["crc32c"]), (200, &json!("c/d"), &before["crc32c"]));
    assert_eq!(sandbox.get("storage/v1/b/plain/o/a").await.0, 404);
    assert_eq!(raw(sandbox.request(Method::GET, "plain/c/d")).await.2, "bytes");
    let stale = "storage/v1/b/plain/o/c%2Fd/moveTo/o/e?ifSourceGenerationMatch=1";
    sandbox.refused(Method::POST, stale, Some(json!({})), 412).await;
    sandbox.stop().await;
}

#[tokio::test]
async fn secrets_with_a_time_to_live_and_names_of_versions() {
    let sandbox = start().await;
    let secrets = format!("v1/projects/{PROJECT}/secrets");
    let body = json!({"replication": {"automatic": {}}, "ttl": "3600s"});
    let (status, secret) = sandbox.post(&format!("{secrets}?secretId=s"), body).await;
    assert_eq!((status, &secret["ttl"]), (200, &Value::Null), "{secret}");
    assert!(secret["expireTime"].as_str().unwrap() > secret["createTime"].as_str().unwrap());
    for data in ["b25l", "dHdv"] {
        sandbox.post(&format!("{secrets}/s:addVersion"), json!({"payload": {"data": data}})).await;
    }
    let patch = |aliases: Value| {
        let path = format!("{secrets}/s?updateMask=version_aliases");
        let sandbox = &sandbox;
        async move { sandbox.call(Method::PATCH, &path, Some(json!({"versionAliases": aliases}))).await }
    };
    assert_eq!(patch(json!({"known": "1"})).await.0, 200);
    let read = sandbox.read(&format!("{secrets}/s/versions/known:access")).await;
    assert_eq!(read["payload"]["data"], "b25l");
    assert_eq!(patch(json!({"known": "7"})).await.0, 400, "there is no such version");
    assert_eq!(patch(json!({"latest": "1"})).await.0, 400);
    sandbox.refused(Method::GET, &format!("{secrets}/s/versions/other"), None, 400).await;
    // Its time is over: it is gone.
    let soon = json!({"replication": {"automatic": {}}, "ttl": "1s"});
    assert_eq!(sandbox.post(&format!("{secrets}?secretId=brief"), soon).await.0, 200);
    let path = format!("{secrets}/brief");
    eventually("the secret is gone", || async { sandbox.get(&path).await.0 == 404 }).await;
    sandbox.stop().await;
}

#[tokio::test]
async fn who_may_act_as_an_account_its_own_policy_says() {
    let sandbox = start().await;
    let email = sandbox.account("machine").await;
    let account = format!("v1/projects/{PROJECT}/serviceAccounts/{email}");
    let member = format!("serviceAccount:{email}");
    let binding =
        json!({"policy": {"bindings": [{"role": "roles/iam.serviceAccountUser", "members": [member]}]}});
    assert_eq!(sandbox.post(&format!("{account}:setIamPolicy"), binding).await.0, 200);
    let (_, policy) = sandbox.post(&format!("{account}:getIamPolicy"), json!({})).await;
    assert_eq!(policy["bindings"][0]["members"][0], member.as_str());
    assert_eq!(sandbox.post(&format!("{account}:disable"), json!({})).await.0, 200);
    assert_eq!(sandbox.read(&account).await["disabled"], true);
    assert_eq!(sandbox.post(&format!("{account}:enable"), json!({})).await.0, 200);
    assert!(sandbox.read(&account).await["disabled"].is_null());
    sandbox.stop().await;
}

// Where Google refuses

#[tokio::test]
async fn what_does_not_go_together() {
    let sandbox = start().await;
    let instances = sandbox.compute(&format!("zones/{ZONE}/instances"));
    for (scheduling, words) in [
        (json!({"preemptible": true, "onHostMaintenance": "MIGRATE"}), "OnHostMaintenance isn't TERMINATE"),
        (json!({"provisioningModel": "SPOT", "automaticRestart": true}), "AutomaticRestart is true"),
        (
            json!({"onHostMaintenance": "TERMINATE"}),
            "e2 instances do not support onHostMaintenance=TERMINATE",
        ),
    ] {
        let mut body = instance("vm");
        body["scheduling"] = scheduling;
        let message = sandbox.refused(Method::POST, &instances, Some(body), 400).await;
        assert!(message.contains(words), "{message}");
    }
    let rule = json!({"name": "both", "allowed": [{"IPProtocol": "tcp"}], "sourceRanges": ["10.0.0.0/8", "2001:db8::/32"]});
    let message = sandbox.refused(Method::POST, &sandbox.compute("global/firewalls"), Some(rule), 400).await;
    assert!(message.contains("both IPv4 and IPv6"), "{message}");
    let dotted = json!({"name": "data.example.com"});
    let message =
        sandbox.refused(Method::POST, &format!("storage/v1/b?project={PROJECT}"), Some(dotted), 403).await;
    assert!(message.contains("domain ownership verification"), "{message}");
    sandbox.stop().await;
}

#[tokio::test]
async fn times_that_go_back_and_pieces_that_are_too_small() {
    let sandbox = start().await;
    sandbox.bucket("strict").await;
    sandbox.upload("strict", "o", b"x").await;
    let set = |time: Value| {
        let sandbox = &sandbox;
        async move {
            sandbox.call(Method::PATCH, "storage/v1/b/strict/o/o", Some(json!({"customTime": time}))).await.0
        }
    };
    assert_eq!(set(json!("2026-01-02T00:00:00Z")).await, 200);
    assert_eq!(set(json!("2026-01-01T00:00:00Z")).await, 400);
    assert_eq!(set(Value::Null).await, 400);
    assert_eq!(set(json!("2026-01-03T00:00:00Z")).await, 200);

    let open =
        sandbox.request(Method::POST, "upload/storage/v1/b/strict/o?uploadType=resumable&name=r").body("{}");
    let (_, headers, _) = raw(open).await;
    let session = headers["location"].to_str().unwrap().to_owned();
    let piece = |range: &'static str, size: usize| {
        raw(sandbox.http.put(&session).header("content-range", range).body(vec![0u8; size]))
    };
    let (status, _, text) = piece("bytes 0-999/*", 1000).await;
    assert_eq!(status, 400);
    assert!(text.contains("equal or greater than 262144"), "{text}");
    let (status, headers, _) = piece("bytes 0-299999/*", 300_000).await;
    assert_eq!((status, headers["range"].to_str().unwrap()), (308, "bytes=0-262143"));
    assert_eq!(piece("bytes 262144-262244/262245", 101).await.0, 200, "the last may be small");
    sandbox.stop().await;
}

//! The metadata server of a machine, as Google documents it.

use std::time::Duration;

use crate::machine_support::{Lab, PATIENCE, SERVER_NAME, TOKEN, address};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};

/// A machine without a startup script: its metadata server is all it has.
async fn machine() -> (Lab, Client) {
    let lab = Lab::new().await;
    {
        let mut instance = lab.cloud.instance.lock().unwrap();
        instance["metadata"]["items"].as_array_mut().unwrap().retain(|item| item["key"] != "startup-script");
    }
    lab.boot().await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .build()
        .unwrap();
    (lab, client)
}

async fn get(lab: &Lab, client: &Client, path: &str) -> Response {
    client.get(lab.metadata(path)).header("Metadata-Flavor", "Google").send().await.unwrap()
}

async fn text(lab: &Lab, client: &Client, path: &str) -> String {
    let response = get(lab, client, path).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    assert_eq!(response.headers()["metadata-flavor"], "Google", "{path}");
    response.text().await.unwrap()
}

fn etag(response: &Response) -> String {
    response.headers()["etag"].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn values_and_directories() {
    let (lab, client) = machine().await;
    let ip = address(lab.port).to_string();
    let paths = [
        "",
        "instance/",
        "instance/id",
        "instance/name",
        "instance/zone",
        "instance/hostname",
        "instance/machine-type",
        "instance/attributes/",
        "instance/attributes/dorainfra-server-name",
        "instance/network-interfaces/",
        "instance/network-interfaces/0/ip",
        "instance/network-interfaces/0/access-configs/0/external-ip",
        "instance/service-accounts/",
        "instance/service-accounts/default/email",
        "instance/service-accounts/default/scopes",
        "instance/tags",
        "project/project-id",
        "project/numeric-project-id",
        "project/attributes/team",
    ];
    let mut shown = String::new();
    for path in paths {
        let body = text(&lab, &client, path).await;
        shown.push_str(&format!("{path}: {}\n", body.trim_end().replace('\n', " ").replace(&ip, "[ip]")));
    }
    insta::assert_snapshot!(shown, @r#"
    : instance/ project/
    instance/: attributes/ cpu-platform description disks/ guest-attributes/ hostname id machine-type maintenance-event name network-interfaces/ preempted scheduling/ service-accounts/ tags virtual-clock/ zone
    instance/id: 4242424242424242424
    instance/name: dora-mimir
    instance/zone: projects/123456/zones/europe-west1-b
    instance/hostname: dora-mimir.europe-west1-b.c.lab.internal
    instance/machine-type: projects/123456/machineTypes/e2-medium
    instance/attributes/: dorainfra-bucket dorainfra-certificate dorainfra-secret dorainfra-server-name enable-guest-attributes
    instance/attributes/dorainfra-server-name: mimir.dora.internal
    instance/network-interfaces/: 0/
    instance/network-interfaces/0/ip: [ip]
    instance/network-interfaces/0/access-configs/0/external-ip: [ip]
    instance/service-accounts/: default/ dora-mimir@lab.iam.gserviceaccount.com/
    instance/service-accounts/default/email: dora-mimir@lab.iam.gserviceaccount.com
    instance/service-accounts/default/scopes: https://www.googleapis.com/auth/cloud-platform
    instance/tags: ["mimir"]
    project/project-id: lab
    project/numeric-project-id: 123456
    project/attributes/team: lab
    "#);
    lab.machines.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subtree_as_json_and_as_text() {
    let (lab, client) = machine().await;
    let all: Value = serde_json::from_str(&text(&lab, &client, "?recursive=true").await).unwrap();
    assert_eq!(all["instance"]["attributes"]["dorainfra-server-name"], SERVER_NAME);
    assert_eq!(all["instance"]["networkInterfaces"][0]["ip"], address(lab.port).to_string());
    assert_eq!(all["instance"]["id"], json!(4_242_424_242_424_242_424_u64));
    assert_eq!(all["instance"]["serviceAccounts"]["default"]["aliases"], json!(["default"]));
    assert_eq!(all["instance"]["tags"], json!(["mimir"]));
    assert_eq!(all["project"]["numericProjectId"], 123_456);
    let flat = text(&lab, &client, "instance/network-interfaces/?recursive=true&alt=text").await;
    assert!(flat.contains(&format!("0/ip {}\n", address(lab.port))), "{flat}");
    let leaf = text(&lab, &client, "instance/name?alt=json").await;
    assert_eq!(leaf, "\"dora-mimir\"");
    let response = get(&lab, &client, "instance/?recursive=true").await;
    assert_eq!(response.headers()["content-type"], "application/json");
    lab.machines.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused() {
    let (lab, client) = machine().await;
    let plain = client.get(lab.metadata("instance/name")).send().await.unwrap();
    assert_eq!(plain.status(), StatusCode::FORBIDDEN);
    assert!(plain.text().await.unwrap().contains("Metadata-Flavor"));
    let forwarded = client
        .get(lab.metadata("instance/name"))
        .header("Metadata-Flavor", "Google")
        .header("X-Forwarded-For", "10.0.0.1")
        .send()
        .await
        .unwrap();
    assert_eq!(forwarded.status(), StatusCode::FORBIDDEN);
    for path in ["instance/nothing", "instance/attributes/nothing", "instance/name/", "instance/disks/9/mode"]
    {
        assert_eq!(get(&lab, &client, path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let moved = get(&lab, &client, "instance/attributes?alt=json").await;
    assert_eq!(moved.status(), StatusCode::MOVED_PERMANENTLY);
    assert_eq!(moved.headers()["location"], "/computeMetadata/v1/instance/attributes/?alt=json");
    let written = client
        .request(Method::PUT, lab.metadata("instance/name"))
        .header("Metadata-Flavor", "Google")
        .body("x")
        .send()
        .await
        .unwrap();
    assert_eq!(written.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(get(&lab, &client, "instance/name?alt=xml").await.status(), StatusCode::BAD_REQUEST);
    // The way of the machine's own systemctl is closed to what a browser could send.
    let control = lab.metadata("").replace("computeMetadata/v1/", "machine/systemctl");
    assert_eq!(client.post(control).body("list-units").send().await.unwrap().status(), StatusCode::FORBIDDEN);
    lab.machines.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens() {
    let (lab, client) = machine().await;
    let account = "instance/service-accounts/default";
    let token: Value = serde_json::from_str(&text(&lab, &client, &format!("{account}/token")).await).unwrap();
    assert_eq!(token, json!({"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer"}));
    let by_email = "instance/service-accounts/dora-mimir@lab.iam.gserviceaccount.com/token?scopes=a,b";
    assert_eq!(get(&lab, &client, by_email).await.status(), StatusCode::OK);
    let unknown = "instance/service-accounts/other@lab.iam.gserviceaccount.com/token";
    assert_eq!(get(&lab, &client, unknown).await.status(), StatusCode::NOT_FOUND);
    let identity = format!("{account}/identity");
    assert_eq!(get(&lab, &client, &identity).await.status(), StatusCode::BAD_REQUEST);
    // This world signs none: said, not made up.
    let audience = format!("{identity}?audience=x");
    assert_eq!(get(&lab, &client, &audience).await.status(), StatusCode::NOT_IMPLEMENTED);
    lab.machines.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guest_attributes_are_written_read_deleted_and_can_be_off() {
    let (lab, client) = machine().await;
    let write = |method: Method, path: &str, body: Vec<u8>| {
        let url = lab.metadata(&format!("instance/guest-attributes/{path}"));
        client.request(method, url).header("Metadata-Flavor", "Google").body(body).send()
    };
    let status = write(Method::PUT, "dorainfra/stage", b"ready".to_vec()).await.unwrap().status();
    assert_eq!(status, StatusCode::OK);
    assert_eq!(lab.attribute("stage"), "ready");
    assert_eq!(text(&lab, &client, "instance/guest-attributes/").await, "dorainfra/\n");
    assert_eq!(text(&lab, &client, "instance/guest-attributes/dorainfra/stage").await, "ready");
    for (path, body) in [("stage", b"x".to_vec()), ("a/b/c", b"x".to_vec()), ("a/b", vec![0xff])] {
        let status = write(Method::PUT, path, body).await.unwrap().status();
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
    }
    let status = write(Method::PUT, "a/b", vec![b'x'; (256 << 10) + 1]).await.unwrap().status();
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(write(Method::DELETE, "dorainfra/stage", Vec::new()).await.unwrap().status(), StatusCode::OK);
    assert_eq!(lab.attribute("stage"), "");

    lab.set_item("enable-guest-attributes", "FALSE").await;
    let status = write(Method::PUT, "dorainfra/stage", b"x".to_vec()).await.unwrap().status();
    assert_eq!(status, StatusCode::FORBIDDEN);
    let read = get(&lab, &client, "instance/guest-attributes/dorainfra/stage").await;
    assert_eq!(read.status(), StatusCode::FORBIDDEN);
    lab.machines.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_a_change_and_no_longer_than_it_says() {
    let (lab, client) = machine().await;
    let path = "instance/attributes/dorainfra-server-name";
    let first = get(&lab, &client, path).await;
    let known = etag(&first);

    // An unknown tag is a change already; so is the path that asks `0`.
    let waiting = format!("{path}?wait_for_change=true&timeout_sec=60");
    assert_eq!(etag(&get(&lab, &client, &format!("{waiting}&last_etag=0")).await), known);

    let waiter = tokio::spawn({
        let (client, url) = (client.clone(), lab.metadata(&format!("{waiting}&last_etag={known}")));
        async move { client.get(url).header("Metadata-Flavor", "Google").send().await.unwrap() }
    });
    // Another item's change does not wake it up; its own does.
    lab.set_item("other", "x").await;
    lab.set_item("dorainfra-server-name", "elsewhere").await;
    let changed = tokio::time::timeout(PATIENCE, waiter).await.unwrap().unwrap();
    assert_ne!(etag(&changed), known);
    let known = etag(&changed);
    assert_eq!(changed.text().await.unwrap(), "elsewhere");

    let before = std::time::Instant::now();
    let unchanged =
        get(&lab, &client, &format!("{path}?wait_for_change=true&timeout_sec=1&last_etag={known}")).await;
    assert_eq!((unchanged.status(), etag(&unchanged)), (StatusCode::OK, known));
    assert!(before.elapsed() >= Duration::from_secs(1));

    // A guest attribute is a change of the instance too.
    let waiter = tokio::spawn({
        let url = lab.metadata("instance/?recursive=true&wait_for_change=true");
        let client = client.clone();
        async move { client.get(url).header("Metadata-Flavor", "Google").send().await.unwrap() }
    });
    let write = || async {
        let url = lab.metadata(&format!("instance/guest-attributes/a/{}", waiter.is_finished()));
        client
            .put(url)
            .header("Metadata-Flavor", "Google")
            .body(format!("{:?}", std::time::Instant::now()))
            .send()
            .await
    };
    tokio::time::timeout(PATIENCE, async {
        while !waiter.is_finished() {
            write().await.unwrap();
        }
    })
    .await
    .unwrap();
    // A machine that goes down keeps nobody waiting.
    let waiter = tokio::spawn({
        let (client, url) = (
            client.clone(),
            lab.metadata(&format!("{waiting}&last_etag={}", etag(&get(&lab, &client, path).await))),
        );
        async move { client.get(url).header("Metadata-Flavor", "Google").send().await }
    });
    lab.machines.shutdown().await;
    let _ = tokio::time::timeout(Duration::from_secs(10), waiter).await.unwrap();
}

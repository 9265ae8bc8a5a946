//! What tells of services and is no forge: CDEvents, mapped webhooks, and `event`.

use std::path::Path;
use std::process::Command;

use crate::receiver::{Receiver, SECRET, collected, http, signed};
use dorainfra_dora::events::{Deployment, Event};
use rustix::process::Signal;
use serde_json::{Value, json};

const STRUCTURED: &str = "application/cloudevents+json";

fn fixture(path: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    serde_json::from_slice(&std::fs::read(folder.join(path)).unwrap()).unwrap()
}

/// A CDEvent in structured mode; `id` is the event's, `subject` what it is about.
fn cdevent(sample: &str, id: &str, subject: &str, at: &str) -> Value {
    let mut event = fixture(&format!("cdevents/0.4/{sample}.json"));
    event["context"]["id"] = id.into();
    event["context"]["timestamp"] = at.into();
    event["subject"]["id"] = subject.into();
    if let Some(environment) = event["subject"]["content"].get_mut("environment") {
        environment["id"] = "production".into();
    }
    let context = event["context"].clone();
    json!({"specversion": "1.0", "id": id, "source": context["source"], "type": context["type"], "data": event})
}

async fn post(url: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let mut request = http().post(url).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn bearer() -> String {
    format!("Bearer {SECRET}")
}

async fn send(url: &str, event: &Value) -> (u16, String) {
    post(url, &[("Content-Type", STRUCTURED), ("Authorization", &bearer())], &event.to_string()).await
}

/// To a mapped webhook.
async fn hook(receiver: &Receiver, name: &str, body: &Value) -> (u16, String) {
    let url = format!("{}{name}", receiver.url);
    post(&url, &[("Authorization", &bearer())], &body.to_string()).await
}

fn text(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("events.jsonl")).unwrap_or_default()
}

/// What is answered to somebody who announces so many bytes, and sends none.
fn announced(receiver: &Receiver, length: usize, authorization: &str) -> u16 {
    use std::io::{BufRead as _, Write as _};
    let address = receiver.url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {STRUCTURED}\r\nContent-Length: {length}\r\n\
         Authorization: {authorization}\r\n\r\n"
    )
    .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(stream).read_line(&mut line).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_shows_the_secret_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(folder.path());
    let event = cdevent("service_deployed", "d1", "shop", "2026-03-02T15:30:00Z").to_string();
    let basic = |password: &str| {
        use base64::Engine as _;
        let pair = format!("dorainfra:{password}");
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
    };
    let kind = ("Content-Type", STRUCTURED);
    for (what, authorization, expected) in [
        ("none", None, 401),
        ("another", Some("Bearer another".to_owned()), 401),
        ("half", Some(format!("Bearer {}", &SECRET[..5])), 401),
        ("empty", Some("Bearer ".to_owned()), 401),
        ("without a scheme", Some(SECRET.to_owned()), 401),
        ("another password", Some(basic("another")), 401),
        ("no base64", Some("Basic %%%".to_owned()), 401),
        ("a password", Some(basic(SECRET)), 202),
        ("again", Some(bearer()), 200),
    ] {
        let mut headers = vec![kind];
        headers.extend(authorization.as_deref().map(|value| ("Authorization", value)));
        assert_eq!(post(&receiver.url, &headers, &event).await.0, expected, "{what}");
    }
    // Of a stranger not even the length is looked at; of others a payload has a largest size.
    assert_eq!(announced(&receiver, 26 << 20, "Bearer another"), 401);
    assert_eq!(announced(&receiver, 26 << 20, &bearer()), 413);
    // A mapped webhook may be signed instead.
    let alert = fixture("senders/pagerduty-triggered.json").to_string();
    let url = format!("{}pagerduty", receiver.url);
    assert_eq!(post(&url, &[], &alert).await.0, 401);
    assert_eq!(post(&url, &[("X-Hub-Signature", &signed(b"another"))], &alert).await.0, 401);
    assert_eq!(post(&url, &[("X-Hub-Signature", &signed(alert.as_bytes()))], &alert).await.0, 202);
    assert_eq!(post(&url, &[("X-Signature", &signed(alert.as_bytes()))], &alert).await.0, 200);
    // CDEvents are not signed.
    let headers = [kind, ("X-Hub-Signature", &*signed(event.as_bytes()))];
    assert_eq!(post(&receiver.url, &headers, &event).await.0, 401);
    // Nothing of the secret is in anything that is written.
    for entry in std::fs::read_dir(folder.path().join("events.jsonl.state")).unwrap() {
        let text = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains(SECRET));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cdevents_are_taken_told_as_unused_or_refused_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(folder.path());
    let event = cdevent("service_deployed", "d1", "shop", "2026-03-02T15:30:00Z");
    // In binary mode, and then the same in structured mode.
    let data = event["data"].to_string();
    let headers = [
        ("Content-Type", "application/json"),
        ("Authorization", &*bearer()),
        ("ce-specversion", "1.0"),
        ("ce-id", "d1"),
        ("ce-source", event["source"].as_str().unwrap()),
        ("ce-type", event["type"].as_str().unwrap()),
    ];
    assert_eq!(post(&receiver.url, &headers, &data).await, (202, "kept\n".into()));
    assert_eq!(send(&receiver.url, &event).await, (200, "known already\n".into()));
    let removed = cdevent("service_removed", "r1", "shop", "2026-03-02T15:30:00Z");
    let expected = (200, "not used: dev.cdevents.service.removed.0.2.0\n".into());
    assert_eq!(send(&receiver.url, &removed).await, expected);
    let mut wrong = cdevent("service_deployed", "d2", "shop", "2026-03-02T15:30:00Z");
    wrong["data"]["context"]["timestamp"] = "yesterday".into();
    let (status, said) = send(&receiver.url, &wrong).await;
    assert_eq!(status, 422);
    assert!(said.starts_with("/data/context/timestamp: \"yesterday\" is no time"), "{said}");
    let aside = folder.path().join("events.jsonl.state/webhooks.jsonl.refused");
    let aside = std::fs::read_to_string(aside).unwrap();
    assert!(aside.contains("/data/context/timestamp") && aside.lines().count() == 1, "{aside}");
    for kind in ["application/cloudevents-batch+json", "application/cloudevents+avro"] {
        let (status, said) =
            post(&receiver.url, &[("Content-Type", kind), ("Authorization", &bearer())], "[]").await;
        assert!(status == 415 && said.contains("no batches"), "{kind}: {status} {said}");
    }
    // A time that no chart has is refused before it is kept.
    let early = cdevent("service_deployed", "d3", "shop", "1969-12-31T23:59:59Z");
    assert_eq!(send(&receiver.url, &early).await.0, 422);
}

/// A story in the order in which it does not happen, told twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_cdevents_becomes_events_in_whichever_order() {
    let change = |id: &str, written: &str| {
        let mut event = cdevent("change_merged", &format!("merged-{id}"), id, "2026-03-02T09:00:00Z");
        event["data"]["subject"]["content"]["repository"]["id"] = "example/shop".into();
        event["data"]["customData"] = json!({"dorainfra": {"written": written}});
        event
    };
    let ran = |sample: &str, id: &str, at: &str, revision: &str| {
        let mut event = cdevent(sample, id, "example/shop", at);
        event["data"]["customData"] = json!({"dorainfra": {"revision": revision}});
        event
    };
    let incident = |sample: &str, at: &str| {
        let mut event = cdevent(sample, &format!("{sample}-1"), "incident-1", at);
        event["data"]["subject"]["content"]["service"]["id"] = "example/shop".into();
        event
    };
    let mut staging = ran("service_deployed", "d0", "2026-03-02T09:30:00Z", "c2");
    staging["data"]["subject"]["content"]["environment"]["id"] = "staging".into();
    let story = [
        change("c1", "2026-03-02T07:00:00Z"),
        change("c2", "2026-03-02T08:00:00Z"),
        staging,
        ran("service_deployed", "d1", "2026-03-02T10:00:00Z", "c2"),
        incident("incident_detected", "2026-03-02T10:20:00Z"),
        incident("incident_reported", "2026-03-02T10:30:00Z"),
        incident("incident_resolved", "2026-03-02T11:00:00Z"),
        ran("service_rolledback", "d2", "2026-03-02T10:55:00Z", "c0"),
        ran("service_upgraded", "d3", "2026-03-02T12:00:00Z", "c3"),
    ];
    let mut outcomes = Vec::new();
    // The order in which changes land is the one in which they are told.
    let backwards = [0, 1, 8, 7, 6, 5, 4, 3, 2];
    for order in [[0, 1, 2, 3, 4, 5, 6, 7, 8], backwards] {
        let folder = tempfile::tempdir().unwrap();
        let mut receiver = Receiver::start(folder.path());
        for number in order.into_iter().chain(order) {
            let (status, said) = send(&receiver.url, &story[number]).await;
            assert!(matches!(status, 200 | 202), "{status} {said}");
        }
        assert_eq!(receiver.signal(Signal::TERM), Some(0));
        outcomes.push(text(folder.path()));
        // The next one finds the same.
        let mut again = Receiver::start(folder.path());
        assert_eq!(again.signal(Signal::TERM), Some(0));
        assert_eq!(text(folder.path()), outcomes[outcomes.len() - 1]);
    }
    assert_eq!(outcomes[0], outcomes[1]);
    insta::assert_snapshot!(outcomes[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_several_tools_tell_of_one_service_is_judged_together() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("ours.yaml"),
        "sender: our own tool\nrules:\n  - kind: deployment\n    when: {/event: [shipped]}\n    id: \"{/number}\"\n    \
         at: \"{/when}\"\n    service: \"{/what}\"\n    environment: \"{/where}\"\n",
    )
    .unwrap();
    std::fs::write(
        folder.path().join("dorainfra.yaml"),
        "sources:\n\
         - {type: github, project: example/shop, team: orders, service: shop}\n\
         - {type: webhook, mapping: pagerduty, name: calls, team: orders, service: shop}\n\
         - {type: webhook, path: ours.yaml, team: orders, environment: Production}\n\
         - {type: webhook, mapping: jira, team: orders, service: shop, incident_labels: [story]}\n",
    )
    .unwrap();
    let mut receiver = Receiver::start(folder.path());
    let shipped = |number: u64, place: &str| json!({"event": "shipped", "number": number, "when": 1_622_810_000_000_u64 + number, "what": "shop", "where": place});
    // Resolved before it is triggered, and only PagerDuty's own words say what is whose.
    let mut triggered = fixture("senders/pagerduty-triggered.json");
    triggered["event"]["data"]["id"] = "PCPZE64".into();
    triggered["event"]["occurred_at"] = "2021-06-04T13:00:00Z".into();
    assert_eq!(hook(&receiver, "calls", &fixture("senders/pagerduty-resolved.json")).await.0, 202);
    assert_eq!(hook(&receiver, "ours", &shipped(1, "Production")).await.0, 202);
    assert_eq!(hook(&receiver, "ours", &shipped(1, "Production")).await, (200, "known already\n".into()));
    // `production` is not what this tool calls it.
    assert_eq!(hook(&receiver, "ours", &shipped(2, "production")).await.0, 202);
    assert_eq!(
        hook(&receiver, "ours", &json!({"event": "built"})).await,
        (200, "nothing in it counts\n".into())
    );
    assert_eq!(hook(&receiver, "calls", &triggered).await.0, 202);
    let (status, said) =
        hook(&receiver, "ours", &json!({"event": "shipped", "number": 3, "what": "shop"})).await;
    assert!(status == 422 && said.starts_with("/when: it is missing or empty"), "{said}");
    let (status, said) = hook(&receiver, "ours", &json!([1])).await;
    assert_eq!((status, said.as_str()), (200, "nothing in it counts\n"));
    assert_eq!(post(&format!("{}ours", receiver.url), &[("Authorization", &bearer())], "{").await.0, 422);
    // The name of the mapping is free for nobody else's, and others are none.
    assert_eq!(hook(&receiver, "another", &triggered).await.0, 400);
    // Which of Jira's issues are incidents Jira's source says; reopened, it is not over.
    for name in ["jira-resolved", "jira-reopened", "jira-created"] {
        assert_eq!(hook(&receiver, "jira", &fixture(&format!("senders/{name}.json"))).await.0, 202);
    }
    // GitHub tells of the same service.
    let body = json!({"deployment_status": {"state": "success", "created_at": "2021-06-04T12:50:00Z"},
        "deployment": {"id": 7, "sha": "c".repeat(40), "ref": "main", "environment": "production"},
        "repository": {"full_name": "example/shop", "default_branch": "main"}})
    .to_string();
    let headers = [
        ("X-GitHub-Event", "deployment_status"),
        ("X-GitHub-Delivery", "1"),
        ("X-Hub-Signature-256", &*signed(body.as_bytes())),
    ];
    assert_eq!(post(&receiver.url, &headers, &body).await.0, 202);
    assert_eq!(receiver.signal(Signal::TERM), Some(0));
    insta::assert_snapshot!(text(folder.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_payload_may_tell_of_several_services() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(folder.path());
    assert_eq!(hook(&receiver, "alertmanager", &fixture("senders/grafana-firing.json")).await.0, 202);
    assert_eq!(hook(&receiver, "alertmanager", &fixture("senders/grafana-firing.json")).await.0, 200);
    let mut resolved = fixture("senders/grafana-firing.json");
    resolved["alerts"][1]["status"] = "resolved".into();
    resolved["alerts"][1]["endsAt"] = "2026-03-02T11:20:00+01:00".into();
    assert_eq!(hook(&receiver, "alertmanager", &resolved).await.0, 202);
    assert_eq!(receiver.signal(Signal::TERM), Some(0));
    insta::assert_snapshot!(text(folder.path()));
}

fn event(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> (i32, Value, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_dorainfra"))
        .current_dir(folder)
        .env_clear()
        .envs(environment.iter().copied())
        .args(["--json", "event"])
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let result = lines.filter(|line| line["type"] == "result").map(|line| line["result"].clone()).next();
    let told = format!("{said}{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), result.unwrap_or_default(), told)
}

const OWNER: [&str; 6] = ["--team", "orders", "--service", "cart", "--events", "events.jsonl"];

fn with_owner<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    arguments.iter().chain(&OWNER).copied().collect()
}

#[test]
fn a_pipeline_records_its_events_in_a_file_and_each_once() {
    let folder = tempfile::tempdir().unwrap();
    let changes = ["--change", "c1=1772438400", "--change", "c2=2026-03-02T09:00:00+01:00"];
    let deploy = ["deploy", "--id", "7", "--revision", "c2", "--at", "2026-03-02T15:30:00Z"];
    let deploy: Vec<&str> = with_owner(&[&deploy[..], &changes].concat());
    let (code, result, told) = event(folder.path(), &deploy, &[]);
    assert_eq!((code, &result["new"], &result["kind"]), (0, &json!(true), &json!("deployment")), "{told}");
    let before = text(folder.path());
    // A step that runs twice is one deployment, at the time at which it was told first.
    let mut later = deploy.clone();
    later[6] = "2026-03-02T16:30:00Z";
    let (code, result, told) = event(folder.path(), &later, &[]);
    assert_eq!((code, &result["new"]), (0, &json!(false)), "{told}");
    assert_eq!(text(folder.path()), before);
    for arguments in [
        &["recover", "--id", "i1", "--at", "2026-03-02T16:10:00Z"][..],
        &["incident", "--id", "i1", "--at", "2026-03-02T15:42:00Z", "--deployment", "7"],
        &["deploy", "--id", "8", "--rework", "--at", "2026-03-02T16:00:00Z"],
    ] {
        let (code, _, told) = event(folder.path(), &with_owner(arguments), &[]);
        assert_eq!(code, 0, "{told}");
    }
    insta::assert_snapshot!(text(folder.path()));
}

#[test]
fn what_a_pipeline_does_not_say_its_ci_does() {
    let folder = tempfile::tempdir().unwrap();
    let github = [
        ("GITHUB_REPOSITORY", "example/shop"),
        ("GITHUB_SHA", "abcdef0123456789"),
        ("GITHUB_RUN_ID", "1658821493"),
        ("GITHUB_RUN_ATTEMPT", "2"),
    ];
    let gitlab = [
        ("CI_PROJECT_PATH", "bank/core/ledger"),
        ("CI_COMMIT_SHA", "123456789abcdef0"),
        ("CI_JOB_ID", "99"),
        ("CI_ENVIRONMENT_NAME", "live"),
    ];
    for (environment, expected) in [
        (github, ["example", "shop", "1658821493-2/shop/production", "production"]),
        (gitlab, ["bank/core", "ledger", "99/ledger/live", "live"]),
    ] {
        let (code, result, told) =
            event(folder.path(), &["deploy", "--events", "events.jsonl"], &environment);
        assert_eq!(code, 0, "{told}");
        let found = ["team", "service", "id", "environment"].map(|key| result[key].as_str().unwrap());
        assert_eq!(found, expected);
    }
    // Each CI names the environment of a deploying job in its own way, or not at all.
    for (variables, expected) in [
        (&[("BITBUCKET_DEPLOYMENT_ENVIRONMENT", "staging-eu")][..], "staging-eu"),
        (&[("RELEASE_ENVIRONMENTNAME", "Stage 2"), ("RELEASE_DEPLOYMENTID", "5")], "Stage 2"),
        (&[("ENVIRONMENT_NAME", "smarthotel-dev"), ("TF_BUILD", "True")], "smarthotel-dev"),
        // Anybody may call a variable like this: outside of Azure Pipelines it says nothing.
        (&[("ENVIRONMENT_NAME", "my shell")], "production"),
        // A short name for addresses, and a kind of environments, are not the environment's name.
        (&[("CI_ENVIRONMENT_SLUG", "review-x-1a2b"), ("CI_ENVIRONMENT_TIER", "staging")], "production"),
        (&[("CI_ENVIRONMENT_NAME", ""), ("BITBUCKET_DEPLOYMENT_ENVIRONMENT", "test")], "test"),
    ] {
        let arguments = ["deploy", "--id", expected, "--team", "t", "--service", "s"];
        let (code, result, told) =
            event(tempfile::tempdir().unwrap().path(), &[&arguments[..], &OWNER[4..]].concat(), variables);
        assert_eq!((code, result["environment"].as_str()), (0, Some(expected)), "{told}");
    }
    for (arguments, expected) in [
        (&["deploy"][..], "`--team` is missing"),
        (&["deploy", "--team", "t", "--service", "s"], "`--id` is missing"),
        (&["deploy", "--team", "t\n", "--service", "s", "--id", "1"], "team"),
    ] {
        let (code, _, told) = event(folder.path(), arguments, &[]);
        assert!(code == 3 && told.contains(expected), "{code} {told}");
    }
    let (code, _, told) =
        event(folder.path(), &with_owner(&["deploy", "--id", "1", "--at", "1969-12-31T23:00:00Z"]), &[]);
    assert!(code == 1 && told.contains("before 1970"), "{code} {told}");
    // Two kinds of the environments: only `production` has a deployment.
    let ids: Vec<String> = deployments(folder.path()).into_iter().map(|it| it.id).collect();
    assert_eq!(
        ids,
        ["example/shop@cdevents:/dorainfra/event/example/shop/production#1658821493-2/shop/production"]
    );
}

fn deployments(folder: &Path) -> Vec<Deployment> {
    let events = collected(folder).into_iter().filter_map(|event| match event {
        Event::Deployment(deployment) => Some(deployment),
        _ => None,
    });
    events.collect()
}

#[test]
fn pipelines_that_end_at_once_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let folder = folder.path();
            scope.spawn(move || {
                let id = number.to_string();
                let (code, result, told) = event(folder, &with_owner(&["deploy", "--id", &id]), &[]);
                assert_eq!((code, &result["new"]), (0, &json!(true)), "{told}");
            });
        }
    });
    assert_eq!(deployments(folder.path()).len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_sends_its_event_to_a_receiver() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(folder.path());
    let url = receiver.url.clone();
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("secret"), format!("{SECRET}\n")).unwrap();
    let arguments = ["deploy", "--team", "orders", "--service", "cart", "--id", "7", "--to", &url];
    let run = |more: &[&str], environment: &[(&str, &str)]| {
        event(elsewhere.path(), &[&arguments, more].concat(), environment)
    };
    let variable = [("DORAINFRA_WEBHOOK_SECRET", SECRET)];
    assert_eq!(run(&[], &[]).0, 3, "without a secret");
    let (code, _, told) = run(&[], &[("DORAINFRA_WEBHOOK_SECRET", "another")]);
    assert!(code == 1 && told.contains("does not accept the secret"), "{told}");
    let (code, result, told) = run(&["--secret-file", "secret"], &[]);
    assert_eq!((code, &result["new"], &result["recorded_in"]), (0, &json!(true), &json!(url)), "{told}");
    assert!(!told.contains(SECRET), "{told}");
    let (code, result, told) = run(&["--rework"], &variable);
    assert_eq!((code, &result["new"]), (0, &json!(false)), "{told}");
    // The file is the receiver's.
    let (code, _, told) = event(folder.path(), &with_owner(&["deploy", "--id", "8"]), &[]);
    assert!(code == 1 && told.contains("--to URL"), "{told}");
    assert_eq!(receiver.signal(Signal::TERM), Some(0));
    let ids: Vec<String> = deployments(folder.path()).into_iter().map(|it| it.id).collect();
    assert_eq!(ids, ["orders/cart@cdevents:/dorainfra/event/orders/cart/production#7"]);
    // It is away now.
    let (code, _, told) = run(&[], &variable);
    assert!(code == 1 && told.contains("can't be reached"), "{told}");
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_COMMITTER_DATE", "2026-03-02T09:00:00Z")
        .env("GIT_AUTHOR_DATE", "2026-03-02T08:00:00Z")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The repository knows commits, the pipeline knows what runs: `collect` puts them together.
#[test]
fn a_deployment_brings_what_the_repository_has() {
    let folder = tempfile::tempdir().unwrap();
    let shop = folder.path().join("shop");
    std::fs::create_dir(&shop).unwrap();
    git(&shop, &["init", "--quiet", "--initial-branch", "main"]);
    git(&shop, &["commit", "--quiet", "--allow-empty", "--message", "Add a cart"]);
    git(&shop, &["tag", "v0"]);
    git(&shop, &["commit", "--quiet", "--allow-empty", "--message", "Add a list"]);
    let head = git(&shop, &["rev-parse", "HEAD"]);
    std::fs::write(
        folder.path().join("dorainfra.yaml"),
        "sources:\n- {type: git, path: shop, tags: v0, team: orders, service: cart}\n",
    )
    .unwrap();
    let collect = || {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_dorainfra"));
        command.current_dir(folder.path()).env_clear();
        command.args(["collect", "--events", "events.jsonl"]).assert().success();
    };
    collect();
    let arguments = ["deploy", "--id", "7", "--revision", &head[..12], "--at", "2026-03-02T15:30:00Z"];
    let (code, _, told) = event(folder.path(), &with_owner(&arguments), &[]);
    assert_eq!(code, 0, "{told}");
    collect();
    let all = deployments(folder.path());
    let found: Vec<(&str, usize)> = all.iter().map(|it| (it.id.as_str(), it.changes.len())).collect();
    assert_eq!(
        found,
        [("orders/cart@v0", 1), ("orders/cart@cdevents:/dorainfra/event/orders/cart/production#7", 1)]
    );
}

#[test]
fn a_team_is_whom_the_repository_s_codeowners_names() {
    let folder = tempfile::tempdir().unwrap();
    let shop = folder.path().join("shop");
    std::fs::create_dir_all(shop.join(".github")).unwrap();
    std::fs::write(shop.join(".github/CODEOWNERS"), "* @example/platform\n/cart/ @example/orders\n").unwrap();
    std::fs::create_dir(shop.join("cart")).unwrap();
    std::fs::write(shop.join("cart/main"), "1").unwrap();
    git(&shop, &["init", "--quiet", "--initial-branch", "main"]);
    git(&shop, &["add", "."]);
    git(&shop, &["commit", "--quiet", "--message", "Add a cart"]);
    git(&shop, &["tag", "v1"]);
    let configure = |more: &str| {
        let text =
            format!("sources:\n- {{type: git, path: shop, service: all, team_from: codeowners}}\n{more}");
        std::fs::write(folder.path().join("dorainfra.yaml"), text).unwrap();
    };
    let collect = |code: i32| {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_dorainfra"));
        command.current_dir(folder.path()).env_clear();
        let assert = command.args(["collect", "--events", "events.jsonl"]).assert().code(code);
        String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
    };
    configure("- {type: git, path: shop, service: cart, paths: [cart], team_from: codeowners}\n");
    collect(0);
    let ids: Vec<String> = deployments(folder.path()).into_iter().map(|it| it.id).collect();
    assert_eq!(ids, ["orders/cart@v1", "platform/all@v1"]);
    std::fs::remove_file(shop.join(".github/CODEOWNERS")).unwrap();
    let said = collect(1);
    assert!(said.contains("no CODEOWNERS") && said.contains("team: NAME"), "{said}");
    std::fs::write(shop.join(".github/CODEOWNERS"), "* @example/platform\n").unwrap();
    for (more, expected) in [
        ("- {type: git, path: cart, team: a, team_from: codeowners}", "two ways to say whose it is"),
        ("- {type: webhook}", "needs `mapping`, or `path`"),
        ("- {type: webhook, mapping: jira, path: x.yaml}", "two mappings"),
        ("- {type: webhook, mapping: pagerdutty}", "pagerduty"),
        ("- {type: webhook, mapping: jira}\n- {type: webhook, mapping: jira}", "another webhook is called"),
        ("- {type: webhook, mapping: jira, name: No}", "other characters"),
        ("- {type: cdevents, teams: [\"cart\"]}", "no pattern or no team"),
        ("- {type: cdevents, mapping: jira}", "no `mapping`"),
        ("- {type: webhook, path: absent.yaml}", "absent.yaml"),
    ] {
        configure(more);
        let said = collect(3);
        assert!(said.contains(expected), "{more}: {said}");
    }
}

/// The container's command, as the documentation has it.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_container_runs_is_a_receiver() {
    use std::io::BufRead as _;
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sources.md")).unwrap();
    let line = |name: &str| page.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let entry: Vec<String> = serde_json::from_str(line("ENTRYPOINT ")).unwrap();
    assert_eq!(entry, ["/usr/local/bin/dorainfra"]);
    assert_eq!(line("COPY "), "dorainfra /usr/local/bin/dorainfra");
    let folder = tempfile::tempdir().unwrap();
    let command: Vec<String> = serde_json::from_str(line("CMD ")).unwrap();
    let events = format!("{}/events.jsonl", line("VOLUME "));
    assert!(command.contains(&events) && command.contains(&format!("0.0.0.0:{}", line("EXPOSE "))));
    let command = command.iter().map(|word| match word.as_str() {
        "0.0.0.0:8085" => "127.0.0.1:0".to_owned(),
        word => word.replace("/data", &folder.path().display().to_string()),
    });
    let mut child = Command::new(env!("CARGO_BIN_EXE_dorainfra"))
        .args(command)
        .current_dir(folder.path())
        .env_clear()
        .env("DORAINFRA_WEBHOOK_SECRET", SECRET)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let said = lines.find(|line| line.contains("http://"));
    let url =
        said.as_deref().and_then(|said| said.split_whitespace().find(|word| word.starts_with("http://")));
    let ready = match url {
        Some(url) => {
            http().get(format!("{url}healthz")).send().await.map(|answer| answer.status().as_u16()).ok()
        }
        None => None,
    };
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(ready, Some(200), "{said:?}");
}

/// What each CI sets in a job; the last of it is what another run of the same job changes.
const CI: [(&str, &[(&str, &str)]); 9] = [
    ("GitHub Actions", &[("GITHUB_RUN_ID", "77"), ("GITHUB_RUN_ATTEMPT", "1")]),
    ("GitLab CI", &[("CI_JOB_ID", "77")]),
    ("Bitbucket", &[("BITBUCKET_BUILD_NUMBER", "77"), ("BITBUCKET_STEP_RUN_NUMBER", "1")]),
    ("Bitbucket, before", &[("BITBUCKET_BUILD_NUMBER", "77")]),
    ("Azure Pipelines", &[("BUILD_BUILDID", "77"), ("SYSTEM_STAGEATTEMPT", "1")]),
    ("Azure Pipelines, releases", &[("BUILD_BUILDID", "77"), ("RELEASE_DEPLOYMENTID", "1")]),
    ("Azure Pipelines, before", &[("BUILD_BUILDID", "77")]),
    ("Jenkins", &[("BUILD_TAG", "jenkins-shop-77")]),
    ("an id of one's own", &[]),
];

#[test]
fn one_run_deploys_to_several_environments_and_several_services() {
    for (ci, environment) in CI {
        let folder = tempfile::tempdir().unwrap();
        let deploy = |service: &str, place: &str, environment: &[(&str, &str)]| {
            let mut arguments = vec!["deploy", "--events", "events.jsonl", "--team", "t"];
            arguments.extend(["--service", service, "--environment", place]);
            arguments.extend(environment.is_empty().then_some(["--id", "v1"]).into_iter().flatten());
            let (code, result, told) = event(folder.path(), &arguments, environment);
            assert_eq!(code, 0, "{ci}: {told}");
            result["new"] == true
        };
        assert!(deploy("cart", "staging", environment), "{ci}");
        assert!(deploy("cart", "production", environment), "{ci}: lost");
        assert!(deploy("list", "production", environment), "{ci}: lost");
        assert!(!deploy("cart", "production", environment), "{ci}: a step that runs twice");
        assert_eq!(deployments(folder.path()).len(), 2, "{ci}");
        if let [.., (name, _)] = environment {
            let again: Vec<_> = environment
                .iter()
                .map(|(key, value)| (*key, if key == name { "9" } else { *value }))
                .collect();
            assert!(deploy("cart", "production", &again), "{ci}: another run is another deployment");
        }
    }
}

#[test]
fn what_does_not_count_or_can_only_be_a_mistake_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let at = "2026-03-02T15:30:00Z";
    let run = |arguments: &[&str]| event(folder.path(), &with_owner(arguments), &[]);
    let notes = |result: &Value| result["notes"].to_string();
    for place in ["prod", "Production"] {
        let (code, result, told) = run(&["deploy", "--id", "1", "--at", at, "--environment", place]);
        let note = notes(&result);
        assert!(code == 0 && note.contains(&format!("`{place}`")) && note.contains("`production`"), "{told}");
    }
    let (code, result, told) = run(&["deploy", "--id", "1", "--at", at]);
    assert_eq!((code, notes(&result).as_str()), (0, "[]"), "{told}");
    // A typing error would be somebody else's failure, and the id is used up then.
    let late = "2026-03-02T16:00:00Z";
    let (code, _, told) = run(&["incident", "--id", "i1", "--at", late, "--deployment", "nope"]);
    assert!(code == 1 && told.contains("`nope`") && told.contains("orders/cart"), "{told}");
    let early = "2026-03-02T15:00:00Z";
    let (code, _, told) = run(&["incident", "--id", "i1", "--at", early, "--deployment", "1"]);
    assert!(code == 1 && told.contains("before this incident"), "{told}");
    let (code, result, told) = run(&["incident", "--id", "i1", "--at", late, "--deployment", "1"]);
    assert_eq!((code, &result["new"], notes(&result).as_str()), (0, &json!(true), "[]"), "{told}");
    let (code, result, told) =
        run(&["incident", "--id", "i3", "--at", "2026-03-05T15:30:01Z", "--deployment", "1"]);
    assert!(code == 0 && notes(&result).contains("ran more than 3 days before this incident"), "{told}");
    // Nor what has not been yet, and what was written twice.
    let (code, _, told) = run(&["deploy", "--id", "2", "--at", "2199-03-02T15:30:00Z"]);
    assert!(code == 3 && told.contains("2199-03-02T15:30:00Z has not been yet"), "{told}");
    let change = |hour: u8| format!("c1=2026-03-02T{hour}:00:00Z");
    let changes = [change(10), change(11)];
    let deploy = ["deploy", "--id", "2", "--at", at, "--change", &changes[0], "--change", &changes[1]];
    let (code, _, told) = run(&deploy);
    assert!(code == 3 && told.contains("`--change c1` is there with two times"), "{told}");
    for (id, service, known) in [("i2", "cart", false), ("i1", "list", false), ("i1", "cart", true)] {
        let arguments = ["recover", "--id", id, "--team", "orders", "--service", service];
        let (code, result, told) =
            event(folder.path(), &[&arguments[..], &["--events", "events.jsonl"]].concat(), &[]);
        let said = notes(&result).contains(&format!("no incident `{id}` of orders/{service}"));
        assert_eq!((code, said), (0, !known), "{told}");
    }
}

/// The same as in a file, from the moment at which the receiver has answered on.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_says_what_a_file_would() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(folder.path());
    let url = receiver.url.clone();
    let run = |arguments: &[&str]| {
        let more = ["--team", "orders", "--service", "cart", "--to", &url];
        event(folder.path(), &[arguments, &more].concat(), &[("DORAINFRA_WEBHOOK_SECRET", SECRET)])
    };
    let (early, late) = ("2026-03-02T15:00:00Z", "2026-03-02T16:00:00Z");
    let (code, result, told) = run(&["recover", "--id", "i2", "--at", late]);
    let said = result["notes"].to_string();
    assert!(code == 0 && said.contains("no incident `i2` of orders/cart is known"), "{told}");
    // A typing error is told while it can be corrected: the id is not used up.
    let (code, _, told) = run(&["incident", "--id", "i1", "--at", late, "--deployment", "nope"]);
    assert!(code == 1 && told.contains("no deployment `nope` of orders/cart ran"), "{code} {told}");
    let (code, _, told) = run(&["deploy", "--id", "d1", "--at", "2026-03-02T15:30:00Z"]);
    assert_eq!(code, 0, "{told}");
    let (code, _, told) = run(&["incident", "--id", "i1", "--at", early, "--deployment", "d1"]);
    assert!(code == 1 && told.contains("before this incident"), "{told}");
    let arguments = ["incident", "--id", "i1", "--at", late, "--deployment", "d1"];
    let (code, result, told) = run(&arguments);
    assert_eq!((code, &result["new"], &result["notes"]), (0, &json!(true), &json!([])), "{told}");
    let (code, result, told) = run(&["recover", "--id", "i1"]);
    assert_eq!((code, &result["new"], &result["notes"]), (0, &json!(true), &json!([])), "{told}");
    let (code, result, told) = run(&arguments);
    assert_eq!((code, &result["new"], &result["notes"]), (0, &json!(false), &json!([])), "{told}");
    // Whoever else tells of it may deliver it before the deployment: that is kept, with the same note.
    let mut other = cdevent("incident_reported", "x1", "inc-9", late);
    other["data"]["subject"]["content"]["service"]["id"] = "orders/cart".into();
    other["data"]["customData"] = json!({"dorainfra": {"deployment": "later"}});
    let (status, said) = send(&url, &other).await;
    assert!(status == 202 && said.contains("no deployment `later` of orders/cart ran"), "{status} {said}");
    assert_eq!(receiver.signal(Signal::TERM), Some(0));
    let blamed: Vec<Value> =
        lines(folder.path(), "failure").into_iter().map(|one| one["deployment"].clone()).collect();
    assert_eq!(blamed.len(), 2, "{}", text(folder.path()));
    assert!(blamed[0].as_str().unwrap().ends_with("#d1"), "{blamed:?}");
}

fn lines(folder: &Path, what: &str) -> Vec<Value> {
    let text = text(folder);
    let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|event| event["type"] == what).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sources_of_cdevents_may_give_one_id() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(folder.path());
    let deployed = |source: &str, hour: u32| {
        let mut event = cdevent("service_deployed", "1", "shop", &format!("2026-03-02T{hour}:00:00Z"));
        event["source"] = source.into();
        event["data"]["context"]["source"] = source.into();
        event
    };
    assert_eq!(send(&receiver.url, &deployed("/a", 10)).await.0, 202);
    assert_eq!(send(&receiver.url, &deployed("/b", 11)).await.0, 202);
    assert_eq!(send(&receiver.url, &deployed("/b", 11)).await.0, 200);
    // Neither do their incidents end each other.
    let incident = |source: &str, sample: &str, hour: u32| {
        let mut event =
            cdevent(sample, &format!("{sample}{hour}"), "7", &format!("2026-03-02T{hour}:00:00Z"));
        event["source"] = source.into();
        event["data"]["context"]["source"] = source.into();
        event["data"]["subject"]["source"] = source.into();
        event["data"]["subject"]["content"]["service"]["id"] = "shop".into();
        event
    };
    for event in [
        incident("/a", "incident_detected", 12),
        incident("/b", "incident_detected", 13),
        incident("/b", "incident_resolved", 14),
    ] {
        assert_eq!(send(&receiver.url, &event).await.0, 202);
    }
    assert_eq!(receiver.signal(Signal::TERM), Some(0));
    let count = |what: &str| lines(folder.path(), what).len();
    assert_eq!(
        (count("deployment"), count("failure"), count("recovery")),
        (2, 2, 1),
        "{}",
        text(folder.path())
    );
}

/// A fact is kept, whoever it is about under the present configuration.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_configuration_gives_to_another_team_goes_from_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let configure = |team: &str| {
        let text = format!(
            "sources:\n- {{type: webhook, mapping: opsgenie, teams: [\"cart*={team}\"]}}\n\
             - {{type: cdevents, teams: [\"cart*={team}\"]}}\n"
        );
        std::fs::write(folder.path().join("dorainfra.yaml"), text).unwrap();
    };
    // Somebody else's event of the first team, which is none of this.
    let other = "{\"type\":\"deployment\",\"id\":\"one/cart@mine\",\"team\":\"one\",\"service\":\"cart\",\
                 \"environment\":\"production\",\"at\":\"2015-01-01T00:00:00Z\",\"kind\":\"planned\"}\n";
    std::fs::write(folder.path().join("events.jsonl"), other).unwrap();
    configure("one");
    let mut opened = fixture("senders/opsgenie-close.json");
    opened["alert"]["entity"] = "cart".into();
    opened["action"] = "Create".into();
    let mut receiver = Receiver::start(folder.path());
    assert_eq!(hook(&receiver, "opsgenie", &opened).await.0, 202);
    let deployed = cdevent("service_deployed", "d1", "cart", "2015-01-05T10:00:00Z");
    assert_eq!(send(&receiver.url, &deployed).await.0, 202);
    assert_eq!(receiver.signal(Signal::TERM), Some(0));
    assert_eq!(text(folder.path()).matches("\"team\":\"one\"").count(), 3);
    configure("two");
    let mut receiver = Receiver::start(folder.path());
    let mut closed = opened.clone();
    closed["action"] = "Close".into();
    assert_eq!(hook(&receiver, "opsgenie", &closed).await.0, 202);
    assert_eq!(receiver.signal(Signal::TERM), Some(0));
    let file = text(folder.path());
    assert_eq!(file.matches("\"team\":\"one\"").count(), 1, "{file}");
    assert!(file.contains("one/cart@mine"), "{file}");
    let count = |what: &str| lines(folder.path(), what).len();
    assert_eq!((count("deployment"), count("failure"), count("recovery")), (2, 1, 1), "{file}");
    // Back again, by `collect` alone.
    configure("one");
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_dorainfra"));
    command
        .current_dir(folder.path())
        .env_clear()
        .args(["collect", "--events", "events.jsonl"])
        .assert()
        .success();
    let file = text(folder.path());
    assert_eq!(
        (file.matches("\"team\":\"two\"").count(), lines(folder.path(), "failure").len()),
        (0, 1),
        "{file}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_that_moves_to_another_service_is_one_failure() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(folder.path());
    let pager = |kind: &str, at: &str, service: &str| {
        json!({"event": {"event_type": kind, "occurred_at": at, "data": {"id": "Q1", "type": "incident",
            "created_at": "2026-03-02T10:00:00Z", "service": {"summary": service}}}})
    };
    let story = [
        pager("incident.triggered", "2026-03-02T10:00:00Z", "cart"),
        pager("incident.service_updated", "2026-03-02T10:20:00Z", "search"),
        pager("incident.resolved", "2026-03-02T11:00:00Z", "search"),
    ];
    for event in &story {
        assert_eq!(hook(&receiver, "pagerduty", event).await.0, 202);
    }
    // A component is added later; the issue is moved to another project; another one is deleted.
    let mut issue = fixture("senders/jira-created.json");
    issue["issue"]["fields"]["labels"] = json!(["incident"]);
    issue["issue"]["fields"]["components"] = json!([]);
    assert_eq!(hook(&receiver, "jira", &issue).await.0, 202);
    issue["webhookEvent"] = "jira:issue_updated".into();
    issue["timestamp"] = 1_772_445_600_000_u64.into();
    issue["issue"]["fields"]["components"] = json!([{"name": "list"}]);
    assert_eq!(hook(&receiver, "jira", &issue).await.0, 202);
    issue["issue"]["key"] = "OPS-3".into();
    issue["timestamp"] = 1_772_445_700_000_u64.into();
    assert_eq!(hook(&receiver, "jira", &issue).await.0, 202);
    let mut deleted = issue.clone();
    deleted["issue"]["id"] = "99".into();
    assert_eq!(hook(&receiver, "jira", &deleted).await.0, 202);
    deleted["webhookEvent"] = "jira:issue_deleted".into();
    deleted["timestamp"] = 1_772_445_800_000_u64.into();
    assert_eq!(hook(&receiver, "jira", &deleted).await.0, 202);
    assert_eq!(receiver.signal(Signal::TERM), Some(0));
    let file = text(folder.path());
    let of = |what: &str| -> Vec<String> {
        let all = lines(folder.path(), what);
        all.iter().map(|event| event["service"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(of("failure"), ["list", "search"], "{file}");
    assert_eq!(of("recovery").len(), 1, "{file}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_s_environment_is_for_its_own_deliveries() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = "sources:\n- {type: webhook, mapping: azure-devops, environment: Production}\n\
        - {type: webhook, mapping: jenkins, workflows: [\"*\"]}\n- {type: webhook, mapping: pagerduty}\n";
    std::fs::write(folder.path().join("dorainfra.yaml"), configuration).unwrap();
    let mut receiver = Receiver::start(folder.path());
    let mut azure = fixture("senders/azure-stage-completed.json");
    azure["resource"]["stage"]["name"] = "Production".into();
    let mut jenkins = fixture("senders/jenkins-completed.json");
    jenkins["build"]["timestamp"] = 1_772_445_600_000_u64.into();
    jenkins["build"]["parameters"] = json!({"SERVICE": "cart", "ENVIRONMENT": "production"});
    assert_eq!(hook(&receiver, "azure-devops", &azure).await.0, 202);
    assert_eq!(hook(&receiver, "jenkins", &jenkins).await.0, 202);
    // Of a service that only one tool deploys, what pages knows no environment.
    azure["id"] = "another".into();
    azure["resource"]["pipeline"]["name"] = "list".into();
    assert_eq!(hook(&receiver, "azure-devops", &azure).await.0, 202);
    let page = json!({"event": {"event_type": "incident.triggered", "occurred_at": "2026-03-02T11:00:00Z",
        "data": {"id": "Q1", "service": {"summary": "list"}}}});
    assert_eq!(hook(&receiver, "pagerduty", &page).await.0, 202);
    assert_eq!(receiver.signal(Signal::TERM), Some(0));
    let file = text(folder.path());
    let deployments = lines(folder.path(), "deployment");
    let found: Vec<(&str, &str)> = deployments
        .iter()
        .map(|one| (one["service"].as_str().unwrap(), one["environment"].as_str().unwrap()))
        .collect();
    assert_eq!(found, [("cart", "Production"), ("list", "Production"), ("cart", "production")], "{file}");
    let failures = lines(folder.path(), "failure");
    assert_eq!(failures.len(), 1, "{file}");
    assert!(failures[0]["deployment"].as_str().unwrap().contains("azure-devops:another"), "{file}");
}

/// A source that reads a service says which environment of it counts. Another one that a webhook's
/// source names is another one: its deployments are none of this.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_tells_of_another_environment_is_not_the_repository_s() {
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("cart");
    git(folder.path(), &["init", "-q", "-b", "main", "cart"]);
    std::fs::write(repository.join("a"), "a").unwrap();
    git(&repository, &["add", "a"]);
    git(&repository, &["commit", "-q", "-m", "A"]);
    let configuration = |environment: &str| {
        format!(
            "project: my-gcp\nsources:\n- {{type: git, path: cart, team: orders, service: cart, tags: none{environment}}}\n\
             - {{type: webhook, mapping: jenkins, team: orders, workflows: [\"*\"], environment: staging}}\n\
             - {{type: webhook, mapping: azure-devops, team: orders, service: cart, environment: Production}}\n\
             - {{type: webhook, mapping: pagerduty, team: orders}}\n"
        )
    };
    std::fs::write(folder.path().join("dorainfra.yaml"), configuration("")).unwrap();
    let mut receiver = Receiver::start(folder.path());
    let mut jenkins = fixture("senders/jenkins-completed.json");
    jenkins["build"]["timestamp"] = 1_772_445_600_000_u64.into();
    jenkins["build"]["parameters"] = json!({"SERVICE": "cart", "ENVIRONMENT": "staging"});
    let (status, said) = hook(&receiver, "jenkins", &jenkins).await;
    assert!(
        status == 202 && said.contains("nothing in `staging` counts, only what is in `production`"),
        "{said}"
    );
    let mut azure = fixture("senders/azure-stage-completed.json");
    azure["resource"]["stage"]["name"] = "Production".into();
    assert_eq!(hook(&receiver, "azure-devops", &azure).await, (202, "kept\n".into()));
    let page = json!({"event": {"event_type": "incident.triggered", "occurred_at": "2026-03-02T11:00:00Z",
        "data": {"id": "Q1", "service": {"summary": "cart"}}}});
    assert_eq!(hook(&receiver, "pagerduty", &page).await, (202, "kept\n".into()));
    assert_eq!(receiver.signal(Signal::TERM), Some(0));
    let collect = || {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_dorainfra"));
        command.current_dir(folder.path()).args(["collect", "--events", "events.jsonl"]);
        let said = String::from_utf8(command.assert().success().get_output().stderr.clone()).unwrap();
        let deployments = deployments(folder.path()).into_iter();
        let deployments: Vec<String> =
            deployments.map(|one| format!("{} {}", one.id, one.environment)).collect();
        (deployments, lines(folder.path(), "failure").len(), said)
    };
    let (deployed, failures, said) = collect();
    let note =
        "git cart: 1 deployment to `staging` from the receiver does not count, only those to `production`";
    assert!(said.contains(note), "{said}");
    assert_eq!((deployed.len(), failures), (1, 1), "{deployed:?}");
    assert!(deployed[0].contains("azure-devops") && deployed[0].ends_with(" production"), "{deployed:?}");
    // Named alike, it is one.
    std::fs::write(folder.path().join("dorainfra.yaml"), configuration(", environment: staging")).unwrap();
    let (deployed, _, said) = collect();
    assert!(said.contains("1 deployment to `Production`"), "{said}");
    assert_eq!(deployed.len(), 1, "{deployed:?}");
    assert!(deployed[0].contains("jenkins") && deployed[0].ends_with(" staging"), "{deployed:?}");
}

/// An upgrade that had to be rolled back is what failed, and never the good one before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_of_flux_is_of_the_upgrade_that_failed() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(folder.path());
    for (reason, at, revision) in [
        ("UpgradeSucceeded", "2026-03-02T09:00:00Z", "1.2.2"),
        // Nothing of this one ever ran.
        ("UpgradeFailed", "2026-03-03T08:00:00Z", "1.2.3"),
        ("UpgradeFailed", "2026-03-03T09:00:00Z", "1.2.3"),
        ("RollbackSucceeded", "2026-03-03T09:02:00Z", "1.2.2"),
        // Its tests failed.
        ("UpgradeSucceeded", "2026-03-04T09:00:00Z", "1.2.4"),
        ("RollbackSucceeded", "2026-03-04T09:05:00Z", "1.2.2"),
    ] {
        let mut event = fixture("senders/flux-upgraded.json");
        event["reason"] = reason.into();
        event["timestamp"] = at.into();
        event["metadata"]["revision"] = revision.into();
        assert_eq!(hook(&receiver, "flux", &event).await.0, 202);
    }
    assert_eq!(receiver.signal(Signal::TERM), Some(0));
    let file = text(folder.path());
    let failures = lines(folder.path(), "failure");
    let blamed: Vec<&str> = failures.iter().map(|one| one["deployment"].as_str().unwrap()).collect();
    assert_eq!(blamed.len(), 2, "{file}");
    assert!(
        blamed[0].ends_with("2026-03-03T09:00:00Z") && blamed[1].ends_with("2026-03-04T09:00:00Z"),
        "{file}"
    );
    assert_eq!(lines(folder.path(), "deployment").len(), 5, "{file}");
}

//! The receiver of webhooks: whom it believes, what it keeps, and that it loses
//! nothing when it is killed in the middle of a storm.

use crate::installed;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::receiver::{Receiver, SECRET, collected, http, signed};
use dorainfra_dora::events::Event;
use ring::hmac;
use rustix::process::Signal;
use serde_json::{Value, json};

/// As GitHub sends it, cut to what a payload of this kind has to have.
fn deployment_status(id: u64) -> Value {
    json!({
        "action": "created",
        "deployment_status": {"state": "success", "environment": "production", "created_at": "2026-03-02T15:30:00Z"},
        "deployment": {"id": id, "sha": "c".repeat(40), "ref": "main", "environment": "production"},
        "repository": {"full_name": "example/shop", "default_branch": "main"},
    })
}

async fn send(http: &reqwest::Client, url: &str, delivery: &str, body: &Value) -> Option<u16> {
    let body = serde_json::to_vec(body).unwrap();
    let request = http
        .post(url)
        .header("X-GitHub-Event", "deployment_status")
        .header("X-GitHub-Delivery", delivery)
        .header("X-Hub-Signature-256", signed(&body))
        .body(body);
    Some(request.send().await.ok()?.status().as_u16())
}

/// By id, how often each deployment is there.
fn deployments(folder: &Path) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for event in collected(folder) {
        if let Event::Deployment(deployment) = event {
            *found.entry(deployment.id).or_default() += 1;
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_a_storm_loses_nothing_that_was_answered_and_doubles_nothing() {
    const STORM: usize = 400;
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(folder.path());
    let http = http();
    let answered = Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let done = Arc::new(AtomicUsize::new(0));
    let storm: Vec<_> = (0..16)
        .map(|sender| {
            let (http, url) = (http.clone(), receiver.url.clone());
            let (answered, done) = (answered.clone(), done.clone());
            tokio::spawn(async move {
                for number in (sender..STORM).step_by(16) {
                    let (id, body) = (format!("delivery-{number}"), deployment_status(number as u64));
                    // Some are delivered twice.
                    for _ in 0..1 + usize::from(number % 5 == 0) {
                        match send(&http, &url, &id, &body).await {
                            Some(200..=299) => {
                                answered.lock().unwrap().insert(number);
                                done.fetch_add(1, Ordering::Relaxed);
                            }
                            Some(status) => panic!("{status}"),
                            // Killed: the sender of a real webhook would try again.
                            None => return,
                        }
                    }
                }
            })
        })
        .collect();
    let begun = Instant::now();
    while done.load(Ordering::Relaxed) < STORM / 4 {
        assert!(begun.elapsed() < Duration::from_secs(120), "the storm does not get on");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    receiver.signal(Signal::KILL);
    for sender in storm {
        sender.await.unwrap();
    }
    let kept = answered.lock().unwrap().clone();
    assert!(kept.len() < STORM, "it was killed after the storm");

    // The next one has all that were answered, before anything is sent again.
    let mut receiver = Receiver::start(folder.path());
    let found = deployments(folder.path());
    for number in &kept {
        assert_eq!(found.get(&format!("example/shop@{number}")), Some(&1), "{number}");
    }
    // Everything is delivered again, as senders do that got no answer.
    for number in 0..STORM {
        let status =
            send(&http, &receiver.url, &format!("delivery-{number}"), &deployment_status(number as u64))
                .await;
        assert!(matches!(status, Some(200 | 202)), "{status:?}");
    }
    assert_eq!(receiver.signal(Signal::TERM), Some(0));
    let found = deployments(folder.path());
    assert_eq!(found.len(), STORM);
    assert!(found.values().all(|count| *count == 1));
    // The journal has each delivery once.
    let journal = std::fs::read_to_string(folder.path().join("events.jsonl.state/webhooks.jsonl")).unwrap();
    let ids: Vec<String> = journal
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (STORM, STORM));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_without_the_secret_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(folder.path());
    let http = http();
    let body = serde_json::to_vec(&deployment_status(1)).unwrap();
    let other = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"another"), &body);
    type Case<'a> = (&'a str, &'a [(&'a str, String)], u16);
    let cases: [Case<'_>; 7] = [
        ("no forge", &[], 400),
        ("no signature", &[("X-GitHub-Event", "push".into())], 401),
        (
            "another secret",
            &[
                ("X-GitHub-Event", "deployment_status".into()),
                ("X-Hub-Signature-256", format!("sha256={}", hex::encode(other))),
            ],
            401,
        ),
        (
            "the old signature",
            &[("X-GitHub-Event", "deployment_status".into()), ("X-Hub-Signature", "sha1=00".into())],
            401,
        ),
        ("no token", &[("X-Gitlab-Event", "Deployment Hook".into())], 401),
        (
            "another token",
            &[("X-Gitlab-Event", "Deployment Hook".into()), ("X-Gitlab-Token", "another".into())],
            401,
        ),
        (
            "signed, but no payload of its kind",
            &[("X-GitHub-Event", "issues".into()), ("X-Hub-Signature-256", signed(&body))],
            422,
        ),
    ];
    for (name, headers, expected) in cases {
        let mut request = http.post(&receiver.url).body(body.clone());
        for (header, value) in headers {
            request = request.header(*header, value);
        }
        assert_eq!(request.send().await.unwrap().status().as_u16(), expected, "{name}");
    }
    assert_eq!(deployments(folder.path()).len(), 0);

    // Without a secret it does not start at all.
    let said = assert_cmd::Command::new(env!("CARGO_BIN_EXE_dorainfra"))
        .current_dir(folder.path())
        .args(["collect", "--listen", "127.0.0.1:0", "--events", "other.jsonl"])
        .env_remove("DORAINFRA_WEBHOOK_SECRET")
        .assert()
        .code(3);
    let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    assert!(said.contains("webhooks need a secret"), "{said}");
}

/// GitHub's and GitLab's payloads as their documentation has them, in the order
/// in which a day brings them.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_both_forges_becomes_events() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(folder.path());
    let http = http();
    for (forge, payloads) in [
        ("github", include_str!("../fixtures/github/webhooks.json")),
        ("gitlab", include_str!("../fixtures/gitlab/webhooks.json")),
    ] {
        let payloads: Vec<Value> = serde_json::from_str(payloads).unwrap();
        for (number, payload) in payloads.into_iter().enumerate() {
            let (event, body) =
                (payload["event"].as_str().unwrap(), serde_json::to_vec(&payload["body"]).unwrap());
            let request = http.post(&receiver.url);
            let request = match forge {
                "github" => request
                    .header("X-GitHub-Event", event)
                    .header("X-GitHub-Delivery", format!("g{number}"))
                    .header("X-Hub-Signature-256", signed(&body)),
                _ => request
                    .header("X-Gitlab-Event", event)
                    .header("X-Gitlab-Event-UUID", format!("l{number}"))
                    .header("X-Gitlab-Token", SECRET),
            };
            let status = request.body(body).send().await.unwrap().status();
            assert!(status.is_success(), "{forge} {event}: {status}");
        }
    }
    assert_eq!(receiver.signal(Signal::TERM), Some(0));
    let text = std::fs::read_to_string(folder.path().join("events.jsonl")).unwrap();
    insta::assert_snapshot!(text);
}

/// What GitHub really sent, of every kind of event: collected by octokit.
#[tokio::test(flavor = "multi_thread")]
async fn recorded_deliveries_are_taken_and_those_that_count_are_kept() {
    let Some(file) = installed::installed("recordings/deliveries/api.github.com/index.json") else { return };
    let kinds: Vec<Value> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(folder.path());
    let http = http();
    // By event, how many were kept.
    let mut kept: BTreeMap<&str, usize> = BTreeMap::new();
    let mut sent = 0;
    for kind in &kinds {
        let event = kind["name"].as_str().unwrap();
        for example in kind["examples"].as_array().unwrap() {
            let body = serde_json::to_vec(example).unwrap();
            let request = http
                .post(&receiver.url)
                .header("X-GitHub-Event", event)
                .header("X-GitHub-Delivery", format!("{event}-{sent}"))
                .header("X-Hub-Signature-256", signed(&body));
            let response = request.body(body).send().await.unwrap();
            let status = response.status().as_u16();
            assert!(matches!(status, 200 | 202), "{event}: {status} {}", response.text().await.unwrap());
            *kept.entry(event).or_default() += usize::from(status == 202);
            sent += 1;
        }
    }
    kept.retain(|_, count| *count > 0);
    // Counted in the recordings: 4 statuses, of which one is `in_progress`; 7
    // pushes, of which 5 are of tags; 29 issues, of which 2 tell no labels. None
    // of 29 pull requests was merged.
    assert_eq!(kept, BTreeMap::from([("deployment_status", 3), ("issues", 27), ("push", 2)]));
    assert_eq!(receiver.signal(Signal::TERM), Some(0));

    // All three are of one deployment.
    let text = std::fs::read_to_string(folder.path().join("events.jsonl")).unwrap();
    insta::assert_snapshot!(text, @r#"{"type":"deployment","id":"Codertocat/Hello-World@145988746","team":"Codertocat","service":"Hello-World","environment":"production","at":"2019-05-15T15:20:55Z","kind":"planned"}"#);
    let journal = std::fs::read_to_string(folder.path().join("events.jsonl.state/webhooks.jsonl")).unwrap();
    let facts = journal.lines().flat_map(|line| {
        let delivery: Value = serde_json::from_str(line).unwrap();
        delivery["facts"].as_array().unwrap().clone()
    });
    let issues: Vec<Value> = facts.filter(|fact| fact["fact"] == "reported").collect();
    // One was deleted, one had gone elsewhere; all others are a `bug`.
    let labels = |fact: &&Value| fact["incident"]["labels"] == json!(["bug"]);
    assert_eq!((issues.len(), issues.iter().filter(labels).count()), (27, 25));
}

/// A payload of every kind that tells something, with places for whatever a sender
/// may put there.
fn wild(kind: usize, text: &str, other: &str, time: &str, number: u64) -> (&'static str, Value) {
    let repository = json!({"full_name": other, "default_branch": "main"});
    match kind {
        0 => (
            "deployment_status",
            json!({"deployment_status": {"state": "success", "created_at": time}, "repository": repository,
                "deployment": {"id": number, "sha": text, "ref": text, "environment": text}}),
        ),
        1 => (
            "push",
            json!({"ref": "refs/heads/main", "repository": repository,
                "commits": [{"id": text, "message": text, "timestamp": time}]}),
        ),
        2 => (
            "pull_request",
            json!({"action": "closed", "repository": repository, "pull_request": {"title": text, "body": text,
                "labels": [{"name": text}], "merged": true, "merge_commit_sha": text, "created_at": time}}),
        ),
        _ => (
            "issues",
            json!({"action": "labeled", "repository": repository, "issue": {"number": number,
                "created_at": time, "updated_at": time, "closed_at": time, "labels": [{"name": "incident"}]}}),
        ),
    }
}

/// Whatever somebody sends who knows the secret: what is answered with 2xx can be read
/// again, by this receiver and the next, and what is not is told to the sender.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_signed_leaves_files_that_can_be_read() {
    const TEXTS: [&str; 8] = ["", " ", "/", "a/b", "c0ffee", "\u{0}\u{202e}\n", "\"},{", "é"];
    const PROJECTS: [&str; 7] = ["", "/", "a/", "/b", "example/shop", "group/sub/project", " / "];
    const TIMES: [&str; 8] = [
        "2026-03-02T15:30:00Z",
        "1969-12-31T23:59:59Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59-23:59",
        "2199-12-31T23:59:59+23:59",
        "2200-01-01T00:00:00Z",
        "soon",
        "",
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(folder.path());
    let http = http();
    let (mut kept, mut refused, mut number) = (0, 0, 0);
    for kind in 0..4 {
        for text in TEXTS {
            for project in PROJECTS {
                for time in TIMES {
                    // Not all of some 1,800: each value meets each other one.
                    number += 1;
                    let plain = [text == "c0ffee", project == "example/shop", time == TIMES[0]];
                    if plain.iter().filter(|plain| **plain).count() < 2 && number % 7 != 0 {
                        continue;
                    }
                    let (event, body) = wild(kind, text, project, time, number);
                    let body = serde_json::to_vec(&body).unwrap();
                    let request = http
                        .post(&receiver.url)
                        .header("X-GitHub-Event", event)
                        .header("X-GitHub-Delivery", format!("wild-{number}"))
                        .header("X-Hub-Signature-256", signed(&body));
                    let answer = request.body(body).send().await.unwrap();
                    let status = answer.status().as_u16();
                    let words = answer.text().await.unwrap();
                    assert!(
                        matches!(status, 200 | 202 | 422),
                        "{event} {text:?} {project:?} {time}: {status} {words}"
                    );
                    kept += usize::from(status == 202);
                    if status == 422 {
                        refused += 1;
                        assert!(words.contains("kept aside"), "{words}");
                    }
                }
            }
        }
    }
    assert!(kept > 20 && refused > 100, "{kept} kept, {refused} refused");
    assert_eq!(receiver.signal(Signal::TERM), Some(0));
    assert!(!collected(folder.path()).is_empty());
    let state = folder.path().join("events.jsonl.state");
    let aside = std::fs::read_to_string(state.join("webhooks.jsonl.refused")).unwrap();
    assert_eq!(aside.lines().count(), refused);
    // The next one starts, and goes on.
    let mut receiver = Receiver::start(folder.path());
    assert_eq!(send(&http, &receiver.url, "after", &deployment_status(9)).await, Some(202));
    assert_eq!(receiver.signal(Signal::INT), Some(0));
    assert!(deployments(folder.path()).contains_key("example/shop@9"));
}

/// The most memory that a process has taken so far, in MiB.
fn peak(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_exhaust_neither_its_memory_nor_its_connections() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(folder.path());
    let address = receiver.url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let before = peak(&receiver.child);
    // Half a request each, never ended.
    let mut half = Vec::new();
    for _ in 0..400 {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        std::io::Write::write_all(&mut stream, b"POST / HTTP/1.1\r\nHost: x\r\n").unwrap();
        half.push(stream);
    }
    // Large payloads with signatures of another secret.
    let http = http();
    let storm = (0..40).map(|_| {
        let request = http
            .post(&receiver.url)
            .header("X-GitHub-Event", "push")
            .header("X-Hub-Signature-256", format!("sha256={}", "0".repeat(64)))
            .body(vec![b' '; 20 << 20]);
        tokio::spawn(async move { request.send().await.map(|answer| answer.status().as_u16()) })
    });
    for answer in storm.collect::<Vec<_>>() {
        // Some do not get a place in time.
        assert!(matches!(answer.await.unwrap(), Err(_) | Ok(401 | 408)));
    }
    // Without a signature nothing of the payload is read.
    let unsigned = http.post(&receiver.url).header("X-GitHub-Event", "push").body(vec![b' '; 20 << 20]);
    assert!(matches!(unsigned.send().await.map(|answer| answer.status().as_u16()), Ok(401) | Err(_)));
    let taken = peak(&receiver.child) - before;
    assert!(taken < 160, "{taken} MiB for strangers");
    // Whoever knows the secret is heard, and the end is not held up by those who said nothing.
    assert_eq!(send(&http, &receiver.url, "d1", &deployment_status(1)).await, Some(202));
    let began = Instant::now();
    assert_eq!(receiver.signal(Signal::INT), Some(0));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    drop(half);
}

/// What a delivery of GitLab's was answered.
async fn deliver(http: &reqwest::Client, url: &str, event: &str, body: &Value) -> u16 {
    let request = http.post(url).header("X-Gitlab-Event", event).header("X-Gitlab-Token", SECRET);
    request.body(body.to_string()).send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_in_another_case_is_the_same_project() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(folder.path());
    let http = http();
    for (id, name) in [(1, "example/shop"), (2, "Example/shop"), (3, "EXAMPLE/SHOP")] {
        let mut body = deployment_status(id);
        body["repository"]["full_name"] = name.into();
        assert_eq!(send(&http, &receiver.url, &id.to_string(), &body).await, Some(202));
    }
    assert_eq!(receiver.signal(Signal::INT), Some(0));
    let expected = ["example/shop@1", "example/shop@2", "example/shop@3"].map(|id| (id.to_owned(), 1));
    assert_eq!(deployments(folder.path()), BTreeMap::from(expected));
    // After a restart, too.
    let mut receiver = Receiver::start(folder.path());
    assert_eq!(receiver.signal(Signal::INT), Some(0));
    assert_eq!(deployments(folder.path()).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_is_read_as_its_payload() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(folder.path());
    let payload = deployment_status(1).to_string();
    let escaped: Vec<String> = payload.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let body = format!("payload={}", escaped.concat());
    let request = http()
        .post(&receiver.url)
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("X-GitHub-Event", "deployment_status")
        .header("X-GitHub-Delivery", "1")
        .header("X-Hub-Signature-256", signed(body.as_bytes()))
        .body(body);
    assert_eq!(request.send().await.unwrap().status().as_u16(), 202);
    assert_eq!(receiver.signal(Signal::INT), Some(0));
    assert_eq!(deployments(folder.path()), BTreeMap::from([("example/shop@1".to_owned(), 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn gitlabs_confidential_incidents_and_fast_forward_merges_count() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(folder.path());
    let http = http();
    let project = json!({"path_with_namespace": "bank/shop", "default_branch": "main"});
    let hash = |letter: &str| letter.repeat(40);
    let deployed = |id: u64, letter: &str, hour: u32| {
        json!({"status": "success", "deployment_id": id, "environment": "production", "ref": "main",
            "status_changed_at": format!("2026-03-02 {hour:02}:00:00 +0000"), "project": project,
            "short_sha": &hash(letter)[..8],
            "commit_url": format!("https://gitlab.example.com/bank/shop/-/commit/{}", hash(letter))})
    };
    let pushed = |letter: &str, hour: u32| {
        json!({"ref": "refs/heads/main", "project": project, "commits": [{"id": hash(letter),
            "message": "Go on", "timestamp": format!("2026-03-02T{hour:02}:00:00Z")}]})
    };
    let incident = json!({"project": project, "labels": [{"title": "incident"}], "object_attributes": {
        "iid": 5, "confidential": true, "created_at": "2026-03-02 10:00:00 UTC",
        "updated_at": "2026-03-02 11:00:00 UTC", "closed_at": "2026-03-02 11:00:00 UTC"}});
    // Its branch was moved forward: there is no merge commit.
    let merged = json!({"project": project, "labels": [{"title": "hotfix"}], "object_attributes": {
        "iid": 3, "title": "Go on", "state": "merged", "action": "merge",
        "created_at": "2026-03-02 11:00:00 UTC", "updated_at": "2026-03-02 14:00:00 UTC",
        "merge_commit_sha": null, "last_commit": {"id": hash("b")}}});
    for (event, body) in [
        ("Push Hook", pushed("a", 8)),
        ("Deployment Hook", deployed(1, "a", 9)),
        ("Confidential Issue Hook", incident),
        ("Push Hook", pushed("b", 12)),
        ("Merge Request Hook", merged),
        ("Deployment Hook", deployed(2, "b", 15)),
    ] {
        assert_eq!(deliver(&http, &receiver.url, event, &body).await, 202, "{event}");
    }
    assert_eq!(receiver.signal(Signal::INT), Some(0));
    let events = collected(folder.path());
    let failed = events.iter().find_map(|event| match event {
        Event::Failure(it) => Some((it.id.clone(), it.deployment.clone())),
        _ => None,
    });
    assert_eq!(failed, Some(("bank/shop@issue-5".into(), Some("bank/shop@1".into()))));
    let rework = events.iter().any(|event| {
        matches!(event, Event::Deployment(it) if it.id == "bank/shop@2"
            && it.kind == dorainfra_dora::events::Kind::Rework)
    });
    assert!(rework, "the request's label is known: {events:?}");
}

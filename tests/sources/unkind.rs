//! Forges on their bad days: times that no calendar has, lists that move while they are
//! read, replicas that are behind, approvals that take weeks, few requests an hour, names
//! that changed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use dorainfra_dora::source::forge::{Deployed, Settings, Unit};
use dorainfra_dora::source::{Access, Project, SourceError, github, gitlab};
use dorainfra_model::Events;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::macros::datetime;
use time::{Duration as Days, OffsetDateTime};

/// What was asked: the path below the project, and the query.
struct Asked {
    path: String,
    query: BTreeMap<String, String>,
    version: Option<String>,
    authorized: bool,
    /// The forge's own address.
    server: String,
}

impl Asked {
    fn query(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Value,
}

fn ok(body: Value) -> Answer {
    Answer { status: 200, headers: Vec::new(), body }
}

fn refused(status: u16, message: &str) -> Answer {
    Answer { status, headers: Vec::new(), body: json!({"message": message}) }
}

/// A forge on loopback; answers its address.
async fn forge(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    let app = Router::new().fallback(move |request: Request| {
        let answer = Arc::clone(&answer);
        async move {
            let url = reqwest::Url::parse(&format!("http://forge{}", request.uri())).unwrap();
            let whole =
                url.path().replace("/api/v4/projects/example%2Fshop", "").replace("/repos/example/shop", "");
            let header =
                |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            let asked = Asked {
                path: whole.trim_start_matches('/').to_owned(),
                query: url.query_pairs().into_owned().collect(),
                server: format!("http://{}", header("host").unwrap()),
                version: header("x-github-api-version"),
                authorized: header("authorization").is_some_and(|value| value == "Bearer a-token"),
            };
            let answer = answer(&asked);
            let mut response = Response::builder().status(answer.status);
            for (name, value) in answer.headers {
                response = response.header(name, value);
            }
            response.body(Body::from(answer.body.to_string())).unwrap()
        }
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

fn settings(url: &str, folder: &Path, deployed: Deployed) -> Settings {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Settings {
        access: Access {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            url: url.to_owned(),
            token: Some("a-token".into()),
            patience: Duration::from_secs(1),
            backoff: Duration::from_millis(1),
        },
        project: "example/shop".into(),
        environment: "production".into(),
        deployed,
        unit: Unit::Commits,
        since: datetime!(2020-01-01 00:00 UTC),
        state: folder.join("state.json"),
    }
}

async fn read(on_gitlab: bool, settings: &Settings, events: &Events) -> Result<Project, SourceError> {
    match on_gitlab {
        true => gitlab::read(settings, events).await,
        false => github::read(settings, events).await,
    }
}

fn text(at: OffsetDateTime) -> String {
    at.replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap()
}

fn ago(days: i64) -> String {
    text(OffsetDateTime::now_utc() - Days::days(days))
}

fn release(tag: &str, at: &str) -> Value {
    json!({"tag_name": tag, "draft": false, "prerelease": false, "published_at": at, "released_at": at})
}

fn is_comparison(path: &str) -> bool {
    path.starts_with("compare/") || path == "repository/compare"
}

/// One commit of somebody's odd program blocked its project for ever.
#[tokio::test]
async fn a_commit_without_a_time_is_a_change_without_a_lead_time() {
    let commit = |letter: char, date: Value| {
        let hash = letter.to_string().repeat(40);
        let written = json!({"date": date.clone()});
        let author = if letter == 'a' { json!(null) } else { written.clone() };
        json!({"sha": hash, "id": hash, "message": "Work", "authored_date": date, "parents": [],
            "parent_ids": [], "commit": {"message": "Work", "author": author, "committer": written}})
    };
    let commits = vec![
        commit('a', json!(null)),
        commit('b', json!(null)),
        commit('c', json!("12026-03-02T08:00:00Z")),
        commit('d', json!(-1)),
        commit('e', json!("2026-03-01T08:00:00Z")),
    ];
    for on_gitlab in [false, true] {
        let commits = commits.clone();
        let url = forge(move |asked| match asked.path.as_str() {
            "releases" => {
                ok(json!([release("v1", "2026-03-01T10:00:00Z"), release("v2", "2026-03-02T10:00:00Z")]))
            }
            path if is_comparison(path) => ok(json!({"status": "ahead", "commits": commits})),
            _ => ok(json!([])),
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&url, folder.path(), Deployed::Releases);
        let project = read(on_gitlab, &settings, &Events::none()).await.unwrap();
        assert_eq!(project.deployments["v2"].changes.as_ref().unwrap().len(), 5, "on GitLab: {on_gitlab}");
        let untimed: Vec<bool> = project.changes.values().map(|change| change.untimed).collect();
        assert_eq!(untimed, [true, true, true, true, false], "on GitLab: {on_gitlab}");
    }
}

/// Of 230 issues one of the first page is changed while that page is on its way: it moves to
/// the end, and the first of the second page into the first.
#[tokio::test]
async fn what_moves_between_pages_while_they_are_read_is_read() {
    for on_gitlab in [false, true] {
        let begin = datetime!(2026-03-01 00:00 UTC);
        let issues: Vec<(u64, OffsetDateTime)> =
            (1..=230).map(|number| (number, begin + Days::minutes(number as i64))).collect();
        let issues = Mutex::new(issues);
        let moved = AtomicUsize::new(0);
        let url = forge(move |asked| {
            if asked.path != "issues" {
                return ok(json!([]));
            }
            let mut issues = issues.lock().unwrap();
            let since = asked.query("since").to_owned() + asked.query("updated_after");
            let since = OffsetDateTime::parse(&since, &Rfc3339).unwrap();
            issues.sort_by_key(|(_, updated)| *updated);
            let page: usize = asked.query("page").parse().unwrap_or(1);
            let found: Vec<(u64, OffsetDateTime)> =
                issues.iter().copied().filter(|(_, updated)| *updated >= since).collect();
            let items: Vec<Value> = found
                .iter()
                .skip((page - 1) * 100)
                .take(100)
                .map(|(number, updated)| {
                    let (created, updated) = (text(begin), text(*updated));
                    json!({"number": number, "iid": number, "labels": if on_gitlab { json!(["incident"]) }
                        else { json!([{"name": "incident"}]) }, "created_at": created, "updated_at": updated,
                        "closed_at": null, "pull_request": null})
                })
                .collect();
            if moved.fetch_add(1, Ordering::SeqCst) == 0 {
                issues[10].1 = begin + Days::days(2);
            }
            let mut answer = ok(Value::Array(items));
            if found.len() > page * 100 {
                let (path, name) = match on_gitlab {
                    true => ("/api/v4/projects/example%2Fshop/issues", "updated_after"),
                    false => ("/repos/example/shop/issues", "since"),
                };
                let link = format!(
                    "<{}{path}?{name}={}&page={}>; rel=\"next\"",
                    asked.server,
                    text(since),
                    page + 1
                );
                answer.headers.push(("link", link));
            }
            answer
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&url, folder.path(), Deployed::Releases);
        let project = read(on_gitlab, &settings, &Events::none()).await.unwrap();
        let known = project.incidents.len();
        assert_eq!(known, 230, "on GitLab: {on_gitlab}");
    }
}

/// A forge's replicas may not know yet what has just been deployed. That was taken for a
/// history that was rewritten, and the changes had no lead time for good.
#[tokio::test]
async fn a_comparison_that_is_behind_is_asked_for_again() {
    for on_gitlab in [false, true] {
        let comparisons = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&comparisons);
        let url = forge(move |asked| match asked.path.as_str() {
            "releases" => ok(json!([release("v1", &ago(3)), release("v2", &ago(0))])),
            path if is_comparison(path) && counted.fetch_add(1, Ordering::SeqCst) == 0 => {
                refused(404, "Not Found")
            }
            path if is_comparison(path) => ok(json!({"status": "ahead", "commits": [
                {"sha": "a", "id": "a", "message": "Work", "authored_date": ago(1), "parents": [],
                 "parent_ids": [], "commit": {"message": "Work", "author": {"date": ago(1)}, "committer": null}}]})),
            _ => ok(json!([])),
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&url, folder.path(), Deployed::Releases);
        let (events, mut heard) = Events::channel();
        let project = read(on_gitlab, &settings, &events).await.unwrap();
        assert_eq!(project.deployments["v2"].changes, None);
        assert!(format!("{:?}", heard.recv().await).contains("the next run asks again"));
        let project = read(on_gitlab, &settings, &Events::none()).await.unwrap();
        assert_eq!(project.deployments["v2"].changes.as_ref().unwrap().len(), 1);
    }
}

fn deployment(id: u64, created: &str) -> Value {
    json!({"id": id, "sha": format!("{id:040}"), "ref": "main", "environment": "production", "created_at": created})
}

/// Statuses were looked at for a week after a deployment was made.
#[tokio::test]
async fn a_deployment_that_is_approved_after_weeks_has_run() {
    let approved = Arc::new(AtomicUsize::new(0));
    let when = Arc::clone(&approved);
    let url = forge(move |asked| match asked.path.as_str() {
        "deployments" => ok(json!([deployment(2, &ago(1)), deployment(1, &ago(20))])),
        "deployments/1/statuses" if when.load(Ordering::SeqCst) == 0 => {
            ok(json!([{"state": "waiting", "created_at": ago(20)}]))
        }
        "deployments/1/statuses" | "deployments/2/statuses" => {
            ok(json!([{"state": "success", "created_at": ago(0)}]))
        }
        path if is_comparison(path) => ok(json!({"status": "ahead", "commits": []})),
        _ => ok(json!([])),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&url, folder.path(), Deployed::Deployments);
    let project = github::read(&settings, &Events::none()).await.unwrap();
    assert!(project.deployments["1"].statuses.is_empty());
    approved.store(1, Ordering::SeqCst);
    let project = github::read(&settings, &Events::none()).await.unwrap();
    assert_eq!(project.deployments["1"].statuses.len(), 1);
}

/// Without a token GitHub answers 60 requests an hour, and each deployment takes one.
#[tokio::test]
async fn few_requests_an_hour_read_a_project_all_the_same() {
    let left = Arc::new(AtomicUsize::new(0));
    let budget = Arc::clone(&left);
    let url = forge(move |asked| {
        if budget.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
            let until = (OffsetDateTime::now_utc().unix_timestamp() + 3600).to_string();
            let mut answer = refused(403, "API rate limit exceeded for 192.0.2.1.");
            answer.headers = vec![("x-ratelimit-remaining", "0".into()), ("x-ratelimit-reset", until)];
            return answer;
        }
        match asked.path.as_str() {
            "deployments" => ok((1..=90).rev().map(|id| deployment(id, &ago(400 - id as i64))).collect()),
            path if path.ends_with("/statuses") => ok(json!([{"state": "success", "created_at": ago(1)}])),
            path if is_comparison(path) => ok(json!({"status": "ahead", "commits": []})),
            _ => ok(json!([])),
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(&url, folder.path(), Deployed::Deployments);
    settings.access.token = None;
    let mut runs = 0;
    loop {
        runs += 1;
        left.store(60, Ordering::SeqCst);
        match github::read(&settings, &Events::none()).await {
            Ok(project) => {
                assert_eq!(project.deployments.len(), 90);
                break;
            }
            Err(SourceError::Limited { .. }) => assert!(runs < 5, "it begins again and again"),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn who_asks_for_more_days_than_before_gets_them() {
    for on_gitlab in [false, true] {
        let issue = |number: u64, at: &str| {
            let label = if on_gitlab { json!("incident") } else { json!({"name": "incident"}) };
            json!({"number": number, "iid": number, "labels": [label], "created_at": at, "updated_at": at})
        };
        let issues = [issue(1, "2025-03-01T08:00:00Z"), issue(2, "2026-03-01T08:00:00Z")];
        let url = forge(move |asked| {
            let since = asked.query("since").to_owned() + asked.query("updated_after");
            match asked.path.as_str() {
                "issues" => ok(issues
                    .iter()
                    .filter(|one| one["updated_at"].as_str() >= Some(&*since))
                    .cloned()
                    .collect()),
                _ => ok(json!([])),
            }
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(&url, folder.path(), Deployed::Releases);
        for (since, known) in [(datetime!(2026-01-01 00:00 UTC), 1), (datetime!(2025-01-01 00:00 UTC), 2)] {
            settings.since = since;
            let project = read(on_gitlab, &settings, &Events::none()).await.unwrap();
            assert_eq!(project.incidents.len(), known, "since {since}, on GitLab: {on_gitlab}");
        }
    }
}

#[tokio::test]
async fn an_environment_of_another_name_is_named() {
    for on_gitlab in [false, true] {
        let url = forge(move |asked| match (asked.path.as_str(), on_gitlab) {
            ("environments", true) => ok(json!([{"name": "Production"}, {"name": "staging"}])),
            ("environments", false) => {
                ok(json!({"total_count": 2, "environments": [{"name": "Production"}, {"name": "staging"}]}))
            }
            _ => ok(json!([])),
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&url, folder.path(), Deployed::Deployments);
        let (events, mut heard) = Events::channel();
        read(on_gitlab, &settings, &events).await.unwrap();
        let said = format!("{:?}", heard.recv().await);
        assert!(said.contains("nothing was deployed to `production`"), "{said}");
        assert!(said.contains("`Production`, `staging`"), "{said}");
    }
}

/// GitHub sends whoever asks for the former name to the project's number.
#[tokio::test]
async fn a_project_that_was_renamed_is_found() {
    let versions = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&versions);
    let url = forge(move |asked| {
        heard.lock().unwrap().push(asked.version.clone());
        if let Some(rest) = asked.path.strip_prefix("repositories/7/") {
            assert!(asked.authorized, "the token goes along on the same server");
            return match rest {
                "releases" => ok(json!([release("v1", "2026-03-01T10:00:00Z")])),
                _ => ok(json!([])),
            };
        }
        let mut answer = refused(301, "Moved Permanently");
        answer.headers.push(("location", format!("/repositories/7/{}", asked.path)));
        answer
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&url, folder.path(), Deployed::Releases);
    let project = github::read(&settings, &Events::none()).await.unwrap();
    assert_eq!(project.deployments.len(), 1);
    assert!(versions.lock().unwrap().iter().all(|version| version.as_deref() == Some("2022-11-28")));
}

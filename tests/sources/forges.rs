//! GitHub's and GitLab's APIs, as a server on loopback answers for them: in
//! pages, with rate limits, failures and answers that end too early.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use dorainfra_dora::events::{self, Event};
use dorainfra_dora::source::forge::{Deployed, Settings, Unit};
use dorainfra_dora::source::{Access, Owner, Rules, SourceError, events as classified, github, gitlab};
use dorainfra_model::Events;
use serde_json::{Value, json};
use time::macros::datetime;

const TOKEN: &str = "a-token-that-nobody-may-see";

/// What goes wrong with a request, once for each entry.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// GitHub's secondary limit: 403 with `retry-after`.
    RetryAfter(u64),
    /// GitHub's primary limit, until a time (seconds since 1970).
    Exhausted(i64),
    /// GitLab's: 429.
    TooMany,
    Broken,
    /// Half of the answer.
    Truncated,
    /// This and every later request fails: somebody pulled the plug.
    Away,
}

/// A forge on loopback.
#[derive(Default)]
struct Forge {
    /// By path and query, and in parts of both: `path?a=b`.
    answers: Vec<(String, Value, Option<String>)>,
    /// GraphQL's: statuses by what it calls their deployments. None: there is no GraphQL.
    nodes: Option<BTreeMap<String, Value>>,
    faults: Mutex<BTreeMap<usize, Fault>>,
    asked: Mutex<Vec<String>>,
}

impl Forge {
    /// Answers requests that begin with `path` and contain `query`; with a link
    /// to the next page.
    fn answer(&mut self, path: &str, query: &str, body: Value, next: Option<&str>) {
        self.answers.push((format!("{path}\n{query}"), body, next.map(str::to_owned)));
    }

    /// Serves; answers the address.
    async fn serve(self) -> (String, Arc<Self>) {
        let forge = Arc::new(self);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(reply).with_state((forge.clone(), url.clone()));
        tokio::spawn(async move { axum::serve(listener, app).await });
        (url, forge)
    }

    fn fail(&self, request: usize, fault: Fault) {
        let asked = self.asked.lock().unwrap().len();
        self.faults.lock().unwrap().insert(asked + request, fault);
    }

    fn clear(&self) -> Vec<String> {
        self.faults.lock().unwrap().clear();
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

async fn reply(State((forge, url)): State<(Arc<Forge>, String)>, request: Request) -> Response {
    let whole = request.uri().to_string();
    let authorized =
        request.headers().get("authorization").is_some_and(|it| it == &format!("Bearer {TOKEN}"));
    let number = {
        let mut asked = forge.asked.lock().unwrap();
        asked.push(whole.clone());
        asked.len() - 1
    };
    let answer = |status: u16, headers: &[(&str, String)], body: String| {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, value);
        }
        response.body(Body::from(body)).unwrap()
    };
    if !authorized {
        return answer(401, &[], r#"{"message":"Bad credentials"}"#.into());
    }
    let fault = {
        let faults = forge.faults.lock().unwrap();
        let away = faults.iter().find(|(from, fault)| **from <= number && matches!(fault, Fault::Away));
        faults.get(&number).copied().or(away.map(|(_, fault)| *fault))
    };
    let path_and_query = whole.split_once('?').unwrap_or((&whole, ""));
    let (text, next) = match &forge.nodes {
        Some(nodes) if whole == "/graphql" => {
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            let asked: Value = serde_json::from_slice(&body).unwrap();
            let ids = asked["variables"]["ids"].as_array().unwrap();
            let nodes = ids.iter().map(|id| nodes.get(id.as_str().unwrap()).cloned().unwrap_or(Value::Null));
            (json!({"data": {"nodes": nodes.collect::<Vec<_>>()}}).to_string(), None)
        }
        _ => {
            let found = forge.answers.iter().find(|(pattern, ..)| {
                let (path, query) = pattern.split_once('\n').unwrap();
                path_and_query.0 == path && path_and_query.1.contains(query)
            });
            let Some((_, body, next)) = found else {
                return answer(404, &[], format!(r#"{{"message":"Not Found: {whole}"}}"#));
            };
            (body.to_string(), next.clone())
        }
    };
    match fault {
        Some(Fault::RetryAfter(seconds)) => answer(
            403,
            &[("retry-after", seconds.to_string())],
            r#"{"message":"You have exceeded a secondary rate limit."}"#.into(),
        ),
        Some(Fault::Exhausted(until)) => answer(
            403,
            &[("x-ratelimit-remaining", "0".into()), ("x-ratelimit-reset", until.to_string())],
            r#"{"message":"API rate limit exceeded for user ID 1."}"#.into(),
        ),
        Some(Fault::TooMany) => answer(429, &[("retry-after", "0".into())], "Retry later\n".into()),
        Some(Fault::Broken | Fault::Away) => answer(502, &[], "<html>Unicorn!</html>".into()),
        Some(Fault::Truncated) => answer(200, &[], text[..text.len() / 2].to_owned()),
        None => {
            let link = next
                .iter()
                .map(|next| ("link", format!("<{url}{next}>; rel=\"next\", <{url}/>; rel=\"last\"")));
            answer(200, &link.collect::<Vec<_>>(), text)
        }
    }
}

fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn github() -> Forge {
    let mut forge = Forge::default();
    let repository = "/repos/example/shop";
    let deployments = format!("{repository}/deployments");
    forge.answer(&deployments, "page=2", fixture("github/deployments-2.json"), None);
    let next = format!("{deployments}?environment=production&per_page=100&page=2");
    forge.answer(&deployments, "environment=production", fixture("github/deployments-1.json"), Some(&next));
    let mut nodes = BTreeMap::new();
    for (id, statuses) in fixture("github/statuses.json").as_object().unwrap() {
        forge.answer(&format!("{deployments}/{id}/statuses"), "", statuses.clone(), None);
        let told = statuses.as_array().unwrap().iter().map(|one| {
            let state = one["state"].as_str().unwrap().to_ascii_uppercase();
            json!({"state": state, "createdAt": one["created_at"]})
        });
        let told = json!({"nodes": told.collect::<Vec<_>>(), "pageInfo": {"hasNextPage": false}});
        nodes.insert(format!("DE_{id}"), json!({"statuses": told}));
    }
    forge.nodes = Some(nodes);
    for (range, pages) in fixture("github/compare.json").as_object().unwrap() {
        let path = format!("{repository}/compare/{range}");
        let pages = pages.as_array().unwrap();
        for (index, page) in pages.iter().enumerate().rev() {
            let query = if index == 0 { String::new() } else { format!("page={}", index + 1) };
            let next = (index + 1 < pages.len()).then(|| format!("{path}?per_page=100&page={}", index + 2));
            forge.answer(&path, &query, page.clone(), next.as_deref());
        }
    }
    forge.answer(&format!("{repository}/pulls"), "state=closed", fixture("github/pulls.json"), None);
    let issues = format!("{repository}/issues");
    forge.answer(&issues, "after=2", fixture("github/issues-2.json"), None);
    // After the first reading only what is new is asked for.
    forge.answer(&issues, "since=2026-03-05T11%3A31%3A00Z", Value::Array(Vec::new()), None);
    let next = format!("{issues}?per_page=100&after=2");
    forge.answer(&issues, "since=2026-01-01T00%3A00%3A00Z", fixture("github/issues-1.json"), Some(&next));
    // A reading that was cut off between the two pages goes on from here.
    forge.answer(&issues, "since=2026-03-03T09%3A30%3A00Z", fixture("github/issues-2.json"), None);
    forge.answer(&format!("{repository}/releases"), "", fixture("github/releases.json"), None);
    let page = fixture("github/compare.json").as_object().unwrap().values().nth(1).unwrap()[0].clone();
    forge.answer(&format!("{repository}/compare/v1.0.0...v1.0.1"), "", page, None);
    forge
}

fn access(url: &str) -> Access {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Access {
        http: reqwest::Client::builder().no_proxy().build().unwrap(),
        url: url.to_owned(),
        token: Some(TOKEN.into()),
        patience: Duration::from_secs(10),
        backoff: Duration::from_millis(1),
    }
}

fn settings(url: &str, state: PathBuf) -> Settings {
    Settings {
        access: access(url),
        project: "example/shop".into(),
        environment: "production".into(),
        deployed: Deployed::Deployments,
        unit: Unit::Commits,
        since: datetime!(2026-01-01 00:00 UTC),
        state,
    }
}

fn owner() -> Owner {
    Owner { team: "orders".into(), service: "shop".into(), environment: "production".into() }
}

fn lines(events: &[Event]) -> String {
    let mut text = Vec::new();
    events::write(&mut text, events).unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn github_is_read_in_pages_and_only_what_is_new_the_next_time() {
    let folder = tempfile::tempdir().unwrap();
    let (url, forge) = github().serve().await;
    let settings = settings(&url, folder.path().join("state.json"));
    let project = github::read(&settings, &Events::none()).await.unwrap();
    let first = lines(&classified(&project, &owner(), &Rules::default()));
    insta::assert_snapshot!(first);
    let asked = forge.clear();
    assert_eq!(asked.len(), 2 + 2 + 1 + 2 + 3, "{asked:#?}");

    let again = github::read(&settings, &Events::none()).await.unwrap();
    assert_eq!(lines(&classified(&again, &owner(), &Rules::default())), first);
    // Statuses of the last days may change; nothing is compared again.
    let asked = forge.clear();
    assert!(!asked.iter().any(|url| url.contains("compare")), "{asked:#?}");
    assert!(!std::fs::read_to_string(&settings.state).unwrap().contains(TOKEN));
    assert!(!format!("{settings:?}").contains(TOKEN));
}

#[tokio::test]
async fn github_by_releases_and_requests() {
    let folder = tempfile::tempdir().unwrap();
    let (url, _forge) = github().serve().await;
    let settings = Settings {
        deployed: Deployed::Releases,
        unit: Unit::Requests,
        ..settings(&url, folder.path().join("state.json"))
    };
    let project = github::read(&settings, &Events::none()).await.unwrap();
    insta::assert_snapshot!(lines(&classified(&project, &owner(), &Rules::default())));
}

/// Its commit, and so its `created_at`, may be older than all that is known.
#[tokio::test]
async fn a_release_of_an_old_commit_is_read_when_it_is_published() {
    let release = |tag: &str, created: &str, published: Option<&str>| {
        json!({"tag_name": tag, "draft": published.is_none(), "prerelease": false,
            "created_at": created, "published_at": published})
    };
    let new = release("v1.0.1", "2026-03-01T08:00:00Z", Some("2026-03-01T08:10:00Z"));
    let old = release("v0.9.9", "2025-07-01T08:00:00Z", Some("2026-03-20T08:00:00Z"));
    let draft = release("v2.0.0", "2026-03-21T08:00:00Z", None);
    let before = release("v0.9.8", "2025-07-01T08:00:00Z", Some("2025-07-02T08:00:00Z"));
    let folder = tempfile::tempdir().unwrap();
    for (releases, expected) in
        [(json!([new.clone()]), vec!["v1.0.1"]), (json!([draft, old, before, new]), vec!["v0.9.9", "v1.0.1"])]
    {
        let mut forge = Forge::default();
        for (list, items) in [("releases", releases), ("pulls", json!([])), ("issues", json!([]))] {
            forge.answer(&format!("/repos/example/shop/{list}"), "", items, None);
        }
        let (url, _forge) = forge.serve().await;
        let settings =
            Settings { deployed: Deployed::Releases, ..settings(&url, folder.path().join("state.json")) };
        let project = github::read(&settings, &Events::none()).await.unwrap();
        assert_eq!(project.deployments.keys().collect::<Vec<_>>(), expected);
    }
}

/// v1.9.0, v2.0.0, then v1.9.1 of the older line, which brings two commits, one of them squashed.
fn two_lines(gitlab: bool) -> Forge {
    let mut forge = Forge::default();
    let hash = |letter: char| letter.to_string().repeat(40);
    let commit = |letter: char, hour: u32, message: &str| {
        let date = format!("2026-03-02T{hour:02}:00:00Z");
        json!({"sha": hash(letter), "id": hash(letter), "message": message, "authored_date": date,
            "parents": [{"sha": hash('a')}], "parent_ids": [hash('a')],
            "commit": {"message": message, "author": {"date": date}, "committer": {"date": date}}})
    };
    let of = |status: &str, letters: &[char]| {
        let commits: Vec<Value> = letters
            .iter()
            .map(|letter| match letter {
                's' => commit('s', 12, "Mend the list"),
                letter => commit(*letter, *letter as u32 - 'a' as u32, "Work"),
            })
            .collect();
        json!({"status": status, "commits": commits})
    };
    let merged = json!([{"number": 7, "iid": 7, "title": "Mend the list", "labels": [],
        "merge_commit_sha": hash('s'), "sha": hash('s'), "created_at": "2026-03-02T08:00:00Z",
        "updated_at": "2026-03-02T12:00:20Z", "merged_at": "2026-03-02T12:00:10Z"}]);
    let releases: Vec<Value> = [("v1.9.0", 1), ("v2.0.0", 2), ("v1.9.1", 3)]
        .map(|(tag, day)| {
            let at = format!("2026-03-{day:02}T18:00:00Z");
            json!({"tag_name": tag, "draft": false, "prerelease": false, "published_at": at, "released_at": at})
        })
        .to_vec();
    let compared = [
        ("v1.9.0", "v2.0.0", of("diverged", &['d', 'e'])),
        // What v1.9.0 brought is not in v2.0.0 either.
        ("v2.0.0", "v1.9.1", of("diverged", &['b', 'c', 'f', 's'])),
        ("v1.9.0", "v1.9.1", of("ahead", &['f', 's'])),
    ];
    let own = json!([commit('t', 9, "Begin"), commit('u', 10, "Go on")]);
    if gitlab {
        let project = "/api/v4/projects/example%2Fshop";
        forge.answer(&format!("{project}/releases"), "", releases.into(), None);
        forge.answer(&format!("{project}/merge_requests"), "", merged, None);
        forge.answer(&format!("{project}/merge_requests/7/commits"), "", own, None);
        forge.answer(&format!("{project}/issues"), "", json!([]), None);
        for (base, head, body) in compared {
            let query = format!("from={base}&to={head}");
            forge.answer(&format!("{project}/repository/compare"), &query, body, None);
        }
    } else {
        let project = "/repos/example/shop";
        forge.answer(&format!("{project}/releases"), "", releases.into(), None);
        forge.answer(&format!("{project}/pulls"), "", merged, None);
        forge.answer(&format!("{project}/pulls/7/commits"), "", own, None);
        forge.answer(&format!("{project}/issues"), "", json!([]), None);
        for (base, head, body) in compared {
            forge.answer(&format!("{project}/compare/{base}...{head}"), "", body, None);
        }
    }
    forge
}

#[tokio::test]
async fn an_older_release_line_brings_its_own_and_a_squashed_request_begins_with_its_first_commit() {
    for on_gitlab in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (url, forge) = two_lines(on_gitlab).serve().await;
        let settings =
            Settings { deployed: Deployed::Releases, ..settings(&url, folder.path().join("state.json")) };
        let read = async || match on_gitlab {
            true => gitlab::read(&settings, &Events::none()).await.unwrap(),
            false => github::read(&settings, &Events::none()).await.unwrap(),
        };
        let events = classified(&read().await, &owner(), &Rules::default());
        let brought: Vec<(String, usize)> = events
            .iter()
            .filter_map(|event| match event {
                Event::Deployment(it) => Some((it.id.replace("orders/shop@", ""), it.changes.len())),
                _ => None,
            })
            .collect();
        let expected = [("v1.9.0", 0), ("v2.0.0", 2), ("v1.9.1", 2)].map(|(tag, all)| (tag.to_owned(), all));
        assert_eq!(brought, expected, "on GitLab: {on_gitlab}");
        let squashed = events.iter().find_map(|event| match event {
            Event::Change(it) if it.id.contains("ssss") => Some(it.at),
            _ => None,
        });
        assert_eq!(squashed, Some(datetime!(2026-03-02 09:00 UTC)), "on GitLab: {on_gitlab}");
        forge.clear();
        read().await;
        let asked = forge.clear();
        assert!(!asked.iter().any(|url| url.contains("/commits") || url.contains("compare")), "{asked:#?}");
    }
}

/// What v2.0.0 names is gone: the older line's release still brings what is new against v1.9.0.
#[tokio::test]
async fn a_comparison_with_what_is_gone_does_not_empty_the_others() {
    for on_gitlab in [false, true] {
        for gone in ["v2.0.0", "v1.9.0"] {
            let folder = tempfile::tempdir().unwrap();
            let mut forge = two_lines(on_gitlab);
            forge.answers.retain(|(pattern, ..)| {
                !(pattern.contains("compare")
                    && pattern.contains("v1.9.1")
                    && pattern.replace("to=v1.9.1", "").contains(gone))
            });
            let (url, _forge) = forge.serve().await;
            let settings =
                Settings { deployed: Deployed::Releases, ..settings(&url, folder.path().join("state.json")) };
            let project = match on_gitlab {
                true => gitlab::read(&settings, &Events::none()).await.unwrap(),
                false => github::read(&settings, &Events::none()).await.unwrap(),
            };
            let brought = project.deployments["v1.9.1"].changes.as_ref().unwrap().len();
            let expected = if gone == "v2.0.0" { 2 } else { 4 };
            assert_eq!(brought, expected, "{gone} is gone, on GitLab: {on_gitlab}");
        }
    }
}

/// 250 squashed requests: the state is not written after each, and where the forge allows no more,
/// what is known is there to be stored.
#[tokio::test]
async fn at_a_limit_the_rest_of_the_squashed_requests_waits_for_the_next_run() {
    for on_gitlab in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut forge = Forge::default();
        let hash = |number: u32| format!("{number:040}");
        let requests = (1..=250).map(|number: u32| {
            json!({"number": number, "iid": number, "title": "Mend", "labels": [],
                "merge_commit_sha": hash(number), "sha": hash(number), "created_at": "2026-03-02T08:00:00Z",
                "updated_at": "2026-03-02T12:00:20Z", "merged_at": "2026-03-02T12:00:10Z"})
        });
        let requests: Vec<Value> = requests.collect();
        let commits: Vec<Value> = (1..=250)
            .map(|number: u32| {
                let date = "2026-03-02T12:00:00Z";
                json!({"sha": hash(number), "id": hash(number), "message": "Mend", "authored_date": date,
                    "parents": [{"sha": hash(0)}], "parent_ids": [hash(0)],
                    "commit": {"message": "Mend", "author": {"date": date}, "committer": {"date": date}}})
            })
            .collect();
        let releases: Vec<Value> = ["v1.0.0", "v1.1.0"]
            .iter()
            .enumerate()
            .map(|(day, tag)| {
                let at = format!("2026-03-{:02}T18:00:00Z", day + 1);
                json!({"tag_name": tag, "draft": false, "prerelease": false,
                    "published_at": at, "released_at": at})
            })
            .collect();
        let own = json!([{"sha": "1", "id": "1", "message": "Begin", "authored_date": "2026-03-02T09:00:00Z",
            "parents": [], "parent_ids": [],
            "commit": {"message": "Begin", "author": {"date": "2026-03-02T09:00:00Z"}, "committer": null}}]);
        let (project, merged, compared) = match on_gitlab {
            true => ("/api/v4/projects/example%2Fshop", "merge_requests", "repository/compare".to_owned()),
            false => ("/repos/example/shop", "pulls", "compare/v1.0.0...v1.1.0".to_owned()),
        };
        forge.answer(&format!("{project}/releases"), "", releases.into(), None);
        forge.answer(&format!("{project}/{merged}"), "", requests.into(), None);
        forge.answer(&format!("{project}/issues"), "", json!([]), None);
        forge.answer(
            &format!("{project}/{compared}"),
            "",
            json!({"status": "ahead", "commits": commits}),
            None,
        );
        for number in 1..=250 {
            forge.answer(&format!("{project}/{merged}/{number}/commits"), "", own.clone(), None);
        }
        let (url, forge) = forge.serve().await;
        let settings =
            Settings { deployed: Deployed::Releases, ..settings(&url, folder.path().join("state.json")) };
        let tomorrow = time::OffsetDateTime::now_utc().unix_timestamp() + 86_400;
        // Releases, requests, issues and one comparison, then 150 of the requests.
        // GitHub is asked for all of them at once first; this one knows no GraphQL.
        let before = 4 + usize::from(!on_gitlab);
        forge.fail(before + 150, Fault::Exhausted(tomorrow));
        let (events, mut heard) = Events::channel();
        let read = async || match on_gitlab {
            true => gitlab::read(&settings, &events).await,
            false => github::read(&settings, &events).await,
        };
        let project = read().await.unwrap();
        let timed = |project: &dorainfra_dora::source::Project| {
            project.changes.values().filter(|change| change.begun.is_some()).count()
        };
        assert_eq!(timed(&project), 150, "on GitLab: {on_gitlab}");
        let mut said = String::new();
        while let Ok(event) = heard.try_recv() {
            said += &format!("{event:?}\n");
        }
        assert!(said.contains("100 squashed requests have no lead time yet"), "{said}");
        assert_eq!(forge.clear().len(), before + 151);
        // The next run asks for the others, and for none of these again.
        assert_eq!(timed(&read().await.unwrap()), 250);
        let asked = forge.clear();
        assert_eq!(asked.iter().filter(|url| url.contains("/commits")).count(), 100, "{asked:#?}");
    }
}

#[tokio::test]
async fn limits_failures_and_torn_answers_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (url, forge) = github().serve().await;
    let calm = github::read(&settings(&url, folder.path().join("calm.json")), &Events::none()).await.unwrap();
    forge.clear();
    for (request, fault) in [
        (0, Fault::RetryAfter(0)),
        (2, Fault::Broken),
        (3, Fault::Broken),
        (5, Fault::Truncated),
        (8, Fault::Exhausted(time::OffsetDateTime::now_utc().unix_timestamp())),
        (11, Fault::TooMany),
        (13, Fault::Truncated),
    ] {
        forge.fail(request, fault);
    }
    let stormy =
        github::read(&settings(&url, folder.path().join("stormy.json")), &Events::none()).await.unwrap();
    assert_eq!(stormy, calm);
}

#[tokio::test]
async fn a_reading_that_is_cut_off_anywhere_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let (url, forge) = github().serve().await;
    let calm = github::read(&settings(&url, folder.path().join("calm.json")), &Events::none()).await.unwrap();
    let whole = forge.clear().len();
    for cut in 0..whole {
        let settings = settings(&url, folder.path().join(format!("{cut}.json")));
        forge.fail(cut, Fault::Away);
        let error = github::read(&settings, &Events::none()).await.unwrap_err();
        assert!(matches!(error, SourceError::Refused { status: 502, .. }), "{error}");
        forge.clear();
        let project = github::read(&settings, &Events::none()).await.unwrap();
        let (found, expected) = (
            classified(&project, &owner(), &Rules::default()),
            classified(&calm, &owner(), &Rules::default()),
        );
        assert_eq!(lines(&found), lines(&expected), "cut off at request {cut}");
        // Two pages at most are read twice, with their statuses.
        assert!(forge.clear().len() <= whole + 6, "it began from the beginning");
    }
}

#[tokio::test]
async fn errors_say_what_to_do_and_never_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let (url, forge) = github().serve().await;
    let said = |error: SourceError| format!("{error}\n{}\n{error:?}", error.hint().unwrap_or_default());

    let mut other = settings(&url, folder.path().join("1.json"));
    other.access.token = Some("another".into());
    let text = said(github::read(&other, &Events::none()).await.unwrap_err());
    assert!(text.contains("401 Bad credentials") && text.contains("token"), "{text}");

    let mut other = settings(&url, folder.path().join("2.json"));
    other.project = "example/nowhere".into();
    let text = said(github::read(&other, &Events::none()).await.unwrap_err());
    assert!(text.contains("404") && text.contains("project's name"), "{text}");

    forge.clear();
    let tomorrow = time::OffsetDateTime::now_utc().unix_timestamp() + 86_400;
    forge.fail(0, Fault::Exhausted(tomorrow));
    let other = settings(&url, folder.path().join("3.json"));
    let text = said(github::read(&other, &Events::none()).await.unwrap_err());
    assert!(text.contains("allows no more requests until") && text.contains("goes on from there"), "{text}");
    assert!(!text.contains(TOKEN));

    let mut other = settings("ftp://example.com", folder.path().join("4.json"));
    other.access.backoff = Duration::ZERO;
    let text = said(github::read(&other, &Events::none()).await.unwrap_err());
    assert!(text.contains("`ftp://example.com` is not the address of an API"), "{text}");

    // A page elsewhere would be sent the token.
    let mut elsewhere = Forge::default();
    elsewhere.answer("/repos/example/shop/deployments", "", Value::Array(vec![]), Some(".example.com/page2"));
    let (url, _forge) = elsewhere.serve().await;
    let text =
        said(github::read(&settings(&url, folder.path().join("5.json")), &Events::none()).await.unwrap_err());
    assert!(text.contains("another server") && !text.contains(TOKEN), "{text}");
}

fn gitlab_forge() -> Forge {
    let mut forge = Forge::default();
    let project = "/api/v4/projects/bank%2Fcore%2Fshop";
    let deployments = format!("{project}/deployments");
    forge.answer(&deployments, "page=2", fixture("gitlab/deployments-2.json"), None);
    let next = format!("{deployments}?environment=production&page=2&per_page=100");
    forge.answer(&deployments, "environment=production", fixture("gitlab/deployments-1.json"), Some(&next));
    let merged = format!("{project}/merge_requests");
    forge.answer(&merged, "state=merged", fixture("gitlab/merge_requests.json"), None);
    forge.answer(&format!("{project}/issues"), "updated_after", fixture("gitlab/issues.json"), None);
    for (range, page) in fixture("gitlab/compare.json").as_object().unwrap() {
        let (from, to) = range.split_once("...").unwrap();
        let query = format!("from={from}&to={to}");
        forge.answer(&format!("{project}/repository/compare"), &query, page.clone(), None);
    }
    forge
}

#[tokio::test]
async fn gitlab_is_read_in_pages_through_its_limits() {
    let folder = tempfile::tempdir().unwrap();
    let (url, forge) = gitlab_forge().serve().await;
    let settings = Settings {
        access: access(&url),
        project: "bank/core/shop".into(),
        environment: "production".into(),
        deployed: Deployed::Deployments,
        unit: Unit::Commits,
        since: datetime!(2026-01-01 00:00 UTC),
        state: folder.path().join("state.json"),
    };
    for (request, fault) in [(0, Fault::TooMany), (2, Fault::Broken), (5, Fault::Truncated)] {
        forge.fail(request, fault);
    }
    let project = gitlab::read(&settings, &Events::none()).await.unwrap();
    let first = lines(&classified(&project, &owner(), &Rules::default()));
    insta::assert_snapshot!(first);
    forge.clear();
    let again = gitlab::read(&settings, &Events::none()).await.unwrap();
    assert_eq!(lines(&classified(&again, &owner(), &Rules::default())), first);
    let asked = forge.clear();
    assert!(asked[0].contains("updated_after=2026-03-05T"), "{asked:#?}");
}

/// The commits say nothing of what they take back: only the text of their request does.
#[tokio::test]
async fn the_text_of_a_request_says_what_its_merge_takes_back() {
    let hash = |letter: char| letter.to_string().repeat(40);
    let commit = |letter: char, hour: u32, message: &str, parents: &[char]| {
        let date = format!("2026-03-02T{hour:02}:00:00Z");
        let parents: Vec<String> = parents.iter().map(|letter| hash(*letter)).collect();
        let shas: Vec<Value> = parents.iter().map(|parent| json!({"sha": parent})).collect();
        json!({"sha": hash(letter), "id": hash(letter), "message": message, "authored_date": date,
            "parents": shas, "parent_ids": parents,
            "commit": {"message": message, "author": {"date": date}, "committer": {"date": date}}})
    };
    let request = |number: u32, title: &str, text: &str, letter: char, hour: u32| {
        let (opened, merged) =
            (format!("2026-03-02T{hour:02}:10:00Z"), format!("2026-03-02T{hour:02}:20:00Z"));
        json!({"number": number, "iid": number, "title": title, "body": text, "description": text,
            "labels": [], "merge_commit_sha": hash(letter), "sha": hash(letter),
            "created_at": opened, "updated_at": merged, "merged_at": merged})
    };
    for gitlab in [false, true] {
        let merge = |number: u32, title: &str| match gitlab {
            false => format!("Merge pull request #{number} from o/x\n\n{title}"),
            true => {
                format!("Merge branch 'x' into 'main'\n\n{title}\n\nSee merge request example/shop!{number}")
            }
        };
        let brought = [
            (
                "v1.0.0",
                "v1.1.0",
                json!([commit('b', 1, "wip", &['a']), commit('c', 2, &merge(12, "Add cart"), &['a', 'b'])]),
            ),
            ("v1.1.0", "v1.2.0", json!([commit('d', 4, "Else", &['c'])])),
            (
                "v1.2.0",
                "v1.2.1",
                json!([commit('e', 6, "Undo", &['d']), commit('f', 7, &merge(14, "Undo"), &['d', 'e'])]),
            ),
        ];
        let text = if gitlab { "This reverts merge request !12" } else { "Reverts example/shop#12" };
        let requests = json!([request(12, "Add cart", "", 'c', 2), request(14, "Undo", text, 'f', 7)]);
        let releases: Vec<Value> = [("v1.0.0", 0), ("v1.1.0", 3), ("v1.2.0", 5), ("v1.2.1", 8)]
            .map(|(tag, hour)| {
                let at = format!("2026-03-02T{hour:02}:00:00Z");
                json!({"tag_name": tag, "draft": false, "prerelease": false, "published_at": at, "released_at": at})
            })
            .to_vec();
        let mut forge = Forge::default();
        let path = if gitlab { "/api/v4/projects/example%2Fshop" } else { "/repos/example/shop" };
        forge.answer(&format!("{path}/releases"), "", releases.into(), None);
        forge.answer(&format!("{path}/issues"), "", json!([]), None);
        let list = if gitlab { "merge_requests" } else { "pulls" };
        forge.answer(&format!("{path}/{list}"), "", requests, None);
        for (base, head, commits) in brought {
            let body = json!({"status": "ahead", "commits": commits});
            match gitlab {
                true => {
                    forge.answer(
                        &format!("{path}/repository/compare"),
                        &format!("from={base}&to={head}"),
                        body,
                        None,
                    );
                }
                false => forge.answer(&format!("{path}/compare/{base}...{head}"), "", body, None),
            }
        }
        let (url, _forge) = forge.serve().await;
        let folder = tempfile::tempdir().unwrap();
        let settings =
            Settings { deployed: Deployed::Releases, ..settings(&url, folder.path().join("state.json")) };
        let mut project = match gitlab {
            true => gitlab::read(&settings, &Events::none()).await.unwrap(),
            false => github::read(&settings, &Events::none()).await.unwrap(),
        };
        project.is_called(Some("example/shop"));
        let classified = classified(&project, &owner(), &Rules::default());
        let failures = classified.iter().filter_map(|event| match event {
            Event::Failure(failure) => failure.deployment.as_deref(),
            _ => None,
        });
        assert_eq!(failures.collect::<Vec<_>>(), ["orders/shop@v1.1.0"], "{}", lines(&classified));
    }
}

//! How many requests a reading takes: they grow with pages, not with deployments.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use dorainfra_dora::events::Event;
use dorainfra_dora::source::forge::{Deployed, Settings, Unit};
use dorainfra_dora::source::{Access, Owner, Project, Rules, SourceError, events, github, gitlab};
use dorainfra_model::Events;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration as Days, OffsetDateTime};

/// A repository and what was deployed of it, as both forges tell it.
struct World {
    now: OffsetDateTime,
    /// By their numbers; parents are older.
    commits: Vec<Vec<usize>>,
    /// The commits that were deployed, twice a day up to now.
    deployed: Vec<usize>,
    /// Requests that were squashed, by the number of their commit.
    squashed: BTreeSet<usize>,
    /// What GraphQL does not tell of: deployments, by their number.
    untold: BTreeSet<usize>,
    /// Deployments that wait for an approval.
    waiting: BTreeSet<usize>,
    graphql: GraphQl,
    no_lists: bool,
    /// Requests that are answered before the limit.
    left: Option<usize>,
    asked: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum GraphQl {
    Answers,
    /// The server is older than it.
    Missing,
    /// 200, and an error instead of data.
    Refuses,
    /// 200, and that the limit is reached.
    Limited,
}

fn hash(number: usize) -> String {
    format!("{:040x}", number + 1)
}

fn number(hash: &str) -> Option<usize> {
    let number = usize::from_str_radix(hash, 16).ok()?.checked_sub(1)?;
    (hash.len() == 40).then_some(number)
}

impl World {
    /// Each deployment brings three commits; each fourth one a merged branch besides. Then the
    /// odd ones: a rollback, and one from a branch that was never merged.
    fn of(deployments: usize, odd: bool) -> Self {
        let mut world = Self {
            now: OffsetDateTime::now_utc().replace_nanosecond(0).unwrap(),
            commits: Vec::new(),
            deployed: Vec::new(),
            squashed: BTreeSet::new(),
            untold: BTreeSet::new(),
            waiting: BTreeSet::new(),
            graphql: GraphQl::Answers,
            no_lists: false,
            left: None,
            asked: Vec::new(),
        };
        let mut tip = world.commit(&[]);
        for number in 0..deployments {
            for _ in 0..3 {
                tip = world.commit(&[tip]);
            }
            if number % 4 == 0 {
                let begun = world.commit(&[tip]);
                let branch = world.commit(&[begun]);
                let other = world.commit(&[tip]);
                tip = world.commit(&[other, branch]);
            }
            world.deployed.push(tip);
        }
        if odd {
            let (before, middle) = (world.deployed[deployments / 2 - 3], deployments / 2);
            world.deployed.insert(middle, before);
            let hotfix = world.commit(&[before]);
            world.deployed.insert(middle + 2, hotfix);
        }
        world
    }

    fn commit(&mut self, parents: &[usize]) -> usize {
        self.commits.push(parents.to_vec());
        self.commits.len() - 1
    }

    fn ancestors(&self, of: usize) -> BTreeSet<usize> {
        let (mut seen, mut left) = (BTreeSet::new(), vec![of]);
        while let Some(commit) = left.pop() {
            if seen.insert(commit) {
                left.extend(&self.commits[commit]);
            }
        }
        seen
    }

    /// When the deployment of a number was made: the newest this hour.
    fn made(&self, deployment: usize) -> String {
        let before = (self.deployed.len() - 1 - deployment) as i64;
        (self.now - Days::hours(12 * before) - Days::minutes(5)).format(&Rfc3339).unwrap()
    }

    fn written(&self, commit: usize) -> Value {
        let at = (self.now - Days::days(400) + Days::minutes(commit as i64)).format(&Rfc3339).unwrap();
        let parents: Vec<String> = self.commits[commit].iter().copied().map(hash).collect();
        let message = match self.squashed.contains(&commit) {
            true => format!("Work (#{commit})"),
            false => format!("Work {commit}"),
        };
        json!({"sha": hash(commit), "id": hash(commit), "message": message, "authored_date": at,
            "parent_ids": parents, "parents": parents.iter().map(|sha| json!({"sha": sha})).collect::<Value>(),
            "commit": {"message": message, "author": {"date": at}, "committer": {"date": at}}})
    }

    fn deployment(&self, index: usize) -> Value {
        let (made, sha) = (self.made(index), hash(self.deployed[index]));
        json!({"id": index + 1, "node_id": format!("DE_{index}"), "sha": sha, "ref": "main",
            "environment": "production", "created_at": made})
    }

    fn statuses(&self, index: usize) -> Value {
        if self.waiting.contains(&index) {
            return json!([{"state": "waiting", "created_at": self.made(index)}]);
        }
        json!([{"state": "inactive", "created_at": self.made(index)},
            {"state": "success", "created_at": self.made(index)}])
    }

    /// Of a hash, or of a release's tag.
    fn revision(&self, name: &str) -> Option<usize> {
        number(name).or_else(|| self.deployed.get(name.strip_prefix('v')?.parse::<usize>().ok()?).copied())
    }

    fn compared(&self, base: &str, head: &str) -> Option<Value> {
        let (base, head) = (self.ancestors(self.revision(base)?), self.ancestors(self.revision(head)?));
        let status = if base.is_subset(&head) { "ahead" } else { "diverged" };
        let commits: Value = head.difference(&base).map(|commit| self.written(*commit)).collect();
        Some(json!({"status": status, "commits": commits}))
    }

    fn graphql(&mut self, asked: &Value) -> (u16, Value) {
        let error = |kind: &str| (200, json!({"data": null, "errors": [{"type": kind, "message": "No."}]}));
        match self.graphql {
            GraphQl::Missing => return (404, json!({"message": "Not Found"})),
            GraphQl::Refuses => return error("FORBIDDEN"),
            GraphQl::Limited => return error("RATE_LIMITED"),
            GraphQl::Answers => {}
        }
        let query = asked["query"].as_str().unwrap();
        let Some(ids) = asked["variables"]["ids"].as_array() else {
            assert_eq!(asked["variables"], json!({"owner": "example", "name": "shop"}));
            let numbers = query.split("number: ").skip(1).map(|rest| rest.split(')').next().unwrap());
            let requests = numbers.map(|number| {
                let own =
                    json!({"commits": {"nodes": [{"commit": {"authoredDate": "2026-01-02T08:00:00Z"}}]}});
                (format!("r{number}"), own)
            });
            return (200, json!({"data": {"repository": requests.collect::<serde_json::Map<_, _>>()}}));
        };
        let nodes = ids.iter().map(|id| {
            let index: usize = id.as_str().unwrap().strip_prefix("DE_").unwrap().parse().unwrap();
            let statuses = self.statuses(index);
            let nodes: Value = statuses
                .as_array()
                .unwrap()
                .iter()
                .map(|one| {
                    let state = one["state"].as_str().unwrap().to_ascii_uppercase();
                    json!({"state": state, "createdAt": one["created_at"]})
                })
                .collect();
            // One that it has no answer for, and one that has more than a page of them.
            match (self.untold.contains(&index), index % 2) {
                (false, _) => json!({"statuses": {"nodes": nodes, "pageInfo": {"hasNextPage": false}}}),
                (true, 0) => Value::Null,
                (true, _) => json!({"statuses": {"nodes": [], "pageInfo": {"hasNextPage": true}}}),
            }
        });
        (200, json!({"data": {"nodes": nodes.collect::<Value>()}}))
    }

    /// Answers all of a list, of which a page is cut.
    fn list(&self, path: &str, query: &BTreeMap<String, String>) -> Option<Vec<Value>> {
        let asked = |name: &str| query.get(name).map_or("", String::as_str);
        Some(match path {
            "deployments" if query.contains_key("updated_after") => {
                let all = (0..self.deployed.len()).map(|index| {
                    let mut one = self.deployment(index);
                    (one["status"], one["updated_at"]) = ("success".into(), one["created_at"].clone());
                    one["environment"] = json!({"name": "production"});
                    one
                });
                all.filter(|one| one["updated_at"].as_str() > Some(asked("updated_after"))).collect()
            }
            "deployments" => (0..self.deployed.len()).rev().map(|index| self.deployment(index)).collect(),
            "commits" | "repository/commits" if !self.no_lists => {
                let head = number(asked(if path == "commits" { "sha" } else { "ref_name" }))?;
                self.ancestors(head).into_iter().rev().map(|commit| self.written(commit)).collect()
            }
            "releases" => {
                let all = (0..self.deployed.len()).map(|index| {
                    let at = self.made(index);
                    json!({"tag_name": format!("v{index}"), "draft": false, "prerelease": false,
                        "published_at": at, "released_at": at})
                });
                all.collect()
            }
            "tags" | "repository/tags" => {
                let all = self.deployed.iter().enumerate().map(|(index, commit)| {
                    let commit = hash(*commit);
                    json!({"name": format!("v{index}"), "commit": {"sha": commit, "id": commit}})
                });
                all.rev().collect()
            }
            "pulls" => {
                let all = self.squashed.iter().map(|commit| {
                    let at = &self.written(*commit)["authored_date"];
                    json!({"number": commit, "title": "Work", "labels": [], "merge_commit_sha": hash(*commit),
                        "created_at": at, "updated_at": at, "merged_at": at})
                });
                all.rev().collect()
            }
            "merge_requests" | "issues" => Vec::new(),
            _ => match path.strip_prefix("deployments/").and_then(|rest| rest.strip_suffix("/statuses")) {
                Some(id) => self.statuses(id.parse::<usize>().ok()? - 1).as_array().unwrap().clone(),
                None => return None,
            },
        })
    }

    /// The status, the body and the number of the next page.
    fn answer(&mut self, url: &reqwest::Url, body: &Value) -> (u16, Value, Option<usize>) {
        let path =
            url.path().replace("/api/v4/projects/example%2Fshop/", "").replace("/repos/example/shop/", "");
        let path = path.trim_start_matches("/api/v3").to_owned();
        self.asked
            .push(path.split('/').find(|part| !part.is_empty() && *part != "repository").unwrap().into());
        if path.ends_with("/statuses") {
            *self.asked.last_mut().unwrap() = "statuses".into();
        }
        if let Some(left) = &mut self.left {
            let Some(after) = left.checked_sub(1) else {
                return (429, json!({"message": "Too many"}), None);
            };
            *left = after;
        }
        if path.ends_with("graphql") {
            *self.asked.last_mut().unwrap() = path.trim_start_matches('/').to_owned();
            let (status, body) = self.graphql(body);
            return (status, body, None);
        }
        let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        let compared = match (path.strip_prefix("compare/"), path.as_str()) {
            (Some(range), _) => range.split_once("...").and_then(|(base, head)| self.compared(base, head)),
            (_, "repository/compare") => self.compared(&query["from"], &query["to"]),
            _ => None,
        };
        if let Some(compared) = compared {
            return (200, compared, None);
        }
        let tagged = path.strip_prefix("repository/commits/").and_then(|tag| self.revision(tag));
        if let Some(commit) = tagged.filter(|_| !self.no_lists) {
            return (200, self.written(commit), None);
        }
        let Some(all) = self.list(&path, &query) else {
            return (404, json!({"message": "Not Found"}), None);
        };
        let page: usize = query.get("page").map_or(1, |page| page.parse().unwrap());
        assert_eq!(query["per_page"], "100", "{url}");
        let items: Value = all.iter().skip((page - 1) * 100).take(100).cloned().collect();
        (200, items, (all.len() > page * 100).then_some(page + 1))
    }
}

/// Serves it; answers the address.
async fn serve(world: World) -> (String, Arc<Mutex<World>>) {
    let world = Arc::new(Mutex::new(world));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (own, base) = (Arc::clone(&world), address.clone());
    let app = Router::new().fallback(move |request: Request| {
        let (world, base) = (Arc::clone(&own), base.clone());
        async move {
            let mut url = reqwest::Url::parse(&format!("{base}{}", request.uri())).unwrap();
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let (status, body, next) = world.lock().unwrap().answer(&url, &body);
            let mut response = Response::builder().status(status);
            if status == 429 {
                response = response.header("retry-after", "3600");
            }
            if let Some(page) = next {
                let query = url.query_pairs().into_owned().filter(|(name, _)| name != "page");
                let query: Vec<_> = query.chain([("page".to_owned(), page.to_string())]).collect();
                url.query_pairs_mut().clear().extend_pairs(query);
                response = response.header("link", format!("<{url}>; rel=\"next\""));
            }
            response.body(Body::from(body.to_string())).unwrap()
        }
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, world)
}

fn settings(url: &str, folder: &Path, token: bool) -> Settings {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Settings {
        access: Access {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            url: url.to_owned(),
            token: token.then(|| "a-token".into()),
            patience: Duration::from_secs(1),
            backoff: Duration::from_millis(1),
        },
        project: "example/shop".into(),
        environment: "production".into(),
        deployed: Deployed::Deployments,
        unit: Unit::Commits,
        since: OffsetDateTime::now_utc() - Days::days(420),
        state: folder.join("state.json"),
    }
}

async fn read(on_gitlab: bool, settings: &Settings) -> Result<Project, SourceError> {
    match on_gitlab {
        true => gitlab::read(settings, &Events::none()).await,
        false => github::read(settings, &Events::none()).await,
    }
}

/// What was asked for, and how often.
fn counted(world: &Mutex<World>) -> BTreeMap<String, usize> {
    let asked = std::mem::take(&mut world.lock().unwrap().asked);
    asked.into_iter().fold(BTreeMap::new(), |mut counts, path| {
        *counts.entry(path).or_default() += 1;
        counts
    })
}

fn counts<const N: usize>(counts: [(&str, usize); N]) -> BTreeMap<String, usize> {
    counts.into_iter().map(|(path, count)| (path.to_owned(), count)).collect()
}

/// What each deployment brought.
fn brought(project: &Project) -> BTreeMap<&str, &[String]> {
    let each = project.deployments.iter();
    each.map(|(id, ran)| (id.as_str(), ran.changes.as_deref().unwrap())).collect()
}

/// A deployment more, as the next round finds it.
fn deploy_again(world: &Mutex<World>) {
    let mut world = world.lock().unwrap();
    let tip = *world.deployed.last().unwrap();
    let next = world.commit(&[tip]);
    world.deployed.push(next);
}

#[tokio::test]
async fn two_hundred_deployments_of_github_take_a_dozen_requests() {
    let folder = tempfile::tempdir().unwrap();
    let (url, world) = serve(World::of(200, false)).await;
    let settings = settings(&url, folder.path(), true);
    let project = read(false, &settings).await.unwrap();
    assert!(project.deployments.values().all(|ran| ran.statuses.len() == 1));
    let first = [("commits", 8), ("deployments", 2), ("graphql", 2), ("issues", 1), ("pulls", 1)];
    assert_eq!(counted(&world), counts(first));
    // Of the last week, statuses are looked at again.
    read(false, &settings).await.unwrap();
    assert_eq!(counted(&world), counts([("deployments", 1), ("graphql", 1), ("issues", 1), ("pulls", 1)]));
    deploy_again(&world);
    let project = read(false, &settings).await.unwrap();
    let later = [("compare", 1), ("deployments", 1), ("graphql", 1), ("issues", 1), ("pulls", 1)];
    assert_eq!(counted(&world), counts(later));
    assert_eq!(brought(&project)["201"].len(), 1);
    // Without its state it asks as in the first round, and finds the same.
    std::fs::remove_file(&settings.state).unwrap();
    let again = read(false, &settings).await.unwrap();
    assert_eq!(brought(&again), brought(&project));
    assert_eq!(counted(&world).values().sum::<usize>(), 16);
}

/// Without GraphQL, each deployment's statuses are a request of their own.
#[tokio::test]
async fn who_answers_no_graphql_is_asked_for_each_deployments_statuses() {
    for (graphql, token, asked) in [
        (GraphQl::Missing, true, 1),
        (GraphQl::Refuses, true, 1),
        // Nobody without a token is answered: it is not asked.
        (GraphQl::Missing, false, 0),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (url, world) = serve(World { graphql, ..World::of(200, false) }).await;
        let project = read(false, &settings(&url, folder.path(), token)).await.unwrap();
        assert!(project.deployments.values().all(|ran| ran.statuses.len() == 1));
        let mut expected =
            counts([("commits", 8), ("deployments", 2), ("issues", 1), ("pulls", 1), ("statuses", 200)]);
        expected.extend((asked > 0).then(|| ("graphql".into(), asked)));
        assert_eq!(counted(&world), expected, "{graphql:?}");
    }
}

#[tokio::test]
async fn what_graphql_does_not_tell_is_asked_for_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let world = World { untold: [3, 6].into(), ..World::of(20, false) };
    let (url, world) = serve(world).await;
    // Below the path of GitHub Enterprise Server, too.
    let settings = settings(&format!("{url}/api/v3"), folder.path(), true);
    let project = read(false, &settings).await.unwrap();
    assert!(project.deployments.values().all(|ran| ran.statuses.len() == 1));
    let asked = counted(&world);
    assert_eq!((asked["statuses"], asked["api/graphql"]), (2, 1), "{asked:?}");
}

/// GraphQL's limit is another one than REST's: nobody waits for it.
#[tokio::test]
async fn where_graphql_is_at_its_limit_rest_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World { graphql: GraphQl::Limited, ..World::of(20, false) };
    world.squashed = (10..).filter(|commit| world.commits[*commit].len() == 1).take(12).collect();
    let (url, world) = serve(world).await;
    let project = read(false, &settings(&url, folder.path(), true)).await.unwrap();
    assert!(project.deployments.values().all(|ran| ran.statuses.len() == 1));
    let asked = counted(&world);
    // The list of requests, and the commits of each one that was squashed.
    assert_eq!((asked["graphql"], asked["statuses"], asked["pulls"]), (1, 20, 13), "{asked:?}");
}

#[test]
fn a_token_is_no_advice_for_who_has_one() {
    for has_token in [false, true] {
        let until = OffsetDateTime::UNIX_EPOCH;
        let hint = SourceError::Limited { url: "u".into(), until, has_token }.hint().unwrap();
        assert_eq!(hint.contains("token"), !has_token, "{hint}");
    }
}

#[tokio::test]
async fn two_hundred_deployments_of_gitlab_take_a_dozen_requests() {
    let folder = tempfile::tempdir().unwrap();
    let (url, world) = serve(World::of(200, false)).await;
    let settings = settings(&url, folder.path(), true);
    read(true, &settings).await.unwrap();
    assert_eq!(
        counted(&world),
        // Each next page begins with the last one's last second.
        counts([("commits", 8), ("deployments", 3), ("issues", 1), ("merge_requests", 1)])
    );
    deploy_again(&world);
    read(true, &settings).await.unwrap();
    let later = [("compare", 1), ("deployments", 1), ("issues", 1), ("merge_requests", 1)];
    assert_eq!(counted(&world), counts(later));
}

/// The list says what comparing says, also around rollbacks and what no list has.
#[tokio::test]
async fn commits_that_are_listed_say_what_comparing_says() {
    for on_gitlab in [false, true] {
        let (folder, mut found) = (tempfile::tempdir().unwrap(), Vec::new());
        let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap();
        for no_lists in [false, true] {
            let (url, world) = serve(World { now, no_lists, ..World::of(60, true) }).await;
            let mut settings = settings(&url, folder.path(), true);
            settings.state = folder.path().join(format!("{no_lists}.json"));
            found.push(read(on_gitlab, &settings).await.unwrap());
            let asked = counted(&world);
            // A list is refused once. What ran before brings nothing, and nobody asks.
            let expected = match no_lists {
                // The hotfix with the first one, too.
                true => (1, 61),
                // The hotfix, and the next one that is compared with it.
                false => (3, 3),
            };
            assert_eq!((asked["commits"], asked["compare"]), expected, "on GitLab: {on_gitlab}");
        }
        assert_eq!(brought(&found[0]), brought(&found[1]), "on GitLab: {on_gitlab}");
        assert_eq!(found[0].changes, found[1].changes, "on GitLab: {on_gitlab}");
    }
}

#[tokio::test]
async fn a_list_that_is_cut_off_anywhere_is_gone_on_with() {
    for on_gitlab in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (url, world) = serve(World::of(60, true)).await;
        let mut settings = settings(&url, folder.path(), true);
        let calm = read(on_gitlab, &settings).await.unwrap();
        let whole: usize = counted(&world).values().sum();
        for cut in 0..whole {
            settings.state = folder.path().join(format!("{cut}.json"));
            world.lock().unwrap().left = Some(cut);
            let error = read(on_gitlab, &settings).await.unwrap_err();
            assert!(matches!(error, SourceError::Limited { .. }), "{error}");
            world.lock().unwrap().left = None;
            let project = read(on_gitlab, &settings).await.unwrap();
            assert_eq!(brought(&project), brought(&calm), "cut off at request {cut}");
            assert_eq!(project.changes, calm.changes, "cut off at request {cut}");
            // The lists' first pages are asked for again, and what was refused.
            let all: usize = counted(&world).values().sum();
            assert!(all <= whole + 6, "{all} requests after a cut at {cut}, {whole} without one");
        }
    }
}

/// Without a token GitHub answers 60 requests an hour.
#[tokio::test]
async fn sixty_requests_an_hour_read_two_hundred_deployments() {
    let folder = tempfile::tempdir().unwrap();
    let (url, world) = serve(World::of(200, true)).await;
    let settings = settings(&url, folder.path(), false);
    let mut hours = 0;
    let project = loop {
        hours += 1;
        world.lock().unwrap().left = Some(60);
        match read(false, &settings).await {
            Ok(project) => break project,
            Err(SourceError::Limited { .. }) => assert!(hours < 5, "it begins again and again"),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!((project.deployments.len(), hours), (202, 4));
}

/// Of 120 of them, a request for each was asked.
#[tokio::test]
async fn squashed_requests_are_asked_for_fifty_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::of(50, false);
    world.squashed = (10..).filter(|commit| world.commits[*commit].len() == 1).take(120).collect();
    let (url, world) = serve(world).await;
    let project = read(false, &settings(&url, folder.path(), true)).await.unwrap();
    assert_eq!(project.changes.values().filter(|change| change.begun.is_some()).count(), 120);
    // One for the statuses, three for the requests' commits.
    let asked = counted(&world);
    assert_eq!((asked["graphql"], asked["pulls"]), (4, 2), "{asked:?}");
}

/// A release is a tag, and the list of tags has their commits.
#[tokio::test]
async fn releases_are_found_in_the_list_by_their_tags() {
    for on_gitlab in [false, true] {
        let (folder, mut found) = (tempfile::tempdir().unwrap(), Vec::new());
        let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap();
        for no_lists in [false, true] {
            let (url, world) = serve(World { now, no_lists, ..World::of(150, false) }).await;
            let mut settings =
                Settings { deployed: Deployed::Releases, ..settings(&url, folder.path(), true) };
            settings.state = folder.path().join(format!("{no_lists}.json"));
            found.push(read(on_gitlab, &settings).await.unwrap());
            let asked = counted(&world);
            if !no_lists {
                assert!(!asked.contains_key("compare"), "{asked:?}");
                assert_eq!((asked["releases"], asked["tags"], asked["commits"]), (2, 2, 6), "{asked:?}");
            }
        }
        assert_eq!(brought(&found[0]), brought(&found[1]), "on GitLab: {on_gitlab}");
    }
}

/// Those that are too old to be looked at again wait for 35 days.
#[tokio::test]
async fn all_that_wait_for_an_approval_are_one_request() {
    let folder = tempfile::tempdir().unwrap();
    let (url, world) = serve(World { waiting: [2, 4, 6].into(), ..World::of(30, false) }).await;
    let settings = settings(&url, folder.path(), true);
    let ran = |project: &Project| project.deployments.values().filter(|it| !it.statuses.is_empty()).count();
    // In the first round they are among all others.
    for (graphql, expected) in [(1, 27), (2, 27)] {
        assert_eq!(ran(&read(false, &settings).await.unwrap()), expected);
        assert_eq!(counted(&world)["graphql"], graphql);
    }
    world.lock().unwrap().waiting.clear();
    for graphql in [2, 1] {
        assert_eq!(ran(&read(false, &settings).await.unwrap()), 30);
        let asked = counted(&world);
        assert_eq!((asked["graphql"], asked.get("statuses")), (graphql, None), "{asked:?}");
    }
}

/// The changes of each deployment, as their events say it.
fn counted_changes(project: &Project) -> BTreeMap<String, BTreeSet<usize>> {
    let owner = Owner { team: "t".into(), service: "s".into(), environment: "production".into() };
    let told = events(project, &owner, &Rules::default());
    let each = told.into_iter().filter_map(|event| match event {
        Event::Deployment(it) => Some((it.id.replace("t/s@", ""), it.changes)),
        _ => None,
    });
    let numbers = |ids: Vec<String>| ids.iter().map(|id| number(&id.replace("t/s@", "")).unwrap()).collect();
    each.map(|(id, changes)| (id, numbers(changes))).collect()
}

impl World {
    /// A history that branches and merges at random, deployed at random: older commits again,
    /// branches that were never merged, the same one twice.
    fn at_random(seed: u64, deployments: usize) -> Self {
        let mut state = seed.wrapping_mul(2).wrapping_add(1);
        let mut random = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut world = Self::of(0, false);
        for _ in 0..deployments * 3 {
            let newest = world.commits.len() - 1;
            let first = newest - random(3).min(newest);
            let second = newest - random(8).min(newest);
            match random(4) == 0 && first != second {
                true => world.commit(&[first, second]),
                false => world.commit(&[first]),
            };
        }
        for number in 0..deployments {
            let place = world.commits.len() / 4 + number * world.commits.len() * 3 / 4 / deployments;
            let place = if random(3) == 0 { place - random(8) % (place + 1) } else { place };
            world.deployed.push(place);
        }
        world
    }

    /// What each deployment brought, by going through the history: what it has and none before
    /// it had. Nobody knows that of the first one.
    fn right(&self) -> Vec<BTreeSet<usize>> {
        let mut known = self.deployed.first().map(|first| self.ancestors(*first)).unwrap_or_default();
        let each = self.deployed.iter().map(|revision| {
            let all = self.ancestors(*revision);
            let new = all.difference(&known).filter(|commit| self.commits[**commit].len() < 2);
            let new: BTreeSet<usize> = new.copied().collect();
            known.extend(all);
            new
        });
        each.collect()
    }
}

/// c50, then c40 again, then c55: what was between c40 and c50 ran already with the first one.
#[tokio::test]
async fn a_rollback_soon_after_the_first_deployment_hands_out_no_commit_again() {
    for (deployed, expected) in [
        (&[50, 40, 55][..], &[0, 0, 5][..]),
        (&[50, 52, 40, 55], &[0, 2, 0, 3]),
        (&[50, 55, 40, 60], &[0, 5, 0, 5]),
        (&[50, 40, 45, 55], &[0, 0, 0, 5]),
        (&[50, 40, 55, 57, 58, 60, 61, 64, 65, 66, 68, 70, 75], &[0, 0, 5, 2, 1, 2, 1, 3, 1, 1, 2, 2, 5]),
    ] {
        for on_gitlab in [false, true] {
            for deployed_by in [Deployed::Deployments, Deployed::Releases] {
                let mut world = World::of(0, false);
                for tip in 0..100 {
                    world.commit(&[tip]);
                }
                world.deployed = deployed.to_vec();
                let (folder, (url, _world)) = (tempfile::tempdir().unwrap(), serve(world).await);
                let settings = Settings { deployed: deployed_by, ..settings(&url, folder.path(), true) };
                let changes = counted_changes(&read(on_gitlab, &settings).await.unwrap());
                let id = |index: usize| match deployed_by {
                    Deployed::Deployments => (index + 1).to_string(),
                    Deployed::Releases => format!("v{index}"),
                };
                let found: Vec<usize> = (0..deployed.len()).map(|index| changes[&id(index)].len()).collect();
                assert_eq!(found, expected, "{deployed:?} {deployed_by:?}, on GitLab: {on_gitlab}");
            }
        }
    }
}

/// Whatever was merged, rolled back and deployed from branches, each change is once, with the
/// deployment that had it first; by comparing, and by lists.
#[tokio::test]
async fn each_change_is_with_the_deployment_that_had_it_first() {
    for seed in 0..3 {
        for (deployments, no_lists) in [(7, true), (24, false), (12, true)] {
            let world = World { no_lists, ..World::at_random(seed, deployments) };
            let right = world.right();
            let (url, _world) = serve(world).await;
            for on_gitlab in [false, true] {
                for deployed in [Deployed::Deployments, Deployed::Releases] {
                    let folder = tempfile::tempdir().unwrap();
                    let settings = Settings { deployed, ..settings(&url, folder.path(), true) };
                    let found = counted_changes(&read(on_gitlab, &settings).await.unwrap());
                    for (index, expected) in right.iter().enumerate() {
                        let id = match deployed {
                            Deployed::Deployments => (index + 1).to_string(),
                            Deployed::Releases => format!("v{index}"),
                        };
                        let place =
                            format!("seed {seed}, {deployments}, {no_lists}, {deployed:?}, {on_gitlab}");
                        assert_eq!(&found[&id], expected, "{id} of {place}");
                    }
                }
            }
        }
    }
}

/// Who asks for more days than before has in the end what who asked for them at once has.
#[tokio::test]
async fn any_order_of_beginnings_ends_with_the_same() {
    for seed in 0..2 {
        for (deployments, deployed) in
            [(9, Deployed::Deployments), (24, Deployed::Deployments), (16, Deployed::Releases)]
        {
            let world = World::at_random(seed, deployments);
            let (last, now) = (world.deployed.len() - 1, world.now);
            let (url, _world) = serve(world).await;
            let at = |deployment: usize| now - Days::hours(12 * (last - deployment) as i64 + 1);
            for on_gitlab in [false, true] {
                let folder = tempfile::tempdir().unwrap();
                let mut settings = Settings { deployed, ..settings(&url, folder.path(), true) };
                settings.since = at(2);
                let right = counted_changes(&read(on_gitlab, &settings).await.unwrap());
                for beginnings in [&[last - 2, 2][..], &[last / 2, last, 2], &[2, last / 2], &[last, 5, 2, 3]]
                {
                    settings.state = folder.path().join(format!("{beginnings:?}.json"));
                    let mut found = BTreeMap::new();
                    for beginning in beginnings {
                        settings.since = at(*beginning);
                        found = counted_changes(&read(on_gitlab, &settings).await.unwrap());
                    }
                    assert_eq!(
                        found, right,
                        "seed {seed}: {beginnings:?}, {deployed:?}, on GitLab: {on_gitlab}"
                    );
                }
            }
        }
    }
}

/// A state from before the first deployment was kept is read, and what was wrong in it is mended.
#[tokio::test]
async fn what_an_earlier_release_compared_is_compared_again() {
    for on_gitlab in [false, true] {
        let world = World::at_random(3, 9);
        let (folder, (url, world)) = (tempfile::tempdir().unwrap(), serve(world).await);
        let settings = settings(&url, folder.path(), true);
        let right = counted_changes(&read(on_gitlab, &settings).await.unwrap());
        let mut state: Value = serde_json::from_slice(&std::fs::read(&settings.state).unwrap()).unwrap();
        state.as_object_mut().unwrap().remove("compared").unwrap();
        for deployment in state["project"]["deployments"].as_object_mut().unwrap().values_mut() {
            deployment["changes"] = json!([]);
        }
        std::fs::write(&settings.state, state.to_string()).unwrap();
        assert_eq!(counted_changes(&read(on_gitlab, &settings).await.unwrap()), right);
        counted(&world);
        read(on_gitlab, &settings).await.unwrap();
        assert_eq!(counted(&world).get("compare"), None);
    }
}

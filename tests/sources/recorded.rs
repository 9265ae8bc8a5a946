//! The readers of GitHub and GitLab over answers that both really gave, followed
//! from page to page. What is expected was counted in the recordings.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::recordings::{Answer, Replay, installed, ogr, pygithub};
use dorainfra_dora::events::{self, Event};
use dorainfra_dora::source::forge::{Deployed, Settings, Unit};
use dorainfra_dora::source::{
    Access, Exclude, Owner, Patterns, Project, Rules, SourceError, events as classified, github, gitlab,
};
use dorainfra_model::Events;
use time::OffsetDateTime;
use time::macros::datetime;

const BEFORE_ALL: OffsetDateTime = datetime!(2005-01-01 00:00 UTC);

/// A project that is read by its releases and requests.
fn settings(url: &str, project: &str, state: PathBuf) -> Settings {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Settings {
        access: Access {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            url: url.to_owned(),
            token: None,
            patience: Duration::from_secs(10),
            backoff: Duration::from_millis(1),
        },
        project: project.into(),
        environment: "production".into(),
        deployed: Deployed::Releases,
        unit: Unit::Requests,
        since: BEFORE_ALL,
        state,
    }
}

/// How many events of each kind there are, where issues of a label are incidents.
fn counted(project: &Project, label: &str) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for event in told(project, label) {
        let kind = match event {
            Event::Change(_) => "change",
            Event::Deployment(_) => "deployment",
            Event::Failure(_) => "failure",
            Event::Recovery(_) => "recovery",
        };
        *counts.entry(kind).or_default() += 1;
    }
    counts
}

fn told(project: &Project, label: &str) -> Vec<Event> {
    let owner = Owner { team: "t".into(), service: "s".into(), environment: "production".into() };
    classified(project, &owner, &Rules { incident_labels: Patterns::new([label]), ..Rules::default() })
}

fn lines(events: &[Event]) -> String {
    let mut text = Vec::new();
    events::write(&mut text, events).unwrap();
    String::from_utf8(text).unwrap()
}

/// PyGithub's releases, of January 2022, and what brought 1.54.1: three pages each.
#[tokio::test]
async fn releases_of_github_and_what_one_of_them_brought() {
    let Some(folder) = installed("recordings/answers") else { return };
    let answers = || -> Vec<Answer> {
        let releases = pygithub(&folder, "RequesterThrottled.testShouldDeferRequests");
        releases.into_iter().chain(pygithub(&folder, "Repository.testCompareCommitPagination")).collect()
    };
    let temp = tempfile::tempdir().unwrap();
    let (url, replay) = Replay::serve(answers()).await;
    let of = |name: &str, since: OffsetDateTime, unit: Unit| Settings {
        since,
        unit,
        ..settings(&url, "PyGithub/PyGithub", temp.path().join(name))
    };

    // 30, of which 4 are prereleases.
    let all = github::read(&of("all", BEFORE_ALL, Unit::Requests), &Events::none()).await.unwrap();
    assert_eq!(all.deployments.len(), 26);
    let asked = [
        "/repos/PyGithub/PyGithub/releases?per_page=100",
        "/repositories/3544490/releases?per_page=10&page=2",
        "/repositories/3544490/releases?per_page=10&page=3",
    ];
    assert_eq!(replay.asked("/releases"), asked);
    // 1.40 comes after a prerelease whose commit is older than this.
    let later = of("later", datetime!(2018-06-01 00:00 UTC), Unit::Requests);
    let later = github::read(&later, &Events::none()).await.unwrap();
    assert!(later.deployments.contains_key("v1.40") && !later.deployments.contains_key("v1.39"));
    assert_eq!(later.deployments.len(), 25);

    // 10 commits, of which 2 are merges and one takes back what an older release brought.
    let last = of("last", datetime!(2020-11-30 00:00 UTC), Unit::Commits);
    let last = github::read(&last, &Events::none()).await.unwrap();
    assert_eq!(last.changes.len(), 10);
    let asked = replay.asked("/compare/v1.54...v1.54.1");
    let asked: Vec<&str> = asked.iter().rev().take(3).rev().map(String::as_str).collect();
    let pages = [
        "/repos/PyGithub/PyGithub/compare/v1.54...v1.54.1?per_page=100",
        "/repositories/3544490/compare/v1.54...v1.54.1?page=2&per_page=4",
        "/repositories/3544490/compare/v1.54...v1.54.1?page=3&per_page=4",
    ];
    assert_eq!(asked, pages);
    insta::assert_snapshot!(lines(&told(&last, "incident")));
}

/// Two deployments and three times `queued`: nothing ran.
#[tokio::test]
async fn deployments_of_github_that_never_ran_are_none() {
    let Some(folder) = installed("recordings/answers") else { return };
    let mut answers = pygithub(&folder, "Repository.testGetDeployments");
    answers.extend(pygithub(&folder, "DeploymentStatus.testGetStatuses"));
    for answer in &mut answers {
        // One project under two owners.
        answer.target = answer.target.replace("/jacquev6/", "/PyGithub/");
    }
    let temp = tempfile::tempdir().unwrap();
    let (url, replay) = Replay::serve(answers).await;
    let settings = Settings {
        deployed: Deployed::Deployments,
        ..settings(&url, "PyGithub/PyGithub", temp.path().join("state"))
    };
    let project = github::read(&settings, &Events::none()).await.unwrap();
    assert_eq!(replay.asked("/statuses").len(), 2);
    let environments: Vec<&str> = project.deployments.values().map(|ran| ran.environment.as_str()).collect();
    assert_eq!(environments, ["production", "test"]);
    assert!(project.deployments.values().all(|ran| ran.statuses.is_empty() && ran.revision.len() == 40));
    assert!(told(&project, "incident").is_empty());
}

/// All closed issues of openFrameworks in May 2012: 38 pages with 950 items, of
/// which 423 are pull requests and 153 of the others are labelled `bug`.
#[tokio::test]
async fn issues_of_github_through_all_their_pages() {
    let Some(folder) = installed("recordings/answers") else { return };
    let temp = tempfile::tempdir().unwrap();
    let (url, replay) = Replay::serve(pygithub(&folder, "Issue33.testClosedIssues")).await;
    let settings = settings(&url, "openframeworks/openFrameworks", temp.path().join("state"));
    let project = github::read(&settings, &Events::none()).await.unwrap();
    let asked = replay.asked("/issues");
    // What is asked for by its time, too, is answered with the first page here.
    assert_eq!((asked.len(), asked[38].ends_with("?page=38&state=closed")), (39, true), "{asked:#?}");
    assert_eq!(project.incidents.len(), 290, "those with a label");
    assert_eq!(counted(&project, "bug"), BTreeMap::from([("failure", 153), ("recovery", 153)]));
    let events = told(&project, "bug");
    let seven = |event: &&Event| lines(&[(*event).clone()]).contains("t/s@issue-7\"");
    insta::assert_snapshot!(lines(&events.iter().filter(seven).cloned().collect::<Vec<_>>()));
}

/// ogr in the summer of 2020: 23 releases, 267 closed pull requests in 9 pages, of
/// which 240 were merged; and the issues with the label `Pagure`, of April 2021: 54
/// in 2 pages, of which 6 are pull requests, 5 of the others are `bug` too.
#[tokio::test]
async fn requests_releases_and_issues_of_github() {
    let Some(folder) = installed("recordings/answers") else { return };
    let recorded = "github/test_data";
    let mut answers = ogr(
        &folder,
        &format!("{recorded}/test_pull_requests/PullRequests.test_pr_list"),
        "/pulls?state=closed",
    );
    answers.extend(ogr(
        &folder,
        &format!("{recorded}/test_releases/Releases.test_get_releases"),
        "/releases",
    ));
    answers.extend(ogr(
        &folder,
        &format!("{recorded}/test_issues/Issues.test_issue_list_labels"),
        "/issues?",
    ));
    let temp = tempfile::tempdir().unwrap();
    let (url, replay) = Replay::serve(answers).await;
    let settings = settings(&url, "packit/ogr", temp.path().join("state"));
    let project = github::read(&settings, &Events::none()).await.unwrap();
    assert_eq!((replay.asked("/pulls").len(), replay.asked("/issues").len()), (9, 3));
    assert_eq!(project.deployments.len(), 23);
    let merged: Vec<_> = project.changes.values().filter(|change| change.at.is_some()).collect();
    assert_eq!(merged.len(), 240);
    assert_eq!(project.incidents.len(), 48);
    // What each release brought was not recorded: all is 404, and they count without changes.
    let counts = counted(&project, "Pagure");
    assert_eq!((counts["deployment"], counts["failure"], counts["recovery"]), (23, 48, 40), "{counts:?}");
    assert_eq!(counted(&project, "bug")["failure"], 5);
}

/// Two refusals of GitHub: of requests that came too fast, and of too many of them
/// (which then did not say until when).
#[tokio::test]
async fn limits_of_github_are_known_as_limits() {
    let Some(folder) = installed("recordings/answers") else { return };
    for (name, seconds) in [
        ("SpecificExceptions.testAuthenticatedRateLimitExceeded", 60),
        ("SpecificExceptions.testRateLimitExceeded", 60),
    ] {
        let mut answers = pygithub(&folder, name);
        answers.retain(|answer| answer.status == 403);
        answers.truncate(1);
        answers[0].target = "/repos/PyGithub/PyGithub/releases".into();
        let temp = tempfile::tempdir().unwrap();
        let (url, _replay) = Replay::serve(answers).await;
        let settings = settings(&url, "PyGithub/PyGithub", temp.path().join("state"));
        let error = github::read(&settings, &Events::none()).await.unwrap_err();
        let SourceError::Limited { until, .. } = error else { panic!("{name}: {error}") };
        let wait = until - OffsetDateTime::now_utc();
        assert!((seconds - 30..=seconds).contains(&wait.whole_seconds()), "{name}: {wait}");
    }
}

/// A project with 61 releases in 4 pages.
#[tokio::test]
async fn releases_of_gitlab_through_all_their_pages() {
    let Some(folder) = installed("recordings/answers") else { return };
    let name = "gitlab/test_data/test_releases/Releases.test_get_releases_pagination";
    let temp = tempfile::tempdir().unwrap();
    let (url, replay) = Replay::serve(ogr(&folder, name, "/releases")).await;
    let settings = settings(&url, "4207231", temp.path().join("state"));
    let project = gitlab::read(&settings, &Events::none()).await.unwrap();
    let asked = replay.asked("/releases");
    let pages: Vec<&str> = asked[1..].iter().map(String::as_str).collect();
    let path = "/api/v4/projects/4207231/releases?id=4207231";
    assert_eq!(pages, [2, 3, 4].map(|page| format!("{path}&page={page}&per_page=20")));
    assert_eq!(project.deployments.len(), 61);
    let left_out: Vec<&str> =
        project.deployments.keys().map(String::as_str).filter(|tag| Exclude::Usual.matches(tag)).collect();
    assert_eq!(left_out, ["Nightly"]);
    assert_eq!(counted(&project, "incident"), BTreeMap::from([("deployment", 60)]));
    let ran = project.deployments["2.44.1"].at().unwrap();
    assert_eq!(ran, datetime!(2020-06-29 11:05:20.793 UTC));
}

/// 86 merge requests in 5 pages, of which 9 were merged; and 33 issues with one
/// label in 2 pages, of which one is closed.
#[tokio::test]
async fn merge_requests_and_issues_of_gitlab() {
    let Some(folder) = installed("recordings/answers") else { return };
    let recorded = "gitlab/test_data";
    let mut answers = ogr(
        &folder,
        &format!("{recorded}/test_pull_requests/PullRequests.test_mr_list_limit"),
        "/merge_requests?",
    );
    answers.extend(ogr(
        &folder,
        &format!("{recorded}/test_issues/Issues.test_issue_list_labels"),
        "/issues?",
    ));
    let temp = tempfile::tempdir().unwrap();
    let (url, replay) = Replay::serve(answers).await;
    let settings = settings(&url, "14233409", temp.path().join("state"));
    let project = gitlab::read(&settings, &Events::none()).await.unwrap();
    assert_eq!((replay.asked("/merge_requests").len(), replay.asked("/issues").len()), (6, 3));
    assert_eq!(project.changes.len(), 9);
    let first = &project.changes["101a42bbbe174d04b465d49caf274dc3b4defeca"];
    assert_eq!(first.labels, ["test_lb1", "test_lb2"]);
    assert_eq!(first.at, Some(datetime!(2019-09-10 14:03:24.365 UTC)));
    let label = "testing-label-for-test-issue-list-labels";
    assert_eq!(counted(&project, label), BTreeMap::from([("failure", 33), ("recovery", 1)]));
    let closed = project.incidents["34"].closed;
    assert_eq!(closed, Some(datetime!(2020-02-27 11:02:16.656 UTC)));
}

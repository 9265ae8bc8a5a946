//! What GitHub answers, as far as it is read.

use serde::Deserialize;
use time::OffsetDateTime;

use super::super::forge;
use super::super::project::{Incident, MergedChange};
use super::names;

#[derive(Deserialize)]
pub(super) struct Deployment {
    pub id: u64,
    /// What GraphQL calls it.
    #[serde(default)]
    pub node_id: String,
    pub sha: String,
    #[serde(rename = "ref")]
    pub reference: String,
    pub environment: String,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

#[derive(Deserialize)]
pub(super) struct DeploymentStatus {
    pub state: String,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

#[derive(Deserialize)]
pub(super) struct Tag {
    pub name: String,
    pub commit: Parent,
}

#[derive(Deserialize)]
pub(super) struct Release {
    pub tag_name: String,
    pub draft: bool,
    pub prerelease: bool,
    /// When it was made public, which `created_at`, the time of its commit, says nothing of.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub published_at: Option<OffsetDateTime>,
}

#[derive(Deserialize)]
pub(super) struct Request {
    #[serde(default)]
    pub number: Option<u64>,
    pub title: String,
    #[serde(default)]
    pub body: Option<String>,
    pub merge_commit_sha: Option<String>,
    pub labels: Vec<Label>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub merged_at: Option<OffsetDateTime>,
}

/// An issue, as a list of them and a webhook have it.
#[derive(Deserialize)]
pub(in super::super) struct Issue {
    pub number: u64,
    /// Some payloads say nothing of them, which is not that there are none.
    pub labels: Option<Vec<Label>>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub closed_at: Option<OffsetDateTime>,
    pull_request: Option<Links>,
}

/// Has an address if the issue is a pull request, which lists of issues hold too.
#[derive(Deserialize)]
pub(super) struct Links {
    pub html_url: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
pub(in super::super) struct Label {
    pub name: String,
}

impl Issue {
    pub fn is_request(&self) -> bool {
        self.pull_request.as_ref().is_some_and(|links| links.html_url.is_some())
    }

    pub fn has_labels(&self) -> bool {
        self.labels.as_ref().is_some_and(|labels| !labels.is_empty())
    }

    /// `None` where labels are not reported: whether it is one is not known.
    pub fn incident(self) -> Option<Incident> {
        Some(Incident {
            opened: self.created_at,
            closed: self.closed_at,
            labels: names(self.labels?),
            updated: self.updated_at,
            moved: None,
        })
    }
}

#[derive(Deserialize)]
pub(super) struct Comparison {
    /// `ahead`, `behind`, `diverged`, `identical`
    #[serde(default)]
    pub status: Option<String>,
    pub commits: Vec<Commit>,
}

#[derive(Deserialize)]
pub(super) struct Commit {
    pub sha: String,
    pub commit: CommitText,
    pub parents: Vec<Parent>,
}

#[derive(Deserialize)]
pub(super) struct Parent {
    pub sha: String,
}

#[derive(Deserialize)]
pub(super) struct CommitText {
    pub message: String,
    #[serde(default)]
    pub author: Option<Written>,
    #[serde(default)]
    pub committer: Option<Written>,
}

#[derive(Deserialize)]
pub(super) struct Written {
    #[serde(default, deserialize_with = "forge::lenient")]
    pub date: Option<OffsetDateTime>,
}

impl CommitText {
    pub fn written(&self) -> Option<OffsetDateTime> {
        self.author.as_ref()?.date
    }
}

impl From<Commit> for (String, MergedChange) {
    fn from(commit: Commit) -> Self {
        let is_change = commit.parents.len() < 2;
        let parents = commit.parents.into_iter().map(|parent| parent.sha).collect();
        let written = commit.commit.written();
        let at = written.filter(|_| is_change);
        let mut change = MergedChange { parents, ..MergedChange::reported(at, &commit.commit.message) };
        let committed = commit.commit.committer.and_then(|committer| committer.date);
        let squashed = committed == written && change.came_with_request();
        if is_change && (written.is_none() || squashed) {
            change.untimed = true;
        }
        (commit.sha, change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pull_request_is_an_issue_with_an_address_of_its_own() {
        for (links, expected) in [
            (json!(null), false),
            (json!({"html_url": null, "diff_url": null}), false),
            (json!({"html_url": "https://github.com/example/shop/pull/1"}), true),
        ] {
            let issue = json!({"number": 1, "labels": [], "created_at": "2026-03-02T08:00:00Z",
                "updated_at": "2026-03-02T08:00:00Z", "pull_request": links});
            let issue: Issue = serde_json::from_value(issue).unwrap();
            assert_eq!(issue.is_request(), expected, "{links}");
        }
    }
}

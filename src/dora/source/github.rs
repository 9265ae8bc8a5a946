//! GitHub's REST API: deployments or releases, merged pull requests, issues, and
//! by comparing what runs, the commits that each deployment brought.
//!
//! What was read is kept in a file together with how far it went. A run that is
//! cut off (a rate limit, a killed process) is gone on with by the next one, and
//! a run after a complete one reads what is new.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::SourceError;
use super::forge::{Deployed, PER_PAGE, Reader, Settings, Squashed, Unit};
use super::project::{Fact, Incident, Landed, Project, Ran, Status};
use super::state::{self, Newest, ToCompare};
use crate::event::Events;

pub const API: &str = "https://api.github.com";
const ACCEPT: &str = "application/vnd.github+json";
/// How long statuses of a deployment are looked at again.
const UNSETTLED: Duration = Duration::days(7);

/// What is kept between two runs.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct State {
    project: Project,
    deployments: Newest,
    requests: Newest,
    /// Issues that were changed before this are known.
    issues: Option<String>,
    /// Requests whose first commit was asked for, and is not told.
    without_commits: BTreeSet<String>,
}

impl Squashed for State {
    fn squashed(&mut self) -> (&mut Project, &mut BTreeSet<String>) {
        (&mut self.project, &mut self.without_commits)
    }
}

/// Reads what is new, and answers all that is known.
pub async fn read(settings: &Settings, events: &Events) -> Result<Project, SourceError> {
    let mut reader = Reader::<State>::new(settings, "", ACCEPT, events)?;
    match settings.deployed {
        Deployed::Deployments => reader.deployments().await?,
        Deployed::Releases => reader.releases().await?,
    }
    reader.requests().await?;
    reader.issues().await?;
    reader.compare().await?;
    // Without a token an hour's requests would be used up.
    if settings.access.token.is_some() {
        reader.first_commits('#', Reader::first_commit).await?;
    }
    Ok(reader.state.project)
}

#[derive(Deserialize)]
struct Deployment {
    id: u64,
    sha: String,
    #[serde(rename = "ref")]
    reference: String,
    environment: String,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

#[derive(Deserialize)]
struct DeploymentStatus {
    state: String,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

#[derive(Deserialize)]
struct Release {
    tag_name: String,
    draft: bool,
    prerelease: bool,
    /// When it was made public, which `created_at`, the time of its commit, says nothing of.
    #[serde(default, with = "time::serde::rfc3339::option")]
    published_at: Option<OffsetDateTime>,
}

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    number: Option<u64>,
    title: String,
    #[serde(default)]
    body: Option<String>,
    merge_commit_sha: Option<String>,
    labels: Vec<Label>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    updated_at: OffsetDateTime,
    #[serde(default, with = "time::serde::rfc3339::option")]
    merged_at: Option<OffsetDateTime>,
}

/// An issue, as a list of them and a webhook have it.
#[derive(Deserialize)]
pub(super) struct Issue {
    pub number: u64,
    /// Some payloads say nothing of them, which is not that there are none.
    labels: Option<Vec<Label>>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    updated_at: OffsetDateTime,
    #[serde(default, with = "time::serde::rfc3339::option")]
    closed_at: Option<OffsetDateTime>,
    pull_request: Option<Links>,
}

/// Has an address if the issue is a pull request, which lists of issues hold too.
#[derive(Deserialize)]
struct Links {
    html_url: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
pub(super) struct Label {
    name: String,
}

impl Issue {
    fn is_request(&self) -> bool {
        self.pull_request.as_ref().is_some_and(|links| links.html_url.is_some())
    }

    fn has_labels(&self) -> bool {
        self.labels.as_ref().is_some_and(|labels| !labels.is_empty())
    }

    /// `None` where labels are not told: whether it is one is not known.
    pub fn incident(self) -> Option<Incident> {
        Some(Incident {
            opened: self.created_at,
            closed: self.closed_at,
            labels: names(self.labels?),
            updated: self.updated_at,
        })
    }
}

#[derive(Deserialize)]
struct Comparison {
    /// `ahead`, `behind`, `diverged`, `identical`
    #[serde(default)]
    status: Option<String>,
    commits: Vec<Commit>,
}

#[derive(Deserialize)]
struct Commit {
    sha: String,
    commit: CommitText,
    parents: Vec<Parent>,
}

#[derive(Deserialize)]
struct Parent {
    sha: String,
}

#[derive(Deserialize)]
struct CommitText {
    message: String,
    author: Written,
    #[serde(default)]
    committer: Option<Written>,
}

#[derive(Deserialize)]
struct Written {
    #[serde(with = "time::serde::rfc3339")]
    date: OffsetDateTime,
}

/// A merged request as one change, from when it was opened.
pub(super) fn landed(opened: OffsetDateTime, number: Option<u64>, title: &str, body: Option<&str>) -> Landed {
    let told = Landed::told(Some(opened), &format!("{title}\n\n{}", body.unwrap_or_default()));
    Landed { requests: number.map(|number| format!("#{number}")).into_iter().collect(), ..told }
}

pub(super) fn names(labels: Vec<Label>) -> Vec<String> {
    labels.into_iter().map(|label| label.name).collect()
}

/// What a state says of whether it runs; `None`: nothing yet, or nothing more
/// (`inactive`: another one took its place).
pub(super) fn runs(state: &str) -> Option<bool> {
    match state {
        "success" => Some(true),
        "failure" | "error" => Some(false),
        _ => None,
    }
}

impl Reader<'_, State> {
    fn path(&self, rest: &str) -> String {
        format!("repos/{}/{rest}", self.settings.project)
    }

    async fn deployments(&mut self) -> Result<(), SourceError> {
        let environment = ("environment", self.settings.environment.as_str());
        let first = self.rest.url(&self.path("deployments"), &[environment, PER_PAGE]);
        let (since, mut walk) = (self.settings.since, self.state.deployments.walk(first));
        while let Some(url) = walk.url() {
            let page = self.rest.get::<Vec<Deployment>>(&url).await?;
            for deployment in &page.items {
                if walk.passes(deployment.created_at, since, UNSETTLED) {
                    self.statuses(deployment).await?;
                }
            }
            walk.turn(page.next);
            self.state.deployments = walk.newest();
            self.save()?;
        }
        Ok(())
    }

    async fn statuses(&mut self, deployment: &Deployment) -> Result<(), SourceError> {
        let path = self.path(&format!("deployments/{}/statuses", deployment.id));
        let mut next = Some(self.rest.url(&path, &[PER_PAGE]));
        let mut statuses = Vec::new();
        while let Some(url) = next {
            let page = self.rest.get::<Vec<DeploymentStatus>>(&url).await?;
            statuses.extend(
                page.items
                    .into_iter()
                    .filter_map(|one| runs(&one.state).map(|ok| Status { at: one.created_at, ok })),
            );
            next = page.next;
        }
        self.state.project.add(Fact::Ran {
            id: deployment.id.to_string(),
            deployment: Ran {
                environment: deployment.environment.clone(),
                name: deployment.reference.clone(),
                revision: deployment.sha.clone(),
                statuses,
                changes: None,
            },
        });
        Ok(())
    }

    /// Releases are few, and their list is in the order of no time that they
    /// tell: all of it is read.
    async fn releases(&mut self) -> Result<(), SourceError> {
        let mut next = Some(self.rest.url(&self.path("releases"), &[PER_PAGE]));
        while let Some(url) = next {
            let page = self.rest.get::<Vec<Release>>(&url).await?;
            for release in page.items.into_iter().filter(|one| !one.draft && !one.prerelease) {
                let Some(at) = release.published_at.filter(|at| *at >= self.settings.since) else {
                    continue;
                };
                self.state.project.add(Fact::Ran {
                    id: release.tag_name.clone(),
                    deployment: Ran {
                        environment: self.settings.environment.clone(),
                        name: release.tag_name.clone(),
                        revision: release.tag_name,
                        statuses: vec![Status { at, ok: true }],
                        changes: None,
                    },
                });
            }
            self.save()?;
            next = page.next;
        }
        Ok(())
    }

    async fn requests(&mut self) -> Result<(), SourceError> {
        let query = [("state", "closed"), ("sort", "updated"), ("direction", "desc"), PER_PAGE];
        let first = self.rest.url(&self.path("pulls"), &query);
        let (since, mut walk) = (self.settings.since, self.state.requests.walk(first));
        while let Some(url) = walk.url() {
            let page = self.rest.get::<Vec<Request>>(&url).await?;
            for request in page.items {
                let (true, Some(merged), Some(commit)) = (
                    walk.passes(request.updated_at, since, Duration::ZERO),
                    request.merged_at,
                    request.merge_commit_sha,
                ) else {
                    continue;
                };
                let labels = names(request.labels);
                let updated = Some(request.updated_at);
                self.state.project.add(Fact::Labelled { id: commit.clone(), labels, updated });
                if self.settings.unit == Unit::Requests {
                    let change =
                        landed(request.created_at, request.number, &request.title, request.body.as_deref());
                    self.state.project.add(Fact::Landed { id: commit, change });
                } else {
                    let request = request.number.map(|number| format!("#{number}"));
                    self.state.project.add(Fact::Merged { id: commit, request, at: merged, begun: None });
                }
            }
            walk.turn(page.next);
            self.state.requests = walk.newest();
            self.save()?;
        }
        Ok(())
    }

    async fn issues(&mut self) -> Result<(), SourceError> {
        let since = match &self.state.issues {
            Some(since) => since.clone(),
            None => state::text(self.settings.since),
        };
        let query =
            [("state", "all"), ("sort", "updated"), ("direction", "asc"), ("since", &since), PER_PAGE];
        let mut next = Some(self.rest.url(&self.path("issues"), &query));
        while let Some(url) = next {
            let page = self.rest.get::<Vec<Issue>>(&url).await?;
            for issue in page.items {
                self.state.issues = Some(state::text(issue.updated_at));
                // Those without a label can be no incident.
                if issue.is_request() || !(issue.has_labels() || self.knows(issue.number)) {
                    continue;
                }
                let id = issue.number.to_string();
                if let Some(incident) = issue.incident() {
                    self.state.project.add(Fact::Reported { id, incident });
                }
            }
            self.save()?;
            next = page.next;
        }
        Ok(())
    }

    fn knows(&self, issue: u64) -> bool {
        self.state.project.incidents.contains_key(&issue.to_string())
    }

    /// Asks for what each deployment brought: the commits that its revision has
    /// and the one before has not. Nobody can say that of the first one.
    async fn compare(&mut self) -> Result<(), SourceError> {
        for ToCompare { id, bases, head, .. } in
            state::to_compare(&self.state.project, &self.settings.environment)
        {
            let mut changes = None;
            // What ran before brings nothing new.
            let again = bases.contains(&head);
            for base in bases.iter().filter(|_| !again) {
                // Gone is not empty: the next one may still be there.
                let Some((found, diverged)) = self.between(base, &head).await? else { continue };
                state::narrow(&mut changes, found);
                // Of another release line: what is new against that one is not all new.
                if !diverged {
                    break;
                }
            }
            state::brought(&mut self.state.project, id, changes.unwrap_or_default());
            self.save()?;
        }
        Ok(())
    }

    /// The commits that one revision has and another has not, and whether that one has
    /// others, too; `None`: one of them is gone.
    async fn between(&mut self, base: &str, head: &str) -> Result<Option<(Vec<String>, bool)>, SourceError> {
        let (mut changes, mut diverged) = (Vec::new(), false);
        let path = self.path(&format!("compare/{base}...{head}"));
        let mut next = Some(self.rest.url(&path, &[PER_PAGE]));
        while let Some(url) = next {
            let page = match self.rest.get::<Comparison>(&url).await {
                Ok(page) => page,
                Err(SourceError::Refused { status: 404, .. }) => {
                    state::gone(self.events, &self.settings.project, base, head);
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            diverged |= page.items.status.as_deref() == Some("diverged");
            for commit in page.items.commits {
                self.commit(commit, &mut changes);
            }
            next = page.next;
        }
        Ok(Some((changes, diverged)))
    }

    /// When the first commit of a request was written; `None`: nobody tells.
    async fn first_commit(&self, request: &str) -> Result<Option<OffsetDateTime>, SourceError> {
        let path = self.path(&format!("pulls/{}/commits", &request[1..]));
        match self.rest.get::<Vec<Commit>>(&self.rest.url(&path, &[PER_PAGE])).await {
            Ok(page) => Ok(page.items.iter().map(|commit| commit.commit.author.date).min()),
            Err(SourceError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn commit(&mut self, commit: Commit, changes: &mut Vec<String>) {
        match self.settings.unit {
            Unit::Commits => {
                let is_change = commit.parents.len() < 2;
                let parents = commit.parents.into_iter().map(|parent| parent.sha).collect();
                let written = commit.commit.author.date;
                let at = is_change.then_some(written);
                let mut change = Landed { parents, ..Landed::told(at, &commit.commit.message) };
                let landed = commit.commit.committer.is_some_and(|committer| committer.date == written);
                if is_change && landed && change.came_with_request() {
                    (change.at, change.untimed) = (None, true);
                }
                self.state.project.add(Fact::Landed { id: commit.sha.clone(), change });
                changes.push(commit.sha);
            }
            // The commit that a request was merged with stands for it.
            Unit::Requests if self.state.project.changes.contains_key(&commit.sha) => {
                changes.push(commit.sha)
            }
            _ => {}
        }
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

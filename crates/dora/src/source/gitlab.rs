//! GitLab's REST API: deployments or releases, merged merge requests, issues,
//! and by comparing what runs, the commits that each deployment brought.
//!
//! Its lists can begin with what was changed longest ago, so how far a run went
//! is one time for each list; a run that is cut off is gone on with.

use std::collections::BTreeSet;

use async_trait::async_trait;
use dorainfra_model::Events;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::compared::{Compared, is_hash};
use super::forge::{self, Between, Compares, Deployed, Forge, Kept, PER_PAGE, Reader, Settings, Unit};
use super::history::History;
use super::project::{DeploymentRecord, Fact, Incident, MergedChange, Project, Status};
use super::rest::{Access, Headers, Page, Rest};
use super::state;
use super::{SourceError, codeowners};

pub struct Gitlab;

#[async_trait(?Send)]
impl Forge for Gitlab {
    fn name(&self) -> &'static str {
        "gitlab"
    }

    fn address(&self) -> &'static str {
        "https://gitlab.com"
    }

    fn tokens(&self) -> &'static [&'static str] {
        &["GITLAB_TOKEN"]
    }

    async fn read(&self, settings: &Settings, events: &Events) -> Result<Project, SourceError> {
        read(settings, events).await
    }

    async fn team(&self, access: &Access, project: &str) -> Result<String, SourceError> {
        team(access, project).await
    }
}

/// Where it is on a server.
const API: &str = "api/v4";
const HEADERS: Headers = &[("accept", "application/json")];
const BY_CHANGE: [(&str, &str); 2] = [("order_by", "updated_at"), ("sort", "asc")];

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct State {
    project: Project,
    /// Since when everything was asked for.
    #[serde(with = "time::serde::rfc3339::option")]
    since: Option<OffsetDateTime>,
    /// What was changed before these times is known.
    deployments: Option<String>,
    requests: Option<String>,
    issues: Option<String>,
    /// Requests whose first commit was asked for, and is not reported.
    without_commits: BTreeSet<String>,
    #[serde(skip_serializing_if = "History::is_empty")]
    history: History,
    compared: Compared,
}

impl Kept for State {
    fn squashed(&mut self) -> (&mut Project, &mut BTreeSet<String>) {
        (&mut self.project, &mut self.without_commits)
    }

    fn history(&mut self) -> &mut History {
        &mut self.history
    }

    fn compared(&mut self) -> (&mut Project, &mut Compared) {
        (&mut self.project, &mut self.compared)
    }
}

/// Reads what is new, and answers all that is known.
pub async fn read(settings: &Settings, events: &Events) -> Result<Project, SourceError> {
    let mut reader = Reader::<State>::new(settings, API, HEADERS, events)?;
    reader.since();
    match settings.deployed {
        Deployed::Deployments => {
            reader.deployments().await?;
            reader.other_environments(&reader.path("environments"), &reader.state.project).await;
        }
        Deployed::Releases => reader.releases().await?,
    }
    reader.requests().await?;
    reader.issues().await?;
    reader.compare().await?;
    reader.first_commits('!', Reader::first_commit).await?;
    Ok(reader.state.project)
}

/// The team that owns all of a project.
async fn team(access: &Access, project: &str) -> Result<String, SourceError> {
    let rest = Rest::new(access, API, HEADERS)?;
    let id = project.replace('/', "%2F");
    // In GitLab's own order.
    let files = ["CODEOWNERS", "docs%2FCODEOWNERS", ".gitlab%2FCODEOWNERS"]
        .map(|file| rest.url(&format!("projects/{id}/repository/files/{file}"), &[("ref", "HEAD")]));
    codeowners::reported(&rest, project, files).await
}

#[derive(Deserialize)]
struct Deployment {
    id: u64,
    sha: String,
    #[serde(rename = "ref")]
    reference: String,
    status: String,
    environment: Environment,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    updated_at: OffsetDateTime,
    /// The job that did it, if one did.
    deployable: Option<Job>,
}

#[derive(Deserialize)]
struct Environment {
    name: String,
}

#[derive(Deserialize)]
struct Job {
    #[serde(default, with = "time::serde::rfc3339::option")]
    finished_at: Option<OffsetDateTime>,
}

#[derive(Deserialize)]
struct Release {
    tag_name: String,
    #[serde(with = "time::serde::rfc3339")]
    released_at: OffsetDateTime,
    #[serde(default)]
    upcoming_release: bool,
}

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    iid: Option<u64>,
    title: String,
    #[serde(default)]
    description: Option<String>,
    labels: Vec<String>,
    merge_commit_sha: Option<String>,
    squash_commit_sha: Option<String>,
    sha: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    updated_at: OffsetDateTime,
    #[serde(default, with = "time::serde::rfc3339::option")]
    merged_at: Option<OffsetDateTime>,
}

#[derive(Deserialize)]
struct Issue {
    iid: u64,
    labels: Vec<String>,
    #[serde(default)]
    issue_type: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    updated_at: OffsetDateTime,
    #[serde(default, with = "time::serde::rfc3339::option")]
    closed_at: Option<OffsetDateTime>,
}

#[derive(Deserialize)]
struct Comparison {
    commits: Vec<Commit>,
}

#[derive(Deserialize)]
struct Commit {
    id: String,
    message: String,
    #[serde(default, deserialize_with = "forge::lenient")]
    authored_date: Option<OffsetDateTime>,
    #[serde(default)]
    parent_ids: Vec<String>,
}

#[derive(Deserialize)]
struct Tag {
    name: String,
    /// Of a tag of something else there is none.
    commit: Option<Tagged>,
}

#[derive(Deserialize)]
struct Tagged {
    id: String,
}

impl From<Commit> for (String, MergedChange) {
    fn from(commit: Commit) -> Self {
        let is_change = commit.parent_ids.len() < 2;
        let at = commit.authored_date.filter(|_| is_change);
        let untimed = is_change && at.is_none();
        let change = MergedChange {
            parents: commit.parent_ids,
            untimed,
            ..MergedChange::reported(at, &commit.message)
        };
        (commit.id, change)
    }
}

impl Compares for Reader<'_, State> {
    fn commits_url(&self, head: &str) -> String {
        self.rest.url(&self.path("repository/commits"), &[("ref_name", head), PER_PAGE])
    }

    async fn commits(&self, url: &str) -> Result<Page<Vec<(String, MergedChange)>>, SourceError> {
        Ok(self.rest.get::<Vec<Commit>>(url).await?.map(Into::into))
    }

    fn tags_url(&self) -> String {
        self.rest.url(&self.path("repository/tags"), &[PER_PAGE])
    }

    async fn tags(&self, url: &str) -> Result<Page<Vec<(String, String)>>, SourceError> {
        let named = |tag: Tag| (tag.name, tag.commit.map(|commit| commit.id).unwrap_or_default());
        Ok(self.rest.get::<Vec<Tag>>(url).await?.map(named))
    }

    async fn between(&mut self, base: &str, head: &str) -> Result<Option<Between>, SourceError> {
        let url = self.rest.url(&self.path("repository/compare"), &[("from", base), ("to", head)]);
        let commits = match self.rest.get::<Comparison>(&url).await {
            Ok(page) => page.items.commits,
            Err(SourceError::Refused { status: 404, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        // It does not say how the two lie to each other; who builds on the other one has it all.
        let ahead = self.state.compared.commit(base).is_some_and(|base| {
            commits.iter().flat_map(|commit| &commit.parent_ids).any(|parent| parent == base)
        });
        if let Some(newest) = commits.last().filter(|_| !is_hash(head)) {
            self.state.compared.commits.insert(head.to_owned(), newest.id.clone());
        }
        let mut changes = Vec::new();
        for (id, change) in commits.into_iter().map(Into::into) {
            self.landed(id, change, &mut changes);
        }
        Ok(Some(Between { changes, ahead }))
    }

    async fn resolve(&mut self, revision: &str) -> Result<(), SourceError> {
        if self.state.compared.commit(revision).is_some() {
            return Ok(());
        }
        // A slash in a tag's name is none of the path.
        let path = self.path(&format!("repository/commits/{}", revision.replace('/', "%2F")));
        match self.rest.get::<Tagged>(&self.rest.url(&path, &[])).await {
            Ok(page) => {
                self.state.compared.commits.insert(revision.to_owned(), page.items.id);
                Ok(())
            }
            // Then each deployment is compared with that one.
            Err(SourceError::Refused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Reader<'_, State> {
    /// A path segment of its own, however many groups the project is in.
    fn path(&self, rest: &str) -> String {
        format!("projects/{}/{rest}", self.settings.project.replace('/', "%2F"))
    }

    /// The cursor of a list, or the beginning.
    fn after(&self, cursor: &Option<String>) -> String {
        cursor.clone().unwrap_or_else(|| state::text(self.settings.since))
    }

    /// Who asks for more than before has everything read again: what is known stays.
    fn since(&mut self) {
        if state::reaches_further(&mut self.state.since, self.settings.since) {
            (self.state.deployments, self.state.requests, self.state.issues) = (None, None, None);
        }
    }

    /// The first page of a list, by the time of the last change, after `after`.
    fn changed(&self, list: &str, which: (&str, &str), after: &str) -> String {
        let query = [BY_CHANGE[0], BY_CHANGE[1], which, ("updated_after", after), PER_PAGE];
        self.rest.url(&self.path(list), &query)
    }

    /// The page after one that ended with what was changed at `newest`. What is changed
    /// meanwhile moves to the end, and everything behind it a place forward, over the page's
    /// edge: so it is asked for by its time, unless all of the page had the same one.
    fn after_page(
        &self,
        list: &str,
        which: (&str, &str),
        after: &mut String,
        newest: &Option<String>,
        next: Option<String>,
    ) -> Option<String> {
        let next = next?;
        match newest {
            // Only ever later, whatever the forge makes of it.
            Some(newest) if newest > after => {
                after.clone_from(newest);
                Some(self.changed(list, which, newest))
            }
            _ => Some(next),
        }
    }

    async fn deployments(&mut self) -> Result<(), SourceError> {
        let mut after = self.after(&self.state.deployments);
        let environment = ("environment", self.settings.environment.as_str());
        let mut next = Some(self.changed("deployments", environment, &after));
        while let Some(url) = next {
            let page = self.rest.get::<Vec<Deployment>>(&url).await?;
            for deployment in page.items {
                self.state.deployments = Some(cursor(deployment.updated_at));
                let ok = match deployment.status.as_str() {
                    "success" => true,
                    "failed" => false,
                    _ => continue,
                };
                let at = deployment.deployable.and_then(|job| job.finished_at);
                let at = at.unwrap_or(deployment.created_at);
                self.state.project.add(Fact::Ran {
                    id: deployment.id.to_string(),
                    deployment: DeploymentRecord {
                        environment: deployment.environment.name,
                        name: deployment.reference,
                        revision: deployment.sha,
                        statuses: vec![Status { at, ok }],
                        ..DeploymentRecord::default()
                    },
                });
            }
            self.save()?;
            let newest = &self.state.deployments;
            next = self.after_page("deployments", environment, &mut after, newest, page.next);
        }
        Ok(())
    }

    /// Releases are few, and their list knows no time to begin with.
    async fn releases(&mut self) -> Result<(), SourceError> {
        let query = [("order_by", "released_at"), ("sort", "asc"), PER_PAGE];
        let mut next = Some(self.rest.url(&self.path("releases"), &query));
        while let Some(url) = next {
            let page = self.rest.get::<Vec<Release>>(&url).await?;
            for release in page.items {
                if release.upcoming_release || release.released_at < self.settings.since {
                    continue;
                }
                self.state.project.add(Fact::Ran {
                    id: release.tag_name.clone(),
                    deployment: DeploymentRecord {
                        environment: self.settings.environment.clone(),
                        name: release.tag_name.clone(),
                        revision: release.tag_name,
                        statuses: vec![Status { at: release.released_at, ok: true }],
                        ..DeploymentRecord::default()
                    },
                });
            }
            self.save()?;
            next = page.next;
        }
        Ok(())
    }

    async fn requests(&mut self) -> Result<(), SourceError> {
        let mut after = self.after(&self.state.requests);
        let merged = ("state", "merged");
        let mut next = Some(self.changed("merge_requests", merged, &after));
        while let Some(url) = next {
            let page = self.rest.get::<Vec<Request>>(&url).await?;
            for request in page.items {
                self.state.requests = Some(cursor(request.updated_at));
                // What is on the branch of it: a merge, a squashed commit, or the
                // last commit where the branch was moved forward.
                let squash = request.squash_commit_sha.clone();
                let commit = request.merge_commit_sha.or(squash).or(request.sha);
                let Some(commit) = commit else { continue };
                let text = request.description.as_deref();
                let change = landed(request.created_at, request.iid, &request.title, text);
                self.state.project.add(Fact::Labelled {
                    id: commit.clone(),
                    labels: request.labels,
                    reverts: change.reverts.clone(),
                    updated: Some(request.updated_at),
                });
                if self.settings.unit == Unit::Requests {
                    self.state.project.add(Fact::Landed { id: commit, change });
                } else if let Some(at) = request.merged_at {
                    let number = request.iid.map(|number| format!("!{number}"));
                    // Below a merge, a squashed commit has no other sign of it.
                    for id in request.squash_commit_sha.into_iter().chain([commit]).collect::<BTreeSet<_>>() {
                        let request = number.clone();
                        self.state.project.add(Fact::Merged { id, request, at, begun: None });
                    }
                }
            }
            self.save()?;
            let newest = &self.state.requests;
            next = self.after_page("merge_requests", merged, &mut after, newest, page.next);
        }
        Ok(())
    }

    async fn issues(&mut self) -> Result<(), SourceError> {
        let mut after = self.after(&self.state.issues);
        let all = ("scope", "all");
        let mut next = Some(self.changed("issues", all, &after));
        while let Some(url) = next {
            let page = self.rest.get::<Vec<Issue>>(&url).await?;
            for issue in page.items {
                self.state.issues = Some(cursor(issue.updated_at));
                let id = issue.iid.to_string();
                let incident = Incident {
                    opened: issue.created_at,
                    closed: issue.closed_at,
                    labels: labelled(issue.labels, issue.issue_type.as_deref()),
                    updated: issue.updated_at,
                    moved: None,
                };
                if incident.labels.is_empty() && !self.state.project.incidents.contains_key(&id) {
                    continue;
                }
                self.state.project.add(Fact::Reported { id, incident });
            }
            self.save()?;
            next = self.after_page("issues", all, &mut after, &self.state.issues, page.next);
        }
        Ok(())
    }

    /// When the first commit of a request was written; `None`: nobody tells.
    async fn first_commit(&self, request: &str) -> Result<Option<OffsetDateTime>, SourceError> {
        let path = self.path(&format!("merge_requests/{}/commits", &request[1..]));
        // The newest first: what was written first is on the last page.
        let mut next = Some(self.rest.url(&path, &[PER_PAGE]));
        let mut begun: Option<OffsetDateTime> = None;
        while let Some(url) = next {
            let page = match self.rest.get::<Vec<Commit>>(&url).await {
                Ok(page) => page,
                Err(SourceError::Refused { status: 404, .. }) => break,
                Err(error) => return Err(error),
            };
            begun = page.items.iter().filter_map(|commit| commit.authored_date).chain(begun).min();
            next = page.next;
        }
        Ok(begun)
    }
}

/// A merged request as one change, from when it was opened.
pub(super) fn landed(
    opened: OffsetDateTime,
    number: Option<u64>,
    title: &str,
    description: Option<&str>,
) -> MergedChange {
    let reported =
        MergedChange::reported(Some(opened), &format!("{title}\n\n{}", description.unwrap_or_default()));
    MergedChange { requests: number.map(|number| format!("!{number}")).into_iter().collect(), ..reported }
}

/// An issue of the type `incident` needs no label of that name.
pub(super) fn labelled(mut labels: Vec<String>, kind: Option<&str>) -> Vec<String> {
    if kind.is_some_and(|kind| kind.eq_ignore_ascii_case("incident")) {
        labels.push("incident".into());
    }
    labels
}

/// A second before: what changed in the same instant is read again.
fn cursor(updated: OffsetDateTime) -> String {
    state::text(updated - Duration::seconds(1))
}

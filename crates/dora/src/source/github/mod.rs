//! GitHub's REST API: deployments or releases, merged pull requests, issues, and
//! by comparing what runs, the commits that each deployment brought.
//!
//! What was read is kept in a file together with how far it went. A run that is
//! cut off (a rate limit, a killed process) is gone on with by the next one, and
//! a run after a complete one reads what is new.

mod answers;
mod graphql;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use self::answers::{Commit, Comparison, Deployment, DeploymentStatus, Release, Request, Tag};
pub(super) use self::answers::{Issue, Label};
use dorainfra_model::Events;

use super::compared::Compared;
use super::forge::{Between, Compares, Deployed, Forge, Kept, PER_PAGE, Reader, Settings, Unit};
use super::history::History;
use super::project::{DeploymentRecord, Fact, MergedChange, Project, Status};
use super::rest::{Access, Page, Rest};
use super::state::{self, Newest};
use super::{SourceError, codeowners};

pub struct Github;

#[async_trait(?Send)]
impl Forge for Github {
    fn name(&self) -> &'static str {
        "github"
    }

    fn address(&self) -> &'static str {
        "https://api.github.com"
    }

    fn tokens(&self) -> &'static [&'static str] {
        &["GITHUB_TOKEN", "GH_TOKEN"]
    }

    async fn read(&self, settings: &Settings, events: &Events) -> Result<Project, SourceError> {
        read(settings, events).await
    }

    async fn team(&self, access: &Access, project: &str) -> Result<String, SourceError> {
        team(access, project).await
    }
}

const HEADERS: &[(&str, &str)] =
    &[("accept", "application/vnd.github+json"), ("x-github-api-version", "2022-11-28")];
/// How long statuses of a deployment are looked at again.
const UNSETTLED: Duration = Duration::days(7);
/// How long one that has none yet is: it may wait for an approval for 30 days.
/// <https://docs.github.com/en/actions/how-tos/deploy/configure-and-manage-deployments/review-deployments>
const WAITING: Duration = Duration::days(35);

/// What is kept between two runs.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct State {
    project: Project,
    /// Since when everything was asked for.
    #[serde(with = "time::serde::rfc3339::option")]
    since: Option<OffsetDateTime>,
    deployments: Newest,
    /// Deployments that were looked at by a reading that is not at its end.
    looked: BTreeSet<String>,
    /// When those were made that neither ran nor failed yet.
    waiting: BTreeMap<String, String>,
    /// What GraphQL calls those.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    nodes: BTreeMap<String, String>,
    requests: Newest,
    /// Issues that were changed before this are known.
    issues: Option<String>,
    /// Requests whose first commit was asked for, and is not reported.
    without_commits: BTreeSet<String>,
    #[serde(skip_serializing_if = "History::is_empty")]
    history: History,
    compared: Compared,
    /// GraphQL did not answer: this run asks without it.
    #[serde(skip)]
    rest_only: bool,
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
    let mut reader = Reader::<State>::new(settings, "", HEADERS, events)?;
    reader.since();
    match settings.deployed {
        Deployed::Deployments => {
            let looked = reader.deployments().await?;
            reader.waiting(&looked).await?;
            reader.other_environments(&reader.path("environments"), &reader.state.project).await;
        }
        Deployed::Releases => reader.releases().await?,
    }
    reader.requests().await?;
    reader.issues().await?;
    reader.compare().await?;
    // Without a token an hour's requests would be used up.
    if settings.access.token.is_some() {
        reader.first_commits_at_once().await?;
        reader.first_commits('#', Reader::first_commit).await?;
    }
    Ok(reader.state.project)
}

/// The team that owns all of a project.
async fn team(access: &Access, project: &str) -> Result<String, SourceError> {
    let rest = Rest::new(access, "", HEADERS)?;
    // In GitHub's own order.
    let files = [".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS"];
    codeowners::reported(
        &rest,
        project,
        files.map(|file| rest.url(&format!("repos/{project}/contents/{file}"), &[])),
    )
    .await
}

/// A merged request as one change, from when it was opened.
pub(super) fn landed(
    opened: OffsetDateTime,
    number: Option<u64>,
    title: &str,
    body: Option<&str>,
) -> MergedChange {
    let reported = MergedChange::reported(Some(opened), &format!("{title}\n\n{}", body.unwrap_or_default()));
    MergedChange { requests: number.map(|number| format!("#{number}")).into_iter().collect(), ..reported }
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

impl Compares for Reader<'_, State> {
    fn commits_url(&self, head: &str) -> String {
        self.rest.url(&self.path("commits"), &[("sha", head), PER_PAGE])
    }

    async fn commits(&self, url: &str) -> Result<Page<Vec<(String, MergedChange)>>, SourceError> {
        Ok(self.rest.get::<Vec<Commit>>(url).await?.map(Into::into))
    }

    fn tags_url(&self) -> String {
        self.rest.url(&self.path("tags"), &[PER_PAGE])
    }

    async fn tags(&self, url: &str) -> Result<Page<Vec<(String, String)>>, SourceError> {
        Ok(self.rest.get::<Vec<Tag>>(url).await?.map(|tag| (tag.name, tag.commit.sha)))
    }

    async fn between(&mut self, base: &str, head: &str) -> Result<Option<Between>, SourceError> {
        let (mut changes, mut ahead) = (Vec::new(), false);
        let path = self.path(&format!("compare/{base}...{head}"));
        let mut next = Some(self.rest.url(&path, &[PER_PAGE]));
        while let Some(url) = next {
            let page = match self.rest.get::<Comparison>(&url).await {
                Ok(page) => page,
                Err(SourceError::Refused { status: 404, .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            ahead |= matches!(page.items.status.as_deref(), Some("ahead" | "identical"));
            for (id, change) in page.items.commits.into_iter().map(Into::into) {
                self.landed(id, change, &mut changes);
            }
            next = page.next;
        }
        Ok(Some(Between { changes, ahead }))
    }

    /// It says itself how the two lie to each other.
    async fn resolve(&mut self, _: &str) -> Result<(), SourceError> {
        Ok(())
    }
}

impl Reader<'_, State> {
    fn path(&self, rest: &str) -> String {
        format!("repos/{}/{rest}", self.settings.project)
    }

    /// Who asks for more than before has everything read again: what is known stays.
    fn since(&mut self) {
        if state::reaches_further(&mut self.state.since, self.settings.since) {
            self.state.deployments = Newest::default();
            self.state.requests = Newest::default();
            self.state.issues = None;
        }
    }

    /// Answers which ones were looked at.
    async fn deployments(&mut self) -> Result<BTreeSet<String>, SourceError> {
        let environment = ("environment", self.settings.environment.as_str());
        let first = self.rest.url(&self.path("deployments"), &[environment, PER_PAGE]);
        let (since, mut walk) = (self.settings.since, self.state.deployments.walk(first));
        while let Some(url) = walk.url() {
            let page = self.rest.get::<Vec<Deployment>>(&url).await?;
            let new = page.items.into_iter().filter(|deployment| {
                walk.passes(deployment.created_at, since, UNSETTLED)
                    && !self.state.looked.contains(&deployment.id.to_string())
            });
            let new: Vec<Deployment> = new.collect();
            if let Err(error) = self.look_at(&new).await {
                self.save()?;
                return Err(error);
            }
            walk.turn(page.next);
            self.state.deployments = walk.newest();
            self.save()?;
        }
        let looked = std::mem::take(&mut self.state.looked);
        self.save()?;
        Ok(looked)
    }

    async fn look_at(&mut self, deployments: &[Deployment]) -> Result<(), SourceError> {
        let nodes: Vec<&str> = deployments.iter().map(|one| one.node_id.as_str()).collect();
        let mut reported = self.statuses_at_once(&nodes).await?.into_iter();
        for deployment in deployments {
            let id = deployment.id.to_string();
            let statuses = match reported.next().flatten() {
                Some(statuses) => statuses,
                // One request each: with few of them left, each run gets further.
                None => self.statuses(&id).await?,
            };
            if statuses.is_empty() {
                self.state.waiting.insert(id.clone(), state::text(deployment.created_at));
                self.state.nodes.insert(id.clone(), deployment.node_id.clone());
            } else {
                self.state.waiting.remove(&id);
            }
            self.state.looked.insert(id.clone());
            self.state.project.add(Fact::Ran {
                id,
                deployment: DeploymentRecord {
                    environment: deployment.environment.clone(),
                    name: deployment.reference.clone(),
                    revision: deployment.sha.clone(),
                    statuses,
                    ..DeploymentRecord::default()
                },
            });
        }
        Ok(())
    }

    /// Looks again at what neither ran nor failed when it was read, and is not among the
    /// newest any more, which were looked at already.
    async fn waiting(&mut self, looked: &BTreeSet<String>) -> Result<(), SourceError> {
        let oldest = state::text(OffsetDateTime::now_utc() - WAITING);
        self.state.waiting.retain(|_, made| *made >= oldest);
        let waiting = &self.state.waiting;
        self.state.nodes.retain(|id, _| waiting.contains_key(id));
        let known: Vec<String> = waiting.keys().filter(|id| !looked.contains(*id)).cloned().collect();
        for ids in known.chunks(graphql::AT_ONCE) {
            let nodes = ids.iter().map(|id| self.state.nodes.get(id).map_or("", String::as_str));
            let nodes: Vec<String> = nodes.map(str::to_owned).collect();
            let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
            let mut reported = self.statuses_at_once(&nodes).await?.into_iter();
            for id in ids {
                let statuses = match reported.next().flatten() {
                    Some(statuses) => statuses,
                    None => self.statuses(id).await?,
                };
                let Some(ran) = self.state.project.deployments.get(id).filter(|_| !statuses.is_empty())
                else {
                    continue;
                };
                let deployment = DeploymentRecord { statuses, ..ran.clone() };
                self.state.waiting.remove(id);
                self.state.project.add(Fact::Ran { id: id.clone(), deployment });
            }
        }
        self.save()
    }

    /// What was said of a deployment: whether it ran, and when.
    async fn statuses(&self, id: &str) -> Result<Vec<Status>, SourceError> {
        let path = self.path(&format!("deployments/{id}/statuses"));
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
        Ok(statuses)
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
                    deployment: DeploymentRecord {
                        environment: self.settings.environment.clone(),
                        name: release.tag_name.clone(),
                        revision: release.tag_name,
                        statuses: vec![Status { at, ok: true }],
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
                let change =
                    landed(request.created_at, request.number, &request.title, request.body.as_deref());
                let reverts = change.reverts.clone();
                self.state.project.add(Fact::Labelled { id: commit.clone(), labels, reverts, updated });
                if self.settings.unit == Unit::Requests {
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
        let mut since = match &self.state.issues {
            Some(since) => since.clone(),
            None => state::text(self.settings.since),
        };
        let from = |reader: &Self, since: &str| {
            let query =
                [("state", "all"), ("sort", "updated"), ("direction", "asc"), ("since", since), PER_PAGE];
            reader.rest.url(&reader.path("issues"), &query)
        };
        let mut next = Some(from(self, &since));
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
            // What is changed meanwhile moves to the end, and everything behind it a place
            // forward, over the page's edge: so the next page is asked for by its time.
            next = page.next.map(|next| match &self.state.issues {
                // Only ever later, whatever the forge makes of it.
                Some(newest) if *newest > since => {
                    since.clone_from(newest);
                    from(self, newest)
                }
                _ => next,
            });
        }
        Ok(())
    }

    fn knows(&self, issue: u64) -> bool {
        self.state.project.incidents.contains_key(&issue.to_string())
    }

    /// When the first commit of a request was written; `None`: nobody tells.
    async fn first_commit(&self, request: &str) -> Result<Option<OffsetDateTime>, SourceError> {
        let path = self.path(&format!("pulls/{}/commits", &request[1..]));
        match self.rest.get::<Vec<Commit>>(&self.rest.url(&path, &[PER_PAGE])).await {
            Ok(page) => Ok(page.items.iter().filter_map(|commit| commit.commit.written()).min()),
            Err(SourceError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

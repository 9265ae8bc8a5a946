//! GitLab's payloads: deployments, pipelines, pushes, merge requests, releases
//! and issues. All others hold nothing that counts.

use std::collections::BTreeSet;

use serde::Deserialize;
use time::OffsetDateTime;

use super::super::forge::{Deployed, Unit};
use super::super::gitlab::{Gitlab, labelled, landed};
use super::super::project::{DeploymentRecord, Fact, Incident, Status};
use super::Reading;
use super::forges::{Hooks, Shows};
use super::payload::{Parsed, Pushed, gitlab_time};

#[derive(Deserialize)]
struct About {
    project: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    path_with_namespace: String,
    #[serde(default)]
    default_branch: Option<String>,
}

#[derive(Deserialize)]
struct Deployment {
    status: String,
    status_changed_at: String,
    deployment_id: u64,
    environment: String,
    #[serde(rename = "ref")]
    reference: String,
    short_sha: String,
    /// Ends with the whole hash.
    #[serde(default)]
    commit_url: String,
}

#[derive(Deserialize)]
struct Pipeline {
    object_attributes: PipelineState,
}

#[derive(Deserialize)]
struct PipelineState {
    id: u64,
    #[serde(default)]
    name: Option<String>,
    #[serde(rename = "ref")]
    reference: String,
    sha: String,
    status: String,
    #[serde(default)]
    finished_at: Option<String>,
}

#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    reference: String,
    commits: Vec<Pushed>,
}

#[derive(Deserialize)]
struct MergeRequest {
    object_attributes: Merge,
    #[serde(default)]
    labels: Vec<Label>,
}

#[derive(Deserialize)]
struct Merge {
    #[serde(default)]
    iid: Option<u64>,
    title: String,
    #[serde(default)]
    description: Option<String>,
    state: String,
    created_at: String,
    #[serde(default)]
    updated_at: Option<String>,
    #[serde(default)]
    merge_commit_sha: Option<String>,
    #[serde(default)]
    squash_commit_sha: Option<String>,
    #[serde(default)]
    last_commit: Option<Commit>,
    #[serde(default)]
    action: Option<String>,
}

#[derive(Deserialize)]
struct Commit {
    id: String,
}

#[derive(Deserialize)]
struct IssueEvent {
    object_attributes: Issue,
    #[serde(default)]
    labels: Vec<Label>,
}

#[derive(Deserialize)]
struct Issue {
    iid: u64,
    created_at: String,
    updated_at: String,
    #[serde(default)]
    closed_at: Option<String>,
    /// `Issue`, `Incident`
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Label {
    title: String,
}

#[derive(Deserialize)]
struct Release {
    action: String,
    tag: String,
    released_at: String,
}

/// A time that is not written as any of GitLab's is an error of the payload.
fn time(text: &str) -> Result<OffsetDateTime, serde_json::Error> {
    gitlab_time(text).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no time")))
}

fn names(labels: Vec<Label>) -> Vec<String> {
    labels.into_iter().map(|label| label.title).collect()
}

/// `read` says how a project is read.
pub(super) const HOOKS: Hooks = Hooks {
    forge: &Gitlab,
    event: "x-gitlab-event",
    delivery: &["idempotency-key", "x-gitlab-event-uuid"],
    shows: Shows::Secret("x-gitlab-token"),
    facts: |event, body, read| facts(event, body, read),
};

pub(super) fn facts(event: &str, body: &[u8], read: impl Fn(&str) -> Reading) -> Parsed {
    let Some(about) = serde_json::from_slice::<About>(body)?.project else {
        return Ok((String::new(), Vec::new()));
    };
    let reading = read(&about.path_with_namespace);
    let facts = match event {
        "Deployment Hook" if reading.deployed == Deployed::Deployments => {
            let it: Deployment = serde_json::from_slice(body)?;
            let whole = it.commit_url.rsplit('/').next().filter(|hash| hash.starts_with(&it.short_sha));
            let revision = whole.unwrap_or(&it.short_sha).to_owned();
            let ran = DeploymentRecord {
                environment: it.environment,
                name: it.reference,
                revision,
                ..DeploymentRecord::default()
            };
            outcome(&it.status, time(&it.status_changed_at)?, it.deployment_id.to_string(), ran)
        }
        "Pipeline Hook" => {
            let it = serde_json::from_slice::<Pipeline>(body)?.object_attributes;
            let deploys = reading.workflows.matches(it.name.as_deref().unwrap_or(&it.reference));
            match it.finished_at.filter(|_| deploys) {
                Some(finished) => {
                    let environment = reading.environment;
                    let ran = DeploymentRecord {
                        environment,
                        name: it.reference,
                        revision: it.sha,
                        ..DeploymentRecord::default()
                    };
                    outcome(&it.status, time(&finished)?, format!("pipeline-{}", it.id), ran)
                }
                None => Vec::new(),
            }
        }
        "Push Hook" => {
            let push: Push = serde_json::from_slice(body)?;
            let here = push.reference.strip_prefix("refs/heads/") == about.default_branch.as_deref();
            let commits = push.commits.into_iter().filter(|_| here);
            commits.map(|commit| commit.fact(reading.unit == Unit::Commits)).collect()
        }
        "Merge Request Hook" => {
            let MergeRequest { object_attributes: it, labels } = serde_json::from_slice(body)?;
            // What is on the branch of it: a merge, a squashed commit, or the last commit where
            // the branch was moved forward.
            let last = it.last_commit.map(|commit| commit.id);
            let squashed = it.squash_commit_sha.clone();
            match it.merge_commit_sha.or(it.squash_commit_sha).or(last) {
                Some(commit) if it.state == "merged" => {
                    let updated = it.updated_at.as_deref().map(time).transpose()?;
                    let (opened, text) = (time(&it.created_at)?, it.description.as_deref());
                    let change = landed(opened, it.iid, &it.title, text);
                    let (labels, reverts) = (names(labels), change.reverts.clone());
                    let mut facts = vec![Fact::Labelled { id: commit.clone(), labels, reverts, updated }];
                    if reading.unit == Unit::Requests {
                        facts.push(Fact::Landed { id: commit, change });
                    } else if let Some(at) = updated.filter(|_| it.action.as_deref() == Some("merge")) {
                        let number = it.iid.map(|number| format!("!{number}"));
                        for id in squashed.into_iter().chain([commit]).collect::<BTreeSet<_>>() {
                            facts.push(Fact::Merged { id, request: number.clone(), at, begun: None });
                        }
                    }
                    facts
                }
                _ => Vec::new(),
            }
        }
        "Release Hook" if reading.deployed == Deployed::Releases => {
            let it: Release = serde_json::from_slice(body)?;
            let ran = DeploymentRecord {
                environment: reading.environment,
                name: it.tag.clone(),
                revision: it.tag.clone(),
                ..DeploymentRecord::default()
            };
            let status = if it.action == "create" { "success" } else { "" };
            outcome(status, time(&it.released_at)?, it.tag, ran)
        }
        "Issue Hook" | "Confidential Issue Hook" => {
            let IssueEvent { object_attributes: it, labels } = serde_json::from_slice(body)?;
            let incident = Incident {
                opened: time(&it.created_at)?,
                closed: it.closed_at.as_deref().map(time).transpose()?,
                labels: labelled(names(labels), it.kind.as_deref()),
                updated: time(&it.updated_at)?,
                moved: None,
            };
            vec![Fact::Reported { id: it.iid.to_string(), incident }]
        }
        _ => Vec::new(),
    };
    Ok((about.path_with_namespace, facts))
}

/// A deployment that came to an end.
fn outcome(status: &str, at: OffsetDateTime, id: String, ran: DeploymentRecord) -> Vec<Fact> {
    let ok = match status {
        "success" => true,
        "failed" => false,
        _ => return Vec::new(),
    };
    vec![Fact::Ran { id, deployment: DeploymentRecord { statuses: vec![Status { at, ok }], ..ran } }]
}

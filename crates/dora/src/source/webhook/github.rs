//! GitHub's payloads: deployment_status, workflow_run, push, pull_request,
//! release, issues. All others hold nothing that counts.

use serde::Deserialize;
use time::OffsetDateTime;

use super::super::forge::{Deployed, Unit};
use super::super::github::{Github, Issue, Label, landed, names, runs};
use super::super::project::{DeploymentRecord, Fact, Incident, Status};
use super::Reading;
use super::forges::{Hooks, Shows};
use super::payload::{Parsed, Pushed};

#[derive(Deserialize)]
struct About {
    repository: Option<Repository>,
}

#[derive(Deserialize)]
struct Repository {
    full_name: String,
    #[serde(default)]
    default_branch: String,
}

#[derive(Deserialize)]
struct DeploymentStatus {
    deployment: Deployment,
    deployment_status: State,
}

#[derive(Deserialize)]
struct Deployment {
    id: u64,
    sha: String,
    #[serde(rename = "ref")]
    reference: String,
    environment: String,
}

#[derive(Deserialize)]
struct State {
    state: String,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

#[derive(Deserialize)]
struct WorkflowRun {
    action: String,
    workflow_run: Run,
}

#[derive(Deserialize)]
struct Run {
    id: u64,
    name: Option<String>,
    head_branch: Option<String>,
    head_sha: String,
    conclusion: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    updated_at: OffsetDateTime,
}

#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    reference: String,
    commits: Vec<Pushed>,
}

#[derive(Deserialize)]
struct PullRequest {
    action: String,
    pull_request: Request,
}

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    number: Option<u64>,
    title: String,
    body: Option<String>,
    labels: Vec<Label>,
    merged: bool,
    merge_commit_sha: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(default, with = "time::serde::rfc3339::option")]
    updated_at: Option<OffsetDateTime>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    merged_at: Option<OffsetDateTime>,
}

#[derive(Deserialize)]
struct Issues {
    action: String,
    issue: Issue,
}

#[derive(Deserialize)]
struct ReleaseEvent {
    action: String,
    release: Release,
}

#[derive(Deserialize)]
struct Release {
    tag_name: String,
    prerelease: bool,
    #[serde(default, with = "time::serde::rfc3339::option")]
    published_at: Option<OffsetDateTime>,
}

/// `read` says how a project is read.
pub(super) const HOOKS: Hooks = Hooks {
    forge: &Github,
    event: "x-github-event",
    delivery: &["x-github-delivery"],
    shows: Shows::Signature("x-hub-signature-256"),
    facts: |event, body, read| facts(event, body, read),
};

fn facts(event: &str, body: &[u8], read: impl Fn(&str) -> Reading) -> Parsed {
    let Some(repository) = serde_json::from_slice::<About>(body)?.repository else {
        return Ok((String::new(), Vec::new()));
    };
    let reading = read(&repository.full_name);
    let facts = match event {
        "deployment_status" if reading.deployed == Deployed::Deployments => {
            let DeploymentStatus { deployment, deployment_status } = serde_json::from_slice(body)?;
            let status = runs(&deployment_status.state);
            let status = status.map(|ok| Status { at: deployment_status.created_at, ok });
            status
                .map(|status| {
                    ran(
                        deployment.id.to_string(),
                        DeploymentRecord {
                            environment: deployment.environment,
                            name: deployment.reference,
                            revision: deployment.sha,
                            statuses: vec![status],
                            ..DeploymentRecord::default()
                        },
                    )
                })
                .into_iter()
                .collect()
        }
        "workflow_run" => {
            let WorkflowRun { action, workflow_run: run } = serde_json::from_slice(body)?;
            let deploys = reading.workflows.matches(run.name.as_deref().unwrap_or_default());
            let ok = match run.conclusion.as_deref() {
                Some("success") => Some(true),
                Some("failure" | "timed_out") => Some(false),
                _ => None,
            };
            match ok.filter(|_| deploys && action == "completed") {
                Some(ok) => vec![ran(
                    format!("run-{}", run.id),
                    DeploymentRecord {
                        environment: reading.environment,
                        name: run.head_branch.unwrap_or_default(),
                        revision: run.head_sha,
                        statuses: vec![Status { at: run.updated_at, ok }],
                        ..DeploymentRecord::default()
                    },
                )],
                None => Vec::new(),
            }
        }
        "push" => {
            let push: Push = serde_json::from_slice(body)?;
            let here = push.reference.strip_prefix("refs/heads/") == Some(&repository.default_branch);
            let commits = push.commits.into_iter().filter(|_| here);
            commits.map(|commit| commit.fact(reading.unit == Unit::Commits)).collect()
        }
        "pull_request" => {
            let PullRequest { action, pull_request: request } = serde_json::from_slice(body)?;
            match request.merge_commit_sha {
                Some(commit) if action == "closed" && request.merged => {
                    let (opened, body) = (request.created_at, request.body.as_deref());
                    let change = landed(opened, request.number, &request.title, body);
                    let mut facts = vec![Fact::Labelled {
                        id: commit.clone(),
                        labels: names(request.labels),
                        reverts: change.reverts.clone(),
                        updated: request.updated_at,
                    }];
                    if reading.unit == Unit::Requests {
                        facts.push(Fact::Landed { id: commit, change });
                    } else if let Some(at) = request.merged_at {
                        let request = request.number.map(|number| format!("#{number}"));
                        facts.push(Fact::Merged { id: commit, request, at, begun: None });
                    }
                    facts
                }
                _ => Vec::new(),
            }
        }
        "release" if reading.deployed == Deployed::Releases => {
            let ReleaseEvent { action, release } = serde_json::from_slice(body)?;
            match release.published_at.filter(|_| action == "published" && !release.prerelease) {
                Some(at) => vec![ran(
                    release.tag_name.clone(),
                    DeploymentRecord {
                        environment: reading.environment,
                        name: release.tag_name.clone(),
                        revision: release.tag_name,
                        statuses: vec![Status { at, ok: true }],
                        ..DeploymentRecord::default()
                    },
                )],
                None => Vec::new(),
            }
        }
        "issues" => {
            let Issues { action, issue } = serde_json::from_slice(body)?;
            let id = issue.number.to_string();
            let incident = issue.incident().map(|incident| match action.as_str() {
                // It is nothing of this project any more, whatever it was called.
                "deleted" | "transferred" => Incident { labels: Vec::new(), ..incident },
                _ => incident,
            });
            incident.into_iter().map(|incident| Fact::Reported { id: id.clone(), incident }).collect()
        }
        _ => Vec::new(),
    };
    Ok((repository.full_name, facts))
}

fn ran(id: String, deployment: DeploymentRecord) -> Fact {
    Fact::Ran { id, deployment }
}

#[cfg(test)]
mod tests {
    use super::super::super::forges::Known;
    use super::super::super::gitlab::Gitlab;
    use super::super::{Sender, Subscribed};
    use super::*;
    use serde_json::json;

    #[test]
    fn an_issue_that_is_gone_is_no_incident_and_one_without_labels_tells_nothing() {
        let reported = |action: &str, labels: Option<&str>| {
            let mut issue = json!({"number": 7, "created_at": "2026-03-02T08:00:00Z",
                "updated_at": "2026-03-02T09:00:00Z", "closed_at": null});
            if let Some(label) = labels {
                issue["labels"] = json!([{"name": label}]);
            }
            let body = json!({"action": action, "issue": issue, "repository": {"full_name": "example/shop"}});
            let reading = |project: &str| Subscribed::unknown(Sender::Forge(Known(&Github)), project).reading;
            let facts = facts("issues", body.to_string().as_bytes(), reading).unwrap().1;
            facts
                .into_iter()
                .map(|fact| match fact {
                    Fact::Reported { incident, .. } => incident.labels,
                    _ => unreachable!("an issue is reported"),
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(reported("labeled", Some("incident")), [["incident"]]);
        assert_eq!(reported("deleted", Some("incident")), [[""; 0]]);
        assert_eq!(reported("transferred", Some("incident")), [[""; 0]]);
        assert_eq!(reported("pinned", None), [[""; 0]; 0]);
    }

    #[test]
    fn fuzzed_bodies_of_both_forges_are_told_or_read() {
        dorainfra_testutils::fuzzing::five_seconds("webhook-bodies", |input| {
            let github = |project: &str| Subscribed::unknown(Sender::Forge(Known(&Github)), project).reading;
            let gitlab = |project: &str| Subscribed::unknown(Sender::Forge(Known(&Gitlab)), project).reading;
            for event in ["deployment_status", "workflow_run", "push", "pull_request", "release", "issues"] {
                let _ = facts(event, input, github).map(|(_, facts)| format!("{facts:?}"));
            }
            for event in
                ["Deployment Hook", "Pipeline Hook", "Push Hook", "Merge Request Hook", "Release Hook"]
            {
                let _ =
                    super::super::gitlab::facts(event, input, gitlab).map(|(_, facts)| format!("{facts:?}"));
            }
        });
    }
}

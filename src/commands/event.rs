//! `event`: one event, from the last line of a pipeline, into a file of events or to a receiver.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use dorainfra_config as config;
use dorainfra_deploy::workflow::event_sources::{self, Ask, Files};
use dorainfra_deploy::workflow::http;
use dorainfra_dora::events::PRODUCTION;
use dorainfra_dora::source::{SourceError, webhook};
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::arguments::time;
use super::context::Context;
use super::environment::Environment;
use super::{CommandError, CommandResult, Exit, arguments};
use crate::ui::Recorded;

/// Record one event: the last line of a pipeline
///
/// It is written into a file of events, as a receiver of webhooks would, or sent to one that
/// runs. The same id again is no second event. Where CI's variables say what is not given, they
/// are taken: docs/events.md names them.
#[derive(Debug, Args)]
pub struct EventCommand {
    #[command(subcommand)]
    event: EventKind,
    /// File of events, JSON lines [default: the deployment's, below .dorainfra/]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "to")]
    events: Option<PathBuf>,
    /// Send it to the receiver at this address (`collect --listen`); the secret is read from
    /// DORAINFRA_WEBHOOK_SECRET
    #[arg(long, global = true, value_name = "URL")]
    to: Option<String>,
    /// File with the receiver's secret
    #[arg(long, global = true, value_name = "FILE", requires = "to")]
    secret_file: Option<PathBuf>,
    /// Whose it is [default: the group of CI's project]
    #[arg(long, global = true)]
    team: Option<String>,
    /// What it is about [default: the name of CI's project]
    #[arg(long, global = true)]
    service: Option<String>,
    /// Where it happened [default: CI's environment, or production]
    #[arg(long, global = true)]
    environment: Option<String>,
    /// When it happened, as RFC 3339 or seconds since 1970 [default: now]
    #[arg(long, global = true, value_name = "TIME", value_parser = time)]
    at: Option<OffsetDateTime>,
}

#[derive(Debug, Subcommand)]
enum EventKind {
    /// Something runs in an environment now
    Deploy {
        /// Tells this deployment from all others of the service in this environment
        /// [default: of CI's run, the service and the environment]
        #[arg(long)]
        id: Option<String>,
        /// The commit that runs [default: CI's]
        #[arg(long, value_name = "COMMIT")]
        revision: Option<String>,
        /// What it is called: a tag, a branch
        #[arg(long = "name", value_name = "NAME")]
        called: Option<String>,
        /// It mends what users suffered from: unplanned work
        #[arg(long)]
        rework: bool,
        /// A change that it brings for the first time, and when that was written (repeatable);
        /// `git log --format='--change %H=%ct' OLD..NEW` lists them
        #[arg(long, value_name = "COMMIT=TIME", value_parser = change_of)]
        change: Vec<(String, OffsetDateTime)>,
    },
    /// Users suffer from something
    Incident {
        /// Tells this incident from all others of the service
        #[arg(long)]
        id: String,
        /// The id of the deployment that caused it [default: the newest of the last 3 days]
        #[arg(long, value_name = "ID")]
        deployment: Option<String>,
    },
    /// An incident is over
    Recover {
        /// The id of the incident
        #[arg(long)]
        id: String,
    },
}

fn change_of(text: &str) -> Result<(String, OffsetDateTime), String> {
    let (id, at) = text.rsplit_once('=').ok_or("give a commit and a time: abc123=2026-03-02T15:30:00Z")?;
    if id.trim().is_empty() {
        return Err("the commit is missing before `=`".into());
    }
    Ok((id.to_owned(), time(at)?))
}

/// The variables of CI systems, in the order in which they are looked for.
const PROJECTS: [&str; 3] = ["GITHUB_REPOSITORY", "CI_PROJECT_PATH", "BITBUCKET_REPO_FULL_NAME"];
const COMMITS: [&str; 5] =
    ["GITHUB_SHA", "CI_COMMIT_SHA", "BITBUCKET_COMMIT", "BUILD_SOURCEVERSION", "GIT_COMMIT"];
/// One after the other, of the first CI that has them all.
const RUNS: [&[&str]; 8] = [
    &["GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT"],
    &["CI_JOB_ID"],
    &["BITBUCKET_BUILD_NUMBER", "BITBUCKET_STEP_RUN_NUMBER"],
    &["BITBUCKET_BUILD_NUMBER"],
    // A build may be released, and a stage of it run, several times.
    &["RELEASE_DEPLOYMENTID"],
    &["BUILD_BUILDID", "SYSTEM_STAGEATTEMPT"],
    &["BUILD_BUILDID"],
    &["BUILD_TAG"],
];
/// By name and, where anybody may have a variable of that name, one that only its CI has beside it.
const ENVIRONMENTS: [(&str, Option<&str>); 4] = [
    ("CI_ENVIRONMENT_NAME", None),
    ("BITBUCKET_DEPLOYMENT_ENVIRONMENT", None),
    ("RELEASE_ENVIRONMENTNAME", None),
    ("ENVIRONMENT_NAME", Some("TF_BUILD")),
];

/// By how much clocks may differ.
const AHEAD: time::Duration = time::Duration::minutes(5);

/// What is recorded.
struct NewEvent {
    kind: &'static str,
    id: String,
    team: String,
    service: String,
    environment: String,
    at: OffsetDateTime,
    /// The CloudEvent.
    event: Value,
}

/// What became of it.
struct Outcome {
    new: bool,
    notes: Vec<String>,
}

impl EventCommand {
    pub async fn run(self, context: &Context) -> CommandResult {
        let reported = self.reported(&context.environment)?;
        let at = reported.at.format(&Rfc3339);
        let at = at.map_err(|error| CommandError::usage(format!("`--at` can't be written: {error}")))?;
        let (Outcome { new, notes }, recorded_in) = match &self.to {
            Some(url) => (self.send(context, url, &reported).await?, url.clone()),
            None => self.write(context, &reported).await?,
        };
        let NewEvent { kind, id, team, service, environment, .. } = reported;
        let recorded = Recorded { kind, id, team, service, environment, at, new, recorded_in, notes };
        context.printer.result(&recorded);
        Ok(Exit::Done)
    }

    fn reported(&self, environment: &Environment) -> CommandResult<NewEvent> {
        let first = |names: &[&str]| names.iter().find_map(|name| environment.get(name)).map(str::to_owned);
        let project = first(&PROJECTS);
        let project = project.as_deref().and_then(|project| project.rsplit_once('/'));
        let needed = |name: &str, given: &Option<String>, otherwise: Option<&str>| {
            let text = given.as_deref().or(otherwise).ok_or_else(|| {
                CommandError::usage(format!("`--{name}` is missing, and no variable of a CI provides it"))
                    .hint(format!("give `--{name}`; docs/events.md names the variables that are looked at"))
            })?;
            config::check_text(name, text)
                .map_err(|why| CommandError::usage(format!("{name} `{text}` is not valid: {why}")))?;
            Ok::<_, CommandError>(text.to_owned())
        };
        let team = needed("team", &self.team, project.map(|(group, _)| group))?;
        let service = needed("service", &self.service, project.map(|(_, name)| name))?;
        let is_there = |beside: &Option<&str>| beside.is_none_or(|name| environment.get(name).is_some());
        let usual = ENVIRONMENTS.iter().filter(|(_, beside)| is_there(beside));
        let usual = usual.filter_map(|(name, _)| environment.get(name)).next().unwrap_or(PRODUCTION);
        let place = needed("environment", &self.environment, Some(usual))?;
        let now = OffsetDateTime::now_utc();
        let at = self.at.unwrap_or(now);
        if at > now + AHEAD {
            return Err(CommandError::usage(format!(
                "{} has not been yet",
                at.format(&Rfc3339).unwrap_or_default()
            ))
            .hint("give with `--at` when it happened; compare this machine's clock, if it did"));
        }
        let at = at.replace_nanosecond(0).unwrap_or(at);
        let mut own = json!({"team": team, "service": service});
        let mut content = json!({"environment": {"id": place}});
        let (kind, name, id, key, subject) = match &self.event {
            EventKind::Deploy { id, revision, called, rework, change } => {
                let run = RUNS.iter().find_map(|names| {
                    let parts = names.iter().map(|name| environment.get(name));
                    let run = parts.collect::<Option<Vec<_>>>()?.join("-");
                    // One run may deploy several services, each to several environments.
                    Some(format!("{run}/{service}/{place}"))
                });
                let id = needed("id", id, run.as_deref())?;
                let mut written = BTreeMap::new();
                for (id, at) in change {
                    let first = written.insert(id.trim(), at);
                    if first.is_some_and(|first| first != at) {
                        return Err(CommandError::usage(format!("`--change {id}` is there with two times"))
                            .hint("give each commit once, with the time at which it was written"));
                    }
                }
                own["revision"] = json!(revision.clone().or_else(|| first(&COMMITS)));
                own["name"] = json!(called);
                own["rework"] = json!(rework);
                if !change.is_empty() {
                    let changes = change
                        .iter()
                        .map(|(id, at)| json!({"id": id, "at": at.format(&Rfc3339).unwrap_or_default()}));
                    own["changes"] = changes.collect();
                }
                ("deployment", "service.deployed", id.clone(), id, service.clone())
            }
            EventKind::Incident { id, deployment } => {
                content["service"] = json!({"id": service});
                own["deployment"] = json!(deployment);
                ("incident", "incident.reported", id.clone(), format!("{id}/reported"), id.clone())
            }
            EventKind::Recover { id } => {
                content["service"] = json!({"id": service});
                ("recovery", "incident.resolved", id.clone(), format!("{id}/resolved"), id.clone())
            }
        };
        let mut source = format!("{}{team}/{service}", webhook::OF_EVENT);
        // What runs in two environments are two deployments, whatever somebody calls them.
        if let EventKind::Deploy { .. } = self.event {
            source = format!("{source}/{place}");
        }
        let type_ = format!("dev.cdevents.{name}.0.2.0");
        let timestamp = at.format(&Rfc3339).unwrap_or_default();
        let event = json!({
            "specversion": "1.0", "id": key, "source": source, "type": type_, "time": timestamp,
            "subject": subject, "datacontenttype": "application/json",
            "data": {
                "context": {"version": "0.4.1", "id": key, "source": source, "type": type_, "timestamp": timestamp},
                "subject": {"id": subject, "source": source, "content": content},
                "customData": {"dorainfra": own},
                "customDataContentType": "application/json",
            },
        });
        Ok(NewEvent { kind, id, team, service, environment: place, at, event })
    }

    /// What became of it, and the file.
    async fn write(&self, context: &Context, reported: &NewEvent) -> CommandResult<(Outcome, String)> {
        let configured = context.project().await?.config;
        let file = match &self.events {
            Some(file) => context.environment.folder.join(file),
            None => {
                context.workspace.make_state()?;
                context.workspace.collected(&configured.name)
            }
        };
        let files = Files::of(file)?;
        let sources =
            event_sources::with_teams(&context.workspace, configured.sources, &files, Ask::Once).await?;
        let subscriptions = event_sources::subscriptions(&sources, &files)?;
        let (journal, events) = (files.journal(), files.events.clone());
        let event = reported.event.to_string();
        let recorded = tokio::task::spawn_blocking(move || {
            webhook::record(&journal, &events, subscriptions, event.as_bytes())
        });
        let recorded = recorded.await;
        let recorded = recorded
            .map_err(|error| CommandError::failed(format!("it ended early: {error}")).because(error))??;
        let shown = context.workspace.shown(&files.events);
        let outcome = Outcome { new: recorded.new, notes: recorded.notes };
        Ok((outcome, shown.display().to_string()))
    }

    async fn send(&self, context: &Context, url: &str, reported: &NewEvent) -> CommandResult<Outcome> {
        const TRIES: u32 = 3;
        const PAUSE: Duration = Duration::from_secs(1);
        let url = reqwest::Url::parse(url).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
        let url = url.ok_or_else(|| {
            CommandError::usage("`--to` is not an address").hint("give one like https://dora.example.com/")
        })?;
        let secret = arguments::webhook_secret(&context.environment, self.secret_file.as_deref())?;
        let client = http(None)?;
        let mut tried = 0;
        loop {
            tried += 1;
            let request = client
                .post(url.clone())
                .header(CONTENT_TYPE, "application/cloudevents+json")
                .header(AUTHORIZATION, format!("Bearer {secret}"))
                .body(reported.event.to_string());
            let failed = match request.send().await {
                Ok(answer) => {
                    let status = answer.status();
                    let text = answer.text().await.unwrap_or_default();
                    let text = text.lines().next().unwrap_or_default().to_owned();
                    match status {
                        status if status.is_success() => {
                            let notes = text.split("; ").skip(1).map(str::to_owned).collect();
                            return Ok(Outcome { new: status == StatusCode::ACCEPTED, notes });
                        }
                        StatusCode::UNAUTHORIZED => {
                            return Err(CommandError::failed(format!("{url} does not accept the secret"))
                                .hint("give the secret that the receiver was started with"));
                        }
                        // The same words as where it is written into a file.
                        StatusCode::UNPROCESSABLE_ENTITY => return Err(SourceError::Event(text).into()),
                        status if status.is_server_error() => format!("{url} answers {status}: {text}"),
                        status => {
                            return Err(CommandError::failed(format!("{url} refuses it: {status}: {text}"))
                                .hint("check that a `dorainfra collect --listen` of this version is listening there"));
                        }
                    }
                }
                Err(error) => format!("{url} can't be reached: {}", error.without_url()),
            };
            if tried == TRIES {
                return Err(CommandError::failed(failed)
                    .hint("run the same command again: with the same `--id` and `--at` it is one event"));
            }
            tokio::time::sleep(PAUSE * tried).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_a_commit_and_a_time() {
        let (id, at) = change_of("abc=1772452800").unwrap();
        assert_eq!((id.as_str(), at.unix_timestamp()), ("abc", 1_772_452_800));
        for text in ["abc", "=2026-03-02T12:00:00Z", "abc=soon"] {
            assert!(change_of(text).is_err(), "{text}");
        }
    }
}

//! `status`: what is there, what runs, how to reach it.

mod watch;

use std::time::Duration;

use clap::Args;
use dorainfra_base::shell;
use dorainfra_config::{Tls, Topology};
use dorainfra_deploy::blueprint::{Names, PORT};
use dorainfra_deploy::workflow::{
    BucketObjects, Purpose, Run, State, blocks_prefix, credentials, follow_up, stack,
};
use dorainfra_deploy::{machine, verify};
use dorainfra_engine::{Action, Step};
use dorainfra_model::Events;
use dorainfra_prometheus::Flavour;
use dorainfra_prometheus::query::Query;
use futures::future::join_all;

use super::context::Context;
use super::{CommandResult, Exit, screen};
use crate::ui;

/// Nobody waits longer for a number that only adds to what is known.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Show what exists, what runs on the machine, and how to reach it
///
/// Changes nothing.
#[derive(Debug, Args)]
pub struct Status {
    /// Look at the pipeline again and again: rates, lag, queue and last error of each stage
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = clap::value_parser!(u32).range(1..=3600))]
    watch: Option<u32>,
}

impl Status {
    pub async fn run(self, context: &Context) -> CommandResult {
        if let Some(every) = self.watch {
            return watch::watch(context, every).await;
        }
        let status = screen::with(&context.printer, async |events| self.work(context, events).await).await?;
        context.printer.result(&status);
        Ok(Exit::Done)
    }

    async fn work(&self, context: &Context, events: &Events) -> CommandResult<ui::Status> {
        let run = context.run(Purpose::Look, events).await?;
        credentials::warn_of_ends(&run.held, events);
        // What can't be read is no reason not to show the rest.
        let unknown = |what: &str, why: String, hint: Option<String>| {
            events.warn(format!("{what} is not known: {why}"), hint);
        };
        let machines = run.machines().await?;
        let folder = context.workspace.stack_folder(&run.blueprint.deployment);
        let (plan, reports, stack, mut bucket) = tokio::join!(
            run.survey(events),
            join_all(machines.iter().map(|machine| machine::report(run.provider.machines(), machine))),
            stack::parts(&context.workspace, &run.project.config),
            bucket(&run, events),
        );
        let plan = plan?;
        let stack = stack.unwrap_or_else(|error| {
            unknown("what of the stack runs here", error.to_string(), error.hint());
            Vec::new()
        });
        let reports = reports.into_iter().zip(&machines).filter_map(|(report, machine)| match report {
            Ok(report) => report,
            Err(error) => {
                unknown(&format!("how {} is", machine.instance), error.to_string(), error.hint());
                None
            }
        });
        let reports: Vec<machine::Report> = reports.collect();
        for warning in &plan.warnings {
            events.warn(warning.clone(), None);
        }
        for note in reports.iter().filter_map(machine::Report::note) {
            events.note(note);
        }
        let endpoint = Names::of(&run.project.config).endpoint;
        let exists = |step: &Step| step.action != Action::Create;
        let address = match plan
            .steps
            .iter()
            .any(|step| step.id.kind == "compute.address" && step.id.name == endpoint && exists(step))
        {
            true => match run.address().await {
                Ok(address) => Some(address),
                Err(error) => {
                    unknown("the address of Mimir", error.to_string(), error.hint());
                    None
                }
            },
            false => None,
        };
        let config = &run.project.config;
        let server = Names::of(config).server_name;
        let ask = address.filter(|_| !reports.is_empty()).map(|address| {
            let tls = |name: &str| shell::quoted(folder.join("tls").join(name).display());
            let (scheme, shown) = match config.access.tls {
                Tls::Off => ("http", String::new()),
                _ => (
                    "https",
                    format!(
                        " --cacert {} --cert {} --key {}",
                        tls("ca.crt"),
                        tls("client.crt"),
                        tls("client.key")
                    ),
                ),
            };
            let own = format!("{address}:{PORT}");
            let connect = config.access.endpoint.as_ref().unwrap_or(&own);
            format!(
                "curl --connect-to ::{connect}{shown} -H 'X-Scope-OrgID: {}' \
                 '{scheme}://{server}:9009/prometheus/api/v1/query?query=dora_deployments_total'",
                config.mimir.tenant
            )
        });
        if let Some(bucket) = bucket.as_mut().filter(|_| reports.iter().any(|report| report.stage == "ready"))
        {
            count_newer(&run, bucket).await;
        }
        let status = ui::Status {
            deployment: run.blueprint.deployment.clone(),
            project: config.project.clone(),
            cloud: match &run.project.cloud.sandbox {
                Some(_) => "the sandbox".into(),
                None => "Google Cloud".into(),
            },
            endpoint: address.map(|address| run.endpoint(address)),
            server_name: address.map(|_| server.clone()),
            feeds: Some(config.feeds()),
            simulated_teams: config.simulated_teams(),
            sources: follow_up::sources(config),
            resources: plan.steps.iter().map(resource).collect(),
            machines: reports.iter().map(machine_line).collect(),
            ring: ring(&run, &reports, events).await,
            bucket,
            stack,
            credentials: credentials::rows(&run.held),
            tunnel: (!config.access.external).then(|| run.tunnel()),
            ask,
        };
        Ok(status)
    }
}

fn resource(step: &Step) -> ui::ResourceStatus {
    let fields: Vec<&str> = step.changes.iter().map(|change| change.path.as_str()).collect();
    let (state, detail) = match step.action {
        Action::NoOp => (State::Ok, "as configured".into()),
        Action::Keep => (State::Ok, step.reason.clone()),
        Action::Create => (State::Absent, "does not exist".into()),
        Action::Delete => (State::Changed, "not in the configuration any more".into()),
        Action::Update | Action::Replace | Action::Adopt => {
            (State::Changed, format!("differs: {}", fields.join(", ")))
        }
    };
    ui::ResourceStatus { id: step.id.clone(), state, detail }
}

/// The members of the ingesters' ring, where there is more than one.
async fn ring(run: &Run, reports: &[machine::Report], events: &Events) -> Vec<ui::RingMember> {
    if run.project.config.mimir.topology != Topology::Ha || reports.is_empty() {
        return Vec::new();
    }
    let members = match run.target().await {
        Ok(target) => verify::ring(&target).await.map_err(|error| (error.to_string(), error.hint())),
        Err(error) => Err((error.to_string(), String::new())),
    };
    match members {
        Ok(members) => members.into_iter().map(ring_line).collect(),
        Err((why, hint)) => {
            events.warn(format!("the ring can't be read: {why}"), Some(hint).filter(|hint| !hint.is_empty()));
            Vec::new()
        }
    }
}

fn ring_line(member: verify::RingMember) -> ui::RingMember {
    ui::RingMember {
        state: if member.state == "ACTIVE" { State::Ok } else { State::Failed },
        name: member.id,
        zone: member.zone,
        says: member.state.to_ascii_lowercase(),
        address: member.address,
        heard: member.heard,
    }
}

/// How much of the history is in the bucket; `None`: Prometheus stands in for Mimir
/// and writes no blocks, or it cannot be found out.
async fn bucket(run: &Run, events: &Events) -> Option<ui::BucketStatus> {
    if run.facts.engine.flavour != Flavour::Mimir {
        return None;
    }
    let objects = BucketObjects::of(run);
    let bucket = verify::Bucket { objects: &objects, prefix: blocks_prefix(run) };
    let found = match run.past() {
        Ok(history) => verify::in_bucket(history, &bucket, run.history_as_blocks()).await,
        Err(error) => Err(error.to_string()),
    };
    match found {
        Ok(verify::InBucket { blocks, sent, held, unsure, lost, newest_ms, damaged }) => {
            Some(ui::BucketStatus {
                state: match held == sent && blocks > 0 {
                    _ if lost || !damaged.is_empty() => State::Failed,
                    true => State::Ok,
                    false => State::Changed,
                },
                blocks,
                samples_sent: sent,
                samples_in_bucket: held,
                samples_unsure: unsure,
                newest_ms,
                newest: newest_ms.map(|end| verify::moment(end.saturating_sub(1))),
                samples_newer: None,
                damaged: damaged.iter().map(ToString::to_string).collect(),
            })
        }
        Err(error) => {
            events.warn(format!("what is in the bucket is not known: {error}"), None);
            None
        }
    }
}

/// What is newer than the bucket: live values, for the most part. Where Mimir does not
/// answer, the time stands alone.
async fn count_newer(run: &Run, bucket: &mut ui::BucketStatus) {
    let Some(newest) = bucket.newest_ms else { return };
    if let Ok(target) = run.target().await
        && let Ok(query) = Query::new(&target)
    {
        let newer = tokio::time::timeout(ANSWERS_WITHIN, verify::newer(&query, newest)).await;
        bucket.samples_newer = newer.ok().and_then(Result::ok);
    }
}

fn machine_line(report: &machine::Report) -> ui::MachineStatus {
    // What it said last says nothing of one that is down.
    let down = machine::down(&report.status);
    ui::MachineStatus {
        name: report.machine.clone(),
        state: match (down, report.stage.as_str()) {
            (Some(_), _) => State::Absent,
            (None, "ready") if report.status == "RUNNING" => State::Ok,
            (None, "failed" | "rolled-back") => State::Failed,
            _ => State::Changed,
        },
        stage: match (down, report.stage.as_str()) {
            (Some(down), _) => down.to_owned(),
            (None, "") => report.status.to_ascii_lowercase(),
            (None, stage) => stage.to_owned(),
        },
        bundle: report.bundle.clone(),
        engine: report.engine.clone(),
        address: report.address.clone(),
        message: match down {
            Some(_) => machine::STARTS.to_owned(),
            None => report.message.clone(),
        },
    }
}

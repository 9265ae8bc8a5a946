//! `status`: what is there, what runs, how to reach it.

use clap::Args;

use super::context::Context;
use super::pipeline::{Run, Selection};
use super::screen::Screen;
use super::{CommandResult, Exit, stack};
use crate::blueprint::{Names, PORT};
use crate::engine::{Action, Step};
use crate::event::Events;
use crate::machine;
use crate::ui::{self, State};

/// Show what exists, what runs on the machine, and how to reach it
///
/// Changes nothing.
#[derive(Debug, Args)]
pub struct Status {}

impl Status {
    pub async fn run(self, context: &Context) -> CommandResult {
        let screen = Screen::open(&context.printer);
        let status = self.work(context, &screen.events).await;
        screen.close().await;
        context.printer.result(&status?);
        Ok(Exit::Done)
    }

    async fn work(&self, context: &Context, events: &Events) -> CommandResult<ui::Status> {
        let run = Run::begin(context, events).await?;
        let selection = Selection::default();
        let machine = run.machine();
        let folder = context.stack_folder(&run.blueprint.deployment);
        let (plan, report, stack) = tokio::join!(
            run.plan(&selection, events),
            machine::report(&run.client, &machine),
            stack::parts(context, &run.project.config),
        );
        let (plan, report, stack) = (plan?, report?, stack?);
        let exists = |step: &Step| step.action != Action::Create;
        let address = match plan.steps.iter().any(|step| step.id.kind == "compute.address" && exists(step)) {
            true => Some(run.address().await?),
            false => None,
        };
        let config = &run.project.config;
        let server = Names::of(config).server_name;
        let ask = address.filter(|_| report.is_some()).map(|address| {
            let tls = folder.join("tls");
            let tls = tls.display();
            let own = format!("{address}:{PORT}");
            let connect = config.access.endpoint.as_ref().unwrap_or(&own);
            format!(
                "curl --connect-to ::{connect} --cacert {tls}/ca.crt --cert {tls}/client.crt \
                 --key {tls}/client.key -H 'X-Scope-OrgID: {}' \
                 'https://{server}:9009/prometheus/api/v1/query?query=dora_deployments_total'",
                config.mimir.tenant
            )
        });
        let status = ui::Status {
            deployment: run.blueprint.deployment.clone(),
            project: config.project.clone(),
            cloud: match &run.project.sandbox {
                Some(_) => "the sandbox".into(),
                None => "Google Cloud".into(),
            },
            endpoint: address.map(|address| format!("https://{server}:9009 at {address}")),
            resources: plan.steps.iter().map(resource).collect(),
            machines: report.iter().map(|report| machine_line(report, address)).collect(),
            stack,
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

fn machine_line(report: &machine::Report, address: Option<std::net::IpAddr>) -> ui::MachineStatus {
    ui::MachineStatus {
        name: report.machine.clone(),
        state: match (report.status.as_str(), report.stage.as_str()) {
            ("RUNNING", "ready") => State::Ok,
            ("TERMINATED" | "STOPPED", _) => State::Absent,
            (_, "failed" | "rolled-back") => State::Failed,
            _ => State::Changed,
        },
        stage: match report.stage.as_str() {
            "" => report.status.to_ascii_lowercase(),
            stage => stage.to_owned(),
        },
        bundle: report.bundle.clone(),
        engine: report.engine.clone(),
        address: address.map(|address| address.to_string()).unwrap_or_default(),
        message: report.message.clone(),
    }
}

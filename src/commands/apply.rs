//! `apply`: resources → machine ready → stack → history → proof.

use std::path::PathBuf;

use clap::Args;
use dorainfra_config::Feeds;
use dorainfra_deploy::workflow::apply::{self, Applied, Extent};
use dorainfra_deploy::workflow::{Planned, Project, Purpose, Run, SavedPlan, Selection};
use dorainfra_engine::{Action, Plan, Step};
use dorainfra_model::Events;

use super::context::Context;
use super::times::Told;
use super::{CommandError, CommandResult, Exit, arguments, screen, summary};
use crate::ui::Summary;

/// Bring the cloud to the configuration, feed it and prove that the data arrived
///
/// Shows its plan and asks first, unless `--yes`. Safe to run again at any
/// time: what is there already is left alone, what was cut off is finished.
#[derive(Debug, Args)]
pub struct Apply {
    /// A plan that `plan --out` wrote: do exactly this or refuse
    #[arg(value_name = "PLAN", conflicts_with_all = ["target", "replace", "adopt", "delete_data", "restore_disk"])]
    plan: Option<PathBuf>,
    #[command(flatten)]
    selection: arguments::Selection,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Stop when the machine is ready: no collector stack, no history, no proof
    #[arg(long)]
    no_stack: bool,
    /// Do not prove the ingest at the end
    #[arg(long)]
    no_verify: bool,
    #[command(flatten)]
    told: Told,
}

impl Apply {
    pub async fn run(self, context: &Context) -> CommandResult {
        let times = self.told.begin(context)?;
        let planning = async |events: &Events| self.plan(context, &times.heard(events)).await;
        let (planned, mut tally) = screen::counted(&context.printer, planning).await;
        let (run, planned) = planned?;
        run.refuse_stand_ins()?;
        if planned.has_changes()
            && self.plan.is_none()
            && !self.yes
            && !context.printer.confirm("Apply this?")?
        {
            return Err(CommandError::declined("not applied: nothing was changed"));
        }
        let unchanged = !planned.has_changes();
        let extent = Extent { stack: !self.no_stack, verify: !self.no_verify, unchanged };
        let applying =
            async |events: &Events| apply::apply(&run, &planned.plan, extent, &times.heard(events)).await;
        let (Applied { outcome, report, result }, rest) = screen::counted(&context.printer, applying).await;
        tally.phases.extend(rest.phases);

        let mut summary = Summary {
            command: "apply".into(),
            ok: result.is_ok(),
            phases: tally.phases,
            total_ms: times.elapsed().as_millis() as u64,
            verified: report.as_ref().map(summary::report),
            next: match &result {
                Ok(()) => self.next(&run, &planned.plan),
                Err(_) => vec!["dorainfra apply".into()],
            },
            ..Summary::default()
        };
        summary::add_outcome(&mut summary, &planned.plan, outcome.as_ref());
        if result.is_ok()
            && let Ok(address) = run.address().await
        {
            summary.facts.push(("endpoint".into(), run.endpoint(address)));
            summary.facts.push(("tls".into(), run.tls().into()));
            summary.facts.push(("engine".into(), run.facts.engine.label()));
        }
        summary::same_deployment(&mut summary, context);
        summary.timings = times.timings();
        context.printer.conclude(&summary);
        let traced = times.write_trace(context, "apply");
        result?;
        traced?;
        match report {
            Some(report) if !report.ok() => Err(CommandError::failed("the ingest is not proven")
                .exit(Exit::VerifyFailed)
                .hint("the failed checks above say what to do; `dorainfra verify` checks again")),
            _ => Ok(Exit::Done),
        }
    }

    /// Who has just made a deployment wants to see what it is for; later, how it is.
    fn next(&self, run: &Run, plan: &Plan) -> Vec<String> {
        let makes = |step: &Step| step.action == Action::Create && step.id.kind == "compute.instance";
        let first = plan.steps.iter().any(makes) && !plan.is_targeted();
        let sees = !self.no_stack && run.project.config.feeds() != Feeds::Nothing;
        let next: &[&str] = match (first, sees) {
            (true, true) => &["dorainfra report", "dorainfra open", "dorainfra credentials issue NAME"],
            (true, false) => &["dorainfra status", "dorainfra credentials issue NAME"],
            (false, _) => &["dorainfra status", "dorainfra destroy"],
        };
        next.iter().map(|command| (*command).to_owned()).collect()
    }

    async fn plan(&self, context: &Context, events: &Events) -> CommandResult<(Run, Planned)> {
        let Some(path) = &self.plan else {
            let selection = Selection::from(self.selection.clone());
            let run = context.run_for(Purpose::Change, &selection, events).await?;
            let planned = apply::plan(&run, &selection, !self.no_stack, events).await?;
            return Ok((run, planned));
        };
        let saved = SavedPlan::read(&context.environment.folder.join(path))?;
        let project = context.project().await?;
        saved.belongs_to(&project.config)?;
        let project = Project { config: saved.config.clone(), ..project };
        let run = Run::with_facts(
            context.workspace.clone(),
            context.operator(),
            project,
            saved.facts.clone(),
            events,
        )
        .await?;
        let planned = apply::plan_again(&run, &saved, !self.no_stack, events).await?;
        Ok((run, planned))
    }
}

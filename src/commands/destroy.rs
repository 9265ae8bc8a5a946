//! `destroy`: stack, then resources; bucket and data disk only if asked for by name.

use clap::Args;
use dorainfra_deploy::resource::Remains;
use dorainfra_deploy::workflow::destroy::{self, Destroyed, Planned};
use dorainfra_deploy::workflow::{Purpose, Run};
use dorainfra_engine::Action;
use dorainfra_model::Events;

use super::context::Context;
use super::times::Told;
use super::{CommandError, CommandResult, Exit, screen, summary};
use crate::ui::Summary;

/// Take the deployment down; its data is kept unless `--delete-data`
#[derive(Debug, Args)]
pub struct Destroy {
    /// Delete the bucket and the data disk as well: the metrics are gone then
    #[arg(long)]
    delete_data: bool,
    /// Do not wait until the machine has written to the bucket what it holds: that stays on
    /// the data disk, which the next `apply` takes up
    #[arg(long)]
    no_flush: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    told: Told,
}

impl Destroy {
    pub async fn run(self, context: &Context) -> CommandResult {
        let times = self.told.begin(context)?;
        let planning = async |events: &Events| self.plan(context, &times.heard(events)).await;
        let (planned, mut tally) = screen::counted(&context.printer, planning).await;
        let (run, planned) = planned?;
        if planned.has_changes() && !self.yes {
            let name = &run.blueprint.deployment;
            let agreed = match self.delete_data {
                true => context.printer.type_name("This deletes the metrics for good.", name)?,
                false => context.printer.confirm("Destroy this?")?,
            };
            if !agreed {
                return Err(CommandError::declined("not destroyed: nothing was changed"));
            }
        }
        let destroying = async |events: &Events| destroy::destroy(&run, &planned, &times.heard(events)).await;
        let (Destroyed { outcome, remains, result }, rest) =
            screen::counted(&context.printer, destroying).await;
        tally.phases.extend(rest.phases);
        let mut summary = Summary {
            command: "destroy".into(),
            ok: result.is_ok(),
            phases: tally.phases,
            total_ms: times.elapsed().as_millis() as u64,
            ..Summary::default()
        };
        let before = planned.has_changes() || planned.plan.count(Action::Keep) > 0;
        summary.facts.extend(remains.map(|remains| ("left".to_owned(), left(&run, &remains, before))));
        summary::add_outcome(&mut summary, &planned.plan, outcome.as_ref());
        if result.is_err() {
            summary.next.push("dorainfra destroy".into());
        } else if !summary.kept.is_empty() {
            summary.next.push("dorainfra apply".into());
            summary.next.push("dorainfra destroy --delete-data".into());
        }
        summary::same_deployment(&mut summary, context);
        summary.timings = times.timings();
        context.printer.conclude(&summary);
        let traced = times.write_trace(context, "destroy");
        result?;
        traced?;
        Ok(Exit::Done)
    }

    async fn plan(&self, context: &Context, events: &Events) -> CommandResult<(Run, Planned)> {
        let mut run = context.run(Purpose::Removal, events).await?;
        if self.delete_data || self.no_flush {
            run = run.without_flush();
        }
        let planned = destroy::plan(&run, self.delete_data, events).await?;
        Ok((run, planned))
    }
}

/// What is still there, in words; `before`: whether something was.
fn left(run: &Run, Remains { left, off }: &Remains, before: bool) -> String {
    let (name, project) = (&run.blueprint.deployment, run.client.project());
    let off: Vec<&str> = off.iter().map(String::as_str).collect();
    let off = off.join(" ");
    match left.as_slice() {
        [] if !off.is_empty() => {
            format!("nothing of {name} is seen in {project}; what {off} keeps can't be seen, as it is off")
        }
        [] if !before => format!("nothing of {name} exists in {project}"),
        [] => format!("nothing of {name} is left in {project}"),
        left => {
            let names: Vec<String> = left.iter().map(ToString::to_string).collect();
            format!("{} of {name} in {project}", names.join(", "))
        }
    }
}

//! `plan`: what `apply` would do, and nothing else.

use std::path::PathBuf;

use clap::Args;
use dorainfra_deploy::workflow::{Purpose, SavedPlan, Selection, apply, credentials, phase};
use dorainfra_model::{Events, Phase};

use super::context::Context;
use super::{CommandResult, Exit, arguments, screen};
use crate::ui;

/// Show what `apply` would create, change and delete
///
/// Reads the cloud and changes nothing.
#[derive(Debug, Args)]
pub struct PlanCommand {
    #[command(flatten)]
    selection: arguments::Selection,
    /// Of the resources only: no collector stack, no history
    #[arg(long)]
    no_stack: bool,
    /// Write the plan to a file, for `dorainfra apply FILE`
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Exit with 2 where there is something to do, with 0 where there is nothing
    #[arg(long)]
    detailed_exitcode: bool,
}

impl PlanCommand {
    pub async fn run(self, context: &Context) -> CommandResult {
        screen::with(&context.printer, async |events| self.work(context, events).await).await
    }

    async fn work(self, context: &Context, events: &Events) -> CommandResult {
        let selection = Selection::from(self.selection);
        let run = context.run_for(Purpose::Plan, &selection, events).await?;
        credentials::warn_of_ends(&run.held, events);
        let plan = phase(events, Phase::Plan, run.plan(&selection, events)).await?;
        run.refuse_stand_ins()?;
        let planned = apply::with_follow_up(&run, plan, !self.no_stack, events).await?;
        let changes = planned.has_changes();
        let mut file = None;
        if let Some(name) = &self.out {
            let path = context.environment.folder.join(name);
            SavedPlan::new(&run, &selection, planned).write(&path)?;
            events.note(format!("saved: `dorainfra apply {}` does exactly this or refuses", name.display()));
            file = Some(name.display().to_string());
        }
        context.printer.conclude(&ui::Planned { changes, file });
        Ok(if changes && self.detailed_exitcode { Exit::Changes } else { Exit::Done })
    }
}

//! `plan`: what `apply` would do, and nothing else.

use std::path::PathBuf;

use clap::Args;
use dorainfra_model::{Event, Events, FeedStep, Phase};

use super::context::{Context, Purpose};
use super::pipeline::{Run, phase};
use super::saved::Saved;
use super::selection::Selection;
use super::{CommandResult, Exit, credentials, screen};

/// Show what `apply` would create, change and delete
///
/// Reads the cloud and changes nothing.
#[derive(Debug, Args)]
pub struct PlanCommand {
    #[command(flatten)]
    selection: Selection,
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

    async fn work(&self, context: &Context, events: &Events) -> CommandResult {
        let run = Run::begin_for(context, Purpose::Change, &self.selection, events).await?;
        credentials::warn_of_ends(&run.held, events);
        let plan = phase(events, Phase::Plan, run.plan(&self.selection, events)).await?;
        run.refuse_stand_ins()?;
        let feed = match self.no_stack {
            true => Vec::new(),
            false => run.feeding(&plan).await?,
        };
        events.send(Event::Planned { plan: plan.clone(), feed: feed.clone() });
        let changes = plan.has_changes() || feed.iter().any(FeedStep::is_change);
        if let Some(name) = &self.out {
            let path = context.environment.folder.join(name);
            Saved::new(&run, &self.selection, plan, feed).write(&path)?;
            events.note(format!("saved: `dorainfra apply {}` does exactly this or refuses", name.display()));
        }
        Ok(if changes && self.detailed_exitcode { Exit::Changes } else { Exit::Done })
    }
}

//! `plan`: what `apply` would do, and nothing else.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use dorainfra_deploy::workflow::{Planned, Purpose, SavedPlan, Selection, apply, credentials, phase};
use dorainfra_model::{Events, Phase};

use super::context::Context;
use super::times::Told;
use super::{CommandResult, Exit, arguments, screen};
use crate::ui::{self, GraphForm, graph};

/// Show what `apply` would create, change and delete
///
/// Reads the cloud and changes nothing.
#[derive(Debug, Args)]
pub struct PlanCommand {
    #[command(flatten)]
    selection: arguments::Selection,
    /// Plan the resources only: no collector stack, no history
    #[arg(long)]
    no_stack: bool,
    /// Write the plan to a file, for `dorainfra apply FILE`
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Exit with 2 where there is something to do, with 0 where there is nothing
    #[arg(long)]
    detailed_exitcode: bool,
    /// Print the dependencies and each resource's action as a graph, and nothing else; an arrow leads to
    /// what a resource needs
    #[arg(long, value_enum, value_name = "FORM", conflicts_with_all = ["out", "json", "timings"])]
    graph: Option<Form>,
    #[command(flatten)]
    told: Told,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For a page of GitHub or GitLab, or mermaid.live
    Mermaid,
    /// For Graphviz: `dorainfra plan --graph dot | dot -Tsvg`
    Dot,
}

/// What is left to be shown.
enum Shown {
    Graph(String),
    Plan { changes: bool, file: Option<String> },
}

impl From<Form> for GraphForm {
    fn from(form: Form) -> Self {
        match form {
            Form::Mermaid => Self::Mermaid,
            Form::Dot => Self::Dot,
        }
    }
}

impl PlanCommand {
    pub async fn run(self, context: &Context) -> CommandResult {
        let times = self.told.begin(context)?;
        let work = async |events: &Events| self.work(context, &times.heard(events)).await;
        let (exit, shown) = screen::with(&context.printer, work).await?;
        match shown {
            Shown::Graph(drawn) => context.printer.verbatim(&drawn),
            Shown::Plan { changes, file } => {
                context.printer.conclude(&ui::Planned { changes, file, timings: times.timings() });
            }
        }
        times.write_trace(context, "plan")?;
        Ok(exit)
    }

    async fn work(&self, context: &Context, events: &Events) -> CommandResult<(Exit, Shown)> {
        let selection = Selection::from(self.selection.clone());
        let run = context.run_for(Purpose::Plan, &selection, events).await?;
        credentials::warn_of_ends(&run.held, events);
        let plan = phase(events, Phase::Plan, run.plan(&selection, events)).await?;
        run.refuse_stand_ins()?;
        let drawn = self.graph.map(|form| graph(&plan, form.into()));
        let planned = match &drawn {
            // Nothing else is shown.
            Some(_) if self.no_stack => Planned { plan, follow_up: Vec::new() },
            Some(_) => Planned { follow_up: run.follow_up(&plan).await?, plan },
            None => apply::with_follow_up(&run, plan, !self.no_stack, events).await?,
        };
        let changes = planned.has_changes();
        let mut file = None;
        if let Some(name) = &self.out {
            let path = context.environment.folder.join(name);
            SavedPlan::new(&run, &selection, planned).write(&path)?;
            events.note(format!("saved: `dorainfra apply {}` does exactly this or refuses", name.display()));
            file = Some(name.display().to_string());
        }
        let exit = if changes && self.detailed_exitcode { Exit::Changes } else { Exit::Done };
        Ok((exit, drawn.map_or(Shown::Plan { changes, file }, Shown::Graph)))
    }
}

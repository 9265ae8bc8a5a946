//! `drift`: whether somebody changed the deployment in the cloud.

use clap::Args;
use dorainfra_deploy::workflow::{Purpose, phase};
use dorainfra_model::{Events, Phase};

use super::context::Context;
use super::{CommandResult, Exit, screen, summary};
use crate::ui;

/// Show what differs in the cloud from what was applied last; exit code 2 where something does
///
/// Reads the cloud and changes nothing: for cron and CI. Each resource carries a digest of what was
/// applied, so that what you changed in the configuration since is told apart, and is no drift: `plan`
/// shows it. Two things can't be told apart, and count as drift: what is not there (deleted, or new in the
/// configuration), and what can carry no mark (bindings, certificates).
#[derive(Debug, Args)]
pub struct DriftCommand {}

impl DriftCommand {
    pub async fn run(self, context: &Context) -> CommandResult {
        let look = async |events: &Events| -> CommandResult<_> {
            let run = context.run(Purpose::Look, events).await?;
            let drift = phase(events, Phase::Plan, run.drift(events)).await?;
            Ok((run, drift))
        };
        let (run, drift) = screen::with(&context.printer, look).await?;
        let differs = !drift.found.is_empty();
        context.printer.result(&ui::DriftView {
            deployment: run.blueprint.deployment.clone(),
            project: run.client.project().to_owned(),
            // The sandbox has no log of who did what.
            who: (differs && drift.exists && !context.global.sandbox).then(|| run.who_changed()),
            next: summary::again(context, "dorainfra apply"),
            drift,
        });
        Ok(if differs { Exit::Changes } else { Exit::Done })
    }
}

//! `verify`: the proof of ingest by itself.

use clap::Args;
use dorainfra_deploy::verify::Report;
use dorainfra_deploy::workflow::{Purpose, credentials, phase};
use dorainfra_model::{Events, Phase};

use super::context::Context;
use super::{CommandResult, Exit, screen, summary};

/// Prove that every sample arrived: endpoint, history, a live marker, freshness, bucket
///
/// Changes nothing but a marker metric. Exits with 6 when a check fails.
#[derive(Debug, Args)]
pub struct Verify {
    /// Ask no Mimir: download the bucket's blocks, check every byte, and compare every sample of the history
    #[arg(long)]
    from_bucket: bool,
}

impl Verify {
    pub async fn run(self, context: &Context) -> CommandResult {
        let report = screen::with(&context.printer, async |events| self.work(context, events).await).await?;
        context.printer.result(&summary::report(&report));
        Ok(if report.ok() { Exit::Done } else { Exit::VerifyFailed })
    }

    async fn work(&self, context: &Context, events: &Events) -> CommandResult<Report> {
        let run = context.run(Purpose::Look, events).await?;
        credentials::warn_of_ends(&run.held, events);
        let report = phase(events, Phase::Verify, async {
            if self.from_bucket {
                return run.verify_bucket(events).await;
            }
            let target = run.target().await?;
            run.verify(&target, events).await
        })
        .await?;
        Ok(report)
    }
}

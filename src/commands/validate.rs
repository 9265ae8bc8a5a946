//! `validate`: whether the configuration can be used, without a call.

use clap::Args;
use dorainfra_deploy::workflow;

use super::context::Context;
use super::{CommandResult, Exit};
use crate::ui::Validated;

/// Check dorainfra.yaml, and everything that is rendered from it
///
/// Contacts nothing. Everything that is wrong is reported at once, with its place, and ends
/// with exit code 3: for an editor, a hook or a pull request. What only the cloud knows
/// (names that are taken, quotas, permissions) is `plan`'s and `doctor`'s.
#[derive(Debug, Args)]
pub struct Validate {}

impl Validate {
    pub async fn run(self, context: &Context) -> CommandResult {
        let mut project = context.project().await?;
        let file = context.configuration().map(|file| context.workspace.shown(&file).display().to_string());
        project.config = project.config.with_placeholder_project();
        let facts = workflow::placeholders(&context.workspace, &project).await?;
        let blueprint = project.blueprint(&facts)?;
        context.printer.result(&Validated {
            file,
            deployment: blueprint.deployment.clone(),
            resources: blueprint.manifests.len(),
            files: blueprint.files.len(),
        });
        Ok(Exit::Done)
    }
}

//! `list`: the deployments of a project.

use clap::Args;
use dorainfra_deploy::resource;

use super::context::Context;
use super::{CommandResult, Exit};
use crate::ui::Listed;

/// List the deployments of the project
///
/// They are found by the labels of their machines, disks and buckets, whoever made them and from
/// wherever; three calls, whatever their number. `*` marks the one that this folder's configuration means.
#[derive(Debug, Args)]
pub struct List {}

impl List {
    pub async fn run(self, context: &Context) -> CommandResult {
        let project = context.project().await?;
        project.config.require_project()?;
        let deployments = resource::deployments(&project.client()?).await?;
        for place in &deployments.unseen {
            context.printer.warning(
                &format!("{place} can't be asked now: there may be more"),
                Some("run the same command again later"),
            );
        }
        context.printer.result(&Listed {
            project: project.config.project.clone(),
            own: project.config.name.clone(),
            deployments: deployments.found,
        });
        Ok(Exit::Done)
    }
}

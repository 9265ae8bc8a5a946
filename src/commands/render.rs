//! `render`: every file that would be used, without a call.

use std::path::PathBuf;

use clap::Args;
use dorainfra_base::file::{self, Mode};
use dorainfra_deploy::blueprint::{self, File};
use dorainfra_deploy::workflow;

use super::context::Context;
use super::{CommandError, CommandResult, Exit};
use crate::ui;

/// Write every rendered file: resources, machine, stack
///
/// Contacts nothing. The same configuration gives the same bytes. What only a
/// call can tell is stood for: 192.0.2.1/32 (an address for documentation) for this machine,
/// `${compute.address/…}` for the machine's, zeros for the digest of a Mimir
/// that is not pinned yet.
#[derive(Debug, Args)]
pub struct Render {
    /// Folder to write to [default: print the names and contents]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Only the values for Grafana's Helm chart mimir-distributed, over the same bucket
    #[arg(long)]
    kubernetes: bool,
}

impl Render {
    pub async fn run(self, context: &Context) -> CommandResult {
        let mut project = context.project().await?;
        // Files can be looked at before there is a project.
        project.config = project.config.with_placeholder_project();
        let facts = workflow::placeholders(&context.workspace, &project).await?;
        let mut files = project.blueprint(&facts)?.files.clone();
        if self.kubernetes {
            files.retain(|file| file.path.starts_with(blueprint::KUBERNETES));
        }
        match self.out {
            Some(folder) => {
                let folder = context.environment.folder.join(folder);
                for file in &files {
                    write(&folder, file)?;
                }
                context.printer.note(&format!("{} files written to {}", files.len(), folder.display()));
                context.printer.conclude(&rendered(&files, Some(folder.display().to_string())));
            }
            None if context.global.json => context.printer.conclude(&rendered(&files, None)),
            // As it is, for `helm --values -`.
            None if self.kubernetes => {
                files.iter().for_each(|file| context.printer.verbatim(&file.contents));
            }
            None => {
                for file in &files {
                    context.printer.verbatim(&format!("# ── {}\n{}\n", file.path, file.contents.trim_end()));
                }
            }
        }
        Ok(Exit::Done)
    }
}

/// What there is, with its contents unless it is in a folder.
fn rendered(files: &[File], folder: Option<String>) -> ui::Rendered {
    let contents = |file: &File| folder.is_none().then(|| file.contents.clone());
    let file = |file: &File| ui::RenderedFile {
        path: file.path.clone(),
        executable: file.executable,
        contents: contents(file),
    };
    ui::Rendered { files: files.iter().map(file).collect(), folder: folder.clone() }
}

fn write(folder: &std::path::Path, file: &File) -> CommandResult<()> {
    let path = folder.join(&file.path);
    let mode = if file.executable { Mode::Program } else { Mode::Public };
    std::fs::create_dir_all(path.parent().unwrap_or(folder))
        .and_then(|()| file::output(&path, file.contents.as_bytes(), mode))
        .map_err(|error| {
            CommandError::failed(format!("{} can't be written: {error}", path.display()))
                .hint("check the folder's permissions and the free space")
                .because(error)
        })
}

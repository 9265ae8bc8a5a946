//! `export`: the deployment in the language of other tools.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use dorainfra_base::file::{self, Mode};
use dorainfra_deploy::export::{self, Export, Sheet};
use dorainfra_deploy::workflow::{Error, Purpose};
use dorainfra_model::Events;

use super::context::Context;
use super::{CommandError, CommandResult, Exit, screen};

/// Write the deployment down for another tool
///
/// Reads the cloud and changes nothing. No value of a secret is read or written.
/// docs/export.md says what each tool can take over.
#[derive(Debug, Args)]
pub struct ExportCommand {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, Subcommand)]
enum Tool {
    /// Terraform: HCL with an `import` block for each resource that is there
    ///
    /// `terraform plan` then imports everything and changes nothing.
    Terraform(Out),
    /// gcloud: a script of commands that make the same in a project without it
    Gcloud(Out),
}

#[derive(Debug, Args)]
struct Out {
    /// Folder to write to [default: print it, without the files that it refers to]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl ExportCommand {
    pub async fn run(self, context: &Context) -> CommandResult {
        let (name, out) = match &self.tool {
            Tool::Terraform(out) => ("terraform", out),
            Tool::Gcloud(out) => ("gcloud", out),
        };
        let read = async |events: &Events| {
            let run = context.run(Purpose::Look, events).await?;
            let (deployed, overrides) = (run.deployed().await?, &run.project.overrides);
            let export = match &self.tool {
                Tool::Terraform(_) => export::terraform(&deployed, overrides),
                Tool::Gcloud(_) => export::gcloud(&deployed, overrides),
            };
            CommandResult::Ok(export.map_err(Error::from)?)
        };
        let Export { sheets, lacks } = screen::with(&context.printer, read).await?;
        match &out.out {
            Some(folder) => {
                let folder = context.environment.folder.join(folder);
                sheets.iter().try_for_each(|sheet| write(&folder, sheet))?;
                let next = match name {
                    "terraform" => "terraform init && terraform plan",
                    _ => "make.sh says at its top what it needs",
                };
                context.printer.note(&format!(
                    "{} files written to {}; there: {next}",
                    sheets.len(),
                    folder.display()
                ));
            }
            None => {
                let (files, own): (Vec<&Sheet>, Vec<&Sheet>) =
                    sheets.iter().partition(|sheet| sheet.is_referred_to());
                // What is printed may go into a shell or a file of its own: nothing of another language in it.
                for text in own.iter().filter_map(|sheet| sheet.text()) {
                    context.printer.verbatim(&format!("{}\n", text.trim_end()));
                }
                if !files.is_empty() {
                    let count = files.len();
                    context.printer.note(&format!(
                        "not printed: {count} files that it refers to; `--out DIR` writes all"
                    ));
                }
            }
        }
        lacks.iter().for_each(|lack| context.printer.note(&format!("not in it: {lack}")));
        Ok(Exit::Done)
    }
}

fn write(folder: &Path, sheet: &Sheet) -> CommandResult<()> {
    let path = folder.join(&sheet.path);
    let mode = if sheet.executable { Mode::Program } else { Mode::Public };
    std::fs::create_dir_all(path.parent().unwrap_or(folder))
        .and_then(|()| file::output(&path, &sheet.contents, mode))
        .map_err(|error| {
            CommandError::failed(format!("{} can't be written: {error}", path.display()))
                .hint("check the folder's permissions and the free space")
        })
}

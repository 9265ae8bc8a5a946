//! `doctor`: what this machine and this project lack, before anything is tried.

use clap::Args;
use dorainfra_deploy::workflow::Project;
use dorainfra_deploy::workflow::doctor::{self, Diagnosis, Repair};

use super::context::Context;
use super::{CommandError, CommandResult, Exit, screen};

/// Check credentials, project, permissions, policies, quotas, network, programs and ports
///
/// Changes nothing without --fix. Exits with 1 when something would stop `plan`, `apply`, `verify` or
/// `destroy`; each such check says what mends it.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Mend what costs nothing and opens nothing: enable APIs that are off, make the folder of local
    /// state. Asks before each
    #[arg(long)]
    fix: bool,
    /// With --fix: ask nothing
    #[arg(long, short, requires = "fix")]
    yes: bool,
}

impl Doctor {
    pub async fn run(self, context: &Context) -> CommandResult {
        let project = context.project().await?;
        let mut found = look(context, &project).await?;
        if self.fix && self.mend(context, &project, &found.repairs).await? {
            context.printer.note("looking again:");
            found = look(context, &project).await?;
        }
        match found.failed() {
            0 => Ok(Exit::Done),
            failed => {
                let checks = if failed == 1 { "1 check".into() } else { format!("{failed} checks") };
                Err(CommandError::failed(format!("{checks} failed")).hint(
                    "mend what is marked with ✗, as its hint says, and run `dorainfra doctor` again: `apply` would \
                     stop there",
                ))
            }
        }
    }

    /// Whether anything was mended.
    async fn mend(&self, context: &Context, project: &Project, repairs: &[Repair]) -> CommandResult<bool> {
        let mut mended = false;
        for repair in repairs {
            if !self.yes && !context.printer.confirm(&repair.question(&project.config.project))? {
                continue;
            }
            let mend = async |events: &_| doctor::mend(repair, &context.workspace, project, events).await;
            screen::with(&context.printer, mend).await?;
            context.printer.note(&repair.done());
            mended = true;
        }
        if repairs.is_empty() {
            context.printer.note("there is nothing for --fix to mend");
        }
        Ok(mended)
    }
}

async fn look(context: &Context, project: &Project) -> CommandResult<Diagnosis> {
    let look = async |events: &_| doctor::look(&context.workspace, project, events).await;
    Ok(screen::with(&context.printer, look).await?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Parser as _;

    use super::super::interrupt::Signals;
    use super::super::{Cli, Command, Environment};
    use super::*;
    use crate::ui::{Mode, Options, Printer};

    fn doctor(more: &[&str]) -> (Doctor, super::super::arguments::Global) {
        let words = ["dorainfra", "--project", "my-gcp", "--set", "stack.runtime=native", "doctor"];
        let cli = Cli::try_parse_from(words.iter().chain(more)).unwrap();
        let Command::Doctor(doctor) = cli.command else { panic!("{:?}", cli.command) };
        (doctor, cli.global)
    }

    /// What was checked before is told, too, and above the error.
    #[tokio::test]
    async fn an_early_end_hides_no_check() {
        let folder = tempfile::tempdir().unwrap();
        let environment = Environment {
            variables: BTreeMap::from([("HTTPS_PROXY".into(), "socks5://proxy".into())]),
            folder: folder.path().into(),
            executable: folder.path().join("dorainfra"),
        };
        let (printer, captured) = Printer::captured(Options::plain(Mode::Human), "");
        let (doctor, global) = doctor(&[]);
        let context = Context::new(global, environment, printer, Signals::default());
        let error = doctor.run(&context).await.unwrap_err();
        assert!(error.to_string().contains("HTTPS_PROXY"), "{error}");
        let told = captured.stdout();
        for check in ["prometheus can be started", "pushgateway can be started", "port 9091", "disk space"] {
            assert!(told.contains(check), "{check}: {told}");
        }
    }

    #[test]
    fn nothing_is_mended_that_was_not_asked_for() {
        assert!(!doctor(&[]).0.fix);
        let words = ["dorainfra", "doctor", "--yes"];
        assert!(Cli::try_parse_from(words).unwrap_err().to_string().contains("--fix"));
    }
}

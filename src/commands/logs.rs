//! `logs`: what machines and the collector stack say.

use clap::{Args, ValueEnum};
use dorainfra_deploy::blueprint::{Names, Replica};
use dorainfra_deploy::workflow::logs::{self, Said};
use dorainfra_model::Event;

use super::context::Context;
use super::{CommandError, CommandResult, Exit};

pub use dorainfra_deploy::workflow::logs::Extent;

/// Print what the machine or the collector stack says
///
/// A machine's serial port has its boot, what was installed on it, and Mimir's own words; no SSH is needed.
/// Of several machines or parts each line begins with its name. Ctrl-C ends `--follow`, with exit code 130.
#[derive(Debug, Args)]
pub struct Logs {
    /// Whose
    #[arg(value_enum, default_value_t = What::Machine)]
    what: What,
    /// Only this machine, of several
    #[arg(id = "only_machine", long = "machine", value_name = "NAME")]
    machine: Option<String>,
    /// Go on with what comes
    #[arg(long, short)]
    follow: bool,
    /// Lines to begin with, of each
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50)]
    lines: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// By its serial port
    Machine,
    /// On this machine
    Stack,
}

impl Logs {
    pub async fn run(self, context: &Context) -> CommandResult {
        let extent = Extent { lines: self.lines, follow: self.follow };
        match self.what {
            What::Machine => self.of_machines(context, extent).await?,
            What::Stack if self.machine.is_some() => {
                return Err(CommandError::usage("the stack runs on no machine of the deployment")
                    .hint("leave `--machine` out, or say `dorainfra logs machine`"));
            }
            What::Stack => of_stack(context, extent).await?,
        }
        Ok(Exit::Done)
    }

    async fn of_machines(&self, context: &Context, extent: Extent) -> CommandResult<()> {
        let project = context.project().await?;
        project.config.require_project()?;
        let mut replicas = Names::of(&project.config).replicas;
        if let Some(machine) = &self.machine {
            replicas = vec![one(replicas, machine)?];
        }
        let client = project.client()?;
        let prefixed = replicas.len() > 1;
        let printer = &context.printer;
        let mut say = |said: Said<'_>| match said {
            Said::Line { from, line } => {
                let event = Event::MachineLog { machine: from.to_owned(), line: line.to_owned() };
                printer.log(&event, prefixed.then_some(from), line);
            }
            Said::Absent { machine } => printer.warning(
                &format!("there is no machine {machine}"),
                Some("`dorainfra apply` makes everything that is missing"),
            ),
            Said::Off { machine } => printer.warning(&format!("{machine} is off: it says nothing"), None),
        };
        Ok(logs::machines(&client, &replicas, extent, &mut say).await?)
    }
}

/// The machine that is meant.
fn one(replicas: Vec<Replica>, name: &str) -> CommandResult<Replica> {
    let names: Vec<String> = replicas.iter().map(|replica| replica.instance.clone()).collect();
    replicas.into_iter().find(|replica| replica.instance == name).ok_or_else(|| {
        CommandError::usage(format!("there is no machine `{name}`"))
            .hint(format!("there is {}", names.join(", ")))
    })
}

/// Also `stack logs`.
pub async fn of_stack(context: &Context, extent: Extent) -> CommandResult<()> {
    let config = context.project().await?.config;
    let mut told = false;
    let mut say = |said: Said<'_>| {
        if let Said::Line { from, line } = said {
            told = true;
            let event = Event::StackLog { part: from.to_owned(), line: line.to_owned() };
            context.printer.log(&event, Some(from), line);
        }
    };
    logs::stack(&context.workspace, &config, extent, &mut say).await?;
    if !told {
        context.printer.note("no part of the stack has a log here: `dorainfra stack up` starts it");
    }
    Ok(())
}

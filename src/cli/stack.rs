//! `stack`: the collector stack by itself.

use clap::{Args, Subcommand};

use super::context::{Context, Project};
use super::pipeline::{Run, phase};
use super::screen::Screen;
use super::{CommandError, CommandResult, Exit, status};
use crate::blueprint::File;
use crate::event::{Events, Phase};
use crate::stack::native::{self, Binaries, Setup};
use crate::tls::Credentials;
use crate::ui;

/// Start, stop and look at the collector stack on this machine
#[derive(Debug, Args)]
pub struct Stack {
    #[command(subcommand)]
    command: StackCommand,
}

#[derive(Debug, Subcommand)]
enum StackCommand {
    /// Start what is not running; restart what was configured otherwise
    Up,
    /// Stop all parts; their logs are kept
    Down,
    /// Show each part's state
    Status,
    /// Print the last lines of each part's log
    Logs {
        /// Lines of each part
        #[arg(long, default_value_t = 20)]
        lines: usize,
    },
}

impl Stack {
    pub async fn run(self, context: &Context) -> CommandResult {
        match self.command {
            StackCommand::Up => {
                let screen = Screen::open(&context.printer);
                let result = up(context, &screen.events).await;
                screen.close().await;
                result?;
            }
            StackCommand::Down => {
                let folder = folder(context).await?;
                let screen = Screen::open(&context.printer);
                let result = native::down(&folder, &screen.events).await;
                screen.close().await;
                result?;
            }
            StackCommand::Status => {
                let project = context.project().await?.config;
                let stack = native::status(&context.stack_folder(&project.name)).await?;
                context.printer.result(&ui::Status {
                    deployment: project.name,
                    project: project.project,
                    cloud: "this machine".into(),
                    endpoint: None,
                    resources: Vec::new(),
                    machines: Vec::new(),
                    stack: status::parts(&stack),
                    ask: None,
                });
            }
            StackCommand::Logs { lines } => {
                let stack = native::status(&folder(context).await?).await?;
                for part in &stack.parts {
                    let text = std::fs::read_to_string(&part.log).map_err(|error| {
                        CommandError::failed(format!("{} can't be read: {error}", part.log.display()))
                    })?;
                    let all: Vec<&str> = text.lines().collect();
                    for line in &all[all.len().saturating_sub(lines)..] {
                        context.printer.verbatim(&format!("{}: {line}\n", part.part.name()));
                    }
                }
            }
        }
        Ok(Exit::Done)
    }
}

async fn up(context: &Context, events: &Events) -> CommandResult<()> {
    let run = Run::begin(context, events).await?;
    phase(events, Phase::Stack, async {
        let target = run.target().await?;
        run.stack_up(&target, events).await
    })
    .await
}

async fn folder(context: &Context) -> CommandResult<std::path::PathBuf> {
    Ok(context.stack_folder(&context.project().await?.config.name))
}

impl Context {
    /// Where the native stack lives and what it runs.
    pub fn native_stack(&self, project: &Project, files: Vec<File>, tls: Option<Credentials>) -> Setup {
        let config = &project.config;
        Setup {
            dir: self.stack_folder(&config.name),
            files,
            tls,
            binaries: Binaries {
                generator: self.environment.executable.clone(),
                prometheus: config.stack.prometheus.clone(),
                pushgateway: config.stack.pushgateway.clone(),
                search: self.search(),
            },
            ports: config.stack.ports.clone(),
            generator: config.generator.clone(),
        }
    }
}

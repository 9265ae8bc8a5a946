//! `stack`: the collector stack by itself.

use clap::{Args, Subcommand};
use dorainfra_deploy::workflow::{Purpose, follow_up, phase, stack};
use dorainfra_model::{Events, Phase};

use super::context::Context;
use super::{CommandResult, Exit, logs, screen};
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
                screen::with(&context.printer, async |events| up(context, events).await).await?;
            }
            StackCommand::Down => {
                let config = context.project().await?.config;
                context.signals.finishing();
                let down =
                    async |events: &Events| stack::down(&context.workspace, &config.name, events).await;
                screen::with(&context.printer, down).await?;
            }
            StackCommand::Status => {
                let config = context.project().await?.config;
                let mut stack = stack::parts(&context.workspace, &config).await?;
                if stack.is_empty() {
                    stack = stack::stopped(&config);
                }
                let (feeds, simulated_teams) = follow_up::feeds(&context.workspace, &config);
                context.printer.result(&ui::Status {
                    sources: follow_up::sources(&config),
                    deployment: config.name,
                    project: config.project,
                    cloud: "this machine".into(),
                    endpoint: None,
                    server_name: None,
                    feeds: Some(feeds),
                    simulated_teams,
                    resources: Vec::new(),
                    machines: Vec::new(),
                    bucket: None,
                    ring: Vec::new(),
                    stack,
                    credentials: Vec::new(),
                    tunnel: None,
                    ask: None,
                });
            }
            StackCommand::Logs { lines } => {
                logs::of_stack(context, logs::Extent { lines, follow: false }).await?;
            }
        }
        Ok(Exit::Done)
    }
}

async fn up(context: &Context, events: &Events) -> CommandResult<()> {
    let run = context.run(Purpose::Use, events).await?;
    phase(events, Phase::Stack, async {
        let target = run.target().await?;
        stack::up(&run, &target, events).await
    })
    .await?;
    Ok(())
}

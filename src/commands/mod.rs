//! The command line: one file a command, each the arguments and the calls.
//! Only here (and in `main`) is the environment read; only through `ui` does
//! anything reach the terminal.

mod adoption;
mod apply;
mod arguments;
mod collect;
mod completions;
mod connect;
mod context;
mod credentials;
mod destroy;
mod doctor;
#[cfg(test)]
mod documented;
mod drift;
mod environment;
mod error;
mod event;
mod explain;
mod export;
mod generate;
mod init;
mod interrupt;
mod list;
mod logs;
mod man;
mod open;
mod output;
mod panics;
mod plan;
mod query;
mod reference;
mod render;
mod report;
mod sandbox;
mod screen;
mod stack;
mod status;
mod summary;
mod times;
mod troubleshooting;
mod usage;
mod validate;
mod verify;

use std::ffi::OsString;
use std::time::Duration;

use clap::{Parser, Subcommand};

use self::arguments::Global;
use self::interrupt::Signals;
use crate::ui::Printer;

pub use environment::Environment;
pub use error::{CommandError, CommandResult, Exit};
pub use reference::reference;

/// A durable, private Grafana Mimir on Google Cloud, fed with DORA metrics and proven to the last sample.
///
/// Start without an account: `dorainfra sandbox start --detach`, then
/// `dorainfra --sandbox apply`. Everything that `apply` would do is shown by `plan`.
#[derive(Debug, Parser)]
#[command(name = "dorainfra", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Init(init::Init),
    Plan(plan::PlanCommand),
    Apply(apply::Apply),
    Destroy(destroy::Destroy),
    Status(status::Status),
    Verify(verify::Verify),
    Render(render::Render),
    Report(report::Report),
    Query(query::QueryCommand),
    Output(output::OutputCommand),
    List(list::List),
    Drift(drift::DriftCommand),
    Generate(generate::Generate),
    Collect(collect::Collect),
    Event(event::EventCommand),
    Stack(stack::Stack),
    Logs(logs::Logs),
    Open(open::Open),
    Connect(connect::Connect),
    Credentials(credentials::Credentials),
    Sandbox(sandbox::Sandbox),
    Doctor(doctor::Doctor),
    Validate(validate::Validate),
    Explain(explain::Explain),
    Export(export::ExportCommand),
    Completions(completions::Completions),
    Man(man::Man),
}

/// Each `--set` of a command line that was understood, in its order. Of a flag that is given
/// before the command and after it, clap keeps only what comes after.
fn settings(arguments: &[OsString]) -> Vec<String> {
    let mut texts = arguments.iter().filter_map(|argument| argument.to_str());
    let mut settings = Vec::new();
    while let Some(text) = texts.next() {
        match text.strip_prefix("--set") {
            Some("") => settings.extend(texts.next().map(str::to_owned)),
            Some(rest) => settings.extend(rest.strip_prefix('=').map(str::to_owned)),
            None => {}
        }
    }
    settings
}

/// Parses the arguments, runs the command, shows its error; answers the exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>, environment: Environment) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(mut cli) => {
            cli.global.set = settings(&arguments);
            // Whoever names one does not mean Google.
            cli.global.sandbox |= cli.global.sandbox_dir.is_some();
            cli
        }
        Err(error) => return usage::show(&error, &arguments).code(),
    };
    panics::watch(context::printer(&cli.global, &environment), &environment.variables);
    // The process-wide TLS provider; a second call in the same process is harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let printer = context::printer(&cli.global, &environment);
    let signals = Signals::default();
    let (ends, ended) = std::sync::mpsc::channel::<Exit>();
    let (given_up, shown) = (ends.clone(), printer.clone());
    // On a thread of its own: what waits for a person or for a full pipe hears of no signal,
    // and must not hold the exit.
    let work = std::thread::Builder::new().stack_size(STACK).spawn(move || {
        let code = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => {
                let code = runtime.block_on(async {
                    signals.watch(&printer);
                    tokio::spawn(give_up(signals.clone(), printer.clone(), given_up));
                    run(cli, environment, printer, signals).await
                });
                // Nor must a reader of stdin or of a child's pipe.
                runtime.shutdown_background();
                code
            }
            Err(error) => {
                show(
                    &printer,
                    &CommandError::failed(format!("the runtime can't start: {error}")),
                    Exit::Failed,
                );
                Exit::Failed
            }
        };
        let _ = ends.send(code);
    });
    match work {
        Ok(work) => ended
            .recv()
            .unwrap_or_else(|_| match work.join() {
                Err(panic) => {
                    shown.end(false, panics::CODE);
                    std::panic::resume_unwind(panic)
                }
                Ok(()) => Exit::Failed,
            })
            .code(),
        Err(_) => Exit::Failed.code(),
    }
}

/// As much room as the main thread has.
const STACK: usize = 8 << 20;
/// How long a command that is dropped has to let go of what it holds.
const LETS_GO_WITHIN: Duration = Duration::from_millis(500);

/// Ends a command that was to be dropped and does not come to a point where it can be.
async fn give_up(signals: Signals, printer: Printer, ends: std::sync::mpsc::Sender<Exit>) {
    signals.over().await;
    tokio::time::sleep(LETS_GO_WITHIN).await;
    // Who holds the output may be what it waits for.
    let exit = signals.code();
    let show = move || show(&printer, &interrupted(false), exit);
    let _ = tokio::time::timeout(LETS_GO_WITHIN, tokio::task::spawn_blocking(show)).await;
    let _ = ends.send(exit);
}

fn show(printer: &Printer, error: &CommandError, exit: Exit) {
    let mut hints = vec![error.next_step()];
    hints.extend(error.topic().map(|topic| format!("`dorainfra explain {topic}` says more")));
    printer.error(&error.to_string(), &error.causes(), &hints, exit.code());
    printer.end(false, exit.code());
}

/// `had_time`: the command could have ended by itself after the first signal.
fn interrupted(had_time: bool) -> CommandError {
    match had_time {
        true => {
            CommandError::failed("stopped at once").hint("run the same command again: it finds what was made")
        }
        false => CommandError::failed("interrupted").hint("run the same command again"),
    }
    .exit(Exit::Interrupted)
}

async fn carry_out(command: Command, context: &context::Context) -> CommandResult {
    match command {
        Command::Init(command) => command.run(context).await,
        Command::Plan(command) => command.run(context).await,
        Command::Apply(command) => command.run(context).await,
        Command::Destroy(command) => command.run(context).await,
        Command::Status(command) => command.run(context).await,
        Command::Verify(command) => command.run(context).await,
        Command::Render(command) => command.run(context).await,
        Command::Query(command) => command.run(context).await,
        Command::Output(command) => command.run(context).await,
        Command::List(command) => command.run(context).await,
        Command::Drift(command) => command.run(context).await,
        Command::Report(command) => command.run(context).await,
        Command::Generate(command) => command.run(context).await,
        Command::Collect(command) => command.run(context).await,
        Command::Event(command) => command.run(context).await,
        Command::Stack(command) => command.run(context).await,
        Command::Logs(command) => command.run(context).await,
        Command::Open(command) => command.run(context).await,
        Command::Connect(command) => command.run(context).await,
        Command::Credentials(command) => command.run(context).await,
        Command::Sandbox(command) => command.run(context).await,
        Command::Doctor(command) => command.run(context).await,
        Command::Validate(command) => command.run(context).await,
        Command::Explain(command) => command.run(context).await,
        Command::Export(command) => command.run(context).await,
        Command::Completions(command) => command.run(context).await,
        Command::Man(command) => command.run(context).await,
    }
}

async fn run(cli: Cli, environment: Environment, printer: Printer, signals: Signals) -> Exit {
    let context = context::Context::new(cli.global, environment, printer.clone(), signals);
    let result = tokio::select! {
        result = carry_out(cli.command, &context) => result,
        () = context.signals.over() => Err(interrupted(context.signals.had_time())),
    };
    let result = result.and_then(|exit| {
        printer.end(matches!(exit, Exit::Done | Exit::Changes), exit.code());
        // A full disk behind `> file` is a failure like any other.
        printer
            .finish()
            .map_err(|error| CommandError::failed(format!("the output can't be written: {error}")))?;
        Ok(exit)
    });
    match result {
        Ok(exit) => exit,
        Err(error) => {
            let exit = match error.exit {
                Exit::Interrupted => context.signals.code(),
                exit => exit,
            };
            show(&printer, &error, exit);
            exit
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_before_and_after_the_command_all_count() {
        let words = ["dorainfra", "--set", "a=1", "plan", "--set=b=2", "--json", "--set", "c=3"];
        let arguments = words.map(OsString::from);
        assert!(Cli::try_parse_from(&arguments).is_ok());
        assert_eq!(settings(&arguments), ["a=1", "b=2", "c=3"]);
    }

    /// An argument with the id of a global option is taken for that option.
    #[test]
    fn no_argument_has_the_id_of_a_global_option() {
        fn ids(command: &clap::Command, global: bool) -> impl Iterator<Item = String> {
            let own = command.get_arguments().filter(move |argument| argument.is_global_set() == global);
            own.map(|argument| argument.get_id().to_string())
        }
        fn check(command: &clap::Command, global: &[String]) {
            for other in command.get_subcommands() {
                let same: Vec<String> = ids(other, false).filter(|id| global.contains(id)).collect();
                assert!(same.is_empty(), "{}: {same:?}", other.get_name());
                check(other, global);
            }
        }
        let command = <Cli as clap::CommandFactory>::command();
        let global: Vec<String> = ids(&command, true).collect();
        assert!(global.contains(&"project".to_owned()), "{global:?}");
        check(&command, &global);
    }
}

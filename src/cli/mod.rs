//! The command line: one file a command, each the arguments and the calls.
//! Only here (and in `main`) is the environment read; only through `ui` does
//! anything reach the terminal.

mod apply;
mod bucket;
mod caller;
mod collect;
mod completions;
mod context;
mod credentials;
mod destroy;
mod doctor;
mod endpoint;
mod environment;
mod error;
mod generate;
mod history;
mod holder;
mod init;
mod interrupt;
mod live;
mod panics;
mod pipeline;
mod plan;
mod planning;
mod reach;
mod reference;
mod render;
mod report;
mod sandbox;
mod saved;
mod screen;
mod selection;
mod sources;
mod stack;
mod status;
mod summary;
mod told;
mod verify;
mod watch;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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

/// Flags that every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Configuration file [default: dorainfra.yaml, where there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Google Cloud project; overrides `project` of the configuration
    #[arg(long, global = true, value_name = "ID")]
    pub project: Option<String>,
    /// Override a configuration key, for example `--set mimir.disk_gb=50`
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// A Mimir binary on this machine; the same as `--set mimir.binary=PATH`
    #[arg(long, global = true, value_name = "PATH")]
    pub mimir_binary: Option<PathBuf>,
    /// Use the sandbox that `dorainfra sandbox start` runs, instead of Google
    #[arg(long, global = true)]
    pub sandbox: bool,
    /// Print one JSON event or result a line
    #[arg(long, global = true, conflicts_with = "quiet")]
    pub json: bool,
    /// Print errors, warnings and results only
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Print more: what starts, and the fields of what is created
    #[arg(long, short, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Print without colours; NO_COLOR does the same
    #[arg(long, global = true)]
    pub no_color: bool,
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
    Generate(generate::Generate),
    Collect(collect::Collect),
    Stack(stack::Stack),
    Credentials(credentials::Credentials),
    Sandbox(sandbox::Sandbox),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
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
            cli
        }
        Err(error) => {
            // clap prints help and version to stdout, errors to stderr.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage as u8 } else { Exit::Done as u8 };
        }
    };
    panics::watch(context::printer(&cli.global, &environment), &environment.variables);
    // The process-wide TLS provider; a second call in the same process is harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            context::printer(&cli.global, &environment).error(
                &format!("the runtime can't start: {error}"),
                &[],
                &[],
                Exit::Failed as u8,
            );
            return Exit::Failed as u8;
        }
    };
    let code = runtime.block_on(run(cli, environment));
    // A reader of stdin or a child's pipe must not hold the exit.
    runtime.shutdown_background();
    code as u8
}

async fn run(cli: Cli, environment: Environment) -> Exit {
    let printer = context::printer(&cli.global, &environment);
    let context = context::Context::new(cli.global, environment, printer.clone());
    context.signals.watch(&printer);
    let work = async {
        match cli.command {
            Command::Init(command) => command.run(&context).await,
            Command::Plan(command) => command.run(&context).await,
            Command::Apply(command) => command.run(&context).await,
            Command::Destroy(command) => command.run(&context).await,
            Command::Status(command) => command.run(&context).await,
            Command::Verify(command) => command.run(&context).await,
            Command::Render(command) => command.run(&context).await,
            Command::Report(command) => command.run(&context).await,
            Command::Generate(command) => command.run(&context).await,
            Command::Collect(command) => command.run(&context).await,
            Command::Stack(command) => command.run(&context).await,
            Command::Credentials(command) => command.run(&context).await,
            Command::Sandbox(command) => command.run(&context).await,
            Command::Doctor(command) => command.run(&context).await,
            Command::Completions(command) => command.run(&context).await,
        }
    };
    let result = tokio::select! {
        result = work => result,
        () = context.signals.over() => Err(match context.signals.had_time() {
            true => CommandError::failed("stopped at once")
                .hint("run the same command again: it finds what was made"),
            false => CommandError::failed("interrupted").hint("run the same command again"),
        }
        .exit(Exit::Interrupted)),
    };
    let result = result.and_then(|exit| {
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
            printer.error(&error.message, &[], &[error.next_step()], exit as u8);
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
}

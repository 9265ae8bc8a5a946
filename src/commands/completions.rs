//! `completions`: what a shell needs to complete this program's words.

use clap::{Args, CommandFactory as _};

use super::context::Context;
use super::{Cli, CommandResult, Exit};

/// Print the completion script of a shell
///
/// For bash: `dorainfra completions bash > /etc/bash_completion.d/dorainfra`
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

impl Completions {
    pub async fn run(self, context: &Context) -> CommandResult {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "dorainfra", &mut script);
        context.printer.verbatim(&String::from_utf8_lossy(&script));
        Ok(Exit::Done)
    }
}

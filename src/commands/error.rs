//! How a command fails: what failed and why, what to do next, and the exit code. Every
//! error of the library becomes one of these here and nowhere else.

use std::fmt;

use dorainfra_deploy::artifact::ArtifactError;
use dorainfra_deploy::machine::MachineError;
use dorainfra_deploy::workflow::{Error, InputError, Interrupted, PlanError};
use dorainfra_engine::EngineError;

use super::panics;

/// The exit codes, as documented in docs/exit-codes.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    /// Only ever under `plan --detailed-exitcode`.
    Changes = 2,
    /// Wrong usage or configuration; nothing was changed.
    Usage = 3,
    LeaseHeld = 4,
    PlanStale = 5,
    VerifyFailed = 6,
    Interrupted = 130,
    /// Ended by SIGTERM.
    Terminated = 143,
}

/// A command's failure.
#[derive(Debug)]
pub struct CommandError {
    pub exit: Exit,
    /// What failed, and all that caused it.
    error: anyhow::Error,
    pub hint: Option<String>,
}

pub type CommandResult<T = Exit> = Result<T, CommandError>;

impl CommandError {
    fn new(exit: Exit, error: impl Into<anyhow::Error>, hint: Option<String>) -> Self {
        Self { exit, error: error.into(), hint }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, anyhow::Error::msg(message.into()), None)
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, anyhow::Error::msg(message.into()), None)
    }

    /// The causes, the nearest first.
    pub fn causes(&self) -> Vec<String> {
        dorainfra_base::error::chain(self.error.as_ref()).skip(1).map(ToString::to_string).collect()
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What to do next, for errors that don't say it themselves, too.
    pub fn next_step(&self) -> String {
        self.hint.clone().unwrap_or_else(|| match self.exit {
            Exit::Usage => "`dorainfra COMMAND --help` and docs/configuration.md say what is taken".into(),
            _ => panics::report_it("run the same command again, with -v; if it fails again, "),
        })
    }

    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl From<Error> for CommandError {
    fn from(error: Error) -> Self {
        let (exit, hint) = (exit_of(&error), error.hint());
        Self::new(exit, error, hint)
    }
}

/// What a run's failure means for whoever started it.
fn exit_of(error: &Error) -> Exit {
    match error {
        Error::Blueprint(_)
        | Error::Config(_)
        | Error::Export(_)
        | Error::Input(_)
        | Error::Project(_)
        | Error::Render(_)
        | Error::Artifact(ArtifactError::OtherVersion { .. })
        | Error::Engine(EngineError::UnknownTarget { .. }) => Exit::Usage,
        Error::Engine(EngineError::LeaseHeld { .. }) => Exit::LeaseHeld,
        Error::Plan(_)
        | Error::Engine(
            EngineError::Stale(_) | EngineError::Meanwhile { .. } | EngineError::OtherDeployment { .. },
        ) => Exit::PlanStale,
        Error::Interrupted(_) | Error::Machine(MachineError::Interrupted(_)) => Exit::Interrupted,
        Error::Artifact(_)
        | Error::CallerUnknown { .. }
        | Error::Cloud(_)
        | Error::Compose(_)
        | Error::Down { .. }
        | Error::EndedEarly(_)
        | Error::Engine(_)
        | Error::Files(_)
        | Error::Gateway(_)
        | Error::Http(_)
        | Error::Incomplete { .. }
        | Error::Live(_)
        | Error::Machine(_)
        | Error::NoDeployment
        | Error::NoEngine { .. }
        | Error::NoMachine
        | Error::OtherHistory { .. }
        | Error::Provider(_)
        | Error::Query(_)
        | Error::Reach(_)
        | Error::Remaining { .. }
        | Error::ServicesOff { .. }
        | Error::Source(_)
        | Error::Stack(_)
        | Error::StandInsForHa
        | Error::Target(_)
        | Error::Unmakeable { .. }
        | Error::Unreachable { .. }
        | Error::Unwritable { .. }
        | Error::Upload(_)
        | Error::Write(_) => Exit::Failed,
    }
}

/// Errors that a run can have as well.
macro_rules! as_in_a_run {
    ($($error:ty),+ $(,)?) => {$(
        impl From<$error> for CommandError {
            fn from(error: $error) -> Self {
                Error::from(error).into()
            }
        }
    )+};
}

as_in_a_run!(
    InputError,
    Interrupted,
    MachineError,
    PlanError,
    dorainfra_config::ConfigErrors,
    dorainfra_config::ProjectMissing,
    dorainfra_deploy::blueprint::BlueprintError,
    dorainfra_deploy::stack::compose::ComposeError,
    dorainfra_deploy::stack::native::StackError,
    dorainfra_dora::live::LiveError,
    dorainfra_dora::source::SourceError,
    dorainfra_gcp::Error,
    dorainfra_pki::FilesError,
    dorainfra_prometheus::TargetError,
    dorainfra_prometheus::pushgateway::GatewayError,
    dorainfra_prometheus::query::QueryError,
    dorainfra_prometheus::remote_write::WriteError,
);

/// An error with a message and a `hint()` of its own.
macro_rules! of_a_command {
    ($exit:expr; $($error:ty),+ $(,)?) => {$(
        impl From<$error> for CommandError {
            fn from(error: $error) -> Self {
                let hint = error.hint();
                Self::new($exit, error, hint)
            }
        }
    )+};
}

of_a_command!(Exit::Failed; dorainfra_gcp_sandbox::SandboxError, dorainfra_gcp_sandbox::machine::NspawnError);
of_a_command!(Exit::Usage; crate::ui::PromptError);

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_caused_a_failure_reaches_the_edge() {
        let inner = io::Error::other(anyhow::anyhow!("the disk is full").context("write"));
        let error = CommandError::from(Error::Unwritable { path: "plan.json".into(), source: inner });
        assert_eq!(error.to_string(), "plan.json can't be written: write");
        assert_eq!(error.causes(), ["write", "write", "the disk is full"]);
        assert_eq!(CommandError::usage("no such day").causes(), [""; 0]);
    }
}

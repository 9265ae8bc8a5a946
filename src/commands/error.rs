//! How a command fails: one sentence, what to do next, and the exit code. Every
//! error of the library becomes one of these here and nowhere else.

use std::fmt;

use dorainfra_deploy::machine::MachineError;
use dorainfra_engine::{EngineError, ProviderError};

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
    pub message: String,
    pub hint: Option<String>,
}

pub type CommandResult<T = Exit> = Result<T, CommandError>;

impl CommandError {
    pub fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into(), hint: None }
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into(), hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What to do next, for errors that don't say it themselves, too.
    pub fn next_step(&self) -> String {
        self.hint.clone().unwrap_or_else(|| match self.exit {
            Exit::Usage => "`dorainfra COMMAND --help` and docs/configuration.md say what is taken".into(),
            _ => super::panics::report_it("run the same command again, with -v; if it fails again, "),
        })
    }

    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// An error with a message and a `hint()` of its own, as a plain failure.
macro_rules! failure {
    ($($error:ty),+ $(,)?) => {$(
        impl From<$error> for CommandError {
            fn from(error: $error) -> Self {
                Self { exit: Exit::Failed, message: error.to_string(), hint: error.hint() }
            }
        }
    )+};
}

/// The same, where nothing was done because what was given is wrong.
macro_rules! wrong_usage {
    ($($error:ty),+ $(,)?) => {$(
        impl From<$error> for CommandError {
            fn from(error: $error) -> Self {
                Self { exit: Exit::Usage, message: error.to_string(), hint: error.hint() }
            }
        }
    )+};
}

failure!(
    dorainfra_dora::live::LiveError,
    dorainfra_prometheus::pushgateway::GatewayError,
    dorainfra_prometheus::remote_write::WriteError,
    dorainfra_dora::source::SourceError,
    dorainfra_prometheus::upload::UploadError,
    dorainfra_gcp::Error,
    dorainfra_deploy::resource::ReachError,
    dorainfra_gcp_sandbox::SandboxError,
    dorainfra_gcp_sandbox::machine::NspawnError,
    dorainfra_prometheus::TargetError,
    dorainfra_deploy::stack::compose::ComposeError,
    dorainfra_deploy::stack::native::StackError,
    dorainfra_pki::FilesError,
);

wrong_usage!(
    dorainfra_deploy::blueprint::BlueprintError,
    dorainfra_config::ConfigErrors,
    dorainfra_config::ProjectMissing,
    dorainfra_render::RenderError,
    crate::ui::PromptError,
);

impl From<dorainfra_deploy::artifact::ArtifactError> for CommandError {
    fn from(error: dorainfra_deploy::artifact::ArtifactError) -> Self {
        let exit = match error {
            dorainfra_deploy::artifact::ArtifactError::OtherVersion { .. } => Exit::Usage,
            _ => Exit::Failed,
        };
        Self { exit, message: error.to_string(), hint: error.hint() }
    }
}

impl From<dorainfra_prometheus::query::QueryError> for CommandError {
    fn from(error: dorainfra_prometheus::query::QueryError) -> Self {
        let hint = error.hint();
        Self::failed(error.to_string()).hint(hint)
    }
}

impl From<MachineError> for CommandError {
    fn from(error: MachineError) -> Self {
        let exit = match error {
            MachineError::Interrupted(_) => Exit::Interrupted,
            _ => Exit::Failed,
        };
        Self { exit, message: error.to_string(), hint: error.hint() }
    }
}

impl From<EngineError> for CommandError {
    fn from(error: EngineError) -> Self {
        let exit = match &error {
            EngineError::LeaseHeld { .. } => Exit::LeaseHeld,
            EngineError::Stale(_) | EngineError::Meanwhile { .. } | EngineError::OtherDeployment { .. } => {
                Exit::PlanStale
            }
            EngineError::UnknownTarget { .. } => Exit::Usage,
            _ => Exit::Failed,
        };
        Self { exit, message: error.to_string(), hint: error.hint() }
    }
}

impl From<ProviderError> for CommandError {
    fn from(error: ProviderError) -> Self {
        Self { exit: Exit::Failed, message: error.message, hint: error.hint }
    }
}

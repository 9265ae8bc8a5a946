//! How a command fails: what failed and why, what to do next, and the exit code. Every
//! error of the library becomes one of these here and nowhere else.

use std::fmt;

use dorainfra_deploy::artifact::ArtifactError;
use dorainfra_deploy::machine::MachineError;
use dorainfra_deploy::workflow::tunnel::TunnelError;
use dorainfra_deploy::workflow::{Error, InputError, Interrupted, PlanError};
use dorainfra_engine::EngineError;

use super::{panics, troubleshooting};

/// The exit codes, as documented in docs/exit-codes.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done,
    Failed,
    /// Only ever of `plan --detailed-exitcode` and `drift`.
    Changes,
    /// Wrong usage or configuration; nothing was changed.
    Usage,
    LeaseHeld,
    PlanStale,
    VerifyFailed,
    Interrupted,
    /// Ended by SIGTERM.
    Terminated,
    /// That of a command of the user's, which was run.
    Of(u8),
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Changes => 2,
            Self::Usage => 3,
            Self::LeaseHeld => 4,
            Self::PlanStale => 5,
            Self::VerifyFailed => 6,
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::Of(code) => code,
        }
    }
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
        let error = error.into();
        // Whatever was being written: nothing else helps.
        let hint = if troubleshooting::is_full(error.as_ref()) { Some(MAKE_ROOM.to_owned()) } else { hint };
        Self { exit, error, hint }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, anyhow::Error::msg(message.into()), None)
    }

    /// Somebody said no.
    pub fn declined(message: impl Into<String>) -> Self {
        Self::failed(message).hint("answer `y` to go on; `--yes` does not ask")
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, anyhow::Error::msg(message.into()), None)
    }

    /// With what it came from, which its words may have already. Goes last: a full disk has its own hint.
    pub fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        let message = self.error.to_string();
        self.error = anyhow::Error::new(source).context(message);
        Self::new(self.exit, self.error, self.hint)
    }

    /// The causes, the nearest first.
    pub fn causes(&self) -> Vec<String> {
        dorainfra_base::error::chain(self.error.as_ref()).skip(1).map(ToString::to_string).collect()
    }

    /// The section of docs/troubleshooting.md that it belongs to.
    pub fn topic(&self) -> Option<&'static str> {
        match self.exit {
            Exit::VerifyFailed => Some("verification-failed"),
            _ => troubleshooting::topic(self.error.as_ref()),
        }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What to do next, for errors that don't say it themselves, too.
    pub fn next_step(&self) -> String {
        self.hint.clone().unwrap_or_else(|| match self.exit {
            Exit::Usage => "see `dorainfra COMMAND --help` and docs/configuration.md".into(),
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

const MAKE_ROOM: &str = "the disk is full, or this user's quota of it: make room (`df -h .` shows how much is left), and \
                         run the same command again";

/// What a run's failure means for whoever started it.
fn exit_of(error: &Error) -> Exit {
    match error {
        Error::Tunnel(TunnelError::NoMachine { .. })
        | Error::Blueprint(_)
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
        | Error::Tunnel(_)
        | Error::Unmakeable { .. }
        | Error::Unreachable { .. }
        | Error::Unreadable { .. }
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
    TunnelError,
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
    fn a_full_disk_says_so_whatever_was_being_written() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let error = CommandError::from(Error::Unwritable { path: "plan.json".into(), source: full() });
        assert!(error.next_step().contains("the disk is full"));
        let error =
            CommandError::from(Error::Unwritable { path: "plan.json".into(), source: io::Error::other("x") });
        assert!(!error.next_step().contains("is full"));
        let error = CommandError::failed("the events can't be written").hint("another file").because(full());
        assert!(error.next_step().contains("the disk is full") && error.causes().len() == 1, "{error:?}");
        assert_eq!(error.to_string(), "the events can't be written");
    }

    /// One of each crate: what it came from is not only in its words.
    #[test]
    fn each_crate_s_errors_keep_what_they_come_from() {
        use dorainfra_base::error::{Why, chain};
        use dorainfra_deploy::stack::native::StackError;
        use dorainfra_dora::source::SourceError;
        use dorainfra_prometheus::query::QueryError;
        use dorainfra_prometheus::{TargetError, pushgateway::Gateway};

        let lost = || io::Error::other("the line was cut");
        let why = || Why::of(lost());
        let cause = || Some(dorainfra_engine::Cause::from(Box::from(lost())));
        let (what, reason, host) = <(String, String, String)>::default();
        let cloud = dorainfra_gcp::Error::Transport { what, reason, sent: true, source: cause() };
        let provider = dorainfra_engine::ProviderError::from(cloud.clone());
        let unreachable = dorainfra_gcp::Error::Unreachable {
            host,
            what: String::new(),
            reason: String::new(),
            tried: std::time::Duration::ZERO,
            sent: false,
            source: cause(),
        };
        let errors: Vec<Box<dyn std::error::Error + Send + Sync>> = vec![
            Box::new(Error::Cloud(cloud)),
            Box::new(Error::Cloud(unreachable)),
            Box::new(Error::Cloud(dorainfra_gcp::Error::Credentials(why()))),
            Box::new(Error::Engine(EngineError::Listing { error: provider })),
            Box::new(Error::Source(SourceError::Journal(why()))),
            Box::new(Error::Source(SourceError::Unreachable { url: String::new(), message: why() })),
            Box::new(Error::Query(QueryError::Unreachable(why()))),
            Box::new(Error::Target(TargetError::Client(why()))),
            Box::new(Error::Stack(StackError::Record { path: "r".into(), message: why() })),
            Box::new(Error::Artifact(ArtifactError::BadLock { path: "l".into(), reason: why() })),
            Box::new(Error::Input(InputError::Endpoint { url: String::new(), why: why() })),
            Box::new(dorainfra_pki::TlsError::Damaged(why())),
            Box::new(dorainfra_gcp_sandbox::SandboxError::NoAnswer { port: 1, why: why() }),
        ];
        for error in errors {
            let is_io = |cause: &(dyn std::error::Error + 'static)| cause.is::<io::Error>();
            assert!(chain(&*error).any(is_io), "{error:?} has lost what it came from");
        }
        let address = Gateway::new("no address").unwrap_err();
        assert!(chain(&address).count() > 1, "{address:?}");
    }

    #[test]
    fn what_caused_a_failure_reaches_the_edge() {
        let inner = io::Error::other(anyhow::anyhow!("the disk is full").context("write"));
        let error = CommandError::from(Error::Unwritable { path: "plan.json".into(), source: inner });
        assert_eq!(error.to_string(), "plan.json can't be written: write");
        assert_eq!(error.causes(), ["write", "write", "the disk is full"]);
        assert_eq!(CommandError::usage("no such day").causes(), [""; 0]);
    }
}

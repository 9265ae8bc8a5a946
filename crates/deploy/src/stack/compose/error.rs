//! Why the containers could not be started, stopped or looked at.

use dorainfra_base::error::Why;
use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    #[error("no Docker engine answers: `{command}`: {reason}")]
    NoEngine {
        command: String,
        #[source]
        reason: Why,
    },
    #[error("Docker {engine} answers, but there is no Compose")]
    NoCompose { engine: String },
    #[error("`{command}` failed: {reason}")]
    Failed { command: String, reason: String },
    #[error("the container {service} does not become healthy ({words}){}", quoted(.log))]
    NotHealthy { service: String, words: String, log: Vec<String> },
    #[error("the Docker engine answered something unexpected, `{what}`: {reason}")]
    Unexpected {
        what: String,
        #[source]
        reason: Why,
    },
    #[error("{} can't be prepared: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
}

fn quoted(log: &[String]) -> String {
    if log.is_empty() {
        return String::new();
    }
    format!("; its last lines:\n  {}", log.join("\n  "))
}

impl ComposeError {
    pub(super) fn of_file((path, source): (PathBuf, io::Error)) -> Self {
        Self::File { path, source }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::NoEngine { .. } => {
                    "start Docker and make sure that this user may use it, or run the stack without: \
                     `--set stack.runtime=native`"
                }
                Self::NoCompose { .. } => {
                    "install docker-compose-plugin or docker-compose, or run the stack without: \
                     `--set stack.runtime=native`"
                }
                Self::Failed { .. } => "the reason above is Docker's own; images have to be pulled once",
                Self::NotHealthy { .. } => "`dorainfra stack logs` shows more of it",
                Self::Unexpected { .. } => return None,
                Self::File { .. } => "check the folder's permissions and the free space",
            }
            .into(),
        )
    }
}

//! Why the stack could not be started, stopped or looked at.

use std::io;
use std::path::{Path, PathBuf};

use dorainfra_base::error::Why;
use dorainfra_prometheus::pushgateway::GatewayError;

use super::part::Part;

#[derive(Debug, thiserror::Error)]
pub enum StackError {
    #[error("no `{binary}` was found for the collector stack ({searched})")]
    Missing { binary: &'static str, setting: &'static str, searched: String },
    #[error("`{}` cannot be run: {message}", path.display())]
    NotRunnable {
        path: PathBuf,
        setting: &'static str,
        #[source]
        message: Why,
    },
    #[error("port {port} on 127.0.0.1, which the {part} needs, is in use")]
    PortInUse { port: u16, part: Part },
    #[error("port {port} on 127.0.0.1, which the {part} needs, cannot be listened on: {message}")]
    Port {
        port: u16,
        part: Part,
        #[source]
        message: Why,
    },
    #[error("the {part} ended while it was starting{}", quoted(.log))]
    Died { part: Part, log: Vec<String>, log_file: PathBuf },
    #[error("the {part} was not ready after {seconds} s{}", quoted(.log))]
    NotReady { part: Part, seconds: u64, log: Vec<String>, log_file: PathBuf },
    #[error("the disk is full: {} cannot be written", path.display())]
    DiskFull { path: PathBuf },
    #[error("{what} `{}`: {source}", path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("the record of the running stack `{}` cannot be read: {message}", path.display())]
    Record {
        path: PathBuf,
        #[source]
        message: Why,
    },
    #[error("another dorainfra is starting or stopping the stack in `{}`", dir.display())]
    Busy { dir: PathBuf },
    #[error("the rendered files hold no `{0}`")]
    NotRendered(&'static str),
    #[error("the {part} (pid {pid}) does not end, not even when killed")]
    Immortal { part: Part, pid: i32 },
    #[error(transparent)]
    Gateway(#[from] GatewayError),
}

fn quoted(log: &[String]) -> String {
    if log.is_empty() {
        return String::new();
    }
    format!("; its last lines:\n  {}", log.join("\n  "))
}

impl StackError {
    /// An error of a file, told apart from a full disk.
    pub(super) fn file(what: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path: path.clone() }
            }
            _ => Self::File { what, path: path.clone(), source },
        }
    }

    /// Of what a job of the user's names, or of its copy.
    pub(super) fn of_copy((path, source): (PathBuf, io::Error)) -> Self {
        Self::file("cannot copy for the collector", &path)(source)
    }

    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Missing { setting, .. } => format!(
                "`apt-get install prometheus prometheus-pushgateway`, or name the program in `{setting}`"
            ),
            Self::NotRunnable { setting, .. } => {
                format!("check that `{setting}` names an executable for this machine")
            }
            Self::PortInUse { port, part } => format!(
                "stop what listens there (`ss -ltnp sport = :{port}`), or set `{}` to a free port",
                part.port_setting()
            ),
            Self::Port { part, .. } => format!("set `{}` to a port above 1023", part.port_setting()),
            Self::Died { log_file, .. } | Self::NotReady { log_file, .. } => {
                format!("the whole log is in {}; after a change, `dorainfra stack up`", log_file.display())
            }
            Self::DiskFull { path } => {
                let dir = path.parent().unwrap_or(path).display();
                format!("make room on the file system of {dir} (`df -h {dir}`), then `dorainfra stack up`")
            }
            Self::Record { path, .. } => {
                format!(
                    "stop what is left of the stack, delete {}, then `dorainfra stack up`",
                    path.display()
                )
            }
            Self::Busy { .. } => "wait until it is done, then try again".into(),
            Self::File { .. } | Self::NotRendered(_) | Self::Immortal { .. } => return None,
            Self::Gateway(error) => return error.hint(),
        })
    }
}

//! The one place from which other programs are started. What this process was given
//! (tokens of forges, a webhook's secret, Google's credentials) is no concern of theirs:
//! a child sees the variables that any program needs, and those that it is given by name.

use std::ffi::OsStr;

pub use tokio::process::{Child, Command};

/// What any program may look at: where programs and files are, language, time, terminal.
const COMMON: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "TMPDIR",
    "TZ",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LC_MESSAGES",
    "NO_COLOR",
    "XDG_RUNTIME_DIR",
];

/// For programs that reach other machines: proxies, and whom to trust.
pub const NETWORK: &[&str] = &[
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// For Docker's own programs: which engine, and how it is reached.
pub const DOCKER: &[&str] = &[
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
    "DOCKER_API_VERSION",
    "SSH_AUTH_SOCK",
];

/// A program that is yet to be started, with the common variables only, and nothing
/// to read.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = bare(program);
    hand_on(&mut command, COMMON);
    command
}

/// One without any variable: whoever starts it says which.
pub fn bare(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(std::process::Stdio::null());
    command
}

/// Asks a program to end, by SIGTERM.
pub fn terminate(child: &Child) {
    let id = child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(id) = id {
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
    }
}

/// Hands on variables of these names, those that are set.
pub fn hand_on(command: &mut Command, names: &[&str]) {
    for (name, value) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| names.contains(&name)) {
            command.env(name, value);
        }
    }
}

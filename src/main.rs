//! Parse, call, and the one place that turns an error into an exit code.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let environment = dorainfra::commands::Environment::of_process();
    // Google's client of Cloud Storage takes its proxy from the environment and from nowhere
    // else: the exception for this machine has to be there when the process begins.
    if let Some(exceptions) = environment.proxy_exceptions() {
        let mut again = Command::new(&environment.executable);
        again.args(std::env::args_os().skip(1)).env("NO_PROXY", &exceptions).env("no_proxy", &exceptions);
        // It only returns where the program cannot be started, and then this one goes on.
        let _ = again.exec();
    }
    ExitCode::from(dorainfra::commands::main(std::env::args_os(), environment))
}

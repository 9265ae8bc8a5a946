//! Parse, call, and the one place that turns an error into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    let environment = dorainfra::cli::Environment::of_process();
    ExitCode::from(dorainfra::cli::main(std::env::args_os(), environment))
}

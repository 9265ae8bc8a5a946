//! What is Google's own and only there for tests: its Python clients, and the
//! discovery documents of its APIs. `scripts/setup --tests` installs both.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
#![allow(dead_code, reason = "each test binary uses its part")]

mod discovery;
#[path = "../installed.rs"]
mod installed;
mod schema;

use std::path::PathBuf;

#[allow(unused_imports, reason = "each test binary uses its part")]
pub use discovery::{Documents, Example};
#[allow(unused_imports, reason = "each test binary uses its part")]
pub use installed::installed;

/// The variable by which programs are found.
#[expect(clippy::disallowed_methods, reason = "where programs are, only the environment says")]
pub fn path() -> Option<(&'static str, std::ffi::OsString)> {
    std::env::var_os("PATH").map(|path| ("PATH", path))
}

/// A tool of the machine's own; `None`, with the reason told, where it has none.
#[allow(clippy::print_stderr, reason = "a skipped test says why")]
pub fn program(name: &str) -> Option<PathBuf> {
    let (_, path) = path()?;
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("skipped: there is no {name} on PATH");
    }
    found
}

/// Something below `.tools/` that `scripts/setup --tests` can make only with `tool`.
pub fn installed_where(tool: &str, what: &str) -> Option<PathBuf> {
    program(tool).and_then(|_| installed(what))
}

/// Python with Google's clients.
pub fn python() -> Option<PathBuf> {
    installed("python/bin/python")
}

/// The documents of the APIs that this project calls.
pub fn documents() -> Option<Documents> {
    installed("discovery").map(|folder| Documents::read(&folder))
}

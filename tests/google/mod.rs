//! What is Google's own and only there for tests: its Python clients, and the
//! discovery documents of its APIs. `scripts/setup --tests` installs both.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod discovery;
mod schema;

use std::path::{Path, PathBuf};

#[allow(unused_imports, reason = "each test binary uses its part")]
pub use discovery::{Documents, Example};

/// Something below `.tools/`; `None`, with the reason told, where it is not
/// installed. In CI that is a failure.
pub fn installed(what: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools").join(what);
    if path.exists() {
        return Some(path);
    }
    #[expect(clippy::disallowed_methods, reason = "CI says of itself that it is CI")]
    let ci = std::env::var_os("CI").is_some();
    assert!(!ci, ".tools/{what} is not there: scripts/setup --tests");
    eprintln!("skipped: .tools/{what} is not there (scripts/setup --tests)");
    None
}

/// Python with Google's clients.
pub fn python() -> Option<PathBuf> {
    installed("python/bin/python")
}

/// The documents of the APIs that this project calls.
pub fn documents() -> Option<Documents> {
    installed("discovery").map(|folder| Documents::read(&folder))
}

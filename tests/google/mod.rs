//! What is Google's own and only there for tests: its Python clients, and the
//! discovery documents of its APIs. `scripts/setup --tests` installs both.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
#![allow(dead_code, reason = "each test binary uses its part")]

mod discovery;
#[path = "../support/installed.rs"]
mod installed;
mod schema;

use std::path::PathBuf;

#[allow(unused_imports, reason = "each test binary uses its part")]
pub use discovery::{Documents, Example};
#[allow(unused_imports, reason = "each test binary uses its part")]
pub use installed::installed;

/// Python with Google's clients.
pub fn python() -> Option<PathBuf> {
    installed("python/bin/python")
}

/// The documents of the APIs that this project calls.
pub fn documents() -> Option<Documents> {
    installed("discovery").map(|folder| Documents::read(&folder))
}

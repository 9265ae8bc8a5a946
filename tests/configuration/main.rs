//! The configuration, and what is rendered from it.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
#![allow(clippy::disallowed_methods, reason = "the environment is a test's own input")]
#![allow(clippy::print_stderr, reason = "figures for whoever reads them")]

mod blueprint;
mod errors;
mod load;

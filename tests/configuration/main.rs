//! The configuration, and what is rendered from it.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod blueprint;
mod errors;
mod load;
mod without_a_cloud;

//! The engine over an in-memory provider: plans, applies, leases, and the laws that hold for all of them.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../support/matrix/mod.rs"]
mod matrix;
#[path = "../support/memory.rs"]
mod memory;

mod apply;
mod laws;
mod lease;
mod lease_model;
mod plan;
mod rolling;

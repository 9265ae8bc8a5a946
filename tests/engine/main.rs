//! The engine over an in-memory provider: plans, applies, leases, and the laws that hold for all of them.

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

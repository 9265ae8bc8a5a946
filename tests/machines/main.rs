//! Machines that run: their start, their engine, replicas behind a balancer.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../support/booted/mod.rs"]
mod booted;
#[path = "../support/coverage.rs"]
mod coverage;
#[path = "../support/deployment/mod.rs"]
mod deployment;
#[path = "../support/machine_support/mod.rs"]
mod machine_support;
#[path = "../support/matrix/mod.rs"]
mod matrix;
#[path = "../support/traffic/mod.rs"]
mod traffic;

mod artifact;
mod engines;
mod faults;
mod metadata;
mod nspawn;
mod process;
mod replica_metrics;
mod replicas;
mod replicas_nspawn;
mod status;

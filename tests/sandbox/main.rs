//! The sandbox beside Google: its contract, Google's own clients, Terraform.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../support/coverage.rs"]
mod coverage;
#[path = "../support/deployment/mod.rs"]
mod deployment;
#[path = "../support/google/mod.rs"]
mod google;
#[path = "../support/sandbox_support/mod.rs"]
mod sandbox_support;

mod access;
mod balancer;
mod capacity;
mod clients;
mod compute;
mod compute_lists;
mod contract;
mod faults;
mod kill;
mod networks;
mod policies;
mod secrets;
mod state;
mod storage;
mod terraform;
mod tools;
mod unserved;
mod web_pages;

//! Whole deployments by the program itself, and what may happen to them.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../support/collector/mod.rs"]
mod collector;
#[path = "../support/deployment/mod.rs"]
mod deployment;
#[path = "../support/matrix/mod.rs"]
mod matrix;

mod adopt;
mod bad_days;
mod calls;
mod changes;
mod compose;
mod concurrency;
mod crash_matrix;
mod credentials;
mod credentials_of_people;
mod day_two;
mod doctor;
mod environment_of_children;
mod first_real_run;
mod hostile_endpoint;
mod hostile_files;
mod json_lines;
mod kubernetes;
mod leftovers;
mod main_job;
mod next_steps;
mod operations;
mod plan_shows_all;
mod policies;
mod proxies;
mod rules_apply;
mod sandbox_folder;
mod soak;
mod states;
mod survival;

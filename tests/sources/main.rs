//! Sources of real events: repositories, forges, webhooks.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../support/deployment/mod.rs"]
mod deployment;
#[path = "../support/installed.rs"]
mod installed;
#[path = "../support/receiver.rs"]
mod receiver;
#[path = "../support/recordings.rs"]
mod recordings;

mod apply;
mod forges;
mod git;
mod intake;
mod recorded;
mod requests;
mod teams;
mod unkind;
mod webhooks;

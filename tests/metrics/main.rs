//! The metrics on their way: made, sent, stored, asked for, proven.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../support/collector/mod.rs"]
mod collector;
#[path = "../support/deployment/mod.rs"]
mod deployment;
#[path = "../support/memory_bucket/mod.rs"]
mod memory_bucket;

mod block_upload;
mod bucket_proof;
mod generate;
mod known_days;
mod live;
mod native_histograms;
mod recompute;
mod remote_write;
mod report;
mod rules;
mod rules_cost;
mod scrape_jobs;
mod stack_native;
mod truth;
mod tsdb_blocks;
mod verify;

//! dorainfra: a durable, private Grafana Mimir on Google Cloud, fed with DORA
//! metrics and proven to the last sample.
//!
//! The library knows neither a terminal nor the environment: `cli` reads both
//! and hands values down. Dependencies point downwards only:
//!
//! ```text
//! cli ─▶ config ─▶ blueprint (render) ─▶ engine ─▶ ui
//!                                          │
//!                       resource (kinds) ──┘─▶ gcp
//!        machine, stack, dora, verify: the steps after the resources
//!        sandbox: a Google Cloud on loopback; nothing above depends on it but `cli`
//! ```

mod answer;
pub mod artifact;
pub mod blueprint;
mod child;
pub mod cli;
pub mod config;
pub mod dora;
pub mod engine;
pub mod event;
mod file;
#[cfg(test)]
mod fuzz_tests;
pub mod gcp;
pub mod machine;
pub mod query;
pub mod render;
pub mod report;
pub mod resource;
pub mod sandbox;
mod serve;
pub mod stack;
pub mod tls;
pub mod ui;
mod unseen;
pub mod verify;
pub mod zone;

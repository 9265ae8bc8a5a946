//! The command line of dorainfra: a durable, private Grafana Mimir on Google Cloud, fed with DORA
//! metrics and proven to the last sample. What the commands do is in the crates below `crates/`.

pub mod commands;
pub mod schemas;
pub mod ui;

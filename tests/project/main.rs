//! The project itself: its structure, its documents, what it is made of.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../support/coverage.rs"]
mod coverage;
#[path = "../support/json_schema.rs"]
mod json_schema;
#[path = "../support/matrix/mod.rs"]
mod matrix;

mod architecture;
mod circles;
mod config_reference;
mod cost;
mod documentation;
mod package;
mod receiver_image;
mod recordings;
mod reference;
mod reliability;
mod sandbox_docs;
mod schemas;
mod site;
mod supply_chain;

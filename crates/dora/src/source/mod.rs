//! Real teams' events: from git, GitHub, GitLab, webhooks and files.
//!
//! A source of any kind tells facts: what landed, what ran where, what was
//! reported. They are kept as a [`Project`], and one set of rules says what of
//! them is a change, a deployment, a failure, a recovery (`classify`). So the same
//! history gives the same events, whichever way it was read, and changed
//! patterns apply to all of it without asking again. docs/sources.md has the
//! definitions.
//!
//! Nothing here computes a metric. Tokens are handed in and appear in no error.

mod classify;
pub mod codeowners;
mod compared;
mod durable;
mod error;
pub mod file;
pub mod forge;
pub mod forges;
pub mod git;
pub mod github;
pub mod gitlab;
mod history;
mod loose;
mod message;
mod patterns;
mod project;
mod provenance;
mod releases;
mod rest;
mod rules;
mod state;
pub mod store;
pub mod webhook;

pub use classify::events;
pub use error::SourceError;
pub use loose::{loose, without_lead_time};
pub use patterns::Patterns;
pub use project::{DeploymentRecord, Fact, Failed, Incident, MergedChange, Project, Status};
pub use releases::Exclude;
pub use rest::Access;
pub use rules::{Owner, Rules};

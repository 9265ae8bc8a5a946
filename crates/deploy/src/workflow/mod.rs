//! What is done with a deployment, below any command line: a [`Run`] is begun from a [`Project`] in a
//! [`Workspace`], makes its [plan](Run::plan), and has it [applied](apply::apply) or
//! [destroyed](destroy::destroy). All of it takes values, tells what happens by events, asks an
//! [`Operator`] whether to go on, and fails with an [`Error`].

pub mod activity;
pub mod adopt;
pub mod apply;
mod bucket;
mod caller;
mod collect;
mod connection;
pub mod credential_change;
pub mod credentials;
pub mod destroy;
mod endpoint;
mod engine;
mod error;
pub mod event_sources;
mod export;
mod facts;
mod follow_up;
pub mod history;
mod holder;
mod machines;
mod numbers;
mod operator;
mod past;
mod phase;
mod planning;
mod project;
mod proof;
mod proxy;
mod run;
mod saved_plan;
mod selection;
pub mod stack;
mod status;
mod workspace;

pub use self::bucket::{BucketObjects, blocks_prefix};
pub use self::endpoint::Endpoint;
pub use self::error::{Error, InputError, Interrupted, PlanError, Result};
pub use self::facts::{Purpose, find as facts, placeholders};
pub use self::follow_up::forget;
pub use self::numbers::count;
pub use self::operator::{Operator, Unattended};
pub use self::phase::phase;
pub use self::planning::Planned;
pub use self::project::{Cloud, Project, Sandbox, Settings};
pub use self::run::Run;
pub use self::saved_plan::SavedPlan;
pub use self::selection::Selection;
pub use self::status::State;
pub use self::workspace::{Tokens, Workspace, http};

#[cfg(test)]
mod tests;

//! What is done with a deployment, below any command line: a [`Run`] is begun from a [`Project`] in a
//! [`Workspace`], makes its [plan](Run::plan), and has it [applied](apply::apply) or
//! [destroyed](destroy::destroy). All of it takes values, tells what happens by events, asks an
//! [`Operator`] whether to go on, and fails with an [`Error`].

pub mod activity;
pub mod adopt;
mod ahead;
pub mod apply;
mod boot_disks;
mod bucket;
mod caller;
mod collect;
mod collectors;
mod connection;
mod contradiction;
pub mod credential_change;
pub mod credentials;
pub mod destroy;
pub mod doctor;
mod drift;
mod endpoint;
mod engine;
mod error;
pub mod event_sources;
mod export;
mod facts;
pub mod follow_up;
pub mod history;
mod holder;
pub mod logs;
mod machines;
mod operator;
pub mod output;
mod past;
mod phase;
mod planning;
mod project;
mod proof;
mod proven;
mod proxy;
mod run;
mod saved_plan;
mod selection;
pub mod stack;
mod stack_plan;
mod status;
pub mod tunnel;
mod workspace;

pub use self::bucket::{BucketObjects, blocks_prefix};
pub use self::collectors::{Collector, running as collectors};
pub use self::endpoint::Endpoint;
pub use self::error::{Error, InputError, Interrupted, PlanError, Result};
pub use self::facts::{Purpose, find as facts, placeholders};
pub use self::follow_up::forget;
pub use self::operator::{Operator, Unattended};
pub use self::phase::{phase, stage};
pub use self::planning::Planned;
pub use self::project::{Cloud, Project, Sandbox, Settings};
pub use self::run::Run;
pub use self::saved_plan::SavedPlan;
pub use self::selection::Selection;
pub use self::status::State;
pub use self::workspace::{Tokens, Workspace, http};

#[cfg(test)]
mod tests;

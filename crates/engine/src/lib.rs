//! The plan/apply engine: graph, diff, plan, apply, lease. It knows no Google:
//! resources are manifests (documents with references between them) and a
//! [`Provider`] reads and changes them. No terminal, no environment, no clock
//! but tokio's and the one that a lease is given.
//!
//! ```text
//! manifests ─▶ graph ─▶ world (one wave of reads) ─▶ decide, orphans ─▶ Plan
//! Plan ─▶ operations ─▶ schedule (pure) ─▶ carry (one write, up to a known end) ─▶ Outcome
//! ```

mod apply;
mod canonical;
mod carry;
mod decide;
mod desired;
mod destroy;
mod diff;
mod draft;
mod error;
mod graph;
mod lease;
mod operation;
mod operations;
mod orphans;
mod plan;
mod provider;
mod reference;
mod removal;
mod rolling;
mod schedule;
mod selection;
mod stale;
mod tenure;
mod world;

pub use apply::{ApplyOptions, Outcome, apply};
pub use canonical::digest;
pub use destroy::plan_destroy;
pub use dorainfra_model::{
    Action, Basis, Change, Manifest, ManifestError, Observed, Ownership, Plan, PlanOptions, ResourceId, Step,
};
pub use error::{EngineError, Foreign, ForeignWhy, Stale};
pub use lease::{
    Clock, Conflict, Fence, Kept, LIFE, Lease, LeaseRecord, LeaseStore, Leasing, Lost, Noted, SystemClock,
};
pub use plan::plan;
pub use provider::{Finding, KindSpec, Mark, Owned, Provider, ProviderError};
pub use stale::{check_fresh, replan};
pub use tenure::under_lease;

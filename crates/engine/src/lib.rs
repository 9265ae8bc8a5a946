//! The plan/apply engine: graph, diff, plan, apply, lease. It knows no Google:
//! resources are manifests (documents with references between them) and a
//! [`Provider`] reads and changes them. No terminal, no environment, no clock
//! but tokio's and the one that a lease is given.
//!
//! ```text
//! manifests ─▶ graph ─▶ observed state (one wave of reads) ─▶ decide, orphans ─▶ Plan
//! Plan ─▶ operations ─▶ schedule (pure) ─▶ executor (one write, up to a known end) ─▶ Outcome
//! ```

mod apply;
mod canonical;
mod decide;
mod desired;
mod destroy;
mod diff;
mod drift;
mod error;
mod executor;
mod graph;
mod lease;
mod lease_guard;
mod observed_state;
mod operation;
mod operations;
mod orphans;
mod plan;
mod planning;
mod provider;
mod reference;
mod removal;
mod rolling;
mod saved_plan;
mod schedule;
mod selection;

pub use apply::{ApplyOptions, Outcome, apply};
pub use canonical::digest;
pub use destroy::plan_destroy;
pub use dorainfra_model::{
    Action, Basis, Change, Manifest, ManifestError, Observed, Ownership, Plan, PlanOptions, ResourceId, Step,
};
pub use drift::{Differs, Drift, DriftKind, Drifted, drift};
pub use error::{EngineError, Foreign, ForeignWhy, Stale};
pub use lease::{
    Clock, Conflict, Fence, Kept, LIFE, Lease, LeaseRecord, LeaseStore, Leasing, Lost, Noted, SystemClock,
};
pub use lease_guard::under_lease;
pub use plan::plan;
pub use provider::{Cause, Finding, KindSpec, Mark, Owned, Provider, ProviderError, UNFINISHED};
pub use reference::{Malformed, Piece, Reference, pieces};
pub use saved_plan::{check_fresh, replan};

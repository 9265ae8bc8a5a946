//! What plans, resources and events are, as data. Their JSON forms (a saved plan, `--json`) are
//! interfaces: fields are added, never renamed. Nothing in here decides, formats or prints.

mod check;
mod cost;
mod critical_path;
mod document;
mod event;
mod manifest;
mod observed;
mod plan;
mod timings;

pub use check::{Check, Outcome};
pub use cost::{Cost, CostItem, Unpriced};
pub use critical_path::{CriticalPath, Span, critical_path};
pub use document::{BasisDocument, ChangeDocument, OptionsDocument, PlanDocument, StepDocument};
pub use event::{Event, Events, FeedStep, Phase, SCHEMA, Stage};
pub use manifest::{Manifest, ManifestError, ResourceId};
pub use observed::{Observed, Ownership};
pub use plan::{Action, Basis, Change, Plan, PlanOptions, Step};
pub use timings::{PathStep, PathTime, ResourceTime, StageTime, Stretch, Timeline, Timings, Work};

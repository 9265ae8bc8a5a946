//! What plans, resources and events are, as data. Their JSON forms (a saved plan, `--json`) are
//! interfaces: fields are added, never renamed. Nothing in here decides, formats or prints.

mod check;
mod cost;
mod document;
mod event;
mod manifest;
mod observed;
mod plan;

pub use check::{Check, Outcome};
pub use cost::{Cost, CostItem, Unpriced};
pub use document::{BasisDocument, ChangeDocument, OptionsDocument, PlanDocument, StepDocument};
pub use event::{Event, Events, FeedStep, Phase, SCHEMA};
pub use manifest::{Manifest, ManifestError, ResourceId};
pub use observed::{Observed, Ownership};
pub use plan::{Action, Basis, Change, Plan, PlanOptions, Step};

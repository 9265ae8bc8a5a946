//! A resource as it was found, and whose it is.

use serde_json::Value;

use crate::ResourceId;

/// Whose a resource is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// Carries this deployment's mark.
    Ours,
    /// Carries another deployment's mark.
    Other(String),
    /// Carries no mark.
    Unmarked,
}

/// A resource as the cloud has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    pub id: ResourceId,
    /// In the manifest's spelling: short names for self links, no server noise
    /// is needed (only declared fields are compared).
    pub body: Value,
    pub ownership: Ownership,
    /// The digest in the mark, where there is one.
    pub applied: Option<String>,
}

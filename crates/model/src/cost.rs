//! What a plan costs, as data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ResourceId;

/// List prices of what there will be, and of what there is. Amounts are of a month, in `currency`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// `USD`.
    pub currency: String,
    /// Of all that there is once the plan is carried out.
    pub monthly: f64,
    /// How much more (or less) that is than what there is now.
    pub change: f64,
    pub items: Vec<CostItem>,
    /// What is billed, has no known price, and is in no amount.
    pub unpriced: Vec<Unpriced>,
    /// What is taken for granted of what is billed by use, each for people.
    pub assumptions: Vec<String>,
    /// The day of the oldest price that is used: `2026-08-20`.
    pub prices_as_of: String,
}

/// One billed thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CostItem {
    /// `None`: of the deployment as a whole.
    pub id: Option<ResourceId>,
    /// For people: `e2-medium, 10 GB of pd-balanced`.
    pub what: String,
    pub before: f64,
    pub after: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unpriced {
    pub id: Option<ResourceId>,
    /// `c4-standard-2`.
    pub what: String,
    /// The region or location.
    pub place: String,
}

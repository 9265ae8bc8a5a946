//! One check of `verify` or `doctor`, and how it ended.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One stage of the proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// Stable identifier: `endpoint`, `history`, `marker`, `freshness`, `bucket`; by the
    /// bucket alone `blocks`, `history`.
    pub name: String,
    pub title: String,
    pub outcome: Outcome,
    pub expected: String,
    pub found: String,
    /// What to do, for a failed check.
    pub hint: Option<String>,
    pub elapsed_ms: u64,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Passed,
    Failed,
    /// Does not apply here (the stand-in writes no blocks): `found` says why.
    NotApplicable,
    /// Nobody could say, which stops nothing; only of `doctor`.
    Unknown,
    /// To be known, and stops nothing; only of `doctor`.
    Warning,
}

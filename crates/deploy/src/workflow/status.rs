//! How things stand, as data.

use schemars::JsonSchema;
use serde::Serialize;

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As configured; running.
    Ok,
    /// Exists, but differs from the configuration; installing; starting.
    Changed,
    /// Not there, and nothing says it should have been.
    Absent,
    /// Dead, failed, rolled back.
    Failed,
}

//! How a thing stands, and the sign for it.

use serde::Serialize;

use super::Role;

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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

/// The sign of a state, and the colour for it.
pub(super) fn mark(state: State) -> (Role, &'static str) {
    match state {
        State::Ok => (Role::Good, "✓"),
        State::Changed => (Role::Caution, "~"),
        State::Absent => (Role::Faint, "·"),
        State::Failed => (Role::Bad, "✗"),
    }
}

//! The sign for how a thing stands.

use dorainfra_deploy::workflow::State;

use super::Role;

/// The sign of a state, and the colour for it.
pub(super) fn mark(state: State) -> (Role, &'static str) {
    match state {
        State::Ok => (Role::Good, "✓"),
        State::Changed => (Role::Caution, "~"),
        State::Absent => (Role::Faint, "·"),
        State::Failed => (Role::Bad, "✗"),
    }
}

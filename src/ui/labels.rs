//! The words and symbols for actions and phases, in one place.

use dorainfra_engine::{Action, ResourceId};
use dorainfra_model::Phase;

use super::Role;
use super::text::brief_digests;

/// How an action is shown.
pub(super) struct ActionLabel {
    pub symbol: &'static str,
    /// "create", as in "create compute.disk/x".
    pub verb: &'static str,
    /// "to create", as in "3 to create".
    pub ahead: &'static str,
    pub role: Role,
}

pub(super) fn action(action: Action) -> ActionLabel {
    let (symbol, verb, ahead, role) = match action {
        Action::Create => ("+", "create", "to create", Role::Good),
        Action::Update => ("~", "change", "to change in place", Role::Caution),
        Action::Replace => ("±", "replace", "to replace", Role::Bad),
        Action::Delete => ("-", "delete", "to delete", Role::Bad),
        Action::Adopt => ("=", "adopt", "to adopt", Role::Accent),
        Action::Keep => ("·", "keep", "kept", Role::Faint),
        Action::NoOp => (" ", "leave", "unchanged", Role::Faint),
    };
    ActionLabel { symbol, verb, ahead, role }
}

/// A resource's name for people.
pub(super) fn id(id: &ResourceId) -> String {
    brief_digests(&id.to_string())
}

/// "create compute.disk/x".
pub(super) fn doing(of: Action, to: &ResourceId) -> String {
    format!("{} {}", action(of).verb, id(to))
}

/// The order in which a plan lists its actions: what destroys comes last, beside
/// the counts, where the eye is.
pub(super) const PLAN_ORDER: [Action; 6] =
    [Action::Create, Action::Adopt, Action::Update, Action::Replace, Action::Delete, Action::Keep];

pub(super) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Plan => "plan",
        Phase::Artifact => "artifact",
        Phase::Resources => "resources",
        Phase::Machine => "machine",
        Phase::Stack => "stack",
        Phase::History => "history",
        Phase::Verify => "verify",
        Phase::Destroy => "destroy",
    }
}

/// What a phase does, as its heading.
pub(super) fn heading(phase: Phase) -> &'static str {
    match phase {
        Phase::Plan => "Reading the cloud",
        Phase::Artifact => "Finding the engine's binary",
        Phase::Resources => "Changing resources",
        Phase::Machine => "Waiting for the machine",
        Phase::Stack => "Starting the collector stack",
        Phase::History => "Writing the history",
        Phase::Verify => "Verifying",
        Phase::Destroy => "Taking resources down",
    }
}

//! What tools tell that are no forges: services that say themselves whose they are.

use super::super::project::Fact;

/// What one payload tells of one service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceFacts {
    /// As its tool calls it, if it does.
    pub team: Option<String>,
    pub service: String,
    pub facts: Vec<Fact>,
}

/// What of a payload can't be, and where.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct Wrong {
    /// JSON pointers, or the name of a header.
    pub place: String,
    pub message: String,
}

impl Wrong {
    pub(super) fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into() }
    }
}

//! How each forge's webhooks are known from others, and what reads them.

use super::super::forge::Forge;
use super::payload::Parsed;
use super::subscriptions::Reading;

/// A forge's webhooks.
pub(super) struct Hooks {
    pub forge: &'static dyn Forge,
    /// The header that says what happened: no other sender has it.
    pub event: &'static str,
    /// The headers with a delivery's id, the first that is there.
    pub delivery: &'static [&'static str],
    pub shows: Shows,
    /// The project of a payload, and its facts, by what happened.
    pub facts: fn(&str, &[u8], ReadingOf<'_>) -> Parsed,
}

/// How the payloads of a project are read.
pub(super) type ReadingOf<'a> = &'a dyn Fn(&str) -> Reading;

/// The header by which a sender shows that it knows the secret.
#[derive(Clone, Copy)]
pub(super) enum Shows {
    /// The payload's HMAC.
    Signature(&'static str),
    /// The secret itself.
    Secret(&'static str),
}

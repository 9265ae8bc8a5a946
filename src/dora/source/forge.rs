//! What reading any forge has in common: what is asked for, and a reader that
//! keeps how far it went. What the forge's lists hold is each forge's own.

use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;

use super::rest::{Access, Rest};
use super::{SourceError, state};
use crate::event::Events;

/// What of a project is a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deployed {
    Deployments,
    Releases,
}

/// What is a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Each commit, from when it was written.
    Commits,
    /// Each merged request, from when it was opened.
    Requests,
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub access: Access,
    /// GitHub: `owner/name`. GitLab: `group/subgroup/project`, or its number.
    pub project: String,
    /// Of the deployments that count.
    pub environment: String,
    pub deployed: Deployed,
    pub unit: Unit,
    /// Nothing that is older is read.
    pub since: OffsetDateTime,
    /// Where what was read is kept.
    pub state: PathBuf,
}

pub(super) const PER_PAGE: (&str, &str) = ("per_page", "100");

/// A reading of one project; `S` is what is kept between two of them.
pub(super) struct Reader<'a, S> {
    pub settings: &'a Settings,
    pub rest: Rest<'a>,
    pub state: S,
    pub events: &'a Events,
}

impl<'a, S: Serialize + DeserializeOwned + Default> Reader<'a, S> {
    /// `base` and `accept` are those of [`Rest::new`].
    pub fn new(
        settings: &'a Settings,
        base: &str,
        accept: &'static str,
        events: &'a Events,
    ) -> Result<Self, SourceError> {
        let rest = Rest::new(&settings.access, base, accept)?;
        Ok(Self { settings, rest, state: state::load(&settings.state)?, events })
    }

    pub fn save(&self) -> Result<(), SourceError> {
        state::save(&self.settings.state, &self.state)
    }
}

//! What reading any forge has in common: what is asked for, and a reader that
//! keeps how far it went. What the forge's lists hold is each forge's own.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;

use super::project::Project;
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

/// What is kept of requests that were squashed.
pub(super) trait Squashed {
    /// The project, and the requests whose first commit was asked for and is not told.
    fn squashed(&mut self) -> (&mut Project, &mut BTreeSet<String>);
}

impl<S: Serialize + DeserializeOwned + Default + Squashed> Reader<'_, S> {
    /// Asks for the commits of the requests that were squashed: one has the time of its
    /// landing, which is no lead time. `mark`: what stands before a request's number.
    /// `first_commit`: when the first commit of a request was written; `None`: nobody tells.
    pub async fn first_commits(
        &mut self,
        mark: char,
        first_commit: impl AsyncFn(&Self, &str) -> Result<Option<OffsetDateTime>, SourceError>,
    ) -> Result<(), SourceError> {
        let (project, without) = self.state.squashed();
        let squashed = state::squashed(project, mark, without);
        let (all, mut outcome) = (squashed.len(), Ok(()));
        for (done, (id, request)) in squashed.into_iter().enumerate() {
            match first_commit(self, &request).await {
                Ok(begun) => {
                    let (project, without) = self.state.squashed();
                    if !state::began(project, id, begun) {
                        without.insert(request);
                    }
                }
                Err(limit @ SourceError::Limited { .. }) => {
                    state::later(self.events, &self.settings.project, all - done, &limit);
                    break;
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
            if (done + 1) % state::BETWEEN_SAVES == 0 {
                self.save()?;
            }
        }
        if all > 0 {
            self.save()?;
        }
        outcome
    }
}

//! A plan in a file: what was decided, for which deployment, from what.
//! Everything that it needs is in it but the templates and the binary, whose
//! digests are.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, reason = "numbers of others are computed with"))]

use std::path::Path;

use dorainfra_base::file;
use dorainfra_config::Config;
use dorainfra_engine::Plan;
use dorainfra_model::FeedStep;
use serde::{Deserialize, Serialize};

use super::error::{Error, InputError, PlanError, Result};
use super::planning::Planned;
use super::run::Run;
use super::selection::Selection;
use crate::blueprint::Facts;

const SCHEMA: u32 = 2;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedPlan {
    schema: u32,
    /// The version of dorainfra that made it.
    version: String,
    pub config: Config,
    pub facts: Facts,
    pub selection: Selection,
    pub plan: Plan,
    /// What comes after the resources.
    pub feed: Vec<FeedStep>,
}

impl SavedPlan {
    pub fn new(run: &Run, selection: &Selection, planned: Planned) -> Self {
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").into(),
            config: run.project.config.clone(),
            facts: run.facts.clone(),
            selection: selection.clone(),
            plan: planned.plan,
            feed: planned.follow_up,
        }
    }

    /// Writes the file whole or not at all, readable by its owner only: it
    /// names addresses and rules, though no secret.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(std::io::Error::from);
        text.and_then(|text| file::output(path, &text, file::Mode::Private))
            .map_err(|source| Error::Unwritable { path: path.to_path_buf(), source })
    }

    pub fn read(path: &Path) -> Result<Self> {
        let text = dorainfra_base::file::text(path).map_err(|source| InputError::Unreadable {
            path: path.to_path_buf(),
            source,
            hint: "`dorainfra plan --out FILE` writes a plan",
        })?;
        let saved: Self = serde_json::from_str(&text).map_err(|error| {
            let what = if error.is_eof() { "is cut off" } else { "is not a plan of this program" };
            InputError::PlanFile { path: path.to_path_buf(), what, source: error }
        })?;
        if saved.schema != SCHEMA || saved.version != env!("CARGO_PKG_VERSION") {
            let (theirs, ours) = (saved.version, env!("CARGO_PKG_VERSION"));
            return Err(PlanError::Version { path: path.to_path_buf(), theirs, ours }.into());
        }
        Ok(saved)
    }

    /// Refuses to feed what the plan did not show. Less is no reason: it was done meanwhile.
    pub fn shows(&self, feed: &[FeedStep]) -> Result<(), PlanError> {
        let known = |step: &&FeedStep| {
            !self.feed.iter().any(|own| (&own.what, own.action) == (&step.what, step.action))
        };
        let Some(new) = feed.iter().filter(|step| step.is_change()).find(known) else { return Ok(()) };
        Err(PlanError::Lacks { what: new.what.clone(), reason: new.reason.clone() })
    }

    /// Refuses a plan that was made for another deployment than the one that
    /// the folder's configuration and the flags name.
    pub fn belongs_to(&self, config: &Config) -> Result<(), PlanError> {
        if (&config.project, &config.name) == (&self.config.project, &self.config.name) {
            return Ok(());
        }
        Err(PlanError::OfAnother {
            theirs: self.config.name.clone(),
            their_project: self.config.project.clone(),
            ours: config.name.clone(),
            our_project: config.project.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzzed_plans_are_told_or_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan");
        dorainfra_testutils::fuzzing::five_seconds("plan-file", |input| {
            std::fs::write(&path, input).unwrap();
            match SavedPlan::read(&path) {
                Ok(saved) => drop(saved.plan.has_changes()),
                Err(error) => assert!(error.hint().is_some(), "{error}"),
            }
        });
    }
}

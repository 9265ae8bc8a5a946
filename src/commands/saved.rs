//! A plan in a file: what was decided, for which deployment, from what.
//! Everything that it needs is in it but the templates and the binary, whose
//! digests are.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, reason = "numbers of others are computed with"))]

use std::path::Path;

use dorainfra_config::Config;
use dorainfra_deploy::blueprint::Facts;
use dorainfra_engine::Plan;
use dorainfra_model::FeedStep;
use serde::{Deserialize, Serialize};

use super::pipeline::Run;
use super::selection::Selection;
use super::{CommandError, CommandResult, Exit};

const SCHEMA: u32 = 2;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
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

impl Saved {
    pub fn new(run: &Run<'_>, selection: &Selection, plan: Plan, feed: Vec<FeedStep>) -> Self {
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").into(),
            config: run.project.config.clone(),
            facts: run.facts.clone(),
            selection: selection.clone(),
            plan,
            feed,
        }
    }

    /// Writes the file whole or not at all, readable by its owner only: it
    /// names addresses and rules, though no secret.
    pub fn write(&self, path: &Path) -> CommandResult<()> {
        let fails = |error: &dyn std::fmt::Display| {
            CommandError::failed(format!("{} can't be written: {error}", path.display()))
                .hint("check the folder's permissions and the free space")
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut part = tempfile::NamedTempFile::new_in(folder).map_err(|error| fails(&error))?;
        serde_json::to_writer_pretty(&mut part, self).map_err(|error| fails(&error))?;
        part.persist(path).map_err(|error| fails(&error.error))?;
        Ok(())
    }

    pub fn read(path: &Path) -> CommandResult<Self> {
        let text = dorainfra_base::file::text(path).map_err(|error| {
            CommandError::usage(format!("{} can't be read: {error}", path.display()))
                .hint("`dorainfra plan --out FILE` writes a plan")
        })?;
        let saved: Self = serde_json::from_str(&text).map_err(|error| {
            let what = if error.is_eof() { "is cut off" } else { "is not a plan of this program" };
            CommandError::usage(format!("{} {what}: {error}", path.display()))
                .hint("make it again: `dorainfra plan --out FILE`; nothing was changed")
        })?;
        if saved.schema != SCHEMA || saved.version != env!("CARGO_PKG_VERSION") {
            return Err(CommandError::usage(format!(
                "{} was made by dorainfra {}; this is {}",
                path.display(),
                saved.version,
                env!("CARGO_PKG_VERSION")
            ))
            .exit(Exit::PlanStale)
            .hint("make it again: `dorainfra plan --out FILE`"));
        }
        Ok(saved)
    }

    /// Refuses to feed what the plan did not show. Less is no reason: it was done meanwhile.
    pub fn shows(&self, feed: &[FeedStep]) -> CommandResult<()> {
        let known = |step: &&FeedStep| {
            !self.feed.iter().any(|own| (&own.what, own.action) == (&step.what, step.action))
        };
        let Some(new) = feed.iter().filter(|step| step.is_change()).find(known) else { return Ok(()) };
        Err(CommandError::failed(format!(
            "the plan does not show what has to be done now: {}, {}",
            new.what, new.reason
        ))
        .exit(Exit::PlanStale)
        .hint("make it again: `dorainfra plan --out FILE`; nothing was changed"))
    }

    /// Refuses a plan that was made for another deployment than the one that
    /// the folder's configuration and the flags name.
    pub fn belongs_to(&self, config: &Config) -> CommandResult<()> {
        let (ours, theirs) = ((&config.project, &config.name), (&self.config.project, &self.config.name));
        if ours == theirs {
            return Ok(());
        }
        Err(CommandError::usage(format!(
            "the plan is of deployment `{}` in project `{}`, but this is `{}` in `{}`",
            theirs.1, theirs.0, ours.1, ours.0
        ))
        .exit(Exit::PlanStale)
        .hint("apply it where it was made, or make a plan of this deployment"))
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
            match Saved::read(&path) {
                Ok(saved) => drop(saved.plan.has_changes()),
                Err(error) => assert!(error.hint.is_some(), "{}", error.message),
            }
        });
    }
}

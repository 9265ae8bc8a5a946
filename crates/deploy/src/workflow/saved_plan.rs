//! A plan in a file: what was decided, for which deployment, from what.
//! Everything that it needs is in it but the templates and the binary, whose
//! digests are.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, reason = "numbers of others are computed with"))]

use std::path::Path;

use dorainfra_base::file;
use dorainfra_config::Config;
use dorainfra_engine::Plan;
use dorainfra_model::{FeedStep, PlanDocument};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::{Error, InputError, PlanError, Result};
use super::planning::Planned;
use super::run::Run;
use super::selection::Selection;
use crate::blueprint::Facts;

/// The first of its schema that can be read.
const SCHEMA: u32 = 2;

/// What `plan --out` writes and `apply FILE` takes; docs/schemas/saved-plan.schema.json describes it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SavedPlan {
    schema: u32,
    /// The version of dorainfra that made it.
    version: String,
    /// All keys of dorainfra.yaml, with the values that they had.
    #[schemars(with = "Map<String, Value>")]
    pub config: Config,
    /// What was found out beside the configuration.
    pub facts: Facts,
    pub selection: Selection,
    plan: PlanDocument,
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
            plan: PlanDocument::from(&planned.plan),
            feed: planned.follow_up,
        }
    }

    /// As the engine has it.
    pub fn plan(&self) -> Plan {
        Plan::from(&self.plan)
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
                Ok(saved) => drop(saved.plan().has_changes()),
                Err(error) => assert!(error.hint().is_some(), "{error}"),
            }
        });
    }

    /// As `dorainfra plan --out` has always written it.
    const KEPT: &str = r#"{
      "schema": 2, "version": "@VERSION@", "config": @CONFIG@,
      "facts": {
        "caller": "203.0.113.7/32",
        "engine": {"flavour": "mimir", "version": "3.2.1", "sha256": "0f", "path": "mimir"},
        "clients": [{"name": "stack", "ttl_seconds": 86400}], "restore_disks": {"dorainfra-data": "daily-1"},
        "alertmanager": null, "scrape": {"jobs": [], "files": []}
      },
      "selection": {"target": [], "replace": [], "adopt": true, "delete_data": false, "restore_disk": []},
      "plan": {
        "deployment": "dorainfra",
        "steps": [{
          "id": "compute.disk/dorainfra-data", "action": "update", "reason": "the configuration changed",
          "changes": [{"path": "sizeGb", "before": "10", "after": "20", "forces_replacement": false}],
          "needs": [], "notes": {"cost": "20 GB"}
        }],
        "manifests": [{
          "kind": "compute.disk", "name": "dorainfra-data", "protect": true, "arbiter": false, "rolling": null,
          "dependsOn": [], "notes": {"cost": "20 GB"}, "body": {"sizeGb": "20"}
        }],
        "observed": "0f", "warnings": [],
        "basis": {
          "destroy": false,
          "options": {"adopt": true, "targets": [], "replace": [], "delete_data": false, "parallelism": 32},
          "digests": {"compute.disk/dorainfra-data": "1e"}
        }
      },
      "feed": [{"what": "history", "action": "create", "reason": "22,954 samples"}]
    }"#;

    #[test]
    fn a_saved_plan_is_read_and_written_as_it_was() {
        let config = serde_json::to_string(&Config::default()).unwrap();
        let kept = KEPT.replace("@VERSION@", env!("CARGO_PKG_VERSION")).replace("@CONFIG@", &config);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan");
        std::fs::write(&path, &kept).unwrap();
        let saved = SavedPlan::read(&path).unwrap();
        assert!(saved.plan().has_changes() && saved.facts.clients.len() == 1);
        saved.write(&path).unwrap();
        let written: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(&kept).unwrap());
    }
}

//! Whether the cloud is still as it was applied. It is read as for a plan, and nothing that comes
//! after the resources is looked at.

use dorainfra_engine::{Drift, Drifted, drift};
use dorainfra_model::Events;

use super::error::Result;
use super::run::Run;

impl Run {
    pub async fn drift(&self, events: &Events) -> Result<Drift> {
        let plan = self.survey(events).await?;
        for warning in &plan.warnings {
            events.warn(warning.clone(), None);
        }
        let mut drift = drift(&plan);
        // A certificate that is due changes by time alone.
        let due = |one: &Drifted| {
            one.id.kind == "secretmanager.secretVersion"
                && !one.fields.is_empty()
                && one.fields.iter().all(|field| field.path == "certificate")
        };
        drift.found.retain(|one| !due(one));
        Ok(drift)
    }

    /// A command that shows who changed what, from Google's log of administrators' activity.
    pub fn who_changed(&self) -> String {
        let config = &self.project.config;
        format!(
            "gcloud logging read 'logName:\"cloudaudit.googleapis.com%2Factivity\" AND \
             protoPayload.resourceName:\"{}\"' --freshness=7d --project={}",
            config.name, config.project
        )
    }
}

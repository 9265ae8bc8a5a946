//! The history that a run's configuration stands for.

use dorainfra_base::zone::Zone;
use dorainfra_config::Feeds;
use dorainfra_dora::metrics::Histograms;
use dorainfra_dora::{self as dora, simulator};

use super::activity::{Activity, History, yesterday};
use super::error::{Error, Result};
use super::event_sources;
use super::run::Run;

impl Run {
    /// What the deployment's teams did: simulated, collected, or nothing.
    pub fn activity(&self) -> Result<Activity> {
        let config = &self.project.config;
        match config.feeds() {
            Feeds::Nothing => return Ok(Activity::Nothing),
            Feeds::Simulated => {
                let teams = simulator::teams(config.generator.teams);
                return Ok(Activity::Simulated { teams, seed: config.generator.seed });
            }
            Feeds::Real => {}
        }
        let events = event_sources::known(&self.workspace.collected(&config.name), &*self.operator)?;
        if !events.iter().any(|event| matches!(event, dora::events::Event::Deployment(_))) {
            return Err(Error::NoDeployment);
        }
        Ok(Activity::Collected { events, settle: time::Duration::hours(config.settle_hours.into()) })
    }

    /// Those that this deployment's series are made with.
    pub fn histograms(&self) -> Histograms {
        let config = &self.project.config;
        let native = self.facts.native_histograms(config);
        Histograms { native, by_service: config.generator.service_histograms }
    }

    /// The history that this configuration stands for, once for all phases: what
    /// is proven is what was sent, also when the day ends between the two.
    pub fn past(&self) -> Result<&History> {
        if let Some(history) = self.history.get() {
            return Ok(history);
        }
        let days = self.project.config.generator.days;
        let history = History::of(
            self.activity()?,
            yesterday(),
            days,
            self.histograms(),
            Zone::configured(&self.project.config.timezone),
        );
        Ok(self.history.get_or_init(|| history))
    }

    /// Whether the history is put into the bucket, and does not come there by Mimir.
    pub fn history_as_blocks(&self) -> bool {
        !self.project.config.history_by_ingester()
    }
}

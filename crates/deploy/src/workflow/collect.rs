//! Reading a run's event sources.

use dorainfra_model::Events;

use super::error::Result;
use super::event_sources::{self, Ask, Collecting, Files};
use super::run::Run;

impl Run {
    /// Reads the configuration's sources, if there are any. A forge that is away
    /// is no reason to stop: what was collected before is fed.
    pub async fn collect(&self, events: &Events) -> Result<()> {
        let config = &self.project.config;
        if config.sources.is_empty() {
            return Ok(());
        }
        let files = Files::of(self.workspace.collected(&config.name))?;
        let configured = config.sources.clone();
        let (sources, mut failed) =
            event_sources::with_known_teams(&self.workspace, configured, &files, Ask::Now).await;
        let mut collecting = Collecting::begin(&files, &sources)?;
        let since = event_sources::usual_since();
        failed.extend(collecting.collect_all(&self.workspace, &sources, since, events).await);
        failed.iter().for_each(|failed| failed.warn(events));
        let collected = collecting.end(&files.events, &failed);
        events.note(format!(
            "{} events of {} sources, {} of them new",
            collected.events,
            config.sources.len(),
            collected.added
        ));
        Ok(())
    }
}

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
        let (sources, failed) =
            event_sources::with_known_teams(&self.workspace, configured, &files, Ask::Now).await;
        for error in failed {
            events.warn(error.to_string(), error.hint());
        }
        let mut collecting = Collecting::begin(&files, &sources)?;
        for source in sources.iter().filter(|source| !event_sources::is_nobodys(source)) {
            if let Err(error) =
                collecting.collect(&self.workspace, source, event_sources::usual_since(), events).await
            {
                events.warn(error.to_string(), error.hint());
            }
        }
        let collected = collecting.end(&files.events);
        events.note(format!(
            "{} events of {} sources, {} of them new",
            collected.events,
            config.sources.len(),
            collected.added
        ));
        Ok(())
    }
}

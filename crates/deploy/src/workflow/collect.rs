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
        let sources =
            event_sources::with_teams(&self.workspace, config.sources.clone(), &files, Ask::Now).await;
        let sources = match sources {
            Ok(sources) => sources,
            // Whose a forge's project is was never told: it is away.
            Err(error)
                if config.sources.iter().any(|one| one.team_from.is_some() && one.project.is_some()) =>
            {
                events.warn(error.to_string(), error.hint());
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut collecting = Collecting::begin(&files, &sources)?;
        for source in &sources {
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

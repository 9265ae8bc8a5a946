//! Reading a run's event sources.

use dorainfra_model::Events;

use super::error::Result;
use super::event_sources::{self, Ask, Collected, Collecting, Files};
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
        events.note(summary(&collected, config.sources.len()));
        Ok(())
    }
}

/// What is there now, and what of it is not as it was: what changed is news, too.
fn summary(collected: &Collected, sources: usize) -> String {
    let counted = |number: u64, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
    let Collected { added, changed, removed, .. } = collected;
    let news = match added + changed + removed {
        0 => "nothing new".to_owned(),
        _ => format!("{added} added, {changed} changed, {removed} removed"),
    };
    let (all, sources) = (counted(collected.events, "event"), counted(sources as u64, "source"));
    format!("{all} of {sources}: {news}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_news_and_one_source_is_one() {
        let collected = |added, changed, removed, events| Collected {
            sources: Vec::new(),
            failed: Vec::new(),
            file: String::new(),
            added,
            changed,
            removed,
            events,
        };
        let said = summary(&collected(0, 1596, 0, 3192), 1);
        assert_eq!(said, "3192 events of 1 source: 0 added, 1596 changed, 0 removed");
        assert_eq!(summary(&collected(0, 0, 0, 1), 2), "1 event of 2 sources: nothing new");
    }
}

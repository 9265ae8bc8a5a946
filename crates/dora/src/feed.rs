//! What is shown live: each team's present values, of the simulator or of the
//! file of collected events, whichever is the source.
//!
//! Where they are shown is [`super::live`]'s.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use time::{Duration, OffsetDateTime};
use tokio_util::sync::CancellationToken;

use super::metrics::{self, Histograms, Live, Observation, Scope};
use super::source::{SourceError, store};

/// Where live values come from.
#[derive(Clone, Debug)]
pub enum Feed {
    /// Simulated teams.
    Simulated { teams: Vec<String>, seed: u64 },
    /// A file of events, read again whenever it has changed.
    Collected { path: PathBuf, settle: Duration },
}

/// The teams of a feed, each with its present values.
pub struct Teams {
    feed: Feed,
    histograms: Histograms,
    teams: Vec<(String, Live)>,
    /// When the file that was read last was written, and its length.
    read: Option<(SystemTime, u64)>,
}

impl Teams {
    pub fn new(feed: Feed, histograms: Histograms) -> Self {
        Self { feed, histograms, teams: Vec::new(), read: None }
    }

    /// Counts up to `now`. Ends early when a stop is asked for: a year of
    /// thousands of teams takes a while to count through.
    ///
    /// # Errors
    /// The file of events can't be read, and what was known stays; or some lines of
    /// it, and the others count.
    pub async fn advance(
        &mut self,
        now: OffsetDateTime,
        stop: &CancellationToken,
    ) -> Result<(), SourceError> {
        let read = self.learn(now, stop).await;
        for (_, team) in &mut self.teams {
            team.advance(now);
        }
        read
    }

    async fn learn(&mut self, now: OffsetDateTime, stop: &CancellationToken) -> Result<(), SourceError> {
        match &self.feed {
            Feed::Simulated { teams, seed } => {
                for name in &teams[self.teams.len()..] {
                    if stop.is_cancelled() {
                        break;
                    }
                    self.teams.push((name.clone(), Live::new(name, *seed, self.histograms, now)));
                    tokio::task::yield_now().await;
                }
            }
            Feed::Collected { path, settle } => {
                let written =
                    std::fs::metadata(path).ok().and_then(|data| Some((data.modified().ok()?, data.len())));
                if self.read == written && written.is_some() {
                    return Ok(());
                }
                let found = store::read(path)?;
                self.teams = teams(&found.events, *settle, self.histograms, now);
                self.read = written;
                if !found.bad.is_empty() {
                    let problems = found.bad.iter().take(5).map(|line| line.described(path)).collect();
                    return Err(SourceError::Malformed { path: path.clone(), problems });
                }
            }
        }
        Ok(())
    }

    /// Names, and what is known of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Live)> + Clone {
        self.teams.iter().map(|(name, live)| (name.as_str(), live))
    }
}

/// Each team of some events, as it is at `now`.
fn teams(
    events: &[super::events::Event],
    settle: Duration,
    histograms: Histograms,
    now: OffsetDateTime,
) -> Vec<(String, Live)> {
    let mut scopes: BTreeMap<String, Vec<Scope>> = BTreeMap::new();
    for scope in metrics::scopes(events) {
        scopes.entry(dorainfra_prometheus::valid(&scope.team)).or_default().push(scope);
    }
    let mut observed: BTreeMap<String, Vec<Observation>> = BTreeMap::new();
    for one in metrics::settled(events, settle) {
        observed.entry(dorainfra_prometheus::valid(&one.team)).or_default().push(one);
    }
    let of = |(name, scopes): (String, Vec<Scope>)| {
        let live = Live::of(&scopes, observed.remove(&name).unwrap_or_default(), histograms, now);
        (name, live)
    };
    scopes.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const FIRST: &str = r#"{"type":"deployment","id":"d1","team":"a","service":"s","at":"2026-03-02T10:00:00Z"}
{"type":"failure","id":"f1","team":"a","service":"s","at":"2026-03-03T11:00:00Z","deployment":"d1"}
"#;

    fn value(teams: &Teams, team: &str, outcome: &str) -> Option<u64> {
        let (_, live) = teams.iter().find(|(name, _)| *name == team)?;
        let wanted = |labels: &dorainfra_prometheus::Labels| {
            labels.get("outcome") == outcome && labels.get("kind") == "planned"
        };
        live.values().find(|(_, labels, _)| wanted(labels)).map(|(.., value)| value)
    }

    #[tokio::test]
    async fn newly_collected_events_count_once_they_are_settled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let settle = Duration::days(3);
        let mut teams = Teams::new(Feed::Collected { path: path.clone(), settle }, Histograms::CLASSIC);
        let stop = CancellationToken::new();
        teams.advance(datetime!(2026-03-04 00:00 UTC), &stop).await.unwrap();
        assert_eq!(teams.iter().count(), 0);

        std::fs::write(&path, FIRST).unwrap();
        teams.advance(datetime!(2026-03-04 00:00 UTC), &stop).await.unwrap();
        assert_eq!(value(&teams, "a", "failure"), Some(0));
        teams.advance(datetime!(2026-03-05 10:00:01 UTC), &stop).await.unwrap();
        assert_eq!(value(&teams, "a", "failure"), Some(1));
        assert_eq!(value(&teams, "a", "success"), Some(0));

        let more = FIRST.replace("\"a\"", "\"b\"").replace("d1", "d2").replace("f1", "f2");
        std::fs::write(&path, format!("{FIRST}{more}")).unwrap();
        teams.advance(datetime!(2026-03-06 00:00 UTC), &stop).await.unwrap();
        assert_eq!(value(&teams, "b", "failure"), Some(1));

        std::fs::write(&path, "no event\n").unwrap();
        let error = teams.advance(datetime!(2026-03-06 00:00 UTC), &stop).await;
        assert!(error.is_err());
        assert_eq!(value(&teams, "b", "failure"), Some(1));
    }
}

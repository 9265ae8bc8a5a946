//! What a source of pages keeps between two runs: the facts, and how far it went.

use std::collections::BTreeSet;
use std::path::Path;

use dorainfra_model::Events;
use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::SourceError;
pub(super) use super::durable::{load, save};
use super::project::Project;

/// The facts alone, of whichever source's state.
pub(super) fn project(path: &Path) -> Result<Project, SourceError> {
    #[derive(Default, Deserialize)]
    struct Facts {
        #[serde(default)]
        project: Project,
    }
    Ok(load::<Facts>(path)?.project)
}

/// How far a list that begins with the newest has been read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Newest {
    /// The next page of a reading that was cut off.
    next: Option<String>,
    /// The newest of the reading that is under way.
    #[serde(with = "time::serde::rfc3339::option")]
    reading: Option<OffsetDateTime>,
    /// What is older than this is known: the newest of a reading that came to its end.
    #[serde(with = "time::serde::rfc3339::option")]
    complete: Option<OffsetDateTime>,
}

/// A reading of such a list, page by page.
pub(super) struct Walk {
    newest: Newest,
    first: String,
    url: Option<String>,
    /// What was read on the way to the end of an older reading: the newest ones
    /// come after it.
    resumed: bool,
    ended: bool,
}

impl Newest {
    /// Goes on where a reading was cut off, else begins with the newest. New ones
    /// push the others to later pages: going on reads some again, and misses none.
    pub fn walk(&self, first: String) -> Walk {
        let resumed = self.next.is_some();
        let url = Some(self.next.clone().unwrap_or_else(|| first.clone()));
        Walk { newest: self.clone(), first, url, resumed, ended: false }
    }
}

impl Walk {
    /// The page to read now; `None`: all that is new was read.
    pub fn url(&self) -> Option<String> {
        self.url.clone()
    }

    /// Whether an item is to be looked at. It is not if it is older than what is
    /// known by more than `slack`; of those before `since` the first one is.
    pub fn passes(&mut self, at: OffsetDateTime, since: OffsetDateTime, slack: Duration) -> bool {
        if self.ended {
            return false;
        }
        self.newest.reading = self.newest.reading.max(Some(at));
        if self.newest.complete.is_some_and(|known| at < known - slack) {
            self.ended = true;
            return false;
        }
        self.ended = at < since;
        true
    }

    /// A page is done, and this one is next.
    pub fn turn(&mut self, next: Option<String>) {
        if next.is_some() && !self.ended {
            self.newest.next.clone_from(&next);
            self.url = next;
            return;
        }
        self.newest.next = None;
        self.newest.complete = self.newest.complete.max(self.newest.reading.take());
        self.ended = false;
        self.url = std::mem::take(&mut self.resumed).then(|| self.first.clone());
    }

    /// How far it went.
    pub fn newest(&self) -> Newest {
        self.newest.clone()
    }
}

/// Keeps since when everything is asked for; `true`: from earlier than before, so that all
/// is to be read again.
pub(super) fn reaches_further(since: &mut Option<OffsetDateTime>, asked: OffsetDateTime) -> bool {
    let further = since.is_some_and(|known| asked < known);
    *since = Some(since.map_or(asked, |known| known.min(asked)));
    further
}

/// Squashed requests whose first commit nobody has reported yet: the commit that landed, and the
/// request's number with its sign. `not`: those that the forge does not tell.
pub(super) fn squashed(project: &Project, sign: char, not: &BTreeSet<String>) -> Vec<(String, String)> {
    let changes = project
        .changes
        .iter()
        .filter(|(_, change)| change.order.is_some() && change.is_change() && change.begun().is_none());
    let numbered = changes.filter_map(|(id, change)| {
        let mut requests = change.requests.iter().filter(|request| request.starts_with(sign));
        Some((id.clone(), requests.next().filter(|request| !not.contains(*request))?.clone()))
    });
    numbered.collect()
}

/// Keeps when work on a squashed request began; `false`: that is not known.
pub(super) fn began(project: &mut Project, id: String, begun: Option<OffsetDateTime>) -> bool {
    let Some(begun) = begun else { return false };
    let Some(change) = project.changes.get_mut(&id) else { return false };
    change.begun = Some(begun);
    true
}

/// How many squashed requests are asked for between two writings of the state.
pub(super) const BETWEEN_SAVES: usize = 100;

/// Says that the forge has answered enough for now. What is there already is worth having: the
/// events are stored, and the next run asks for the rest.
pub(super) fn later(events: &Events, project: &str, left: usize, limit: &SourceError) {
    events.warn(
        format!("{project}: {left} squashed requests have no lead time yet: {limit}"),
        Some("run it again then: it goes on with them".into()),
    );
}

/// Says that what a deployment was to be compared with is gone.
pub(super) fn gone(events: &Events, project: &str, missing: &[String], head: &str) {
    let base = missing.join(", ");
    events.warn(
        format!("{project}: {base} and {head} can't be compared: a history was rewritten"),
        Some(
            "earlier deployments are tried; with none of them, the deployment counts without changes".into(),
        ),
    );
}

/// Says that what a deployment brought is asked for once more by the next run.
pub(super) fn not_yet(events: &Events, project: &str, head: &str) {
    events.warn(
        format!("{project}: {head} was deployed, and can't be compared with what ran before yet"),
        Some("the next run asks again: until then its changes have no lead time".into()),
    );
}

pub(super) fn text(at: OffsetDateTime) -> String {
    // A year that no calendar has in UTC stays as it is.
    at.checked_to_offset(time::UtcOffset::UTC).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const SINCE: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

    #[test]
    fn the_last_moment_of_the_calendar_is_written_in_any_offset() {
        assert_eq!(text(datetime!(9999-12-31 23:59:59 -23)), "9999-12-31T23:59:59-23:00");
        assert_eq!(text(datetime!(2026-03-02 01:00 +1)), "2026-03-02T00:00:00Z");
    }

    fn day(day: i64) -> OffsetDateTime {
        SINCE + Duration::days(day)
    }

    #[test]
    fn a_reading_that_was_cut_off_is_gone_on_with_and_then_the_newest_are_read() {
        let mut walk = Newest::default().walk("1".into());
        assert!(walk.passes(day(20), SINCE, Duration::ZERO));
        walk.turn(Some("2".into()));
        // Cut off here.
        let mut walk = walk.newest().walk("1".into());
        assert_eq!(walk.url().as_deref(), Some("2"));
        assert!(walk.passes(day(10), SINCE, Duration::ZERO));
        walk.turn(None);
        assert_eq!(walk.url().as_deref(), Some("1"));
        assert!(walk.passes(day(30), SINCE, Duration::days(1)));
        assert!(walk.passes(day(20), SINCE, Duration::days(1)));
        assert!(!walk.passes(day(10), SINCE, Duration::days(1)));
        walk.turn(Some("2".into()));
        assert_eq!(walk.url(), None);
        assert_eq!(walk.newest(), Newest { complete: Some(day(30)), ..Newest::default() });
    }

    #[test]
    fn nothing_is_read_beyond_the_first_that_is_too_old() {
        let mut walk = Newest::default().walk("1".into());
        assert!(walk.passes(day(1), SINCE, Duration::ZERO));
        assert!(walk.passes(day(-1), SINCE, Duration::ZERO));
        assert!(!walk.passes(day(-2), SINCE, Duration::ZERO));
        walk.turn(Some("2".into()));
        assert_eq!(walk.url(), None);
    }
}

//! The journal without a receiver: what `event` adds to it, and all that is in it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use dorainfra_base::error::Why;

use super::super::project::Fact;
use super::cdevents::{self, Mode, Read};
use super::intake::{ServiceFacts, Wrong};
use super::journal::{self, Compaction, Delivery, Journal, Opened, Sender};
use super::maker::{Maker, Unknown};
use super::subscriptions::{Counts, Subscriptions, problem};
use crate::events::Event;
use crate::source::SourceError;
use crate::source::store::Merged;

/// How long another process that writes into the same journal is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// What became of one event.
#[derive(Debug, PartialEq)]
pub struct Recorded {
    /// `false`: its id is known already, and nothing was changed.
    pub new: bool,
    pub merged: Merged,
    /// What of it does not count, and why.
    pub notes: Vec<String>,
}

/// A CDEvent as a delivery; or its type, if that tells nothing that counts.
pub(super) fn cdevent(
    subscriptions: &Subscriptions,
    mode: Mode,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Result<Delivery, String>, Wrong> {
    let reading = |about: Option<&str>| {
        let intake = subscriptions.cdevents(about);
        cdevents::Reading { service: intake.service, deployed: intake.reading.deployed }
    };
    Ok(match cdevents::read(mode, headers, body, reading)? {
        Read::Unused(kind) => Err(kind),
        Read::Used { id, reported: ServiceFacts { team, service, facts } } => {
            Ok(Delivery { id, sender: Sender::Cdevents, project: service, team, hook: None, facts })
        }
    })
}

/// Adds one CDEvent (a CloudEvent in structured mode) to the journal, durably, and makes events
/// of it as the receiver does.
///
/// # Errors
/// Also for what can only be a mistake, and can't be reported again once it is in the journal: an
/// incident of a deployment that nobody knows, or one that ends before it began.
pub fn record(
    path: &Path,
    events: &Path,
    subscriptions: Subscriptions,
    event: &[u8],
) -> Result<Recorded, SourceError> {
    let delivery = cdevent(&subscriptions, Mode::Structured, &HeaderMap::new(), event)
        .map_err(|wrong| SourceError::Event(wrong.to_string()))?
        .map_err(|kind| SourceError::Event(format!("{kind} is not used")))?;
    if let Some(problem) = problem(delivery.sender, &delivery.project, &delivery.facts) {
        return Err(SourceError::Event(problem));
    }
    let begun = Instant::now();
    let Opened { mut journal, deliveries, .. } = loop {
        match Journal::open(path, Compaction::default()) {
            Err(error) if error.is_taken() && begun.elapsed() < PATIENCE => pause(),
            opened => break opened?,
        }
    };
    let mut notes: Vec<String> = counts_not(&subscriptions, &delivery).into_iter().collect();
    let maker = Maker::new(path, events.to_owned(), Arc::new(subscriptions));
    maker.add(deliveries);
    maker.make()?;
    if !journal.has(&delivery) {
        match maker.unknown(&delivery)?.map(|unknown| unknown.reported(&delivery)) {
            Some(Err(mistake)) => return Err(SourceError::Event(mistake)),
            note => notes.extend(note.and_then(Result::ok)),
        }
    }
    let new = journal.append(std::slice::from_ref(&delivery));
    let new = new.map_err(|error| SourceError::Journal(Why::of(error)))?.contains(&true);
    if new {
        maker.add([delivery]);
    }
    Ok(Recorded { new, merged: maker.make()?, notes })
}

/// What the sources of `dorainfra event incident`'s CloudEvents begin with; of deliveries, the ids.
pub const OF_EVENT: &str = "/dorainfra/event/";

impl Unknown {
    /// For whoever tells it: a note; or an error, where it can only be a mistake of somebody who is
    /// still there to correct it. Any other sender may tell of an incident before the deployment.
    pub fn reported(self, delivery: &Delivery) -> Result<String, String> {
        let is_event = delivery.sender == Sender::Cdevents && delivery.id.starts_with(OF_EVENT);
        match (self, is_event) {
            (Self::Deployment(what), true) => {
                Err(format!("{what}; give the `--id` of one that did, or leave `--deployment` out"))
            }
            (Self::Deployment(what), false) => {
                Ok(format!("{what}: it counts as a failure once that deployment is reported"))
            }
            (Self::LongAgo(what), _) => Ok(format!("{what}: this is no failure of it, and counts nowhere")),
            (Self::Beginning(what), true) => {
                Ok(format!("{what}: this counts once `dorainfra event incident` reports it"))
            }
            (Self::Order(what), true) => {
                Err(format!("{what}; give the time at which it was over with `--at`"))
            }
            (Self::Order(what), false) => Ok(format!("{what}: this does not end it")),
            (Self::Late(what), true) => {
                Err(format!("{what}; give the time at which it began with `--at`, or another `--id`"))
            }
            (Self::Late(what), false) => Ok(format!("{what}: this counts as one that goes on")),
            (Self::Beginning(what), false) => {
                Ok(format!("{what}: this counts once its beginning is reported"))
            }
        }
    }
}

/// What somebody should know who tells of an environment that does not count.
pub(super) fn counts_not(subscriptions: &Subscriptions, delivery: &Delivery) -> Option<String> {
    let place = subscriptions.place(&delivery.about(), &delivery.project);
    // A source that reads the service says which one counts, whatever a webhook's source calls its own.
    let read = subscriptions.read_by(&place.owner.prefix()).map(|owner| owner.environment.clone());
    let another = read.filter(|ours| !Counts::of(&place, ours).deployments);
    let counts = another.unwrap_or(place.environment);
    let mut reported = delivery.facts.iter().filter_map(|fact| match fact {
        Fact::Ran { deployment, .. } => Some(&deployment.environment),
        Fact::Failed { failure, .. } => Some(&failure.environment).filter(|name| !name.is_empty()),
        _ => None,
    });
    let other = reported.find(|environment| **environment != counts)?;
    Some(format!("nothing in `{other}` counts, only what is in `{counts}`"))
}

/// Between two looks at a lock that nobody tells of.
#[expect(clippy::disallowed_methods, reason = "a condition is waited for, with a bound")]
fn pause() {
    std::thread::sleep(PAUSE);
}

/// Makes events of what is in the journal of services that no other source tells of, whoever may
/// be writing it.
pub fn make_others(
    journal: &Path,
    events: &Path,
    subscriptions: Subscriptions,
) -> Result<(Merged, Vec<Event>), SourceError> {
    let maker = Maker::new(journal, events.to_owned(), Arc::new(subscriptions));
    maker.add(journal::read(journal)?);
    maker.others()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(folder: &Path, of: &str, kind: &str, at: &str) -> Result<Recorded, SourceError> {
        let event = json!({
            "specversion": "1.0", "id": format!("i/{kind}"), "source": of, "time": at,
            "type": format!("dev.cdevents.incident.{kind}.0.2.0"),
            "data": {
                "context": {
                    "version": "0.4.1", "id": format!("i/{kind}"), "source": of, "timestamp": at,
                    "type": format!("dev.cdevents.incident.{kind}.0.2.0"),
                },
                "subject": {"id": "i", "source": of, "content": {"service": {"id": "cart"}}},
            },
        });
        let (journal, events) = (folder.join("journal"), folder.join("events.jsonl"));
        record(&journal, &events, Subscriptions::default(), event.to_string().as_bytes())
    }

    /// The mistaken one would use up the id, and the incident would never end.
    #[test]
    fn an_incident_does_not_end_before_it_began() {
        let folder = tempfile::tempdir().unwrap();
        let event = format!("{OF_EVENT}orders/cart");
        let (ten, eleven, noon) = ("2026-03-02T10:30:00Z", "2026-03-02T11:00:00Z", "2026-03-02T12:00:00Z");
        told(folder.path(), &event, "reported", eleven).unwrap();
        let refused = told(folder.path(), &event, "resolved", ten).unwrap_err().to_string();
        assert!(refused.contains("`i` of ") && refused.contains(eleven), "{refused}");
        let ended = told(folder.path(), &event, "resolved", noon).unwrap();
        assert!(ended.new && ended.notes.is_empty(), "{ended:?}");
        let text = std::fs::read_to_string(folder.path().join("events.jsonl")).unwrap();
        assert!(text.contains("\"recovery\"") && text.contains(noon), "{text}");
        // The other way round: the beginning of what was over before.
        let search = format!("{OF_EVENT}orders/search");
        told(folder.path(), &search, "resolved", ten).unwrap();
        let refused = told(folder.path(), &search, "reported", eleven).unwrap_err().to_string();
        assert!(refused.contains("was over before, at 2026-03-02T10:30:00Z; give the time"), "{refused}");
        assert!(told(folder.path(), &search, "reported", "2026-03-02T10:00:00Z").unwrap().new);
        // Whoever else tells of it is told why it does not count.
        told(folder.path(), "/other", "reported", eleven).unwrap();
        let kept = told(folder.path(), "/other", "resolved", ten).unwrap();
        assert!(kept.new && kept.notes[0].contains(eleven), "{kept:?}");
        told(folder.path(), "/third", "resolved", ten).unwrap();
        let kept = told(folder.path(), "/third", "reported", eleven).unwrap();
        assert!(kept.new && kept.notes[0].ends_with("this counts as one that goes on"), "{kept:?}");
    }
}

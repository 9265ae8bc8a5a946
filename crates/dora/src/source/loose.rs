//! Events that refer to what isn't there, or to what came later: they count nowhere, and
//! whoever collects them should know.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use time::OffsetDateTime;

use super::super::events::Event;

/// Examples of one kind that are named; the others are counted.
const NAMED: usize = 3;

/// What of some events counts nowhere, in words, and what to do about it.
pub fn loose(events: &[Event]) -> Vec<(String, &'static str)> {
    let mut deployments: BTreeMap<&str, OffsetDateTime> = BTreeMap::new();
    let mut failures: BTreeMap<&str, OffsetDateTime> = BTreeMap::new();
    for event in events {
        let (known, id, at) = match event {
            Event::Deployment(it) => (&mut deployments, it.id.as_str(), it.at),
            Event::Failure(it) => (&mut failures, it.id.as_str(), it.at),
            Event::Change(_) | Event::Recovery(_) => continue,
        };
        let first = known.entry(id).or_insert(at);
        *first = at.min(*first);
    }
    let owners: BTreeMap<&str, (&str, &str)> = events
        .iter()
        .filter_map(|event| match event {
            Event::Deployment(it) => Some((it.id.as_str(), (it.team.as_str(), it.service.as_str()))),
            _ => None,
        })
        .collect();
    let [mut of_nothing, mut before_failure, mut by_nothing, mut before_cause, mut by_others] =
        [const { Vec::<&str>::new() }; 5];
    for event in events {
        match event {
            Event::Recovery(it) => match failures.get(it.failure.as_str()) {
                None => of_nothing.push(it.failure.as_str()),
                Some(begun) if it.at < *begun => before_failure.push(it.failure.as_str()),
                Some(_) => {}
            },
            Event::Failure(it) => match it.deployment.as_deref().map(|id| deployments.get(id)) {
                Some(None) => by_nothing.push(it.id.as_str()),
                Some(Some(ran)) if it.at < *ran => before_cause.push(it.id.as_str()),
                Some(Some(_)) => {
                    let owner = it.deployment.as_deref().and_then(|id| owners.get(id));
                    if owner.is_some_and(|owner| *owner != (it.team.as_str(), it.service.as_str())) {
                        by_others.push(it.id.as_str());
                    }
                }
                None => {}
            },
            Event::Change(_) | Event::Deployment(_) => {}
        }
    }
    let reported = [
        (
            of_nothing,
            "recoveries of failures that are not among the events count nowhere",
            "each `failure` of a recovery has to be the `id` of a failure",
        ),
        (
            before_failure,
            "recoveries before their failure count as 0 seconds",
            "compare the two systems' clocks",
        ),
        (
            by_nothing,
            "failures by deployments that are not among the events count nowhere",
            "each `deployment` of a failure has to be the `id` of a deployment",
        ),
        (
            before_cause,
            "failures that began before their deployment count nowhere",
            "name the deployment that caused it, or none",
        ),
        (
            by_others,
            "failures by deployments of another team or service count for that one",
            "name a deployment of the failure's own team and service, if that is a mistake",
        ),
    ];
    let reported = reported.into_iter().filter(|(ids, ..)| !ids.is_empty());
    reported
        .map(|(mut ids, what, hint)| {
            ids.sort_unstable();
            ids.dedup();
            let more = if ids.len() > NAMED { ", …" } else { "" };
            (format!("{what} ({}): {}{more}", ids.len(), ids[..ids.len().min(NAMED)].join(", ")), hint)
        })
        .collect()
}

/// Of how many changes that a deployment brought nobody reported when they were written. A file's may
/// be missing in it; those of other sources are known, but for that time.
pub fn without_lead_time(events: &[Event], is_file: bool) -> Option<String> {
    let (mut timed, mut brought) = (HashSet::new(), BTreeSet::new());
    for event in events {
        match event {
            Event::Change(change) => _ = timed.insert(change.id.as_str()),
            Event::Deployment(deployment) => brought.extend(deployment.changes.iter().map(String::as_str)),
            Event::Failure(_) | Event::Recovery(_) => {}
        }
    }
    let unknown: Vec<&str> = brought.iter().copied().filter(|id| !timed.contains(id)).collect();
    if unknown.is_empty() {
        return None;
    }
    let count = format!("of {} of {} changes the lead time is unknown", unknown.len(), brought.len());
    if !is_file {
        return Some(format!(
            "{count}: nothing tells when they were written, only when they landed (squashed requests, or \
             times that can't be read)"
        ));
    }
    let more = if unknown.len() > NAMED { ", …" } else { "" };
    let named = unknown[..unknown.len().min(NAMED)].join(", ");
    Some(format!("{count}: it has no `change` with the id {named}{more}"))
}

#[cfg(test)]
mod tests {
    use super::super::super::events::read;
    use super::*;

    #[test]
    fn what_counts_nowhere_is_named() {
        let lines = r#"{"type":"deployment","id":"d","team":"t","service":"s","at":"2026-03-02T12:00:00Z"}
{"type":"failure","id":"early","team":"t","service":"s","at":"2026-03-02T11:00:00Z","deployment":"d"}
{"type":"failure","id":"lost","team":"t","service":"s","at":"2026-03-02T13:00:00Z","deployment":"x"}
{"type":"failure","id":"others","team":"p","service":"s","at":"2026-03-02T13:00:00Z","deployment":"d"}
{"type":"failure","id":"own","team":"t","service":"s","at":"2026-03-02T13:00:00Z"}
{"type":"recovery","failure":"own","at":"2026-03-02T12:30:00Z"}
{"type":"recovery","failure":"f4","at":"2026-03-02T14:00:00Z"}
{"type":"recovery","failure":"f3","at":"2026-03-02T14:00:00Z"}
{"type":"recovery","failure":"f2","at":"2026-03-02T14:00:00Z"}
{"type":"recovery","failure":"f1","at":"2026-03-02T14:00:00Z"}"#;
        let events: Vec<Event> = read(lines.as_bytes()).collect::<Result<_, _>>().unwrap();
        let reported: Vec<String> = loose(&events).into_iter().map(|(what, _)| what).collect();
        assert_eq!(
            reported,
            [
                "recoveries of failures that are not among the events count nowhere (4): f1, f2, f3, …",
                "recoveries before their failure count as 0 seconds (1): own",
                "failures by deployments that are not among the events count nowhere (1): lost",
                "failures that began before their deployment count nowhere (1): early",
                "failures by deployments of another team or service count for that one (1): others",
            ]
        );
        assert!(loose(&events[..1]).is_empty());
    }

    #[test]
    fn a_change_that_is_not_in_a_file_is_no_squashed_request() {
        let lines = r#"{"type":"deployment","id":"d","team":"t","service":"s","at":"2026-03-02T12:00:00Z","changes":["c1","c2","c3","c1"]}
{"type":"change","id":"c2","team":"t","service":"s","at":"2026-03-02T11:00:00Z"}"#;
        let events: Vec<Event> = read(lines.as_bytes()).collect::<Result<_, _>>().unwrap();
        assert_eq!(
            without_lead_time(&events, true).as_deref(),
            Some("of 2 of 3 changes the lead time is unknown: it has no `change` with the id c1, c3")
        );
        let said = without_lead_time(&events, false).unwrap();
        assert!(said.starts_with("of 2 of 3 changes") && said.contains("squashed requests"), "{said}");
        assert_eq!(without_lead_time(&events[1..], true), None);
    }
}

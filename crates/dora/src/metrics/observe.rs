//! What counts, and when: events to observations.
//!
//! - A deployment counts at its own time. It is a failure if a failure that
//!   names it began within [`OUTCOME_WINDOW`]: later ones don't change what has
//!   been counted. So a day's numbers are final once that window is over. What
//!   began before a deployment was not caused by it.
//! - A change's lead time counts at the time of the deployment that brings it;
//!   deployments that others caused to fail keep theirs.
//! - A recovery counts at the time of the recovery, once for each failure, and
//!   only of those that make a deployment a failure: that is how the metric is
//!   defined, and both tell of the same failures. It is of the deployment's team
//!   and service, whoever found the failure.
//!
//! What refers to something unknown doesn't count. A time that would be negative
//! is zero: clocks of two systems differ.

use std::collections::{HashMap, HashSet};

use time::{Duration, OffsetDateTime};

use super::super::events::{Deployment, Event, Failure, Kind};

/// How long after a deployment a failure is still its failure: over a weekend.
pub const OUTCOME_WINDOW: Duration = Duration::days(3);

/// Something that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    pub at: OffsetDateTime,
    /// Of the deployment, the change or the failure.
    pub id: String,
    pub team: String,
    pub service: String,
    pub environment: String,
    pub observed: Observed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    Deployment {
        failed: bool,
        kind: Kind,
    },
    /// Seconds.
    LeadTime(u64),
    /// Seconds.
    Recovery(u64),
}

/// The observations of some events, in the order of time. The events may be in
/// any order; an id that comes again is what it was the first time.
pub fn observe(events: &[Event]) -> Vec<Observation> {
    observe_within(events, OUTCOME_WINDOW)
}

/// The observations of real events, each `settle` after it happened: nobody knows
/// earlier whether a deployment failed, and an event may be told late. So what was
/// counted stays, and a counter never goes down. A failure that is found later
/// than that (or than [`OUTCOME_WINDOW`]) is no failure of its deployment.
pub fn settled(events: &[Event], settle: Duration) -> Vec<Observation> {
    let mut all = observe_within(events, settle.min(OUTCOME_WINDOW));
    for one in &mut all {
        one.at = one.at.checked_add(settle).unwrap_or(one.at);
    }
    all
}

fn observe_within(events: &[Event], window: Duration) -> Vec<Observation> {
    let index = Index::of(events, window);
    let mut all = Vec::new();
    let mut deployed = HashSet::new();
    let mut recovered = HashSet::new();
    for event in &index.in_order {
        match event {
            Event::Deployment(deployment) if deployed.insert(&deployment.id) => {
                index.deployment(deployment, &mut all);
            }
            Event::Recovery(recovery) => {
                if let Some(failure) = index.failures.get(recovery.failure.as_str())
                    && let Some(deployment) = index.caused(failure)
                    && recovered.insert(&recovery.failure)
                {
                    all.push(Observation {
                        at: recovery.at,
                        id: failure.id.clone(),
                        team: deployment.team.clone(),
                        service: deployment.service.clone(),
                        environment: deployment.environment.clone(),
                        observed: Observed::Recovery(seconds(recovery.at - failure.at)),
                    });
                }
            }
            _ => {}
        }
    }
    all
}

/// Events by what they are referred to with.
struct Index<'a> {
    in_order: Vec<&'a Event>,
    changes: HashMap<&'a str, OffsetDateTime>,
    deployments: HashMap<&'a str, &'a Deployment>,
    failures: HashMap<&'a str, &'a Failure>,
    /// The deployments that failed.
    failed: HashSet<&'a str>,
    /// How long after a deployment that counts.
    window: Duration,
}

impl<'a> Index<'a> {
    fn of(events: &'a [Event], window: Duration) -> Self {
        let mut in_order: Vec<&Event> = events.iter().collect();
        in_order.sort_by_key(|event| event.at());
        let mut index = Self {
            in_order,
            changes: HashMap::new(),
            deployments: HashMap::new(),
            failures: HashMap::new(),
            failed: HashSet::new(),
            window,
        };
        for &event in &index.in_order {
            match event {
                Event::Change(change) => {
                    index.changes.entry(&change.id).or_insert(change.at);
                }
                Event::Deployment(deployment) => {
                    index.deployments.entry(&deployment.id).or_insert(deployment);
                }
                Event::Failure(failure) => {
                    index.failures.entry(&failure.id).or_insert(failure);
                }
                Event::Recovery(_) => {}
            }
        }
        let failed = index.failures.values().filter_map(|failure| index.caused(failure));
        index.failed = failed.map(|deployment| deployment.id.as_str()).collect();
        index
    }

    /// The deployment that a failure counts against.
    fn caused(&self, failure: &Failure) -> Option<&'a Deployment> {
        let deployment = *self.deployments.get(failure.deployment.as_deref()?)?;
        let after = failure.at - deployment.at;
        (!after.is_negative() && after <= self.window).then_some(deployment)
    }

    fn deployment(&self, deployment: &Deployment, all: &mut Vec<Observation>) {
        let failed = self.failed.contains(deployment.id.as_str());
        let observation = |id: &str, observed| Observation {
            at: deployment.at,
            id: id.to_owned(),
            team: deployment.team.clone(),
            service: deployment.service.clone(),
            environment: deployment.environment.clone(),
            observed,
        };
        all.push(observation(&deployment.id, Observed::Deployment { failed, kind: deployment.kind }));
        // Whoever names a change twice brought it once.
        let mut named = HashSet::new();
        for change in deployment.changes.iter().filter(|change| named.insert(change.as_str())) {
            if let Some(begun) = self.changes.get(change.as_str()) {
                let lead = Observed::LeadTime(seconds(deployment.at - *begun));
                all.push(observation(change, lead));
            }
        }
    }
}

fn seconds(duration: Duration) -> u64 {
    u64::try_from(duration.whole_seconds()).unwrap_or(0)
}

//! Each service by itself: its deployments, and its lead times and recoveries where these
//! are stored by service.

use std::collections::BTreeMap;

use dorainfra_prometheus::query::{Instant, Query, QueryError};
use schemars::JsonSchema;
use serde::Serialize;

use super::question::Question;
use super::spans::Span;
use super::tally::Deployed;
use super::{Key, words};

/// A service over the whole range.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Service {
    pub team: String,
    pub name: String,
    #[serde(serialize_with = "super::whole")]
    #[schemars(with = "u64")]
    pub deployments: f64,
    /// Per day.
    pub frequency: f64,
    /// 0..1; `None`: nothing was deployed.
    pub failure_rate: Option<f64>,
    pub rework_rate: Option<f64>,
    #[serde(serialize_with = "super::whole")]
    #[schemars(with = "u64")]
    pub failed: f64,
    #[serde(serialize_with = "super::whole")]
    #[schemars(with = "u64")]
    pub rework: f64,
    /// `None`: they are not stored by service, or not those of all of the range.
    #[serde(serialize_with = "super::count")]
    #[schemars(with = "Option<u64>")]
    pub changes: Option<f64>,
    #[serde(serialize_with = "super::count")]
    #[schemars(with = "Option<u64>")]
    pub recoveries: Option<f64>,
    /// Medians, seconds; `None`: not known, or nothing happened.
    pub lead_time: Option<f64>,
    pub recovery: Option<f64>,
}

/// Team and service.
type Named = (String, String);

/// The services of these teams over the days that are known of them.
///
/// # Errors
/// The first query that is not answered.
pub(super) async fn services(
    query: &Query,
    question: &Question,
    span: &Span,
) -> Result<Vec<Service>, QueryError> {
    let (ask, end) = (&question.ask(span, "team, service"), span.end);
    let at = |expression: String| async move {
        let found = query.instant::<Instant>(&expression, Some(end)).await?;
        let label = |one: &Instant, name: &str| one.metric.get(name).cloned().unwrap_or_default();
        let values = found.iter().filter(|one| one.value().is_finite());
        let values = values.map(|one| ((label(one, "team"), label(one, "service")), one.value()));
        Ok::<BTreeMap<Named, f64>, QueryError>(values.collect())
    };
    let deployed = ask.deployments_of_each();
    let (deployed, changes, recoveries, lead_time, recovery) = tokio::try_join!(
        query.instant::<Instant>(&deployed, Some(end)),
        at(ask.changes_by_service()),
        at(ask.recoveries_by_service()),
        at(ask.lead_time_by_service(0.5)),
        at(ask.recovery_by_service(0.5)),
    )?;
    let mut deployments: BTreeMap<Named, Deployed> = BTreeMap::new();
    for one in deployed.iter().filter(|one| one.value().is_finite()) {
        let label = |name: &str| one.metric.get(name).cloned().unwrap_or_default();
        *deployments.entry((label("team"), label("service"))).or_default() +=
            &Deployed::counted(&one.metric, one.value());
    }
    let one = |(named, deployed): (&Named, &Deployed)| {
        let of = |values: &BTreeMap<Named, f64>| values.get(named).copied();
        let deployments = deployed.count().unwrap_or_default();
        let (failed, rework) = (deployed.failed(), deployed.rework());
        let share = |part: f64| (deployments >= 0.5).then(|| part / deployments);
        Service {
            team: named.0.clone(),
            name: named.1.clone(),
            deployments,
            frequency: deployments / span.days as f64,
            failure_rate: share(failed),
            rework_rate: share(rework),
            failed,
            rework,
            changes: of(&changes),
            recoveries: of(&recoveries),
            lead_time: of(&lead_time),
            recovery: of(&recovery),
        }
    };
    Ok(deployments.iter().map(one).collect())
}

impl Service {
    /// Whether its lead times and recoveries are known.
    pub fn has_times(&self) -> bool {
        self.changes.is_some() && self.recoveries.is_some()
    }

    pub(super) fn of(&self, key: Key) -> Option<f64> {
        match key {
            Key::Frequency => Some(self.frequency),
            Key::LeadTime => self.lead_time,
            Key::FailureRate => self.failure_rate,
            Key::Recovery => self.recovery,
            Key::Rework => self.rework_rate,
        }
    }

    /// The figure and, where it is one of few or many, of how many; what is not stored is
    /// told from what did not happen.
    pub(super) fn text(&self, key: Key) -> String {
        let value = key.text(self.of(key));
        let share =
            |part: f64| format!("{value} ({} of {})", words::count(part), words::count(self.deployments));
        let median = |count: Option<f64>| match (count, self.of(key)) {
            (None, _) => "not stored".to_owned(),
            (Some(_), None) => value.clone(),
            (Some(count), Some(_)) => format!("{value} ({})", words::count(count)),
        };
        match key {
            Key::Frequency => value,
            Key::LeadTime => median(self.changes),
            Key::Recovery => median(self.recoveries),
            Key::FailureRate | Key::Rework if self.of(key).is_none() => value,
            Key::FailureRate => share(self.failed),
            Key::Rework => share(self.rework),
        }
    }
}

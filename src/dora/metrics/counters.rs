//! Observations added up: integers, so that the sum doesn't depend on the order.

use std::collections::BTreeMap;

use super::super::events::Kind;
use super::super::{Labels, native};
use super::{
    DEPLOYMENTS, LEAD_TIME, LEAD_TIME_EDGES, Observation, Observed, RECOVERY, RECOVERY_EDGES, Scope,
};
use crate::dora::valid;

/// The present values of all series of some teams.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    deployments: BTreeMap<Service, [u64; 4]>,
    lead_times: BTreeMap<Owner, Histogram>,
    recoveries: BTreeMap<Owner, Histogram>,
}

/// Team, service and environment, as they are sent: two names that are the same
/// there are counted together.
type Service = (String, String, String);
/// Team and environment.
type Owner = (String, String);

/// The columns of a service's counts, by outcome and kind.
const COLUMNS: [(&str, &str); 4] =
    [("success", "planned"), ("success", "rework"), ("failure", "planned"), ("failure", "rework")];

/// A classic histogram, whose buckets are not cumulative yet, and a native one.
#[derive(Clone, Debug, Default, PartialEq)]
struct Histogram {
    /// One for each edge, and what is above them all.
    buckets: [u64; 11],
    sum: u64,
    native: native::Histogram,
}

impl Histogram {
    fn add(&mut self, edges: &[u64; 10], value: u64) {
        self.buckets[slot(edges, value)] += 1;
        self.sum += value;
        self.native.add(value);
    }
}

/// Where a value is counted: at the first edge that is not below it, or past them all.
fn slot(edges: &[u64; 10], value: u64) -> usize {
    edges.partition_point(|edge| *edge < value)
}

impl Counters {
    /// Zeros for everything that may be counted for these.
    pub fn zero<'a>(scopes: impl IntoIterator<Item = &'a Scope>) -> Self {
        let mut counters = Self::default();
        for scope in scopes {
            for service in &scope.services {
                counters.open(&scope.team, service, &scope.environment);
            }
        }
        counters
    }

    /// Has the series of a service, at zero where they are new.
    pub fn open(&mut self, team: &str, service: &str, environment: &str) {
        let (team, service, environment) = (valid(team), valid(service), valid(environment));
        let owner = (team.clone(), environment.clone());
        self.lead_times.entry(owner.clone()).or_default();
        self.recoveries.entry(owner).or_default();
        self.deployments.entry((team, service, environment)).or_default();
    }

    pub fn add(&mut self, observation: &Observation) {
        let Observation { team, service, environment, observed, .. } = observation;
        let (team, environment) = (valid(team), valid(environment));
        match *observed {
            Observed::Deployment { failed, kind } => {
                let column = 2 * usize::from(failed) + usize::from(kind == Kind::Rework);
                self.deployments.entry((team, valid(service), environment)).or_default()[column] += 1;
            }
            Observed::LeadTime(seconds) => {
                self.lead_times.entry((team, environment)).or_default().add(&LEAD_TIME_EDGES, seconds);
            }
            Observed::Recovery(seconds) => {
                self.recoveries.entry((team, environment)).or_default().add(&RECOVERY_EDGES, seconds);
            }
        }
    }

    /// Back to zero; every series stays.
    pub fn reset(&mut self) {
        self.deployments.values_mut().for_each(|counts| *counts = [0; 4]);
        for histogram in self.lead_times.values_mut().chain(self.recoveries.values_mut()) {
            *histogram = Histogram::default();
        }
    }

    /// Names and labels, in the order of [`Counters::values`].
    pub fn names(&self) -> Vec<(&'static str, Labels)> {
        let mut all = Vec::new();
        for (team, service, environment) in self.deployments.keys() {
            for (outcome, kind) in COLUMNS {
                let labels = [
                    ("team", team.as_str()),
                    ("service", service),
                    ("environment", environment),
                    ("outcome", outcome),
                    ("kind", kind),
                ];
                all.push((DEPLOYMENTS, Labels::new(labels)));
            }
        }
        for Family { owners, parts, edges, .. } in self.histograms() {
            for (team, environment) in owners.keys() {
                let labels = [("team", team.as_str()), ("environment", environment)];
                for edge in edges.iter().map(|edge| le(*edge)).chain(["+Inf".to_owned()]) {
                    let with = labels.into_iter().chain([("le", edge.as_str())]);
                    all.push((parts[0], Labels::new(with)));
                }
                all.push((parts[1], Labels::new(labels)));
                all.push((parts[2], Labels::new(labels)));
            }
        }
        all
    }

    /// The values of all series.
    pub fn values(&self) -> impl Iterator<Item = u64> + '_ {
        let deployments = self.deployments.values().flatten().copied();
        let histograms = self.histograms().into_iter().flat_map(|family| family.owners.values());
        deployments.chain(histograms.flat_map(|histogram| {
            let mut below = 0;
            let cumulative = histogram.buckets.iter().map(move |count| {
                below += count;
                below
            });
            cumulative.chain([histogram.sum, histogram.buckets.iter().sum()])
        }))
    }

    /// Names and labels of the native histograms, in the order of [`Counters::natives`].
    pub fn native_names(&self) -> Vec<(&'static str, Labels)> {
        let mut all = Vec::new();
        for Family { name, owners, .. } in self.histograms() {
            all.extend(owners.keys().map(|(team, environment)| {
                (name, Labels::new([("team", team.as_str()), ("environment", environment)]))
            }));
        }
        all
    }

    /// All native histograms as they are now.
    pub fn natives(&self) -> impl Iterator<Item = &native::Histogram> {
        let owners = self.histograms().into_iter().flat_map(|family| family.owners.values());
        owners.map(|histogram| &histogram.native)
    }

    fn histograms(&self) -> [Family<'_>; 2] {
        [
            Family {
                name: LEAD_TIME,
                owners: &self.lead_times,
                parts: LEAD_TIME_PARTS,
                edges: &LEAD_TIME_EDGES,
            },
            Family {
                name: RECOVERY,
                owners: &self.recoveries,
                parts: RECOVERY_PARTS,
                edges: &RECOVERY_EDGES,
            },
        ]
    }
}

/// One histogram of all its owners.
struct Family<'a> {
    /// The name of the native one.
    name: &'static str,
    owners: &'a BTreeMap<Owner, Histogram>,
    /// The names of buckets, sum and count.
    parts: [&'static str; 3],
    edges: &'static [u64; 10],
}

const LEAD_TIME_PARTS: [&str; 3] = [
    "dora_change_lead_time_seconds_bucket",
    "dora_change_lead_time_seconds_sum",
    "dora_change_lead_time_seconds_count",
];
const RECOVERY_PARTS: [&str; 3] = [
    "dora_deployment_recovery_seconds_bucket",
    "dora_deployment_recovery_seconds_sum",
    "dora_deployment_recovery_seconds_count",
];

/// Where an observation is counted first: the series with the lowest edge.
pub(super) struct Bucket {
    pub name: &'static str,
    pub le: String,
    pub seconds: u64,
    /// The label of an exemplar that names what was observed.
    pub label: &'static str,
}

pub(super) fn bucket(observed: Observed) -> Option<Bucket> {
    let (parts, edges, seconds, label) = match observed {
        Observed::Deployment { .. } => return None,
        Observed::LeadTime(seconds) => (LEAD_TIME_PARTS, &LEAD_TIME_EDGES, seconds, "change_id"),
        Observed::Recovery(seconds) => (RECOVERY_PARTS, &RECOVERY_EDGES, seconds, "failure_id"),
    };
    let le = edges.get(slot(edges, seconds)).map_or("+Inf".to_owned(), |edge| le(*edge));
    Some(Bucket { name: parts[0], le, seconds, label })
}

/// Which family a series belongs to, and its type, for the text format.
pub(super) fn families() -> [(&'static str, &'static str, &'static str); 3] {
    [
        (DEPLOYMENTS, "counter", "Deployments, by outcome and kind."),
        (LEAD_TIME, "histogram", "From a change to its deployment, seconds."),
        (RECOVERY, "histogram", "From the failure of a deployment to its recovery, seconds."),
    ]
}

/// An edge as Prometheus 3 writes it, whoever sent it: `3600.0`, and from a
/// million on `2.592e+06`. Any other way to write it would be another series than
/// the one that is scraped.
pub(super) fn le(edge: u64) -> String {
    let digits = edge.to_string();
    if digits.len() < 7 {
        return format!("{digits}.0");
    }
    let exponent = digits.len() - 1;
    let (first, rest) = digits.split_at(1);
    match rest.trim_end_matches('0') {
        "" => format!("{first}e+{exponent:02}"),
        rest => format!("{first}.{rest}e+{exponent:02}"),
    }
}

//! Observations added up: integers, so that the sum doesn't depend on the order.

use std::collections::BTreeMap;

use dorainfra_prometheus::valid;
use dorainfra_prometheus::{Labels, native};

use super::super::events::Kind;
use super::{
    DEPLOYMENTS, Histograms, LEAD_TIME, LEAD_TIME_EDGES, Observation, Observed, RECOVERY, RECOVERY_EDGES,
    SERVICE_LEAD_TIME, SERVICE_RECOVERY, Scope,
};

/// The present values of all series of some teams.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    deployments: BTreeMap<Service, [u64; 4]>,
    /// Of teams.
    times: Times,
    /// Of services, where they are wanted.
    by_service: Option<Times>,
}

/// Lead times and recoveries. Those of a team have no service.
#[derive(Clone, Debug, Default, PartialEq)]
struct Times {
    lead: BTreeMap<Service, Histogram>,
    recovery: BTreeMap<Service, Histogram>,
}

impl Times {
    fn open(&mut self, owner: Service) {
        self.lead.entry(owner.clone()).or_default();
        self.recovery.entry(owner).or_default();
    }

    fn add(&mut self, owner: Service, observed: Observed) {
        match observed {
            Observed::Deployment { .. } => {}
            Observed::LeadTime(seconds) => {
                self.lead.entry(owner).or_default().add(&LEAD_TIME_EDGES, seconds);
            }
            Observed::Recovery(seconds) => {
                self.recovery.entry(owner).or_default().add(&RECOVERY_EDGES, seconds);
            }
        }
    }
}

/// Team, service and environment, as they are sent: two names that are the same
/// there are counted together.
type Service = (String, String, String);

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
    pub fn zero<'a>(scopes: impl IntoIterator<Item = &'a Scope>, histograms: Histograms) -> Self {
        let by_service = histograms.by_service.then(Times::default);
        let mut counters = Self { by_service, ..Self::default() };
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
        let service = (team, service, environment);
        self.times.open(whole(&service));
        if let Some(times) = &mut self.by_service {
            times.open(service.clone());
        }
        self.deployments.entry(service).or_default();
    }

    pub fn add(&mut self, observation: &Observation) {
        let Observation { team, service, environment, observed, .. } = observation;
        let service = (valid(team), valid(service), valid(environment));
        self.times.add(whole(&service), *observed);
        if let Some(times) = &mut self.by_service {
            times.add(service.clone(), *observed);
        }
        if let Observed::Deployment { failed, kind } = *observed {
            let column = 2 * usize::from(failed) + usize::from(kind == Kind::Rework);
            self.deployments.entry(service).or_default()[column] += 1;
        }
    }

    /// Back to zero; every series stays.
    pub fn reset(&mut self) {
        self.deployments.values_mut().for_each(|counts| *counts = [0; 4]);
        for times in [&mut self.times].into_iter().chain(&mut self.by_service) {
            let histograms = times.lead.values_mut().chain(times.recovery.values_mut());
            histograms.for_each(|histogram| *histogram = Histogram::default());
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
            for owner in owners.keys() {
                let labels = labels(owner);
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
            all.extend(owners.keys().map(|owner| (name, Labels::new(labels(owner)))));
        }
        all
    }

    /// All native histograms as they are now.
    pub fn natives(&self) -> impl Iterator<Item = &native::Histogram> {
        let owners = self.histograms().into_iter().flat_map(|family| family.owners.values());
        owners.map(|histogram| &histogram.native)
    }

    fn histograms(&self) -> Vec<Family<'_>> {
        let (lead, recovery) = (&LEAD_TIME_EDGES, &RECOVERY_EDGES);
        let family = |name, owners, parts, edges| Family { name, owners, parts, edges };
        let mut all = vec![
            family(LEAD_TIME, &self.times.lead, LEAD_TIME_PARTS, lead),
            family(RECOVERY, &self.times.recovery, RECOVERY_PARTS, recovery),
        ];
        if let Some(times) = &self.by_service {
            all.push(family(SERVICE_LEAD_TIME, &times.lead, SERVICE_LEAD_TIME_PARTS, lead));
            all.push(family(SERVICE_RECOVERY, &times.recovery, SERVICE_RECOVERY_PARTS, recovery));
        }
        all
    }
}

/// Whose all of a service's team is: no service's.
fn whole((team, _, environment): &Service) -> Service {
    (team.clone(), String::new(), environment.clone())
}

/// No label where there is no service.
fn labels((team, service, environment): &Service) -> [(&'static str, &str); 3] {
    [("team", team), ("service", service), ("environment", environment)]
}

/// One histogram of all its owners.
struct Family<'a> {
    /// The name of the native one.
    name: &'static str,
    owners: &'a BTreeMap<Service, Histogram>,
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
const SERVICE_LEAD_TIME_PARTS: [&str; 3] = [
    "dora_service_change_lead_time_seconds_bucket",
    "dora_service_change_lead_time_seconds_sum",
    "dora_service_change_lead_time_seconds_count",
];
const SERVICE_RECOVERY_PARTS: [&str; 3] = [
    "dora_service_deployment_recovery_seconds_bucket",
    "dora_service_deployment_recovery_seconds_sum",
    "dora_service_deployment_recovery_seconds_count",
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
pub(super) fn families() -> [(&'static str, &'static str, &'static str); 5] {
    [
        (DEPLOYMENTS, "counter", "Deployments, by outcome and kind."),
        (LEAD_TIME, "histogram", "From a change to its deployment, seconds."),
        (RECOVERY, "histogram", "From the failure of a deployment to its recovery, seconds."),
        (SERVICE_LEAD_TIME, "histogram", "From a change to its deployment, seconds, by service."),
        (SERVICE_RECOVERY, "histogram", "From a deployment's failure to its recovery, seconds, by service."),
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

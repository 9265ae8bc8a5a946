//! Every way in which planning or applying can fail as a whole. A resource that
//! fails while others go on is in [`super::Outcome`], not in here.

use std::collections::BTreeSet;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Finding, ProviderError, ResourceId};

pub(super) const AFTER_THE_OTHER: &str = "wait until the other run has ended, then run this again";

/// A resource that exists under a manifest's name and cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    pub id: ResourceId,
    pub why: ForeignWhy,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForeignWhy {
    /// Carries no mark: `--adopt` takes it over.
    Unmarked,
    /// Carries the mark of another deployment: never touched.
    OtherDeployment(String),
    /// Carries no mark, and adopting it would mean to replace it: these fields
    /// differ and cannot change.
    CannotAdopt(Vec<String>),
}

impl std::fmt::Display for Foreign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.why {
            ForeignWhy::Unmarked => write!(f, "{} exists without a mark of dorainfra", self.id),
            ForeignWhy::OtherDeployment(name) => {
                write!(f, "{} belongs to the deployment `{name}`", self.id)
            }
            ForeignWhy::CannotAdopt(fields) => {
                write!(
                    f,
                    "{} cannot be adopted: `{}` differs and cannot change",
                    self.id,
                    fields.join("`, `")
                )
            }
        }
    }
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// Each member needs the next one, and the last one the first.
    #[error("resources need each other in a circle: {}", circle(.members))]
    Cycle { members: Vec<ResourceId> },
    #[error("{from} refers to {to} (`{field}`), which is not among the resources")]
    UnknownReference { from: ResourceId, to: ResourceId, field: String },
    #[error("{from} depends on {to}, which is not among the resources")]
    UnknownDependency { from: ResourceId, to: ResourceId },
    #[error("{from} refers to `{field}` of {to}, which has no such field")]
    MissingField { from: ResourceId, to: ResourceId, field: String },
    #[error("{from} holds `{text}`, which is not a whole reference")]
    BadReference { from: ResourceId, text: String },
    #[error("{id} is of a kind that does not exist")]
    UnknownKind { id: ResourceId },
    #[error("{member} is in the rolling group `{group}`, and waits for another member of it")]
    Entangled { group: String, member: ResourceId },
    #[error("{id} is declared twice")]
    Duplicate { id: ResourceId },
    #[error("{} this deployment's to change: {}", if .resources.len() == 1 { "a resource is not" } else { "some resources are not" }, list(.resources))]
    NotOurs { resources: Vec<Foreign> },
    #[error("this cannot be done: {}", problems(.findings))]
    Impossible { findings: Vec<Finding> },
    #[error("{id} is not in the plan")]
    UnknownTarget { id: ResourceId, known: Vec<ResourceId> },
    #[error("another run changes this deployment: {holder} holds the lease until {}", rfc3339(.expires))]
    LeaseHeld { holder: String, expires: OffsetDateTime },
    #[error("another run has changed this deployment since this one read it: {holder}")]
    Meanwhile { holder: String },
    #[error("the lease was lost: {why}")]
    LeaseLost { why: String },
    /// The lease could not be renewed, as nobody answers; so nothing more may be done.
    #[error(transparent)]
    Unreachable { error: ProviderError },
    #[error("the lease could not be taken: {error}")]
    Lease {
        #[source]
        error: ProviderError,
    },
    #[error(transparent)]
    Stale(#[from] Stale),
    #[error("the plan is of the deployment `{plan}`, not of `{here}`")]
    OtherDeployment { plan: String, here: String },
    /// The plan does not hold what was read: it comes from a file.
    #[error("the plan was not compared with the cloud in this run")]
    Unread,
    #[error("{id}: {error}")]
    Provider {
        id: ResourceId,
        #[source]
        error: ProviderError,
    },
    #[error("the resources of this deployment could not be listed: {error}")]
    Listing {
        #[source]
        error: ProviderError,
    },
    /// Of a list that is not whole nothing may be concluded here.
    #[error("{} can't be asked now, so what of this deployment is there is not known", joined(.places))]
    Unseen { places: BTreeSet<String> },
}

impl EngineError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Cycle { .. } => Some("remove one of these references or `dependsOn` entries".into()),
            Self::UnknownReference { .. } | Self::UnknownDependency { .. } => {
                Some("correct the name, or add the resource it names".into())
            }
            Self::MissingField { .. } => {
                Some("refer to a field that the resource has, in the provider's spelling".into())
            }
            Self::BadReference { .. } => Some("write ${kind/name.field}".into()),
            Self::UnknownKind { .. } => Some("correct the kind in its template".into()),
            Self::Entangled { .. } => {
                Some("members are changed one after another: take away what makes one need another".into())
            }
            Self::Duplicate { .. } => Some("give one of them another name".into()),
            Self::NotOurs { resources } => Some(foreign_hint(resources)),
            Self::Impossible { findings } => {
                let ways: Vec<&str> = findings.iter().map(|finding| finding.instead.as_str()).collect();
                Some(ways.join("; "))
            }
            Self::UnknownTarget { id, known } => Some(target_hint(id, known)),
            Self::Meanwhile { .. } => Some(
                "the cloud has changed since the plan: run the same command again, which makes a new one"
                    .into(),
            ),
            Self::LeaseLost { .. } => Some(AFTER_THE_OTHER.into()),
            Self::LeaseHeld { .. } => Some(
                "wait until that run has ended; the lease of a run that died ends by itself at that time"
                    .into(),
            ),
            Self::Stale(stale) => Some(stale.hint()),
            Self::OtherDeployment { plan, .. } => {
                Some(format!("use the configuration of `{plan}`, or make a new plan"))
            }
            Self::Unseen { .. } => Some(
                "nothing was touched: what would be made may be there already, and what is to go may be \
                 left behind; try again when it answers"
                    .into(),
            ),
            Self::Unread => Some("plan again from the saved plan before applying it".into()),
            Self::Lease { error }
            | Self::Provider { error, .. }
            | Self::Listing { error }
            | Self::Unreachable { error } => error.hint.clone(),
        }
    }
}

fn joined(places: &BTreeSet<String>) -> String {
    places.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn circle(members: &[ResourceId]) -> String {
    let names: Vec<String> = members.iter().chain(members.first()).map(ToString::to_string).collect();
    names.join(" → ")
}

fn list(resources: &[Foreign]) -> String {
    let lines: Vec<String> = resources.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

fn problems(findings: &[Finding]) -> String {
    let lines: Vec<String> =
        findings.iter().map(|finding| format!("{}: {}", finding.subject, finding.problem)).collect();
    lines.join("; ")
}

fn rfc3339(time: &OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_else(|_| time.to_string())
}

fn foreign_hint(resources: &[Foreign]) -> String {
    let adoptable = resources.iter().all(|foreign| foreign.why == ForeignWhy::Unmarked);
    if adoptable {
        "take over what is yours with --adopt, or choose another deployment name".into()
    } else {
        "choose another deployment name, or remove these resources where they come from".into()
    }
}

fn target_hint(id: &ResourceId, known: &[ResourceId]) -> String {
    let same_kind: Vec<String> =
        known.iter().filter(|other| other.kind == id.kind).map(ToString::to_string).collect();
    match same_kind.as_slice() {
        [] => "`plan` lists the resources by their kind/name".into(),
        names => format!("of this kind there are: {}", names.join(", ")),
    }
}

/// The world is not the one that the plan was made from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the plan is out of date: since it was made, {} changed", ids(.changed))]
pub struct Stale {
    /// The resources that would be treated otherwise now; empty where the
    /// manifests themselves are others.
    pub changed: Vec<ResourceId>,
}

impl Stale {
    pub fn hint(&self) -> String {
        "make a new plan, look at it, and apply that one".into()
    }
}

fn ids(changed: &[ResourceId]) -> String {
    let names: Vec<String> = changed.iter().map(ToString::to_string).collect();
    if names.is_empty() { "the configuration".into() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn errors_name_everything_a_person_needs() {
        let a = ResourceId::new("mem.a", "x");
        let b = ResourceId::new("mem.b", "y");
        let errors = [
            EngineError::Cycle { members: vec![a.clone(), b.clone()] },
            EngineError::UnknownReference { from: a.clone(), to: b.clone(), field: "email".into() },
            EngineError::NotOurs {
                resources: vec![
                    Foreign { id: a.clone(), why: ForeignWhy::Unmarked },
                    Foreign { id: b.clone(), why: ForeignWhy::OtherDeployment("prod".into()) },
                ],
            },
            EngineError::UnknownTarget { id: ResourceId::new("mem.a", "z"), known: vec![a, b] },
            EngineError::LeaseHeld {
                holder: "ada@host 7".into(),
                expires: datetime!(2026-01-02 03:04:05 UTC),
            },
        ];
        let shown: Vec<String> = errors
            .iter()
            .map(|error| format!("{error}\n  hint: {}", error.hint().unwrap_or_default()))
            .collect();
        insta::assert_snapshot!(shown.join("\n"));
    }
}

//! Which section of docs/troubleshooting.md an error belongs to, and what that says: `explain` prints it.

use std::error::Error as StdError;

use dorainfra_base::error::chain;
use dorainfra_config::ConfigErrors;
use dorainfra_deploy::artifact::ArtifactError;
use dorainfra_deploy::blueprint::BlueprintError;
use dorainfra_deploy::machine::MachineError;
use dorainfra_deploy::stack::compose::ComposeError;
use dorainfra_deploy::stack::native::StackError;
use dorainfra_deploy::workflow::{Error, PlanError};
use dorainfra_dora::source::SourceError;
use dorainfra_engine::EngineError;
use dorainfra_gcp::{self as gcp, ApiError};
use dorainfra_prometheus::query::QueryError;
use dorainfra_prometheus::remote_write::WriteError;
use serde::Serialize;
use serde_json::{Value, json};

use crate::ui::{Role, Style, View};

const PAGE: &str = include_str!("../../docs/troubleshooting.md");

/// What an error means, and what to do about it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Section {
    pub topic: &'static str,
    pub title: &'static str,
    pub text: &'static str,
}

impl View for Section {
    fn human(&self, style: &Style) -> String {
        format!("{}\n\n{}\n", style.paint(Role::Heading, self.title), self.text)
    }

    fn json(&self) -> Value {
        json!(self)
    }
}

pub fn sections() -> impl Iterator<Item = Section> {
    PAGE.split("<a id=\"").skip(1).filter_map(|part| {
        let (topic, rest) = part.split_once("\"></a>\n## ")?;
        let (title, text) = rest.split_once('\n')?;
        Some(Section { topic, title, text: text.trim() })
    })
}

pub fn section(topic: &str) -> Option<Section> {
    sections().find(|section| section.topic == topic)
}

/// The section of the first cause that has one. A full disk is what is to be mended, whatever failed by it.
pub fn topic(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    if is_full(error) {
        return Some("disk-full");
    }
    chain(error).find_map(of)
}

/// Whether a disk or a quota of one that is full is among what it came from.
pub(super) fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let kinds =
        dorainfra_base::error::chain(error).filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    kinds.map(std::io::Error::kind).any(|kind| matches!(kind, StorageFull | QuotaExceeded))
}

fn of(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<Error>() {
        return of_run(error);
    }
    if let Some(error) = error.downcast_ref::<EngineError>() {
        return of_engine(error);
    }
    if let Some(error) = error.downcast_ref::<gcp::Error>() {
        return of_cloud(error);
    }
    if let Some(error) = error.downcast_ref::<ApiError>() {
        return of_api(error);
    }
    if let Some(error) = error.downcast_ref::<MachineError>() {
        return of_machine(error);
    }
    if let Some(error) = error.downcast_ref::<WriteError>() {
        return Some(of_write(error));
    }
    let is = [
        (error.is::<ArtifactError>(), "no-engine"),
        (error.is::<BlueprintError>() || error.is::<ConfigErrors>(), "configuration-invalid"),
        (error.is::<ComposeError>() || error.is::<StackError>(), "stack-fails"),
        (error.is::<PlanError>(), "plan-stale"),
        (error.is::<QueryError>(), "endpoint-unreachable"),
        (error.is::<SourceError>(), "source-unreadable"),
    ];
    is.into_iter().find_map(|(is, topic)| is.then_some(topic))
}

/// What passes another error on in its own words has that one's section.
fn of_run(error: &Error) -> Option<&'static str> {
    match error {
        Error::Artifact(_) | Error::NoEngine { .. } | Error::StandInsForHa => Some("no-engine"),
        Error::Blueprint(_) | Error::Config(_) | Error::Render(_) => Some("configuration-invalid"),
        Error::Cloud(error) => of_cloud(error),
        Error::Compose(_) | Error::Stack(_) => Some("stack-fails"),
        Error::Engine(error) => of_engine(error),
        Error::Machine(error) => of_machine(error),
        Error::Plan(_) => Some("plan-stale"),
        Error::Query(_) | Error::Down { .. } | Error::Unreachable { .. } => Some("endpoint-unreachable"),
        Error::Source(_) => Some("source-unreadable"),
        Error::Write(error) => Some(of_write(error)),
        Error::OtherHistory { .. } => Some("history-differs"),
        Error::ServicesOff { .. } => Some("api-off"),
        _ => None,
    }
}

fn of_engine(error: &EngineError) -> Option<&'static str> {
    match error {
        EngineError::LeaseHeld { .. } | EngineError::LeaseLost { .. } => Some("lease-held"),
        EngineError::Stale(_)
        | EngineError::Meanwhile { .. }
        | EngineError::OtherDeployment { .. }
        | EngineError::Unread => Some("plan-stale"),
        EngineError::NotOurs { .. } => Some("not-ours"),
        EngineError::Unseen { .. } | EngineError::Unreachable { .. } => Some("no-answer"),
        _ => None,
    }
}

fn of_machine(error: &MachineError) -> Option<&'static str> {
    match error {
        MachineError::Cloud(error) => of_cloud(error),
        MachineError::Failed { .. } | MachineError::RolledBack { .. } | MachineError::TooLate { .. } => {
            Some("machine-not-ready")
        }
        MachineError::Absent(_) | MachineError::Interrupted(_) => None,
    }
}

fn of_write(error: &WriteError) -> &'static str {
    match error {
        WriteError::Refused { .. } => "samples-refused",
        _ => "endpoint-unreachable",
    }
}

fn of_cloud(error: &gcp::Error) -> Option<&'static str> {
    match error {
        gcp::Error::Api(error) => of_api(error),
        gcp::Error::Transport { .. } | gcp::Error::Unexpected { .. } | gcp::Error::Unreachable { .. } => {
            Some("no-answer")
        }
        gcp::Error::Credentials(why) if why.contains("short-lived token") => Some("clock"),
        gcp::Error::Credentials(_) => Some("credentials"),
        gcp::Error::Fenced { .. } => Some("lease-held"),
        gcp::Error::NotDone { .. } => None,
    }
}

fn of_api(error: &ApiError) -> Option<&'static str> {
    let says = |words: &[&str]| {
        words.iter().any(|words| error.message.contains(words) || error.reason.contains(words))
    };
    let policy = error.constraint().is_some()
        || says(&["organization's policy", "vpcServiceControls", "SECURITY_POLICY", "permitted customer"]);
    if error.is_project_unseen() {
        Some("project-not-found")
    } else if policy {
        Some("policy-refuses")
    } else if says(&["billing", "BILLING"]) {
        Some("billing-off")
    } else if error.is_service_disabled() || error.foreign_consumer {
        Some("api-off")
    } else if says(&["QUOTA_EXCEEDED", "quotaExceeded"]) {
        Some("quota-exceeded")
    } else if error.is_out_of_stock() {
        Some("out-of-stock")
    } else {
        match error.status {
            401 if error.is_of_wrong_clock() => Some("clock"),
            401 => Some("credentials"),
            403 => Some("permission-missing"),
            500.. => Some("no-answer"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io;

    use super::*;

    fn answered(status: u16, reason: &str, message: &str) -> Option<&'static str> {
        let error =
            ApiError { status, reason: reason.into(), message: message.into(), ..ApiError::default() };
        topic(&gcp::Error::Api(error))
    }

    #[test]
    fn an_error_of_googles_has_the_section_of_what_is_wrong() {
        for (status, reason, message, expected) in [
            (404, "notFound", "Failed to find project acme-x", Some("project-not-found")),
            (403, "BILLING_DISABLED", "This API method requires billing to be enabled.", Some("billing-off")),
            (
                403,
                "accountDisabled",
                "The billing account for the owning project is disabled",
                Some("billing-off"),
            ),
            (
                412,
                "conditionNotMet",
                "Constraint constraints/compute.vmExternalIpAccess violated",
                Some("policy-refuses"),
            ),
            (403, "forbidden", "Request is prohibited by organization's policy.", Some("policy-refuses")),
            (403, "SERVICE_DISABLED", "Compute Engine API has not been used", Some("api-off")),
            (403, "quotaExceeded", "Quota 'CPUS' exceeded. Limit: 8.0 in region r.", Some("quota-exceeded")),
            (
                0,
                "ZONE_RESOURCE_POOL_EXHAUSTED",
                "The zone does not have enough resources",
                Some("out-of-stock"),
            ),
            (401, "authError", "Invalid Credentials", Some("credentials")),
            (403, "forbidden", "Required 'compute.instances.create' permission", Some("permission-missing")),
            (503, "backendError", "Backend Error", Some("no-answer")),
            (400, "invalid", "Invalid value for field", None),
        ] {
            assert_eq!(answered(status, reason, message), expected, "{status} {reason} {message}");
        }
    }

    #[test]
    fn a_cause_is_found_below_other_words() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = Error::Unwritable { path: "plan.json".into(), source: full };
        assert_eq!(topic(&error), Some("disk-full"));
        let quota =
            Error::Unwritable { path: "plan.json".into(), source: io::ErrorKind::QuotaExceeded.into() };
        assert_eq!(topic(&quota), Some("disk-full"));
        let silent = gcp::Error::Unreachable {
            host: "h".into(),
            what: String::new(),
            reason: "refused".into(),
            tried: std::time::Duration::ZERO,
            sent: false,
            source: None,
        };
        assert_eq!(topic(&silent), Some("no-answer"));
        let nobody = EngineError::Unreachable { error: silent.into() };
        assert_eq!(topic(&Error::Engine(nobody)), Some("no-answer"));
        let behind = ApiError { status: 401, clock_ahead: Some(3600), ..ApiError::default() };
        assert_eq!(topic(&behind), Some("clock"));
        let refused = gcp::Error::Api(ApiError { status: 401, ..ApiError::default() });
        assert_eq!(topic(anyhow::Error::new(refused).context("status").as_ref()), Some("credentials"));
        let held = EngineError::LeaseHeld { holder: "ada".into(), expires: time::OffsetDateTime::UNIX_EPOCH };
        assert_eq!(topic(&Error::Engine(held)), Some("lease-held"));
        assert_eq!(topic(&Error::NoMachine), None);
    }

    /// No section that nothing leads to, and no error that leads nowhere.
    #[test]
    fn each_topic_of_an_error_has_a_section_and_each_section_has_an_error() {
        let source = include_str!("troubleshooting.rs").split("#[cfg(test)]").next().unwrap();
        let own = include_str!("error.rs").split("#[cfg(test)]").next().unwrap();
        let quoted = source.split('"').chain(own.split('"')).collect::<BTreeSet<_>>();
        let ids: BTreeSet<&str> = sections().map(|section| section.topic).collect();
        assert!(ids.len() > 20, "the page is not written as it is read here: {ids:?}");
        assert_eq!(ids.len(), PAGE.matches("\n## ").count(), "a section has no id");
        for id in &ids {
            assert!(quoted.contains(id), "nothing leads to {id}");
            assert!(dorainfra_config::explain(id).is_err(), "{id} is a key of the configuration, too");
            assert!(!section(id).unwrap().text.contains("<a id"), "{id}");
        }
        let topics = source.split("Some(\"").skip(1).filter_map(|rest| rest.split('"').next());
        for topic in topics {
            assert!(ids.contains(topic), "docs/troubleshooting.md has no section {topic}");
        }
    }
}

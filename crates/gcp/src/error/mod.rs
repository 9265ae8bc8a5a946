//! Google's error bodies as a type, and what to do about each.

mod known;

use std::time::Duration;

use dorainfra_base::error::{Cause, Why};
pub use known::more_or_less;
use serde_json::Value;

/// Seconds that Google forgives a signature that was made "in the future".
pub const CLOCK_TOLERANCE: u64 = 60;

/// What to do where credentials are not accepted.
const LOGIN: &str = "the credentials are not accepted: the login has ended (`gcloud auth application-default login`), \
                     or the key or its account was deleted (make another key, `gcloud iam service-accounts keys \
                     create`)";

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The API answered with an error.
    #[error("{0}")]
    Api(ApiError),
    /// No answer came. `sent`: the request may have had its effect.
    #[error("{what}: {reason}")]
    Transport { what: String, reason: String, sent: bool, source: Option<Cause> },
    /// Nobody answered, for as long as it was tried. `what`: the last call; `sent`: an earlier attempt of it
    /// may have had its effect.
    #[error("the cloud does not answer: {host}: {reason}; tried for {} s{}", .tried.as_secs(), last(.what))]
    Unreachable {
        host: String,
        what: String,
        reason: String,
        tried: Duration,
        sent: bool,
        source: Option<Cause>,
    },
    /// No token could be had.
    #[error("no Google credentials: {0}")]
    Credentials(#[source] Why),
    /// The write was not made: this run's lease is over.
    #[error("{what}: not done, the lease of this run is over")]
    Fenced { what: String },
    /// An answer that is no answer of this API.
    #[error("{what} answered something unexpected: {reason}")]
    Unexpected { what: String, reason: String, source: Option<Cause> },
    /// Nothing was asked for: it would be refused, or the run was interrupted before it.
    #[error("{why}")]
    NotDone { why: String, instead: String },
}

/// An error in Google's own words.
#[derive(Clone, Debug, Default, thiserror::Error)]
#[error("{}", self.words())]
pub struct ApiError {
    /// The call, for people: `POST compute/…/instances`.
    pub what: String,
    /// HTTP status; 0 for an error inside an operation.
    pub status: u16,
    /// `errors[].reason`, `ErrorInfo.reason` or the operation error's code.
    pub reason: String,
    pub message: String,
    /// The permission that is missing, where the body names it.
    pub permission: Option<String>,
    /// The service that is disabled, where the body names it.
    pub service: Option<String>,
    /// Whose project the answer speaks of, where the body names it: `projects/NUMBER`.
    pub consumer: Option<String>,
    /// That project is not the deployment's.
    pub foreign_consumer: bool,
    /// The deployment's project, where that is what can't be seen.
    pub unseen_project: Option<String>,
    /// Who asked, for people, where that matters.
    pub caller: Option<String>,
    /// The region's other zones, for what this one has none left of.
    pub other_zones: Vec<String>,
    /// Seconds that Google's clock is ahead of this machine's (negative: behind), where
    /// the answer told the time.
    pub clock_ahead: Option<i64>,
}

impl ApiError {
    /// From a response's status and body: both shapes that Google uses.
    pub fn of(what: &str, status: u16, body: &str) -> Self {
        let document: Value = serde_json::from_str(body).unwrap_or(Value::Null);
        let error = &document["error"];
        let message = error["message"].as_str().or(document["error_description"].as_str());
        let message = message.map(str::to_owned).unwrap_or_else(|| {
            let line: String = body.trim().chars().take(200).collect();
            if line.is_empty() { "no explanation".into() } else { line }
        });
        let info = error["details"].as_array().into_iter().flatten().find(|detail| {
            detail["@type"].as_str().is_some_and(|kind| kind.ends_with("google.rpc.ErrorInfo"))
        });
        let reason = info
            .and_then(|info| info["reason"].as_str())
            .or(error["errors"][0]["reason"].as_str())
            .or(error["status"].as_str())
            .unwrap_or("unknown");
        let permission = info
            .and_then(|info| info["metadata"]["permission"].as_str())
            .map(str::to_owned)
            .or_else(|| permission_in(&message));
        let service = info.and_then(|info| info["metadata"]["service"].as_str()).map(str::to_owned);
        let consumer = info.and_then(|info| info["metadata"]["consumer"].as_str()).map(str::to_owned);
        let consumer = consumer.or_else(|| consumer_in(&message));
        let (what, reason) = (what.into(), reason.into());
        Self { what, status, reason, message, permission, service, consumer, ..Self::default() }
    }

    /// From `error.errors[0]` of a finished operation.
    pub fn of_operation(what: &str, operation: &Value) -> Option<Self> {
        let error = operation["error"]["errors"].as_array()?.first()?;
        Some(Self {
            what: what.into(),
            status: 0,
            reason: error["code"].as_str().unwrap_or("unknown").into(),
            message: error["message"].as_str().unwrap_or("no explanation").into(),
            ..Self::default()
        })
    }

    fn words(&self) -> String {
        let Self { what, message, .. } = self;
        let own = format!("{what}: {message} ({})", self.place());
        let Some(project) = &self.unseen_project else { return own };
        let caller = self.caller.as_deref().unwrap_or("these credentials");
        let unseen = format!("the project `{project}` is not found, or not visible to {caller}");
        // What an API says of it is about a permission of its own, mostly, which is not what is missing.
        match self.more_than_unseen() {
            Some(_) => format!("{unseen}: {own}"),
            None => unseen,
        }
    }

    /// What is known of the answer, where that is more than that the project can't be seen.
    fn more_than_unseen(&self) -> Option<&'static known::Row> {
        known::row(self).filter(|row| row.hint != known::CHECK_PROJECT)
    }

    fn place(&self) -> String {
        match self.status {
            0 => self.reason.clone(),
            status => format!("{status} {}", self.reason),
        }
    }

    pub fn is_not_found(&self) -> bool {
        self.status == 404 || self.reason == "RESOURCE_NOT_FOUND"
    }

    pub fn is_conflict(&self) -> bool {
        self.status == 409 || self.reason == "RESOURCE_ALREADY_EXISTS" || self.reason == "alreadyExists"
    }

    /// Somebody else wrote meanwhile: read again.
    pub fn is_stale(&self) -> bool {
        (self.status == 412 || self.reason == "conditionNotMet") && self.constraint().is_none()
    }

    /// The constraint of an organisation policy that refuses: `compute.vmExternalIpAccess`.
    pub fn constraint(&self) -> Option<&str> {
        // Some services quote it: "violates constraint 'constraints/…'".
        let rest = self.message.split_once("constraints/")?.1;
        rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.'))
            .next()
            .map(|name| name.trim_end_matches('.'))
    }

    /// The deployment's project has the service off, and so nothing of it. (Of another
    /// project's services nothing follows: that is an error like any other.)
    pub fn is_service_disabled(&self) -> bool {
        matches!(self.reason.as_str(), "SERVICE_DISABLED" | "accessNotConfigured") && !self.foreign_consumer
    }

    /// The project itself is "not found": it does not exist, these credentials may not see
    /// it, or it was made so recently that some of Google's replicas do not know of it.
    pub fn is_project_unseen(&self) -> bool {
        if self.unseen_project.is_some() {
            return true;
        }
        // "The resource 'projects/p' was not found", of Compute.
        let resource = self.message.strip_prefix("The resource 'projects/");
        let compute = resource.and_then(|rest| rest.split_once('\''));
        compute.is_some_and(|(name, rest)| !name.contains('/') && rest.trim() == "was not found")
            || ["Unknown project: ", "Unknown project id: ", "Failed to find project "]
                .iter()
                .any(|words| self.message.starts_with(words))
            || (self.message.starts_with("Project '")
                && self.message.ends_with("' not found or permission denied."))
    }

    pub fn is_out_of_stock(&self) -> bool {
        self.reason.starts_with("ZONE_RESOURCE_POOL_EXHAUSTED")
    }

    /// The same call may be made again: nothing was done.
    pub fn is_transient(&self) -> bool {
        (matches!(self.status, 429 | 500 | 502 | 503 | 504) && !known::stays(self))
            || (self.status == 403
                && matches!(self.reason.as_str(), "rateLimitExceeded" | "RATE_LIMIT_EXCEEDED"))
    }

    /// Of an operation's errors those that say nothing of what was asked for.
    fn may_pass(&self) -> bool {
        const PASSING: [&str; 7] =
            ["INTERNAL", "TIMEOUT", "TIMED_OUT", "UNAVAILABLE", "NOT_READY", "CANCEL", "unknown"];
        PASSING.iter().any(|words| self.reason.contains(words))
    }

    /// Tokens are good for some time only, and are not accepted where this machine's clock
    /// is minutes away from Google's.
    pub fn is_of_wrong_clock(&self) -> bool {
        self.status == 401 && self.clock_ahead.is_some_and(|ahead| ahead.unsigned_abs() > CLOCK_TOLERANCE)
    }

    fn wrong_clock(&self) -> Option<String> {
        let ahead = self.clock_ahead.filter(|_| self.is_of_wrong_clock())?;
        let minutes = ahead.unsigned_abs().saturating_add(30) / 60;
        let direction = if ahead > 0 { "behind" } else { "ahead of" };
        Some(format!(
            "this machine's clock is {minutes} minutes {direction} Google's: set it (`timedatectl set-ntp \
             true`), and try again"
        ))
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        if self.is_project_unseen() {
            return Some(match self.more_than_unseen() {
                Some(row) => format!("{}; or {}", row.hint, known::CHECK_PROJECT),
                None => known::CHECK_PROJECT.into(),
            });
        }
        if self.is_service_disabled() {
            let service = self.service.as_deref().unwrap_or("SERVICE");
            return Some(format!(
                "enable it with `gcloud services enable {service}`; just enabled, it takes minutes to be seen"
            ));
        }
        if self.foreign_consumer && self.consumer.is_none() {
            return Some(
                "whose project that speaks of is not said, so nothing follows for the deployment's: see that the API \
                 is enabled in it (`gcloud services list --enabled`), and which project your credentials count \
                 against (`gcloud auth application-default set-quota-project`)"
                    .into(),
            );
        }
        if let (true, Some(consumer)) = (self.foreign_consumer, &self.consumer) {
            let project = consumer.trim_start_matches("projects/");
            let service = self.service.as_deref().unwrap_or("SERVICE");
            return Some(format!(
                "that speaks of the project {project}, which your credentials count against, and not of the \
                 deployment's: `gcloud services enable {service} --project {project}`, or \
                 `gcloud auth application-default set-quota-project` with the deployment's project"
            ));
        }
        if let Some(hint) = self.wrong_clock() {
            return Some(hint);
        }
        if let Some(row) = known::row(self) {
            return Some(row.hint.to_owned());
        }
        Some(match self.reason.as_str() {
            "QUOTA_EXCEEDED" | "quotaExceeded" => known::used_up(&self.message),
            _ if self.is_out_of_stock() => match self.other_zones.as_slice() {
                [] => "that zone has none left now: take another zone of the region, \
                       `--set zones='[ZONE]'`, or try later"
                    .into(),
                [first, ..] => format!(
                    "that zone has none left now: try later, or take another of the region ({}), as \
                     `--set zones='[{first}]'`",
                    self.other_zones.join(", ")
                ),
            },
            "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE" | "resourceInUseByAnotherResource" => {
                "something else uses it: detach or delete that first".into()
            }
            "SERVICE_ACCOUNT_ACCESS_DENIED" => {
                "the caller lacks `iam.serviceAccounts.actAs`; roles/iam.serviceAccountUser has it".into()
            }
            "UNAUTHENTICATED" | "authError" => LOGIN.into(),
            _ if self.status == 403 => match &self.permission {
                Some(permission) => format!(
                    "the caller lacks `{permission}`; {} has it",
                    role_with(permission).unwrap_or("roles/owner")
                ),
                None => "check the project's id and the caller's roles in it".into(),
            },
            _ => match self.status {
                400 => "Google rejected the request: its message names the field, which a key of \
                        the configuration or a template of yours (`templates_dir`) sets"
                    .into(),
                401 => LOGIN.into(),
                404 => {
                    "it is not there, or these credentials may not see it: check `project` and the names in \
                        the configuration, and run the command again"
                        .into()
                }
                409 | 412 => {
                    "somebody else made or changed it meanwhile: run the command again, it reads anew. If \
                              it stays so, see in the console who else changes this project"
                        .into()
                }
                429 if known::stays(self) => {
                    "something of this project is used up, as the message says: delete what nobody uses, or ask for \
                     more of that quota (IAM & Admin → Quotas)"
                        .into()
                }
                429 => {
                    "too many calls at once in this project: wait a minute, and run the command again".into()
                }
                500.. => {
                    "Google's service fails: run the command again in a few minutes, it goes on from what is \
                          there; https://status.cloud.google.com tells of outages"
                        .into()
                }
                0 if !self.may_pass() => {
                    "the message is Google's, and the same will be refused again: change what it names by a key of the \
                     configuration or a template of yours (`templates_dir`), or in the project"
                        .into()
                }
                _ => "the message is Google's; run the command again, it goes on from what is there".into(),
            },
        })
    }
}

fn last(what: &str) -> String {
    if what.is_empty() { String::new() } else { format!(", last {what}") }
}

fn is_loopback(host: &str) -> bool {
    ["127.", "localhost", "[::1]"].iter().any(|here| host.starts_with(here))
}

/// Where a connection fails that goes by a proxy, it is the proxy's, mostly.
const BY_PROXY: &str = "by the proxy ";

impl Error {
    /// The same with the proxy, where one is between and the connection failed.
    pub(super) fn by_proxy(self, proxy: Option<&str>) -> Self {
        let Some(proxy) = proxy else { return self };
        match self {
            Self::Transport { what, reason, sent, source } => {
                Self::Transport { what, reason: format!("{BY_PROXY}{proxy}: {reason}"), sent, source }
            }
            Self::Credentials(reason)
                if ["onnect", "tunnel", "dns error"].iter().any(|words| reason.contains(words)) =>
            {
                Self::Credentials(reason.after(&format!("{BY_PROXY}{proxy}")))
            }
            other => other,
        }
    }

    pub(super) fn is_by_proxy(&self) -> bool {
        match self {
            Self::Transport { reason, .. } | Self::Unreachable { reason, .. } => reason.starts_with(BY_PROXY),
            _ => false,
        }
    }

    pub fn unexpected(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unexpected { what: what.into(), reason: reason.into(), source: None }
    }

    /// The same where an error says why.
    pub fn unreadable(
        what: impl Into<String>,
        error: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        let reason = error.to_string();
        Self::Unexpected { what: what.into(), reason, source: Some(Cause::from(Box::from(error))) }
    }

    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Api(error) => error.hint(),
            Self::Transport { .. } | Self::Unreachable { .. } if self.is_by_proxy() => {
                Some(known::PROXY.into())
            }
            Self::Unreachable { host, .. } if is_loopback(host) => Some(format!(
                "what stands in for Google on this machine has ended: start it again (`dorainfra sandbox start`), \
                 or correct the variable that names {host}; then run the same command again: it goes on from what \
                 is there"
            )),
            Self::Unreachable { host, .. } => Some(format!(
                "check this machine's network and name service (`curl -I https://{host}`), and \
                 https://status.cloud.google.com; then run the same command again: it goes on from what is there"
            )),
            Self::Transport { .. } => Some("check the network, and the endpoint if one was set".into()),
            Self::Credentials(message) => Some(
                known::credentials(message)
                    .unwrap_or(known::SIGN_IN)
                    .into(),
            ),
            Self::Fenced { .. } => Some("run the same command again: what is done stays done".into()),
            Self::Unexpected { .. } => Some(
                "that is no answer of this API: check the endpoint if one was set, and whether a proxy stands in \
                 between; then run the command again"
                    .into(),
            ),
            Self::NotDone { instead, .. } => Some(instead.clone()),
        }
    }

    /// What it says is its own; this is what that came from.
    pub fn cause(self) -> Option<Cause> {
        match self {
            Self::Transport { source, .. }
            | Self::Unreachable { source, .. }
            | Self::Unexpected { source, .. } => source,
            Self::Credentials(why) => Some(Cause::from(Box::from(why))),
            _ => None,
        }
    }

    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Api(error) => Some(error),
            _ => None,
        }
    }

    pub fn is_not_found(&self) -> bool {
        self.api().is_some_and(ApiError::is_not_found)
    }

    /// The effect is unknown: the answer was lost.
    pub fn unknown_outcome(&self) -> bool {
        match self {
            Self::Transport { sent, .. } | Self::Unreachable { sent, .. } => *sent,
            Self::Api(error) => matches!(error.status, 500 | 502 | 503 | 504),
            _ => false,
        }
    }
}

/// "… API has not been used in project 1234 before or it is disabled." → `projects/1234`.
fn consumer_in(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("has not been used in project ")?;
    Some(format!("projects/{}", rest.split_whitespace().next()?))
}

/// "Required 'compute.instances.create' permission for …" → the permission.
fn permission_in(message: &str) -> Option<String> {
    message
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '.'))
        .map(|word| word.trim_matches('.'))
        .find(|word| {
            word.split('.').count() == 3
                && ["compute.", "storage.", "iam.", "secretmanager.", "serviceusage.", "resourcemanager."]
                    .iter()
                    .any(|service| word.starts_with(service))
                && !word.contains("googleapis")
        })
        .map(str::to_owned)
}

/// The narrowest predefined role that has a permission this tool needs.
pub fn role_with(permission: &str) -> Option<&'static str> {
    const ROLES: [(&str, &str); 9] = [
        ("compute.firewalls.", "roles/compute.securityAdmin"),
        ("compute.", "roles/compute.admin"),
        ("storage.", "roles/storage.admin"),
        ("iam.serviceAccounts.actAs", "roles/iam.serviceAccountUser"),
        ("iam.serviceAccounts.", "roles/iam.serviceAccountAdmin"),
        ("secretmanager.versions.access", "roles/secretmanager.secretAccessor"),
        ("secretmanager.", "roles/secretmanager.admin"),
        ("serviceusage.", "roles/serviceusage.serviceUsageAdmin"),
        ("resourcemanager.", "roles/browser"),
    ];
    ROLES.iter().find(|(prefix, _)| permission.starts_with(prefix)).map(|(_, role)| *role)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_project_is_not_a_missing_resource() {
        let unseen = |message: &str| {
            let answer = serde_json::json!({"error": {"code": 404, "message": message}});
            ApiError::of("GET it", 404, &answer.to_string()).is_project_unseen()
        };
        assert!(unseen("The resource 'projects/p' was not found"));
        assert!(unseen("Unknown project: p"));
        assert!(unseen("Project 'p' not found or permission denied."));
        assert!(!unseen("The resource 'projects/p/zones/z/disks/d' was not found"));
        assert!(!unseen("The specified bucket does not exist."));
        assert!(!unseen("The project's secret was not found"));
    }

    #[test]
    fn fuzzed_answers_become_errors_with_a_next_step() {
        dorainfra_testutils::fuzzing::five_seconds("api-answers", |input| {
            let text = String::from_utf8_lossy(input);
            for status in [200, 400, 401, 403, 404, 409, 412, 429, 503, 999] {
                let mut error = ApiError::of("GET it", status, &text);
                error.clock_ahead = Some(i64::from(input.len() as i32) * i64::from(i32::MIN));
                assert!(!error.to_string().is_empty() && error.hint().is_some(), "{error:?}");
                let _ = (error.is_not_found(), error.is_conflict(), error.is_stale(), error.is_transient());
            }
            if let Ok(operation) = serde_json::from_str::<Value>(&text)
                && let Some(error) = ApiError::of_operation("an operation", &operation)
            {
                assert!(error.hint().is_some(), "{error:?}");
            }
        });
    }

    #[test]
    fn a_missing_permission_names_the_role_that_has_it() {
        let error = ApiError::of(
            "POST instances",
            403,
            r#"{"error":{"code":403,"message":"Required 'compute.instances.create' permission for 'projects/p'",
                "errors":[{"reason":"forbidden"}]}}"#,
        );
        assert_eq!(error.permission.as_deref(), Some("compute.instances.create"));
        assert!(error.hint().unwrap().contains("roles/compute.admin"));
    }

    #[test]
    fn a_clock_that_is_wrong_is_told_with_its_error() {
        let refused = |status, ahead| ApiError {
            status,
            reason: "UNAUTHENTICATED".into(),
            clock_ahead: ahead,
            ..ApiError::default()
        };
        let hint = |status, ahead| refused(status, ahead).hint().unwrap_or_default();
        assert!(hint(401, Some(3600)).contains("60 minutes behind Google's"));
        assert!(hint(401, Some(-400)).contains("7 minutes ahead of Google's"));
        for near in [Some(30), Some(-30), None] {
            assert!(hint(401, near).contains("login"), "{near:?}");
        }
        assert!(!hint(403, Some(3600)).contains("clock"), "that is about rights");
    }

    #[test]
    fn a_disabled_service_says_how_to_enable_it() {
        let error = ApiError::of(
            "GET secrets",
            403,
            r#"{"error":{"code":403,"status":"PERMISSION_DENIED","message":"has not been used",
                "details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"SERVICE_DISABLED",
                "metadata":{"service":"secretmanager.googleapis.com"}}]}}"#,
        );
        assert!(error.is_service_disabled());
        assert!(error.hint().unwrap().contains("gcloud services enable secretmanager.googleapis.com"));
    }

    #[test]
    fn an_operation_error_keeps_its_code() {
        let operation = serde_json::json!({"error": {"errors": [
            {"code": "ZONE_RESOURCE_POOL_EXHAUSTED", "message": "no e2-medium"}]}});
        let error = ApiError::of_operation("insert", &operation).unwrap();
        assert_eq!(error.to_string(), "insert: no e2-medium (ZONE_RESOURCE_POOL_EXHAUSTED)");
        assert!(error.hint().unwrap().contains("another zone"));
    }

    #[test]
    fn an_account_that_one_may_not_use_names_the_role_that_may() {
        let operation = serde_json::json!({"error": {"errors": [{"code": "SERVICE_ACCOUNT_ACCESS_DENIED",
            "message": "The user does not have access to service account 'a'."}]}});
        let error = ApiError::of_operation("insert", &operation).unwrap();
        assert!(error.hint().unwrap().contains("roles/iam.serviceAccountUser"));
    }

    #[test]
    fn a_quota_is_named() {
        let operation = serde_json::json!({"error": {"errors": [
            {"code": "QUOTA_EXCEEDED", "message": "Quota 'CPUS' exceeded.  Limit: 8.0 in region europe-west1."}]}});
        let error = ApiError::of_operation("insert", &operation).unwrap();
        assert!(error.hint().unwrap().contains("the quota CPUS"));
    }

    #[test]
    fn the_other_zones_are_named_where_they_are_known() {
        let error = ApiError {
            reason: "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS".into(),
            other_zones: vec!["europe-west1-c".into(), "europe-west1-d".into()],
            ..ApiError::default()
        };
        let hint = error.hint().unwrap();
        assert!(
            hint.contains("europe-west1-c, europe-west1-d") && hint.contains("[europe-west1-c]"),
            "{hint}"
        );
    }

    #[test]
    fn a_body_that_is_no_json_is_shown_short() {
        assert_eq!(ApiError::of("x", 502, "<html>bad").message, "<html>bad");
    }
}

//! Cloud Billing: whether the project has an account that pays. A control route takes it
//! away; what costs money can't be enabled then.

use serde_json::{Value, json};

use super::projects;
use crate::kernel::call::{Call, Handler, Permission, Service};
use crate::kernel::contract::Method;
use crate::kernel::error::ApiError;
use crate::kernel::store::Tx;

const KEY: &str = "billing";
const ACCOUNT: &str = "billingAccounts/012345-567890-ABCDEF";
/// Services that need no account that pays.
const FREE: [&str; 7] = [
    "cloudbilling.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "iam.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "serviceusage.googleapis.com",
    "storage.googleapis.com",
];

pub static SERVICE: Service = Service::new("cloudbilling", handler, permission, projects::denied);

fn handler(method: &Method) -> Option<Handler> {
    (method.id == "cloudbilling.projects.getBillingInfo").then_some(get)
}

fn permission(_call: &Call, _collection: &str, _verb: &str) -> Option<Permission> {
    Some(("resourcemanager.projects.get".into(), "policy/project".into()))
}

fn enabled(tx: &Tx) -> bool {
    tx.get(KEY).is_none_or(|record| record["enabled"] != false)
}

/// Links the project to an account, or takes it away.
pub fn set(tx: &mut Tx, enabled: bool) -> Value {
    tx.put(KEY, json!({"enabled": enabled}));
    json!({"enabled": enabled})
}

fn get(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let project = &call.cloud.project;
    let mut info = json!({
        "name": format!("projects/{project}/billingInfo"), "projectId": project, "billingEnabled": enabled(tx),
    });
    if enabled(tx) {
        info["billingAccountName"] = json!(ACCOUNT);
    }
    Ok(info)
}

/// Refuses to enable what costs money where nobody pays.
pub fn check(call: &Call, tx: &Tx, services: &[String]) -> Result<(), ApiError> {
    let paid: Vec<&str> =
        services.iter().map(String::as_str).filter(|service| !FREE.contains(service)).collect();
    if enabled(tx) || paid.is_empty() {
        return Ok(());
    }
    let (number, all) = (call.cloud.number, paid.join(","));
    let mut error = ApiError::new(
        400,
        "failedPrecondition",
        format!(
            "Billing account for project '{number}' is not found. Billing must be enabled for activation of \
             service(s) '{all}' to proceed."
        ),
    );
    let subject = format!("?error_code=390001&project={number}&services={}", paid.join("&services="));
    error.details.push(json!({
        "@type": "type.googleapis.com/google.rpc.PreconditionFailure",
        "violations": [{"type": "googleapis.com/billing-enabled", "subject": subject}],
    }));
    Err(error.with_info(
        "UREQ_PROJECT_BILLING_NOT_FOUND",
        "serviceusage.googleapis.com/billing-enabled",
        json!({"project": number.to_string(), "services": all}),
    ))
}

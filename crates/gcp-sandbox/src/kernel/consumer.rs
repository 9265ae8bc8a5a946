//! Whose services a call asks for, and whether they are enabled: the project of a
//! service account's own call is this one, a person's is the one that the client names.

use serde_json::json;

use super::call::Call;
use super::clock;
use super::error::ApiError;
use super::store::Tx;

/// Titles of the services, as the error and the catalogue name them.
pub fn service_title(name: &str) -> Option<&'static str> {
    Some(match name {
        "compute.googleapis.com" => "Compute Engine API",
        "storage.googleapis.com" => "Cloud Storage API",
        "iam.googleapis.com" => "Identity and Access Management (IAM) API",
        "secretmanager.googleapis.com" => "Secret Manager API",
        "cloudbilling.googleapis.com" => "Cloud Billing API",
        "cloudresourcemanager.googleapis.com" => "Cloud Resource Manager API",
        "serviceusage.googleapis.com" => "Service Usage API",
        "logging.googleapis.com" => "Cloud Logging API",
        "monitoring.googleapis.com" => "Cloud Monitoring API",
        "dns.googleapis.com" => "Cloud DNS API",
        "iap.googleapis.com" => "Cloud Identity-Aware Proxy API",
        "oslogin.googleapis.com" => "Cloud OS Login API",
        _ => return None,
    })
}

pub fn check_service(call: &Call, tx: &Tx) -> Result<(), ApiError> {
    let service = format!("{}.googleapis.com", call.method.api);
    let key = format!("services/{service}");
    let enabled = tx.get(&key).is_some_and(|record| record["state"] == "ENABLED");
    if enabled && call.cloud.consistency.sees_service(&key) {
        return Ok(());
    }
    Err(disabled(&service, call.cloud.number))
}

/// The project of gcloud's own OAuth client, which a person's calls count against
/// where they name no other.
const OAUTH_CLIENT: u64 = 764_086_051_850;

/// Whose services a person's call asks for: of the project that the client names. Some
/// APIs look no further than to that one.
///
/// # Errors
/// `SERVICE_DISABLED`, speaking of that project, where it is not the one in here: in
/// another project nothing is enabled.
pub fn check_consumer(call: &Call, headers: &http::HeaderMap) -> Result<(), ApiError> {
    if !call.caller.person {
        return Ok(());
    }
    let cloud = &call.cloud;
    let named = headers.get("x-goog-user-project").and_then(|value| value.to_str().ok());
    let service = format!("{}.googleapis.com", call.method.api);
    match named {
        Some(project) if project == cloud.project || project == cloud.number.to_string() => Ok(()),
        Some(other) => Err(disabled(&service, clock::number_of(other))),
        None if call.service.consumer_is_target => Ok(()),
        None => Err(disabled(&service, OAUTH_CLIENT)),
    }
}

/// The refusal of a call of a service that the project with this number has off.
fn disabled(service: &str, number: u64) -> ApiError {
    let title = service_title(service).unwrap_or_default();
    let url = format!("https://console.developers.google.com/apis/api/{service}/overview?project={number}");
    let mut error = ApiError::new(
        403,
        "accessNotConfigured",
        format!(
            "{title} has not been used in project {number} before or it is disabled. Enable it by visiting {url} \
             then retry. If you enabled this API recently, wait a few minutes for the action to propagate to our \
             systems and retry."
        ),
    );
    error.domain = "usageLimits";
    let metadata = json!({
        "service": service, "consumer": format!("projects/{number}"), "serviceTitle": title,
        "activationUrl": url, "containerInfo": number.to_string(),
    });
    error.details.push(json!({
        "@type": "type.googleapis.com/google.rpc.Help",
        "links": [{"description": "Google developers console API activation", "url": url}],
    }));
    error.with_info("SERVICE_DISABLED", "googleapis.com", metadata)
}

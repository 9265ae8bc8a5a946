//! Who may do what: services that are enabled, scopes, roles and bindings. It is
//! enforced for everybody; the owner holds every permission that the control
//! route `/sandbox/deny` has not taken away.

use serde_json::{Value, json};

use super::call::{Call, Permission};
use super::error::ApiError;
use super::store::Tx;
use super::{condition, consumer, roles};

/// Whether the caller has `permission`, by the project's policy or by the one
/// under `policy` (a record's key), on what that policy is on.
pub fn allowed(call: &Call, tx: &Tx, permission: &str, policy: &str) -> bool {
    let bucket = policy.strip_prefix("policy/buckets/");
    let resource = bucket.map(|bucket| format!("projects/_/buckets/{bucket}")).unwrap_or_default();
    allowed_on(call, tx, permission, policy, &resource)
}

/// The same on `resource`, by which conditions are decided.
fn allowed_on(call: &Call, tx: &Tx, permission: &str, policy: &str, resource: &str) -> bool {
    let owner = call.caller.email == call.cloud.owner;
    let name = if owner { "owner" } else { call.caller.email.as_str() };
    if tx.has(&format!("deny/{name}/{permission}")) {
        return false;
    }
    let anonymous = call.caller.is_anonymous();
    let member = format!("serviceAccount:{}", call.caller.email);
    let in_force = |key: &&str| call.cloud.consistency.in_force(key).or_else(|| tx.get(key).cloned());
    ["policy/project", policy].iter().filter_map(in_force).any(|policy| {
        let bindings = policy["bindings"].as_array().map_or(&[][..], Vec::as_slice);
        bindings.iter().any(|binding| {
            condition::holds(&binding["condition"], resource)
                && binding["role"].as_str().is_some_and(|role| roles::grants(role, permission))
                && binding["members"].as_array().is_some_and(|members| {
                    members.iter().any(|each| {
                        each == "allUsers"
                            || (!anonymous && (*each == member || each == "allAuthenticatedUsers"))
                    })
                })
        })
    })
}

/// The permission that a method needs. `None`: whoever is authenticated.
pub fn needed(call: &Call) -> Option<Permission> {
    let short = call.short_id();
    let (collection, verb) = short.rsplit_once('.').unwrap_or(("", short));
    let verb = match verb {
        "testIamPermissions" => return None,
        "insert" => "create",
        "aggregatedList" => "list",
        "patch" => "update",
        verb => verb,
    };
    (call.service.permission)(call, collection, verb)
}

/// Everything that stands before a method: the caller's identity still exists,
/// its scopes, the project, the service, the permission.
pub fn check(call: &Call, tx: &Tx) -> Result<(), ApiError> {
    let names = ["object", "destinationObject", "sourceObject"];
    // A move is asked for on what is moved; what it writes is asked for besides.
    let moves = call.method.id == "storage.objects.move";
    let object = names.iter().filter(|name| !moves || **name == "sourceObject");
    check_on(call, tx, object.filter_map(|name| call.path.get(*name)).next().map(String::as_str))
}

/// The same, for a method that tells its object elsewhere than in the path.
pub fn check_on(call: &Call, tx: &Tx, object: Option<&str>) -> Result<(), ApiError> {
    check_identity(call, tx)?;
    check_scopes(call)?;
    check_project(call)?;
    consumer::check_service(call, tx)?;
    let Some((permission, policy)) = needed(call) else { return Ok(()) };
    let allowed = match (policy.strip_prefix("policy/buckets/"), object) {
        (Some(bucket), Some(object)) => {
            allowed_on(call, tx, &permission, &policy, &object_resource(bucket, object))
        }
        _ => allowed(call, tx, &permission, &policy),
    };
    if allowed { Ok(()) } else { Err(denied(call, &permission)) }
}

fn object_resource(bucket: &str, object: &str) -> String {
    format!("projects/_/buckets/{bucket}/objects/{object}")
}

fn check_identity(call: &Call, tx: &Tx) -> Result<(), ApiError> {
    if call.caller.is_anonymous() {
        return Ok(());
    }
    let account = tx.get(&format!("serviceAccounts/{}", call.caller.email));
    match account {
        Some(account)
            if account["uniqueId"] == call.caller.unique_id.as_str() && account["disabled"] != true =>
        {
            Ok(())
        }
        _ => Err(ApiError::unauthenticated()),
    }
}

fn check_scopes(call: &Call) -> Result<(), ApiError> {
    let verb = call.short_id().rsplit_once('.').map_or("", |(_, verb)| verb);
    let read = call.service.reads.contains(&verb) || call.method.verb == http::Method::GET;
    let [to_read, to_write] = call.service.scopes;
    let enough = if read { to_read } else { to_write };
    if call.caller.has_scope(enough) {
        return Ok(());
    }
    let service = format!("{}.googleapis.com", call.method.api);
    let mut error =
        ApiError::new(403, "insufficientPermissions", "Request had insufficient authentication scopes.");
    error.details.push(json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
        "domain": "googleapis.com",
        "metadata": {"service": service, "method": call.method.id},
    }));
    Err(error)
}

fn check_project(call: &Call) -> Result<(), ApiError> {
    let Some(project) = (call.service.project)(call) else { return Ok(()) };
    let ours = (project == call.cloud.project || project == call.cloud.number.to_string())
        && (!call.service.project_is_late || call.cloud.consistency.sees_project());
    if ours {
        return Ok(());
    }
    Err(match call.service.unknown_project {
        Some(unknown) => unknown(call, project),
        None => denied(call, &needed(call).map(|(permission, _)| permission).unwrap_or_default()),
    })
}

/// The refusal of a call for want of `permission`, in the words of its API.
pub fn denied(call: &Call, permission: &str) -> ApiError {
    (call.service.denied)(call, permission)
}

/// The details of such a refusal, where an API gives them.
pub fn denied_with_info(message: String, permission: &str, domain: &str, resource: &str) -> ApiError {
    let details = json!({"permission": permission, "resource": resource});
    ApiError::forbidden(message).with_info("IAM_PERMISSION_DENIED", domain, details)
}

/// A method's permission beyond the one that [`check`] has looked at.
pub fn require(call: &Call, tx: &Tx, permission: &str) -> Result<(), ApiError> {
    if allowed(call, tx, permission, "policy/project") { Ok(()) } else { Err(denied(call, permission)) }
}

/// The same, on an object of a bucket.
pub fn require_in(
    call: &Call,
    tx: &Tx,
    permission: &str,
    bucket: &str,
    object: &str,
) -> Result<(), ApiError> {
    let (policy, resource) = (format!("policy/buckets/{bucket}"), object_resource(bucket, object));
    if allowed_on(call, tx, permission, &policy, &resource) { Ok(()) } else { Err(denied(call, permission)) }
}

/// The same, on a service account.
pub fn may_act_as(call: &Call, tx: &Tx, email: &str) -> bool {
    allowed(call, tx, "iam.serviceAccounts.actAs", &format!("policy/serviceAccounts/{email}"))
}

/// The answer of `testIamPermissions`: those of the asked ones that hold.
pub fn held(call: &Call, tx: &Tx, asked: &[String], policy: &str) -> Value {
    let held: Vec<&String> = asked.iter().filter(|each| allowed(call, tx, each, policy)).collect();
    if held.is_empty() { json!({}) } else { json!({"permissions": held}) }
}

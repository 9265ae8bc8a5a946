//! Who may do what: services that are enabled, scopes, roles and bindings. It is
//! enforced for everybody; the owner holds every permission that the control
//! route `/sandbox/deny` has not taken away.

use serde_json::{Value, json};

use super::call::Call;
use super::condition;
use super::consumer;
use super::error::ApiError;
use super::roles;
use super::store::Tx;

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

/// The permission that a method needs, and the record of the policy that may
/// grant it besides the project's. `None`: whoever is authenticated.
pub fn needed(call: &Call) -> Option<(String, String)> {
    let short = call.short_id();
    let (collection, verb) = short.rsplit_once('.').unwrap_or(("", short));
    let project = "policy/project".to_owned();
    let verb = match (call.method.api, verb) {
        (_, "testIamPermissions") => return None,
        (_, "insert") => "create",
        (_, "aggregatedList") => "list",
        ("storage", "compose" | "copy" | "rewrite") => "create",
        ("storage", "lockRetentionPolicy") => "update",
        ("compute", "wait" | "getHealth") => "get",
        ("compute", "listInstances") => "list",
        ("compute", "addInstances" | "removeInstances" | "setNamedPorts") => "update",
        ("serviceusage", "batchEnable") => "enable",
        ("serviceusage", "batchGet") => "get",
        ("secretmanager", "addVersion") => "add",
        (_, "patch") => "update",
        (_, verb) => verb,
    };
    Some(match call.method.api {
        "compute" if ["images", "imageFamilyViews"].contains(&collection) => return None,
        "compute" => (format!("compute.{collection}.{verb}"), project),
        "iam" => {
            let own = format!("policy/serviceAccounts/{}", call.path("serviceAccountsId"));
            (format!("iam.serviceAccounts.{verb}"), own)
        }
        "cloudbilling" => ("resourcemanager.projects.get".into(), project),
        "cloudresourcemanager" if verb == "getEffectiveOrgPolicy" => ("orgpolicy.policy.get".into(), project),
        // Whoever asks is told of those projects that they may see.
        "cloudresourcemanager" if verb == "list" => return None,
        "cloudresourcemanager" => (format!("resourcemanager.projects.{verb}"), project),
        "serviceusage" if collection == "operations" => return None,
        "serviceusage" => (format!("serviceusage.services.{verb}"), project),
        "storage" => {
            // A copy writes to its destination; what it reads is asked for besides.
            let bucket = call.path.get("destinationBucket").map_or(call.path("bucket"), String::as_str);
            if verb == "getStorageLayout" {
                return Some(("storage.objects.list".into(), format!("policy/buckets/{bucket}")));
            }
            (format!("storage.{collection}.{verb}"), format!("policy/buckets/{bucket}"))
        }
        "secretmanager" => {
            let versions = verb == "add" || collection.ends_with("versions");
            let kind = if versions { "versions" } else { "secrets" };
            (format!("secretmanager.{kind}.{verb}"), format!("policy/secrets/{}", call.path("secretsId")))
        }
        _ => return None,
    })
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
    // Some reads of Compute take a body, or hold the request.
    let verb = call.short_id().rsplit_once('.').map_or("", |(_, verb)| verb);
    let reads = call.method.api == "compute" && ["getHealth", "listInstances", "wait"].contains(&verb)
        || verb == "getEffectiveOrgPolicy";
    let read = reads || call.method.verb == http::Method::GET;
    let enough: &[&str] = match (call.method.api, read) {
        ("compute", true) => &["compute", "compute.readonly", "cloud-platform.read-only"],
        ("compute", false) => &["compute"],
        ("storage", true) => &[
            "devstorage.read_only",
            "devstorage.read_write",
            "devstorage.full_control",
            "cloud-platform.read-only",
        ],
        ("storage", false) => &["devstorage.read_write", "devstorage.full_control"],
        (_, true) => &["cloud-platform.read-only"],
        (_, false) => &[],
    };
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

/// The project that a call names, where it names one.
fn project_of(call: &Call) -> Option<&str> {
    match call.method.api {
        "compute" => Some(call.path("project")),
        "storage" => call.query("project"),
        "serviceusage" => call.path.get("v1Id1").map(String::as_str),
        // Version 1 of Resource Manager names it otherwise.
        "cloudresourcemanager" => ["projectsId", "projectId", "resource"]
            .iter()
            .find_map(|name| call.path.get(*name))
            .map(String::as_str),
        _ => call.path.get("projectsId").map(String::as_str),
    }
}

fn check_project(call: &Call) -> Result<(), ApiError> {
    let Some(project) = project_of(call) else { return Ok(()) };
    // The other APIs tell a project that they do not know from one that is not the caller's
    // by no word.
    let tells = matches!(call.method.api, "compute" | "storage" | "serviceusage");
    let ours = (project == call.cloud.project || project == call.cloud.number.to_string())
        && (!tells || call.cloud.consistency.sees_project());
    let images = ["images.", "imageFamilyViews."].iter().any(|prefix| call.short_id().starts_with(prefix));
    let public = images && project.ends_with("-cloud");
    if ours || public || (call.method.api == "iam" && project == "-") {
        return Ok(());
    }
    Err(match call.method.api {
        "compute" => ApiError::not_found(format!("The resource 'projects/{project}' was not found")),
        "storage" => ApiError::invalid(format!("Unknown project id: {project}")),
        "cloudresourcemanager" => ApiError::forbidden("The caller does not have permission"),
        "serviceusage" => ApiError::forbidden(format!("Project '{project}' not found or permission denied.")),
        _ => denied(call, &needed(call).map(|(permission, _)| permission).unwrap_or_default()),
    })
}

/// The refusal of a call for want of `permission`, in the words of its API.
pub fn denied(call: &Call, permission: &str) -> ApiError {
    let project = &call.cloud.project;
    let path = |first: &str| {
        let part = |name: &str, collection: &str| {
            call.path.get(name).map(|id| format!("/{collection}/{id}")).unwrap_or_default()
        };
        format!("projects/{first}{}{}", part("secretsId", "secrets"), part("versionsId", "versions"))
    };
    let info = |error: ApiError, domain: &str, resource: String| {
        error.with_info(
            "IAM_PERMISSION_DENIED",
            domain,
            json!({"permission": permission, "resource": resource}),
        )
    };
    match call.method.api {
        "compute" => {
            let resource = crate::services::compute::resource_of(call);
            ApiError::forbidden(format!("Required '{permission}' permission for '{resource}'"))
        }
        "storage" => {
            let object = call.path.get("object").or(call.path.get("destinationObject"));
            let what = match (object, call.path.get("bucket")) {
                (Some(_), _) => "Google Cloud Storage object",
                (None, Some(_)) => "Google Cloud Storage bucket",
                (None, None) => "Google Cloud project",
            };
            let who = if call.caller.is_anonymous() { "Anonymous caller" } else { &call.caller.email };
            let message = format!(
                "{who} does not have {permission} access to the {what}. Permission '{permission}' denied on resource \
                 (or it may not exist)."
            );
            if call.caller.is_anonymous() {
                return ApiError { message, reason: "required", ..ApiError::unauthenticated() };
            }
            ApiError::forbidden(message)
        }
        "iam" => info(
            ApiError::forbidden(format!(
                "Permission '{permission}' denied on resource (or it may not exist)."
            )),
            "iam.googleapis.com",
            format!("projects/{project}"),
        ),
        "secretmanager" => {
            let resource = path(call.path("projectsId"));
            info(
                ApiError::forbidden(format!(
                    "Permission '{permission}' denied for resource '{resource}' (or it may not exist)."
                )),
                "iam.googleapis.com",
                resource,
            )
        }
        "serviceusage" => info(
            ApiError::forbidden(format!("Permission denied to call the service: {permission} is required.")),
            "serviceusage.googleapis.com",
            format!("projects/{project}"),
        ),
        _ => info(
            ApiError::forbidden(format!(
                "Permission '{permission}' denied on resource '//cloudresourcemanager.googleapis.com/projects/{project}' \
                 (or it may not exist)."
            )),
            "cloudresourcemanager.googleapis.com",
            format!("projects/{project}"),
        ),
    }
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

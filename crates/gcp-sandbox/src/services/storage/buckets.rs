//! Buckets and their policies.

use serde_json::{Value, json};

use super::preconditions::{Conditions, failed};
use super::{bucket, configuration, merge_patch, retention, soft_delete};
use crate::kernel::call::{Call, Handler, page};
use crate::kernel::error::ApiError;
use crate::kernel::store::Tx;
use crate::kernel::{access, clock, policy};

pub fn handler(verb: &str) -> Option<Handler> {
    Some(match verb {
        "insert" => insert,
        "get" => get,
        "list" => list,
        "patch" => patch,
        "update" => update,
        "delete" => delete,
        "getIamPolicy" => get_policy,
        "setIamPolicy" => set_policy,
        "testIamPermissions" => test_permissions,
        "getStorageLayout" => layout,
        _ => return None,
    })
}

pub fn policy_key(name: &str) -> String {
    format!("policy/buckets/{name}")
}

fn insert(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let name = call.text("name");
    if name.is_empty() {
        return Err(ApiError::new(400, "required", "Required"));
    }
    configuration::check_name(name)?;
    if name.contains('.') {
        // A name with dots is a domain's, and nobody has verified one here.
        return Err(ApiError::forbidden(
            "The bucket you tried to create requires domain ownership verification.",
        ));
    }
    let key = format!("buckets/{name}");
    if tx.has(&key) {
        return Err(ApiError::new(
            409,
            "conflict",
            "Your previous request to create the named bucket succeeded and you already own it.",
        ));
    }
    if tx.has(&format!("foreign/{name}")) {
        return Err(ApiError::new(
            409,
            "conflict",
            "The requested bucket name is not available. The bucket namespace is shared by all users of the system. \
             Please select a different name and try again.",
        ));
    }
    if call.flag("enableObjectRetention") {
        return Err(ApiError::unimplemented("buckets.insert with enableObjectRetention"));
    }
    check_parameters(call)?;
    let mut bucket = call.body.clone();
    configuration::complete(&mut bucket)?;
    retention::complete(None, &mut bucket)?;
    let now = clock::timestamp();
    let fixed = json!({
        "kind": "storage#bucket", "id": name, "projectNumber": call.cloud.number.to_string(),
        "selfLink": format!("https://www.googleapis.com/storage/v1/b/{name}"),
        "timeCreated": now, "updated": now, "metageneration": "1", "generation": clock::unique(0).to_string(),
        "etag": "CAE=",
    });
    merge_patch(&mut bucket, &fixed);
    let project = &call.cloud.project;
    let legacy = |kind: &str| format!("roles/storage.legacy{kind}");
    let owners = [format!("projectEditor:{project}"), format!("projectOwner:{project}")];
    let viewers = [format!("projectViewer:{project}")];
    let bindings = json!([
        {"role": legacy("BucketOwner"), "members": owners},
        {"role": legacy("BucketReader"), "members": viewers},
        {"role": legacy("ObjectOwner"), "members": owners},
        {"role": legacy("ObjectReader"), "members": viewers},
    ]);
    tx.put(policy_key(name), json!({"version": 1, "etag": clock::fingerprint(), "bindings": bindings}));
    tx.put(key, bucket.clone());
    Ok(bucket)
}

/// Access is by policies only.
fn check_parameters(call: &Call) -> Result<(), ApiError> {
    let acl =
        ["predefinedAcl", "predefinedDefaultObjectAcl"].into_iter().find(|name| call.query(name).is_some());
    acl.map_or(Ok(()), |name| Err(ApiError::unimplemented(&format!("{} with {name}", call.method.id))))
}

fn get(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    if call.flag("softDeleted") {
        return soft_delete::bucket_of(call, tx);
    }
    let bucket = bucket(call, tx)?;
    Conditions::of(call).check(Some(&bucket), true)?;
    Ok(bucket)
}

fn list(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let prefix = call.query("prefix").unwrap_or_default();
    let all = match call.flag("softDeleted") {
        true => soft_delete::list_buckets(tx, prefix),
        false => tx.scan(&format!("buckets/{prefix}")),
    };
    let size = usize::try_from(call.number("maxResults").unwrap_or(1000)).unwrap_or(1000).min(1000);
    let (items, next) = page(all, size, call.query("pageToken"))?;
    let mut answer = json!({"kind": "storage#buckets"});
    if !items.is_empty() {
        answer["items"] = json!(items);
    }
    if let Some(next) = next {
        answer["nextPageToken"] = json!(next);
    }
    Ok(answer)
}

/// Writes a changed bucket: the next metageneration, and nothing fixed changed.
pub fn write(tx: &mut Tx, before: &Value, mut after: Value) -> Result<Value, ApiError> {
    for field in ["location", "locationType"] {
        let same = match (before[field].as_str(), after[field].as_str()) {
            (Some(before), Some(after)) => before.eq_ignore_ascii_case(after),
            (_, after) => after.is_none(),
        };
        if !same {
            return Err(ApiError::invalid(format!("The {field} of a bucket cannot be changed.")));
        }
    }
    for field in [
        "kind",
        "id",
        "name",
        "projectNumber",
        "selfLink",
        "timeCreated",
        "generation",
        "location",
        "locationType",
    ] {
        after[field] = before[field].clone();
    }
    configuration::complete(&mut after)?;
    let name = before["name"].as_str().unwrap_or_default();
    let uniform = after["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"] == true;
    if !uniform && policy::is_conditional(&policy::get(tx, &policy_key(name))) {
        return Err(ApiError::condition(
            "Uniform bucket-level access can't be disabled while the bucket has IAM conditions.",
        ));
    }
    retention::complete(Some(before), &mut after)?;
    let number: u64 = before["metageneration"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
    after["metageneration"] = json!((number + 1).to_string());
    after["etag"] = json!(clock::fingerprint());
    after["updated"] = json!(clock::timestamp());
    let key = format!("buckets/{}", before["name"].as_str().unwrap_or_default());
    tx.put(key, after.clone());
    Ok(after)
}

/// Where a bucket's data is, and that it has no folders.
fn layout(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let bucket = bucket(call, tx)?;
    Ok(json!({
        "kind": "storage#storageLayout", "bucket": bucket["name"], "location": bucket["location"],
        "locationType": bucket["locationType"], "hierarchicalNamespace": {"enabled": false},
    }))
}

/// No bucket in here has any: nobody can make one.
pub fn managed_folders(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    bucket(call, tx)?;
    Ok(json!({"kind": "storage#managedFolders"}))
}

fn patch(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let before = bucket(call, tx)?;
    check_parameters(call)?;
    Conditions::of(call).check(Some(&before), false)?;
    let mut after = before.clone();
    merge_patch(&mut after, &call.body);
    write(tx, &before, after)
}

fn update(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let before = bucket(call, tx)?;
    check_parameters(call)?;
    Conditions::of(call).check(Some(&before), false)?;
    write(tx, &before, call.body.clone())
}

fn delete(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let before = bucket(call, tx)?;
    Conditions::of(call).check(Some(&before), false)?;
    let name = call.path("bucket");
    let empty =
        tx.scan(&format!("objects/{name}/")).is_empty() && tx.scan(&format!("versions/{name}/")).is_empty();
    if !empty {
        return Err(ApiError::new(409, "conflict", "The bucket you tried to delete is not empty."));
    }
    let policy = policy::get(tx, &policy_key(name));
    soft_delete::keep_bucket(tx, &before, &policy);
    tx.remove(policy_key(name));
    tx.remove(format!("buckets/{name}"));
    Ok(Value::Null)
}

/// The policy in the form of this API.
fn shown(name: &str, mut policy: Value) -> Value {
    policy["kind"] = json!("storage#policy");
    policy["resourceId"] = json!(format!("projects/_/buckets/{name}"));
    policy
}

fn get_policy(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    bucket(call, tx)?;
    let name = call.path("bucket");
    let policy = policy::get(tx, &policy_key(name));
    let asked = call.number("optionsRequestedPolicyVersion").unwrap_or(1);
    if policy::is_conditional(&policy) && asked < 3 {
        return Err(ApiError::invalid(format!(
            "Requested policy version ({asked}) cannot be less than the existing policy version (3). For more \
             information, please refer to https://cloud.google.com/iam/docs/policies#versions."
        )));
    }
    Ok(shown(name, policy))
}

fn set_policy(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let bucket = bucket(call, tx)?;
    let name = call.path("bucket");
    let everybody = ["allUsers", "allAuthenticatedUsers"];
    let public = call.body["bindings"].as_array().into_iter().flatten().any(|binding| {
        binding["members"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|member| everybody.contains(&member.as_str().unwrap_or_default()))
    });
    if public && bucket["iamConfiguration"]["publicAccessPrevention"] == "enforced" {
        return Err(ApiError::condition(
            "The member bindings allUsers and allAuthenticatedUsers are not allowed since public access prevention \
             is enforced.",
        ));
    }
    let uniform = bucket["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"] == true;
    if policy::is_conditional(&call.body) && !uniform {
        return Err(ApiError::condition(
            "Setting IAM conditions on a bucket requires uniform bucket-level access to be enabled.",
        ));
    }
    let policy = policy::set(call, tx, &policy_key(name), &call.body, failed("If-Match"))?;
    Ok(shown(name, policy))
}

fn test_permissions(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    bucket(call, tx)?;
    let asked = call.query.get("permissions").cloned().unwrap_or_default();
    if let Some(bad) = asked.iter().find(|each| !each.starts_with("storage.")) {
        return Err(ApiError::invalid(format!("Invalid permission: {bad}")));
    }
    let mut answer = access::held(call, tx, &asked, &policy_key(call.path("bucket")));
    answer["kind"] = json!("storage#testIamPermissionsResponse");
    Ok(answer)
}

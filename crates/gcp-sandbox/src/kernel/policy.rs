//! IAM policies: read, written whole under an etag, their members checked.

use serde_json::{Value, json};

use super::call::Call;
use super::cloud::Cloud;
use super::error::ApiError;
use super::store::Tx;
use super::{clock, condition, roles};

/// The policy under `key`; an empty one where none was ever set.
pub fn get(tx: &Tx, key: &str) -> Value {
    tx.get(key).cloned().unwrap_or_else(|| json!({"version": 1, "etag": "ACAB"}))
}

/// Whether a policy says of some grant when it holds: those take version 3.
pub fn is_conditional(policy: &Value) -> bool {
    policy["bindings"].as_array().is_some_and(|all| all.iter().any(|each| !each["condition"].is_null()))
}

/// Replaces the policy under `key`. A stale `etag` is refused with `conflict`;
/// without one the last writer wins, as with Google.
pub fn set(
    call: &Call,
    tx: &mut Tx,
    key: &str,
    wanted: &Value,
    conflict: ApiError,
) -> Result<Value, ApiError> {
    let current = get(tx, key);
    if let Some(etag) = wanted["etag"].as_str()
        && !etag.is_empty()
        && current["etag"] != etag
    {
        return Err(conflict);
    }
    if is_conditional(&current) && wanted["version"] != 3 && wanted["etag"].is_string() {
        return Err(ApiError::invalid(format!(
            "Specified policy version ({}) cannot be less than the existing policy version (3). For more \
             information, please refer to https://cloud.google.com/iam/docs/policies#versions.",
            wanted["version"].as_i64().unwrap_or_default()
        )));
    }
    let mut bindings: Vec<Value> = Vec::new();
    for binding in wanted["bindings"].as_array().map_or(&[][..], Vec::as_slice) {
        let role = binding["role"].as_str().unwrap_or_default();
        if !roles::is_role(role) || !fits(role, key) {
            return Err(ApiError::invalid(format!("Role {role} is not supported for this resource.")));
        }
        let members = binding["members"].as_array().cloned().unwrap_or_default();
        if !binding["condition"].is_null() && wanted["version"] != 3 {
            return Err(ApiError::invalid(
                "The policy has a conditional role binding but its version is not 3. Set the version to 3.",
            ));
        }
        condition::check(binding)?;
        for member in &members {
            check_member(call, tx, member.as_str().unwrap_or_default())?;
        }
        let same = bindings
            .iter_mut()
            .find(|each| each["role"] == role && each["condition"] == binding["condition"]);
        match same {
            Some(earlier) => {
                let list = earlier["members"].as_array_mut().expect("written below as a list");
                for member in members {
                    if !list.contains(&member) {
                        list.push(member);
                    }
                }
            }
            None if members.is_empty() => {}
            None => {
                let mut kept = binding.clone();
                kept["members"] = json!(members);
                bindings.push(kept);
            }
        }
    }
    let policy = json!({
        "version": wanted["version"].as_i64().filter(|version| *version > 0).unwrap_or(1),
        "etag": clock::fingerprint(),
        "bindings": bindings,
    });
    call.cloud.consistency.replaced(key, current);
    tx.put(key, policy.clone());
    Ok(policy)
}

/// Whether a role can be granted where that policy is: no basic role on a bucket,
/// and a bucket's own on nothing else.
fn fits(role: &str, key: &str) -> bool {
    let bucket = key.starts_with("policy/buckets/");
    if bucket { role.starts_with("roles/storage.") } else { !role.starts_with("roles/storage.legacy") }
}

fn check_member(call: &Call, tx: &Tx, member: &str) -> Result<(), ApiError> {
    if member == "allUsers" || member == "allAuthenticatedUsers" {
        return Ok(());
    }
    let Some((kind, name)) = member.split_once(':') else {
        return Err(ApiError::invalid(format!("Invalid member: {member}")));
    };
    match kind {
        "serviceAccount" => {
            let suffix = format!("@{}.iam.gserviceaccount.com", call.cloud.project);
            if name.ends_with(&suffix) && !sees(&call.cloud, tx, name) {
                return Err(ApiError::invalid(format!("Service account {name} does not exist.")));
            }
            Ok(())
        }
        "user" | "group" if name.contains('@') => Ok(()),
        "domain" | "projectOwner" | "projectEditor" | "projectViewer" | "deleted" | "principal"
        | "principalSet" => Ok(()),
        _ => Err(ApiError::invalid(format!("Invalid member: {member}"))),
    }
}

/// Whether the world knows an account of that address: a new one is late.
pub fn sees(cloud: &Cloud, tx: &Tx, email: &str) -> bool {
    let key = format!("serviceAccounts/{email}");
    tx.has(&key) && cloud.consistency.sees_account(&key)
}

/// What a grant to a deleted account turns into: it stays, and grants nothing
/// to a later account of the same name.
pub fn account_deleted(tx: &mut Tx, email: &str, unique_id: &str) {
    let member = format!("serviceAccount:{email}");
    let gone = format!("deleted:serviceAccount:{email}?uid={unique_id}");
    for (key, mut policy) in tx.scan("policy/") {
        let mut touched = false;
        for binding in policy["bindings"].as_array_mut().into_iter().flatten() {
            for each in binding["members"].as_array_mut().into_iter().flatten() {
                if *each == member.as_str() {
                    *each = json!(gone);
                    touched = true;
                }
            }
        }
        if touched {
            policy["etag"] = json!(clock::fingerprint());
            tx.put(key, policy);
        }
    }
}

/// The conflict of the newer APIs.
pub fn concurrent_change() -> ApiError {
    ApiError::new(
        409,
        "aborted",
        "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff.",
    )
}

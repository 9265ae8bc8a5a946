//! IAM: the project's service accounts.

use std::time::Duration;

use serde_json::{Value, json};

use super::org_policy::{self, NO_ACCOUNTS};
use crate::kernel::access::denied_with_info;
use crate::kernel::call::{Call, Handler, Permission, Service, page};
use crate::kernel::cloud::Cloud;
use crate::kernel::contract::Method;
use crate::kernel::error::ApiError;
use crate::kernel::store::Tx;
use crate::kernel::{clock, policy};

pub static SERVICE: Service =
    Service { project, constraints: Some(constraints), ..Service::new("iam", handler, permission, denied) };

fn permission(call: &Call, _collection: &str, verb: &str) -> Option<Permission> {
    let own = format!("policy/serviceAccounts/{}", call.path("serviceAccountsId"));
    Some((format!("iam.serviceAccounts.{verb}"), own))
}

/// `-` stands for whichever project the account is of.
fn project(call: &Call) -> Option<&str> {
    call.path.get("projectsId").map(String::as_str).filter(|project| *project != "-")
}

fn denied(call: &Call, permission: &str) -> ApiError {
    let message = format!("Permission '{permission}' denied on resource (or it may not exist).");
    let resource = format!("projects/{}", call.cloud.project);
    denied_with_info(message, permission, "iam.googleapis.com", &resource)
}

fn constraints(call: &Call, tx: &Tx) -> Result<(), ApiError> {
    let makes = call.short_id() == "projects.serviceAccounts.create";
    if makes && org_policy::enforced(tx, NO_ACCOUNTS) { Err(no_accounts(call)) } else { Ok(()) }
}

fn no_accounts(call: &Call) -> ApiError {
    let description = "Service account creation is not allowed on this project.";
    let mut error = ApiError::new(400, "failedPrecondition", description);
    let subject = format!("projects/{}", call.cloud.project);
    error.details.push(json!({
        "@type": "type.googleapis.com/google.rpc.PreconditionFailure",
        "violations": [{"type": NO_ACCOUNTS, "subject": subject, "description": description}],
    }));
    error
}

fn handler(method: &Method) -> Option<Handler> {
    Some(match method.id.as_str() {
        "iam.projects.serviceAccounts.create" => create,
        "iam.projects.serviceAccounts.get" => get,
        "iam.projects.serviceAccounts.list" => list,
        "iam.projects.serviceAccounts.patch" => patch,
        "iam.projects.serviceAccounts.delete" => delete,
        "iam.projects.serviceAccounts.enable" => enable,
        "iam.projects.serviceAccounts.disable" => disable,
        "iam.projects.serviceAccounts.getIamPolicy" => get_policy,
        "iam.projects.serviceAccounts.setIamPolicy" => set_policy,
        _ => return None,
    })
}

/// The address of the account that comes with Compute Engine, which instances name
/// `default`. It is granted nothing: whether Google grants it the editor's role is up
/// to the organisation.
pub fn compute_default(cloud: &Cloud) -> String {
    format!("{}-compute@developer.gserviceaccount.com", cloud.number)
}

/// A new account's resource.
pub fn account(cloud: &Cloud, email: &str, display_name: &str, description: &str) -> Value {
    let unique_id = if email == cloud.owner {
        clock::number_of(email).to_string()
    } else {
        format!("1{:020}", clock::unique(0))
    };
    let mut account = json!({
        "name": format!("projects/{}/serviceAccounts/{email}", cloud.project),
        "projectId": cloud.project,
        "uniqueId": unique_id,
        "email": email,
        "etag": clock::fingerprint(),
        "oauth2ClientId": unique_id,
    });
    for (field, value) in [("displayName", display_name), ("description", description)] {
        if !value.is_empty() {
            account[field] = json!(value);
        }
    }
    account
}

fn key_of(call: &Call, tx: &Tx) -> Result<String, ApiError> {
    let name = call.path("serviceAccountsId");
    let key = format!("serviceAccounts/{name}");
    let by_id = || tx.scan("serviceAccounts/").into_iter().find(|(_, account)| account["uniqueId"] == name);
    let found = if tx.has(&key) { Some(key) } else { by_id().map(|(key, _)| key) };
    found.filter(|key| call.cloud.consistency.sees_account(key)).ok_or_else(|| {
        // With the wildcard it is refused, as the reference of `serviceAccounts.get` warns.
        if call.path("projectsId") == "-" {
            return ApiError::forbidden(format!(
                "Permission 'iam.serviceAccounts.get' denied on resource {name} (or it may not exist)."
            ));
        }
        ApiError::not_found(format!(
            "Service account projects/{}/serviceAccounts/{name} does not exist.",
            call.path("projectsId")
        ))
        .with_info(
            "RESOURCE_NOT_FOUND",
            "iam.googleapis.com",
            json!({"resource": format!("projects/{}/serviceAccounts/{name}", call.cloud.project)}),
        )
    })
}

/// 6 to 30 lower-case letters, digits and hyphens, from a letter to no hyphen.
fn is_account_id(id: &str) -> bool {
    (6..=30).contains(&id.len())
        && id.starts_with(|first: char| first.is_ascii_lowercase())
        && !id.ends_with('-')
        && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn create(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let id = call.text("accountId");
    if !is_account_id(id) {
        return Err(ApiError::bad_request(
            "account_id",
            "Invalid service account ID: it has to be 6-30 characters of the form \
             [a-z]([-a-z0-9]*[a-z0-9])"
                .into(),
        ));
    }
    let wanted = &call.body["serviceAccount"];
    check_texts(wanted)?;
    let email = format!("{id}@{}.iam.gserviceaccount.com", call.cloud.project);
    let key = format!("serviceAccounts/{email}");
    if tx.has(&key) {
        return Err(ApiError::new(
            409,
            "alreadyExists",
            format!("Service account {id} already exists within project projects/{}.", call.cloud.project),
        ));
    }
    let text = |name: &str| wanted[name].as_str().unwrap_or_default();
    let account = account(&call.cloud, &email, text("displayName"), text("description"));
    call.cloud.consistency.made(&key, Duration::ZERO);
    tx.put(key, account.clone());
    Ok(account)
}

fn check_texts(account: &Value) -> Result<(), ApiError> {
    for (field, most) in [("displayName", 100), ("description", 256)] {
        if account[field].as_str().is_some_and(|text| text.len() > most) {
            return Err(ApiError::bad_request(
                field,
                format!("Invalid value for {field}: it may have at most {most} bytes."),
            ));
        }
    }
    Ok(())
}

fn get(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let key = key_of(call, tx)?;
    Ok(tx.get(&key).cloned().unwrap_or_default())
}

fn list(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let size = usize::try_from(call.number("pageSize").unwrap_or(20)).unwrap_or(20).clamp(1, 100);
    let mut all = tx.scan("serviceAccounts/");
    all.retain(|(key, _)| call.cloud.consistency.sees_account(key));
    let (accounts, next) = page(all, size, call.query("pageToken"))?;
    let mut answer = json!({});
    if !accounts.is_empty() {
        answer["accounts"] = json!(accounts);
    }
    if let Some(next) = next {
        answer["nextPageToken"] = json!(next);
    }
    Ok(answer)
}

fn patch(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let key = key_of(call, tx)?;
    let wanted = &call.body["serviceAccount"];
    check_texts(wanted)?;
    let mut account = tx.get(&key).cloned().unwrap_or_default();
    if let Some(etag) = wanted["etag"].as_str()
        && account["etag"] != etag
    {
        return Err(policy::concurrent_change());
    }
    let mask = call.text("updateMask");
    if mask.is_empty() {
        return Err(ApiError::bad_request("update_mask", "The update mask is required.".into()));
    }
    for path in mask.split(',').map(str::trim) {
        let field = match path {
            "display_name" | "displayName" => "displayName",
            "description" => "description",
            other => {
                return Err(ApiError::bad_request(
                    "update_mask",
                    format!("The field {other} of a service account cannot be updated."),
                ));
            }
        };
        match wanted[field].as_str().filter(|text| !text.is_empty()) {
            Some(text) => account[field] = json!(text),
            None => {
                account.as_object_mut().map(|object| object.remove(field));
            }
        }
    }
    account["etag"] = json!(clock::fingerprint());
    tx.put(key, account.clone());
    Ok(account)
}

fn set_disabled(call: &Call, tx: &mut Tx, disabled: bool) -> Result<Value, ApiError> {
    let key = key_of(call, tx)?;
    tx.edit(&key, |account| {
        if disabled {
            account["disabled"] = json!(true);
        } else {
            account.as_object_mut().map(|object| object.remove("disabled"));
        }
    });
    Ok(json!({}))
}

fn enable(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    set_disabled(call, tx, false)
}

/// What a disabled account has of tokens is good for nothing.
fn disable(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    set_disabled(call, tx, true)
}

/// Who may act as the account, say.
fn policy_key(call: &Call, tx: &Tx) -> Result<String, ApiError> {
    Ok(format!("policy/{}", key_of(call, tx)?))
}

fn get_policy(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let key = policy_key(call, tx)?;
    Ok(policy::get(tx, &key))
}

fn set_policy(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let key = policy_key(call, tx)?;
    policy::set(call, tx, &key, &call.body["policy"], policy::concurrent_change())
}

fn delete(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let key = key_of(call, tx)?;
    let account = tx.get(&key).cloned().unwrap_or_default();
    let text = |name: &str| account[name].as_str().unwrap_or_default().to_owned();
    policy::account_deleted(tx, &text("email"), &text("uniqueId"));
    tx.remove(format!("policy/{key}"));
    tx.remove(key);
    Ok(json!({}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_ids() {
        for (id, good) in
            [("dorainfra-mimir", true), ("short", false), ("9lives-here", false), ("ends-in-", false)]
        {
            assert_eq!(is_account_id(id), good, "{id}");
        }
    }
}

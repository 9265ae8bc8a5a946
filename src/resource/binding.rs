//! `storage.bucketIamBinding` and `secretmanager.secretIamBinding`: one member
//! in one role on one bucket or secret. No other binding is touched.

use async_trait::async_trait;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Cloud, Kind, found, text};
use crate::engine::{Change, KindSpec, Manifest, Mark, Observed, Ownership};
use crate::event::Events;
use crate::gcp::{Api, ApiError, Call, Error};

/// How often somebody else may write between our read and our write.
const ATTEMPTS: usize = 8;

const SPEC: KindSpec = KindSpec { immutable: &["role", "member"], markable: false, ..KindSpec::plain("") };

/// A kind of binding: what it is on.
pub struct Binding {
    spec: KindSpec,
    /// The manifest's field that names what carries the policy.
    on: &'static str,
}

impl Binding {
    pub fn bucket() -> Self {
        let immutable = &["bucket", "role", "member"];
        Self { spec: KindSpec { kind: "storage.bucketIamBinding", immutable, ..SPEC }, on: "bucket" }
    }

    pub fn secret() -> Self {
        let immutable = &["secret", "role", "member"];
        Self { spec: KindSpec { kind: "secretmanager.secretIamBinding", immutable, ..SPEC }, on: "secret" }
    }

    fn get(&self, cloud: &Cloud, on: &str) -> Call {
        match self.on {
            "bucket" => Call::get(Api::Storage, format!("storage/v1/b/{on}/iam"))
                .query("optionsRequestedPolicyVersion", "3"),
            _ => {
                let project = cloud.client.project();
                Call::get(Api::SecretManager, format!("v1/projects/{project}/secrets/{on}:getIamPolicy"))
                    .query("options.requestedPolicyVersion", "3")
            }
        }
    }

    /// The policy carries its etag, so a repeat after a lost answer is refused
    /// instead of undoing somebody's change.
    fn set(&self, cloud: &Cloud, on: &str, policy: Value) -> Call {
        match self.on {
            "bucket" => {
                Call::idempotent(Api::Storage, Method::PUT, format!("storage/v1/b/{on}/iam")).body(policy)
            }
            _ => {
                let project = cloud.client.project();
                Call::idempotent(
                    Api::SecretManager,
                    Method::POST,
                    format!("v1/projects/{project}/secrets/{on}:setIamPolicy"),
                )
                .body(json!({"policy": policy}))
            }
        }
    }

    /// Reads the policy, changes our binding in it, writes it with its etag;
    /// again when somebody else wrote meanwhile.
    async fn change(&self, cloud: &Cloud, body: &Value, grant: bool) -> Result<(), Error> {
        let (on, role, member) = (text(body, self.on)?, text(body, "role")?, text(body, "member")?);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let Some(mut policy) = found(cloud.client.call(&self.get(cloud, on)).await)? else {
                // What carried the policy is gone, and the binding with it.
                return if grant {
                    Err(Error::Unexpected { what: on.to_owned(), reason: "it has no policy".into() })
                } else {
                    Ok(())
                };
            };
            if !edit(&mut policy, role, member, grant) {
                return Ok(());
            }
            match cloud.client.call(&self.set(cloud, on, policy)).await {
                Ok(_) => return Ok(()),
                Err(Error::Api(error)) if written_meanwhile(&error) && attempt < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn written_meanwhile(error: &ApiError) -> bool {
    error.status == 409 || error.is_stale()
}

/// Adds or removes one member of one role, unconditional binding only; removes
/// leftovers of a deleted account of the same name. Whether anything changed.
fn edit(policy: &mut Value, role: &str, member: &str, grant: bool) -> bool {
    policy["version"] = json!(3);
    let mut bindings = match policy["bindings"].take() {
        Value::Array(bindings) => bindings,
        _ => Vec::new(),
    };
    let leftover = format!("deleted:{member}?uid=");
    let mut changed = false;
    let mut granted = false;
    for binding in &mut bindings {
        if binding["role"] != role || !binding["condition"].is_null() {
            continue;
        }
        if let Some(members) = binding["members"].as_array_mut() {
            let before = members.len();
            members.retain(|entry| {
                let entry = entry.as_str().unwrap_or_default();
                !entry.starts_with(&leftover) && (grant || entry != member)
            });
            changed |= members.len() != before;
            granted |= members.iter().any(|entry| entry == member);
        }
    }
    if grant && !granted {
        changed = true;
        let same = bindings
            .iter_mut()
            .find(|binding| binding["role"] == role && binding["condition"].is_null())
            .and_then(|binding| binding["members"].as_array_mut());
        match same {
            Some(members) => members.push(json!(member)),
            None => bindings.push(json!({"role": role, "members": [member]})),
        }
    }
    bindings.retain(|binding| binding["members"].as_array().is_some_and(|members| !members.is_empty()));
    policy["bindings"] = Value::Array(bindings);
    changed
}

#[async_trait]
impl Kind for Binding {
    fn spec(&self) -> &KindSpec {
        &self.spec
    }

    async fn read(&self, cloud: &Cloud, manifest: &Manifest) -> Result<Option<Observed>, Error> {
        let body = &manifest.body;
        let (on, role) = (text(body, self.on)?, text(body, "role")?);
        let Some(policy) = found(cloud.client.call(&self.get(cloud, on)).await)? else { return Ok(None) };
        // The member is known by the account's name before the account exists.
        let wanted = text(body, "member")?;
        let member = match wanted.split_once("${iam.serviceAccount/") {
            Some((_, rest)) => {
                let account = rest.split('.').next().unwrap_or_default();
                let project = cloud.client.project();
                format!("serviceAccount:{account}@{project}.iam.gserviceaccount.com")
            }
            None => wanted.to_owned(),
        };
        let granted = policy["bindings"].as_array().into_iter().flatten().any(|binding| {
            binding["role"] == role
                && binding["condition"].is_null()
                && binding["members"].as_array().is_some_and(|members| members.iter().any(|m| *m == *member))
        });
        Ok(granted.then(|| Observed {
            id: manifest.id(),
            body: json!({self.on: on, "role": role, "member": member}),
            ownership: Ownership::Ours,
            applied: None,
        }))
    }

    async fn create(&self, cloud: &Cloud, manifest: &Manifest, _: &Mark, _: &Events) -> Result<(), Error> {
        self.change(cloud, &manifest.body, true).await
    }

    async fn update(
        &self,
        cloud: &Cloud,
        manifest: &Manifest,
        _: &Observed,
        _: &[Change],
        mark: &Mark,
        events: &Events,
    ) -> Result<(), Error> {
        self.create(cloud, manifest, mark, events).await
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observed, _: &Events) -> Result<(), Error> {
        self.change(cloud, &observed.body, false).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "roles/storage.objectAdmin";
    const US: &str = "serviceAccount:us@p.iam.gserviceaccount.com";

    #[test]
    fn only_our_binding_changes() {
        let others = json!([
            {"role": "roles/storage.admin", "members": ["user:a@b.c"]},
            {"role": ROLE, "members": ["user:a@b.c"]},
            {"role": ROLE, "members": [US], "condition": {"expression": "false"}},
        ]);
        let mut policy = json!({"etag": "e", "bindings": others});
        assert!(edit(&mut policy, ROLE, US, true));
        assert_eq!(policy["bindings"][1]["members"], json!(["user:a@b.c", US]));
        assert!(!edit(&mut policy, ROLE, US, true), "granting twice changes nothing");
        assert!(edit(&mut policy, ROLE, US, false));
        assert_eq!(policy, json!({"etag": "e", "version": 3, "bindings": others}));
    }

    #[test]
    fn leftovers_of_a_deleted_account_go() {
        let gone = format!("deleted:{US}?uid=123");
        let mut policy = json!({"bindings": [{"role": ROLE, "members": [gone]}]});
        assert!(edit(&mut policy, ROLE, US, true));
        assert_eq!(policy["bindings"], json!([{"role": ROLE, "members": [US]}]));
    }
}

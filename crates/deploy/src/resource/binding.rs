//! `storage.bucketIamBinding` and `secretmanager.secretIamBinding`: one member
//! in one role on one bucket or secret, on a condition where the manifest has one. No other
//! binding is touched.

use async_trait::async_trait;
use dorainfra_engine::{Change, KindSpec, Manifest, Mark, Observed, Ownership};
use dorainfra_gcp::{Api, ApiError, Call, Error};
use dorainfra_model::Events;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Cloud, Exported, Kind, found, text};

/// How often somebody else may write between our read and our write.
const ATTEMPTS: usize = 8;

const SPEC: KindSpec = KindSpec { immutable: &["role", "member"], markable: false, ..KindSpec::plain("") };

/// A kind of binding: what it is on.
pub struct Binding {
    spec: KindSpec,
    /// The manifest's field that names what carries the policy.
    on: &'static str,
    /// What Terraform calls one.
    terraform: &'static str,
}

impl Binding {
    pub fn bucket() -> Self {
        let immutable = &["bucket", "role", "member"];
        let spec = KindSpec { kind: "storage.bucketIamBinding", immutable, ..SPEC };
        Self { spec, on: "bucket", terraform: "google_storage_bucket_iam_member" }
    }

    pub fn secret() -> Self {
        let immutable = &["secret", "role", "member"];
        let spec = KindSpec { kind: "secretmanager.secretIamBinding", immutable, ..SPEC };
        Self { spec, on: "secret", terraform: "google_secret_manager_secret_iam_member" }
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
        let on = text(body, self.on)?;
        let wanted =
            Grant { role: text(body, "role")?, member: text(body, "member")?, condition: &body["condition"] };
        let mut attempt = 0;
        loop {
            attempt += 1;
            let Some(mut policy) = found(cloud.client.call(&self.get(cloud, on)).await)? else {
                // What carried the policy is gone, and the binding with it.
                return if grant {
                    Err(Error::Unexpected {
                        what: on.to_owned(),
                        reason: "it has no policy".into(),
                        source: None,
                    })
                } else {
                    Ok(())
                };
            };
            if !wanted.edit(&mut policy, grant) {
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

/// What the titles of our conditions begin with: a binding with another one is somebody else's.
const OURS: &str = "dorainfra: ";

/// One member in one role, and on what condition.
struct Grant<'a> {
    role: &'a str,
    member: &'a str,
    /// `title` and `expression`; `Null`: always.
    condition: &'a Value,
}

impl Grant<'_> {
    /// Whether a binding of a policy may be this one, as it is or as it was: one without a
    /// condition is what earlier versions made.
    fn may_be(&self, binding: &Value) -> bool {
        let condition = &binding["condition"];
        let ours = condition["title"].as_str().is_some_and(|title| title.starts_with(OURS));
        binding["role"] == self.role && (condition.is_null() || ours)
    }

    /// Whether it is on that condition, whatever else is said of it.
    fn is_on(&self, binding: &Value) -> bool {
        let said = &binding["condition"];
        ["title", "expression"].iter().all(|field| said[field] == self.condition[field])
    }

    /// The conditions on which a policy grants it. One of another kind than ours beside it
    /// makes it wider: that is what is seen first.
    fn found(&self, policy: &Value) -> Option<Value> {
        let mut found: Vec<&Value> = policy["bindings"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|binding| self.may_be(binding) && is_member(binding, self.member))
            .collect();
        found.sort_by_key(|binding| (self.is_on(binding), !binding["condition"].is_null()));
        let condition = &found.first()?["condition"];
        if condition.is_null() {
            return Some(Value::Null);
        }
        Some(json!({"title": condition["title"], "expression": condition["expression"]}))
    }

    /// Adds or removes it; on another condition it goes in the same write that adds it, so
    /// that there is no moment without. Removes leftovers of a deleted account of the same
    /// name. Whether anything changed.
    fn edit(&self, policy: &mut Value, grant: bool) -> bool {
        policy["version"] = json!(3);
        let mut bindings = match policy["bindings"].take() {
            Value::Array(bindings) => bindings,
            _ => Vec::new(),
        };
        let leftover = format!("deleted:{}?uid=", self.member);
        let mut changed = false;
        let mut granted = false;
        for binding in bindings.iter_mut().filter(|binding| self.may_be(binding)) {
            let keep = grant && self.is_on(binding);
            if let Some(members) = binding["members"].as_array_mut() {
                let before = members.len();
                members.retain(|entry| {
                    let entry = entry.as_str().unwrap_or_default();
                    !entry.starts_with(&leftover) && (keep || entry != self.member)
                });
                changed |= members.len() != before;
                granted |= members.iter().any(|entry| entry == self.member);
            }
        }
        if grant && !granted {
            changed = true;
            let same = bindings
                .iter_mut()
                .find(|binding| self.may_be(binding) && self.is_on(binding))
                .and_then(|binding| binding["members"].as_array_mut());
            match same {
                Some(members) => members.push(json!(self.member)),
                None => {
                    let mut binding = json!({"role": self.role, "members": [self.member]});
                    if !self.condition.is_null() {
                        binding["condition"] = self.condition.clone();
                    }
                    bindings.push(binding);
                }
            }
        }
        bindings.retain(|binding| binding["members"].as_array().is_some_and(|members| !members.is_empty()));
        policy["bindings"] = Value::Array(bindings);
        changed
    }
}

fn is_member(binding: &Value, member: &str) -> bool {
    binding["members"].as_array().is_some_and(|members| members.iter().any(|each| *each == *member))
}

#[async_trait]
impl Kind for Binding {
    fn spec(&self) -> &KindSpec {
        &self.spec
    }

    fn exported(&self) -> Exported {
        Exported { terraform: Some(self.terraform), marked: None }
    }

    async fn read(&self, cloud: &Cloud, manifest: &Manifest) -> Result<Option<Observed>, Error> {
        let body = &manifest.body;
        let (on, role) = (text(body, self.on)?, text(body, "role")?);
        let Some(policy) = found(cloud.ask(&self.get(cloud, on)).await)? else { return Ok(None) };
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
        let found = Grant { role, member: &member, condition: &body["condition"] }.found(&policy);
        Ok(found.map(|condition| {
            let mut body = json!({self.on: on, "role": role, "member": member});
            if !condition.is_null() {
                body["condition"] = condition;
            }
            Observed { id: manifest.id(), body, ownership: Ownership::Ours, applied: None }
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

    fn always() -> Grant<'static> {
        Grant { role: ROLE, member: US, condition: &Value::Null }
    }

    #[test]
    fn only_our_binding_changes() {
        let others = json!([
            {"role": "roles/storage.admin", "members": ["user:a@b.c"]},
            {"role": ROLE, "members": ["user:a@b.c"]},
            {"role": ROLE, "members": [US], "condition": {"title": "theirs", "expression": "false"}},
        ]);
        let mut policy = json!({"etag": "e", "bindings": others});
        assert_eq!(always().found(&policy), None, "somebody else's condition is not ours");
        assert!(always().edit(&mut policy, true));
        assert_eq!(policy["bindings"][1]["members"], json!(["user:a@b.c", US]));
        assert_eq!(always().found(&policy), Some(Value::Null));
        assert!(!always().edit(&mut policy, true), "granting twice changes nothing");
        assert!(always().edit(&mut policy, false));
        assert_eq!(policy, json!({"etag": "e", "version": 3, "bindings": others}));
    }

    #[test]
    fn a_grant_gets_another_condition_in_one_write() {
        let condition = json!({"title": "dorainfra: a", "expression": "true"});
        let ours = Grant { role: ROLE, member: US, condition: &condition };
        let before = json!({"title": "dorainfra: before", "expression": "false"});
        let others = json!({"role": ROLE, "members": ["user:a@b.c"]});
        let mut policy = json!({"bindings": [{"role": ROLE, "members": ["user:a@b.c", US]},
            {"role": ROLE, "members": [US], "condition": before}]});
        assert_eq!(ours.found(&policy), Some(Value::Null), "the widest of them is seen");
        assert!(ours.edit(&mut policy, true));
        assert_eq!(
            policy["bindings"],
            json!([others, {"role": ROLE, "members": [US], "condition": condition}])
        );
        assert_eq!(ours.found(&policy), Some(condition.clone()));
        // Google may say more of it than we did.
        policy["bindings"][1]["condition"]["description"] = json!("");
        assert_eq!(ours.found(&policy), Some(condition.clone()));
        assert!(!ours.edit(&mut policy, true));
        // What wants none takes ours off, and a removal all of its forms.
        let mut without = policy.clone();
        assert!(always().edit(&mut without, true));
        assert_eq!(without["bindings"], json!([{"role": ROLE, "members": ["user:a@b.c", US]}]));
        assert!(always().edit(&mut policy, false));
        assert_eq!(policy["bindings"], json!([others]));
    }

    #[test]
    fn leftovers_of_a_deleted_account_go() {
        let gone = format!("deleted:{US}?uid=123");
        let mut policy = json!({"bindings": [{"role": ROLE, "members": [gone]}]});
        assert!(always().edit(&mut policy, true));
        assert_eq!(policy["bindings"], json!([{"role": ROLE, "members": [US]}]));
    }
}

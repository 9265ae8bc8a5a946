//! What the metadata servers of machines read and write.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::state::state;
use super::{key, networks};
use crate::kernel::cloud::Cloud;
use crate::kernel::faults::Faults;
use crate::kernel::store::After;
use crate::kernel::token::{Grant, LIFETIME};
use crate::kernel::{clock, files, key as service_account_key};
use crate::machines::{Asked, World};

fn instance_key(zone: &str, name: &str) -> String {
    key(&format!("zones/{zone}"), "instances", name)
}

impl World for Cloud {
    fn instance(&self, project: &str, zone: &str, name: &str) -> Option<Value> {
        (project == self.project).then(|| self.read(&instance_key(zone, name)))?
    }

    fn set_guest_attribute(
        &self,
        project: &str,
        zone: &str,
        name: &str,
        namespace: &str,
        key: &str,
        value: Option<String>,
    ) {
        if self.instance(project, zone, name).is_none() {
            return;
        }
        let record = format!("guest/{zone}/{name}/{namespace}/{key}");
        let instance = instance_key(zone, name);
        // The machine is told nothing of a sandbox that is ending.
        let _ = self.transact_now(|tx| {
            match value {
                Some(value) => tx.put(record, json!(value)),
                None => tx.remove(record),
            }
            tx.after(After::Changed(instance));
            Ok(())
        });
    }

    fn guest_attributes_served(&self, _project: &str, zone: &str, name: &str) -> bool {
        let key = instance_key(zone, name);
        !self.profile().guest_attributes_pace || state(self).guest_attributes.take(&key)
    }

    fn guest_attributes(
        &self,
        _project: &str,
        zone: &str,
        name: &str,
    ) -> BTreeMap<String, BTreeMap<String, String>> {
        let root = format!("guest/{zone}/{name}/");
        let mut attributes: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (key, value) in self.scan(&root) {
            if let Some((namespace, key)) = key[root.len()..].split_once('/') {
                let value = value.as_str().unwrap_or_default().to_owned();
                attributes.entry(namespace.to_owned()).or_default().insert(key.to_owned(), value);
            }
        }
        attributes
    }

    fn forwarded_ips(&self, _project: &str, zone: &str, name: &str) -> Vec<String> {
        state(self).balancer.forwarded_ips(&instance_key(zone, name))
    }

    fn faults(&self) -> Option<&Faults> {
        Some(&self.faults)
    }

    fn project_number(&self, _project: &str) -> u64 {
        self.number
    }

    fn firewalls(&self, _project: &str) -> Vec<Value> {
        self.scan("compute/global/firewalls/").into_iter().map(|(_, rule)| rule).collect()
    }

    fn firewall_policy(&self, _project: &str) -> Vec<Value> {
        let rules = self.read(networks::POLICY_KEY).unwrap_or_default();
        rules.as_array().cloned().unwrap_or_default()
    }

    fn powered_off(&self, _project: &str, zone: &str, name: &str) {
        let key = instance_key(zone, name);
        let _ = self.transact_now(|tx| {
            tx.edit(&key, |instance| {
                if instance["status"] == "RUNNING" {
                    instance["status"] = json!("TERMINATED");
                    instance["lastStopTimestamp"] = json!(clock::timestamp());
                }
            });
            tx.after(After::Changed(key));
            Ok(())
        });
    }

    fn asked(&self, asked: Asked) {
        state(self).asked.add(asked);
    }

    fn token(&self, zone: &str, name: &str, service_account_email: &str, scopes: &[String]) -> (String, u64) {
        let account = self.read(&format!("serviceAccounts/{service_account_email}"));
        let unique_id = account.as_ref().and_then(|each| each["uniqueId"].as_str()).unwrap_or_default();
        let grant = Grant {
            email: service_account_email.to_owned(),
            scopes: scopes.to_vec(),
            person: false,
            machine: Some(instance_key(zone, name)),
        };
        (self.tokens.issue(&grant, unique_id, LIFETIME), LIFETIME)
    }

    fn identity(&self, service_account_email: &str, audience: &str) -> Option<String> {
        let account = self.read(&format!("serviceAccounts/{service_account_email}"))?;
        let now = clock::seconds();
        let claims = json!({
            "iss": "https://accounts.google.com", "aud": audience, "azp": account["uniqueId"],
            "sub": account["uniqueId"], "email": service_account_email, "email_verified": true,
            "iat": now, "exp": now + LIFETIME,
        });
        service_account_key::sign(&files::key_file(&self.dir), &claims)
    }

    fn subscribe(&self, _project: &str, zone: &str, name: &str) -> watch::Receiver<u64> {
        let key = instance_key(zone, name);
        Self::subscribe(self, key)
    }
}

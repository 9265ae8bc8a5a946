//! How unkind the world is. Without a profile the sandbox does at once and without
//! exception what it is asked for; [`Profile::as_google`] is what Google does to its
//! callers, with waiting times that a test can afford. Each switch stands by itself,
//! so that a test can name the one that it is about.

use serde::{Deserialize, Serialize};

use super::consistency::Lag;

/// The switches; all of them off by default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Profile {
    /// How late the world sees a change.
    pub lag: Lag,
    /// Writes of Cloud Storage are limited: one a second of an object and of a bucket's
    /// metadata.
    pub storage_pace: bool,
    /// Guest attributes have the limit that Google's have.
    pub guest_attributes_pace: bool,
    /// Snapshots, and disks that are made of them, are limited: six an hour of a source.
    pub snapshots_pace: bool,
    /// Zones that aggregated lists cannot ask: they answer without them, and say so.
    pub unreachable: Vec<String>,
}

impl Profile {
    /// Everything that Google is known to do. What takes minutes there takes
    /// seconds here; what is counted is counted as there.
    pub fn as_google() -> Self {
        Self {
            storage_pace: true,
            guest_attributes_pace: true,
            snapshots_pace: true,
            unreachable: Vec::new(),
            lag: Lag {
                service_accounts_ms: 1000,
                grants_ms: 1500,
                services_ms: 500,
                secrets_ms: 200,
                default_network_ms: 2000,
                project_ms: 1500,
                flapping: true,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_switch_is_in_the_documentation() {
        let page = include_str!("../../../../docs/sandbox.md");
        let switches = serde_json::to_value(Profile::as_google()).unwrap();
        for switch in switches.as_object().unwrap().keys() {
            assert!(page.contains(&format!("\"{switch}\": ")), "docs/sandbox.md does not name {switch}");
        }
    }
}

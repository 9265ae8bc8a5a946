//! Which permissions of the project a deployment's resources take: to make them, to change
//! them and to delete them. Each kind says its own.
//!
//! Source: the "IAM permissions" of each method in Google's reference of its APIs.

use std::collections::BTreeSet;

use dorainfra_engine::Manifest;

use super::Kind;

/// The collection of some permissions, and their verbs.
pub type Permissions = (&'static str, &'static [&'static str]);

/// What takes permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Plan,
    Apply,
    Verify,
    Destroy,
}

impl Command {
    pub const ALL: [Self; 4] = [Self::Plan, Self::Apply, Self::Verify, Self::Destroy];

    pub fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Apply => "apply",
            Self::Verify => "verify",
            Self::Destroy => "destroy",
        }
    }

    /// Whether it takes one of those that [`permissions`] answers. `apply` takes all of them: it
    /// deletes, too, what it replaces and what is no longer wanted.
    pub fn takes(self, permission: &str) -> bool {
        /// Of the machines' state and the proof in the bucket.
        const PROOF: [&str; 12] = [
            "compute.addresses.get",
            "compute.forwardingRules.get",
            "compute.instances.get",
            "compute.instances.getGuestAttributes",
            "compute.instances.getSerialPortOutput",
            "secretmanager.secrets.get",
            "secretmanager.secrets.list",
            "secretmanager.versions.access",
            "secretmanager.versions.get",
            "storage.buckets.get",
            "storage.objects.get",
            "storage.objects.list",
        ];
        let (collection, verb) = permission.rsplit_once('.').unwrap_or_default();
        // An operation is what was begun by a write.
        let reads = ["get", "getIamPolicy", "list"].contains(&verb) && !collection.ends_with("Operations");
        match self {
            Self::Plan => reads,
            Self::Apply => true,
            Self::Verify => PROOF.contains(&permission),
            Self::Destroy => {
                // What was applied is stopped, written to its bucket, and let go of what uses it.
                let removes = [
                    "delete",
                    "destroy",
                    "removeResourcePolicies",
                    "setDeletionProtection",
                    "setIamPolicy",
                    // That it is being taken down is written there first.
                    "setLabels",
                    "setMetadata",
                    "stop",
                    "update",
                    "updatePolicy",
                    "use",
                ];
                reads
                    || removes.contains(&verb)
                    || collection.ends_with("Operations")
                    || PROOF.contains(&permission)
                    // The lease.
                    || permission == "storage.objects.create"
            }
        }
    }
}

/// The permissions that these take, in order. What a deployment has made before is looked
/// for among all kinds.
pub fn permissions(manifests: &[Manifest]) -> Vec<String> {
    of_kinds(&super::kinds(), manifests)
}

pub(super) fn of_kinds(kinds: &[Box<dyn Kind>], manifests: &[Manifest]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for kind in kinds {
        let own: Vec<&Manifest> =
            manifests.iter().filter(|manifest| manifest.kind == kind.spec().kind).collect();
        let rows = kind.permissions().iter();
        let all = rows.flat_map(|(collection, verbs)| verbs.iter().map(move |verb| (collection, *verb)));
        let needed = all.filter(|(_, verb)| !own.is_empty() || *verb == "list");
        found.extend(needed.map(|(collection, verb)| format!("{collection}.{verb}")));
        found.extend(own.iter().flat_map(|manifest| kind.permissions_of(manifest)));
    }
    found.into_iter().collect()
}

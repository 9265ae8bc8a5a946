//! Which permissions of the project a deployment's resources take: to make them, to change
//! them and to delete them. Each kind says its own.
//!
//! Source: the "IAM permissions" of each method in Google's reference of its APIs.

use std::collections::BTreeSet;

use dorainfra_engine::Manifest;

use super::Kind;

/// The collection of some permissions, and their verbs.
pub type Permissions = (&'static str, &'static [&'static str]);

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

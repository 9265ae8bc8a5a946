//! The collections of resources that are records, and which method is carried out where.

use super::{
    addresses, backend_services, catalogue, disks, firewalls, forwarding_rules, get, health_checks,
    instance_groups, instances, lists, networks, operations, resource_policies, set_labels, snapshots,
    subnetworks,
};
use crate::kernel::call::Handler;

/// Where resources are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Global,
    Region,
    Zone,
}

use Place::{Global, Region, Zone};

pub struct Collection {
    /// As methods' ids name it; some tell regional resources from global ones.
    ids: &'static [&'static str],
    /// As paths and keys name it.
    pub path: &'static str,
    /// `instance`, as the kind of a list has it.
    pub kind: &'static str,
    /// Where an aggregated list looks, in its order.
    pub places: &'static [Place],
    /// What is carried out besides what all collections have.
    methods: fn(&str) -> Option<Handler>,
}

const fn collection(
    path: &'static str,
    ids: &'static [&'static str],
    kind: &'static str,
    places: &'static [Place],
    methods: fn(&str) -> Option<Handler>,
) -> Collection {
    Collection { ids, path, kind, places, methods }
}

#[rustfmt::skip]
const COLLECTIONS: [Collection; 13] = [
    collection("addresses", &["addresses"], "address", &[Global, Region], addresses::handler),
    collection(
        "backendServices", &["backendServices", "regionBackendServices"], "backendService", &[Global, Region],
        backend_services::handler,
    ),
    collection("disks", &["disks"], "disk", &[Zone], disks::handler),
    collection("firewalls", &["firewalls"], "firewall", &[Global], firewalls::handler),
    collection(
        "forwardingRules", &["forwardingRules"], "forwardingRule", &[Global, Region], forwarding_rules::handler,
    ),
    collection(
        "healthChecks", &["healthChecks", "regionHealthChecks"], "healthCheck", &[Global, Region],
        health_checks::handler,
    ),
    // There are none.
    collection("instanceGroupManagers", &["instanceGroupManagers"], "instanceGroupManager", &[Zone], |_| None),
    collection("instanceGroups", &["instanceGroups"], "instanceGroup", &[Zone], instance_groups::handler),
    collection("instances", &["instances"], "instance", &[Zone], instances::handler),
    collection("networks", &["networks"], "network", &[Global], networks::handler),
    collection("resourcePolicies", &["resourcePolicies"], "resourcePolicy", &[Region], resource_policies::handler),
    collection("snapshots", &["snapshots"], "snapshot", &[Global], snapshots::handler),
    collection("subnetworks", &["subnetworks"], "subnetwork", &[Region], subnetworks::handler),
];

/// The collection that methods' ids name so.
pub fn named(id: &str) -> Option<&'static Collection> {
    COLLECTIONS.iter().find(|collection| collection.ids.contains(&id))
}

/// What carries out a method (`compute.disks.get`).
pub fn handler(method: &str) -> Option<Handler> {
    let (id, verb) = method.strip_prefix("compute.")?.split_once('.')?;
    if let Some(collection) = named(id) {
        return match verb {
            "get" => Some(get),
            "list" => Some(lists::list),
            "aggregatedList" => Some(lists::aggregated),
            "setLabels" => Some(set_labels),
            verb => (collection.methods)(verb),
        };
    }
    match verb {
        "get" if id.ends_with("Operations") => Some(operations::get),
        "list" if id.ends_with("Operations") => Some(lists::operations),
        "aggregatedList" if id.ends_with("Operations") => Some(lists::all_operations),
        verb => catalogue::handler(id, verb),
    }
}

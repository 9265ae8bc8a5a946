//! The kinds of Compute Engine that need no calls of their own.

use dorainfra_engine::KindSpec;

use super::super::links::Link;
use super::{Marked, ROW, Row, Scope};

const SPEC: KindSpec = ROW.spec;

pub const TABLE: &[Row] = &[
    Row {
        spec: KindSpec {
            kind: "compute.address",
            immutable: &["region", "addressType", "networkTier", "address", "subnetwork"],
            whole: &["labels"],
            ..SPEC
        },
        collection: "addresses",
        scope: Scope::Region,
        marked: Marked::Labels,
        labels_later: true,
        links: &[Link::new("subnetwork", Scope::Region, "subnetworks")],
        permissions: &[
            ("compute.addresses", &["create", "delete", "get", "list", "setLabels", "use"]),
            ("compute.regionOperations", &["get"]),
        ],
        terraform: "google_compute_address",
        ..ROW
    },
    Row {
        spec: KindSpec {
            kind: "compute.firewall",
            immutable: &["network", "direction"],
            sets: &[
                "sourceRanges",
                "targetServiceAccounts",
                "targetTags",
                "sourceServiceAccounts",
                "allowed",
                "denied",
            ],
            ..SPEC
        },
        collection: "firewalls",
        scope: Scope::Global,
        marked: Marked::Description,
        links: &[Link::new("network", Scope::Global, "networks")],
        permissions: &[
            ("compute.firewalls", &["create", "delete", "get", "list", "update"]),
            ("compute.networks", &["updatePolicy"]),
            ("compute.globalOperations", &["get"]),
        ],
        terraform: "google_compute_firewall",
        ..ROW
    },
    Row {
        spec: KindSpec { kind: "compute.network", immutable: &["autoCreateSubnetworks"], ..SPEC },
        collection: "networks",
        scope: Scope::Global,
        marked: Marked::Description,
        permissions: &[("compute.networks", &["create", "delete", "get", "list"])],
        terraform: "google_compute_network",
        ..ROW
    },
    Row {
        spec: KindSpec {
            kind: "compute.subnetwork",
            immutable: &["region", "network", "ipCidrRange"],
            ..SPEC
        },
        collection: "subnetworks",
        scope: Scope::Region,
        marked: Marked::Description,
        switches: &[("privateIpGoogleAccess", "setPrivateIpGoogleAccess")],
        links: &[Link::new("network", Scope::Global, "networks")],
        permissions: &[(
            "compute.subnetworks",
            &["create", "delete", "get", "list", "setPrivateIpGoogleAccess"],
        )],
        terraform: "google_compute_subnetwork",
        ..ROW
    },
    Row {
        spec: KindSpec { kind: "compute.resourcePolicy", immutable: &["region"], ..SPEC },
        collection: "resourcePolicies",
        scope: Scope::Region,
        marked: Marked::Description,
        permissions: &[("compute.resourcePolicies", &["create", "delete", "get", "list", "update", "use"])],
        terraform: "google_compute_resource_policy",
        ..ROW
    },
    Row {
        // Its members are `compute.instanceGroupMember`s.
        spec: KindSpec {
            kind: "compute.instanceGroup",
            immutable: &["zone", "network", "subnetwork", "description"],
            // Nobody is sent to a machine that is about to go.
            uses: &["compute.instance"],
            ..SPEC
        },
        collection: "instanceGroups",
        scope: Scope::Zone,
        marked: Marked::Description,
        links: &[
            Link::new("network", Scope::Global, "networks"),
            Link::new("subnetwork", Scope::Region, "subnetworks"),
        ],
        permissions: &[
            ("compute.instances", &["use"]),
            ("compute.instanceGroups", &["create", "delete", "get", "list", "update"]),
        ],
        terraform: "google_compute_instance_group",
        ..ROW
    },
    Row {
        spec: KindSpec { kind: "compute.healthCheck", immutable: &["region", "type"], ..SPEC },
        collection: "healthChecks",
        scope: Scope::Region,
        marked: Marked::Description,
        permissions: &[
            ("compute.healthChecks", &["list"]),
            ("compute.regionHealthChecks", &["create", "delete", "get", "list", "update"]),
        ],
        terraform: "google_compute_region_health_check",
        ..ROW
    },
    Row {
        spec: KindSpec {
            kind: "compute.backendService",
            immutable: &["region", "loadBalancingScheme", "network"],
            sets: &["healthChecks"],
            keyed: &[("backends", "group")],
            uses: &["compute.healthCheck", "compute.instanceGroup"],
            ..SPEC
        },
        collection: "backendServices",
        scope: Scope::Region,
        marked: Marked::Description,
        fingerprint: true,
        links: &[
            Link::new("network", Scope::Global, "networks"),
            Link::new("healthChecks", Scope::Region, "healthChecks"),
            Link::named("backends.group"),
        ],
        permissions: &[
            ("compute.instanceGroups", &["use"]),
            ("compute.regionHealthChecks", &["useReadOnly"]),
            ("compute.backendServices", &["list"]),
            ("compute.regionBackendServices", &["create", "delete", "get", "list", "update"]),
        ],
        terraform: "google_compute_region_backend_service",
        ..ROW
    },
    Row {
        spec: KindSpec {
            kind: "compute.forwardingRule",
            immutable: &[
                "region",
                "loadBalancingScheme",
                "IPProtocol",
                "ports",
                "IPAddress",
                "backendService",
                "network",
                "subnetwork",
            ],
            sets: &["ports"],
            whole: &["labels"],
            uses: &["compute.address", "compute.backendService"],
            ..SPEC
        },
        collection: "forwardingRules",
        scope: Scope::Region,
        marked: Marked::Labels,
        labels_later: true,
        links: &[
            Link::new("backendService", Scope::Region, "backendServices"),
            Link::new("network", Scope::Global, "networks"),
            Link::new("subnetwork", Scope::Region, "subnetworks"),
        ],
        permissions: &[
            ("compute.regionBackendServices", &["use"]),
            ("compute.forwardingRules", &["create", "delete", "get", "list", "setLabels"]),
        ],
        terraform: "google_compute_forwarding_rule",
        ..ROW
    },
];

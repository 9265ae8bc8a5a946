//! Which permissions of the project a deployment's resources take: to make them, to change
//! them and to delete them.
//!
//! Source: the "IAM permissions" of each method in Google's reference of its APIs.

use std::collections::BTreeSet;

use dorainfra_engine::Manifest;

/// A kind, the collection of its permissions, and the verbs.
type Row = (&'static str, &'static str, &'static [&'static str]);

const TABLE: &[Row] = &[
    ("serviceusage.services", "serviceusage.services", &["enable", "get"]),
    ("iam.serviceAccount", "iam.serviceAccounts", &["create", "delete", "get", "list", "update"]),
    (
        "storage.bucket",
        "storage.buckets",
        &["create", "delete", "get", "getIamPolicy", "list", "setIamPolicy", "update"],
    ),
    ("storage.bucket", "storage.objects", &["create", "delete", "get", "list"]),
    (
        "secretmanager.secret",
        "secretmanager.secrets",
        &["create", "delete", "get", "getIamPolicy", "list", "setIamPolicy", "update"],
    ),
    ("secretmanager.secret", "secretmanager.versions", &["access", "add", "destroy", "get", "list"]),
    ("compute.network", "compute.networks", &["create", "delete", "get", "list"]),
    (
        "compute.subnetwork",
        "compute.subnetworks",
        &["create", "delete", "get", "list", "setPrivateIpGoogleAccess"],
    ),
    ("compute.firewall", "compute.firewalls", &["create", "delete", "get", "list", "update"]),
    ("compute.firewall", "compute.networks", &["updatePolicy"]),
    ("compute.address", "compute.addresses", &["create", "delete", "get", "list", "setLabels", "use"]),
    (
        "compute.resourcePolicy",
        "compute.resourcePolicies",
        &["create", "delete", "get", "list", "update", "use"],
    ),
    (
        "compute.disk",
        "compute.disks",
        &[
            "addResourcePolicies",
            "create",
            "delete",
            "get",
            "list",
            "removeResourcePolicies",
            "resize",
            "setLabels",
            "use",
        ],
    ),
    ("compute.disk", "compute.snapshots", &["delete", "list"]),
    (
        "compute.instance",
        "compute.instances",
        &[
            "create",
            "delete",
            "get",
            "getGuestAttributes",
            "getSerialPortOutput",
            "list",
            "resume",
            "setDeletionProtection",
            "setLabels",
            "setMachineType",
            "setMetadata",
            "setServiceAccount",
            "setTags",
            "start",
            "stop",
        ],
    ),
    ("compute.instance", "iam.serviceAccounts", &["actAs"]),
    ("compute.instance", "compute.subnetworks", &["use"]),
    ("compute.instance", "compute.zoneOperations", &["get"]),
    ("compute.address", "compute.regionOperations", &["get"]),
    ("compute.firewall", "compute.globalOperations", &["get"]),
    ("compute.instanceGroup", "compute.instances", &["use"]),
    ("compute.backendService", "compute.instanceGroups", &["use"]),
    ("compute.backendService", "compute.regionHealthChecks", &["useReadOnly"]),
    ("compute.forwardingRule", "compute.regionBackendServices", &["use"]),
    ("compute.instanceGroup", "compute.instanceGroups", &["create", "delete", "get", "list", "update"]),
    ("compute.healthCheck", "compute.healthChecks", &["list"]),
    ("compute.healthCheck", "compute.regionHealthChecks", &["create", "delete", "get", "list", "update"]),
    ("compute.backendService", "compute.backendServices", &["list"]),
    (
        "compute.backendService",
        "compute.regionBackendServices",
        &["create", "delete", "get", "list", "update"],
    ),
    ("compute.forwardingRule", "compute.forwardingRules", &["create", "delete", "get", "list", "setLabels"]),
];

/// The permissions that these take, in order. What a deployment has made before is looked
/// for among all kinds.
pub fn permissions(manifests: &[Manifest]) -> Vec<String> {
    let kinds: BTreeSet<&str> = manifests.iter().map(|manifest| manifest.kind.as_str()).collect();
    let mut found: BTreeSet<String> = TABLE
        .iter()
        .flat_map(|(kind, collection, verbs)| verbs.iter().map(move |verb| (kind, collection, *verb)))
        .filter(|(kind, _, verb)| kinds.contains(*kind) || *verb == "list")
        .map(|(_, collection, verb)| format!("{collection}.{verb}"))
        .collect();
    let external = |manifest: &Manifest| {
        manifest.kind == "compute.instance"
            && manifest.body["networkInterfaces"][0]["accessConfigs"]
                .as_array()
                .is_some_and(|all| !all.is_empty())
    };
    // Of an account that is named the right may be on the account alone.
    let named = |manifest: &Manifest| {
        let email = manifest.body["serviceAccounts"][0]["email"].as_str().unwrap_or_default();
        manifest.kind == "compute.instance" && !email.starts_with('$')
    };
    if manifests.iter().any(named) {
        found.remove("iam.serviceAccounts.actAs");
    }
    if manifests.iter().any(external) {
        found.insert("compute.subnetworks.useExternalIp".into());
    }
    found.into_iter().collect()
}

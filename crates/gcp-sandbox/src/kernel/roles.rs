//! Roles that policies grant, and the permissions that each has.

use super::faults::glob_matches;

/// Roles that can be granted, each with what it allows: a permission, or all that
/// `*` stands for.
const ROLES: [(&str, &[&str]); 39] = [
    ("roles/owner", &["*"]),
    (
        "roles/editor",
        &[
            "compute.*",
            "storage.buckets.*",
            "iam.serviceAccounts.*",
            "serviceusage.*",
            "resourcemanager.projects.get",
        ],
    ),
    ("roles/viewer", &["resourcemanager.projects.get", "storage.buckets.get", "storage.buckets.list"]),
    ("roles/compute.admin", &["compute.*", "resourcemanager.projects.get"]),
    (
        "roles/compute.instanceAdmin.v1",
        &[
            "compute.instances.*",
            "compute.instanceGroups.*",
            "compute.disks.*",
            "compute.snapshots.*",
            "compute.addresses.*",
            "compute.subnetworks.*",
        ],
    ),
    (
        "roles/compute.networkAdmin",
        &[
            "compute.networks.*",
            "compute.subnetworks.*",
            "compute.addresses.*",
            "compute.forwardingRules.*",
            "compute.backendServices.*",
            "compute.regionBackendServices.*",
            "compute.healthChecks.*",
            "compute.regionHealthChecks.*",
            "compute.instanceGroups.use",
            "compute.firewalls.get",
            "compute.firewalls.list",
        ],
    ),
    (
        "roles/compute.loadBalancerAdmin",
        &[
            "compute.addresses.*",
            "compute.forwardingRules.*",
            "compute.backendServices.*",
            "compute.regionBackendServices.*",
            "compute.healthChecks.*",
            "compute.regionHealthChecks.*",
            "compute.instanceGroups.*",
            "compute.subnetworks.use",
        ],
    ),
    ("roles/compute.securityAdmin", &["compute.firewalls.*", "compute.networks.*"]),
    (
        "roles/compute.viewer",
        &["compute.*.get", "compute.*.list", "compute.*.getIamPolicy", "resourcemanager.projects.get"],
    ),
    (
        "roles/compute.networkUser",
        &["compute.networks.use", "compute.subnetworks.use", "compute.subnetworks.get"],
    ),
    ("roles/compute.storageAdmin", &["compute.disks.*", "compute.snapshots.*", "compute.resourcePolicies.*"]),
    (
        "roles/compute.osLogin",
        &["compute.instances.get", "compute.instances.list", "compute.instances.osLogin"],
    ),
    (
        "roles/compute.osAdminLogin",
        &[
            "compute.instances.get",
            "compute.instances.list",
            "compute.instances.osLogin",
            "compute.instances.osAdminLogin",
        ],
    ),
    ("roles/iap.tunnelResourceAccessor", &["iap.tunnelInstances.accessViaIAP"]),
    ("roles/browser", &["resourcemanager.projects.get", "resourcemanager.projects.getIamPolicy"]),
    ("roles/orgpolicy.policyViewer", &["orgpolicy.policy.get"]),
    (
        "roles/resourcemanager.projectIamAdmin",
        &[
            "resourcemanager.projects.get",
            "resourcemanager.projects.getIamPolicy",
            "resourcemanager.projects.setIamPolicy",
        ],
    ),
    (
        "roles/iam.serviceAccountTokenCreator",
        &["iam.serviceAccounts.get", "iam.serviceAccounts.list", "iam.serviceAccounts.getAccessToken"],
    ),
    (
        "roles/serviceusage.serviceUsageConsumer",
        &["serviceusage.services.get", "serviceusage.services.list", "serviceusage.services.use"],
    ),
    ("roles/logging.viewer", &["logging.logEntries.list"]),
    ("roles/monitoring.viewer", &["monitoring.timeSeries.list"]),
    (
        "roles/secretmanager.secretVersionManager",
        &[
            "secretmanager.versions.add",
            "secretmanager.versions.destroy",
            "secretmanager.versions.disable",
            "secretmanager.versions.enable",
            "secretmanager.versions.get",
            "secretmanager.versions.list",
        ],
    ),
    (
        "roles/storage.objectUser",
        &[
            "storage.objects.create",
            "storage.objects.delete",
            "storage.objects.get",
            "storage.objects.list",
            "storage.objects.move",
            "storage.objects.restore",
            "storage.objects.update",
        ],
    ),
    (
        "roles/iam.serviceAccountAdmin",
        &[
            "iam.serviceAccounts.create",
            "iam.serviceAccounts.delete",
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.list",
            "iam.serviceAccounts.update",
        ],
    ),
    (
        "roles/iam.serviceAccountUser",
        &["iam.serviceAccounts.actAs", "iam.serviceAccounts.get", "iam.serviceAccounts.list"],
    ),
    ("roles/logging.logWriter", &["logging.logEntries.create"]),
    ("roles/monitoring.metricWriter", &["monitoring.timeSeries.create"]),
    ("roles/secretmanager.admin", &["secretmanager.*"]),
    ("roles/secretmanager.secretAccessor", &["secretmanager.versions.access"]),
    ("roles/secretmanager.secretVersionAdder", &["secretmanager.versions.add"]),
    (
        "roles/secretmanager.viewer",
        &[
            "secretmanager.secrets.get",
            "secretmanager.secrets.list",
            "secretmanager.versions.get",
            "secretmanager.versions.list",
        ],
    ),
    ("roles/serviceusage.serviceUsageAdmin", &["serviceusage.*"]),
    ("roles/storage.admin", &["storage.*"]),
    ("roles/storage.objectAdmin", &["storage.objects.*"]),
    ("roles/storage.objectCreator", &["storage.objects.create"]),
    ("roles/storage.objectViewer", &["storage.objects.get", "storage.objects.list"]),
    (
        "roles/storage.legacyBucketOwner",
        &[
            "storage.buckets.get",
            "storage.buckets.getIamPolicy",
            "storage.buckets.setIamPolicy",
            "storage.buckets.update",
            "storage.objects.create",
            "storage.objects.delete",
            "storage.objects.list",
        ],
    ),
    ("roles/storage.legacyBucketReader", &["storage.buckets.get", "storage.objects.list"]),
    ("roles/storage.legacyObjectOwner", &["storage.objects.get", "storage.objects.update"]),
];

/// Whether there is a role of that name.
pub fn is_role(role: &str) -> bool {
    role == "roles/storage.legacyObjectReader" || ROLES.iter().any(|(name, _)| *name == role)
}

/// Whether a role has the permission.
pub fn grants(role: &str, permission: &str) -> bool {
    let role = if role == "roles/storage.legacyObjectReader" { "roles/storage.objectViewer" } else { role };
    let mut of_role = ROLES.iter().filter(|(name, _)| *name == role).flat_map(|(_, allowed)| allowed.iter());
    of_role.any(|allowed| glob_matches(allowed, permission))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_grant_what_google_says() {
        assert!(grants("roles/storage.objectAdmin", "storage.objects.delete"));
        assert!(!grants("roles/storage.objectAdmin", "storage.buckets.get"));
        assert!(grants("roles/secretmanager.secretAccessor", "secretmanager.versions.access"));
        assert!(!grants("roles/secretmanager.secretAccessor", "secretmanager.secrets.get"));
        assert!(!grants("roles/editor", "secretmanager.versions.access"));
        assert!(!grants("roles/nothing", "storage.objects.get"));
        assert!(grants("roles/compute.viewer", "compute.instances.list"));
        assert!(!grants("roles/compute.viewer", "compute.instances.create"));
    }
}

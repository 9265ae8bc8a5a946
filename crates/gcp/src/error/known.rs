//! What Google says to those who begin, as others met it or its documentation tells it, and
//! what to do about it. A row is told by its reason or by words that only this error has: an answer that is
//! not in here keeps Google's own words, and the advice of its status.

use super::ApiError;

/// One error that a first run meets.
#[derive(Debug)]
pub struct Row {
    /// `errors[].reason`, `ErrorInfo.reason` or an operation's code; empty: any.
    reason: &'static str,
    /// What the message has in it; empty: whatever it says.
    words: &'static str,
    pub hint: &'static str,
    /// Where it was seen.
    #[cfg_attr(not(test), expect(dead_code, reason = "for whoever reads the table, and its test"))]
    source: &'static str,
    /// Status, reason and message, as Google gives them.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the table's test"))]
    example: (u16, &'static str, &'static str),
}

/// The row of an error, where there is one.
pub fn row(error: &ApiError) -> Option<&'static Row> {
    ROWS.iter().find(|row| {
        (row.reason.is_empty() || row.reason == error.reason) && error.message.contains(row.words)
    })
}

const LINK_BILLING: &str = "the project has no billing account: \
    `gcloud billing projects link PROJECT --billing-account ACCOUNT` (`gcloud billing accounts list` shows yours)";
pub(super) const CHECK_PROJECT: &str = "check the project's id (`gcloud projects list`), and that these credentials may see it: \
    roles/browser, or any role in it. One that was just made is seen everywhere after some minutes";
pub(super) const SIGN_IN: &str = "interactively: `gcloud auth application-default login`; with a key file: \
    `export GOOGLE_APPLICATION_CREDENTIALS=KEY.json`; CI: workload identity federation, which needs no key \
    (google-github-actions/auth sets the variable; `gcloud iam workload-identity-pools create-cred-config` makes the \
    file elsewhere); without an account: `dorainfra sandbox start --detach`, then `--sandbox`";
const PERIMETER: &str = "a perimeter of VPC Service Controls refuses the call, and no other try will change that: give the \
    identifier in the message to an administrator of the perimeter, who can let these credentials in from where you are \
    (an ingress rule), or run this inside the perimeter";
const POLICIES: &str =
    "https://cloud.google.com/resource-manager/docs/organization-policy/org-policy-constraints";

#[rustfmt::skip]
static ROWS: &[Row] = &[
    // --- The project and its billing ---
    Row { reason: "UREQ_PROJECT_BILLING_NOT_FOUND", words: "", hint: LINK_BILLING,
        source: "https://github.com/kyegomez/zeta/issues/71",
        example: (400, "UREQ_PROJECT_BILLING_NOT_FOUND", "Billing account for project '5228' is not found. Billing must be enabled for activation of service(s) 'compute.googleapis.com' to proceed.") },
    Row { reason: "", words: "Billing must be enabled for activation", hint: LINK_BILLING,
        source: "https://github.com/GoogleCloudPlatform/deploystack/issues/52",
        example: (400, "FAILED_PRECONDITION", "Billing account for project '4488' is not found. Billing must be enabled for activation of service(s) 'compute.googleapis.com' to proceed.") },
    Row { reason: "UREQ_PROJECT_BILLING_NOT_OPEN", words: "", hint: "the project's billing account is closed: `gcloud billing accounts list`, and link one that is open",
        source: "https://cloud.google.com/service-usage/docs/reference/rest/v1/services/enable",
        example: (400, "UREQ_PROJECT_BILLING_NOT_OPEN", "Billing account for project '4488' is not open.") },
    Row { reason: "BILLING_DISABLED", words: "", hint: LINK_BILLING,
        source: "https://github.com/GoogleCloudPlatform/php-docs-samples/issues/1235",
        example: (403, "BILLING_DISABLED", "This API method requires billing to be enabled. Please enable billing on project #4488 by visiting https://console.developers.google.com/billing/enable?project=4488 then retry. If you enabled billing for this project recently, wait a few minutes for the action to propagate to our systems and retry.") },
    Row { reason: "", words: "has billing disabled. Please enable it", hint: LINK_BILLING,
        source: "https://github.com/GoogleCloudPlatform/java-docs-samples/issues/276",
        example: (403, "forbidden", "Project charming-module-137923 (#8084) has billing disabled. Please enable it.") },
    Row { reason: "", words: "The billing account for the owning project is disabled in state", hint: LINK_BILLING,
        source: "https://github.com/swiss-ai-center/a-guide-to-mlops/pull/102",
        example: (403, "accountDisabled", "The billing account for the owning project is disabled in state absent") },
    Row { reason: "", words: "is associated with an absent billing account", hint: LINK_BILLING,
        source: "https://github.com/hashicorp/terraform-provider-google/issues/5209",
        example: (403, "accountDisabled", "The project to be billed is associated with an absent billing account.") },
    Row { reason: "", words: "is associated with a closed billing account", hint: "the project's billing account is closed: `gcloud billing accounts list`, and link one that is open",
        source: "https://github.com/stanford-futuredata/noscope/issues/48",
        example: (403, "accountDisabled", "The project to be billed is associated with a closed billing account.") },
    Row { reason: "UREQ_TOS_NOT_ACCEPTED", words: "", hint: "somebody has to accept Google Cloud's terms of service once, in the console: https://console.cloud.google.com",
        source: "https://github.com/GAM-team/GAM/issues/1484",
        example: (400, "UREQ_TOS_NOT_ACCEPTED", "The terms of service 'cloud' for service(s) 'compute.googleapis.com' must be accepted. Please visit the Developers Console to accept the terms of service (https://console.developers.google.com/terms/cloud).") },
    Row { reason: "", words: "Callers must accept Terms of Service", hint: "somebody has to accept Google Cloud's terms of service once, in the console: https://console.cloud.google.com",
        source: "https://github.com/udx/wp-stateless/issues/190",
        example: (400, "FAILED_PRECONDITION", "Callers must accept Terms of Service") },
    Row { reason: "USER_PROJECT_DENIED", words: "", hint: "the caller needs `serviceusage.services.use` in that project: roles/serviceusage.serviceUsageConsumer has it",
        source: "https://github.com/google-github-actions/auth/issues/250",
        example: (403, "USER_PROJECT_DENIED", "Caller does not have required permission to use project xxx-yyy. Grant the caller the roles/serviceusage.serviceUsageConsumer role, …") },
    Row { reason: "", words: "Caller does not have required permission to use project", hint: "the caller needs `serviceusage.services.use` in that project: roles/serviceusage.serviceUsageConsumer has it",
        source: "https://github.com/skyplane-project/skyplane/issues/784",
        example: (403, "PERMISSION_DENIED", "Caller does not have required permission to use project p. Grant the caller …") },
    Row { reason: "", words: "Permission denied to enable service", hint: "the caller lacks `serviceusage.services.enable`: roles/serviceusage.serviceUsageAdmin has it; or ask somebody who has it to run `gcloud services enable SERVICE`",
        source: "https://github.com/polyseam/cndi/issues/96",
        example: (403, "AUTH_PERMISSION_DENIED", "Permission denied to enable service [cloudresourcemanager.googleapis.com]") },
    Row { reason: "CONSUMER_INVALID", words: "has been deleted", hint: "the project is being deleted: `gcloud projects undelete PROJECT`, or take another",
        source: "https://github.com/googleapis/google-api-php-client/issues/2422",
        example: (403, "CONSUMER_INVALID", "Project #4488 has been deleted.") },
    Row { reason: "CONSUMER_INVALID", words: "", hint: CHECK_PROJECT,
        source: "https://github.com/gemini-cli-extensions/nanobanana/issues/16",
        example: (403, "CONSUMER_INVALID", "Permission denied on resource project polynomial-coda-466015-e4.") },
    Row { reason: "", words: "Failed to find project", hint: CHECK_PROJECT,
        source: "https://github.com/MarkEdmondson1234/googleAuthR/issues/102",
        example: (404, "notFound", "Failed to find project acme-x") },
    Row { reason: "", words: "Unknown project id:", hint: CHECK_PROJECT,
        source: "https://github.com/forseti-security/forseti-security/pull/2878",
        example: (400, "invalid", "Unknown project id: 4488") },
    Row { reason: "", words: "not found or permission denied", hint: CHECK_PROJECT,
        source: "https://github.com/upspin/upspin/pull/589",
        example: (403, "PROJECT_DENIED", "Project 'acme-x' not found or permission denied.") },
    Row { reason: "", words: "Permission 'resourcemanager.projects.get' denied", hint: CHECK_PROJECT,
        source: "https://github.com/CrowdStrike/falcon-integration-gateway/pull/98",
        example: (403, "IAM_PERMISSION_DENIED", "Permission 'resourcemanager.projects.get' denied on resource '//cloudresourcemanager.googleapis.com/projects/acme-x' (or it may not exist).") },
    // --- Policies of the organisation ---
    Row { reason: "", words: "onstraint constraints/compute.vmExternalIpAccess", hint: "an organisation policy allows no external addresses: `access.external: false` (docs/google.md says how Mimir is reached then), of three machines `access.external_machines: false`, or ask for an exception for this machine",
        source: "https://github.com/gardener/gardener-extension-provider-gcp/issues/415",
        example: (412, "conditionNotMet", "Constraint constraints/compute.vmExternalIpAccess violated for project 1234. Add instance projects/p/zones/z/instances/i to the constraint to use external IP with it.") },
    Row { reason: "", words: "constraints/iam.disableServiceAccountCreation", hint: "an organisation policy allows nobody to make service accounts in this project: name one that exists in `mimir.service_account`, or have an administrator of policies lift it",
        source: POLICIES,
        example: (400, "FAILED_PRECONDITION", "Service account creation is not allowed on this project. constraints/iam.disableServiceAccountCreation") },
    Row { reason: "", words: "Service account creation is not allowed on this project", hint: "an organisation policy (iam.disableServiceAccountCreation) allows nobody to make service accounts in this project: name one that exists in `mimir.service_account`, or have an administrator of policies lift it",
        source: "https://cloud.google.com/iam/docs/troubleshoot-org-policies",
        example: (400, "FAILED_PRECONDITION", "Service account creation is not allowed on this project.") },
    Row { reason: "", words: "constraints/gcp.resourceLocations", hint: "an organisation policy allows only some locations: set `region`, `zones`, `mimir.bucket_location` and `secrets.locations` to allowed ones",
        source: "https://github.com/cloudfoundry/bosh-bootloader/issues/513",
        example: (412, "conditionNotMet", "Location us violates constraint constraints/gcp.resourceLocations on the resource projects/acme-x/global/images/i.") },
    Row { reason: "", words: "onstraint constraints/compute.trustedImageProjects", hint: "an organisation policy allows images of named projects only: `projects/debian-cloud` has to be among them",
        source: POLICIES,
        example: (412, "conditionNotMet", "Constraint constraints/compute.trustedImageProjects violated for project acme-x. Use of images from project debian-cloud is prohibited.") },
    Row { reason: "", words: "onstraint constraints/compute.requireShieldedVm", hint: "the machine is a Shielded VM; a template of yours (`templates_dir`) or another image must not take that away",
        source: "https://github.com/fortinet/fortigate-terraform-deploy/issues/34",
        example: (412, "conditionNotMet", "Constraint constraints/compute.requireShieldedVm violated for project projects/p. The boot disk's 'initialize_params.source_image' field specifies a non-Shielded image") },
    Row { reason: "", words: "onstraint constraints/compute.restrictLoadBalancerCreationForTypes", hint: "an organisation policy allows no load balancer of this type: `mimir.topology: single` needs none; with `access.external: false` it is an internal one",
        source: "https://github.com/GoogleCloudPlatform/kubernetes-engine-samples/issues/143",
        example: (412, "conditionNotMet", "Constraint constraints/compute.restrictLoadBalancerCreationForTypes violated for projects/acme-x. Forwarding Rule projects/acme-x/regions/us-east1/forwardingRules/f of type EXTERNAL_NETWORK_TCP_UDP is not allowed.") },
    Row { reason: "", words: "onstraint constraints/compute.disableGuestAttributesAccess", hint: "an organisation policy closes guest attributes: the machine's state is read from its serial port then; where a machine is refused for its `enable-guest-attributes`, a template of yours (`templates_dir`) can leave that out",
        source: POLICIES,
        example: (412, "conditionNotMet", "Constraint constraints/compute.disableGuestAttributesAccess violated for project 1234.") },
    Row { reason: "", words: "constraints/gcp.restrictNonCmekServices", hint: "an organisation policy asks for keys of your own (CMEK), which dorainfra does not set: a template of yours can (`templates_dir`), or an exception for this project",
        source: "https://github.com/GoogleCloudPlatform/compute-image-import/issues/173",
        example: (412, "conditionNotMet", "Constraint constraints/gcp.restrictNonCmekServices violated for project acme-x attempting to create a resource not protected by CMEK crypto key") },
    Row { reason: "", words: "do not belong to a permitted customer", hint: "an organisation policy (iam.allowedPolicyMemberDomains) allows grants to named organisations only: the project's own service accounts have to be among them",
        source: "https://github.com/terraform-google-modules/terraform-example-foundation/issues/1454",
        example: (400, "failedPrecondition", "One or more users named in the policy do not belong to a permitted customer.") },
    Row { reason: "SECURITY_POLICY_VIOLATED", words: "", hint: PERIMETER,
        source: "https://github.com/cloudquery/cloudquery/issues/1062",
        example: (403, "SECURITY_POLICY_VIOLATED", "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: abc") },
    Row { reason: "", words: "Request is prohibited by organization's policy", hint: PERIMETER,
        source: "https://github.com/GoogleCloudPlatform/terraform-google-cloud-functions/issues/109",
        example: (403, "forbidden", "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: VQQnKfXtZ16NHnOm") },
    Row { reason: "", words: "vpcServiceControlsUniqueIdentifier", hint: PERIMETER,
        source: "https://cloud.google.com/vpc-service-controls/docs/troubleshooting",
        example: (403, "PERMISSION_DENIED", "Access denied by organization's policy. vpcServiceControlsUniqueIdentifier: VQQnKfXtZ16NHnOm") },
    Row { reason: "", words: "onstraint constraints/", hint: "an organisation policy refuses this, and no other try will change that: the message names the constraint; an administrator of policies can make an exception for the project",
        source: "https://github.com/terraform-google-modules/terraform-google-project-factory/issues/827",
        example: (412, "conditionNotMet", "Constraint constraints/compute.requireOsLogin violated for project acme-x.") },
    // --- Network ---
    Row { reason: "", words: "The referenced network resource cannot be found", hint: "the project has no network of that name (new projects may have no `default`): `network.create: true` makes one, `network.name` names another; just after the Compute API was enabled it takes a minute",
        source: "https://github.com/mitchellh/vagrant-google/issues/231",
        example: (400, "invalid", "Invalid value for field 'resource.networkInterfaces[0].network': 'global/networks/default'. The referenced network resource cannot be found.") },
    Row { reason: "", words: "Subnetwork should be specified for custom subnetmode network", hint: "that network is in custom mode: name its subnet in `network.subnet`",
        source: "https://github.com/hashicorp/terraform-provider-google/issues/175",
        example: (400, "invalid", "Invalid value for field 'resource.networkInterfaces[0]': ''. Subnetwork should be specified for custom subnetmode network") },
    Row { reason: "", words: "must specify a subnet if the network resource is in custom subnet mode", hint: "that network is in custom mode: name its subnet in `network.subnet`",
        source: "https://github.com/apache/beam/pull/3154",
        example: (400, "invalid", "Invalid value for field 'resource.networkInterfaces[0].subnetwork': ''. Network interface must specify a subnet if the network resource is in custom subnet mode.") },
    Row { reason: "", words: "No default subnetwork was found in the region", hint: "the network has no subnet in `region`: take another region, name a subnet (`network.subnet`), or `network.create: true`",
        source: "https://github.com/GoogleCloudDataproc/bdutil/issues/106",
        example: (400, "invalid", "Invalid value for field 'resource.networkInterfaces[0]': ''. No default subnetwork was found in the region of the instance.") },
    Row { reason: "", words: "Required 'compute.subnetworks.use' permission", hint: "that subnet is somebody else's (a shared network): ask for roles/compute.networkUser on it",
        source: "https://github.com/hashicorp/terraform-provider-google/issues/4961",
        example: (403, "forbidden", "Required 'compute.subnetworks.use' permission for 'projects/host/regions/asia-east1/subnetworks/s'") },
    Row { reason: "", words: "is already being used by another resource", hint: "another machine holds that address: free it, or delete what is left of an earlier try",
        source: "https://github.com/GoogleCloudPlatform/compute-image-tools/pull/659",
        example: (0, "IP_IN_USE_BY_ANOTHER_RESOURCE", "IP '10.128.3.140/31' is already being used by another resource.") },
    // --- Machines and disks ---
    Row { reason: "", words: "Machine type with name", hint: "that zone does not have this machine type: `gcloud compute machine-types list --zones ZONE` shows what it has; set `mimir.machine_type` or `zones`",
        source: "https://github.com/GoogleCloudPlatform/bank-of-anthos/issues/1234",
        example: (400, "invalid", "Invalid value for field 'resource.machineType': 'https://compute.googleapis.com/compute/v1/projects/acme-x/zones/europe-west8-a/machineTypes/n1-standard-1'. Machine type with name 'n1-standard-1' does not exist in zone 'europe-west8-a'.") },
    Row { reason: "", words: "features are not compatible for creating instance", hint: "this machine series does not take that type of disk: newer series take Hyperdisk only (`mimir.disk_type: hyperdisk-balanced`), e2 and n1 take no Hyperdisk",
        source: "https://github.com/astronomer/astronomer/issues/2463",
        example: (0, "UNSUPPORTED_OPERATION", "[pd-balanced, c4-standard-16] features are not compatible for creating instance.") },
    Row { reason: "", words: "disk type cannot be used by", hint: "this machine series does not take that type of disk: newer series take Hyperdisk only (`mimir.disk_type: hyperdisk-balanced`), e2 and n1 take no Hyperdisk",
        source: "https://cloud.google.com/compute/docs/general-purpose-machines",
        example: (400, "badRequest", "pd-balanced disk type cannot be used by c4-standard-16 machine type.") },
    Row { reason: "", words: "Unknown zone", hint: "there is no such zone: `gcloud compute zones list` has their names; set `region` and `zones`",
        source: "https://github.com/inspec/inspec-gcp/issues/301",
        example: (400, "invalid", "Invalid value for field 'zone': 'us-east1'. Unknown zone.") },
    Row { reason: "", words: "Unknown region", hint: "there is no such region: `gcloud compute regions list` has their names; set `region`",
        source: "https://github.com/hashicorp/terraform-provider-google/issues/1348",
        example: (400, "invalid", "Invalid value for field 'region': 'europe-north1'. Unknown region.") },
    Row { reason: "", words: "protected against deletion", hint: "somebody protected it: `destroy` and a replacement lift the protection of what is ours; else `gcloud compute instances update NAME --no-deletion-protection`",
        source: "https://github.com/hashicorp/terraform-provider-google/pull/1211",
        example: (400, "invalidResourceUsage", "Invalid resource usage: 'Resource cannot be deleted if it's protected against deletion.'.") },
    Row { reason: "resourceNotReady", words: "", hint: "something else of the same network or machine is being changed: try again in a minute",
        source: "https://github.com/GoogleCloudPlatform/magic-modules/pull/13881",
        example: (400, "resourceNotReady", "The resource 'projects/acme-x/global/networks/n' is not ready") },
    Row { reason: "", words: "Too frequent operations from the source resource",
        hint: "Compute Engine takes six snapshots of a disk an hour, and makes six disks an hour of one snapshot: \
            try again later, or from another snapshot (`gcloud compute snapshots list`)",
        source: "https://github.com/kubernetes-sigs/gcp-compute-persistent-disk-csi-driver/pull/1847",
        example: (0, "RESOURCE_OPERATION_RATE_EXCEEDED", "Operation rate exceeded for resource 'projects/acme-x/global/snapshots/s'. Too frequent operations from the source resource.") },
    Row { reason: "RESOURCE_OPERATION_RATE_EXCEEDED", words: "", hint: "too many changes of one resource at once: try again in a minute",
        source: "https://cloud.google.com/compute/docs/api-rate-limits",
        example: (0, "RESOURCE_OPERATION_RATE_EXCEEDED", "Operation rate exceeded for resource 'projects/p/zones/z/instances/i'.") },
    // --- Storage ---
    Row { reason: "", words: "The requested bucket name is not available", hint: "bucket names are the whole world's, and somebody has this one: set `mimir.bucket`",
        source: "https://github.com/percona/mongo_terraform_ansible/issues/24",
        example: (409, "conflict", "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.") },
    Row { reason: "", words: "succeeded and you already own it", hint: "a bucket of this name is in a project of yours already: run the command again; where it is not this deployment's, set `mimir.bucket` to another name",
        source: "https://github.com/substratusai/runbooks/issues/31",
        example: (409, "conflict", "Your previous request to create the named bucket succeeded and you already own it.") },
    Row { reason: "", words: "Invalid bucket name", hint: "set `mimir.bucket` to 3 to 63 lower-case letters, digits and hyphens, without `google` in it",
        source: "https://github.com/googleapis/nodejs-storage/issues/1652",
        example: (400, "invalid", "Invalid bucket name: 'mybucketname'") },
    Row { reason: "", words: "exceeded the rate limit for object mutation operations", hint: "Cloud Storage takes about one write of an object a second: try again",
        source: "https://github.com/pingcap/tiflow/issues/9602",
        example: (429, "rateLimitExceeded", "The object b/o exceeded the rate limit for object mutation operations (create, update, and delete). Please reduce your request rate. See https://cloud.google.com/storage/docs/gcs429.") },
    Row { reason: "", words: "exceeded the rate limit for creating and deleting buckets", hint: "Cloud Storage makes or deletes a bucket every two seconds: try again",
        source: "https://github.com/googleapis/google-cloud-python/pull/2161",
        example: (429, "rateLimitExceeded", "The project exceeded the rate limit for creating and deleting buckets.") },
    Row { reason: "", words: "does not have storage.buckets.create access", hint: "the caller lacks `storage.buckets.create`; roles/storage.admin has it",
        source: "https://github.com/data-integrations/google-cloud/pull/1503",
        example: (403, "forbidden", "a@b.c does not have storage.buckets.create access to the Google Cloud project. Permission 'storage.buckets.create' denied on resource (or it may not exist).") },
    // --- Identities ---
    Row { reason: "", words: "User not authorized to act as service account", hint: "the caller lacks `iam.serviceAccounts.actAs`; roles/iam.serviceAccountUser has it",
        source: "https://github.com/ankurchavda/streamify/issues/7",
        example: (400, "badRequest", "User not authorized to act as service account '4488-compute@developer.gserviceaccount.com'. To act as a service account, user must have one of [Owner, Editor, Service Account Actor] roles. See https://cloud.google.com/iam/docs/understanding-service-accounts for additional details.") },
    Row { reason: "", words: "The user does not have access to service account", hint: "the caller lacks `iam.serviceAccounts.actAs`; roles/iam.serviceAccountUser has it",
        source: "https://github.com/GoogleCloudPlatform/pubsec-declarative-toolkit/issues/607",
        example: (0, "SERVICE_ACCOUNT_ACCESS_DENIED", "The user does not have access to service account 'a@acme-x.iam.gserviceaccount.com'.  User: 'b@acme-y.iam.gserviceaccount.com'.  Ask a project owner to grant you the iam.serviceAccountUser role on the service account") },
    Row { reason: "", words: "gserviceaccount.com does not exist", hint: "a service account that was just made is known everywhere after a minute: run the command again. One that `mimir.service_account` names has to be there: `gcloud iam service-accounts list`",
        source: "https://github.com/hashicorp/vault-plugin-secrets-gcp/issues/237",
        example: (400, "badRequest", "Service account a@acme-x.iam.gserviceaccount.com does not exist.") },
    Row { reason: "", words: "Maximum number of service accounts on project reached", hint: "the project has as many service accounts as it may have (100, unless more were asked for): delete those that nobody uses (`gcloud iam service-accounts list`), ask for more of the quota (IAM & Admin → Quotas, Service Account Count), or name one that exists in `mimir.service_account`",
        source: "https://cloud.google.com/iam/quotas",
        example: (429, "rateLimitExceeded", "Maximum number of service accounts on project reached.") },
    Row { reason: "ACCESS_TOKEN_SCOPE_INSUFFICIENT", words: "", hint: "these credentials were made for less than this: `gcloud auth application-default login` makes full ones; a machine's account needs the scope cloud-platform",
        source: "https://github.com/analogdotnow/Analog/issues/296",
        example: (403, "ACCESS_TOKEN_SCOPE_INSUFFICIENT", "Request had insufficient authentication scopes.") },
    Row { reason: "ACCESS_TOKEN_EXPIRED", words: "", hint: "a token that was just made has ended already: this machine's clock is wrong (`timedatectl`)",
        source: "https://github.com/googleapis/google-cloud-python/issues/15080",
        example: (401, "ACCESS_TOKEN_EXPIRED", "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.") },
    Row { reason: "", words: "Key creation is not allowed on this service account", hint: "no key is needed: `gcloud auth application-default login`, or workload identity in CI",
        source: "https://github.com/google/create-service-account/issues/21",
        example: (400, "FAILED_PRECONDITION", "Key creation is not allowed on this service account.") },
];

/// Whether it stays so for longer than anybody waits, although its status is that of a
/// limit on how fast one may ask: something is used up, not asked for too often.
pub fn stays(error: &ApiError) -> bool {
    const USED_UP: [&str; 4] = ["Maximum number of ", "maximum number of ", " has been reached", " per day"];
    error.status == 429 && USED_UP.iter().any(|words| error.message.contains(words))
}

/// What of a quota does with less, by the beginning or the end of its name; the first that fits.
#[rustfmt::skip]
static QUOTAS: &[(&str, &str)] = &[
    // https://github.com/GoogleCloudPlatform/ai-on-gke/issues/849
    ("CPUS_ALL_REGIONS", "a new or free-trial project may have few CPUs in all: take a smaller `mimir.machine_type`"),
    // https://cloud.google.com/compute/resource-usage
    ("CPUS", "take a smaller `mimir.machine_type`, or one of another series"),
    ("INSTANCES", "delete machines that nobody uses (`gcloud compute instances list`)"),
    // https://github.com/kelseyhightower/kubernetes-the-hard-way/issues/47
    ("IN_USE_ADDRESSES", "`access.external: false` needs no external address"),
    // https://github.com/cloudfoundry/bosh-google-cpi-release/issues/168
    ("STATIC_ADDRESSES", "release addresses that nobody uses (`gcloud compute addresses list`)"),
    // https://github.com/openshift/installer/issues/5936
    ("SSD_TOTAL_GB", "take smaller disks (`mimir.disk_gb`) or `mimir.disk_type: pd-standard`, or delete disks that nobody uses (`gcloud compute disks list`)"),
    // https://github.com/kubeflow/kubeflow/issues/2401
    ("TOTAL_GB", "take smaller disks (`mimir.disk_gb`) or another `mimir.disk_type`, or delete disks that nobody uses (`gcloud compute disks list`)"),
    ("SNAPSHOTS", "delete snapshots that nobody needs (`gcloud compute snapshots list`)"),
    // https://github.com/kyma-project/test-infra/issues/677
    ("FIREWALLS", "delete firewall rules that nobody needs (`gcloud compute firewall-rules list`)"),
    ("NETWORKS", "delete networks that nobody uses, or take one that is there: `network.create: false` and `network.name`"),
    ("FORWARDING_RULES", "delete load balancers that nobody uses (`gcloud compute forwarding-rules list`); `mimir.topology: single` needs none"),
    ("BACKEND_SERVICES", "delete load balancers that nobody uses (`gcloud compute backend-services list`); `mimir.topology: single` needs none"),
    ("HEALTH_CHECKS", "delete health checks that nobody uses (`gcloud compute health-checks list`); `mimir.topology: single` needs none"),
];

/// What to do where a quota is used up, as a message says it.
pub(super) fn used_up(message: &str) -> String {
    let quota = message.split_once("uota '").and_then(|(_, rest)| rest.split('\'').next());
    more_or_less(quota, message.contains(" in region "))
}

/// What to do where there is too little of a quota: more of it, or less. Another region helps only
/// where the limit is a region's.
pub fn more_or_less(quota: Option<&str>, of_region: bool) -> String {
    let less = quota
        .and_then(|quota| QUOTAS.iter().find(|(name, _)| quota.starts_with(name) || quota.ends_with(name)));
    let mut hint = match quota {
        Some(quota) => format!("ask for more of the quota {quota} (IAM & Admin → Quotas)"),
        None => "ask for more of that quota (IAM & Admin → Quotas)".to_owned(),
    };
    if let Some((_, less)) = less {
        hint = format!("{less}; or {hint}");
    }
    if of_region {
        hint.push_str(", or take another `region`");
    }
    hint
}

const UNTRUSTED: &str = "who answered there is not trusted by this machine, perhaps a proxy that looks into what it \
    passes on: name its authority's certificates in SSL_CERT_FILE";

pub(super) const PROXY: &str = "see that the proxy runs, and that the variable names it rightly; NO_PROXY=googleapis.com \
    goes without it";

/// The same for what the token endpoint says, which is no API: how it goes on.
pub fn credentials(message: &str) -> Option<&'static str> {
    LOGINS.iter().find(|(words, _)| message.contains(words)).map(|(_, hint)| *hint)
}

const LOGINS: &[(&str, &str)] = &[
    // https://github.com/googleapis/python-storage/issues/1387
    (
        "Token must be a short-lived token",
        "this machine's clock is wrong: set it (`timedatectl set-ntp true`), and try again",
    ),
    // https://cloud.google.com/docs/authentication/troubleshoot-adc
    ("invalid_rapt", "the organisation wants to see you again: `gcloud auth application-default login`"),
    (
        "workforce pool",
        "`gcloud auth application-default login --impersonate-service-account=ACCOUNT`, or a key file in \
         GOOGLE_APPLICATION_CREDENTIALS",
    ),
    (
        "`credential_source` is missing",
        "whoever gives this machine its identity (the CI, for example) has not written that file: see that the \
         job may ask for an identity token, or sign in with `gcloud auth application-default login`",
    ),
    (
        "roxy authorization required",
        "the proxy wants a name and a password: HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT",
    ),
    ("UnknownIssuer", UNTRUSTED),
    ("unknown issuer", UNTRUSTED),
    (
        "failed to parse private key",
        "the file is damaged: make another (`gcloud iam service-accounts keys create`)",
    ),
    (
        "account not found",
        "the account of that key was deleted: take a key of another, or `gcloud auth application-default login`",
    ),
    ("expired or revoked", "the login has ended: `gcloud auth application-default login`"),
    (
        "Invalid JWT Signature",
        "the key was deleted or replaced: make another (`gcloud iam service-accounts keys create`)",
    ),
    // Last: what others say of it is more.
    ("by the proxy ", PROXY),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error(status: u16, reason: &str, message: &str) -> ApiError {
        if status == 0 {
            let operation = json!({"error": {"errors": [{"code": reason, "message": message}]}});
            return ApiError::of_operation("insert", &operation).unwrap();
        }
        let body = json!({"error": {"code": status, "message": message, "errors": [{"reason": reason}]}});
        ApiError::of("POST x", status, &body.to_string())
    }

    #[test]
    fn each_error_is_known_by_its_own_row() {
        assert!(ROWS.len() >= 40, "{}", ROWS.len());
        for expected in ROWS {
            let (status, reason, message) = expected.example;
            let found = row(&error(status, reason, message));
            assert!(found.is_some_and(|found| std::ptr::eq(found, expected)), "{message}: {found:?}");
            assert_eq!(error(status, reason, message).hint().as_deref(), Some(expected.hint));
            assert!(expected.source.starts_with("https://"), "{}", expected.source);
            assert!(!(expected.reason.is_empty() && expected.words.is_empty()));
        }
    }

    #[test]
    fn what_only_looks_like_one_gets_the_advice_of_its_status_only() {
        for (status, reason, message) in [
            (404, "notFound", "The resource 'projects/p/zones/z/instances/project-x' was not found"),
            (404, "notFound", "The specified bucket does not exist."),
            (400, "invalid", "Invalid value for field 'resource.name': 'project'."),
            (500, "backendError", "Backend Error"),
        ] {
            assert!(row(&error(status, reason, message)).is_none(), "{message}");
            let hint = error(status, reason, message).hint().unwrap();
            assert_eq!(Some(hint), error(status, reason, "something else").hint(), "{message}");
        }
        // A stale fingerprint is somebody else's write, a constraint is a policy.
        let fingerprint = "Supplied fingerprint does not match current metadata fingerprint.";
        assert!(error(412, "conditionNotMet", fingerprint).is_stale());
        let policy =
            error(412, "conditionNotMet", "Constraint constraints/compute.vmExternalIpAccess violated.");
        assert!(!policy.is_stale());
        assert_eq!(policy.constraint(), Some("compute.vmExternalIpAccess"));
    }

    #[test]
    fn a_quota_that_is_used_up_is_told_with_what_does_with_less_of_it() {
        let hint = |message: &str| {
            let told = error(403, "quotaExceeded", message).hint().unwrap();
            assert_eq!(error(0, "QUOTA_EXCEEDED", message).hint().unwrap(), told);
            told
        };
        for (quota, key) in [
            ("CPUS", "`mimir.machine_type`"),
            ("C4_CPUS", "`mimir.machine_type`"),
            ("IN_USE_ADDRESSES", "`access.external: false`"),
            ("STATIC_ADDRESSES", "gcloud compute addresses list"),
            ("SSD_TOTAL_GB", "`mimir.disk_gb`"),
            ("DISKS_TOTAL_GB", "`mimir.disk_gb`"),
            ("HDB_TOTAL_GB", "`mimir.disk_gb`"),
        ] {
            let told = hint(&format!("Quota '{quota}' exceeded.  Limit: 8.0 in region europe-west1."));
            assert!(told.contains(key) && told.contains(&format!("the quota {quota}")), "{told}");
            assert!(told.ends_with("or take another `region`"), "{told}");
        }
        for (quota, words) in [
            ("FIREWALLS", "gcloud compute firewall-rules list"),
            ("CPUS_ALL_REGIONS", "`mimir.machine_type`"),
            ("SNAPSHOTS", "gcloud compute snapshots list"),
            ("SOMETHING_NEW", "ask for more of the quota SOMETHING_NEW"),
        ] {
            let told = hint(&format!("Quota '{quota}' exceeded. Limit: 100.0 globally."));
            assert!(told.contains(words) && !told.contains("`region`"), "{told}");
        }
        assert!(!hint("Quota 'FIREWALLS' exceeded. Limit: 100.0 globally.").contains("machine type"));
    }

    #[test]
    fn what_is_used_up_is_not_tried_again_and_what_is_too_fast_is() {
        for used_up in [
            "Maximum number of service accounts on project reached.",
            "Maximum number of services allowed for project p has been reached: limit=500",
            "Quota exceeded for quota metric 'Writes' and limit 'Writes per day' of service 's'",
        ] {
            assert!(!error(429, "rateLimitExceeded", used_up).is_transient(), "{used_up}");
            let hint = error(429, "rateLimitExceeded", used_up).hint().unwrap();
            assert!(!hint.contains("wait a minute"), "{hint}");
        }
        for fast in [
            "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute' of service 'compute.googleapis.com'",
            "The project exceeded the rate limit for creating and deleting buckets.",
            "Too many requests",
        ] {
            assert!(error(429, "rateLimitExceeded", fast).is_transient(), "{fast}");
        }
    }

    #[test]
    fn an_operation_that_was_refused_for_good_is_not_said_to_pass() {
        for code in ["INVALID_USAGE", "UNSUPPORTED_OPERATION", "INVALID_FIELD_VALUE", "SOMETHING_NEW"] {
            let hint = error(0, code, "Disk is already attached.").hint().unwrap();
            assert!(
                hint.contains("will be refused again") && !hint.contains("run the command again"),
                "{code}: {hint}"
            );
        }
        for code in ["INTERNAL_ERROR", "TIMEOUT", "RESOURCE_NOT_READY", "OPERATION_CANCELED_BY_USER"] {
            let hint = error(0, code, "Internal error. Please try again.").hint().unwrap();
            assert!(hint.contains("run the command again"), "{code}: {hint}");
        }
    }

    #[test]
    fn no_words_of_a_refused_login_are_hidden_by_others() {
        for (index, (words, hint)) in LOGINS.iter().enumerate() {
            assert_eq!(credentials(words), Some(*hint), "{index}: {words}");
        }
    }

    #[test]
    fn a_refused_login_says_how_to_go_on() {
        let clock = "invalid_grant: Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.";
        assert!(credentials(clock).unwrap().contains("clock"));
        assert!(credentials("invalid_grant: reauth related error (invalid_rapt)").is_some());
        assert_eq!(credentials("connection refused"), None);
    }
}

//! What rules a project from outside of it: its organisation's policies, its billing, the
//! networks and images that others keep. Told before anything is made, with the key that
//! obeys; what may not be read is said to be so.

use std::os::unix::fs::PermissionsExt as _;

use crate::deployment::{Deployment, MACHINE, Run};
use dorainfra_deploy::resource::Command;
use serde_json::{Value, json};

/// A deployment of which the services are on, and a disk is there: policies can be read.
fn begun() -> Deployment {
    let deployment = Deployment::of_records();
    deployment.run(&["--sandbox", "apply", "--yes", "--target", "compute.disk/dorainfra-data"]).ends_with(0);
    deployment
}

fn enforced(constraint: &str) -> Value {
    json!({"constraint": format!("constraints/{constraint}"), "booleanPolicy": {"enforced": true}})
}

fn denied(constraint: &str) -> Value {
    json!({"constraint": format!("constraints/{constraint}"), "listPolicy": {"allValues": "DENY"}})
}

fn locations(allowed: &[&str]) -> Value {
    json!({"constraint": "constraints/gcp.resourceLocations", "listPolicy": {"allowedValues": allowed}})
}

fn rule(deployment: &Deployment, policies: &[Value]) {
    deployment.control("PUT", "policies", Some(json!(policies)));
}

#[track_caller]
fn tells(run: &Run, words: &[&str]) {
    let all = format!("{}{}", run.stdout, run.stderr);
    for word in words {
        assert!(all.contains(word), "`{word}` is not in:\n{all}");
    }
}

fn set<'a>(keys: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
    let keys = keys.iter().flat_map(|key| ["--set", key]);
    ["--sandbox"].into_iter().chain(keys).chain(command.iter().copied()).collect()
}

#[test]
fn a_policy_that_would_refuse_is_told_by_the_plan_with_the_key_that_obeys() {
    let deployment = begun();
    let writes = deployment.writes().len();
    for (policy, keys, words) in [
        (
            denied("compute.vmExternalIpAccess"),
            &[][..],
            &["compute.vmExternalIpAccess", "`access.external: false`"][..],
        ),
        (
            enforced("iam.disableServiceAccountCreation"),
            &[],
            &["iam.disableServiceAccountCreation", "`mimir.service_account`"],
        ),
        (locations(&["in:us-locations"]), &[], &["gcp.resourceLocations", "europe-west1-b", "`region`"]),
        (locations(&["in:europe-west1-locations"]), &[], &["global", "`secrets.locations`"]),
        (
            locations(&["in:europe-west1-locations"]),
            &["secrets.locations=[europe-west1]", "mimir.bucket_location=EU", "mimir.bucket=my-gcp-other"],
            &["EU", "`mimir.bucket_location`"],
        ),
        (
            denied("compute.restrictNonConfidentialComputing"),
            &[],
            &["compute.restrictNonConfidentialComputing", "`templates_dir`"],
        ),
    ] {
        rule(&deployment, &[policy]);
        for command in [&["plan"][..], &["apply", "--yes"]] {
            tells(&deployment.run(&set(keys, command)).ends_with(1), words);
        }
        tells(&deployment.run(&set(keys, &["doctor"])).ends_with(1), words);
        tells(&deployment.run(&set(keys, &["status"])).ends_with(0), words);
    }
    assert_eq!(deployment.writes().len(), writes, "nothing was touched");
}

#[test]
fn what_is_obeyed_as_it_is_passes_under_every_such_policy() {
    let deployment = Deployment::of_records();
    rule(
        &deployment,
        &[
            enforced("compute.requireOsLogin"),
            enforced("compute.requireShieldedVm"),
            enforced("compute.disableGuestAttributesAccess"),
            enforced("storage.uniformBucketLevelAccess"),
            enforced("storage.publicAccessPrevention"),
            locations(&["in:eu-locations"]),
        ],
    );
    let keys = ["secrets.locations=[europe-west1]"];
    let apply = deployment.run(&set(&keys, &["apply", "--yes", "--target", MACHINE])).ends_with(0);
    tells(&apply, &CLOSED);
    deployment.run(&set(&keys, &["plan", "--target", MACHINE, "--detailed-exitcode"])).ends_with(0);
}

/// It refuses nothing, and whoever waits for the machine should know.
const CLOSED: [&str; 2] = ["compute.disableGuestAttributesAccess", "serial port"];

#[test]
fn a_policy_that_closes_guest_attributes_is_told_and_refuses_nothing() {
    let deployment = begun();
    rule(&deployment, &[enforced("compute.disableGuestAttributesAccess")]);
    tells(&deployment.run(&["--sandbox", "plan"]).ends_with(0), &CLOSED);
    let doctor = deployment.run(&["--sandbox", "doctor"]);
    tells(&doctor, &CLOSED);
    assert!(!doctor.stdout.contains("not applicable"), "{}", doctor.stdout);
}

#[test]
fn policies_that_may_not_be_read_are_said_to_be_unknown_and_the_plan_goes_on() {
    let deployment = begun();
    rule(&deployment, &[denied("compute.vmExternalIpAccess")]);
    let denial = json!({"member": "owner", "permission": "orgpolicy.policy.get"});
    deployment.control("POST", "deny", Some(denial));
    let words = ["policies of the organisation", "roles/orgpolicy.policyViewer"];
    tells(&deployment.run(&["--sandbox", "plan"]).ends_with(0), &words);
    tells(&deployment.run(&["--sandbox", "doctor"]), &words);
    // Google's own refusal comes with the same advice then.
    let apply = deployment.run(&["--sandbox", "apply", "--yes", "--target", MACHINE]).ends_with(1);
    tells(
        &apply,
        &["Constraint constraints/compute.vmExternalIpAccess violated", "`access.external: false`"],
    );
}

/// The permission that a call asks for, by the names that Google gives both.
fn permission(api: &str) -> String {
    let (collection, verb) = api.rsplit_once('.').unwrap();
    if verb == "addVersion" {
        return "secretmanager.versions.add".into();
    }
    let verb = match verb {
        "insert" => "create",
        "patch" => "update",
        "aggregatedList" => "list",
        "batchEnable" => "enable",
        "batchGet" => "get",
        verb => verb,
    };
    let collection = collection.replace(".projects.", ".").replace(".secrets.versions", ".versions");
    format!("{collection}.{verb}")
}

/// The permissions that the calls until now took, but for those that a plan goes on without.
fn permissions_asked_for(deployment: &Deployment) -> std::collections::BTreeSet<String> {
    let requests = deployment.control("GET", "requests", None);
    deployment.control("DELETE", "requests", None);
    let calls = requests["requests"].as_array().unwrap().iter();
    let known = ["compute.", "iam.", "secretmanager.", "storage.", "serviceusage."];
    let mut asked: std::collections::BTreeSet<String> = calls
        .filter_map(|entry| {
            entry["api"].as_str().filter(|api| known.iter().any(|each| api.starts_with(each)))
        })
        .filter(|api| !api.contains("perations."))
        .map(permission)
        .collect();
    // What stands for itself: looked at beside, and a plan goes on without.
    for beside in [
        "compute.networks.getEffectiveFirewalls",
        "compute.zones",
        "compute.machineTypes",
        "compute.images",
        "compute.regions",
        "compute.diskTypes",
        "compute.projects",
        "compute.instanceGroupManagers",
    ] {
        asked.retain(|permission| !permission.starts_with(beside));
    }
    asked
}

#[test]
fn doctor_names_each_permission_that_a_deployment_takes() {
    let deployment = Deployment::of_a_machine();
    deployment
        .run(&[
            "--sandbox",
            "--set",
            "mimir.machine_type=e2-standard-2",
            "apply",
            "--yes",
            "--target",
            MACHINE,
        ])
        .ends_with(0);
    let mut asked = permissions_asked_for(&deployment);
    for (command, arguments) in [
        (Command::Plan, &["plan"][..]),
        (Command::Destroy, &["destroy", "--yes"]),
        (Command::Destroy, &["destroy", "--yes", "--delete-data"]),
    ] {
        deployment.run(&[&["--sandbox"], arguments].concat()).ends_with(0);
        let of_this = permissions_asked_for(&deployment);
        let untold: Vec<&String> = of_this.iter().filter(|each| !command.takes(each)).collect();
        assert!(untold.is_empty() && !of_this.is_empty(), "{arguments:?} takes, too: {untold:?}");
        asked.extend(of_this);
    }
    asked.extend(["iam.serviceAccounts.actAs".into(), "compute.subnetworks.useExternalIp".into()]);
    assert!(asked.len() > 40, "{asked:?}");
    for permission in &asked {
        let denial = json!({"member": "owner", "permission": permission});
        deployment.control("POST", "deny", Some(denial));
    }
    let told = deployment.run(&["--sandbox", "doctor"]).ends_with(1);
    let unnamed: Vec<&String> = asked.iter().filter(|each| !told.stdout.contains(each.as_str())).collect();
    assert!(unnamed.is_empty(), "{unnamed:?}\n{}", told.stdout);
    tells(
        &told,
        &["an owner of the project can give you", "roles/secretmanager.admin", "roles/storage.admin"],
    );
}

#[test]
fn who_names_an_account_needs_no_permission_to_make_one() {
    let deployment = begun();
    let account = r#"{"accountId": "own-account", "serviceAccount": {}}"#;
    deployment.google("POST", "v1/projects/my-gcp/serviceAccounts", account);
    let denial = json!({"member": "owner", "permission": "iam.serviceAccounts.create"});
    deployment.control("POST", "deny", Some(denial));
    let keys = ["mimir.service_account=own-account@my-gcp.iam.gserviceaccount.com"];
    let told = deployment.run(&set(&keys, &["doctor"]));
    assert!(!told.stdout.contains("permissions missing"), "{}", told.stdout);
    tells(&deployment.run(&["--sandbox", "doctor"]).ends_with(1), &["iam.serviceAccounts.create"]);
    deployment.run(&set(&keys, &["apply", "--yes", "--target", MACHINE])).ends_with(0);
}

#[test]
fn a_project_that_nobody_pays_for_is_told_before_the_first_write() {
    let deployment = Deployment::of_records();
    deployment.control("PUT", "billing", Some(json!({"enabled": false})));
    // In a new project billing can't be asked about: the plan says so, and the first
    // write is refused before anything is made.
    tells(&deployment.run(&["--sandbox", "plan"]).ends_with(0), &["Cloud Billing API"]);
    let apply = deployment.run(&["--sandbox", "apply", "--yes"]).ends_with(1);
    tells(&apply, &["Billing must be enabled for activation", "gcloud billing projects link"]);
    // Where it can be asked about, nothing is tried.
    let free = r#"{"serviceIds": ["cloudbilling.googleapis.com"]}"#;
    deployment.google("POST", "v1/projects/my-gcp/services:batchEnable", free);
    deployment.until("it is told", || {
        let plan = deployment.run(&["--sandbox", "plan"]);
        plan.code == 1 && plan.stderr.contains("has no billing account")
    });
    let writes = deployment.writes().len();
    let words = ["has no billing account", "gcloud billing projects link my-gcp --billing-account"];
    tells(&deployment.run(&["--sandbox", "apply", "--yes"]).ends_with(1), &words);
    tells(&deployment.run(&["--sandbox", "doctor"]).ends_with(1), &words);
    assert_eq!(deployment.writes().len(), writes, "nothing was touched");
    deployment.control("PUT", "billing", Some(json!({"enabled": true})));
    deployment.run(&["--sandbox", "apply", "--yes", "--target", "compute.disk/dorainfra-data"]).ends_with(0);
}

#[test]
fn an_image_that_is_gone_is_told_by_the_plan() {
    let deployment = begun();
    let writes = deployment.writes().len();
    for state in ["DEPRECATED", "OBSOLETE"] {
        deployment.control("PUT", "images", Some(json!({"debian-12-bookworm-v20260114": state})));
        let words = ["debian-12", "no image"];
        for command in [&["plan"][..], &["apply", "--yes"], &["doctor"]] {
            tells(&deployment.run(&set(&[], command)).ends_with(1), &words);
        }
    }
    assert_eq!(deployment.writes().len(), writes, "nothing was touched");
    // One that is named, and not by its family.
    let folder = deployment.path().join("templates/resources");
    std::fs::create_dir_all(&folder).unwrap();
    let template = include_str!("../../templates/resources/instance.yaml.j2");
    let named = template.replace("images/family/debian-12", "images/debian-12-bookworm-v20260114");
    std::fs::write(folder.join("instance.yaml.j2"), named).unwrap();
    let keys = ["templates_dir=templates"];
    tells(&deployment.run(&set(&keys, &["plan"])).ends_with(1), &["OBSOLETE"]);
    deployment.control("PUT", "images", Some(json!({"debian-12-bookworm-v20260114": "DEPRECATED"})));
    tells(&deployment.run(&set(&keys, &["plan"])).ends_with(0), &["DEPRECATED"]);
}

#[test]
fn an_account_that_is_given_is_granted_its_roles_and_outlives_the_deployment() {
    let deployment = begun();
    let email = "machines@my-gcp.iam.gserviceaccount.com";
    let key = format!("mimir.service_account={email}");
    let missing = deployment.run(&set(&[&key], &["plan"])).ends_with(1);
    tells(&missing, &["there is no service account", "`mimir.service_account`"]);
    deployment.google("POST", "v1/projects/my-gcp/serviceAccounts", r#"{"accountId": "machines"}"#);
    rule(&deployment, &[enforced("iam.disableServiceAccountCreation")]);
    deployment.until("it is seen", || deployment.run(&set(&[&key], &["plan"])).code == 0);
    deployment.run(&set(&[&key], &["apply", "--yes", "--target", MACHINE])).ends_with(0);
    let zone = "compute/v1/projects/my-gcp/zones/europe-west1-b";
    let machine = deployment.google("GET", &format!("{zone}/instances/dorainfra-mimir"), "");
    assert_eq!(machine["serviceAccounts"][0]["email"], email);
    let policy = deployment.google(
        "GET",
        "storage/v1/b/my-gcp-dorainfra-mimir/iam?optionsRequestedPolicyVersion=3",
        "",
    );
    assert!(policy.to_string().contains(email), "{policy}");
    let secret = "v1/projects/my-gcp/secrets/dorainfra-server:getIamPolicy";
    assert!(deployment.google("GET", secret, "").to_string().contains(email));
    // Others may run as it: the firewall tells the machine by its tag.
    deployment
        .run(&set(&[&key], &["apply", "--yes", "--target", "compute.firewall/dorainfra-deny"]))
        .ends_with(0);
    let rule = deployment.google("GET", "compute/v1/projects/my-gcp/global/firewalls/dorainfra-deny", "");
    assert_eq!(
        (&rule["targetTags"], &rule["targetServiceAccounts"]),
        (&json!(["dorainfra-mimir"]), &Value::Null)
    );
    deployment.run(&set(&[&key], &["destroy", "--yes", "--delete-data"])).ends_with(0);
    let account = deployment.google("GET", &format!("v1/projects/my-gcp/serviceAccounts/{email}"), "");
    assert_eq!(account["email"], email, "it is somebody else's");
}

#[test]
fn a_rule_follows_from_an_account_to_a_tag_and_back() {
    let deployment = begun();
    deployment.google("POST", "v1/projects/my-gcp/serviceAccounts", r#"{"accountId": "machines"}"#);
    let given = ["mimir.service_account=machines@my-gcp.iam.gserviceaccount.com"];
    let target = ["--target", "compute.firewall/dorainfra-ssh"];
    for (keys, field, other) in [
        (&[][..], "targetServiceAccounts", "targetTags"),
        (&given, "targetTags", "targetServiceAccounts"),
        (&[], "targetServiceAccounts", "targetTags"),
    ] {
        deployment.run(&set(keys, &[&["apply", "--yes"], &target[..]].concat())).ends_with(0);
        let rule = deployment.google("GET", "compute/v1/projects/my-gcp/global/firewalls/dorainfra-ssh", "");
        assert!(rule[field].is_array() && rule[other].is_null(), "{rule}");
        deployment.run(&set(keys, &[&["plan", "--detailed-exitcode"], &target[..]].concat())).ends_with(0);
    }
}

#[test]
fn secrets_are_kept_where_they_are_told_to() {
    let deployment = begun();
    let keys = ["secrets.locations=[europe-west1,europe-west4]"];
    let target = ["--target", "secretmanager.secretVersion/dorainfra-server"];
    deployment.run(&set(&keys, &[&["apply", "--yes"], &target[..]].concat())).ends_with(0);
    let secret = deployment.google("GET", "v1/projects/my-gcp/secrets/dorainfra-server", "");
    let replicas = &secret["replication"]["userManaged"]["replicas"];
    assert_eq!([&replicas[0]["location"], &replicas[1]["location"]], ["europe-west1", "europe-west4"]);
    deployment.run(&set(&keys, &[&["plan", "--detailed-exitcode"], &target[..]].concat())).ends_with(0);
}

#[test]
fn three_machines_need_one_external_address() {
    let deployment = begun();
    rule(&deployment, &[denied("compute.vmExternalIpAccess")]);
    let plan = deployment.run(&set(&["mimir.topology=ha"], &["plan"])).ends_with(1);
    tells(&plan, &["`access.external_machines: false`"]);
    // What stands in for Mimir elsewhere can't do it for three.
    let engine = deployment.write("engine", include_str!("../support/engine.py"));
    std::fs::set_permissions(&engine, std::fs::Permissions::from_mode(0o755)).unwrap();
    let binary = format!("mimir.binary={}", engine.display());
    let keys = [
        &*binary,
        "mimir.topology=ha",
        "access.external_machines=false",
        "network.create=true",
        "alerts.rules=false",
    ];
    let targets = ["dorainfra-mimir", "dorainfra-mimir-2", "dorainfra-mimir-3"];
    let mut apply = vec!["apply", "--yes"];
    let machines: Vec<String> = targets.iter().map(|name| format!("compute.instance/{name}")).collect();
    apply.extend(machines.iter().flat_map(|machine| ["--target", machine]));
    apply.extend(["--target", "compute.address/dorainfra-endpoint"]);
    deployment.run(&set(&keys, &apply)).ends_with(0);
    for (name, zone) in targets.iter().zip(["b", "c", "d"]) {
        let path = format!("compute/v1/projects/my-gcp/zones/europe-west1-{zone}/instances/{name}");
        let machine = deployment.google("GET", &path, "");
        assert_eq!(machine["networkInterfaces"][0]["accessConfigs"], Value::Null, "{name}");
    }
    let addresses = deployment.google("GET", "compute/v1/projects/my-gcp/regions/europe-west1/addresses", "");
    let addresses = addresses["items"].as_array().unwrap().clone();
    let external = addresses.iter().filter(|address| address["addressType"] == "EXTERNAL");
    assert_eq!(external.map(|address| &address["name"]).collect::<Vec<_>>(), ["dorainfra-endpoint"]);
    let single = deployment.run(&set(&["access.external_machines=false"], &["plan"])).ends_with(3);
    tells(&single, &["access.external_machines", "`access.external` to `false`"]);
}

#[test]
fn a_default_network_that_comes_late_is_waited_for() {
    let deployment = Deployment::of_records();
    deployment.control("PUT", "profile", Some(json!({"lag": {"defaultNetworkMs": 6000}})));
    deployment.run(&["--sandbox", "apply", "--yes", "--target", MACHINE]).ends_with(0);
    let network = deployment.google("GET", "compute/v1/projects/my-gcp/global/networks/default", "");
    assert_eq!(network["autoCreateSubnetworks"], true);
}

#[test]
fn a_project_without_a_default_network_is_told_before_anything_but_the_services() {
    let deployment = Deployment::of_records();
    rule(&deployment, &[enforced("compute.skipDefaultNetworkCreation")]);
    let apply = deployment.run(&["--sandbox", "apply", "--yes"]).ends_with(1);
    tells(&apply, &["has no network `default`", "`network.create: true`"]);
    let made = deployment.writes();
    assert!(made.iter().all(|write| write.contains("services:batchEnable")), "{made:?}");
    tells(&deployment.run(&["--sandbox", "plan"]).ends_with(1), &["has no network `default`"]);
    let keys = ["network.create=true"];
    deployment.run(&set(&keys, &["apply", "--yes", "--target", MACHINE])).ends_with(0);
}

#[test]
fn a_policy_of_a_new_project_is_found_as_soon_as_it_can_be_asked_about() {
    let deployment = Deployment::of_records();
    deployment.control("POST", "disable", Some(json!({"service": "cloudresourcemanager.googleapis.com"})));
    rule(&deployment, &[denied("compute.vmExternalIpAccess")]);
    let words = ["policies of the organisation", "`apply` enables it"];
    tells(&deployment.run(&["--sandbox", "plan"]).ends_with(0), &words);
    let doctor = deployment.run(&["--sandbox", "doctor"]);
    tells(&doctor, &words);
    // What nobody knows is not told as if it did not matter here.
    tells(&doctor, &["unknown: the Cloud Resource Manager API"]);
    assert!(!doctor.stdout.contains("not applicable"), "{}", doctor.stdout);
    let apply = deployment.run(&["--sandbox", "apply", "--yes"]).ends_with(1);
    tells(&apply, &["compute.vmExternalIpAccess", "`access.external: false`"]);
    let made = deployment.writes();
    assert!(made.iter().all(|write| write.contains("services")), "{made:?}");
}

#[test]
fn doctor_names_the_rules_of_others_that_open_or_close_the_machines_ports() {
    let deployment = Deployment::of_a_machine();
    let network = "projects/my-gcp/global/networks/default";
    let rules = "compute/v1/projects/my-gcp/global/firewalls";
    let make = |name: &str, priority: u32, kind: &str| {
        let body = json!({"name": name, "network": network, "priority": priority, "sourceRanges": ["0.0.0.0/0"],
            kind: [{"IPProtocol": "tcp", "ports": ["9000-9100"]}]});
        deployment.google("POST", rules, &body.to_string());
    };
    let doctor = || deployment.run(&["--sandbox", "doctor"]);
    let quiet = |run: &Run| assert!(!run.stdout.contains("who reaches the machine"), "{}", run.stdout);
    make("usual", 1000, "allowed");
    quiet(&doctor());
    make("open", 50, "allowed");
    let told = doctor().ends_with(1);
    tells(
        &told,
        &["`open` (priority 50) lets 0.0.0.0/0 reach 9009, 9010, 9095", "firewall-rules describe open"],
    );
    assert!(!told.stdout.contains("`usual`"), "{}", told.stdout);
    // Each failure says what to do, and so does their end.
    tells(&told, &["hint:", "run `dorainfra --sandbox doctor` again"]);
    for words in ["expected:", "with -v"] {
        assert!(
            !format!("{}{}", told.stdout, told.stderr).contains(words),
            "{words}\n{}{}",
            told.stdout,
            told.stderr
        );
    }
    let gone = |name: &str| {
        deployment.google("DELETE", &format!("{rules}/{name}"), "");
        let listed = || deployment.google("GET", rules, "")["items"].to_string();
        deployment.until("it is gone", || !listed().contains(&format!("\"{name}\"")));
    };
    gone("open");
    // SSH, of which plan and documentation say: through Identity-Aware Proxy only.
    let ssh = json!({"name": "r-ssh", "network": network, "priority": 16, "sourceRanges": ["0.0.0.0/0"],
        "allowed": [{"IPProtocol": "tcp", "ports": ["22"]}, {"IPProtocol": "icmp"}]});
    deployment.google("POST", rules, &ssh.to_string());
    tells(&doctor().ends_with(1), &["`r-ssh` (priority 16) lets 0.0.0.0/0 reach 22 of the machine"]);
    gone("r-ssh");
    let policy = json!([{"priority": 10, "action": "deny", "direction": "INGRESS",
        "match": {"srcIpRanges": ["0.0.0.0/0"], "layer4Configs": [{"ipProtocol": "tcp", "ports": ["9009"]}]}}]);
    deployment.control("PUT", "firewall-policy", Some(policy));
    let told = doctor().ends_with(1);
    tells(&told, &["rule 10 of the firewall policy `organisation` keeps out what `dorainfra-mimir` lets in"]);
    deployment.control("PUT", "firewall-policy", Some(json!([])));
    // Out, too: the machine has to reach its bucket.
    let out = |name: &str, priority: u32, kind: &str, to: &str| {
        let body = json!({"name": name, "network": network, "priority": priority, "direction": "EGRESS",
            "destinationRanges": [to], kind: [{"IPProtocol": "all"}]});
        deployment.google("POST", rules, &body.to_string());
        let seen = || deployment.google("GET", rules, "")["items"].to_string();
        deployment.until("it is there", || seen().contains(&format!("\"{name}\"")));
    };
    out("elsewhere", 50, "denied", "203.0.113.0/24");
    quiet(&doctor());
    out("shut", 60, "denied", "0.0.0.0/0");
    tells(
        &doctor().ends_with(1),
        &["`shut` (priority 60) keeps the machine from Google's APIs", "199.36.153.8/30"],
    );
    out("apis", 55, "allowed", "199.36.153.8/30");
    quiet(&doctor());
    let denial = json!({"member": "owner", "permission": "compute.networks.getEffectiveFirewalls"});
    deployment.control("POST", "deny", Some(denial));
    tells(&doctor(), &["can't be read", "roles/compute.securityAdmin"]);
}

#[test]
fn a_default_network_that_is_on_its_way_is_waited_for_by_the_next_run_too() {
    let deployment = Deployment::of_records();
    // As a run does that is killed right after.
    let api = "v1/projects/my-gcp/services:batchEnable";
    deployment.google("POST", api, r#"{"serviceIds": ["compute.googleapis.com"]}"#);
    deployment.run(&["--sandbox", "plan"]).ends_with(0);
}

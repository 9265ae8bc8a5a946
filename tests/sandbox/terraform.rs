//! Terraform with Google's provider against the sandbox, by the variables that
//! `sandbox start` prints: what it makes has no difference afterwards, what dorainfra
//! made can be taken into it, and both can be taken down. No registry is asked: the
//! provider is the one that `TF_GOOGLE_PROVIDER` names.

use crate::coverage;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::deployment::{Deployment, MACHINE, Run};
use serde_json::Value;

/// Terraform in a folder of its own, beside a sandbox.
struct Terraform {
    deployment: Deployment,
    folder: PathBuf,
}

impl Terraform {
    fn with(configuration: &str) -> Self {
        let terraform = Self::empty();
        let source =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/terraform").join(configuration);
        std::fs::copy(source, terraform.folder.join("main.tf")).unwrap();
        terraform
    }

    /// Without a configuration.
    fn empty() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the tests' own switch for a real provider")]
        let provider = std::env::var_os("TF_GOOGLE_PROVIDER").filter(|path| !path.is_empty());
        let provider = provider.map(PathBuf::from).expect("TF_GOOGLE_PROVIDER names Terraform's provider");
        let deployment = Deployment::of_records();
        let folder = deployment.path().join("terraform");
        std::fs::create_dir(&folder).unwrap();
        let place = provider.parent().unwrap().display();
        deployment.write(
            "terraformrc",
            &format!(
                "provider_installation {{\n  dev_overrides {{ \"hashicorp/google\" = \"{place}\" }}\n}}\n"
            ),
        );
        Self { deployment, folder }
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new("terraform");
        let deployment = self.deployment.command(&[]);
        command.env_clear().envs(deployment.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let state = self.deployment.run(&["sandbox", "start", "--detach", "--json"]).ends_with(0);
        let exports = state.events("result").remove(0)["result"]["environment"].take();
        for (name, value) in exports.as_object().unwrap() {
            command.env(name, value.as_str().unwrap());
        }
        command
            .args(arguments)
            .arg("-no-color")
            .env("TF_INPUT", "0")
            .current_dir(&self.folder)
            .env("TF_CLI_CONFIG_FILE", self.deployment.path().join("terraformrc"))
            .env("CHECKPOINT_DISABLE", "1");
        Run::of(command.output().unwrap())
    }

    /// Holds what Terraform has called to `tests/coverage/LIST.txt`.
    fn covers(&self, list: &str) {
        let mut requests = self.deployment.control("GET", "requests", None);
        if let Some(all) = requests["requests"].as_array_mut() {
            all.retain(|entry| entry["client"].as_str().is_some_and(|client| client.contains("Terraform")));
        }
        coverage::holds(list, &coverage::called(&requests));
    }

    fn apply(&self, variables: &[&str]) {
        self.run(&[&["apply", "-auto-approve"], variables].concat()).ends_with(0);
        // 2 would be: there is a difference.
        self.run(&[&["plan", "-detailed-exitcode"], variables].concat()).ends_with(0);
    }
}

#[test]
#[ignore = "needs Terraform's provider (TF_GOOGLE_PROVIDER): scripts/nightly"]
fn terraform_makes_changes_and_deletes_each_kind() {
    let terraform = Terraform::with("main.tf");
    terraform.apply(&[]);
    let changed = ["-var=machine_type=e2-medium", "-var=source_ranges=[\"198.51.100.0/24\"]"];
    terraform.apply(&changed);
    let path = "compute/v1/projects/my-gcp/zones/europe-west1-b/instances/tf-mimir";
    let machine = terraform.deployment.google("GET", path, "");
    assert!(machine["machineType"].as_str().unwrap().ends_with("/e2-medium"), "{machine}");
    terraform.run(&[&["destroy", "-auto-approve"], &changed[..]].concat()).ends_with(0);
    let left = terraform.deployment.google("GET", "compute/v1/projects/my-gcp/aggregated/instances", "");
    assert!(!left.to_string().contains("tf-mimir"), "{left}");
    terraform.covers("terraform");
}

#[test]
#[ignore = "needs Terraform's provider (TF_GOOGLE_PROVIDER): scripts/nightly"]
fn terraform_takes_in_what_dorainfra_has_made() {
    let terraform = Terraform::with("imported/main.tf");
    terraform.deployment.run(&["--sandbox", "apply", "--yes", "--target", MACHINE]).ends_with(0);
    terraform.run(&["plan", "-generate-config-out=generated.tf", "-out=plan"]).ends_with(0);
    let shown = terraform.run(&["show", "-json", "plan"]);
    let plan: Value = serde_json::from_str(&shown.stdout).unwrap();
    let changes = plan["resource_changes"].as_array().unwrap();
    assert_eq!(changes.len(), 7);
    for change in changes {
        assert_eq!(change["change"]["actions"], serde_json::json!(["no-op"]), "{change}");
        assert!(change["change"]["importing"]["id"].is_string(), "{change}");
    }
    terraform.covers("terraform-import");
}

/// Everything of a deployment that is Google's, as records; what it came to.
fn applied(deployment: &Deployment, settings: &[&str]) {
    let mimir = deployment.said_to_be_mimir();
    let common =
        [&["--sandbox", "--mimir-binary", &mimir, "--set", "mimir.version=3.2.0"][..], settings].concat();
    let plan = deployment.run(&[&common[..], &["plan", "--json"]].concat()).ends_with(0);
    let steps = plan.events("planned").remove(0)["plan"]["steps"].take();
    let ids = steps.as_array().unwrap().iter().map(|step| step["id"].as_str().unwrap().to_owned());
    let ids: Vec<String> = ids.filter(|id| !id.starts_with("mimir.")).collect();
    let targets: Vec<&str> = ids.iter().flat_map(|id| ["--target", id]).collect();
    deployment.run(&[&common[..], &["apply", "--yes"], &targets].concat()).ends_with(0);
    let export = ["export", "terraform", "--out", "terraform"];
    deployment.run(&[&common[..], &export].concat()).ends_with(0);
}

/// What `plan` would do with an export: imports of everything, and nothing else.
fn imports_only(terraform: &Terraform, least: usize) {
    terraform.run(&["plan", "-out=plan"]).ends_with(0);
    let shown = terraform.run(&["show", "-json", "plan"]);
    let plan: Value = serde_json::from_str(&shown.stdout).unwrap();
    let changes = plan["resource_changes"].as_array().unwrap();
    let changed: Vec<String> = changes
        .iter()
        .filter(|change| change["change"]["actions"] != serde_json::json!(["no-op"]))
        .map(|change| change.to_string())
        .collect();
    assert!(changed.is_empty(), "{}\n{}", changed.join("\n"), terraform.run(&["show", "plan"]).stdout);
    assert!(changes.iter().all(|change| change["change"]["importing"]["id"].is_string()), "{plan}");
    assert!(changes.len() >= least, "{} of {least}", changes.len());
    // What was looked at of secrets is no value of theirs.
    assert!(!shown.stdout.contains("PRIVATE KEY"), "{}", shown.stdout);
}

#[test]
#[ignore = "needs Terraform's provider (TF_GOOGLE_PROVIDER): scripts/nightly"]
fn terraform_imports_an_export_and_changes_nothing() {
    let terraform = Terraform::empty();
    applied(&terraform.deployment, &[]);
    imports_only(&terraform, 23);
    terraform.covers("terraform-export");
    // And then it is Terraform's: there is nothing left to do.
    terraform.run(&["apply", "-auto-approve"]).ends_with(0);
    terraform.run(&["plan", "-detailed-exitcode"]).ends_with(0);
}

#[test]
#[ignore = "needs Terraform's provider (TF_GOOGLE_PROVIDER): scripts/nightly"]
fn terraform_imports_three_machines_in_a_network_of_their_own() {
    let terraform = Terraform::empty();
    let settings = ["mimir.topology=ha", "network.create=true", "access.external=false"];
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    applied(&terraform.deployment, &settings);
    imports_only(&terraform, 43);
}

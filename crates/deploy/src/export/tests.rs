//! What is written down is what Terraform and a shell take, and holds everything but secrets. That
//! Terraform then changes nothing, `tests/sandbox/terraform.rs` finds out with Google's own provider.

#![allow(clippy::print_stderr, reason = "a skipped check says why")]

use std::path::Path;
use std::process::{Command, Stdio};

use dorainfra_config::{Config, Tls, Topology};
use dorainfra_prometheus::Flavour;

use super::*;
use crate::blueprint::{self, Engine, Facts};

fn config(topology: Topology, apart: bool) -> Config {
    let mut config = Config { project: "acme".into(), ..Config::default() };
    config.mimir.topology = topology;
    if topology == Topology::Ha {
        config.zones = ["b", "c", "d"].map(|zone| format!("europe-west1-{zone}")).into();
    }
    // In a network of its own, without an address on the internet.
    (config.network.create, config.access.external) = (apart, !apart);
    config.settled(false)
}

fn facts() -> Facts {
    Facts {
        caller: Some("203.0.113.7/32".into()),
        engine: Engine {
            flavour: Flavour::Mimir,
            version: dorainfra_config::default_version().into(),
            sha256: "a".repeat(64),
            path: "/nowhere/mimir".into(),
        },
        clients: Vec::new(),
        restore_disks: BTreeMap::new(),
        alertmanager: None,
        scrape: dorainfra_config::ScrapeJobs::default(),
    }
}

fn planned(config: &Config) -> Deployed {
    let blueprint = blueprint::build(config, &facts(), &Overrides::default()).unwrap();
    Deployed {
        project: config.project.clone(),
        region: config.region.clone(),
        deployment: config.name.clone(),
        manifests: blueprint.manifests,
        observed: BTreeMap::new(),
        contents: blueprint.contents,
    }
}

/// All of it is there, as it should be.
fn applied(config: &Config) -> Deployed {
    let mut deployed = planned(config);
    let known = deployed.known();
    let value = |Reference { to, field }: &Reference| match field.as_str() {
        "name" => to.name.clone(),
        "email" => format!("{}@{}.iam.gserviceaccount.com", to.name, config.project),
        "address" => "203.0.113.9".into(),
        "version" => "1".into(),
        _ => "f".repeat(64),
    };
    let resolved = |text: &str| {
        let pieces = engine::pieces(text, &known).unwrap();
        let piece = |piece: &Piece<'_>| match piece {
            Piece::Text(text) => (*text).to_owned(),
            Piece::Reference(reference) => value(reference),
        };
        Some(pieces.iter().map(piece).collect())
    };
    let observed = deployed.manifests.iter().map(|manifest| {
        let mut body = rewritten(&manifest.body, &mut |text| resolved(text));
        if manifest.kind == "secretmanager.secretVersion" {
            (body["version"], body["fingerprint"]) = (json!("1"), json!("f".repeat(64)));
        }
        let applied = Some(engine::digest(manifest));
        (manifest.id(), Observed { id: manifest.id(), body, ownership: Ownership::Ours, applied })
    });
    let observed = observed.collect();
    drop(known);
    deployed.observed = observed;
    deployed
}

fn both(deployed: &Deployed) -> [(&'static str, Export); 2] {
    let overrides = Overrides::default();
    [
        ("terraform", terraform(deployed, &overrides).unwrap()),
        ("gcloud", gcloud(deployed, &overrides).unwrap()),
    ]
}

fn shown(export: &Export) -> String {
    let sheet = |sheet: &Sheet| match sheet.text().filter(|text| text.len() < 50_000) {
        // The blueprint's own snapshots hold it.
        _ if sheet.path.starts_with(FILES) => format!("=== {}\n", sheet.path),
        Some(text) => format!("=== {}\n{text}", sheet.path),
        None => format!("=== {} ({} bytes)\n", sheet.path, sheet.contents.len()),
    };
    let notes = export.lacks.iter().map(|lack| format!("not in it: {lack}\n"));
    export.sheets.iter().map(sheet).chain(notes).collect()
}

/// A program that a check needs; said where it isn't there.
fn program(name: &str) -> Option<std::path::PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "programs are searched for where the test runs")]
    let path = std::env::var("PATH").unwrap_or_default();
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin");
    let folders = std::env::split_paths(&path).chain([tools]);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("skipped: there is no {name} on PATH");
    }
    found
}

fn written(export: &Export) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for sheet in &export.sheets {
        let path = folder.path().join(&sheet.path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &sheet.contents).unwrap();
    }
    folder
}

fn succeeds(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
}

/// What deployments there are: each topology, in each kind of network; with less; before it is there.
fn all() -> Vec<(&'static str, Deployed)> {
    let mut plain = config(Topology::Single, false);
    plain.access.tls = Tls::Off;
    plain.mimir.snapshot_days = 0;
    plain.mimir.service_account = Some("given@acme.iam.gserviceaccount.com".into());
    plain.secrets.locations = vec!["europe-west1".into(), "europe-west4".into()];
    let mut apart = config(Topology::Single, true);
    apart.secrets.locations = plain.secrets.locations.clone();
    vec![
        ("single", applied(&config(Topology::Single, false))),
        ("single_apart", applied(&apart)),
        ("single_plain", applied(&plain)),
        ("single_planned", planned(&config(Topology::Single, false))),
        ("ha", applied(&config(Topology::Ha, false))),
        ("ha_apart", applied(&config(Topology::Ha, true))),
    ]
}

#[test]
fn every_kind_has_an_export() {
    for kind in resource::kind_names() {
        for template in [format!("export/terraform/{kind}.tf.j2"), format!("export/gcloud/{kind}.sh.j2")] {
            assert!(dorainfra_render::embedded(&template).is_some(), "{kind} needs templates/{template}");
        }
        let exported = resource::exported(kind).unwrap();
        assert_ne!(exported.terraform, Some(""), "{kind}: what does Terraform call one?");
    }
}

#[test]
fn what_is_written_is_as_expected() {
    for (name, deployed) in all().into_iter().filter(|(name, _)| ["single", "ha_apart"].contains(name)) {
        for (tool, export) in both(&deployed) {
            insta::assert_snapshot!(format!("{tool}_{name}"), shown(&export));
        }
    }
}

#[test]
fn everything_that_is_there_is_imported_once_and_nothing_else() {
    for (name, deployed) in all() {
        let export = terraform(&deployed, &Overrides::default()).unwrap();
        let text = |path: &str| {
            let sheet = export.sheets.iter().find(|sheet| sheet.path == path);
            sheet.and_then(Sheet::text).unwrap_or_default().to_owned()
        };
        let (main, imports) = (text("main.tf"), text("imports.tf"));
        let resources: Vec<String> = main
            .lines()
            .filter_map(|line| line.strip_prefix("resource ")?.strip_suffix(" {"))
            .map(|words| words.replace('"', "").replace(' ', "."))
            .collect();
        let mut targets: Vec<String> = imports
            .lines()
            .filter_map(|line| line.trim().strip_prefix("to = "))
            // One for each instance of a `for_each`.
            .map(|target| target.split('[').next().unwrap_or_default().to_owned())
            .collect();
        targets.dedup();
        let expected = if name == "single_planned" { Vec::new() } else { resources.clone() };
        assert_eq!(targets, expected, "{name}");
        assert_eq!(resources.iter().collect::<BTreeSet<_>>().len(), resources.len(), "{name}");
        assert!(resources.len() >= 8, "{name}: {resources:?}");
        // A reference that is left is one that nobody understood.
        assert!(!main.contains("${compute.") && !main.contains("${export."), "{name}: {main}");
    }
}

#[test]
fn terraform_would_format_it_no_other_way() {
    let Some(terraform) = program("terraform") else { return };
    for (name, deployed) in all() {
        let export = super::terraform(&deployed, &Overrides::default()).unwrap();
        let folder = written(&export);
        eprintln!("{name}");
        succeeds(
            Command::new(&terraform)
                .args(["fmt", "-check", "-diff"])
                .current_dir(&folder)
                .env("CHECKPOINT_DISABLE", "1"),
        );
    }
}

#[test]
fn shellcheck_and_bash_have_nothing_to_say() {
    for (name, deployed) in all() {
        let folder = written(&gcloud(&deployed, &Overrides::default()).unwrap());
        eprintln!("{name}");
        succeeds(Command::new("bash").args(["-n", "make.sh"]).current_dir(&folder));
        if let Some(shellcheck) = program("shellcheck") {
            succeeds(Command::new(shellcheck).arg("make.sh").current_dir(&folder));
        }
    }
}

#[test]
fn a_manifests_own_field_is_exported_or_told() {
    let mut deployed = planned(&config(Topology::Single, false));
    let firewall =
        deployed.manifests.iter_mut().find(|manifest| manifest.kind == "compute.firewall").unwrap();
    firewall.body["logConfig"] = json!({"enable": true});
    let error = terraform(&deployed, &Overrides::default()).unwrap_err();
    let words = ["has a field `logConfig`", "export/terraform/compute.firewall.tf.j2"];
    assert!(words.iter().all(|words| error.to_string().contains(words)), "{error}");
    assert!(error.hint().unwrap().contains("templates_dir"));
    assert!(gcloud(&deployed, &Overrides::default()).is_err());
}

#[test]
fn what_is_somebody_elses_is_not_imported() {
    let mut deployed = applied(&config(Topology::Single, false));
    let id = ResourceId::new("compute.disk", "dorainfra-data");
    deployed.observed.get_mut(&id).unwrap().ownership = Ownership::Unmarked;
    let export = terraform(&deployed, &Overrides::default()).unwrap();
    assert!(!shown(&export).contains("disks/dorainfra-data"), "{}", shown(&export));
    assert!(
        export.lacks.iter().any(|lack| lack.contains("compute.disk/dorainfra-data")),
        "{:?}",
        export.lacks
    );
}

#[test]
fn hostile_values_are_values() {
    let mut deployed = applied(&config(Topology::Single, false));
    let hostile = "a\"\n${path.module} %{ if true } '; touch x; `x` $(x)";
    for manifest in &mut deployed.manifests {
        if manifest.kind == "compute.resourcePolicy" {
            manifest.body["description"] = json!(hostile);
        }
    }
    let [(_, terraform), (_, gcloud)] = both(&deployed);
    let main = shown(&terraform);
    assert!(
        main.contains(r#""a\"\n$${path.module} %%{ if true } '; touch x; `x` $(x) [dorainfra"#),
        "{main}"
    );
    let folder = written(&gcloud);
    succeeds(Command::new("bash").args(["-n", "make.sh"]).current_dir(&folder));
    assert!(shown(&gcloud).contains(r"'a"), "{}", shown(&gcloud));
}

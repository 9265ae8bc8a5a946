//! What a production machine relies on: keys that its Mimir has, units that are
//! confined, limits that hold what is written.

#![allow(clippy::print_stderr, reason = "a skipped test says why")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::path::Path;
use std::process::Command;

use dorainfra::blueprint::{self, Flavour};
use dorainfra::config::{self, Config, Live, NATIVE_SERIES_PER_TEAM, SERIES_PER_TEAM, Tls, Topology};
use dorainfra::dora::metrics::{Histograms, Scope, cardinality};
use dorainfra::dora::simulator::{self, Team};
use dorainfra::render::Overrides;
use serde_json::{Value, json};

use crate::fixture;

fn file(config: &Config, path: &str) -> String {
    let built = blueprint::build(config, &fixture::facts(Flavour::Mimir), &Overrides::none()).unwrap();
    built.files.into_iter().find(|file| file.path == path).unwrap_or_else(|| panic!("no {path}")).contents
}

/// Dotted paths of everything that is no mapping, and of empty mappings.
fn leaves(value: &Value, path: &str, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                leaves(value, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, into);
            }
        }
        _ => into.push(path.to_owned()),
    }
}

/// With all that a configuration can switch on.
fn with(version: &str, topology: Topology, all: bool) -> Config {
    let mut config = fixture::config();
    config.mimir.version = version.into();
    config.mimir.topology = topology;
    if topology == Topology::Ha {
        config.zones = ["b", "c", "d"].map(|zone| format!("europe-west1-{zone}")).into();
    }
    if all {
        (config.generator.native_histograms, config.stack.live) = (true, Live::RemoteWrite);
    } else {
        config.access.tls = Tls::Off;
    }
    config
}

#[test]
fn every_key_that_is_rendered_exists_in_every_version() {
    // In no descriptor, but in Grafana's own guide to its chart without Kafka.
    const HIDDEN: &str = "ingester.push_grpc_method_enabled";
    for version in config::mimir_versions() {
        let version = version.newest.as_str();
        for (topology, all) in
            [Topology::Single, Topology::Ha].map(|one| [(one, false), (one, true)]).concat()
        {
            let config = with(version, topology, all);
            let machine: Value = serde_saphyr::from_str(&file(&config, "vm/mimir.yaml")).unwrap();
            let chart: Value =
                serde_saphyr::from_str(&file(&config, "kubernetes/mimir-distributed.values.yaml")).unwrap();
            for (rendered, least) in [(&machine, 40), (&chart["mimir"]["structuredConfig"], 15)] {
                let mut keys = Vec::new();
                leaves(rendered, "", &mut keys);
                assert!(keys.len() > least, "{keys:?}");
                let known = |key: &&String| config::is_mimir_option(version, key) != Some(true);
                let unknown: Vec<_> = keys.iter().filter(known).filter(|key| *key != HIDDEN).collect();
                assert!(unknown.is_empty(), "Mimir {version} has no {unknown:?}");
            }
            assert_eq!(chart["image"]["tag"], version);
        }
    }
}

/// A ring that is not told its address asks the kernel, and the unit does not let it.
#[test]
fn every_ring_is_told_its_address() {
    for version in config::mimir_versions() {
        let keys = config::mimir_options(&version.newest).unwrap();
        let config = with(&version.newest, Topology::Single, true);
        let rendered: Value = serde_saphyr::from_str(&file(&config, "vm/mimir.yaml")).unwrap();
        for ring in keys.filter_map(|key| key.strip_suffix(".instance_interface_names")) {
            // Ingest by Kafka is off; the frontend's address has another name.
            let told = match ring {
                "ingester.partition_ring" => continue,
                "frontend" => "/frontend/address".to_owned(),
                ring => format!("/{}/instance_addr", ring.replace('.', "/")),
            };
            let address = rendered.pointer(&told);
            assert_eq!(address, Some(&json!("${DORAINFRA_ADDRESS}")), "{told} in {}", version.newest);
        }
    }
}

#[test]
fn native_histograms_are_wanted_of_a_mimir_alone() {
    let mut config = fixture::config();
    (config.generator.native_histograms, config.stack.live) = (true, Live::RemoteWrite);
    let mimir: Value = serde_saphyr::from_str(&file(&config, "vm/mimir.yaml")).unwrap();
    let key = "limits.native_histograms_ingestion_enabled";
    assert_eq!(mimir["limits"]["native_histograms_ingestion_enabled"], true);
    assert_eq!(config::is_mimir_option(&config.mimir.version, key), Some(true));
    for (flavour, written) in [(Flavour::Mimir, true), (Flavour::StandIn, false)] {
        let built = blueprint::build(&config, &fixture::facts(flavour), &Overrides::none()).unwrap();
        let compose = built.files.iter().find(|file| file.path == "stack/compose.yaml").unwrap();
        assert_eq!(compose.contents.contains("--native-histograms"), written, "{flavour:?}");
    }
}

#[test]
fn the_users_own_keys_win() {
    let mut config = fixture::config();
    let extra = json!({"limits": {"ingestion_rate": 7, "max_label_names_per_series": 40}});
    config.mimir.extra = extra.as_object().unwrap().clone();
    let rendered: Value = serde_saphyr::from_str(&file(&config, "vm/mimir.yaml")).unwrap();
    assert_eq!(rendered["limits"]["ingestion_rate"], 7);
    assert_eq!(rendered["limits"]["max_label_names_per_series"], 40);
    assert_eq!(rendered["limits"]["query_ingesters_within"], "0s");
    assert_eq!(rendered["server"]["http_listen_address"], "${DORAINFRA_LISTEN}");

    // What Mimir expands is YAML before that, too.
    config.mimir.topology = Topology::Ha;
    config.zones = ["b", "c", "d"].map(|zone| format!("europe-west1-{zone}")).into();
    let rendered: Value = serde_saphyr::from_str(&file(&config, "vm/mimir.yaml")).unwrap();
    assert_eq!(rendered["limits"]["ingestion_rate"], 7);
    assert_eq!(rendered["memberlist"]["join_members"][2], "${DORAINFRA_MEMBER_3}");
}

#[test]
fn no_team_has_more_series_than_the_limits_count_with() {
    let teams = simulator::teams(300);
    for (histograms, more) in [(Histograms::Classic, 0), (Histograms::Both, NATIVE_SERIES_PER_TEAM)] {
        let series = |name: &String| cardinality([Scope::of(&Team::new(name, 1))], histograms);
        let most = teams.iter().map(series).max().unwrap();
        assert!(most <= u64::from(SERIES_PER_TEAM + more), "a team with {most} series");
    }
}

/// systemd's own measure: 0 is a fortress, 10 is no protection. The agent works
/// as root, because it installs units.
#[test]
fn the_units_are_confined() {
    let folder = tempfile::tempdir().unwrap();
    for (unit, most) in
        [("mimir.service", 2.0), ("dorainfra-agent.service", 2.0), ("dorainfra-grow.service", 2.0)]
    {
        let text = file(&fixture::config(), &format!("vm/{unit}"));
        let path = folder.path().join(unit);
        std::fs::write(&path, text).unwrap();
        match exposure(&path) {
            Some(exposure) => assert!(exposure <= most, "{unit}: {exposure}"),
            None => return eprintln!("skipped: this machine has no systemd-analyze that works offline"),
        }
    }
}

fn exposure(unit: &Path) -> Option<f64> {
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(unit)
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, rest) = text.split_once("Overall exposure level for ")?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

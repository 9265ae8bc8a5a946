//! What a production machine relies on: keys that its Mimir has, units that are
//! confined, limits that hold what is written.

#![allow(clippy::print_stderr, reason = "a skipped test says why")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::path::Path;
use std::process::Command;

use dorainfra::blueprint::{self, Flavour};
use dorainfra::config::{self, Config, Live, NATIVE_SERIES_PER_TEAM, SERIES_PER_TEAM, Topology};
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

#[test]
fn every_key_that_is_rendered_exists_in_the_pinned_version() {
    let config = fixture::config();
    let rendered: Value = serde_saphyr::from_str(&file(&config, "vm/mimir.yaml")).unwrap();
    let mut keys = Vec::new();
    leaves(&rendered, "", &mut keys);
    assert!(keys.len() > 40, "{keys:?}");
    let unknown: Vec<&String> =
        keys.iter().filter(|key| config::is_mimir_option(&config.mimir.version, key) != Some(true)).collect();
    assert!(unknown.is_empty(), "Mimir {} has no {unknown:?}", config.mimir.version);
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

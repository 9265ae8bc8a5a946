//! What a production machine relies on: keys that its Mimir has, units that are
//! confined, limits that hold what is written.

#![allow(clippy::print_stderr, reason = "a skipped test says why")]
use std::path::Path;
use std::process::Command;

use dorainfra_config::{self as config, Config, Live, Tls, Topology};
use dorainfra_deploy::blueprint;
use dorainfra_dora::metrics::{Histograms, Scope, cardinality};
use dorainfra_dora::simulator::{self, Team};
use dorainfra_prometheus::Flavour;
use dorainfra_render::Overrides;
use serde_json::{Value, json};

use super::fixture;

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
    for (native, by_service) in [(false, false), (true, false), (false, true), (true, true)] {
        let histograms = Histograms { native, by_service };
        let series = |name: &String| cardinality([Scope::of(&Team::new(name, 1))], histograms);
        let most = teams.iter().map(series).max().unwrap();
        assert!(most <= u64::from(config::series_per_team(native, by_service)), "a team with {most} series");
    }
}

#[test]
fn the_generators_container_writes_services_where_they_are_wanted() {
    for wanted in [false, true] {
        let mut config = fixture::config();
        config.generator.service_histograms = wanted;
        let compose = file(&config, "stack/compose.yaml");
        assert_eq!(compose.contains("- --service-histograms\n"), wanted, "{compose}");
    }
}

/// What a machine and Kubernetes have alike, in two files that nobody compares by eye.
#[test]
fn kubernetes_has_the_limits_and_windows_of_the_machine() {
    // Parts of a memory that is the machine's or a pod's, and levels of nesting that only one has.
    const BY_MEMORY: [&str; 2] =
        ["limits.max_estimated_memory_consumption_per_query", "ingester.read_path_memory_utilization_limit"];
    for all in [false, true] {
        let config = with(config::default_version(), Topology::Ha, all);
        let machine: Value = serde_saphyr::from_str(&file(&config, "vm/mimir.yaml")).unwrap();
        let chart: Value =
            serde_saphyr::from_str(&file(&config, "kubernetes/mimir-distributed.values.yaml")).unwrap();
        let chart = &chart["mimir"]["structuredConfig"];
        let mut keys = Vec::new();
        leaves(chart, "", &mut keys);
        let at = |whole: &Value, key: &str| whole.pointer(&format!("/{}", key.replace('.', "/"))).cloned();
        let shared: Vec<&String> = keys.iter().filter(|key| at(&machine, key).is_some()).collect();
        for key in shared.iter().filter(|key| !BY_MEMORY.contains(&key.as_str())) {
            assert_eq!(at(&machine, key), at(chart, key), "{key}");
        }
        assert!(shared.len() >= 20, "{shared:?}");
        let limits = |whole: &Value| whole["limits"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(limits(&machine), limits(chart));
        for key in [
            "blocks_storage.tsdb.flush_blocks_on_shutdown",
            "blocks_storage.bucket_store.ignore_blocks_within",
            "compactor.block_ranges",
            "compactor.cleanup_interval",
            "querier.query_store_after",
        ] {
            assert!(shared.iter().any(|shared| *shared == key), "{key}");
        }
    }
}

/// A gateway without certificates would be one that the machine's configuration refuses.
#[test]
fn kubernetes_asks_for_the_certificates_that_the_machine_asks_for() {
    let mut config = fixture::config();
    let values = |config: &Config| file(config, "kubernetes/mimir-distributed.values.yaml");
    for (tls, asks, says) in [
        (Tls::Mutual, true, "with the certificates"),
        (Tls::Server, false, "ASKS FOR NONE"),
        (Tls::Off, false, "NOBODY SHOWS A CERTIFICATE"),
    ] {
        config.access.tls = tls;
        let text = values(&config);
        let read: Value = serde_saphyr::from_str(&text).unwrap();
        let nginx = &read["gateway"]["nginx"]["config"];
        let server = nginx["serverSnippet"].as_str().unwrap_or_default();
        assert_eq!(server.contains("ssl_verify_client on;"), asks, "{tls:?}");
        assert_eq!(server.contains("listen 9009 ssl;"), tls != Tls::Off, "{tls:?}");
        // The port without TLS, which the chart's own configuration opens, lets nobody past.
        assert_eq!(server.contains("return 403;"), tls != Tls::Off, "{tls:?}");
        assert!(text.contains(says), "{tls:?}");
    }
    let read: Value = serde_saphyr::from_str(&values(&fixture::config())).unwrap();
    for part in ["ingester", "store_gateway", "compactor", "querier", "distributor", "ruler"] {
        let limit = read[part]["resources"]["limits"]["memory"].as_str().unwrap();
        assert_eq!(read[part]["resources"]["requests"]["memory"].as_str(), Some(limit), "{part}");
        let whole: u64 = limit.strip_suffix("Mi").unwrap().parse().unwrap();
        let env = &read[part]["env"][0];
        assert_eq!(
            (&env["name"], &env["value"]),
            (&json!("GOMEMLIMIT"), &json!(format!("{}MiB", whole * 4 / 5)))
        );
    }
    for cache in ["chunks-cache", "index-cache", "metadata-cache", "results-cache"] {
        assert_eq!(read[cache]["enabled"], true, "{cache}");
    }
}

/// Only what goes through the ingester needs a window as long as itself.
#[test]
fn the_out_of_order_window_is_as_long_as_what_goes_through_it() {
    let window = |text: &str, flavour: Flavour| {
        let sources = config::Sources {
            file: Some(("dorainfra.yaml".into(), format!("project: acme-metrics\n{text}"))),
            ..config::Sources::default()
        };
        let config = config::load(sources).unwrap().config;
        let built = blueprint::build(&config, &fixture::facts(flavour), &Overrides::none()).unwrap();
        let (path, pointer) = match flavour {
            Flavour::Mimir => ("vm/mimir.yaml", "/limits/out_of_order_time_window"),
            Flavour::StandIn => ("vm/standin-prometheus.yml", "/storage/tsdb/out_of_order_time_window"),
        };
        let file = built.files.iter().find(|file| file.path == path).unwrap();
        let read: Value = serde_saphyr::from_str(&file.contents).unwrap();
        read.pointer(pointer).unwrap().as_str().unwrap().to_owned()
    };
    assert_eq!(window("", Flavour::Mimir), "6h");
    assert_eq!(window("", Flavour::StandIn), "400d");
    assert_eq!(window("generator: {days: 500}\n", Flavour::StandIn), "535d");
    let off = "mimir: {extra: {limits: {compactor_block_upload_enabled: false}}}\n";
    assert_eq!(window(off, Flavour::Mimir), "400d");
    let real = "sources: [{type: git, path: ../shop, team: orders}]\n";
    assert_eq!(window(real, Flavour::Mimir), "400d");
    let given = "mimir: {limits: {out_of_order_window: 800d}}\n";
    assert_eq!([Flavour::Mimir, Flavour::StandIn].map(|flavour| window(given, flavour)), ["800d", "800d"]);
}

/// What Mimir's configuration takes from its environment, the machine writes there, and as a
/// number also where `mimir.extra` is laid over it.
#[test]
fn what_the_configuration_expands_is_what_the_machine_writes() {
    let mut config = fixture::config();
    config.mimir.extra = json!({"limits": {"max_label_names_per_series": 40}}).as_object().unwrap().clone();
    let script = file(&config, "vm/machine");
    let text = file(&config, "vm/mimir.yaml");
    let names: Vec<&str> = text.split("${").skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
    assert!(names.iter().filter(|name| name.starts_with("DORAINFRA_MEMORY_")).count() >= 4, "{names:?}");
    for name in names {
        assert!(script.contains(&format!("\"{name}=")), "{name}");
        assert!(!text.contains(&format!("\"${{{name}}}\"")), "{name} would be a text");
    }
}

#[test]
fn keys_that_may_cost_data_are_noted_on_the_machine() {
    let mut config = fixture::config();
    let note = |config: &Config| {
        let built = blueprint::build(config, &fixture::facts(Flavour::Mimir), &Overrides::none()).unwrap();
        let machine = built.manifests.into_iter().find(|one| one.kind == "compute.instance").unwrap();
        machine.notes.get("danger").cloned()
    };
    assert_eq!(note(&config), None);
    config.mimir.extra = json!({"compactor": {"deletion_delay": "0s"}}).as_object().unwrap().clone();
    let said = note(&config).unwrap();
    assert!(said.starts_with("compactor.deletion_delay: ") && said.ends_with("(mimir.extra)"), "{said}");
}

/// The switch's URL is in no file and no manifest; that somebody listens brings the alert.
#[test]
fn the_watchdog_is_there_where_somebody_listens() {
    let group = |config: &Config| {
        let built = blueprint::build(config, &fixture::facts(Flavour::Mimir), &Overrides::none()).unwrap();
        built.manifests.iter().any(|one| one.kind == "mimir.ruleGroup" && one.name == "alerts-watchdog")
    };
    let mut config = fixture::config();
    assert!(!group(&config));
    config.alerts.watchdog = Some("watchdog.url".into());
    assert!(group(&config));
}

/// systemd's own measure: 0 is a fortress, 10 is no protection. The agent works
/// as root, because it installs units.
/// A replica that ends goes on until the load balancer has found it out for sure, and is gone
/// before its time is up: the unit's, Google's for a machine that is stopped, and that which its
/// connections have when it has left its group.
#[test]
fn a_replica_that_ends_outlasts_the_health_check() {
    let mut config = fixture::config();
    config.mimir.topology = Topology::Ha;
    config.zones = config.three_zones();
    let read = |path: &str| -> Value { serde_saphyr::from_str(&file(&config, path)).unwrap() };
    let check = read("resources/compute.healthCheck.dorainfra-ready.yaml")["body"].clone();
    let service = read("resources/compute.backendService.dorainfra-mimir.yaml")["body"].clone();
    let delay = read("vm/mimir.yaml")["shutdown_delay"].as_str().unwrap().to_owned();
    let delay: u64 = delay.strip_suffix('s').unwrap().parse().unwrap();
    let number = |value: &Value| value.as_u64().unwrap();
    let found_out = number(&check["checkIntervalSec"]) * number(&check["unhealthyThreshold"])
        + number(&check["timeoutSec"]);
    assert!(delay >= 2 * found_out, "{delay} s, and {found_out} s until it is found out");
    assert!(delay < number(&service["connectionDraining"]["drainingTimeoutSec"]));
    let unit = file(&config, "vm/mimir.service");
    let timeout = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    assert!(delay + 60 <= 90 && delay + 60 <= timeout.parse().unwrap(), "{timeout}");
    // It is asked where it answers, and by nobody else.
    let rule = read("resources/compute.firewall.dorainfra-health.yaml")["body"].clone();
    let port = number(&check["httpHealthCheck"]["port"]).to_string();
    assert_eq!(rule["allowed"][0]["ports"], serde_json::json!([port]));
    assert!(file(&config, "vm/dorainfra-readiness.service").contains(&format!("_PORT={port}\n")));

    // One alone has nobody to hand over to, and nothing to wait for.
    let single = fixture::config();
    assert!(!file(&single, "vm/mimir.yaml").contains("shutdown_delay"));
    assert!(!file(&single, "vm/machine").contains("start dorainfra-readiness"));
}

#[test]
fn the_units_are_confined() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = fixture::config();
    config.mimir.topology = Topology::Ha;
    config.zones = config.three_zones();
    for unit in
        ["mimir.service", "dorainfra-agent.service", "dorainfra-grow.service", "dorainfra-readiness.service"]
    {
        let most = 2.0;
        let text = file(&config, &format!("vm/{unit}"));
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

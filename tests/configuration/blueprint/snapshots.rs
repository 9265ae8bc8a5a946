use dorainfra_config::{Config, Live, Runtime, Topology};
use dorainfra_deploy::blueprint::Content;
use dorainfra_deploy::blueprint::{self, Blueprint, File};
use dorainfra_prometheus::Flavour;
use dorainfra_render::Overrides;

use super::fixture;

fn show(files: &[File], out: &mut String) {
    for file in files {
        let executable = if file.executable { " (executable)" } else { "" };
        // Generated, and held by a test of their own.
        if file.path.starts_with("stack/grafana/") && file.path.ends_with(".json") {
            *out += &format!("=== {} (grafana/)\n\n", file.path);
            continue;
        }
        *out += &format!("=== {}{executable}\n{}\n", file.path, file.contents.trim_end());
    }
}

fn whole(blueprint: &Blueprint) -> String {
    let mut out = format!("deployment {}\nbundle {}\n", blueprint.deployment, blueprint.bundle);
    for (digest, content) in blueprint.contents.iter() {
        let content = match content {
            Content::Bytes(bytes) => format!("{} bytes", bytes.len()),
            Content::File(path) => path.display().to_string(),
            Content::Private(_) => "private".into(),
        };
        out += &format!(
            "content {digest}: {content}
"
        );
    }
    for manifest in &blueprint.manifests {
        let protect = if manifest.protect { " protect" } else { "" };
        let arbiter = if manifest.arbiter { " arbiter" } else { "" };
        out += &format!(
            "manifest {}{protect}{arbiter}
",
            manifest.id()
        );
    }
    show(&blueprint.files, &mut out);
    out
}

/// Everything that can be set, set to something else.
fn custom() -> Config {
    let mut config = fixture::config();
    config.name = "team-metrics".into();
    config.region = "us-central1".into();
    config.zones = vec!["us-central1-f".into()];
    config.labels = [("cost-centre".into(), "4711".into()), ("env".into(), "prod".into())].into();
    config.mimir.bucket = "acme-blocks".into();
    config.mimir.bucket_location = "us".into();
    config.mimir.soft_delete_days = 0;
    config.mimir.snapshot_days = 0;
    config.mimir.machine_type = "n2-standard-4".into();
    config.mimir.boot_disk_gb = 20;
    config.mimir.disk_gb = 200;
    config.mimir.disk_type = "pd-ssd".into();
    config.mimir.tenant = String::new();
    config.mimir.retention = "400d".into();
    config.access.allow =
        ["198.51.100.0/24", "caller", "198.51.100.9/32", "192.0.2.17/28"].map(String::from).into();
    config.stack.runtime = Runtime::Compose;
    config.stack.scrape_seconds = 30;
    config.stack.ports.pushgateway = 19_091;
    config.stack.ports.prometheus = 19_090;
    config.stack.ports.grafana = 13_000;
    config.generator.teams = 3;
    config.generator.seed = 99;
    config
}

#[test]
fn the_default_configuration() {
    let built =
        blueprint::build(&fixture::config(), &fixture::facts(Flavour::Mimir), &Overrides::none()).unwrap();
    insta::assert_snapshot!("default", whole(&built));
}

#[test]
fn a_custom_configuration_with_the_stand_in() {
    let built = blueprint::build(&custom(), &fixture::facts(Flavour::StandIn), &Overrides::none()).unwrap();
    insta::assert_snapshot!("custom", whole(&built));
}

#[test]
fn three_replicas() {
    let mut config = fixture::config();
    config.mimir.topology = Topology::Ha;
    config.zones = ["b", "c", "d"].map(|letter| format!("europe-west1-{letter}")).into();
    let built = blueprint::build(&config, &fixture::facts(Flavour::Mimir), &Overrides::none()).unwrap();
    insta::assert_snapshot!("ha", whole(&built));
}

/// The first machine, its disk and its address are the same in both topologies.
#[test]
fn going_to_three_replicas_keeps_what_there_is() {
    let single = fixture::config();
    let mut ha = single.clone();
    ha.mimir.topology = Topology::Ha;
    ha.zones.extend(["europe-west1-c".into(), "europe-west1-d".into()]);
    let build =
        |config| blueprint::build(config, &fixture::facts(Flavour::Mimir), &Overrides::none()).unwrap();
    let (single, ha) = (build(&single), build(&ha));
    let mut changed = Vec::new();
    for before in &single.manifests {
        match ha.manifests.iter().find(|after| after.id() == before.id()) {
            Some(after) if after.body == before.body => {}
            Some(after) => {
                assert_eq!(before.kind, "compute.instance");
                let without_items = |body: &serde_json::Value| {
                    let mut body = body.clone();
                    body["metadata"] = serde_json::Value::Null;
                    body
                };
                assert_eq!(without_items(&after.body), without_items(&before.body));
                changed.push(before.id().to_string());
            }
            // A bundle's name is its content.
            None => assert!(before.name.starts_with("bundles/"), "{} is gone", before.id()),
        }
    }
    assert_eq!(changed, ["compute.instance/dorainfra-mimir"]);
}

/// What the generator is told, and what the collector scrapes, for each way that
/// live values can go: to Google, and to a machine on this one's loopback.
#[test]
fn each_way_of_live_values() {
    let mut told = String::new();
    for (live, endpoint) in [
        (Live::Pushgateway, "203.0.113.7"),
        (Live::Scrape, "203.0.113.7"),
        (Live::RemoteWrite, "203.0.113.7"),
        (Live::Scrape, "127.65.3.1"),
        (Live::RemoteWrite, "127.65.3.1"),
    ] {
        let mut config = fixture::config();
        config.stack.live = live;
        let path = blueprint::remote_write_path(Flavour::Mimir);
        let facts = fixture::facts(Flavour::Mimir);
        let files =
            blueprint::stack_files(&config, &facts, &Overrides::none(), endpoint, blueprint::PORT, path)
                .unwrap();
        let file = |name: &str| &files.iter().find(|file| file.path.ends_with(name)).unwrap().contents;
        let parsed = |name: &str| -> serde_json::Value { serde_saphyr::from_str(file(name)).unwrap() };
        let compose = parsed("compose.yaml");
        let services: Vec<&String> = compose["services"].as_object().unwrap().keys().collect();
        let generator = &compose["services"]["generator"];
        let jobs = parsed("prometheus.yml")["scrape_configs"].clone();
        let jobs = jobs.as_array().unwrap().iter().map(|job| {
            format!("{} at {}", job["job_name"].as_str().unwrap(), job["static_configs"][0]["targets"][0])
        });
        told.push_str(&format!("{live:?} to {endpoint}: {services:?}\n"));
        for key in ["command", "volumes", "networks", "network_mode", "ports", "depends_on"] {
            if !generator[key].is_null() {
                told.push_str(&format!("  {key}: {}\n", generator[key]));
            }
        }
        told.push_str(&format!("  health: {}\n", generator["healthcheck"]["test"]));
        told.push_str(&format!("  scraped: {}\n\n", jobs.collect::<Vec<_>>().join(", ")));
    }
    insta::assert_snapshot!("live", told);
}

#[test]
fn the_stack_with_its_real_address() {
    let path = blueprint::remote_write_path(Flavour::StandIn);
    let files = blueprint::stack_files(
        &fixture::config(),
        &fixture::facts(Flavour::StandIn),
        &Overrides::none(),
        "127.65.3.1",
        blueprint::PORT,
        path,
    )
    .unwrap();
    let urls: Vec<&str> = files
        .iter()
        .flat_map(|file| file.contents.lines())
        .map(str::trim)
        .filter(|line| line.contains("url:"))
        .collect();
    assert_eq!(
        urls,
        [
            r#"url: "https://127.65.3.1:9009/prometheus""#,
            r#"- url: "https://127.65.3.1:9009/prometheus/api/v1/write""#,
        ]
    );
    assert!(files.iter().all(|file| !file.contents.contains("${compute")));
}

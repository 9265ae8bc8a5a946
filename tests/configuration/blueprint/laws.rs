use dorainfra_config::Config;
use dorainfra_deploy::blueprint::Content;
use dorainfra_deploy::blueprint::{self, Blueprint, File};
use dorainfra_prometheus::Flavour;
use dorainfra_render::Overrides;
use proptest::prelude::*;
use serde_json::Value;

use super::fixture;

fn build(config: &Config, flavour: Flavour) -> Blueprint {
    blueprint::build(config, &fixture::facts(flavour), &Overrides::none())
        .expect("every configuration of these tests can be built")
}

fn file<'a>(files: &'a [File], path: &str) -> &'a str {
    &files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{path} is rendered")).contents
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn bytes(blueprint: &Blueprint) -> bytes::Bytes {
    match &blueprint.contents[&blueprint.bundle] {
        Content::Bytes(bytes) => bytes.clone(),
        other => panic!("the bundle is not a file: {other:?}"),
    }
}

/// Any text without `${` (which is refused), with a liking for what has a meaning
/// somewhere.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<char>().prop_map(String::from),
        prop::sample::select(vec![
            "\"",
            "'",
            "\n",
            "\r\n",
            "\n---\n",
            ": ",
            " #",
            "{{ name }}",
            "{%",
            "{#",
            "$(id)",
            "`id`",
            "$HOME",
            "$$",
            "\\",
            "\\\"",
            "%n",
            "- ",
            "&a",
            "*a",
            "!!int",
            "|",
            ">",
            "}",
            "]",
            "\0",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "true",
            "1e3",
            "\t",
            "EOF",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat().replace("${", "$ {"))
}

fn configs() -> impl Strategy<Value = (Config, bool)> {
    let labels = prop::collection::btree_map(hostile(), hostile(), 0..4);
    let numbers = (0u32..400, 0u32..90, 1u32..70_000, any::<u64>(), any::<u16>());
    let nets = prop::collection::vec((any::<[u8; 4]>(), 8u8..=32), 0..4);
    // A shell script cannot hold a NUL, which is an error of its own.
    let tenant = hostile().prop_map(|text| text.replace('\0', ""));
    let retention = (1u32..5000).prop_map(|days| format!("{days}d"));
    (labels, tenant, retention, numbers, nets, any::<bool>()).prop_map(
        |(labels, tenant, retention, (soft, snapshots, disk, seed, port), nets, stand_in)| {
            let mut config = fixture::config();
            config.labels = labels;
            config.mimir.tenant = tenant;
            config.mimir.retention = retention;
            config.mimir.soft_delete_days = soft;
            config.mimir.snapshot_days = snapshots;
            config.mimir.disk_gb = disk;
            config.generator.seed = seed;
            config.stack.ports.pushgateway = port;
            config.access.allow =
                nets.iter().map(|([a, b, c, d], length)| format!("{a}.{b}.{c}.{d}/{length}")).collect();
            (config, stand_in)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Byte for byte the same, however often.
    #[test]
    fn the_same_configuration_gives_the_same_bytes((config, stand_in) in configs()) {
        let flavour = if stand_in { Flavour::StandIn } else { Flavour::Mimir };
        let (one, two) = (build(&config, flavour), build(&config, flavour));
        prop_assert_eq!(&one.files, &two.files);
        prop_assert_eq!(&one.manifests, &two.manifests);
        prop_assert_eq!(&one.bundle, &two.bundle);
        prop_assert_eq!(bytes(&one), bytes(&two));
        prop_assert!(one.files.is_sorted_by(|a, b| a.path < b.path));
    }

    /// Every value arrives as it is, in its place, and nothing else changes.
    #[test]
    fn no_value_breaks_out((config, stand_in) in configs()) {
        let flavour = if stand_in { Flavour::StandIn } else { Flavour::Mimir };
        let built = build(&config, flavour);
        let labels = serde_json::to_value(&config.labels).unwrap();
        let labelled = built.manifests.iter().filter(|manifest| manifest.body.get("labels").is_some());
        // Bucket, secrets, address, disk, instance; also where there are none, so that
        // a label taken out of the configuration is taken off.
        prop_assert_eq!(labelled.clone().count(), 8);
        for manifest in labelled {
            // A secret says in labels of its own what it holds.
            let mut present = manifest.body["labels"].clone();
            present.as_object_mut().unwrap().retain(|name, _| !name.starts_with("dorainfra-"));
            prop_assert_eq!(&present, &labels);
        }

        // The resources are those of a tame configuration, and so are their fields.
        let mut tame = config.clone();
        tame.labels = config.labels.keys().enumerate().map(|(n, _)| (format!("l{n}"), "x".into())).collect();
        tame.mimir.tenant = "tame".into();
        tame.mimir.retention = "1d".into();
        let shape = |blueprint: &Blueprint| -> Vec<(String, Vec<String>)> {
            let fields = |body: &Value| body.as_object().unwrap().keys().cloned().collect();
            blueprint.manifests.iter().map(|m| (m.kind.clone(), fields(&m.body))).collect()
        };
        prop_assert_eq!(shape(&built), shape(&build(&tame, flavour)));

        let prometheus = yaml(file(&built.files, "stack/prometheus.yml"));
        let header = &prometheus["remote_write"][0]["headers"]["X-Scope-OrgID"];
        let grafana = yaml(file(&built.files, "stack/grafana/provisioning/datasources/mimir.yaml"));
        let data_header = &grafana["datasources"][0]["secureJsonData"]["httpHeaderValue1"];
        if config.mimir.tenant.is_empty() {
            prop_assert!(header.is_null() && data_header.is_null());
        } else {
            prop_assert_eq!(header.as_str(), Some(config.mimir.tenant.as_str()));
            // Grafana reads `$$` as `$`.
            prop_assert_eq!(data_header.as_str().unwrap().replace("$$", "$"), config.mimir.tenant.clone());
        }
        yaml(file(&built.files, "stack/compose.yaml"));

        let bundle: Value = serde_json::from_str(file(&built.files, "vm/bundle.json")).unwrap();
        prop_assert_eq!(bundle["deployment"].as_str(), Some("dorainfra"));
        if !stand_in {
            let text = file(&built.files, "vm/mimir.yaml");
            // Mimir expands variables: of a value, there is none to be found.
            let own = [
                "ADDRESS", "LISTEN", "INSTANCE", "ZONE", "MEMBER_1", "MEMBER_2", "MEMBER_3",
                "MEMORY_3_QUARTERS", "MEMORY_QUARTER", "MEMORY_16TH", "MEMORY_64TH",
            ];
            let rest = own.iter().fold(text.to_owned(), |rest, name| rest.replace(&format!("${{DORAINFRA_{name}}}"), ""));
            prop_assert!(!rest.contains('$'), "{}", text);
            let mimir = yaml(text);
            prop_assert_eq!(mimir["no_auth_tenant"].as_str(), Some(config.mimir.tenant.as_str()));
            let retention = &mimir["limits"]["compactor_blocks_retention_period"];
            prop_assert_eq!(retention.as_str(), Some(config.mimir.retention.as_str()));
        }
    }
}

/// What a shell makes of a script's values.
#[test]
fn scripts_read_their_values_as_they_are() {
    const SCRIPT: &str =
        "printf '%s\\n' \"$1\" {{ engine.label }} {{ server_name }} {{ mimir.tenant }} {{ name }}\n";
    let mut config = fixture::config();
    config.mimir.tenant = "a'b\"c $(id) `id` $HOME \\ {{ name }} *\n; exit 1 #".into();
    let overrides = Overrides::from_map([("vm/machine.sh.j2".to_owned(), SCRIPT.to_owned())].into());
    let built = blueprint::build(&config, &fixture::facts(Flavour::StandIn), &overrides).unwrap();
    let script = file(&built.files, "vm/machine");
    let output =
        std::process::Command::new("bash").args(["-c", script, "machine", "install"]).output().unwrap();
    assert!(output.status.success(), "{script}");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!(
            "install\nprometheus 2.42.0 (standing in for mimir)\nmimir.dorainfra.internal\n{}\ndorainfra\n",
            config.mimir.tenant
        )
    );
}

#[test]
fn the_bundle_holds_the_machines_files_and_nothing_of_when_and_who() {
    let built = build(&fixture::config(), Flavour::Mimir);
    let bytes = bytes(&built);
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut listing = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let header = entry.header();
        assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (0, 0, 0));
        let mode = header.mode().unwrap();
        let mut contents = String::new();
        std::io::Read::read_to_string(&mut entry, &mut contents).unwrap();
        assert_eq!(contents, file(&built.files, &format!("vm/{path}")));
        listing.push(format!("{mode:o} {path}"));
    }
    assert_eq!(
        listing,
        [
            "644 bundle.json",
            "644 dorainfra-agent.service",
            "644 dorainfra-grow.service",
            "755 machine",
            "644 mimir.service",
            "644 mimir.yaml",
        ]
    );
    // The script that is in the metadata is the one that `render` shows.
    let instance = built.manifests.iter().find(|m| m.kind == "compute.instance").unwrap();
    let items = instance.body["metadata"]["items"].as_array().unwrap();
    let item = |key: &str| items.iter().find(|item| item["key"] == key).unwrap()["value"].as_str().unwrap();
    assert_eq!(item("startup-script"), file(&built.files, "vm/startup-script.sh"));
    assert_eq!(item("dorainfra-bundle"), built.bundle);
}

#[test]
fn paths_of_this_machine_are_in_no_file_and_no_manifest() {
    let mut config = fixture::config();
    config.templates_dir = Some("/home/someone/templates".into());
    config.mimir.binary = Some("/home/someone/mimir".into());
    config.stack.prometheus = Some("/home/someone/prometheus".into());
    config.stack.pushgateway = Some("/home/someone/pushgateway".into());
    let built = build(&config, Flavour::Mimir);
    let manifests = serde_json::to_string(&built.manifests).unwrap();
    assert!(!manifests.contains("/home/"));
    assert!(built.files.iter().all(|file| !file.contents.contains("/home/")));
    assert_eq!(built.files, build(&fixture::config(), Flavour::Mimir).files);
}

/// A file shows the manifest that the engine gets.
#[test]
fn each_resource_file_reads_as_its_manifest() {
    let built = build(&fixture::config(), Flavour::Mimir);
    for manifest in &built.manifests {
        let path = format!("resources/{}.{}.yaml", manifest.kind, manifest.name.replace('/', "_"));
        let read = yaml(file(&built.files, &path));
        assert_eq!(read["body"], manifest.body);
        assert_eq!(read["name"], manifest.name.as_str());
    }
    let shown = built.files.iter().filter(|file| file.path.starts_with("resources/")).count();
    assert_eq!(shown, built.manifests.len());
}

//! Whole error outputs of the configuration, as a person sees them.

use std::path::PathBuf;

use dorainfra_config::{Sources, load};

/// The error text for a file and overrides.
fn errors(file: &str, environment: &[(&str, &str)], set: &[&str]) -> String {
    let sources = Sources {
        file: Some((PathBuf::from("dorainfra.yaml"), file.to_owned())),
        environment: environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        tool_variables: vec!["DORAINFRA_LOG".to_owned()],
        set: set.iter().map(|&setting| setting.to_owned()).collect(),
        project: None,
    };
    load(sources).expect_err("something is wrong").to_string()
}

#[test]
fn everything_that_is_wrong_is_reported_at_once() {
    insta::assert_snapshot!(errors(
        r#"project: My_Project
name: a-deployment-with-a-long-name
region: europe-west1-b
nmae: x
mimir:
  version: latest
  topology: both
  disk: 20
  disk_gb: 20GB
  boot_disk_gb: 5
  disk_type: pd-sdd
  machine_type: E2-medium
  bucket: my-google-bucket
  retention: 13mo
  soft_delete_days: 3
  tenant: 7
  limits:
    max_series: many
    out_of_order_window: 400
labels:
  Team: platform
  managed-by: me
  env: [dev]
access:
  allow: [10.1.2.3/8, 203.0.113.7, caller, caller]
  public: yes
stack:
  runtime: kubernetes
  ports: {prometheus: 0, grafana: 70000}
  scrape_seconds: 2.5
generator:
  teams: 10001
  seed: -1
  days:
templates_dir: ~/templates
"#,
        &[("DORAINFRA_MIMIR_DISK_GB", "big"), ("DORAINFRA_MIMIR_DISK", "20"), ("DORAINFRA_LOG", "debug")],
        &[
            "mimir.tenant=a/b",
            "mimir.limits=1",
            "generator",
            "grafana=3001",
            "access.allow=caller, 10.0.0.1/8"
        ],
    ));
}

#[test]
fn unknown_keys_and_where_they_may_belong() {
    insta::assert_snapshot!(errors(
        "disk_gb: 20\nmimir.disk_gb: 20\nmimir:\n  diskGb: 20\n  project: x\n  limits:\n    colour: red\nZones: []\n",
        &[],
        &[],
    ));
}

#[test]
fn a_key_twice() {
    insta::assert_snapshot!(errors(
        "name: one\nmimir:\n  disk_gb: 20\nname: two\nmimir:\n  disk_gb: 30\n  disk_gb: 5\nlabels: {a: x, a: y}\n",
        &[],
        &[],
    ));
}

#[test]
fn values_of_another_type() {
    insta::assert_snapshot!(errors(
        "project: [a]\nname: true\nzones: europe-west1-b\nlabels: [a]\nmimir: 3\nstack:\n- a\naccess:\n  allow: []\n\
         generator: {teams: \"5\", days: true, seed: 99999999999999999999, interval_seconds: {a: 1}}\n",
        &[],
        &[],
    ));
}

#[test]
fn the_world_only_after_consent() {
    insta::assert_snapshot!(errors(
        "access:\n  allow:\n    - caller\n    - 0.0.0.0/0\n    - \"::/0\"\n",
        &[],
        &[]
    ));
}

#[test]
fn values_that_do_not_agree() {
    insta::assert_snapshot!(errors(
        "region: us-central1\nzones: [europe-west1-b, us-central1-a]\nmimir:\n  extra: {limits: {compactor_block_upload_enabled: false}}\n  retention: 90d\n  limits:\n    \
         out_of_order_window: 30d\n    max_series: 100\nstack:\n  ports:\n    grafana: 9090\n",
        &[("DORAINFRA_GENERATOR_DAYS", "200")],
        &["stack.ports.pushgateway=9090"],
    ));
}

#[test]
fn native_histograms_that_would_end_with_the_history() {
    for (live, way) in [("pushgateway", "a Pushgateway"), ("scrape", "a scraped page")] {
        let live = format!("stack.live={live}");
        let said = errors("generator:\n  native_histograms: true\n", &[], &[&live]);
        assert!(said.contains("dorainfra.yaml:2") && said.contains(way), "{said}");
        assert!(said.contains("set `stack.live` (--set) to `remote-write`"), "{said}");
    }
}

#[test]
fn a_history_that_is_too_long_for_the_window() {
    let window = "mimir.limits.out_of_order_window=400d";
    // Where it goes through the ingester; as blocks it needs no window.
    let sources = "sources: [{type: git, path: ../shop, team: orders}]\n";
    insta::assert_snapshot!(errors(&format!("generator:\n  days: 400\n{sources}"), &[], &[window]));
}

#[test]
fn a_watchdog_without_rules_would_never_bark() {
    let said = errors("alerts:\n  watchdog: switch.url\n  rules: false\n", &[], &[]);
    assert!(said.contains("dorainfra.yaml:2") && said.contains("set `alerts.rules` to `true`"), "{said}");
}

#[test]
fn mimirs_own_keys_are_checked_with_their_places() {
    insta::assert_snapshot!(errors(
        "mimir:\n  extra:\n    limits:\n      ingestion_rte: 5\n    server: {http_listen_port: 80}\n    common:\n\
         network: {create: true, name: platform}\naccess: {external: maybe, endpoint: localhost}\n",
        &[],
        &[],
    ));
}

#[test]
fn a_default_bucket_that_google_would_refuse() {
    insta::assert_snapshot!(errors("project: google-lab\n", &[], &[]));
}

#[test]
fn overrides_name_their_flag_or_variable() {
    insta::assert_snapshot!(errors(
        "",
        &[
            ("DORAINFRA_LABELS", "team=core,Env=dev,x"),
            ("DORAINFRA_ZONES", "[europe-west1-b"),
            ("DORAINFRA_MIMIR_DISC_GB", "a secret, perhaps"),
            ("DORAINFRA_ACCESS_PUBLIC", ""),
        ],
        &["labels.Team=x", "labels.team=X Y", "generator.seed=0x10", "=x", "mimir.bukcet=x", "zones=a,,b"],
    ));
}

#[test]
fn text_that_is_not_yaml() {
    let outputs: Vec<String> = [
        "mimir:\n\tdisk_gb: 20\n",
        "access:\n  allow: [caller\nname: x\n",
        "name: a: b\n",
        "name: 'x\n",
        "name: x\n---\nname: y\n",
        "- name\n",
        "just text\n",
        "~: x\n",
        "name: *nobody\n",
    ]
    .into_iter()
    .map(|text| errors(text, &[], &[]))
    .collect();
    insta::assert_snapshot!(outputs.join("\n"));
}

#[test]
fn wrong_overrides_are_reported_beside_a_broken_file() {
    insta::assert_snapshot!(errors("name: [\n", &[], &["mimir.disk_gb=1"]));
}

#[test]
fn three_machines_are_in_three_zones() {
    insta::assert_snapshot!(errors(
        "region: us-east1\nzones: [us-east1-b, us-east1-b, us-east1-c]\nmimir:\n  topology: ha\n",
        &[],
        &[],
    ));
}

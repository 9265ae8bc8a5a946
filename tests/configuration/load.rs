//! What the sources make together.

use std::path::{Path, PathBuf};

use dorainfra_config::{Config, Loaded, Origin, Sources, load, schema};
use proptest::prelude::*;

fn sources(file: &str, environment: &[(&str, &str)], set: &[&str]) -> Sources {
    Sources {
        file: Some((PathBuf::from("conf/dorainfra.yaml"), file.to_owned())),
        environment: environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        set: set.iter().map(|&setting| setting.to_owned()).collect(),
        ..Sources::default()
    }
}

fn loaded(file: &str, environment: &[(&str, &str)], set: &[&str]) -> Loaded {
    load(sources(file, environment, set)).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn nothing_at_all_is_the_defaults() {
    let nothing = load(Sources::default()).unwrap();
    assert_eq!(nothing.config, Config::default());
    assert!(nothing.origins.values().all(|origin| *origin == Origin::Default));
    for text in ["", "# nothing\n", "mimir:\naccess:\nlabels:\n", "mimir:\n  limits:\n"] {
        assert_eq!(loaded(text, &[], &[]).config, Config::default(), "{text:?}");
    }
}

#[test]
fn a_file_sets_what_it_names() {
    let config = loaded(
        "project: my-gcp\nregion: us-central1\nlabels: {team: core, env: \"1\"}\nmimir:\n  version: 3.0.4-rc.1\n  \
         disk_gb: 0x20\n  limits: {max_series: 5000}\naccess: {allow: [10.0.0.0/8, \"2001:db8::/32\"]}\n\
         stack: {runtime: compose}\ngenerator: {seed: 18446744073709551615}\n",
        &[],
        &[],
    )
    .config;
    insta::assert_json_snapshot!(config);
}

#[test]
fn a_higher_source_wins() {
    let file = "project: from-file\nname: file\n";
    let variables = [("DORAINFRA_PROJECT", "from-variable"), ("DORAINFRA_NAME", "variable")];
    let project = |sources| load(sources).unwrap().config.project;
    let mut all = sources(file, &variables, &["project=from-set", "project=from-set-2"]);
    all.project = Some("from-flag".into());
    assert_eq!(project(all), "from-flag");
    assert_eq!(project(sources(file, &variables, &["project=from-set", "project=from-set-2"])), "from-set-2");
    assert_eq!(project(sources(file, &variables, &[])), "from-variable");
    assert_eq!(project(sources(file, &[], &[])), "from-file");

    let Loaded { config, origins } = loaded(file, &variables[1..], &["mimir.disk_gb=30"]);
    assert_eq!((config.name.as_str(), config.mimir.disk_gb), ("variable", 30));
    assert_eq!(origins["project"], Origin::File { path: "conf/dorainfra.yaml".into(), line: 1, column: 10 });
    assert_eq!(origins["name"], Origin::Variable { name: "DORAINFRA_NAME".into() });
    assert_eq!(origins["mimir.disk_gb"], Origin::Set);
    assert_eq!(origins["region"], Origin::Default);
}

#[test]
fn googles_variable_serves_only_where_nothing_else_names_a_project() {
    let google = [("GOOGLE_CLOUD_PROJECT", "gcloud-default")];
    assert_eq!(loaded("", &google, &[]).config.project, "gcloud-default");
    assert_eq!(loaded("project: from-file\n", &google, &[]).config.project, "from-file");
    let unused = [("GOOGLE_CLOUD_PROJECT", "Not A Project")];
    assert_eq!(loaded("project: from-file\n", &unused, &[]).config.project, "from-file");
    load(sources("", &unused, &[])).unwrap_err();
}

#[test]
fn other_defaults_follow_from_project_name_and_region() {
    let config = loaded("region: us-central1\n", &[("DORAINFRA_PROJECT", "my-gcp")], &["name=dora"]).config;
    assert_eq!(config.zones, ["us-central1-b"]);
    let zones = |region: &str| loaded(region, &[], &["mimir.topology=ha"]).config.zones;
    assert_eq!(zones("region: us-central1\n"), ["us-central1-b", "us-central1-c", "us-central1-a"]);
    assert_eq!(zones("region: us-east1\n"), ["us-east1-b", "us-east1-c", "us-east1-d"]);
    assert_eq!(config.mimir.bucket_location, "us-central1");
    assert_eq!(config.mimir.bucket, "my-gcp-dora-mimir");
    let config =
        loaded("region: us-central1\nmimir: {bucket: mine}\n", &[], &["mimir.bucket_location=EU"]).config;
    assert_eq!((config.mimir.bucket.as_str(), config.mimir.bucket_location.as_str()), ("mine", "EU"));
}

#[test]
fn overrides_spell_lists_and_labels_in_two_ways() {
    for value in ["caller,10.0.0.0/8", "[caller, 10.0.0.0/8]", " caller , 10.0.0.0/8"] {
        assert_eq!(
            loaded("", &[("DORAINFRA_ACCESS_ALLOW", value)], &[]).config.access.allow,
            ["caller", "10.0.0.0/8"]
        );
    }
    for value in ["team=core,env=", "{team: core, env: \"\"}"] {
        let labels = loaded("labels: {other: x}\n", &[("DORAINFRA_LABELS", value)], &[]).config.labels;
        assert_eq!(
            labels.into_iter().collect::<Vec<_>>(),
            [("env".to_owned(), String::new()), ("team".to_owned(), "core".to_owned())]
        );
    }
    let labels = loaded("labels: {a: x, b: y}\n", &[], &["labels.b=", "labels.c=z"]).config.labels;
    assert_eq!(
        labels.into_iter().collect::<Vec<_>>(),
        [("a".to_owned(), "x".to_owned()), ("c".to_owned(), "z".to_owned())]
    );
    // Texts stand as they are: no quotes needed, none removed.
    assert_eq!(loaded("", &[], &["mimir.tenant=7"]).config.mimir.tenant, "7");
}

#[test]
fn an_empty_override_goes_back_to_the_default() {
    assert_eq!(loaded("mimir: {disk_gb: 30}\n", &[], &["mimir.disk_gb="]).config, Config::default());
    assert_eq!(
        loaded("mimir: {disk_gb: 30}\n", &[("DORAINFRA_MIMIR_DISK_GB", "")], &[]).config.mimir.disk_gb,
        30
    );
    assert_eq!(loaded("labels: {a: x}\n", &[], &["labels="]).config, Config::default());
}

#[test]
fn relative_paths_of_the_file_are_relative_to_its_folder() {
    let config = loaded(
        "templates_dir: mine\nmimir: {binary: /opt/mimir}\n",
        &[],
        &["stack.prometheus=bin/prometheus"],
    )
    .config;
    assert_eq!(config.templates_dir.as_deref(), Some(Path::new("conf/mine")));
    assert_eq!(config.mimir.binary.as_deref(), Some(Path::new("/opt/mimir")));
    assert_eq!(config.stack.prometheus.as_deref(), Some(Path::new("bin/prometheus")));
}

#[test]
fn consent_opens_the_world() {
    let config = loaded("access: {allow: [0.0.0.0/0, \"::/0\"], public: i-understand}\n", &[], &[]).config;
    assert_eq!(config.access.allow, ["0.0.0.0/0", "::/0"]);
}

#[test]
fn anchors_and_merges_are_yaml_too() {
    let config = loaded("labels: &l {a: x}\naccess:\n  allow: &nets [10.0.0.0/8]\n", &[], &[]).config;
    assert_eq!(config.labels["a"], "x");
    let errors = load(sources("generator: &g {teams: 0}\nstack:\n  <<: *g\n", &[], &[])).unwrap_err();
    assert_eq!(errors.problems().len(), 2, "{errors}");
}

#[test]
fn other_variables_are_nobodys_business() {
    let sources = Sources {
        environment: vec![("HOME".into(), "/".into()), ("DORAINFRA_LOG".into(), "debug".into())],
        tool_variables: vec!["DORAINFRA_LOG".into()],
        ..Sources::default()
    };
    assert_eq!(load(sources).unwrap().config, Config::default());
}

proptest! {
    /// Whatever is in a file or an override ends in a configuration or in a text.
    #[test]
    fn no_text_panics(
        file in "([a-z:{}\\[\\]&*#|>'\"\\-?!~%@,.0-9 \n\t]|\\PC|mimir|access|limits|labels|: ){0,40}",
        value in "\\PC{0,20}",
        key in prop::sample::select(schema::KEYS.iter().map(|key| key.path).collect::<Vec<_>>()),
    ) {
        let setting = format!("{key}={value}");
        if let Err(errors) = load(sources(&file, &[], &[&setting, &value])) {
            prop_assert!(!errors.problems().is_empty());
            prop_assert!(errors.to_string().chars().all(|c| c == '\n' || !c.is_control()));
        }
        let (section, leaf) = key.rsplit_once('.').map_or(("", key), |(section, leaf)| (section, leaf));
        if section.is_empty() {
            let _ = load(sources(&format!("{leaf}: {value}\n"), &[], &[])).map_err(|errors| errors.to_string());
        }
    }
}

//! `validate` and `explain`: what can be said of a configuration without a call.

use std::process::Output;

use serde_json::Value;

fn run(folder: &std::path::Path, arguments: &[&str]) -> Output {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_dorainfra"));
    // Whoever called somebody would wait for this proxy.
    command.env("HTTPS_PROXY", "http://127.0.0.1:9").current_dir(folder).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_configuration_is_valid_or_all_that_is_wrong_has_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let valid = run(folder.path(), &["validate"]);
    assert_eq!(valid.status.code(), Some(0), "{}", text(&valid.stderr));
    assert!(text(&valid.stdout).starts_with("the default configuration is valid: dorainfra, "));

    let file = folder.path().join("dorainfra.yaml");
    std::fs::write(&file, "project: my-gcp\nname: payments\n").unwrap();
    let valid = run(folder.path(), &["--json", "validate"]);
    let line: Value = serde_json::from_str(text(&valid.stdout).lines().last().unwrap()).unwrap();
    assert_eq!(line["result"]["file"], "dorainfra.yaml");
    assert_eq!(line["result"]["deployment"], "payments");
    assert!(line["result"]["resources"].as_u64().unwrap() > 10, "{line}");

    std::fs::write(&file, "projct: my-gcp\nmimir:\n  disk_gb: a lot\n").unwrap();
    let wrong = run(folder.path(), &["validate"]);
    assert_eq!(wrong.status.code(), Some(3));
    for said in ["dorainfra.yaml:1:1", "dorainfra.yaml:3:12", "did you mean `project`"] {
        assert!(text(&wrong.stderr).contains(said), "`{said}` is not in:\n{}", text(&wrong.stderr));
    }
}

#[test]
fn a_key_is_explained_where_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let key = run(folder.path(), &["explain", "mimir.disk_gb"]);
    for said in
        ["mimir.disk_gb", "allowed  a whole number", "default  20", "variable DORAINFRA_MIMIR_DISK_GB"]
    {
        assert!(text(&key.stdout).contains(said), "`{said}` is not in:\n{}", text(&key.stdout));
    }
    let all = run(folder.path(), &["explain"]);
    assert!(text(&all.stdout).contains("\nproject\n") && text(&all.stdout).contains("\nmimir\n"));
    assert!(text(&all.stdout).lines().all(|line| line.chars().count() <= 100));
    let unknown = run(folder.path(), &["explain", "disk_gb"]);
    assert_eq!(unknown.status.code(), Some(3));
    assert!(text(&unknown.stderr).contains("did you mean `mimir.disk_gb`?"), "{}", text(&unknown.stderr));
    let schema = run(folder.path(), &["explain", "--schema"]);
    let schema: Value = serde_json::from_str(text(&schema.stdout)).unwrap();
    assert_eq!(schema["properties"]["mimir"]["properties"]["disk_gb"]["type"], "integer");
}

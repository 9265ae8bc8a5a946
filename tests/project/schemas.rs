//! docs/schemas is made from the types that are written; to write it again:
//! `cargo test --test project schemas -- --ignored`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::json_schema;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas")
}

#[test]
fn the_schemas_are_current() {
    let mut files = BTreeSet::new();
    for (name, schema) in dorainfra::schemas::all() {
        let file = format!("{name}.schema.json");
        let kept = std::fs::read_to_string(folder().join(&file)).unwrap_or_default();
        let current = kept == dorainfra::schemas::text(&schema);
        assert!(current, "docs/schemas/{file} is stale: cargo test --test project schemas -- --ignored");
        files.insert(file);
    }
    let there = std::fs::read_dir(folder()).unwrap();
    let there: BTreeSet<String> =
        there.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(there, files);
}

#[test]
#[ignore = "writes docs/schemas"]
fn write_the_schemas() {
    for (name, schema) in dorainfra::schemas::all() {
        let file = folder().join(format!("{name}.schema.json"));
        std::fs::write(file, dorainfra::schemas::text(&schema)).unwrap();
    }
}

/// A schema that takes anything would make every test green.
#[test]
fn what_does_not_fit_is_found() {
    let line =
        json!({"schema": 1, "type": "progress", "what": "history", "done": 1, "total": 2, "unit": "samples"});
    assert_eq!(json_schema::wrong("events", &line), None);
    let with = |name: &str, value: Value| {
        let mut line = line.clone();
        line[name] = value;
        json_schema::wrong("events", &line)
    };
    for (name, value) in [
        ("done", json!("1")),
        ("done", json!(1.5)),
        ("schema", json!(2)),
        ("type", json!("no-such-type")),
        ("unheard_of", json!(true)),
    ] {
        assert!(with(name, value.clone()).is_some(), "{name}: {value}");
    }
    let result = |result: Value| {
        json_schema::wrong("events", &json!({"schema": 1, "type": "result", "result": result}))
    };
    assert_eq!(result(json!({"ok": true, "code": 0})), None);
    for wrong in [json!({}), json!({"ok": true}), json!({"ok": true, "code": 0, "more": 1}), json!("done")] {
        assert!(result(wrong.clone()).is_some(), "{wrong}");
    }
}

/// What an editor checks dorainfra.yaml by.
#[test]
fn the_schema_of_the_configuration_takes_all_defaults() {
    let defaults = serde_json::to_value(dorainfra_config::Config::default()).unwrap();
    // A key without a value is left out of the file.
    fn set(value: Value) -> Value {
        match value {
            Value::Object(fields) => {
                let fields = fields.into_iter().filter(|(_, value)| !value.is_null() && *value != json!([]));
                Value::Object(fields.map(|(name, value)| (name, set(value))).collect())
            }
            other => other,
        }
    }
    assert_eq!(json_schema::wrong("dorainfra", &set(defaults)), None);
    assert!(json_schema::wrong("dorainfra", &json!({"mimir": {"disk_gb": "a lot"}})).is_some());
    assert!(json_schema::wrong("dorainfra", &json!({"mimr": {}})).is_some());
    // Of each type of source just the one schema.
    let source = |source: Value| json_schema::wrong("dorainfra", &json!({"sources": [source]}));
    assert_eq!(source(json!({"type": "git", "path": "../shop"})), None);
    assert_eq!(source(json!({"type": "file", "path": "events.jsonl"})), None);
    for wrong in
        [json!({"type": "github", "path": "../shop"}), json!({"type": "git"}), json!({"path": "../shop"})]
    {
        assert!(source(wrong.clone()).is_some(), "{wrong}");
    }
}

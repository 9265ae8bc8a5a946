//! What programs read is checked by docs/schemas, and more closely than a reader has to: a field
//! that no schema has is wrong, too.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;

/// Why a value does not fit docs/schemas/NAME.schema.json; `None`: it does.
pub fn wrong(name: &str, value: &Value) -> Option<String> {
    static KNOWN: Mutex<BTreeMap<String, (Schemas, SchemaIndex)>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let (schemas, index) = known.entry(name.to_owned()).or_insert_with(|| compiled(name));
    schemas.validate(value, *index).err().map(|error| format!("{error:#}"))
}

/// A line of `--json`.
#[track_caller]
pub fn assert_line(line: &Value) {
    if let Some(wrong) = wrong("events", line) {
        panic!("no line of docs/schemas/events.schema.json:\n{line}\n{wrong}");
    }
}

/// All that a command printed with `--json`: lines, of which the last one is a result. Answers it.
#[track_caller]
pub fn assert_lines(stdout: &str) -> Value {
    let mut last = Value::Null;
    for line in stdout.lines() {
        last = serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        assert_line(&last);
    }
    assert_eq!(last["type"], "result", "the last line is no result:\n{stdout}");
    last["result"].clone()
}

fn compiled(name: &str) -> (Schemas, SchemaIndex) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/schemas/{name}.schema.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut schema = serde_json::from_str(&text).unwrap();
    close(&mut schema);
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("schema.json", schema).unwrap();
    let index =
        compiler.compile("schema.json", &mut schemas).unwrap_or_else(|error| panic!("{name}: {error}"));
    (schemas, index)
}

/// Refuses fields that are not named.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let combined = ["additionalProperties", "$ref", "allOf", "anyOf", "oneOf"];
            let whole = fields.get("properties").is_some_and(Value::is_object)
                && !combined.iter().any(|word| fields.contains_key(*word));
            fields.values_mut().for_each(close);
            if whole {
                fields.insert("additionalProperties".into(), false.into());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

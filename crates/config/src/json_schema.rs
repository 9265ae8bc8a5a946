//! The configuration file as a JSON Schema, for editors: from the table of keys.

use serde_json::{Map, Value, json};

use super::Config;
use super::schema::{KEYS, Kind, SECTIONS};
use super::source::FIELDS;
use super::source_kind::SourceKind;

/// JSON Schema, draft 2020-12. It is as strict as a schema can be: what keys have to be together
/// is for `dorainfra validate`.
pub fn json_schema() -> Value {
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let mut root = section();
    for inner in SECTIONS.iter().filter(|inner| !inner.path.is_empty()) {
        let mut schema = section();
        schema["description"] = inner.doc.into();
        put(&mut root, inner.path, schema);
    }
    for key in KEYS {
        let mut schema = value(&key.kind);
        schema["description"] = key.doc.into();
        let default = key.value_in(&defaults);
        if let Some(default) = default.filter(|_| key.derived.is_none()) {
            schema["default"] = default.clone();
        }
        put(&mut root, key.path, schema);
    }
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = "dorainfra.yaml".into();
    root
}

fn section() -> Value {
    json!({"type": ["object", "null"], "properties": {}, "additionalProperties": false})
}

/// Puts a schema where its path says, below sections that are there.
fn put(root: &mut Value, path: &str, schema: Value) {
    let mut place = root;
    for name in path.split('.') {
        place = &mut place["properties"][name];
    }
    *place = schema;
}

fn value(kind: &Kind) -> Value {
    match kind {
        // A word that YAML takes for a number is a text here.
        Kind::Text(rule) => json!({"type": ["string", "number"], "$comment": rule.allowed}),
        Kind::Path => json!({"type": "string"}),
        Kind::Whole(ranges) => {
            let range = |(least, most): &(u64, u64)| match most {
                &u64::MAX => json!({"minimum": least}),
                most => json!({"minimum": least, "maximum": most}),
            };
            json!({"type": "integer", "anyOf": ranges.iter().map(range).collect::<Vec<_>>()})
        }
        Kind::Choice(words, _) => json!({"enum": words}),
        Kind::List(rule) => {
            json!({"type": "array", "minItems": 1, "items": {"type": ["string", "number"]}, "$comment": rule.allowed})
        }
        Kind::Labels => {
            json!({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}})
        }
        Kind::Sources => json!({"type": "array", "items": {"oneOf": sources()}}),
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Options => json!({"type": "object"}),
    }
}

/// One schema for each type of source, by the keys that it takes.
fn sources() -> Vec<Value> {
    let of = |kind: &SourceKind| {
        let mut properties = Map::from_iter([("type".to_owned(), json!({"const": kind.name()}))]);
        let mut required = vec!["type"];
        for field in FIELDS.iter().filter(|field| field.name() != "type" && field.types.has(*kind)) {
            let mut schema = value(&field.key.kind);
            schema["description"] = field.key.doc.into();
            properties.insert(field.name().to_owned(), schema);
            if field.needed.has(*kind) {
                required.push(field.name());
            }
        }
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
    };
    SourceKind::ALL.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_in_the_schema_and_takes_its_default() {
        let schema = json_schema();
        for key in KEYS {
            let pointer = format!("/properties/{}", key.path.replace('.', "/properties/"));
            let own = schema.pointer(&pointer).unwrap_or_else(|| panic!("{} is missing", key.path));
            assert_eq!(own["description"], key.doc, "{}", key.path);
            let Some(default) = own.get("default") else { continue };
            let kind = match default {
                Value::String(_) => "string",
                Value::Number(_) => "integer",
                Value::Bool(_) => "boolean",
                Value::Array(_) => "array",
                _ => "object",
            };
            let types = own["type"].to_string();
            let word = own["enum"].as_array().is_some_and(|words| words.contains(default));
            assert!(word || types.contains(kind), "{}: {default} is no {types}", key.path);
        }
        // What is misspelled is marked at every depth.
        let closed = |value: &Value| value["additionalProperties"] == false;
        assert!(closed(&schema) && closed(&schema["properties"]["mimir"]));
        let sources = schema["properties"]["sources"]["items"]["oneOf"].as_array().unwrap();
        assert_eq!(sources.len(), SourceKind::ALL.len());
        assert!(sources.iter().all(closed));
    }
}

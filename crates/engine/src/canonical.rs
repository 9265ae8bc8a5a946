//! One spelling for one JSON value, and digests over it. What is equal has the
//! same digest on every machine and in every version of the program.

use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Manifest;

/// The value as JSON text with sorted keys and no spaces.
pub(super) fn text(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            // Sorted here, not left to serde_json: its order depends on a
            // feature that any dependency may switch on.
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (index, (key, item)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write(item, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// The first 32 lower-case hex digits of the SHA-256 of `value`'s canonical text.
pub(super) fn short_hash(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).expect("plain data with string keys is always JSON");
    let mut hash = hex::encode(Sha256::digest(text(&value).as_bytes()));
    hash.truncate(32);
    hash
}

/// The digest that a provider writes into the ownership mark: 32 lower-case hex
/// digits over kind, name and body, with the references as they are written. So
/// it changes when the configuration changes, and only then.
pub fn digest(manifest: &Manifest) -> String {
    short_hash(&json!({ "kind": manifest.kind, "name": manifest.name, "body": manifest.body }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn manifest(body: Value) -> Manifest {
        Manifest::new("mem.disk", "data", body)
    }

    #[test]
    fn keys_are_sorted_and_nothing_else_is_changed() {
        let value = json!({"b": [1, "x\"y", null], "a": {"d": true, "c": 1.5}});
        assert_eq!(text(&value), r#"{"a":{"c":1.5,"d":true},"b":[1,"x\"y",null]}"#);
    }

    #[test]
    fn the_digest_is_pinned() {
        // Marks in people's clouds carry it: a change here makes every resource
        // look as if its configuration had changed.
        assert_eq!(digest(&manifest(json!({"sizeGb": 50}))), "b5d5ac37ecedab994607094a24850967");
    }

    #[test]
    fn only_what_the_provider_sees_is_in_the_digest() {
        let plain = manifest(json!({"sizeGb": 50}));
        let noted = Manifest {
            protect: true,
            notes: BTreeMap::from([("cost".to_owned(), "some".to_owned())]),
            ..plain.clone()
        };
        assert_eq!(digest(&plain), digest(&noted));
        assert_ne!(digest(&plain), digest(&manifest(json!({"sizeGb": 51}))));
        assert_ne!(digest(&plain), digest(&Manifest { name: "other".into(), ..plain.clone() }));
    }
}

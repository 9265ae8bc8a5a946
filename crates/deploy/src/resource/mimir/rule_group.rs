//! `mimir.ruleGroup`: a group of rules in Mimir's ruler, in our own namespace.
//! Groups carry no mark: all in the namespace are ours.

use dorainfra_engine::{KindSpec, Manifest, Observed, Ownership, ResourceId};
use serde_json::{Map, Value, json};

use super::api::{MimirApi, MimirError};

pub(super) const SPEC: KindSpec = KindSpec {
    keyed: &[("rules", "alert"), ("rules", "record")],
    // A field that somebody added anywhere is a difference.
    whole: &["", "rules", "rules.labels", "rules.annotations"],
    // It goes with the bucket that holds it.
    keep_on_destroy: true,
    ..KindSpec::plain("mimir.ruleGroup")
};

fn observed(group: Value) -> Observed {
    let name = group["name"].as_str().unwrap_or_default().to_owned();
    let mut body = without_defaults(group);
    if let Some(fields) = body.as_object_mut() {
        fields.remove("name");
    }
    for rule in body["rules"].as_array_mut().into_iter().flatten() {
        if let Some(expression) = rule["expr"].as_str() {
            rule["expr"] = expression.trim_end().into();
        }
    }
    Observed { id: ResourceId::new(SPEC.kind, name), body, ownership: Ownership::Ours, applied: None }
}

/// Fields that are empty, or no time at all, say what their absence says.
fn without_defaults(value: Value) -> Value {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty() || text == "0s",
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(flag) => !flag,
        Value::Number(_) => false,
    };
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(key, value)| (key, without_defaults(value)));
            Value::Object(fields.filter(|(_, value)| !empty(value)).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_defaults).collect()),
        other => other,
    }
}

pub(super) async fn read(api: &MimirApi, name: &str) -> Result<Option<Observed>, MimirError> {
    Ok(api.group(name).await?.map(observed))
}

pub(super) async fn list(api: &MimirApi) -> Result<Vec<Observed>, MimirError> {
    Ok(api.groups().await?.into_iter().map(observed).collect())
}

/// Makes it, or replaces it whole.
pub(super) async fn put(api: &MimirApi, manifest: &Manifest) -> Result<(), MimirError> {
    let mut group = Map::from_iter([("name".to_owned(), json!(manifest.name))]);
    group.extend(manifest.body.as_object().cloned().unwrap_or_default());
    api.put_group(&manifest.name, &Value::Object(group)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Mimir 3.0.4 spells a group back.
    #[test]
    fn a_group_comes_back_as_it_was_declared() {
        let text = "name: g\ninterval: 1m\nsource_tenants: []\nrules:\n    - alert: T\n      expr: |\n        \
                    sum(up)\n          / 2\n      for: 2m\n      keep_firing_for: 0s\n      labels:\n        \
                    severity: warning\n      annotations: {}\n";
        let seen = observed(serde_saphyr::from_str(text).unwrap());
        assert_eq!(seen.id.to_string(), "mimir.ruleGroup/g");
        assert_eq!(
            seen.body,
            json!({"interval": "1m", "rules": [
                {"alert": "T", "expr": "sum(up)\n  / 2", "for": "2m", "labels": {"severity": "warning"}},
            ]})
        );
    }
}

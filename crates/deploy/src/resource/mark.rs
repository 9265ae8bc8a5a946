//! The ownership mark: three labels, or a line at the end of a description.

use dorainfra_engine::{Mark, Observed, Ownership, ResourceId};
use serde_json::{Map, Value, json};

pub const MANAGER: &str = "dorainfra";
pub const MANAGED_BY: &str = "managed-by";
pub const DEPLOYMENT: &str = "deployment";
pub const DIGEST: &str = "dorainfra-digest";
/// Reserved for labels that Google sets.
const GOOGLES: &str = "goog-";

/// The labels of a mark, beside those that the manifest declares.
pub fn labelled(declared: &Value, mark: &Mark) -> Value {
    let mut labels = declared.as_object().cloned().unwrap_or_default();
    labels.insert(MANAGED_BY.into(), json!(MANAGER));
    labels.insert(DEPLOYMENT.into(), json!(mark.deployment));
    labels.insert(DIGEST.into(), json!(mark.digest));
    Value::Object(labels)
}

/// Labels that Google's own services set (`goog-…`) stay beside ours.
pub fn with_googles(mut labels: Value, present: &Value) -> Value {
    for (name, value) in present.as_object().into_iter().flatten() {
        if name.starts_with(GOOGLES) {
            labels[name] = value.clone();
        }
    }
    labels
}

/// The description of a mark, behind the one that the manifest declares.
pub fn described(declared: &Value, mark: &Mark) -> Value {
    let line = format!("[{MANAGER} deployment={} digest={}]", mark.deployment, mark.digest);
    match declared.as_str().filter(|text| !text.is_empty()) {
        Some(text) => json!(format!("{text} {line}")),
        None => json!(line),
    }
}

/// Takes the mark out of `labels` (the field may be called `metadata`).
pub fn from_labels(deployment: &str, id: ResourceId, mut body: Value, field: &str) -> Observed {
    let mut labels = match body[field].take() {
        Value::Object(labels) => labels,
        _ => Map::new(),
    };
    let mut take = |name: &str| labels.remove(name).and_then(|value| value.as_str().map(str::to_owned));
    let (manager, owner, digest) = (take(MANAGED_BY), take(DEPLOYMENT), take(DIGEST));
    labels.retain(|name, _| !name.starts_with(GOOGLES));
    if let Some(map) = body.as_object_mut() {
        map.insert(field.into(), Value::Object(labels));
    }
    let (ownership, applied) = match (manager.as_deref(), owner) {
        (Some(MANAGER), Some(owner)) => (ownership(deployment, owner), digest),
        _ => (Ownership::Unmarked, None),
    };
    Observed { id, body, ownership, applied }
}

/// Takes the mark out of `description`.
pub fn from_description(deployment: &str, id: ResourceId, mut body: Value) -> Observed {
    let description = body["description"].as_str().unwrap_or_default().to_owned();
    let parsed = description.rfind(&format!("[{MANAGER} ")).and_then(|start| {
        let line = description[start..].strip_suffix(']')?;
        let word = |name: &str| {
            line.split_whitespace()
                .find_map(|word| word.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
        };
        Some((start, word("deployment")?, word("digest")))
    });
    match parsed {
        Some((start, owner, digest)) => {
            body["description"] = json!(description[..start].trim_end());
            Observed { id, body, ownership: ownership(deployment, owner), applied: digest }
        }
        None => Observed { id, body, ownership: Ownership::Unmarked, applied: None },
    }
}

fn ownership(deployment: &str, owner: String) -> Ownership {
    if owner == deployment { Ownership::Ours } else { Ownership::Other(owner) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        Mark { deployment: "dora".into(), digest: "0123".into() }
    }

    #[test]
    fn a_mark_in_labels_comes_back_and_leaves_the_users_labels() {
        let body = json!({"labels": labelled(&json!({"team": "a"}), &mark())});
        let seen = from_labels("dora", ResourceId::new("k", "n"), body, "labels");
        assert_eq!(seen.ownership, Ownership::Ours);
        assert_eq!(seen.applied.as_deref(), Some("0123"));
        assert_eq!(seen.body, json!({"labels": {"team": "a"}}));
    }

    #[test]
    fn labels_of_googles_own_are_neither_compared_nor_lost() {
        let present = json!({"goog-ops-agent": "v2", "team": "a"});
        let seen = from_labels("dora", ResourceId::new("k", "n"), json!({"labels": present}), "labels");
        assert_eq!(seen.body, json!({"labels": {"team": "a"}}));
        assert_eq!(
            with_googles(json!({"team": "b"}), &present),
            json!({"team": "b", "goog-ops-agent": "v2"})
        );
    }

    #[test]
    fn a_mark_in_a_description_comes_back() {
        let body = json!({"description": described(&json!("Port 9009"), &mark())});
        let seen = from_description("other", ResourceId::new("k", "n"), body);
        assert_eq!(seen.ownership, Ownership::Other("dora".into()));
        assert_eq!(seen.body, json!({"description": "Port 9009"}));
    }

    #[test]
    fn no_mark_is_nobodys() {
        let seen = from_labels(
            "dora",
            ResourceId::new("k", "n"),
            json!({"labels": {"deployment": "dora"}}),
            "labels",
        );
        assert_eq!(seen.ownership, Ownership::Unmarked);
    }
}

//! What a new bundle changes in the files on the machine, for the plan: the
//! metadata of the instance names bundles by their digests, which say nothing.
//! Configuration is compared key by key, other files as text.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use dorainfra_engine::{Change, Plan};
use dorainfra_gcp::Client;
use dorainfra_model::Events;
use futures::future::join_all;
use serde_json::Value;

use crate::blueprint::Content;
use crate::blueprint::{self, Blueprint};

/// The item of the instance's metadata that names its bundle.
const ITEM: &str = "metadata.items[dorainfra-bundle].value";

/// A step that changes the version of Mimir on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionChange {
    pub from: String,
    pub to: String,
}

/// Adds to the steps that install a new bundle what it changes in the files, once for
/// each bundle that is there, and warnings about another version of Mimir; answers what
/// versions change. The old bundles are read from the bucket; one that cannot be read is
/// told, and the plan stays as it is.
pub async fn show_files(
    plan: &mut Plan,
    blueprint: &Blueprint,
    bucket: &str,
    client: &Client,
    events: &Events,
) -> Vec<VersionChange> {
    let after = match blueprint.contents.get(&blueprint.bundle) {
        Some(Content::Bytes(bytes)) => files(bytes),
        _ => return Vec::new(),
    };
    let installed = installed(plan);
    let objects: Vec<String> = installed.keys().map(|old| format!("bundles/{old}.tar")).collect();
    let read = join_all(objects.iter().map(|object| client.read_object(bucket, object))).await;
    let mut versions = Vec::new();
    for (at, read) in installed.into_values().zip(read) {
        let before = match read {
            Ok(Some((bytes, _))) => files(&bytes),
            Ok(None) => continue,
            Err(error) => {
                let why = format!("what changes in the machine's files cannot be shown: {error}");
                events.warn(why, error.hint());
                continue;
            }
        };
        plan.steps[at].changes.extend(changes(&before, &after));
        let Some(change) = version_change(&before, &after) else { continue };
        let told = upgrade(&change, &after);
        plan.warnings.extend(told.into_iter().filter(|_| !versions.contains(&change)));
        versions.push(change);
    }
    versions
}

/// The bundles that will be replaced, and the first step that replaces each.
fn installed(plan: &Plan) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for (at, step) in plan.steps.iter().enumerate() {
        let change = step.changes.iter().find(|change| change.path == ITEM);
        if let Some(old) = change.and_then(|change| change.before.as_ref()?.as_str()) {
            found.entry(old.to_owned()).or_insert(at);
        }
    }
    found
}

fn version_change(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Option<VersionChange> {
    let version = |files: &BTreeMap<String, String>| {
        let about = leaves(files.get("bundle.json")?)?;
        let text = |key: &str| about.get(key).and_then(Value::as_str).map(str::to_owned);
        text("engine.version").filter(|_| text("engine.flavour").as_deref() == Some("mimir"))
    };
    let change = VersionChange { from: version(before)?, to: version(after)? };
    (change.from != change.to).then_some(change)
}

/// What is known about it.
fn upgrade(change: &VersionChange, after: &BTreeMap<String, String>) -> Vec<String> {
    let configured = after.get("mimir.yaml").and_then(|text| leaves(text)).unwrap_or_default();
    blueprint::upgrade(&change.from, &change.to, configured.keys().map(String::as_str))
}

/// The text files of a tar, by name. What is damaged is left out: the digest was
/// checked when it was made.
fn files(tar: &[u8]) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().into_iter().flatten().flatten();
    entries
        .filter_map(|mut entry| {
            let name = entry.path().ok()?.to_str()?.to_owned();
            let mut text = String::new();
            entry.read_to_string(&mut text).ok()?;
            Some((name, text))
        })
        .collect()
}

fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<Change> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        let (old, new) = (before.get(name), after.get(name));
        if old == new {
            continue;
        }
        let structured = name.ends_with(".yaml") || name.ends_with(".yml") || name.ends_with(".json");
        match (old.and_then(|text| leaves(text)), new.and_then(|text| leaves(text))) {
            (Some(old), Some(new)) if structured => found.extend(keys(name, &old, &new)),
            _ => {
                let text =
                    |text: Option<&String>| Some(text.map_or(Value::Null, |text| Value::from(text.as_str())));
                found.push(change(name.clone(), text(old), text(new)));
            }
        }
    }
    found
}

fn keys(file: &str, old: &BTreeMap<String, Value>, new: &BTreeMap<String, Value>) -> Vec<Change> {
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differ = paths.into_iter().filter(|path| old.get(*path) != new.get(*path));
    let value = |side: &BTreeMap<String, Value>, path| Some(side.get(path).cloned().unwrap_or(Value::Null));
    differ.map(|path| change(format!("{file}: {path}"), value(old, path), value(new, path))).collect()
}

fn change(path: String, before: Option<Value>, after: Option<Value>) -> Change {
    Change { path, before, after, forces_replacement: false }
}

/// The values of a YAML or JSON text that are no mappings, by their dotted paths.
fn leaves(text: &str) -> Option<BTreeMap<String, Value>> {
    fn walk(value: Value, path: &str, into: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (key, value) in fields {
                    let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                    walk(value, &path, into);
                }
            }
            other => {
                into.insert(path.to_owned(), other);
            }
        }
    }
    // YAML 1.2, as Mimir reads it: `no` and `on` are texts.
    let options = serde_saphyr::options! { strict_booleans: true };
    let mut found = BTreeMap::new();
    walk(serde_saphyr::from_str_with_options(text, options).ok()?, "", &mut found);
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(before: &[(&str, &str)], after: &[(&str, &str)]) -> Vec<String> {
        let side = |files: &[(&str, &str)]| {
            files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
        };
        let show = |value: Option<Value>| value.map_or("unknown".into(), |value| value.to_string());
        let told =
            |change: Change| format!("{}: {} → {}", change.path, show(change.before), show(change.after));
        changes(&side(before), &side(after)).into_iter().map(told).collect()
    }

    #[test]
    fn configuration_is_told_by_its_keys_and_comments_are_none() {
        let before = [("mimir.yaml", "# why\nlimits: {a: 1, b: 2}\nserver: {x: y}\n"), ("same", "1")];
        let after = [("mimir.yaml", "limits: {a: 1, b: 3, c: [4]}\n"), ("same", "1")];
        assert_eq!(
            told(&before, &after),
            [
                "mimir.yaml: limits.b: 2 → 3",
                "mimir.yaml: limits.c: null → [4]",
                "mimir.yaml: server.x: \"y\" → null"
            ]
        );
        assert_eq!(told(&[("a.yaml", "# one\na: 1\n")], &[("a.yaml", "a: 1\n")]), Vec::<String>::new());
    }

    #[test]
    fn other_files_are_told_as_text() {
        let told =
            told(&[("machine", "a\nb\n"), ("gone", "x\n")], &[("machine", "a\nc\n"), ("bad.yaml", "a: [")]);
        assert_eq!(
            told,
            [r#"bad.yaml: null → "a: [""#, r#"gone: "x\n" → null"#, r#"machine: "a\nb\n" → "a\nc\n""#]
        );
    }
}

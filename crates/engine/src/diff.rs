//! The comparison of what a manifest declares with what the cloud has.
//!
//! Only declared fields count: a key that the manifest doesn't have may hold
//! anything, except in a map that the kind names as `whole` (labels). A declared
//! *list* is declared whole: an item that the cloud has on
//! top is a difference (one more open port is not noise), told as a change to
//! `null`. Numbers equal numeric strings, as Google spells 64-bit integers as
//! strings. An absent field equals `null`, `false`, `""` and `[]`, as answers
//! leave out what is at its default.

use std::collections::BTreeMap;

use serde_json::Value;

use super::canonical;
use super::desired::{Desired, Leaf};
use super::{Change, KindSpec, ResourceId};

/// A change, and the resources that its new value comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Difference {
    pub change: Change,
    pub via: Vec<ResourceId>,
}

/// All declared fields in which `observed` differs, in the order of the paths.
pub(super) fn diff(desired: &Desired, observed: &Value, spec: &KindSpec) -> Vec<Difference> {
    let mut comparison = Comparison { spec, found: Vec::new() };
    comparison.compare(desired, Some(observed), &Path::default());
    comparison.found
}

/// Where the comparison is.
#[derive(Clone, Default)]
struct Path {
    /// As shown: `disks[0].sizeGb`.
    shown: String,
    /// As kinds name it, without list items: `disks.sizeGb`.
    plain: String,
}

impl Path {
    fn field(&self, key: &str) -> Self {
        let join = |base: &str| if base.is_empty() { key.to_owned() } else { format!("{base}.{key}") };
        Self { shown: join(&self.shown), plain: join(&self.plain) }
    }

    fn item(&self, name: &str) -> Self {
        Self { shown: format!("{}[{name}]", self.shown), plain: self.plain.clone() }
    }

    /// Whether the place is at or below one of `paths`.
    fn within(&self, paths: &[&str]) -> bool {
        paths.iter().any(|path| {
            self.plain.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }
}

struct Comparison<'a> {
    spec: &'a KindSpec,
    found: Vec<Difference>,
}

impl Comparison<'_> {
    fn compare(&mut self, desired: &Desired, before: Option<&Value>, path: &Path) {
        if !path.plain.is_empty() && path.within(self.spec.write_only) {
            return;
        }
        match desired {
            Desired::Leaf(leaf) => {
                if !leaf_matches(leaf, before) {
                    self.differs(desired, before.cloned(), path);
                }
            }
            Desired::Map(map) => match before {
                Some(Value::Object(fields)) => {
                    for (key, item) in map {
                        self.compare(item, fields.get(key), &path.field(key));
                    }
                    if self.spec.whole.contains(&path.plain.as_str()) {
                        for (key, before) in fields.iter().filter(|(key, _)| !map.contains_key(*key)) {
                            self.superfluous(before, &path.field(key));
                        }
                    }
                }
                // Field by field, as some of them may equal their absence.
                None | Some(Value::Null) if !map.is_empty() => {
                    for (key, item) in map {
                        self.compare(item, None, &path.field(key));
                    }
                }
                other => self.differs(desired, other.cloned(), path),
            },
            Desired::List(items) => self.compare_list(desired, items, before, path),
        }
    }

    fn compare_list(&mut self, desired: &Desired, items: &[Desired], before: Option<&Value>, path: &Path) {
        let present: &[Value] = match before {
            None | Some(Value::Null) => &[],
            Some(Value::Array(present)) => present,
            Some(other) => return self.differs(desired, Some(other.clone()), path),
        };
        if self.spec.sets.contains(&path.plain.as_str()) {
            if !self.same_set(items, present, path) {
                // Sorted: the order in the cloud means nothing, and a saved plan
                // must not differ by it.
                let mut present = present.to_vec();
                present.sort_by_cached_key(canonical::text);
                self.differs(desired, before.map(|_| Value::Array(present)), path);
            }
            return;
        }
        let mut keys = self.spec.keyed.iter().filter(|(list, _)| *list == path.plain);
        if let Some((wanted, present)) = keys.find_map(|(_, key)| by_key(items, present, key)) {
            return self.compare_keyed(&wanted, &present, path);
        }
        if items.len() == present.len() {
            for (index, (item, before)) in items.iter().zip(present).enumerate() {
                self.compare(item, Some(before), &path.item(&index.to_string()));
            }
        } else {
            self.differs(desired, before.cloned(), path);
        }
    }

    fn compare_keyed(&mut self, wanted: &[(String, &Desired)], present: &[(String, &Value)], path: &Path) {
        let by_name: BTreeMap<&str, &Value> =
            present.iter().map(|(name, item)| (name.as_str(), *item)).collect();
        for (name, item) in wanted {
            match by_name.get(name.as_str()) {
                Some(before) => self.compare(item, Some(before), &path.item(name)),
                None => self.differs(item, None, &path.item(name)),
            }
        }
        for (name, before) in present {
            if !wanted.iter().any(|(wanted, _)| wanted == name) {
                self.superfluous(before, &path.item(name));
            }
        }
    }

    /// The cloud has it, and the manifest would have it not.
    fn superfluous(&mut self, before: &Value, path: &Path) {
        self.differs(&Desired::literal(Value::Null), Some(before.clone()), path);
    }

    /// Whether each item has a partner of its own on the other side.
    fn same_set(&self, items: &[Desired], present: &[Value], path: &Path) -> bool {
        let mut free: Vec<&Value> = present.iter().collect();
        items.len() == present.len()
            && items.iter().all(|item| {
                let partner = free.iter().position(|candidate| {
                    let mut inner = Comparison { spec: self.spec, found: Vec::new() };
                    inner.compare(item, Some(candidate), path);
                    inner.found.is_empty()
                });
                partner.map(|at| free.swap_remove(at)).is_some()
            })
    }

    fn differs(&mut self, desired: &Desired, before: Option<Value>, path: &Path) {
        self.found.push(Difference {
            change: Change {
                path: path.shown.clone(),
                before,
                after: desired.value(),
                forces_replacement: path.within(self.spec.immutable),
            },
            via: desired.via(),
        });
    }
}

/// Items with their keys, if every item on both sides has one of its own.
type Keyed<'a> = (Vec<(String, &'a Desired)>, Vec<(String, &'a Value)>);

fn by_key<'a>(items: &'a [Desired], present: &'a [Value], key: &str) -> Option<Keyed<'a>> {
    let wanted = items
        .iter()
        .map(|item| match item.lookup(key)? {
            Desired::Leaf(Leaf { value: Some(value), .. }) => Some((key_text(value)?, item)),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()?;
    let present =
        present.iter().map(|item| Some((key_text(item.get(key)?)?, item))).collect::<Option<Vec<_>>>()?;
    (distinct(&wanted) && distinct(&present)).then_some((wanted, present))
}

fn key_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn distinct<T>(items: &[(String, T)]) -> bool {
    let keys: std::collections::BTreeSet<&str> = items.iter().map(|(key, _)| key.as_str()).collect();
    keys.len() == items.len()
}

fn leaf_matches(leaf: &Leaf, before: Option<&Value>) -> bool {
    match &leaf.value {
        Some(value) if !leaf.renewed => equal(value, before.unwrap_or(&Value::Null)),
        _ => false,
    }
}

fn equal(wanted: &Value, before: &Value) -> bool {
    if wanted == before {
        return true;
    }
    match (wanted, before) {
        (Value::Null | Value::Bool(false), Value::Null) => true,
        (Value::Null, Value::Bool(false)) => true,
        (Value::String(text), Value::Null) | (Value::Null, Value::String(text)) => text.is_empty(),
        (Value::Null, Value::Array(items)) => items.is_empty(),
        (Value::Number(a), Value::Number(b)) => same_number(&a.to_string(), &b.to_string()),
        (Value::Number(number), Value::String(text)) | (Value::String(text), Value::Number(number)) => {
            same_number(&number.to_string(), text)
        }
        _ => false,
    }
}

fn same_number(a: &str, b: &str) -> bool {
    // As integers first: a 64-bit integer does not fit into a float.
    if let (Ok(a), Ok(b)) = (a.parse::<i128>(), b.parse::<i128>()) {
        return a == b;
    }
    matches!((a.parse::<f64>(), b.parse::<f64>()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const SPEC: KindSpec = KindSpec {
        immutable: &["zone", "disks.source", "net"],
        sets: &["tags", "rules.ports"],
        keyed: &[("metadata.items", "key")],
        write_only: &["secret", "metadata.fingerprint"],
        whole: &["labels"],
        ..KindSpec::plain("mem.vm")
    };

    /// The changes as `path: before → after`, `!` where replacement is forced.
    fn changes(declared: Value, observed: Value) -> Vec<String> {
        diff(&Desired::literal(declared), &observed, &SPEC)
            .into_iter()
            .map(|Difference { change, .. }| {
                let show = |value: &Option<Value>, none: &str| {
                    value.as_ref().map_or(none.to_owned(), ToString::to_string)
                };
                format!(
                    "{}{}: {} → {}",
                    change.path,
                    if change.forces_replacement { "!" } else { "" },
                    show(&change.before, "absent"),
                    show(&change.after, "unknown")
                )
            })
            .collect()
    }

    #[test]
    fn only_declared_fields_count() {
        let observed = json!({"size": 1, "status": "RUNNING", "a": {"b": 2, "c": 3}});
        assert!(changes(json!({"size": 1, "a": {"b": 2}}), observed.clone()).is_empty());
        assert_eq!(changes(json!({"a": {"b": 9}}), observed), ["a.b: 2 → 9"]);
    }

    #[test]
    fn a_map_that_is_declared_whole_has_no_more_keys() {
        let observed = json!({"labels": {"team": "a", "env": "prod"}});
        assert_eq!(
            changes(json!({"labels": {"team": "a"}}), observed.clone()),
            [r#"labels.env: "prod" → null"#]
        );
        assert_eq!(
            changes(json!({"labels": {}}), observed),
            [r#"labels.env: "prod" → null"#, r#"labels.team: "a" → null"#]
        );
        assert!(changes(json!({"labels": {}}), json!({"labels": {}})).is_empty());
    }

    #[test]
    fn numbers_equal_numeric_strings() {
        for (a, b) in [
            (json!(50), json!("50")),
            (json!("50"), json!(50)),
            (json!(1.0), json!(1)),
            (json!(1.5), json!("1.5")),
            (json!(9223372036854775807_i64), json!("9223372036854775807")),
        ] {
            assert!(changes(json!({"n": a}), json!({"n": b})).is_empty(), "{a} {b}");
        }
        assert_eq!(
            changes(json!({"n": 9223372036854775807_i64}), json!({"n": "9223372036854775806"})).len(),
            1
        );
        assert_eq!(changes(json!({"n": "050"}), json!({"n": "50"})).len(), 1);
        assert_eq!(changes(json!({"n": true}), json!({"n": "true"})).len(), 1);
    }

    #[test]
    fn what_is_at_its_default_may_be_left_out() {
        let declared = json!({"a": false, "b": "", "c": [], "d": null, "e": {"f": false}});
        assert!(changes(declared.clone(), json!({})).is_empty());
        assert!(changes(json!({"d": null}), json!({"d": []})).is_empty());
        assert_eq!(changes(json!({"a": 0}), json!({})), ["a: absent → 0"]);
        assert_eq!(changes(json!({"a": {}}), json!({})), ["a: absent → {}"]);
        assert_eq!(changes(json!({"e": {"f": true, "g": false}}), json!({})), ["e.f: absent → true"]);
    }

    #[test]
    fn an_immutable_path_names_its_subtree() {
        assert_eq!(changes(json!({"zone": "b"}), json!({"zone": "a"})), [r#"zone!: "a" → "b""#]);
        assert_eq!(changes(json!({"net": {"x": [1]}}), json!({"net": {"x": [2]}})), ["net.x[0]!: 2 → 1"]);
        assert_eq!(changes(json!({"network": 1}), json!({"network": 2})), ["network: 2 → 1"]);
        assert_eq!(
            changes(
                json!({"disks": [{"source": "b", "auto": true}]}),
                json!({"disks": [{"source": "a", "auto": false}]})
            ),
            ["disks[0].auto: false → true", r#"disks[0].source!: "a" → "b""#]
        );
    }

    #[test]
    fn sets_have_no_order() {
        assert!(changes(json!({"tags": ["a", "b"]}), json!({"tags": ["b", "a"]})).is_empty());
        assert_eq!(
            changes(json!({"tags": ["a", "c"]}), json!({"tags": ["b", "a"]})),
            [r#"tags: ["a","b"] → ["a","c"]"#]
        );
        assert_eq!(changes(json!({"tags": ["a", "a"]}), json!({"tags": ["a", "b"]})).len(), 1);
        assert_eq!(changes(json!({"tags": ["a"]}), json!({})), [r#"tags: absent → ["a"]"#]);
        let rules = |a, b| json!({"rules": [{"ports": [a, b]}]});
        assert!(changes(rules("1", "2"), rules("2", "1")).is_empty());
    }

    #[test]
    fn other_lists_have_an_order_and_a_length() {
        assert_eq!(changes(json!({"l": [1, 2]}), json!({"l": [2, 1]})), ["l[0]: 2 → 1", "l[1]: 1 → 2"]);
        assert_eq!(changes(json!({"l": [1]}), json!({"l": [1, 2]})), ["l: [1,2] → [1]"]);
        assert_eq!(changes(json!({"l": [1]}), json!({"l": "x"})), [r#"l: "x" → [1]"#]);
    }

    #[test]
    fn keyed_lists_are_compared_by_key_and_are_whole() {
        let items = |items: Value| json!({"metadata": {"items": items}});
        let observed = items(json!([
            {"key": "b", "value": "2", "noise": 1}, {"key": "a", "value": "1"}, {"key": "x", "value": "y"}
        ]));
        assert_eq!(
            changes(
                items(json!([
                    {"key": "a", "value": "1"}, {"key": "b", "value": "3"}, {"key": "c", "value": "4"}
                ])),
                observed
            ),
            [
                r#"metadata.items[b].value: "2" → "3""#,
                r#"metadata.items[c]: absent → {"key":"c","value":"4"}"#,
                r#"metadata.items[x]: {"key":"x","value":"y"} → null"#,
            ]
        );
    }

    #[test]
    fn what_the_cloud_never_gives_back_is_not_compared() {
        let declared = json!({"secret": {"key": "k"}, "metadata": {"fingerprint": "f"}});
        assert!(changes(declared.clone(), json!({})).is_empty());
        assert!(changes(declared, json!({"secret": "other", "metadata": {"fingerprint": "g"}})).is_empty());
    }

    #[test]
    fn unknown_values_differ_and_forbid_what_cannot_change() {
        let unknown =
            |via: &str| Desired::Leaf(Leaf { value: None, renewed: false, via: vec![via.parse().unwrap()] });
        let desired = Desired::Map(BTreeMap::from([
            ("zone".to_owned(), unknown("mem.zone/z")),
            ("tags".to_owned(), Desired::List(vec![unknown("mem.tag/t")])),
        ]));
        let found = diff(&desired, &json!({"zone": "a", "tags": ["t"]}), &SPEC);
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|difference| difference.change.after.is_none()));
        assert_eq!(found[0].via, ["mem.tag/t".parse().unwrap()]);
        assert!(found[1].change.forces_replacement);
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("tags|zone|[a-d]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_value_does_not_differ_from_itself(value in json_value()) {
            prop_assert_eq!(changes(value.clone(), value), Vec::<String>::new());
        }

        #[test]
        fn more_undeclared_keys_change_nothing(
            declared in prop::collection::btree_map("[a-d]", json_value(), 0..4),
            more in prop::collection::btree_map("[e-h]", json_value(), 0..4),
        ) {
            let observed: Value = Value::Object(declared.clone().into_iter().chain(more).collect());
            let declared = Value::Object(declared.into_iter().collect());
            prop_assert_eq!(changes(declared, observed), Vec::<String>::new());
        }
    }
}

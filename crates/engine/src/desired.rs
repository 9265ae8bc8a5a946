//! A manifest's body with its references resolved as far as they can be: what
//! the comparison and the providers work with.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::reference::{Malformed, Piece, Reference, pieces};
use super::{Manifest, ResourceId};

/// What a reference stands for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    Known(Value),
    /// Known, from a resource that this run made anew: what refers to it has to
    /// be written again even if the value looks the same (a service account of
    /// the same address is another identity).
    Renewed(Value),
    /// Known after apply.
    Unknown,
    /// The resource has no such field.
    Missing,
}

/// Why a body cannot be resolved.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unresolved {
    Missing(Reference),
    Malformed(String),
}

/// A value that may not be known yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Desired {
    Leaf(Leaf),
    List(Vec<Desired>),
    Map(BTreeMap<String, Desired>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Leaf {
    /// `None`: known after apply.
    pub value: Option<Value>,
    /// Differs from whatever the cloud has, see [`Answer::Renewed`].
    pub renewed: bool,
    /// The resources that the value comes from.
    pub via: Vec<ResourceId>,
}

/// What there is to ask about references.
pub(super) struct Resolver<'a> {
    pub known: &'a dyn Fn(&ResourceId) -> bool,
    pub answer: &'a dyn Fn(&Reference) -> Answer,
}

impl Resolver<'_> {
    pub fn body(&self, body: &Value) -> Result<Desired, Unresolved> {
        match body {
            Value::String(text) => self.text(text),
            Value::Array(items) => {
                Ok(Desired::List(items.iter().map(|item| self.body(item)).collect::<Result<_, _>>()?))
            }
            Value::Object(map) => Ok(Desired::Map(
                map.iter()
                    .map(|(key, item)| Ok((key.clone(), self.body(item)?)))
                    .collect::<Result<_, _>>()?,
            )),
            scalar => Ok(Desired::literal(scalar.clone())),
        }
    }

    fn text(&self, text: &str) -> Result<Desired, Unresolved> {
        let pieces = pieces(text, self.known).map_err(|Malformed(text)| Unresolved::Malformed(text))?;
        // A string that is one reference takes the other's value with its type.
        if let [Piece::Reference(reference)] = pieces.as_slice() {
            let via = vec![reference.to.clone()];
            return match (self.answer)(reference) {
                Answer::Known(value) => Ok(Desired::from_value(value, false, &via)),
                Answer::Renewed(value) => Ok(Desired::from_value(value, true, &via)),
                Answer::Unknown => Ok(Desired::Leaf(Leaf { value: None, renewed: false, via })),
                Answer::Missing => Err(Unresolved::Missing(reference.clone())),
            };
        }
        let mut whole = Some(String::with_capacity(text.len()));
        let mut leaf = Leaf { value: None, renewed: false, via: Vec::new() };
        for piece in pieces {
            match piece {
                Piece::Text(part) => whole = whole.map(|text| text + part),
                Piece::Reference(reference) => {
                    let value = match (self.answer)(&reference) {
                        Answer::Known(value) => Some(value),
                        Answer::Renewed(value) => {
                            leaf.renewed = true;
                            Some(value)
                        }
                        Answer::Unknown => None,
                        Answer::Missing => return Err(Unresolved::Missing(reference)),
                    };
                    whole = match (whole, value) {
                        (Some(text), Some(Value::String(part))) => Some(text + &part),
                        (Some(text), Some(part @ (Value::Number(_) | Value::Bool(_)))) => {
                            Some(text + &part.to_string())
                        }
                        (_, None) => None,
                        (None, Some(_)) => None,
                        // A list or an object has no place inside a text.
                        (Some(_), Some(_)) => return Err(Unresolved::Missing(reference)),
                    };
                    if !leaf.via.contains(&reference.to) {
                        leaf.via.push(reference.to);
                    }
                }
            }
        }
        leaf.value = whole.map(Value::String);
        Ok(Desired::Leaf(leaf))
    }
}

impl Desired {
    pub fn literal(value: Value) -> Self {
        Self::from_value(value, false, &[])
    }

    fn from_value(value: Value, renewed: bool, via: &[ResourceId]) -> Self {
        match value {
            Value::Array(items) => {
                Self::List(items.into_iter().map(|item| Self::from_value(item, renewed, via)).collect())
            }
            Value::Object(map) => Self::Map(
                map.into_iter().map(|(key, item)| (key, Self::from_value(item, renewed, via))).collect(),
            ),
            scalar => Self::Leaf(Leaf { value: Some(scalar), renewed, via: via.to_vec() }),
        }
    }

    /// The value, if all of it is known.
    pub fn value(&self) -> Option<Value> {
        match self {
            Self::Leaf(leaf) => leaf.value.clone(),
            Self::List(items) => items.iter().map(Self::value).collect::<Option<Vec<_>>>().map(Value::Array),
            Self::Map(map) => map
                .iter()
                .map(|(key, item)| Some((key.clone(), item.value()?)))
                .collect::<Option<Map<_, _>>>()
                .map(Value::Object),
        }
    }

    /// The resources that any of it comes from, each once.
    pub fn via(&self) -> Vec<ResourceId> {
        let mut found = Vec::new();
        self.collect_via(&mut found);
        found
    }

    fn collect_via(&self, found: &mut Vec<ResourceId>) {
        match self {
            Self::Leaf(leaf) => {
                for id in &leaf.via {
                    if !found.contains(id) {
                        found.push(id.clone());
                    }
                }
            }
            Self::List(items) => items.iter().for_each(|item| item.collect_via(found)),
            Self::Map(map) => map.values().for_each(|item| item.collect_via(found)),
        }
    }

    /// What is at a dotted path; list items by number.
    pub fn lookup(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |desired, key| match desired {
            Self::Map(map) => map.get(key),
            Self::List(items) => items.get(key.parse::<usize>().ok()?),
            Self::Leaf(_) => None,
        })
    }
}

/// The manifest with `body` in place of its own: as providers get it.
pub(super) fn with_body(manifest: &Manifest, body: Value) -> Manifest {
    Manifest { body, ..manifest.clone() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resolve(body: Value, answer: Answer) -> Result<Desired, Unresolved> {
        Resolver { known: &|_| true, answer: &|_| answer.clone() }.body(&body)
    }

    #[test]
    fn a_whole_reference_keeps_the_type_of_its_value() {
        let body = json!({"a": "${mem.b/x.y}"});
        for value in [json!(7), json!({"k": ["v"]}), json!("text"), json!(null)] {
            let desired = resolve(body.clone(), Answer::Known(value.clone())).unwrap();
            assert_eq!(desired.value(), Some(json!({ "a": value })));
        }
    }

    #[test]
    fn inside_a_text_a_value_becomes_text() {
        let body = json!(["port ${mem.b/x.y}!"]);
        for (value, text) in [(json!(7), "port 7!"), (json!("z"), "port z!"), (json!(true), "port true!")] {
            let desired = resolve(body.clone(), Answer::Known(value)).unwrap();
            assert_eq!(desired.value(), Some(json!([text])));
            assert_eq!(desired.via(), [ResourceId::new("mem.b", "x")]);
        }
        assert!(matches!(resolve(body, Answer::Known(json!([]))), Err(Unresolved::Missing(_))));
    }

    #[test]
    fn unknown_and_renewed_values_are_told_apart() {
        let unknown = resolve(json!({"a": "x${mem.b/x.y}", "b": 1}), Answer::Unknown).unwrap();
        assert_eq!(unknown.value(), None);
        assert_eq!(unknown.lookup("b").unwrap().value(), Some(json!(1)));
        let renewed = resolve(json!("${mem.b/x.y}"), Answer::Renewed(json!("v"))).unwrap();
        assert_eq!(renewed.value(), Some(json!("v")));
        assert!(matches!(renewed, Desired::Leaf(Leaf { renewed: true, .. })));
    }

    #[test]
    fn a_missing_field_is_told() {
        let error = resolve(json!([{"a": "${mem.b/x.y}"}]), Answer::Missing).unwrap_err();
        assert!(matches!(error, Unresolved::Missing(reference) if reference.field == "y"));
    }
}

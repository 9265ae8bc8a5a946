//! References between manifests: `${kind/name.field}` in any string of a body,
//! alone or inside a longer text.
//!
//! A kind always has a dot in it (`compute.address`), which no shell variable
//! can have: scripts with `${VAR%/*.tar}` in a body are text, not references.

use serde_json::Value;

use super::ResourceId;

/// The field that is known before a resource exists: its manifest's name.
pub(super) const NAME: &str = "name";

/// One `${kind/name.field}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    pub to: ResourceId,
    /// Dotted path in the other's body as observed; list items by number.
    pub field: String,
}

/// A part of a string.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Text(&'a str),
    Reference(Reference),
}

/// The text of a reference that is not whole (`${compute.address/x}`: no field).
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

/// Cuts a string into text and references. `known` tells where a name ends and
/// its field begins, as both may hold dots: the longest name that exists wins.
///
/// # Errors
/// A reference that is not whole.
pub fn pieces<'a>(text: &'a str, known: &dyn Fn(&ResourceId) -> bool) -> Result<Vec<Piece<'a>>, Malformed> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut from = 0;
    while let Some(found) = text[from..].find("${") {
        let open = from + found;
        let inner = open + 2;
        let Some(kind) = kind_at(&text[inner..]) else {
            from = inner;
            continue;
        };
        let Some(length) = text[inner..].find('}') else {
            return Err(Malformed(text[open..].chars().take(60).collect()));
        };
        let close = inner + length;
        let rest = text[inner..close].get(kind.len() + 1..).unwrap_or_default();
        let Some(reference) = split(kind, rest, known) else {
            return Err(Malformed(text[open..=close].to_owned()));
        };
        if open > start {
            pieces.push(Piece::Text(&text[start..open]));
        }
        pieces.push(Piece::Reference(reference));
        start = close + 1;
        from = start;
    }
    if start < text.len() {
        pieces.push(Piece::Text(&text[start..]));
    }
    Ok(pieces)
}

/// The kind that `text` begins with, when a `/` follows it.
fn kind_at(text: &str) -> Option<&str> {
    let kind = &text[..text.find('/')?];
    let named = kind.starts_with(|c: char| c.is_ascii_alphabetic())
        && kind.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
    (named && kind.contains('.')).then_some(kind)
}

fn split(kind: &str, rest: &str, known: &dyn Fn(&ResourceId) -> bool) -> Option<Reference> {
    let cut = |(dot, _): (usize, &str)| {
        let (name, field) = (&rest[..dot], &rest[dot + 1..]);
        (!name.is_empty() && !field.is_empty())
            .then(|| Reference { to: ResourceId::new(kind, name), field: field.to_owned() })
    };
    let candidates: Vec<Reference> = rest.rmatch_indices('.').filter_map(cut).collect();
    candidates.iter().find(|reference| known(&reference.to)).or(candidates.first()).cloned()
}

/// Every reference in a body, in the order of the text, each once.
pub(super) fn references(
    body: &Value,
    known: &dyn Fn(&ResourceId) -> bool,
) -> Result<Vec<Reference>, Malformed> {
    let mut found = Vec::new();
    collect(body, known, &mut found)?;
    Ok(found)
}

fn collect(
    body: &Value,
    known: &dyn Fn(&ResourceId) -> bool,
    found: &mut Vec<Reference>,
) -> Result<(), Malformed> {
    match body {
        Value::String(text) => {
            for piece in pieces(text, known)? {
                if let Piece::Reference(reference) = piece
                    && !found.contains(&reference)
                {
                    found.push(reference);
                }
            }
            Ok(())
        }
        Value::Array(items) => items.iter().try_for_each(|item| collect(item, known, found)),
        Value::Object(map) => map.values().try_for_each(|item| collect(item, known, found)),
        _ => Ok(()),
    }
}

/// What is at a dotted path; list items by number.
pub(super) fn lookup<'a>(body: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(body, |value, key| match value {
        Value::Object(map) => map.get(key),
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nothing_known(_: &ResourceId) -> bool {
        false
    }

    fn to(kind: &str, name: &str, field: &str) -> Reference {
        Reference { to: ResourceId::new(kind, name), field: field.into() }
    }

    #[test]
    fn a_whole_string_and_a_part_of_one() {
        assert_eq!(
            pieces("${compute.address/a.address}", &nothing_known),
            Ok(vec![Piece::Reference(to("compute.address", "a", "address"))])
        );
        assert_eq!(
            pieces("a:${iam.serviceAccount/x.email}-${mem.b/y.z}!", &nothing_known),
            Ok(vec![
                Piece::Text("a:"),
                Piece::Reference(to("iam.serviceAccount", "x", "email")),
                Piece::Text("-"),
                Piece::Reference(to("mem.b", "y", "z")),
                Piece::Text("!"),
            ])
        );
    }

    #[test]
    fn shell_and_other_templates_are_text() {
        for text in [
            "${VAR}",
            "${file%/*.tar}",
            "${A:-http://x.y/z}",
            "${HOME}/a.b",
            "$$",
            "${",
            "${1}",
            "é${é/é.é}",
            "$${x}",
            "",
        ] {
            let pieces = pieces(text, &nothing_known).unwrap();
            assert!(pieces.iter().all(|piece| matches!(piece, Piece::Text(_))), "{text}: {pieces:?}");
        }
    }

    #[test]
    fn dots_in_names_and_in_fields_are_told_apart_by_what_exists() {
        let known = |id: &ResourceId| ["bundles/ab.tar", "my.bucket", "my"].contains(&id.name.as_str());
        let reference = |text| match pieces(text, &known).unwrap().pop() {
            Some(Piece::Reference(reference)) => reference,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            reference("${storage.object/bundles/ab.tar.generation}"),
            to("storage.object", "bundles/ab.tar", "generation")
        );
        assert_eq!(reference("${storage.bucket/my.bucket.iam.0.id}").field, "iam.0.id");
        assert_eq!(reference("${storage.bucket/my.iam.id}").field, "iam.id");
        assert_eq!(reference("${storage.bucket/none.of.those}").to.name, "none.of");
    }

    #[test]
    fn a_reference_that_is_not_whole_is_an_error() {
        for (text, shown) in [
            ("x ${compute.address/a} y", "${compute.address/a}"),
            ("${compute.address/.b}", "${compute.address/.b}"),
            ("${compute.address/a.}", "${compute.address/a.}"),
            ("${compute.address/a.b", "${compute.address/a.b"),
        ] {
            assert_eq!(pieces(text, &nothing_known), Err(Malformed(shown.into())));
        }
    }

    #[test]
    fn references_are_found_at_any_depth_and_named_once() {
        let body = json!({
            "a": ["${mem.b/y.z}", {"c": "x${mem.b/y.z}${mem.b/y.w}"}],
            "n": 1,
        });
        assert_eq!(
            references(&body, &nothing_known).unwrap(),
            vec![to("mem.b", "y", "z"), to("mem.b", "y", "w")]
        );
    }

    #[test]
    fn lookup_follows_keys_and_numbers() {
        let body = json!({"a": [{"b": 7}]});
        assert_eq!(lookup(&body, "a.0.b"), Some(&json!(7)));
        assert_eq!(lookup(&body, "a.1.b"), None);
        assert_eq!(lookup(&body, "a.x"), None);
        assert_eq!(lookup(&body, "a.0.b.c"), None);
    }
}

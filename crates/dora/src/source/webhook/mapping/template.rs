//! A text with places of a payload in it: `{/event/data/id}`; or several, of which the first
//! counts that has all its places.

use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::super::patterns::Patterns;
use super::super::intake::Wrong;

/// What a rule is read against.
pub(super) struct Payload<'a> {
    pub root: &'a Value,
    /// The payload, or one item of its list.
    pub item: &'a Value,
    /// Where the item is.
    pub place: &'a str,
    pub received: OffsetDateTime,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Written")]
pub(super) struct Template(Vec<Vec<Piece>>);

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    /// A place in the item.
    Item(String),
    /// A place in the whole payload.
    Root(String),
    /// When the payload arrived.
    Received,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    One(String),
    FirstOf(Vec<String>),
}

impl TryFrom<Written> for Template {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let texts = match written {
            Written::One(text) => vec![text],
            Written::FirstOf(texts) => texts,
        };
        if texts.is_empty() {
            return Err("an empty list names nothing".into());
        }
        texts.iter().map(|text| pieces(text)).collect::<Result<_, _>>().map(Self)
    }
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (place, after) = after.split_once('}').ok_or_else(|| format!("{text:?}: a `}}` is missing"))?;
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        pieces.push(match place {
            "received" => Piece::Received,
            place if place.starts_with('/') => Piece::Item(place.to_owned()),
            place if place.starts_with("^/") => Piece::Root(place[1..].to_owned()),
            place => {
                return Err(format!(
                    "{text:?}: {{{place}}} is neither a JSON pointer, like {{/event/id}} or, of the whole \
                     payload, {{^/id}}, nor {{received}}"
                ));
            }
        });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    if pieces.is_empty() {
        return Err("an empty text names nothing".into());
    }
    Ok(pieces)
}

impl Template {
    /// The text; `None` where a place of each alternative is missing or empty.
    pub fn text(&self, payload: &Payload<'_>) -> Option<String> {
        self.0
            .iter()
            .find_map(|pieces| pieces.iter().map(|piece| piece.text(payload)).collect::<Option<String>>())
    }

    pub fn needed(&self, name: &str, payload: &Payload<'_>) -> Result<String, Wrong> {
        self.text(payload).ok_or_else(|| Wrong {
            place: self.place(payload),
            message: format!("it is missing or empty, and no payload of this kind can do without `{name}`"),
        })
    }

    /// The places that it is read from, for whoever has to look there.
    pub fn place(&self, payload: &Payload<'_>) -> String {
        let pieces = self.0.iter().flatten();
        let places = pieces.filter_map(|piece| match piece {
            Piece::Item(pointer) => Some(format!("{}{pointer}", payload.place)),
            Piece::Root(pointer) => Some(pointer.clone()),
            Piece::Text(_) | Piece::Received => None,
        });
        let mut places: Vec<String> = places.collect();
        places.dedup();
        places.join(" or ")
    }
}

impl Piece {
    fn text(&self, payload: &Payload<'_>) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Item(pointer) => text(payload.item.pointer(pointer)?),
            Self::Root(pointer) => text(payload.root.pointer(pointer)?),
            Self::Received => payload.received.format(&Rfc3339).ok(),
        }
    }
}

/// A time that was not set, as programs in Go write it.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A value as text; empty ones are none.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty() && text != NEVER),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether a value is like one of some patterns; of a list, whether one of its items is.
pub(super) fn matches(value: Option<&Value>, patterns: &[String]) -> bool {
    match value {
        None => false,
        Some(Value::Array(items)) => items.iter().any(|item| matches(Some(item), patterns)),
        Some(value) => text(value).is_some_and(|text| Patterns::new(patterns).matches(&text)),
    }
}

/// All texts of all alternatives; of lists, those of their items.
pub(super) fn words(template: &Template, payload: &Payload<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for pieces in &template.0 {
        match pieces.as_slice() {
            [Piece::Item(pointer)] => match payload.item.pointer(pointer) {
                Some(Value::Array(items)) => found.extend(items.iter().filter_map(text)),
                value => found.extend(value.and_then(text)),
            },
            pieces => {
                found.extend(pieces.iter().map(|piece| piece.text(payload)).collect::<Option<String>>())
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_text_is_what_its_places_say_and_the_first_alternative_that_is_whole_counts() {
        let root =
            json!({"id": 7, "alerts": [{"name": " cpu ", "none": null, "empty": ""}], "tags": ["a", "b"]});
        let item = &root["alerts"][0];
        let received = time::macros::datetime!(2026-03-02 12:00 UTC);
        let payload = Payload { root: &root, item, place: "/alerts/0", received };
        let template = |written: Value| serde_json::from_value::<Template>(written).unwrap();
        let text = |written: Value| template(written).text(&payload);
        assert_eq!(text(json!("{/name}-{^/id}")).as_deref(), Some("cpu-7"));
        assert_eq!(text(json!(["{/none}", "x{/empty}", "shop"])).as_deref(), Some("shop"));
        assert_eq!(text(json!("{received}")).as_deref(), Some("2026-03-02T12:00:00Z"));
        let wrong = template(json!(["{/none}", "{^/tags}"])).needed("service", &payload).unwrap_err();
        assert_eq!(wrong.place, "/alerts/0/none or /tags");
        assert!(matches(Some(&root["tags"]), &["x".into(), "B".into()]));
        assert!(!matches(Some(&root["tags"]), &["x".into()]));
        let labels = Payload { item: &root, ..payload };
        assert_eq!(words(&template(json!(["{/tags}", "{/id}", "{/none}"])), &labels), ["a", "b", "7"]);
    }

    #[test]
    fn a_text_that_can_not_be_read_is_told() {
        for (written, expected) in
            [("{/id", "is missing"), ("{id}", "neither a JSON pointer"), ("", "empty text")]
        {
            let error = serde_json::from_value::<Template>(json!(written)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(serde_json::from_value::<Template>(json!([])).is_err());
    }
}

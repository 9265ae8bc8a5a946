//! YAML text → a small tree whose nodes know their place. Nothing in here knows
//! the schema; duplicate keys stay in the tree, so that they can be reported
//! together with everything else.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{
    DefaultMessageFormatter, DuplicateKeyPolicy, Error, Location, MessageFormatter, NonFiniteFloatPolicy,
    Spanned,
};

/// Where a node is in its text. Lines and columns count from 1, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub line: usize,
    pub column: usize,
    /// Length in characters; 0 where the node has no text of its own.
    pub length: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub value: Value,
    pub span: Span,
}

/// What YAML says a node is, before the schema says what it should be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    /// As it is written: `true`, `False`.
    Bool(String),
    Number {
        /// `None`: it has a fraction, or no 64 bits hold it.
        whole: Option<i128>,
        /// As it is written: `3.10` is not `3.1`.
        raw: String,
    },
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One `key: value`, in the order of the text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub key_span: Span,
    pub node: Node,
}

/// The text is not YAML.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SyntaxError {
    pub message: String,
    pub span: Option<Span>,
}

/// Parses one YAML document; text without any content is [`Value::Null`].
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    // Byte offsets count from behind a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let options = serde_saphyr::options! {
        // The tree keeps duplicates; the walk over the schema reports them.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        // YAML 1.2: `no` and `on` are texts.
        strict_booleans: true,
        underscored_numbers_as_strings: true,
        leading_zero_numbers_as_strings: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
        emit_comments: false,
    };
    serde_saphyr::from_str_with_options::<Spanned<Shape>>(text, options)
        .map(|root| node(root, text))
        .map_err(|error| syntax_error(error.without_snippet()))
}

fn syntax_error(error: &Error) -> SyntaxError {
    let message = match error {
        // These two speak of the parser's own API.
        Error::MultipleDocuments { .. } => "this is a second YAML document, behind `---`".into(),
        Error::NullIntoString { .. } => "a key must be a name, this one is empty".into(),
        other => DefaultMessageFormatter.format_message(other).into_owned(),
    };
    SyntaxError { message, span: error.location().map(span) }
}

/// The tree as serde sees it, before places are made ours.
enum Shape {
    Null,
    Bool,
    Integer(i128),
    Float,
    Text(String),
    List(Vec<Spanned<Shape>>),
    Map(Vec<(Spanned<String>, Spanned<Shape>)>),
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_none<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_bool<E>(self, _value: bool) -> Result<Shape, E> {
        Ok(Shape::Bool)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Shape, E> {
        Ok(Shape::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Shape, E> {
        Ok(Shape::Integer(value.into()))
    }

    fn visit_f64<E>(self, _value: f64) -> Result<Shape, E> {
        Ok(Shape::Float)
    }

    fn visit_str<E>(self, value: &str) -> Result<Shape, E> {
        Ok(Shape::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Shape, E> {
        Ok(Shape::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Shape::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Shape, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Shape::Map(map))
    }
}

fn node(spanned: Spanned<Shape>, text: &str) -> Node {
    let raw = || {
        let written = spanned.defined.span();
        let start = written.byte_offset().and_then(|offset| usize::try_from(offset).ok());
        let length = written.byte_len().and_then(|length| usize::try_from(length).ok());
        start
            .zip(length)
            .and_then(|(start, length)| text.get(start..start + length))
            .unwrap_or_default()
            .to_owned()
    };
    let value = match spanned.value {
        Shape::Null => Value::Null,
        Shape::Bool => Value::Bool(raw()),
        Shape::Integer(whole) => Value::Number { whole: Some(whole), raw: raw() },
        Shape::Float => Value::Number { whole: None, raw: raw() },
        Shape::Text(value) => Value::Text(value),
        Shape::List(items) => Value::List(items.into_iter().map(|item| node(item, text)).collect()),
        Shape::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| Entry {
                    key_span: span(key.referenced),
                    key: key.value,
                    node: node(value, text),
                })
                .collect(),
        ),
    };
    Node { value, span: span(spanned.referenced) }
}

fn span(place: Location) -> Span {
    let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    // The parser's unknown place is 0:0.
    Span {
        line: number(place.line()).max(1),
        column: number(place.column()).max(1),
        length: number(place.span().len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<Entry> {
        match parse(text).expect("valid YAML").value {
            Value::Map(entries) => entries,
            other => panic!("not a mapping: {other:?}"),
        }
    }

    fn number(whole: Option<i128>, raw: &str) -> Value {
        Value::Number { whole, raw: raw.into() }
    }

    #[test]
    fn a_number_keeps_its_spelling() {
        let values: Vec<Value> = entries(
            "a: 3.10\nb: 0x14\nc: 99999999999999999999\nd: .inf\ne: -1\nf: 1_0\ng: 017\nh: &x 7.0\ni: *x",
        )
        .into_iter()
        .map(|entry| entry.node.value)
        .collect();
        assert_eq!(
            values,
            [
                number(None, "3.10"),
                number(Some(20), "0x14"),
                number(None, "99999999999999999999"),
                number(None, ".inf"),
                number(Some(-1), "-1"),
                Value::Text("1_0".into()),
                Value::Text("017".into()),
                number(None, "7.0"),
                number(None, "7.0"),
            ]
        );
    }

    #[test]
    fn only_the_words_of_yaml_1_2_are_booleans() {
        let values: Vec<Value> =
            entries("a: no\nb: on\nc: True\nd: 3.0.4").into_iter().map(|entry| entry.node.value).collect();
        assert_eq!(
            values,
            [
                Value::Text("no".into()),
                Value::Text("on".into()),
                Value::Bool("True".into()),
                Value::Text("3.0.4".into())
            ]
        );
    }

    #[test]
    fn places_count_characters_from_one_behind_a_byte_order_mark() {
        let entries = entries("\u{feff}é: [ü, 漢字, x]\nb:\n  - 1.5\n");
        let Value::List(items) = &entries[0].node.value else { panic!("not a list") };
        assert_eq!(items[1].span, Span { line: 1, column: 8, length: 2 });
        let Value::List(items) = &entries[1].node.value else { panic!("not a list") };
        assert_eq!(
            items[0],
            Node { value: number(None, "1.5"), span: Span { line: 3, column: 5, length: 3 } }
        );
    }

    #[test]
    fn duplicates_stay_and_merges_are_resolved() {
        let keys: Vec<String> = entries("a: 1\nb: 2\na: 3\n").into_iter().map(|entry| entry.key).collect();
        assert_eq!(keys, ["a", "b", "a"]);
        let merged = entries("a: &x {b: 1}\nc:\n  <<: *x\n  d: 2\n").remove(1);
        let Value::Map(inner) = merged.node.value else { panic!("not a mapping") };
        assert_eq!(inner.into_iter().map(|entry| entry.key).collect::<Vec<_>>(), ["d", "b"]);
    }

    #[test]
    fn nothing_is_null() {
        for text in ["", "# only a comment\n", "~", "---\n"] {
            assert_eq!(parse(text).expect("valid YAML").value, Value::Null, "{text:?}");
        }
    }

    #[test]
    fn a_syntax_error_has_a_place() {
        let places: Vec<_> = ["a: [1\nb: 2", "a:\n\tb: 1", "a: 'x", "a: 1\n---\nb: 2\n", "~: 1"]
            .into_iter()
            .map(|text| {
                let error = parse(text).expect_err("not valid");
                let span = error.span.expect("has a place");
                format!("{}:{} {}", span.line, span.column, error.message)
            })
            .collect();
        insta::assert_snapshot!(places.join("\n"));
    }
}

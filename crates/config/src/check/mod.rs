//! One value against one row of the table: its type, then its rule.

mod sources;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;

use crate::problem::{Place, Problem, Source, quoted};
use crate::rules::{self, Fault, Rule};
use crate::schema::{Key, Kind};
use crate::suggest::nearest;
use crate::tree::{Entry, Node, Span, Value};

/// A checked value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub value: serde_json::Value,
    pub place: Place,
    /// The places of a list's items.
    pub items: Vec<Place>,
    /// The places of Mimir's own keys, by their path.
    pub options: Vec<(String, Place)>,
}

impl Setting {
    pub fn new(value: serde_json::Value, place: Place) -> Self {
        Self { value, place, items: Vec::new(), options: Vec::new() }
    }
}

/// Checks `node` as a value of `key`; every problem of it is reported.
/// `folder` is what a relative path is relative to.
pub(super) fn check(key: &Key, node: &Node, source: &Source, folder: &Path) -> Result<Setting, Vec<Problem>> {
    let context = Context { key, path: key.path.to_owned(), source };
    let (mut items, mut options) = (Vec::new(), Vec::new());
    let value = match &key.kind {
        Kind::Text(rule) => json!(context.text(node, *rule)?),
        Kind::Path => {
            let path = context.text(node, Rule { allowed: "", check: rules::path })?;
            json!(folder.join(path).to_string_lossy())
        }
        Kind::Whole(ranges) => json!(context.whole(node, ranges)?),
        Kind::Choice(words, refused) => json!(context.choice(node, words, refused)?),
        Kind::List(rule) => {
            let texts = context.list(node, *rule)?;
            if let Value::List(nodes) = &node.value {
                items.extend(nodes.iter().map(|item| source.place(item.span)));
            }
            json!(texts)
        }
        Kind::Labels => context.labels(node)?,
        Kind::Sources => return sources::check(node, source, folder),
        Kind::Flag => json!(context.flag(node)?),
        Kind::Options => context.options(node, "", &mut options)?,
    };
    Ok(Setting { items, options, ..Setting::new(value, source.place(node.span)) })
}

struct Context<'a> {
    key: &'a Key,
    /// What messages call the value: the key, or one label of it.
    path: String,
    source: &'a Source,
}

impl Context<'_> {
    fn problem(&self, span: Span, what: &str, help: Option<String>) -> Problem {
        Problem::new(self.source.place(span), format!("`{}`: {what}", self.path))
            .allowed(self.key.kind.allowed())
            .help(help)
    }

    /// A value of another type than the key's.
    fn mistyped(&self, node: &Node, wanted: &str, help: Option<String>) -> Vec<Problem> {
        vec![self.problem(node.span, &format!("{} is not {wanted}", describe(&node.value)), help)]
    }

    fn fault(&self, node: &Node, text: &str, fault: Fault) -> Problem {
        self.problem(node.span, &format!("{} {}", quoted(text), fault.what), fault.help)
    }

    fn text(&self, node: &Node, rule: Rule) -> Result<String, Vec<Problem>> {
        let (text, is_text) = match &node.value {
            Value::Text(text) => (text, true),
            Value::Number { raw, .. } | Value::Bool(raw) => (raw, false),
            _ => return Err(self.mistyped(node, "a text", None)),
        };
        (rule.check)(text).map_err(|fault| vec![self.fault(node, text, fault)])?;
        if !is_text {
            return Err(self.mistyped(node, "a text", Some(format!("put it in quotes: `\"{text}\"`"))));
        }
        Ok(text.clone())
    }

    fn whole(&self, node: &Node, ranges: &[(u64, u64)]) -> Result<u64, Vec<Problem>> {
        let wanted = "a whole number";
        let (whole, raw) = match &node.value {
            Value::Number { whole: Some(whole), raw } => (*whole, raw),
            Value::Number { whole: None, raw }
                if raw.trim_start_matches('-').chars().all(|c| c.is_ascii_digit()) =>
            {
                return Err(vec![self.problem(node.span, &format!("{} is out of range", quoted(raw)), None)]);
            }
            Value::Text(text) => {
                let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
                let unit = text[digits.len()..].trim();
                let help = match (digits.is_empty(), unit.is_empty()) {
                    (true, _) => None,
                    (false, true) => Some(format!("write `{digits}` without quotes and spaces")),
                    (false, false) if unit.chars().all(char::is_alphabetic) => {
                        Some(format!("write the number alone: `{digits}`"))
                    }
                    (false, false) => None,
                };
                return Err(self.mistyped(node, wanted, help));
            }
            _ => return Err(self.mistyped(node, wanted, None)),
        };
        u64::try_from(whole)
            .ok()
            .filter(|number| ranges.iter().any(|(least, most)| (least..=most).contains(&number)))
            .ok_or_else(|| vec![self.problem(node.span, &format!("{} is out of range", quoted(raw)), None)])
    }

    fn choice(
        &self,
        node: &Node,
        words: &[&'static str],
        refused: &[(&str, &str)],
    ) -> Result<&'static str, Vec<Problem>> {
        let (Value::Text(text) | Value::Bool(text) | Value::Number { raw: text, .. }) = &node.value else {
            return Err(self.mistyped(node, "one word", None));
        };
        if let Some(word) = words.iter().find(|word| *word == text) {
            return Ok(word);
        }
        if let Some((_, why)) = refused.iter().find(|(word, _)| word == text) {
            return Err(vec![self.problem(node.span, why, None)]);
        }
        let help = nearest(text, words.iter().copied()).map(|word| format!("did you mean `{word}`?"));
        Err(vec![self.problem(node.span, &format!("{} is not one of the values", quoted(text)), help)])
    }

    fn flag(&self, node: &Node) -> Result<bool, Vec<Problem>> {
        match &node.value {
            Value::Bool(text) => Ok(text.eq_ignore_ascii_case("true")),
            _ => Err(self.mistyped(node, "`true` or `false`", None)),
        }
    }

    /// A mapping of any depth as it stands, and where each of its keys is.
    fn options(
        &self,
        node: &Node,
        path: &str,
        places: &mut Vec<(String, Place)>,
    ) -> Result<serde_json::Value, Vec<Problem>> {
        let entries = match &node.value {
            Value::Map(entries) => entries,
            Value::Null if path.is_empty() => return Ok(json!({})),
            _ if path.is_empty() => return Err(self.mistyped(node, "a mapping", None)),
            other => return Ok(plain(other)),
        };
        let (mut fields, mut problems) = (serde_json::Map::new(), Vec::new());
        for Entry { key, key_span, node } in entries {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            places.push((path.clone(), self.source.place(*key_span)));
            match self.options(node, &path, places) {
                Ok(value) => {
                    if fields.insert(key.clone(), value).is_some() {
                        let twice = format!("{} is there twice", quoted(&path));
                        problems.push(self.problem(*key_span, &twice, None));
                    }
                }
                Err(more) => problems.extend(more),
            }
        }
        if problems.is_empty() { Ok(fields.into()) } else { Err(problems) }
    }

    fn list(&self, node: &Node, rule: Rule) -> Result<Vec<String>, Vec<Problem>> {
        let items = match &node.value {
            Value::List(items) => items,
            Value::Text(text) => {
                let help = (rule.check)(text).is_ok().then(|| format!("write `[{text}]`"));
                return Err(self.mistyped(node, "a list", help));
            }
            _ => return Err(self.mistyped(node, "a list", None)),
        };
        if items.is_empty() {
            return Err(vec![self.problem(node.span, "the list is empty", None)]);
        }
        let (mut texts, mut problems) = (Vec::new(), Vec::new());
        for item in items {
            match self.text(item, rule) {
                Ok(text) if texts.contains(&text) => {
                    problems.push(self.problem(
                        item.span,
                        &format!("{} is there twice", quoted(&text)),
                        None,
                    ));
                }
                Ok(text) => texts.push(text),
                Err(more) => problems.extend(more),
            }
        }
        if problems.is_empty() { Ok(texts) } else { Err(problems) }
    }

    fn labels(&self, node: &Node) -> Result<serde_json::Value, Vec<Problem>> {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => return Err(self.mistyped(node, "a mapping", None)),
        };
        let (mut labels, mut problems, mut seen) = (serde_json::Map::new(), Vec::new(), BTreeSet::new());
        for Entry { key: label, key_span, node } in entries {
            let key_node = Node { value: Value::Text(label.clone()), span: *key_span };
            if !seen.insert(label) {
                problems.push(self.problem(*key_span, &format!("{} is there twice", quoted(label)), None));
            }
            if let Err(fault) = rules::label_key(label) {
                problems.push(self.fault(&key_node, label, fault));
            }
            let one = Context { path: format!("labels.{label}"), ..*self };
            match one.text(node, Rule { allowed: "", check: rules::label_value }) {
                Ok(text) => {
                    labels.insert(label.clone(), json!(text));
                }
                Err(more) => problems.extend(more),
            }
        }
        if problems.is_empty() { Ok(labels.into()) } else { Err(problems) }
    }
}

/// The value that YAML says, whatever it means.
pub(super) fn plain(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(raw) => json!(raw.eq_ignore_ascii_case("true")),
        Value::Number { whole, raw } => match whole.map(|whole| (i64::try_from(whole), u64::try_from(whole)))
        {
            Some((Ok(number), _)) => json!(number),
            Some((_, Ok(number))) => json!(number),
            _ => raw.parse::<f64>().map_or_else(|_| json!(raw), |number| json!(number)),
        },
        Value::Text(text) => json!(text),
        Value::List(items) => items.iter().map(|item| plain(&item.value)).collect(),
        Value::Map(entries) => {
            entries.iter().map(|entry| (entry.key.clone(), plain(&entry.node.value))).collect()
        }
    }
}

/// A value in a message: what it is, and its text where it has one.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(raw) => format!("the truth value {}", quoted(raw)),
        Value::Number { raw, .. } => format!("the number {}", quoted(raw)),
        Value::Text(text) => format!("the text {}", quoted(text)),
        Value::List(_) => "a list".into(),
        Value::Map(_) => "a mapping".into(),
    }
}

/// The value of an override as a node: a text as it stands, a list `a,b` or
/// `[a, b]`, labels `a=b,c=d` or `{a: b}`, a number by its digits, Mimir's own
/// keys as YAML.
pub(super) fn node_of_override(kind: &Kind, value: &str, source: &Source) -> Result<Node, Vec<Problem>> {
    let whole = Span { line: 1, column: 1, length: value.chars().count() };
    let yaml = || {
        crate::tree::parse(value).map_err(|error| {
            let message = format!("not valid YAML: {}", error.message);
            vec![Problem::new(source.place(error.span.unwrap_or(whole)), message).allowed(kind.allowed())]
        })
    };
    let begins_with = |c: char| value.trim_start().starts_with(c);
    let value = match kind {
        Kind::Text(_) | Kind::Path | Kind::Choice(..) => Value::Text(value.to_owned()),
        Kind::Whole(_) => match value.parse::<i128>() {
            Ok(number) => Value::Number { whole: Some(number), raw: value.to_owned() },
            Err(_) => Value::Text(value.to_owned()),
        },
        Kind::Flag if ["true", "false"].contains(&value) => Value::Bool(value.to_owned()),
        Kind::Flag => Value::Text(value.to_owned()),
        Kind::Options => return yaml(),
        Kind::List(_) | Kind::Sources if begins_with('[') => return yaml(),
        Kind::Sources => Value::Text(value.to_owned()),
        Kind::List(_) => Value::List(pieces(value)),
        Kind::Labels if begins_with('{') => return yaml(),
        Kind::Labels => {
            let mut entries = Vec::new();
            for Node { value: piece, span } in pieces(value) {
                let Value::Text(piece) = piece else { continue };
                let Some((label, text)) = piece.split_once('=') else {
                    let message = format!("`labels`: {} has no `=` between label and value", quoted(&piece));
                    return Err(vec![Problem::new(source.place(span), message).allowed(kind.allowed())]);
                };
                let length = label.chars().count();
                entries.push(Entry {
                    key: label.to_owned(),
                    key_span: Span { length, ..span },
                    node: Node {
                        value: Value::Text(text.to_owned()),
                        span: Span { column: span.column + length + 1, length: text.chars().count(), ..span },
                    },
                });
            }
            Value::Map(entries)
        }
    };
    Ok(Node { value, span: whole })
}

/// The pieces between commas, without the spaces around them.
fn pieces(value: &str) -> Vec<Node> {
    let mut column = 1;
    let mut nodes = Vec::new();
    for piece in value.split(',') {
        let text = piece.trim();
        let indent = piece.chars().take_while(|c| c.is_whitespace()).count();
        let span = Span { line: 1, column: column + indent, length: text.chars().count() };
        nodes.push(Node { value: Value::Text(text.to_owned()), span });
        column += piece.chars().count() + 1;
    }
    nodes
}

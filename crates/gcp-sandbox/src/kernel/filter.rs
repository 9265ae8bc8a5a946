//! List filters, as Compute and Secret Manager write them: comparisons joined by
//! AND, OR and NOT after AIP-160 (OR binds closer than AND, and what stands side
//! by side is joined by AND), and Compute's older `FIELD eq REGEX`.

use std::iter::Peekable;
use std::vec::IntoIter;

use regex::Regex;
use serde_json::Value;

use super::error::ApiError;
use super::faults::glob_matches;

#[derive(Debug)]
pub struct Filter(Option<Node>);

#[derive(Debug)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Comparison {
        path: Vec<String>,
        operator: Operator,
        value: String,
    },
    /// The whole value, by a regular expression.
    Whole {
        path: Vec<String>,
        pattern: Regex,
        equal: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// `:`: contains; `:*`: is there at all.
    Has,
}

/// Longest first: the first that fits is the one that is meant.
const SIGNS: [(&str, Operator); 7] = [
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
    (":", Operator::Has),
];

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Open,
    Close,
    Sign(Operator),
    Word(String),
    Quoted(String),
}

impl Filter {
    pub fn parse(text: Option<&str>) -> Result<Self, ApiError> {
        let Some(text) = text else { return Ok(Self(None)) };
        let read = tokens(text).and_then(|tokens| {
            let mut rest = tokens.into_iter().peekable();
            let node = expression(&mut rest)?;
            (rest.next().is_none() && !node.is_mixed()).then_some(node)
        });
        read.map(|node| Self(Some(node))).ok_or_else(|| {
            ApiError::invalid(format!(
                "Invalid value for field 'filter': '{text}'. Invalid list filter expression."
            ))
        })
    }

    pub fn matches(&self, resource: &Value) -> bool {
        self.0.as_ref().is_none_or(|node| node.matches(resource))
    }
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if let Some((sign, operator)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
            found.push(Token::Sign(*operator));
            rest = &rest[sign.len()..];
        } else if first == '(' || first == ')' {
            found.push(if first == '(' { Token::Open } else { Token::Close });
            rest = &rest[1..];
        } else if first == '"' || first == '\'' {
            let end = rest[1..].find(first)? + 1;
            // `labels."a-b"` is one word.
            found.push(Token::Quoted(rest[1..end].to_owned()));
            rest = &rest[end + 1..];
        } else {
            let (word, tail) = word(rest)?;
            found.push(Token::Word(word));
            rest = tail;
        }
        rest = rest.trim_start();
    }
    Some(found)
}

/// A field or a plain value, and what follows it.
fn word(text: &str) -> Option<(String, &str)> {
    let mut word = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let ends = next.is_whitespace() || "()".contains(next);
        if ends || SIGNS.iter().any(|(sign, _)| rest.starts_with(sign)) {
            break;
        }
        if next == '"' {
            let end = rest[1..].find('"')? + 1;
            word.push_str(&rest[1..end]);
            rest = &rest[end + 1..];
        } else {
            word.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    Some((word, rest))
}

type Rest = Peekable<IntoIter<Token>>;

fn takes(rest: &mut Rest, word: &str) -> bool {
    rest.next_if(|token| *token == Token::Word(word.to_owned())).is_some()
}

/// Factors, side by side or with AND between them.
fn expression(rest: &mut Rest) -> Option<Node> {
    let mut all = vec![factor(rest)?];
    loop {
        if takes(rest, "AND") {
            all.push(factor(rest)?);
        } else if matches!(rest.peek(), None | Some(Token::Close)) {
            return Some(Node::All(all));
        } else {
            all.push(factor(rest)?);
        }
    }
}

fn factor(rest: &mut Rest) -> Option<Node> {
    let mut any = vec![term(rest)?];
    while takes(rest, "OR") {
        any.push(term(rest)?);
    }
    Some(Node::Any(any))
}

fn term(rest: &mut Rest) -> Option<Node> {
    if takes(rest, "NOT") {
        return Some(Node::Not(Box::new(term(rest)?)));
    }
    match rest.next()? {
        Token::Open => {
            let node = expression(rest)?;
            (rest.next()? == Token::Close).then_some(node)
        }
        Token::Word(word) => match word.strip_prefix('-') {
            Some("") => Some(Node::Not(Box::new(term(rest)?))),
            Some(field) => Some(Node::Not(Box::new(comparison(field, rest)?))),
            None => comparison(&word, rest),
        },
        _ => None,
    }
}

fn comparison(field: &str, rest: &mut Rest) -> Option<Node> {
    let good = field.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let path: Vec<String> = field.split('.').map(str::to_owned).collect();
    if !good || path.iter().any(String::is_empty) {
        return None;
    }
    let operator = match rest.next()? {
        Token::Sign(operator) => Ok(operator),
        Token::Word(word) if word == "eq" => Err(true),
        Token::Word(word) if word == "ne" => Err(false),
        _ => return None,
    };
    let value = match rest.next()? {
        Token::Word(value) | Token::Quoted(value) => value,
        _ => return None,
    };
    Some(match operator {
        Ok(operator) => Node::Comparison { path, operator, value },
        Err(equal) => {
            Node::Whole { path, pattern: Regex::new(&format!("^(?:{})$", ascii(&value))).ok()?, equal }
        }
    })
}

/// A pattern as RE2 understands it: its classes and word boundaries are those of
/// ASCII. gcloud writes `name=a` as `name eq ".*\ba\b.*"`.
fn ascii(pattern: &str) -> String {
    let mut written = String::with_capacity(pattern.len());
    let (mut rest, mut within) = (pattern.chars(), false);
    while let Some(next) = rest.next() {
        match next {
            '[' => within = true,
            ']' => within = false,
            '\\' => {
                match rest.next() {
                    Some(class @ ('b' | 'B')) if !within => written.push_str(&format!("(?-u:\\{class})")),
                    Some(class @ ('w' | 'd' | 's' | 'W' | 'D' | 'S')) => {
                        let name = match class.to_ascii_lowercase() {
                            'w' => "word",
                            'd' => "digit",
                            _ => "space",
                        };
                        let not = if class.is_ascii_uppercase() { "^" } else { "" };
                        let class = format!("[:{not}{name}:]");
                        written.push_str(&if within { class } else { format!("[{class}]") });
                    }
                    Some(other) => written.extend(['\\', other]),
                    None => written.push('\\'),
                }
                continue;
            }
            _ => {}
        }
        written.push(next);
    }
    written
}

/// What a resource has at a path: one text for a plain value, one for each of a
/// list or of an object's keys, none where there is nothing.
fn texts(resource: &Value, path: &[String]) -> Vec<String> {
    let found = path.iter().fold(resource, |value, step| &value[step.as_str()]);
    match found {
        Value::Null => Vec::new(),
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => {
            items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect()
        }
        Value::Object(members) => members.keys().cloned().collect(),
        other => vec![other.to_string()],
    }
}

/// Numbers by their size, all else (times, say) by its letters.
fn compare(text: &str, value: &str) -> std::cmp::Ordering {
    match (text.parse::<f64>(), value.parse::<f64>()) {
        (Ok(one), Ok(other)) => one.total_cmp(&other),
        _ => text.cmp(value),
    }
}

impl Node {
    /// Whether one filter has both ways to compare: Google takes one or the other.
    fn is_mixed(&self) -> bool {
        let (mut comparisons, mut patterns, mut todo) = (false, false, vec![self]);
        while let Some(node) = todo.pop() {
            match node {
                Self::All(nodes) | Self::Any(nodes) => todo.extend(nodes),
                Self::Not(node) => todo.push(node),
                Self::Comparison { .. } => comparisons = true,
                Self::Whole { .. } => patterns = true,
            }
        }
        comparisons && patterns
    }

    fn matches(&self, resource: &Value) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.matches(resource)),
            Self::Any(nodes) => nodes.iter().any(|node| node.matches(resource)),
            Self::Not(node) => !node.matches(resource),
            Self::Whole { path, pattern, equal } => {
                texts(resource, path).iter().any(|text| pattern.is_match(text)) == *equal
            }
            Self::Comparison { path, operator, value } => {
                let texts = texts(resource, path);
                let any = |holds: &dyn Fn(&String) -> bool| texts.iter().any(holds);
                match operator {
                    Operator::Equal => any(&|text| glob_matches(value, text)),
                    Operator::NotEqual => !any(&|text| glob_matches(value, text)),
                    Operator::Less => any(&|text| compare(text, value).is_lt()),
                    Operator::LessOrEqual => any(&|text| compare(text, value).is_le()),
                    Operator::Greater => any(&|text| compare(text, value).is_gt()),
                    Operator::GreaterOrEqual => any(&|text| compare(text, value).is_ge()),
                    Operator::Has if value == "*" => !texts.is_empty(),
                    Operator::Has => {
                        let wanted = value.trim_end_matches('*').to_lowercase();
                        any(&|text| text.to_lowercase().contains(&wanted))
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn filters_as_people_write_them() {
        let resource = json!({
            "name": "dora-ssh", "description": "x [dorainfra deployment=dora digest=1]", "sizeGb": "30",
            "labels": {"managed-by": "dorainfra", "deployment": "dora"}, "tags": ["a", "b"],
            "creationTimestamp": "2026-01-02T00:00:00.000Z", "scheduling": {"automaticRestart": true},
        });
        for (filter, expected) in [
            ("labels.deployment=dora", true),
            ("labels.managed-by=dorainfra AND labels.deployment=dora", true),
            ("(labels.managed-by=dorainfra) (labels.deployment=other)", false),
            ("(labels.managed-by=dorainfra)(labels.deployment=dora)", true),
            ("labels.\"managed-by\"=\"dorainfra\"", true),
            ("labels.deployment:*", true),
            ("labels.absent:*", false),
            ("labels.deployment != dora", false),
            ("name eq dora-.*", true),
            ("name eq \"dora\"", false),
            ("name ne .*ssh", false),
            // As gcloud writes `name=ssh`, `name:ss*` and `name~^dora`.
            (r#"name eq ".*\bssh\b.*""#, true),
            (r#"name eq ".*\bss\b.*""#, false),
            (r#"name eq ".*\bss.*""#, true),
            (r#"name eq ".*(^dora).*""#, true),
            (r#"name eq "\w+-[\w]+""#, true),
            (r#"name ne "\D+""#, false),
            ("(name eq dora.*) (sizeGb eq 30)", true),
            ("name=dora-*", true),
            ("description:\"deployment=dora\"", true),
            ("NOT name=other", true),
            ("-labels.absent:*", true),
            ("tags:b", true),
            ("sizeGb > 5 AND sizeGb <= 30", true),
            ("sizeGb < 5", false),
            ("creationTimestamp > \"2026-01-01\"", true),
            ("scheduling.automaticRestart = true", true),
            ("name=other OR name=dora-ssh", true),
            // OR binds closer than AND.
            ("name=dora-ssh OR name=other AND tags:c", false),
            ("name=dora-ssh OR (name=other AND tags:c)", true),
        ] {
            assert_eq!(Filter::parse(Some(filter)).unwrap().matches(&resource), expected, "{filter}");
        }
        for bad in [
            "nonsense",
            "a=b OR",
            "(a=b",
            "a=b)",
            "=b",
            "a = ",
            "no sense",
            "name eq (",
            "a=\"b",
            ".a=b",
            "(name eq dora.*) (sizeGb = 30)",
        ] {
            assert_eq!(Filter::parse(Some(bad)).unwrap_err().code, 400, "{bad}");
        }
        assert!(Filter::parse(None).unwrap().matches(&resource));
    }
}

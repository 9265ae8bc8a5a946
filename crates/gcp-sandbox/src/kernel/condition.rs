//! Conditions of IAM bindings: the part of CEL that tells resources apart.
//!
//! Read are `resource.name`, `resource.type` and `resource.service`, `startsWith` and
//! `endsWith`, `==`, `!=`, `!`, `&&`, `||`, parentheses, texts, `true` and `false`. A
//! condition that asks for anything else is refused when it is written, so that no grant
//! is wider or narrower here than its author believes.

use serde_json::Value;

use super::error::ApiError;

/// How many of `&&`, `||` and `!` Google takes in one expression.
const OPERATORS: usize = 12;
/// How deep one may be, which the number of operators does not bound.
const DEPTH: usize = 32;

/// Whether the binding counts for the resource of that name; without a condition it does.
/// An empty name is a resource whose attributes this sandbox does not tell.
pub fn holds(condition: &Value, resource: &str) -> bool {
    if condition.is_null() {
        return true;
    }
    let expression = condition["expression"].as_str().unwrap_or_default();
    // What can't be evaluated grants nothing.
    parse(expression).is_ok_and(|expression| expression.truth(resource) == Some(true))
}

/// What a policy may not be written with.
pub fn check(binding: &Value) -> Result<(), ApiError> {
    let condition = &binding["condition"];
    if condition.is_null() {
        return Ok(());
    }
    let text = |field: &str| condition[field].as_str().unwrap_or_default();
    if text("title").is_empty() || text("title").len() > 100 {
        return Err(ApiError::invalid("A condition has to have a title of at most 100 characters."));
    }
    let role = binding["role"].as_str().unwrap_or_default();
    let basic = ["roles/owner", "roles/editor", "roles/viewer"].contains(&role);
    if basic || role.starts_with("roles/storage.legacy") {
        return Err(ApiError::invalid(format!("Conditions can't be set on the role {role}.")));
    }
    let everybody = |member: &Value| *member == "allUsers" || *member == "allAuthenticatedUsers";
    if binding["members"].as_array().is_some_and(|members| members.iter().any(everybody)) {
        return Err(ApiError::invalid(
            "Conditions can't be set on bindings of allUsers or allAuthenticatedUsers.",
        ));
    }
    let expression = text("expression");
    if !ends(expression) {
        return Err(ApiError::invalid(format!(
            "Expression parsing failed for condition expression: {expression}"
        )));
    }
    parse(expression).map(drop)
}

/// Whether it says something, and its quotes and brackets end: else it is no CEL at all.
fn ends(expression: &str) -> bool {
    let (mut open, mut quote, mut escaped) = (Vec::new(), None, false);
    for each in expression.chars() {
        match (quote, each) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(of), _) if of == each => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(each),
            (None, '(') => open.push(')'),
            (None, '[') => open.push(']'),
            (None, '{') => open.push('}'),
            (None, ')' | ']' | '}') if open.pop() != Some(each) => return false,
            (None, _) => {}
        }
    }
    quote.is_none() && open.is_empty() && !expression.trim().is_empty()
}

#[derive(Debug, PartialEq, Eq)]
enum Expression {
    Text(String),
    Truth(bool),
    /// `name`, `type` or `service` of the resource.
    Attribute(String),
    Not(Box<Expression>),
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Same(Box<(Expression, Expression)>),
    /// Whether a text begins (or else ends) with another.
    Begins(bool, Box<(Expression, Expression)>),
}

impl Expression {
    /// `None`: it can't be told, as with an attribute that the resource has not.
    fn truth(&self, resource: &str) -> Option<bool> {
        match self {
            Self::Truth(truth) => Some(*truth),
            Self::Text(_) | Self::Attribute(_) => None,
            Self::Not(of) => of.truth(resource).map(|truth| !truth),
            Self::All(of) => decided(of, resource, false),
            Self::Any(of) => decided(of, resource, true),
            Self::Same(of) => {
                if let (Some(a), Some(b)) = (of.0.text(resource), of.1.text(resource)) {
                    return Some(a == b);
                }
                Some(of.0.truth(resource)? == of.1.truth(resource)?)
            }
            Self::Begins(begins, of) => {
                let (text, part) = (of.0.text(resource)?, of.1.text(resource)?);
                Some(if *begins { text.starts_with(part) } else { text.ends_with(part) })
            }
        }
    }

    fn text<'a>(&'a self, resource: &'a str) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Attribute(_) if resource.is_empty() => None,
            Self::Attribute(name) => Some(match name.as_str() {
                "name" => resource,
                "type" if resource.contains("/objects/") => "storage.googleapis.com/Object",
                "type" => "storage.googleapis.com/Bucket",
                _ => "storage.googleapis.com",
            }),
            _ => None,
        }
    }
}

/// One operand that says `by` decides, whatever else can't be told.
fn decided(of: &[Expression], resource: &str, by: bool) -> Option<bool> {
    let truths: Vec<Option<bool>> = of.iter().map(|each| each.truth(resource)).collect();
    if truths.contains(&Some(by)) {
        return Some(by);
    }
    truths.iter().all(Option::is_some).then_some(!by)
}

fn parse(text: &str) -> Result<Expression, ApiError> {
    let tokens = tokens(text).ok_or_else(|| refusal(text))?;
    if tokens.iter().filter(|token| ["&&", "||", "!"].contains(&token.as_str())).count() > OPERATORS {
        return Err(ApiError::invalid(format!(
            "A condition may have at most {OPERATORS} logical operators."
        )));
    }
    let mut parser = Parser { tokens: &tokens, depth: 0 };
    let read = parser.any().filter(|_| parser.tokens.is_empty());
    // What is no truth is no condition.
    let told = read.filter(|read| !matches!(read, Expression::Text(_) | Expression::Attribute(_)));
    told.ok_or_else(|| refusal(text))
}

fn refusal(text: &str) -> ApiError {
    ApiError::unimplemented(&format!("a condition such as `{text}`"))
}

/// Words, operators, and texts, which keep one quote before them.
fn tokens(text: &str) -> Option<Vec<String>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' | '\'' => {
                let inner = &rest[1..];
                let end = inner.find(first)?;
                // Escapes are not read.
                if inner[..end].contains('\\') {
                    return None;
                }
                tokens.push(format!("\"{}", &inner[..end]));
                rest = inner[end + 1..].trim_start();
                continue;
            }
            _ if first.is_ascii_alphabetic() => {
                rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())
            }
            _ if ["&&", "||", "==", "!="].iter().any(|two| rest.starts_with(two)) => 2,
            '!' | '(' | ')' | '.' => 1,
            _ => return None,
        };
        tokens.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    Some(tokens)
}

struct Parser<'a> {
    tokens: &'a [String],
    depth: usize,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<&str> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn take(&mut self, wanted: &str) -> bool {
        let there = self.tokens.first().is_some_and(|token| token == wanted);
        if there {
            self.tokens = &self.tokens[1..];
        }
        there
    }

    fn any(&mut self) -> Option<Expression> {
        let mut of = vec![self.all()?];
        while self.take("||") {
            of.push(self.all()?);
        }
        if of.len() == 1 { of.pop() } else { Some(Expression::Any(of)) }
    }

    fn all(&mut self) -> Option<Expression> {
        let mut of = vec![self.compared()?];
        while self.take("&&") {
            of.push(self.compared()?);
        }
        if of.len() == 1 { of.pop() } else { Some(Expression::All(of)) }
    }

    fn compared(&mut self) -> Option<Expression> {
        let one = self.operand()?;
        if self.take("==") {
            return Some(Expression::Same(Box::new((one, self.operand()?))));
        }
        if self.take("!=") {
            let same = Expression::Same(Box::new((one, self.operand()?)));
            return Some(Expression::Not(Box::new(same)));
        }
        Some(one)
    }

    fn operand(&mut self) -> Option<Expression> {
        self.depth += 1;
        if self.depth > DEPTH {
            return None;
        }
        let mut value = match self.next()?.to_owned().as_str() {
            "!" => Expression::Not(Box::new(self.operand()?)),
            "(" => {
                let inner = self.any()?;
                self.take(")").then_some(inner)?
            }
            "true" => Expression::Truth(true),
            "false" => Expression::Truth(false),
            "resource" => {
                self.take(".").then_some(())?;
                let name = self.next()?;
                ["name", "type", "service"].contains(&name).then(|| Expression::Attribute(name.to_owned()))?
            }
            text => Expression::Text(text.strip_prefix('"')?.to_owned()),
        };
        while self.take(".") {
            let begins = match self.next()? {
                "startsWith" => true,
                "endsWith" => false,
                _ => return None,
            };
            self.take("(").then_some(())?;
            let part = self.any()?;
            self.take(")").then_some(())?;
            value = match value {
                // `!a.startsWith(b)` is `!(a.startsWith(b))`: the operand of `!` has taken it.
                Expression::Not(_) => return None,
                value => Expression::Begins(begins, Box::new((value, part))),
            };
        }
        self.depth -= 1;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BUCKET: &str = "projects/_/buckets/b";
    const LEASE: &str = "projects/_/buckets/b/objects/dorainfra/lease";

    fn holds(expression: &str, resource: &str) -> bool {
        super::holds(&json!({"title": "t", "expression": expression}), resource)
    }

    #[test]
    fn conditions_are_evaluated_as_cel_says() {
        let not_ours = r#"!resource.name.startsWith("projects/_/buckets/b/objects/dorainfra/")"#;
        for (expression, on_bucket, on_lease) in [
            ("true", true, true),
            ("false || true && false", false, false),
            (not_ours, true, false),
            (r#"resource.type == "storage.googleapis.com/Object""#, false, true),
            (r#"resource.type != 'storage.googleapis.com/Object' && true"#, true, false),
            (r#"(resource.name.endsWith("lease")) || resource.service == "x""#, false, true),
            (r#"!(resource.name.endsWith("lease") == false)"#, false, true),
        ] {
            assert_eq!(
                (holds(expression, BUCKET), holds(expression, LEASE)),
                (on_bucket, on_lease),
                "{expression}"
            );
            parse(expression).unwrap();
        }
    }

    /// As with Google, a negation widens nothing where there is nothing to ask.
    #[test]
    fn a_resource_without_the_attribute_is_granted_nothing() {
        assert!(!holds(r#"!resource.name.startsWith("a")"#, ""));
        assert!(!holds(r#"resource.name != "a""#, ""));
        assert!(holds(r#"resource.name == "a" || true"#, ""));
        assert!(super::holds(&Value::Null, ""));
    }

    #[test]
    fn what_is_not_evaluated_here_is_refused() {
        for bad in [
            "",
            "resource.name",
            "request.time < timestamp('2030-01-01T00:00:00Z')",
            "resource.name.contains('a')",
            "resource.name.startsWith('a'",
            "!",
            "'a",
            r#"resource.name == "\"""#,
            &"(".repeat(5000),
        ] {
            assert!(parse(bad).is_err() && !holds(bad, BUCKET), "{bad}");
        }
        assert_eq!(parse("request.time").unwrap_err().code, 501);
        assert_eq!(parse(&vec!["true"; 14].join(" && ")).unwrap_err().code, 400);
        let binding = |role: &str, member: &str, title: &str| {
            check(
                &json!({"role": role, "members": [member], "condition": {"title": title, "expression": "true"}}),
            )
        };
        assert!(binding("roles/storage.objectAdmin", "user:a@b.c", "t").is_ok());
        assert!(binding("roles/storage.objectAdmin", "user:a@b.c", "").is_err());
        assert!(binding("roles/storage.objectAdmin", "allUsers", "t").is_err());
        assert!(binding("roles/storage.legacyBucketReader", "user:a@b.c", "t").is_err());
        assert!(binding("roles/viewer", "user:a@b.c", "t").is_err());
    }
}

//! List filters, as Compute and Secret Manager write them: comparisons joined
//! by AND, with or without parentheses around each.

use serde_json::Value;

use super::error::ApiError;
use super::faults::glob_matches;

#[derive(Debug, PartialEq)]
pub struct Filter(Vec<Term>);

#[derive(Debug, PartialEq)]
struct Term {
    negated: bool,
    path: Vec<String>,
    operator: Operator,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Equal,
    NotEqual,
    /// `:`: contains; `:*`: is there at all.
    Has,
}

impl Filter {
    pub fn parse(text: Option<&str>) -> Result<Self, ApiError> {
        let Some(text) = text else { return Ok(Self(Vec::new())) };
        let bad = || {
            ApiError::invalid(format!(
                "Invalid value for field 'filter': '{text}'. Invalid list filter expression."
            ))
        };
        let spaced = text.replace(")(", ") AND (").replace(") (", ") AND (");
        let mut terms = Vec::new();
        for part in spaced.split(" AND ") {
            let mut part = part.trim();
            while let Some(inner) = part.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
                part = inner.trim();
            }
            if part.contains(" OR ") {
                return Err(ApiError::unimplemented("list filters with OR"));
            }
            terms.push(term(part).ok_or_else(bad)?);
        }
        Ok(Self(terms))
    }

    pub fn matches(&self, resource: &Value) -> bool {
        self.0.iter().all(|term| term.matches(resource))
    }
}

fn term(text: &str) -> Option<Term> {
    let (negated, text) = match text.strip_prefix("NOT ").or_else(|| text.strip_prefix('-')) {
        Some(rest) => (true, rest.trim()),
        None => (false, text),
    };
    let words = [(" eq ", Operator::Equal), (" ne ", Operator::NotEqual)];
    let signs = [("!=", Operator::NotEqual), ("=", Operator::Equal), (":", Operator::Has)];
    let (at, sign, operator) = words
        .iter()
        .chain(&signs)
        .filter_map(|(sign, operator)| text.find(sign).map(|at| (at, *sign, *operator)))
        .min_by_key(|(at, sign, _)| (*at, std::cmp::Reverse(sign.len())))?;
    let path = text[..at].trim();
    let value = text[at + sign.len()..].trim();
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let path_ok =
        !path.is_empty() && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-\"".contains(&byte));
    let value_ok = quoted.is_some() || (!value.contains(char::is_whitespace) && !value.contains(['(', ')']));
    (path_ok && value_ok).then(|| Term {
        negated,
        path: path.split('.').map(|each| each.trim_matches('"').to_owned()).collect(),
        operator,
        value: quoted.unwrap_or(value).to_owned(),
    })
}

impl Term {
    fn matches(&self, resource: &Value) -> bool {
        let mut found = resource;
        for step in &self.path {
            found = &found[step.as_str()];
        }
        let texts: Vec<String> = match found {
            Value::Null => Vec::new(),
            Value::String(text) => vec![text.clone()],
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                .collect(),
            Value::Object(members) => members.keys().cloned().collect(),
            other => vec![other.to_string()],
        };
        let equal = |text: &String| glob_matches(&self.value, text);
        let holds = match self.operator {
            Operator::Equal => texts.iter().any(equal),
            Operator::NotEqual => !texts.iter().any(equal),
            Operator::Has if self.value == "*" => !texts.is_empty(),
            Operator::Has => {
                let wanted = self.value.trim_end_matches('*').to_lowercase();
                texts.iter().any(|text| text.to_lowercase().contains(&wanted))
            }
        };
        holds != self.negated
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn filters_as_people_write_them() {
        let resource = json!({
            "name": "dora-ssh", "description": "x [dorainfra deployment=dora digest=1]",
            "labels": {"managed-by": "dorainfra", "deployment": "dora"}, "tags": ["a", "b"],
        });
        for (filter, expected) in [
            ("labels.deployment=dora", true),
            ("labels.managed-by=dorainfra AND labels.deployment=dora", true),
            ("(labels.managed-by=dorainfra) (labels.deployment=other)", false),
            ("labels.\"managed-by\"=\"dorainfra\"", true),
            ("labels.deployment:*", true),
            ("labels.absent:*", false),
            ("labels.deployment != dora", false),
            ("name eq dora-.*", false),
            ("name=dora-*", true),
            ("description:\"deployment=dora\"", true),
            ("NOT name=other", true),
            ("tags:b", true),
        ] {
            assert_eq!(Filter::parse(Some(filter)).unwrap().matches(&resource), expected, "{filter}");
        }
        assert_eq!(Filter::parse(Some("nonsense")).unwrap_err().code, 400);
        assert_eq!(Filter::parse(Some("a=b OR c=d")).unwrap_err().code, 501);
        assert!(Filter::parse(None).unwrap().matches(&resource));
    }
}

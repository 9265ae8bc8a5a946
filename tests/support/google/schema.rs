//! Values held to the schemas of a discovery document: names, types, formats,
//! enums, and what has to be there.

use std::collections::BTreeSet;

use base64::Engine as _;
use serde_json::Value;

/// Which way a value goes.
#[derive(Clone, Copy)]
pub enum Direction<'a> {
    /// `patch`: a `null` says what is to be removed, and nothing is required.
    Request {
        method: &'a str,
        patch: bool,
    },
    Response,
}

pub struct Schemas(Value);

impl Schemas {
    pub fn new(schemas: Value) -> Self {
        Self(schemas)
    }

    /// What is wrong with a value of the schema of that name, each as `.place: why`.
    pub fn check(&self, name: &str, value: &Value, direction: Direction) -> Vec<String> {
        let mut problems = Vec::new();
        let schema = &self.0[name];
        assert!(!schema.is_null(), "the document has no schema {name}");
        self.value(schema, value, "", direction, &mut problems);
        problems
    }

    fn value(&self, schema: &Value, value: &Value, at: &str, way: Direction, problems: &mut Vec<String>) {
        if let Some(name) = schema["$ref"].as_str() {
            let schema = &self.0[name];
            assert!(!schema.is_null(), "the document has no schema {name}");
            return self.value(schema, value, at, way, problems);
        }
        if value.is_null() && matches!(way, Direction::Request { patch: true, .. }) {
            return;
        }
        match schema["type"].as_str().unwrap_or("any") {
            "object" => self.object(schema, value, at, way, problems),
            "array" => match value.as_array() {
                Some(items) => {
                    for (index, item) in items.iter().enumerate() {
                        self.value(&schema["items"], item, &format!("{at}[{index}]"), way, problems);
                    }
                }
                None => problems.push(format!("{at}: {} is no list", short(value))),
            },
            "any" => {}
            _ => {
                // Google takes a 64-bit number for the string that it writes itself.
                let long = matches!(schema["format"].as_str(), Some("int64" | "uint64"));
                let number = value.as_i64().is_some() || value.as_u64().is_some();
                if long && number && matches!(way, Direction::Request { .. }) {
                    return;
                }
                if let Err(why) = scalar(schema, value) {
                    problems.push(format!("{at}: {why}"));
                }
                let fixed =
                    schema["default"].as_str().filter(|_| at.ends_with(".kind") && schema["enum"].is_null());
                if fixed.is_some_and(|kind| kind.contains('#') && value != kind) {
                    problems.push(format!("{at}: {value} is not {}", schema["default"]));
                }
            }
        }
    }

    fn object(&self, schema: &Value, value: &Value, at: &str, way: Direction, problems: &mut Vec<String>) {
        let Some(members) = value.as_object() else {
            problems.push(format!("{at}: {} is no object", short(value)));
            return;
        };
        let more = &schema["additionalProperties"];
        for (name, member) in members {
            let at = format!("{at}.{name}");
            match schema["properties"].get(name) {
                Some(property) => self.value(property, member, &at, way, problems),
                None if more.is_object() => self.value(more, member, &at, way, problems),
                // Names the type of what has no schema of its own.
                None if name == "@type" => {}
                None => problems.push(format!("{at}: the document knows no such field")),
            }
        }
        let Direction::Request { method, .. } = way else { return };
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let required = property["annotations"]["required"].as_array().into_iter().flatten();
            if required.into_iter().any(|each| each == method) && members.get(name).is_none_or(Value::is_null)
            {
                problems.push(format!("{at}.{name}: is required"));
            }
        }
    }

    /// What is wrong with the text of a parameter. One without a description is
    /// a part of another.
    pub fn parameter(described: &Value, text: &str) -> Result<(), String> {
        if described.is_null() {
            return Ok(());
        }
        let value = match described["type"].as_str() {
            Some("integer") => text.parse::<i64>().map(Value::from).ok(),
            Some("number") => text.parse::<f64>().map(Value::from).ok(),
            // Google's own Python client writes `True`.
            Some("boolean") => text.to_lowercase().parse::<bool>().map(Value::from).ok(),
            _ => Some(Value::from(text)),
        };
        let value = value.ok_or_else(|| format!("is no {}", described["type"]))?;
        scalar(described, &value)
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

/// A string, number or boolean: its type, its format, its enum and its pattern.
fn scalar(schema: &Value, value: &Value) -> Result<(), String> {
    let (kind, format) =
        (schema["type"].as_str().unwrap_or_default(), schema["format"].as_str().unwrap_or_default());
    let fits = match (kind, value) {
        ("boolean", Value::Bool(_)) | ("number", Value::Number(_)) => true,
        ("integer", Value::Number(number)) => match format {
            "uint32" => number.as_u64().is_some_and(|number| u32::try_from(number).is_ok()),
            _ => number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        },
        ("string", Value::String(text)) => formatted(format, text),
        _ => false,
    };
    if !fits {
        return Err(format!("{} is no {kind} {format}", short(value)));
    }
    let choices: BTreeSet<&str> =
        schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !choices.is_empty() && !value.as_str().is_some_and(|text| choices.contains(text)) {
        return Err(format!("{} is none of {choices:?}", short(value)));
    }
    if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str()) {
        // Google's patterns for names are larger than a compiled one may be by default.
        let whole =
            regex::RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(64 << 20).build().unwrap();
        if !text.is_empty() && !whole.is_match(text) {
            return Err(format!("{text:?} does not match {pattern}"));
        }
    }
    Ok(())
}

fn formatted(format: &str, text: &str) -> bool {
    use time::format_description::well_known::Rfc3339;
    let date = |text: &str| time::OffsetDateTime::parse(&format!("{text}T00:00:00Z"), &Rfc3339).is_ok();
    match format {
        "int64" => text.parse::<i64>().is_ok(),
        "uint64" => text.parse::<u64>().is_ok(),
        "byte" => {
            let alphabets =
                [base64::engine::general_purpose::STANDARD, base64::engine::general_purpose::URL_SAFE];
            alphabets.iter().any(|alphabet| alphabet.decode(text).is_ok())
        }
        "date-time" | "google-datetime" => time::OffsetDateTime::parse(text, &Rfc3339).is_ok(),
        "date" => date(text),
        "google-duration" => text.strip_suffix('s').is_some_and(|seconds| seconds.parse::<f64>().is_ok()),
        "google-fieldmask" => text.split(',').all(|field| !field.is_empty() && !field.contains(' ')),
        _ => true,
    }
}

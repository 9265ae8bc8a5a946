//! Types of fields, and the check of a JSON value against a message, in
//! Google's words.

use serde_json::Value;

use super::Contract;
use crate::kernel::error::ApiError;

#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    Any,
    String,
    Bool,
    /// 32 bits: a JSON number, or a string that holds one.
    Integer {
        signed: bool,
    },
    /// 64 bits: a string, or a JSON number.
    Long {
        signed: bool,
    },
    Double,
    Bytes,
    Enum(Vec<String>),
    List(Box<Type>),
    Map(Box<Type>),
    Message(String),
}

impl Type {
    pub(super) fn parse(text: &str) -> Self {
        let inner = || &text[1..text.len() - 1];
        match text {
            "any" => Self::Any,
            "boolean" => Self::Bool,
            "int32" => Self::Integer { signed: true },
            "uint32" | "integer" => Self::Integer { signed: false },
            "int64" => Self::Long { signed: true },
            "uint64" => Self::Long { signed: false },
            "double" | "float" | "number" => Self::Double,
            "byte" => Self::Bytes,
            _ if text.starts_with('(') => Self::Enum(inner().split('|').map(str::to_owned).collect()),
            _ if text.starts_with('[') => Self::List(Box::new(Self::parse(inner()))),
            _ if text.starts_with('{') => Self::Map(Box::new(Self::parse(inner()))),
            _ if text.starts_with('@') => Self::Message(text[1..].to_owned()),
            _ => Self::String,
        }
    }

    fn proto(&self) -> String {
        match self {
            Self::Bool => "TYPE_BOOL",
            Self::Integer { signed: true } => "TYPE_INT32",
            Self::Integer { signed: false } => "TYPE_UINT32",
            Self::Long { signed: true } => "TYPE_INT64",
            Self::Long { signed: false } => "TYPE_UINT64",
            Self::Double => "TYPE_DOUBLE",
            Self::Bytes => "TYPE_BYTES",
            Self::Enum(_) => "TYPE_ENUM",
            _ => "TYPE_STRING",
        }
        .to_owned()
    }

    /// Whether a value of a query parameter is one of this type.
    pub fn takes(&self, text: &str) -> bool {
        match self {
            // Google's own Python client writes `True`.
            Self::Bool => ["true", "false"].iter().any(|each| text.eq_ignore_ascii_case(each)),
            Self::Integer { signed: true } => text.parse::<i32>().is_ok(),
            Self::Integer { signed: false } => text.parse::<u32>().is_ok(),
            Self::Long { signed: true } => text.parse::<i64>().is_ok(),
            Self::Long { signed: false } => text.parse::<u64>().is_ok(),
            Self::Double => text.parse::<f64>().is_ok(),
            Self::Enum(values) => values.iter().any(|value| value == text),
            Self::List(inner) => inner.takes(text),
            _ => true,
        }
    }

    /// The refusal of a query parameter's value.
    pub fn refuse_parameter(&self, name: &str, text: &str) -> ApiError {
        let kind = match self {
            Self::List(inner) => inner.proto(),
            other => other.proto(),
        };
        ApiError::bad_request(name, format!("Invalid value at '{name}' ({kind}), \"{text}\""))
    }
}

impl Contract {
    /// Checks `value` against a message of `api`; `at` is where the value stands
    /// in the request (`resource` for a body).
    pub fn check(&self, api: &'static str, message: &str, value: &Value, at: &str) -> Result<(), ApiError> {
        let fields = self
            .messages
            .get(&(api, message.to_owned()))
            .expect("the table describes every message it names");
        let Some(object) = value.as_object() else {
            return Err(wrong(at, &format!("type.googleapis.com/{message}"), value));
        };
        for (name, value) in object {
            let Some(kind) = fields.get(name) else {
                let place = if at == "resource" { String::new() } else { format!(" at '{at}'") };
                return Err(ApiError::bad_request(
                    at,
                    format!(
                        "Invalid JSON payload received. Unknown name \"{name}\"{place}: Cannot find field."
                    ),
                ));
            };
            self.check_type(api, kind, value, &format!("{at}.{}", snake(name)))?;
        }
        Ok(())
    }

    /// Writes a checked value as Google does: 64-bit numbers as strings, smaller
    /// ones as numbers; without its `null`s where `drop_nulls`.
    pub fn normalize(&self, api: &'static str, message: &str, value: &mut Value, drop_nulls: bool) {
        let Some(fields) = self.messages.get(&(api, message.to_owned())) else { return };
        let Some(object) = value.as_object_mut() else { return };
        if drop_nulls {
            object.retain(|_, value| !value.is_null());
        }
        // Terraform writes what it does not set; to Compute an empty one is none.
        if api == "compute" {
            let unset =
                |name: &str, value: &Value| *value == "" && matches!(fields.get(name), Some(Type::Enum(_)));
            object.retain(|name, value| !unset(name, value));
        }
        for (name, value) in object {
            if let Some(kind) = fields.get(name) {
                self.normalize_type(api, kind, value, drop_nulls);
            }
        }
    }

    fn normalize_type(&self, api: &'static str, kind: &Type, value: &mut Value, drop_nulls: bool) {
        match (kind, &mut *value) {
            (Type::Long { .. }, Value::Number(number)) => *value = Value::String(number.to_string()),
            (Type::Integer { .. }, Value::String(text)) => {
                if let Ok(number) = text.parse::<i64>() {
                    *value = Value::from(number);
                }
            }
            (Type::List(inner), Value::Array(items)) => {
                items.iter_mut().for_each(|item| self.normalize_type(api, inner, item, drop_nulls));
            }
            (Type::Map(inner), Value::Object(entries)) => {
                entries.values_mut().for_each(|item| self.normalize_type(api, inner, item, drop_nulls));
            }
            (Type::Message(name), value) => self.normalize(api, name, value, drop_nulls),
            _ => {}
        }
    }

    fn check_type(&self, api: &'static str, kind: &Type, value: &Value, at: &str) -> Result<(), ApiError> {
        if value.is_null() {
            return Ok(());
        }
        let fits = match kind {
            Type::Any => true,
            Type::String => value.is_string(),
            Type::Bool => value.is_boolean(),
            Type::Double => value.is_number() || value.as_str().is_some_and(|text| kind.takes(text)),
            Type::Integer { .. } | Type::Long { .. } => match value {
                Value::Number(number) => kind.takes(&number.to_string()),
                Value::String(text) => kind.takes(text),
                _ => false,
            },
            Type::Bytes => value.as_str().is_some_and(|text| base64_bytes(text).is_some()),
            Type::Enum(_) if api == "compute" && value == "" => true,
            Type::Enum(values) => value.as_str().is_some_and(|text| values.iter().any(|each| each == text)),
            Type::List(inner) => {
                let Some(items) = value.as_array() else {
                    return Err(ApiError::bad_request(
                        at,
                        format!("Invalid value at '{at}' ({}), {value}", inner.proto()),
                    ));
                };
                for (index, item) in items.iter().enumerate() {
                    self.check_type(api, inner, item, &format!("{at}[{index}]"))?;
                }
                true
            }
            Type::Map(inner) => {
                let Some(entries) = value.as_object() else {
                    return Err(wrong(at, "Map", value));
                };
                for (key, item) in entries {
                    self.check_type(api, inner, item, &format!("{at}[\"{key}\"]"))?;
                }
                true
            }
            Type::Message(name) => return self.check(api, name, value, at),
        };
        if fits { Ok(()) } else { Err(wrong(at, &kind.proto(), value)) }
    }
}

fn wrong(at: &str, kind: &str, value: &Value) -> ApiError {
    ApiError::bad_request(at, format!("Invalid value at '{at}' ({kind}), {value}"))
}

/// Decodes base64 of either alphabet, with or without padding, as Google does.
pub fn base64_bytes(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let plain: String = text
        .trim_end_matches('=')
        .chars()
        .map(|each| match each {
            '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    base64::engine::general_purpose::STANDARD_NO_PAD.decode(plain).ok()
}

/// `sizeGb` → `size_gb`: errors name fields in the API's own spelling.
fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for each in name.chars() {
        if each.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(each.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::CONTRACT;
    use super::*;

    fn refusal(message: &str, value: Value) -> String {
        CONTRACT.check("compute", message, &value, "resource").unwrap_err().message
    }

    #[test]
    fn unknown_names_and_wrong_types_are_refused_in_googles_words() {
        assert_eq!(
            refusal("Disk", json!({"sizeGB": 10})),
            "Invalid JSON payload received. Unknown name \"sizeGB\": Cannot find field."
        );
        assert_eq!(
            refusal("Disk", json!({"sizeGb": "ten"})),
            "Invalid value at 'resource.size_gb' (TYPE_INT64), \"ten\""
        );
        assert_eq!(
            refusal("Instance", json!({"disks": [{"boot": "yes"}]})),
            "Invalid value at 'resource.disks[0].boot' (TYPE_BOOL), \"yes\""
        );
        assert_eq!(
            refusal("Instance", json!({"disks": [{"image": "x"}]})),
            "Invalid JSON payload received. Unknown name \"image\" at 'resource.disks[0]': Cannot find field."
        );
        assert_eq!(
            refusal("Firewall", json!({"direction": "SIDEWAYS"})),
            "Invalid value at 'resource.direction' (TYPE_ENUM), \"SIDEWAYS\""
        );
    }

    #[test]
    fn numbers_of_64_bits_may_be_strings() {
        for size in [json!(10), json!("10")] {
            CONTRACT
                .check("compute", "Disk", &json!({"sizeGb": size, "labels": {"a": "b"}}), "resource")
                .unwrap();
        }
    }
}

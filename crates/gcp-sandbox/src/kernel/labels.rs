//! Names and labels: the syntax that Google holds them to.

use serde_json::Value;

use super::error::ApiError;

const NAME: &str = "(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)";

/// A Compute resource's name (RFC 1035).
pub fn check_name(name: &str) -> Result<(), ApiError> {
    let good = (1..=63).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if good {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "Invalid value for field 'resource.name': '{name}'. Must be a match of regex '{NAME}'"
    )))
}

/// Keys and values of a `labels` map; `null` passes.
pub fn check(labels: &Value, field: &str) -> Result<(), ApiError> {
    let Some(labels) = labels.as_object() else { return Ok(()) };
    if labels.len() > 64 {
        return Err(ApiError::invalid(format!(
            "Invalid value for field '{field}': at most 64 labels are allowed."
        )));
    }
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    let other = |text: &str| {
        text.chars().any(|each| each.is_uppercase() || (each.is_ascii() && !allowed(each as u8)))
    };
    for (key, value) in labels {
        let value = value.as_str().unwrap_or_default();
        let first_ok = key.starts_with(|first: char| first.is_lowercase());
        if !first_ok || key.len() > 63 || other(key) {
            return Err(ApiError::invalid(format!(
                "Invalid value for field '{field}': ''. Label key '{key}' violates format constraints. The key must \
                 start with a lowercase character, can only contain lowercase letters, numeric characters, \
                 underscores and dashes. The key can be at most 63 characters long."
            )));
        }
        if value.len() > 63 || other(value) {
            return Err(ApiError::invalid(format!(
                "Invalid value for field '{field}': ''. Label value '{value}' violates format constraints. The \
                 value can only contain lowercase letters, numeric characters, underscores and dashes. The value \
                 can be at most 63 characters long."
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_and_labels() {
        for (name, good) in
            [("a", true), ("dorainfra-mimir", true), ("A", false), ("a-", false), ("1a", false)]
        {
            assert_eq!(check_name(name).is_ok(), good, "{name}");
        }
        check(&json!({"managed-by": "dorainfra", "empty": ""}), "labels").unwrap();
        check(&Value::Null, "labels").unwrap();
        for bad in [json!({"Team": "a"}), json!({"team": "A"}), json!({"team": "a.b"}), json!({"1": "a"})] {
            assert_eq!(check(&bad, "labels").unwrap_err().code, 400, "{bad}");
        }
    }
}

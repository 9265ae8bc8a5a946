//! `mimir.extra` laid over the rendered `mimir.yaml`: mappings are merged,
//! everything else is replaced. Without it the file stays as its template has
//! it, comments and all.

use serde_json::{Map, Value};

use super::BlueprintError;

const FILE: &str = "vm/mimir.yaml.j2";
const HEAD: &str = "\
# Grafana Mimir's configuration: templates/vm/mimir.yaml.j2 of dorainfra, which says why each
# value is what it is, with `mimir.extra` of dorainfra.yaml laid over it.
";

/// # Errors
/// What the template has rendered is not a mapping.
pub(super) fn laid_over(rendered: String, extra: &Map<String, Value>) -> Result<String, BlueprintError> {
    if extra.is_empty() {
        return Ok(rendered);
    }
    let broken = |message: String| BlueprintError::Manifest { file: FILE.into(), line: None, message };
    // YAML 1.2: `no` and `on` are texts.
    let options = serde_saphyr::options! { strict_booleans: true };
    let mut whole: Value = serde_saphyr::from_str_with_options(&rendered, options)
        .map_err(|error| broken(error.without_snippet().to_string()))?;
    let Some(fields) = whole.as_object_mut() else {
        return Err(broken("it is not a mapping, so `mimir.extra` cannot be laid over it".into()));
    };
    merge(fields, extra);
    let text = serde_saphyr::to_string(&whole).map_err(|error| broken(error.to_string()))?;
    Ok(format!("{HEAD}{}\n", text.trim_end()))
}

fn merge(under: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (under.get_mut(key), value) {
            (Some(Value::Object(under)), Value::Object(over)) => merge(under, over),
            _ => {
                under.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn extra(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn nothing_extra_leaves_the_file_alone() {
        let text = "# why\nlimits: {a: 1}\n".to_owned();
        assert_eq!(laid_over(text.clone(), &Map::new()).unwrap(), text);
    }

    #[test]
    fn mappings_are_merged_and_the_rest_is_replaced() {
        let text =
            "limits:\n  a: 1\n  window: 400d\n  list: [1, 2]\nserver: {address: \"${A}\"}\n".to_owned();
        let extra =
            extra(json!({"limits": {"a": "2", "list": [3], "new": {"b": true}}, "ruler": {"x": 0.5}}));
        let merged = laid_over(text, &extra).unwrap();
        let read: Value = serde_saphyr::from_str(&merged).unwrap();
        assert_eq!(
            read,
            json!({
                "limits": {"a": "2", "window": "400d", "list": [3], "new": {"b": true}},
                "server": {"address": "${A}"},
                "ruler": {"x": 0.5},
            })
        );
        insta::assert_snapshot!(merged);
    }

    #[test]
    fn a_template_that_is_no_mapping_is_told() {
        assert!(laid_over("- a\n".into(), &extra(json!({"a": 1}))).is_err());
    }
}

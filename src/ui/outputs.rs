//! The result of `output`: names and values.

use dorainfra_deploy::workflow::output::Output;
use serde_json::{Map, Value};

use super::text::{visible, width, wrap};
use super::{Role, Style, View};

pub struct Outputs(pub Vec<Output>);

impl Outputs {
    /// The values alone, one a line.
    pub fn bare(&self) -> String {
        self.0.iter().map(|output| bare(&output.value) + "\n").collect()
    }
}

/// As a shell takes it.
fn bare(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(bare).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

impl View for Outputs {
    fn human(&self, style: &Style) -> String {
        let names = self.0.iter().map(|output| width(output.name)).max().unwrap_or(0);
        let mut out = String::new();
        for output in &self.0 {
            let name = style.paint(Role::Accent, output.name);
            let value = visible(&bare(&output.value)).into_owned();
            // A value is for copying: it is never broken, and has a line of its own where it is too long.
            let (role, lines, fits) = match output.lacks {
                None => (Role::Plain, vec![value.clone()], names + 2 + width(&value) <= style.width),
                Some(lacks) => {
                    let text = format!("- ({lacks})");
                    let fits = names + 2 + width(&text) <= style.width;
                    (Role::Faint, wrap(&text, style.width.saturating_sub(2)), fits)
                }
            };
            let lines = lines.iter().map(|line| style.paint(role, line)).collect::<Vec<_>>().join("\n  ");
            match fits {
                true => {
                    let gap = " ".repeat(names - width(output.name) + 2);
                    out.push_str(&format!("{name}{gap}{lines}\n"));
                }
                false => out.push_str(&format!("{name}\n  {lines}\n")),
            }
        }
        out
    }

    fn json(&self) -> Value {
        let values = self.0.iter().map(|output| (output.name.to_owned(), output.value.clone()));
        Value::Object(values.collect::<Map<_, _>>())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_bare_and_what_is_not_there_says_why() {
        let output = |name, value, lacks| Output { name, value, lacks };
        let outputs = Outputs(vec![
            output("region", json!("europe-west1"), None),
            output("machines", json!(["a", "b"]), None),
            output("prometheus_port", json!(9090), None),
            output("address", Value::Null, Some("it has no address yet")),
        ]);
        assert_eq!(outputs.bare(), "europe-west1\na b\n9090\n\n");
        assert_eq!(
            outputs.human(&Style::plain()),
            "region           europe-west1\nmachines         a b\nprometheus_port  9090\n\
             address          - (it has no address yet)\n"
        );
        let narrow = Style { width: 30, ..Style::plain() };
        assert_eq!(
            outputs.human(&narrow),
            "region           europe-west1\nmachines         a b\nprometheus_port  9090\n\
             address\n  - (it has no address yet)\n"
        );
        let expected = json!({"region": "europe-west1", "machines": ["a", "b"], "prometheus_port": 9090,
                              "address": null});
        assert_eq!(outputs.json(), expected);
    }
}

//! The result of `explain`: a key, or what is in a section.

use dorainfra_config::Explanation;
use dorainfra_deploy::blueprint::Upgrade;
use serde_json::{Value, json};

use super::text::{hang, wrap};
use super::{Role, Style, View};

impl View for Explanation {
    fn human(&self, style: &Style) -> String {
        let lines = |text: &str, columns: usize| {
            hang(&wrap(text, style.width.saturating_sub(columns)).join("\n"), columns, style)
        };
        let title = if self.path.is_empty() { "dorainfra.yaml" } else { &self.path };
        let mut text = format!("{}\n{}\n", style.paint(Role::Heading, title), lines(&self.meaning, 0));
        if let Some(value) = &self.value {
            text.push('\n');
            for (name, what) in [
                ("allowed", &value.allowed),
                ("default", &value.default),
                ("example", &value.example),
                ("variable", &value.variable),
            ] {
                let name = format!("{name:<9}");
                text.push_str(&format!("{}{}\n", style.paint(Role::Faint, &name), lines(what, 9)));
            }
        }
        for (path, meaning) in &self.holds {
            text.push_str(&format!("\n{}\n  {}\n", style.paint(Role::Accent, path), lines(meaning, 2)));
        }
        text
    }

    fn json(&self) -> Value {
        serde_json::to_value(self).expect("texts are plain data with string keys")
    }
}

/// That of Mimir's version, with the way to the newest one.
pub struct ExplainedVersion {
    pub explanation: Explanation,
    pub upgrades: Vec<Upgrade>,
}

impl View for ExplainedVersion {
    fn human(&self, style: &Style) -> String {
        let mut text = self.explanation.human(style);
        for upgrade in &self.upgrades {
            let title = format!("From {} to {}", upgrade.from, upgrade.to);
            text.push_str(&format!("\n{}\n", style.paint(Role::Heading, title)));
            for note in &upgrade.notes {
                let lines = wrap(note, style.width.saturating_sub(4)).join("\n");
                text.push_str(&format!("  - {}\n", hang(&lines, 4, style)));
            }
        }
        text
    }

    fn json(&self) -> Value {
        let mut fields = self.explanation.json();
        fields["upgrades"] = json!(self.upgrades);
        fields
    }
}

//! The result of `explain`: a key, what is in a section, or a kind of resource.

use dorainfra_config::Explanation;
use dorainfra_deploy::blueprint::Upgrade;
use dorainfra_deploy::resource::KindFacts;
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

impl View for KindFacts {
    fn human(&self, style: &Style) -> String {
        let all = |texts: &[String]| if texts.is_empty() { "nothing".to_owned() } else { texts.join(", ") };
        let destroyed = match (self.kept_on_destroy, self.marked) {
            (true, _) => "left as it is",
            (false, true) => {
                "deleted where it has this deployment's mark; what holds data only with --delete-data"
            }
            (false, false) => "what this deployment put there is taken out again",
        };
        let mut text = format!("{}\n", style.paint(Role::Heading, &self.kind));
        for (name, what) in [
            ("replaced by", format!("another value of {}", all(&self.replaced_by))),
            ("goes with", self.lives_in.clone().unwrap_or_else(|| "nothing".into())),
            ("deleted before", all(&self.uses)),
            ("destroy", destroyed.to_owned()),
            ("permissions", all(&self.permissions)),
            ("Terraform", self.terraform.clone().unwrap_or_else(|| "can't take it over".into())),
        ] {
            let name = format!("{name:<15}");
            text.push_str(&format!("{}{}\n", style.paint(Role::Faint, &name), hang(&what, 15, style)));
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

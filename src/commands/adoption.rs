//! `init --from-project`: a Mimir that somebody made by hand, to be taken over.

use dorainfra_deploy::workflow::adopt::{self, Handmade};
use serde_json::Value;
use time::OffsetDateTime;

use super::context::Context;
use super::{CommandResult, summary};
use crate::ui::{Style, View};

/// What was found, and the keys of the configuration that takes it over.
pub struct Adoption {
    pub settings: Vec<String>,
    found: Handmade,
}

impl Adoption {
    /// Looks for it. `--set mimir.bucket=…` and `--set mimir.tenant=…` say which, where there are several.
    pub async fn find(context: &Context, project: &str) -> CommandResult<Self> {
        let client = context.client_of(project).await?;
        let given = |key: &str| {
            let mut settings = context.global.set.iter().rev();
            settings.find_map(|setting| setting.strip_prefix(key)?.strip_prefix('='))
        };
        let found = adopt::find(&client, given("mimir.bucket"), given("mimir.tenant")).await?;
        let now = OffsetDateTime::now_utc().unix_timestamp().saturating_mul(1000);
        Ok(Self { settings: found.settings(now), found })
    }

    /// Whether the configuration's key is known by what was found.
    pub fn says(&self, key: &str) -> bool {
        self.settings.iter().any(|setting| setting.split('=').next() == Some(key))
    }

    /// Shows what to do with it, in its order.
    pub fn show(&self, context: &Context) -> CommandResult<()> {
        let again = |line: &str| {
            if line.starts_with("dorainfra ") { summary::again(context, line) } else { line.to_owned() }
        };
        let steps = self.found.steps()?.lines().map(|line| again(line) + "\n").collect();
        context.printer.result(&Steps { steps, found: self.found.clone() });
        Ok(())
    }
}

/// The result of `init --from-project`.
struct Steps {
    steps: String,
    found: Handmade,
}

impl View for Steps {
    fn human(&self, _: &Style) -> String {
        self.steps.clone()
    }

    fn is_script(&self) -> bool {
        true
    }

    fn json(&self) -> Value {
        let mut value = serde_json::to_value(&self.found).expect("texts and numbers are plain data");
        value["steps"] = self.steps.clone().into();
        value
    }
}

//! The result of `event`: what was recorded, and where.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::text::visible;
use super::{Role, Style, View};

/// One event of a pipeline.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Recorded {
    /// `deployment`, `incident`, `recovery`
    pub kind: &'static str,
    pub id: String,
    pub team: String,
    pub service: String,
    pub environment: String,
    /// RFC 3339.
    pub at: String,
    /// `false`: its id was known already, and nothing was changed.
    pub new: bool,
    /// The file of events, or the receiver's address.
    pub recorded_in: String,
    /// What of it does not count, and why.
    pub notes: Vec<String>,
}

impl View for Recorded {
    fn human(&self, style: &Style) -> String {
        let Self { kind, id, team, service, environment, at, new, recorded_in, notes } = self;
        let known = if *new { "recorded" } else { "already known" };
        let place = style.paint(Role::Faint, visible(recorded_in));
        let [id, team, service, environment] = [id, team, service, environment].map(|text| visible(text));
        let notes: String = notes.iter().map(|note| format!("note: {}\n", visible(note))).collect();
        format!("{known}: {kind} {id} of {team}/{service} in {environment}, {at}; {place}\n{notes}")
    }

    fn json(&self) -> Value {
        serde_json::to_value(self).expect("texts and a truth are plain data with string keys")
    }
}

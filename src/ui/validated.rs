//! The result of `validate`.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::text::{visible, wrap};
use super::{Style, View};

/// A configuration that can be used.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Validated {
    /// `None`: there is no file, and all is as by default.
    pub file: Option<String>,
    pub deployment: String,
    /// How many resources it declares.
    pub resources: usize,
    /// How many files are rendered.
    pub files: usize,
}

impl View for Validated {
    fn human(&self, style: &Style) -> String {
        let Self { file, deployment, resources, files } = self;
        let what = file.as_deref().map_or_else(|| "the default configuration".into(), visible);
        let deployment = visible(deployment);
        let text = format!("{what} is valid: {deployment}, {resources} resources, {files} rendered files");
        wrap(&text, style.width).join("\n") + "\n"
    }

    fn json(&self) -> Value {
        serde_json::to_value(self).expect("texts and counts are plain data with string keys")
    }
}

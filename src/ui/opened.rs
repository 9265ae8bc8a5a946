//! The result of `open`.

use serde_json::{Value, json};

use super::text::visible;
use super::{Style, View};

pub struct Opened {
    pub address: String,
    /// In a browser; else it is for the reader to open.
    pub opened: bool,
}

impl View for Opened {
    fn human(&self, _: &Style) -> String {
        format!("{}\n", visible(&self.address))
    }

    fn json(&self) -> Value {
        json!({"address": self.address, "opened": self.opened})
    }
}

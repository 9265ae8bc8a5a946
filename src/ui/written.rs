//! Results that people are shown in another way: as a note, by the event stream, or as plain text.

use dorainfra_model::Timings;
use dorainfra_report::Report;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{Style, View, timings};

/// The result of `plan`, which has shown what would be done.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Planned {
    /// Whether there is anything to do.
    pub changes: bool,
    /// The file of `--out`.
    pub file: Option<String>,
    /// With `--timings`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
}

/// The result of a command that writes one file: `init`, `report`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Written {
    pub file: String,
}

/// The result of `render`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Rendered {
    /// The folder of `--out`.
    pub folder: Option<String>,
    pub files: Vec<RenderedFile>,
}

/// A rendered file.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RenderedFile {
    /// Relative to the folder.
    pub path: String,
    pub executable: bool,
    /// `null`: it is in the folder.
    pub contents: Option<String>,
}

/// The result of `report --format json`.
#[derive(Clone, Debug)]
pub struct Reported(pub Report);

impl Written {
    pub fn of(file: &str) -> Self {
        Self { file: file.to_owned() }
    }
}

/// What is shown in another way has nothing more to say to people.
macro_rules! for_programs {
    ($($result:ty),+) => {$(
        impl View for $result {
            fn human(&self, _: &Style) -> String {
                String::new()
            }

            fn json(&self) -> Value {
                serde_json::to_value(self).expect("it is plain data with string keys")
            }
        }
    )+};
}

for_programs!(Written, Rendered);

/// The plan itself is shown by the event stream.
impl View for Planned {
    fn human(&self, style: &Style) -> String {
        self.timings.as_ref().map(|times| timings::table(times, style)).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::to_value(self).expect("it is plain data with string keys")
    }
}

impl View for Reported {
    fn human(&self, _: &Style) -> String {
        serde_json::to_string_pretty(&self.0).map_or_else(|_| String::new(), |text| text + "\n")
    }

    fn json(&self) -> Value {
        serde_json::to_value(&self.0).expect("a report is plain data with string keys")
    }
}

//! What a key of `dorainfra.yaml` is: its path, what it may hold, and in words.
//! Which keys there are is `schema`'s.

use serde_json::Value;

use super::rules::{self, Rule};
use super::source_kind::SourceKind;

/// What `sources` takes.
pub(super) fn sources_allowed() -> String {
    let names: Vec<String> = SourceKind::NAMES.iter().map(|name| format!("`{name}`")).collect();
    let (last, others) = names.split_last().expect("there are types of sources");
    format!("a list of mappings, each with a `type`: {} or {last}", others.join(", "))
}

/// What the environment variables of all keys begin with.
pub const VARIABLE_PREFIX: &str = "DORAINFRA_";

/// Ranges of numbers that several keys have.
pub(super) const SECONDS: &[(u64, u64)] = &[(1, 3600)];
pub(super) const PORT: &[(u64, u64)] = &[(1, 65_535)];

/// A heading of the file: a mapping that holds keys.
pub struct Section {
    /// Path with dots; empty for the file itself.
    pub path: &'static str,
    pub doc: &'static str,
}

/// One key.
pub struct Key {
    /// Path with dots, as `--set` takes it: `mimir.disk_gb`.
    pub path: &'static str,
    pub kind: Kind,
    /// What it means, in a sentence or two.
    pub doc: &'static str,
    /// A value to copy, as YAML.
    pub example: &'static str,
    /// The default in words, where it follows from other keys or is absent.
    pub derived: Option<&'static str>,
}

/// What kind of value a key takes.
pub enum Kind {
    Text(Rule),
    /// A path on this machine; in the file relative to the file's folder.
    Path,
    /// A whole number in one of the ranges, bounds included.
    Whole(&'static [(u64, u64)]),
    /// One of these words. The second list: words that are known but refused, and why.
    Choice(&'static [&'static str], &'static [(&'static str, &'static str)]),
    /// At least one item, each by the rule.
    List(Rule),
    Labels,
    /// Mappings with keys of their own: the table is in `source`.
    Sources,
    /// `true` or `false`.
    Flag,
    /// A mapping of Mimir's own keys, which `options` knows.
    Options,
}

impl Kind {
    /// What is allowed, in words, without a full stop.
    pub fn allowed(&self) -> String {
        match self {
            Self::Text(rule) => rule.allowed.into(),
            Self::Path => "a path on this machine; `~` is not expanded".into(),
            Self::Whole(ranges) => {
                let ranges: Vec<String> = ranges
                    .iter()
                    .map(|(least, most)| match (least, most) {
                        (least, most) if least == most => least.to_string(),
                        (least, &u64::MAX) => format!("{least} or more"),
                        (least, most) => format!("{least} to {most}"),
                    })
                    .collect();
                format!("a whole number, {}", ranges.join(" or "))
            }
            Self::Choice(words, _) => {
                words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ")
            }
            Self::List(rule) => format!("a list of at least one of: {}", rule.allowed),
            Self::Labels => rules::LABELS_ALLOWED.into(),
            Self::Sources => sources_allowed(),
            Self::Flag => "`true` or `false`".into(),
            Self::Options => "a mapping of Mimir's own keys, nested as in its configuration file".into(),
        }
    }
}

/// A key with a default of its own, in a few words.
pub(super) const fn plain(path: &'static str, kind: Kind, doc: &'static str, example: &'static str) -> Key {
    Key { path, kind, doc, example, derived: None }
}

impl Key {
    /// Its value in a configuration that was serialized.
    pub(super) fn value_in<'a>(&self, config: &'a Value) -> Option<&'a Value> {
        config.pointer(&format!("/{}", self.path.replace('.', "/")))
    }

    /// The environment variable that sets this key: `DORAINFRA_MIMIR_DISK_GB`.
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.path.replace('.', "_").to_uppercase())
    }

    /// The section that the key is in, and its name there.
    pub fn split(&self) -> (&'static str, &'static str) {
        split(self.path)
    }
}

impl Section {
    /// The section around this one, and the name there; `None` for the file itself.
    pub fn split(&self) -> Option<(&'static str, &'static str)> {
        (!self.path.is_empty()).then(|| split(self.path))
    }
}

fn split(path: &'static str) -> (&'static str, &'static str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

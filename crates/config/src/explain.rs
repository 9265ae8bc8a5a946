//! What a key or a section means, for whoever asks for it by its path.

use schemars::JsonSchema;
use serde::Serialize;

use super::Config;
use super::schema::{self, KEYS, SECTIONS};
use super::suggest::{key_like, nearest};
use super::template::yaml;

/// A key, or a section with what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Explanation {
    /// With dots; empty: the file itself.
    pub path: String,
    pub meaning: String,
    /// `None`: a section.
    pub value: Option<ValueOf>,
    /// Path and meaning of what a section holds, its own sections last.
    pub holds: Vec<(String, String)>,
}

/// What a key takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ValueOf {
    pub allowed: String,
    /// As YAML, or in words where it follows from other keys.
    pub default: String,
    pub example: String,
    /// The environment variable that sets it.
    pub variable: String,
}

/// # Errors
/// There is no such key and no such section: the nearest one, if one is near.
pub fn explain(path: &str) -> Result<Explanation, Option<&'static str>> {
    if let Some(key) = schema::key(path) {
        let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
        let default = key.value_in(&defaults).map(yaml);
        let value = ValueOf {
            allowed: key.kind.allowed(),
            default: key.derived.map_or_else(|| default.unwrap_or_default(), str::to_owned),
            example: key.example.to_owned(),
            variable: key.variable(),
        };
        let (path, meaning) = (path.to_owned(), key.doc.to_owned());
        return Ok(Explanation { path, meaning, value: Some(value), holds: Vec::new() });
    }
    let Some(section) = schema::section(path) else {
        let sections = SECTIONS.iter().map(|section| section.path).filter(|path| !path.is_empty());
        return Err(key_like(path).or_else(|| nearest(path, sections)));
    };
    let keys = KEYS.iter().map(|key| (key.split().0, key.path, key.doc));
    let sections = SECTIONS.iter().filter_map(|inner| Some((inner.split()?.0, inner.path, inner.doc)));
    let inside = keys.chain(sections).filter(|(parent, ..)| *parent == path);
    let holds = inside.map(|(_, path, doc)| (path.to_owned(), doc.to_owned())).collect();
    Ok(Explanation { path: path.to_owned(), meaning: section.doc.to_owned(), value: None, holds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_section_is_explained() {
        for path in KEYS.iter().map(|key| key.path) {
            let key = explain(path).unwrap();
            let value = key.value.unwrap();
            assert!(!key.meaning.is_empty() && !value.allowed.is_empty(), "{path}");
            assert!(!value.default.is_empty(), "{path}");
        }
        let mut reached = vec![String::new()];
        let mut at = 0;
        while at < reached.len() {
            reached.extend(explain(&reached[at]).unwrap().holds.into_iter().map(|(path, _)| path));
            at += 1;
        }
        assert_eq!(reached.len(), KEYS.len() + SECTIONS.len(), "all of them from the outermost level");
    }

    #[test]
    fn what_is_misspelled_is_guessed() {
        assert_eq!(explain("mimir.disk_bg").unwrap_err(), Some("mimir.disk_gb"));
        assert_eq!(explain("disk_gb").unwrap_err(), Some("mimir.disk_gb"));
        assert_eq!(explain("colour").unwrap_err(), None);
    }
}

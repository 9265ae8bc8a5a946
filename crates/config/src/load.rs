//! Sources → [`Config`], or everything that is wrong with them.
//!
//! Precedence, lowest first: defaults, `GOOGLE_CLOUD_PROJECT` (for `project`
//! only), the file, `DORAINFRA_*`, `--set` in the order given, `--project`.
//! A wrong value is an error even where a higher source overrides it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Config;
use super::agreement;
use super::problem::{ConfigErrors, Origin, Source};
use super::reading::{self, Reading};

/// Everything that a configuration is made of, read by the caller.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file's name, as messages should show it, and its text. Relative paths
    /// in the text are taken relative to the name's folder.
    pub file: Option<(PathBuf, String)>,
    /// Environment variables. Only `DORAINFRA_*` and `GOOGLE_CLOUD_PROJECT` are
    /// looked at; an empty one counts as not set.
    pub environment: Vec<(String, String)>,
    /// `DORAINFRA_*` variables that are not configuration: they are passed over.
    pub tool_variables: Vec<String>,
    /// `key=value`, in the order given; `key=` goes back to the default.
    pub set: Vec<String>,
    /// `--project`
    pub project: Option<String>,
}

/// A complete and valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// `project` (and with it a bucket not named) is empty if no source names
    /// one: see [`Config::require_project`].
    pub config: Config,
    /// For every key of the schema, by path, where its value came from.
    pub origins: BTreeMap<&'static str, Origin>,
}

/// Reads, checks and merges the sources. Pure.
///
/// # Errors
/// All problems of all sources, not only the first.
pub fn load(sources: Sources) -> Result<Loaded, ConfigErrors> {
    let mut reading = Reading::default();
    if let Some((name, text)) = &sources.file {
        reading.file(name, text);
    }
    reading.environment(&sources.environment, &sources.tool_variables);
    for argument in &sources.set {
        reading.set(argument);
    }
    if let Some(project) = &sources.project {
        reading.assign_text(reading::known("project"), project, &Source::project(project));
    }
    reading.google_project(&sources.environment);

    let config = reading.config();
    reading.problems.extend(agreement::problems(&config, &reading));
    let mut problems = std::mem::take(&mut reading.problems);
    problems.sort_by_key(|problem| match problem.place.origin {
        Origin::File { line, column, .. } => (line, column),
        _ => (usize::MAX, 0),
    });
    match ConfigErrors::new(problems) {
        Some(errors) => Err(errors),
        None => Ok(Loaded { config, origins: reading.origins() }),
    }
}

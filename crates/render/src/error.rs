//! What can go wrong with templates, in words for the person who wrote one.

use std::error::Error as _;
use std::path::PathBuf;

use minijinja::ErrorKind;

use super::suggest::nearest;

#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A template is wrong, or cannot be rendered with these values.
    #[error("{file}{}: {message}", line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Template {
        /// The template's file where it is overridden, else its name.
        file: String,
        line: Option<usize>,
        message: String,
    },
    #[error("there is no template `{name}`")]
    Unknown { name: String, nearest: Option<String> },
    /// A file in the overrides' folder that overrides nothing.
    #[error("{path} overrides no template")]
    UnknownOverride { path: PathBuf, nearest: Option<String> },
    #[error("cannot read the template override {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
}

impl RenderError {
    pub(super) fn unknown(name: &str, known: &[String]) -> Self {
        let nearest = nearest(name, known.iter().map(String::as_str));
        Self::Unknown { name: name.to_owned(), nearest: nearest.map(str::to_owned) }
    }

    /// `template` is the one that was asked for; the error may be in one that it includes.
    pub(super) fn from_engine(
        error: &minijinja::Error,
        template: &str,
        origin: impl Fn(&str) -> String,
    ) -> Self {
        let mut innermost = error;
        while let Some(inner) =
            innermost.source().and_then(|source| source.downcast_ref::<minijinja::Error>())
        {
            innermost = inner;
        }
        let place = if innermost.name().is_some() { innermost } else { error };
        let detail = innermost.detail();
        let message = match (innermost.kind(), detail) {
            (ErrorKind::UndefinedError, None) => "a value is undefined".to_owned(),
            (ErrorKind::UndefinedError | ErrorKind::InvalidOperation, Some(detail)) => detail.to_owned(),
            (kind, Some(detail)) => format!("{kind}: {detail}"),
            (kind, None) => kind.to_string(),
        };
        Self::Template { file: origin(place.name().unwrap_or(template)), line: place.line(), message }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Template { message, .. } if message.contains("is undefined") => Some(
                "the names that templates may use are listed in docs/templates.md; \
                 `x is defined` asks for a name, `x | default(…)` gives one in its stead"
                    .into(),
            ),
            Self::Template { .. } => {
                Some("correct the template at that line; docs/templates.md says what it may use".into())
            }
            Self::Unknown { nearest, .. } => Some(match nearest {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => "docs/templates.md lists the templates".into(),
            }),
            Self::UnknownOverride { nearest, .. } => Some(match nearest {
                Some(nearest) => {
                    format!("did you mean `{nearest}`? Otherwise move the file out of the folder")
                }
                None => "a file in `templates_dir` has the path of the template that it overrides, \
                         for example vm/mimir.yaml.j2"
                    .into(),
            }),
            Self::Read { .. } => Some("a template is a readable text file in UTF-8".into()),
        }
    }
}

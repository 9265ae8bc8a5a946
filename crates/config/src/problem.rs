//! What is wrong, where, and what is allowed: the errors of a configuration,
//! all of them, as values and as text. No colour: that is `ui`'s.

use std::fmt;

use serde::Serialize;

use super::tree::Span;

/// What a value came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "kebab-case")]
pub enum Origin {
    /// The built-in default, or what follows from other keys.
    Default,
    File {
        path: String,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// An environment variable.
    Variable { name: String },
    /// `--set`
    Set,
    /// `--project`
    Project,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", printable(path)),
            Self::Variable { name } => f.write_str(&printable(name)),
            Self::Set => f.write_str("--set"),
            Self::Project => f.write_str("--project"),
        }
    }
}

/// An origin together with the text that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    pub origin: Origin,
    /// The offending line, or `--set key=value`; empty where there is none.
    pub text: String,
    /// Where in the text, from 1, in characters.
    pub column: usize,
    /// In characters.
    pub length: usize,
}

impl Place {
    pub(super) fn default_value() -> Self {
        Self { origin: Origin::Default, text: String::new(), column: 1, length: 0 }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub place: Place,
    /// What is wrong, in a sentence without a full stop.
    pub message: String,
    /// What is allowed there.
    pub allowed: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Problem {
    pub(super) fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), allowed: None, help: None }
    }

    pub(super) fn allowed(self, allowed: impl Into<String>) -> Self {
        Self { allowed: Some(allowed.into()), ..self }
    }

    pub(super) fn help(self, help: Option<impl Into<String>>) -> Self {
        Self { help: help.map(Into::into), ..self }
    }
}

/// Everything that is wrong with a configuration, in the order of the places.
/// `Display` is the whole text for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    problems: Vec<Problem>,
}

impl ConfigErrors {
    /// `None` if nothing is wrong.
    pub(super) fn new(problems: Vec<Problem>) -> Option<Self> {
        (!problems.is_empty()).then_some(Self { problems })
    }

    /// At least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some("docs/configuration.md describes every key; `dorainfra init` writes a commented file".into())
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => write!(f, "the configuration has a problem")?,
            count => write!(f, "the configuration has {count} problems")?,
        }
        for problem in &self.problems {
            write!(f, "\n\n{problem}")?;
        }
        Ok(())
    }
}

/// Longest piece of a line that is shown, in characters.
const SHOWN: usize = 100;

impl fmt::Display for Problem {
    /// Several lines, the last without a line break.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, message, allowed, help } = self;
        write!(f, "{}: {message}", place.origin)?;
        let number = match place.origin {
            Origin::File { line, .. } => line.to_string(),
            _ => String::new(),
        };
        let margin = " ".repeat(number.len());
        if !place.text.is_empty() {
            let (text, column) = window(place);
            let rest = text.chars().count().saturating_sub(column - 1);
            let carets = "^".repeat(place.length.min(rest).max(1));
            write!(f, "\n{margin} |\n{number} | {}", text.trim_end())?;
            write!(f, "\n{margin} | {}{carets}", " ".repeat(column - 1))?;
        }
        if let Some(allowed) = allowed {
            write!(f, "\n{margin} = allowed: {allowed}")?;
        }
        if let Some(help) = help {
            write!(f, "\n{margin} = help: {help}")?;
        }
        Ok(())
    }
}

/// The piece of a long line around the place, and the column within it.
fn window(place: &Place) -> (String, usize) {
    let text: Vec<char> = printable(&place.text).chars().collect();
    if text.len() <= SHOWN {
        return (text.into_iter().collect(), place.column.max(1));
    }
    let start = (place.column.saturating_sub(1)).saturating_sub(SHOWN / 2).min(text.len() - SHOWN);
    let piece: String = text[start..start + SHOWN].iter().collect();
    let (before, after) =
        (if start > 0 { "…" } else { "" }, if start + SHOWN < text.len() { "…" } else { "" });
    (format!("{before}{piece}{after}"), place.column.max(1) - start + before.chars().count())
}

/// One character for each character, none of them able to steer a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// A value of the user's inside a message: marked, on one line, not too long.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    let text = printable(text);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}

/// A text that values are read from; makes places in it.
pub(super) struct Source {
    kind: SourceKind,
    lines: Vec<String>,
    /// Characters of the first line in front of the value.
    offset: usize,
}

enum SourceKind {
    File(String),
    Variable(String),
    Set,
    Project,
}

impl Source {
    pub fn file(name: &str, text: &str) -> Self {
        // The parser's columns don't count a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self::new(SourceKind::File(name.to_owned()), "", text)
    }

    pub fn variable(name: &str, value: &str) -> Self {
        Self::new(SourceKind::Variable(name.to_owned()), &format!("{name}="), value)
    }

    /// Places count from the start of `value`, behind `key=`.
    pub fn set(key: &str, value: &str) -> Self {
        Self::new(SourceKind::Set, &format!("--set {key}="), value)
    }

    /// A `--set` as a whole: places count from the start of the argument.
    pub fn set_argument(argument: &str) -> Self {
        Self::new(SourceKind::Set, "--set ", argument)
    }

    pub fn project(value: &str) -> Self {
        Self::new(SourceKind::Project, "--project ", value)
    }

    fn new(kind: SourceKind, before: &str, value: &str) -> Self {
        let lines = format!("{before}{value}")
            .split('\n')
            .map(|line| line.trim_end_matches('\r').to_owned())
            .collect();
        Self { kind, lines, offset: before.chars().count() }
    }

    pub fn place(&self, span: Span) -> Place {
        let column = span.column + if span.line == 1 { self.offset } else { 0 };
        let origin = match &self.kind {
            SourceKind::File(path) => Origin::File { path: path.clone(), line: span.line, column },
            SourceKind::Variable(name) => Origin::Variable { name: name.clone() },
            SourceKind::Set => Origin::Set,
            SourceKind::Project => Origin::Project,
        };
        let text = self.lines.get(span.line - 1).cloned().unwrap_or_default();
        Place { origin, text, column, length: span.length }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, column: usize, length: usize) -> String {
        let place = Source::file("f.yaml", text).place(Span { line: 1, column, length });
        Problem::new(place, "wrong").to_string()
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}bad{}", "x".repeat(150), "y".repeat(150));
        let rendered = shown(&text, 151, 3);
        let lines: Vec<&str> = rendered.lines().collect();
        assert!(lines[2].chars().count() < 110, "{rendered}");
        let caret = lines[3].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[2].chars().skip(caret).take(3).collect::<String>(), "bad");
        assert!(lines[2].contains("| …x") && lines[2].ends_with("y…"), "{rendered}");
    }

    #[test]
    fn nothing_in_a_line_reaches_the_terminal_as_a_command() {
        let rendered = shown("a:\t\u{1b}[31mred\u{7}", 4, 3);
        assert!(!rendered.chars().any(|c| c.is_control() && c != '\n'), "{rendered:?}");
        assert_eq!(quoted("a\nb\u{1b}"), "`a\u{fffd}b\u{fffd}`");
        assert_eq!(quoted(&"é".repeat(61)), format!("`{}…`", "é".repeat(60)));
    }

    #[test]
    fn carets_end_with_the_line() {
        assert_eq!(shown("a: |\n  b\n", 4, 40), "f.yaml:1:4: wrong\n  |\n1 | a: |\n  |    ^");
        assert_eq!(shown("a:", 9, 0), "f.yaml:1:9: wrong\n  |\n1 | a:\n  |         ^");
    }
}

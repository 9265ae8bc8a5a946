//! Colours by meaning. A [`Style`] without colour writes no control codes at all.

use anstyle::{AnsiColor, Effects};

/// What a piece of text means; the colour follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Plain,
    Heading,
    /// Done, passed, created.
    Good,
    /// Failed, deleted, open to the world.
    Bad,
    /// Changed in place; a warning.
    Caution,
    /// Adopted; a command to type.
    Accent,
    /// Beside the point: times, unchanged things.
    Faint,
}

/// Columns that a text gets at least, beside whatever.
pub(super) const MIN_ROOM: usize = 10;

/// How to write for one stream.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub colour: bool,
    /// Columns.
    pub width: usize,
    /// Messages that are too long for a line are broken: on a terminal. In a log each stays in one.
    pub wraps: bool,
    pub verbose: bool,
    /// The flags that say which deployment is meant, each with a space behind it.
    pub deployment: &'static str,
}

impl Style {
    /// No colour, 100 columns: for files, pipes and tests.
    pub fn plain() -> Self {
        Self { colour: false, width: 100, wraps: false, verbose: false, deployment: "" }
    }

    /// Columns for a message behind something that takes `columns`.
    pub fn room(&self, columns: usize) -> usize {
        if self.wraps { self.width.saturating_sub(columns).max(MIN_ROOM) } else { usize::MAX }
    }

    /// `text` in the colour of `role`.
    pub fn paint(&self, role: Role, text: impl AsRef<str>) -> String {
        let text = text.as_ref();
        let style = match role {
            Role::Plain => return text.to_owned(),
            _ if !self.colour || text.is_empty() => return text.to_owned(),
            Role::Heading => anstyle::Style::new().effects(Effects::BOLD),
            Role::Good => AnsiColor::Green.on_default(),
            Role::Bad => AnsiColor::Red.on_default().effects(Effects::BOLD),
            Role::Caution => AnsiColor::Yellow.on_default(),
            Role::Accent => AnsiColor::Cyan.on_default(),
            Role::Faint => anstyle::Style::new().effects(Effects::DIMMED),
        };
        format!("{style}{text}{style:#}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colour_there_are_no_control_codes() {
        for role in [Role::Heading, Role::Good, Role::Bad, Role::Caution, Role::Accent, Role::Faint] {
            assert_eq!(Style::plain().paint(role, "text"), "text");
        }
    }

    #[test]
    fn with_colour_the_text_is_wrapped_and_reset() {
        let style = Style { colour: true, ..Style::plain() };
        assert_eq!(style.paint(Role::Good, "text"), "\u{1b}[32mtext\u{1b}[0m");
        assert_eq!(style.paint(Role::Plain, "text"), "text");
    }
}

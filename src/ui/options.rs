//! What the caller decided about output.

use std::io::IsTerminal;

use super::Style;

/// Width that is assumed where no terminal tells one, in columns.
const DEFAULT_WIDTH: usize = 100;
/// Narrower than this, everything turns into noise: let the terminal break it.
const NARROWEST: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// For people: lines, or redrawn progress where stderr is a terminal.
    Human,
    /// One JSON object a line, on stdout.
    Json,
    /// Only errors, warnings and the final result.
    Quiet,
}

/// Which of the three streams are terminals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminals {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub mode: Mode,
    /// Colour on the streams that are terminals (`--no-color` and NO_COLOR make it false).
    pub colour: bool,
    /// More lines: what starts and what it is doing, and the fields of what is created.
    pub verbose: bool,
    pub terminals: Terminals,
    /// Progress may be redrawn in place (false for `TERM=dumb`).
    pub live: bool,
    /// Columns; `None`: the terminal's own width, or 100.
    pub width: Option<usize>,
    /// The flags that say which deployment is meant, each with a space behind it: commands that messages name
    /// get them.
    pub deployment: &'static str,
}

impl Options {
    /// Looks at the three streams; the environment is the caller's to read.
    pub fn detect(mode: Mode, colour: bool) -> Self {
        let terminals = Terminals {
            stdin: std::io::stdin().is_terminal(),
            stdout: std::io::stdout().is_terminal(),
            stderr: std::io::stderr().is_terminal(),
        };
        Self { mode, colour, verbose: false, terminals, live: terminals.stderr, width: None, deployment: "" }
    }

    /// No terminal anywhere: plain text of 100 columns.
    pub fn plain(mode: Mode) -> Self {
        let terminals = Terminals { stdin: false, stdout: false, stderr: false };
        Self {
            mode,
            colour: false,
            verbose: false,
            terminals,
            live: false,
            width: Some(DEFAULT_WIDTH),
            deployment: "",
        }
    }

    /// Whether questions can be asked and answered.
    pub fn interactive(&self) -> bool {
        self.mode == Mode::Human && self.terminals.stdin && self.terminals.stderr
    }

    /// Whether progress is redrawn in place.
    pub(super) fn redraws(&self) -> bool {
        // Piped output has its own pace: moving lines would come in between.
        self.mode == Mode::Human && self.live && self.terminals.stderr && self.terminals.stdout
    }

    pub(super) fn style(&self, terminal: bool) -> Style {
        let columns = |term: console::Term| term.size_checked().map(|(_, columns)| usize::from(columns));
        let width = self
            .width
            .or_else(|| columns(console::Term::stderr()))
            // Messages may go elsewhere while the result is on the terminal.
            .or_else(|| columns(console::Term::stdout()))
            .unwrap_or(DEFAULT_WIDTH);
        Style {
            colour: self.colour && terminal,
            width: width.max(NARROWEST),
            wraps: terminal,
            verbose: self.verbose,
            deployment: self.deployment,
        }
    }
}

//! Where a value may stand in a template. A JSON string in the middle of a YAML
//! word, or a shell word inside double quotes, is not the one value that it
//! spells any more: a hostile value could break out there. So such a template is
//! refused, whatever the value.
//!
//! This reads the constant text between the values, line by line; it is a guard
//! for template writers, not a parser of YAML or shell.

use minijinja::{OutputSpan, OutputSpanKind};

use super::format::Format;

/// A value that stands where its spelling means something else.
pub(super) struct Misplaced<'a> {
    pub template: &'a str,
    pub line: usize,
    pub message: &'static str,
}

/// Checks every value of a rendered text.
pub(super) fn check<'a>(format: Format, text: &str, spans: &'a [OutputSpan]) -> Result<(), Misplaced<'a>> {
    let mut reader = Reader::new(format);
    for span in spans {
        let range = span.output_range();
        let piece = &text[range.clone()];
        if span.kind() == OutputSpanKind::Raw {
            piece.chars().for_each(|c| reader.push(c));
            continue;
        }
        let verdict = match format {
            Format::Plain => Ok(()),
            Format::Json(_) => reader.json_value(text[range.end..].chars().next()),
            Format::Hcl => reader.hcl_value(),
            Format::Shell | Format::Unit => reader.word(piece),
        };
        verdict.map_err(|message| Misplaced { template: span.name(), line: span.line(), message })?;
        reader.value();
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    Single,
    Double,
    Comment,
}

/// What the text so far is in the middle of.
struct Reader {
    format: Format,
    state: State,
    /// The next character is escaped by a backslash.
    escaped: bool,
    /// The current line so far; each value is one `v`.
    line: String,
    /// The word that ends the here-document which begins on the next line, or is
    /// already running.
    here: Option<String>,
    in_here: bool,
}

impl Reader {
    fn new(format: Format) -> Self {
        Self { format, state: State::Text, escaped: false, line: String::new(), here: None, in_here: false }
    }

    fn push(&mut self, c: char) {
        if c == '\n' {
            return self.end_line();
        }
        let before = self.line.chars().next_back();
        self.line.push(c);
        if self.in_here {
            return;
        }
        if std::mem::take(&mut self.escaped) {
            return;
        }
        match (self.state, c) {
            (State::Text, '#') if before.is_none_or(char::is_whitespace) => self.state = State::Comment,
            (State::Text, ';') if self.format == Format::Unit && before.is_none() => {
                self.state = State::Comment
            }
            (State::Text, '\'') if self.opens(before) => self.state = State::Single,
            (State::Text, '"') if self.opens(before) => self.state = State::Double,
            (State::Single, '\'') | (State::Double, '"') => self.state = State::Text,
            (State::Double, '\\') => self.escaped = true,
            (State::Text, '\\') if self.format == Format::Shell => self.escaped = true,
            _ => {}
        }
    }

    /// In YAML a quote in the middle of a word is only a character.
    fn opens(&self, before: Option<char>) -> bool {
        !matches!(self.format, Format::Json(_)) || !before.is_some_and(char::is_alphanumeric)
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.escaped = false;
        if self.in_here {
            if self.here.as_deref() == Some(line.trim_start_matches('\t')) {
                self.in_here = false;
                self.here = None;
            }
            return;
        }
        match (self.format, self.state) {
            // A shell's quotes may go on over lines; everywhere else they don't.
            (Format::Shell, State::Single | State::Double) => return,
            _ => self.state = State::Text,
        }
        if self.format == Format::Shell {
            self.here = here_document(&line);
            self.in_here = self.here.is_some();
        }
    }

    fn value(&mut self) {
        self.line.push('v');
        self.escaped = false;
    }

    /// A JSON value has to be a whole YAML scalar.
    fn json_value(&self, after: Option<char>) -> Result<(), &'static str> {
        match self.state {
            State::Comment => return Ok(()),
            State::Single | State::Double => {
                return Err("a value stands inside quotes: it is written with its own, so leave these out");
            }
            State::Text => {}
        }
        const WHOLE: &str = "a value stands in the middle of a YAML word: make the whole word one value, \
                             as in {{ \"https://\" ~ host ~ \"/path\" }}";
        let before = self.line.trim_end();
        let spaced = before.len() < self.line.len();
        let begins = match before.chars().next_back() {
            None | Some('[' | '{' | ',') => true,
            Some(':') => spaced || before.ends_with("\":"),
            Some('-' | '?') => spaced && before.chars().all(|c| c.is_whitespace() || "-?".contains(c)),
            Some(_) => false,
        };
        let ends = after.is_none_or(|c| c.is_whitespace() || ",]}:".contains(c));
        if begins && ends { Ok(()) } else { Err(WHOLE) }
    }

    /// An expression of HCL, or what a block is called.
    fn hcl_value(&self) -> Result<(), &'static str> {
        match self.state {
            State::Comment => Ok(()),
            State::Single | State::Double => {
                Err("a value stands inside quotes: it is written with its own, so leave these out")
            }
            State::Text if self.line.ends_with(|c: char| c.is_alphanumeric() || "._-".contains(c)) => {
                Err("a value stands in the middle of a word: make the whole word one value")
            }
            State::Text => Ok(()),
        }
    }

    /// A shell's or systemd's word.
    fn word(&self, spelled: &str) -> Result<(), &'static str> {
        if self.in_here {
            return Err("a value stands inside a here-document, where its quotes would not be quotes: \
                        assign it to a variable above");
        }
        match self.state {
            State::Text => Ok(()),
            State::Comment if spelled.contains('\n') => {
                Err("a value of more than one line stands in a comment, where it would end the comment")
            }
            State::Comment => Ok(()),
            State::Single | State::Double => {
                Err("a value stands inside quotes, where its own would end them: close them before it")
            }
        }
    }
}

/// The end word of the here-document that a line of shell begins.
fn here_document(line: &str) -> Option<String> {
    let (before, after) = line.split_once("<<")?;
    // `<<<` is a here-string, `$((1<<2))` a shift, a comment neither.
    if after.starts_with('<') || before.trim_start().starts_with('#') {
        return None;
    }
    let word: String = after
        .trim_start_matches('-')
        .trim_start()
        .trim_start_matches(['\'', '"', '\\'])
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_').then_some(word)
}

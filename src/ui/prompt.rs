//! Questions, on a terminal only. Where nobody can answer, asking is an error
//! that names the flag to give instead; nothing is ever taken as a yes.

use super::text::visible;
use super::{Printer, Role};

#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    #[error("this needs an answer, but there is no terminal to ask on")]
    NotInteractive,
    #[error("the input ended before the question was answered")]
    Closed,
    #[error("the answer could not be read: {0}")]
    Io(#[from] std::io::Error),
}

impl PromptError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotInteractive => Some("give the answer on the command line (for a yes: --yes)".into()),
            Self::Closed | Self::Io(_) => None,
        }
    }
}

impl Printer {
    /// Asks until `yes` or `no` comes back; an empty answer is a no. Blocks on
    /// the terminal: not for use while events are being rendered.
    pub fn confirm(&self, question: &str) -> Result<bool, PromptError> {
        loop {
            match self.answer(question, "[y/N]")?.to_lowercase().as_str() {
                "y" | "yes" => return Ok(true),
                "" | "n" | "no" => return Ok(false),
                _ => self.note("please answer yes or no"),
            }
        }
    }

    /// Asks for `name` to be typed in full, for what cannot be undone; whether
    /// it was.
    pub fn type_name(&self, what: &str, name: &str) -> Result<bool, PromptError> {
        Ok(self.answer(what, &format!("Type `{name}` to go on:"))? == name)
    }

    /// Asks for a value; an empty answer is `default`.
    pub fn ask(&self, question: &str, default: &str) -> Result<String, PromptError> {
        let choices = if default.is_empty() { String::new() } else { format!("[{default}]") };
        let answer = self.answer(question, &choices)?;
        Ok(if answer.is_empty() { default.to_owned() } else { answer })
    }

    fn answer(&self, question: &str, choices: &str) -> Result<String, PromptError> {
        if !self.options().interactive() {
            return Err(PromptError::NotInteractive);
        }
        let style = self.message_style();
        let question = style.paint(Role::Heading, visible(question));
        let prompt = match choices {
            "" => format!("{question} "),
            choices => format!("{question} {} ", style.paint(Role::Faint, visible(choices))),
        };
        self.ask_line(&prompt)?.ok_or(PromptError::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::{Mode, Options, Terminals};

    fn terminal(answers: &str) -> (Printer, crate::ui::Captured) {
        let terminals = Terminals { stdin: true, stdout: true, stderr: true };
        Printer::captured(Options { terminals, ..Options::plain(Mode::Human) }, answers)
    }

    #[test]
    fn only_a_yes_is_a_yes() {
        for (answers, expected) in
            [("y\n", true), ("YES\n", true), ("\n", false), ("no\n", false), ("perhaps\nyes\n", true)]
        {
            assert_eq!(terminal(answers).0.confirm("Apply?").unwrap(), expected, "{answers:?}");
        }
        let (printer, captured) = terminal("y\n");
        printer.confirm("Apply these changes?").unwrap();
        assert_eq!(captured.stderr(), "Apply these changes? [y/N] ");
    }

    #[test]
    fn the_name_has_to_be_typed_exactly() {
        for (answer, expected) in
            [("dorainfra\n", true), ("Dorainfra\n", false), ("yes\n", false), ("\n", false)]
        {
            assert_eq!(
                terminal(answer).0.type_name("All metrics will be gone.", "dorainfra").unwrap(),
                expected
            );
        }
    }

    #[test]
    fn an_empty_answer_is_the_default() {
        assert_eq!(terminal("\n").0.ask("Region?", "europe-west1").unwrap(), "europe-west1");
        assert_eq!(terminal("us-east1\n").0.ask("Region?", "europe-west1").unwrap(), "us-east1");
    }

    #[test]
    fn where_nobody_can_answer_nothing_is_assumed() {
        assert!(matches!(terminal("").0.confirm("Apply?"), Err(PromptError::Closed)));
        for mode in [Mode::Human, Mode::Json, Mode::Quiet] {
            let (printer, captured) = Printer::captured(Options::plain(mode), "y\n");
            assert!(matches!(printer.confirm("Apply?"), Err(PromptError::NotInteractive)));
            assert_eq!(captured.stderr(), "");
        }
    }
}

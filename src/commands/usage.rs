//! What the command line itself says: help, the version, and arguments that are not understood.

use std::ffi::OsString;

use clap::error::ErrorKind;

use super::Exit;
use crate::ui::{Mode, Options, Printer};

/// Shows what clap says of these arguments; answers the exit code.
pub fn show(said: &clap::Error, arguments: &[OsString]) -> Exit {
    let exit = if said.use_stderr() { Exit::Usage } else { Exit::Done };
    if !wants_json(arguments) {
        // clap prints help and version to stdout, errors to stderr.
        let _ = said.print();
        return exit;
    }
    show_json(said, exit, &Printer::new(Options::detect(Mode::Json, false)));
    exit
}

fn show_json(said: &clap::Error, exit: Exit, printer: &Printer) {
    let text = said.render().to_string();
    let is_help = said.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    match exit {
        Exit::Done => printer.verbatim(&text),
        // Of a command that lacks a subcommand, clap says its whole help.
        _ if is_help => printer.error("a subcommand is missing", &[], &[text.trim().to_owned()], exit.code()),
        _ => {
            let mut parts = text.split("\n\n").map(str::trim).filter(|part| !part.is_empty());
            let message = parts.next().unwrap_or_default();
            let message = message.strip_prefix("error: ").unwrap_or(message);
            let hints: Vec<String> =
                parts.map(|hint| hint.strip_prefix("tip: ").unwrap_or(hint).to_owned()).collect();
            printer.error(message, &[], &hints, exit.code());
        }
    }
    printer.end(exit == Exit::Done, exit.code());
}

/// What follows `--` is no flag.
fn wants_json(arguments: &[OsString]) -> bool {
    arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--json")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::Value;

    use super::super::Cli;
    use super::*;

    fn lines(words: &[&str]) -> Vec<Value> {
        let arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
        assert!(wants_json(&arguments));
        let said = Cli::try_parse_from(&arguments).unwrap_err();
        let exit = if said.use_stderr() { Exit::Usage } else { Exit::Done };
        let (printer, captured) = Printer::captured(Options::plain(Mode::Json), "");
        show_json(&said, exit, &printer);
        captured.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_wrong_command_line_is_an_error_and_a_result() {
        let wrong = lines(&["dorainfra", "--json", "aply"]);
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert_eq!((&wrong[0]["type"], &wrong[0]["code"]), (&"error".into(), &3.into()));
        assert_eq!(wrong[0]["message"], "unrecognized subcommand 'aply'");
        assert!(wrong[0]["hints"][0].as_str().unwrap().contains("'apply'"), "{wrong:?}");
        assert_eq!(wrong[1]["result"], serde_json::json!({"ok": false, "code": 3}));
        for words in [
            &["dorainfra", "--json"][..],
            &["dorainfra", "--json", "sandbox"],
            &["dorainfra", "plan", "--json", "--no-such-flag"],
            &["dorainfra", "--json", "--quiet", "plan"],
            &["dorainfra", "--json", "report", "--range", "soon"],
        ] {
            let wrong = lines(words);
            assert_eq!(wrong.len(), 2, "{wrong:?}");
            let message = wrong[0]["message"].as_str().unwrap();
            assert!(!message.is_empty() && !message.starts_with("error"), "{wrong:?}");
        }
    }

    #[test]
    fn help_and_version_are_results() {
        for words in [&["dorainfra", "--json", "--version"][..], &["dorainfra", "plan", "--json", "--help"]] {
            let help = lines(words);
            assert_eq!(help.len(), 1, "{help:?}");
            assert!(help[0]["result"]["text"].as_str().unwrap().contains("dorainfra"), "{help:?}");
        }
        assert!(!wants_json(&["dorainfra", "query", "--", "--json"].map(OsString::from)));
    }
}

//! A panic is a fault of this program. Whoever meets one finds a report of it, without
//! what they would not send to others, and is told where to send it.

use std::backtrace::Backtrace;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::ui::Printer;

/// The code of a process that panicked, as Rust has it.
pub const CODE: u8 = 101;
/// The shortest run of characters that may be a token or a key.
const SECRET: usize = 20;
/// Variables whose values nobody has to hide.
const OPEN: [&str; 8] = ["HOME", "PATH", "PWD", "OLDPWD", "SHELL", "TERM", "LANG", "USER"];

/// Has every panic of this process leave a report in the folder for temporary files.
/// `variables`: the environment, whose values are in no report.
pub fn watch(printer: Printer, variables: &BTreeMap<String, String>) {
    let mut values: Vec<String> = variables
        .iter()
        .filter(|(name, value)| !OPEN.contains(&name.as_str()) && value.len() >= 4)
        .map(|(_, value)| value.clone())
        .collect();
    // One may be a part of another.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    let folder = std::env::temp_dir();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload_as_str().unwrap_or("no words");
        let place = panic.location().map_or("an unknown place".into(), ToString::to_string);
        let report = hidden(&text(said, &place, &Backtrace::force_capture()), &values);
        let message = format!("this is a bug in dorainfra, at {place}: {}", hidden(said, &values));
        let hint = match kept(&folder, &report) {
            Ok(path) => {
                report_it(&format!("the report is in {}, without secrets; look at it, and ", path.display()))
            }
            Err(error) => report_it(&format!("no report could be written ({error}); ")),
        };
        printer.error(&message, &[], &[hint], CODE);
    }));
}

/// The beginning of a sentence, and whom to tell.
pub fn report_it(beginning: &str) -> String {
    match env!("CARGO_PKG_REPOSITORY") {
        "" => format!("{beginning}send it to whoever gave you dorainfra"),
        address => format!("{beginning}report it at {address}/issues"),
    }
}

fn text(said: &str, place: &str, trace: &Backtrace) -> String {
    let (version, system) = (env!("CARGO_PKG_VERSION"), std::env::consts::OS);
    format!("dorainfra {version} on {system} {}\nat {place}\n{said}\n\n{trace}\n", std::env::consts::ARCH)
}

/// A new file that only its owner can read: nobody's link is followed.
fn kept(folder: &Path, report: &str) -> std::io::Result<PathBuf> {
    let path = folder.join(format!("dorainfra-panic-{}.txt", uuid::Uuid::new_v4().simple()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(report.as_bytes())?;
    Ok(path)
}

/// Without the values of variables, and without what looks like a token or a key.
fn hidden(text: &str, values: &[String]) -> String {
    let mut text = text.to_owned();
    for value in values {
        text = text.replace(value.as_str(), "[hidden]");
    }
    let of_a_word = |c: char| c.is_ascii_alphanumeric() || "+/=_-.".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| of_a_word(c) != of_a_word(first)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        out.push_str(if of_a_word(first) && is_secret(word) { "[hidden]" } else { word });
        rest = after;
    }
    out
}

/// Letters and digits without an end; a path has parts that are words.
fn is_secret(word: &str) -> bool {
    word.split(['/', '.']).any(|part| {
        let digits = part.bytes().filter(u8::is_ascii_digit).count();
        let letters = part.bytes().filter(u8::is_ascii_alphabetic).count();
        part.len() >= SECRET && digits >= 2 && letters >= 2
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::{Mode, Options};

    #[test]
    fn what_may_be_a_secret_is_hidden_and_places_are_not() {
        let values = ["glpat-short".to_owned()];
        for (text, expected) in [
            ("token glpat-short is wrong", "token [hidden] is wrong"),
            ("Bearer ya29.a0AfH6SMBx9_k2-Q3J1m0n7p", "Bearer [hidden]"),
            ("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj", "[hidden]"),
            (
                "at ./src/dora/remote_write/negotiate.rs:41:12",
                "at ./src/dora/remote_write/negotiate.rs:41:12",
            ),
            ("an_identifier_that_is_long_but_a_word", "an_identifier_that_is_long_but_a_word"),
        ] {
            assert_eq!(hidden(text, &values), expected);
        }
    }

    /// The process that panics, in the test below.
    #[test]
    #[ignore = "started by another test"]
    #[expect(clippy::panic, reason = "that is what is looked at")]
    fn somebody_panics() {
        let printer = Printer::new(Options::plain(Mode::Json));
        let variables = std::env::vars().collect();
        watch(printer, &variables);
        panic!("the answer was glpat-planted, and eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2ln");
    }

    #[test]
    fn a_panic_leaves_a_report_without_secrets_that_says_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "commands::panics::tests::somebody_panics", "--ignored", "--nocapture"])
            .env("TMPDIR", folder.path())
            .env("GITLAB_TOKEN", "glpat-planted")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let line =
            said.lines().find(|line| line.contains("\"code\":101")).unwrap_or_else(|| panic!("{said}"));
        let files: Vec<PathBuf> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        let [file] = files.as_slice() else { panic!("{files:?}") };
        assert!(line.contains(&file.display().to_string()), "{line}");
        assert!(line.contains("src/commands/panics.rs"), "{line}");
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        let report = std::fs::read_to_string(file).unwrap();
        assert!(report.contains("somebody_panics"), "it has the way there: {report}");
        for secret in ["glpat-planted", "eyJhbGci", "eyJzdWIi"] {
            assert!(!report.contains(secret) && !line.contains(secret), "{secret}: {line}\n{report}");
        }
    }
}

//! Every command that the documentation, a message or a comment names is one that there is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use regex::Regex;

use super::Cli;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `folder` whose name ends like this.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let (mut folders, mut found) = (vec![root().join(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.to_str().is_some_and(|path| path.ends_with(ending)) => found.push(path),
                false => {}
            }
        }
    }
    found
}

/// A command line and where it is.
struct Named {
    place: String,
    line: String,
}

/// What stands between backticks, and in pages also the lines of code blocks.
fn named(path: &Path) -> Vec<Named> {
    let text = std::fs::read_to_string(path).unwrap();
    let shown = path.strip_prefix(root()).unwrap().display().to_string();
    let spans = Regex::new(r"`((?:sudo )?dorainfra [^`]*)`").unwrap();
    // A string or a comment that goes on in the next line.
    let breaks = Regex::new(r"\s*\\?\n\s*(?:///?!?)?\s*").unwrap();
    let mut found: Vec<Named> = spans
        .captures_iter(&text)
        .map(|span| Named { place: shown.clone(), line: breaks.replace_all(&span[1], " ").into_owned() })
        .collect();
    if shown.ends_with(".md") {
        let block =
            Regex::new(r"(?m)^    (?:\$ )?((?:[A-Z_]+=\S+ |sudo )*dorainfra (?:.*\\\n)*.*)$").unwrap();
        found.extend(block.captures_iter(&text).map(|line| {
            let whole = breaks.replace_all(&line[1], " ");
            Named { place: shown.clone(), line: whole.into_owned() }
        }));
    }
    found
}

/// The words of one command, up to what a shell would do with its output; `None` where something
/// is left out.
fn words(line: &str) -> Option<Vec<String>> {
    let line = line.split("  #").next()?.split(" # ").next()?;
    if ["…", "...", "["].iter().any(|left_out| line.replace("'[", "").contains(left_out)) {
        return None;
    }
    // What a shell puts in, and values that are filled in.
    let filled = Regex::new(r"\$\([^)]*\)").unwrap().replace_all(line, "");
    let filled = Regex::new(r"\{[^}]*\}|\b[A-Z]{2,}\b").unwrap().replace_all(&filled, "a1").into_owned();
    let mut words = shlex::split(&filled)?;
    let begin = words.iter().position(|word| word == "dorainfra")?;
    words.drain(..begin);
    let end = words.iter().position(|word| ["|", ">", "&&", "||", "&", "2>&1", ";"].contains(&word.as_str()));
    words.truncate(end.unwrap_or(words.len()));
    // `dorainfra apply, then …` is a sentence.
    Some(words.into_iter().map(|word| word.trim_end_matches([';', ',']).to_owned()).collect())
}

#[test]
fn every_command_that_is_named_exists() {
    let mut places: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md"].map(|page| root().join(page)).into();
    places.extend(files("docs", ".md"));
    // That one is made of the commands themselves.
    places.retain(|page| !page.ends_with("docs/commands.md"));
    for folder in ["src", "crates"] {
        places.extend(files(folder, ".rs"));
    }
    places.extend(files("templates", ".j2"));
    let (mut count, mut wrong) = (0, Vec::new());
    for Named { place, line } in places.iter().flat_map(|path| named(path)) {
        let Some(words) = words(&line) else { continue };
        count += 1;
        let arguments = words.iter().map(OsString::from);
        if let Err(error) = Cli::try_parse_from(arguments) {
            let said = |kind| match error.get(kind) {
                Some(ContextValue::String(text)) => text.clone(),
                _ => String::new(),
            };
            let (value, name) = (said(ContextKind::InvalidValue), said(ContextKind::InvalidSubcommand));
            match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {}
                // By its name alone: `dorainfra event deploy` is told about.
                ErrorKind::MissingRequiredArgument => {}
                // So is a flag without its value; and any value may stand for another.
                ErrorKind::InvalidValue if value.is_empty() => {}
                ErrorKind::InvalidValue | ErrorKind::ValueValidation if value.contains("a1") => {}
                ErrorKind::InvalidSubcommand if name.contains("a1") => {}
                // Pages speak of a group of commands by its name; a message names what can be typed.
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if place.ends_with(".md") => {}
                kind => wrong.push(format!("{place}: {line}: {kind:?}")),
            }
        }
    }
    assert!(count > 200, "{count} commands were read");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

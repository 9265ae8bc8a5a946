//! Holds the lines of the design: which module may know which, what is pure, and
//! who touches the terminal and the environment. Read from the sources, so that
//! a wrong `use` fails here and not in a review.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What each module may use of the crate, itself apart. `cli` and `main` may use
/// everything.
const MAY_USE: &[(&str, &[&str])] = &[
    // Pure, or nearly: they know no cloud.
    ("config", &["zone"]),
    ("zone", &[]),
    ("render", &["file"]),
    ("blueprint", &["config", "engine", "render"]),
    ("engine", &["event"]),
    ("event", &["engine", "verify"]),
    ("tls", &[]),
    ("artifact", &["answer", "blueprint", "child", "event", "file"]),
    // Google.
    ("gcp", &["answer", "blueprint", "engine", "event", "file"]),
    // A machine that is deleted is asked to write what it holds first.
    // What lives in Mimir is reached as all its clients reach it.
    ("resource", &["answer", "blueprint", "engine", "event", "gcp", "machine", "stack", "tls"]),
    ("machine", &["event", "gcp"]),
    // The steps after the resources.
    ("dora", &["answer", "event", "serve", "stack", "tls", "zone"]),
    ("serve", &[]),
    ("answer", &[]),
    ("child", &[]),
    ("file", &[]),
    ("unseen", &[]),
    ("stack", &["answer", "blueprint", "child", "config", "dora", "event", "file", "tls"]),
    ("query", &["answer", "dora", "stack"]),
    ("verify", &["answer", "blueprint", "dora", "event", "query", "stack"]),
    ("report", &["dora", "query", "render", "unseen", "zone"]),
    // What no other module may know.
    ("sandbox", &["child", "event", "gcp", "serve"]),
    ("ui", &["engine", "event", "stack", "unseen", "verify"]),
];

/// Lines of a file, its tests apart, that a person can still hold in mind.
const MAX_LINES: usize = 500;

/// A source file without its comments and its test module.
struct Source {
    path: PathBuf,
    /// The module of the crate that it belongs to: `engine`, `main`, `lib`.
    module: String,
    code: String,
    lines: usize,
    documented: bool,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    collect(&root, &root, &mut sources);
    assert!(sources.len() > 15, "the sources are not where this test looks");
    sources
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("src can be read") {
        let path = entry.expect("src can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if name != "tests" {
                collect(root, &path, sources);
            }
        } else if name.ends_with(".rs") && name != "tests.rs" && !name.ends_with("_tests.rs") {
            let text = fs::read_to_string(&path).expect("a source is UTF-8");
            let inside = path.strip_prefix(root).expect("below src");
            let module = inside.iter().next().and_then(|part| part.to_str()).unwrap_or_default();
            let code = product(&text);
            sources.push(Source {
                module: module.trim_end_matches(".rs").to_owned(),
                lines: code.lines().count(),
                code: without_comments(&code),
                documented: text.starts_with("//!"),
                path: path.clone(),
            });
        }
    }
}

/// The text before the test module.
fn product(text: &str) -> String {
    text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned()
}

fn without_comments(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// The modules of the crate that some code names: `crate::a::B`, `use crate::{a, b::C}`.
fn used(code: &str) -> BTreeSet<String> {
    let name = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    };
    let mut used = BTreeSet::new();
    for (at, found) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + found.len()..];
        if !rest.starts_with('{') {
            used.insert(name(rest));
            continue;
        }
        // A group: what follows `{` and each `,` on the outermost level.
        let mut depth = 0usize;
        for (at, c) in rest.char_indices() {
            match c {
                '{' => {
                    depth += 1;
                    if depth == 1 {
                        used.insert(name(&rest[at + 1..]));
                    }
                }
                ',' if depth == 1 => {
                    used.insert(name(&rest[at + 1..]));
                }
                '}' => {
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    used.remove("");
    used
}

/// One line for each place where a file holds what it must not.
fn forbid(sources: &[Source], modules: impl Fn(&str) -> bool, words: &[&str], why: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for source in sources.iter().filter(|source| modules(&source.module)) {
        for word in words.iter().filter(|word| source.code.contains(**word)) {
            problems.push(format!("{}: `{word}`: {why}", source.path.display()));
        }
    }
    problems
}

fn none(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn dependencies_point_downwards() {
    let (mut problems, mut seen) = (Vec::new(), BTreeSet::new());
    for source in sources() {
        if ["cli", "main", "lib"].contains(&source.module.as_str()) {
            continue;
        }
        let Some((_, allowed)) = MAY_USE.iter().find(|(module, _)| *module == source.module) else {
            problems.push(format!("{}: give its module a row in MAY_USE", source.path.display()));
            continue;
        };
        for other in used(&source.code) {
            seen.insert((source.module.clone(), other.clone()));
            // `crate::Something` and macros are the crate's own top level.
            let known = MAY_USE.iter().any(|(module, _)| *module == other) || other == "cli";
            if known && other != source.module && !allowed.contains(&other.as_str()) {
                problems.push(format!(
                    "{}: `{}` may not use `{other}`",
                    source.path.display(),
                    source.module
                ));
            }
        }
    }
    for (module, allowed) in MAY_USE {
        let unused =
            allowed.iter().filter(|other| !seen.contains(&((*module).to_owned(), (**other).to_owned())));
        problems.extend(unused.map(|other| format!("MAY_USE: `{module}` does not use `{other}`")));
    }
    none(problems);
}

#[test]
fn what_is_pure_stays_pure() {
    none(forbid(
        &sources(),
        |module| ["blueprint", "config"].contains(&module),
        &[
            "std::fs",
            "tokio::",
            "reqwest",
            "TcpStream",
            "SystemTime",
            "Instant::now",
            "now_utc",
            "now_local",
            "rand::",
        ],
        "no file, network, clock or chance in here: the same input gives the same output",
    ));
    none(forbid(
        &sources(),
        |module| module == "engine",
        &["googleapis", "reqwest", "std::fs", "std::net"],
        "the engine knows resources and a provider, nothing of Google, of files or of the network",
    ));
}

#[test]
fn only_ui_and_main_touch_the_terminal() {
    none(forbid(
        &sources(),
        |module| !["ui", "main"].contains(&module),
        &[
            "println!",
            "eprintln!",
            "print!(",
            "io::stdout",
            "io::stderr",
            "io::stdin",
            "anstream::",
            "indicatif::",
        ],
        "what is printed goes through ui::Printer",
    ));
    none(forbid(&sources(), |module| module != "main", &["process::exit("], "only main ends the process"));
}

#[test]
fn only_cli_and_main_read_the_environment() {
    none(forbid(
        &sources(),
        // `child` hands variables on, and decides nothing by them.
        |module| !["cli", "main", "child"].contains(&module),
        &["std::env", "env::var", "env::args", "env::current_dir", "env::temp_dir"],
        "cli reads the environment and hands values down",
    ));
}

/// Whatever is started elsewhere would see all secrets of the environment.
#[test]
fn only_child_starts_programs() {
    none(forbid(
        &sources(),
        // `main` becomes itself again, with more variables.
        |module| !["child", "main"].contains(&module),
        &[
            "process::Command",
            "Command::new(",
            "process::{Child, Command",
            "CommandExt",
            "posix_spawn",
            "fork(",
        ],
        "programs are started by crate::child, so that they see no variable which they don't need",
    ));
}

/// Where numbers and times of others are read, none is added to another without a bound.
#[test]
fn numbers_of_others_are_bounded() {
    const READERS: [&str; 15] = [
        "answer.rs",
        "artifact.rs",
        "cli/holder.rs",
        "cli/saved.rs",
        "config/duration.rs",
        "dora/events.rs",
        "dora/remote_write/retry.rs",
        "engine/lease.rs",
        "file.rs",
        "gcp/mod.rs",
        "machine/mod.rs",
        "query.rs",
        "serve.rs",
        "stack/pipeline.rs",
        "tls/mod.rs",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let lacks = |file: &&str| {
        !fs::read_to_string(root.join(file)).unwrap().contains("deny(clippy::arithmetic_side_effects")
    };
    let lacking: Vec<&str> = READERS.into_iter().filter(lacks).collect();
    assert!(lacking.is_empty(), "{lacking:?}: #![deny(clippy::arithmetic_side_effects)]");
}

#[test]
fn every_file_says_what_it_is_for_and_is_of_a_readable_size() {
    let mut problems = Vec::new();
    for source in sources() {
        let path = source.path.display();
        if !source.documented && source.module != "main" {
            problems.push(format!("{path}: begins with no `//!` that says what it is for"));
        }
        if source.lines > MAX_LINES {
            problems
                .push(format!("{path}: {} lines: more than {MAX_LINES}, split it by concept", source.lines));
        }
    }
    none(problems);
}

#[test]
fn the_reading_of_sources_finds_every_form() {
    let code = "use crate::engine::{Plan, Step};\nuse crate::{event, gcp::{Api, Client}, tls};\n\
                let x = crate::stack::up();\nuse $crate::no;\nuse other_crate::neither;\n";
    let found: Vec<String> = used(code).into_iter().collect();
    assert_eq!(found, ["engine", "event", "gcp", "stack", "tls"]);
    assert_eq!(without_comments("// use crate::gcp;\ncode\n/// crate::gcp\n"), "code\n");
    assert_eq!(product("code\n#[cfg(test)]\nmod tests {\n"), "code\n");
}

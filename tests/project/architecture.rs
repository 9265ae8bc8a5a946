//! Holds the lines of the design: which crate may know which, what is pure, and
//! who touches the terminal and the environment. Read from the sources, so that
//! what is wrong fails here and not in a review.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each crate may use of the others. Cargo holds that there is no circle; this table, that nobody
/// grows an arrow by the way.
const MAY_USE: &[(&str, &[&str])] = &[
    // They know no cloud.
    ("base", &[]),
    ("model", &[]),
    ("pki", &["base"]),
    ("engine", &["model"]),
    ("config", &["base"]),
    ("render", &["base"]),
    ("prometheus", &["base", "model", "pki"]),
    ("dora", &["base", "model", "pki", "prometheus"]),
    ("report", &["base", "dora", "prometheus", "render"]),
    // Google.
    ("gcp", &["base", "engine", "model"]),
    ("gcp-sandbox", &["base", "gcp", "model"]),
    // All of it together; the sandbox is for the command line to choose.
    ("deploy", &["base", "config", "dora", "engine", "gcp", "model", "pki", "prometheus", "render"]),
    ("testutils", &[]),
];

/// Lines of a file, its tests apart, that a person can still hold in mind.
const MAX_LINES: usize = 500;

/// A source file without its comments and its test module.
struct Source {
    path: PathBuf,
    /// The crate that it belongs to, `deploy`; of the program itself its module: `commands`, `ui`, `main`.
    part: String,
    /// Below its `src`: `resource/bucket.rs`.
    inside: String,
    code: String,
    lines: usize,
    documented: bool,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names of all crates below `crates`, in order.
fn crates() -> Vec<String> {
    let folders = fs::read_dir(root().join("crates")).expect("crates can be read");
    let name = |folder: fs::DirEntry| folder.file_name().into_string().expect("a plain name");
    let mut names: Vec<String> = folders.map(|folder| name(folder.expect("crates can be read"))).collect();
    names.sort();
    names
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    let src = root().join("src");
    collect(&src, &src, None, &mut sources);
    for name in crates() {
        let src = root().join("crates").join(&name).join("src");
        let before = sources.len();
        collect(&src, &src, Some(&name), &mut sources);
        assert!(sources.len() > before, "{name} has no sources");
    }
    assert!(sources.len() > 300, "the sources are not where this test looks");
    sources
}

fn collect(src: &Path, folder: &Path, of: Option<&str>, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("src can be read") {
        let path = entry.expect("src can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if name != "tests" {
                collect(src, &path, of, sources);
            }
        } else if name.ends_with(".rs") && name != "tests.rs" && !name.ends_with("_tests.rs") {
            let text = fs::read_to_string(&path).expect("a source is UTF-8");
            let inside = path.strip_prefix(src).expect("below src");
            let module = inside.iter().next().and_then(|part| part.to_str()).unwrap_or_default();
            let code = product(&text);
            sources.push(Source {
                part: of.unwrap_or_else(|| module.trim_end_matches(".rs")).to_owned(),
                inside: inside.to_str().expect("a plain name").to_owned(),
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

/// One line for each place where a file holds what it must not.
fn forbid(sources: &[Source], of: impl Fn(&Source) -> bool, words: &[&str], why: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for source in sources.iter().filter(|source| of(source)) {
        for word in words.iter().filter(|word| source.code.contains(**word)) {
            problems.push(format!("{}: `{word}`: {why}", source.path.display()));
        }
    }
    problems
}

fn none(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// The crates of ours that a manifest names in a section, without their tests' ones.
fn used(manifest: &str) -> BTreeSet<String> {
    let section = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let ours = |line: &str| Some(line.strip_prefix("dorainfra-")?.split(['.', ' ']).next()?.to_owned());
    section.lines().filter_map(ours).collect()
}

#[test]
fn dependencies_point_downwards() {
    let listed: Vec<&str> = MAY_USE.iter().map(|(name, _)| *name).collect();
    for name in crates() {
        assert!(listed.contains(&name.as_str()), "give crates/{name} a row in MAY_USE");
    }
    for (name, allowed) in MAY_USE {
        let manifest = fs::read_to_string(root().join("crates").join(name).join("Cargo.toml"));
        let allowed: BTreeSet<String> = allowed.iter().map(|&other| other.to_owned()).collect();
        assert_eq!(used(&manifest.expect("a crate has a manifest")), allowed, "what `{name}` uses");
    }
}

/// The crates as docs/how-it-works.md shows them, those that others stand on first: what each is, and
/// what it uses, without what comes with that.
fn layout() -> String {
    let all: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let through = |name: &str| -> BTreeSet<&str> {
        let (mut found, mut next) = (BTreeSet::new(), all[name].to_vec());
        while let Some(other) = next.pop() {
            if found.insert(other) {
                next.extend(all[other]);
            }
        }
        found
    };
    let mut names: Vec<&str> = all.keys().copied().collect();
    names.sort_by_key(|name| (*name == "testutils", through(name).len(), *name));
    let mut page = String::from("| crate | what it is | uses |\n| --- | --- | --- |\n");
    for name in names {
        let manifest = fs::read_to_string(root().join("crates").join(name).join("Cargo.toml")).unwrap();
        let what = manifest.lines().find_map(|line| line.strip_prefix("description = ")).unwrap();
        let implied: BTreeSet<&str> = all[name].iter().flat_map(|other| through(other)).collect();
        let direct = all[name].iter().filter(|other| !implied.contains(**other));
        let direct: Vec<String> = direct.map(|other| format!("`{other}`")).collect();
        let (what, direct) = (what.trim_matches('"'), direct.join(", "));
        page.push_str(format!("| `crates/{name}` | {what} | {direct}").trim_end());
        page.push_str(" |\n");
    }
    page
}

const LAYOUT: [&str; 2] = ["-- --ignored -->\n", "<!-- end of layout -->"];

#[test]
fn the_layout_is_documented() {
    let page = fs::read_to_string(root().join("docs/how-it-works.md")).unwrap();
    let shown = page.split_once(LAYOUT[0]).and_then(|(_, rest)| rest.split_once(LAYOUT[1])).unwrap().0;
    assert_eq!(shown, layout(), "to write it again: cargo test --test project architecture -- --ignored");
}

#[test]
#[ignore = "writes docs/how-it-works.md"]
fn write_the_layout() {
    let path = root().join("docs/how-it-works.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(LAYOUT[0]).unwrap();
    let (_, after) = rest.split_once(LAYOUT[1]).unwrap();
    fs::write(path, format!("{before}{}{}{}{after}", LAYOUT[0], layout(), LAYOUT[1])).unwrap();
}

#[test]
fn what_is_pure_stays_pure() {
    none(forbid(
        &sources(),
        |source| source.part == "config" || source.inside.starts_with("blueprint/"),
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
        |source| ["engine", "model"].contains(&source.part.as_str()),
        &["googleapis", "reqwest", "std::fs", "std::net"],
        "the engine knows resources and a provider, nothing of Google, of files or of the network",
    ));
}

#[test]
fn the_kernel_of_the_sandbox_knows_no_service() {
    none(forbid(
        &sources(),
        |source| source.part == "gcp-sandbox" && source.inside.starts_with("kernel/"),
        &["crate::services", "crate::machines", "crate::sandbox"],
        "services and machines give themselves to the kernel",
    ));
}

#[test]
fn only_ui_and_main_touch_the_terminal() {
    none(forbid(
        &sources(),
        |source| !["ui", "main"].contains(&source.part.as_str()),
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
    none(forbid(
        &sources(),
        |source| source.part != "main",
        &["process::exit("],
        "only main ends the process",
    ));
}

#[test]
fn only_commands_and_main_read_the_environment() {
    none(forbid(
        &sources(),
        // `child` hands variables on, and decides nothing by them; tests have a switch.
        |source| !["commands", "main", "testutils"].contains(&source.part.as_str()) && !is_child(source),
        &["std::env", "env::var", "env::args", "env::current_dir", "env::temp_dir"],
        "commands reads the environment and hands values down",
    ));
}

/// Whoever opens a screen by himself may forget to wait until it has shown everything.
#[test]
fn only_screen_shows_events() {
    none(forbid(
        &sources(),
        |source| source.part == "commands" && source.inside != "commands/screen.rs",
        &["Events::channel", "ui::run(", "tokio::spawn(ui::"],
        "events are shown by screen::with, which ends when all of them are",
    ));
}

/// The one place from which other programs are started.
fn is_child(source: &Source) -> bool {
    source.part == "base" && source.inside == "child.rs"
}

/// Whatever is started elsewhere would see all secrets of the environment.
#[test]
fn only_child_starts_programs() {
    none(forbid(
        &sources(),
        // `main` becomes itself again, with more variables.
        |source| source.part != "main" && !is_child(source),
        &[
            "process::Command",
            "Command::new(",
            "process::{Child, Command",
            "CommandExt",
            "posix_spawn",
            "fork(",
        ],
        "programs are started by dorainfra_base::child, so that they see no variable which they don't need",
    ));
}

/// Where numbers and times of others are read, none is added to another without a bound.
#[test]
fn numbers_of_others_are_bounded() {
    const READERS: [&str; 15] = [
        "crates/base/src/answer.rs",
        "crates/deploy/src/artifact.rs",
        "crates/deploy/src/workflow/holder.rs",
        "crates/deploy/src/workflow/saved_plan.rs",
        "crates/config/src/duration.rs",
        "crates/dora/src/events.rs",
        "crates/prometheus/src/remote_write/retry.rs",
        "crates/engine/src/lease.rs",
        "crates/base/src/file.rs",
        "crates/gcp/src/lib.rs",
        "crates/deploy/src/machine/mod.rs",
        "crates/prometheus/src/query.rs",
        "crates/base/src/serve.rs",
        "crates/deploy/src/stack/pipeline.rs",
        "crates/pki/src/lib.rs",
    ];
    let lacks = |file: &&str| {
        !fs::read_to_string(root().join(file)).unwrap().contains("deny(clippy::arithmetic_side_effects")
    };
    let lacking: Vec<&str> = READERS.into_iter().filter(lacks).collect();
    assert!(lacking.is_empty(), "{lacking:?}: #![deny(clippy::arithmetic_side_effects)]");
}

#[test]
fn every_file_says_what_it_is_for_and_is_of_a_readable_size() {
    let mut problems = Vec::new();
    for source in sources() {
        let path = source.path.display();
        if !source.documented && source.part != "main" {
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
    let manifest = "[dependencies]\ndorainfra-a.workspace = true\nserde.workspace = true\n\
                    dorainfra-b-c = { path = \"x\" }\n\n[dev-dependencies]\ndorainfra-d.workspace = true\n";
    let found: Vec<String> = used(manifest).into_iter().collect();
    assert_eq!(found, ["a", "b-c"]);
    assert_eq!(without_comments("// use crate::gcp;\ncode\n/// crate::gcp\n"), "code\n");
    assert_eq!(product("code\n#[cfg(test)]\nmod tests {\n"), "code\n");
}

/// A file that no `mod` names is not compiled, and its tests are not run.
#[test]
fn no_file_is_forgotten() {
    let mut files = Vec::new();
    for folder in ["tests", "src", "crates", "grafana", "benches"] {
        rust_files(&root().join(folder), &mut files);
    }
    let texts: BTreeMap<&Path, String> =
        files.iter().map(|file| (file.as_path(), fs::read_to_string(file).unwrap())).collect();
    let mut forgotten = Vec::new();
    for file in &files {
        let (folder, stem) = (file.parent().unwrap(), file.file_stem().unwrap().to_str().unwrap());
        // What Cargo itself finds.
        if ["main", "lib", "build"].contains(&stem) || folder.ends_with("benches") {
            continue;
        }
        let (within, name) = match stem {
            "mod" => (folder.parent().unwrap(), folder.file_name().unwrap().to_str().unwrap()),
            _ => (folder, stem),
        };
        let beside = ["mod.rs", "lib.rs", "main.rs"].map(|parent| within.join(parent));
        let above = within.with_extension("rs");
        let declares = |parent: &Path| {
            let text = texts.get(parent).map(String::as_str).unwrap_or_default();
            text.lines().any(|line| {
                line.trim_end_matches(';').rsplit(' ').next() == Some(name) && line.contains("mod ")
            })
        };
        let by_path = || {
            let whole = if stem == "mod" { format!("{name}/mod.rs\"]") } else { format!("{name}.rs\"]") };
            texts
                .values()
                .any(|text| text.lines().any(|line| line.starts_with("#[path") && line.ends_with(&whole)))
        };
        if !beside.iter().map(PathBuf::as_path).chain([above.as_path()]).any(declares) && !by_path() {
            forgotten.push(file.display().to_string());
        }
    }
    assert!(files.len() > 500, "the sources are not where this test looks");
    none(forgotten);
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the project") {
        let path = entry.expect("readable").path();
        match path.is_dir() {
            true if !path.ends_with("fixtures") => rust_files(&path, files),
            true => {}
            false if path.extension().is_some_and(|extension| extension == "rs") => files.push(path),
            false => {}
        }
    }
}

//! The documentation that is written by hand agrees with what it describes.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Markdown files of the project's own.
fn pages() -> Vec<PathBuf> {
    let here = [root().to_path_buf(), root().join("docs")];
    let entries = here.iter().flat_map(|folder| fs::read_dir(folder).expect("a folder of the project"));
    let mut pages: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    pages
}

/// `ResourceStarted` → `resource-started`.
fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.push(c.to_ascii_lowercase());
    }
    kebab
}

/// The variants of `Event` with their fields, read from its source.
fn events() -> Vec<(String, Vec<String>)> {
    let source = read("crates/model/src/event.rs");
    let body = source.split("pub enum Event {").nth(1).expect("the enum is there");
    let mut events: Vec<(String, Vec<String>)> = Vec::new();
    for line in body.lines().take_while(|line| *line != "}") {
        let line = line.trim();
        if line.starts_with("//") {
            continue;
        }
        if let Some(name) = line.strip_suffix(" {") {
            events.push((kebab(name), Vec::new()));
        } else if let Some((field, _)) = line.split_once(": ") {
            events.last_mut().expect("a field is in a variant").1.push(field.to_owned());
        }
    }
    events
}

#[test]
fn every_event_and_field_is_documented() {
    let page = read("docs/json-events.md");
    let events = events();
    assert!(events.len() > 10, "the enum is not written as this test reads it");
    for (name, fields) in events {
        let heading = format!("### `{name}`\n");
        let Some(section) = page.split(&heading).nth(1) else {
            panic!("docs/json-events.md has no `{name}`")
        };
        let section = section.split("\n#").next().unwrap_or_default();
        for field in fields {
            assert!(
                section.contains(&format!("| `{field}` |")),
                "docs/json-events.md: `{name}` lacks `{field}`"
            );
        }
    }
}

#[test]
fn every_exit_code_is_documented() {
    let page = read("docs/exit-codes.md");
    for code in [0, 1, 2, 3, 4, 5, 6, 101, 130, 143] {
        assert!(page.contains(&format!("\n| {code} |")), "docs/exit-codes.md has no row for {code}");
    }
}

#[test]
fn every_script_that_is_named_exists() {
    for page in pages() {
        let text = fs::read_to_string(&page).expect("UTF-8");
        for rest in text.split("scripts/").skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
            if !name.is_empty() {
                let script = root().join("scripts").join(&name);
                assert!(script.exists(), "{} names scripts/{name}", page.display());
            }
        }
    }
}

/// A filter that fits no test runs none, and succeeds.
#[test]
fn every_test_that_a_command_runs_exists() {
    let scripts = fs::read_dir(root().join("scripts")).expect("a folder of the project");
    let scripts = scripts.map(|entry| entry.expect("readable").path()).filter(|path| path.is_file());
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_' || c == ':';
    let (mut commands, mut filters) = (0, 0);
    for file in scripts.chain(pages()) {
        let text = fs::read_to_string(&file).expect("UTF-8");
        let shown = file.display();
        for rest in text.split("--test ").skip(1) {
            let mut words = rest.split([' ', '\n']).map(|word| word.trim_end_matches('`'));
            let binary = words.next().filter(|word| !word.is_empty() && word.chars().all(is_name));
            // Grafana's are not below `tests`.
            let Some(binary) = binary.filter(|name| *name != "dashboards") else { continue };
            let folder = root().join("tests").join(binary);
            assert!(folder.join("main.rs").exists(), "{shown}: there are no tests called {binary}");
            commands += 1;
            let module = words.next().filter(|word| !word.is_empty() && word.chars().all(is_name));
            if let Some(module) = module.and_then(|word| word.split("::").next()) {
                let exists = folder.join(module).with_extension("rs").exists();
                assert!(exists, "{shown}: {binary} has no {module}");
            }
        }
        if !(file.ends_with("scripts/nightly") || file.ends_with("scripts/test")) {
            continue;
        }
        for module in text.split_whitespace().filter_map(|word| word.strip_suffix("::")) {
            let folders = fs::read_dir(root().join("tests")).expect("a folder of the project");
            let mut folders = folders.map(|entry| entry.expect("readable").path());
            assert!(
                folders.any(|folder| folder.join(module).with_extension("rs").exists()),
                "{shown}: {module}"
            );
            filters += 1;
        }
    }
    assert!(commands > 20 && filters > 10, "{commands} commands and {filters} filters were read");
}

/// The names of all functions that are tests, read from the sources.
fn tests(folder: &Path, found: &mut std::collections::BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the project") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            tests(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("UTF-8");
            // What follows the attribute, up to the function's name.
            for after in text.split("#[test]").skip(1).chain(text.split("#[tokio::test").skip(1)) {
                let name = after.split("fn ").nth(1).and_then(|rest| rest.split('(').next());
                found.extend(name.map(str::to_owned));
            }
        }
    }
}

#[test]
fn every_test_that_a_table_of_threats_names_exists() {
    let mut known = std::collections::BTreeSet::new();
    tests(&root().join("src"), &mut known);
    tests(&root().join("crates"), &mut known);
    tests(&root().join("tests"), &mut known);
    let text = read("docs/security.md");
    let rows =
        text.split("## Threats").nth(1).expect("the table").lines().filter(|line| line.starts_with('|'));
    let mut missing = Vec::new();
    let mut count = 0;
    for row in rows.skip(2) {
        let named = row.trim_end_matches([' ', '|']).rsplit(" | ").next().expect("the last column");
        let names: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "a row names no test: {row}");
        count += names.len();
        missing.extend(names.into_iter().filter(|name| !known.contains(*name)));
    }
    assert!(count > 30, "the table is not where this test looks");
    assert!(missing.is_empty(), "there is no test by these names: {missing:?}");
}

/// docs/operations.md promises a test for each row.
#[test]
fn every_test_that_a_table_names_exists() {
    let mut functions = String::new();
    let mut folders = vec![root().join("tests"), root().join("src"), root().join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                functions.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut rows = 0;
    for page in ["docs/operations.md"] {
        let text = read(page);
        // What was measured has a script, and no test.
        let (before, rest) = text.split_once("<!-- measured: begin -->").unwrap();
        let (_, after) = rest.split_once("<!-- measured: end -->").unwrap();
        for row in before.lines().chain(after.lines()).filter(|line| line.starts_with("| ")) {
            let last = row.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap();
            // The head of a table.
            if ["test", "---"].contains(&last) {
                continue;
            }
            let names: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
            assert!(!names.is_empty() || last.starts_with("the same"), "{page}: no test in {row}");
            for name in names {
                assert!(functions.contains(&format!("fn {name}()")), "{page}: no test is called {name}");
            }
            rows += 1;
        }
    }
    assert!(rows > 10, "the table is not written as this test reads it");
}

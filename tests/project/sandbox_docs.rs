//! The table in docs/sandbox.md is made from the sandbox's own tables and from the
//! lists in tests/coverage, which tests hold themselves to; to write it again:
//! `cargo test --test project sandbox_docs -- --ignored`.

use crate::coverage;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const CHECKS: [&str; 9] = [
    "discovery",
    "gcloud",
    "Terraform",
    "Python client",
    "Node client",
    "Go client",
    "Rust client",
    "guest agent",
    "our own code",
];
const BEGIN: &str = "<!-- made by tests/project/sandbox_docs.rs -->\n";
const END: &str = "<!-- end -->\n";

/// Titles, in the order of the page.
const APIS: [(&str, &str); 8] = [
    ("compute", "Compute Engine"),
    ("storage", "Cloud Storage"),
    ("iam", "IAM"),
    ("cloudresourcemanager", "Resource Manager"),
    ("cloudbilling", "Cloud Billing"),
    ("serviceusage", "Service Usage"),
    ("secretmanager", "Secret Manager"),
    ("metadata", "Metadata server"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> PathBuf {
    root().join("docs/sandbox.md")
}

/// Ids of the methods in one of the sandbox's tables: those that are served
/// (`METHOD`), or those that are not (`UNSERVED`).
fn listed(api: &str, word: &str) -> BTreeSet<String> {
    let path = root().join("crates/gcp-sandbox/src/kernel/contract").join(api);
    // The metadata server has no document; one API has an older version besides.
    let text: String = ["contract", "v1.contract"]
        .iter()
        .map(|end| std::fs::read_to_string(path.with_extension(end)).unwrap_or_default())
        .collect();
    let lines = text.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
    lines.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

fn methods(api: &str) -> BTreeSet<String> {
    listed(api, "METHOD")
}

/// By method, the checks that it has passed: what the lists say.
fn checked() -> BTreeMap<String, BTreeSet<String>> {
    let mut checked: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(coverage::folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let (title, list) = text.split_once('\n').unwrap();
        for check in title.trim_start_matches("# ").split(", ") {
            assert!(CHECKS.contains(&check), "{}: there is no check `{check}`", path.display());
            for method in list.lines() {
                checked.entry(method.to_owned()).or_default().insert(check.to_owned());
            }
        }
    }
    checked
}

fn table() -> String {
    let checked = checked();
    let mut text = String::new();
    for (api, title) in APIS {
        let of_api = |id: &&String| id.starts_with(&format!("{api}."));
        let mut rows = methods(api);
        rows.extend(checked.keys().filter(of_api).cloned());
        if rows.is_empty() {
            continue;
        }
        let unserved = listed(api, "UNSERVED").difference(&rows).count();
        let of_all = if unserved > 0 { format!(" of {}", rows.len() + unserved) } else { String::new() };
        let what = if api == "metadata" { "requests" } else { "methods" };
        text += &format!("### {title}: {}{of_all} {what}\n\n", rows.len());
        text += &format!("| method | {} |\n| --- |{}\n", CHECKS.join(" | "), " --- |".repeat(CHECKS.len()));
        for id in rows {
            let short = id.strip_prefix(&format!("{api}.")).unwrap();
            let passed = checked.get(&id);
            let marks = CHECKS
                .map(|check| if passed.is_some_and(|passed| passed.contains(check)) { "✓" } else { "" });
            text += &format!("| `{short}` | {} |\n", marks.join(" | "));
        }
        text.push('\n');
    }
    text
}

/// The page with its table as it has to be.
fn current() -> String {
    let text = std::fs::read_to_string(page()).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the page says where the table begins");
    let (_, after) = rest.split_once(END).expect("the page says where the table ends");
    format!("{before}{BEGIN}\n{}{END}{after}", table())
}

#[test]
fn the_table_of_what_is_checked_is_current() {
    assert!(
        std::fs::read_to_string(page()).unwrap() == current(),
        "docs/sandbox.md is stale: cargo test --test project sandbox_docs -- --ignored"
    );
}

#[test]
#[ignore = "writes docs/sandbox.md"]
fn write_the_table_of_what_is_checked() {
    std::fs::write(page(), current()).unwrap();
}

/// A list can name what is served only, and what is served is in some list.
#[test]
fn every_method_that_is_served_is_checked_by_somebody() {
    let checked = checked();
    let served: BTreeSet<String> = APIS.iter().flat_map(|(api, _)| methods(api)).collect();
    let unknown: Vec<&String> =
        checked.keys().filter(|id| !served.contains(*id) && !id.starts_with("metadata.")).collect();
    assert!(unknown.is_empty(), "not served: {unknown:?}");
    // Of Compute, some methods are called by this project's own tests alone.
    let unchecked: Vec<&String> =
        served.iter().filter(|id| !checked.contains_key(*id) && !id.starts_with("compute.")).collect();
    assert!(unchecked.is_empty(), "checked by nobody: {unchecked:?}");
}

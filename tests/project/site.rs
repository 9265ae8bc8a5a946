//! The pages lead to each other, on a forge and as the site that `scripts/book` makes of docs/.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use clap::CommandFactory as _;
use clap::error::ErrorKind;
use regex::Regex;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// Markdown files in the folder and those below, by their path in the project.
fn markdown(folder: &str) -> Vec<String> {
    let (mut folders, mut found) = (vec![root().join(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// What a browser makes of a link: the path in the project that `target` means in `page`.
fn resolved(page: &str, target: &str) -> String {
    let mut path = PathBuf::from(page);
    path.pop();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{page}: {target} leaves the project"),
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    path.to_str().unwrap().to_owned()
}

/// Markdown without code: what stands there is neither a link nor a heading.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence && !line.starts_with("    ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Paths with what follows a `#`; none to somewhere else.
fn links(text: &str) -> Vec<String> {
    let prose = Regex::new("`[^`]*`").unwrap().replace_all(&prose(text), "").into_owned();
    let markdown = Regex::new(r"\]\(([^)\s]+)[^)]*\)").unwrap();
    let html = Regex::new(r#"(?:src|href)="([^"]+)""#).unwrap();
    let found = markdown.captures_iter(&prose).chain(html.captures_iter(&prose));
    let found = found.map(|found| found[1].to_owned());
    found.filter(|target| !target.contains("://") && !target.starts_with("mailto:")).collect()
}

/// What can follow a `#`: GitHub and mdBook make the same of headings; and what is written as HTML.
fn anchors(text: &str) -> BTreeSet<String> {
    let link = Regex::new(r"\[([^\]]*)\]\([^)]*\)").unwrap();
    let mut found = BTreeSet::new();
    for line in prose(text).lines().filter(|line| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim();
        let heading = link.replace_all(heading, "$1").to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        let name: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let others = (1..).map(|number| format!("{name}-{number}"));
        let free = std::iter::once(name.clone()).chain(others).find(|name| !found.contains(name));
        found.insert(free.unwrap());
    }
    let html = Regex::new(r#"<a (?:id|name)="([^"]+)""#).unwrap();
    found.extend(html.captures_iter(text).map(|found| found[1].to_owned()));
    found
}

/// Why `target`, a link of `page`, leads nowhere.
fn dead(page: &str, target: &str) -> Option<&'static str> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file = if file.is_empty() { page.to_owned() } else { resolved(page, file) };
    let path = root().join(&file);
    if !path.exists() {
        return Some("there is no such file");
    }
    let is_there = || file.ends_with(".md") && anchors(&read(&file)).contains(anchor);
    if !anchor.is_empty() && !is_there() {
        return Some("there is no such heading");
    }
    // The site has the files below docs/, and no lists of folders.
    let of_the_site = page.starts_with("docs/");
    (of_the_site && (path.is_dir() || !file.starts_with("docs/"))).then_some("the site has no such page")
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut pages = markdown("docs");
    pages.extend(["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(str::to_owned));
    let (mut count, mut wrong) = (0, Vec::new());
    for page in &pages {
        for target in links(&read(page)) {
            count += 1;
            wrong.extend(dead(page, &target).map(|why| format!("{page}: {target}: {why}")));
        }
    }
    assert!(count > 150, "{count} links were read");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn links_and_headings_are_read_as_a_browser_would() {
    let text = "# Two words\n## `--as-google`, once\n## `--as-google`, once\n<a id=\"by-hand\"></a>\n\n    # no heading [no](link.md)\n\
                `[no](link.md)` and [`yes`](a.md#b) [out](https://example.com) <img src=\"c.png\">\n";
    assert_eq!(links(text), ["a.md#b", "c.png"]);
    let names: Vec<String> = anchors(text).into_iter().collect();
    assert_eq!(names, ["--as-google-once", "--as-google-once-1", "by-hand", "two-words"]);
    assert_eq!(dead("docs/index.md", "nowhere.md"), Some("there is no such file"));
    assert_eq!(dead("docs/index.md", "google.md#nothing"), Some("there is no such heading"));
    assert_eq!(dead("docs/index.md", "schemas/"), Some("the site has no such page"));
    assert_eq!(dead("docs/index.md", "../README.md"), Some("the site has no such page"));
    assert_eq!(dead("docs/ci/README.md", "../google.md#quotas"), None);
}

#[test]
fn every_page_is_in_the_summary_of_the_site() {
    let summary = read("docs/SUMMARY.md");
    for page in markdown("docs") {
        let name = page.strip_prefix("docs/").unwrap();
        let named = summary.matches(&format!("]({name})")).count();
        assert_eq!(named, usize::from(name != "SUMMARY.md"), "docs/SUMMARY.md names {name} {named} times");
    }
}

/// Each command and option in the column of this tool exists, and no command is left out.
#[test]
fn what_the_comparison_says_of_commands_is_true() {
    let page = read("docs/compare.md");
    let mut command = dorainfra::commands::Cli::command();
    command.build();
    let names: BTreeSet<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    let options: BTreeSet<&str> = command
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .chain(command.get_arguments())
        .filter_map(clap::Arg::get_long)
        .collect();
    let code = Regex::new("`([^`]+)`").unwrap();
    let placeholder = Regex::new(r"\b[A-Z]{2,}\b").unwrap();
    let (mut said, mut wrong, mut ours) = (BTreeSet::new(), Vec::new(), false);
    for row in page.lines().filter(|line| line.starts_with('|')) {
        let cell = row.split(" | ").nth(1).unwrap_or_default().trim_matches([' ', '|']);
        if row.starts_with("| |") || row.starts_with("| column") {
            ours = cell == "dorainfra";
            continue;
        }
        for found in code.captures_iter(cell).filter(|_| ours) {
            let words = placeholder.replace_all(&found[1], "a1");
            let words: Vec<&str> = words.split(' ').collect();
            if let Some(option) = words[0].strip_prefix("--") {
                if !options.contains(option) {
                    wrong.push(found[1].to_owned());
                }
            // A block of Terraform's.
            } else if words[0] != "import" {
                said.insert(words[0].to_owned());
                let parsed = command.clone().try_get_matches_from(["dorainfra"].iter().chain(&words));
                // A command may be named without what it needs.
                let needs = [
                    ErrorKind::MissingRequiredArgument,
                    ErrorKind::InvalidValue,
                    ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
                ];
                if let Err(error) = parsed
                    && (!needs.contains(&error.kind()) || !names.contains(words[0]))
                {
                    wrong.push(format!("{}: {:?}", &found[1], error.kind()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "docs/compare.md has what there is not: {wrong:?}");
    let missing: Vec<&str> =
        names.into_iter().filter(|name| *name != "help" && !said.contains(*name)).collect();
    assert!(missing.is_empty(), "docs/compare.md lacks {missing:?}");
}

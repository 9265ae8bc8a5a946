//! docs/reliability.md is made of what the matrices came to in their last runs; to write it
//! again, run them (`scripts/nightly` does, whole) and then
//! `cargo test --test project reliability -- --ignored`.

use crate::matrix;
use std::path::Path;

use crate::matrix::Results;

/// The matrices, in the order of the page: target and module, and test of each.
const MATRICES: [(&str, &str); 8] = [
    ("deployment crash_matrix", "a_run_killed_at_any_write_is_mended_by_the_next"),
    ("deployment next_steps", "each_error_of_a_plan_says_what_is_next"),
    ("deployment next_steps", "each_error_of_an_apply_says_what_is_next"),
    ("deployment next_steps", "each_error_of_a_destroy_says_what_is_next"),
    ("machines faults", "a_machine_gets_its_bundle_whatever_call_of_it_fails"),
    ("deployment concurrency", "two_commands_at_once_end_as_they_should_and_nothing_is_lost"),
    ("engine lease_model", "in_no_course_of_events_two_runs_hold_it_and_in_each_the_next_one_gets_it"),
    ("deployment soak", SOAK),
];
/// Its length is chosen, and it is no part of the usual tests.
const SOAK: &str = "everything_is_killed_at_random_and_nothing_acknowledged_is_lost";
/// Of a message, characters.
const SHOWN: usize = 320;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn command(target: &str, test: &str) -> String {
    match test {
        SOAK => format!("cargo test --test {target} -- --ignored --nocapture"),
        _ => format!("NIGHTLY=1 cargo test --test {target}::{test}"),
    }
}

/// `None`: the soak was not run.
fn results(target: &str, test: &str) -> Option<Results> {
    let path = matrix::folder().join(format!("{test}.json"));
    let text = match std::fs::read_to_string(&path) {
        Err(_) if test == SOAK => return None,
        text => text.unwrap_or_else(|error| {
            panic!("{}: {error}; run `{}` first", path.display(), command(target, test))
        }),
    };
    let results: Results = serde_json::from_str(&text).unwrap();
    // What scripts/nightly says to have gone through whole was.
    #[expect(clippy::disallowed_methods, reason = "the switch of scripts/nightly")]
    let nightly = std::env::var_os("NIGHTLY").is_some() && test != SOAK;
    assert!(results.whole || !nightly, "{test} was gone through by sample: {}", path.display());
    Some(results)
}

/// A message in a cell of a table, without what differs from run to run.
fn cell(message: &str) -> String {
    let plain: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words: Vec<&str> = plain.split_whitespace().collect();
    let is_time = |word: &str| word.len() > 19 && word.as_bytes()[10] == b'T' && word.ends_with('Z');
    let mut shown: Vec<&str> = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let pid = |at: usize| words.get(at).is_some_and(|word| *word == "(pid");
        match word {
            _ if word.contains('@') && pid(at + 1) => shown.push("USER@HOST"),
            _ if pid(at) || (at > 0 && pid(at - 1)) => {}
            _ if is_time(word) => shown.push("TIME"),
            word => shown.push(word),
        }
    }
    let whole = shown.join(" ").replace('|', "\\|").replace('<', "&lt;");
    match whole.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{} …", &whole[..at]),
        None => whole,
    }
}

fn page() -> String {
    let mut text = String::from(
        "# What has been tried\n\n\
         Made by tests/project/reliability.rs from the results of the matrices that it names: what was done to the program, \
         how often, how often it came through, and what it said. Each test fails where a single case does not come \
         through, so *survived* is less than *tried* in no version that passes its tests; how much was tried is what to \
         look at. *All* is what the command below tries; *a sample* is what it tries without `NIGHTLY`, and in \
         the soak, less than an hour.\n\n\
         | matrix | tried | survived | how much |\n| --- | --- | --- | --- |\n",
    );
    let all: Vec<Option<Results>> = MATRICES.iter().map(|(target, test)| results(target, test)).collect();
    for results in &all {
        let Some(results) = results else {
            text += "| Everything killed at random | | | not run |\n";
            continue;
        };
        let tried: usize = results.kinds.values().map(|kind| kind.tried).sum();
        let survived: usize = results.kinds.values().map(|kind| kind.survived).sum();
        let how_much = if results.whole { "all" } else { "a sample" };
        text += &format!("| {} | {tried} | {survived} | {how_much} |\n", results.title);
    }
    for (results, (target, test)) in all.iter().zip(MATRICES) {
        let Some(results) = results else {
            text += &format!("\n## Everything killed at random\n\n    {}\n", command(target, test));
            continue;
        };
        let messages = results.kinds.values().any(|kind| kind.message.is_some());
        let how_much = if results.whole { "All of it was tried" } else { "A sample of it was tried" };
        let (title, what) = (&results.title, &results.what);
        text += &format!("\n## {title}\n\n{what} {how_much}.\n\n    {}\n\n", command(target, test));
        text += if messages {
            "| what | tried | survived | one of its messages |\n| --- | --- | --- | --- |\n"
        } else {
            "| what | tried | survived |\n| --- | --- | --- |\n"
        };
        for (what, kind) in &results.kinds {
            text += &format!("| {what} | {} | {} |", kind.tried, kind.survived);
            if messages {
                text += &format!(" {} |", kind.message.as_deref().map(cell).unwrap_or_default());
            }
            text.push('\n');
        }
    }
    text
}

#[test]
#[ignore = "writes docs/reliability.md from the results of the last runs"]
fn write_the_page() {
    std::fs::write(root().join("docs/reliability.md"), page()).unwrap();
}

/// The figures are of the runs that made the page; that each matrix is on it, and each of its
/// commands runs a test that exists, holds at any time.
#[test]
fn the_page_has_each_matrix_and_a_command_that_repeats_it() {
    let page = std::fs::read_to_string(root().join("docs/reliability.md")).unwrap();
    for (target, test) in MATRICES {
        assert!(page.contains(&command(target, test)), "{test} is not in docs/reliability.md");
        let source =
            std::fs::read_to_string(root().join(format!("tests/{}.rs", target.replace(' ', "/")))).unwrap();
        assert!(source.contains(&format!("fn {test}()")), "{target} has no {test}");
        assert!(source.contains("matrix::Matrix::new("), "{target} keeps no results");
    }
    // No figure of a run in which something did not come through.
    for row in page.lines().filter(|line| line.starts_with("| ") && !line.contains("---")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        if let (Ok(tried), Ok(survived)) = (cells[2].parse::<usize>(), cells[3].parse::<usize>()) {
            assert_eq!(tried, survived, "{row}");
        }
    }
}

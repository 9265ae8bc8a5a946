//! The lines that differ, for values of many lines in a plan.

use similar::{Algorithm, ChangeTag, capture_diff_slices};

/// Beyond this many pairs of lines a diff says nothing that a person would read.
const MAX_PAIRS: usize = 4_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Same(&'a str),
    Removed(&'a str),
    Added(&'a str),
    /// That many equal lines are left out.
    Skipped(usize),
}

/// The changed lines with `context` equal lines around them; `None` where the
/// values are too long to compare.
pub(super) fn lines<'a>(before: &'a str, after: &'a str, context: usize) -> Option<Vec<Line<'a>>> {
    let old: Vec<&str> = before.lines().collect();
    let new: Vec<&str> = after.lines().collect();
    // What both begin and end with costs nothing.
    let prefix = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let suffix =
        old[prefix..].iter().rev().zip(new[prefix..].iter().rev()).take_while(|(a, b)| a == b).count();
    let differing = |lines: &[&str]| lines.len() - prefix - suffix;
    if differing(&old).saturating_mul(differing(&new)) > MAX_PAIRS {
        return None;
    }
    let operations = capture_diff_slices(Algorithm::Myers, &old, &new);
    let changes = operations.iter().flat_map(|operation| operation.iter_changes(&old, &new));
    let all: Vec<Line<'a>> = changes
        .map(|change| match change.tag() {
            ChangeTag::Equal => Line::Same(change.value()),
            ChangeTag::Delete => Line::Removed(change.value()),
            ChangeTag::Insert => Line::Added(change.value()),
        })
        .collect();
    Some(fold(&all, context))
}

/// Leaves out equal lines that are further than `context` from a change.
fn fold<'a>(all: &[Line<'a>], context: usize) -> Vec<Line<'a>> {
    let changed: Vec<usize> = (0..all.len()).filter(|&at| !matches!(all[at], Line::Same(_))).collect();
    let near = |at: usize| {
        let next = changed.partition_point(|&change| change < at);
        changed.get(next).is_some_and(|change| change - at <= context)
            || next.checked_sub(1).is_some_and(|last| at - changed[last] <= context)
    };
    let mut folded = Vec::new();
    for (at, line) in all.iter().enumerate() {
        if near(at) {
            folded.push(*line);
        } else if let Some(Line::Skipped(skipped)) = folded.last_mut() {
            *skipped += 1;
        } else {
            folded.push(Line::Skipped(1));
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Line::{Added, Removed, Same, Skipped};
    use super::*;

    #[test]
    fn a_changed_line_is_shown_with_its_neighbours() {
        let found = lines("a\nb\nc\nd\ne", "a\nb\nC\nd\ne", 1).expect("short");
        assert_eq!(found, [Skipped(1), Same("b"), Removed("c"), Added("C"), Same("d"), Skipped(1)]);
    }

    #[test]
    fn a_long_value_with_one_change_is_shown_and_another_long_one_is_not() {
        let long = |line: &str| format!("{}{line}\n{}", "same\n".repeat(5_000), "same\n".repeat(5_000));
        let (old, new) = (long("old"), long("new"));
        let found = lines(&old, &new, 0).expect("one line differs");
        assert_eq!(found, [Skipped(5_000), Removed("old"), Added("new"), Skipped(5_000)]);
        assert_eq!(lines(&"a\n".repeat(3_000), &"b\n".repeat(3_000), 0), None);
    }

    #[test]
    fn equal_values_have_no_changed_lines() {
        assert_eq!(lines("a\nb", "a\nb", 1).expect("short"), [Skipped(2)]);
        assert_eq!(lines("", "", 1).expect("short"), []);
    }

    proptest! {
        /// What is kept and removed is the old text; what is kept and added, the new one.
        #[test]
        fn the_diff_rebuilds_both_sides(old in "([abc]\n){0,12}", new in "([abc]\n){0,12}") {
            let all = lines(&old, &new, usize::MAX / 2).expect("short");
            if old == new {
                prop_assert!(all.iter().all(|line| matches!(line, Skipped(_))));
            } else {
                let side = |added: bool| all.iter().filter_map(|line| match line {
                    Same(text) => Some(format!("{text}\n")),
                    Removed(text) if !added => Some(format!("{text}\n")),
                    Added(text) if added => Some(format!("{text}\n")),
                    _ => None,
                }).collect::<String>();
                prop_assert_eq!(side(false), old.clone());
                prop_assert_eq!(side(true), new.clone());
            }
        }
    }
}

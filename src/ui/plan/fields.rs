//! The fields of a step that change: before and after, the difference of texts and of lists.

use dorainfra_engine::{Change, Step};
use serde_json::Value;

use super::super::text::{brief_digests, pad, shorten, visible, width};
use super::super::{Role, Style, diff};

/// Lines of a multi-line value's diff that are shown.
const DIFF_LINES: usize = 12;

/// All changes of a step.
pub(super) fn write(step: &Step, style: &Style, out: &mut String) {
    let paths = step.changes.iter().map(|change| width(&change.path)).max().unwrap_or(0).min(48);
    for change in &step.changes {
        write_change(change, paths, style, out);
    }
}

pub(in super::super) fn write_change(change: &Change, paths: usize, style: &Style, out: &mut String) {
    let path = visible(&change.path);
    let forces = match change.forces_replacement {
        true => style.paint(Role::Bad, "  forces replacement"),
        false => String::new(),
    };
    if let (Some(Value::String(before)), Some(Value::String(after))) = (&change.before, &change.after)
        && (before.trim_end().contains('\n') || after.trim_end().contains('\n'))
    {
        out.push_str(&format!("      {path}{forces}\n"));
        write_diff(before, after, style, out);
        return;
    }
    if let (Some(before), Some(after)) = (&change.before, &change.after)
        && let Some((less, more)) = items(before, after)
    {
        out.push_str(&format!("      {path}{forces}\n"));
        for (role, sign, words) in [(Role::Bad, '-', less), (Role::Good, '+', more)] {
            for word in words {
                out.push_str(&format!(
                    "        {}\n",
                    style.paint(role, format!("{sign} {}", visible(word)))
                ));
            }
        }
        return;
    }
    let before = value(change.before.as_ref(), "(none)");
    let after = value(change.after.as_ref(), "(known after apply)");
    let room = style.width.saturating_sub(6 + paths + 2);
    let arrow = style.paint(Role::Faint, "→");
    if width(&before) + width(&after) + 3 + width(&forces) <= room {
        let (before, after) = (style.paint(Role::Faint, before), style.paint(Role::Caution, after));
        out.push_str(&format!("      {}  {before} {arrow} {after}{forces}\n", pad(&path, paths)));
    } else {
        let room = style.width.saturating_sub(10);
        let (before, after) = (shorten(&before, room), shorten(&after, room));
        out.push_str(&format!("      {path}{forces}\n"));
        out.push_str(&format!("        {}\n", style.paint(Role::Bad, format!("- {before}"))));
        out.push_str(&format!("        {}\n", style.paint(Role::Good, format!("+ {after}"))));
    }
}

fn write_diff(before: &str, after: &str, style: &Style, out: &mut String) {
    let Some(lines) = diff::lines(before, after, 1) else {
        let (before, after) = (before.lines().count(), after.lines().count());
        out.push_str(&format!("        {before} lines → {after} lines\n"));
        return;
    };
    let room = style.width.saturating_sub(10);
    let cut = |text: &str| shorten(&visible(text).replace('\t', "  "), room).into_owned();
    for line in lines.iter().take(DIFF_LINES) {
        let shown = match line {
            diff::Line::Same(text) => style.paint(Role::Faint, format!("  {}", cut(text))),
            diff::Line::Removed(text) => style.paint(Role::Bad, format!("- {}", cut(text))),
            diff::Line::Added(text) => style.paint(Role::Good, format!("+ {}", cut(text))),
            diff::Line::Skipped(_) => style.paint(Role::Faint, "  ⋯"),
        };
        out.push_str(&format!("        {}\n", shown.trim_end()));
    }
    let changed = |line: &&diff::Line| matches!(line, diff::Line::Removed(_) | diff::Line::Added(_));
    let more = lines.iter().skip(DIFF_LINES).filter(changed).count();
    if more > 0 {
        let more = format!("  … {more} more changed {}", if more == 1 { "line" } else { "lines" });
        out.push_str(&format!("        {}\n", style.paint(Role::Faint, more)));
    }
}

/// One value on one line, short. `null` is a field that is not there.
fn value(value: Option<&Value>, missing: &str) -> String {
    match value {
        None => missing.to_owned(),
        Some(Value::Null) => "(none)".to_owned(),
        // JSON's own escapes make control characters visible.
        Some(value) => visible(&brief_digests(&value.to_string())).into_owned(),
    }
}

/// What a list has more and less than before, where both hold plain words.
fn items<'a>(before: &'a Value, after: &'a Value) -> Option<(Vec<&'a str>, Vec<&'a str>)> {
    let words = |list: &'a Value| list.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>();
    let (old, new) = (words(before)?, words(after)?);
    let less: Vec<_> = old.iter().filter(|word| !new.contains(word)).copied().collect();
    let more: Vec<_> = new.iter().filter(|word| !old.contains(word)).copied().collect();
    // Otherwise only the order has changed, and that is to be seen.
    (!less.is_empty() || !more.is_empty()).then_some((less, more))
}

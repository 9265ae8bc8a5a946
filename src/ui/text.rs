//! Words and numbers as people read them: widths, shortening, times, counts.

use std::borrow::Cow;
use std::fmt::Write as _;

use dorainfra_base::number::counted;
pub(super) use dorainfra_base::number::grouped as count;
use dorainfra_base::unseen::is_unseen;

use super::Style;

/// Columns that `text` takes on a terminal (wide characters take two; colour
/// codes none).
pub(super) fn width(text: &str) -> usize {
    console::measure_text_width(text)
}

/// `text` filled up with spaces to `columns`.
pub(super) fn pad(text: &str, columns: usize) -> String {
    let mut padded = text.to_owned();
    padded.extend(std::iter::repeat_n(' ', columns.saturating_sub(width(text))));
    padded
}

/// Digits of a digest that are shown.
const DIGEST_DIGITS: usize = 12;

/// A text with its digests cut short: nobody reads 64 digits, and a line that
/// holds them is too long to be read. `--json` has them whole.
pub(super) fn brief_digests(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let digits = rest.find(|c| !hex(c)).unwrap_or(rest.len());
        let other = rest[digits..].find(hex).map_or(rest.len(), |at| digits + at);
        if digits >= 32 {
            out.push_str(&rest[..DIGEST_DIGITS]);
            out.push('…');
        } else {
            out.push_str(&rest[..digits]);
        }
        out.push_str(&rest[digits..other]);
        rest = &rest[other..];
    }
    out
}

/// `text` cut to `columns`, with an ellipsis where something is left out.
///
/// `console` cuts by the widths of single characters, and measures the whole: a
/// sign with a variation selector behind it is wider than its characters are. So
/// what is still too wide is cut shorter.
pub(super) fn shorten(text: &str, columns: usize) -> Cow<'_, str> {
    let cut = (0..=columns).rev().map(|limit| console::truncate_str(text, limit, "…"));
    cut.into_iter().find(|cut| width(cut) <= columns).unwrap_or_default()
}

/// `text` in lines of at most `columns`, broken between words; a word that is
/// longer stays whole, but for a resource's name.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    broken(text, columns, columns)
}

/// As [`wrap`], with another width for all lines but the first.
fn broken(text: &str, first: usize, rest: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut left = text;
    while !left.is_empty() {
        let (gap, after) = left.split_at(left.len() - left.trim_start_matches(' ').len());
        // Where it begins a line, what is before it takes room as well.
        let begins = lines.last().is_some_and(String::is_empty);
        let columns = if lines.len() == 1 { first } else { rest };
        let most = if begins { columns.saturating_sub(gap.len()) } else { rest };
        let (word, next) = after.split_at(word_end(after, "`", Some(most)));
        left = next;
        for (nth, part) in parts(word, rest).into_iter().enumerate() {
            let columns = if lines.len() == 1 { first } else { rest };
            let line = lines.last_mut().expect("there is a first line");
            let gap = if nth == 0 { gap } else { "" };
            if line.is_empty() || width(line) + gap.len() + width(part) <= columns {
                line.push_str(gap);
                line.push_str(part);
            } else {
                lines.push(part.to_owned());
            }
        }
    }
    for line in &mut lines {
        line.truncate(line.trim_end_matches(' ').len());
    }
    lines
}

/// Where the first word ends. What is between two of the same `quotes` is no end of one; but for what is wider
/// than `most` columns.
fn word_end(text: &str, quotes: &str, most: Option<usize>) -> usize {
    let plain = text.find(' ').unwrap_or(text.len());
    let mut open = None;
    for (at, c) in text.char_indices() {
        match open {
            None if c == ' ' => {
                return if most.is_none_or(|most| width(&text[..at]) <= most) { at } else { plain };
            }
            None if quotes.contains(c) => open = Some(c),
            Some(quote) if c == quote => open = None,
            _ => {}
        }
    }
    match open {
        None if most.is_none_or(|most| width(text) <= most) => text.len(),
        _ => plain,
    }
}

/// A word whole, or kind and name of a resource (`compute.instance/x`) where it is too long for a line.
fn parts(word: &str, columns: usize) -> Vec<&str> {
    let kind = word.find('/').filter(|slash| {
        let kind = &word[..*slash];
        kind.contains('.') && kind.chars().all(|c| c.is_ascii_alphabetic() || c == '.')
    });
    match kind {
        Some(slash) if width(word) > columns => vec![&word[..=slash], &word[slash + 1..]],
        _ => vec![word],
    }
}

/// Lines that are wider than `columns` go on below themselves, a little further in. Colour codes
/// are no text.
pub(super) fn fold(text: &str, columns: usize) -> Cow<'_, str> {
    if text.lines().all(|line| width(line) <= columns) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut goes_on = false;
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        // Lines of a command are a shell's: broken elsewhere they would be others.
        let is_command = goes_on || line.ends_with(" \\");
        goes_on = line.ends_with(" \\");
        if is_command {
            out.push_str(line);
            out.push_str(end);
            continue;
        }
        let own = console::strip_ansi_codes(line).chars().take_while(|c| *c == ' ').count();
        let indent = (own + 2).min(columns / 2);
        for (nth, part) in broken(line, columns, columns - indent).iter().enumerate() {
            let text = part.trim_start_matches(' ');
            let own = if nth == 0 { part.len() - text.len() } else { indent };
            // A word that fits the window gets the room it takes.
            let own = own.min(columns.saturating_sub(width(text)));
            let end = if nth == 0 { "" } else { "\n" };
            out.push_str(&format!("{end}{}{text}", " ".repeat(own)));
        }
        // A question ends where its answer begins.
        if end.is_empty() && line.ends_with(' ') {
            out.push(' ');
        }
        out.push_str(end);
    }
    Cow::Owned(out)
}

/// Text from outside (a serial port, a cloud's error) without its control
/// characters and marks of direction: an escape sequence in it must not reach the terminal. Line ends
/// and tabs stay.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| !is_unseen(c) || c == '\n' || c == '\t';
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\r' => {}
            c if harmless(c) => shown.push(c),
            c => {
                let _ = write!(shown, "{}", c.escape_unicode());
            }
        }
    }
    Cow::Owned(shown)
}

/// `text` beside something that takes `columns`: every line after the first is indented by them, and
/// on a terminal what is too long for a line goes on below.
pub(super) fn hang(text: &str, columns: usize, style: &Style) -> String {
    let (text, room) = (of_deployment(text, style.deployment), style.room(columns));
    let lines = text.trim_end().split('\n').flat_map(|line| {
        let own = " ".repeat(line.len() - line.trim_start_matches(' ').len());
        let lines = broken(line, room, room.saturating_sub(own.len()));
        lines.into_iter().enumerate().map(move |(nth, line)| match nth {
            0 => line,
            _ => format!("{own}{line}"),
        })
    });
    lines.collect::<Vec<_>>().join(&format!("\n{}", " ".repeat(columns)))
}

/// A line that begins at the column `first`, and goes on below at `columns`.
pub(super) fn outdent(text: &str, first: usize, columns: usize, style: &Style) -> String {
    let text = of_deployment(text, style.deployment);
    broken(&text, style.room(first), style.room(columns)).join(&format!("\n{}", " ".repeat(columns)))
}

/// A command to type, indented by `columns`: what is too long for a line goes on below, in a shell's own way.
/// A word is never broken, nor what is quoted.
pub(super) fn command(text: &str, columns: usize, style: &Style) -> String {
    let room = style.room(columns + 2);
    let mut lines = vec![String::new()];
    let mut left = text.trim_start_matches(' ');
    while !left.is_empty() {
        let (word, next) = left.split_at(word_end(left, "'\"", None));
        left = next.trim_start_matches(' ');
        let line = lines.last_mut().expect("there is a first line");
        if line.is_empty() {
            line.push_str(word);
        } else if width(line) + 1 + width(word) <= room {
            line.extend([" ", word]);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join(&format!(" \\\n{}", " ".repeat(columns + 2)))
}

/// Commands that mean no deployment.
const OF_NONE: [&str; 6] = ["COMMAND", "completions", "explain", "help", "man", "sandbox"];

/// The commands that a text names (`` `dorainfra apply` ``), with the flags that say which deployment is meant: what
/// was said of it is said again, or whoever types them would mean another one.
pub(super) fn of_deployment<'a>(text: &'a str, flags: &str) -> Cow<'a, str> {
    const BEGIN: &str = "`dorainfra ";
    if flags.is_empty() || !text.contains(BEGIN) {
        return Cow::Borrowed(text);
    }
    let mut parts = text.split(BEGIN);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for rest in parts {
        let command = rest.split([' ', '`']).next().unwrap_or_default();
        let has_its_own = command.starts_with('-') || !command.starts_with(char::is_alphabetic);
        let flags = if has_its_own || OF_NONE.contains(&command) { "" } else { flags };
        out.extend([BEGIN, flags, rest]);
    }
    Cow::Owned(out)
}

/// Dollars and cents: `$1,234.50`, `-$0.20`.
pub(super) fn dollars(amount: f64) -> String {
    let cents = (amount.abs() * 100.0).round() as u64;
    let sign = if amount < 0.0 && cents > 0 { "-" } else { "" };
    format!("{sign}${}.{:02}", count(cents / 100), cents % 100)
}

/// Milliseconds as `0.4s`, `12.1s`, `1m 02s`, `1h 05m`.
pub fn elapsed(ms: u64) -> String {
    // Rounded to tenths first, so that 59.96 s becomes a minute and not "60.0s".
    let tenths = (ms + 50) / 100;
    let seconds = (ms + 500) / 1000;
    match tenths {
        0..600 => format!("{}.{}s", tenths / 10, tenths % 10),
        600..36_000 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Bytes as `812 B`, `34.1 KiB`, `98.0 MiB`.
pub(super) fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let mut value = number as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// An amount in its unit.
pub(super) fn amount(number: u64, unit: &str) -> String {
    if unit == "bytes" { bytes(number) } else { format!("{} {unit}", count(number)) }
}

/// `20,000 of 57,096 samples`; `1.5 MiB of 98.0 MiB`.
pub(super) fn share(done: u64, total: u64, unit: &str) -> String {
    let done = if unit == "bytes" { bytes(done) } else { count(done) };
    format!("{done} of {}", amount(total, unit))
}

/// `1 resource`, `3 resources`.
pub(super) fn plural(number: usize, noun: &str) -> String {
    counted(number as u64, noun)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_at_a_glance() {
        let cases = [
            (0, "0.0s"),
            (49, "0.0s"),
            (4_249, "4.2s"),
            (59_949, "59.9s"),
            (59_950, "1m 00s"),
            (61_600, "1m 02s"),
            (3_600_000, "1h 00m"),
            (3_899_000, "1h 04m"),
        ];
        for (ms, expected) in cases {
            assert_eq!(elapsed(ms), expected, "{ms} ms");
        }
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (57_096, "57,096"), (1_234_567, "1,234,567")];
        for (number, expected) in cases {
            assert_eq!(count(number), expected);
        }
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(amount(102_760_448, "bytes"), "98.0 MiB");
        assert_eq!(share(20_000, 57_096, "samples"), "20,000 of 57,096 samples");
        assert_eq!(plural(1, "resource"), "1 resource");
        assert_eq!(plural(0, "resource"), "0 resources");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(width("日本"), 4);
        assert_eq!(pad("日本", 6), "日本  ");
        assert_eq!(width(&shorten("日本語のテキスト", 7)), 7);
    }

    #[test]
    fn signs_that_a_selector_makes_wide_are_cut_too() {
        // One column and none by themselves, two together.
        let heart = "\u{2764}\u{fe0f}";
        assert_eq!(width(heart), 2);
        for columns in 1..8 {
            let cut = shorten(&heart.repeat(5), columns).into_owned();
            assert!(width(&cut) <= columns, "{cut:?} in {columns}");
        }
        assert_eq!(shorten("team ❤️❤️ orders", 60), "team ❤️❤️ orders");
    }

    #[test]
    fn digests_are_cut_short_and_nothing_else() {
        let digest = "814f078f68af9ad7b644fd25299211399c8f19ad9adf8b0a1b86a3bd9755baa0";
        assert_eq!(
            brief_digests(&format!("storage.object/bundles/{digest}.tar")),
            "storage.object/bundles/814f078f68af….tar"
        );
        assert_eq!(brief_digests("compute.disk/dorainfra-data"), "compute.disk/dorainfra-data");
        assert_eq!(brief_digests(digest), "814f078f68af…");
        assert_eq!(brief_digests(""), "");
    }

    #[test]
    fn a_command_in_a_text_means_the_deployment_that_the_text_is_about() {
        let flags = "--sandbox --config 'a b.yaml' ";
        let of = |text| of_deployment(text, flags).into_owned();
        assert_eq!(
            of("run `dorainfra apply`, then `dorainfra stack up`"),
            "run `dorainfra --sandbox --config 'a b.yaml' apply`, then `dorainfra --sandbox --config 'a b.yaml' \
             stack up`"
        );
        // Once, and not where a command says it itself, or means none.
        for same in [
            "`dorainfra --project p status`",
            "`dorainfra explain lease-held` says more",
            "see `dorainfra COMMAND --help`",
            "`dorainfra … --json`",
            "dorainfra is no command here",
        ] {
            assert_eq!(of(same), same);
        }
        let once = of("`dorainfra apply`");
        assert_eq!(of_deployment(&once, flags), once);
        assert_eq!(of_deployment("`dorainfra apply`", ""), "`dorainfra apply`");
    }

    #[test]
    fn what_is_between_backticks_stays_in_one_line_where_it_fits_into_one() {
        let text = "the machine does not answer: `dorainfra --sandbox status` shows it";
        assert_eq!(wrap(text, 40), ["the machine does not answer:", "`dorainfra --sandbox status` shows it"]);
        assert!(wrap(text, 20).iter().all(|line| width(line) <= 20), "{:?}", wrap(text, 20));
    }

    proptest! {
        /// What a shell makes of it is the same at every width, also after what is too long was folded.
        #[test]
        fn a_command_is_the_same_command_however_narrow_the_terminal_is(
            words in prop::collection::vec("[a-z]{1,12}|'[a-z :]{1,40}'|\"[a-z ]{1,20}\"|https://[a-z.]{5,70}/x", 1..9),
            columns in 20..140_usize,
        ) {
            let text = format!("curl {}", words.join(" "));
            let shown = command(&text, 2, &narrow(columns));
            let shown = format!("  {shown}\n");
            let folded = fold(&shown, columns);
            let one_line = folded.replace(" \\\n    ", " ");
            prop_assert_eq!(one_line.trim(), text);
        }
    }

    fn narrow(width: usize) -> Style {
        Style { width, wraps: true, ..Style::plain() }
    }

    #[test]
    fn text_goes_on_below_itself() {
        let text = "too long for a line\n  a list that is too long";
        assert_eq!(
            hang(text, 6, &narrow(26)),
            "too long for a line\n        a list that is too\n        long"
        );
        // A log has a message in one line.
        assert_eq!(hang(text, 2, &Style::plain()), "too long for a line\n    a list that is too long");
        assert_eq!(fold("  one two three\nfour\n", 10), "  one two\n    three\nfour\n");
        assert_eq!(fold("  ✓ a /path/that/is/long\n", 19), "  ✓ a\n /path/that/is/long\n");
        assert_eq!(fold("Apply all of this? [y/N] ", 20), "Apply all of this?\n  [y/N] ");
        assert_eq!(wrap("a  b c", 4), ["a  b", "c"]);
        assert_eq!(wrap("of compute.instance/x", 17), ["of", "compute.instance/", "x"]);
        assert_eq!(wrap("see https://a.example/b", 9), ["see", "https://a.example/b"]);
    }

    #[test]
    fn a_command_goes_on_as_a_shell_takes_it() {
        let shown = command("dorainfra --sandbox apply --yes --set region=us-east1", 2, &narrow(40));
        assert_eq!(shown, "dorainfra --sandbox apply --yes \\\n    --set region=us-east1");
        assert_eq!(command("dorainfra apply", 2, &narrow(40)), "dorainfra apply");
    }

    #[test]
    fn amounts_have_cents() {
        let cases =
            [(31.4, "$31.40"), (-2.0, "-$2.00"), (0.0, "$0.00"), (-0.001, "$0.00"), (1234.5, "$1,234.50")];
        for (amount, expected) in cases {
            assert_eq!(dollars(amount), expected);
        }
    }

    /// Words as people write them, some of them names of resources, and lines of them.
    fn prose() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            8 => "[a-zäß日`(]{1,12}[,.:)]?",
            1 => "(compute|storage)\\.[a-zA-Z]{4,20}/[a-z0-9-]{1,40}",
            1 => "[a-z/._=-]{30,90}",
            1 => Just("\u{1b}[31mred\u{1b}[0m".to_owned()),
        ];
        let line = ("[ ]{0,6}", proptest::collection::vec(word, 1..40));
        proptest::collection::vec(line.prop_map(|(indent, words)| indent + &words.join(" ")), 1..5)
            .prop_map(|lines| lines.join("\n"))
    }

    fn words(text: &str) -> Vec<&str> {
        text.split_whitespace().collect()
    }

    /// The name of a resource may be in two lines, where it is too long for one.
    fn joined(text: &str) -> String {
        words(text).concat()
    }

    fn check(before: &str, after: &str, room: usize, columns: usize) -> Result<(), TestCaseError> {
        prop_assert_eq!(joined(before), joined(after));
        let kept = words(after);
        for word in words(before).into_iter().filter(|word| width(word) <= room) {
            // The name of a resource may be broken between its parts.
            let (kind, name) = word.split_once('/').unwrap_or((word, ""));
            let parts = [format!("{kind}/"), name.to_owned()];
            let whole = kept.contains(&word) || parts.iter().all(|part| kept.contains(&part.as_str()));
            prop_assert!(whole, "{word} is broken in {after:?}");
        }
        for line in after.lines().filter(|line| width(line) > columns) {
            prop_assert_eq!(words(line).len(), 1, "too wide: {:?}", line);
        }
        Ok(())
    }

    proptest! {
        /// No word that fits is broken, nothing is lost, and no line is too wide but for such a word.
        #[test]
        fn what_is_broken_is_broken_between_words(
            text in prose(),
            columns in 20usize..=160,
            indent in 0usize..=10,
        ) {
            check(&text, &hang(&text, indent, &narrow(columns)), columns - indent - 6, columns)?;
            let folded = fold(&text, columns);
            check(&text, &folded, columns, columns)?;
            for line in folded.lines().filter(|line| width(line) > columns) {
                prop_assert!(width(line.trim()) > columns, "there is room for {:?}", line);
            }
            let line = text.replace('\n', " ");
            check(&line, &wrap(&line, columns).join("\n"), columns, columns)?;
        }

        #[test]
        fn nothing_from_outside_can_move_the_cursor(text in any::<String>()) {
            prop_assert!(!visible(&text).chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
        }

        #[test]
        fn shortened_text_fits(text in "\\PC*", columns in 1usize..60) {
            prop_assert!(width(&shorten(&text, columns)) <= columns);
        }
    }
}

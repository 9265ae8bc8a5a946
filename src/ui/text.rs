//! Words and numbers as people read them: widths, shortening, times, counts.

use std::borrow::Cow;
use std::fmt::Write as _;

use dorainfra_base::unseen::is_unseen;
pub(super) use dorainfra_deploy::workflow::count;

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
/// longer stays whole.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is a first line");
        if line.is_empty() {
            line.push_str(word);
        } else if width(line) + 1 + width(word) <= columns {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
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

/// `text` with every line after the first indented by `columns` spaces.
pub(super) fn hang(text: &str, columns: usize) -> String {
    text.trim_end().replace('\n', &format!("\n{}", " ".repeat(columns)))
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
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count(number as u64))
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

    proptest! {
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

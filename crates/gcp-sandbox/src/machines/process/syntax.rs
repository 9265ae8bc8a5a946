//! The small languages inside unit files: words with quotes and escapes,
//! variables, time spans. As systemd reads them; what is not supported is an
//! error, never a guess.

use std::collections::BTreeMap;
use std::time::Duration;

/// One word of a command line, with its `$VARIABLES` not yet put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    text: String,
    /// `$NAME` as a word of its own: its value is split into words.
    splits: bool,
}

/// Splits a command line or an assignment list. Takes away quotes, resolves
/// escapes and `%%`.
pub(super) fn split(line: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(words);
        }
        let mut text = String::new();
        let mut quote = None;
        let mut quoted = false;
        loop {
            let Some(c) = chars.next() else {
                match quote {
                    Some(open) => return Err(format!("a quote is not closed: {open}")),
                    None => break,
                }
            };
            match (c, quote) {
                ('\\', _) => text.push(escape(&mut chars)?),
                ('%', _) => match chars.next() {
                    Some('%') => text.push('%'),
                    other => {
                        return Err(format!("specifier `%{}` is not supported", other.unwrap_or(' ')));
                    }
                },
                ('"' | '\'', None) => {
                    quote = Some(c);
                    quoted = true;
                }
                (_, Some(open)) if c == open => quote = None,
                (_, None) if c.is_whitespace() => break,
                _ => text.push(c),
            }
        }
        let splits = !quoted && is_variable(&text);
        words.push(Word { text, splits });
    }
}

fn is_variable(word: &str) -> bool {
    word.strip_prefix('$').is_some_and(|name| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

fn escape(chars: &mut impl Iterator<Item = char>) -> Result<char, String> {
    Ok(match chars.next() {
        Some('n') => '\n',
        Some('t') => '\t',
        Some('r') => '\r',
        Some('s') => ' ',
        Some(c @ ('\\' | '"' | '\'')) => c,
        Some('x') => {
            let digits: String = chars.take(2).collect();
            u8::from_str_radix(&digits, 16)
                .ok()
                .filter(u8::is_ascii)
                .map(char::from)
                .ok_or_else(|| format!("`\\x{digits}` is not an ASCII character"))?
        }
        other => return Err(format!("escape `\\{}` is not supported", other.unwrap_or(' '))),
    })
}

impl Word {
    /// The word as it stands in the file, for places where no variable is allowed.
    pub(super) fn literal(&self) -> &str {
        &self.text
    }

    /// Puts in `${NAME}` and `$NAME`; an unset variable is empty, as in systemd.
    pub(super) fn expand(&self, variables: &BTreeMap<String, String>) -> Vec<String> {
        let value = |name: &str| variables.get(name).map_or("", String::as_str);
        if self.splits {
            return value(&self.text[1..]).split_whitespace().map(str::to_owned).collect();
        }
        let mut out = String::new();
        let mut rest = self.text.as_str();
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some((name, after)) = rest.strip_prefix('{').and_then(|r| r.split_once('}')) {
                out.push_str(value(name));
                rest = after;
            } else {
                out.push('$');
            }
        }
        out.push_str(rest);
        vec![out]
    }
}

/// `5`, `5s`, `1min 30s`, `500ms`; `infinity` is a hundred years.
pub(super) fn time_span(text: &str) -> Result<Duration, String> {
    const NONE: &str = "is not a time span (5s, 1min 30s, infinity)";
    let text = text.trim();
    if text == "infinity" {
        return Ok(Duration::from_secs(100 * 365 * 86_400));
    }
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| format!("`{text}` {NONE}"))?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        total += number
            * match &rest[..letters] {
                "" | "s" | "sec" | "second" | "seconds" => 1.0,
                "ms" | "msec" => 0.001,
                "us" | "usec" => 0.000_001,
                "m" | "min" | "minute" | "minutes" => 60.0,
                "h" | "hr" | "hour" | "hours" => 3600.0,
                "d" | "day" | "days" => 86_400.0,
                _ => return Err(format!("`{text}` {NONE}")),
            };
        rest = rest[letters..].trim_start();
    }
    if text.is_empty() {
        return Err(format!("`` {NONE}"));
    }
    Duration::try_from_secs_f64(total).map_err(|_| format!("`{text}` {NONE}"))
}

/// The lines of an environment file: `NAME=value`, quotes around the value
/// allowed, comments with `#` or `;`.
pub(super) fn environment_file(text: &str) -> Vec<(String, String)> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';']))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| {
            let value = value.trim();
            let bare =
                ['"', '\''].iter().find_map(|&q| value.strip_prefix(q)?.strip_suffix(q)).unwrap_or(value);
            (name.trim().to_owned(), bare.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(line: &str) -> Vec<String> {
        split(line).unwrap().iter().flat_map(|word| word.expand(&BTreeMap::new())).collect()
    }

    #[test]
    fn words_quotes_and_escapes() {
        assert_eq!(
            plain(r#"/bin/a "b c" 'd "e"' f\x20g h\ti 100%% $$HOME"#),
            ["/bin/a", "b c", "d \"e\"", "f g", "h\ti", "100%", "$HOME"]
        );
        assert_eq!(plain("  "), Vec::<String>::new());
        assert_eq!(plain("''"), [""]);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        assert_eq!(split("a %n").unwrap_err(), "specifier `%n` is not supported");
        assert_eq!(split("a 'b").unwrap_err(), "a quote is not closed: '");
        assert_eq!(split(r"a \q").unwrap_err(), r"escape `\q` is not supported");
    }

    #[test]
    fn variables() {
        let set = BTreeMap::from([("A".to_owned(), "1 2".to_owned())]);
        let expand = |line: &str| -> Vec<String> {
            split(line).unwrap().iter().flat_map(|word| word.expand(&set)).collect()
        };
        assert_eq!(expand("x=${A}:9 $A \"$A\" ${B}"), ["x=1 2:9", "1", "2", "$A", ""]);
    }

    #[test]
    fn time_spans() {
        assert_eq!(time_span("5").unwrap(), Duration::from_secs(5));
        assert_eq!(time_span("1min 30s").unwrap(), Duration::from_secs(90));
        assert_eq!(time_span("500ms").unwrap(), Duration::from_millis(500));
        assert!(time_span("soon").is_err());
        assert!(time_span("").is_err());
        assert!(time_span("5 parsecs").is_err());
    }

    #[test]
    fn environment_files() {
        assert_eq!(
            environment_file("# c\nA=1\nB=\"two words\"\n\n;x\nC=a=b\n"),
            [
                ("A".to_owned(), "1".to_owned()),
                ("B".to_owned(), "two words".to_owned()),
                ("C".to_owned(), "a=b".to_owned())
            ]
        );
    }

    proptest! {
        #[test]
        fn a_quoted_word_comes_back_as_it_was(text in "[ -~]*") {
            let quoted =
                format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$"));
            prop_assert_eq!(plain(&quoted), [text]);
        }

        #[test]
        fn no_line_makes_it_panic(line in "\\PC*") {
            let _ = split(&line);
            let _ = time_span(&line);
        }
    }
}

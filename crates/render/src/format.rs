//! How a value is spelled in a file, chosen by the file's name, so that it
//! reads back as that one value and nothing else.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// The ending of every template's name; the rest is the name of what it becomes.
pub const SUFFIX: &str = ".j2";

/// The language that a template's output is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `*.yaml`, `*.yml`, `*.json`: JSON, which YAML contains.
    Json(Dollar),
    /// `*.tf`: HCL, whose strings, lists and literals are JSON's but for what it interpolates.
    Hcl,
    /// `*.sh`: single quotes.
    Shell,
    /// `*.service`: systemd's quoting.
    Unit,
    /// Anything else: text on one line, as it is.
    Plain,
}

/// What a `$` in a JSON string becomes: some programs expand it after (or even
/// before) they read the YAML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dollar {
    /// Nothing expands it.
    Kept,
    /// `\u0024`: Mimir's `-config.expand-env` looks at the file's bytes, and finds none.
    Hidden,
    /// `$${` and `%%{`, as HCL has no interpolation in them. A `${` that begins a reference of our own
    /// stays: it becomes one of Terraform's.
    Interpolated,
    /// `$$`: Compose and Grafana's provisioning expand the values that they
    /// read. A `${` stays: it can only be a reference of our own, not yet resolved.
    Doubled,
}

impl Format {
    /// By the template's name, with or without `.j2`.
    pub(super) fn of(template: &str) -> Self {
        let file = template.strip_suffix(SUFFIX).unwrap_or(template);
        match file.rsplit_once('.').map(|(_, extension)| extension) {
            Some("yaml" | "yml" | "json") => Self::Json(match file {
                "vm/mimir.yaml" => Dollar::Hidden,
                // What both of them include, and so the other one.
                "vm/limits.yaml" | "vm/windows.yaml" => Dollar::Hidden,
                _ if file.starts_with("kubernetes/") => Dollar::Hidden,
                _ if file.starts_with("stack/compose.") || file.starts_with("stack/grafana/") => {
                    Dollar::Doubled
                }
                _ => Dollar::Kept,
            }),
            Some("tf") => Self::Hcl,
            Some("sh") => Self::Shell,
            Some("service") => Self::Unit,
            _ => Self::Plain,
        }
    }

    /// The value's text.
    ///
    /// # Errors
    /// The format has no spelling for this value.
    pub(super) fn spell(self, value: &Value) -> Result<String, Error> {
        match self {
            Self::Json(dollar) => {
                let mut out = String::new();
                json(value, dollar, &mut out)?;
                Ok(out)
            }
            Self::Hcl => {
                let mut out = String::new();
                json(value, Dollar::Interpolated, &mut out)?;
                Ok(out)
            }
            Self::Shell => words(value, "a shell script", &shell_word),
            Self::Unit => words(value, "a unit file", &unit_word),
            Self::Plain => scalar(value, "a plain text file", &plain_word),
        }
    }
}

fn refuse(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// A finite number's text, which is the same in every format.
fn number(value: &Value) -> Result<String, Error> {
    let text = value.to_string();
    let finite = text.starts_with(|c: char| c.is_ascii_digit() || c == '-') && !text.contains("inf");
    if finite { Ok(text) } else { Err(refuse(format!("{text} is not a number that can be written down"))) }
}

fn json(value: &Value, dollar: Dollar, out: &mut String) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&number(value)?),
        ValueKind::String => json_string(value.as_str().unwrap_or_default(), dollar, out),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (index, item) in value.try_iter()?.enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                json(&item, dollar, out)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (index, key) in value.try_iter()?.enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                let Some(name) = key.as_str() else {
                    return Err(refuse(format!("`{key}` cannot be a key: only text can")));
                };
                json_string(name, dollar, out);
                out.push_str(": ");
                json(&value.get_item(&key)?, dollar, out)?;
            }
            out.push('}');
        }
        ValueKind::Undefined => {
            return Err(Error::new(ErrorKind::UndefinedError, "an item of this value is undefined"));
        }
        kind => return Err(refuse(format!("a value of type {kind} cannot be written as JSON"))),
    }
    Ok(())
}

/// Everything that is not a printable character on one line, for any YAML
/// version, is escaped.
fn json_string(text: &str, dollar: Dollar, out: &mut String) {
    out.push('"');
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '$' => match dollar {
                Dollar::Kept => out.push('$'),
                Dollar::Hidden => out.push_str("\\u0024"),
                Dollar::Doubled if rest.peek() == Some(&'{') => out.push('$'),
                Dollar::Doubled => out.push_str("$$"),
                Dollar::Interpolated if rest.peek() == Some(&'{') && !begins_reference(rest.clone()) => {
                    out.push_str("$$")
                }
                Dollar::Interpolated => out.push('$'),
            },
            '%' if dollar == Dollar::Interpolated && rest.peek() == Some(&'{') => out.push_str("%%"),
            '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Whether `{kind/…}` follows: a kind has a dot in it, which no name of HCL or a shell before a `/` has.
fn begins_reference(rest: impl Iterator<Item = char>) -> bool {
    let kind: String = rest.skip(1).take_while(|c| c.is_ascii_alphanumeric() || "./".contains(*c)).collect();
    kind.split_once('/').is_some_and(|(kind, _)| kind.contains('.') && !kind.starts_with('.'))
}

type Word<'a> = &'a dyn Fn(&str) -> Result<String, Error>;

/// A scalar as one word, a list as words.
fn words(value: &Value, place: &str, word: Word<'_>) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Result<Vec<String>, Error> =
                value.try_iter()?.map(|item| scalar(&item, place, word)).collect();
            Ok(items?.join(" "))
        }
        _ => scalar(value, place, word),
    }
}

fn scalar(value: &Value, place: &str, word: Word<'_>) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Bool => Ok(if value.is_true() { "true" } else { "false" }.into()),
        ValueKind::Number => number(value),
        ValueKind::String => word(value.as_str().unwrap_or_default()),
        ValueKind::Undefined => {
            Err(Error::new(ErrorKind::UndefinedError, "an item of this value is undefined"))
        }
        kind => Err(refuse(format!("a value of type {kind} has no spelling in {place}"))),
    }
}

fn shell_word(text: &str) -> Result<String, Error> {
    if text.contains('\0') {
        return Err(refuse("a value with a NUL character has no spelling in a shell script"));
    }
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

/// As it is where systemd sees nothing in it, else in double quotes.
fn unit_word(text: &str) -> Result<String, Error> {
    if text.chars().any(char::is_control) {
        return Err(refuse(format!("{text:?} has no spelling in a unit file: it holds a control character")));
    }
    if text.contains('$') {
        return Err(refuse(format!(
            "{text:?} has no one spelling in a unit file: `$` means something else in each directive"
        )));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@:./,=+-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Ok(format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%")))
}

fn plain_word(text: &str) -> Result<String, Error> {
    if text.chars().any(char::is_control) {
        return Err(refuse(format!(
            "{text:?} has no spelling in a plain text file: it holds a control character"
        )));
    }
    Ok(text.to_owned())
}

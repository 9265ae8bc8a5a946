//! What a single value may be: Google's, Prometheus's and Mimir's own rules.
//! Each check takes the text alone; what two keys say to each other is
//! `agreement`'s.

mod google;
mod image;
mod mimir;
mod network;
mod source;

pub use self::google::{
    BUCKET, BUCKET_LOCATION, LABELS_ALLOWED, MACHINE_TYPE, MOST_LABELS, NAME, PROJECT, REGION,
    SERVICE_ACCOUNT, ZONE, label_key, label_value,
};
pub use self::image::IMAGE;
pub use self::mimir::{DURATION, RETENTION, TENANT, VERSION};
pub use self::network::{CALLER, CIDR, ENDPOINT, NETWORK, SUBNET_RANGE, is_public};
pub use self::source::{FORGE_PROJECT, HOOK, INSIDE, LABEL_TEXT, PATTERN, TEAM, URL};

pub const TIMEZONE: Rule = Rule {
    allowed: "a time zone's IANA name, such as `Europe/Berlin`, or `UTC`",
    check: |text| require(dorainfra_base::zone::Zone::named(text).is_some(), "is no name of a time zone"),
};

/// A check of one text and, in words without a full stop, what it lets through.
#[derive(Clone, Copy)]
pub struct Rule {
    pub allowed: &'static str,
    pub check: fn(&str) -> Result<(), Fault>,
}

/// What is wrong with a value: continues a sentence that begins with the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub what: String,
    /// What to write instead, where that is known.
    pub help: Option<String>,
}

impl Fault {
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), help: None }
    }

    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// Fails with `what` unless `holds`.
fn require(holds: bool, what: &str) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(Fault::new(what)) }
}

fn lower_or_digit(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

/// The first character that `good` refuses, as a fault.
fn characters(text: &str, good: impl Fn(char) -> bool) -> Result<(), Fault> {
    match text.chars().find(|c| !good(*c)) {
        None => Ok(()),
        Some(c) if c.is_uppercase() => {
            let fault = Fault::new(format!("has the capital letter `{c}`"));
            let lower = text.to_lowercase();
            Err(if lower.chars().all(good) { fault.help(format!("write `{lower}`")) } else { fault })
        }
        Some(' ') => Err(Fault::new("has a space in it")),
        Some(c) => Err(Fault::new(format!("has the character `{}`", c.escape_debug()))),
    }
}

fn length(text: &str, least: usize, most: usize) -> Result<(), Fault> {
    match text.chars().count() {
        0 => Err(Fault::new("is empty")),
        count if count < least => Err(Fault::new(format!("is {count} characters long: too short"))),
        count if count > most => Err(Fault::new(format!("is {count} characters long: too long"))),
        _ => Ok(()),
    }
}

/// A path is checked for what no file system can hold or no person means.
pub fn path(text: &str) -> Result<(), Fault> {
    require(!text.is_empty(), "is empty")?;
    require(!text.chars().any(char::is_control), "has a control character in it")?;
    if text == "~" || text.starts_with("~/") {
        return Err(Fault::new("begins with `~`, which is not expanded").help("write the path in full"));
    }
    Ok(())
}

/// What a rule says to each text, for snapshots.
#[cfg(test)]
fn verdicts(rule: Rule, texts: &[&str]) -> String {
    let line = |text: &&str| match (rule.check)(text) {
        Ok(()) => format!("{text:<28} ok"),
        Err(Fault { what, help }) => {
            format!("{text:<28} {what}{}", help.map(|help| format!(" -> {help}")).unwrap_or_default())
        }
    };
    texts.iter().map(line).collect::<Vec<_>>().join("\n")
}

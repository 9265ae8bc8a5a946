//! What teams do, as events: the one source from which every metric is computed.
//! The simulator makes them, sources read them from elsewhere, and JSON lines
//! carry them between programs (docs/events.md).
//!
//! Nothing here computes a metric or knows where events come from.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, reason = "numbers of others are computed with"))]

use std::fmt;
use std::io::{self, BufRead, Write};

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The environment that counts when none is named.
pub const PRODUCTION: &str = "production";

/// One event: one JSON line, told apart by `type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Event {
    Change(Change),
    Deployment(Deployment),
    Failure(Failure),
    Recovery(Recovery),
}

/// A change that is to be deployed: a commit, or a merged pull request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Unique among all changes: a commit's hash, for example.
    pub id: String,
    pub team: String,
    pub service: String,
    /// When it was committed or merged: its lead time begins.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// A deployment that was carried out, whether or not it turned out well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// Unique among all deployments.
    pub id: String,
    pub team: String,
    pub service: String,
    #[serde(default = "production")]
    pub environment: String,
    /// When it ran in that environment: the lead time of its changes ends.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    #[serde(default)]
    pub kind: Kind,
    /// The changes that reached the environment with it for the first time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
}

/// Why a deployment was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    #[default]
    Planned,
    /// Unplanned: to mend what users suffered from.
    Rework,
}

/// Something that users suffered from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Unique among all failures.
    pub id: String,
    pub team: String,
    pub service: String,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The deployment that caused it, where one did. One outage may be a
    /// failure of several teams: each has an event of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
}

/// The end of a failure. A failure without one is not over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// The failure that it ends.
    pub failure: String,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The deployment that mended it, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
}

fn production() -> String {
    PRODUCTION.to_owned()
}

impl Event {
    /// When it happened.
    pub fn at(&self) -> OffsetDateTime {
        match self {
            Self::Change(change) => change.at,
            Self::Deployment(deployment) => deployment.at,
            Self::Failure(failure) => failure.at,
            Self::Recovery(recovery) => recovery.at,
        }
    }

    /// Whose it says that it is, team and service; a recovery is its failure's.
    pub fn owner(&self) -> Option<(&str, &str)> {
        match self {
            Self::Change(it) => Some((&it.team, &it.service)),
            Self::Deployment(it) => Some((&it.team, &it.service)),
            Self::Failure(it) => Some((&it.team, &it.service)),
            Self::Recovery(_) => None,
        }
    }

    /// What events are sorted by: time, and at one moment what is referred to first.
    pub fn order(&self) -> (OffsetDateTime, u8, &str) {
        let (rank, id) = match self {
            Self::Change(change) => (0, change.id.as_str()),
            Self::Deployment(deployment) => (1, deployment.id.as_str()),
            Self::Failure(failure) => (2, failure.id.as_str()),
            Self::Recovery(recovery) => (3, recovery.failure.as_str()),
        };
        (self.at(), rank, id)
    }

    /// Without space around names and ids, which is no part of them: `shop ` is no other service.
    #[must_use]
    pub fn trimmed(mut self) -> Self {
        let mut texts: Vec<&mut String> = match &mut self {
            Self::Change(c) => vec![&mut c.id, &mut c.team, &mut c.service],
            Self::Deployment(d) => {
                let named = [&mut d.id, &mut d.team, &mut d.service, &mut d.environment];
                named.into_iter().chain(&mut d.changes).collect()
            }
            Self::Failure(f) => {
                [&mut f.id, &mut f.team, &mut f.service].into_iter().chain(&mut f.deployment).collect()
            }
            Self::Recovery(r) => [&mut r.failure].into_iter().chain(&mut r.deployment).collect(),
        };
        for text in &mut texts {
            if text.trim().len() < text.len() {
                **text = text.trim().to_owned();
            }
        }
        self
    }

    /// What is wrong with it by itself, in words for whoever made it. What has no
    /// problem can be written and read again.
    pub fn problem(&self) -> Option<String> {
        let (fields, at): (&[(&str, &str)], _) = match self {
            Self::Change(c) => (&[("id", &c.id), ("team", &c.team), ("service", &c.service)], c.at),
            Self::Deployment(d) => (
                &[("id", &d.id), ("team", &d.team), ("service", &d.service), ("environment", &d.environment)],
                d.at,
            ),
            Self::Failure(f) => (&[("id", &f.id), ("team", &f.team), ("service", &f.service)], f.at),
            Self::Recovery(r) => (&[("failure", &r.failure)], r.at),
        };
        if let Some((name, _)) = fields.iter().find(|(_, value)| value.trim().is_empty()) {
            return Some(format!("`{name}` is empty"));
        }
        time_problem(at).map(|problem| format!("`at` is {problem}"))
    }
}

/// What is wrong with a time. Within these centuries no sum of a time with a range,
/// a shift or an offset leaves what can be computed with and written.
pub fn time_problem(at: OffsetDateTime) -> Option<&'static str> {
    const YEAR_2200: i64 = 7_258_118_400;
    match at.unix_timestamp() {
        ..0 => Some("before 1970"),
        YEAR_2200.. => Some("after 2199"),
        _ => None,
    }
}

/// A line that is no event.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The column counts from 1, in characters.
    #[error("line {line}: {message}")]
    Line { line: usize, column: usize, message: String },
    #[error("the events can't be read: {0}")]
    Io(#[from] io::Error),
}

/// Reads JSON lines, one event at a time; empty lines are skipped.
pub fn read(lines: impl BufRead) -> impl Iterator<Item = Result<Event, ReadError>> {
    lines.lines().enumerate().filter_map(|(index, line)| {
        let line = match line {
            Ok(line) => line,
            Err(error) => return Some(Err(error.into())),
        };
        if line.trim().is_empty() {
            return None;
        }
        Some(event_of(&line).map_err(|(column, message)| ReadError::Line {
            line: index.saturating_add(1),
            column,
            message,
        }))
    })
}

/// The event of a line; or where it is wrong (characters, from 1), and why.
pub(super) fn event_of(line: &str) -> Result<Event, (usize, String)> {
    if let Ok(event) = serde_json::from_str::<Event>(line)
        && event.problem().is_none()
    {
        return Ok(event);
    }
    let column = |bytes: usize| line.get(..bytes).unwrap_or(line).chars().count().saturating_add(1);
    let value: Value = serde_json::from_str(line).map_err(|error| {
        let text = error.to_string();
        // Which line it is, the caller knows.
        let message = text.split(" at line ").next().unwrap_or(&text).to_owned();
        (column(error.column().saturating_sub(1)), message)
    })?;
    from_value(value).map_err(|Wrong { field, message }| {
        let place = field.and_then(|field| line.find(&format!("\"{field}\"")));
        (column(place.unwrap_or(0)), message)
    })
}

/// The first field of a line of JSON that is there twice, and where the second one is (characters, from
/// 1): a reader takes the last one, and nobody sees the other.
pub(super) fn repeated(line: &str) -> Option<(usize, String)> {
    let Fields(names) = serde_json::from_str(line).ok()?;
    let is_again = |(index, name): &(usize, &String)| names.iter().take(*index).any(|other| other == *name);
    let (_, name) = names.iter().enumerate().find(is_again)?;
    let quoted = format!("\"{name}\"");
    let at = line.match_indices(&quoted).nth(1).map_or(0, |(at, _)| at);
    let column = line.get(..at).unwrap_or(line).chars().count().saturating_add(1);
    Some((column, format!("`{name}` is there twice")))
}

/// The names of an object's fields, as they are written.
struct Fields(Vec<String>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Self(Vec::new()))
    }
}

impl<'de> Visitor<'de> for Fields {
    type Value = Self;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some((name, IgnoredAny)) = map.next_entry()? {
            self.0.push(name);
        }
        Ok(self)
    }
}

/// What is wrong with a value that should be an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Of which field, where that is known.
    pub field: Option<String>,
    pub message: String,
}

/// One event from a value that something else than a line was made to.
pub fn from_value(value: Value) -> Result<Event, Wrong> {
    let wrong = |message: String| {
        let quoted = message.split('`').skip(1).step_by(2);
        let held = |field: &str| value.get(field).is_some();
        let holder = |text: &str| {
            let fields = value.as_object()?.iter();
            fields.filter(|(_, value)| value.as_str() == Some(text)).map(|(name, _)| name.clone()).next()
        };
        // "missing field `id`", "unknown variant `urgent`": the field, or its value.
        let field = quoted
            .clone()
            .find_map(holder)
            .or_else(|| quoted.clone().find(|text| held(text)).map(str::to_owned));
        let field = field
            .or_else(|| message.strip_prefix("missing field").and(quoted.clone().next()).map(str::to_owned));
        Wrong { field, message }
    };
    let no_time = value
        .get("at")
        .filter(|at| at.as_str().is_none_or(|text| OffsetDateTime::parse(text, &Rfc3339).is_err()));
    if let Some(at) = no_time {
        let message = format!("`at`: {at} is no time like \"2026-03-02T15:30:00Z\" (RFC 3339)");
        return Err(Wrong { field: Some("at".into()), message });
    }
    match serde_json::from_value::<Event>(value.clone()) {
        Ok(event) => match event.problem() {
            None => Ok(event),
            Some(problem) => Err(wrong(problem)),
        },
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// Writes events as JSON lines.
pub fn write<'a>(mut out: impl Write, events: impl IntoIterator<Item = &'a Event>) -> io::Result<()> {
    for event in events {
        serde_json::to_writer(&mut out, event)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is read can be written, and read again.
    #[test]
    fn fuzzed_events_are_told_or_read() {
        dorainfra_testutils::fuzzing::five_seconds("event-files", |input| {
            for event in read(input) {
                match event {
                    Ok(event) => {
                        let mut line = Vec::new();
                        write(&mut line, [&event]).unwrap();
                        assert_eq!(read(&line[..]).next().unwrap().unwrap(), event);
                    }
                    Err(error) => drop(error.to_string()),
                }
            }
        });
    }

    const LINES: &str = r#"{"type":"change","id":"c1","team":"orders","service":"cart","at":"2026-03-02T09:00:00Z"}
{"type":"deployment","id":"d1","team":"orders","service":"cart","environment":"production","at":"2026-03-02T15:30:00Z","kind":"planned","changes":["c1"]}
{"type":"failure","id":"f1","team":"orders","service":"cart","at":"2026-03-02T15:42:00Z","deployment":"d1"}
{"type":"recovery","failure":"f1","at":"2026-03-02T16:10:00Z","deployment":"d2"}
"#;

    #[test]
    fn what_is_read_is_written_again_to_the_byte() {
        let events: Vec<Event> = read(LINES.as_bytes()).collect::<Result<_, _>>().unwrap();
        let mut out = Vec::new();
        write(&mut out, &events).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), LINES);
    }

    #[test]
    fn environment_and_kind_have_their_usual_values() {
        let line =
            r#"{"type":"deployment","id":"d","team":"t","service":"s","at":"2026-03-02T15:30:00+02:00"}"#;
        let event = read(line.as_bytes()).next().unwrap().unwrap();
        let Event::Deployment(deployment) = event else { panic!("{event:?}") };
        assert_eq!((deployment.environment.as_str(), deployment.kind), ("production", Kind::Planned));
        assert_eq!(deployment.at.unix_timestamp(), 1_772_458_200);
    }

    #[test]
    fn a_line_that_is_no_event_is_named() {
        for (text, expected) in [
            ("\n{\"type\":\"deploy\"}", "line 2: unknown variant `deploy`"),
            (
                r#"{"type":"change","id":"","team":"t","service":"s","at":"2026-03-02T15:30:00Z"}"#,
                "line 1: `id` is empty",
            ),
            (
                r#"{"type":"recovery","failure":"f","at":"yesterday"}"#,
                "line 1: `at`: \"yesterday\" is no time like \"2026-03-02T15:30:00Z\"",
            ),
            (r#"{"type":"recovery","failure":"f","at":"2026-03-02T15:30:00Z","x":1}"#, "unknown field `x`"),
            (r#"{"type":"recovery","failure":"f","at":"1969-03-02T15:30:00Z"}"#, "`at` is before 1970"),
        ] {
            let error = read(text.as_bytes()).next().unwrap().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}

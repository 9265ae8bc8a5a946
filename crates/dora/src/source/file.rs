//! Events that somebody else wrote: JSON lines, or CSV with the same fields as
//! columns (docs/events.md). All that is wrong is reported at once, with its place.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::super::events::{self, Event, Wrong};
use super::super::metrics::OUTCOME_WINDOW;
use super::SourceError;

/// Problems that are reported; a file of another kind has one in each line.
const MOST_PROBLEMS: usize = 50;

/// The columns that a CSV file may have, in any order.
const COLUMNS: [&str; 10] =
    ["type", "id", "team", "service", "environment", "at", "kind", "changes", "deployment", "failure"];

/// What a file tells.
#[derive(Debug, PartialEq)]
pub struct Told {
    pub events: Vec<Event>,
    /// What counts nowhere, or as something else than somebody may think, with its lines; and what to do.
    pub odd: Vec<(String, &'static str)>,
}

/// The events of several files, and where each of them is.
#[derive(Debug, Default)]
pub struct Tables {
    told: BTreeMap<(u8, String), (PathBuf, usize, Event)>,
}

impl Tables {
    /// The events of one more file. An id that a file before has for another event is told with both
    /// places: each would replace the other's, again and again. `now`: what is later has not been yet.
    pub fn read(mut self, path: &Path, now: OffsetDateTime) -> (Result<Told, SourceError>, Self) {
        let lines = match lines_of(path) {
            Ok(lines) => lines,
            Err(error) => return (Err(error), self),
        };
        let elsewhere = |(line, event): &(usize, Event)| {
            let (_, rank, id) = event.order();
            let (other, first, known) = self.told.get(&(rank, id.to_owned()))?;
            (known != event).then(|| Problem {
                line: *line,
                column: 1,
                message: format!("`{id}` is another event of this type in {}, line {first}", other.display()),
            })
        };
        let problems: Vec<Problem> = lines.iter().filter_map(elsewhere).collect();
        if !problems.is_empty() {
            return (Err(malformed_file(path, problems)), self);
        }
        for (line, event) in &lines {
            let (_, rank, id) = event.order();
            self.told.insert((rank, id.to_owned()), (path.to_owned(), *line, event.clone()));
        }
        let odd = self.odd(&lines, now);
        (Ok(Told { events: lines.into_iter().map(|(_, event)| event).collect(), odd }), self)
    }

    fn at(&self, rank: u8, id: &str) -> Option<OffsetDateTime> {
        self.told.get(&(rank, id.to_owned())).map(|(_, _, event)| event.at())
    }

    /// Of events that can be, and count as somebody may not think.
    fn odd(&self, lines: &[(usize, Event)], now: OffsetDateTime) -> Vec<(String, &'static str)> {
        const NAMED: usize = 3;
        const CHANGE: u8 = 0;
        const DEPLOYMENT: u8 = 1;
        let ran = |id: &Option<String>| self.at(DEPLOYMENT, id.as_deref()?);
        let [mut late, mut newer, mut future] = [const { Vec::<usize>::new() }; 3];
        for (line, event) in lines {
            match event {
                Event::Failure(it) if ran(&it.deployment).is_some_and(|ran| it.at - ran > OUTCOME_WINDOW) => {
                    late.push(*line);
                }
                Event::Deployment(it) => {
                    let mut written = it.changes.iter().filter_map(|id| self.at(CHANGE, id));
                    if written.any(|written| written > it.at) {
                        newer.push(*line);
                    }
                }
                _ => {}
            }
            if event.at() > now {
                future.push(*line);
            }
        }
        let said = [
            (
                late,
                "failures that began more than 3 days after their deployment are none of its, and count nowhere",
                "name the deployment that caused it, or none",
            ),
            (
                newer,
                "changes that are newer than their deployment count as 0 seconds",
                "compare the two systems' clocks",
            ),
            (
                future,
                "events that are still to come count when their time is over",
                "look for a wrong clock, or year",
            ),
        ];
        let said = said.into_iter().filter(|(lines, ..)| !lines.is_empty());
        said.map(|(lines, what, hint)| {
            let named: Vec<String> = lines.iter().take(NAMED).map(usize::to_string).collect();
            let more = if lines.len() > NAMED { ", …" } else { "" };
            (format!("{what} ({}): line {}{more}", lines.len(), named.join(", ")), hint)
        })
        .collect()
    }
}

/// The events of a file: `.csv` is CSV, everything else JSON lines.
pub fn read(path: &Path) -> Result<Vec<Event>, SourceError> {
    Ok(lines_of(path)?.into_iter().map(|(_, event)| event).collect())
}

fn lines_of(path: &Path) -> Result<Lines, SourceError> {
    let bytes = std::fs::read(path).map_err(SourceError::file("can't be read", path))?;
    let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let parsed = text(&bytes).and_then(|text| if is_csv { csv(&text) } else { json_lines(&text) });
    parsed.and_then(each_once).map_err(|problems| malformed_file(path, problems))
}

fn malformed_file(path: &Path, mut problems: Vec<Problem>) -> SourceError {
    let more = problems.len().saturating_sub(MOST_PROBLEMS);
    problems.truncate(MOST_PROBLEMS);
    let mut problems: Vec<String> = problems
        .into_iter()
        .map(|Problem { line, column, message }| format!("{}:{line}:{column}: {message}", path.display()))
        .collect();
    if more > 0 {
        problems.push(format!("and {more} more"));
    }
    SourceError::Malformed { path: path.to_owned(), problems }
}

/// What is wrong, and where: lines and columns from 1, in characters.
#[derive(Debug, PartialEq)]
struct Problem {
    line: usize,
    column: usize,
    message: String,
}

/// The events of a file, each with its line.
type Lines = Vec<(usize, Event)>;

/// How two bytes are a unit of UTF-16.
type Unit = fn([u8; 2]) -> u16;

/// A file's text: UTF-8 or, where a byte-order mark says so, UTF-16, which spreadsheets write.
fn text(bytes: &[u8]) -> Result<Cow<'_, str>, Vec<Problem>> {
    let wrong =
        |line: usize, column: usize, message: &str| vec![Problem { line, column, message: message.into() }];
    let (rest, unit): (&[u8], Unit) = match bytes {
        [0xff, 0xfe, rest @ ..] => (rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => (rest, u16::from_be_bytes),
        _ => {
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            return std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|error| {
                let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                let line = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                wrong(line, column, "this is no UTF-8: save the file as UTF-8")
            });
        }
    };
    let units = rest.chunks(2).map(|pair| match pair {
        [first, second] => unit([*first, *second]),
        // Half a character: no text has this.
        _ => 0xd800,
    });
    let text: Result<String, _> = char::decode_utf16(units).collect();
    text.map(Cow::Owned)
        .map_err(|_| wrong(1, 1, "this is no UTF-16, as its first two bytes say: save it as UTF-8"))
}

/// What is there twice is one event, if it is the same.
fn each_once(lines: Lines) -> Result<Lines, Vec<Problem>> {
    let mut seen: BTreeMap<(u8, String), (usize, Event)> = BTreeMap::new();
    let (mut all, mut problems) = (Vec::with_capacity(lines.len()), Vec::new());
    for (line, event) in lines {
        let (_, rank, id) = event.order();
        match seen.get(&(rank, id.to_owned())) {
            Some((_, known)) if *known == event => {}
            Some((first, _)) => {
                let message = format!("`{id}` is another event of this type already, in line {first}");
                problems.push(Problem { line, column: 1, message });
            }
            None => {
                seen.insert((rank, id.to_owned()), (line, event.clone()));
                all.push((line, event));
            }
        }
    }
    if problems.is_empty() { Ok(all) } else { Err(problems) }
}

fn json_lines(text: &str) -> Result<Lines, Vec<Problem>> {
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match events::event_of(line).and_then(|event| events::repeated(line).map_or(Ok(event), Err)) {
            Ok(event) => all.push((index + 1, event.trimmed())),
            Err((column, message)) => problems.push(Problem { line: index + 1, column, message }),
        }
    }
    if problems.is_empty() { Ok(all) } else { Err(problems) }
}

/// What stands between the fields: a comma, or what else the header has between its names.
fn separator(text: &str) -> u8 {
    let header = text.lines().next().unwrap_or_default();
    let found = [b',', b';', b'\t'].into_iter().find(|byte| header.as_bytes().contains(byte));
    found.unwrap_or(b',')
}

fn csv(text: &str) -> Result<Lines, Vec<Problem>> {
    let mut form = csv::ReaderBuilder::new();
    form.has_headers(false).flexible(true).delimiter(separator(text));
    let mut reader = form.from_reader(text.as_bytes());
    let mut records = reader.records();
    let columns = match records.next() {
        None => return Ok(Vec::new()),
        Some(Err(error)) => return Err(vec![malformed(&error)]),
        Some(Ok(header)) => columns(&header)?,
    };
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    for record in records {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                problems.push(malformed(&error));
                continue;
            }
        };
        let line = record.position().map_or(0, |position| position.line() as usize);
        match row(&columns, &record) {
            Ok(event) => all.push((line, event)),
            Err((column, message)) => {
                let column = begins_at(text, line, &record, column);
                problems.push(Problem { line, column, message });
            }
        }
    }
    if problems.is_empty() { Ok(all) } else { Err(problems) }
}

fn columns(header: &csv::StringRecord) -> Result<Vec<String>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut column = 1;
    let mut names: Vec<String> = Vec::new();
    for name in header {
        let trimmed = name.trim();
        if !COLUMNS.contains(&trimmed) {
            let message = format!("unknown column `{trimmed}`; known are {}", COLUMNS.join(", "));
            problems.push(Problem { line: 1, column, message });
        } else if names.iter().any(|other| other == trimmed) {
            problems.push(Problem { line: 1, column, message: format!("column `{trimmed}` is there twice") });
        }
        names.push(trimmed.to_owned());
        column += name.chars().count() + 1;
    }
    for needed in ["type", "at"] {
        if !names.iter().any(|name| name == needed) {
            problems.push(Problem { line: 1, column: 1, message: format!("column `{needed}` is missing") });
        }
    }
    if problems.is_empty() { Ok(names) } else { Err(problems) }
}

/// One row as an event; or the field that is wrong, from 0, and why.
fn row(columns: &[String], record: &csv::StringRecord) -> Result<Event, (usize, String)> {
    if record.len() > columns.len() {
        let message = format!("{} fields, but the header has {}", record.len(), columns.len());
        return Err((columns.len(), message));
    }
    let mut fields = Map::new();
    for (name, value) in columns.iter().zip(record) {
        let value = value.trim();
        if value.is_empty() {
            continue;
        }
        let value = match name.as_str() {
            "changes" => value.split_whitespace().map(Value::from).collect(),
            _ => Value::from(value),
        };
        fields.insert(name.clone(), value);
    }
    events::from_value(Value::Object(fields)).map_err(|Wrong { field, message }| {
        let guilty = field.and_then(|field| columns.iter().position(|name| *name == field));
        (guilty.unwrap_or(0), message)
    })
}

/// Where a field begins in its line, in characters. Exact as long as no field
/// before it has quotes within.
fn begins_at(text: &str, line: usize, record: &csv::StringRecord, field: usize) -> usize {
    let line = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let mut column = 1;
    let mut rest = line;
    for value in record.iter().take(field) {
        let quotes = if rest.starts_with('"') { 2 } else { 0 };
        let length = value.chars().count() + quotes + 1;
        column += length;
        rest = rest.char_indices().nth(length).map_or("", |(at, _)| &rest[at..]);
    }
    column
}

fn malformed(error: &csv::Error) -> Problem {
    let line = error.position().map_or(1, |position| position.line() as usize);
    Problem { line, column: 1, message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(name: &str, text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let error = read(&path).unwrap_err().to_string();
        error.replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn both_forms_say_the_same() {
        let table = "\
type,id,team,service,at,changes,deployment,failure,kind
change,c1,orders,cart,2026-03-02T09:00:00Z,,,,
deployment,d1,orders,\"the, cart\",2026-03-02T15:30:00+02:00,c1 c0,,,rework
failure,f1,orders,cart,2026-03-02T15:42:00Z,,d1,,
recovery,,,,2026-03-02T16:10:00Z,,d2,f1,
";
        let lines = r#"{"type":"change","id":"c1","team":"orders","service":"cart","at":"2026-03-02T09:00:00Z"}
{"type":"deployment","id":"d1","team":"orders","service":"the, cart","at":"2026-03-02T15:30:00+02:00","kind":"rework","changes":["c1","c0"]}
{"type":"failure","id":"f1","team":"orders","service":"cart","at":"2026-03-02T15:42:00Z","deployment":"d1"}
{"type":"recovery","failure":"f1","at":"2026-03-02T16:10:00Z","deployment":"d2"}
"#;
        let events = |lines: Lines| -> Vec<Event> {
            each_once(lines).unwrap().into_iter().map(|(_, event)| event).collect()
        };
        let expected = events(json_lines(lines).unwrap());
        assert_eq!(events(csv(table).unwrap()), expected);
        // As spreadsheets write it, in their countries.
        let utf16 = |bytes: fn(u16) -> [u8; 2]| {
            let units = "\u{feff}".encode_utf16().chain(table.encode_utf16());
            units.flat_map(bytes).collect::<Vec<u8>>()
        };
        let semicolons = table.replace("the, cart", "the! cart").replace(',', ";").replace('!', ",");
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in [
            ("bom.csv", [b"\xef\xbb\xbf", table.as_bytes()].concat()),
            ("bom.jsonl", [b"\xef\xbb\xbf", lines.as_bytes()].concat()),
            ("le.csv", utf16(u16::to_le_bytes)),
            ("be.csv", utf16(u16::to_be_bytes)),
            ("semicolon.csv", semicolons.into_bytes()),
            ("tab.csv", table.replace(", cart", "! cart").replace(',', "\t").replace('!', ",").into_bytes()),
            ("windows.csv", table.replace('\n', "\r\n").into_bytes()),
            ("twice.jsonl", [lines, lines].concat().into_bytes()),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read(&path).unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn space_around_a_name_is_none_of_it() {
        let spaced = r#"{"type":"change","id":" c1","team":"orders ","service":"\tcart","at":"2026-03-02T09:00:00Z"}
{"type":"deployment","id":"d1 ","team":"orders","service":"cart ","environment":" live ","at":"2026-03-02T15:30:00Z","changes":[" c1"]}
{"type":"failure","id":"f1 ","team":"orders\u00a0","service":"cart","at":"2026-03-02T15:42:00Z","deployment":" d1"}
{"type":"recovery","failure":" f1","at":"2026-03-02T16:10:00Z","deployment":"d2 "}
"#;
        let mut plain = spaced.replace("\\t", "").replace("\\u00a0", "");
        for name in ["c1", "orders", "cart", "d1", "live", "f1", "d2"] {
            plain = plain.replace(&format!("\" {name}"), &format!("\"{name}"));
            plain = plain.replace(&format!("{name} \""), &format!("{name}\""));
        }
        assert_eq!(json_lines(spaced).unwrap(), json_lines(&plain).unwrap());
        assert_eq!(json_lines(&plain).unwrap()[1].1.order().2, "d1");
        // What is two events then, is reported with its line.
        let both = r#"{"type":"change","id":"c1","team":"a","service":"s","at":"2026-03-02T09:00:00Z"}
{"type":"change","id":"c1 ","team":"b","service":"s","at":"2026-03-02T09:00:00Z"}
"#;
        let problems = json_lines(both).and_then(each_once).unwrap_err();
        assert_eq!((problems[0].line, problems.len()), (2, 1), "{problems:?}");
    }

    #[test]
    fn everything_that_is_wrong_in_a_table_is_told_with_its_place() {
        insta::assert_snapshot!(problems("events.csv", "\
type,id,team,service,at,kind
deploy,d1,orders,cart,2026-03-02T09:00:00Z,
deployment,d2,orders,cart,yesterday,
deployment,d3,\"or, ders\",cart,2026-03-02T09:00:00Z,urgent
deployment,,orders,cart,2026-03-02T09:00:00Z,
deployment,d5,orders,cart,2026-03-02T09:00:00Z,planned,more
"), @r#"
        events.csv can't be read as events:
        events.csv:2:1: unknown variant `deploy`, expected one of `change`, `deployment`, `failure`, `recovery`
        events.csv:3:27: `at`: "yesterday" is no time like "2026-03-02T15:30:00Z" (RFC 3339)
        events.csv:4:52: unknown variant `urgent`, expected `planned` or `rework`
        events.csv:5:12: missing field `id`
        events.csv:6:56: 7 fields, but the header has 6
        "#);
        insta::assert_snapshot!(problems("events.CSV", "type,ID,at,at\n"), @r"
        events.CSV can't be read as events:
        events.CSV:1:6: unknown column `ID`; known are type, id, team, service, environment, at, kind, changes, deployment, failure
        events.CSV:1:12: column `at` is there twice
        ");
    }

    #[test]
    fn one_id_for_two_events_and_what_is_no_text_have_their_places() {
        insta::assert_snapshot!(problems("events.csv", "\
type,id,team,service,at
deployment,d1,orders,cart,2026-03-02T09:00:00Z
change,d1,orders,cart,2026-03-02T09:00:00Z
deployment,d1,orders,cart,2026-03-02T10:00:00Z
deployment,d1,orders,cart,2026-03-02T09:00:00Z
deployment,d9,orders,cart,9999-12-31T23:59:59-23:00
"), @r"
        events.csv can't be read as events:
        events.csv:6:27: `at` is after 2199
        ");
        insta::assert_snapshot!(problems("events.csv", "\
type,id,team,service,at
deployment,d1,orders,cart,2026-03-02T09:00:00Z
deployment,d1,orders,cart,2026-03-02T10:00:00Z
"), @r"
        events.csv can't be read as events:
        events.csv:3:1: `d1` is another event of this type already, in line 2
        ");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latin1.csv");
        std::fs::write(&path, b"type,id\nchange,caf\xe9\n").unwrap();
        let said = read(&path).unwrap_err().to_string();
        assert!(said.contains("latin1.csv:2:11: this is no UTF-8"), "{said}");
    }

    #[test]
    fn what_counts_otherwise_than_it_seems_is_told_with_its_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let text = r#"{"type":"change","id":"c1","team":"t","service":"s","at":"2026-03-02T13:00:00Z"}
{"type":"deployment","id":"d1","team":"t","service":"s","at":"2026-03-02T12:00:00Z","changes":["c1"]}
{"type":"failure","id":"f1","team":"t","service":"s","at":"2026-03-05T12:00:00Z","deployment":"d1"}
{"type":"failure","id":"f2","team":"t","service":"s","at":"2026-03-05T12:00:01Z","deployment":"d1"}
{"type":"deployment","id":"d2","team":"t","service":"s","at":"2031-03-02T12:00:00Z"}
"#;
        std::fs::write(&path, text).unwrap();
        let now = time::macros::datetime!(2026-04-01 00:00 UTC);
        let told = Tables::default().read(&path, now).0.unwrap();
        let odd: Vec<String> = told.odd.into_iter().map(|(what, _)| what).collect();
        assert_eq!(
            odd,
            [
                "failures that began more than 3 days after their deployment are none of its, and count nowhere (1): line 4",
                "changes that are newer than their deployment count as 0 seconds (1): line 2",
                "events that are still to come count when their time is over (1): line 5",
            ]
        );
        assert_eq!(told.events.len(), 5);
        insta::assert_snapshot!(problems("events.jsonl", r#"{"type":"change","id":"c1","team":"t","service":"s","id":"c2","at":"2026-03-02T09:00:00Z"}
{"type":"deployment","type":"change","id":"d1","team":"t","service":"s","at":"2026-03-02T09:00:00Z"}
"#), @r"
        events.jsonl can't be read as events:
        events.jsonl:1:53: `id` is there twice
        events.jsonl:2:22: `type` is there twice
        ");
    }

    #[test]
    fn everything_that_is_wrong_in_lines_is_told_with_its_place() {
        insta::assert_snapshot!(problems("events.jsonl", r#"{"type":"change","id":"c1","team":"orders","service":"cart","at":"2026-03-02T09:00:00Z"}
{"type":"change","id":"c1","team":"orders","at":"2026-03-02T09:00:00Z"}
{"type":"change","id":"c1","team":"orders","service":"cart","at":"2026-03-02"}
not json
{"type":"change","id":"c1","team":"","service":"cart","at":"2026-03-02T09:00:00Z"}
"#), @r#"
        events.jsonl can't be read as events:
        events.jsonl:2:1: missing field `service`
        events.jsonl:3:61: `at`: "2026-03-02" is no time like "2026-03-02T15:30:00Z" (RFC 3339)
        events.jsonl:4:2: expected ident
        events.jsonl:5:28: `team` is empty
        "#);
    }
}

//! What machines say on their serial port, and the parts of the collector stack in their logs: the
//! last lines, and those that come.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dorainfra_config::Config;
use dorainfra_gcp::{self as gcp, Api, Call, Client};
use futures::future::join_all;
use serde_json::Value;

use super::error::{Error, Result};
use super::workspace::Workspace;
use crate::blueprint::Replica;
use crate::resource::absent;
use crate::stack::compose::{self, Engine};
use crate::stack::native;

/// How often a serial port is asked for what is new.
const SERIAL_EVERY: Duration = Duration::from_secs(2);
/// How often a file is looked at.
const FILE_EVERY: Duration = Duration::from_millis(250);
/// Bytes that a line is reckoned to have, to ask for the last ones.
const A_LINE: usize = 256;
/// The least that is asked for, and the most: Compute Engine keeps so much of a serial port.
const LEAST: usize = 64 << 10;
const MOST: usize = 1 << 20;

/// What is said of what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// A line of a machine, or of a part of the stack.
    Line { from: &'a str, line: &'a str },
    /// There is no such machine.
    Absent { machine: &'a str },
    /// It does not run, so it says nothing.
    Off { machine: &'a str },
}

/// How much is shown.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Of what was said before, of each.
    pub lines: usize,
    /// Goes on until the caller drops it.
    pub follow: bool,
}

/// The serial ports of machines.
///
/// # Errors
/// One can't be read, or, without `follow`, none of the machines is there or none runs.
pub async fn machines(
    client: &Client,
    replicas: &[Replica],
    extent: Extent,
    say: &mut impl FnMut(Said<'_>),
) -> Result<()> {
    let mut ports: Vec<Port> = replicas.iter().map(Port::of).collect();
    loop {
        let answers = join_all(ports.iter().map(|port| port.ask(client, extent.lines))).await;
        for (port, answer) in ports.iter_mut().zip(answers) {
            port.take(answer, extent, say)?;
        }
        if !extent.follow {
            break;
        }
        tokio::time::sleep(SERIAL_EVERY).await;
    }
    if ports.iter().any(|port| port.silent.is_none()) {
        return Ok(());
    }
    let off: Vec<String> = ports
        .iter()
        .filter(|port| port.silent == Some(Silent::Off))
        .map(|port| format!("{} is off", port.machine))
        .collect();
    Err(if off.is_empty() { Error::NoMachine } else { Error::Down { machines: off.join(", ") } })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silent {
    Absent,
    Off,
}

/// A machine's serial port, and how far it was read.
struct Port {
    machine: String,
    path: String,
    tail: Tail,
    /// Why it can't be read.
    silent: Option<Silent>,
}

impl Port {
    fn of(replica: &Replica) -> Self {
        Self {
            machine: replica.instance.clone(),
            path: format!("zones/{}/instances/{}/serialPort", replica.zone, replica.instance),
            tail: Tail::default(),
            silent: None,
        }
    }

    async fn ask(&self, client: &Client, lines: usize) -> Result<Value, gcp::Error> {
        let newest = || format!("-{}", (lines.saturating_mul(A_LINE)).clamp(LEAST, MOST));
        let start = self.tail.next.map_or_else(newest, |next| next.to_string());
        client.call(&Call::get(Api::Compute, &*self.path).query("start", start)).await
    }

    fn take(
        &mut self,
        answer: Result<Value, gcp::Error>,
        extent: Extent,
        say: &mut impl FnMut(Said<'_>),
    ) -> Result<()> {
        let silent = match answer {
            Ok(answer) => {
                let first = self.tail.next.is_none() && self.silent.is_none();
                let mut lines = self.tail.take(&answer);
                if !extent.follow {
                    lines.extend(self.tail.rest());
                }
                let skip = if first { lines.len().saturating_sub(extent.lines) } else { 0 };
                for line in &lines[skip..] {
                    say(Said::Line { from: &self.machine, line });
                }
                None
            }
            Err(error) if absent(&error) => Some(Silent::Absent),
            Err(error) if error.api().is_some_and(|api| api.status == 400) => Some(Silent::Off),
            Err(error) => return Err(error.into()),
        };
        // Told once.
        if silent != self.silent {
            let machine = &self.machine;
            match silent {
                Some(Silent::Absent) => say(Said::Absent { machine }),
                Some(Silent::Off) => say(Said::Off { machine }),
                None => {}
            }
            self.silent = silent;
        }
        Ok(())
    }
}

/// What comes by pieces, as whole lines.
#[derive(Debug, Default)]
struct Tail {
    /// From where on the port has not been read.
    next: Option<u64>,
    /// The beginning of a line.
    held: String,
}

impl Tail {
    /// The lines that end in an answer of `getSerialPortOutput`.
    fn take(&mut self, answer: &Value) -> Vec<String> {
        let number = |field: &str| match &answer[field] {
            Value::String(text) => text.parse().unwrap_or_default(),
            other => other.as_u64().unwrap_or_default(),
        };
        let (start, next): (u64, u64) = (number("start"), number("next"));
        let contents = answer["contents"].as_str().unwrap_or_default();
        match self.next {
            // The machine was started again, and with it its output: that is read from the beginning.
            Some(before) if next < before => {
                self.held.clear();
                self.next = Some(0);
                return Vec::new();
            }
            Some(before) if start > before => {
                self.held.clear();
                let lost = format!("({} bytes are lost)", start - before);
                self.next = Some(next);
                return std::iter::once(lost).chain(self.lines(contents)).collect();
            }
            // The first line was cut where the answer begins.
            None if start > 0 => {
                let whole = contents.split_once('\n').map_or("", |(_, whole)| whole);
                self.next = Some(next);
                return self.lines(whole);
            }
            _ => {}
        }
        self.next = Some(next);
        self.lines(contents)
    }

    fn lines(&mut self, more: &str) -> Vec<String> {
        self.held.push_str(more);
        let Some((whole, rest)) = self.held.rsplit_once('\n') else { return Vec::new() };
        let lines = whole.split('\n').map(|line| line.trim_end_matches('\r').to_owned()).collect();
        self.held = rest.to_owned();
        lines
    }

    /// A last line without an end.
    fn rest(&mut self) -> Option<String> {
        Some(std::mem::take(&mut self.held)).filter(|rest| !rest.is_empty())
    }
}

/// The logs of the collector stack, however it runs; nothing where none does.
///
/// # Errors
/// A log can't be read.
pub async fn stack(
    workspace: &Workspace,
    config: &Config,
    extent: Extent,
    say: &mut impl FnMut(Said<'_>),
) -> Result<()> {
    let native = native::status(&workspace.stack_folder(&config.name)).await?;
    if native.parts.is_empty() {
        let Ok(engine) = Engine::find().await else { return Ok(()) };
        let mut line = |from: &str, line: &str| say(Said::Line { from, line });
        return Ok(compose::logs(&engine, &config.name, extent.lines, extent.follow, &mut line).await?);
    }
    let mut logs: Vec<Log> =
        native.parts.iter().map(|part| Log::new(part.part.name(), part.log.clone())).collect();
    for log in &mut logs {
        log.last(extent.lines, say)?;
    }
    if !extent.follow {
        return Ok(());
    }
    loop {
        tokio::time::sleep(FILE_EVERY).await;
        for log in &mut logs {
            log.more(say)?;
        }
    }
}

/// A file that grows.
struct Log {
    part: &'static str,
    path: PathBuf,
    at: u64,
    tail: Tail,
}

impl Log {
    fn new(part: &'static str, path: PathBuf) -> Self {
        Self { part, path, at: 0, tail: Tail::default() }
    }

    fn last(&mut self, lines: usize, say: &mut impl FnMut(Said<'_>)) -> Result<()> {
        let length = std::fs::metadata(&self.path).map_or(0, |data| data.len());
        let newest = lines.saturating_mul(A_LINE).clamp(LEAST, MOST) as u64;
        self.at = length.saturating_sub(newest);
        let cut = self.at > 0;
        let mut all = self.read()?;
        if cut && !all.is_empty() {
            all.remove(0);
        }
        for line in &all[all.len().saturating_sub(lines)..] {
            say(Said::Line { from: self.part, line });
        }
        Ok(())
    }

    fn more(&mut self, say: &mut impl FnMut(Said<'_>)) -> Result<()> {
        for line in self.read()? {
            say(Said::Line { from: self.part, line: &line });
        }
        Ok(())
    }

    /// What has come since, as whole lines. A log that is begun anew is read from there.
    fn read(&mut self) -> Result<Vec<String>> {
        let bytes = match beyond(&self.path, &mut self.at) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(Error::Unreadable { path: self.path.clone(), source }),
        };
        Ok(self.tail.lines(&String::from_utf8_lossy(&bytes)))
    }
}

fn beyond(path: &Path, at: &mut u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() < *at {
        *at = 0;
    }
    file.seek(SeekFrom::Start(*at))?;
    let mut bytes = Vec::new();
    file.take(MOST as u64).read_to_end(&mut bytes)?;
    *at += bytes.len() as u64;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use serde_json::json;

    use super::*;

    fn answer(start: usize, contents: &str) -> Value {
        let next = start + contents.len();
        json!({"contents": contents, "start": start.to_string(), "next": next.to_string()})
    }

    #[test]
    fn a_serial_port_is_read_by_whole_lines_from_where_it_was_left() {
        let mut tail = Tail::default();
        assert_eq!(tail.take(&answer(100, "cut off\none\r\ntw")), ["one"]);
        assert_eq!(tail.next, Some(115));
        assert_eq!(tail.take(&answer(115, "")), [""; 0]);
        assert_eq!(tail.take(&answer(115, "o\nthree\n")), ["two", "three"]);
        assert_eq!(tail.take(&answer(130, "five\n")), ["(7 bytes are lost)", "five"]);
        // A reset: its output begins again.
        assert_eq!(tail.take(&answer(0, "boot\n")), [""; 0]);
        assert_eq!(tail.next, Some(0));
        assert_eq!(tail.take(&answer(0, "boot\nup")), ["boot"]);
        assert_eq!((tail.rest(), tail.rest()), (Some("up".to_owned()), None));
    }

    #[test]
    fn a_machine_that_is_off_or_not_there_is_told_once() {
        let replica = Replica { zone: "z".into(), instance: "m".into(), disk: "d".into(), host: "h".into() };
        let refused = |status| {
            Err(gcp::Error::Api(gcp::ApiError { status, reason: "x".into(), ..gcp::ApiError::default() }))
        };
        let (mut port, mut told) = (Port::of(&replica), Vec::new());
        let extent = Extent { lines: 2, follow: true };
        let mut say = |said: Said<'_>| told.push(format!("{said:?}"));
        for answer in
            [Ok(answer(0, "1\n2\n3\n")), refused(400), refused(400), refused(404), Ok(answer(6, "4\n"))]
        {
            port.take(answer, extent, &mut say).unwrap();
        }
        let line = |line: &str| format!("Line {{ from: \"m\", line: \"{line}\" }}");
        let expected = [
            line("2"),
            line("3"),
            "Off { machine: \"m\" }".into(),
            "Absent { machine: \"m\" }".into(),
            line("4"),
        ];
        assert_eq!(told, expected);
        assert!(port.take(refused(403), extent, &mut |_| ()).is_err());
    }

    #[test]
    fn a_file_is_followed_also_when_it_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "a\nb\nc\nd").unwrap();
        let mut told = Vec::new();
        let mut log = Log::new("part", path.clone());
        let mut say = |said: Said<'_>| match said {
            Said::Line { line, .. } => told.push(line.to_owned()),
            other => panic!("{other:?}"),
        };
        log.last(2, &mut say).unwrap();
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"e\nf\n").unwrap();
        log.more(&mut say).unwrap();
        std::fs::write(&path, "new\n").unwrap();
        log.more(&mut say).unwrap();
        std::fs::remove_file(&path).unwrap();
        log.more(&mut say).unwrap();
        assert_eq!(told, ["b", "c", "de", "f", "new"]);
    }
}

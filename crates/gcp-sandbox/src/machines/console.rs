//! What a machine prints: the log of its serial port, on disk, and the last
//! lines of each unit, in memory, as a journal.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;
use time::macros::format_description;

/// Google keeps about the last megabyte of a serial port.
const KEPT: u64 = 1 << 20;
/// The file may grow to this before it is cut to [`KEPT`].
const CUT_AT: u64 = 4 * KEPT;
/// Lines kept of each unit.
const JOURNAL_LINES: usize = 200;

/// The serial port of one machine. Writing never fails: a console is not worth
/// a machine.
#[derive(Debug)]
pub(in crate::machines) struct Console {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<File>,
    /// Bytes that were cut off the beginning of the file.
    cut: u64,
    /// Seconds since 1970, and the line.
    journal: BTreeMap<String, VecDeque<(f64, String)>>,
}

fn now() -> f64 {
    OffsetDateTime::now_utc().unix_timestamp_nanos() as f64 / 1e9
}

impl Console {
    /// Goes on with the log that is there.
    pub(in crate::machines) fn open(dir: &Path) -> Self {
        let path = dir.join("serial.log");
        let cut = fs::read_to_string(path.with_extension("cut"))
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0);
        let file = OpenOptions::new().create(true).read(true).append(true).open(&path).ok();
        Self { path, state: Mutex::new(State { file, cut, journal: BTreeMap::new() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line of the machine itself (its kernel and init, as it were).
    pub(in crate::machines) fn say(&self, line: &str) {
        self.write(&mut self.state(), line);
    }

    /// What a kernel begins with.
    pub(in crate::machines) fn boots(&self, name: &str, address: IpAddr) {
        self.say("[    0.000000] Linux version 6.1.0 (debian-kernel@lists.debian.org)");
        self.say(&format!("kernel: {name} boots at {address}"));
    }

    /// A line that a process of `unit` printed.
    pub(in crate::machines) fn print(&self, unit: &str, identifier: &str, pid: u32, line: &str) {
        let mut state = self.state();
        let lines = state.journal.entry(unit.to_owned()).or_default();
        lines.push_back((now(), line.to_owned()));
        if lines.len() > JOURNAL_LINES {
            lines.pop_front();
        }
        self.write(&mut state, &format!("{identifier}[{pid}]: {line}"));
    }

    /// The last `count` lines that processes of `unit` printed, oldest first; none from
    /// before `since`, in seconds since 1970.
    pub(in crate::machines) fn journal(&self, unit: &str, count: usize, since: f64) -> Vec<String> {
        let state = self.state();
        let Some(lines) = state.journal.get(unit) else { return Vec::new() };
        let lines = lines.iter().skip(lines.len().saturating_sub(count));
        lines.filter(|(at, _)| *at >= since).map(|(_, line)| line.clone()).collect()
    }

    /// The log from byte `start` on, and the offset after it.
    pub(in crate::machines) fn read(&self, start: u64) -> (String, u64) {
        let mut state = self.state();
        let cut = state.cut;
        let Some(file) = state.file.as_mut() else { return (String::new(), start) };
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let from = start.clamp(cut, cut + length).max((cut + length).saturating_sub(KEPT));
        let mut bytes = Vec::new();
        if file.seek(SeekFrom::Start(from - cut)).and_then(|_| file.read_to_end(&mut bytes)).is_err() {
            return (String::new(), start);
        }
        (String::from_utf8_lossy(&bytes).into_owned(), from + bytes.len() as u64)
    }

    fn write(&self, state: &mut State, line: &str) {
        let stamp = OffsetDateTime::now_utc()
            .format(format_description!(
                "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
            ))
            .unwrap_or_default();
        let Some(file) = state.file.as_mut() else { return };
        let _ = file.write_all(format!("{stamp} {line}\n").as_bytes());
        if file.metadata().is_ok_and(|metadata| metadata.len() > CUT_AT) {
            self.shorten(state);
        }
    }

    fn shorten(&self, state: &mut State) {
        let Some(file) = state.file.as_mut() else { return };
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let drop = length.saturating_sub(KEPT);
        let mut kept = Vec::new();
        let read = file.seek(SeekFrom::Start(drop)).and_then(|_| file.read_to_end(&mut kept));
        if read.is_ok() && file.set_len(0).and_then(|()| file.write_all(&kept)).is_ok() {
            state.cut += drop;
            let _ = fs::write(self.path.with_extension("cut"), state.cut.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_goes_on_where_it_ended_and_survives_a_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let console = Console::open(dir.path());
        console.say("one");
        let (text, next) = console.read(0);
        assert!(text.ends_with("Z one\n"), "{text}");
        console.print("a.service", "a", 7, "two");
        drop(console);
        let console = Console::open(dir.path());
        let (text, next) = console.read(next);
        assert!(text.ends_with("a[7]: two\n") && text.lines().count() == 1, "{text}");
        assert_eq!(console.read(next), (String::new(), next));
    }

    #[test]
    fn old_output_is_cut_off_and_offsets_stay() {
        let dir = tempfile::tempdir().unwrap();
        let console = Console::open(dir.path());
        let line = "x".repeat(64 << 10);
        for _ in 0..80 {
            console.say(&line);
        }
        console.say("end");
        let (text, next) = console.read(0);
        assert!(text.len() as u64 <= KEPT && text.ends_with("end\n"));
        assert!(next > CUT_AT);
        drop(console);
        assert_eq!(Console::open(dir.path()).read(next), (String::new(), next));
        assert!(fs::metadata(dir.path().join("serial.log")).unwrap().len() < CUT_AT);
    }

    #[test]
    fn the_journal_is_kept_by_unit() {
        let dir = tempfile::tempdir().unwrap();
        let console = Console::open(dir.path());
        for number in 0..300 {
            console.print("a.service", "a", 1, &number.to_string());
        }
        console.print("b.service", "b", 1, "other");
        assert_eq!(console.journal("a.service", 2, 0.0), ["298", "299"]);
        assert_eq!(console.journal("a.service", 1000, 0.0).len(), JOURNAL_LINES);
        assert!(console.journal("c.service", 5, 0.0).is_empty());
    }
}

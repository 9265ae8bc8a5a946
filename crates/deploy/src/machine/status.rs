//! What a machine tells of itself: one document, which it prints on its serial port
//! and keeps as a guest attribute (`templates/vm/status.sh.j2`); and which of what is
//! found there is the newest, and still true. Nothing in here makes a call.

use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What stands before the document in a line of the serial port.
pub(super) const MARK: &str = "dorainfra-status ";
/// What firmware and kernel begin with: whatever was told before is of another boot.
const BOOTS: [&str; 3] = ["] Linux version ", "BdsDxe: ", "SeaBIOS (version "];
/// What scripts of an earlier release say, and no document.
const ENDS: [&str; 3] = ["dorainfra: ready: ", "dorainfra: failed: ", "dorainfra: rolled-back: "];
/// Half a line is not kept for ever.
const LONGEST_LINE: usize = 64 << 10;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Document {
    /// Counts up, over boots too.
    pub seq: u64,
    /// Another one for each boot.
    pub boot: String,
    /// When that was, by Google's clock; RFC 3339.
    pub booted: String,
    pub stage: String,
    pub message: String,
    pub updated: String,
    pub wanted: String,
    pub wanted_certificate: String,
    pub bundle: String,
    pub certificate: String,
    pub engine: String,
    pub disk_gb: String,
    pub flushed: String,
    pub retrying: bool,
    /// Told in the way of an earlier release, attribute by attribute.
    #[serde(skip)]
    pub older: bool,
}

impl Document {
    /// From the guest attributes of our namespace.
    pub fn of_attributes(items: &[Value]) -> Option<Self> {
        let value = |key: &str| {
            let found = items.iter().find(|item| item["key"] == key);
            found.and_then(|item| item["value"].as_str()).unwrap_or_default().to_owned()
        };
        let document = serde_json::from_str::<Self>(&value("status")).ok();
        let older = Self {
            stage: value("stage"),
            message: value("message"),
            updated: value("updated"),
            wanted: value("wanted"),
            wanted_certificate: value("wanted-certificate"),
            bundle: value("bundle"),
            certificate: value("certificate"),
            engine: value("engine"),
            disk_gb: value("disk-gb"),
            flushed: value("flushed"),
            older: true,
            ..Self::default()
        };
        match document {
            // A machine that went back to a bundle of an earlier release speaks as that does.
            Some(document) if older.updated <= document.updated => Some(document),
            _ if !older.stage.is_empty() => Some(older),
            document => document,
        }
    }

    /// Whether the machine was started again, as the API says it, after it told this.
    fn is_before(&self, last_start: &str) -> bool {
        let time = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
        match (time(&self.booted), time(last_start)) {
            (Some(booted), Some(started)) => booted.unix_timestamp() < started.unix_timestamp(),
            _ => false,
        }
    }
}

/// What the serial port has shown so far.
#[derive(Debug, Default)]
pub(super) struct Serial {
    /// The beginning of a line that is not whole yet.
    rest: String,
    /// The newest document.
    pub last: Option<Document>,
    /// The machine has booted after it.
    pub restarted: bool,
    /// Our scripts have said something since that boot, document or not.
    spoken: bool,
    /// A document has come while we looked, and no boot since.
    pub live: bool,
    /// Something was read before.
    begun: bool,
    /// A bundle of an earlier release has come to an end after it.
    pub older: bool,
}

impl Serial {
    pub fn feed(&mut self, text: &str) {
        self.rest.push_str(text);
        let whole = self.rest.rfind('\n').map_or(0, |end| end.saturating_add(1));
        let lines: String = self.rest.drain(..whole).collect();
        lines.lines().for_each(|line| self.line(line));
        self.begun = true;
        if self.rest.len() > LONGEST_LINE {
            self.rest.clear();
        }
    }

    fn line(&mut self, line: &str) {
        // The engine's own words are other people's: they may look like anything.
        if line.contains("mimir[") {
            return;
        }
        if let Some((_, document)) = line.split_once(MARK) {
            if let Ok(document) = serde_json::from_str::<Document>(document.trim()) {
                self.last = Some(document);
                self.live = self.begun;
                (self.restarted, self.older) = (false, false);
            }
        } else if BOOTS.iter().any(|words| line.contains(words)) {
            (self.restarted, self.spoken, self.live) = (true, false, false);
        } else if line.contains("dorainfra: ") {
            self.spoken = true;
            // Our own say so just before the document that says the same.
            self.older |= ENDS.iter().any(|words| line.contains(words));
        }
    }
}

/// The newest document, and whether it is of the boot that runs. `anew`: the attribute
/// was written while we looked, so the machine lives, whatever any clock says.
pub(super) fn newest(
    serial: &Serial,
    attribute: Option<&Document>,
    anew: bool,
    last_start: &str,
) -> Option<(Document, bool)> {
    let (document, current) = match (&serial.last, attribute) {
        (Some(shown), Some(kept)) if kept.older && kept.updated <= shown.updated => {
            (shown, !serial.restarted)
        }
        // It shows no documents.
        (_, Some(kept)) if kept.older => (kept, !serial.restarted || serial.spoken),
        // What is newer than all that is shown was not shown, for whatever reason.
        (Some(shown), Some(kept)) if kept.seq > shown.seq => {
            (kept, !serial.restarted || kept.boot != shown.boot || anew)
        }
        (Some(shown), _) => (shown, !serial.restarted),
        (None, Some(kept)) => (kept, !serial.restarted || anew),
        (None, None) => return None,
    };
    let alive = anew || serial.live;
    Some((document.clone(), current && (alive || !document.is_before(last_start))))
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;

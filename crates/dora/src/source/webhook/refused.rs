//! Deliveries of somebody who knows the secret that say what can't be: kept beside
//! the journal with the reason, for a person to look at, up to a size.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::super::store::beside;

/// The largest payload that is kept; of a larger one the reason is.
const LARGEST: usize = 256 * 1024;
/// Once the file is so large, nothing is added to it.
const FULL: u64 = 16 << 20;

pub(super) struct Refused(PathBuf);

impl Refused {
    /// Beside the journal: `webhooks.jsonl.refused`.
    pub fn of(journal: &Path) -> Self {
        Self(beside(journal, ".refused"))
    }

    /// Appends one line; `false`: there is no room left.
    pub fn keep(&self, id: &str, event: &str, reason: &str, body: &[u8]) -> io::Result<bool> {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.0)?;
        if file.metadata()?.len() >= FULL {
            return Ok(false);
        }
        let payload = (body.len() <= LARGEST).then(|| String::from_utf8_lossy(body));
        let line = json!({"id": id, "event": event, "refused": reason, "payload": payload});
        file.write_all(format!("{line}\n").as_bytes())?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_kept_with_its_reason_and_not_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let refused = Refused::of(&folder.path().join("webhooks.jsonl"));
        assert!(refused.keep("7", "push", "its id is empty", b"{\"a\":1}").unwrap());
        assert!(refused.keep("8", "push", "too long ago", &vec![b'x'; LARGEST + 1]).unwrap());
        let path = folder.path().join("webhooks.jsonl.refused");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["payload"], "{\"a\":1}");
        assert_eq!((&lines[1]["refused"], &lines[1]["payload"]), (&json!("too long ago"), &json!(null)));
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(FULL).unwrap();
        assert!(!refused.keep("9", "push", "again", b"").unwrap(), "nobody is told that it is kept");
        assert_eq!(file.metadata().unwrap().len(), FULL);
    }
}

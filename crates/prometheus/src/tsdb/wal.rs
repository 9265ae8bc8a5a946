//! The write-ahead log of a Prometheus agent, read: what it has scraped, delivered or
//! not. Pages of 32 KiB, in them pieces of records, each with its checksum; a record that
//! was being written when the agent ended is none.
//!
//! Plain samples only: exemplars, metadata and native histograms are passed over.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, reason = "numbers of others are computed with"))]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bits::{read_uvarint, read_varint};

const PAGE: usize = 32 * 1024;
const HEADER: usize = 7;
/// No record of an agent is longer; what says that it is, is damaged.
const LONGEST: usize = 64 << 20;
const SNAPPY: u8 = 1 << 3;
const ZSTD: u8 = 1 << 4;

/// Name and value, as they were scraped.
pub type Labels = Arc<[(String, String)]>;

/// A sample of a series: milliseconds since 1970 (UTC), value.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged {
    pub labels: Labels,
    pub time: i64,
    pub value: f64,
}

/// The files of a log in the order in which they are read: a checkpoint first, which
/// stands for all before it.
pub fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let numbered = |folder: &Path, prefix: &str| -> io::Result<Vec<(u64, PathBuf)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let number = entry.file_name().to_str().and_then(|name| name.strip_prefix(prefix)?.parse().ok());
            found.extend(number.map(|number| (number, entry.path())));
        }
        found.sort();
        Ok(found)
    };
    let checkpoint = numbered(folder, "checkpoint.")?.pop();
    let mut files = Vec::new();
    if let Some((_, folder)) = &checkpoint {
        files.extend(numbered(folder, "")?);
    }
    let after = checkpoint.map(|(number, _)| number);
    let segments = numbered(folder, "")?.into_iter();
    files.extend(segments.filter(|(number, _)| after.is_none_or(|after| *number > after)));
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

/// The records of one file.
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// One piece of a record: its kind with how it is packed, and what it holds.
    fn piece(&mut self) -> Option<(u8, &'a [u8])> {
        loop {
            let left = PAGE.saturating_sub(self.at.checked_rem(PAGE)?);
            let kind = *self.bytes.get(self.at)?;
            if left < HEADER || kind & 7 == 0 {
                // The rest of a page is filled up.
                self.at = self.at.checked_add(left)?;
                continue;
            }
            let header = self.bytes.get(self.at..self.at.checked_add(HEADER)?)?;
            let [_, high, low, sum @ ..] = header else { return None };
            let sum: [u8; 4] = sum.try_into().ok()?;
            let start = self.at.checked_add(HEADER)?;
            let end = start.checked_add(usize::from(u16::from_be_bytes([*high, *low])))?;
            let body = self.bytes.get(start..end)?;
            if crc32c::crc32c(body) != u32::from_be_bytes(sum) {
                return None;
            }
            self.at = end;
            return Some((kind, body));
        }
    }
}

impl Iterator for Records<'_> {
    type Item = Vec<u8>;

    /// `None` also where the rest is damaged, or was not written to its end.
    fn next(&mut self) -> Option<Vec<u8>> {
        let mut whole = Vec::new();
        loop {
            let (kind, body) = self.piece()?;
            match kind & 7 {
                1 | 2 if whole.is_empty() => {}
                3 | 4 if !whole.is_empty() => {}
                _ => return None,
            }
            whole.extend_from_slice(body);
            if whole.len() > LONGEST {
                return None;
            }
            if matches!(kind & 7, 1 | 4) {
                return match kind & (SNAPPY | ZSTD) {
                    0 => Some(whole),
                    SNAPPY if snap::raw::decompress_len(&whole).is_ok_and(|length| length <= LONGEST) => {
                        snap::raw::Decoder::new().decompress_vec(&whole).ok()
                    }
                    _ => None,
                };
            }
        }
    }
}

/// A log while it is read: records tell series once, and samples by their numbers.
#[derive(Default)]
pub struct Log {
    series: BTreeMap<u64, Labels>,
}

impl Log {
    /// Takes a record in, and adds its samples; what cannot be read of it is left out.
    pub fn take(&mut self, record: &[u8], samples: &mut Vec<Logged>) {
        let Some((kind, mut rest)) = record.split_first() else { return };
        match kind {
            1 => while self.series(&mut rest).is_some() {},
            2 => {
                let Some((first, base)) = number(&mut rest).zip(number(&mut rest)) else { return };
                while let Some(sample) = self.sample(&mut rest, first, base.cast_signed()) {
                    samples.extend(sample);
                }
            }
            _ => {}
        }
    }

    fn series(&mut self, rest: &mut &[u8]) -> Option<()> {
        let reference = number(rest)?;
        let count = read_uvarint(rest)?;
        let mut labels = Vec::new();
        for _ in 0..count {
            labels.push((text(rest)?, text(rest)?));
        }
        self.series.insert(reference, labels.into());
        Some(())
    }

    /// The inner `None`: of a series that was never told.
    fn sample(&self, rest: &mut &[u8], first: u64, base: i64) -> Option<Option<Logged>> {
        let reference = first.wrapping_add_signed(read_varint(rest)?);
        let time = base.wrapping_add(read_varint(rest)?);
        let value = f64::from_bits(number(rest)?);
        Some(self.series.get(&reference).map(|labels| Logged { labels: Arc::clone(labels), time, value }))
    }
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let (bytes, more) = rest.split_first_chunk::<8>()?;
    *rest = more;
    Some(u64::from_be_bytes(*bytes))
}

fn text(rest: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(read_uvarint(rest)?).ok()?;
    let (text, more) = rest.split_at_checked(length)?;
    *rest = more;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tsdb::bits::{uvarint, varint};

    fn series(reference: u64, labels: &[(&str, &str)]) -> Vec<u8> {
        let mut record = vec![1];
        record.extend(reference.to_be_bytes());
        uvarint(&mut record, labels.len() as u64);
        for text in labels.iter().flat_map(|(name, value)| [name, value]) {
            uvarint(&mut record, text.len() as u64);
            record.extend(text.as_bytes());
        }
        record
    }

    fn samples(samples: &[(u64, i64, f64)]) -> Vec<u8> {
        let (reference, time, _) = samples[0];
        let mut record = vec![2];
        record.extend(reference.to_be_bytes());
        record.extend(time.to_be_bytes());
        for (other, at, value) in samples {
            varint(&mut record, other.wrapping_sub(reference) as i64);
            varint(&mut record, at - time);
            record.extend(value.to_bits().to_be_bytes());
        }
        record
    }

    /// As the log writes records: over the ends of pages, in pieces.
    fn written(records: &[Vec<u8>], pack: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        for record in records {
            let packed =
                if pack { snap::raw::Encoder::new().compress_vec(record).unwrap() } else { record.clone() };
            let (mut rest, mut first) = (packed.as_slice(), true);
            loop {
                let left = PAGE - bytes.len() % PAGE;
                if left < HEADER {
                    bytes.resize(bytes.len() + left, 0);
                    continue;
                }
                let now = rest.len().min(left - HEADER);
                let last = now == rest.len();
                let kind = match (first, last) {
                    (true, true) => 1,
                    (true, false) => 2,
                    (false, false) => 3,
                    (false, true) => 4,
                };
                bytes.push(kind | if pack { SNAPPY } else { 0 });
                bytes.extend((now as u16).to_be_bytes());
                bytes.extend(crc32c::crc32c(&rest[..now]).to_be_bytes());
                bytes.extend(&rest[..now]);
                (rest, first) = (&rest[now..], false);
                if last {
                    break;
                }
            }
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Vec<Logged> {
        let (mut log, mut found) = (Log::default(), Vec::new());
        Records::of(bytes).for_each(|record| log.take(&record, &mut found));
        found
    }

    #[test]
    fn samples_come_back_from_packed_records_over_the_ends_of_pages() {
        let long = "x".repeat(100_000);
        let labels = [("__name__", "up"), ("job", long.as_str())];
        let many: Vec<(u64, i64, f64)> = (0..9_000).map(|n| (7, 1_000 + n * 15, n as f64 * 0.1)).collect();
        for pack in [false, true] {
            let records = [series(7, &labels), samples(&many), samples(&[(8, 5, 1.0), (7, 6, f64::NAN)])];
            let bytes = written(&records, pack);
            let found = read(&bytes);
            assert_eq!(found.len(), 9_001, "one is of a series that was never told");
            assert_eq!(&*found[0].labels, labels.map(|(name, value)| (name.to_owned(), value.to_owned())));
            let last = &found[8_999];
            assert_eq!((last.time, last.value), (1_000 + 8_999 * 15, 8_999.0 * 0.1));
            assert!(found[9_000].value.is_nan());
            // What was not written to its end, and what comes after a damage, is left out.
            assert_eq!(read(&bytes[..bytes.len() - 1]).len(), 9_000);
            let mut damaged = bytes.clone();
            damaged[40_000] ^= 1;
            assert!(read(&damaged).is_empty());
        }
    }

    #[test]
    fn a_checkpoint_stands_for_what_is_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        std::fs::create_dir_all(at("checkpoint.00000002")).unwrap();
        for file in ["00000001", "00000002", "00000003", "00000010", "checkpoint.00000002/00000000"] {
            std::fs::write(at(file), "").unwrap();
        }
        let expected = ["checkpoint.00000002/00000000", "00000003", "00000010"].map(at);
        assert_eq!(files(folder.path()).unwrap(), expected);
    }

    /// Rewrites what its fuzzing begins with.
    #[test]
    #[ignore = "writes a fixture"]
    fn the_corpus_is_written() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/fuzz/wal");
        std::fs::create_dir_all(&folder).unwrap();
        let records = [series(7, &[("__name__", "up")]), samples(&[(7, 1_000, 1.0), (7, 2_000, 0.0)])];
        for (name, pack) in [("plain", false), ("packed", true)] {
            std::fs::write(folder.join(name), written(&records, pack)).unwrap();
        }
    }

    #[test]
    fn nothing_makes_it_panic() {
        dorainfra_testutils::fuzzing::five_seconds("wal", |bytes| {
            read(bytes);
            let (mut log, mut found) = (Log::default(), Vec::new());
            log.take(bytes, &mut found);
        });
    }
}

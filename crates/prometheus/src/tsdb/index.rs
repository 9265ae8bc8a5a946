//! The index of a block, version 2 of the format: which series there are, which
//! chunks each has, and which series a label's value leads to.

use std::collections::BTreeMap;
use std::ops::Range;

use super::bits::{uvarint, varint};

pub(super) const MAGIC: u32 = 0xBAAA_D700;
pub(super) const VERSION: u8 = 2;
/// References to series count in these.
pub(super) const SERIES_ALIGNMENT: usize = 16;

/// All labels of a series, its name among them, sorted.
pub(super) type Labels = [(String, String)];

/// Where a chunk is, and which times it has, both included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub min: i64,
    pub max: i64,
    /// The beginning in the file of chunks.
    pub at: u64,
}

/// An index of series that are sorted by their labels, whose chunks follow each
/// other in that order.
pub(super) fn index<'a>(series: impl Iterator<Item = (&'a Labels, &'a [Place])> + Clone) -> Vec<u8> {
    let mut file = File::default();
    file.bytes.extend(MAGIC.to_be_bytes());
    file.bytes.push(VERSION);

    let symbols_at = file.at();
    let symbols = symbols(series.clone());
    file.section(|body| {
        body.extend((symbols.len() as u32).to_be_bytes());
        symbols.keys().for_each(|symbol| text(body, symbol));
    });

    let series_at = file.at();
    let mut all = Vec::new();
    let mut postings: BTreeMap<(&str, &str), Vec<u32>> = BTreeMap::new();
    for (labels, places) in series {
        file.align(SERIES_ALIGNMENT);
        let reference = (file.at() as usize / SERIES_ALIGNMENT) as u32;
        all.push(reference);
        for (name, value) in labels {
            postings.entry((name, value)).or_default().push(reference);
        }
        file.series(labels, places, &symbols);
    }

    // The lists of values by name, which nobody reads any more, are left out.
    let lists_at = file.at();
    let mut offsets = Vec::new();
    for ((name, value), references) in std::iter::once((("", ""), all)).chain(postings) {
        file.align(4);
        offsets.push((name, value, file.at()));
        file.section(|body| {
            body.extend((references.len() as u32).to_be_bytes());
            references.iter().for_each(|reference| body.extend(reference.to_be_bytes()));
        });
    }
    let postings_at = offsets.first().map_or(lists_at, |(_, _, at)| *at);

    let table_at = file.at();
    file.section(|body| {
        body.extend((offsets.len() as u32).to_be_bytes());
        for (name, value, at) in &offsets {
            uvarint(body, 2);
            text(body, name);
            text(body, value);
            uvarint(body, *at);
        }
    });

    let contents = [symbols_at, series_at, lists_at, table_at, postings_at, table_at];
    let begin = file.bytes.len();
    contents.iter().for_each(|at| file.bytes.extend(at.to_be_bytes()));
    file.checksum(begin..file.bytes.len());
    file.bytes
}

/// Every text that there is, and its number.
fn symbols<'a>(series: impl Iterator<Item = (&'a Labels, &'a [Place])>) -> BTreeMap<&'a str, u32> {
    let texts = series.flat_map(|(labels, _)| labels).flat_map(|(name, value)| [name, value]);
    let mut symbols: BTreeMap<&str, u32> = texts.map(|text| (text.as_str(), 0)).collect();
    symbols.values_mut().zip(0..).for_each(|(number, next)| *number = next);
    symbols
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    uvarint(bytes, text.len() as u64);
    bytes.extend(text.as_bytes());
}

#[derive(Default)]
struct File {
    bytes: Vec<u8>,
}

impl File {
    fn at(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn checksum(&mut self, of: Range<usize>) {
        let checksum = crc32c::crc32c(&self.bytes[of]);
        self.bytes.extend(checksum.to_be_bytes());
    }

    /// A length of four bytes, what has that length, and its checksum.
    fn section(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let begin = self.bytes.len() + 4;
        self.bytes.extend([0; 4]);
        write(&mut self.bytes);
        let end = self.bytes.len();
        self.bytes[begin - 4..begin].copy_from_slice(&((end - begin) as u32).to_be_bytes());
        self.checksum(begin..end);
    }

    fn series(&mut self, labels: &Labels, places: &[Place], symbols: &BTreeMap<&str, u32>) {
        let mut body = Vec::new();
        uvarint(&mut body, labels.len() as u64);
        for (name, value) in labels {
            uvarint(&mut body, symbols[name.as_str()].into());
            uvarint(&mut body, symbols[value.as_str()].into());
        }
        uvarint(&mut body, places.len() as u64);
        let mut before: Option<&Place> = None;
        for place in places {
            match before {
                None => varint(&mut body, place.min),
                Some(before) => uvarint(&mut body, (place.min - before.max) as u64),
            }
            uvarint(&mut body, (place.max - place.min) as u64);
            match before {
                None => uvarint(&mut body, place.at),
                Some(before) => varint(&mut body, (place.at - before.at) as i64),
            }
            before = Some(place);
        }
        uvarint(&mut self.bytes, body.len() as u64);
        let begin = self.bytes.len();
        self.bytes.extend(body);
        self.checksum(begin..self.bytes.len());
    }
}

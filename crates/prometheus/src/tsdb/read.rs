//! Reads a block, whoever wrote it, and believes none of it: every byte of index and
//! chunks is under a checksum or has to be what the format says, and what the block
//! says of itself has to be what is in it.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use super::bits::{read_uvarint, read_varint};
use super::chunk::Encoding;
use super::decode::{self, Decoded};
use super::index::{MAGIC, SERIES_ALIGNMENT, VERSION};
use super::{CHUNKS_MAGIC, CHUNKS_VERSION, Meta, Stats};

/// Offsets of six parts of an index and a checksum, at its end.
const CONTENTS: usize = 6 * 8 + 4;
/// Where the first chunk of a file begins.
const CHUNKS_BEGIN: usize = 8;

/// Why a block cannot be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// `index`, `chunks/000001`, `meta.json`.
    pub file: String,
    pub what: String,
}

impl Damage {
    pub fn of(file: impl Into<String>, what: impl Into<String>) -> Self {
        Self { file: file.into(), what: what.into() }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.what)
    }
}

impl std::error::Error for Damage {}

/// The name of a file of chunks: 1 is the first.
pub fn chunks_file(number: usize) -> String {
    format!("chunks/{number:06}")
}

/// A block whose every byte is what it should be.
pub struct Reading<'a> {
    pub series: Vec<Entry<'a>>,
}

/// A series of a block.
pub struct Entry<'a> {
    /// Sorted, the metric's name among them as `__name__`.
    pub labels: Vec<(&'a str, &'a str)>,
    pub chunks: Vec<Stored<'a>>,
}

/// A chunk of a series, not decoded yet.
#[derive(Clone)]
pub struct Stored<'a> {
    /// Its times, both included: milliseconds since 1970 (UTC).
    pub min: i64,
    pub max: i64,
    encoding: u8,
    data: &'a [u8],
    file: usize,
    at: usize,
}

impl Stored<'_> {
    /// Its samples.
    ///
    /// # Errors
    /// It is of another kind than plain samples and native histograms of whole
    /// numbers, or holds something else than the index says.
    pub fn decode(&self) -> Result<Decoded, Damage> {
        let damage = |what: String| Damage::of(chunks_file(self.file + 1), what);
        let encoding = match self.encoding {
            1 => Encoding::Plain,
            2 => Encoding::Native,
            other => return Err(damage(format!("the encoding {other} of a chunk is not known"))),
        };
        let decoded = decode::decode(encoding, self.data);
        let decoded = decoded.ok_or_else(|| damage(format!("the chunk at {} ends too early", self.at)))?;
        let times = decoded.times();
        let ascending = times.windows(2).all(|pair| pair[0] < pair[1]);
        let within = times.iter().all(|time| (self.min..=self.max).contains(time));
        match ascending && within {
            true => Ok(decoded),
            false => Err(damage(format!("the chunk at {} has other times than the index says", self.at))),
        }
    }
}

/// Reads a block's index and its files of chunks, in their order.
///
/// # Errors
/// The first part that is not what it should be.
pub fn read<'a>(meta: &Meta, index: &'a [u8], chunks: &'a [impl AsRef<[u8]>]) -> Result<Reading<'a>, Damage> {
    let files = chunks.iter().enumerate().map(|(number, file)| {
        segment(file.as_ref(), number).map_err(|what| Damage::of(chunks_file(number + 1), what))
    });
    let files = files.collect::<Result<Vec<_>, _>>()?;
    let index = Index { bytes: index };
    let listed = index.read().map_err(|what| Damage::of("index", what))?;

    let mut stats = Stats { num_series: listed.len() as u64, ..Stats::default() };
    let mut series = Vec::with_capacity(listed.len());
    for (labels, places) in listed {
        let mut entry = Entry { labels, chunks: Vec::with_capacity(places.len()) };
        for (min, max, reference) in places {
            // The number of the file, and the place in it.
            let (file, at) = ((reference >> 32) as usize, (reference & 0xffff_ffff) as usize);
            let chunk = files.get(file).and_then(|chunks| chunks.get(&at));
            let chunk = chunk.ok_or_else(|| {
                Damage::of("index", format!("no chunk begins at {at} of {}", chunks_file(file + 1)))
            })?;
            if min < meta.min_time || max >= meta.max_time || max < min {
                let what = format!("a chunk of {min} to {max} lies outside of the block's times");
                return Err(Damage::of("index", what));
            }
            stats.num_chunks += 1;
            stats.num_samples += u64::from(decode::count(chunk.data).unwrap_or_default());
            entry.chunks.push(Stored { min, max, file, ..chunk.clone() });
        }
        series.push(entry);
    }
    let said = meta.stats;
    for (what, said, found) in [
        ("samples", said.num_samples, stats.num_samples),
        ("series", said.num_series, stats.num_series),
        ("chunks", said.num_chunks, stats.num_chunks),
    ] {
        if said != found {
            return Err(Damage::of("meta.json", format!("says {said} {what}, but there are {found}")));
        }
    }
    Ok(Reading { series })
}

/// The chunks of a file by where they begin, read one after the other, so that no
/// byte is left out.
fn segment(bytes: &[u8], file: usize) -> Result<HashMap<usize, Stored<'_>>, String> {
    let mut begin = CHUNKS_MAGIC.to_be_bytes().to_vec();
    begin.extend((CHUNKS_VERSION << 24).to_be_bytes());
    if !bytes.starts_with(&begin) {
        return Err("does not begin as a file of chunks of version 1".into());
    }
    let mut chunks = HashMap::new();
    let mut at = CHUNKS_BEGIN;
    while at < bytes.len() {
        let mut rest = &bytes[at..];
        let length = read_uvarint(&mut rest).and_then(|length| usize::try_from(length).ok());
        // The encoding is one byte more.
        let end = length.and_then(|length| length.checked_add(1));
        let (Some(end), before) = (end, bytes.len() - rest.len()) else {
            return Err(format!("the chunk at {at} has no length"));
        };
        let body = rest.get(..end).ok_or_else(|| format!("the chunk at {at} ends after the file"))?;
        let sum = rest.get(end..).and_then(|rest| rest.first_chunk());
        if sum.map(|sum| u32::from_be_bytes(*sum)) != Some(crc32c::crc32c(body)) {
            return Err(format!("the chunk at {at} does not have its checksum"));
        }
        let (encoding, data) = (body[0], &body[1..]);
        chunks.insert(at, Stored { min: 0, max: 0, encoding, data, file, at });
        at = before + end + 4;
    }
    Ok(chunks)
}

/// A series' labels, and of each of its chunks the times and the reference.
type Listed<'a> = (Vec<(&'a str, &'a str)>, Vec<(i64, i64, u64)>);

struct Index<'a> {
    bytes: &'a [u8],
}

impl<'a> Index<'a> {
    fn read(&self) -> Result<Vec<Listed<'a>>, String> {
        let mut begin = MAGIC.to_be_bytes().to_vec();
        begin.push(VERSION);
        if !self.bytes.starts_with(&begin) {
            return Err("does not begin as an index of version 2".into());
        }
        let end = self.bytes.len().checked_sub(CONTENTS).filter(|end| *end >= begin.len());
        let end = end.ok_or("is too short for an index")?;
        let (offsets, sum) = self.bytes[end..].split_at(CONTENTS - 4);
        if sum != crc32c::crc32c(offsets).to_be_bytes() {
            return Err("its table of contents does not have its checksum".into());
        }
        let mut starts = offsets.chunks_exact(8).map(|offset| {
            let offset = offset.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
            usize::try_from(offset).unwrap_or(usize::MAX)
        });
        let (symbols_at, series_at) = starts.next().zip(starts.next()).ok_or("has no table of contents")?;
        let starts: Vec<usize> = starts.collect();
        // The two tables follow what is before them at once; everything else is aligned.
        let tables = [starts[1], starts[3]];
        // Of what an index does not have, it says zero.
        let mut starts: Vec<usize> = starts.into_iter().filter(|start| *start > 0).collect();
        starts.push(end);
        starts.sort_unstable();
        if symbols_at != begin.len() || series_at < symbols_at || starts[0] < series_at {
            return Err("its parts are not in their order".into());
        }
        if starts.last() != Some(&end) {
            return Err("a part of it begins after its end".into());
        }

        let (symbols, after) = self.section(symbols_at, series_at)?;
        self.padding(after..series_at)?;
        let symbols = texts(symbols).ok_or("its symbols cannot be read")?;
        let series = self.series(series_at..starts[0], &symbols)?;
        // Which series a label leads to: only Mimir needs it, but it does.
        let mut at = starts[0];
        for start in starts {
            while at < start {
                let aligned = match tables.contains(&at) {
                    true => at,
                    false => at.next_multiple_of(4).min(start),
                };
                self.padding(at..aligned)?;
                if aligned < start {
                    at = self.section(aligned, start)?.1;
                } else {
                    at = start;
                }
            }
        }
        Ok(series)
    }

    /// What a section holds, and where it ends.
    fn section(&self, at: usize, before: usize) -> Result<(&'a [u8], usize), String> {
        let bytes = &self.bytes[at..before];
        let too_long = || format!("the part at {at} is longer than its place");
        let length = bytes.first_chunk().map(|length| u32::from_be_bytes(*length) as usize);
        let length = length.ok_or_else(too_long)?;
        let body = bytes.get(4..4 + length).ok_or_else(too_long)?;
        let sum = bytes.get(4 + length..8 + length).ok_or_else(too_long)?;
        if sum != crc32c::crc32c(body).to_be_bytes() {
            return Err(format!("the part at {at} does not have its checksum"));
        }
        Ok((body, at + 8 + length))
    }

    fn padding(&self, range: Range<usize>) -> Result<(), String> {
        match self.bytes[range.clone()].iter().all(|byte| *byte == 0) {
            true => Ok(()),
            false => Err(format!("something stands at {} between two parts", range.start)),
        }
    }

    fn series(&self, range: Range<usize>, symbols: &[&'a str]) -> Result<Vec<Listed<'a>>, String> {
        let mut all: Vec<Listed<'a>> = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let aligned = at.next_multiple_of(SERIES_ALIGNMENT).min(range.end);
            self.padding(at..aligned)?;
            // Padding of what follows, which is aligned otherwise.
            if self.bytes[aligned..range.end].iter().all(|byte| *byte == 0) {
                break;
            }
            let mut rest = &self.bytes[aligned..range.end];
            let too_long = || format!("the series at {aligned} is longer than its place");
            let length = read_uvarint(&mut rest).and_then(|length| usize::try_from(length).ok());
            let length = length.filter(|length| *length <= rest.len()).ok_or_else(too_long)?;
            let (body, after) = rest.split_at(length);
            let sum = after.get(..4).ok_or_else(too_long)?;
            if sum != crc32c::crc32c(body).to_be_bytes() {
                return Err(format!("the series at {aligned} does not have its checksum"));
            }
            let one = one(body, symbols).ok_or_else(|| format!("the series at {aligned} cannot be read"))?;
            if all.last().is_some_and(|(before, _)| *before >= one.0) {
                return Err(format!("the series at {aligned} is not in its order"));
            }
            all.push(one);
            at = range.end - after.len() + 4;
        }
        Ok(all)
    }
}

fn texts(mut bytes: &[u8]) -> Option<Vec<&str>> {
    let count = u32::from_be_bytes(*bytes.first_chunk()?);
    bytes = &bytes[4..];
    let mut texts = Vec::new();
    for _ in 0..count {
        let length = usize::try_from(read_uvarint(&mut bytes)?).ok()?;
        let (text, rest) = bytes.split_at_checked(length)?;
        texts.push(std::str::from_utf8(text).ok()?);
        bytes = rest;
    }
    bytes.is_empty().then_some(texts)
}

fn one<'a>(mut body: &[u8], symbols: &[&'a str]) -> Option<Listed<'a>> {
    let body = &mut body;
    let symbol = |body: &mut &[u8]| symbols.get(usize::try_from(read_uvarint(body)?).ok()?).copied();
    let mut labels = Vec::new();
    for _ in 0..read_uvarint(body)? {
        labels.push((symbol(body)?, symbol(body)?));
    }
    let mut places: Vec<(i64, i64, u64)> = Vec::new();
    for _ in 0..read_uvarint(body)? {
        let (min, base) = match places.last() {
            None => (read_varint(body)?, None),
            Some((_, max, at)) => (max.checked_add_unsigned(read_uvarint(body)?)?, Some(*at)),
        };
        let max = min.checked_add_unsigned(read_uvarint(body)?)?;
        let at = match base {
            None => read_uvarint(body)?,
            Some(base) => base.checked_add_signed(read_varint(body)?)?,
        };
        places.push((min, max, at));
    }
    body.is_empty().then_some((labels, places))
}

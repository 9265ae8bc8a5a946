//! A history as blocks of Prometheus's TSDB: what Mimir keeps in its bucket, made
//! here and not by its ingester, whose head would hold a year in 4,380 ranges of two
//! hours. How blocks get into the bucket is [`super::upload`]'s.
//!
//! The same samples are the same bytes under the same name, so that whoever sends
//! a block again finds it there. A block has all series of one [`Window`], because
//! what many blocks hold takes long to find; so the history is read once for some
//! windows at a time, and never held whole.
//!
//! Blocks know no exemplars.
//!
//! What is in a block, whoever wrote it, [`read()`] tells.

mod bits;
mod chunk;
mod decode;
mod index;
mod meta;
mod read;
pub mod wal;

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{Past, Samples, Series};
use chunk::{Encoding, MOST_SAMPLES};
pub use decode::Decoded;
use index::Place;
pub use meta::{Meta, Stats};
pub use read::{Damage, Entry, Reading, Stored, chunks_file, read};

/// The times of one block: milliseconds since 1970 (UTC), the end not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    pub start: i64,
    pub end: i64,
}

/// What the compactor's largest range is set to (templates/vm/mimir.yaml.j2): a week.
/// Days, which is as far as Mimir goes by itself, would make 365 blocks of a year,
/// each with an index of all series.
pub const RANGE: i64 = 7 * DAY;
const DAY: i64 = 24 * 60 * 60 * 1000;
/// No block may reach across a bound of such a range, and there are two opinions on
/// where these are: the compactor counts from 1970-01-01, a Thursday, and the API for
/// uploads from the year 1, on a Monday. So a block ends at both.
const BOUNDS: [i64; 2] = [0, 4 * DAY];

/// Plain samples, or what takes as much room, that are encoded at once at most: some
/// 20 bytes each where there is one a day.
const HELD: u64 = 1_000_000;

/// The name of the only file of chunks; a window has far less than the 512 MB that
/// one may hold.
pub const CHUNKS: &str = "chunks/000001";
pub const INDEX: &str = "index";

const CHUNKS_MAGIC: u32 = 0x85BD_40DD;
const CHUNKS_VERSION: u32 = 1;

/// What is uploaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    pub meta: Meta,
    pub index: Bytes,
    pub chunks: Bytes,
}

/// The windows that hold a history's samples before some moment.
pub fn windows(past: &dyn Past, before: i64) -> Vec<Window> {
    let Some(oldest) = past.extent().oldest else { return Vec::new() };
    let mut windows = Vec::new();
    let mut start = BOUNDS.map(|bound| (oldest - bound).div_euclid(RANGE) * RANGE + bound).into_iter().max();
    while let Some(at) = start.filter(|at| *at < before) {
        let next = BOUNDS.map(|bound| ((at - bound).div_euclid(RANGE) + 1) * RANGE + bound).into_iter().min();
        windows.push(Window { start: at, end: next.unwrap_or(before).min(before) });
        start = next;
    }
    windows
}

/// The samples in some windows.
pub fn samples(past: &dyn Past, windows: &[Window]) -> u64 {
    let of = |series: &Series| -> u64 {
        let times: Vec<i64> = series.samples.times().collect();
        let before = |time| times.partition_point(|at| *at < time) as u64;
        windows.iter().map(|window| before(window.end) - before(window.start)).sum()
    };
    past.series().map(|series| of(&series)).sum()
}

/// A block for each of the windows that has samples, in the order of time.
pub fn blocks<'a>(past: &'a dyn Past, windows: &'a [Window]) -> impl Iterator<Item = Block> + Send + 'a {
    let extent = past.extent();
    let all =
        extent.oldest.zip(extent.newest).map_or(1, |(oldest, newest)| 2 * (newest - oldest) / RANGE + 1);
    let each = (extent.weight / all.unsigned_abs()).max(1);
    let at_once = (HELD / each).max(1);
    windows.chunks(usize::try_from(at_once).unwrap_or(usize::MAX)).flat_map(|group| together(past, group))
}

/// The blocks of some windows, by reading the history once.
fn together(past: &dyn Past, windows: &[Window]) -> Vec<Block> {
    let mut builders: Vec<Builder> = windows.iter().map(|_| Builder::default()).collect();
    for series in past.series() {
        let labels: Arc<index::Labels> = labels(&series).into();
        for (builder, window) in builders.iter_mut().zip(windows) {
            builder.add(&labels, &series.samples, *window);
        }
    }
    builders.into_iter().filter_map(Builder::finish).collect()
}

fn labels(series: &Series) -> Vec<(String, String)> {
    let name = ("__name__", series.name);
    let mut labels: Vec<_> = std::iter::once(name)
        .chain(series.labels.iter())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    labels.sort();
    labels
}

/// A chunk that has no place yet.
struct Chunk {
    min: i64,
    max: i64,
    samples: u32,
    encoding: Encoding,
    /// Its end in the data; it begins where the one before ends.
    end: u32,
}

/// A block that is being filled.
#[derive(Default)]
struct Builder {
    /// Each series, and the number of its first chunk.
    series: Vec<(Arc<index::Labels>, u32)>,
    chunks: Vec<Chunk>,
    data: Vec<u8>,
}

impl Builder {
    fn add(&mut self, labels: &Arc<index::Labels>, samples: &Samples, window: Window) {
        let first = self.chunks.len() as u32;
        match samples {
            Samples::Plain(samples) => {
                for part in within(samples, window).chunks(MOST_SAMPLES) {
                    self.chunk(part, Encoding::Plain, chunk::plain(part));
                }
            }
            Samples::Native(samples) => {
                let mut rest = within(samples, window);
                while !rest.is_empty() {
                    let (part, further) = rest.split_at(chunk::alike(rest));
                    self.chunk(part, Encoding::Native, chunk::native(part));
                    rest = further;
                }
            }
        }
        if self.chunks.len() as u32 > first {
            self.series.push((labels.clone(), first));
        }
    }

    fn chunk<S>(&mut self, samples: &[(i64, S)], encoding: Encoding, data: Vec<u8>) {
        let (Some((min, _)), Some((max, _))) = (samples.first(), samples.last()) else { return };
        self.data.extend(data);
        let (samples, end) = (samples.len() as u32, self.data.len() as u32);
        self.chunks.push(Chunk { min: *min, max: *max, samples, encoding, end });
    }

    /// The block; none of an empty window.
    fn finish(self) -> Option<Block> {
        let ends = self.series.iter().skip(1).map(|(_, first)| *first).chain([self.chunks.len() as u32]);
        let ranges = self.series.iter().zip(ends);
        let mut series: Vec<_> =
            ranges.map(|((labels, first), end)| (labels, *first as usize..end as usize)).collect();
        series.sort_by(|a, b| a.0.cmp(b.0));

        let mut file = Vec::with_capacity(self.data.len() + 16 * self.chunks.len());
        file.extend(CHUNKS_MAGIC.to_be_bytes());
        // The version, and three bytes of padding.
        file.extend((CHUNKS_VERSION << 24).to_be_bytes());
        let mut stats = Stats { num_series: series.len() as u64, ..Stats::default() };
        let mut places = Vec::with_capacity(self.chunks.len());
        let mut indexed = Vec::with_capacity(series.len());
        for (labels, range) in series {
            let begin = places.len();
            for number in range {
                let chunk = &self.chunks[number];
                let start = number.checked_sub(1).map_or(0, |before| self.chunks[before].end);
                places.push(Place { min: chunk.min, max: chunk.max, at: file.len() as u64 });
                write(&mut file, chunk.encoding, &self.data[start as usize..chunk.end as usize]);
                stats.add(chunk.samples.into(), chunk.encoding == Encoding::Native);
            }
            indexed.push((&**labels, begin..places.len()));
        }
        let min = self.chunks.iter().map(|chunk| chunk.min).min()?;
        let max = self.chunks.iter().map(|chunk| chunk.max).max()? + 1;
        let index = index::index(indexed.iter().map(|(labels, range)| (*labels, &places[range.clone()])));
        let digest = Sha256::new().chain_update(&index).chain_update(&file).finalize();
        let meta = Meta::new(&digest, Window { start: min, end: max }, stats, index.len(), file.len());
        Some(Block { meta, index: index.into(), chunks: file.into() })
    }
}

/// A chunk as it stands in the file: length, encoding, data, checksum of the last two.
fn write(file: &mut Vec<u8>, encoding: Encoding, data: &[u8]) {
    bits::uvarint(file, data.len() as u64);
    let begin = file.len();
    file.push(encoding as u8);
    file.extend(data);
    let checksum = crc32c::crc32c(&file[begin..]);
    file.extend(checksum.to_be_bytes());
}

fn within<S>(samples: &[(i64, S)], window: Window) -> &[(i64, S)] {
    let begin = samples.partition_point(|(time, _)| *time < window.start);
    let end = samples.partition_point(|(time, _)| *time < window.end);
    &samples[begin..end]
}

#[cfg(test)]
mod tests;

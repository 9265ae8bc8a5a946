//! The samples of a chunk, whoever wrote it: [`super::chunk`], or Mimir when it
//! shipped or compacted. `None` is a chunk that ends too early or cannot be.

use std::sync::Arc;

use super::bits::Reader;
use super::chunk::{Encoding, THRESHOLD_BIAS};
use crate::native::{Bucket, Histogram, SCHEMA, ZERO_THRESHOLD};

/// Bounds of one's own instead of a schema.
const CUSTOM: i64 = -53;
/// The sum of a series that has ended.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// What a chunk holds, in the order of time: milliseconds since 1970 (UTC).
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded {
    Plain(Vec<(i64, f64)>),
    /// `None`: one that cannot be ours, of other buckets or with negative values.
    Native(Vec<(i64, Option<Histogram>)>),
}

impl Decoded {
    pub fn times(&self) -> Vec<i64> {
        match self {
            Self::Plain(samples) => samples.iter().map(|(time, _)| *time).collect(),
            Self::Native(samples) => samples.iter().map(|(time, _)| *time).collect(),
        }
    }
}

/// How many samples a chunk says that it has, of whatever encoding.
pub(super) fn count(data: &[u8]) -> Option<u16> {
    data.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

pub(super) fn decode(encoding: Encoding, data: &[u8]) -> Option<Decoded> {
    match encoding {
        Encoding::Plain => Some(Decoded::Plain(plain(data)?)),
        Encoding::Native => Some(Decoded::Native(native(data)?)),
    }
}

/// Values that are told by the bits in which they differ.
#[derive(Default)]
struct Values {
    bits: u64,
    /// The zeros around the bits that were told last.
    before: u32,
    after: u32,
}

impl Values {
    fn first(&mut self, reader: &mut Reader<'_>) -> Option<f64> {
        self.bits = reader.bits(64)?;
        Some(f64::from_bits(self.bits))
    }

    fn next(&mut self, reader: &mut Reader<'_>) -> Option<f64> {
        if reader.bits(1)? == 1 {
            if reader.bits(1)? == 1 {
                self.before = reader.bits(5)? as u32;
                let length = match reader.bits(6)? as u32 {
                    0 => 64,
                    length => length,
                };
                self.after = 64u32.checked_sub(self.before + length)?;
            }
            self.bits ^= reader.bits(64 - self.before - self.after)? << self.after;
        }
        Some(f64::from_bits(self.bits))
    }
}

fn plain(data: &[u8]) -> Option<Vec<(i64, f64)>> {
    let mut reader = Reader::new(data);
    let (mut time, mut step, mut values) = (0i64, 0i64, Values::default());
    let count = reader.bits(16)?;
    let mut samples = Vec::with_capacity(count as usize);
    for index in 0..count {
        if index == 0 {
            time = reader.varint()?;
            samples.push((time, values.first(&mut reader)?));
            continue;
        }
        step = match index {
            1 => reader.uvarint()? as i64,
            _ => match reader.ones(4)? {
                0 => step,
                ones => step.wrapping_add(reader.signed([14, 17, 20, 64][ones as usize - 1])?),
            },
        };
        time = time.wrapping_add(step);
        samples.push((time, values.next(&mut reader)?));
    }
    Some(samples)
}

/// A number that is told by how much its growth changed.
#[derive(Clone, Copy, Default)]
struct Growing {
    value: i64,
    step: i64,
}

impl Growing {
    fn next(&mut self, reader: &mut Reader<'_>) -> Option<i64> {
        self.step = self.step.wrapping_add(reader.varbit()?);
        self.value = self.value.wrapping_add(self.step);
        Some(self.value)
    }
}

impl From<i64> for Growing {
    fn from(value: i64) -> Self {
        Self { value, step: 0 }
    }
}

/// Where the buckets of a chunk's histograms are.
struct Layout {
    /// By index.
    positive: Vec<i64>,
    negative: usize,
    /// Whether they are the ones that we count in.
    ours: bool,
}

impl Layout {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let threshold = match reader.bits(8)? as i32 {
            0 => 0.0,
            255 => f64::from_bits(reader.bits(64)?),
            exponent => 0.5 * 2f64.powi(exponent - THRESHOLD_BIAS),
        };
        let schema = reader.varbit()?;
        let positive = spans(reader)?;
        let negative = spans(reader)?.len();
        if schema == CUSTOM {
            for _ in 0..reader.uvarbit()? {
                // Thousandths, or the double itself after a zero.
                if reader.uvarbit()? == 0 {
                    reader.bits(64)?;
                }
            }
        }
        let ours = schema == i64::from(SCHEMA) && threshold == ZERO_THRESHOLD && negative == 0;
        Some(Self { positive, negative, ours })
    }

    fn histogram(&self, count: i64, zero: i64, sum: f64, deltas: &[Growing]) -> Option<Histogram> {
        let mut bucket = 0i64;
        let mut buckets = Vec::with_capacity(self.positive.len());
        for (index, delta) in self.positive.iter().zip(deltas) {
            bucket = bucket.checked_add(delta.value)?;
            // Where chunks are merged, all get the buckets that any of them has.
            if bucket != 0 {
                buckets.push(Bucket { index: (*index).try_into().ok()?, count: bucket.try_into().ok()? });
            }
        }
        let histogram = Histogram { count: count as u64, sum, zero: zero as u64, buckets: Arc::new(buckets) };
        self.ours.then_some(histogram)
    }
}

/// The indices of the buckets in some spans.
fn spans(reader: &mut Reader<'_>) -> Option<Vec<i64>> {
    let (mut indices, mut next) = (Vec::new(), 0i64);
    for _ in 0..reader.uvarbit()? {
        // More than any chunk can hold is no length.
        let length = i64::try_from(reader.uvarbit()?).ok().filter(|length| *length <= 1 << 16)?;
        next = next.checked_add(reader.varbit()?)?;
        indices.extend(next..next.checked_add(length)?);
        next += length;
        if indices.len() > 1 << 16 {
            return None;
        }
    }
    Some(indices)
}

fn native(data: &[u8]) -> Option<Vec<(i64, Option<Histogram>)>> {
    let mut reader = Reader::new(data);
    let count = reader.bits(16)?;
    // What is known of a reset: whoever reads can see it.
    reader.bits(8)?;
    let mut samples = Vec::with_capacity(count as usize);
    if count == 0 {
        return Some(samples);
    }
    let layout = Layout::read(&mut reader)?;
    let mut values = Values::default();
    let mut time = Growing::from(reader.varbit()?);
    let mut all = Growing::from(reader.uvarbit()? as i64);
    let mut zero = Growing::from(reader.uvarbit()? as i64);
    let sum = values.first(&mut reader)?;
    let mut deltas = Vec::with_capacity(layout.positive.len() + layout.negative);
    for _ in 0..layout.positive.len() + layout.negative {
        deltas.push(Growing::from(reader.varbit()?));
    }
    samples.push((time.value, layout.histogram(all.value, zero.value, sum, &deltas)));
    for _ in 1..count {
        let (at, count, zero) = (time.next(&mut reader)?, all.next(&mut reader)?, zero.next(&mut reader)?);
        let sum = values.next(&mut reader)?;
        if sum.to_bits() == STALE {
            samples.push((at, None));
            continue;
        }
        for delta in &mut deltas {
            delta.next(&mut reader)?;
        }
        samples.push((at, layout.histogram(count, zero, sum, &deltas)));
    }
    Some(samples)
}

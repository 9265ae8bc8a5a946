//! Some samples of one series as a chunk: plain ones by the differences of their
//! times and the bits in which their values differ, native histograms by the
//! differences of everything in them.

use super::bits::{Bits, fits};
use crate::native::{Histogram, SCHEMA, ZERO_THRESHOLD};
use crate::remote_write::wire;

/// Samples of one chunk at most, as Prometheus itself cuts them.
pub const MOST_SAMPLES: usize = 120;

/// How a chunk's data is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Plain = 1,
    Native = 2,
}

/// No reset is told: whoever reads compares the chunk with the one before it.
const UNKNOWN_RESET: u8 = 0;
/// A zero threshold of half of `2^x` is told by `x` and this.
pub(super) const THRESHOLD_BIAS: i32 = 243;

/// How the values of a series differ from each other, bit for bit.
#[derive(Default)]
struct Values {
    before: u64,
    /// The zeros around the bits that were told last.
    around: Option<(u32, u32)>,
}

impl Values {
    fn first(&mut self, bits: &mut Bits, value: f64) {
        self.before = value.to_bits();
        bits.double(value);
    }

    fn next(&mut self, bits: &mut Bits, value: f64) {
        let differing = value.to_bits() ^ self.before;
        self.before = value.to_bits();
        if differing == 0 {
            return bits.bits(0, 1);
        }
        // Five bits tell the zeros before.
        let (before, after) = (differing.leading_zeros().min(31), differing.trailing_zeros());
        if let Some((known_before, known_after)) = self.around
            && before >= known_before
            && after >= known_after
        {
            bits.bits(0b10, 2);
            return bits.bits(differing >> known_after, 64 - known_before - known_after);
        }
        self.around = Some((before, after));
        let length = 64 - before - after;
        bits.bits(0b11, 2);
        bits.bits(before.into(), 5);
        // 64 has no place in six bits, and is told as the zero that never comes.
        bits.bits((length & 63).into(), 6);
        bits.bits(differing >> after, length);
    }
}

/// At most [`MOST_SAMPLES`] plain samples, in the order of time.
pub(super) fn plain(samples: &[(i64, f64)]) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.bits(samples.len() as u64, 16);
    let mut values = Values::default();
    let (mut time, mut delta) = (0, 0);
    for (index, (at, value)) in samples.iter().enumerate() {
        let step = at - time;
        match index {
            0 => {
                bits.varint(*at);
                values.first(&mut bits, *value);
            }
            1 => {
                bits.uvarint(step as u64);
                values.next(&mut bits, *value);
            }
            _ => {
                change_of_step(&mut bits, step - delta);
                values.next(&mut bits, *value);
            }
        }
        (time, delta) = (*at, step);
    }
    bits.into_bytes()
}

fn change_of_step(bits: &mut Bits, change: i64) {
    match change {
        0 => bits.bits(0, 1),
        _ if fits(change, 14) => {
            bits.bits(0b10, 2);
            bits.bits(change as u64, 14);
        }
        _ if fits(change, 17) => {
            bits.bits(0b110, 3);
            bits.bits(change as u64, 17);
        }
        _ if fits(change, 20) => {
            bits.bits(0b1110, 4);
            bits.bits(change as u64, 20);
        }
        _ => {
            bits.bits(0b1111, 4);
            bits.bits(change as u64, 64);
        }
    }
}

/// How many of the native histograms, from the first one on, may share a chunk: all
/// have the same buckets, and none of them counts less than the one before.
pub(super) fn alike(samples: &[(i64, Histogram)]) -> usize {
    let goes_on = |(before, after): (&Histogram, &Histogram)| {
        before.count <= after.count
            && before.zero <= after.zero
            && before.buckets.len() == after.buckets.len()
            && before
                .buckets
                .iter()
                .zip(after.buckets.iter())
                .all(|(before, after)| before.index == after.index && before.count <= after.count)
    };
    let pairs = samples.iter().zip(samples.iter().skip(1));
    let further = pairs.take_while(|(before, after)| goes_on((&before.1, &after.1))).count();
    (further + 1).min(samples.len()).min(MOST_SAMPLES)
}

/// Native histograms that are [`alike`].
pub(super) fn native(samples: &[(i64, Histogram)]) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.bits(samples.len() as u64, 16);
    bits.bits(UNKNOWN_RESET.into(), 8);
    let mut values = Values::default();
    let mut counts: Vec<Steps> = Vec::new();
    for (index, (at, histogram)) in samples.iter().enumerate() {
        let written = wire::Histogram::of(*at, histogram);
        let numbers = [*at, histogram.count as i64, histogram.zero as i64];
        if index > 0 {
            let (head, buckets) = counts.split_at_mut(numbers.len());
            head.iter_mut().zip(numbers).for_each(|(steps, number)| bits.varbit(steps.change(number)));
            values.next(&mut bits, histogram.sum);
            let deltas = buckets.iter_mut().zip(written.positive_deltas);
            deltas.for_each(|(steps, delta)| bits.varbit(steps.change(delta)));
            continue;
        }
        layout(&mut bits, &written);
        bits.varbit(*at);
        bits.uvarbit(histogram.count);
        bits.uvarbit(histogram.zero);
        values.first(&mut bits, histogram.sum);
        written.positive_deltas.iter().for_each(|delta| bits.varbit(*delta));
        counts = numbers.into_iter().chain(written.positive_deltas).map(Steps::from).collect();
    }
    bits.into_bytes()
}

/// A number, and how much it grew last.
struct Steps {
    value: i64,
    step: i64,
}

impl Steps {
    fn from(value: i64) -> Self {
        Self { value, step: 0 }
    }

    /// By how much it grows more than it did.
    fn change(&mut self, value: i64) -> i64 {
        let step = value - self.value;
        let change = step - self.step;
        *self = Self { value, step };
        change
    }
}

/// What all histograms of a chunk share: where their buckets are.
fn layout(bits: &mut Bits, histogram: &wire::Histogram) {
    // Of the power of two that ours is.
    let exponent = ((ZERO_THRESHOLD.to_bits() >> 52) as i32 & 0x7ff) - 1022;
    bits.bits((exponent + THRESHOLD_BIAS) as u64, 8);
    bits.varbit(SCHEMA.into());
    bits.uvarbit(histogram.positive_spans.len() as u64);
    for span in &histogram.positive_spans {
        bits.uvarbit(span.length.into());
        bits.varbit(span.offset.into());
    }
    // None with negative values.
    bits.uvarbit(0);
}

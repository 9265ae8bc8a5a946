//! Prometheus native histograms: buckets that grow by a fixed factor, of which
//! only those with something in them are kept. One of these is a single sample.
//!
//! Of [`SCHEMA`] 3 each bucket ends 9 % above its beginning (eight of them to each
//! power of two), and that is the most that a quantile can be wrong.
//! It is what clients choose for the usual factor of 1.1, and has 200 buckets from a
//! second to a year, of which a team fills some fifty; one schema more would double
//! them, and each sample carries them all.
//!
//! How they are written to a receiver is [`super::remote_write`]'s.

use std::sync::Arc;

/// Each power of two is divided into `2^SCHEMA` buckets.
pub const SCHEMA: i32 = 3;
/// What is not above this is counted as zero. Whole seconds are either.
pub const ZERO_THRESHOLD: f64 = 2.938_735_877_055_719e-39;

/// Buckets to a power of two.
const PARTS: i32 = 1 << SCHEMA;
/// Their lower bounds between a half and one, digit for digit as Prometheus has
/// them: which bucket a value on a bound is in must not depend on who counts.
const BOUNDS: [f64; PARTS as usize] = [
    0.5,
    0.545_253_866_332_628_8,
    0.594_603_557_501_360_5,
    0.648_419_777_325_504_8,
    0.707_106_781_186_547_5,
    0.771_105_412_703_970_4,
    0.840_896_415_253_714_4,
    0.917_004_043_204_671_1,
];

/// What has been counted until some moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// All observations.
    pub count: u64,
    /// Of whole numbers, so exact (up to 2^53), whatever the order.
    pub sum: f64,
    /// Observations of zero.
    pub zero: u64,
    /// The others; by index, none of them empty. Shared with what was counted
    /// before, as long as nothing is added: most days of a year are like that.
    pub buckets: Arc<Vec<Bucket>>,
}

/// The values above [`bound`] of `index - 1`, up to that of `index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub index: i32,
    /// Of a year of one team; kept small, because there are many of them.
    pub count: u32,
}

impl Histogram {
    pub fn add(&mut self, value: u64) {
        self.count += 1;
        self.sum += value as f64;
        let Some(index) = index(value) else {
            self.zero += 1;
            return;
        };
        let buckets = Arc::make_mut(&mut self.buckets);
        match buckets.binary_search_by_key(&index, |bucket| bucket.index) {
            Ok(at) => buckets[at].count += 1,
            Err(at) => buckets.insert(at, Bucket { index, count: 1 }),
        }
    }

    /// What takes as much room as this: so many plain samples, roughly.
    pub fn weight(&self) -> u64 {
        2 + self.buckets.len() as u64
    }
}

/// The bucket that a value is counted in; `None`: that of zero.
pub fn index(value: u64) -> Option<i32> {
    // value = fraction · 2^exponent, with a fraction from a half to below one.
    let exponent = u64::BITS - value.leading_zeros();
    let fraction = value as f64 / 2f64.powi(exponent as i32);
    let part = BOUNDS.partition_point(|bound| *bound < fraction);
    (value > 0).then_some((exponent as i32 - 1) * PARTS + part as i32)
}

/// The upper bound of a bucket, which belongs to it.
pub fn bound(index: i32) -> f64 {
    BOUNDS[index.rem_euclid(PARTS) as usize] * 2f64.powi(index.div_euclid(PARTS) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Everything below which a double holds each whole number.
    fn value() -> impl Strategy<Value = u64> {
        prop_oneof![0u64..100, 0u64..10_000_000, 0u64..1 << 53]
    }

    proptest! {
        #[test]
        fn a_buckets_bounds_hold_its_values(value in value()) {
            prop_assert_eq!(index(value).is_none(), value == 0);
            let Some(index) = index(value) else { return Ok(()) };
            let value = value as f64;
            prop_assert!(bound(index - 1) < value && value <= bound(index), "{value} in {index}");
            prop_assert!((bound(index) / bound(index - 1) - 2f64.powf(0.125)).abs() < 1e-12);
        }

        #[test]
        fn everything_is_counted_once(values in proptest::collection::vec(value(), 0..200)) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|value| histogram.add(*value));
            let buckets: u64 = histogram.buckets.iter().map(|bucket| u64::from(bucket.count)).sum();
            prop_assert_eq!(histogram.count, values.len() as u64);
            prop_assert_eq!(buckets + histogram.zero, histogram.count);
            prop_assert!(histogram.buckets.is_sorted_by_key(|bucket| bucket.index));
            prop_assert!(histogram.buckets.iter().all(|bucket| bucket.count > 0));
            let zeros = values.iter().filter(|value| **value == 0).count();
            prop_assert_eq!(histogram.zero, zeros as u64);
        }
    }

    #[test]
    fn powers_of_two_are_upper_bounds() {
        assert_eq!([1, 2, 4, 1 << 20].map(index), [Some(0), Some(8), Some(16), Some(160)]);
        assert_eq!([0, 8, -8].map(bound), [1.0, 2.0, 0.5]);
        // As Prometheus tells it: a bound that differs in its last digit is another one.
        assert_eq!(bound(143).to_string(), "240387.1079018453");
        assert_eq!((index(0), index(u64::MAX)), (None, Some(512)));
        // A year of seconds.
        assert_eq!(index(365 * 86_400), Some(200));
    }

    #[test]
    fn what_was_noted_stays_when_more_is_counted() {
        let mut histogram = Histogram::default();
        histogram.add(10);
        let noted = histogram.clone();
        assert!(Arc::ptr_eq(&noted.buckets, &histogram.buckets));
        histogram.add(10);
        assert_eq!((noted.count, noted.buckets[0].count, noted.sum), (1, 1, 10.0));
        assert_eq!((histogram.count, histogram.buckets[0].count, histogram.sum), (2, 2, 20.0));
    }
}

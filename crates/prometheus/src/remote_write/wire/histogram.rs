//! A native histogram by its published field numbers, the same in both versions of
//! the protocol. What it can hold beyond ours (negative values, counts that are
//! no whole numbers, bounds of one's own) is left out.

use crate::native::{self, SCHEMA, ZERO_THRESHOLD};

#[derive(Clone, PartialEq, prost::Message)]
pub struct Histogram {
    /// One of a `oneof` whose other is the count as a double: always said, so that
    /// zero is an integer, too.
    #[prost(uint64, optional, tag = "1")]
    pub count: Option<u64>,
    #[prost(double, tag = "3")]
    pub sum: f64,
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    #[prost(double, tag = "5")]
    pub zero_threshold: f64,
    /// As `count`.
    #[prost(uint64, optional, tag = "6")]
    pub zero_count: Option<u64>,
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<Span>,
    /// Of each bucket, less that of the one before.
    #[prost(sint64, repeated, tag = "12")]
    pub positive_deltas: Vec<i64>,
    /// Milliseconds since 1970, UTC.
    #[prost(int64, tag = "15")]
    pub timestamp: i64,
}

/// Buckets that follow each other.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Span {
    /// Buckets left out before; of the first span, the index that it begins with.
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

impl Histogram {
    pub fn of(timestamp: i64, histogram: &native::Histogram) -> Self {
        let (positive_spans, positive_deltas) = runs(&histogram.buckets);
        Self {
            count: Some(histogram.count),
            sum: histogram.sum,
            schema: SCHEMA,
            zero_threshold: ZERO_THRESHOLD,
            zero_count: Some(histogram.zero),
            positive_spans,
            positive_deltas,
            timestamp,
        }
    }

    /// The buckets that a receiver reads, by index.
    pub fn buckets(&self) -> Vec<(i64, i64)> {
        let mut deltas = self.positive_deltas.iter();
        let (mut buckets, mut index, mut count) = (Vec::new(), 0, 0);
        for span in &self.positive_spans {
            index += i64::from(span.offset);
            for delta in deltas.by_ref().take(span.length as usize) {
                count += delta;
                buckets.push((index, count));
                index += 1;
            }
        }
        buckets
    }
}

/// Buckets, sorted by index, as spans and differences.
fn runs(buckets: &[native::Bucket]) -> (Vec<Span>, Vec<i64>) {
    let mut spans: Vec<Span> = Vec::new();
    let mut deltas = Vec::with_capacity(buckets.len());
    let (mut next, mut before) = (0, 0);
    for bucket in buckets {
        match spans.last_mut() {
            Some(span) if bucket.index == next => span.length += 1,
            _ => spans.push(Span { offset: bucket.index - next, length: 1 }),
        }
        let count = i64::from(bucket.count);
        deltas.push(count - before);
        (next, before) = (bucket.index + 1, count);
    }
    (spans, deltas)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message;

    proptest! {
        #[test]
        fn what_is_read_is_what_was_counted(
            values in proptest::collection::vec(prop_oneof![Just(0u64), 1u64..60, 1u64..50_000_000], 0..300),
            timestamp in any::<i64>(),
        ) {
            let mut counted = native::Histogram::default();
            values.iter().for_each(|value| counted.add(*value));
            let bytes = Histogram::of(timestamp, &counted).encode_to_vec();
            let read = Histogram::decode(bytes.as_slice()).unwrap();
            let buckets: Vec<(i64, i64)> =
                counted.buckets.iter().map(|one| (i64::from(one.index), i64::from(one.count))).collect();
            prop_assert_eq!(read.buckets(), buckets);
            let inside: i64 = read.buckets().iter().map(|(_, count)| count).sum();
            prop_assert_eq!(read.count, Some(values.len() as u64));
            prop_assert_eq!(inside as u64 + read.zero_count.unwrap(), values.len() as u64);
            prop_assert_eq!(read.sum, values.iter().sum::<u64>() as f64);
            prop_assert_eq!(read.timestamp, timestamp);
        }
    }

    #[test]
    fn a_run_of_buckets_is_one_span() {
        let bucket = |(index, count)| native::Bucket { index, count };
        let (spans, deltas) = runs(&[(8, 2), (9, 5), (10, 4), (20, 4)].map(bucket));
        assert_eq!(spans, [Span { offset: 8, length: 3 }, Span { offset: 9, length: 1 }]);
        assert_eq!(deltas, [2, 3, -1, 0]);
        assert_eq!(runs(&[]), (Vec::new(), Vec::new()));
    }
}

//! A native histogram that was sent, against the one that is stored: count, sum and
//! every bucket.

use dorainfra_prometheus::native::{Histogram, bound};
use dorainfra_prometheus::query::StoredHistogram;

/// The first thing that differs.
#[derive(Debug, PartialEq)]
pub(super) struct Difference {
    /// `count`, `sum`, or which bucket.
    pub part: String,
    pub expected: f64,
    pub found: f64,
}

/// `None`: they are the same.
pub(super) fn difference(sent: &Histogram, stored: &StoredHistogram) -> Option<Difference> {
    let differs = |part: String, expected, found| Difference { part, expected, found };
    for (part, expected, found) in
        [("count", sent.count as f64, stored.count()), ("sum", sent.sum, stored.sum())]
    {
        if expected != found {
            return Some(differs(part.into(), expected, found));
        }
    }
    // By their upper bounds, which both sides compute to the last digit alike.
    let zero = (sent.zero > 0).then_some((0.0, sent.zero as f64));
    let buckets = sent.buckets.iter().map(|bucket| (bound(bucket.index), f64::from(bucket.count)));
    let mut expected = zero.into_iter().chain(buckets).peekable();
    let mut found = stored.buckets().peekable();
    loop {
        let (upper, expected, found) = match (expected.peek().copied(), found.peek().copied()) {
            (None, None) => return None,
            (Some((upper, count)), Some((other, stored))) if upper == other => {
                expected.next();
                found.next();
                (upper, count, stored)
            }
            (Some((upper, count)), other) if other.is_none_or(|(other, _)| upper < other) => {
                expected.next();
                (upper, count, 0.0)
            }
            (_, Some((other, stored))) => {
                found.next();
                (other, 0.0, stored)
            }
            // The arms before have taken it.
            (Some(_), None) => return None,
        };
        if expected != found {
            return Some(differs(format!("bucket up to {upper}"), expected, found));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        values.iter().for_each(|value| histogram.add(*value));
        histogram
    }

    /// As Mimir 3.0.4 tells it.
    fn stored(count: u64, sum: u64, buckets: serde_json::Value) -> StoredHistogram {
        let (count, sum) = (count.to_string(), sum.to_string());
        serde_json::from_value(serde_json::json!({"count": count, "sum": sum, "buckets": buckets})).unwrap()
    }

    #[test]
    fn the_first_part_that_differs_is_named() {
        let sent = sent(&[0, 60, 60, 4]);
        let zero = ["3", "-2.938735877055719e-39", "2.938735877055719e-39", "1"];
        let zero = serde_json::json!([3, zero[1], zero[2], zero[3]]);
        let four = serde_json::json!([0, "3.668016172818685", "4", "1"]);
        let sixty = |count: &str| serde_json::json!([0, "58.68825876509896", "64", count]);
        let same = stored(4, 124, serde_json::json!([zero, four, sixty("2")]));
        assert_eq!(difference(&sent, &same), None);
        let part = |stored: StoredHistogram| difference(&sent, &stored).map(|one| one.part);
        assert_eq!(part(stored(3, 124, serde_json::json!([]))).as_deref(), Some("count"));
        assert_eq!(part(stored(4, 120, serde_json::json!([]))).as_deref(), Some("sum"));
        let fewer = difference(&sent, &stored(4, 124, serde_json::json!([zero, four, sixty("1")])));
        assert_eq!(fewer, Some(Difference { part: "bucket up to 64".into(), expected: 2.0, found: 1.0 }));
        let lacks = difference(&sent, &stored(4, 124, serde_json::json!([zero, sixty("3")])));
        assert_eq!(lacks, Some(Difference { part: "bucket up to 4".into(), expected: 1.0, found: 0.0 }));
        let coarse = serde_json::json!([zero, four, [0, "45", "50", "2"]]);
        let coarse = difference(&sent, &stored(4, 124, coarse)).unwrap();
        assert_eq!((coarse.part.as_str(), coarse.expected), ("bucket up to 50", 0.0));
        assert_eq!(difference(&Histogram::default(), &stored(0, 0, serde_json::json!([]))), None);
    }
}

//! Series to request bodies, bounded in bytes and in samples.

use std::borrow::Borrow;

use bytes::Bytes;
use prost::Message;
use prost::encoding::{encoded_len_varint, key_len};

use super::wire::{Label, Sample, TimeSeries};
use crate::dora::Series;

/// The bounds of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes before compression. Held unless a single sample with its labels is larger.
    pub bytes: usize,
    pub samples: usize,
}

impl Default for Limits {
    /// Far below what receivers take (Mimir: 100 MB), large enough that the
    /// round trips of a year's history do not count.
    fn default() -> Self {
        Self { bytes: 1 << 20, samples: 20_000 }
    }
}

/// One request's body and what is in it.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Snappy-compressed `WriteRequest`.
    pub body: Bytes,
    pub samples: u64,
    /// Bytes before compression.
    pub uncompressed: usize,
    /// Begins with the rest of the series that the batch before ended with.
    pub continues: bool,
}

/// The requests for some series, one at a time.
pub struct Batches<I: Iterator> {
    series: I,
    limits: Limits,
    /// The series that is being encoded, and how many of its samples are done.
    current: Option<(I::Item, usize)>,
    /// Reused for every series: its strings and lists keep their memory.
    scratch: TimeSeries,
    labels_len: usize,
    buffer: Vec<u8>,
    snappy: snap::raw::Encoder,
}

impl<I> Batches<I>
where
    I: Iterator,
    I::Item: Borrow<Series>,
{
    pub fn new(series: I, limits: Limits) -> Self {
        Self {
            series,
            limits: Limits { bytes: limits.bytes, samples: limits.samples.max(1) },
            current: None,
            scratch: TimeSeries::default(),
            labels_len: 0,
            buffer: Vec::new(),
            snappy: snap::raw::Encoder::new(),
        }
    }

    /// Samples that no batch has taken yet; reads the rest of the series.
    pub fn samples_left(mut self) -> u64 {
        let begun = self.current.take().map_or(0, |(series, done)| series.borrow().samples.len() - done);
        let rest: usize = self.series.map(|series| series.borrow().samples.len()).sum();
        (begun + rest) as u64
    }

    /// Makes the next series with samples the current one.
    fn advance(&mut self) -> bool {
        for series in self.series.by_ref() {
            let Series { name, labels, samples }: &Series = series.borrow();
            if samples.is_empty() {
                continue;
            }
            // Sorted by name, as the protocol asks for: no label's name begins
            // below `__name__`.
            let mut count = 0;
            for (name, value) in std::iter::once(("__name__", *name)).chain(labels.iter()) {
                if self.scratch.labels.len() == count {
                    self.scratch.labels.push(Label::default());
                }
                let label = &mut self.scratch.labels[count];
                label.name.clear();
                label.name.push_str(name);
                label.value.clear();
                label.value.push_str(value);
                count += 1;
            }
            self.scratch.labels.truncate(count);
            let labels = self.scratch.labels.iter().map(|label| field_len(1, label.encoded_len()));
            self.labels_len = labels.sum();
            self.current = Some((series, 0));
            return true;
        }
        false
    }

    fn finish(&mut self, samples: usize, continues: bool) -> Batch {
        let body = self.snappy.compress_vec(&self.buffer).expect("a request is far below snappy's 4 GiB");
        Batch { body: body.into(), samples: samples as u64, uncompressed: self.buffer.len(), continues }
    }
}

impl<I> Iterator for Batches<I>
where
    I: Iterator,
    I::Item: Borrow<Series>,
{
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        self.buffer.clear();
        let mut taken = 0;
        let continues = self.current.as_ref().is_some_and(|(_, done)| *done > 0);
        loop {
            if self.current.is_none() && !self.advance() {
                return (taken > 0).then(|| self.finish(taken, continues));
            }
            let Some((series, done)) = &mut self.current else { continue };
            let whole: &Series = (*series).borrow();
            let samples = &whole.samples[*done..];

            // As many samples as fit; one in any case, when the request is empty.
            let mut length = self.labels_len;
            self.scratch.samples.clear();
            for &(timestamp, value) in samples.iter().take(self.limits.samples - taken) {
                let sample = Sample { value, timestamp };
                let longer = length + field_len(2, sample.encoded_len());
                let request = self.buffer.len() + field_len(1, longer);
                if request > self.limits.bytes && taken + self.scratch.samples.len() > 0 {
                    break;
                }
                length = longer;
                self.scratch.samples.push(sample);
            }
            let added = self.scratch.samples.len();
            if added > 0 {
                prost::encoding::message::encode(1, &self.scratch, &mut self.buffer);
                taken += added;
            }
            if added == samples.len() {
                self.current = None;
            } else {
                *done += added;
                return Some(self.finish(taken, continues));
            }
        }
    }
}

/// Bytes of a length-delimited field: key, length, contents.
fn field_len(tag: u32, length: usize) -> usize {
    key_len(tag) + encoded_len_varint(length as u64) + length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dora::Labels;
    use crate::dora::remote_write::wire::WriteRequest;
    use proptest::prelude::*;

    fn decode(batch: &Batch) -> WriteRequest {
        let raw = snap::raw::Decoder::new().decompress_vec(&batch.body).unwrap();
        assert_eq!(raw.len(), batch.uncompressed);
        WriteRequest::decode(raw.as_slice()).unwrap()
    }

    fn any_series() -> impl Strategy<Value = Vec<Series>> {
        let samples = proptest::collection::vec((any::<i64>(), -1e9..1e9f64), 0..40);
        let team = "[a-z]{1,12}";
        proptest::collection::vec((team, samples), 0..12).prop_map(|all| {
            all.into_iter()
                .map(|(team, samples)| Series {
                    name: "dora_lead_time_ms",
                    // Not all of them have the same labels.
                    labels: Labels::new([("team", team.as_str()), ("kind", &team[1..])]),
                    samples,
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn every_sample_arrives_once_in_order_within_the_bounds(
            series in any_series(), bytes in 0usize..2000, samples in 0usize..50,
        ) {
            let limits = Limits { bytes, samples };
            let batches: Vec<Batch> = Batches::new(series.iter(), limits).collect();
            let mut arrived: Vec<(String, Vec<(i64, f64)>)> = Vec::new();
            for batch in &batches {
                let request = decode(batch);
                let count: usize = request.timeseries.iter().map(|series| series.samples.len()).sum();
                prop_assert_eq!(count as u64, batch.samples);
                prop_assert!(count > 0 && count <= samples.max(1));
                prop_assert!(batch.uncompressed <= bytes || count == 1, "{} > {bytes}", batch.uncompressed);
                for (index, timeseries) in request.timeseries.into_iter().enumerate() {
                    let names: Vec<_> = timeseries.labels.iter().map(|label| label.name.as_str()).collect();
                    prop_assert!(names == ["__name__", "job", "team"] || names == ["__name__", "job", "kind", "team"]);
                    prop_assert_eq!(&timeseries.labels[1].value, "dora");
                    let team = timeseries.labels[names.len() - 1].value.clone();
                    let kind = if names.len() == 4 { timeseries.labels[2].value.as_str() } else { "" };
                    prop_assert_eq!(kind, &team[1..]);
                    let samples = timeseries.samples.iter().map(|sample| (sample.timestamp, sample.value));
                    match arrived.last_mut() {
                        Some((last, list)) if index == 0 && batch.continues => {
                            prop_assert_eq!(&*last, &team);
                            list.extend(samples);
                        }
                        _ => arrived.push((team, samples.collect())),
                    }
                }
            }
            let sent: Vec<_> = series.into_iter().filter(|one| !one.samples.is_empty())
                .map(|one| (one.labels.get("team").to_owned(), one.samples)).collect();
            prop_assert_eq!(arrived, sent);
        }

        #[test]
        fn what_is_left_is_counted(series in any_series(), taken in 0usize..4) {
            let total: u64 = series.iter().map(|one| one.samples.len() as u64).sum();
            let mut batches = Batches::new(series.iter(), Limits { bytes: 300, samples: 1000 });
            let sent: u64 = batches.by_ref().take(taken).map(|batch| batch.samples).sum();
            prop_assert_eq!(sent + batches.samples_left(), total);
        }
    }
}

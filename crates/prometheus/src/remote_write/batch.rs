//! Series to request bodies, bounded in bytes and in samples.

use std::borrow::Borrow;

use bytes::Bytes;

use super::encode::{Encoder, Version};
use crate::Series;

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
    /// Snappy-compressed, in the version that was asked for.
    pub body: Bytes,
    /// Of both kinds.
    pub samples: u64,
    /// Those of the samples that are native histograms.
    pub native: u64,
    /// Bytes before compression.
    pub uncompressed: usize,
    /// Begins with the rest of the series that the batch before ended with.
    pub continues: bool,
}

/// The requests for some series, one at a time.
pub struct Batches<I: Iterator> {
    series: I,
    limits: Limits,
    /// The series that is being encoded, and what of it is done.
    current: Option<(I::Item, Done)>,
    encoder: Encoder,
    snappy: snap::raw::Encoder,
}

/// What a request has got.
#[derive(Clone, Copy, Default)]
struct Taken {
    samples: usize,
    native: usize,
}

impl Taken {
    fn add(&mut self, samples: usize, native: bool) {
        self.samples += samples;
        self.native += if native { samples } else { 0 };
    }
}

/// How much of a series has been put into requests.
#[derive(Clone, Copy, Default)]
struct Done {
    samples: usize,
    exemplars: usize,
}

impl<I> Batches<I>
where
    I: Iterator,
    I::Item: Borrow<Series>,
{
    pub fn new(series: I, version: Version, limits: Limits) -> Self {
        Self {
            series,
            limits: Limits { bytes: limits.bytes, samples: limits.samples.max(1) },
            current: None,
            encoder: Encoder::new(version),
            snappy: snap::raw::Encoder::new(),
        }
    }

    /// Leaves out the first `samples` samples, in the order of the series: they
    /// were accepted before.
    pub fn skip_samples(&mut self, mut samples: u64) {
        while samples > 0 && self.advance() {
            let Some((series, done)) = &mut self.current else { return };
            let whole: &Series = (*series).borrow();
            let length = whole.samples.len() as u64;
            if samples >= length {
                samples -= length;
                self.current = None;
                continue;
            }
            done.samples = samples as usize;
            let last = whole.samples.time(done.samples - 1);
            done.exemplars = whole.exemplars.partition_point(|exemplar| exemplar.timestamp_ms <= last);
            return;
        }
    }

    /// Samples that no batch has taken yet; reads the rest of the series.
    pub fn samples_left(mut self) -> u64 {
        let begun =
            self.current.take().map_or(0, |(series, done)| series.borrow().samples.len() - done.samples);
        let rest: usize = self.series.map(|series| series.borrow().samples.len()).sum();
        (begun + rest) as u64
    }

    /// Makes the next series with samples the current one.
    fn advance(&mut self) -> bool {
        let next = self.series.by_ref().find(|series| !series.borrow().samples.is_empty());
        self.current = next.map(|series| (series, Done::default()));
        self.current.is_some()
    }

    fn finish(&mut self, Taken { samples, native }: Taken, continues: bool) -> Batch {
        let raw = self.encoder.finish();
        let body = self.snappy.compress_vec(raw).expect("a request is far below snappy's 4 GiB");
        let (samples, native) = (samples as u64, native as u64);
        Batch { body: body.into(), samples, native, uncompressed: raw.len(), continues }
    }
}

impl<I> Iterator for Batches<I>
where
    I: Iterator,
    I::Item: Borrow<Series>,
{
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        self.encoder.clear();
        let mut taken = Taken::default();
        let continues = self.current.as_ref().is_some_and(|(_, done)| done.samples > 0);
        loop {
            if self.current.is_none() && !self.advance() {
                return (taken.samples > 0).then(|| self.finish(taken, continues));
            }
            let Some((series, done)) = &mut self.current else { continue };
            let whole: &Series = (*series).borrow();
            self.encoder.begin(whole);
            let (begun, room) = (done.samples, self.limits.samples - taken.samples);
            let end = whole.samples.len().min(begun.saturating_add(room));
            while done.samples < end {
                let sample = whole.samples.get(done.samples);
                let exemplars = &whole.exemplars[done.exemplars..];
                let own = exemplars.partition_point(|exemplar| exemplar.timestamp_ms <= sample.0);
                // A request that is empty takes one in any case.
                let first = taken.samples + done.samples == begun;
                let limit = if first { usize::MAX } else { self.limits.bytes };
                if !self.encoder.push(sample, &exemplars[..own], limit) {
                    break;
                }
                done.samples += 1;
                done.exemplars += own;
            }
            self.encoder.end();
            taken.add(done.samples - begun, whole.samples.is_native());
            if done.samples == whole.samples.len() {
                self.current = None;
            } else {
                return Some(self.finish(taken, continues));
            }
        }
    }
}

#[cfg(test)]
mod tests;

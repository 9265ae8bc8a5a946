use std::collections::BTreeMap;

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::native::Histogram;
use crate::remote_write::wire::{self, WriteRequest, v2};
use crate::{Exemplar, Labels, Samples, Value};

/// A series of a request as it is read: labels, samples, exemplars by label and id.
type Read = (BTreeMap<String, String>, Vec<(i64, Sample)>, Vec<(i64, f64, String, String)>);

#[derive(Clone, Debug, PartialEq)]
enum Sample {
    Plain(f64),
    /// Count, sum, observations of zero, buckets.
    Native(u64, f64, u64, Vec<(i64, i64)>),
}

/// The samples of a series, which has one kind of them.
fn samples(plain: &[wire::Sample], native: &[wire::Histogram]) -> Vec<(i64, Sample)> {
    assert!(plain.is_empty() || native.is_empty());
    let plain = plain.iter().map(|one| (one.timestamp, Sample::Plain(one.value)));
    let native = native.iter().map(|one| {
        let (count, zero) = (one.count.unwrap(), one.zero_count.unwrap());
        (one.timestamp, Sample::Native(count, one.sum, zero, one.buckets()))
    });
    plain.chain(native).collect()
}

/// What a receiver reads.
fn decode(batch: &Batch, version: Version) -> Vec<Read> {
    let raw = snap::raw::Decoder::new().decompress_vec(&batch.body).unwrap();
    assert_eq!(raw.len(), batch.uncompressed);
    match version {
        Version::One => {
            let request = WriteRequest::decode(raw.as_slice()).unwrap();
            let series = request.timeseries.into_iter().map(|series| {
                let names: Vec<_> = series.labels.iter().map(|label| label.name.as_str()).collect();
                assert!(names.is_sorted(), "{names:?}");
                let exemplars = series.exemplars.into_iter().map(|exemplar| {
                    let label = exemplar.labels[0].clone();
                    (exemplar.timestamp, exemplar.value, label.name, label.value)
                });
                (
                    series.labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect(),
                    samples(&series.samples, &series.histograms),
                    exemplars.collect(),
                )
            });
            series.collect()
        }
        Version::Two => {
            let request = v2::Request::decode(raw.as_slice()).unwrap();
            assert_eq!(request.symbols[0], "");
            let unique: std::collections::BTreeSet<_> = request.symbols.iter().collect();
            assert_eq!(unique.len(), request.symbols.len());
            let symbol = |number: &u32| request.symbols[*number as usize].clone();
            let series = request.timeseries.iter().map(|series| {
                let names: Vec<_> = series.labels_refs.iter().step_by(2).map(symbol).collect();
                assert!(names.is_sorted(), "{names:?}");
                let exemplars = series.exemplars.iter().map(|exemplar| {
                    let [name, id] = [0, 1].map(|index| symbol(&exemplar.labels_refs[index]));
                    (exemplar.timestamp, exemplar.value, name, id)
                });
                (
                    series.labels_refs.chunks(2).map(|pair| (symbol(&pair[0]), symbol(&pair[1]))).collect(),
                    samples(&series.samples, &series.histograms),
                    exemplars.collect(),
                )
            });
            series.collect()
        }
    }
}

fn any_version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::One), Just(Version::Two)]
}

fn any_series() -> impl Strategy<Value = Vec<Series>> {
    // Whether there is an exemplar just before a sample.
    let samples = proptest::collection::vec((-1e9..1e9f64, any::<bool>()), 0..40);
    let native = proptest::bool::weighted(0.4);
    proptest::collection::vec(("[a-z]{1,12}", samples, native), 0..12).prop_map(|all| {
        let series = all.into_iter().enumerate().map(|(index, (team, samples, native))| {
            let time = |at: usize| at as i64 * 60_000;
            let exemplars = samples.iter().enumerate().filter(|(_, (_, with))| *with);
            Series {
                name: "dora_lead_time_ms",
                // Not all of them have the same labels.
                labels: Labels::new([("team", format!("{team}{index}").as_str()), ("kind", &team[1..])]),
                exemplars: exemplars
                    .map(|(at, (value, _))| Exemplar {
                        timestamp_ms: time(at) - 1,
                        value: *value,
                        label: "change_id",
                        id: format!("{team}-{at}"),
                    })
                    .collect(),
                samples: {
                    let values = samples.iter().enumerate().map(|(at, (value, _))| (time(at), *value));
                    match native {
                        false => Samples::Plain(values.collect()),
                        true => Samples::Native(counted(values)),
                    }
                },
            }
        });
        series.collect()
    })
}

/// What has been counted of some values until each.
fn counted(values: impl Iterator<Item = (i64, f64)>) -> Vec<(i64, Histogram)> {
    let mut histogram = Histogram::default();
    let mut add = |(time, value): (i64, f64)| {
        histogram.add((value.abs() / 1e4) as u64);
        (time, histogram.clone())
    };
    values.map(&mut add).collect()
}

/// What is to be read of a series.
fn read(series: &Series) -> Read {
    let labels = std::iter::once(("__name__", series.name)).chain(series.labels.iter());
    let exemplars = series.exemplars.iter().map(|exemplar| {
        (exemplar.timestamp_ms, exemplar.value, exemplar.label.to_owned(), exemplar.id.clone())
    });
    (
        labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        (0..series.samples.len()).map(|index| read_sample(series.samples.get(index))).collect(),
        exemplars.collect(),
    )
}

fn read_sample((time, value): (i64, Value<'_>)) -> (i64, Sample) {
    let sample = match value {
        Value::Plain(value) => Sample::Plain(value),
        Value::Native(one) => {
            let buckets = one.buckets.iter().map(|bucket| (bucket.index.into(), bucket.count.into()));
            Sample::Native(one.count, one.sum, one.zero, buckets.collect())
        }
    };
    (time, sample)
}

/// Puts the parts of a series together again.
fn joined(batches: &[Batch], version: Version) -> Vec<Read> {
    let mut arrived: Vec<Read> = Vec::new();
    for batch in batches {
        for (index, series) in decode(batch, version).into_iter().enumerate() {
            match arrived.last_mut() {
                Some(last) if index == 0 && batch.continues => {
                    assert_eq!(last.0, series.0);
                    last.1.extend(series.1);
                    last.2.extend(series.2);
                }
                _ => arrived.push(series),
            }
        }
    }
    arrived
}

proptest! {
    #[test]
    fn every_sample_arrives_once_in_order_within_the_bounds(
        series in any_series(), version in any_version(), bytes in 0usize..2000, samples in 0usize..50,
    ) {
        let batches: Vec<Batch> =
            Batches::new(series.iter(), version, Limits { bytes, samples }).collect();
        for batch in &batches {
            let read = decode(batch, version);
            let count: usize = read.iter().map(|series| series.1.len()).sum();
            let native = read.iter().flat_map(|series| &series.1);
            let native = native.filter(|(_, sample)| matches!(sample, Sample::Native(..))).count();
            prop_assert_eq!((count as u64, native as u64), (batch.samples, batch.native));
            prop_assert!(count > 0 && count <= samples.max(1));
            prop_assert!(batch.uncompressed <= bytes || count == 1, "{} > {bytes}", batch.uncompressed);
        }
        let sent: Vec<Read> = series.iter().filter(|one| !one.samples.is_empty()).map(read).collect();
        prop_assert_eq!(joined(&batches, version), sent);
    }

    #[test]
    fn what_is_left_is_counted(series in any_series(), version in any_version(), taken in 0usize..4) {
        let total: u64 = series.iter().map(|one| one.samples.len() as u64).sum();
        let mut batches = Batches::new(series.iter(), version, Limits { bytes: 300, samples: 1000 });
        let sent: u64 = batches.by_ref().take(taken).map(|batch| batch.samples).sum();
        prop_assert_eq!(sent + batches.samples_left(), total);
    }

    #[test]
    fn what_was_accepted_before_is_left_out(
        series in any_series(), version in any_version(), skipped in 0u64..200,
    ) {
        let limits = Limits { bytes: 700, samples: 30 };
        let mut batches = Batches::new(series.iter(), version, limits);
        batches.skip_samples(skipped);
        let rest: Vec<Batch> = batches.collect();
        let mut skipped = skipped as usize;
        let mut expected: Vec<Read> = series.iter().map(read).collect();
        for series in &mut expected {
            let gone = skipped.min(series.1.len());
            skipped -= gone;
            if gone > 0 {
                let last = series.1[gone - 1].0;
                series.1.drain(..gone);
                series.2.retain(|exemplar| exemplar.0 > last);
            }
        }
        expected.retain(|series| !series.1.is_empty());
        // The first of them may be the rest of a series: nothing comes before it.
        let mut arrived: Vec<Read> = Vec::new();
        for batch in &rest {
            for series in decode(batch, version) {
                match arrived.last_mut() {
                    Some(last) if last.0 == series.0 => {
                        last.1.extend(series.1);
                        last.2.extend(series.2);
                    }
                    _ => arrived.push(series),
                }
            }
        }
        prop_assert_eq!(arrived, expected);
    }
}

#[test]
fn version_two_says_every_string_once() {
    let series: Vec<Series> = (0..50)
        .map(|index| Series {
            name: "dora_change_lead_time_seconds_bucket",
            labels: Labels::new([("team", "orders"), ("le", format!("{index}.0").as_str())]),
            samples: vec![(1000, 1.0)].into(),
            exemplars: Vec::new(),
        })
        .collect();
    let bytes =
        |version| Batches::new(series.iter(), version, Limits::default()).next().unwrap().uncompressed;
    assert!(bytes(Version::Two) * 2 < bytes(Version::One));
}

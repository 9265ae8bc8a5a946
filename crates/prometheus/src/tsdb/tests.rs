use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::native::Histogram;
use crate::{Extent, Labels};

fn read_plain(data: &[u8]) -> Vec<(i64, u64)> {
    let Some(Decoded::Plain(samples)) = decode::decode(Encoding::Plain, data) else { panic!("cut off") };
    samples.into_iter().map(|(time, value)| (time, value.to_bits())).collect()
}

fn read_native(data: &[u8]) -> Vec<(i64, Histogram)> {
    let Some(Decoded::Native(samples)) = decode::decode(Encoding::Native, data) else { panic!("cut off") };
    samples.into_iter().map(|(time, histogram)| (time, histogram.unwrap())).collect()
}

/// Times that grow as they do, and as they should not.
fn times() -> impl Strategy<Value = Vec<i64>> {
    let step = prop_oneof![Just(86_400_000i64), 1i64..100, 1i64..1 << 21, 1i64..1 << 45];
    let first = prop_oneof![Just(0i64), Just(1_735_689_600_000), -(1i64 << 40)..1 << 45];
    (first, proptest::collection::vec(step, 0..MOST_SAMPLES)).prop_map(|(first, steps)| {
        let mut time = first;
        std::iter::once(first)
            .chain(steps.into_iter().map(|step| {
                time += step;
                time
            }))
            .collect()
    })
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![(0u32..500).prop_map(f64::from), any::<f64>(), any::<u64>().prop_map(f64::from_bits)]
}

proptest! {
    #[test]
    fn plain_samples_are_read_as_they_were_written(
        times in times(),
        values in proptest::collection::vec(value(), MOST_SAMPLES),
    ) {
        let samples: Vec<(i64, f64)> = times.into_iter().zip(values).collect();
        let written: Vec<(i64, u64)> = samples.iter().map(|(time, value)| (*time, value.to_bits())).collect();
        prop_assert_eq!(read_plain(&chunk::plain(&samples)), written);
    }

    #[test]
    fn native_histograms_are_read_as_they_were_written(
        times in times(),
        observed in proptest::collection::vec(
            proptest::collection::vec(prop_oneof![Just(0u64), 1u64..60, 1u64..50_000_000], 0..4), MOST_SAMPLES),
        resets in proptest::collection::btree_set(0..MOST_SAMPLES, 0..3),
    ) {
        let mut counted = Histogram::default();
        let mut samples = Vec::new();
        for (index, (time, values)) in times.into_iter().zip(observed).enumerate() {
            if resets.contains(&index) {
                counted = Histogram::default();
            }
            values.iter().for_each(|value| counted.add(*value));
            samples.push((time, counted.clone()));
        }
        let mut rest = samples.as_slice();
        let mut read = Vec::new();
        while !rest.is_empty() {
            let (part, further) = rest.split_at(chunk::alike(rest));
            prop_assert!(part.is_sorted_by_key(|(_, histogram)| histogram.count));
            read.extend(read_native(&chunk::native(part)));
            rest = further;
        }
        prop_assert_eq!(read, samples);
    }

    #[test]
    fn numbers_of_any_size_are_read_as_they_were_written(numbers in proptest::collection::vec(
        (any::<i64>(), 0u32..64).prop_map(|(number, shift)| number >> shift), 1..50)) {
        let mut bits = bits::Bits::default();
        for number in &numbers {
            bits.varbit(*number);
            bits.uvarbit(*number as u64);
            bits.varint(*number);
        }
        let bytes = bits.into_bytes();
        let mut reader = bits::Reader::new(&bytes);
        for number in numbers {
            prop_assert_eq!((reader.varbit(), reader.uvarbit()), (Some(number), Some(number as u64)));
            prop_assert_eq!(reader.varint(), Some(number));
        }
    }
}

fn series(team: &str, samples: Vec<(i64, f64)>) -> Series {
    let labels = Labels::new([("team", team)]);
    Series { name: "dora_deployments_total", labels, samples: samples.into(), exemplars: Vec::new() }
}

/// 2025-01-01, a Wednesday.
const WEDNESDAY: i64 = 1_735_689_600_000;

/// Two teams, three days with samples, and one without any.
fn history() -> Vec<Series> {
    ["orders", "billing"]
        .map(|team| {
            let days = [0, 1, 3].map(|day| (WEDNESDAY + day * DAY, day as f64));
            series(team, days.into_iter().chain([(WEDNESDAY + 3 * DAY + 1000, 0.0)]).collect())
        })
        .into()
}

#[test]
fn a_block_reaches_across_no_bound() {
    let past = history();
    let all = windows(&past, WEDNESDAY + 30 * DAY);
    let days = |time: i64| (time - WEDNESDAY) / DAY;
    let told: Vec<_> = all.iter().map(|window| (days(window.start), days(window.end))).collect();
    // Monday to Thursday, and Thursday to Monday.
    assert_eq!(told[..3], [(-2, 1), (1, 5), (5, 8)]);
    assert_eq!(told.last(), Some(&(29, 30)));
    assert!(told.windows(2).all(|pair| pair[0].1 == pair[1].0));
    for window in &all {
        // What Mimir asks for: by the weeks of the year 1, which began on a Monday.
        let since = |time: i64| time + 719_162 * DAY;
        assert!(since(window.end) <= since(window.start) / RANGE * RANGE + RANGE);
        assert!(window.end <= window.start / RANGE * RANGE + RANGE);
    }
    let made: Vec<Block> = blocks(&past, &all).collect();
    let told: Vec<_> = made
        .iter()
        .map(|block| {
            let (meta, stats) = (&block.meta, block.meta.stats);
            (meta.min_time - WEDNESDAY, meta.max_time - WEDNESDAY, stats.num_samples, stats.num_series)
        })
        .collect();
    assert_eq!(told, [(0, 1, 2, 2), (DAY, 3 * DAY + 1001, 6, 2)], "times, samples and series");
    assert_eq!(samples(&past, &all), Extent::of(past.series()).samples);
    assert_eq!(samples(&past, &all[1..]), 6);
}

#[test]
fn what_is_too_new_is_in_no_block() {
    let past = history();
    let before = WEDNESDAY + 3 * DAY + 500;
    let last = windows(&past, before).last().copied().unwrap();
    assert_eq!(last, Window { start: WEDNESDAY + DAY, end: before });
    let block = blocks(&past, &[last]).next().unwrap();
    assert_eq!((block.meta.stats.num_samples, block.meta.max_time), (4, before - 499));
    assert!(windows(&past, WEDNESDAY - 3 * DAY).is_empty() && windows(&Vec::new(), WEDNESDAY).is_empty());
}

#[test]
fn the_same_samples_are_the_same_bytes_and_the_same_name() {
    let past = history();
    let mut turned = history();
    turned.reverse();
    let all = windows(&past, WEDNESDAY + 4 * DAY);
    let made: Vec<Block> = blocks(&past, &all).collect();
    assert!(blocks(&turned, &all).eq(made.iter().cloned()), "the order of series makes no difference");
    // Windows are read in groups, or one by one.
    let each = all.iter().flat_map(|window| together(&past, &[*window]));
    assert!(each.eq(made.iter().cloned()));
    let mut names: Vec<&str> = made.iter().map(|block| block.meta.ulid.as_str()).collect();
    assert!(names.is_sorted());
    names.dedup();
    assert_eq!(names.len(), made.len());
}

#[test]
fn a_long_series_is_cut_into_chunks() {
    let samples = (0..500).map(|index| (WEDNESDAY + index * 1000, index as f64)).collect();
    let past = vec![series("orders", samples)];
    let block = blocks(&past, &windows(&past, WEDNESDAY + DAY)).next().unwrap();
    assert_eq!((block.meta.stats.num_samples, block.meta.stats.num_chunks), (500, 5));
}

/// All samples of a block by their series, as bits.
fn samples_of(block: &Block) -> Result<BTreeMap<String, Vec<(i64, u64)>>, Damage> {
    let chunks = [block.chunks.clone()];
    let mut all = BTreeMap::new();
    for entry in read(&block.meta, &block.index, &chunks)?.series {
        let samples: &mut Vec<_> = all.entry(format!("{:?}", entry.labels)).or_default();
        for chunk in entry.chunks {
            let Decoded::Plain(decoded) = chunk.decode()? else { panic!("no plain samples") };
            samples.extend(decoded.into_iter().map(|(time, value)| (time, value.to_bits())));
        }
    }
    Ok(all)
}

/// One with several chunks of a series, and several series.
fn block() -> Block {
    let samples =
        |team: i64| (0..200).map(|index| (WEDNESDAY + index * 1000, (index * team) as f64)).collect();
    let past = vec![series("orders", samples(1)), series("billing", samples(7))];
    blocks(&past, &windows(&past, WEDNESDAY + DAY)).next().unwrap()
}

#[test]
fn a_block_is_read_as_it_was_written() {
    let read = samples_of(&block()).unwrap();
    assert_eq!(read.len(), 2);
    for (labels, samples) in read {
        let factor = if labels.contains("billing") { 7.0 } else { 1.0 };
        let expected = (0..200).map(|index| (WEDNESDAY + index * 1000, (index as f64 * factor).to_bits()));
        assert!(samples.into_iter().eq(expected), "{labels}");
    }
}

#[test]
fn no_byte_of_index_or_chunks_can_change_unseen() {
    let whole = block();
    let flipped = |bytes: &Bytes, at: usize, bit: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1 << bit;
        Bytes::from(bytes)
    };
    for at in 0..whole.index.len() {
        let index = flipped(&whole.index, at, at % 8);
        let damage = samples_of(&Block { index, ..whole.clone() }).unwrap_err();
        assert_eq!(damage.file, "index", "byte {at}: {damage}");
    }
    for at in 0..whole.chunks.len() {
        let chunks = flipped(&whole.chunks, at, at % 8);
        let damage = samples_of(&Block { chunks, ..whole.clone() }).unwrap_err();
        assert_eq!(damage.file, "chunks/000001", "byte {at}: {damage}");
    }
    // Nor can one be cut off anywhere.
    for end in 0..whole.index.len() {
        samples_of(&Block { index: whole.index.slice(..end), ..whole.clone() }).unwrap_err();
    }
    for end in 0..whole.chunks.len() {
        samples_of(&Block { chunks: whole.chunks.slice(..end), ..whole.clone() }).unwrap_err();
    }
}

#[test]
fn what_a_block_says_of_itself_is_compared_with_what_is_in_it() {
    let whole = block();
    for (change, words) in [
        (
            (|meta: &mut Meta| meta.stats.num_samples += 1) as fn(&mut Meta),
            "says 401 samples, but there are 400",
        ),
        (|meta| meta.stats.num_series = 3, "says 3 series, but there are 2"),
        (|meta| meta.stats.num_chunks = 0, "says 0 chunks, but there are 4"),
        (|meta| meta.min_time += 1, "lies outside of the block's times"),
        (|meta| meta.max_time -= 1, "lies outside of the block's times"),
    ] {
        let mut block = whole.clone();
        change(&mut block.meta);
        let damage = samples_of(&block).unwrap_err().to_string();
        assert!(damage.contains(words), "{damage}");
    }
}

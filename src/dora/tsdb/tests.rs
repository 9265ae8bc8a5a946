use proptest::prelude::*;

use super::*;
use crate::dora::native::{self, Histogram};
use crate::dora::{Extent, Labels};

/// Reads what [`bits::Bits`] writes, by the format's own description.
struct Reader<'a>(&'a [u8], usize);

impl Reader<'_> {
    fn bits(&mut self, count: u32) -> u64 {
        (0..count).fold(0, |number, _| {
            let bit = self.0[self.1 / 8] >> (7 - self.1 % 8) & 1;
            self.1 += 1;
            number << 1 | u64::from(bit)
        })
    }

    fn signed(&mut self, count: u32) -> i64 {
        let number = self.bits(count);
        if count < 64 && number > 1 << (count - 1) {
            return number as i64 - (1i64 << count);
        }
        number as i64
    }

    fn uvarint(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.bits(8);
            number |= (byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return number;
            }
        }
    }

    fn varint(&mut self) -> i64 {
        let number = self.uvarint();
        (number >> 1) as i64 ^ -((number & 1) as i64)
    }

    fn ones(&mut self, most: u32) -> u32 {
        (0..most).take_while(|_| self.bits(1) == 1).count() as u32
    }

    fn varbit_length(&mut self) -> u32 {
        [0, 3, 6, 9, 12, 18, 25, 56, 64][self.ones(8) as usize]
    }

    fn varbit(&mut self) -> i64 {
        match self.varbit_length() {
            0 => 0,
            length => self.signed(length),
        }
    }

    fn uvarbit(&mut self) -> u64 {
        let length = self.varbit_length();
        self.bits(length)
    }
}

#[derive(Default)]
struct ReadValues(u64, u32, u32);

impl ReadValues {
    fn next(&mut self, reader: &mut Reader<'_>) -> f64 {
        if reader.bits(1) == 1 {
            if reader.bits(1) == 1 {
                self.1 = reader.bits(5) as u32;
                let length = match reader.bits(6) as u32 {
                    0 => 64,
                    length => length,
                };
                self.2 = 64 - self.1 - length;
            }
            self.0 ^= reader.bits(64 - self.1 - self.2) << self.2;
        }
        f64::from_bits(self.0)
    }
}

fn read_plain(data: &[u8]) -> Vec<(i64, u64)> {
    let mut reader = Reader(data, 0);
    let (mut time, mut step, mut values) = (0, 0, ReadValues::default());
    let mut samples = Vec::new();
    for index in 0..reader.bits(16) {
        let value = match index {
            0 => {
                time = reader.varint();
                values.0 = reader.bits(64);
                f64::from_bits(values.0)
            }
            _ => {
                step = match index {
                    1 => reader.uvarint() as i64,
                    _ => match reader.ones(4) {
                        0 => step,
                        ones => step + reader.signed([14, 17, 20, 64][ones as usize - 1]),
                    },
                };
                time += step;
                values.next(&mut reader)
            }
        };
        samples.push((time, value.to_bits()));
    }
    samples
}

fn read_native(data: &[u8]) -> Vec<(i64, Histogram)> {
    let mut reader = Reader(data, 0);
    let count = reader.bits(16);
    assert_eq!(reader.bits(8), 0);
    let exponent = reader.bits(8) as i32 - 243;
    assert_eq!((0.5 * 2f64.powi(exponent)).to_bits(), native::ZERO_THRESHOLD.to_bits());
    assert_eq!(reader.varbit(), i64::from(native::SCHEMA));
    let (mut indices, mut next) = (Vec::new(), 0);
    for _ in 0..reader.uvarbit() {
        let length = reader.uvarbit() as i64;
        next += reader.varbit();
        indices.extend(next..next + length);
        next += length;
    }
    assert_eq!(reader.uvarbit(), 0);
    let mut numbers = vec![(0i64, 0i64); 3 + indices.len()];
    let mut values = ReadValues::default();
    let mut samples = Vec::new();
    for index in 0..count {
        let mut sum = 0.0;
        for (place, (value, step)) in numbers.iter_mut().enumerate() {
            if place == 3 {
                sum = match index {
                    0 => {
                        values.0 = reader.bits(64);
                        f64::from_bits(values.0)
                    }
                    _ => values.next(&mut reader),
                };
            }
            match index {
                0 => {
                    *value = if place == 1 || place == 2 { reader.uvarbit() as i64 } else { reader.varbit() };
                }
                _ => {
                    *step += reader.varbit();
                    *value += *step;
                }
            }
        }
        if numbers.len() == 3 {
            sum = match index {
                0 => {
                    values.0 = reader.bits(64);
                    f64::from_bits(values.0)
                }
                _ => values.next(&mut reader),
            };
        }
        let mut bucket = 0;
        let buckets = indices.iter().zip(&numbers[3..]).map(|(index, (delta, _))| {
            bucket += delta;
            native::Bucket { index: *index as i32, count: bucket as u32 }
        });
        let buckets = Arc::new(buckets.collect());
        let histogram = Histogram { count: numbers[1].0 as u64, zero: numbers[2].0 as u64, sum, buckets };
        samples.push((numbers[0].0, histogram));
    }
    samples
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
        let mut reader = Reader(&bytes, 0);
        for number in numbers {
            prop_assert_eq!((reader.varbit(), reader.uvarbit()), (number, number as u64));
            prop_assert_eq!(reader.varint(), number);
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

//! One request's body, series by series and sample by sample, in either version
//! of the protocol. Its length is known before anything is added, so that
//! whoever cuts requests can keep to a bound.

use std::collections::HashMap;

use prost::Message;
use prost::encoding::{encoded_len_varint, key_len};

use super::wire::{self, v2};
use crate::{Exemplar, Series, Value};

/// The versions of Remote Write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    One,
    Two,
}

impl Version {
    /// What the request says of its body.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::One => "application/x-protobuf",
            Self::Two => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }

    /// The value of `X-Prometheus-Remote-Write-Version`.
    pub fn number(self) -> &'static str {
        match self {
            Self::One => "0.1.0",
            Self::Two => "2.0.0",
        }
    }
}

/// A request that is being made. Lists and strings keep their memory from one
/// request to the next.
pub(super) struct Encoder {
    /// The series that are complete.
    done: Vec<u8>,
    /// The request of version 2.0: its symbols, then its series.
    whole: Vec<u8>,
    /// Bytes of the open series' message.
    open: usize,
    message: OpenSeries,
}

/// The series that samples are being added to.
enum OpenSeries {
    One(wire::TimeSeries),
    Two(v2::TimeSeries, Symbols),
}

impl Encoder {
    pub fn new(version: Version) -> Self {
        let message = match version {
            Version::One => OpenSeries::One(wire::TimeSeries::default()),
            Version::Two => OpenSeries::Two(v2::TimeSeries::default(), Symbols::default()),
        };
        let mut encoder = Self { done: Vec::new(), whole: Vec::new(), open: 0, message };
        encoder.clear();
        encoder
    }

    /// Begins another request.
    pub fn clear(&mut self) {
        self.done.clear();
        if let OpenSeries::Two(_, symbols) = &mut self.message {
            symbols.clear();
        }
    }

    /// Opens a series: what is pushed until [`Encoder::end`] belongs to it.
    pub fn begin(&mut self, series: &Series) {
        // Sorted by name, as the protocol asks for: no label's name begins below `__name__`.
        let labels = std::iter::once(("__name__", series.name)).chain(series.labels.iter());
        match &mut self.message {
            OpenSeries::One(message) => {
                message.samples.clear();
                message.histograms.clear();
                message.exemplars.clear();
                let mut count = 0;
                for (name, value) in labels {
                    if message.labels.len() == count {
                        message.labels.push(wire::Label::default());
                    }
                    let label = &mut message.labels[count];
                    label.name.clear();
                    label.name.push_str(name);
                    label.value.clear();
                    label.value.push_str(value);
                    count += 1;
                }
                message.labels.truncate(count);
                self.open = message.encoded_len();
            }
            OpenSeries::Two(message, symbols) => {
                message.samples.clear();
                message.histograms.clear();
                message.exemplars.clear();
                message.labels_refs.clear();
                symbols.mark();
                for (name, value) in labels {
                    message.labels_refs.push(symbols.number(name));
                    message.labels_refs.push(symbols.number(value));
                }
                self.open = message.encoded_len();
            }
        }
    }

    /// Adds a sample and its exemplars, unless the request would be longer than
    /// `limit` bytes then; whether it did.
    pub fn push(
        &mut self,
        (timestamp, value): (i64, Value<'_>),
        exemplars: &[Exemplar],
        limit: usize,
    ) -> bool {
        let mut longer = self.open;
        match &mut self.message {
            OpenSeries::One(message) => {
                longer += match value {
                    Value::Plain(value) => put(2, &mut message.samples, wire::Sample { value, timestamp }),
                    Value::Native(value) => {
                        put(4, &mut message.histograms, wire::Histogram::of(timestamp, value))
                    }
                };
                let exemplars = exemplars.iter().map(|exemplar| wire::Exemplar {
                    labels: vec![wire::Label { name: exemplar.label.into(), value: exemplar.id.clone() }],
                    value: exemplar.value,
                    timestamp: exemplar.timestamp_ms,
                });
                let before = message.exemplars.len();
                message.exemplars.extend(exemplars);
                longer += message.exemplars[before..]
                    .iter()
                    .map(|exemplar| field_len(3, exemplar.encoded_len()))
                    .sum::<usize>();
                if self.done.len() + field_len(1, longer) > limit {
                    message.exemplars.truncate(before);
                    take_back(value, &mut message.samples, &mut message.histograms);
                    return false;
                }
            }
            OpenSeries::Two(message, symbols) => {
                longer += match value {
                    Value::Plain(value) => put(2, &mut message.samples, wire::Sample { value, timestamp }),
                    Value::Native(value) => {
                        put(3, &mut message.histograms, wire::Histogram::of(timestamp, value))
                    }
                };
                // The labels' symbols stay in any case while the series is open.
                let (before, mark) = (message.exemplars.len(), symbols.names.len());
                for exemplar in exemplars {
                    let exemplar = v2::Exemplar {
                        labels_refs: vec![symbols.number(exemplar.label), symbols.number(&exemplar.id)],
                        value: exemplar.value,
                        timestamp: exemplar.timestamp_ms,
                    };
                    longer += field_len(4, exemplar.encoded_len());
                    message.exemplars.push(exemplar);
                }
                if symbols.bytes + self.done.len() + field_len(5, longer) > limit {
                    message.exemplars.truncate(before);
                    symbols.forget(mark);
                    take_back(value, &mut message.samples, &mut message.histograms);
                    return false;
                }
            }
        }
        self.open = longer;
        true
    }

    /// Closes the series; one without samples leaves nothing.
    pub fn end(&mut self) {
        match &mut self.message {
            OpenSeries::One(message) if !(message.samples.is_empty() && message.histograms.is_empty()) => {
                prost::encoding::message::encode(1, message, &mut self.done);
            }
            OpenSeries::Two(message, _) if !(message.samples.is_empty() && message.histograms.is_empty()) => {
                prost::encoding::message::encode(5, message, &mut self.done);
            }
            OpenSeries::Two(_, symbols) => symbols.forget(symbols.marked),
            OpenSeries::One(_) => {}
        }
    }

    /// The whole request.
    pub fn finish(&mut self) -> &[u8] {
        let OpenSeries::Two(_, symbols) = &self.message else { return &self.done };
        // Symbols go first: Mimir reads a request in one pass.
        self.whole.clear();
        for symbol in &symbols.names {
            prost::encoding::string::encode(4, symbol, &mut self.whole);
        }
        self.whole.extend_from_slice(&self.done);
        &self.whole
    }
}

/// The strings of a request of version 2.0, each with its number.
#[derive(Default)]
struct Symbols {
    names: Vec<String>,
    numbers: HashMap<String, u32>,
    /// What they take in the request.
    bytes: usize,
    /// How many there were before the open series.
    marked: usize,
}

impl Symbols {
    fn clear(&mut self) {
        self.forget(0);
        // The protocol's first symbol is the empty one.
        self.number("");
        self.mark();
    }

    fn mark(&mut self) {
        self.marked = self.names.len();
    }

    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).expect("a request is bounded in bytes");
        self.bytes += field_len(4, text.len());
        self.numbers.insert(text.to_owned(), number);
        self.names.push(text.to_owned());
        number
    }

    /// Keeps the first `count` only.
    fn forget(&mut self, count: usize) {
        for name in self.names.drain(count..) {
            self.bytes -= field_len(4, name.len());
            self.numbers.remove(&name);
        }
    }
}

/// Adds a message to a list; the bytes that it takes as a field.
fn put<M: Message>(tag: u32, list: &mut Vec<M>, message: M) -> usize {
    let length = field_len(tag, message.encoded_len());
    list.push(message);
    length
}

/// Removes the sample that was put last.
fn take_back(value: Value<'_>, samples: &mut Vec<wire::Sample>, histograms: &mut Vec<wire::Histogram>) {
    match value {
        Value::Plain(_) => drop(samples.pop()),
        Value::Native(_) => drop(histograms.pop()),
    }
}

/// Bytes of a length-delimited field: key, length, contents.
fn field_len(tag: u32, length: usize) -> usize {
    key_len(tag) + encoded_len_varint(length as u64) + length
}

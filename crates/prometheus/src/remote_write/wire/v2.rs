//! Remote Write 2.0 (`io.prometheus.write.v2.Request`): every string is there
//! once, and labels are numbers that point to them.

use super::{Histogram, Sample};

/// The body of a request, before snappy (raw block format).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// The first one is empty, by the protocol.
    #[prost(string, repeated, tag = "4")]
    pub symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    pub timeseries: Vec<TimeSeries>,
}

/// Everything is sorted by time. There are samples or histograms, not both.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TimeSeries {
    /// Names and values in turn, sorted by name.
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    pub histograms: Vec<Histogram>,
    #[prost(message, repeated, tag = "4")]
    pub exemplars: Vec<Exemplar>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Exemplar {
    /// Names and values in turn.
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    #[prost(double, tag = "2")]
    pub value: f64,
    /// Milliseconds since 1970, UTC.
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

//! The DORA metrics: the values ([`seed`]), the history with its true dates
//! ([`remote_write`]), the live values through a Pushgateway ([`live`]), and the
//! history as a file ([`export`]).
//!
//! It knows neither the cloud nor the machines: where to write to is a
//! [`crate::stack::Target`], and what "today" is, the caller says.

pub mod events;
pub mod export;
pub mod exposition;
pub mod live;
pub mod pushgateway;
pub mod remote_write;
pub mod seed;

pub use export::write_seed;

/// The label `job` of every DORA series, history and live.
pub const JOB: &str = "dora";

/// One series and its samples, in the order of time. Its labels are
/// `{__name__=name, job="dora", team=team}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Metric name.
    pub name: &'static str,
    pub team: String,
    /// Milliseconds since 1970 (UTC), value.
    pub samples: Vec<(i64, f64)>,
}

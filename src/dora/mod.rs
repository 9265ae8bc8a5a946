//! The DORA metrics: events ([`events`], [`simulator`]), what is counted from them
//! ([`metrics`], [`native`]), the history with its true dates, as blocks ([`tsdb`], [`upload`])
//! or by [`remote_write`], the live values through a Pushgateway ([`live`]), and the gauges' history as a file
//! ([`export`]).
//!
//! It knows neither the cloud nor the machines: where to write to is a
//! [`crate::stack::Target`], and what "today" is, the caller says.

pub mod bands;
mod draw;
pub mod events;
pub mod export;
pub mod exposition;
pub mod feed;
pub mod live;
pub mod metrics;
pub mod native;
mod past;
pub mod pushgateway;
pub mod remote_write;
mod series;
pub mod simulator;
pub mod source;
mod teams;
pub mod truth;
pub mod tsdb;
pub mod upload;

pub use export::write_gauges;
pub use past::{Extent, Past, Since};
pub use series::{Exemplar, LONGEST_VALUE, Labels, Samples, Series, Value, escaped, valid};

/// The label `job` of every DORA series, history and live.
pub const JOB: &str = "dora";

//! The DORA metrics: events ([`events`], [`simulator`], [`source`]), what is counted from them
//! ([`metrics`], [`bands`], [`truth`]), the live values ([`live`]), and the gauges' history as a file
//! ([`export`]).
//!
//! It knows neither the cloud nor the machines: where to write to is a
//! [`dorainfra_prometheus::Target`], and what "today" is, the caller says.

pub mod bands;
mod draw;
pub mod events;
pub mod export;
pub mod feed;
pub mod live;
pub mod metrics;
pub mod simulator;
pub mod source;
mod teams;
pub mod truth;

pub use export::write_gauges;

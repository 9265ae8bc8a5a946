//! The collector stack that feeds the metrics to the endpoint, and the endpoint
//! as its clients see it.
//!
//! ```text
//! generator ─▶ Pushgateway ─▶ Prometheus agent ─▶ Target (Mimir or its stand-in)
//! ```
//!
//! [`Target`] says how to reach the endpoint; [`native`] runs the three parts as
//! processes of this machine, [`compose`] in containers, with Grafana. What the parts' configuration says is the
//! blueprint's; what is written into the series is `dora`'s.

pub mod compose;
pub mod native;
mod target;

pub use target::{Target, TargetError, reason, tls_failure};

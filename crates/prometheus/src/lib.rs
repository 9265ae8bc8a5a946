//! Prometheus' formats and protocols, as this project needs them of Mimir and of what stands in
//! for it: series ([`Series`], [`native`]), an endpoint ([`Target`]) with its query API ([`query`]),
//! [`remote_write`], the [`upload`] of blocks ([`tsdb`]), a [`pushgateway`], and the text of `/metrics`
//! ([`exposition`], [`metrics_text`]).

pub mod exposition;
pub mod metrics_text;
pub mod native;
mod past;
pub mod pushgateway;
pub mod query;
pub mod remote_write;
mod series;
mod target;
pub mod tsdb;
pub mod upload;

pub use past::{Extent, Past, Since};
pub use series::{Exemplar, JOB, LONGEST_VALUE, Labels, Samples, Series, Value, escaped, valid};
pub use target::{Flavour, TLS_HINT, Target, TargetError, tls_failure};

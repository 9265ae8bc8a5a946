//! The collector stack that feeds the metrics to the endpoint, and the endpoint
//! as its clients see it.
//!
//! ```text
//! generator ─▶ Pushgateway ─▶ Prometheus agent ─▶ Target (Mimir or its stand-in)
//! generator ◀──────────────── Prometheus agent ─▶ Target     (`stack.live: scrape`)
//! generator ────────────────────────────────────▶ Target     (`remote-write`)
//! ```
//!
//! [`Target`](dorainfra_prometheus::Target) says how to reach the endpoint; [`native`] runs the parts as
//! processes of this machine, [`compose`] in containers, with Grafana;
//! [`pipeline`] looks at all of it while it runs. What the parts' configuration
//! says is the blueprint's (of the files that it names, `jobs` makes the copies); what is
//! written into the series is `dora`'s.

pub mod compose;
mod jobs;
pub mod native;
pub mod pipeline;
pub mod private;

//! Google's APIs as this project uses them: credentials, one HTTP transport
//! with retries and request ids, operations, object data, typed errors with
//! hints. It knows no kinds and no manifests.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, reason = "numbers of others are computed with"))]

mod auth;
mod call;
mod client;
mod endpoints;
mod error;
mod identity;
mod lease;
mod objects;
mod operations;
mod outage;
mod project;
#[cfg(test)]
mod tests;

pub use call::{Api, Call};
pub use client::{Client, RETRY_FOR, Settings, jitter};
pub use endpoints::Endpoints;
pub use error::{ApiError, CLOCK_TOLERANCE, Error, more_or_less, role_with};
pub use identity::Identity;
pub use lease::BucketLease;
pub use objects::{Body, Upload, encoded, integer};

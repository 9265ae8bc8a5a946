//! What the tests of several crates share.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

pub mod fuzzing;

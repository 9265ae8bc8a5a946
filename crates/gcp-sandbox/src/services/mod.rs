//! The APIs.

pub mod billing;
pub mod compute;
pub mod iam;
pub mod org_policy;
pub mod projects;
pub mod secrets;
pub mod service_usage;
pub mod storage;

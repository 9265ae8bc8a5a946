//! The APIs, each of which gives itself to the kernel as a [`Service`].

pub mod billing;
pub mod compute;
pub mod iam;
pub mod org_policy;
pub mod projects;
pub mod secrets;
pub mod service_usage;
pub mod storage;

use crate::kernel::call::Service;

/// All of them.
pub static ALL: [&Service; 7] = [
    &billing::SERVICE,
    &compute::SERVICE,
    &iam::SERVICE,
    &projects::SERVICE,
    &secrets::SERVICE,
    &service_usage::SERVICE,
    &storage::SERVICE,
];

/// The API of that name.
pub fn named(name: &str) -> Option<&'static Service> {
    ALL.iter().find(|service| service.name == name).copied()
}

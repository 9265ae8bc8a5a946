//! What every API of a Google Cloud is made of: records, calls, the contract, identity
//! and permissions, operations, faults. It uses nothing of the APIs themselves.

pub mod access;
pub mod call;
pub mod clock;
pub mod cloud;
pub mod condition;
pub mod connection;
pub mod consistency;
pub mod consumer;
pub mod contract;
pub mod error;
pub mod faults;
pub mod fields;
pub mod files;
pub mod filter;
pub mod guard;
pub mod key;
pub mod labels;
pub mod locations;
pub mod multipart;
pub mod operation;
pub mod policy;
pub mod profile;
pub mod requests;
pub mod response;
pub mod roles;
pub mod store;
pub mod sync;
pub mod token;

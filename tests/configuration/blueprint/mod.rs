//! The blueprint as a whole: what it says, that it says the same twice, and that
//! no value of the configuration changes more than its own place.

mod errors;
mod fixture;
mod laws;
mod production;
mod snapshots;

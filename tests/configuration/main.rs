//! The configuration, and what is rendered from it.

mod blueprint;
mod errors;
mod load;

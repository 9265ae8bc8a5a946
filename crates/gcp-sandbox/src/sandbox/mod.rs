//! The sandbox as a whole: its start, its server, and the routes that control it.

pub mod batch;
pub mod control;
pub mod dispatch;
pub mod handle;
pub mod recording;
pub mod route;
pub mod server;
pub mod start;

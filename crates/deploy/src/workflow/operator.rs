//! Whoever has something done: a person at a terminal, a test, another program.

use tokio_util::sync::CancellationToken;

pub trait Operator: Send + Sync {
    /// Cancelled once the operator wants the work to end.
    fn interrupt(&self) -> CancellationToken;

    /// From now on something is changed: an interrupted run finishes what is in flight, and must not be
    /// dropped where it stands.
    fn finishing(&self);

    /// Tells of something that is wrong and stops nothing, where there is no stretch of events.
    fn warn(&self, message: &str);
}

/// Nobody: nothing is interrupted, and nobody is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unattended;

impl Operator for Unattended {
    fn interrupt(&self) -> CancellationToken {
        CancellationToken::new()
    }

    fn finishing(&self) {}

    fn warn(&self, _: &str) {}
}

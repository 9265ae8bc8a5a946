//! The limits on how often snapshots are made: six an hour of one disk, and six disks of
//! one snapshot. Sources: Compute Engine's documentation, "Create disk snapshots" and
//! "Restore from a snapshot".

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::kernel::faults::OperationError;
use crate::kernel::sync::lock;

const HOUR: Duration = Duration::from_secs(3600);
const SNAPSHOTS_AN_HOUR: usize = 6;

/// When a disk (or a snapshot), by its key, was copied within the last hour.
#[derive(Debug, Default)]
pub struct CopyRate(Mutex<HashMap<String, Vec<Instant>>>);

impl CopyRate {
    /// Notes that a snapshot is made of a disk, or a disk from a snapshot, unless that was
    /// done too often.
    pub fn copy(&self, source: &str, name: &str) -> Option<OperationError> {
        let mut copied = lock(&self.0);
        let copied = copied.entry(source.to_owned()).or_default();
        copied.retain(|at| at.elapsed() < HOUR);
        if copied.len() >= SNAPSHOTS_AN_HOUR {
            return Some(OperationError {
                code: "RESOURCE_OPERATION_RATE_EXCEEDED".into(),
                message: format!(
                    "Operation rate exceeded for resource '{name}'. Too frequent operations from the source resource."
                ),
            });
        }
        copied.push(Instant::now());
        None
    }
}

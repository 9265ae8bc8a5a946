//! Limits on how often something is done. Cloud Storage's on writes: about one a second of
//! an object's name and of a bucket's metadata, one bucket made or deleted in two seconds.
//! Compute Engine's on snapshots: six an hour of one disk, and six disks of one snapshot.
//! Sources: Cloud Storage's documentation, "Quotas & limits"; Compute Engine's, "Create
//! disk snapshots" and "Restore from a snapshot".

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::call::Call;
use super::error::ApiError;
use super::faults::OperationError;
use super::sync::lock;

const SECOND: Duration = Duration::from_secs(1);

const HOUR: Duration = Duration::from_secs(3600);
const SNAPSHOTS_AN_HOUR: usize = 6;

#[derive(Debug, Default)]
pub struct Pace {
    /// When what was written last.
    written: Mutex<HashMap<String, Instant>>,
    /// When a disk (or a snapshot), by its key, was copied within the last hour.
    copied: Mutex<HashMap<String, Vec<Instant>>>,
}

impl Pace {
    /// Notes that a snapshot is made of a disk, or a disk from a snapshot, unless that was
    /// done too often.
    pub fn copy(&self, source: &str, name: &str) -> Option<OperationError> {
        let mut copied = lock(&self.copied);
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

    /// Notes a write, unless one of the same thing was just made.
    ///
    /// # Errors
    /// 429 in Google's words.
    pub fn check(&self, call: &Call) -> Result<(), ApiError> {
        let (bucket, object) = (call.path("bucket"), call.path("object"));
        let name = if object.is_empty() { call.query("name").unwrap_or_default() } else { object };
        let (key, least, message) = match call.method.id.as_str() {
            "storage.objects.insert"
            | "storage.objects.delete"
            | "storage.objects.patch"
            | "storage.objects.update"
            | "storage.objects.compose"
                if !name.is_empty() && call.query("upload_id").is_none() =>
            {
                let message = format!(
                    "The object {bucket}/{name} exceeded the rate limit for object mutation operations (create, \
                     update, and delete). Please reduce your request rate. See \
                     https://cloud.google.com/storage/docs/gcs429."
                );
                (format!("object {bucket}/{name}"), SECOND, message)
            }
            "storage.buckets.patch" | "storage.buckets.update" | "storage.buckets.setIamPolicy" => {
                let message = format!(
                    "The rate of change requests to the bucket {bucket} exceeds the rate limit. Please reduce the \
                     rate of create, update, and delete requests."
                );
                (format!("bucket {bucket}"), SECOND, message)
            }
            "storage.buckets.insert" | "storage.buckets.delete" => {
                let message =
                    "The project exceeded the rate limit for creating and deleting buckets.".to_owned();
                ("buckets".to_owned(), 2 * SECOND, message)
            }
            _ => return Ok(()),
        };
        let mut written = lock(&self.written);
        if written.get(&key).is_some_and(|last| last.elapsed() < least) {
            let mut error = ApiError::new(429, "rateLimitExceeded", message);
            error.domain = "usageLimits";
            return Err(error);
        }
        // A new bucket's policy follows its creation: that counts as a change of it.
        if call.method.id == "storage.buckets.insert" {
            written.insert(format!("bucket {}", call.text("name")), Instant::now());
        }
        written.retain(|_, last| last.elapsed() < 2 * SECOND);
        written.insert(key, Instant::now());
        Ok(())
    }
}

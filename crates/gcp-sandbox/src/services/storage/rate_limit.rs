//! The limits on how often something is written: about one a second of an object's name
//! and of a bucket's metadata, one bucket made or deleted in two seconds.
//! Source: Cloud Storage's documentation, "Quotas & limits".

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::kernel::call::Call;
use crate::kernel::error::ApiError;
use crate::kernel::sync::lock;

const SECOND: Duration = Duration::from_secs(1);

/// What was written a moment ago.
#[derive(Debug, Default)]
pub struct WriteRate {
    /// When what was written last.
    written: Mutex<HashMap<String, Instant>>,
}

impl WriteRate {
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

//! The engine's lease as an object in the deployment's bucket: compare and swap
//! by generation.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dorainfra_engine::{Conflict, Kept, LeaseRecord, LeaseStore, ProviderError};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Client, Error, Upload};
use crate::objects::Body;

/// The object that holds the record.
const OBJECT: &str = "dorainfra/lease";
/// How often a record that is being renewed is read.
const ATTEMPTS: u32 = 5;

/// The lease of whatever lives in `bucket`.
#[derive(Clone, Debug)]
pub struct BucketLease {
    client: Client,
    bucket: String,
}

impl BucketLease {
    pub fn new(client: Client, bucket: impl Into<String>) -> Self {
        Self { client, bucket: bucket.into() }
    }
}

#[async_trait]
impl LeaseStore for BucketLease {
    async fn read(&self) -> Result<Option<Kept>, ProviderError> {
        for _ in 0..ATTEMPTS {
            let Some((object, now)) = self.client.stat_object_now(&self.bucket, OBJECT).await? else {
                return Ok(None);
            };
            let Some((bytes, generation)) = self.client.read_object(&self.bucket, OBJECT).await? else {
                continue;
            };
            // Renewed between the two: what is known of one is not known of the other.
            if object["generation"].as_str() != Some(&*generation.to_string()) {
                continue;
            }
            let updated = object["updated"].as_str().and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok());
            let age = updated.zip(now).map(|(updated, now)| {
                now.unix_timestamp_nanos().saturating_sub(updated.unix_timestamp_nanos())
            });
            let age =
                age.and_then(|age| u64::try_from(age).ok()).map(Duration::from_nanos).unwrap_or_default();
            let record = serde_json::from_slice(&bytes).ok();
            return Ok(Some(Kept { record, generation, age }));
        }
        Err(ProviderError::new(
            format!("{}/{OBJECT} changes faster than it can be read", self.bucket),
            "try again when the other runs have ended",
        ))
    }

    async fn write(
        &self,
        record: &LeaseRecord,
        if_generation: i64,
    ) -> Result<Result<i64, Conflict>, ProviderError> {
        let bytes = serde_json::to_vec(record).map_err(|error| {
            ProviderError::new(format!("the lease can't be written: {error}"), "run the command again")
                .because(error)
        })?;
        let upload = Upload {
            content_type: "application/json".into(),
            metadata: Vec::new(),
            if_generation: Some(if_generation),
        };
        match self.client.store(&self.bucket, OBJECT, &Body::Bytes(Bytes::from(bytes)), &upload).await {
            Ok(generation) => Ok(Ok(generation)),
            Err(Error::Api(error)) if error.is_stale() || error.is_conflict() => Ok(Err(Conflict)),
            Err(error) => Err(error.into()),
        }
    }

    fn unreachable(&self) -> Option<ProviderError> {
        Some(self.client.unreachable()?.into())
    }
}

impl From<Error> for ProviderError {
    fn from(error: Error) -> Self {
        let (message, hint, unknown_outcome) = (error.to_string(), error.hint(), error.unknown_outcome());
        Self { message, hint, unknown_outcome, source: error.cause() }
    }
}

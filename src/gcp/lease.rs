//! The engine's lease as an object in the deployment's bucket: compare and swap
//! by generation.

use async_trait::async_trait;
use bytes::Bytes;

use super::{Client, Error, Upload};
use crate::blueprint::Content;
use crate::engine::{Conflict, LeaseRecord, LeaseStore, ProviderError};

/// The object that holds the record.
const OBJECT: &str = "dorainfra/lease";

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
    async fn read(&self) -> Result<Option<(LeaseRecord, i64)>, ProviderError> {
        let Some((bytes, generation)) = self.client.read_object(&self.bucket, OBJECT).await? else {
            return Ok(None);
        };
        let record = serde_json::from_slice(&bytes).map_err(|error| ProviderError {
            message: format!("{}/{OBJECT} is not a lease: {error}", self.bucket),
            hint: Some("something else wrote it: look at it, and delete it if no run is under way".into()),
            unknown_outcome: false,
        })?;
        Ok(Some((record, generation)))
    }

    async fn write(
        &self,
        record: &LeaseRecord,
        if_generation: i64,
    ) -> Result<Result<i64, Conflict>, ProviderError> {
        let bytes = serde_json::to_vec(record).map_err(|error| ProviderError {
            message: format!("the lease can't be written: {error}"),
            hint: None,
            unknown_outcome: false,
        })?;
        let upload = Upload {
            content_type: "application/json".into(),
            metadata: Vec::new(),
            if_generation: Some(if_generation),
        };
        match self.client.put(&self.bucket, OBJECT, &Content::Bytes(Bytes::from(bytes)), &upload).await {
            Ok(generation) => Ok(Ok(generation)),
            Err(Error::Api(error)) if error.is_stale() || error.is_conflict() => Ok(Err(Conflict)),
            Err(error) => Err(error.into()),
        }
    }

    async fn remove(&self, if_generation: i64) -> Result<(), ProviderError> {
        match self.client.delete_object(&self.bucket, OBJECT, Some(if_generation)).await {
            Ok(()) => Ok(()),
            Err(Error::Api(error)) if error.is_stale() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl From<Error> for ProviderError {
    fn from(error: Error) -> Self {
        Self { message: error.to_string(), hint: error.hint(), unknown_outcome: error.unknown_outcome() }
    }
}

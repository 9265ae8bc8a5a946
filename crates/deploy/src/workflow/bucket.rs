//! What lies in the engine's bucket, for `verify` and `status`.

use async_trait::async_trait;
use bytes::Bytes;
use dorainfra_gcp as gcp;

use super::run::Run;
use crate::blueprint::Names;
use crate::verify::{Object, Objects};

/// The objects of one bucket.
pub struct BucketObjects<'a> {
    client: &'a gcp::Client,
    bucket: String,
}

impl<'a> BucketObjects<'a> {
    /// Those of a run's deployment.
    pub fn of(run: &'a Run) -> Self {
        Self { client: &run.client, bucket: Names::of(&run.project.config).bucket }
    }
}

/// Where the blocks of a run's tenant are.
pub fn blocks_prefix(run: &Run) -> String {
    format!("blocks/{}/", run.project.config.mimir.tenant)
}

#[async_trait]
impl Objects for BucketObjects<'_> {
    async fn list(&self, prefix: &str) -> Result<Vec<Object>, String> {
        let listed = self.client.list_objects(&self.bucket, prefix).await;
        let listed = listed.map_err(|error| error.to_string())?;
        let object = |object: &serde_json::Value| {
            // A number of 64 bits, which the API writes as a text.
            let size = object["size"].as_str().and_then(|size| size.parse().ok());
            Some(Object { name: object["name"].as_str()?.to_owned(), size: size.unwrap_or_default() })
        };
        Ok(listed.iter().filter_map(object).collect())
    }

    async fn read(&self, name: &str) -> Result<Option<Bytes>, String> {
        let read = self.client.read_object(&self.bucket, name).await;
        Ok(read.map_err(|error| error.to_string())?.map(|(bytes, _)| bytes))
    }
}

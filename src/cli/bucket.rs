//! What lies in the engine's bucket, for `verify`.

use std::collections::BTreeSet;

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::dora::tsdb::Meta;
use crate::gcp;
use crate::verify::{Contents, Objects};

/// Blocks that are read at the same time.
const AT_ONCE: usize = 16;

pub struct BucketObjects<'a> {
    pub client: &'a gcp::Client,
    pub bucket: &'a str,
}

#[async_trait]
impl Objects for BucketObjects<'_> {
    async fn blocks(&self, prefix: &str) -> Result<Contents, String> {
        let objects =
            self.client.list_objects(self.bucket, prefix).await.map_err(|error| error.to_string())?;
        let names: BTreeSet<&str> = objects.iter().filter_map(|object| object["name"].as_str()).collect();
        let mut reading = Vec::new();
        for name in &names {
            let block = name.strip_prefix(prefix).and_then(|name| name.strip_suffix("/meta.json"));
            let Some(block) = block.filter(|block| !block.contains('/')) else { continue };
            // Marked as deleted: what is in it is in another block by now.
            let mark = format!("{prefix}markers/{block}-deletion-mark.json");
            if !names.contains(mark.as_str()) {
                reading.push(self.meta((*name).to_owned()));
            }
        }
        let read = futures::stream::iter(reading).buffer_unordered(AT_ONCE);
        let blocks: Vec<Option<Meta>> = read.try_collect().await?;
        Ok(Contents { objects: names.len() as u64, blocks: blocks.into_iter().flatten().collect() })
    }
}

impl BucketObjects<'_> {
    /// `None`: it was deleted since it was listed.
    async fn meta(&self, name: String) -> Result<Option<Meta>, String> {
        let read = self.client.read_object(self.bucket, &name).await.map_err(|error| error.to_string())?;
        read.map(|(bytes, _)| serde_json::from_slice(&bytes))
            .transpose()
            .map_err(|error| format!("{name} is not what a block says of itself: {error}"))
    }
}

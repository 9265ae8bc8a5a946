//! A bucket in memory, with blocks in it, whose files a test changes as it likes.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use dorainfra_deploy::verify::{Bucket, Object, Objects};
use dorainfra_prometheus::tsdb::{Block, CHUNKS, INDEX};

pub const PREFIX: &str = "blocks/dora/";

#[derive(Clone, Default)]
pub struct Memory {
    pub objects: BTreeMap<String, Bytes>,
    /// Why nothing of it can be read.
    pub refuses: Option<String>,
}

impl Memory {
    pub fn of<'a>(blocks: impl IntoIterator<Item = &'a Block>) -> Self {
        let mut memory = Self::default();
        blocks.into_iter().for_each(|block| memory.put(block));
        memory
    }

    pub fn put(&mut self, block: &Block) {
        let meta = serde_json::to_vec(&block.meta).unwrap().into();
        for (file, bytes) in
            [("meta.json", meta), (INDEX, block.index.clone()), (CHUNKS, block.chunks.clone())]
        {
            self.objects.insert(format!("{PREFIX}{}/{file}", block.meta.ulid), bytes);
        }
    }

    /// What `verify` is given.
    pub fn bucket(&self) -> Bucket<'_> {
        Bucket { objects: self, prefix: PREFIX.into() }
    }
}

#[async_trait]
impl Objects for Memory {
    async fn list(&self, prefix: &str) -> Result<Vec<Object>, String> {
        if let Some(why) = &self.refuses {
            return Err(why.clone());
        }
        let found = self.objects.iter().filter(|(name, _)| name.starts_with(prefix));
        Ok(found.map(|(name, bytes)| Object { name: name.clone(), size: bytes.len() as u64 }).collect())
    }

    async fn read(&self, name: &str) -> Result<Option<Bytes>, String> {
        Ok(self.objects.get(name).cloned())
    }
}

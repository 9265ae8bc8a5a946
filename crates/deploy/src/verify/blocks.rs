//! A tenant's blocks as they lie in a bucket: which there are, what they say of
//! themselves, and whether their files are what that says.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dorainfra_prometheus::tsdb::{self, Damage, Meta};
use futures::{StreamExt as _, TryStreamExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bucket, Objects};

/// Descriptions of blocks that are read at the same time.
const AT_ONCE: usize = 16;
const META: &str = "meta.json";
const NO_META: &str = "is missing: it was deleted, or the block's upload has not come to its end";
/// A block is about to be deleted: what is in it is in another one by now.
const DELETION: &str = "deletion-mark.json";
/// Where a tenant's blocks have marks of their own.
const MARKERS: &str = "markers";
/// The tenant was deleted (by Mimir's API): its blocks are all about to go.
const TENANT_DELETION: &str = "tenant-deletion-mark.json";
/// Of a block: it was made of samples that came out of order.
const LATE: &str = "from-out-of-order";
/// Characters of a block's name.
const NAME: usize = 26;

/// A block that cannot be relied on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Damaged {
    pub block: String,
    /// `index`, `chunks/000001`, `meta.json`.
    pub file: String,
    pub what: String,
}

impl Damaged {
    pub(super) fn of(block: &str, damage: Damage) -> Self {
        Self { block: block.into(), file: damage.file, what: damage.what }
    }
}

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: {}", self.block, self.file, self.what)
    }
}

/// What a bucket holds of a tenant, as far as listing it and reading each block's
/// description can tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub objects: u64,
    /// Those whose files are there, without those that are about to be deleted.
    pub blocks: Vec<Meta>,
    pub damaged: Vec<Damaged>,
    /// Without a description, which is written last: their upload has not come to its
    /// end, or somebody deleted it.
    pub unfinished: Vec<Damaged>,
}

impl Found {
    /// The first millisecond that no block has.
    pub fn newest(&self) -> Option<i64> {
        // One of what came late says the two hours that it is of, however little of them it has:
        // their end may not have come yet.
        let late = |block: &&Meta| block.compaction.hints.iter().any(|hint| hint == LATE);
        self.blocks.iter().filter(|block| !late(block)).map(|block| block.max_time).max()
    }
}

/// Lists a tenant's blocks.
///
/// # Errors
/// The bucket cannot be read; in words.
pub(super) async fn find(bucket: &Bucket<'_>) -> Result<Found, String> {
    let objects = bucket.objects.list(&bucket.prefix).await?;
    let mut folders: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    let mut deleted = BTreeSet::new();
    let mut found = Found { objects: objects.len() as u64, ..Found::default() };
    for object in &objects {
        let Some((folder, file)) =
            object.name.strip_prefix(&bucket.prefix).and_then(|name| name.split_once('/'))
        else {
            continue;
        };
        match folder {
            MARKERS if file == TENANT_DELETION => found.damaged.push(Damaged {
                block: MARKERS.into(),
                file: TENANT_DELETION.into(),
                what:
                    "says that the whole tenant was deleted: within minutes Mimir deletes all of its blocks. \
                       Delete this object now, unless that is what was wanted"
                        .into(),
            }),
            MARKERS => deleted.extend(file.strip_suffix(DELETION).and_then(|name| name.strip_suffix('-'))),
            _ if folder.len() == NAME => {
                folders.entry(folder).or_default().insert(file, object.size);
            }
            _ => {}
        }
    }
    folders.retain(|name, files| !deleted.contains(name) && !files.contains_key(DELETION));

    let reading = folders.iter().map(|(name, files)| one(bucket, name, files)).collect::<Vec<_>>();
    let read = futures::stream::iter(reading).buffered(AT_ONCE);
    let read: Vec<Result<Meta, Damaged>> = read.try_collect().await?;
    for one in read {
        match one {
            Ok(meta) => found.blocks.push(meta),
            Err(unfinished) if unfinished.file == META && unfinished.what == NO_META => {
                found.unfinished.push(unfinished);
            }
            Err(damaged) => found.damaged.push(damaged),
        }
    }
    Ok(found)
}

/// The block of one folder.
async fn one(
    bucket: &Bucket<'_>,
    name: &str,
    files: &BTreeMap<&str, u64>,
) -> Result<Result<Meta, Damaged>, String> {
    let Some(bytes) = bucket.objects.read(&format!("{}{name}/{META}", bucket.prefix)).await? else {
        let damage = Damage::of(META, NO_META);
        return Ok(Err(Damaged::of(name, damage)));
    };
    let meta = serde_json::from_slice(&bytes)
        .map_err(|error| Damage::of(META, format!("is not what a block says of itself: {error}")))
        .and_then(|meta: Meta| complete(&meta, name, files).map(|()| meta));
    Ok(meta.map_err(|damage| Damaged::of(name, damage)))
}

/// Whether a block's files are there, of the sizes that it says.
fn complete(meta: &Meta, name: &str, files: &BTreeMap<&str, u64>) -> Result<(), Damage> {
    if meta.ulid != name {
        return Err(Damage::of(META, format!("is that of another block, {}", meta.ulid)));
    }
    let missing = |file: &str| Damage::of(file, "is missing");
    if !files.contains_key(tsdb::INDEX) {
        return Err(missing(tsdb::INDEX));
    }
    let chunks = chunk_files(files.keys().copied());
    // They are counted from 1, and none is left out.
    let all = (1..=chunks.len().max(usize::from(meta.stats.num_chunks > 0))).map(tsdb::chunks_file);
    if let Some(lost) = all.into_iter().find(|file| !files.contains_key(file.as_str())) {
        return Err(missing(&lost));
    }
    for file in &meta.thanos.files {
        match files.get(file.rel_path.as_str()) {
            None => return Err(missing(&file.rel_path)),
            Some(size) if file.size_bytes > 0 && *size != file.size_bytes => {
                let what = format!("has {size} bytes instead of {}", file.size_bytes);
                return Err(Damage::of(&file.rel_path, what));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn chunk_files<'a>(files: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    files.filter(|file| file.starts_with("chunks/")).collect()
}

/// The index of a block, and its files of chunks.
pub(super) struct Contents {
    pub index: Bytes,
    pub chunks: Vec<Bytes>,
}

/// Downloads a block; the inner error is that a file is not there.
///
/// # Errors
/// The bucket cannot be read; in words.
pub(super) async fn download(
    objects: &dyn Objects,
    prefix: &str,
    meta: &Meta,
) -> Result<Result<Contents, Damage>, String> {
    let folder = format!("{prefix}{}/", meta.ulid);
    let listed = objects.list(&format!("{folder}chunks/")).await?;
    let Some(index) = objects.read(&format!("{folder}{}", tsdb::INDEX)).await? else {
        return Ok(Err(Damage::of(tsdb::INDEX, "is missing")));
    };
    let mut chunks = Vec::with_capacity(listed.len());
    for number in 1..=listed.len() {
        let file = tsdb::chunks_file(number);
        match objects.read(&format!("{folder}{file}")).await? {
            Some(bytes) => chunks.push(bytes),
            None => return Ok(Err(Damage::of(file, "is missing"))),
        }
    }
    Ok(Ok(Contents { index, chunks }))
}

//! What a block says of itself, `meta.json`, with what Mimir's upload asks for.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{CHUNKS, INDEX, Window};

/// As Prometheus writes it; what is not asked for here is left out when read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// The block's name.
    pub ulid: String,
    pub min_time: i64,
    /// The first millisecond that is not in it.
    pub max_time: i64,
    #[serde(default)]
    pub stats: Stats,
    pub compaction: Compaction,
    pub version: u32,
    /// Of the buckets' own additions.
    #[serde(default)]
    pub thanos: Thanos,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stats {
    pub num_samples: u64,
    pub num_float_samples: u64,
    #[serde(skip_serializing_if = "none")]
    pub num_histogram_samples: u64,
    pub num_series: u64,
    pub num_chunks: u64,
}

fn none(count: &u64) -> bool {
    *count == 0
}

impl Stats {
    /// One more chunk.
    pub(super) fn add(&mut self, samples: u64, native: bool) {
        self.num_chunks += 1;
        self.num_samples += samples;
        match native {
            true => self.num_histogram_samples += samples,
            false => self.num_float_samples += samples,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compaction {
    pub level: u32,
    /// The blocks that this one was made of; of a new one, itself.
    #[serde(default)]
    pub sources: Vec<String>,
    /// How Prometheus came to write it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Thanos {
    pub labels: std::collections::BTreeMap<String, String>,
    pub downsample: Downsample,
    pub source: String,
    pub files: Vec<File>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Downsample {
    pub resolution: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    pub rel_path: String,
    #[serde(default)]
    pub size_bytes: u64,
}

impl Meta {
    pub(super) fn new(digest: &[u8], times: Window, stats: Stats, index: usize, chunks: usize) -> Self {
        let name = ulid(times.end, digest);
        let file = |name: &str, size| File { rel_path: name.into(), size_bytes: size as u64 };
        Self {
            ulid: name.clone(),
            min_time: times.start,
            max_time: times.end,
            stats,
            compaction: Compaction { level: 1, sources: vec![name], hints: Vec::new() },
            version: 1,
            thanos: Thanos {
                source: "upload".into(),
                files: vec![file(CHUNKS, chunks), file(INDEX, index)],
                ..Thanos::default()
            },
        }
    }
}

impl Meta {
    /// The same block under another name, the same each time. What Mimir once found
    /// bad stays bad for it, also when the fault was its own.
    #[must_use]
    pub fn renamed(&self) -> Self {
        let name = ulid(self.max_time, &Sha256::digest(&self.ulid));
        let compaction = Compaction { sources: vec![name.clone()], ..self.compaction.clone() };
        Self { ulid: name, compaction, ..self.clone() }
    }
}

/// 48 bits of a time in milliseconds and 80 bits of the digest, five to a character:
/// no chance is in it, so the same contents have the same name.
fn ulid(time: i64, digest: &[u8]) -> String {
    const CHARACTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let entropy = digest.iter().take(10).fold(0u128, |number, byte| number << 8 | u128::from(*byte));
    let number = u128::from(time as u64 & 0xffff_ffff_ffff) << 80 | entropy;
    (0..26).rev().map(|place| char::from(CHARACTERS[(number >> (5 * place)) as usize & 31])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_by_time_and_made_of_the_contents() {
        assert_eq!(ulid(0, &[0; 32]), "0".repeat(26));
        // The example of the specification: its time is the first ten characters.
        assert!(ulid(1_469_918_176_385, &[7; 32]).starts_with("01ARYZ6S41"));
        assert!(ulid(1, &[255; 32]) < ulid(2, &[0; 32]));
        assert_eq!(ulid((1 << 48) - 1, &[255; 32]), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
    }
}

//! The sandbox's records: JSON documents by key, in an embedded database, with
//! all of them in memory as well. A change is on disk before anybody sees it.
//!
//! Keys are paths: `compute/zones/Z/disks/D`, `buckets/B`, `objects/B/NAME`,
//! `policy/…`, `operations/…`. Object bytes are files (see `storage::media`).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use dorainfra_base::error::Why;
use futures::future::BoxFuture;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use serde_json::Value;

use super::error::SandboxError;
use super::files;

/// A record is the CRC32C of its JSON (4 bytes, big endian) and the JSON.
const RECORDS: TableDefinition<&str, &[u8]> = TableDefinition::new("records");

#[derive(Debug)]
pub struct Store {
    database: Database,
    records: BTreeMap<String, Value>,
}

/// What has to happen once a transaction is on disk.
pub enum After {
    /// Remove a file or folder that nothing refers to any more.
    Discard(PathBuf),
    /// Wake those that wait for changes of this record (its key).
    Changed(String),
    /// Begin with this.
    Spawn(BoxFuture<'static, ()>),
}

/// A record that a transaction has written.
pub struct Written {
    pub key: String,
    pub removed: bool,
}

impl Store {
    /// Opens or creates the database in `dir`; checks every record.
    pub fn open(dir: &Path) -> Result<Self, SandboxError> {
        let path = dir.join("state.redb");
        let damaged = |why: Why| SandboxError::Damaged { path: path.clone(), why };
        // Opened, it would be a new world beside the old one's files.
        let size = std::fs::metadata(&path).map_or(0, |file| file.len());
        let files_of_objects =
            || std::fs::read_dir(dir.join("objects")).is_ok_and(|mut all| all.next().is_some());
        if size == 0 && (files::key_file(dir).exists() || files_of_objects()) {
            return Err(damaged("the records of the sandbox that was here are gone".into()));
        }
        let mut database = match Database::create(&path) {
            Ok(database) => database,
            Err(DatabaseError::DatabaseAlreadyOpen) => {
                return Err(SandboxError::AlreadyRunning { dir: dir.to_owned(), pid: None });
            }
            Err(DatabaseError::Storage(redb::StorageError::Io(source)))
                if source.kind() != std::io::ErrorKind::InvalidData
                    && source.kind() != std::io::ErrorKind::UnexpectedEof =>
            {
                return Err(SandboxError::File { what: "open", path, source });
            }
            Err(error) => return Err(damaged(Why::of(error))),
        };
        database.check_integrity().map_err(|error| damaged(Why::of(error)))?;
        let records = read_all(&database).map_err(|why| damaged(why.into()))?;
        Ok(Self { database, records })
    }

    pub fn begin(&mut self) -> Tx<'_> {
        Tx { store: self, writes: BTreeMap::new(), after: Vec::new() }
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.records.get(key)
    }

    pub fn scan(&self, prefix: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.records
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    fn write(&mut self, writes: BTreeMap<String, Option<Value>>) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for (key, value) in &writes {
                match value {
                    Some(value) => table.insert(key.as_str(), encode(value).as_slice())?,
                    None => table.remove(key.as_str())?,
                };
            }
        }
        transaction.commit()?;
        for (key, value) in writes {
            match value {
                Some(value) => self.records.insert(key, value),
                None => self.records.remove(&key),
            };
        }
        Ok(())
    }
}

fn encode(value: &Value) -> Vec<u8> {
    let json = value.to_string();
    let mut bytes = crc32c::crc32c(json.as_bytes()).to_be_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Value> {
    let (sum, json) = bytes.split_first_chunk::<4>()?;
    if u32::from_be_bytes(*sum) != crc32c::crc32c(json) {
        return None;
    }
    serde_json::from_slice(json).ok()
}

fn read_all(database: &Database) -> Result<BTreeMap<String, Value>, String> {
    let words = |error: redb::Error| error.to_string();
    let transaction = database.begin_read().map_err(|error| words(error.into()))?;
    let table = match transaction.open_table(RECORDS) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
        Err(error) => return Err(words(error.into())),
    };
    let mut records = BTreeMap::new();
    for entry in table.iter().map_err(|error| words(error.into()))? {
        let (key, value) = entry.map_err(|error| words(error.into()))?;
        let key = key.value().to_owned();
        let value =
            decode(value.value()).ok_or_else(|| format!("the record `{key}` does not match its checksum"))?;
        records.insert(key, value);
    }
    Ok(records)
}

/// A set of changes that happen together or not at all. Dropped: not at all.
pub struct Tx<'a> {
    store: &'a mut Store,
    writes: BTreeMap<String, Option<Value>>,
    after: Vec<After>,
}

impl Tx<'_> {
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self.writes.get(key) {
            Some(written) => written.as_ref(),
            None => self.store.get(key),
        }
    }

    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub fn put(&mut self, key: impl Into<String>, value: Value) {
        self.writes.insert(key.into(), Some(value));
    }

    pub fn remove(&mut self, key: impl Into<String>) {
        self.writes.insert(key.into(), None);
    }

    /// Changes one record in place; nothing happens where there is none.
    pub fn edit(&mut self, key: &str, change: impl FnOnce(&mut Value)) {
        if let Some(mut value) = self.get(key).cloned() {
            change(&mut value);
            self.put(key, value);
        }
    }

    /// All records whose key starts with `prefix`, in order of their keys.
    pub fn scan(&self, prefix: &str) -> Vec<(String, Value)> {
        let mut found: BTreeMap<&String, &Value> =
            self.store.scan(prefix).filter(|(key, _)| !self.writes.contains_key(*key)).collect();
        for (key, value) in self.writes.range::<str, _>((Bound::Included(prefix), Bound::Unbounded)) {
            if !key.starts_with(prefix) {
                break;
            }
            if let Some(value) = value {
                found.insert(key, value);
            }
        }
        found.into_iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// The records as they were before this set of changes.
    pub fn committed(&self, prefix: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.store.scan(prefix)
    }

    /// What it changes.
    pub fn written(&self) -> Vec<Written> {
        let written = self.writes.iter();
        written.map(|(key, value)| Written { key: key.clone(), removed: value.is_none() }).collect()
    }

    pub fn after(&mut self, what: After) {
        self.after.push(what);
    }

    /// Writes everything to disk and answers what has to happen next.
    pub fn commit(self) -> Result<Vec<After>, SandboxError> {
        if !self.writes.is_empty() {
            self.store.write(self.writes).map_err(|error| SandboxError::Store(Why::of(error)))?;
        }
        Ok(self.after)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_dropped_transaction_changes_nothing_and_a_committed_one_lasts() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let mut tx = store.begin();
        tx.put("a/1", json!(1));
        tx.put("a/2", json!(2));
        tx.commit().unwrap();
        let mut tx = store.begin();
        tx.put("a/3", json!(3));
        tx.remove("a/1");
        assert_eq!(tx.scan("a/").len(), 2);
        drop(tx);
        drop(store);
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.scan("a/").count(), 2);
        assert_eq!(store.get("a/1"), Some(&json!(1)));
    }

    #[test]
    fn one_folder_is_open_once() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Store::open(dir.path()).unwrap();
        assert!(matches!(Store::open(dir.path()), Err(SandboxError::AlreadyRunning { .. })));
    }

    #[test]
    fn damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let mut tx = store.begin();
        tx.put("a", json!("x".repeat(3000)));
        tx.commit().unwrap();
        drop(store);
        let path = dir.path().join("state.redb");
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(64).position(|window| window == [b'x'; 64]).unwrap();
        bytes[at] = b'y';
        std::fs::write(&path, bytes).unwrap();
        let error = Store::open(dir.path()).unwrap_err();
        assert!(matches!(error, SandboxError::Damaged { .. }), "{error}");
        std::fs::write(&path, b"not a database at all").unwrap();
        assert!(matches!(Store::open(dir.path()), Err(SandboxError::Damaged { .. })));
    }
}

//! Soft delete: what was deleted or replaced in a bucket whose policy keeps it,
//! and its way back. Kept until its time is over; what is over by then goes when
//! the sandbox starts.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::preconditions::Conditions;
use super::{bucket, copies, media, object_key};
use crate::kernel::call::Call;
use crate::kernel::error::ApiError;
use crate::kernel::store::{Store, Tx};
use crate::kernel::{access, clock};

/// Records of soft-deleted objects, of those whose bucket is deleted as well, and
/// of buckets.
const OBJECTS: &str = "deletedObjects/";
const WITH_BUCKET: &str = "deletedWithBucket/";
const BUCKETS: &str = "deletedBuckets/";

/// All records that name an object's bytes.
pub const PREFIXES: [&str; 4] = ["objects/", "versions/", OBJECTS, WITH_BUCKET];

fn key(bucket: &str, name: &str, generation: &str) -> String {
    format!("{OBJECTS}{bucket}/{name}\n{generation}")
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// Marks what is deleted now with its times; `None`: the bucket keeps nothing.
fn kept(bucket: &Value, value: &Value) -> Option<Value> {
    let seconds: i64 = text(&bucket["softDeletePolicy"], "retentionDurationSeconds").parse().ok()?;
    if seconds == 0 {
        return None;
    }
    let mut kept = value.clone();
    kept["softDeleteTime"] = json!(clock::timestamp());
    let now = i64::try_from(clock::seconds()).ok()?;
    kept["hardDeleteTime"] = json!(clock::rfc3339(u64::try_from(now + seconds).ok()?));
    Some(kept)
}

/// Keeps an object that goes; false where the bucket keeps none.
pub fn keep(tx: &mut Tx, bucket: &Value, object: &Value) -> bool {
    let Some(object) = kept(bucket, object) else { return false };
    let key = key(text(&object, "bucket"), text(&object, "name"), text(&object, "generation"));
    tx.put(key, object);
    true
}

fn is_over(record: &Value) -> bool {
    let until = clock::parsed(text(record, "hardDeleteTime"));
    until.is_some_and(|until| until <= OffsetDateTime::now_utc())
}

/// Removes the records whose time is over, at start.
pub fn expire(store: &mut Store) -> Result<(), crate::kernel::error::SandboxError> {
    let mut tx = store.begin();
    for prefix in [OBJECTS, WITH_BUCKET, BUCKETS] {
        for (key, record) in tx.scan(prefix) {
            if is_over(&record) {
                tx.remove(key);
            }
        }
    }
    tx.commit().map(drop)
}

/// Soft-deleted objects of a bucket whose name begins with `prefix`.
pub fn list(tx: &Tx, bucket: &str, prefix: &str) -> Vec<(String, Value)> {
    let mut all = tx.scan(&format!("{OBJECTS}{bucket}/{prefix}"));
    all.retain(|(_, object)| !is_over(object));
    all
}

/// The soft-deleted object that a call names by its generation.
pub fn object(call: &Call, tx: &Tx) -> Result<Value, ApiError> {
    let Some(generation) = call.query("generation") else {
        return Err(ApiError::new(400, "required", "Required parameter: generation"));
    };
    let (bucket, name) = (call.path("bucket"), call.path("object"));
    let found = tx.get(&key(bucket, name, generation)).filter(|object| !is_over(object));
    found.cloned().ok_or_else(|| ApiError::not_found(format!("No such object: {bucket}/{name}#{generation}")))
}

/// `objects.restore`: a live copy with a new generation. The soft-deleted one stays.
pub fn restore_object(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    if call.flag("copySourceAcl") {
        return Err(ApiError::unimplemented("objects.restore with copySourceAcl"));
    }
    let bucket = bucket(call, tx)?;
    access::require_in(call, tx, "storage.objects.create", call.path("bucket"), call.path("object"))?;
    let source = object(call, tx)?;
    let (bucket_name, name) = (call.path("bucket").to_owned(), call.path("object").to_owned());
    Conditions::of(call).check(tx.get(&object_key(&bucket_name, &name)), false)?;
    let written = copies::linked(call, &source)?;
    let given = copies::settable(&source);
    media::create(call, tx, &bucket, &name, &given, &Conditions::default(), &written)
}

/// Keeps a bucket that goes, with what was soft-deleted in it.
pub fn keep_bucket(tx: &mut Tx, bucket: &Value, policy: &Value) {
    let name = text(bucket, "name").to_owned();
    let generation = text(bucket, "generation").to_owned();
    let bucket = kept(bucket, bucket);
    for (key, object) in tx.scan(&format!("{OBJECTS}{name}/")) {
        let rest = key[OBJECTS.len()..].to_owned();
        tx.remove(key);
        if bucket.is_some() {
            tx.put(format!("{WITH_BUCKET}{generation}/{rest}"), object);
        }
    }
    if let Some(bucket) = bucket {
        let until = bucket["hardDeleteTime"].clone();
        let record = json!({"bucket": bucket, "policy": policy, "hardDeleteTime": until});
        tx.put(format!("{BUCKETS}{name}\n{generation}"), record);
    }
}

/// Soft-deleted buckets whose name begins with `prefix`.
pub fn list_buckets(tx: &Tx, prefix: &str) -> Vec<(String, Value)> {
    let all = tx.scan(&format!("{BUCKETS}{prefix}"));
    all.into_iter()
        .filter(|(_, record)| !is_over(record))
        .map(|(key, record)| (key, record["bucket"].clone()))
        .collect()
}

fn bucket_record(call: &Call, tx: &Tx) -> Result<(String, Value), ApiError> {
    let Some(generation) = call.query("generation") else {
        return Err(ApiError::new(400, "required", "Required parameter: generation"));
    };
    let key = format!("{BUCKETS}{}\n{generation}", call.path("bucket"));
    let record = tx.get(&key).filter(|record| !is_over(record)).cloned();
    let record = record.ok_or_else(|| ApiError::not_found("The specified bucket does not exist."))?;
    Ok((key, record))
}

/// The soft-deleted bucket that a call names by its generation.
pub fn bucket_of(call: &Call, tx: &Tx) -> Result<Value, ApiError> {
    bucket_record(call, tx).map(|(_, record)| record["bucket"].clone())
}

/// `buckets.restore`: the same bucket again, with its policy; what was
/// soft-deleted in it still is.
pub fn restore_bucket(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = bucket_record(call, tx)?;
    let name = call.path("bucket").to_owned();
    if tx.has(&format!("buckets/{name}")) || tx.has(&format!("foreign/{name}")) {
        return Err(ApiError::new(409, "conflict", format!("A bucket of the name {name} exists.")));
    }
    let mut bucket = record["bucket"].clone();
    if let Some(bucket) = bucket.as_object_mut() {
        bucket.retain(|field, _| field != "softDeleteTime" && field != "hardDeleteTime");
    }
    let prefix = format!("{WITH_BUCKET}{}/", text(&bucket, "generation"));
    let objects: BTreeMap<String, Value> = tx.scan(&prefix).into_iter().collect();
    for (key, object) in objects {
        tx.put(format!("{OBJECTS}{}", &key[prefix.len()..]), object);
        tx.remove(key);
    }
    tx.remove(key);
    tx.put(super::buckets::policy_key(&name), record["policy"].clone());
    tx.put(format!("buckets/{name}"), bucket.clone());
    Ok(bucket)
}

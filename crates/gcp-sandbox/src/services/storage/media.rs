//! Objects' bytes: written to files, read back whole or in ranges, with the
//! checksums that clients check.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dorainfra_base::file;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::preconditions::Conditions;
use super::{bucket, object_key, objects, retention, shown, soft_delete, transcoding};
use crate::kernel::call::Call;
use crate::kernel::cloud::Cloud;
use crate::kernel::error::ApiError;
use crate::kernel::store::{Store, Tx};
use crate::kernel::{access, clock};

/// Bytes that are in place, under the generation that names them.
#[derive(Clone, Debug)]
pub struct Written {
    pub generation: String,
    pub size: u64,
    pub crc32c: u32,
    /// `None` for what is composed of others.
    pub md5: Option<[u8; 16]>,
    /// Of how many objects it is composed.
    pub components: Option<u64>,
}

pub fn path(dir: &Path, generation: &str) -> PathBuf {
    dir.join("objects").join(generation)
}

pub fn failed(error: &std::io::Error) -> ApiError {
    ApiError::internal(format!("The sandbox cannot keep the object: {error}"))
}

/// Writes bytes to a file of a new generation.
pub async fn store(cloud: &Arc<Cloud>, bytes: Bytes) -> Result<Written, ApiError> {
    let dir = cloud.dir.clone();
    let work = move || {
        let generation = clock::unique(0).to_string();
        file::replace_durably(&path(&dir, &generation), &bytes, file::Mode::Private)?;
        let size = bytes.len() as u64;
        let (crc32c, md5) = (crc32c::crc32c(&bytes), Some(md5::compute(&bytes).0));
        Ok(Written { generation, size, crc32c, md5, components: None })
    };
    let done: std::io::Result<Written> =
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    done.map_err(|error| failed(&error))
}

/// Makes a finished upload's file the bytes of a new generation.
pub async fn adopt(cloud: &Arc<Cloud>, upload: PathBuf) -> Result<Written, ApiError> {
    let dir = cloud.dir.clone();
    let work = move || {
        let mut file = std::fs::File::open(&upload)?;
        let (mut sum, mut md5, mut size) = (0, md5::Context::new(), 0u64);
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            sum = crc32c::crc32c_append(sum, &buffer[..count]);
            md5.consume(&buffer[..count]);
            size += count as u64;
        }
        file.sync_all()?;
        let generation = clock::unique(0).to_string();
        std::fs::rename(&upload, path(&dir, &generation))?;
        Ok(Written { generation, size, crc32c: sum, md5: Some(md5.finalize().0), components: None })
    };
    let done: std::io::Result<Written> =
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    done.map_err(|error| failed(&error))
}

/// Whether an upload may go ahead, before any byte is kept.
pub fn admit_upload(call: &Call, tx: &Tx, name: &str, conditions: &Conditions) -> Result<(), ApiError> {
    access::check_on(call, tx, Some(name))?;
    let bucket = bucket(call, tx)?;
    for parameter in ["predefinedAcl", "kmsKeyName"] {
        if call.query(parameter).is_some() {
            return Err(ApiError::unimplemented(&format!("objects.insert with {parameter}")));
        }
    }
    admit(call, tx, &bucket, name, conditions)
}

/// Whether an object of that name may be written.
pub fn admit(
    call: &Call,
    tx: &Tx,
    bucket: &Value,
    name: &str,
    conditions: &Conditions,
) -> Result<(), ApiError> {
    let bad = name.is_empty()
        || name.len() > 1024
        || name.contains(['\r', '\n'])
        || matches!(name, "." | "..")
        || name.starts_with(".well-known/acme-challenge/");
    if bad {
        return Err(if name.is_empty() {
            ApiError::new(400, "required", "Required")
        } else {
            ApiError::invalid(format!("Invalid object name: '{name}'"))
        });
    }
    let bucket_name = bucket["name"].as_str().unwrap_or_default();
    let live = tx.get(&object_key(bucket_name, name));
    conditions.check(live, false)?;
    let Some(live) = live else { return Ok(()) };
    access::require_in(call, tx, "storage.objects.delete", bucket_name, name)?;
    if bucket["versioning"]["enabled"] == true { Ok(()) } else { retention::check(bucket, live) }
}

/// Writes the record of an object whose bytes are in place. `given` is what the
/// client says of it.
pub fn create(
    call: &Call,
    tx: &mut Tx,
    bucket: &Value,
    name: &str,
    given: &Value,
    conditions: &Conditions,
    written: &Written,
) -> Result<Value, ApiError> {
    admit(call, tx, bucket, name, conditions)?;
    objects::check_given(bucket, given)?;
    let bucket_name = bucket["name"].as_str().unwrap_or_default();
    let crc32c = STANDARD.encode(written.crc32c.to_be_bytes());
    let md5 = written.md5.map(|md5| STANDARD.encode(md5));
    let sums = [("crc32c", "CRC32C", Some(&crc32c)), ("md5Hash", "MD5 hash", md5.as_ref())];
    for (field, words, computed) in sums {
        if let (Some(text), Some(computed)) = (given[field].as_str(), computed)
            && text != computed
        {
            return Err(ApiError::invalid(format!(
                "Provided {words} \"{text}\" doesn't match calculated {words} \"{computed}\"."
            )));
        }
    }
    let now = clock::timestamp();
    let mut object = json!({
        "kind": "storage#object", "id": format!("{bucket_name}/{name}/{}", written.generation), "name": name,
        "bucket": bucket_name, "generation": written.generation, "metageneration": "1",
        "contentType": "application/octet-stream",
        "storageClass": given["storageClass"].as_str().or(bucket["storageClass"].as_str()).unwrap_or("STANDARD"),
        "size": written.size.to_string(), "crc32c": crc32c, "etag": clock::fingerprint(),
        "timeCreated": now, "updated": now, "timeStorageClassUpdated": now, "timeFinalized": now,
    });
    if let Some(md5) = md5 {
        object["md5Hash"] = json!(md5);
    }
    if let Some(components) = written.components {
        object["componentCount"] = json!(components);
    }
    for field in objects::SETTABLE {
        if !given[field].is_null() {
            object[field] = given[field].clone();
        }
    }
    if let Some(old) = tx.get(&object_key(bucket_name, name)).cloned() {
        objects::remove(call, tx, bucket, &old, true)?;
    }
    tx.put(object_key(bucket_name, name), object.clone());
    Ok(shown(&call.cloud, bucket, &object))
}

/// Stores an upload of known bytes under `name`.
pub async fn put(
    call: Call,
    name: String,
    given: Value,
    conditions: Conditions,
    bytes: Bytes,
) -> Result<Value, ApiError> {
    let cloud = Arc::clone(&call.cloud);
    let (early, early_name, early_conditions) = (call.clone(), name.clone(), conditions.clone());
    cloud.transact(move |tx| admit_upload(&early, tx, &early_name, &early_conditions)).await?;
    let written = store(&cloud, bytes).await?;
    finish(call, name, given, conditions, written).await
}

/// Writes the record for bytes that are in place; without it they go again.
pub async fn finish(
    call: Call,
    name: String,
    given: Value,
    conditions: Conditions,
    written: Written,
) -> Result<Value, ApiError> {
    let cloud = Arc::clone(&call.cloud);
    let file = path(&cloud.dir, &written.generation);
    let work = move |tx: &mut Tx| {
        admit_upload(&call, tx, &name, &conditions)?;
        let bucket = bucket(&call, tx)?;
        create(&call, tx, &bucket, &name, &given, &conditions, &written)
    };
    let done = cloud.transact(work).await;
    if done.is_err() {
        let _ = tokio::fs::remove_file(file).await;
    }
    done
}

/// `(first, last + 1)` of a Range header over `size` bytes; `None`: all of it.
pub fn range(header: Option<&str>, size: u64) -> Result<Option<(u64, u64)>, ApiError> {
    let Some((from, to)) = header
        .and_then(|text| text.strip_prefix("bytes="))
        .filter(|text| !text.contains(','))
        .and_then(|text| text.split_once('-'))
    else {
        return Ok(None);
    };
    let unsatisfiable =
        || ApiError::new(416, "requestedRangeNotSatisfiable", "Request range not satisfiable");
    let parsed = match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), Ok(to)) if from <= to => (from, to.saturating_add(1).min(size)),
        (Ok(from), Err(_)) if to.is_empty() => (from, size),
        (Err(_), Ok(last)) if from.is_empty() && last > 0 => (size.saturating_sub(last), size),
        _ => return Ok(None),
    };
    if parsed.0 >= size { Err(unsatisfiable()) } else { Ok(Some(parsed)) }
}

/// The headers that go with an object's bytes.
fn headers(object: &Value) -> HeaderMap {
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    let md5 = object["md5Hash"].as_str().map(|md5| format!(",md5={md5}")).unwrap_or_default();
    let hashes = format!("crc32c={}{md5}", text("crc32c"));
    let mut all = vec![
        ("accept-ranges".to_owned(), "bytes".to_owned()),
        ("content-type".to_owned(), text("contentType")),
        ("etag".to_owned(), format!("\"{}\"", text("etag"))),
        ("last-modified".to_owned(), clock::http_date(&text("updated"))),
        ("x-goog-generation".to_owned(), text("generation")),
        ("x-goog-metageneration".to_owned(), text("metageneration")),
        ("x-goog-hash".to_owned(), hashes),
        ("x-goog-storage-class".to_owned(), text("storageClass")),
        ("x-goog-stored-content-length".to_owned(), text("size")),
    ];
    let encoding = text("contentEncoding");
    let stored = if encoding.is_empty() { "identity".to_owned() } else { encoding.clone() };
    all.push(("x-goog-stored-content-encoding".to_owned(), stored));
    all.push(("content-encoding".to_owned(), encoding));
    for (field, header) in [
        ("cacheControl", "cache-control"),
        ("contentDisposition", "content-disposition"),
        ("contentLanguage", "content-language"),
    ] {
        all.push((header.to_owned(), text(field)));
    }
    for (key, value) in object["metadata"].as_object().into_iter().flatten() {
        all.push((
            format!("x-goog-meta-{}", key.to_lowercase()),
            value.as_str().unwrap_or_default().to_owned(),
        ));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in all.into_iter().filter(|(_, value)| !value.is_empty()) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    headers
}

/// Answers an object's bytes; `head` leaves them out. What is stored as gzip is
/// inflated for who does not take `gzip`, and then there are no ranges of it.
pub async fn respond(
    cloud: &Cloud,
    object: &Value,
    wanted: Option<&str>,
    gzip: bool,
    head: bool,
) -> Result<Response, ApiError> {
    if !gzip && transcoding::applies(object) {
        return transcoded(cloud, object, head).await;
    }
    let size: u64 = object["size"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
    let part = range(wanted, size)?;
    let (from, to) = part.unwrap_or((0, size));
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = headers(object);
    response.headers_mut().insert("content-length", HeaderValue::from(to - from));
    if part.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let value = HeaderValue::try_from(format!("bytes {from}-{}/{size}", to - 1));
        response.headers_mut().insert("content-range", value.expect("digits are a header value"));
    }
    if head || to == from {
        return Ok(response);
    }
    let generation = object["generation"].as_str().unwrap_or_default();
    let mut file =
        tokio::fs::File::open(path(&cloud.dir, generation)).await.map_err(|error| failed(&error))?;
    file.seek(std::io::SeekFrom::Start(from)).await.map_err(|error| failed(&error))?;
    let chunks = futures::stream::try_unfold((file, to - from), |(mut file, left)| async move {
        if left == 0 {
            return Ok::<_, std::io::Error>(None);
        }
        let mut buffer = vec![0; usize::try_from(left.min(256 << 10)).unwrap_or(0)];
        file.read_exact(&mut buffer).await?;
        let count = buffer.len() as u64;
        Ok(Some((Bytes::from(buffer), (file, left - count))))
    });
    *response.body_mut() = Body::from_stream(chunks);
    Ok(response)
}

async fn transcoded(cloud: &Cloud, object: &Value, head: bool) -> Result<Response, ApiError> {
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = headers(object);
    let all = response.headers_mut();
    all.remove("content-encoding");
    all.insert("warning", HeaderValue::from_static("214 UploadServer gunzipped"));
    all.insert("vary", HeaderValue::from_static("Accept-Encoding"));
    if !head {
        let generation = object["generation"].as_str().unwrap_or_default();
        let stored = tokio::fs::read(path(&cloud.dir, generation)).await.map_err(|error| failed(&error))?;
        // In a stream, as Google's: nobody knows its length before it ends.
        let bytes = Bytes::from(transcoding::inflated(&stored)?);
        *response.body_mut() =
            Body::from_stream(futures::stream::once(async { Ok::<_, std::io::Error>(bytes) }));
    }
    Ok(response)
}

/// Compares the files with the records at start: a file that nothing names is
/// left over and goes; a record whose bytes are not there, or are others, is damage.
pub fn check(dir: &Path, store: &Store) -> Result<(), String> {
    let mut named = std::collections::BTreeSet::new();
    for (_, object) in soft_delete::PREFIXES.iter().flat_map(|prefix| store.scan(prefix)) {
        let generation = object["generation"].as_str().unwrap_or_default();
        let size = object["size"].as_str().and_then(|text| text.parse::<u64>().ok());
        let found = std::fs::metadata(path(dir, generation)).ok().map(|file| file.len());
        if found.is_none() || found != size {
            return Err(format!("the bytes of object {} are missing or cut off", object["id"]));
        }
        let sum = checksum(&path(dir, generation)).map(|sum| STANDARD.encode(sum.to_be_bytes()));
        if sum.ok().as_deref() != object["crc32c"].as_str() {
            return Err(format!("the bytes of object {} do not match their checksum", object["id"]));
        }
        named.insert(generation.to_owned());
    }
    for entry in std::fs::read_dir(dir.join("objects")).into_iter().flatten().flatten() {
        if !named.contains(&entry.file_name().to_string_lossy().into_owned()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn checksum(path: &Path) -> std::io::Result<u32> {
    let mut file = std::fs::File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    let mut sum = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(sum),
            count => sum = crc32c::crc32c_append(sum, &buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (header, expected) in [
            (None, Some(None)),
            (Some("bytes=0-4"), Some(Some((0, 5)))),
            (Some("bytes=5-"), Some(Some((5, 10)))),
            (Some("bytes=-3"), Some(Some((7, 10)))),
            (Some("bytes=2-100"), Some(Some((2, 10)))),
            (Some("bytes=10-"), None),
            (Some("lines=1-2"), Some(None)),
        ] {
            assert_eq!(range(header, 10).ok(), expected, "{header:?}");
        }
    }
}

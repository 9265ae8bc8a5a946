//! Objects made of other objects: copied, rewritten in one call or in several,
//! and composed.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dorainfra_base::file::{Mode, Replacement};
use serde_json::{Value, json};

use super::media::{self, Written};
use super::preconditions::{Conditions, failed};
use super::{bucket_named, find, objects};
use crate::kernel::call::{Call, Handler};
use crate::kernel::error::ApiError;
use crate::kernel::store::Tx;
use crate::kernel::{access, clock};

/// The most objects of one `compose`.
const SOURCES: usize = 32;
const MIB: i64 = 1 << 20;

pub fn handler(verb: &str) -> Option<Handler> {
    Some(match verb {
        "compose" => compose,
        "copy" => copy,
        "rewrite" => rewrite,
        "move" => rename,
        _ => return None,
    })
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// What a copy takes over.
pub fn settable(object: &Value) -> Value {
    let mut given = json!({});
    for field in objects::SETTABLE.iter().filter(|field| **field != "temporaryHold") {
        if !object[*field].is_null() {
            given[*field] = object[*field].clone();
        }
    }
    given
}

/// The bytes of an object under a new generation. They are never changed, so both
/// may be one file.
pub fn linked(call: &Call, source: &Value) -> Result<Written, ApiError> {
    let dir = &call.cloud.dir;
    let generation = clock::unique(0).to_string();
    std::fs::hard_link(media::path(dir, text(source, "generation")), media::path(dir, &generation))
        .map_err(|error| media::failed(&error))?;
    let sum = |field: &str| STANDARD.decode(text(source, field)).unwrap_or_default();
    let crc32c = sum("crc32c").first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    Ok(Written {
        generation,
        size: text(source, "size").parse().unwrap_or(0),
        crc32c,
        md5: sum("md5Hash").first_chunk::<16>().copied(),
        components: source["componentCount"].as_u64(),
    })
}

fn no_acl(call: &Call) -> Result<(), ApiError> {
    let parameters = ["destinationPredefinedAcl", "destinationKmsKeyName", "kmsKeyName", "dropContextGroups"];
    match parameters.iter().find(|name| call.query(name).is_some()) {
        None => Ok(()),
        Some(name) => Err(ApiError::unimplemented(&format!("{} with {name}", call.method.id))),
    }
}

/// The object that a copy reads: permission, generation and conditions of its own.
fn source(call: &Call, tx: &Tx) -> Result<(Value, Value), ApiError> {
    let (bucket_name, name) = (call.path("sourceBucket"), call.path("sourceObject"));
    let bucket = bucket_named(call, tx, bucket_name)?;
    access::require_in(call, tx, "storage.objects.get", bucket_name, name)?;
    let found = find(tx, bucket_name, name, call.query("sourceGeneration"));
    let object = found.ok_or_else(|| ApiError::not_found(format!("No such object: {bucket_name}/{name}")))?;
    Conditions::of_source(call).check(Some(&object), false)?;
    Ok((bucket, object))
}

/// Writes the copy: what the source says of itself, and what the request says
/// instead.
fn write(call: &Call, tx: &mut Tx, bucket: &Value, source: &Value) -> Result<Value, ApiError> {
    let mut given = settable(source);
    super::merge_patch(&mut given, &own(&call.body));
    let name = call.path("destinationObject").to_owned();
    let written = linked(call, source)?;
    media::create(call, tx, bucket, &name, &given, &Conditions::of(call), &written)
}

/// What a request says of the object that is made. Its name and checksums follow
/// from what it is made of: those of an object that was there before mean nothing.
fn own(given: &Value) -> Value {
    let mut own = given.clone();
    if let Some(own) = own.as_object_mut() {
        own.retain(|field, _| !["name", "bucket", "crc32c", "md5Hash"].contains(&field.as_str()));
    }
    own
}

fn copy(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    no_acl(call)?;
    let (_, source) = source(call, tx)?;
    let bucket = bucket_named(call, tx, call.path("destinationBucket"))?;
    media::admit(call, tx, &bucket, call.path("destinationObject"), &Conditions::of(call))?;
    write(call, tx, &bucket, &source)
}

/// `objects.move`: another name in the same bucket, all at once.
fn rename(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (bucket_name, name) = (call.path("bucket"), call.path("sourceObject"));
    let bucket = bucket_named(call, tx, bucket_name)?;
    access::require_in(call, tx, "storage.objects.create", bucket_name, call.path("destinationObject"))?;
    let source = find(tx, bucket_name, name, None)
        .ok_or_else(|| ApiError::not_found(format!("No such object: {bucket_name}/{name}")))?;
    Conditions::of_source(call).check(Some(&source), false)?;
    if name == call.path("destinationObject") {
        return Err(ApiError::invalid("The source and the destination of a move have to differ."));
    }
    media::admit(call, tx, &bucket, call.path("destinationObject"), &Conditions::of(call))?;
    let moved = write(call, tx, &bucket, &source)?;
    objects::remove(call, tx, &bucket, &source, true)?;
    Ok(moved)
}

/// Between places or storage classes a rewrite may take several calls, as many as
/// the caller's limit makes it.
fn rewrite(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    no_acl(call)?;
    let (from, source) = source(call, tx)?;
    let bucket = bucket_named(call, tx, call.path("destinationBucket"))?;
    media::admit(call, tx, &bucket, call.path("destinationObject"), &Conditions::of(call))?;
    let most = call.number("maxBytesRewrittenPerCall");
    if most.is_some_and(|most| most <= 0 || most % MIB != 0) {
        return Err(ApiError::invalid("maxBytesRewrittenPerCall must be an integral multiple of 1 MiB."));
    }
    let class = call.body["storageClass"].as_str().unwrap_or_else(|| text(&bucket, "storageClass"));
    let far = from["location"] != bucket["location"] || source["storageClass"] != class;
    let size: i64 = text(&source, "size").parse().unwrap_or(0);
    let what = json!([source["id"], call.path("destinationBucket"), call.path("destinationObject")]);
    let mut rewritten = 0;
    if let Some(token) = call.query("rewriteToken") {
        let key = format!("rewrites/{token}");
        let record = tx.get(&key).filter(|record| record["what"] == what).cloned();
        let record =
            record.ok_or_else(|| ApiError::invalid("The rewrite token does not fit the request."))?;
        rewritten = record["rewritten"].as_i64().unwrap_or(0);
        tx.remove(key);
    }
    rewritten = size.min(rewritten + most.filter(|_| far).unwrap_or(size));
    let mut answer = json!({
        "kind": "storage#rewriteResponse", "objectSize": size.to_string(),
        "totalBytesRewritten": rewritten.to_string(), "done": rewritten == size,
    });
    if rewritten == size {
        answer["resource"] = write(call, tx, &bucket, &source)?;
    } else {
        let token = uuid::Uuid::new_v4().simple().to_string();
        tx.put(format!("rewrites/{token}"), json!({"what": what, "rewritten": rewritten}));
        answer["rewriteToken"] = json!(token);
    }
    Ok(answer)
}

fn compose(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    no_acl(call)?;
    if call.body["deleteSourceObjects"] == true {
        return Err(ApiError::unimplemented("objects.compose with deleteSourceObjects"));
    }
    let (bucket_name, name) = (call.path("destinationBucket"), call.path("destinationObject"));
    let bucket = bucket_named(call, tx, bucket_name)?;
    let conditions = Conditions::of(call);
    media::admit(call, tx, &bucket, name, &conditions)?;
    let wanted = call.body["sourceObjects"].as_array().cloned().unwrap_or_default();
    if wanted.is_empty() {
        return Err(ApiError::new(400, "required", "You must provide at least one source component."));
    }
    if wanted.len() > SOURCES {
        return Err(ApiError::invalid(format!(
            "The number of source components provided ({}) exceeds the maximum ({SOURCES})",
            wanted.len()
        )));
    }
    for source in &wanted {
        access::require_in(call, tx, "storage.objects.get", bucket_name, text(source, "name"))?;
    }
    let sources: Result<Vec<Value>, ApiError> =
        wanted.iter().map(|wanted| component(tx, bucket_name, wanted)).collect();
    let sources = sources?;
    let written = concatenated(call, &sources).map_err(|error| media::failed(&error))?;
    let mut given = own(&call.body["destination"]);
    if given["contentType"].is_null() && given.is_object() {
        given["contentType"] = sources[0]["contentType"].clone();
    }
    media::create(call, tx, &bucket, name, &given, &conditions, &written)
}

fn component(tx: &Tx, bucket: &str, wanted: &Value) -> Result<Value, ApiError> {
    let name = text(wanted, "name");
    let object = find(tx, bucket, name, wanted["generation"].as_str())
        .ok_or_else(|| ApiError::not_found(format!("Object {name} not found in bucket {bucket}")))?;
    let condition = &wanted["objectPreconditions"]["ifGenerationMatch"];
    if !condition.is_null() && *condition != object["generation"] {
        return Err(failed("If-Match"));
    }
    Ok(object)
}

fn concatenated(call: &Call, sources: &[Value]) -> std::io::Result<Written> {
    let dir = &call.cloud.dir;
    let generation = clock::unique(0).to_string();
    let mut file = Replacement::of(&media::path(dir, &generation), Mode::Private)?;
    let (mut sum, mut size, mut components) = (0, 0, 0);
    let mut buffer = vec![0; 1 << 20];
    for source in sources {
        let mut part = std::fs::File::open(media::path(dir, text(source, "generation")))?;
        loop {
            let count = part.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            sum = crc32c::crc32c_append(sum, &buffer[..count]);
            size += count as u64;
            file.write_all(&buffer[..count])?;
        }
        components += source["componentCount"].as_u64().unwrap_or(1);
    }
    file.persist_durably()?;
    // As at Google, what is composed has no MD5.
    Ok(Written { generation, size, crc32c: sum, md5: None, components: Some(components) })
}

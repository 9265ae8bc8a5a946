//! Uploads in one request: `uploadType=media` and `multipart`.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};

use super::media;
use super::preconditions::Conditions;
use crate::kernel::call::Call;
use crate::kernel::contract::CONTRACT;
use crate::kernel::error::ApiError;
use crate::kernel::multipart;

const RELATED: &str = "multipart/related";

/// Metadata and bytes of a simple upload.
pub async fn simple(call: Call, headers: &HeaderMap, body: Bytes) -> Result<Value, ApiError> {
    let kind = header(headers, "content-type").unwrap_or("application/octet-stream").to_owned();
    let mut given = json!({"contentType": kind});
    if let Some(encoding) = call.query("contentEncoding") {
        given["contentEncoding"] = json!(encoding);
    }
    hashes(headers, &mut given);
    let name = call.query("name").unwrap_or_default().to_owned();
    let conditions = Conditions::of(&call);
    media::put(call, name, given, conditions, body).await
}

/// `multipart/related`: the object's metadata, its bytes and, where a client
/// computes checksums as it sends, more metadata with these.
pub async fn multipart(call: Call, headers: &HeaderMap, body: Bytes) -> Result<Value, ApiError> {
    let boundary = multipart::boundary(headers, RELATED).ok_or_else(|| {
        ApiError::new(400, "badContent", "Multipart content-type must be multipart/related with a boundary.")
    })?;
    let parts = multipart::split(&body, &boundary)
        .filter(|parts| matches!(parts.len(), 2 | 3))
        .ok_or_else(|| ApiError::new(400, "badContent", "Malformed multipart body."))?;
    let mut given = metadata(&parts[0].body)?;
    if given["contentType"].is_null()
        && let Some(kind) = parts[1].field("content-type")
    {
        given["contentType"] = json!(kind);
    }
    if let Some(trailer) = parts.get(2) {
        for (field, value) in metadata(&trailer.body)?.as_object().into_iter().flatten() {
            if !["crc32c", "md5Hash"].contains(&field.as_str()) {
                let words = format!("Only checksums may follow the media, not '{field}'.");
                return Err(ApiError::new(400, "badContent", words));
            }
            given[field] = value.clone();
        }
    }
    hashes(headers, &mut given);
    let name = given["name"].as_str().or(call.query("name")).unwrap_or_default().to_owned();
    let conditions = Conditions::of(&call);
    media::put(call, name, given, conditions, parts[1].body.clone()).await
}

/// The first part of a multipart body: the object's metadata.
pub fn first_part(headers: &HeaderMap, body: &Bytes) -> Option<Bytes> {
    let parts = multipart::split(body, &multipart::boundary(headers, RELATED)?)?;
    parts.into_iter().next().map(|part| part.body)
}

/// Reads and checks an object's metadata.
pub fn metadata(bytes: &[u8]) -> Result<Value, ApiError> {
    if bytes.trim_ascii().is_empty() {
        return Ok(json!({}));
    }
    let value = serde_json::from_slice(bytes).map_err(|error| {
        ApiError::new(400, "parseError", format!("Invalid JSON payload received. {error}"))
    })?;
    CONTRACT.check("storage", "Object", &value, "resource")?;
    Ok(value)
}

pub fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Checksums that the client sends in `x-goog-hash`.
pub fn hashes(headers: &HeaderMap, given: &mut Value) {
    for value in headers.get_all("x-goog-hash") {
        for each in value.to_str().unwrap_or_default().split(',') {
            match each.trim().split_once('=') {
                Some(("crc32c", sum)) => given["crc32c"] = json!(sum),
                Some(("md5", sum)) => given["md5Hash"] = json!(sum),
                _ => {}
            }
        }
    }
}

//! Uploads in one request: `uploadType=media` and `multipart`.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};

use super::conditions::Conditions;
use super::media;
use crate::sandbox::call::Call;
use crate::sandbox::contract::CONTRACT;
use crate::sandbox::error::ApiError;

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
    let boundary = boundary(headers).ok_or_else(|| {
        ApiError::new(400, "badContent", "Multipart content-type must be multipart/related with a boundary.")
    })?;
    let parts = split(&body, &boundary)
        .filter(|parts| matches!(parts.len(), 2 | 3))
        .ok_or_else(|| ApiError::new(400, "badContent", "Malformed multipart body."))?;
    let mut given = metadata(&parts[0].1)?;
    if given["contentType"].is_null()
        && let Some(kind) = &parts[1].0
    {
        given["contentType"] = json!(kind);
    }
    if let Some((_, trailer)) = parts.get(2) {
        for (field, value) in metadata(trailer)?.as_object().into_iter().flatten() {
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
    media::put(call, name, given, conditions, parts[1].1.clone()).await
}

/// The first part of a multipart body: the object's metadata.
pub fn first_part(headers: &HeaderMap, body: &Bytes) -> Option<Bytes> {
    let parts = split(body, &boundary(headers)?)?;
    parts.into_iter().next().map(|(_, bytes)| bytes)
}

fn boundary(headers: &HeaderMap) -> Option<String> {
    let kind = header(headers, "content-type")?;
    let multipart = kind.to_ascii_lowercase().starts_with("multipart/related");
    let boundary = kind.split(';').find_map(|part| part.trim().strip_prefix("boundary="))?;
    multipart.then(|| boundary.trim_matches(['"', '\'']).to_owned())
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

/// The parts between the boundaries: content type and bytes. Lines end as the
/// first one does: gcloud sends bare line feeds.
fn split(body: &Bytes, boundary: &str) -> Option<Vec<(Option<String>, Bytes)>> {
    let delimiter = format!("--{boundary}");
    let mut at = find(body, delimiter.as_bytes(), 0)? + delimiter.len();
    let first = find(body, b"\n", at)?;
    let newline = if body[..first].ends_with(b"\r") { "\r\n" } else { "\n" };
    let (line, blank, width) = (newline.as_bytes(), newline.repeat(2), newline.len());
    let next = format!("{newline}{delimiter}");
    let mut parts = Vec::new();
    loop {
        if body.get(at..at + 2)? == b"--" {
            return Some(parts);
        }
        let head_start = find(body, line, at)? + width;
        let (head, start) = if body.get(head_start..head_start + width)? == line {
            ("", head_start + width)
        } else {
            let end = find(body, blank.as_bytes(), head_start)?;
            (std::str::from_utf8(&body[head_start..end]).ok()?, end + 2 * width)
        };
        let end = find(body, next.as_bytes(), start.saturating_sub(width))?;
        let kind = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-type").then(|| value.trim().to_owned())
        });
        parts.push((kind, body.slice(start.min(end)..end)));
        at = end + next.len();
    }
}

fn find(haystack: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let first = *needle.first()?;
    let mut at = from;
    while at + needle.len() <= haystack.len() {
        let step = haystack[at..].iter().position(|byte| *byte == first)?;
        at += step;
        if haystack[at..].starts_with(needle) {
            return Some(at);
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_multipart_body_is_taken_apart() {
        let body = Bytes::from_static(
            b"--b\r\nContent-Type: application/json\r\n\r\n{\"a\":1}\r\n--b\r\ncontent-type: text/plain\r\n\r\nx\r\n-y\r\n--b--\r\n",
        );
        let parts = split(&body, "b").unwrap();
        assert_eq!(parts[0], (Some("application/json".into()), Bytes::from_static(b"{\"a\":1}")));
        assert_eq!(parts[1], (Some("text/plain".into()), Bytes::from_static(b"x\r\n-y")));
        assert!(split(&Bytes::from_static(b"--b\r\n\r\nhalf"), "b").is_none());
        let bare = Bytes::from_static(
            b"--b\nContent-Type: application/json\nMIME-Version: 1.0\n\n{}\n--b\nContent-Type: x/y\n\nx\r\n\n--b--",
        );
        let parts = split(&bare, "b").unwrap();
        assert_eq!(parts[0], (Some("application/json".into()), Bytes::from_static(b"{}")));
        assert_eq!(parts[1], (Some("x/y".into()), Bytes::from_static(b"x\r\n")));
        let empty = Bytes::from_static(b"--b\r\n\r\n{}\r\n--b\r\n\r\n\r\n--b--");
        assert_eq!(split(&empty, "b").unwrap()[1].1.len(), 0);
    }
}

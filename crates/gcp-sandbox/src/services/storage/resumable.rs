//! Resumable uploads: a session whose bytes arrive in pieces and outlive a
//! restart. How much has arrived is the length of the session's file.

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use dorainfra_gcp::encoded;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::media;
use super::preconditions::Conditions;
use super::upload::{hashes, header, metadata};
use crate::kernel::call::Call;
use crate::kernel::cloud::Cloud;
use crate::kernel::error::ApiError;

/// All pieces but the last are a multiple of this.
const UNIT: u64 = 256 * 1024;

fn file(cloud: &Cloud, id: &str) -> PathBuf {
    cloud.dir.join("uploads").join(id)
}

/// Opens a session; its address is the answer's `Location`.
pub async fn begin(call: Call, headers: &HeaderMap, body: &[u8]) -> Result<Response, ApiError> {
    let mut given = metadata(body)?;
    if given["contentType"].is_null()
        && let Some(kind) = header(headers, "x-upload-content-type")
    {
        given["contentType"] = json!(kind);
    }
    let name = given["name"].as_str().or(call.query("name")).unwrap_or_default().to_owned();
    let conditions = Conditions::of(&call);
    let id = uuid::Uuid::new_v4().simple().to_string();
    let cloud = Arc::clone(&call.cloud);
    tokio::fs::write(file(&cloud, &id), b"")
        .await
        .map_err(|error| ApiError::internal(format!("The sandbox cannot keep the upload: {error}")))?;
    let session = json!({
        "bucket": call.path("bucket"), "name": name, "given": given, "conditions": conditions,
        "caller": call.caller,
    });
    let location = format!(
        "http://127.0.0.1:{}/upload/storage/v1/b/{}/o?uploadType=resumable&name={}&upload_id={id}",
        cloud.port,
        call.path("bucket"),
        encoded(&name)
    );
    let key = format!("uploads/{id}");
    cloud
        .transact(move |tx| {
            media::admit_upload(&call, tx, &name, &conditions)?;
            tx.put(key, session);
            Ok(())
        })
        .await?;
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(
        "location",
        HeaderValue::try_from(location).expect("a percent-encoded address is a header value"),
    );
    headers.insert("x-guploader-uploadid", HeaderValue::try_from(id).expect("hex is a header value"));
    headers.insert("content-length", HeaderValue::from(0));
    Ok(response)
}

/// `Content-Range` of a piece.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// `bytes */…`: how much is there?
    Query,
    /// First byte, and the whole size where it is known.
    Bytes(u64, Option<u64>),
}

fn piece(header: Option<&str>, length: u64) -> Result<Piece, ApiError> {
    let Some(text) = header else { return Ok(Piece::Bytes(0, Some(length))) };
    let bad = || ApiError::new(400, "badRequest", format!("Failed to parse Content-Range header: {text}"));
    let (span, total) = text.strip_prefix("bytes ").and_then(|rest| rest.split_once('/')).ok_or_else(bad)?;
    let total = if total == "*" { None } else { Some(total.parse::<u64>().map_err(|_| bad())?) };
    if span == "*" {
        // `bytes */N` with nothing sent completes an upload of N bytes that are all there.
        return Ok(Piece::Query);
    }
    let (from, to) = span.split_once('-').ok_or_else(bad)?;
    let (from, to) = (from.parse::<u64>().map_err(|_| bad())?, to.parse::<u64>().map_err(|_| bad())?);
    if to < from || to - from + 1 != length || total.is_some_and(|total| to >= total) {
        return Err(ApiError::new(
            400,
            "badRequest",
            format!("Invalid request. The Content-Range {text} does not fit a body of {length} bytes."),
        ));
    }
    Ok(Piece::Bytes(from, total))
}

/// Takes a piece, or says how much is there. `call` carries the identity that
/// the session was opened with.
pub async fn resume(
    call: Call,
    id: &str,
    session: Value,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    if session["object"].is_object() {
        return Ok(json_response(&session["object"]));
    }
    let cloud = Arc::clone(&call.cloud);
    let path = file(&cloud, id);
    let failed =
        |error: std::io::Error| ApiError::internal(format!("The sandbox cannot keep the upload: {error}"));
    let mut have = tokio::fs::metadata(&path).await.map_err(failed)?.len();
    let declared =
        header(headers, "content-range").and_then(|text| text.rsplit_once('/')?.1.parse::<u64>().ok());
    let total = match piece(header(headers, "content-range"), body.len() as u64)? {
        Piece::Query => declared,
        Piece::Bytes(from, _) if from > have => {
            return Err(ApiError::new(
                503,
                "backendError",
                format!("Bytes {have} to {from} have not arrived."),
            ));
        }
        Piece::Bytes(from, total) => {
            let all = from + body.len() as u64;
            if (body.len() as u64) < UNIT && total != Some(all) {
                return Err(ApiError::new(
                    400,
                    "badRequest",
                    format!(
                        "Invalid request.  The number of bytes uploaded is required to be equal or greater than {UNIT}, \
                         except for the final request (it's recommended to be the exact multiple of {UNIT}).  The \
                         received request contained {} bytes, which does not meet this requirement.",
                        body.len()
                    ),
                ));
            }
            let last = total.is_some_and(|total| from + body.len() as u64 == total);
            let end = from + body.len() as u64;
            // What is not the last piece is kept in whole units only.
            let end = if last { end } else { end - end % UNIT };
            if end > have {
                let skip = usize::try_from(have - from).unwrap_or(usize::MAX);
                let upto = usize::try_from(end - from).unwrap_or(usize::MAX);
                let mut file =
                    tokio::fs::OpenOptions::new().append(true).open(&path).await.map_err(failed)?;
                file.write_all(&body[skip..upto]).await.map_err(failed)?;
                file.sync_all().await.map_err(failed)?;
                have = end;
            }
            total
        }
    };
    if total != Some(have) {
        return Ok(incomplete(have, headers));
    }
    let mut given = session["given"].clone();
    hashes(headers, &mut given);
    let conditions: Conditions = serde_json::from_value(session["conditions"].clone()).unwrap_or_default();
    let name = session["name"].as_str().unwrap_or_default().to_owned();
    let written = media::adopt(&cloud, path).await?;
    let object = media::finish(call, name, given, conditions, written).await;
    let key = format!("uploads/{id}");
    let (kept, ended) = (object.as_ref().ok().cloned(), key.clone());
    cloud
        .transact(move |tx| {
            match kept {
                // The last answer can be lost: asked again, it is given again.
                Some(object) => tx.edit(&ended, |session| session["object"] = object),
                None => tx.remove(ended),
            }
            Ok(())
        })
        .await?;
    object.map(|object| json_response(&object))
}

fn json_response(value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/json; charset=UTF-8"));
    response
}

/// 308: so much has arrived. Go's client takes it for a redirection, and asks for it
/// in a header.
fn incomplete(have: u64, headers: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    match header(headers, "x-guploader-no-308") {
        Some("yes") => {
            response.headers_mut().insert("x-http-status-code-override", HeaderValue::from_static("308"));
        }
        _ => *response.status_mut() = StatusCode::PERMANENT_REDIRECT,
    }
    if have > 0 {
        let value = HeaderValue::try_from(format!("bytes=0-{}", have - 1));
        response.headers_mut().insert("range", value.expect("digits are a header value"));
    }
    response.headers_mut().insert("content-length", HeaderValue::from(0));
    response
}

/// Gives a session up.
pub async fn cancel(cloud: &Arc<Cloud>, id: &str) -> Result<Response, ApiError> {
    let _ = tokio::fs::remove_file(file(cloud, id)).await;
    let key = format!("uploads/{id}");
    cloud
        .transact(move |tx| {
            tx.remove(key);
            Ok(())
        })
        .await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(499).expect("499 is a status code");
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces() {
        assert_eq!(piece(None, 5).unwrap(), Piece::Bytes(0, Some(5)));
        assert_eq!(piece(Some("bytes */*"), 0).unwrap(), Piece::Query);
        assert_eq!(piece(Some("bytes 0-4/*"), 5).unwrap(), Piece::Bytes(0, None));
        assert_eq!(piece(Some("bytes 5-9/10"), 5).unwrap(), Piece::Bytes(5, Some(10)));
        for (bad, length) in [("bytes 0-4/4", 5), ("bytes 0-4/10", 6), ("bytes x/y", 0), ("0-4/5", 5)] {
            assert!(piece(Some(bad), length).is_err(), "{bad}");
        }
    }
}

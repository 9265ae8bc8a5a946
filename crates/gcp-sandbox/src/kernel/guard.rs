//! Who may ask the sandbox, and how much is read of it. It listens on loopback, where
//! every web page can send requests, and where a page's own name can be made to point.

use std::path::Path;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::{Bytes, BytesMut};
use dorainfra_base::serve;
use futures::StreamExt as _;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use sha2::{Digest as _, Sha256};

use super::error::{ApiError, SandboxError};
use super::files;

/// The names of a machine's metadata server, behind which machines of the nspawn driver
/// see the APIs, too.
const METADATA: [&str; 3] = ["169.254.169.254", "metadata.google.internal", "metadata"];
/// The largest body but for media: more than any resource of Google's may have.
const LARGEST: usize = 10 << 20;
/// The largest piece of an object: more than any program that a machine runs.
const LARGEST_MEDIA: usize = 512 << 20;

/// Refuses what a page sends, and what is sent to a name that is not ours.
pub async fn own_names(request: Request, next: Next) -> Response {
    if !ours(request.headers()) {
        return (StatusCode::MISDIRECTED_REQUEST, "ask for localhost or 127.0.0.1\n").into_response();
    }
    next.run(request).await
}

/// Whether a request names this machine, or its metadata server.
pub fn ours(headers: &HeaderMap) -> bool {
    serve::asks_loopback(headers) || METADATA.contains(&serve::asked_name(headers))
}

/// A token for the control routes, for those who may read the sandbox's folder.
///
/// # Errors
/// [`SandboxError::File`]
pub fn give_token(dir: &Path, token: &str) -> Result<(), SandboxError> {
    files::write_private(&files::control_token(dir), format!("{token}\n").as_bytes())
}

/// Whether a request has the `token` of the control routes; `dir` is the sandbox's folder.
///
/// # Errors
/// A refusal that says where the token is.
pub fn may_control(headers: &HeaderMap, token: &str, dir: &Path) -> Result<(), ApiError> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    // Digests, so that the time which it takes tells nothing.
    if Sha256::digest(given.trim()) == Sha256::digest(token) {
        return Ok(());
    }
    let file = files::control_token(dir);
    let message = format!("This route needs the token in {}, as `Authorization: Bearer`.", file.display());
    Err(ApiError::new(401, "authError", message))
}

/// How large a request's body may be, bytes. `known`: who sends it is.
pub fn largest(media: bool, known: bool) -> usize {
    if media && known { LARGEST_MEDIA } else { LARGEST }
}

/// Why a body could not be had.
pub enum Unread {
    TooLarge(ApiError),
    /// The connection ended before it did.
    Broken,
}

/// A whole body of at most `most` bytes. What says that it is larger is not read.
pub async fn read(parts: &Parts, body: Body, most: usize) -> Result<Bytes, Unread> {
    let too_large = || {
        let message = format!("The request is too large: at most {most} bytes are read.");
        Unread::TooLarge(ApiError::new(413, "uploadTooLarge", message))
    };
    let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if length.and_then(|length| length.parse::<u64>().ok()).is_some_and(|length| length > most as u64) {
        return Err(too_large());
    }
    let mut pieces = body.into_data_stream();
    let mut whole = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| Unread::Broken)?;
        if piece.len() > most.saturating_sub(whole.len()) {
            return Err(too_large());
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

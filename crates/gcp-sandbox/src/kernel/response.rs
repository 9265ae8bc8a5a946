//! Answers: JSON, errors in the form of their API, and what faults make of an answer.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde_json::Value;

use super::error::ApiError;
use super::faults::Damage;

/// A resource, or whatever else an API answers.
pub fn json_response(status: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/json; charset=UTF-8"));
    response
}

/// An error in the form of the API.
pub fn error_response(api: &str, error: &ApiError) -> Response {
    let status = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status == StatusCode::NOT_MODIFIED {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        return response;
    }
    json_response(status, &error.body(api))
}

/// An answer of which no byte of the body arrives before the connection ends.
pub fn cut(response: Response) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.headers.insert("content-length", HeaderValue::from(1));
    let ended = Err::<Bytes, _>(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
    Response::from_parts(parts, Body::from_stream(futures::stream::once(std::future::ready(ended))))
}

/// An answer that arrives in part, or in a shape that is none.
pub async fn damaged(response: Response, damage: Damage) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let half = bytes.slice(..bytes.len() / 2);
    match damage {
        Damage::Malformed => {
            parts.headers.insert("content-length", HeaderValue::from(half.len()));
            Response::from_parts(parts, Body::from(half))
        }
        Damage::Truncated => {
            // The whole length is promised; then the connection ends, once the half
            // has left: an error at once would take it back.
            parts.headers.insert("content-length", HeaderValue::from(bytes.len()));
            let cut = futures::stream::once(async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
            });
            let half = futures::stream::once(std::future::ready(Ok(half)));
            Response::from_parts(parts, Body::from_stream(futures::StreamExt::chain(half, cut)))
        }
    }
}

//! The XML API's object paths, `/BUCKET/OBJECT`, which Go's client reads by.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use super::preconditions::Conditions;
use super::transcoding::takes_gzip;
use super::upload::{hashes, header};
use super::{media, objects};
use crate::kernel::access;
use crate::kernel::call::Call;
use crate::kernel::error::ApiError;

/// The JSON method that stands for an XML request.
pub fn method_id(verb: &Method) -> Option<&'static str> {
    match *verb {
        Method::GET | Method::HEAD => Some("storage.objects.get"),
        Method::PUT => Some("storage.objects.insert"),
        Method::DELETE => Some("storage.objects.delete"),
        _ => None,
    }
}

/// Carries out one request on one object.
pub async fn handle(
    mut call: Call,
    verb: &Method,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    for (name, parameter) in [
        ("x-goog-if-generation-match", "ifGenerationMatch"),
        ("x-goog-if-metageneration-match", "ifMetagenerationMatch"),
    ] {
        if let Some(value) = header(headers, name) {
            call.query.insert(parameter.into(), vec![value.to_owned()]);
        }
    }
    let cloud = call.cloud.clone();
    match *verb {
        Method::GET | Method::HEAD => {
            let object = cloud
                .transact(move |tx| {
                    access::check(&call, tx)?;
                    objects::get(&call, tx)
                })
                .await?;
            let (gzip, head) = (takes_gzip(headers), *verb == Method::HEAD);
            media::respond(&cloud, &object, header(headers, "range"), gzip, head).await
        }
        Method::PUT => {
            let object = put(call, headers, body).await?;
            let mut response = Response::new(Body::empty());
            for (name, field) in
                [("x-goog-generation", "generation"), ("x-goog-metageneration", "metageneration")]
            {
                if let Ok(value) = HeaderValue::try_from(object[field].as_str().unwrap_or_default()) {
                    response.headers_mut().insert(name, value);
                }
            }
            Ok(response)
        }
        _ => {
            cloud
                .transact(move |tx| {
                    access::check(&call, tx)?;
                    objects::delete(&call, tx)
                })
                .await?;
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(response)
        }
    }
}

async fn put(call: Call, headers: &HeaderMap, body: Bytes) -> Result<Value, ApiError> {
    let mut given =
        json!({"contentType": header(headers, "content-type").unwrap_or("application/octet-stream")});
    for (name, field) in [("cache-control", "cacheControl"), ("content-encoding", "contentEncoding")] {
        if let Some(value) = header(headers, name) {
            given[field] = json!(value);
        }
    }
    for (name, value) in headers {
        if let (Some(key), Ok(value)) = (name.as_str().strip_prefix("x-goog-meta-"), value.to_str()) {
            given["metadata"][key] = json!(value);
        }
    }
    hashes(headers, &mut given);
    let name = call.path("object").to_owned();
    let conditions = Conditions::of(&call);
    media::put(call, name, given, conditions, body).await
}

/// An error as the XML API words it.
pub fn error(error: &ApiError) -> Response {
    let (code, message) = match (error.code, error.message.contains("bucket does not exist")) {
        (404, true) => ("NoSuchBucket", "The specified bucket does not exist."),
        (404, false) => ("NoSuchKey", "The specified key does not exist."),
        (401, _) => ("AuthenticationRequired", "Authentication required."),
        (403, _) => ("AccessDenied", "Access denied."),
        (412, _) => ("PreconditionFailed", "At least one of the pre-conditions you specified did not hold."),
        (416, _) => ("InvalidRange", "The requested range cannot be satisfied."),
        (501, _) => ("NotImplemented", "The sandbox does not serve this."),
        (400, _) => ("InvalidArgument", "Invalid argument."),
        _ => ("InternalError", "We encountered an internal error. Please try again."),
    };
    let details = error.message.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let body = format!(
        "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{message}</Message>\
         <Details>{details}</Details></Error>"
    );
    let mut response = Response::new(if error.code == 304 { Body::empty() } else { Body::from(body) });
    *response.status_mut() = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/xml; charset=UTF-8"));
    response
}

//! What a request is, by its path: a method of an API, or one of the sandbox's own
//! addresses.

use http::request::Parts;

use crate::kernel::contract::{CONTRACT, Matched, percent_decode};
use crate::services::storage::xml;

/// What a request is by its path.
pub enum Route {
    Control,
    Token,
    /// Several calls in one.
    Batch,
    /// A method by its JSON path, or one whose bytes are media.
    Api(Matched, Kind),
    Unknown,
}

/// How a method is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Json,
    Upload,
    Download,
    Xml,
}

pub fn route(parts: &Parts) -> Route {
    let path = parts.uri.path();
    if path.starts_with("/sandbox/") {
        return Route::Control;
    }
    if path == "/token" {
        return Route::Token;
    }
    if path == "/batch" || path.starts_with("/batch/") {
        return Route::Batch;
    }
    let media =
        [("/upload", Kind::Upload), ("/resumable/upload", Kind::Upload), ("/download", Kind::Download)];
    for (prefix, kind) in media {
        if let Some(rest) = path.strip_prefix(prefix).filter(|rest| rest.starts_with("/storage/v1/")) {
            // A resumable session goes on by PUT and ends by DELETE at the same address.
            let verb = if kind == Kind::Upload { http::Method::POST } else { parts.method.clone() };
            return CONTRACT.find(&verb, rest).map_or(Route::Unknown, |matched| Route::Api(matched, kind));
        }
    }
    // Node's client puts the collection behind STORAGE_EMULATOR_HOST with nothing
    // between. No bucket has so short a name.
    let bare = path == "/b" || path.starts_with("/b/");
    let full = if bare { format!("/storage/v1{path}") } else { path.to_owned() };
    if let Some(matched) = CONTRACT.find(&parts.method, &full) {
        return Route::Api(matched, Kind::Json);
    }
    let versioned = ["/v1/", "/v3/", "/compute/", "/storage/"].iter().any(|prefix| path.starts_with(prefix));
    match (xml::method_id(&parts.method), path.trim_start_matches('/').split_once('/')) {
        (Some(id), Some((bucket, object))) if !versioned && !object.is_empty() => {
            let method = CONTRACT.method(id).expect("the contract has the methods of objects");
            let variables = [("bucket", percent_decode(bucket)), ("object", percent_decode(object))];
            let path = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            Route::Api(Matched { method, path }, Kind::Xml)
        }
        _ => Route::Unknown,
    }
}

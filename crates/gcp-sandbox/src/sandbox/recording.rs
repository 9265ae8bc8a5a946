//! What was said in a call, kept while a switch is on: the JSON that was sent and
//! answered, so that a test can hold it to the APIs' descriptions. What is secret
//! is replaced by something of the same type before it is kept.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use serde_json::{Value, json};

use super::route::Kind;
use crate::services::storage::upload;

/// "hidden", as a string and as bytes in base64.
const HIDDEN: &str = "aGlkZGVu";

/// Members that hold payloads, keys and tokens, in any API, and what is put in
/// their place.
const SECRET: [(&str, &str); 9] = [
    ("access_token", HIDDEN),
    ("accessToken", HIDDEN),
    ("assertion", HIDDEN),
    ("data", HIDDEN),
    ("dataCrc32c", "0"),
    ("idToken", HIDDEN),
    ("privateKeyData", HIDDEN),
    ("rawKey", HIDDEN),
    ("signedJwt", HIDDEN),
];

/// Parameters that stand for a caller or open an upload.
const PARAMETERS: [&str; 4] = ["access_token", "key", "oauth_token", "upload_id"];

/// The JSON of a request: its body or, of an upload, what it says of the object.
/// Media is none, whatever its bytes are.
pub fn request(kind: Kind, parts: &Parts, body: &Bytes) -> Value {
    let json = match kind {
        Kind::Json => Some(body.clone()),
        Kind::Upload if begins(parts) => Some(body.clone()),
        Kind::Upload => upload::first_part(&parts.headers, body),
        Kind::Download | Kind::Xml => None,
    };
    without_secrets(json.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default())
}

fn has(parts: &Parts, parameter: &str) -> bool {
    parts.uri.query().unwrap_or_default().split('&').any(|pair| pair == parameter)
}

/// Whether the body opens a resumable upload.
fn begins(parts: &Parts) -> bool {
    let goes_on = parts.uri.query().is_some_and(|query| query.contains("upload_id="));
    has(parts, "uploadType=resumable") && !goes_on
}

/// The JSON of an answer, and the answer as it was.
pub async fn response(kind: Kind, parts: &Parts, response: Response) -> (Response, Value) {
    let is_json = |kind: &http::HeaderValue| kind.as_bytes().starts_with(b"application/json");
    let media = matches!(kind, Kind::Download | Kind::Xml) || has(parts, "alt=media");
    let bytes = media && response.status().is_success();
    if bytes || !response.headers().get("content-type").is_some_and(is_json) {
        return (response, Value::Null);
    }
    let (parts, body) = response.into_parts();
    match axum::body::to_bytes(body, usize::MAX).await {
        Ok(bytes) => {
            let json = serde_json::from_slice(&bytes).unwrap_or_default();
            (Response::from_parts(parts, Body::from(bytes)), without_secrets(json))
        }
        // Damaged on purpose: it stays so.
        Err(error) => {
            let cut = futures::stream::once(async { Err::<Bytes, _>(error) });
            (Response::from_parts(parts, Body::from_stream(cut)), Value::Null)
        }
    }
}

fn without_secrets(mut value: Value) -> Value {
    match &mut value {
        Value::Array(items) => items.iter_mut().for_each(|item| *item = without_secrets(item.take())),
        Value::Object(members) => {
            for (name, member) in members {
                let secret = SECRET.iter().find(|(secret, _)| secret == name);
                *member = match secret {
                    Some((_, instead)) if member.is_string() => json!(instead),
                    _ => without_secrets(member.take()),
                };
            }
        }
        _ => {}
    }
    value
}

/// A path with its query, as it is listed.
pub fn path(text: &str) -> String {
    let Some((path, query)) = text.split_once('?') else { return text.to_owned() };
    let shown = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if PARAMETERS.contains(&name) => format!("{name}=hidden"),
        _ => pair.to_owned(),
    });
    format!("{path}?{}", shown.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_kept() {
        let said = json!({"payload": {"data": "c2VjcmV0", "dataCrc32c": "7"}, "list": [{"accessToken": "x"}], "name": "n"});
        let kept = json!({"payload": {"data": HIDDEN, "dataCrc32c": "0"}, "list": [{"accessToken": HIDDEN}], "name": "n"});
        assert_eq!(without_secrets(said), kept);
        assert_eq!(
            path("/a?access_token=x&alt=json&upload_id=1"),
            "/a?access_token=hidden&alt=json&upload_id=hidden"
        );
        assert_eq!(path("/a"), "/a");
    }

    fn parts(uri: &str, kind: &str) -> Parts {
        http::Request::post(uri).header("content-type", kind).body(()).unwrap().into_parts().0
    }

    #[test]
    fn of_an_upload_only_what_it_says_of_the_object_is_kept() {
        let multipart = parts("/upload?uploadType=multipart", "multipart/related; boundary=b");
        let body = Bytes::from_static(b"--b\r\n\r\n{\"name\":\"a\"}\r\n--b\r\n\r\nbytes\r\n--b--");
        assert_eq!(request(Kind::Upload, &multipart, &body), json!({"name": "a"}));
        let json = Bytes::from_static(b"{\"name\":\"a\"}");
        let kept = |uri: &str| request(Kind::Upload, &parts(uri, "application/json"), &json);
        assert_eq!(kept("/upload?uploadType=resumable"), json!({"name": "a"}));
        assert_eq!(kept("/upload?uploadType=resumable&upload_id=1"), Value::Null);
        assert_eq!(kept("/upload?uploadType=media"), Value::Null);
    }
}

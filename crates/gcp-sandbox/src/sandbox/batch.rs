//! Several calls in one request: `POST /batch/…`, whose body's parts are requests.
//! Each is answered as if it had come alone.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Request, StatusCode};

use crate::kernel::error::ApiError;
use crate::kernel::multipart;
use crate::kernel::response::error_response;

/// The most calls of one batch.
const MOST: usize = 100;

/// One call of a batch: its id and its request.
pub type Calls = Vec<(Option<String>, Request<Body>)>;

/// What a batch is answered with.
pub struct Answers {
    boundary: String,
    said: Vec<u8>,
}

impl Answers {
    pub fn new() -> Self {
        Self { boundary: format!("batch_{}", uuid::Uuid::new_v4().simple()), said: Vec::new() }
    }

    /// Adds the answer to one call.
    pub async fn add(&mut self, id: Option<String>, response: Response) {
        let (head, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
        let id = id.map(|id| format!("Content-ID: {}\r\n", answered(&id))).unwrap_or_default();
        let said = &mut self.said;
        said.extend(format!("--{}\r\nContent-Type: application/http\r\n{id}\r\n", self.boundary).bytes());
        said.extend(format!("HTTP/1.1 {}\r\n", head.status).bytes());
        for (name, value) in head.headers.iter().filter(|(name, _)| *name != "content-length") {
            said.extend(format!("{name}: {}\r\n", value.to_str().unwrap_or_default()).bytes());
        }
        said.extend(format!("content-length: {}\r\n\r\n", bytes.len()).bytes());
        said.extend_from_slice(&bytes);
        said.extend(b"\r\n");
    }

    pub fn whole(mut self) -> Response {
        self.said.extend(format!("--{}--\r\n", self.boundary).bytes());
        let mut response = Response::new(Body::from(self.said));
        *response.status_mut() = StatusCode::OK;
        if let Ok(kind) = HeaderValue::try_from(format!("multipart/mixed; boundary={}", self.boundary)) {
            response.headers_mut().insert("content-type", kind);
        }
        response
    }
}

/// The refusal of a call that only could come alone: a batch within a batch, media.
pub fn refused(request: &Request<Body>) -> Option<Response> {
    let path = request.uri().path();
    let media = ["/upload", "/download", "/resumable", "/batch"].iter().any(|each| path.starts_with(each));
    let error = || ApiError::new(400, "badRequest", "Media and batches cannot be part of a batch.");
    media.then(|| error_response("", &error()))
}

/// `<a>` is answered as `<response-a>`.
fn answered(id: &str) -> String {
    match id.strip_prefix('<') {
        Some(rest) => format!("<response-{rest}"),
        None => format!("response-{id}"),
    }
}

/// The calls of a batch, in order.
pub fn read(parts: &Parts, body: &Bytes) -> Result<Calls, ApiError> {
    let refuse =
        |why: &str| ApiError::new(400, "badRequest", format!("Failed to parse batch request: {why}"));
    let boundary = multipart::boundary(&parts.headers, "multipart/mixed")
        .ok_or_else(|| refuse("the content type is not multipart/mixed with a boundary"))?;
    let found = multipart::split(body, &boundary).ok_or_else(|| refuse("the body is not whole"))?;
    let mut calls = Calls::new();
    for part in found {
        // What a batch holds is JSON: text, unlike the media of an upload.
        let text = std::str::from_utf8(&part.body).map_err(|_| refuse("the body is not UTF-8"))?;
        let request = request(parts, text.replace("\r\n", "\n").trim_start_matches('\n'));
        let id = part.field("content-id").map(str::to_owned);
        calls.push((id, request.ok_or_else(|| refuse("a part holds no HTTP request"))?));
    }
    match calls.len() {
        0 => Err(refuse("there are no requests in it")),
        1..=MOST => Ok(calls),
        many => Err(refuse(&format!("it holds {many} requests; the most is {MOST}"))),
    }
}

/// One part's request; what it does not say itself, the batch says for it.
fn request(outer: &Parts, text: &str) -> Option<Request<Body>> {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let mut words = lines.next()?.split_whitespace();
    let (method, address) = (words.next()?, words.next()?);
    // A whole address or a path.
    let path = match address.split_once("://") {
        Some((_, rest)) => {
            rest.split_once('/').map_or_else(|| "/".to_owned(), |(_, path)| format!("/{path}"))
        }
        None => address.to_owned(),
    };
    let mut request = Request::builder().method(method).uri(path);
    let own: Vec<(&str, &str)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect();
    for (name, value) in &own {
        request = request.header(*name, *value);
    }
    for name in ["authorization", "user-agent", "x-goog-api-client", "host", "x-goog-user-project"] {
        if let Some(value) =
            outer.headers.get(name).filter(|_| !own.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)))
        {
            request = request.header(name, value);
        }
    }
    request.body(Body::from(body.trim_end_matches('\n').to_owned())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outer() -> Parts {
        Request::post("/batch/storage/v1")
            .header("content-type", "multipart/mixed; boundary=\"b\"")
            .header("authorization", "Bearer t")
            .body(())
            .unwrap()
            .into_parts()
            .0
    }

    #[test]
    fn the_parts_of_a_batch_are_requests() {
        let body = "--b\r\nContent-Type: application/http\r\nContent-ID: <x+1>\r\n\r\nDELETE http://h/storage/v1/b/a HTTP/1.1\r\n\r\n\r\n--b\r\n\r\nPATCH /storage/v1/b/a?x=1\r\ncontent-type: application/json\r\nAuthorization: Bearer own\r\n\r\n{\"a\": 1}\r\n--b--";
        let calls = read(&outer(), &Bytes::from(body)).unwrap();
        let seen: Vec<_> = calls
            .iter()
            .map(|(id, request)| {
                let bearer = request.headers()["authorization"].to_str().unwrap();
                (id.as_deref(), request.method().as_str(), request.uri().to_string(), bearer)
            })
            .collect();
        assert_eq!(
            seen,
            [
                (Some("<x+1>"), "DELETE", "/storage/v1/b/a".to_owned(), "Bearer t"),
                (None, "PATCH", "/storage/v1/b/a?x=1".to_owned(), "Bearer own"),
            ]
        );
        assert_eq!(answered("<x+1>"), "<response-x+1>");
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        for body in ["", "--b--", "--b\n\nnonsense\n--b--"] {
            assert_eq!(read(&outer(), &Bytes::from(body)).unwrap_err().code, 400, "{body}");
        }
        let many = "--b\n\nGET /a HTTP/1.1\n\n".repeat(MOST + 1) + "--b--";
        assert!(read(&outer(), &Bytes::from(many)).unwrap_err().message.contains("holds 101 requests"));
    }
}

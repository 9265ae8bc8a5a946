//! Bodies of several parts, of an upload and of a batch.

use bytes::Bytes;
use http::HeaderMap;

/// What stands between two boundaries.
pub struct Part {
    head: String,
    pub body: Bytes,
}

impl Part {
    /// A field of the part's own head.
    pub fn field(&self, wanted: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    }
}

/// The boundary in a content type, if that is `kind` (`multipart/related`, say).
pub fn boundary(headers: &HeaderMap, kind: &str) -> Option<String> {
    let given = headers.get("content-type")?.to_str().ok()?;
    let boundary = given.split(';').find_map(|part| part.trim().strip_prefix("boundary="))?;
    given.to_ascii_lowercase().starts_with(kind).then(|| boundary.trim_matches(['"', '\'']).to_owned())
}

/// The parts; `None`: they are malformed. Lines end as the first one does: gcloud
/// sends bare line feeds.
pub fn split(body: &Bytes, boundary: &str) -> Option<Vec<Part>> {
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
        parts.push(Part { head: head.to_owned(), body: body.slice(start.min(end)..end) });
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

    /// The content type and the body of each part.
    fn parts(body: &'static [u8]) -> Option<Vec<(Option<String>, Bytes)>> {
        let parts = split(&Bytes::from_static(body), "b")?;
        Some(
            parts
                .iter()
                .map(|part| (part.field("content-type").map(str::to_owned), part.body.clone()))
                .collect(),
        )
    }

    #[test]
    fn a_multipart_body_is_taken_apart() {
        let found = parts(
            b"--b\r\nContent-Type: application/json\r\n\r\n{\"a\":1}\r\n--b\r\ncontent-type: text/plain\r\n\r\nx\r\n-y\r\n--b--\r\n",
        )
        .unwrap();
        assert_eq!(found[0], (Some("application/json".into()), Bytes::from_static(b"{\"a\":1}")));
        assert_eq!(found[1], (Some("text/plain".into()), Bytes::from_static(b"x\r\n-y")));
        assert!(parts(b"--b\r\n\r\nhalf").is_none());
        let bare = parts(
            b"--b\nContent-Type: application/json\nMIME-Version: 1.0\n\n{}\n--b\nContent-Type: x/y\n\nx\r\n\n--b--",
        )
        .unwrap();
        assert_eq!(bare[0], (Some("application/json".into()), Bytes::from_static(b"{}")));
        assert_eq!(bare[1], (Some("x/y".into()), Bytes::from_static(b"x\r\n")));
        assert_eq!(parts(b"--b\r\n\r\n{}\r\n--b\r\n\r\n\r\n--b--").unwrap()[1].1.len(), 0);
    }
}

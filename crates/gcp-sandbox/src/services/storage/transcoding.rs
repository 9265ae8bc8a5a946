//! Decompressive transcoding: what is stored as gzip is served inflated to whoever
//! does not take gzip, whole and without its length.

use http::HeaderMap;
use serde_json::Value;
use zlib_rs::{Inflate, InflateFlush, Status};

use super::upload::header;
use crate::kernel::error::ApiError;

/// Whether the caller takes the bytes as they are stored.
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    header(headers, "accept-encoding").is_some_and(|taken| {
        taken.split(',').any(|each| {
            let (name, quality) = each.split_once(';').unwrap_or((each, ""));
            let refused = quality.trim().strip_prefix("q=").is_some_and(|q| q.parse::<f32>() == Ok(0.0));
            matches!(name.trim(), "gzip" | "*") && !refused
        })
    })
}

/// Whether the object has to be inflated for a caller that takes no gzip.
pub fn applies(object: &Value) -> bool {
    let kept = object["cacheControl"].as_str().is_some_and(|control| control.contains("no-transform"));
    object["contentEncoding"] == "gzip" && !kept
}

/// The bytes of one gzip stream or several.
pub fn inflated(mut bytes: &[u8]) -> Result<Vec<u8>, ApiError> {
    let damaged =
        || ApiError::new(503, "backendError", "The object's contents are not the gzip that it claims to be.");
    let mut whole = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    while !bytes.is_empty() {
        // 16 and 15 bits of window: gzip's header and trailer, with their checks.
        let mut stream = Inflate::new(true, 16 + 15);
        loop {
            let (before_in, before_out) = (stream.total_in(), stream.total_out());
            let status =
                stream.decompress(bytes, &mut buffer, InflateFlush::NoFlush).map_err(|_| damaged())?;
            let (read, written) = (stream.total_in() - before_in, stream.total_out() - before_out);
            bytes = &bytes[usize::try_from(read).unwrap_or(bytes.len())..];
            whole.extend_from_slice(&buffer[..usize::try_from(written).unwrap_or(0)]);
            match status {
                Status::StreamEnd => break,
                _ if read == 0 && written == 0 => return Err(damaged()),
                _ => {}
            }
        }
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `gzip -n` of "hello hello hello".
    const HELLO: [u8; 28] = [
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 0xff, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x57, 0xc8, 0x40, 0x90, 0, 0x80,
        0x88, 0xf9, 0xe5, 0x11, 0, 0, 0,
    ];

    #[test]
    fn gzip_is_inflated_with_its_checks() {
        assert_eq!(inflated(&HELLO).unwrap(), b"hello hello hello");
        assert_eq!(inflated(&[HELLO, HELLO].concat()).unwrap().len(), 34);
        assert!(inflated(&HELLO[..20]).is_err());
        assert!(inflated(b"no gzip").is_err());
    }

    #[test]
    fn it_is_for_callers_that_take_no_gzip() {
        for (value, takes) in
            [("gzip, deflate", true), ("br", false), ("*", true), ("gzip;q=0", false), ("", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert("accept-encoding", value.parse().unwrap());
            assert_eq!(takes_gzip(&headers), takes, "{value}");
        }
        assert!(applies(&json!({"contentEncoding": "gzip"})));
        assert!(!applies(&json!({"contentEncoding": "gzip", "cacheControl": "no-transform"})));
        assert!(!applies(&json!({})));
    }
}

//! Times and identifiers as Google's APIs write them.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Seconds since 1970.
pub fn seconds() -> u64 {
    since_epoch().as_secs()
}

/// RFC 3339 in UTC with milliseconds: `2026-01-02T03:04:05.678Z`.
pub fn timestamp() -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::now_utc().format(&format).unwrap_or_default()
}

/// The same as the seconds since 1970 say, for headers and expiry.
pub fn rfc3339(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// A time as Google's APIs write it; `None`: it is none.
pub fn parsed(timestamp: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(timestamp, &Rfc3339).ok()
}

/// A time in the form of HTTP's `Last-Modified`.
pub fn http_date(timestamp: &str) -> String {
    let format = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    parsed(timestamp).and_then(|at| at.format(&format).ok()).unwrap_or_default()
}

static LAST: AtomicI64 = AtomicI64::new(0);

/// Microseconds since 1970, never the same twice: an object's generation, a
/// resource's id. `above` is a number that the result has to exceed.
pub fn unique(above: i64) -> i64 {
    let now = i64::try_from(since_epoch().as_micros()).unwrap_or(i64::MAX);
    let mut last = LAST.load(Ordering::Relaxed);
    loop {
        let next = now.max(last + 1).max(above + 1);
        match LAST.compare_exchange(last, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return next,
            Err(current) => last = current,
        }
    }
}

/// An id of a Compute resource: a decimal of 19 digits.
pub fn resource_id() -> String {
    (4_000_000_000_000_000_000 + unique(0)).to_string()
}

/// A fingerprint or etag: base64 of eight bytes that no other has.
pub fn fingerprint() -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE.encode(unique(0).to_be_bytes())
}

/// A stable number of twelve digits for a name.
pub fn number_of(name: &str) -> u64 {
    let digest = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
    let first = digest.as_ref().first_chunk::<8>().expect("SHA-256 has 32 bytes");
    100_000_000_000 + u64::from_be_bytes(*first) % 900_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_numbers_grow() {
        let first = unique(0);
        assert!(unique(0) > first);
        assert_eq!(unique(i64::MAX - 10), i64::MAX - 9);
    }

    #[test]
    fn dates_are_written_as_google_writes_them() {
        assert_eq!(http_date("2026-01-02T03:04:05.678Z"), "Fri, 02 Jan 2026 03:04:05 GMT");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp().len(), "2026-01-02T03:04:05.678Z".len());
    }
}

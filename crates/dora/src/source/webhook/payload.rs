//! What payloads have in common: commits, times, revisions.

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use super::super::project::{Fact, MergedChange};

/// Of a payload: the project that it is about, and what it tells of it.
pub(super) type Parsed = Result<(String, Vec<Fact>), serde_json::Error>;

/// A commit of a push.
#[derive(Deserialize)]
pub(super) struct Pushed {
    pub id: String,
    pub message: String,
    #[serde(with = "time::serde::rfc3339")]
    pub timestamp: OffsetDateTime,
}

impl Pushed {
    /// A payload does not name parents: a merge is reported by its title, and gives
    /// the place of its hash only.
    pub fn fact(self, is_change: bool) -> Fact {
        let mut change = MergedChange::reported(None, &self.message);
        let merges = change.title.starts_with("Merge ");
        change.at = (is_change && !merges).then_some(self.timestamp);
        if merges {
            change.reverts.clear();
        }
        Fact::Landed { id: self.id, change }
    }
}

/// GitLab writes times in many ways: `2013-12-03T17:15:43Z`,
/// `2025-03-19T16:19:36.993+08:00`, `2021-04-28 21:50:00 +0200`, and `2016-08-12
/// 15:23:28 UTC`.
pub(super) fn gitlab_time(text: &str) -> Option<OffsetDateTime> {
    const FORM: &[FormatItem<'_>] = format_description!(
        "[year]-[month]-[day] [hour]:[minute]:[second] [offset_hour sign:mandatory][offset_minute]"
    );
    let spelled = text.replace(" UTC", " +0000");
    OffsetDateTime::parse(text, &Rfc3339).or_else(|_| OffsetDateTime::parse(&spelled, FORM)).ok()
}

/// A time in any of the spellings that tools have: those of GitLab and Jira
/// (`2019-02-15T19:01:52.971-0800`), or seconds, milliseconds, microseconds or nanoseconds since
/// 1970, reported apart by how many there would be.
pub fn any_time(text: &str) -> Option<OffsetDateTime> {
    const JIRA: &[FormatItem<'_>] = format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond][offset_hour sign:mandatory][offset_minute]"
    );
    let known = gitlab_time(text).or_else(|| OffsetDateTime::parse(text, JIRA).ok());
    known.or_else(|| since_1970(text))
}

fn since_1970(text: &str) -> Option<OffsetDateTime> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: i128 = whole.parse().ok()?;
    // Until the year 5138 each is reported from the next.
    let scale: i128 = match number {
        ..=99_999_999_999 => 1_000_000_000,
        100_000_000_000..=99_999_999_999_999 => 1_000_000,
        100_000_000_000_000..=99_999_999_999_999_999 => 1_000,
        _ => 1,
    };
    let fraction: i128 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let nanoseconds = number.checked_mul(scale)?.checked_add(fraction * scale / 1_000_000_000)?;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok()
}

/// The commit of a text that ends with one: `main@sha1:HASH`, `main/HASH`, an address, a package.
pub(super) fn revision(text: &str) -> String {
    let last = text.rsplit(['@', ':', '/']).next().unwrap_or(text);
    let is_hash = last.len() >= 7 && last.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { last.to_lowercase() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn the_number_of_digits_tells_seconds_from_milliseconds() {
        for text in [
            "1772452800",
            "1772452800.0",
            "1772452800000",
            "1772452800000000",
            "1772452800000000000",
            "2026-03-02T12:00:00Z",
            "2026-03-02T04:00:00.000-0800",
        ] {
            assert_eq!(any_time(text), Some(datetime!(2026-03-02 12:00 UTC)), "{text}");
        }
        assert_eq!(any_time("1772452800.5"), Some(datetime!(2026-03-02 12:00:00.5 UTC)));
        for text in ["", "-1", "soon", "2026-03-02T12:00:00", "1e9", "9".repeat(40).as_str(), "."] {
            assert_eq!(any_time(text), None, "{text}");
        }
    }

    #[test]
    fn a_revision_is_the_commit_at_its_end() {
        for (text, expected) in [
            ("main@sha1:731F7EAddfb6af01", "731f7eaddfb6af01"),
            ("main/731f7eaddfb6", "731f7eaddfb6"),
            ("http://api.example.com/tk/test/commit/9fec847784ab", "9fec847784ab"),
            ("pkg:golang/mygit.com/myorg/myapp@234fd47e07d1004f0aed9c", "234fd47e07d1004f0aed9c"),
            ("1.2.3", "1.2.3"),
            ("pkg:oci/app@v1", "pkg:oci/app@v1"),
        ] {
            assert_eq!(revision(text), expected);
        }
    }

    #[test]
    fn times_are_read_in_every_spelling() {
        for text in [
            "2021-04-28T19:50:00Z",
            "2021-04-28T21:50:00.000+02:00",
            "2021-04-28 21:50:00 +0200",
            "2021-04-28 19:50:00 UTC",
        ] {
            assert_eq!(gitlab_time(text), Some(datetime!(2021-04-28 19:50 UTC)), "{text}");
        }
        assert_eq!(gitlab_time("soon"), None);
    }
}

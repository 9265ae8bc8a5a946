//! What both forges' payloads have in common.

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use super::super::project::{Fact, Landed};

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
    /// A payload does not name parents: a merge is told by its title, and gives
    /// the place of its hash only.
    pub fn fact(self, is_change: bool) -> Fact {
        let mut change = Landed::told(None, &self.message);
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

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

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

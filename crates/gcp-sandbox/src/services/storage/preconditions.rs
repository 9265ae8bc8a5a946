//! Preconditions on generation and metageneration.

use serde_json::Value;

use crate::kernel::call::Call;
use crate::kernel::error::ApiError;

/// Headers that stand for conditions, as they are named among a call's parameters.
pub const IF_MATCH: &str = "if-match";
pub const IF_NONE_MATCH: &str = "if-none-match";

/// The conditions of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Conditions {
    pub generation: Option<i64>,
    pub not_generation: Option<i64>,
    pub metageneration: Option<i64>,
    pub not_metageneration: Option<i64>,
    /// One of these ETags, or any (`*`).
    #[serde(default)]
    pub etag: Option<String>,
    #[serde(default)]
    pub not_etag: Option<String>,
}

impl Conditions {
    pub fn of(call: &Call) -> Self {
        Self {
            generation: call.number("ifGenerationMatch"),
            not_generation: call.number("ifGenerationNotMatch"),
            metageneration: call.number("ifMetagenerationMatch"),
            not_metageneration: call.number("ifMetagenerationNotMatch"),
            etag: call.query(IF_MATCH).map(str::to_owned),
            not_etag: call.query(IF_NONE_MATCH).map(str::to_owned),
        }
    }

    /// Those on the object that a copy reads.
    pub fn of_source(call: &Call) -> Self {
        Self {
            generation: call.number("ifSourceGenerationMatch"),
            not_generation: call.number("ifSourceGenerationNotMatch"),
            metageneration: call.number("ifSourceMetagenerationMatch"),
            not_metageneration: call.number("ifSourceMetagenerationNotMatch"),
            ..Self::default()
        }
    }

    /// Whether they hold for `live`, the object or bucket as it is. A failed
    /// "not" condition of a read is 304, everything else 412.
    pub fn check(&self, live: Option<&Value>, read: bool) -> Result<(), ApiError> {
        let number = |field: &str| -> i64 {
            live.and_then(|object| object[field].as_str()).and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        let (generation, metageneration) = (number("generation"), number("metageneration"));
        let has = |tags: &String| {
            let own = live.and_then(|object| object["etag"].as_str());
            let mut tags = tags.split(',').map(|tag| tag.trim().trim_matches('"'));
            tags.any(|tag| own.is_some_and(|own| tag == "*" || tag == own))
        };
        let broken = self.generation.is_some_and(|wanted| wanted != generation)
            || self.etag.as_ref().is_some_and(|tags| !has(tags))
            || self.metageneration.is_some_and(|wanted| wanted != metageneration);
        if broken {
            return Err(failed("If-Match"));
        }
        let same = self.not_generation.is_some_and(|unwanted| unwanted == generation)
            || self.not_etag.as_ref().is_some_and(has)
            || self.not_metageneration.is_some_and(|unwanted| unwanted == metageneration);
        match (same, read) {
            (false, _) => Ok(()),
            (true, false) => Err(failed("If-None-Match")),
            (true, true) => Err(ApiError::new(304, "notModified", "Not Modified")),
        }
    }
}

/// The refusal for a condition that stands for `header`.
pub fn failed(header: &str) -> ApiError {
    let mut error = ApiError::condition("At least one of the pre-conditions you specified did not hold.");
    error.location = Some(Box::new(("header", header.into())));
    error
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn zero_stands_for_an_object_that_is_not_there() {
        let live = json!({"generation": "7", "metageneration": "2"});
        let code = |conditions: Conditions, live: Option<&Value>, read| {
            conditions.check(live, read).map_or_else(|error| error.code, |()| 200)
        };
        let matches = |generation| Conditions { generation: Some(generation), ..Conditions::default() };
        let differs = |generation| Conditions { not_generation: Some(generation), ..Conditions::default() };
        assert_eq!(code(matches(0), None, false), 200);
        assert_eq!(code(matches(0), Some(&live), false), 412);
        assert_eq!(code(matches(7), Some(&live), false), 200);
        assert_eq!(code(matches(6), Some(&live), false), 412);
        assert_eq!(code(differs(0), None, false), 412);
        assert_eq!(code(differs(7), Some(&live), true), 304);
        assert_eq!(code(differs(7), Some(&live), false), 412);
        let meta = Conditions { metageneration: Some(1), ..Conditions::default() };
        assert_eq!(code(meta, Some(&live), false), 412);
        let live = json!({"generation": "7", "metageneration": "2", "etag": "E="});
        let etag = |tag: &str| Conditions { etag: Some(tag.into()), ..Conditions::default() };
        assert_eq!(code(etag("\"X\", \"E=\""), Some(&live), false), 200);
        assert_eq!(code(etag("*"), Some(&live), false), 200);
        assert_eq!(code(etag("X"), Some(&live), false), 412);
        assert_eq!(code(etag("*"), None, false), 412);
        let other = |tag: &str| Conditions { not_etag: Some(tag.into()), ..Conditions::default() };
        assert_eq!(code(other("E="), Some(&live), true), 304);
        assert_eq!(code(other("X"), Some(&live), true), 200);
    }
}

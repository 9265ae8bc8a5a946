//! Mimir's and Prometheus's rules: versions, durations, tenants.

use super::super::duration::parse_duration;
use super::{Fault, Rule, length, require};

pub const VERSION: Rule = Rule {
    allowed: "one exact version such as `3.0.4` or `3.1.0-rc.0`",
    check: |text| {
        if let Some(version) = text.strip_prefix('v').filter(|version| is_version(version)) {
            return Err(Fault::new("has a `v` in front").help(format!("write `{version}`")));
        }
        if text.eq_ignore_ascii_case("latest") {
            return Err(Fault::new("is not a version: it means another one tomorrow"));
        }
        require(is_version(text), "is not an exact version")
    },
};

fn is_version(text: &str) -> bool {
    let (core, prerelease) = match text.split_once('-') {
        Some((core, prerelease)) => (core, Some(prerelease)),
        None => (text, None),
    };
    let number = |part: &str| {
        !part.is_empty()
            && part.chars().all(|c| c.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let identifier = |part: &str| {
        let digits_only = part.chars().all(|c| c.is_ascii_digit());
        !part.is_empty()
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && (!digits_only || number(part))
    };
    core.split('.').count() == 3
        && core.split('.').all(number)
        && prerelease.is_none_or(|prerelease| prerelease.split('.').all(identifier))
}

pub const DURATION: Rule = Rule {
    allowed: "a Prometheus duration: numbers with the units y, w, d, h, m, s, ms, largest first, such as `400d` or \
              `1d12h`",
    check: |text| {
        parse_duration(text)
            .map(drop)
            .map_err(|error| Fault { what: format!("is not a duration: it {error}"), help: error.hint() })
    },
};

pub const RETENTION: Rule = Rule {
    allowed: "a Prometheus duration of a day or more: numbers with the units y, w, d, h, m, s, ms, largest first, \
              such as `400d` or `2y`",
    check: |text| {
        (DURATION.check)(text)?;
        let long_enough = parse_duration(text).is_ok_and(|kept| kept.as_secs() >= 24 * 60 * 60);
        require(long_enough, "is less than a day")
    },
};

pub const TENANT: Rule = Rule {
    allowed: "1 to 150 letters, digits and !-_.*'(), but not `.`, `..` or `__mimir_cluster`",
    check: |text| {
        length(text, 1, 150)?;
        match text.chars().find(|c| !(c.is_ascii_alphanumeric() || "!-_.*'()".contains(*c))) {
            Some(c) => Err(Fault::new(format!("has the character `{}`", c.escape_debug()))),
            None => require(
                !matches!(text, "." | ".." | "__mimir_cluster"),
                "is a name that Mimir keeps for itself",
            ),
        }
    },
};

#[cfg(test)]
mod tests {
    use super::super::verdicts;
    use super::*;

    #[test]
    fn versions() {
        insta::assert_snapshot!(verdicts(
            VERSION,
            &[
                "3.0.4",
                "10.20.30",
                "3.1.0-rc.0",
                "v3.0.4",
                "latest",
                "3.0",
                "3",
                "03.0.4",
                "3.0.4-",
                "3.0.4-01",
                "3.0.4+build",
                "^3.0.4",
                ""
            ]
        ));
    }

    #[test]
    fn durations() {
        insta::assert_snapshot!(verdicts(
            RETENTION,
            &["2y", "400d", "13mo", "23h", "0", "1.5d", "400", "forever", ""]
        ));
    }

    #[test]
    fn tenants() {
        let (longest, too_long) = ("a".repeat(150), "a".repeat(151));
        for (text, good) in [
            ("dora", true),
            ("Team_1.(a)*'!", true),
            (longest.as_str(), true),
            (too_long.as_str(), false),
            ("", false),
            ("..", false),
            ("a|b", false),
            ("a/b", false),
            ("__mimir_cluster", false),
        ] {
            assert_eq!((TENANT.check)(text).is_ok(), good, "{text}");
        }
    }
}

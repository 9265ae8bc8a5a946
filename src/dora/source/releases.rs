//! Which tags and releases are no deployments to production: prereleases, and names that
//! move from one release to the next.

use std::sync::LazyLock;

use regex::Regex;

use super::rules::Patterns;

/// `v2.0.0-rc.1`, `1.0b2`, `3.1.0-SNAPSHOT`; case is gone by then.
static PRERELEASE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let words = "a|b|c|rc|cr|alpha|beta|pre|preview|dev|m|milestone|snapshot|nightly|canary|next|ea";
    Regex::new(&format!(r"(?:^|[-_./v])[0-9]+(?:\.[0-9]+)*[-_.]?(?:{words})[-_.]?[0-9]*(?:$|[.+]|[-_][0-9])"))
        .ok()
});
/// `latest`, `v1-latest`
static MOVING: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?:^|[-_./])(?:latest|stable|nightly|edge|canary|snapshot|next|tip|continuous|preview)$")
        .ok()
});

/// Tags and releases that are left out.
#[derive(Clone, Debug, Default)]
pub enum Exclude {
    /// Prereleases and moving names, as most projects write them.
    #[default]
    Usual,
    /// These, and no others.
    Patterns(Patterns),
}

impl Exclude {
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Usual => {
                let name = name.to_lowercase();
                [&*PRERELEASE, &*MOVING].into_iter().flatten().any(|form| form.is_match(&name))
            }
            Self::Patterns(patterns) => patterns.matches(name),
        }
    }

    /// Whether a tag is beside a finer one of the same commit: `v1` beside `v1.2.3`.
    pub(super) fn is_moving<'a>(&self, name: &str, same_commit: impl IntoIterator<Item = &'a str>) -> bool {
        let finer = |other: &str| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        matches!(self, Self::Usual) && same_commit.into_iter().any(finer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prereleases_and_moving_names_are_left_out_and_releases_are_not() {
        for name in [
            "v2.0.0-rc.1",
            "v2.0.0-RC1",
            "1.0rc1",
            "1.0b2",
            "0.6.0a2",
            "v1.0.0-alpha",
            "v1.0.0-beta.2",
            "v1.0.0-beta-20260101",
            "3.1.0-SNAPSHOT",
            "1.0.0.dev3",
            "v4.0.0-M2",
            "v5.0.0-next.3",
            "v1.2.3-rc.1+build.5",
            "service/v1.0.0-rc.1",
            "latest",
            "v1-latest",
            "nightly",
        ] {
            assert!(Exclude::Usual.matches(name), "{name}");
        }
        for name in [
            "v1.0.0",
            "v1",
            "1.0",
            "v1.2.3-1",
            "v1.0.0-alpine",
            "v1.0.0+build.5",
            "release-2026-03-02",
            "v2026.03",
            "api-v1.2.3",
            "v1.0.0-hotfix1",
            "beta-service-v1.0.0",
            "REL_15_2",
        ] {
            assert!(!Exclude::Usual.matches(name), "{name}");
        }
        let own = Exclude::Patterns(Patterns::new(["*-internal"]));
        assert!(own.matches("v1-internal") && !own.matches("v1.0.0-rc.1"));
        assert!(Exclude::Usual.is_moving("v1", ["v1", "v1.2.3"]));
        assert!(!Exclude::Usual.is_moving("v1.2.3", ["v1", "v1.2.3", "v1.2.30"]));
    }
}

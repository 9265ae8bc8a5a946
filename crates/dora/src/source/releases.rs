//! Which tags and releases are no deployments to production: prereleases, and names that
//! move from one release to the next.

use std::sync::LazyLock;

use dorainfra_model::Events;
use regex::Regex;

use super::patterns::Patterns;
use super::project::{DeploymentRecord, Project};

/// Names that a note holds, at most.
const SHOWN: usize = 5;

/// `v2.0.0-rc.1`, `1.0b2`, `3.1.0-SNAPSHOT`; case is gone by then. A letter alone is none: tmux's
/// `3.5a`, `openssl-1.1.1c` and the second deployment of a day, `2026-03-02b`, are releases.
static PRERELEASE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let words = "rc|cr|alpha|beta|pre|preview|dev|milestone|snapshot|nightly|canary|next|ea";
    let kinds = format!("(?:{words})[-_.]?[0-9]*|[abcm][0-9]{{1,3}}");
    Regex::new(&format!(r"(?:^|[-_./v])[0-9]+(?:\.[0-9]+)*[-_.]?(?:{kinds})(?:$|[.+]|[-_][0-9])")).ok()
});
/// `latest`, `v1-latest`
static MOVING: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?:^|[-_./])(?:latest|stable|nightly|edge|canary|snapshot|next|tip|continuous|preview)$")
        .ok()
});
/// What ends with such a word after a whole version or a day stays where it is: `v1.2.3-stable`,
/// Godot's `4.3-stable`.
static WHOLE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?:[0-9]+(?:[-_.][0-9]+){2,}|[0-9]{6,})[-_.][a-z]+$|[0-9]+\.[0-9]+[-_.]stable$").ok()
});

static VERSION: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("[0-9]+(?:[-_.][0-9]+)*").ok());

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
                let is = |form: &Option<Regex>| form.as_ref().is_some_and(|form| form.is_match(&name));
                is(&PRERELEASE) || is(&MOVING) && !is(&WHOLE)
            }
            Self::Patterns(patterns) => patterns.matches(name),
        }
    }

    /// Whether a deployment is a release, and left out: only a release is called as it is named.
    pub(super) fn leaves_out(&self, id: &str, ran: &DeploymentRecord) -> bool {
        id == ran.name && self.matches(id)
    }

    /// Says which of a project's releases are left out.
    pub fn note(&self, project: &Project, environment: &str, place: &str, events: &Events) {
        let here = project.deployments.iter().filter(|(_, ran)| ran.environment == environment);
        let left_out = here.filter(|(id, ran)| self.leaves_out(id, ran)).map(|(id, _)| id.clone());
        note_left_out(&left_out.collect::<Vec<_>>(), place, events);
    }

    /// Whether a tag is beside a finer one of the same commit: `v1` beside `v1.2.3`.
    pub(super) fn is_moving<'a>(&self, name: &str, same_commit: impl IntoIterator<Item = &'a str>) -> bool {
        let finer = |other: &str| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        matches!(self, Self::Usual) && same_commit.into_iter().any(finer)
    }
}

/// The version or day in a name: of the numbers that belong together, the most. Zeros at the end
/// say nothing: 2.0.0 is 2.
fn version(name: &str) -> Vec<u128> {
    let Some(form) = &*VERSION else { return Vec::new() };
    let numbers = |text: &str| -> Vec<u128> {
        text.split(['-', '_', '.']).map(|number| number.parse().unwrap_or(u128::MAX)).collect()
    };
    let groups = form.find_iter(name).map(|group| numbers(group.as_str()));
    let mut most =
        groups.reduce(|most, next| if next.len() > most.len() { next } else { most }).unwrap_or_default();
    while most.last() == Some(&0) {
        most.pop();
    }
    most
}

/// Whether what was in a prerelease can be in a later release: v2.0.0-rc.1 leads to v2.0.0, and
/// not to v1.9.1 of another line. A name without a version leads anywhere.
pub(super) fn leads_to(prerelease: &str, release: &str) -> bool {
    let (from, to) = (version(prerelease), version(release));
    to.is_empty() || from <= to
}

/// Says which tags and releases are left out: a name may mean something else than it seems to.
pub(super) fn note_left_out(left_out: &[String], place: &str, events: &Events) {
    let Some((first, others)) = left_out.split_first() else { return };
    let shown: Vec<&str> = others.iter().take(SHOWN - 1).map(String::as_str).collect();
    let rest = match others.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let names = [&[first.as_str()], shown.as_slice()].concat().join(", ");
    let tags = if others.is_empty() { "tag" } else { "tags" };
    events.note(format!(
        "{place}: {} {tags} left out: {names}{rest}; `exclude: []` counts them",
        left_out.len()
    ));
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
            "stable",
            "4-stable",
            "v1.2-latest",
            "v1.0.0-b2",
            "v1.2.3-nightly",
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
            "3.5a",
            "2024a",
            "2024b",
            "openssl-1.1.1c",
            "2026-03-02b",
            "deploy-20260302a",
            "prod-2026.03.02-c",
            "v1.0m",
            "4.3-stable",
            "v1.2.3-stable",
            "2026-03-02-stable",
            "build-12-a1b2c3d",
        ] {
            assert!(!Exclude::Usual.matches(name), "{name}");
        }
        let own = Exclude::Patterns(Patterns::new(["*-internal"]));
        assert!(own.matches("v1-internal") && !own.matches("v1.0.0-rc.1"));
        assert!(Exclude::Usual.is_moving("v1", ["v1", "v1.2.3"]));
        assert!(!Exclude::Usual.is_moving("v1.2.3", ["v1", "v1.2.3", "v1.2.30"]));
    }
}

//! The versions of Mimir that are known here, from the one list of them,
//! `mimir/versions.yaml`: which is the default, which keys each has, what its
//! machines need, and which of them work side by side. Pure.

use std::sync::LazyLock;

use include_dir::{Dir, include_dir};
use serde::Deserialize;

static FILES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../mimir");

/// A minor release with all of its patch releases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MimirVersion {
    /// `3.2`.
    minor: String,
    /// Its newest release.
    pub newest: String,
    /// Whether `newest` is what a deployment runs by itself.
    #[serde(default)]
    default: bool,
    /// The file with the keys of its configuration.
    options: String,
    /// Whether its queriers join a ring, which has to be told their address.
    pub querier_ring: bool,
    /// The oldest minor release whose replicas work together with this one's.
    beside: String,
}

static ALL: LazyLock<Vec<MimirVersion>> =
    LazyLock::new(|| serde_saphyr::from_str(text("versions.yaml")).expect("a test reads it"));

fn text(file: &str) -> &'static str {
    FILES.get_file(file).and_then(|file| file.contents_utf8()).expect("a test reads it")
}

/// `3.2` of `3.2.1` and of `3.2.0-rc.0`, as numbers.
fn minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(['.', '-']).map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

impl MimirVersion {
    fn number(&self) -> Option<(u32, u32)> {
        minor(&self.minor)
    }

    /// The keys of its configuration, one a line, below some comments.
    pub(super) fn options(&self) -> &'static str {
        text(&self.options)
    }
}

/// All that are known, oldest first.
pub fn mimir_versions() -> &'static [MimirVersion] {
    &ALL
}

/// What `mimir.version` is by itself.
pub fn default_version() -> &'static str {
    &ALL.iter().find(|one| one.default).expect("a test looks for it").newest
}

/// Where in the list the one is that this version is a release of, if that is known.
pub(super) fn exactly(version: &str) -> Option<usize> {
    let wanted = minor(version)?;
    ALL.iter().position(|one| one.number() == Some(wanted))
}

/// The one that this version is most like: what is known of a release that came
/// later is what was known before it.
pub fn mimir_version(version: &str) -> &'static MimirVersion {
    let before = ALL.iter().rev().find(|one| one.number() <= minor(version));
    before.unwrap_or(&ALL[0])
}

/// The releases that replicas have to run in between, in this order, because those
/// of `from` and of `to` do not work side by side; none where they do.
pub fn mimir_stops(from: &str, to: &str) -> Vec<&'static str> {
    let (Some(old), Some(new)) = (minor(from), minor(to)) else { return Vec::new() };
    let (low, mut high) = (old.min(new), old.max(new));
    let mut stops = Vec::new();
    while let Some(one) = ALL.iter().rev().find(|one| one.number() <= Some(high)) {
        let Some(beside) = minor(&one.beside).filter(|beside| low < *beside) else { break };
        match exactly(&one.beside) {
            Some(stop) => stops.push(ALL[stop].newest.as_str()),
            // Before the list begins: its minor release has to do.
            None => stops.push(one.beside.as_str()),
        }
        high = beside;
    }
    if old < new {
        stops.reverse();
    }
    stops
}

/// `3.0, 3.1, 3.2`.
pub(super) fn minors() -> String {
    ALL.iter().map(|one| one.minor.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::schema::KEYS;
    use super::*;

    #[test]
    fn the_list_is_whole_and_in_order() {
        let numbers: Vec<_> = ALL.iter().map(|one| one.number().unwrap()).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        assert_eq!(ALL.iter().filter(|one| one.default).count(), 1);
        assert_eq!(default_version(), ALL.last().unwrap().newest, "the newest is the default");
        for one in mimir_versions() {
            assert_eq!(minor(&one.newest), one.number(), "{}", one.newest);
            assert!(minor(&one.beside) < one.number(), "{}", one.newest);
            assert!(one.options().lines().filter(|line| !line.starts_with('#')).count() > 1500);
            // What the machines are told of, and not otherwise.
            assert_eq!(one.options().contains("\nquerier.ring.instance_addr\n"), one.querier_ring);
        }
        let files = FILES.files().filter_map(|file| file.path().to_str());
        let lists: BTreeSet<&str> = files.filter(|name| name.starts_with("options-")).collect();
        assert_eq!(lists, ALL.iter().map(|one| one.options.as_str()).collect(), "each list is used");
    }

    #[test]
    fn examples_are_versions_that_are_known() {
        let key = KEYS.iter().find(|key| key.path == "mimir.version").unwrap();
        assert!(exactly(key.example).is_some(), "{}", key.example);
    }

    #[test]
    fn each_version_is_found_with_its_kin() {
        assert_eq!(ALL[exactly("3.1.0-rc.0").unwrap()].minor, "3.1");
        assert_eq!((exactly("3.10.0"), exactly("main")), (None, None));
        assert_eq!(mimir_version("3.10.0").minor, "3.2");
        assert_eq!(mimir_version("3.0.1").minor, "3.0");
        assert_eq!(mimir_version("2.17.1").minor, "3.0");
        assert_eq!(minors(), "3.0, 3.1, 3.2");
    }

    #[test]
    fn replicas_go_by_what_works_beside_both() {
        let none: [&str; 0] = [];
        assert_eq!(mimir_stops("3.1.0", "3.2.1"), none);
        assert_eq!(mimir_stops("3.0.4", "3.1.4"), none);
        assert_eq!(mimir_stops("3.2.0", "3.2.1"), none);
        assert_eq!(mimir_stops("2.17.1", "3.0.6"), none);
        assert_eq!(mimir_stops("3.0.4", "3.2.1"), ["3.1.4"]);
        assert_eq!(mimir_stops("3.2.1", "3.0.6"), ["3.1.4"]);
        assert_eq!(mimir_stops("2.17.1", "3.2.0-rc.0"), ["3.0.6", "3.1.4"]);
        assert_eq!(mimir_stops("2.16.0", "3.0.4"), ["2.17"]);
        assert_eq!(mimir_stops("3.2.1", "3.5.0"), none, "what is not known is not refused");
        assert_eq!(mimir_stops("2.16.0", "2.17.0"), none);
        assert_eq!(mimir_stops("main", "3.2.1"), none);
    }
}

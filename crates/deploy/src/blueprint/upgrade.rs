//! What is known of going from one version of Mimir to another: the keys that
//! releases in between have taken away. Pure; from a file of facts. Which versions'
//! replicas work side by side is `config`'s.

use std::collections::{BTreeMap, BTreeSet};

use dorainfra_config::{mimir_options, mimir_stops, mimir_versions};
use serde::Serialize;

const FACTS: &str = include_str!("../../../../mimir/breaking.txt");

/// What to tell about a change of Mimir's version, in sentences. `keys` are the
/// dotted keys of the configuration that the new version will read.
pub fn upgrade<'a>(from: &str, to: &str, keys: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let (Some(old), Some(new)) = (number(from), number(to)) else {
        return vec![format!("Mimir goes from {from} to {to}")];
    };
    if new < old {
        return vec![format!(
            "Mimir goes back from {from} to {to}: Grafana does not promise that an older version reads \
             what a newer one wrote"
        )];
    }
    let between = FACTS.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (version, rest) = line.split_once(' ')?;
        let version = number(version).filter(|version| old < *version && *version <= new)?;
        let (key, what) = rest.split_once(' ')?;
        Some((version, key, what))
    });
    let mut releases: BTreeMap<[u32; 3], Vec<(&str, &str)>> = BTreeMap::new();
    for (version, key, what) in between {
        releases.entry(version).or_default().push((key, what));
    }
    if releases.is_empty() {
        return vec![format!(
            "Mimir goes from {from} to {to}: none of its configuration keys is known to have been removed"
        )];
    }
    let mut told = Vec::new();
    for ([major, minor, patch], gone) in &releases {
        let names: Vec<&str> = gone.iter().map(|(key, _)| *key).collect();
        told.push(format!(
            "Mimir goes from {from} to {to}; {major}.{minor}.{patch} removed: {}",
            names.join(", ")
        ));
    }
    for key in keys {
        let hit = releases.values().flatten().find(|(gone, _)| is_at_or_below(gone, key));
        if let Some((_, what)) = hit {
            told.push(format!("the configuration sets `{key}`, which Mimir {to} does not have ({what})"));
        }
    }
    told
}

/// A step on the way to a newer version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Upgrade {
    pub from: String,
    pub to: String,
    /// In sentences.
    pub notes: Vec<String>,
}

/// The way from `from` to the newest version that is known, with what each step of it brings and
/// takes; where that is the newest, the ways that led to it. `replicas`: there are several machines, so
/// that two versions work side by side meanwhile. `keys` are set in Mimir's configuration.
pub fn upgrades(from: &str, replicas: bool, keys: &[String]) -> Vec<Upgrade> {
    let newest: Vec<&str> = mimir_versions().iter().map(|version| version.newest.as_str()).collect();
    let Some(last) = newest.last().copied() else { return Vec::new() };
    let way = match (number(from), number(last)) {
        (Some(old), Some(new)) if old < new => {
            let stops = if replicas { mimir_stops(from, last) } else { Vec::new() };
            std::iter::once(from).chain(stops).chain([last]).collect()
        }
        _ => newest,
    };
    way.windows(2).map(|step| one(step[0], step[1], keys)).collect()
}

fn one(from: &str, to: &str, keys: &[String]) -> Upgrade {
    let mut notes = upgrade(from, to, keys.iter().map(String::as_str));
    if let (Some(before), Some(after)) = (mimir_options(from), mimir_options(to)) {
        let before: BTreeSet<&str> = before.collect();
        let new = after.filter(|key| !before.contains(key)).count();
        notes.push(format!("{new} keys of Mimir's configuration are new: `mimir.extra` takes them"));
    }
    Upgrade { from: from.into(), to: to.into(), notes }
}

/// Whether `key` is `pattern`, or below it; a pattern that begins with `*.` may
/// begin anywhere.
fn is_at_or_below(pattern: &str, key: &str) -> bool {
    let at = |pattern: &str, key: &str| {
        key.strip_prefix(pattern).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    match pattern.strip_prefix("*.") {
        Some(pattern) => key.match_indices('.').any(|(dot, _)| at(pattern, &key[dot + 1..])),
        None => at(pattern, key),
    }
}

/// A release candidate counts as its release.
fn number(version: &str) -> Option<[u32; 3]> {
    let core = version.split('-').next()?;
    let mut parts = core.split('.').map(|part| part.parse().ok());
    let number = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(number)
}

#[cfg(test)]
mod tests {
    use dorainfra_config::is_mimir_option;

    use super::*;

    #[test]
    fn what_a_release_took_away_is_told_and_what_is_set_of_it() {
        let keys =
            ["limits.ingestion_rate", "frontend.results_cache.redis.endpoint", "frontend.prune_queries"];
        insta::assert_snapshot!(upgrade("2.17.1", "3.0.4", keys).join("\n"));
        assert_eq!(
            upgrade("3.0.3", "3.0.4", keys),
            ["Mimir goes from 3.0.3 to 3.0.4: none of its configuration keys is known to have been removed"]
        );
        assert!(upgrade("3.0.4", "3.0.3", keys)[0].contains("goes back"));
        assert_eq!(upgrade("3.0.4", "3.1.0-rc.0", ["flusher.exit_after_flush"]).len(), 2);
        let keys = ["querier.mimir_query_engine.enable_prune_toggles", "querier.ring.instance_addr"];
        insta::assert_snapshot!(upgrade("3.0.6", "3.2.1", keys).join("\n"));
    }

    /// What is known of two versions one after the other is told of the later one.
    #[test]
    fn what_a_list_lacks_of_the_one_before_is_what_was_taken_away() {
        let gone = |release: [u32; 3], key: &str| {
            FACTS.lines().filter(|line| !line.starts_with('#')).any(|line| {
                let mut words = line.split(' ');
                words.next().and_then(number) == Some(release) && is_at_or_below(words.next().unwrap(), key)
            })
        };
        for pair in mimir_versions().windows(2) {
            let (before, after) = (&pair[0].newest, &pair[1].newest);
            let [major, minor, _] = number(after).unwrap();
            for key in mimir_options(before).unwrap() {
                let has = is_mimir_option(after, key) == Some(true);
                // Experimental, and spelt otherwise before it was ever released.
                if key.starts_with("common.instrument_ref_leaks.") {
                    continue;
                }
                assert_eq!(!has, gone([major, minor, 0], key), "{key}, from {before} to {after}");
            }
        }
    }

    #[test]
    fn the_way_to_the_newest_version_has_its_stops_and_what_is_set_of_what_goes() {
        let keys = ["flusher.exit_after_flush".to_owned()];
        let way = upgrades("3.0.4", true, &keys);
        let newest = &mimir_versions().last().unwrap().newest;
        assert_eq!((way[0].from.as_str(), &way.last().unwrap().to), ("3.0.4", newest));
        let (stops, steps) = (mimir_stops("3.0.4", newest), way.len());
        assert_eq!(steps, stops.len() + 1, "{way:?}");
        let told = format!("{way:?}");
        assert!(told.contains("the configuration sets `flusher.exit_after_flush`"), "{told}");
        assert!(told.contains("keys of Mimir's configuration are new"), "{told}");
        // Of what is the newest already: how one came there.
        let ways = upgrades(newest, true, &[]);
        assert_eq!(ways.len(), mimir_versions().len() - 1);
        assert_eq!(&ways.last().unwrap().to, newest);
        assert_eq!(upgrades("99.0.0", true, &[]), ways);
        assert_eq!(upgrades("3.0.4", false, &keys).len(), 1, "one machine goes in one step");
    }

    #[test]
    fn every_fact_can_be_read() {
        for line in FACTS.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.splitn(3, ' ').collect();
            assert!(words.len() == 3 && number(words[0]).is_some(), "{line}");
        }
    }
}

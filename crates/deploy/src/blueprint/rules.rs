//! The recording and alert rules of `mimir/rules`: as groups for Mimir's ruler, and
//! as files for what stands in for it.

use serde::Deserialize;
use serde_json::Value;

use super::{BlueprintError, File};

/// Name on a machine, name here, text.
const FILES: [(&str, &str, &str); 3] = [
    ("rules-dora.yaml", "mimir/rules/dora.yaml", include_str!("../../../../mimir/rules/dora.yaml")),
    ("rules-alerts.yaml", "mimir/rules/alerts.yaml", include_str!("../../../../mimir/rules/alerts.yaml")),
    // Of Mimir itself: what stands in for it has none of its metrics.
    (MIMIR, "mimir/rules/mimir.yaml", include_str!("../../../../mimir/rules/mimir.yaml")),
];

const MIMIR: &str = "rules-mimir.yaml";

#[derive(Deserialize)]
struct Document {
    groups: Vec<Value>,
}

/// Beside the configuration of what stands in.
pub(super) fn files() -> Vec<File> {
    let file = |(path, _, text): &(&str, &str, &str)| File {
        path: (*path).into(),
        contents: (*text).into(),
        executable: false,
    };
    FILES.iter().filter(|(name, ..)| *name != MIMIR).map(file).collect()
}

/// The group of the one alert that always fires.
const WATCHDOG: &str = "alerts-watchdog";

/// Each group in the ruler's own field names, in the order of the files; with the `watchdog`
/// where somebody listens to it. Lines that end an expression are no part of it.
///
/// # Errors
/// A file that is no list of groups.
pub(super) fn groups(watchdog: bool) -> Result<Vec<Value>, BlueprintError> {
    let options = serde_saphyr::options! { strict_booleans: true };
    let mut groups = Vec::new();
    for (_, path, text) in FILES {
        let document: Document =
            serde_saphyr::from_str_with_options(text, options.clone()).map_err(|error| {
                BlueprintError::Manifest { file: path.into(), line: None, message: error.to_string() }
            })?;
        groups.extend(document.groups);
    }
    groups.retain(|group| watchdog || group["name"] != WATCHDOG);
    for rule in groups.iter_mut().filter_map(|group| group["rules"].as_array_mut()).flatten() {
        if let Some(expression) = rule["expr"].as_str() {
            rule["expr"] = expression.trim_end().into();
        }
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The ruler spells durations in its own way: a group that is written in
    /// another one would differ for ever.
    #[test]
    fn durations_are_as_the_ruler_spells_them() {
        for group in groups(true).unwrap() {
            let rules = group["rules"].as_array().unwrap();
            let durations = rules.iter().map(|rule| &rule["for"]).chain([&group["interval"]]);
            for duration in durations.filter_map(Value::as_str) {
                let (number, unit) = duration.split_at(duration.len() - 1);
                let (number, most): (u64, u64) = (
                    number.parse().unwrap(),
                    match unit {
                        "s" | "m" => 59,
                        "h" => 23,
                        "d" => 6,
                        _ => panic!("{duration}"),
                    },
                );
                assert!((1..=most).contains(&number), "{duration} has another unit");
            }
        }
    }

    #[test]
    fn the_watchdog_barks_only_where_somebody_listens() {
        let is_there = |watchdog| groups(watchdog).unwrap().iter().any(|group| group["name"] == WATCHDOG);
        assert!(is_there(true) && !is_there(false));
    }

    #[test]
    fn names_are_there_once_and_no_field_is_at_its_default() {
        let groups = super::groups(true).unwrap();
        let names: BTreeSet<&str> = groups.iter().filter_map(|group| group["name"].as_str()).collect();
        assert_eq!(names.len(), groups.len());
        assert!(groups.len() >= 6);
        for rule in groups.iter().flat_map(|group| group["rules"].as_array().unwrap()) {
            assert!(rule["record"].is_string() != rule["alert"].is_string(), "{rule}");
            assert_ne!(rule["for"], "0s", "{rule}");
        }
    }

    #[test]
    fn every_alert_says_how_bad_it_is_and_what_to_read() {
        let page = include_str!("../../../../docs/operations.md");
        let groups = super::groups(true).unwrap();
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
        let alerts: Vec<&Value> = rules.filter(|rule| rule["alert"].is_string()).collect();
        assert!(alerts.len() > 10);
        for alert in alerts {
            let name = alert["alert"].as_str().unwrap();
            let severity = alert["labels"]["severity"].as_str();
            let is_one = matches!(severity, Some("warning" | "critical"));
            assert!(is_one || (name == "Watchdog" && severity == Some("none")), "{name}");
            for annotation in ["summary", "description"] {
                assert!(alert["annotations"][annotation].is_string(), "{name} has no {annotation}");
            }
            assert_eq!(alert["annotations"]["runbook"], "docs/operations.md#alerts");
            assert!(page.contains(&format!("| `{name}` |")), "docs/operations.md has no row for {name}");
        }
    }
}

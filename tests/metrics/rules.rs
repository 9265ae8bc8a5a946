//! Recording and alert rules: Prometheus's own tool runs their unit tests.

use crate::collector;
use std::path::Path;
use std::process::Command;

fn promtool(arguments: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("mimir/rules");
    let output =
        Command::new(collector::program("promtool")).args(arguments).current_dir(&folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn recording_rules_compute_what_they_say() {
    promtool(&["check", "rules", "dora.yaml"]);
    promtool(&["test", "rules", "dora_test.yaml"]);
}

/// Groups are evaluated in no order of their own: a rule that reads what another group
/// records would see the last value, or none, unless it asks for the last of some hours.
#[test]
fn no_group_reads_what_another_one_records_but_the_last_of_some_hours() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("mimir/rules/dora.yaml"));
    let text = text.unwrap();
    let groups: Vec<&str> = text.split("\n  - name: ").skip(1).collect();
    assert!(groups.len() > 1);
    let records = |group: &str| -> Vec<String> {
        let lines = group.lines().filter_map(|line| line.trim().strip_prefix("- record: "));
        lines.map(str::to_owned).collect()
    };
    for (nth, group) in groups.iter().enumerate() {
        let others = groups.iter().enumerate().filter(|(other, _)| *other != nth);
        for record in others.flat_map(|(_, other)| records(other)) {
            let last = group.matches(&format!("last_over_time({record}{{")).count();
            assert_eq!(group.matches(&record).count(), last, "{record} is recorded by another group");
            let hours = format!("last_over_time({record}{{environment=\"production\"}}[2h])");
            assert_eq!(
                group.matches(&hours).count(),
                last,
                "{record}: more than an hour, and less than a day"
            );
        }
    }
}

#[test]
fn alerts_fire_when_they_should_and_only_then() {
    promtool(&["check", "rules", "alerts.yaml", "mimir.yaml"]);
    promtool(&["test", "rules", "alerts_test.yaml", "alerts_days_test.yaml", "mimir_test.yaml"]);
}

/// Names that Mimir gives its metrics, wherever they stand in an expression: also in a
/// matcher of `__name__`, with a histogram's endings.
fn of_mimir(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| {
        let more = |prefix: &str| word.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
        ["cortex_", "thanos_", "process_", "go_"].into_iter().any(more)
    })
}

/// A name that no Mimir shows is an alert that never fires, and a panel that stays empty.
#[test]
fn every_metric_of_mimir_that_is_asked_for_is_one_that_it_shows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let list = read("mimir/metrics-3.1.txt");
    let known: std::collections::BTreeSet<&str> =
        list.lines().filter(|line| !line.starts_with('#')).collect();
    let is_known = |name: &str| {
        let base = ["_bucket", "_count", "_sum"].iter().find_map(|ending| name.strip_suffix(ending));
        known.contains(name) || base.is_some_and(|base| known.contains(base))
    };
    let mut files = vec![read("mimir/rules/alerts.yaml"), read("mimir/rules/mimir.yaml")];
    for file in std::fs::read_dir(root.join("grafana/dashboards")).unwrap() {
        files.push(std::fs::read_to_string(file.unwrap().path()).unwrap());
    }
    let mut asked = 0;
    for name in files.iter().flat_map(|text| of_mimir(text)) {
        assert!(is_known(name), "{name} is no metric of Mimir: mimir/metrics-3.1.txt");
        asked += 1;
    }
    assert!(asked > 40, "{asked} names");
    assert!(!is_known("cortex_ingester_shipper_last_upload"));
}

/// A test that was forgotten would be found by nobody.
#[test]
fn every_alert_has_a_test_where_it_fires_and_one_where_it_does_not() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("mimir/rules");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let tests = read("alerts_test.yaml") + &read("alerts_days_test.yaml") + &read("mimir_test.yaml");
    let rules = read("alerts.yaml") + &read("mimir.yaml");
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10);
    for alert in alerts {
        let cases: Vec<&str> = tests.split(&format!("alertname: {alert}\n")).skip(1).collect();
        let quiet = |case: &&str| case.trim_start().starts_with("exp_alerts: []");
        // One is there to fire, always.
        let always = alert == "Watchdog";
        assert!(always || cases.iter().any(quiet), "{alert}: never tested where it must not fire");
        assert!(cases.iter().any(|case| !quiet(case)), "{alert}: never tested where it has to fire");
    }
}

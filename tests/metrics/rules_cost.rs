//! How many samples the recording rules read: 39 teams, live values each minute, in
//! blocks of ours that Debian's Prometheus reads.

#![allow(clippy::disallowed_methods, reason = "the environment is a test's own input")]
#![allow(clippy::print_stderr, reason = "figures for whoever reads them")]

use std::collections::BTreeMap;
use std::path::Path;

use crate::collector::{Process, eventually, free_port, program};
use dorainfra_dora::metrics::{self, Histograms};
use dorainfra_dora::simulator;
use dorainfra_prometheus::tsdb::{self, CHUNKS, INDEX};
use dorainfra_prometheus::{Samples, Series};
use serde_json::Value;
use time::macros::{date, datetime};

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

/// A rule's name and its expression.
type Rule = (String, String);

/// A group's name, how often it is evaluated a minute, and its rules.
fn groups() -> Vec<(String, f64, Vec<Rule>)> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("mimir/rules/dora.yaml"));
    let all: Value = serde_saphyr::from_str(&text.unwrap()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |group: &Value| {
        let interval = text(&group["interval"]);
        let (number, unit) = interval.split_at(interval.len() - 1);
        let minutes = number.parse::<f64>().unwrap() * if unit == "h" { 60.0 } else { 1.0 };
        assert!(matches!(unit, "m" | "h"), "{interval}");
        let rules = group["rules"].as_array().unwrap().iter();
        let rules = rules.map(|rule| (text(&rule["record"]), text(&rule["expr"]))).collect();
        (text(&group["name"]), 1.0 / minutes, rules)
    };
    all["groups"].as_array().unwrap().iter().map(of).collect()
}

/// As many days of each series as are asked for, a value a minute, week by week.
fn store(folder: &Path, end: i64, teams: u32, days: i64) -> u64 {
    let teams = simulator::teams(teams);
    let series: Vec<Series> = metrics::simulated(teams, 1, date!(2026 - 01 - 01), 1, Histograms::CLASSIC)
        .map(|one| Series { exemplars: Vec::new(), ..one })
        .collect();
    let windows = tsdb::windows(
        &vec![Series { samples: Samples::Plain(vec![(end - days * DAY, 0.0)]), ..series[0].clone() }],
        end,
    );
    let mut written = 0;
    for window in windows {
        let begin = window.start.max(end - days * DAY);
        // A counter that goes up now and then.
        let samples: Vec<(i64, f64)> = (0..(window.end - begin) / MINUTE)
            .map(|nth| begin + nth * MINUTE + 7)
            .map(|time| (time, (time / (8 * 60 * MINUTE)) as f64))
            .filter(|(time, _)| *time < window.end)
            .collect();
        let part: Vec<Series> = series
            .iter()
            .map(|one| Series { samples: Samples::Plain(samples.clone()), ..one.clone() })
            .collect();
        for block in tsdb::blocks(&part, &[window]) {
            let block_folder = folder.join(&block.meta.ulid);
            std::fs::create_dir_all(block_folder.join("chunks")).unwrap();
            std::fs::write(block_folder.join("meta.json"), serde_json::to_vec(&block.meta).unwrap()).unwrap();
            std::fs::write(block_folder.join(INDEX), &block.index).unwrap();
            std::fs::write(block_folder.join(CHUNKS), &block.chunks).unwrap();
            written += block.meta.stats.num_samples;
        }
    }
    written
}

/// Rules that were evaluated each minute read 1.3 billion samples a minute.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "reads some hundred million samples: scripts/nightly"]
async fn the_rules_read_less_than_a_tenth_of_what_they_did() {
    let set = |name, usual: i64| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    let (teams, days) = (set("TEST_TEAMS", 39), set("TEST_DAYS", 29));
    let end = datetime!(2026-11-20 12:00 UTC).unix_timestamp() * 1000;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let written = store(&data, end, u32::try_from(teams).unwrap(), days);
    std::fs::write(folder.path().join("prometheus.yml"), "global: {}\n").unwrap();
    let port = free_port();
    let arguments = [
        "--config.file=prometheus.yml".to_owned(),
        "--storage.tsdb.path=data".into(),
        "--storage.tsdb.retention.time=20y".into(),
        // Blocks stay as they are.
        "--storage.tsdb.min-block-duration=2h".into(),
        "--storage.tsdb.max-block-duration=2h".into(),
        "--query.timeout=10m".into(),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    let _prometheus = Process::start(&program("prometheus"), &arguments, folder.path(), "prometheus");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://127.0.0.1:{port}");
    eventually("Prometheus is ready", async || {
        let answer = client.get(format!("{url}/-/ready")).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    })
    .await;

    // What a subquery reads is not in Prometheus's statistics, only what comes out of it: so its
    // inside is asked, at the one time that it has, the last midnight.
    let within = |expression: &str| {
        let inside = expression.replace("last_over_time((", "((").replace(")[1d:1d])", "))");
        let at = if inside == expression { end } else { end - 12 * 60 * MINUTE };
        (inside, (at / 1000).to_string())
    };
    let mut by_group = BTreeMap::new();
    let (mut most, mut answered) = ((0.0, String::new()), 0);
    for (group, a_minute, rules) in groups() {
        let mut sum = 0.0;
        for (rule, expression) in rules {
            let (inside, time) = within(&expression);
            assert!(!inside.contains("[1d:1d]"), "{rule}: {inside}");
            let form = [("query", inside.as_str()), ("time", &time), ("stats", "all")];
            let body = form.iter().map(|(name, value)| {
                format!("{name}={}", form_urlencoded::byte_serialize(value.as_bytes()).collect::<String>())
            });
            let answer = client
                .post(format!("{url}/api/v1/query"))
                .header("content-type", "application/x-www-form-urlencoded")
                .body(body.collect::<Vec<_>>().join("&"))
                .send();
            let answer: Value = answer.await.unwrap().json().await.unwrap();
            assert_eq!(answer["status"], "success", "{rule}: {answer}");
            let read = answer["data"]["stats"]["samples"]["totalQueryableSamples"].as_f64().unwrap();
            answered += usize::from(!answer["data"]["result"].as_array().unwrap().is_empty());
            sum += read;
            if read > most.0 {
                most = (read, rule);
            }
        }
        eprintln!("{group}: {sum:.0} samples an evaluation, {:.0} a minute", sum * a_minute);
        by_group.insert(group, sum * a_minute);
    }
    let all: f64 = by_group.values().sum();
    eprintln!(
        "{teams} teams, {days} days, {written} samples: {all:.0} samples a minute; most in one rule: {most:?}"
    );
    // Rules that find nothing read nothing.
    assert!(answered > 15, "{answered} rules with an answer");
    let before = 1.3e9 * teams as f64 / 39.0;
    assert!(all > 0.0 && all < before / 10.0, "{all} of {before}");
}

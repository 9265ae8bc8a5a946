//! Every query of every dashboard and every recording rule, at 39 teams and at a thousand,
//! of a real engine (of Mimir, where `DORAINFRA_MIMIR_BINARY` names one). What a query may
//! cost is counted in samples and answers, not in seconds, which are the machine's: the
//! times are printed (`cargo test --test dashboards scale -- --nocapture`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Instant;

use dorainfra_dora::metrics::{self, Histograms};
use dorainfra_dora::simulator;
use dorainfra_prometheus::Flavour;
use dorainfra_prometheus::query::Query;
use dorainfra_prometheus::remote_write::Client;
use dorainfra_prometheus::tsdb::{self, CHUNKS, INDEX, Window};
use dorainfra_prometheus::{Extent, Labels, Past, Samples, Series};
use serde_json::Value;
use time::{Duration, OffsetDateTime};

use super::boards;
use super::collector::{Receiver, eventually};
use super::compare;
use super::queries::{Chosen, record, resolved_over};

const DAY: i64 = 86_400_000;
const MINUTE: i64 = 60_000;
/// How far back live values reach, one a minute.
const LIVE: i64 = 40 * MINUTE;
/// So many teams are simulated; the others are these under other names, which also gives
/// every rank a tie.
const SIMULATED: u32 = 39;
const STALE: usize = 3;
/// As far as a dashboard looks back at first, and the 28 days before that.
const DAYS: u32 = 215;

/// Samples that one query may look at. Nine millions of them, a window of 28 days at each
/// week of half a year, take Debian's Prometheus 0.6 s of a busy core; looking for the newest
/// sample at each four minutes of a day took 80 s.
const MOST_SAMPLES: u64 = 10_000_000;
/// Answers that a panel may have to draw, but for those that are one for each team by
/// their nature.
const MOST_ANSWERS: usize = 120;

/// The past of `teams` teams, and live values.
fn series(teams: usize, now: OffsetDateTime) -> Vec<Series> {
    let today = now.date();
    let midnight = today.midnight().assume_utc().unix_timestamp() * 1000;
    let now = now.unix_timestamp() * 1000;
    let names = simulator::teams(SIMULATED);
    let simulated: Vec<Series> =
        metrics::simulated(names.clone(), 1, today - Duration::days(1), DAYS, Histograms::CLASSIC).collect();
    let name = |index: usize| format!("{}-{index:04}", names[index % names.len()]);
    let mut all = Vec::new();
    for index in 0..teams {
        let of = &names[index % names.len()];
        let until = if index < STALE { now - 20 * MINUTE } else { now };
        for one in simulated.iter().filter(|one| one.labels.get("team") == of) {
            let name = name(index);
            let labels = one.labels.iter().filter(|(label, _)| *label != "job" && *label != "team");
            let mut copy = Series {
                name: one.name,
                labels: Labels::new(labels.chain([("team", name.as_str())])),
                samples: one.samples.clone(),
                exemplars: Vec::new(),
            };
            let Samples::Plain(samples) = &mut copy.samples else { unreachable!() };
            let last = samples.last().map_or(0.0, |(_, value)| *value);
            let first = (now - LIVE).max(midnight + 1000);
            samples.extend((first..=until).step_by(MINUTE as usize).map(|at| (at, last)));
            all.push(copy);
        }
    }
    all
}

/// The series as one block in the engine's folder, before it is started.
fn write(dir: &Path, series: &Vec<Series>) {
    let extent: Extent = series.extent();
    let window = Window { start: extent.oldest.unwrap(), end: extent.newest.unwrap() + 1 };
    for block in tsdb::blocks(series, &[window]) {
        for folder in ["receiver/data", "receiver/bucket/blocks/anonymous"] {
            let folder = dir.join(folder).join(&block.meta.ulid);
            fs::create_dir_all(folder.join("chunks")).unwrap();
            fs::write(folder.join(INDEX), &block.index).unwrap();
            fs::write(folder.join(CHUNKS), &block.chunks).unwrap();
            fs::write(folder.join("meta.json"), serde_json::to_vec(&block.meta).unwrap()).unwrap();
        }
    }
}

/// What an answer is, and what it took.
struct Answer {
    result: Vec<Value>,
    samples: Option<u64>,
    milliseconds: u128,
}

async fn ask(receiver: &Receiver, expression: &str, range: Option<(i64, i64)>, now: i64) -> Answer {
    let http = receiver.target.http_client().unwrap();
    let seconds = |at: i64| format!("{}.{:03}", at / 1000, at % 1000);
    let mut form = vec![("query", expression.to_owned()), ("stats", "true".into())];
    let route = match range {
        Some((range, step)) => {
            let end = now - now.rem_euclid(step);
            form.extend([
                ("start", seconds(end - range)),
                ("end", seconds(end)),
                ("step", (step / 1000).to_string()),
            ]);
            "/api/v1/query_range"
        }
        None => {
            form.push(("time", seconds(now)));
            "/api/v1/query"
        }
    };
    let mut body = reqwest::Url::parse("form:").unwrap();
    body.query_pairs_mut().extend_pairs(&form);
    let begun = Instant::now();
    let answer = http
        .post(receiver.target.query_url(route))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(body.query().unwrap().to_owned())
        .send()
        .await
        .unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["status"], "success", "{expression}: {answer}");
    Answer {
        result: answer["data"]["result"].as_array().unwrap().clone(),
        samples: answer["data"]["stats"]["samples"]["totalQueryableSamples"].as_u64(),
        milliseconds: begun.elapsed().as_millis(),
    }
}

fn teams(answer: &Answer) -> BTreeSet<String> {
    answer.result.iter().map(|one| one["metric"]["team"].as_str().unwrap().to_owned()).collect()
}

/// A dashboard's range at first: `now-84d/d`.
fn range_of(from: &str) -> i64 {
    let text = from.trim_start_matches("now-").trim_end_matches("/d");
    let (number, unit) = text.split_at(text.len() - 1);
    let number: i64 = number.parse().unwrap();
    match unit {
        "y" => number * 365 * DAY,
        "d" => number * DAY,
        "h" => number * 60 * MINUTE,
        _ => panic!("{from}"),
    }
}

fn step_of(step: &str, range: i64) -> i64 {
    let least = match step {
        "7d" => 7 * DAY,
        "1d" => DAY,
        "5m" => 5 * MINUTE,
        "1m" => MINUTE,
        other => panic!("no step {other}"),
    };
    // Grafana asks for no more points than a panel is wide.
    least.max(range / 1000 / MINUTE * MINUTE)
}

async fn all_queries_at(count: usize) {
    let dir = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let now = OffsetDateTime::now_utc();
    let stored = series(count, now);
    write(dir.path(), &stored);
    eprintln!("{count} teams, {} series: made in {:?}", stored.len(), begun.elapsed());
    drop(stored);
    let now = now.unix_timestamp() * 1000;
    let receiver = Receiver::real_where_given(dir.path(), "500d", "600d").await;
    let query = Query::new(&receiver.target).unwrap();
    eventually("all teams are there", async || {
        let found = ask(&receiver, "group by (team) (dora_deployments_total offset 30m)", None, now).await;
        found.result.len() == count
    })
    .await;
    let begun = Instant::now();
    let client = Client::new(&receiver.target).unwrap();
    record(&client, &query, now).await;
    eprintln!("all recording rules: {:?}", begun.elapsed());

    let team = "orders-0030";
    let counted = |samples: Option<u64>| samples.map_or("?".into(), |samples: u64| samples.to_string());
    let mut asked = 0;
    for board in boards() {
        if board.uid.starts_with("mimir") {
            continue;
        }
        let range = range_of(board.from);
        let mut chosen = Chosen::default();
        if board.uid == "dora-compare" {
            let page = resolved_over(&compare::shown(), ".+", range, &chosen);
            chosen.shown =
                teams(&ask(&receiver, &page, None, now).await).into_iter().collect::<Vec<_>>().join("|");
        }
        let of_one = board.uid == "dora-team";
        for panel in board.panels() {
            for one in &panel.queries {
                let expression =
                    resolved_over(&one.expression, if of_one { team } else { ".+" }, range, &chosen);
                let over = one.step.filter(|_| !one.instant).map(|step| (range, step_of(step, range)));
                let answer = ask(&receiver, &expression, over, now).await;
                let about = format!(
                    "{} {}: {} ms, {} samples, {} answers",
                    board.uid,
                    panel.title,
                    answer.milliseconds,
                    counted(answer.samples),
                    answer.result.len()
                );
                eprintln!("{about}");
                let of_each_team = panel.title.ends_with(": distribution");
                assert!(of_each_team || answer.result.len() <= MOST_ANSWERS, "{about}: {expression}");
                assert!(answer.samples.unwrap_or_default() <= MOST_SAMPLES, "{about}: {expression}");
                // Mimir tells no such number.
                let told = answer.samples.is_some() || receiver.target.flavour == Flavour::Mimir;
                assert!(told, "what a query costs is not counted: {about}");
                asked += 1;
            }
        }
        for annotation in &board.annotations {
            let expression = resolved_over(
                annotation["expr"].as_str().unwrap(),
                if of_one { team } else { ".+" },
                range,
                &chosen,
            );
            let answer = ask(&receiver, &expression, Some((range, DAY)), now).await;
            eprintln!(
                "{} {}: {} ms, {}",
                board.uid,
                annotation["name"],
                answer.milliseconds,
                counted(answer.samples)
            );
            assert!(answer.samples.unwrap_or_default() <= MOST_SAMPLES, "{expression}");
            assert!(!answer.result.is_empty(), "{expression}");
        }
    }
    assert!(asked > 60, "{asked}");

    // The pages together have every team, whatever they are ranked by and over which days.
    let pages = count.div_ceil(super::board::PAGE as usize) as u32;
    for days in ["7", "28", "84"] {
        for percentile in ["50", "75", "90"] {
            for key in dorainfra_report::Key::ALL {
                let resolve = |expression: &str, page| {
                    let chosen = Chosen { days, percentile, page, ..Chosen::default() };
                    resolved_over(expression, ".+", 84 * DAY, &chosen)
                };
                let values = super::questions::recorded(key);
                let all = teams(&ask(&receiver, &resolve(&values, 1), None, now).await);
                assert!(all.len() > count / 2, "{values}");
                if (days, percentile) != ("28", "50") {
                    continue;
                }
                let paged = super::board::page_of(&values, key.more_is_better());
                let mut seen = BTreeSet::new();
                for page in 1..=pages {
                    let page = teams(&ask(&receiver, &resolve(&paged, page), None, now).await);
                    assert!(page.len() <= 2 * super::board::PAGE as usize, "{}", page.len());
                    seen.extend(page);
                }
                assert_eq!(seen, all, "{key:?}");
            }
        }
    }

    // The stale teams, and no other.
    let stale = format!("{} > 300", super::pipeline::age("environment=\"production\""));
    assert_eq!(ask(&receiver, &stale, None, now).await.result.len(), STALE);
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_of_39_teams() {
    all_queries_at(39).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_of_a_thousand_teams() {
    all_queries_at(1000).await;
}

/// Nothing that is drawn for each value of a variable asks for each team.
#[test]
fn a_board_asks_no_more_than_a_page_of_queries() {
    for board in boards() {
        let queries: usize = board
            .panels()
            .map(|panel| {
                let repeated = panel.render(1, (0, 0))["repeat"].as_str().map(str::to_owned);
                assert!(repeated.is_none() || repeated.as_deref() == Some("shown"), "{}", panel.title);
                panel.queries.len() * if repeated.is_some() { super::board::PAGE as usize } else { 1 }
            })
            .sum();
        assert!(queries <= 60, "{}: {queries} queries", board.uid);
    }
}

//! The proof of ingest against real programs: Prometheus standing in for Mimir,
//! a Pushgateway, and the agent between them.

use crate::collector;
use std::path::Path;
use std::time::Duration;

use crate::collector::{
    Process, Pushgateway, Receiver, ReceiverOptions, agent_config, credentials, eventually, free_port,
    program,
};
use crate::memory_bucket::Memory;
use dorainfra_config::Feeds;
use dorainfra_deploy::verify::{self, Bounds, Report, Request};
use dorainfra_dora::feed::Feed;
use dorainfra_dora::live::{self, Clock, Outlet, Pushed, Settings, Speed};
use dorainfra_dora::metrics::Histograms;
use dorainfra_dora::{metrics, simulator};
use dorainfra_model::Outcome;
use dorainfra_model::{Event, Events};
use dorainfra_prometheus::Target;
use dorainfra_prometheus::pushgateway::{Gateway, Group};
use dorainfra_prometheus::remote_write::{Client, Limits, Reason, WriteError};
use dorainfra_prometheus::{Labels, Past, Samples, Series, tsdb};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

fn history(teams: u32) -> Vec<Series> {
    let until = OffsetDateTime::now_utc().date().previous_day().unwrap();
    metrics::simulated(simulator::teams(teams), 1, until, 365, Histograms::CLASSIC).collect()
}

fn plain(series: &mut Series) -> &mut Vec<(i64, f64)> {
    let Samples::Plain(samples) = &mut series.samples else { panic!("a native histogram") };
    samples
}

async fn send(target: &Target, series: &[Series]) -> Result<u64, WriteError> {
    let accepted = Client::new(target).unwrap().send(series, Limits::default(), 0, &Events::none()).await?;
    Ok(accepted.samples)
}

/// Sends a sample of now, as live values are there before a history is: the year lies behind it.
async fn send_a_new_one(target: &Target) {
    let now = OffsetDateTime::now_utc().unix_timestamp() * 1000;
    let new = Series {
        name: metrics::DEPLOYMENTS,
        labels: Labels::new([("team", "accounts")]),
        samples: vec![(now, 1.0)].into(),
        exemplars: Vec::new(),
    };
    send(target, &[new]).await.unwrap();
}

async fn verify_history(target: &Target, history: &dyn Past) -> Report {
    let bounds = Bounds { ready: Duration::from_secs(5), ..Bounds::default() };
    let request = Request {
        target,
        live: None,
        history,
        feeds: Feeds::Simulated,
        teams: &[],
        bucket: None,
        as_blocks: true,
        known: None,
        bounds,
    };
    fn sendable<T: Send>(future: T) -> T {
        future
    }
    sendable(verify::run(&request, &Events::none())).await
}

fn outcome(report: &Report, name: &str) -> Outcome {
    report.check(name).unwrap_or_else(|| panic!("no check {name}: {report:?}")).outcome
}

/// No history.
const NOTHING: Vec<Series> = Vec::new();

/// The value of a query whose answer is one number, now.
async fn count(target: &Target, query: &str) -> f64 {
    let http = target.http_client().unwrap();
    let request = http.get(target.query_url("/api/v1/query")).query(&[("query", query)]);
    let answer: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
    let value = answer["data"]["result"][0]["value"][1].as_str();
    value.and_then(|value| value.parse().ok()).unwrap_or_default()
}

fn agent(dir: &Path, pushgateway: &Pushgateway, target: &Target) -> Process {
    let port = pushgateway.url.rsplit(':').next().unwrap().parse().unwrap();
    std::fs::write(dir.join("agent.yml"), agent_config(port, target)).unwrap();
    let args = [
        "--enable-feature=agent".into(),
        "--config.file=agent.yml".into(),
        "--storage.agent.path=agent".into(),
        format!("--web.listen-address=127.0.0.1:{}", free_port()),
    ];
    Process::start(&program("prometheus"), &args, dir, "agent")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_year_of_all_teams_is_proven_to_the_last_sample() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(dir.path(), ReceiverOptions::default()).await;
    let series = history(39);
    let total: u64 = series.iter().map(|one| one.samples.len() as u64).sum();
    // 365 days' ends, the first day's beginning, and a new year's.
    let mut counters = series.iter().filter(|one| !metrics::GAUGES.contains(&one.name));
    assert!(counters.all(|one| (366..=367).contains(&one.samples.len())), "{total}");
    // Else a year would grow in Prometheus' head, and 2.42 may answer for the first sample of a series and
    // lose it while it compacts that, which `verify` finds.
    send_a_new_one(&receiver.target).await;
    assert_eq!(send(&receiver.target, &series).await.unwrap(), total);
    let report = verify_history(&receiver.target, &series).await;
    assert!(report.ok(), "{report:#?}");
    assert_eq!((report.samples_sent, report.samples_found), (total, Some(total)));
    assert_eq!(outcome(&report, "marker"), Outcome::NotApplicable);
    assert_eq!(outcome(&report, "bucket"), Outcome::NotApplicable);

    // Sending again is harmless.
    assert_eq!(send(&receiver.target, &series).await.unwrap(), total);
    assert_eq!(verify_history(&receiver.target, &series).await.samples_found, Some(total));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_and_a_wrong_value_are_found_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(dir.path(), ReceiverOptions::default()).await;
    let series = history(5);
    let mut damaged = series.clone();
    let hole = plain(&mut damaged[6]).remove(100).0;
    let (wrong, value) = &mut plain(&mut damaged[9])[200];
    *value += 1.0;
    let (wrong, value) = (*wrong, *value);
    send(&receiver.target, &damaged).await.unwrap();

    let report = verify_history(&receiver.target, &series).await;
    assert!(!report.ok());
    assert_eq!(outcome(&report, "endpoint"), Outcome::Passed);
    assert_eq!(report.samples_sent - report.samples_found.unwrap(), 2);
    let named: Vec<_> = report
        .mismatches
        .iter()
        .map(|mismatch| {
            (mismatch.metric.as_str(), mismatch.team.as_str(), mismatch.timestamp_ms, mismatch.found)
        })
        .collect();
    let (missing, other) = (&series[6], &damaged[9]);
    assert_eq!(
        named,
        [
            (missing.name, missing.labels.get("team"), hole, None),
            (other.name, other.labels.get("team"), wrong, Some(value)),
        ]
    );
    let check = report.check("history").unwrap();
    assert!(
        check.found.contains(missing.labels.get("team")) && check.found.contains("missing"),
        "{}",
        check.found
    );
    assert!(check.hint.is_some());
}

/// The cheaper proof of a history that was compared before: what was deleted or changed since is seen.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_and_sums_tell_whether_a_history_is_still_stored() {
    let until = OffsetDateTime::now_utc().date().previous_day().unwrap();
    let zone = dorainfra_base::zone::Zone::configured("Asia/Kolkata");
    let teams = simulator::teams(3);
    let series: Vec<Series> =
        metrics::simulated_in(zone, teams, 1, until, 150, Histograms::CLASSIC).collect();
    // As if it were deleted, one thing each; and two values that changed places keep the sum of their days.
    let last = series.iter().rposition(|one| one.samples.len() > 100).unwrap();
    let with = |change: &dyn Fn(&mut Vec<Series>)| {
        let mut other = series.clone();
        change(&mut other);
        other
    };
    let day = series[last].samples.time(50).div_euclid(86_400_000);
    let of_the_day = |time: i64| time.div_euclid(86_400_000) == day;
    let stores: [(&str, bool, Vec<Series>); 6] = [
        ("all of it", true, series.clone()),
        (
            "without one sample",
            false,
            with(&|all| {
                plain(&mut all[last]).remove(50);
            }),
        ),
        ("with another value", false, with(&|all| plain(&mut all[last])[50].1 += 1.0)),
        ("without a series", false, with(&|all| drop(all.remove(last)))),
        (
            "without a day",
            false,
            with(&|all| all.iter_mut().for_each(|one| plain(one).retain(|(time, _)| !of_the_day(*time)))),
        ),
        (
            "without the newest day",
            false,
            with(&|all| {
                let newest = all.iter().filter_map(|one| one.samples.last_time()).max().unwrap();
                all.iter_mut().for_each(|one| plain(one).retain(|(time, _)| newest - time >= 86_400_000));
            }),
        ),
    ];
    let sums = verify::Sums::of(&series);
    for (what, stored, samples) in stores {
        let dir = tempfile::tempdir().unwrap();
        let receiver = Receiver::real_where_given(dir.path(), "500d", "600d").await;
        send_a_new_one(&receiver.target).await;
        send(&receiver.target, &samples).await.unwrap();
        // Live values lie between those of the history.
        let (name, labels) = (series[last].name, series[last].labels.clone());
        let live = Samples::Plain((1..20).map(|minute| (day * 86_400_000 + minute * 60_007, 9.0)).collect());
        let live = Series { name, labels, samples: live, exemplars: Vec::new() };
        send(&receiver.target, &[live]).await.unwrap();
        let query = dorainfra_prometheus::query::Query::new(&receiver.target).unwrap();
        assert_eq!(sums.are_stored(&query).await.unwrap(), stored, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_is_too_small_is_explained_when_writing() {
    let dir = tempfile::tempdir().unwrap();
    let options = ReceiverOptions { out_of_order_window: "10d", tls: None };
    let receiver = Receiver::start(dir.path(), options).await;
    send_a_new_one(&receiver.target).await;
    let error = send(&receiver.target, &history(1)).await.unwrap_err();
    assert!(matches!(error, WriteError::Refused { reason: Reason::TooOld, .. }), "{error}");
    assert!(error.hint().unwrap().contains("limits.out_of_order_window"));
}

/// Pushes simulated teams until the token is cancelled.
fn pushing(
    url: &str,
    teams: Vec<String>,
    milliseconds: u64,
    events: Events,
) -> (CancellationToken, tokio::task::JoinHandle<Result<live::Summary, live::LiveError>>) {
    let feed = Feed::Simulated { teams, seed: 1 };
    let settings = Settings {
        feed,
        histograms: Histograms::CLASSIC,
        interval: Duration::from_millis(milliseconds),
        withdraw: false,
    };
    let pushed = Pushed::to(Gateway::new(url).unwrap()).with_concurrency(2);
    let stop = CancellationToken::new();
    let token = stop.clone();
    let task = tokio::spawn(async move {
        let clock = Clock::new(OffsetDateTime::now_utc, Speed::REAL);
        let mut outlets: Vec<Box<dyn Outlet>> = vec![Box::new(pushed)];
        live::run(&settings, &mut outlets, &clock, &token, &events).await
    });
    (stop, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn marker_and_freshness_pass_through_the_whole_stack_and_a_stale_team_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(dir.path(), ReceiverOptions::default()).await;
    let pushgateway = Pushgateway::start(dir.path()).await;
    let _agent = agent(dir.path(), &pushgateway, &receiver.target);
    let series = history(4);
    send(&receiver.target, &series).await.unwrap();

    let teams = simulator::teams(4);
    let push = |teams: Vec<String>| pushing(&pushgateway.url, teams, 200, Events::none());
    let bounds = Bounds { fresh: Duration::from_secs(8), ..Bounds::default() };
    let request = |teams| Request {
        target: &receiver.target,
        live: Some(verify::Live::Pushgateway(&pushgateway.url)),
        history: &series,
        feeds: Feeds::Simulated,
        teams,
        bucket: None,
        as_blocks: true,
        known: None,
        bounds,
    };

    let (stop, task) = push(teams.clone());
    let report = verify::run(&request(&teams), &Events::none()).await;
    assert!(report.ok(), "{report:#?}");
    assert!(report.marker_latency_ms.is_some_and(|latency| latency > 0));
    assert_eq!(report.samples_found, Some(report.samples_sent));
    // What was pushed are the very series of the history, up to the edges of the
    // buckets: none is new, and each of them goes on. The gauges go on by rules.
    let pushed = series.iter().filter(|one| !metrics::GAUGES.contains(&one.name)).count();
    for query in [
        "count({job=\"dora\",__name__=~\"dora_(deployments_total|.+_seconds_.+)\"})",
        "count(last_over_time({job=\"dora\",__name__=~\"dora_(deployments_total|.+_seconds_.+)\"}[3d]))",
    ] {
        eventually("live and history are the same series", async || {
            count(&receiver.target, query).await == pushed as f64
        })
        .await;
    }
    let gateway = Gateway::new(&pushgateway.url).unwrap();
    let groups = gateway.groups().await.unwrap();
    assert!(
        groups.iter().all(|group| group.labels["job"] == "dora"),
        "the marker is still there: {groups:?}"
    );

    // A generator that goes on without a team deletes its group; one that lost its
    // team by accident leaves it behind.
    stop.cancel();
    assert!(task.await.unwrap().unwrap().rounds > 0);
    let (stop, task) = push(teams[..3].to_vec());
    eventually("the group is deleted", async || gateway.groups().await.unwrap().len() == 3).await;
    let late = Group::job("dora").label("team", &teams[3]);
    let text = "# TYPE dora_deployments_total counter\ndora_deployments_total{service=\"s\",environment=\"production\"} 1\n";
    gateway.put(&late, text).await.unwrap();
    let impatient = Bounds { settle: Duration::ZERO, ..bounds };
    let mut report = report;
    eventually("the team is stale", async || {
        let request = Request { bounds: impatient, history: &NOTHING, ..request(&teams) };
        report = verify::run(&request, &Events::none()).await;
        outcome(&report, "freshness") == Outcome::Failed && report.stale_teams == teams[3..]
    })
    .await;
    let check = report.check("freshness").unwrap();
    assert!(check.found.contains(&teams[3]) && check.hint.is_some(), "{check:?}");
    stop.cancel();
    assert_eq!(task.await.unwrap().unwrap().removed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn live_survives_a_pushgateway_that_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let (events, mut stream) = Events::channel();
    let names = ["plain", "with space & slash/", "Zoë"].map(str::to_owned).to_vec();
    collector::install_tls();
    let (stop, task) = pushing(&format!("http://127.0.0.1:{port}"), names.clone(), 50, events);
    // It reports that nobody answers, and goes on trying.
    let first = stream.recv().await.unwrap();
    assert!(matches!(first, dorainfra_model::Event::Warning { hint: Some(_), .. }), "{first:?}");

    let pushgateway = Pushgateway::start_on(dir.path(), port).await;
    let gateway = Gateway::new(&pushgateway.url).unwrap();
    eventually("all teams are pushed", async || {
        let mut teams: Vec<String> = gateway
            .groups()
            .await
            .unwrap()
            .into_iter()
            .map(|mut group| group.labels.remove("team").unwrap())
            .collect();
        teams.sort();
        teams == ["Zoë", "plain", "with space & slash/"]
    })
    .await;
    stop.cancel();
    let summary = task.await.unwrap().unwrap();
    assert!(summary.failures > 0 && summary.rounds > 0, "{summary:?}");
    let mut back = false;
    while let Some(event) = stream.recv().await {
        back |= matches!(event, dorainfra_model::Event::Note { message } if message.contains("is back"));
    }
    assert!(back);

    gateway.put(&Group::job("other"), "dora_lead_time_ms{a=\"b\"} nonsense\n").await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn mutual_tls_is_spoken_and_its_failures_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    let (client, server) = credentials();
    let options = ReceiverOptions { tls: Some((client.clone(), server)), ..ReceiverOptions::default() };
    let receiver = Receiver::start(dir.path(), options).await;
    let series = history(2);
    send(&receiver.target, &series).await.unwrap();
    assert!(verify_history(&receiver.target, &series).await.ok());

    // Another CA's certificate, with the right trust; and the reverse.
    let (stranger, _) = credentials();
    let unknown = dorainfra_pki::Credentials { ca: client.ca.clone(), ..stranger.clone() };
    let distrusting = dorainfra_pki::Credentials { ca: stranger.ca, ..client };
    for credentials in [unknown, distrusting] {
        let target = receiver.target.clone().with_tls(credentials);
        let error = send(&target, &series).await.unwrap_err();
        assert!(matches!(error, WriteError::Tls { .. }), "{error}");
        assert!(error.hint().is_some());
        let report = verify_history(&target, &series).await;
        assert_eq!(outcome(&report, "endpoint"), Outcome::Failed);
        let endpoint = report.check("endpoint").unwrap();
        assert!(endpoint.found.contains("TLS"), "{endpoint:?}");
        assert_eq!(outcome(&report, "history"), Outcome::Failed);
    }
}

/// Of three replicas one may find new blocks later than the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_was_written_just_now_may_be_seen_little_by_little() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(dir.path(), ReceiverOptions::default()).await;
    let series = history(2);
    let (first, rest) = series.split_at(series.len() / 2);
    send(&receiver.target, first).await.unwrap();
    let request = Request {
        target: &receiver.target,
        live: None,
        history: &series,
        feeds: Feeds::Simulated,
        teams: &[],
        bucket: None,
        as_blocks: true,
        known: None,
        bounds: Bounds { history: Duration::from_secs(60), ..Bounds::default() },
    };
    // The rest comes once a look has found it missing.
    let (events, mut heard) = Events::channel();
    let verified = verify::run(&request, &events);
    let later = async {
        let all = series.extent().samples;
        while let Some(event) = heard.recv().await {
            if matches!(event, Event::Progress { done, .. } if done == all) {
                break;
            }
        }
        send(&receiver.target, rest).await.unwrap();
    };
    let (report, ()) = tokio::join!(verified, later);
    assert_eq!(outcome(&report, "history"), Outcome::Passed, "{report:?}");
}

/// Objects are there in any case; what counts is what the blocks say of themselves.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_bucket_is_told_by_the_blocks_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(dir.path(), ReceiverOptions::default()).await;
    // Prometheus's own paths, but taken for Mimir: only then is the bucket looked at.
    let mut target = receiver.target.clone();
    target.flavour = dorainfra_prometheus::Flavour::Mimir;
    let series = history(1);
    let sent = series.extent().samples;
    let windows = tsdb::windows(&series, series.extent().newest.unwrap() + 1);
    let all: Vec<tsdb::Block> = tsdb::blocks(&series, &windows).collect();
    let lacking = all[0].meta.stats.num_samples;
    let newest = all.last().unwrap().meta.max_time;
    // Live values, of which one is older than the end of the newest block. (A range of Prometheus 2
    // begins with its first moment, one of Mimir after it: so not the last millisecond.)
    let live = ["dora_one", "dora_another"].map(|name| Series {
        name,
        labels: Labels::new([("team", "live")]),
        samples: [newest - 2, newest, newest + 60_000].map(|at| (at, 1.0)).to_vec().into(),
        exemplars: Vec::new(),
    });
    send(&target, &live).await.unwrap();
    let mut damaged = Memory::of(&all);
    damaged.objects.remove(&format!("blocks/dora/{}/index", all[1].meta.ulid)).unwrap();
    let refuses = Some("403: storage.objects.list is missing".to_owned());
    for (holding, expected, held, words) in [
        (Memory::of(&all), Outcome::Passed, Some(sent), "4 samples newer than".into()),
        // A Mimir does not bring blocks of the history back.
        (
            Memory::of(&all[1..]),
            Outcome::Failed,
            Some(sent - lacking),
            format!("{lacking} samples not there"),
        ),
        (Memory::default(), Outcome::Failed, Some(0), "0 of".into()),
        // Not its samples count, nor does the rest make up for it.
        (
            damaged,
            Outcome::Failed,
            Some(sent - all[1].meta.stats.num_samples),
            format!("{}: index: is missing", all[1].meta.ulid),
        ),
        (Memory { refuses, ..Memory::default() }, Outcome::Failed, None, "403".into()),
    ] {
        let request = Request {
            target: &target,
            live: None,
            history: &series,
            feeds: Feeds::Simulated,
            teams: &[],
            bucket: Some(holding.bucket()),
            as_blocks: true,
            known: None,
            bounds: Bounds { ready: Duration::from_millis(1), ..Bounds::default() },
        };
        let report = verify::run(&request, &Events::none()).await;
        assert_eq!(outcome(&report, "bucket"), expected, "{report:?}");
        assert_eq!(report.samples_in_bucket, held);
        let holds_some = holding.objects.len() > 2 && holding.refuses.is_none();
        assert_eq!(report.newest_in_bucket_ms, holds_some.then_some(newest));
        assert!(report.check("bucket").unwrap().found.contains(&words), "{words}: {report:?}");
    }
    // Somebody's blocks are no proof of a history that was not sent.
    let holding = Memory::of(&all);
    let request = Request {
        target: &target,
        live: None,
        history: &NOTHING,
        feeds: Feeds::Nothing,
        teams: &[],
        bucket: Some(holding.bucket()),
        as_blocks: true,
        known: None,
        bounds: Bounds { ready: Duration::from_millis(1), ..Bounds::default() },
    };
    let report = verify::run(&request, &Events::none()).await;
    for check in ["history", "freshness", "bucket"] {
        assert_eq!(outcome(&report, check), Outcome::NotApplicable, "{check}: {report:?}");
    }
    let report = verify::from_bucket(&NOTHING, &Memory::default().bucket(), &Events::none()).await;
    assert!(report.checks.iter().all(|check| check.outcome == Outcome::NotApplicable), "{report:?}");
}

/// Names that mean something to a regular expression, or to a query's quotes.
#[tokio::test(flavor = "multi_thread")]
async fn teams_of_any_name_are_proven_and_what_is_missing_of_them_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(dir.path(), ReceiverOptions::default()).await;
    let series: Vec<Series> = ["a|b", "c.d", "e\"f\\g", ".*", "(", "Zo\u{eb} & co #1"]
        .map(|team| Series {
            name: metrics::DEPLOYMENTS,
            labels: Labels::new([("team", team), ("service", "s")]),
            samples: vec![(OffsetDateTime::now_utc().unix_timestamp() * 1000, 7.0)].into(),
            exemplars: Vec::new(),
        })
        .into();
    send(&receiver.target, &series[1..]).await.unwrap();
    let report = verify_history(&receiver.target, &series).await;
    assert_eq!((report.samples_sent, report.samples_found), (6, Some(5)), "{report:#?}");
    assert_eq!(report.mismatches.iter().map(|one| one.team.as_str()).collect::<Vec<_>>(), ["a|b"]);
    assert!(!verify::history_stored(&receiver.target, &series).await);
    send(&receiver.target, &series).await.unwrap();
    assert!(verify::history_stored(&receiver.target, &series).await);
    assert!(verify_history(&receiver.target, &series).await.ok());
}

/// Whoever answers "not ready" is reached: an address that may have changed is no advice.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_not_ready_is_not_told_as_one_that_is_not_reached() {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream
                .write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 8\r\nConnection: close\r\n\r\nstarting");
        }
    });
    for (address, advice) in [(address, false), (closed, true)] {
        let target = Target::new(dorainfra_prometheus::Flavour::Mimir, format!("http://{address}"), address);
        let bounds = Bounds { ready: Duration::from_millis(1), ..Bounds::default() };
        let request = Request {
            target: &target,
            live: None,
            history: &NOTHING,
            feeds: Feeds::Simulated,
            teams: &[],
            bucket: None,
            as_blocks: true,
            known: None,
            bounds,
        };
        let report = verify::run(&request, &Events::none()).await;
        let check = report.check("endpoint").unwrap();
        assert_eq!(check.outcome, Outcome::Failed, "{check:?}");
        let hint = check.hint.as_deref().unwrap_or_default();
        assert_eq!(hint.contains("access.allow"), advice, "{hint}");
    }
}

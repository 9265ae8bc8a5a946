//! Live values by each of the three ways, by the real binary, to real programs.

use crate::collector;
use crate::deployment;
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::collector::{
    Process, Pushgateway, Receiver, ReceiverOptions, credentials, eventually, free_port, program,
};
use crate::deployment::Deployment;
use dorainfra_dora::metrics::Histograms;
use dorainfra_pki::ClientFiles;
use dorainfra_prometheus::Target;
use dorainfra_prometheus::pushgateway::Gateway;
use rustix::process::{Pid, Signal, kill_process};

/// A generator that shows values until it is told to end.
struct Generator {
    child: Option<Child>,
}

impl Generator {
    fn start(dir: &Path, arguments: &[&str]) -> Self {
        let child = command(dir, &["--live", "--interval", "1"]).args(arguments).spawn().unwrap();
        Self { child: Some(child) }
    }

    /// Its exit code, and what it said.
    fn end(mut self, signal: Signal) -> (Option<i32>, String) {
        let child = self.child.take().unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dorainfra"));
    command.current_dir(dir).arg("generate").args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn code(dir: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = command(dir, arguments).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// All series of a query, as `labels → value`.
async fn ask(target: &Target, query: &str) -> Vec<(serde_json::Value, f64)> {
    let http = target.http_client().unwrap();
    let request = http.get(target.query_url("/api/v1/query")).query(&[("query", query)]);
    let Ok(answer) = request.send().await else { return Vec::new() };
    // One that is just starting says so in plain text.
    let Ok(answer) = answer.json::<serde_json::Value>().await else { return Vec::new() };
    let series = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{query}: {answer}"));
    let value = |one: &serde_json::Value| one["value"][1].as_str().unwrap().parse().unwrap();
    series.iter().map(|one| (one["metric"].clone(), value(one))).collect()
}

const DEPLOYMENTS: &str = "sum by (team) (dora_deployments_total{job=\"dora\"})";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_is_in_both_formats_and_prometheus_scrapes_it() {
    collector::install_tls();
    let dir = tempfile::tempdir().unwrap();
    let port = free_port().to_string();
    let generator =
        Generator::start(dir.path(), &["--listen", &port, "--teams", "2", "--service-histograms"]);
    let url = format!("http://127.0.0.1:{port}");
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let ready = async || {
        let answer = http.get(format!("{url}/-/ready")).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    };
    eventually("it is ready", ready).await;
    assert_eq!(code(dir.path(), &["--check", "--listen", &port]).0, Some(0));

    let mut texts = Vec::new();
    for (accept, content_type) in [
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text;version=1.0.0",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
    ] {
        let answer = http.get(format!("{url}/metrics")).header("accept", accept).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], content_type);
        texts.push(answer.text().await.unwrap());
    }
    assert!(!texts[0].contains("# EOF") && texts[1].ends_with("\n# EOF\n"), "{}", texts[1]);
    assert!(texts[0].contains("# TYPE dora_service_change_lead_time_seconds histogram\n"), "{}", texts[0]);
    let mut promtool = Command::new(program("promtool"));
    let mut check = promtool.args(["check", "metrics"]).stdin(Stdio::piped()).spawn().unwrap();
    check.stdin.take().unwrap().write_all(texts[0].as_bytes()).unwrap();
    assert!(check.wait().unwrap().success(), "{}", texts[0]);

    // With `honor_labels` they are the series of the history, and no others.
    let scrape = format!(
        "scrape_configs:\n- job_name: live\n  scrape_interval: 1s\n  honor_labels: true\n  \
         static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n  \
         metric_relabel_configs: [{{regex: instance, action: labeldrop}}]\n"
    );
    std::fs::write(dir.path().join("scrape.yml"), scrape).unwrap();
    let scraper: std::net::SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let arguments = [
        "--config.file=scrape.yml".to_owned(),
        "--storage.tsdb.path=scraped".to_owned(),
        "--web.route-prefix=/prometheus".to_owned(),
        format!("--web.listen-address={scraper}"),
    ];
    let _scraper = Process::start(&program("prometheus"), &arguments, dir.path(), "scraper");
    let target = Target::new(dorainfra_prometheus::Flavour::StandIn, format!("http://{scraper}"), scraper);
    eventually("two teams are scraped", async || ask(&target, DEPLOYMENTS).await.len() == 2).await;
    let instances = ask(&target, "count by (instance) ({job=\"dora\"})").await;
    assert_eq!(instances.len(), 1, "{instances:?}");
    assert_eq!(instances[0].0, serde_json::json!({}));

    let (code_at_end, said) = generator.end(Signal::TERM);
    assert_eq!(code_at_end, Some(0), "{said}");
    assert!(said.contains(&format!("{url}/metrics")), "{said}");
    let (checked, why) = code(dir.path(), &["--check", "--listen", &port]);
    assert!(checked == Some(1) && why.contains("no live value"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_directly_is_the_series_of_the_history_and_ends_when_withdrawn() {
    let dir = tempfile::tempdir().unwrap();
    let (client, server) = credentials();
    let files = dir.path().join("tls");
    ClientFiles::write(&files, &client).unwrap();
    let options = ReceiverOptions { tls: Some((client, server)), ..ReceiverOptions::default() };
    let receiver = Receiver::start(dir.path(), options).await;
    let target = &receiver.target;
    let connect = target.connect.to_string();
    let url = target.write_url();
    let to =
        ["--remote-write", &url, "--connect", &connect, "--tls-dir", "tls", "--teams", "3", "--withdraw"];
    let generator = Generator::start(dir.path(), &[&to[..], &["--service-histograms"]].concat());
    eventually("three teams are written", async || ask(target, DEPLOYMENTS).await.len() == 3).await;
    let until = time::OffsetDateTime::now_utc().date().previous_day().unwrap();
    let teams = dorainfra_dora::simulator::teams(3);
    let history =
        dorainfra_dora::metrics::simulated(teams, 1, until, 1, Histograms::CLASSIC.by_service(true));
    for one in history.filter(|one| !dorainfra_dora::metrics::GAUGES.contains(&one.name)) {
        let labels: Vec<String> =
            one.labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let query = format!("{}{{{}}}", one.name, labels.join(","));
        let found = ask(target, &query).await;
        assert_eq!(found.len(), 1, "{query}: {found:?}");
    }
    let shown = ask(target, "time() - dora_live_shown_timestamp_seconds{job=\"dora\"}").await;
    assert!(shown[0].1 < 60.0, "{shown:?}");

    let (code_at_end, said) = generator.end(Signal::INT);
    assert_eq!(code_at_end, Some(0), "{said}");
    assert!(said.contains("3 teams are marked as ended"), "{said}");
    eventually("all series have ended", async || ask(target, "{job=\"dora\"}").await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_a_second_is_pushed_and_the_groups_go_at_the_end() {
    collector::install_tls();
    let dir = tempfile::tempdir().unwrap();
    let pushgateway = Pushgateway::start(dir.path()).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let deployments = async || {
        let text =
            http.get(format!("{}/metrics", pushgateway.url)).send().await.unwrap().text().await.unwrap();
        let lines = text.lines().filter(|line| line.starts_with("dora_deployments_total{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum::<f64>()
    };
    let to = ["--pushgateway", &pushgateway.url, "--teams", "5", "--speed", "86400x", "--withdraw"];
    let generator = Generator::start(dir.path(), &to);
    let mut first = 0.0;
    eventually("the first values are there", async || {
        first = deployments().await;
        first > 0.0
    })
    .await;
    // Five teams deploy more than this in a few days, and never in a few seconds.
    // Whenever the year ends meanwhile, the counters begin again.
    eventually("days pass", async || {
        let now = deployments().await;
        now >= first + 10.0 || now < first
    })
    .await;
    let (code_at_end, said) = generator.end(Signal::TERM);
    assert_eq!(code_at_end, Some(0), "{said}");
    assert!(said.contains("86400x") && said.contains("ahead of any history"), "{said}");
    assert!(Gateway::new(&pushgateway.url).unwrap().groups().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_that_goes_while_it_is_followed_has_its_group_deleted() {
    collector::install_tls();
    let dir = tempfile::tempdir().unwrap();
    let pushgateway = Pushgateway::start(dir.path()).await;
    let gateway = Gateway::new(&pushgateway.url).unwrap();
    let event = |team: &str| {
        format!(
            "{{\"type\":\"deployment\",\"id\":\"{team}1\",\"team\":\"{team}\",\"service\":\"s\",\
             \"at\":\"2026-03-02T10:00:00Z\"}}\n"
        )
    };
    let file = dir.path().join("events.jsonl");
    std::fs::write(&file, event("a") + &event("b")).unwrap();
    let to = ["--pushgateway", &pushgateway.url, "--follow", "events.jsonl"];
    let generator = Generator::start(dir.path(), &to);
    let teams = async || {
        let groups = gateway.groups().await.unwrap();
        let mut teams: Vec<String> =
            groups.into_iter().map(|mut one| one.labels.remove("team").unwrap()).collect();
        teams.sort();
        teams
    };
    eventually("both are pushed", async || teams().await == ["a", "b"]).await;
    std::fs::write(&file, event("b") + &event("long-named-other")).unwrap();
    eventually("one went, one came", async || teams().await == ["b", "long-named-other"]).await;
    let (code_at_end, said) = generator.end(Signal::TERM);
    assert!(code_at_end == Some(0) && said.contains("team a went"), "{said}");
    // Not told to withdraw: the last values stay.
    assert_eq!(teams().await.len(), 2);
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let wrong: [(&[&str], &str); 8] = [
        (&["--live"], "--listen"),
        (&["--live", "--listen", "9464", "--speed", "0x"], "from 1"),
        (&["--live", "--listen", "9464", "--speed=-1x"], "speed"),
        (&["--live", "--listen", "9464", "--follow", "events.jsonl", "--speed", "60x"], "--speed"),
        (&["--live", "--listen", "example.org"], "127.0.0.1:9464"),
        (
            &["--live", "--pushgateway", "http://127.0.0.1:1", "--remote-write", "http://127.0.0.1:1/w"],
            "--remote-write",
        ),
        (&["--speed", "60x"], "--live"),
        (&["--live", "--remote-write", "ftp://127.0.0.1/w"], "https://"),
    ];
    for (arguments, word) in wrong {
        let (code, said) = code(dir.path(), arguments);
        assert!(code == Some(3) && said.contains(word), "{arguments:?}: {code:?} {said}");
    }
    // A port that is taken is told with what to do, and nothing else is begun.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = code(dir.path(), &["--live", "--listen", &address]);
    assert!(code == Some(1) && said.contains(&address) && said.contains("free port"), "{said}");
}

/// A deployment in a sandbox whose values are scraped, and then written directly.
#[test]
fn a_deployment_is_proven_with_either_way_and_changes_between_them() {
    let deployment = Deployment::new();
    let run = |live: &str, arguments: &[&str]| {
        let live = format!("stack.live={live}");
        let small =
            ["--sandbox", "--json", "--set", "generator.teams=2", "--set", "generator.days=20", "--set"];
        deployment.run(&[&small[..], &[&live], arguments].concat())
    };
    let parts = |live: &str| -> Vec<String> {
        let status = run(live, &["stack", "status"]).ends_with(0);
        let parts = status.events("result")[0]["result"]["stack"].as_array().unwrap().clone();
        assert!(parts.iter().all(|part| part["state"] == "ok"), "{parts:?}");
        parts.iter().map(|part| part["part"].as_str().unwrap().to_owned()).collect()
    };
    let proven = |run: deployment::Run| {
        let checks: Vec<_> =
            run.ends_with(0).events("checked").into_iter().map(|one| one["check"].clone()).collect();
        for name in ["marker", "freshness"] {
            let check = checks.iter().rev().find(|check| check["name"] == name).unwrap();
            assert_eq!(check["outcome"], "passed", "{check}");
        }
    };
    proven(run("scrape", &["apply", "--yes"]));
    assert_eq!(parts("scrape"), ["prometheus", "generator", "remote write"]);
    run("pushgateway", &["stack", "up"]).ends_with(0);
    assert_eq!(parts("pushgateway"), ["pushgateway", "prometheus", "generator", "remote write"]);
    run("remote-write", &["stack", "up"]).ends_with(0);
    assert_eq!(parts("remote-write"), ["prometheus", "generator", "remote write"]);
    proven(run("remote-write", &["verify"]));
    // Services wanted of a history that is stored without them: the past is completed, the
    // teams' figures are what they were, and live values go on with them.
    let report = |more: &[&str]| -> serde_json::Value {
        let asked = ["report", "--range", "19d", "--format", "json", "--services"];
        let said = deployment.run(&[&["--sandbox"], more, &asked[..]].concat()).ends_with(0).stdout;
        serde_json::from_str(&said).unwrap()
    };
    let few = ["--set", "generator.teams=2", "--set", "generator.days=20"];
    let before = report(&few);
    let known = |report: &serde_json::Value| -> BTreeSet<bool> {
        report["services"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["changes"].is_u64() || one["changes"].is_f64())
            .collect()
    };
    assert_eq!(known(&before), BTreeSet::from([false]), "{before}");
    let by_service = ["--set", "generator.service_histograms=true"];
    let plan = run("scrape", &[&by_service[..], &["plan"]].concat()).ends_with(0);
    let feed = plan.events("planned")[0]["feed"].to_string();
    assert!(
        feed.contains("20 days, with lead times and recoveries by service, where 20 are stored"),
        "{feed}"
    );
    proven(run("scrape", &[&by_service[..], &["apply", "--yes"]].concat()));
    let after = report(&[&few[..], &by_service].concat());
    assert_eq!(known(&after), BTreeSet::from([true]), "{after}");
    assert_eq!((&after["all"], &after["previous"]), (&before["all"], &before["previous"]));
    let mut served = std::net::TcpStream::connect(("127.0.0.1", deployment.ports()[2])).unwrap();
    served.write_all(b"GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n").unwrap();
    let mut text = String::new();
    served.read_to_string(&mut text).unwrap();
    assert!(text.contains("dora_service_deployment_recovery_seconds_count{"), "{text}");
    run("remote-write", &["stack", "up"]).ends_with(0);
    // What stands in can have no history of them: the plan says so, and all else is as it was.
    let native = ["--set", "generator.native_histograms=true"];
    let plan = run("remote-write", &[&native[..], &["plan"]].concat()).ends_with(0);
    let warnings = plan.events("planned")[0]["plan"]["warnings"].to_string();
    assert!(warnings.contains("native histograms") && warnings.contains("classic ones"), "{warnings}");
    // What is there costs what its manifests say: as it is read, everything is spelled as in them.
    let cost = &plan.events("planned")[0]["cost"];
    assert_eq!((cost["change"].as_f64(), &cost["unpriced"]), (Some(0.0), &serde_json::json!([])), "{cost}");
    assert!(cost["monthly"].as_f64().is_some_and(|monthly| monthly > 30.0), "{cost}");
    proven(run("remote-write", &[&native[..], &["verify"]].concat()));
    let gone = run("remote-write", &["destroy", "--yes", "--delete-data"]).ends_with(0);
    let cost = &gone.events("planned")[0]["cost"];
    assert_eq!(cost["monthly"].as_f64(), Some(0.0), "{cost}");
    assert!(cost["change"].as_f64().is_some_and(|change| change < -30.0), "{cost}");
}

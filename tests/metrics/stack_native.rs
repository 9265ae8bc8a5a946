//! The native stack with the real programs.

use crate::collector;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::collector::{EndStack, Receiver, ReceiverOptions, agent_config, eventually, free_port, search};
use dorainfra_config::{Config, Generator, Ports};
use dorainfra_deploy::blueprint::File;
use dorainfra_deploy::stack::native::{self, Binaries, Part, PartState, Setup, StackError, Status};
use dorainfra_model::Events;
use dorainfra_prometheus::Target;
use rustix::process::{Pid, Signal, kill_process};

/// What the generator is to the stack: a program that pushes, every second.
const GENERATOR: &str = r#"#!/bin/bash
[ "$1 $2" = "generate --live" ] || { echo "unexpected arguments: $*"; exit 3; }
while [ $# -gt 0 ]; do [ "$1" = --pushgateway ] && url=$2; shift; done
address=${url#http://}
body=$'dora_deployment_frequency 3\n'
while :; do
  (
    exec 3<>"/dev/tcp/${address%:*}/${address#*:}" || exit
    printf 'PUT /metrics/job/dora/team/checkout HTTP/1.0\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s' "${#body}" "$body" >&3
    cat <&3 >/dev/null
  )
  sleep 1
done
"#;

struct Bench {
    setup: Setup,
    _end: EndStack,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(target: &Target) -> Self {
        collector::install_tls();
        let folder = tempfile::tempdir().unwrap();
        let generator = folder.path().join("generator");
        fs::write(&generator, GENERATOR).unwrap();
        fs::set_permissions(&generator, fs::Permissions::from_mode(0o755)).unwrap();
        let dir = folder.path().join(".dorainfra/test/stack");
        let ports =
            Ports { prometheus: free_port(), pushgateway: free_port(), grafana: 0, generator: free_port() };
        let setup = Setup {
            files: vec![prometheus_yml(agent_config(ports.pushgateway, target))],
            job_files: Vec::new(),
            tls: Some(collector::credentials().0),
            binaries: Binaries { generator, prometheus: None, pushgateway: None, search: search() },
            ports,
            generator: Generator { interval_seconds: 1, ..Config::default().generator },
            follow: None,
            live: native::Live::Pushgateway,
            target: target.clone(),
            dir: dir.clone(),
        };
        Self { setup, _end: EndStack(dir), _folder: folder }
    }

    async fn up(&self) -> Result<Status, StackError> {
        native::up(&self.setup, &Events::none()).await
    }

    fn dir(&self) -> &Path {
        &self.setup.dir
    }
}

fn prometheus_yml(contents: String) -> File {
    File { path: "stack/prometheus.yml".into(), contents, executable: false }
}

fn pid(status: &Status, part: Part) -> i32 {
    status.parts.iter().find(|status| status.part == part).and_then(|status| status.pid).unwrap()
}

fn nowhere() -> Target {
    let address = ([127, 0, 0, 1], free_port()).into();
    Target::new(dorainfra_prometheus::Flavour::StandIn, format!("http://{address}"), address)
}

fn mode(path: PathBuf) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stack_comes_up_delivers_heals_changes_in_part_and_goes() {
    let receiver_dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(receiver_dir.path(), ReceiverOptions::default()).await;
    let mut bench = Bench::new(&receiver.target);

    let first = bench.up().await.unwrap();
    assert!(first.running(), "{first:?}");
    assert_eq!(mode(bench.dir().into()), 0o700);
    for file in ["prometheus.yml", "tls/client.key", "tls/client.crt", "stack.json", "logs/prometheus.log"] {
        assert_eq!(mode(bench.dir().join(file)), 0o600, "{file}");
    }
    eventually("samples are delivered", async || {
        let status = native::status(bench.dir()).await.unwrap();
        status
            .remote_write
            .is_some_and(|write| write.sent > 0 && write.failed == 0 && write.lag_seconds < 30.0)
    })
    .await;

    // Nothing to do: nothing is touched.
    let again = bench.up().await.unwrap();
    for part in Part::ALL {
        assert_eq!(pid(&first, part), pid(&again, part), "{part}");
    }

    // A change restarts what it concerns.
    bench.setup.generator.seed = 2;
    let changed = bench.up().await.unwrap();
    assert_ne!(pid(&first, Part::Generator), pid(&changed, Part::Generator));
    assert_eq!(pid(&first, Part::Prometheus), pid(&changed, Part::Prometheus));
    assert_eq!(pid(&first, Part::Pushgateway), pid(&changed, Part::Pushgateway));

    // A part that is killed is started again, and no other is touched.
    for part in [Part::Prometheus, Part::Pushgateway, Part::Generator] {
        let before = native::status(bench.dir()).await.unwrap();
        kill_process(Pid::from_raw(pid(&before, part)).unwrap(), Signal::KILL).unwrap();
        eventually("it runs again", async || {
            let now = native::status(bench.dir()).await.unwrap();
            now.running() && pid(&now, part) != pid(&before, part)
        })
        .await;
        let after = native::status(bench.dir()).await.unwrap();
        for other in Part::ALL.into_iter().filter(|other| *other != part) {
            assert_eq!(pid(&before, other), pid(&after, other), "{other}");
        }
        let log = fs::read_to_string(bench.dir().join(format!("logs/{}.log", part.name()))).unwrap();
        assert!(log.contains("dorainfra: ended with status 137; started again in 1 s"), "{log}");
    }
    eventually("samples are delivered by the new ones", async || {
        let status = native::status(bench.dir()).await.unwrap();
        status.remote_write.is_some_and(|write| write.sent > 0 && write.failed == 0)
    })
    .await;
    let healed = bench.up().await.unwrap();
    for part in Part::ALL {
        assert_eq!(pid(&healed, part), pid(&native::status(bench.dir()).await.unwrap(), part), "{part}");
    }

    // Killed together with who keeps it: seen, with its last lines, and started again by `up`.
    let keeper = fs::read_to_string(bench.dir().join("run/prometheus.keeper")).unwrap();
    let keeper = keeper.split(' ').next().unwrap().parse().unwrap();
    kill_process(Pid::from_raw(keeper).unwrap(), Signal::KILL).unwrap();
    kill_process(Pid::from_raw(pid(&healed, Part::Prometheus)).unwrap(), Signal::KILL).unwrap();
    eventually("the death is seen", async || !native::status(bench.dir()).await.unwrap().running()).await;
    let dead = native::status(bench.dir()).await.unwrap();
    let prometheus = dead.parts.iter().find(|status| status.part == Part::Prometheus).unwrap();
    assert_eq!(prometheus.state, PartState::Died);
    assert!(!prometheus.last_lines.is_empty() && prometheus.log.is_file());
    let mended = bench.up().await.unwrap();
    assert!(mended.running());
    assert_eq!(pid(&healed, Part::Generator), pid(&mended, Part::Generator));

    // Ended while it waits to be started again: nothing comes after that.
    kill_process(Pid::from_raw(pid(&mended, Part::Pushgateway)).unwrap(), Signal::KILL).unwrap();
    let ended = native::down(bench.dir(), &Events::none()).await.unwrap();
    assert!(ended.starts_with(&[Part::Generator, Part::Prometheus]), "{ended:?}");
    let folder = bench.dir().canonicalize().unwrap();
    let left: Vec<String> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|at| at == folder))
        .map(|process| fs::read_to_string(process.path().join("cmdline")).unwrap_or_default())
        .collect();
    assert_eq!(left, Vec::<String>::new());
    for port in [bench.setup.ports.prometheus, bench.setup.ports.pushgateway] {
        std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    }
    assert!(bench.dir().join("logs/generator.log").is_file());
    assert!(!bench.dir().join("tls/client.key").exists());
    assert!(native::status(bench.dir()).await.unwrap().parts.is_empty());
    assert!(native::down(bench.dir(), &Events::none()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_started_is_found_again() {
    let bench = Bench::new(&nowhere());
    let first = bench.up().await.unwrap();
    // As if the run had been killed right after starting the parts.
    let path = bench.dir().join("stack.json");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for part in Part::ALL {
        record["parts"][part.name()]["process"] = serde_json::Value::Null;
    }
    fs::write(&path, record.to_string()).unwrap();

    let again = bench.up().await.unwrap();
    for part in Part::ALL {
        assert_eq!(pid(&first, part), pid(&again, part), "{part}");
    }
    assert_eq!(native::down(bench.dir(), &Events::none()).await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_names_port_part_and_setting() {
    let bench = Bench::new(&nowhere());
    let port = bench.setup.ports.prometheus;
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let error = bench.up().await.unwrap_err();
    assert!(matches!(error, StackError::PortInUse { part: Part::Prometheus, .. }), "{error}");
    assert!(error.to_string().contains(&port.to_string()), "{error}");
    assert!(error.hint().unwrap().contains("stack.ports.prometheus"));
    // What did start is on record, and can be ended.
    assert_eq!(native::down(bench.dir(), &Events::none()).await.unwrap(), [Part::Pushgateway]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_dies_at_its_start_says_why() {
    let mut bench = Bench::new(&nowhere());
    bench.setup.files = vec![prometheus_yml("remote_write: [{ur: x}]\n".into())];
    let error = bench.up().await.unwrap_err();
    assert!(matches!(error, StackError::Died { part: Part::Prometheus, .. }), "{error}");
    assert!(error.to_string().contains("field ur not found"), "{error}");
    assert!(error.hint().unwrap().contains("logs/prometheus.log"));
    assert_eq!(native::down(bench.dir(), &Events::none()).await.unwrap(), [Part::Pushgateway]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_do_not_mix() {
    let bench = Bench::new(&nowhere());
    let (one, two) = tokio::join!(bench.up(), bench.up());
    match [&one, &two] {
        // The other was waited for, as it was quick.
        [Ok(one), Ok(two)] => {
            for part in Part::ALL {
                assert_eq!(pid(one, part), pid(two, part), "{part}");
            }
        }
        [Ok(_), Err(StackError::Busy { .. })] | [Err(StackError::Busy { .. }), Ok(_)] => {}
        _ => panic!("{one:?} {two:?}"),
    }
    assert!(bench.up().await.unwrap().running());
    native::down(bench.dir(), &Events::none()).await.unwrap();
}

#[tokio::test]
async fn a_missing_program_names_the_packages() {
    let mut bench = Bench::new(&nowhere());
    bench.setup.binaries.search = vec![bench.dir().to_owned()];
    let error = bench.up().await.unwrap_err();
    assert!(matches!(error, StackError::Missing { binary: "prometheus-pushgateway", .. }), "{error}");
    assert!(error.hint().unwrap().contains("apt-get install prometheus prometheus-pushgateway"));

    bench.setup.binaries.search = search();
    bench.setup.binaries.prometheus = Some("/bin/true".into());
    let error = bench.up().await.unwrap_err();
    assert!(matches!(error, StackError::NotRunnable { setting: "stack.prometheus", .. }), "{error}");
}

/// A way to a receiver that can be shut: whoever comes then is refused.
struct Gate {
    at: std::net::SocketAddr,
    open: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Gate {
    async fn to(receiver: &Target) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let open = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (behind, opened) = (receiver.connect, std::sync::Arc::clone(&open));
        tokio::spawn(async move {
            loop {
                let Ok((mut client, _)) = listener.accept().await else { return };
                // Dropped: the connection ends.
                if !opened.load(std::sync::atomic::Ordering::SeqCst) {
                    continue;
                }
                tokio::spawn(async move {
                    let mut server = tokio::net::TcpStream::connect(behind).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { at, open }
    }

    fn open(&self) {
        self.open.store(true, std::sync::atomic::Ordering::SeqCst);
    }

    fn target(&self) -> Target {
        Target::new(dorainfra_prometheus::Flavour::StandIn, format!("http://{}", self.at), self.at)
    }
}

/// When the receiver has samples of the Pushgateway's being scraped, in Unix seconds.
async fn scraped(receiver: &Receiver) -> Vec<f64> {
    let http = receiver.target.http_client().unwrap();
    let url = receiver.target.query_url("/api/v1/query?query=up%7Bjob=%22pushgateway%22%7D%5B1h%5D");
    let answer: serde_json::Value = http.get(url).send().await.unwrap().json().await.unwrap();
    let values = answer["data"]["result"][0]["values"].as_array().cloned().unwrap_or_default();
    values.iter().map(|value| value[0].as_f64().unwrap()).collect()
}

/// Scraped each second, once the agent knows its targets; on a busy machine now and then one is
/// left out.
#[track_caller]
fn are_whole(times: &[f64], begin: f64, end: f64) {
    let gap = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    let (first, last) = (times[0], times[times.len() - 1]);
    assert!(
        gap < 4.0 && first < begin + 10.0 && last > end - 4.0,
        "{gap} {first} {begin} {last} {end}: {times:?}"
    );
}

fn now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

async fn waiting(bench: &Bench) -> u64 {
    native::status(bench.dir()).await.unwrap().remote_write.map_or(0, |told| told.pending)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_collector_holds_is_delivered_before_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(folder.path(), ReceiverOptions::default()).await;
    let gate = Gate::to(&receiver.target).await;
    let bench = Bench::new(&gate.target());
    bench.up().await.unwrap();
    let begin = now();
    eventually("it holds much", async || waiting(&bench).await > 200 && now() > begin + 16.0).await;
    gate.open();
    let end = now();
    native::down(bench.dir(), &Events::none()).await.unwrap();
    are_whole(&scraped(&receiver).await, begin, end);
    assert!(!bench.dir().join("undelivered.json").exists());
}

/// The endpoint is gone, as the load balancer's is on the way to one machine: what could not be
/// delivered there goes to the next one.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_collector_could_not_deliver_is_sent_by_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(folder.path(), ReceiverOptions::default()).await;
    let mut bench = Bench::new(&Gate::to(&receiver.target).await.target());
    bench.up().await.unwrap();
    let begin = now();
    eventually("it holds much", async || waiting(&bench).await > 200 && now() > begin + 16.0).await;

    // Still nobody takes it: the next one keeps it, too.
    let (events, mut told) = Events::channel();
    native::down(bench.dir(), &events).await.unwrap();
    drop(events);
    let mut words = String::new();
    while let Some(event) = told.recv().await {
        words.push_str(&format!("{event:?}\n"));
    }
    assert!(words.contains("could not deliver what it has scraped in the last"), "{words}");
    bench.up().await.unwrap();
    assert!(bench.dir().join("undelivered.json").exists());
    // Asked once more, with the endpoint back; nothing is restarted for that.
    let gone = bench.setup.target.clone();
    bench.setup.target = receiver.target.clone();
    bench.up().await.unwrap();
    assert!(!bench.dir().join("undelivered.json").exists());
    assert!(!scraped(&receiver).await.is_empty());
    bench.setup.target = gone;
    eventually("the second one holds some, too", async || waiting(&bench).await > 50).await;

    // Its ports are free at once, for the one with the other endpoint.
    let end = now();
    bench.setup.target = receiver.target.clone();
    bench.setup.files = vec![prometheus_yml(agent_config(bench.setup.ports.pushgateway, &receiver.target))];
    bench.up().await.unwrap();
    assert!(!bench.dir().join("undelivered.json").exists());
    let times = scraped(&receiver).await;
    // While it did not run, nothing was scraped.
    let before: Vec<f64> = times.iter().copied().filter(|time| *time < begin + 16.0).collect();
    are_whole(&before, begin, begin + 16.0);
    assert!(times.iter().any(|time| (end - 4.0..end + 15.0).contains(time)), "{end}: {times:?}");
    native::down(bench.dir(), &Events::none()).await.unwrap();
}

//! The native stack with the real programs.

// In a test a panic is the report; clippy knows that of #[test] functions only.
#![allow(clippy::unwrap_used)]

mod collector;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use collector::{EndStack, Receiver, ReceiverOptions, agent_config, eventually, free_port, search};
use dorainfra::blueprint::File;
use dorainfra::config::{Config, Generator, Ports};
use dorainfra::event::Events;
use dorainfra::stack::Target;
use dorainfra::stack::native::{self, Binaries, Part, PartState, Setup, StackError, Status};
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
    Target::new(dorainfra::blueprint::Flavour::StandIn, format!("http://{address}"), address)
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

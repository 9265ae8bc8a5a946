//! Services from small units, without a machine around them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::supervisor::Supervisor;
use super::systemctl::{Answer, journalctl, systemctl};
use super::tree::{self, ROOT_VARIABLE};
use crate::machines::console::Console;

struct Bench {
    supervisor: Arc<Supervisor>,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for folder in ["etc/systemd/system", "var/lib/dorainfra"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let console = Arc::new(Console::open(dir.path()));
        let environment = vec![
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
            (ROOT_VARIABLE.to_owned(), root.display().to_string()),
        ];
        Self { supervisor: Arc::new(Supervisor::new(root, environment, console, Box::new(|_| None))), dir }
    }

    /// Installs `a.service` with these lines in `[Service]`, and more sections.
    fn install(&self, service: &str, more: &str) {
        let text = format!("[Service]\nWorkingDirectory=/var/lib/dorainfra\n{service}\n{more}\n");
        std::fs::write(self.dir.path().join("etc/systemd/system/a.service"), text).unwrap();
    }

    async fn systemctl(&self, line: &str) -> Answer {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        systemctl(&self.supervisor, &arguments).await
    }

    async fn ok(&self, line: &str) -> String {
        let answer = self.systemctl(line).await;
        assert_eq!(answer.status, 0, "{line}: {}", answer.output);
        answer.output
    }

    async fn show(&self, property: &str) -> String {
        self.ok(&format!("show --property {property} --value a")).await.trim_end().to_owned()
    }

    async fn until(&self, property: &str, value: &str) {
        let reached = tokio::time::timeout(Duration::from_secs(30), async {
            while self.show(property).await != value {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        if reached.await.is_err() {
            let (console, _) = self.supervisor.host.console.read(0);
            panic!("{property} is {} and not {value}\n{console}", self.show(property).await);
        }
    }

    async fn until_file(&self, name: &str, contents: &str) {
        let reached = tokio::time::timeout(Duration::from_secs(30), async {
            while self.file(name) != contents {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(reached.await.is_ok(), "{name} holds {:?}", self.file(name));
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join("var/lib/dorainfra").join(name)).unwrap_or_default()
    }

    async fn end(self) {
        self.supervisor.stop_all().await;
        assert_eq!(tree::members(&self.supervisor.host.root), Vec::<u32>::new());
    }
}

#[tokio::test]
async fn start_show_stop() {
    let bench = Bench::new();
    bench.install("ExecStart=/bin/sh -c 'echo one; echo two >&2; echo up >>up; exec sleep 1000'", "");
    assert_eq!(bench.systemctl("is-active a").await.status, 3);
    bench.ok("start a").await;
    assert_eq!(bench.ok("is-active a").await, "active\n");
    assert_eq!(bench.show("SubState").await, "running");
    let pid = bench.show("MainPID").await;
    bench.ok("start a.service").await;
    assert_eq!(bench.show("MainPID").await, pid, "it ran already");
    // A service is active before it has come to its first word.
    bench.until_file("up", "up\n").await;
    bench.ok("restart a").await;
    assert_ne!(bench.show("MainPID").await, pid);
    bench.until_file("up", "up\nup\n").await;
    bench.ok("stop a").await;
    assert_eq!(bench.show("ActiveState").await, "inactive");
    let journal = journalctl(&bench.supervisor, &["--lines=9".into(), "_SYSTEMD_UNIT=a.service".into()]);
    let mut lines: Vec<&str> = journal.output.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["one", "one", "two", "two"]);
    // None of it is of a process that starts from now on.
    let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos() as f64 / 1e9;
    let since = format!("--since=@{now:.6}");
    let later = journalctl(&bench.supervisor, &["--lines=9".into(), since, "_SYSTEMD_UNIT=a.service".into()]);
    assert_eq!(later.output, "");
    bench.end().await;
}

#[tokio::test]
async fn restarts_on_failure_until_the_limit() {
    let bench = Bench::new();
    bench.install(
        "ExecStart=/bin/sh -c 'echo x >>count; exit 7'\nRestart=on-failure\nRestartSec=10ms",
        "[Unit]\nStartLimitIntervalSec=60\nStartLimitBurst=3",
    );
    bench.ok("start a").await;
    bench.until("ActiveState", "failed").await;
    assert_eq!(bench.show("Result").await, "start-limit-hit");
    assert_eq!(bench.show("ExecMainStatus").await, "7");
    assert_eq!(bench.file("count").lines().count(), 3);
    assert_eq!(bench.systemctl("start a").await.status, 1, "still too often");
    bench.ok("reset-failed a").await;
    bench.ok("start a").await;
    bench.end().await;
}

#[tokio::test]
async fn who_is_restarted() {
    for (policy, end, restarts) in [
        ("no", "exit 1", false),
        ("on-failure", "exit 0", false),
        ("on-failure", "exit 1", true),
        ("on-failure", "kill -TERM $$$$", false),
        ("on-failure", "kill -KILL $$$$", true),
        ("on-abnormal", "exit 1", false),
        ("on-abnormal", "kill -KILL $$$$", true),
        ("on-success", "exit 0", true),
        ("on-success", "exit 1", false),
        ("always", "exit 0", true),
    ] {
        let bench = Bench::new();
        bench.install(
            &format!(
                "ExecStart=/bin/sh -c 'echo x >>count; [ -e again ] && exec sleep 1000; touch again; {end}'\n\
                 Restart={policy}\nRestartSec=10ms"
            ),
            "",
        );
        bench.ok("start a").await;
        if restarts {
            bench.until("NRestarts", "1").await;
            bench.until("SubState", "running").await;
        } else {
            let state = if end == "exit 1" || end.contains("KILL") { "failed" } else { "inactive" };
            bench.until("ActiveState", state).await;
            assert_eq!(bench.file("count").lines().count(), 1, "{policy}, {end}");
        }
        bench.end().await;
    }
}

#[tokio::test]
async fn what_does_not_end_when_asked_is_killed_with_all_that_it_started() {
    let bench = Bench::new();
    bench.install(
        "ExecStart=/bin/sh -c 'trap \"\" TERM; sh -c \"trap : TERM; sleep 1000 & wait; sleep 1000\" & \
         echo up >up; while :; do sleep 1000; done'\nTimeoutStopSec=200ms",
        "",
    );
    bench.ok("start a").await;
    let up = tokio::time::timeout(Duration::from_secs(30), async {
        while bench.file("up").is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    up.await.unwrap();
    bench.ok("stop a").await;
    assert_eq!(bench.show("ActiveState").await, "failed");
    assert_eq!(bench.show("Result").await, "timeout");
    bench.end().await;
}

/// As with systemd: who asks later is told of this run, and of how it ended.
#[tokio::test]
async fn a_result_is_that_of_the_last_run() {
    let bench = Bench::new();
    bench.install(
        "ExecStart=/bin/sh -c 'trap \"exit 7\" TERM; echo up >>up; while :; do sleep 0.01; done'\n\
         Restart=always\nRestartSec=10ms",
        "",
    );
    bench.ok("start a").await;
    let runs = |times: usize| {
        let bench = &bench;
        tokio::time::timeout(Duration::from_secs(30), async move {
            while bench.file("up").lines().count() < times {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
    };
    runs(1).await.unwrap();
    let pid = bench.show("MainPID").await;
    assert!(std::process::Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    runs(2).await.unwrap();
    assert_eq!(bench.show("Result").await, "success");
    bench.ok("stop a").await;
    assert_eq!(
        (bench.show("ActiveState").await, bench.show("Result").await),
        ("failed".into(), "exit-code".into())
    );
    bench.end().await;
}

#[tokio::test]
async fn environment_directory_and_preparation() {
    let bench = Bench::new();
    std::fs::write(bench.dir.path().join("var/lib/dorainfra/e.env"), "B='from a file'\n").unwrap();
    bench.install(
        "Type=oneshot\nRemainAfterExit=yes\nEnvironment=A=1\nEnvironmentFile=/var/lib/dorainfra/e.env\n\
         EnvironmentFile=-/var/lib/dorainfra/none\nExecStartPre=-/bin/false\nExecStartPre=/bin/sh -c 'pwd >pre'\n\
         ExecStart=/bin/sh -c 'echo $$A/$$B/$$1 >out' sh ${B}",
        "",
    );
    bench.ok("start a").await;
    assert_eq!(bench.file("out"), "1/from a file/from a file\n");
    assert!(bench.file("pre").ends_with("/var/lib/dorainfra\n"));
    assert_eq!(bench.show("SubState").await, "exited");
    bench.ok("stop a").await;
    assert_eq!(bench.show("SubState").await, "dead");
    bench.end().await;
}

#[tokio::test]
async fn a_unit_holds_as_it_was_read_until_it_is_read_again() {
    let bench = Bench::new();
    bench.install("Type=oneshot\nExecStart=/bin/sh -c 'echo old >out'", "");
    bench.ok("start a").await;
    bench.install("Type=oneshot\nExecStart=/bin/sh -c 'echo new >out'", "");
    bench.ok("start a").await;
    assert_eq!(bench.file("out"), "old\n");
    bench.ok("daemon-reload").await;
    bench.ok("start a").await;
    assert_eq!(bench.file("out"), "new\n");
    bench.end().await;
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let bench = Bench::new();
    let missing = bench.systemctl("start b").await;
    assert_eq!((missing.status, missing.output.as_str()), (5, "Unit b.service not found.\n"));
    for (service, more, words) in [
        ("ExecStart=/no/such/program", "", "/no/such/program could not be run"),
        ("ExecStart=/bin/true", "[Unit]\nAssertPathIsMountPoint=/var/lib/dorainfra/data", "assertion on"),
        ("ExecStart=/bin/true\nEnvironmentFile=/var/lib/dorainfra/none", "", "environment file"),
        ("ExecStart=/bin/true\nExecStartPre=/bin/false", "", "control process"),
        ("Type=oneshot\nExecStart=/bin/false", "", "exit status 1"),
        ("ExecStart=/bin/true\nExecReload=/bin/true", "", "bad unit file setting"),
    ] {
        bench.install(service, more);
        bench.ok("daemon-reload").await;
        bench.ok("reset-failed a").await;
        let answer = bench.systemctl("start a").await;
        assert!(answer.status != 0 && answer.output.contains(words), "{service}: {answer:?}");
    }
    bench.install("ExecStart=/bin/true", "[Unit]\nConditionPathExists=/no/such/path");
    bench.ok("daemon-reload").await;
    bench.ok("start a").await;
    assert_eq!(bench.show("ActiveState").await, "inactive", "skipped, not failed");
    let unknown = bench.systemctl("edit a").await;
    assert!(unknown.status == 1 && unknown.output.contains("not supported"));
    assert_eq!(bench.systemctl("start --force a").await.status, 1);
    bench.end().await;
}

#[tokio::test]
async fn enabled_units_start_at_boot_and_none_while_it_goes_down() {
    let bench = Bench::new();
    bench.install("ExecStart=/bin/sleep 1000", "[Install]\nWantedBy=multi-user.target");
    assert_eq!(bench.ok("enable a").await, "");
    assert_eq!(bench.ok("is-enabled a").await, "enabled\n");
    assert!(
        Path::new(&bench.dir.path().join("etc/systemd/system/multi-user.target.wants/a.service")).exists()
    );
    bench.supervisor.start_enabled().await;
    assert_eq!(bench.show("ActiveState").await, "active");
    bench.ok("disable --now a").await;
    assert_eq!(bench.systemctl("is-enabled a").await.status, 1);
    assert_eq!(bench.show("ActiveState").await, "inactive");
    bench.supervisor.close();
    assert!(bench.systemctl("start a").await.output.contains("going down"));
    bench.end().await;
}

//! Files and folders that somebody else has put there, and signals in the middle.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use crate::deployment::{Deployment, Run};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// Its end, within a bound: what hangs is killed and has failed.
#[track_caller]
fn ends(mut child: Child, within: Duration, what: &str) -> Run {
    let deadline = Instant::now() + within;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            let run = Run::of(child.wait_with_output().unwrap());
            panic!("{what} has not ended within {within:?}:\n{}\n{}", run.stdout, run.stderr);
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    // A signal's own action is no exit code: -1.
    Run::of(child.wait_with_output().unwrap())
}

fn pipe(path: &Path) {
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
}

/// A pipe is waited for without an end, a device read without one.
#[test]
fn what_is_no_file_is_told_in_its_place() {
    let deployment = Deployment::of_records();
    let at = |name: &str| deployment.path().join(name);
    pipe(&at("pipe"));
    std::fs::create_dir_all(at("templates/vm")).unwrap();
    pipe(&at("templates/vm/mimir.yaml.j2"));
    deployment.write("jobs.yaml", "- job_name: mine\n  file_sd_configs: [{files: [pipe]}]\n");
    let set = |key: &'static str| ["--sandbox", "plan", "--set", key].map(str::to_owned).to_vec();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    for arguments in [
        words(&["--config", "pipe", "plan"]),
        words(&["--config", "/dev/zero", "plan"]),
        words(&["apply", "--sandbox", "--yes", "pipe"]),
        words(&["collect", "--listen", "127.0.0.1:0", "--secret-file", "pipe"]),
        words(&["--sandbox", "plan", "--mimir-binary", "pipe"]),
        set("templates_dir=templates"),
        set("stack.scrape_jobs=pipe"),
        set("stack.scrape_jobs=jobs.yaml"),
        set("alerts.config=pipe"),
    ] {
        let child = deployment.command(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let mut child = child;
        let run = ends(child.spawn().unwrap(), Duration::from_secs(20), &arguments.join(" "));
        assert!(matches!(run.code, 1 | 3), "{arguments:?}: {}\n{}", run.code, run.stderr);
        assert!(run.stderr.contains("pipe") || run.stderr.contains("/dev/zero"), "{}", run.stderr);
        assert!(run.stderr.contains("hint:"), "{arguments:?}:\n{}", run.stderr);
    }
}

#[test]
fn state_in_somebody_elses_folder_is_refused() {
    let elsewhere = tempfile::tempdir().unwrap();
    let refused = |deployment: &Deployment, why: &str| {
        for arguments in [
            &["sandbox", "start", "--detach"][..],
            &["sandbox", "status"],
            &["--sandbox", "plan"],
            &["--project", "p-123456", "stack", "status"],
        ] {
            let run = deployment.run(arguments);
            assert_eq!(run.code, 3, "{arguments:?}: {}", run.stderr);
            assert!(
                run.stderr.contains(why) && run.stderr.contains("hint:"),
                "{arguments:?}: {}",
                run.stderr
            );
        }
    };
    let deployment = Deployment::empty();
    symlink(elsewhere.path(), deployment.path().join(".dorainfra")).unwrap();
    refused(&deployment, "is a link");
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0, "nothing was written there");

    let deployment = Deployment::empty();
    let folder = deployment.path().join(".dorainfra");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    refused(&deployment, "can be written to by everybody");
    if rustix::process::geteuid().is_root() {
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(&folder, Some(65534), Some(65534)).unwrap();
        refused(&deployment, "belongs to somebody else");
    }
}

/// A log that is a link would write into whatever it leads to.
#[test]
fn logs_follow_no_link() {
    let deployment = Deployment::empty();
    let mine = deployment.write("precious", "mine\n");
    let folder = deployment.path().join(".dorainfra/sandbox");
    std::fs::create_dir_all(&folder).unwrap();
    symlink(&mine, folder.join("sandbox.log")).unwrap();
    let run = deployment.run(&["sandbox", "start", "--detach"]).ends_with(1);
    assert!(run.stderr.contains("a link is in its place"), "{}", run.stderr);
    assert_eq!(std::fs::read_to_string(mine).unwrap(), "mine\n");
}

#[test]
fn a_file_to_follow_is_never_left_out_without_a_word() {
    let deployment = Deployment::empty();
    deployment.write("events.jsonl", "");
    for (more, words) in [
        (&[][..], "--live"),
        (&["--days", "3"], "--live"),
        // What it holds is what is written, and nothing that was made up.
        (&["--remote-write", "http://127.0.0.1:9/api/v1/push"], "holds no events"),
    ] {
        let run = deployment.run(&[&["generate", "--follow", "events.jsonl"], more].concat()).ends_with(3);
        assert!(run.stderr.contains(words), "{more:?}: {}", run.stderr);
    }
}

/// The world stands still; whoever asks is told to end.
#[test]
fn every_command_that_changes_nothing_ends_at_once_when_it_is_told_to() {
    let deployment = Deployment::of_records();
    deployment.run(&["--sandbox", "apply", "--yes", "--target", "storage.bucket/my-gcp-dorainfra"]);
    deployment.control("PUT", "faults", Some(json!([{"api": "*", "action": {"hang": "before"}}])));
    let struck = || deployment.control("GET", "faults", None)["struck"][0].as_u64();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/prometheus", silent.local_addr().unwrap());
    for (arguments, signal, code) in [
        (&["--sandbox", "verify"][..], Signal::TERM, 143),
        (&["--sandbox", "verify"], Signal::INT, 130),
        (&["--sandbox", "plan"], Signal::TERM, 143),
        (&["--sandbox", "status"], Signal::TERM, 143),
        (&["--sandbox", "apply", "--yes"], Signal::TERM, 143),
        (&["--sandbox", "destroy", "--yes"], Signal::TERM, 143),
        (&["--sandbox", "credentials", "list"], Signal::TERM, 143),
        (&["--sandbox", "stack", "up"], Signal::TERM, 143),
        (&["report", "--endpoint", &endpoint, "--out", "report.html"], Signal::TERM, 143),
    ] {
        let before = struck().unwrap();
        let child = deployment.spawn(arguments);
        match arguments[0] {
            "report" => drop(silent.accept().map(std::mem::forget)),
            _ => deployment.until("it waits for an answer", || struck().unwrap() > before),
        }
        let asked = Instant::now();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let run = ends(child, Duration::from_secs(5), &arguments.join(" "));
        assert_eq!(run.code, code, "{arguments:?} after {:?}:\n{}", asked.elapsed(), run.stderr);
        assert!(run.stderr.contains("interrupted") && run.stderr.contains("hint:"), "{}", run.stderr);
    }
    deployment.control("DELETE", "faults", None);
}

/// What waits for a person, or for somebody who reads what it writes, is ended, too.
#[test]
fn a_command_that_waits_for_a_person_or_a_reader_ends_when_it_is_told_to() {
    let deployment = Deployment::of_records();
    // Nobody reads: the pipe is full, and it writes on.
    let child = deployment.spawn(&["generate", "--days", "3000"]);
    let stat = format!("/proc/{}/task", child.id());
    let writing = || {
        let tasks = std::fs::read_dir(&stat).into_iter().flatten().flatten();
        let blocked =
            |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("wchan")).unwrap_or_default();
        tasks.map(blocked).any(|place| place.contains("pipe_write"))
    };
    deployment.until("the pipe is full", writing);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(ends(child, Duration::from_secs(5), "generate").code, 143);

    // At a terminal, where a question waits for its answer.
    let binary = env!("CARGO_BIN_EXE_dorainfra");
    let given = deployment.command(&[]);
    let mut terminal = std::process::Command::new("script");
    terminal
        .args([
            "-qefc",
            &format!("{binary} --sandbox apply --target {}", "compute.disk/dorainfra-data"),
            "/dev/null",
        ])
        .current_dir(deployment.path())
        .env_clear()
        .envs(given.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = terminal.spawn().unwrap();
    let (mut shown, mut seen) = (child.stdout.take().unwrap(), Vec::new());
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&seen).contains("[y/N]") {
        let count = shown.read(&mut buffer).unwrap();
        assert!(count > 0, "it ended: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..count]);
    }
    child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    let code = ends(child, Duration::from_secs(5), "apply").code;
    assert_eq!(code, 130);
}

//! What a run starts sees none of the secrets that the run itself was given.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::deployment::{Deployment, Run};

/// Variables with which secrets are given, to this program and to others.
const SECRETS: [&str; 8] = [
    "GITLAB_TOKEN",
    "GITHUB_TOKEN",
    "DORAINFRA_WEBHOOK_SECRET",
    "GOOGLE_OAUTH_ACCESS_TOKEN",
    "GOOGLE_API_KEY",
    "CLOUDSDK_AUTH_ACCESS_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "WHATEVER_ELSE",
];

/// Looks at every process of this machine, again and again.
struct Watch {
    end: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
    /// The runs themselves, which were given the secrets.
    runs: Arc<Mutex<BTreeSet<u32>>>,
    leaks: Arc<Mutex<BTreeSet<String>>>,
    /// Programs below the folder, by name.
    seen: Arc<Mutex<BTreeSet<String>>>,
}

fn arguments(pid: u32) -> Vec<u8> {
    std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

impl Watch {
    fn start(secret: String, folder: String) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let runs = Arc::new(Mutex::new(BTreeSet::new()));
        let (leaks, seen) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(Mutex::new(BTreeSet::new())));
        let thread = std::thread::spawn({
            let (end, runs) = (Arc::clone(&end), Arc::clone(&runs));
            let (leaks, seen) = (Arc::clone(&leaks), Arc::clone(&seen));
            move || {
                while !end.load(Ordering::SeqCst) {
                    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
                        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
                        let Some(pid) = pid.filter(|pid| *pid != std::process::id()) else { continue };
                        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
                        let environment = String::from_utf8_lossy(&environment).into_owned();
                        let called = arguments(pid);
                        let words = String::from_utf8_lossy(&called).replace('\0', " ");
                        let cwd = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
                        if words.contains(&folder) || cwd.starts_with(&folder) {
                            let program = words.split(' ').next().unwrap_or_default().to_owned();
                            let name = program.rsplit('/').next().unwrap_or_default().to_owned();
                            seen.lock().unwrap().insert(name);
                            if words.contains(" sandbox start ") && !words.contains("--detach") {
                                seen.lock().unwrap().insert("the sandbox".into());
                            }
                            if words.contains(" generate --live") {
                                seen.lock().unwrap().insert("the generator".into());
                            }
                        }
                        // A process that is just being made is still its parent.
                        let made = parent(pid).is_none_or(|parent| arguments(parent) == called);
                        if environment.contains(&secret) && !made && !runs.lock().unwrap().contains(&pid) {
                            let names: Vec<&str> = environment
                                .split('\0')
                                .filter(|pair| pair.contains(&secret))
                                .filter_map(|pair| pair.split('=').next())
                                .collect();
                            leaks.lock().unwrap().insert(format!("{words}: {}", names.join(" ")));
                        }
                    }
                    std::thread::park_timeout(std::time::Duration::from_millis(2));
                }
            }
        });
        Self { end, thread, runs, leaks, seen }
    }

    fn end(self) -> (BTreeSet<String>, BTreeSet<String>) {
        self.end.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        (self.leaks.lock().unwrap().clone(), self.seen.lock().unwrap().clone())
    }
}

#[test]
fn no_child_of_a_whole_run_sees_a_secret() {
    let deployment = Deployment::empty();
    let folder = deployment.path().display().to_string();
    let secret = format!("planted{}", folder.replace('/', "-"));
    let watch = Watch::start(secret.clone(), folder);
    let run = |arguments: &[&str]| {
        let mut command = deployment.command(arguments);
        command.envs(SECRETS.map(|name| (name, &secret)));
        command.env("DORAINFRA_GENERATOR_DAYS", "1").env("DORAINFRA_GENERATOR_TEAMS", "2");
        // Known before it can be seen.
        let mut runs = watch.runs.lock().unwrap();
        let child = command.spawn().unwrap();
        runs.insert(child.id());
        drop(runs);
        Run::of(child.wait_with_output().unwrap())
    };
    run(&["sandbox", "start", "--detach", "--operation", "*=0"]).ends_with(0);
    run(&["--sandbox", "apply", "--yes"]).ends_with(0);
    run(&["--sandbox", "verify"]).ends_with(0);
    run(&["--sandbox", "status"]).ends_with(0);
    run(&["--sandbox", "stack", "down"]).ends_with(0);
    run(&["sandbox", "stop"]).ends_with(0);
    let (leaks, seen) = watch.end();
    assert!(leaks.is_empty(), "{leaks:#?}");
    for program in ["the sandbox", "the generator", "prometheus", "prometheus-pushgateway"] {
        assert!(seen.iter().any(|name| name == program), "{program} was looked at: {seen:?}");
    }
}

/// Programs that end at once are seen by what they are.
#[test]
fn neither_docker_nor_a_program_that_is_asked_for_its_version_sees_a_secret() {
    let deployment = Deployment::of_records();
    let tells = |name: &str, says: &str| {
        let told = deployment.path().join(format!("{name}.environment"));
        let text = format!("#!/bin/sh\nenv >>'{}'\necho '{says}'\n", told.display());
        let path = deployment.write(name, &text);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        (path, told)
    };
    let (_, docker) = tells("docker", "20.10.24");
    let (mimir, of_mimir) = tells("mimir", "Mimir, version 3.2.0 (branch: HEAD)");
    let run = |arguments: &[&str]| {
        let mut command = deployment.command(arguments);
        command.envs(SECRETS.map(|name| (name, "planted-secret")));
        command.env("DOCKER_HOST", "tcp://docker.example:2375");
        command.env("PATH", format!("{}:/usr/bin:/bin", deployment.path().display()));
        Run::of(command.output().unwrap())
    };
    let mimir = mimir.display().to_string();
    run(&["--sandbox", "plan", "--mimir-binary", &mimir, "--set", "mimir.version=3.2.0"]).ends_with(0);
    run(&["--sandbox", "--set", "stack.runtime=compose", "stack", "status"]);
    for told in [docker, of_mimir] {
        let environment = std::fs::read_to_string(&told).unwrap_or_default();
        assert!(environment.contains("PATH="), "{} was asked", told.display());
        assert!(!environment.contains("planted-secret"), "{}:\n{environment}", told.display());
        let host = environment.contains("DOCKER_HOST=tcp://docker.example:2375");
        assert_eq!(host, told.ends_with("docker.environment"), "Docker's engine is Docker's affair");
    }
}

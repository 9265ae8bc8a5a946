//! Everything is killed at random, for an hour: commands while they work, the sandbox, the
//! machine's processes, the engine, the collector, the generator. Meanwhile somebody writes
//! samples, and notes each that was acknowledged.
//!
//! The seed is printed, and chooses commands, victims and moments; what happens at a moment is the
//! machine's. `SOAK_SECONDS` and `SOAK_SEED` set them. With a Mimir in
//! `DORAINFRA_MIMIR_BINARY` it is Mimir that is killed, else the Prometheus that stands in for it.

#![allow(clippy::print_stderr, reason = "the seed and what was done, for whoever repeats it")]

use crate::matrix;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::deployment::{Deployment, Run};
use dorainfra_prometheus::remote_write::wire::{Label, Sample, TimeSeries, WriteRequest};
use prost::Message as _;
use serde_json::Value;

/// Docs/exit-codes.md, but for 101: a panic is one.
const DOCUMENTED: [i32; 9] = [0, 1, 2, 3, 4, 5, 6, 130, 143];
/// As long as a command may take; what it waits for itself ends before.
const LONGEST: Duration = Duration::from_secs(20 * 60);
const NAME: &str = "mimir.dorainfra.internal";

#[expect(clippy::disallowed_methods, reason = "the switches of this test")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// The same numbers for the same seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.throw() % bound as u64) as usize
    }

    fn of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Who writes meanwhile, by remote write as a collector does.
struct Writer {
    folder: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Writer {
    fn new(deployment: &Deployment) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { folder: deployment.path().join(".dorainfra/dorainfra/stack"), runtime }
    }

    /// A client and the address to write to, as the collector has them now. `None`: it has none.
    fn way(&self) -> Option<(reqwest::Client, String, Option<String>)> {
        let file = |name: &str| std::fs::read(self.folder.join("tls").join(name)).ok();
        let settings = std::fs::read_to_string(self.folder.join("prometheus.yml")).ok()?;
        let value = |key: &str| {
            let line = settings.lines().rev().find_map(|line| line.trim().strip_prefix(key));
            line.map(|value| value.trim().trim_matches('"').to_owned())
        };
        let url = reqwest::Url::parse(&value("- url:")?).ok()?;
        let host: std::net::IpAddr = url.host_str()?.parse().ok()?;
        let at = (host, url.port()?).into();
        let identity = [file("client.crt")?, b"\n".to_vec(), file("client.key")?].concat();
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(10))
            .tls_certs_only(reqwest::Certificate::from_pem_bundle(&file("ca.crt")?).ok()?)
            .identity(reqwest::Identity::from_pem(&identity).ok()?)
            .resolve(NAME, at)
            .build()
            .ok()?;
        Some((client, format!("https://{NAME}:{}{}", url.port()?, url.path()), value("X-Scope-OrgID:")))
    }

    /// Whether a sample of this time was acknowledged.
    fn write(&self, milliseconds: i64) -> bool {
        let Some((client, url, tenant)) = self.way() else { return false };
        let label = |name: &str, value: &str| Label { name: name.into(), value: value.into() };
        let request = WriteRequest {
            timeseries: vec![TimeSeries {
                labels: vec![label("__name__", "soak_acknowledged"), label("writer", "1")],
                samples: vec![Sample { value: 1.0, timestamp: milliseconds }],
                exemplars: Vec::new(),
                histograms: Vec::new(),
            }],
        };
        let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
        let mut call = client
            .post(url)
            .header("Content-Encoding", "snappy")
            .header("Content-Type", "application/x-protobuf")
            .header("X-Prometheus-Remote-Write-Version", "0.1.0")
            .body(body);
        if let Some(tenant) = tenant {
            call = call.header("X-Scope-OrgID", tenant);
        }
        self.runtime
            .block_on(async { call.send().await })
            .is_ok_and(|answer| matches!(answer.status().as_u16(), 200 | 204))
    }

    /// The times of all samples that are found.
    fn found(&self, since: Duration) -> BTreeSet<i64> {
        let (client, url, tenant) = self.way().unwrap();
        let base = reqwest::Url::parse(&url).unwrap();
        let range = since.as_secs() + 120;
        let query = format!("/prometheus/api/v1/query?query=soak_acknowledged%5B{range}s%5D");
        let mut call = client.get(base.join(&query).unwrap());
        if let Some(tenant) = tenant {
            call = call.header("X-Scope-OrgID", tenant);
        }
        self.runtime.block_on(async {
            let answer: Value = call.send().await.unwrap().json().await.unwrap();
            let samples = answer["data"]["result"][0]["values"].as_array().cloned().unwrap_or_default();
            samples.iter().map(|sample| (sample[0].as_f64().unwrap() * 1000.0).round() as i64).collect()
        })
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Writes until it is told to stop.
fn writing(
    deployment: &Deployment,
    acknowledged: &Arc<Mutex<BTreeSet<i64>>>,
    stop: &Arc<AtomicBool>,
) -> std::thread::JoinHandle<()> {
    let writer = Writer::new(deployment);
    let (acknowledged, stop) = (Arc::clone(acknowledged), Arc::clone(stop));
    std::thread::spawn(move || {
        let mut last = 0;
        while !stop.load(Ordering::Relaxed) {
            let at = now().max(last + 1);
            last = at;
            if writer.write(at) {
                acknowledged.lock().unwrap().insert(at);
            }
            std::thread::park_timeout(Duration::from_millis(200));
        }
    })
}

/// The errors of a run that may have been cut off in the middle of a line.
fn errors(run: &Run) -> Vec<Value> {
    let lines = run.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|event| event["type"] == "error").collect()
}

/// What a process of the deployment is; `None`: it is nobody's victim.
fn role(arguments: &str) -> Option<&'static str> {
    let is = |words: &[&str]| words.iter().all(|word| arguments.contains(word));
    match () {
        () if is(&["sandbox start"]) => Some("the sandbox"),
        () if is(&["generate", "--live"]) => Some("the generator"),
        () if is(&["prometheus", "feature=agent"]) => Some("the collector"),
        () if is(&["pushgateway"]) => Some("the Pushgateway"),
        // Google's agent runs that once a boot, and nobody starts it again.
        () if is(&["startup-script"]) => None,
        () if is(&["/current/engine"]) => Some("the engine"),
        () if is(&["/machines/"]) => Some("another process of the machine"),
        _ => None,
    }
}

/// Kills one at random, and answers what it was.
fn kill_one(deployment: &Deployment, command: &mut Child, dice: &mut Dice) -> Option<&'static str> {
    let mut victims: Vec<(&'static str, String)> = Vec::new();
    if command.try_wait().unwrap().is_none() {
        victims.push(("the command", command.id().to_string()));
    }
    for process in deployment.processes() {
        let (pid, arguments) = process.split_once(' ').unwrap();
        if let Some(role) = role(arguments).filter(|_| pid != command.id().to_string()) {
            victims.push((role, pid.to_owned()));
        }
    }
    if victims.is_empty() {
        return None;
    }
    // The command one time in three; of each other kind as often, however many processes it has.
    let kinds: BTreeSet<&'static str> = victims.iter().map(|(role, _)| *role).collect();
    let kind = match kinds.contains("the command") && dice.below(3) == 0 {
        true => "the command",
        false => dice.of(&kinds.into_iter().collect::<Vec<_>>()),
    };
    let of_kind: Vec<&String> =
        victims.iter().filter(|(role, _)| *role == kind).map(|(_, pid)| pid).collect();
    let pid = of_kind[dice.below(of_kind.len())];
    Command::new("kill").args(["-KILL", pid]).output().unwrap().status.success().then_some(kind)
}

fn repository(folder: &Path) {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command
            .current_dir(folder)
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
            .args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    git(&["init", "--quiet"]);
    for number in 1..=40 {
        git(&["commit", "--quiet", "--allow-empty", "-m", &format!("change {number}")]);
        git(&["tag", &format!("v1.{number}.0")]);
    }
}

struct Soak {
    deployment: Deployment,
    dice: Dice,
    mimir: Option<String>,
    round: usize,
}

impl Soak {
    fn arguments(&self, command: &str) -> Vec<String> {
        let label = format!("labels.round=r{}", self.round);
        let events = self.deployment.path().join("events.jsonl").display().to_string();
        let own: Vec<&str> = match command {
            "apply" => vec!["apply", "--yes"],
            "destroy" => vec!["destroy", "--yes"],
            "delete" => vec!["destroy", "--yes", "--delete-data"],
            "credentials rotate" => vec!["credentials", "rotate", "--yes"],
            "collect" => vec!["collect", "git", "repository", "--events", &events],
            "plan" => vec!["plan", "--detailed-exitcode"],
            _ => vec!["verify"],
        };
        let mut always = vec!["--sandbox", "--json", "--set", &label, "--set", "generator.teams=3"];
        always.extend(["--set", "generator.days=3"]);
        if let Some(mimir) = &self.mimir {
            always.extend(["--mimir-binary", mimir]);
        }
        [always, own].concat().into_iter().map(str::to_owned).collect()
    }

    fn spawn(&self, command: &str) -> Child {
        let arguments = self.arguments(command);
        self.deployment.spawn(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn run(&self, command: &str) -> Run {
        Deployment::finish(self.spawn(command))
    }

    /// One command, and what is killed while it works: who was, and what is wrong with it.
    fn disturbed(&mut self, command: &str) -> (Vec<&'static str>, Run, Vec<String>) {
        let child = self.spawn(command);
        let ended = Arc::new(Mutex::new(None));
        let pid = child.id();
        let begun = Instant::now();
        let mut killed = Vec::new();
        // About as long as it takes.
        let within = match command {
            "collect" => 600,
            "verify" => 3000,
            _ => 6000,
        };
        let moments: Vec<Duration> = (0..1 + self.dice.below(3))
            .map(|_| Duration::from_millis(self.dice.throw() % within))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let mut child = Some(child);
        let mut wrong = Vec::new();
        for moment in moments {
            while begun.elapsed() < moment {
                std::thread::park_timeout(Duration::from_millis(10));
            }
            let victim = kill_one(&self.deployment, child.as_mut().unwrap(), &mut self.dice);
            killed.extend(victim);
            // Google comes back, and the command is still there.
            if victim == Some("the sandbox") {
                std::thread::park_timeout(Duration::from_millis(self.dice.throw() % 2000));
                let again = ["sandbox", "start", "--detach", "--as-google", "--operation", "*=20"];
                let again = self.deployment.run(&again);
                if again.code != 0 {
                    wrong.push(format!("the sandbox does not start again: {}{}", again.stdout, again.stderr));
                }
            }
        }
        let waiting = {
            let (ended, child) = (Arc::clone(&ended), child.take().unwrap());
            std::thread::spawn(move || *ended.lock().unwrap() = Some(child.wait_with_output().unwrap()))
        };
        while !waiting.is_finished() {
            if begun.elapsed() > LONGEST {
                wrong.push(format!("it did not end within {LONGEST:?}"));
                let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).output();
                break;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        waiting.join().unwrap();
        let run = Run::of(ended.lock().unwrap().take().unwrap());
        let was_killed = killed.contains(&"the command");
        if !(DOCUMENTED.contains(&run.code) || (was_killed && run.code == -1)) {
            wrong.push(format!("it ended with {}", run.code));
        }
        if run.stderr.contains("panicked") || run.stderr.contains("a bug in dorainfra") {
            wrong.push("it panicked".into());
        }
        if [1, 4, 5].contains(&run.code) {
            let errors = errors(&run);
            let hints = errors.iter().filter_map(|error| error["hints"].as_array()).flatten();
            if hints.count() == 0 {
                wrong.push("it does not say what to do next".into());
            }
        }
        (killed, run, wrong)
    }
}

#[test]
#[ignore = "takes an hour: scripts/nightly soak"]
fn everything_is_killed_at_random_and_nothing_acknowledged_is_lost() {
    let seconds = setting("SOAK_SECONDS").unwrap_or(3600);
    let seed = setting("SOAK_SEED").unwrap_or_else(|| now().unsigned_abs());
    eprintln!("SOAK_SEED={seed} SOAK_SECONDS={seconds}");
    #[expect(clippy::disallowed_methods, reason = "names a Mimir that this machine has")]
    let mimir = std::env::var("DORAINFRA_MIMIR_BINARY").ok().filter(|path| !path.is_empty());
    let engine = if mimir.is_some() { "Mimir" } else { "the Prometheus that stands in for Mimir" };
    let results = matrix::Matrix::new(
        "Everything killed at random",
        &format!(
            "For {seconds} seconds (seed {seed}, with {engine}) commands run one after the other, and while one works, \
             up to three processes get SIGKILL: it, the sandbox, the engine, another process of the machine, the \
             collector, the generator. It ends with a documented exit code and a next step. At the end, \
             `apply` ends with 0 and leaves nothing to do, every sample that was acknowledged meanwhile is found, what \
             `collect` wrote is what it writes undisturbed, `verify` ends with 0, and `destroy --delete-data` leaves no \
             resource and no process."
        ),
        "soak everything_is_killed_at_random_and_nothing_acknowledged_is_lost",
        seconds >= 3600,
    );
    let mut soak = Soak { deployment: Deployment::new(), dice: Dice(seed), mimir, round: 0 };
    let repository_of = soak.deployment.path().join("repository");
    std::fs::create_dir(&repository_of).unwrap();
    repository(&repository_of);
    soak.run("apply").ends_with(0);
    let (acknowledged, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
    let begun = Instant::now();
    let writer = writing(&soak.deployment, &acknowledged, &stop);
    let mut failed = Vec::new();
    // What a destroyed deployment needs first is an apply.
    let commands = ["apply", "apply", "apply", "verify", "collect", "credentials rotate", "destroy"];
    while begun.elapsed() < Duration::from_secs(seconds) {
        soak.round += 1;
        let command = soak.dice.of(&commands);
        let (killed, run, wrong) = soak.disturbed(command);
        let told = errors(&run).first().map(|error| error["message"].as_str().unwrap().to_owned());
        eprintln!(
            "{:>5} s  {command}, killed {killed:?}: {}{}",
            begun.elapsed().as_secs(),
            run.code,
            told.as_deref().map(|told| format!(": {told}")).unwrap_or_default()
        );
        for victim in &killed {
            results.tried(&format!("{command}, and {victim} is killed"), wrong.is_empty(), told.clone());
        }
        if !wrong.is_empty() {
            failed.push(format!(
                "round {}: {command}, killed {killed:?}: {wrong:?}\n{}\n{}",
                soak.round, run.stdout, run.stderr
            ));
        }
    }
    // A lease of a run that was killed is given back by the next one here.
    let mended = soak.run("apply");
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    if mended.code != 0 {
        failed.push(format!("the last apply: {}\n{}\n{}", mended.code, mended.stdout, mended.stderr));
    }
    let settled = soak.run("plan");
    if settled.code != 0 {
        failed.push(format!("the plan after it: {}\n{}", settled.code, settled.stdout));
    }
    let written: BTreeSet<i64> = std::mem::take(&mut acknowledged.lock().unwrap());
    let found = Writer::new(&soak.deployment).found(begun.elapsed());
    let lost: Vec<&i64> = written.difference(&found).collect();
    assert!(written.len() as u64 > seconds / 10, "nobody wrote anything: {}", written.len());
    if !lost.is_empty() {
        failed.push(format!(
            "{} of {} acknowledged samples are lost: {:?}",
            lost.len(),
            written.len(),
            &lost[..lost.len().min(9)]
        ));
    }
    let verified = soak.run("verify");
    if verified.code != 0 {
        failed.push(format!("the last verify: {}\n{}", verified.code, verified.stdout));
    }
    let events = soak.deployment.path().join("events.jsonl");
    soak.run("collect").ends_with(0);
    let disturbed = std::fs::read_to_string(&events).unwrap();
    std::fs::rename(&events, soak.deployment.path().join("disturbed.jsonl")).unwrap();
    let _ = std::fs::remove_dir_all(soak.deployment.path().join("events.jsonl.state"));
    soak.run("collect").ends_with(0);
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    if lines(&disturbed) != lines(&std::fs::read_to_string(&events).unwrap()) || disturbed.is_empty() {
        failed.push("what was collected differs from an undisturbed run's".into());
    }
    let destroyed = soak.run("delete");
    if destroyed.code != 0 {
        failed.push(format!("the last destroy: {}\n{}", destroyed.code, destroyed.stdout));
    }
    let plan = soak.run("plan");
    let steps = plan.events("planned")[0]["plan"]["steps"].as_array().unwrap().clone();
    let is_left = |step: &&Value| {
        step["action"] != "create" && !step["id"].as_str().unwrap().starts_with("serviceusage")
    };
    let left: Vec<&Value> = steps.iter().filter(is_left).collect();
    if !left.is_empty() {
        failed.push(format!("left after destroy: {left:?}"));
    }
    soak.deployment.run(&["sandbox", "stop"]).ends_with(0);
    let processes = soak.deployment.processes();
    if !processes.is_empty() {
        failed.push(format!("processes are left: {processes:?}"));
    }
    let samples =
        format!("{} of {} acknowledged samples are found", written.len() - lost.len(), written.len());
    results.tried("the end: apply, plan, verify, collect, destroy", failed.is_empty(), Some(samples));
    assert!(failed.is_empty(), "seed {seed}:\n{}", failed.join("\n\n"));
}

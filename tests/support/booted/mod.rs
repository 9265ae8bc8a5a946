//! Machines that boot a Debian of their own, as the host sees them: for tests that
//! need root and what `scripts/setup --tests` installs for root.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]
#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::deployment::{Deployment, Run};

/// For anything that a machine does.
const PATIENCE: Duration = Duration::from_secs(180);

/// Why it cannot run here.
fn missing() -> Option<String> {
    let run = |program: &str, arguments: &[&str]| Command::new(program).args(arguments).output();
    if !run("id", &["-u"]).is_ok_and(|output| output.stdout == b"0\n") {
        return Some("not root".into());
    }
    for program in ["debootstrap", "systemd-nspawn", "nft", "ip", "losetup"] {
        let found = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
            .iter()
            .any(|dir| Path::new(dir).join(program).exists());
        if !found {
            return Some(format!("no {program}: scripts/setup --tests installs it"));
        }
    }
    let spaces = run("unshare", &["--net", "--mount", "--pid", "--fork", "true"]);
    (!spaces.is_ok_and(|output| output.status.success())).then(|| "no namespaces can be made here".into())
}

/// In continuous integration, what is missing is a failure.
pub fn is_skipped() -> bool {
    let Some(why) = missing() else { return false };
    #[expect(clippy::disallowed_methods, reason = "continuous integration says so in the environment")]
    let strict = std::env::var_os("CI").is_some();
    assert!(!strict, "no machine can be booted: {why}");
    eprintln!("skipped: {why}");
    true
}

/// A sandbox whose machines boot, and what it makes of this host.
pub struct Host {
    pub deployment: Deployment,
    /// By which everything is named that the sandbox makes.
    id: String,
    /// What each run of the binary is given first.
    always: Vec<String>,
}

/// One machine of it.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    host: &'a Host,
    name: &'a str,
}

impl std::ops::Deref for Machine<'_> {
    type Target = Host;

    fn deref(&self) -> &Host {
        self.host
    }
}

impl Host {
    pub fn new() -> Self {
        let deployment = Deployment::empty();
        let dir = deployment.path().canonicalize().unwrap().join(".dorainfra/sandbox");
        let id = hex::encode(&Sha256::digest(dir.as_os_str().as_encoded_bytes())[..4]);
        let always = ["--sandbox", "--json"].map(str::to_owned).to_vec();
        let host = Self { deployment, id, always };
        host.start_sandbox();
        host
    }

    /// Each run is given these words, too.
    pub fn always(mut self, words: &[&str]) -> Self {
        self.always.extend(words.iter().map(|&word| word.to_owned()));
        self
    }

    pub fn machine<'a>(&'a self, name: &'a str) -> Machine<'a> {
        Machine { host: self, name }
    }

    pub fn start_sandbox(&self) {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/base-system");
        let mut start = vec!["--machines", "nspawn", "--operation", "*=20"];
        start.extend(["--base-system", base.to_str().unwrap()]);
        self.deployment.start(&start);
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        let mut all: Vec<&str> = self.always.iter().map(String::as_str).collect();
        all.extend(arguments);
        self.deployment.run(&all)
    }

    /// The systemd-nspawn of each machine that runs.
    fn containers(&self) -> Vec<u32> {
        let folder = self.deployment.path().canonicalize().unwrap();
        let directory = format!("--directory={}", folder.display());
        let ours = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.starts_with(b"systemd-nspawn") && String::from_utf8_lossy(&line).contains(&directory)
        };
        pids().into_iter().filter(ours).collect()
    }

    /// What the serial ports have shown.
    pub fn console(&self) -> String {
        let found = Command::new("find")
            .arg(self.deployment.path())
            .args(["-name", "serial.log", "-exec", "cat", "{}", ";"])
            .output();
        found.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The end of it, for the words of a failure.
    pub fn serial(&self) -> String {
        let console = self.console();
        let lines: Vec<&str> = console.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    #[track_caller]
    pub fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "{what}: not in time\n{}", self.serial());
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }

    /// Waits until the deployment is proven once more.
    #[track_caller]
    pub fn verified(&self, after: &str) {
        let mut last = None;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let run = self.run(&["verify"]);
            if run.code == 0 {
                return;
            }
            last = Some(run);
        }
        let last = last.unwrap();
        panic!("{after}: not verified\n{}\n{}\n{}", last.stdout, last.stderr, self.serial());
    }

    /// Everything on this host that carries the sandbox's name or lies in its folder.
    pub fn traces(&self) -> Vec<String> {
        let folder = self.deployment.path().canonicalize().unwrap().display().to_string();
        let output = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let mut text = output("ip", &["netns", "list"]) + &output("ip", &["link", "show"]);
        text += &output("ip", &["route", "show"]);
        text += &output("losetup", &["--list", "--noheadings", "--output", "NAME,BACK-FILE"]);
        text += &std::fs::read_to_string("/proc/mounts").unwrap();
        text += &output("find", &["/sys/fs/cgroup", "-maxdepth", "2", "-name", "dorainfra-*"]);
        let mut traces: Vec<String> = text
            .lines()
            .filter(|line| line.contains(&self.id) || line.contains(&folder))
            .map(str::to_owned)
            .collect();
        traces.extend(self.containers().into_iter().map(|pid| format!("process {pid}")));
        traces
    }

    pub fn sandbox_pid(&self) -> String {
        self.deployment.sandbox().unwrap()["pid"].to_string()
    }
}

impl Machine<'_> {
    /// The container's systemd.
    pub fn leader(&self) -> Option<u32> {
        let nspawn = self.host.containers().into_iter().find(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&format!("/{}/boot/", self.name))
        })?;
        let children = std::fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    /// Runs a script in the machine; `None`: it did not succeed, or nothing runs.
    pub fn try_inside(&self, script: &str) -> Option<String> {
        let leader = self.leader()?.to_string();
        let output = Command::new("nsenter")
            .args(["--target", &leader, "--all", "--", "/bin/sh", "-ec", script])
            .output()
            .unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    #[track_caller]
    pub fn inside(&self, script: &str) -> String {
        self.try_inside(script)
            .unwrap_or_else(|| panic!("in the machine, this failed: {script}\n{}", self.serial()))
    }

    pub fn boot_id(&self) -> String {
        self.inside("cat /proc/sys/kernel/random/boot_id")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // While its own clean-up can still be done by whom it belongs to.
        let _ = self.deployment.command(&["stack", "down"]).output();
        let _ = self.deployment.command(&["sandbox", "stop"]).output();
    }
}

fn pids() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Whether the other side answers at all; `None`: silence, as a firewall keeps it.
pub fn connects(address: &str, port: u16) -> Option<bool> {
    let address: SocketAddr = format!("{address}:{port}").parse().unwrap();
    match TcpStream::connect_timeout(&address, Duration::from_secs(2)) {
        Ok(_) => Some(true),
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => None,
        Err(_) => Some(false),
    }
}

//! A deployment of a test's own: a folder, a sandbox in it, free ports, and this
//! project's binary. All of it is gone when the value is dropped.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::Value;

#[path = "../json_schema.rs"]
pub mod json_schema;

pub struct Deployment {
    folder: tempfile::TempDir,
    ports: [u16; 3],
}

/// What a run of the binary came to.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Panics with everything that was printed unless it ended with `code`.
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Of `--json` output: the objects of one type. Each line is what docs/schemas has.
    #[track_caller]
    pub fn events(&self, kind: &str) -> Vec<Value> {
        let lines = self
            .stdout
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("not JSON: {line}")));
        let lines: Vec<Value> = lines.inspect(json_schema::assert_line).collect();
        lines.into_iter().filter(|event| event["type"] == kind).collect()
    }

    /// Of `--json` output: `started X` and `finished X` of the machines, in their order.
    pub fn machines_changed(&self) -> Vec<String> {
        let events = self.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events
            .filter_map(|event| {
                let name = event["id"].as_str()?.strip_prefix("compute.instance/")?.to_owned();
                let what = event["type"].as_str()?.strip_prefix("resource-")?;
                ["started", "finished", "failed", "skipped"].contains(&what).then(|| format!("{what} {name}"))
            })
            .collect()
    }
}

/// The machine of a deployment that is called `dorainfra`.
pub const MACHINE: &str = "compute.instance/dorainfra-mimir";

/// The version that a Mimir says of itself; where it says none, whatever is configured.
pub fn version_of(mimir: &Path) -> String {
    let output = Command::new(mimir).arg("-version").output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let said = printed.split_whitespace().skip_while(|word| *word != "version").nth(1);
    let said = said.filter(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    said.unwrap_or(dorainfra_config::default_version()).to_owned()
}

/// What [`Run::machines_changed`] answers where each of these waited for the one before.
pub fn one_after_the_other(names: [&str; 3]) -> Vec<String> {
    names.iter().flat_map(|name| [format!("started {name}"), format!("finished {name}")]).collect()
}

impl Deployment {
    /// A folder without a sandbox.
    pub fn empty() -> Self {
        // Held at the same time, so that they differ.
        let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = listeners.map(|listener| listener.local_addr().unwrap().port());
        Self { folder: tempfile::tempdir().unwrap(), ports }
    }

    /// With a sandbox whose machines are local processes.
    pub fn new() -> Self {
        let deployment = Self::empty();
        deployment.start(&["--operation", "*=20"]);
        deployment
    }

    /// With a sandbox whose machines are records only.
    pub fn of_records() -> Self {
        let deployment = Self::empty();
        deployment.start(&["--machines", "none", "--operation", "*=0"]);
        deployment
    }

    /// One with its machine, and all that the machine needs, as records.
    pub fn of_a_machine() -> Self {
        let deployment = Self::of_records();
        deployment.run(&["--sandbox", "apply", "--yes", "--target", MACHINE]).ends_with(0);
        deployment
    }

    /// Starts the sandbox of this folder, as unkind as Google.
    pub fn start(&self, more: &[&str]) {
        self.run(&[&["sandbox", "start", "--detach", "--as-google"], more].concat()).ends_with(0);
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn ports(&self) -> [u16; 3] {
        self.ports
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dorainfra"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", search_path())
            .env("HOME", self.path())
            // No release can be had: Prometheus stands in.
            .env("DORAINFRA_MIMIR_RELEASES", "http://127.0.0.1:9")
            .env("DORAINFRA_STACK_PORTS_PROMETHEUS", self.ports[0].to_string())
            .env("DORAINFRA_STACK_PORTS_PUSHGATEWAY", self.ports[1].to_string())
            .env("DORAINFRA_STACK_PORTS_GENERATOR", self.ports[2].to_string())
            .env("DORAINFRA_STACK_RUNTIME", "native")
            .env("DORAINFRA_STACK_SCRAPE_SECONDS", "1")
            .env("DORAINFRA_GENERATOR_INTERVAL_SECONDS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        #[expect(clippy::disallowed_methods, reason = "the engine that the tests were started with")]
        if let Ok(host) = std::env::var("DOCKER_HOST") {
            command.env("DOCKER_HOST", host);
        }
        // The Mimir that the tests are given is configured as what it is.
        static GIVEN: LazyLock<Option<String>> = LazyLock::new(|| {
            #[expect(clippy::disallowed_methods, reason = "the tests' own switch for a real Mimir")]
            let mimir = std::env::var_os("DORAINFRA_MIMIR_BINARY").filter(|path| !path.is_empty());
            mimir.map(|path| version_of(path.as_ref()))
        });
        command.envs(GIVEN.as_ref().map(|version| ("DORAINFRA_MIMIR_VERSION", version)));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(arguments).output().unwrap())
    }

    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    pub fn finish(child: Child) -> Run {
        Run::of(child.wait_with_output().unwrap())
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A program that says it is Mimir 3.2.0, for runs in which nobody starts it.
    pub fn said_to_be_mimir(&self) -> String {
        let path = self.write("mimir", "#!/bin/sh\necho 'Mimir, version 3.2.0 (branch: HEAD)'\n");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
        path.display().to_string()
    }

    /// The sandbox's own record of itself.
    pub fn sandbox(&self) -> Option<Value> {
        let text = std::fs::read_to_string(self.path().join(".dorainfra/sandbox/sandbox.json")).ok()?;
        serde_json::from_str(&text).ok()
    }

    pub fn port(&self) -> u64 {
        self.sandbox().unwrap()["port"].as_u64().unwrap()
    }

    /// Calls a control route of the sandbox.
    pub fn control(&self, method: &str, route: &str, body: Option<Value>) -> Value {
        let url = format!("http://127.0.0.1:{}/sandbox/{route}", self.port());
        let token = std::fs::read_to_string(self.path().join(".dorainfra/sandbox/control.token")).unwrap();
        let mut curl = Command::new("curl");
        curl.args(["-fsS", "-X", method, &url]);
        curl.args(["-H", &format!("Authorization: Bearer {}", token.trim())]);
        if let Some(body) = body {
            curl.args(["-H", "Content-Type: application/json", "--data", &body.to_string()]);
        }
        let output = curl.output().unwrap();
        assert!(output.status.success(), "{method} {route}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// Calls an API of the sandbox as its owner; an error status is a failure. What passes
    /// by itself (too fast, not ready yet) is asked again, as any client does.
    pub fn google(&self, method: &str, path: &str, body: &str) -> Value {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let (done, text) = self.once(method, path, body);
            if done {
                return serde_json::from_str(&text).unwrap_or(Value::Null);
            }
            let passes = ["\"code\":429", "resourceNotReady", "Unknown project id"]
                .iter()
                .any(|words| text.contains(words));
            assert!(passes && Instant::now() < deadline, "{method} {path}: {text}");
            std::thread::park_timeout(Duration::from_millis(200));
        }
    }

    /// Reads something once; `Null` where that is refused.
    pub fn try_google(&self, path: &str) -> Value {
        let (done, text) = self.once("GET", path, "");
        serde_json::from_str(&text).ok().filter(|_| done).unwrap_or(Value::Null)
    }

    /// Whether a write is done now.
    pub fn try_write(&self, method: &str, path: &str, body: &str) -> bool {
        self.once(method, path, body).0
    }

    /// What a call is refused with.
    pub fn refused(&self, method: &str, path: &str, body: &str) -> String {
        let (done, text) = self.once(method, path, body);
        assert!(!done, "{method} {path}: {text}");
        text
    }

    fn once(&self, method: &str, path: &str, body: &str) -> (bool, String) {
        let token = self.token();
        let url = format!("http://127.0.0.1:{}/{path}", self.port());
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail-with-body", "-X", method, &url]);
        curl.args(["-H", &format!("Authorization: Bearer {token}")]);
        if !body.is_empty() {
            curl.args(["-H", "Content-Type: application/json", "--data", body]);
        }
        let output = curl.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A token of the sandbox's owner, by the key file that any client takes.
    pub fn token(&self) -> String {
        use gcp_auth::TokenProvider as _;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let key = self.path().join(".dorainfra/sandbox/key.json");
        let account = gcp_auth::CustomServiceAccount::from_file(key).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let token = account.token(&["https://www.googleapis.com/auth/cloud-platform"]);
        runtime.block_on(token).unwrap().as_str().to_owned()
    }

    /// How many calls were made so far.
    pub fn calls(&self) -> usize {
        self.control("GET", "requests", None)["requests"].as_array().map_or(0, Vec::len)
    }

    /// The calls that changed something, as `METHOD path`.
    pub fn writes(&self) -> Vec<String> {
        let requests = self.control("GET", "requests", None);
        let requests = requests["requests"].as_array().or(requests.as_array()).cloned().unwrap_or_default();
        requests
            .iter()
            // What was only asked to come again later has changed nothing.
            .filter(|entry| entry["write"] == true && entry["path"] != "/token" && entry["status"] != 429)
            .map(|entry| format!("{} {}", entry["method"].as_str().unwrap(), entry["path"].as_str().unwrap()))
            .collect()
    }

    /// The same, but for the lease, which each run has.
    pub fn changes(&self) -> Vec<String> {
        self.writes().into_iter().filter(|write| !write.contains("lease")).collect()
    }

    /// Waits for a condition, with a bound: longer than a machine may take to shut down (90 s).
    pub fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(180);
        while !condition() {
            assert!(Instant::now() < deadline, "{what}: not within three minutes");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Processes that run in or from this folder.
    pub fn processes(&self) -> Vec<String> {
        let folder = self.path().to_string_lossy().into_owned();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
            let cwd = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
            if arguments.contains(&folder) || cwd.starts_with(&folder) {
                found.push(format!("{pid} {arguments}"));
            }
        }
        found
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        let _ = self.command(&["stack", "down"]).output();
        let _ = self.command(&["sandbox", "stop"]).output();
        for process in self.processes() {
            let pid = process.split(' ').next().unwrap_or_default().to_owned();
            let _ = Command::new("kill").args(["-KILL", &pid]).output();
        }
    }
}

/// PATH, and the folder that scripts/setup unpacks programs to.
/// Whether `scripts/nightly` runs: matrices are gone through whole, not by sample.
pub fn nightly() -> bool {
    #[expect(clippy::disallowed_methods, reason = "the switch of scripts/nightly")]
    let nightly = std::env::var_os("NIGHTLY").is_some();
    nightly
}

fn search_path() -> String {
    #[expect(clippy::disallowed_methods, reason = "programs are searched for where the test runs")]
    let path = std::env::var("PATH").unwrap();
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin");
    format!("{}:{}", tools.display(), path)
}

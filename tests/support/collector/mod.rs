//! What the tests of the collector stack share: real programs, each in a folder
//! of the test's own, on ports that the system gave, all ended with the test.

// Each test crate uses its part of this; the environment is a test's own input.
#![allow(dead_code, clippy::disallowed_methods, clippy::print_stderr)]

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dorainfra_pki::Credentials;
use dorainfra_prometheus::Flavour;
use dorainfra_prometheus::Target;
use rustix::process::{Pid, Signal, kill_process_group};

/// Folders in which programs are searched for: those of PATH, then `.tools/bin`.
pub fn search() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push(Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin"));
    folders
}

pub fn program(name: &str) -> PathBuf {
    search().into_iter().map(|folder| folder.join(name)).find(|path| path.is_file()).unwrap_or_else(|| {
        panic!(
            "no `{name}`: apt-get install prometheus prometheus-pushgateway (or unpack them into .tools/bin)"
        )
    })
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits for a condition; panics with `what` when it does not come about.
pub async fn eventually<F: AsyncFnMut() -> bool>(what: &str, mut condition: F) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "not within 60 s: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A child process that ends with this value, panic or not.
pub struct Process {
    child: Child,
    pub log: PathBuf,
}

impl Process {
    pub fn start(program: &Path, args: &[String], dir: &Path, name: &str) -> Self {
        let log = dir.join(format!("{name}.log"));
        let file = fs::File::create(&log).unwrap();
        let child = Command::new(program)
            .args(args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, log }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- {}\n{}", self.log.display(), lines[lines.len().saturating_sub(20)..].join("\n"));
        }
    }
}

/// What takes samples and answers queries: Debian's Prometheus as the stand-in for
/// Mimir, set up as on the machine; or a Mimir.
pub struct Receiver {
    pub target: Target,
    _process: Process,
}

pub struct ReceiverOptions {
    pub out_of_order_window: &'static str,
    /// Client's and server's credentials, for mutual TLS under the name `localhost`.
    pub tls: Option<(Credentials, Credentials)>,
}

impl Default for ReceiverOptions {
    fn default() -> Self {
        Self { out_of_order_window: "500d", tls: None }
    }
}

impl Receiver {
    pub async fn start(dir: &Path, options: ReceiverOptions) -> Self {
        Self::start_keeping(dir, options, "600d").await
    }

    /// With a retention of its own, for samples that are older.
    pub async fn start_keeping(dir: &Path, options: ReceiverOptions, retention: &str) -> Self {
        install_tls();
        let dir = dir.join("receiver");
        fs::create_dir_all(&dir).unwrap();
        let config =
            format!("storage:\n  tsdb:\n    out_of_order_time_window: {}\n", options.out_of_order_window);
        fs::write(dir.join("prometheus.yml"), config).unwrap();
        let port = free_port();
        let address: SocketAddr = ([127, 0, 0, 1], port).into();
        let mut args: Vec<String> = [
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--web.enable-remote-write-receiver",
            "--web.route-prefix=/prometheus",
        ]
        .map(String::from)
        .to_vec();
        args.push(format!("--storage.tsdb.retention.time={retention}"));
        args.push(format!("--web.listen-address={address}"));
        let mut target = Target::new(Flavour::StandIn, format!("http://{address}"), address);
        if let Some((client, server)) = options.tls {
            fs::write(dir.join("ca.crt"), &server.ca).unwrap();
            fs::write(dir.join("server.crt"), &server.certificate).unwrap();
            fs::write(dir.join("server.key"), &server.key).unwrap();
            let web = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  \
                       client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n";
            fs::write(dir.join("web.yml"), web).unwrap();
            args.push("--web.config.file=web.yml".into());
            // A name that no resolver knows: it is found at the target's address.
            target.base_url = format!("https://mimir.test.internal:{port}");
            target = target.with_tls(client);
        }
        Self::ready(target, Process::start(&program("prometheus"), &args, &dir, "receiver")).await
    }

    /// A Mimir where `DORAINFRA_MIMIR_BINARY` names one, and else the stand-in.
    pub async fn real_where_given(dir: &Path, out_of_order_window: &'static str, retention: &str) -> Self {
        let mimir = std::env::var_os("DORAINFRA_MIMIR_BINARY").filter(|path| !path.is_empty());
        let Some(mimir) = mimir else {
            let options = ReceiverOptions { out_of_order_window, tls: None };
            return Self::start_keeping(dir, options, retention).await;
        };
        install_tls();
        let dir = dir.join("receiver");
        fs::create_dir_all(dir.join("data/compactor")).unwrap();
        let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
        let config = include_str!("mimir.yaml")
            .replace("HTTP_PORT", &address.port().to_string())
            .replace("GRPC_PORT", &free_port().to_string())
            .replace("WINDOW", out_of_order_window);
        fs::write(dir.join("mimir.yaml"), config).unwrap();
        let args = ["-config.file=mimir.yaml".to_owned()];
        let process = Process::start(Path::new(&mimir), &args, &dir, "receiver");
        Self::ready(Target::new(Flavour::Mimir, format!("http://{address}"), address), process).await
    }

    async fn ready(target: Target, process: Process) -> Self {
        let receiver = Self { target, _process: process };
        let http = receiver.target.http_client().unwrap();
        let url = receiver.target.ready_url();
        eventually("the receiver is ready", async || {
            http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        receiver
    }
}

/// A Pushgateway of the test's own.
pub struct Pushgateway {
    pub url: String,
    _process: Process,
}

impl Pushgateway {
    pub async fn start(dir: &Path) -> Self {
        let port = free_port();
        Self::start_on(dir, port).await
    }

    pub async fn start_on(dir: &Path, port: u16) -> Self {
        install_tls();
        let args = [format!("--web.listen-address=127.0.0.1:{port}"), "--persistence.file=".into()];
        let process = Process::start(&program("prometheus-pushgateway"), &args, dir, "pushgateway");
        let url = format!("http://127.0.0.1:{port}");
        let gateway = dorainfra_prometheus::pushgateway::Gateway::new(&url).unwrap();
        eventually("the Pushgateway is ready", async || gateway.ready().await).await;
        Self { url, _process: process }
    }
}

/// The agent's configuration: scrape a Pushgateway, write to a target.
pub fn agent_config(pushgateway_port: u16, target: &Target) -> String {
    format!(
        "global:\n  scrape_interval: 1s\n\
         scrape_configs:\n  - job_name: pushgateway\n    honor_labels: true\n    static_configs:\n      - targets: \
         ['127.0.0.1:{pushgateway_port}']\n    metric_relabel_configs:\n      - action: labeldrop\n        regex: \
         instance\n      - source_labels: [le]\n        regex: '(\\d+)'\n        replacement: '${{1}}.0'\n        \
         target_label: le\n\
         remote_write:\n  - url: {}\n    queue_config:\n      batch_send_deadline: 500ms\n",
        target.write_url()
    )
}

/// Ends whatever a stack's folder says is running, at the end of a test.
pub struct EndStack(pub PathBuf);

impl Drop for EndStack {
    fn drop(&mut self) {
        let Ok(files) = fs::read_dir(self.0.join("run")) else { return };
        for file in files.flatten() {
            let text = fs::read_to_string(file.path()).unwrap_or_default();
            let pid = text.split_whitespace().next().and_then(|pid| pid.parse().ok());
            if let Some(pid) = pid.and_then(Pid::from_raw) {
                let _ = kill_process_group(pid, Signal::KILL);
            }
        }
    }
}

pub fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A private CA with one server and one client certificate: (client, server), for
/// `mimir.test.internal` and for `localhost`.
pub fn credentials() -> (Credentials, Credentials) {
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let issue = |usage| {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(vec!["mimir.test.internal".into(), "localhost".into()]).unwrap();
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &issuer).unwrap().pem();
        Credentials { certificate, key: key.serialize_pem(), ca: ca.clone() }
    };
    (issue(ExtendedKeyUsagePurpose::ClientAuth), issue(ExtendedKeyUsagePurpose::ServerAuth))
}

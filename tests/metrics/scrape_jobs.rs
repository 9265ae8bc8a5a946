//! A user's own jobs for the collector: they reach the engine through the native
//! stack, are rendered for containers, and are refused before anything is changed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::collector::program;
use crate::deployment::Deployment;
use serde_json::Value;

/// `metrics:one` and `metrics:two`, as a client without TLS says them.
const ONE: &str = "Basic bWV0cmljczpvbmU=";
const TWO: &str = "Basic bWV0cmljczp0d28=";

/// A user's exporter, which asks for a password. It ends with the test's process.
struct Exporter {
    address: String,
    /// Which password it takes, and how often it was told that one.
    asked: Arc<Mutex<(&'static str, usize)>>,
}

impl Exporter {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let exporter = Self {
            address: listener.local_addr().unwrap().to_string(),
            asked: Arc::new(Mutex::new((ONE, 0))),
        };
        let asked = exporter.asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let head: Vec<String> = BufReader::new(stream.try_clone().unwrap())
                    .lines()
                    .map_while(Result::ok)
                    .take_while(|line| !line.is_empty())
                    .collect();
                let mut asked = asked.lock().unwrap();
                let told = head.iter().any(|line| *line == format!("Authorization: {}", asked.0));
                asked.1 += usize::from(told);
                let (status, body) = match told {
                    true => ("200 OK", "# TYPE widgets gauge\nwidgets 7\n"),
                    false => ("401 Unauthorized", ""),
                };
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\n\
                     Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
            }
        });
        exporter
    }

    /// From now on it takes another password only.
    fn takes(&self, password: &'static str) {
        *self.asked.lock().unwrap() = (password, 0);
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().1
    }

    fn job(&self, site: &str) -> String {
        let address = &self.address;
        format!(
            "- job_name: shop\n  basic_auth: {{username: metrics, password_file: secrets/shop}}\n  \
             static_configs:\n    - targets: ['{address}']\n      labels: {{site: {site}}}\n  \
             relabel_configs:\n    - {{source_labels: [site], regex: '(.*)', replacement: '${{1}}!', target_label: site}}\n"
        )
    }
}

fn stack(deployment: &Deployment) -> PathBuf {
    deployment.path().join(".dorainfra/dorainfra/stack")
}

/// The value of a series in the engine, asked as the stack's own client.
fn asked(deployment: &Deployment, query: &str) -> Option<f64> {
    let stack = stack(deployment);
    let text = std::fs::read_to_string(stack.join("prometheus.yml")).unwrap();
    let config: Value = serde_saphyr::from_str(&text).unwrap();
    let write = &config["remote_write"][0];
    let (url, name) = (write["url"].as_str().unwrap(), write["tls_config"]["server_name"].as_str().unwrap());
    let address = url.split('/').nth(2).unwrap();
    let output = Command::new("curl")
        .args([
            "-sS",
            "--fail",
            "--cacert",
            "tls/ca.crt",
            "--cert",
            "tls/client.crt",
            "--key",
            "tls/client.key",
        ])
        .args(["--connect-to", &format!("{name}:9009:{address}")])
        .arg(format!("https://{name}:9009/prometheus/api/v1/query"))
        .args(["--data-urlencode", &format!("query={query}")])
        .current_dir(&stack)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    answer["data"]["result"][0]["value"][1].as_str().map(|value| value.parse().unwrap())
}

fn agent(deployment: &Deployment) -> Value {
    let text = std::fs::read_to_string(stack(deployment).join("stack.json")).unwrap();
    let record: Value = serde_json::from_str(&text).unwrap();
    record["parts"]["prometheus"]["process"].clone()
}

#[test]
fn a_users_exporter_reaches_the_engine_and_changes_are_taken_over() {
    let exporter = Exporter::start();
    let deployment = Deployment::new();
    std::fs::create_dir(deployment.path().join("secrets")).unwrap();
    deployment.write("secrets/shop", "one\n");
    deployment.write("scrape.yaml", &exporter.job("berlin"));
    deployment.write("dorainfra.yaml", "stack: {scrape_jobs: scrape.yaml}\ngenerator: {teams: 2, days: 7}\n");
    let apply = ["apply", "--sandbox", "--yes", "--no-verify"];
    deployment.run(&apply).ends_with(0);
    deployment.until("the exporter's values are in the engine", || {
        asked(&deployment, "widgets{job=\"shop\",site=\"berlin!\"}") == Some(7.0)
    });
    // The live values beside it are as ever.
    deployment.until("live values are there", || {
        asked(&deployment, "count(up{job=~\"live|mimir|prometheus\"} == 1)") == Some(3.0)
    });

    // Another password: taken over while the collector runs.
    let before = agent(&deployment);
    exporter.takes(TWO);
    deployment.write("secrets/shop", "two\n");
    deployment.run(&["stack", "up", "--sandbox"]).ends_with(0);
    deployment.until("the new password is used", || exporter.asked() > 0);
    assert_eq!(agent(&deployment), before);

    // Another job: the collector starts anew.
    deployment.write("scrape.yaml", &exporter.job("bonn"));
    deployment.run(&apply).ends_with(0);
    assert_ne!(agent(&deployment), before);
    deployment.until("the changed job is scraped", || {
        asked(&deployment, "widgets{job=\"shop\",site=\"bonn!\"}") == Some(7.0)
    });

    // What is wrong is told with its place, and nothing is touched.
    let (before, calls) = (agent(&deployment), deployment.writes().len());
    deployment
        .write("scrape.yaml", "- job_name: shop\n  basic_auth:\n    password: hunter2\n- job_name: live\n");
    let run = deployment.run(&apply).ends_with(3);
    for expected in
        ["scrape.yaml:3:5: `password` is a secret", "scrape.yaml:4:13: `job_name`: `live` is a job"]
    {
        assert!(run.stderr.contains(expected), "{}", run.stderr);
    }
    assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
    assert_eq!((agent(&deployment), deployment.writes().len()), (before, calls));

    // Without the key the copies go, too.
    let copies =
        || std::fs::read_dir(stack(&deployment).join("scrape")).unwrap().flatten().collect::<Vec<_>>();
    assert_eq!(copies().len(), 1);
    deployment.write("dorainfra.yaml", "generator: {teams: 2, days: 7}\n");
    deployment.run(&["stack", "up", "--sandbox"]).ends_with(0);
    assert!(std::fs::read_dir(copies()[0].path()).unwrap().next().is_none());
}

/// The example as it is, and with its comments taken away.
fn examples() -> [String; 2] {
    let example =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("prometheus/example.yaml"));
    let example = example.unwrap();
    let jobs = example.find("- job_name: node").unwrap();
    let lines = example[jobs..].lines().map(|line| match line.strip_prefix("# ") {
        Some(code) if code.starts_with("- ") || code.starts_with("  ") => format!("{code}\n"),
        _ => format!("{line}\n"),
    });
    let whole = lines.collect();
    [example, whole]
}

#[test]
fn the_example_is_what_prometheus_takes_in_every_way_of_the_stack() {
    let deployment = Deployment::empty();
    std::fs::create_dir(deployment.path().join("targets")).unwrap();
    for name in ["shop.password", "shop-ca.crt", "targets/a.yaml"] {
        deployment.write(name, "");
    }
    let [example, whole] = examples();
    assert_eq!(whole.matches("\n- job_name: ").count(), 2, "{whole}");
    for (index, (live, text)) in
        [("pushgateway", &example), ("scrape", &whole), ("remote-write", &whole)].into_iter().enumerate()
    {
        deployment.write("scrape.yaml", text);
        let (out, live) = (format!("out-{index}"), format!("stack.live={live}"));
        let settings = ["--set", "stack.scrape_jobs=scrape.yaml", "--set", &live];
        let render = ["render", "--project", "demo-project", "--out", &out];
        deployment.run(&[&render[..], &settings].concat()).ends_with(0);
        let config = deployment.path().join(out).join("stack/prometheus.yml");
        // The address that is not known before there is a machine.
        let rendered = std::fs::read_to_string(&config).unwrap();
        let rendered = rendered.replace("${compute.address/dorainfra-mimir.address}", "192.0.2.10");
        std::fs::write(&config, &rendered).unwrap();
        let checked = Command::new(program("promtool"))
            .args(["check", "config", "--syntax-only"])
            .arg(&config)
            .output()
            .unwrap();
        assert!(checked.status.success(), "{}\n{rendered}", String::from_utf8_lossy(&checked.stderr));
        assert!(!rendered.contains(deployment.path().to_str().unwrap()), "{rendered}");
        let compose = std::fs::read_to_string(config.with_file_name("compose.yaml")).unwrap();
        assert!(compose.contains("- ./scrape:/etc/prometheus/scrape:ro"), "{compose}");
        assert!(compose.contains("host.docker.internal:host-gateway"), "{compose}");
    }
}

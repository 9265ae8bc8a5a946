//! A real Grafana, where one is given, with the stack's own provisioning: it is started,
//! loads everything, answers each query, and is photographed.
//!
//! - `DORAINFRA_GRAFANA_BINARY`: `bin/grafana` (or `bin/grafana-server`) of an unpacked
//!   release; its grandparent is Grafana's home, with `conf/` and `public/`.
//! - `DORAINFRA_GRAFANA_IMAGE`: an image that this machine's Docker engine has.
//!
//! Grafana 11 or later. Nothing of it is downloaded, it calls nobody, and it listens on
//! loopback. What it expects of Grafana is in [`super::answers`], by its documentation.
//! The engine is the stand-in over mutual TLS, or the Mimir that
//! `DORAINFRA_MIMIR_BINARY` names, without. Pictures are kept in `target/grafana/`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use dorainfra_config::{Config, Runtime, ScrapeJobs, Tls};
use dorainfra_deploy::blueprint::{self, Engine, Facts};
use dorainfra_prometheus::Flavour;
use dorainfra_render::Overrides;
use serde_json::{Value, json};

use super::board::Teams;
use super::collector::{Process, Receiver, ReceiverOptions, credentials, free_port};
use super::{answers, boards, browser, files, queries};

const NAME: &str = "test";
const ADMIN: &str = "admin";

enum Given {
    Binary(PathBuf),
    Image(String),
}

impl Given {
    fn by_environment() -> Option<Self> {
        let value = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let binary = value("DORAINFRA_GRAFANA_BINARY").map(|path| Self::Binary(path.into()));
        binary.or_else(|| value("DORAINFRA_GRAFANA_IMAGE").map(Self::Image))
    }
}

/// The stack's service `grafana`, as Compose would run it.
struct Service {
    environment: BTreeMap<String, String>,
    /// Below the stack's folder, and in the container: its last part says if only to read.
    volumes: Vec<(String, String)>,
}

impl Service {
    fn of(compose: &Value) -> Self {
        let service = &compose["services"]["grafana"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let variables = service["environment"].as_object().unwrap();
        let environment = variables.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        let volume = |value: &Value| {
            let (here, there) = value.as_str().unwrap().split_once(':').unwrap();
            (here.trim_start_matches("./").to_owned(), there.to_owned())
        };
        Self { environment, volumes: service["volumes"].as_array().unwrap().iter().map(volume).collect() }
    }

    /// The product has no account at all; here is one, to ask what only an administrator may.
    fn with_admin(mut self, password: &str) -> Self {
        for (name, value) in [
            ("GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION", "false"),
            ("GF_SECURITY_ADMIN_USER", ADMIN),
            ("GF_SECURITY_ADMIN_PASSWORD", password),
            ("GF_LOG_MODE", "console"),
            ("GF_LOG_CONSOLE_FORMAT", "text"),
        ] {
            self.environment.insert(name.into(), value.into());
        }
        self
    }

    /// A text that names paths in the container, for a process that runs in `dir`.
    fn here(&self, text: &str, dir: &Path) -> String {
        let mut paths: Vec<(&str, &str)> =
            self.volumes.iter().map(|(here, there)| (there.trim_end_matches(":ro"), here.as_str())).collect();
        // The longest first: one is the beginning of another.
        paths.sort_by_key(|(there, _)| std::cmp::Reverse(there.len()));
        // In two steps, as `dir` itself may hold one of these names.
        let marked = paths
            .iter()
            .enumerate()
            .fold(text.to_owned(), |text, (index, (there, _))| text.replace(there, &format!("\0{index}\0")));
        paths.iter().enumerate().fold(marked, |text, (index, (_, here))| {
            text.replace(&format!("\0{index}\0"), &dir.join(here).display().to_string())
        })
    }
}

/// The stack's files for an engine at `receiver`; Grafana answers on `port`.
fn rendered(receiver: &Receiver, port: u16) -> Vec<blueprint::File> {
    let target = &receiver.target;
    let mut config = Config { project: "demo-project".into(), name: NAME.into(), ..Config::default() };
    config.stack.runtime = Runtime::Compose;
    config.stack.ports.grafana = port;
    config.access.tls = if target.tls.is_some() { Tls::Mutual } else { Tls::Off };
    let engine =
        Engine { flavour: target.flavour, version: "0".into(), sha256: "0".repeat(64), path: PathBuf::new() };
    let facts = Facts {
        caller: Some("192.0.2.1/32".into()),
        engine,
        clients: Vec::new(),
        restore_disks: BTreeMap::new(),
        alertmanager: None,
        scrape: ScrapeJobs::default(),
    };
    let (address, port) = (target.connect.ip().to_string(), target.connect.port());
    let path = blueprint::remote_write_path(target.flavour);
    blueprint::stack_files(&config, &facts, &Overrides::none(), &address, port, path).unwrap()
}

fn service(files: &[blueprint::File]) -> Service {
    let compose = files.iter().find(|file| file.path == "stack/compose.yaml").unwrap();
    Service::of(&serde_saphyr::from_str(&compose.contents).unwrap())
}

/// A Grafana that runs, until this value goes.
struct Grafana {
    url: String,
    password: String,
    process: Process,
    container: Option<String>,
}

impl Drop for Grafana {
    fn drop(&mut self) {
        if let Some(name) = &self.container {
            let _ = Command::new("docker").args(["rm", "--force", name]).output();
        }
    }
}

impl Grafana {
    /// Starts it in `dir`, with the stack's files.
    fn start(given: &Given, receiver: &Receiver, dir: &Path) -> Self {
        let port = free_port();
        let files = rendered(receiver, port);
        let password = hex::encode(rand::random::<[u8; 16]>());
        let service = service(&files).with_admin(&password);
        let native = matches!(given, Given::Binary(_));
        let put = |path: &str, text: &str| {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for file in files.iter().filter(|file| file.path.starts_with("stack/grafana/")) {
            // Dashboards name no path; only what is provisioned does.
            let text = if native { service.here(&file.contents, dir) } else { file.contents.clone() };
            put(file.path.trim_start_matches("stack/"), &text);
        }
        for (path, text) in receiver.target.tls.iter().flat_map(|tls| tls.files()) {
            put(path, text);
        }
        for folder in ["tls", "data/grafana", "logs", "plugins"] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        let url = format!("http://127.0.0.1:{port}");
        let (program, arguments, container) = match given {
            Given::Binary(binary) => ("env", by_binary(binary, &service, dir), None),
            Given::Image(image) => {
                let name = format!("dorainfra-test-grafana-{port}");
                ("docker", by_image(image, &service, dir, &name), Some(name))
            }
        };
        let process = Process::start(&super::collector::program(program), &arguments, dir, "grafana");
        Self { url, password, process, container }
    }

    async fn get(&self, path: &str) -> Value {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        let request = http.get(format!("{}{path}", self.url)).basic_auth(ADMIN, Some(&self.password));
        let Ok(answer) = request.send().await else { return Value::Null };
        answer.json().await.unwrap_or_default()
    }

    async fn query(&self, body: &Value) -> Value {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        let request = http.post(format!("{}/api/ds/query", self.url)).json(body);
        let answer = request.basic_auth(ADMIN, Some(&self.password)).send().await.unwrap();
        answer.json().await.unwrap_or_default()
    }
}

/// `env VARIABLE=VALUE… grafana server --homepath HOME`.
fn by_binary(binary: &Path, service: &Service, dir: &Path) -> Vec<String> {
    let home = binary.parent().and_then(Path::parent).expect("bin/grafana is in Grafana's home");
    let mut environment: BTreeMap<String, String> =
        service.environment.iter().map(|(name, value)| (name.clone(), service.here(value, dir))).collect();
    for (name, folder) in [
        ("GF_PATHS_PROVISIONING", "grafana/provisioning"),
        ("GF_PATHS_DATA", "data/grafana"),
        ("GF_PATHS_LOGS", "logs"),
        ("GF_PATHS_PLUGINS", "plugins"),
    ] {
        environment.insert(name.into(), dir.join(folder).display().to_string());
    }
    let mut arguments: Vec<String> =
        environment.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    arguments.push(binary.display().to_string());
    if binary.file_name().is_some_and(|name| name == "grafana") {
        arguments.push("server".into());
    }
    arguments.extend(["--homepath".into(), home.display().to_string()]);
    arguments
}

/// `docker run` as Compose would, as whoever runs the test.
fn by_image(image: &str, service: &Service, dir: &Path, name: &str) -> Vec<String> {
    use std::os::unix::fs::MetadataExt as _;
    let owner = fs::metadata(dir).unwrap();
    let mut arguments: Vec<String> =
        ["run", "--rm", "--pull=never", "--network=host", "--name"].map(Into::into).into();
    arguments.push(name.into());
    arguments.push(format!("--user={}:{}", owner.uid(), owner.gid()));
    arguments.extend(["--read-only", "--tmpfs=/tmp", "--security-opt=no-new-privileges"].map(Into::into));
    for (here, there) in &service.volumes {
        arguments.push(format!("--volume={}:{there}", dir.join(here).display()));
    }
    arguments.extend(service.environment.iter().map(|(name, value)| format!("--env={name}={value}")));
    arguments.push(image.into());
    arguments
}

/// Waits until nothing is wrong any more; panics with what still is.
async fn until_right<T, F: AsyncFnMut() -> Result<T, String>>(what: &str, mut look: F) -> T {
    // A first start makes a database, on slow disks for minutes.
    let deadline = Instant::now() + Duration::from_secs(240);
    loop {
        match look().await {
            Ok(found) => return found,
            Err(wrong) => assert!(Instant::now() < deadline, "{what}: {wrong}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn nothing(wrong: Vec<String>) -> Result<(), String> {
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// A panel's queries as its dashboard would ask them, for `POST /api/ds/query`.
fn asked(panel: &Value, range: &Value, team: &str) -> Option<(Value, Vec<String>)> {
    let targets = panel["targets"].as_array().filter(|targets| !targets.is_empty())?;
    let one = |target: &Value| {
        let mut query = target.clone();
        query["expr"] = queries::resolved(target["expr"].as_str().unwrap(), team).into();
        query["datasource"] = json!({"type": "prometheus", "uid": "mimir"});
        query["intervalMs"] = 60_000.into();
        query["maxDataPoints"] = 1000.into();
        query
    };
    let refs = targets.iter().map(|target| target["refId"].as_str().unwrap().to_owned()).collect();
    let all: Vec<Value> = targets.iter().map(one).collect();
    Some((json!({"queries": all, "from": range["from"], "to": range["to"]}), refs))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_grafana_loads_all_of_it_answers_and_is_photographed() {
    let Some(given) = Given::by_environment() else {
        eprintln!(
            "skipped: no Grafana is given (DORAINFRA_GRAFANA_BINARY=…/bin/grafana or DORAINFRA_GRAFANA_IMAGE=IMAGE)"
        );
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let receiver = match std::env::var_os("DORAINFRA_MIMIR_BINARY").filter(|path| !path.is_empty()) {
        Some(_) => Receiver::real_where_given(dir.path(), "500d", "600d").await,
        None => {
            let options = ReceiverOptions { tls: Some(credentials()), ..ReceiverOptions::default() };
            Receiver::start_keeping(dir.path(), options, "600d").await
        }
    };
    let (_, damage, _) = queries::store(&receiver).await;
    let grafana = Grafana::start(&given, &receiver, &dir.path().join("stack"));

    let version =
        until_right("it serves", async || answers::version(&grafana.get("/api/health").await)).await;
    eprintln!("Grafana {version}");
    let boards = boards();
    let uids: Vec<&str> = boards.iter().map(|board| board.uid).collect();
    until_right("all dashboards are there", async || {
        let found = grafana.get("/api/search?type=dash-db&limit=1000").await;
        nothing(answers::missing_dashboards(&found, "DORA", &uids))
    })
    .await;
    answers::source_is_healthy(&grafana.get("/api/datasources/uid/mimir/health").await).unwrap();
    let (_, rules) = files().into_iter().find(|(name, _)| name.starts_with("alerting/")).unwrap();
    nothing(answers::wrong_rules(&grafana.get("/api/v1/provisioning/alert-rules").await, &rules)).unwrap();

    for board in &boards {
        let dashboard = board.json();
        for panel in dashboard["panels"].as_array().unwrap() {
            let Some((body, refs)) = asked(panel, &dashboard["time"], &damage.sound) else { continue };
            let refs: Vec<&str> = refs.iter().map(String::as_str).collect();
            let wrong = answers::unanswered(&grafana.query(&body).await, &refs);
            assert!(wrong.is_empty(), "{}: {}: {wrong:?}", board.uid, panel["title"]);
        }
    }

    let Some(chromium) = browser::chromium() else {
        eprintln!("not photographed: there is no chromium");
        return;
    };
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/grafana");
    fs::create_dir_all(&pictures).unwrap();
    for board in &boards {
        let dashboard = board.json();
        let team = match board.teams {
            Teams::One => format!("&var-team={}", damage.sound),
            Teams::None | Teams::All | Teams::Some => String::new(),
        };
        let url = format!(
            "{}/d/{}?kiosk&theme=light&timezone=utc&from={}&to=now&var-environment=production{team}",
            grafana.url,
            board.uid,
            dashboard["time"]["from"].as_str().unwrap().replace('/', "%2F"),
        );
        let picture = pictures.join(format!("{}.png", board.uid));
        let titles: Vec<String> = board.panels().map(|panel| panel.title.clone()).collect();
        until_right(board.uid, async || {
            let dom = browser::photograph(&chromium, &url, browser::window(&dashboard), &picture);
            nothing(answers::wrong_in_page(&dom, &titles))
        })
        .await;
        eprintln!("{}", picture.display());
    }

    let log = fs::read_to_string(&grafana.process.log).unwrap();
    assert_eq!(answers::provisioning_errors(&log), Vec::<&str>::new());
}

/// What would be started is what the stack has, and calls nobody.
#[tokio::test]
async fn a_grafana_would_get_the_stacks_own_environment_and_files() {
    let dir = tempfile::tempdir().unwrap();
    let options = ReceiverOptions { tls: Some(credentials()), ..ReceiverOptions::default() };
    let receiver = Receiver::start(dir.path(), options).await;
    let files = rendered(&receiver, 13_000);
    let service = service(&files).with_admin("secret");
    let stack = dir.path().join("stack");
    let home = Path::new("/opt/grafana");
    let arguments = by_binary(&home.join("bin/grafana"), &service, &stack);
    let there =
        |argument: &str| assert!(arguments.contains(&argument.to_owned()), "{argument}: {arguments:#?}");
    for variable in [
        "GF_SERVER_HTTP_ADDR=127.0.0.1",
        "GF_SERVER_HTTP_PORT=13000",
        "GF_AUTH_ANONYMOUS_ENABLED=true",
        "GF_AUTH_ANONYMOUS_ORG_ROLE=Viewer",
        "GF_ANALYTICS_REPORTING_ENABLED=false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES=false",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES=false",
        "GF_NEWS_NEWS_FEED_ENABLED=false",
        "GF_PLUGINS_PREINSTALL_DISABLED=true",
        "GF_PLUGINS_PUBLIC_KEY_RETRIEVAL_DISABLED=true",
        "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION=false",
    ] {
        there(variable);
    }
    let home_board = stack.join("grafana/dashboards/DORA/dora-overview.json");
    there(&format!("GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH={}", home_board.display()));
    assert_eq!(
        arguments[arguments.len() - 4..],
        ["/opt/grafana/bin/grafana", "server", "--homepath", "/opt/grafana"]
    );
    let old = by_binary(&home.join("bin/grafana-server"), &service, &stack);
    assert_eq!(old[old.len() - 3..], ["/opt/grafana/bin/grafana-server", "--homepath", "/opt/grafana"]);

    let file = |name: &str| -> Value {
        let file = files.iter().find(|file| file.path.ends_with(name)).unwrap();
        serde_saphyr::from_str(&service.here(&file.contents, &stack)).unwrap()
    };
    let source = &file("provisioning/datasources/mimir.yaml")["datasources"][0];
    let key = format!("$__file{{{}}}", stack.join("tls/client.key").display());
    assert_eq!((&source["uid"], &source["secureJsonData"]["tlsClientKey"]), (&json!("mimir"), &json!(key)));
    assert_eq!(source["jsonData"]["serverName"], "mimir.test.internal");
    assert_eq!(source["url"], format!("https://{}/prometheus", receiver.target.connect));
    let provider = &file("provisioning/dashboards/dora.yaml")["providers"][0];
    assert_eq!(provider["options"]["path"], stack.join("grafana/dashboards").display().to_string());

    fs::create_dir_all(&stack).unwrap();
    let arguments = by_image("grafana/grafana:12", &service, &stack, "x");
    assert_eq!(arguments.last().unwrap(), "grafana/grafana:12");
    let volume = format!("--volume={}:/etc/grafana/tls:ro", stack.join("tls").display());
    assert!(arguments.contains(&volume), "{arguments:#?}");
    assert!(arguments.contains(&"--env=GF_SECURITY_ADMIN_PASSWORD=secret".to_owned()));
    assert!(matches!(receiver.target.flavour, Flavour::StandIn));
}

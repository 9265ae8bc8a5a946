//! Who may talk to Mimir: certificates issued, refused, revoked and rotated by
//! the whole binary, against a sandbox with real processes.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::deployment::{Deployment, Run};
use base64::Engine as _;
use dorainfra_model::Events;
use dorainfra_pki::{Authority, Credentials, Usage};
use dorainfra_prometheus::Flavour;
use dorainfra_prometheus::Target;
use dorainfra_prometheus::{Labels, Series, remote_write};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

const SERVER: &str = "mimir.dorainfra.internal";
const SECRETS: &str = "v1/projects/my-gcp/secrets";

/// A deployment of a few teams, and a way to run commands that lets no key pass.
struct Bench {
    deployment: Deployment,
}

impl Bench {
    fn new(apply: &[&str]) -> Self {
        let deployment = Deployment::new();
        deployment.write("dorainfra.yaml", "generator: {teams: 2, days: 5}\n");
        let bench = Self { deployment };
        bench.run(&[&["apply", "--yes"], apply].concat()).ends_with(0);
        bench
    }

    /// In the JSON form and, of the same command, nothing secret in any form.
    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Run {
        let run = self.deployment.run(&[&["--sandbox", "--json", "-v"], arguments].concat());
        assert!(!tells_a_key(&run.stdout) && !tells_a_key(&run.stderr), "{arguments:?} prints a key");
        run
    }

    /// The plan has nothing to do.
    #[track_caller]
    fn is_settled(&self) {
        let plan = self.run(&["plan", "--no-stack", "--detailed-exitcode"]);
        assert_eq!(plan.code, 0, "{:?}", plan.events("planned"));
    }

    fn result(run: &Run) -> Value {
        run.events("result")[0]["result"].clone()
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.deployment.path().join(name)
    }

    /// Issues a client's certificate into a folder of its name.
    #[track_caller]
    fn issue(&self, name: &str) -> PathBuf {
        self.run(&["credentials", "issue", name, "--out", name]).ends_with(0);
        self.folder(name)
    }

    fn instance(&self) -> Value {
        let path = "compute/v1/projects/my-gcp/zones/europe-west1-b/instances/dorainfra-mimir";
        self.deployment.google("GET", path, "")
    }

    fn address(&self) -> String {
        self.instance()["networkInterfaces"][0]["networkIP"].as_str().unwrap().to_owned()
    }

    /// The newest payload of a secret.
    fn payload<T: serde::de::DeserializeOwned>(&self, secret: &str) -> T {
        let answer = self.deployment.google("GET", &format!("{SECRETS}/{secret}/versions/latest:access"), "");
        let data = answer["payload"]["data"].as_str().unwrap();
        let data = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
        serde_json::from_slice(&data).unwrap()
    }

    /// Asks Mimir something; `None`: it does not speak to this one.
    fn ask(&self, query: &str, client: Option<&Path>) -> Option<Value> {
        let mut curl = Command::new("curl");
        let stack = self.folder(".dorainfra/dorainfra/stack/tls");
        curl.args(["-sS", "--max-time", "20", "--noproxy", "*", "-G", "-H", "X-Scope-OrgID: dora"])
            .args(["--connect-to", &format!("::{}:9009", self.address())])
            .args(["--data-urlencode", &format!("query={query}")])
            .arg(format!("https://{SERVER}:9009/prometheus/api/v1/query"))
            .arg("--cacert")
            .arg(client.map_or(stack, Path::to_path_buf).join("ca.crt"));
        if let Some(client) = client {
            curl.arg("--cert").arg(client.join("client.crt")).arg("--key").arg(client.join("client.key"));
        }
        let output = curl.output().unwrap();
        let answer = serde_json::from_slice(&output.stdout).ok()?;
        assert!(output.status.success());
        Some(answer)
    }

    fn hears(&self, client: &Path) -> bool {
        self.ask("vector(1)", Some(client)).is_some_and(|answer| answer["status"] == "success")
    }

    /// The certificate `credentials`, as files in a folder of its own.
    fn files(&self, name: &str, credentials: &Credentials) -> PathBuf {
        let folder = self.folder(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("client.crt"), &credentials.certificate).unwrap();
        fs::write(folder.join("client.key"), &credentials.key).unwrap();
        fs::write(folder.join("ca.crt"), &credentials.ca).unwrap();
        folder
    }

    fn names(&self) -> Vec<String> {
        let list = Self::result(&self.run(&["credentials", "list"]).ends_with(0));
        let all = list["credentials"].as_array().unwrap();
        assert!(all.iter().all(|one| one["state"] == "ok"), "{list}");
        all.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    }
}

/// A private key in PEM, plain or once more in base64.
fn tells_a_key(text: &str) -> bool {
    text.contains("-----BEGIN PRIVATE KEY") || text.contains("LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0t")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Files below a folder that hold a key, those in `except` apart.
fn files_with_keys(folder: &Path, except: &[&Path]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if except.contains(&path.as_path()) {
            continue;
        }
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files_with_keys(&path, except)),
            false => {
                let text = fs::read(&path).unwrap_or_default();
                if tells_a_key(&String::from_utf8_lossy(&text)) {
                    found.push(path);
                }
            }
        }
    }
    found
}

#[test]
fn a_client_is_heard_until_it_is_revoked_and_nobody_else_is() {
    let bench = Bench::new(&["--no-verify"]);
    let grafana = bench.issue("grafana");
    assert_eq!(mode(&grafana), 0o700);
    for file in ["ca.crt", "client.crt", "client.key"] {
        assert_eq!(mode(&grafana.join(file)), 0o600, "{file}");
    }
    assert!(bench.hears(&grafana));
    bench.is_settled();

    // What is printed leads to the files, and is YAML that says so.
    let other = bench.run(&["credentials", "issue", "prometheus", "--out", "prometheus", "--ttl", "30d"]);
    let other = Bench::result(&other.ends_with(0));
    let snippet = serde_json::to_value(other["prometheus"].as_str().unwrap()).unwrap();
    assert!(snippet.as_str().unwrap().contains(&format!("key_file: \"{}\"", other["key"].as_str().unwrap())));
    assert!(
        other["grafana"]
            .as_str()
            .unwrap()
            .contains(&format!("$__file{{{}}}", other["key"].as_str().unwrap()))
    );
    assert!(other["detail"].as_str().unwrap().contains("in 29 days"), "{other}");
    let prometheus = bench.folder("prometheus");
    // Files of somebody else are not overwritten, and nothing is done before that is known.
    let writes = bench.deployment.writes().len();
    let refused = bench.run(&["credentials", "issue", "third", "--out", "prometheus"]).ends_with(1);
    assert!(refused.stdout.contains("no file of client"), "{}", refused.stdout);
    assert_eq!(bench.deployment.writes().len(), writes);

    // No certificate; one of another authority; one that has ended.
    assert!(bench.ask("vector(1)", None).is_none());
    let now = OffsetDateTime::now_utc();
    let ca = bench.payload::<Credentials>("dorainfra-client-grafana").ca;
    let stranger = Authority::new("dorainfra authority of grafana", Duration::days(9), now).unwrap();
    let wrong = stranger.issue(Usage::Client, "x", &[], Duration::days(1), ca.clone(), now).unwrap();
    assert!(!bench.hears(&bench.files("wrong", &wrong)));
    let authority: Authority = bench.payload("dorainfra-authority-grafana");
    let issue = |then| authority.issue(Usage::Client, "x", &[], Duration::days(1), ca.clone(), then).unwrap();
    assert!(bench.hears(&bench.files("in-time", &issue(now))), "an authority's certificates are accepted");
    assert!(!bench.hears(&bench.files("expired", &issue(now - Duration::days(2)))));

    assert_eq!(bench.names(), ["ca", "server", "grafana", "prometheus", "stack"]);
    bench.run(&["credentials", "revoke", "nobody", "--yes"]).ends_with(1);
    bench.run(&["credentials", "revoke", "grafana", "--yes"]).ends_with(0);
    assert!(!bench.hears(&grafana), "revoked");
    assert!(!bench.hears(&bench.folder("in-time")), "whichever of its certificates");
    assert!(bench.hears(&prometheus), "the others go on");
    assert!(bench.hears(&bench.folder(".dorainfra/dorainfra/stack/tls")));
    assert_eq!(bench.names(), ["ca", "server", "prometheus", "stack"]);
    bench.is_settled();
    bench.run(&["apply", "--yes", "--no-verify"]).ends_with(0);
    assert!(!bench.hears(&grafana), "apply does not bring it back");
    let secrets = bench.deployment.google("GET", SECRETS, "").to_string();
    assert!(!secrets.contains("grafana"), "{secrets}");

    // The same name again is another client.
    fs::remove_dir_all(&grafana).unwrap();
    assert!(bench.hears(&bench.issue("grafana")));

    // Keys are in Secret Manager (here the sandbox's own folder) and where asked for.
    let except = [bench.folder(".dorainfra/sandbox"), bench.folder(".dorainfra/dorainfra/stack/tls")];
    let except: Vec<&Path> = except.iter().map(PathBuf::as_path).collect();
    assert_eq!(files_with_keys(&bench.folder(".dorainfra"), &except), Vec::<PathBuf>::new());
    let destroyed = bench.run(&["destroy", "--yes", "--delete-data"]).ends_with(0);
    assert!(destroyed.stdout.contains("secretmanager.secret/dorainfra-authority-prometheus"));
    assert_eq!(bench.deployment.google("GET", SECRETS, ""), json!({}), "no secret is left");
}

#[test]
fn what_ends_soon_is_warned_of_and_renewed() {
    let bench = Bench::new(&["--no-verify"]);
    bench.issue("grafana");
    // As it will be in ten months.
    let path = format!("{SECRETS}/dorainfra-client-stack");
    let secret = bench.deployment.google("GET", &path, "");
    let mut known: Value =
        serde_json::from_str(secret["annotations"]["dorainfra-certificate"].as_str().unwrap()).unwrap();
    let soon = OffsetDateTime::now_utc() + Duration::days(20);
    let begun = soon - Duration::days(365);
    let text =
        |time: OffsetDateTime| json!(time.format(&time::format_description::well_known::Rfc3339).unwrap());
    known["notBefore"] = text(begun);
    known["notAfter"] = text(soon);
    let annotations = json!({"annotations": {"dorainfra-certificate": known.to_string()}}).to_string();
    // What is written here is seen at once.
    bench.deployment.control("PUT", "consistency", Some(json!({})));
    bench.deployment.google("PATCH", &format!("{path}?updateMask=annotations"), &annotations);

    let warned = |arguments: &[&str], code: i32| {
        let run = bench.run(arguments).ends_with(code);
        let warnings = run.events("warning");
        let about = |event: &Value| event["message"].as_str().unwrap().contains("client `stack` ends on");
        assert!(warnings.iter().any(about), "{arguments:?}: {warnings:?}");
        run
    };
    warned(&["verify"], 0);
    let status = Bench::result(&warned(&["status"], 0));
    let rows = status["credentials"].as_array().unwrap();
    let row = rows.iter().find(|row| row["name"] == "stack").unwrap();
    assert_eq!(
        (row["state"].as_str(), row["ends"].as_str()),
        (Some("changed"), Some(&*soon.date().to_string()))
    );

    let plan = warned(&["plan", "--detailed-exitcode"], 2);
    let plan = &plan.events("planned")[0]["plan"];
    let changed: Vec<&Value> =
        plan["steps"].as_array().unwrap().iter().filter(|step| step["action"] != "no-op").collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
    let change = &changed[0]["changes"][0];
    assert_eq!((change["path"].as_str(), change["after"].as_str()), (Some("certificate"), Some("valid")));
    assert_eq!(change["before"], format!("ends on {}", soon.date()));

    bench.run(&["apply", "--yes", "--no-verify"]).ends_with(0);
    bench.is_settled();
    let plan = bench.run(&["plan"]).ends_with(0);
    assert_eq!(plan.events("warning"), Vec::<Value>::new());
    assert!(bench.hears(&bench.folder(".dorainfra/dorainfra/stack/tls")));
}

/// Writes one sample after the other until it is told to stop; answers the
/// times of those that were acknowledged.
fn write_on(bench: &Bench, client: PathBuf, stop: Arc<AtomicBool>) -> JoinHandle<Vec<i64>> {
    let address: SocketAddr = format!("{}:9009", bench.address()).parse().unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut acknowledged = Vec::new();
        let mut last = 0;
        while !stop.load(Ordering::Relaxed) {
            // Its files are read anew, as any client's would be.
            let read = |name: &str| fs::read_to_string(client.join(name)).unwrap_or_default();
            let credentials =
                Credentials { certificate: read("client.crt"), key: read("client.key"), ca: read("ca.crt") };
            let target = Target::new(Flavour::StandIn, format!("https://{SERVER}:9009"), address)
                .with_tls(credentials);
            let now = (OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000) as i64;
            last = now.max(last + 1);
            let samples = vec![(last, 1.0)];
            let labels = Labels::new([("instance", "probe")]);
            let series =
                [Series { name: "rotation_probe", labels, samples: samples.into(), exemplars: Vec::new() }];
            let sent = runtime.block_on(async {
                let client = remote_write::Client::new(&target).ok()?;
                client.send(&series, remote_write::Limits::default(), 1, &Events::none()).await.ok()
            });
            if sent.is_some() {
                acknowledged.push(last);
            }
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
        acknowledged
    })
}

fn agent(bench: &Bench) -> String {
    let status = Bench::result(&bench.run(&["status"]).ends_with(0));
    let parts = status["stack"].as_array().unwrap().clone();
    let detail = |name: &str| {
        let part = parts.iter().find(|part| part["part"] == name).unwrap();
        assert_eq!(part["state"], "ok", "{parts:?}");
        part["detail"].as_str().unwrap().to_owned()
    };
    detail("remote write");
    detail("prometheus")
}

#[test]
fn every_certificate_is_rotated_under_load_and_no_sample_is_lost() {
    let bench = Bench::new(&[]);
    let writer = bench.issue("writer");
    let before = agent(&bench);
    let stop = Arc::new(AtomicBool::new(false));
    let writing = write_on(&bench, writer.clone(), Arc::clone(&stop));
    let first: Credentials = bench.payload("dorainfra-server");

    bench.run(&["credentials", "rotate", "server"]).ends_with(0);
    let second: Credentials = bench.payload("dorainfra-server");
    assert_ne!(first.certificate, second.certificate);
    assert_eq!(first.ca, second.ca, "whom it trusts is as before");
    bench.is_settled();

    bench.run(&["credentials", "rotate", "client"]).ends_with(0);
    assert!(bench.hears(&writer), "the certificate from before holds until it ends");
    bench.is_settled();

    bench.run(&["credentials", "rotate", "ca", "--finish", "--yes"]).ends_with(1);
    bench.run(&["credentials", "rotate", "ca"]).ends_with(0);
    let list = Bench::result(&bench.run(&["credentials", "list"]).ends_with(0));
    assert!(list["credentials"][0]["detail"].as_str().unwrap().contains("--finish"), "{list}");
    assert_eq!(bench.payload::<Credentials>("dorainfra-server").certificate, second.certificate);
    assert!(bench.hears(&writer), "the server still shows the old CA's");
    bench.is_settled();
    bench.issue("writer");
    bench.run(&["credentials", "rotate", "ca", "--finish", "--yes"]).ends_with(0);
    assert_eq!(bench.names(), ["ca", "server", "stack", "writer"]);
    assert!(bench.hears(&writer), "who got its files anew goes on");
    bench.is_settled();
    let third: Credentials = bench.payload("dorainfra-server");
    assert!(!third.ca.contains(second.ca.lines().nth(1).unwrap()), "the old CA is trusted by nobody");

    // The stack's own client is made anew as another one.
    let stolen: Credentials = bench.payload("dorainfra-client-stack");
    let stolen = bench.files("stolen", &Credentials { ca: third.ca, ..stolen });
    assert!(bench.hears(&stolen));
    bench.run(&["credentials", "revoke", "stack", "--yes"]).ends_with(0);
    assert!(!bench.hears(&stolen));
    bench.is_settled();

    stop.store(true, Ordering::Relaxed);
    let acknowledged = writing.join().unwrap();
    assert!(acknowledged.len() > 20, "{} writes", acknowledged.len());
    assert_eq!(agent(&bench), before, "the collector was never started again");
    let answer = bench.ask("rotation_probe[1h]", Some(&writer)).unwrap();
    let values = answer["data"]["result"][0]["values"].as_array().unwrap();
    let stored: Vec<i64> =
        values.iter().map(|value| (value[0].as_f64().unwrap() * 1000.0).round() as i64).collect();
    let lost: Vec<&i64> = acknowledged.iter().filter(|time| !stored.contains(time)).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged samples are lost", lost.len(), acknowledged.len());
    // And what the collector sent all the while has arrived, the newest value too.
    bench.run(&["verify"]).ends_with(0);
}

/// Whether the plan has a line with `!!` that says so, wherever it is wrapped.
fn marked(plan: &Run, words: &str) -> bool {
    let text: Vec<&str> = plan.stdout.split_whitespace().collect();
    text.contains(&"!!") && text.join(" ").contains(words)
}

#[test]
fn without_client_certificates_each_plan_says_so() {
    let bench = Bench::new(&["--no-stack"]);
    let server = ["--set", "access.tls=server"];
    let plan = bench.deployment.run(&[&["--sandbox", "plan"][..], &server].concat()).ends_with(0);
    assert!(marked(&plan, "WITHOUT CLIENT CERTIFICATES"), "{}", plan.stdout);
    bench.run(&[&["apply", "--yes"][..], &server].concat()).ends_with(0);
    bench.run(&[&["plan", "--detailed-exitcode"][..], &server].concat()).ends_with(0);
    assert_eq!(bench.ask("vector(1)", None).unwrap()["status"], "success");

    let off = ["--set", "access.tls=off"];
    let applied = bench.run(&[&["apply", "--yes"][..], &off].concat()).ends_with(0);
    let facts = &applied.events("result")[0]["result"]["facts"];
    assert_eq!(facts["tls"], "off", "{facts}");
    assert!(facts["endpoint"].as_str().unwrap().starts_with("http://"), "{facts}");
    let plan = bench.deployment.run(&[&["--sandbox", "plan"][..], &off].concat()).ends_with(0);
    assert!(marked(&plan, "WITHOUT TLS"), "each time: {}", plan.stdout);
    assert_eq!(bench.deployment.google("GET", SECRETS, ""), json!({}), "nobody needs a certificate");
    bench.run(&[&["credentials", "issue", "x"][..], &off].concat()).ends_with(3);

    // And back, with everybody's certificate made anew.
    bench.run(&["apply", "--yes"]).ends_with(0);
    bench.is_settled();
    assert!(bench.ask("vector(1)", Some(&bench.issue("grafana"))).is_some());
}

#[test]
fn a_machine_can_read_its_bucket_and_its_certificate_and_nothing_else() {
    let bench = Bench::new(&["--no-stack"]);
    let metadata = format!("http://{}:{}/computeMetadata/v1", bench.address(), bench.deployment.port());
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl").args(["-sS", "--noproxy", "*"]).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let token = format!("{metadata}/instance/service-accounts/default/token");
    assert!(!curl(&[&token]).contains("access_token"), "not without the header");
    let token: Value = serde_json::from_str(&curl(&["-H", "Metadata-Flavor: Google", &token])).unwrap();
    let authorization = format!("Authorization: Bearer {}", token["access_token"].as_str().unwrap());
    let status = |path: &str| {
        let url = format!("http://127.0.0.1:{}/{path}", bench.deployment.port());
        curl(&["-o", "/dev/null", "-w", "%{http_code}", "-H", &authorization, &url])
    };
    // Another deployment's, and what only operators need.
    bench.deployment.google("POST", "storage/v1/b?project=my-gcp", r#"{"name": "somebody-elses-bucket"}"#);
    let secret = r#"{"replication": {"automatic": {}}}"#;
    bench.deployment.google("POST", &format!("{SECRETS}?secretId=somebody-elses"), secret);
    let payload = r#"{"payload": {"data": "aGVsbG8="}}"#;
    bench.deployment.google("POST", &format!("{SECRETS}/somebody-elses:addVersion"), payload);

    // In its bucket: what Mimir keeps there, and nothing of the operators'.
    let bucket = "storage/v1/b/my-gcp-dorainfra-mimir/o";
    let sent = |method: &str, path: &str, body: &str| {
        let url = format!("http://127.0.0.1:{}/{path}", bench.deployment.port());
        let call =
            ["-o", "/dev/null", "-w", "%{http_code}", "-X", method, "-H", &authorization, "--data", body];
        let mut code = String::new();
        // One name is written once a second.
        bench.deployment.until("it is not too fast", || {
            code = curl(&[&call[..], &[&url]].concat());
            code != "429"
        });
        code
    };
    let upload = |name: &str| sent("POST", &format!("upload/{bucket}?uploadType=media&name={name}"), "x");
    // A grant holds some time after it was written: a machine that is ready may not write yet.
    bench.deployment.until("the machine may write", || upload("blocks%2Fanonymous%2Ffirst") == "200");
    for prefix in ["blocks", "ruler", "alertmanager", "__mimir_cluster"] {
        let name = format!("{prefix}%2Fanonymous%2Fx");
        assert_eq!(upload(&name), "200", "{prefix}");
        assert_eq!(status(&format!("{bucket}/{name}?alt=media")), "200", "{prefix}");
        assert_eq!(upload(&name), "200", "{prefix}, over what is there");
        assert_eq!(sent("DELETE", &format!("{bucket}/{name}"), ""), "204", "{prefix}");
    }
    let listed = bench.deployment.google("GET", bucket, "");
    let ours: Vec<&str> =
        listed["items"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    let of = |prefix: &str| ours.iter().find(|name| name.starts_with(prefix)).unwrap().replace('/', "%2F");
    for name in ["dorainfra%2Flease".to_owned(), of("artifacts/"), of("bundles/")] {
        assert_eq!(upload(&name), "403", "{name}");
        assert_eq!(sent("DELETE", &format!("{bucket}/{name}"), ""), "403", "{name}");
    }
    assert_eq!(status(&format!("{bucket}/{}?alt=media", of("bundles/"))), "200");
    assert_eq!(status(bucket), "200");
    assert_eq!(status(&format!("{SECRETS}/dorainfra-server/versions/latest:access")), "200");
    for refused in [
        "storage/v1/b/somebody-elses-bucket/o".to_owned(),
        "storage/v1/b?project=my-gcp".to_owned(),
        "storage/v1/b/my-gcp-dorainfra-mimir/iam".to_owned(),
        format!("{SECRETS}/somebody-elses/versions/latest:access"),
        format!("{SECRETS}/dorainfra-ca/versions/latest:access"),
        format!("{SECRETS}/dorainfra-client-stack/versions/latest:access"),
        format!("{SECRETS}/dorainfra-authority-stack/versions/latest:access"),
        SECRETS.to_owned(),
        "compute/v1/projects/my-gcp/zones/europe-west1-b/instances".to_owned(),
        "v1/projects/my-gcp/serviceAccounts".to_owned(),
    ] {
        assert_eq!(status(&refused), "403", "{refused}");
    }
}

#[test]
fn a_machine_listens_on_mimirs_port_only() {
    let bench = Bench::new(&["--no-stack"]);
    let address = bench.address();
    let root = bench.folder(".dorainfra/sandbox");
    let root = root.canonicalize().unwrap();
    let mut ports = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        // Of the machine, not of the sandbox that runs it.
        let environment = fs::read(process.path().join("environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let of_the_machine =
            environment.split('\0').any(|one| one.starts_with(&format!("DORAINFRA_ROOT={}", root.display())));
        if of_the_machine {
            ports.extend(listening(&process.path()));
        }
    }
    ports.sort();
    ports.dedup();
    assert_eq!(ports, [format!("{address}:9009")]);
}

/// `ADDRESS:PORT` of the TCP sockets that a process listens on.
fn listening(process: &Path) -> Vec<String> {
    let sockets: Vec<String> = fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|fd| {
            let target = fs::read_link(fd.path()).ok()?.display().to_string();
            Some(target.strip_prefix("socket:[")?.trim_end_matches(']').to_owned())
        })
        .collect();
    let mut found = Vec::new();
    for table in ["net/tcp", "net/tcp6"] {
        let table = fs::read_to_string(process.join(table)).unwrap_or_default();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // 0A: listening.
            if fields.len() > 9 && fields[3] == "0A" && sockets.iter().any(|socket| socket == fields[9]) {
                found.push(spelled(fields[1]));
            }
        }
    }
    found
}

/// `0A01007F:2331` → `127.0.1.10:9009`; anything longer stays as it is.
fn spelled(local: &str) -> String {
    let (address, port) = local.split_once(':').unwrap();
    let port = u16::from_str_radix(port, 16).unwrap();
    match u32::from_str_radix(address, 16) {
        Ok(address) => format!("{}:{port}", std::net::Ipv4Addr::from(address.swap_bytes())),
        Err(_) => format!("[{address}]:{port}"),
    }
}

//! The values for Grafana's chart mimir-distributed, in the chart's own hands: Helm renders it with
//! them, a Mimir takes the configuration that comes out, and nginx serves by the gateway's.

use crate::deployment;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::collector::{Process, eventually, free_port, install_tls};
use dorainfra_pki::{Authority, Credentials, Usage};
use serde_json::Value;

fn given(variable: &str) -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "names what this machine has")]
    let path = std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set"));
    path.into()
}

fn ends_well(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn values(folder: &Path, tls: &str) -> PathBuf {
    let output = Command::new(env!("CARGO_BIN_EXE_dorainfra"))
        .current_dir(folder)
        .args(["--project", "demo-project", "--set", "access.allow=203.0.113.0/24", "--set"])
        .args([&format!("access.tls={tls}"), "render", "--kubernetes"])
        .output()
        .unwrap();
    let path = folder.join(format!("values-{tls}.yaml"));
    std::fs::write(&path, ends_well(&output)).unwrap();
    path
}

/// The chart as a release packs it, or as its repository has it: there it comes without the
/// charts that it may install beside itself, of which the values want none but one that has no
/// part in what is looked at here.
fn chart(folder: &Path) -> PathBuf {
    let (from, to) = (given("MIMIR_CHART"), folder.join("chart"));
    copy(&from, &to);
    if !to.join("charts").exists() {
        let file = to.join("Chart.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, text.split("\ndependencies:").next().unwrap()).unwrap();
        let _ = std::fs::remove_file(to.join("Chart.lock"));
    }
    to
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, to) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// What Helm makes of it: `KIND/NAME` and the document.
fn rendered(folder: &Path, tls: &str) -> Vec<(String, Value)> {
    let chart = chart(folder);
    let output = Command::new(given("HELM"))
        .args(["template", "mimir"])
        .arg(&chart)
        .args(["--namespace", "mimir", "--kube-version", "1.33.0", "--set", "rollout_operator.enabled=false"])
        .arg("--values")
        .arg(values(folder, tls))
        .output()
        .unwrap();
    let text = ends_well(&output);
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let named = documents.into_iter().filter(|one| !one.is_null()).map(|one| {
        let name = format!("{}/{}", one["kind"].as_str().unwrap(), one["metadata"]["name"].as_str().unwrap());
        (name, one)
    });
    named.collect()
}

fn one<'a>(documents: &'a [(String, Value)], name: &str) -> &'a Value {
    let found: Vec<&Value> = documents.iter().filter(|(own, _)| own == name).map(|(_, one)| one).collect();
    assert_eq!(found.len(), 1, "{name}");
    found[0]
}

#[test]
#[ignore = "needs Helm, the chart and a Mimir; scripts/nightly runs it where they are given"]
fn the_chart_takes_the_values_and_mimir_the_chart() {
    let folder = tempfile::tempdir().unwrap();
    let documents = rendered(folder.path(), "mutual");
    for zone in ["b", "c", "d"] {
        for part in ["ingester", "store-gateway"] {
            let set = one(&documents, &format!("StatefulSet/mimir-{part}-europe-west1-{zone}"));
            let pod = &set["spec"]["template"]["spec"];
            let selects = &pod["nodeSelector"]["topology.kubernetes.io/zone"];
            assert_eq!(selects, &Value::from(format!("europe-west1-{zone}")), "{part}");
        }
    }
    // Every part that the values name has what they say; a misspelt name would be passed over.
    let kinds = ["Deployment/", "StatefulSet/"];
    let parts = documents.iter().filter(|(name, _)| kinds.iter().any(|kind| name.starts_with(kind)));
    let mut confined = 0;
    for (name, part) in parts {
        let containers = part["spec"]["template"]["spec"]["containers"].as_array().unwrap();
        if name.ends_with("-cache") {
            continue;
        }
        confined += 1;
        let limit = containers[0]["resources"]["limits"]["memory"].as_str();
        assert!(limit.is_some_and(|limit| limit.ends_with("Mi")), "{name}: {limit:?}");
        if !name.ends_with("-gateway") {
            let named = |env: &Value| env["name"] == "GOMEMLIMIT";
            let environment = containers[0]["env"].as_array().unwrap();
            assert_eq!(environment.iter().filter(|env| named(env)).count(), 1, "{name}");
        }
    }
    assert!(confined >= 14, "{confined}");
    assert!(documents.iter().all(|(name, _)| !name.contains("kafka") && !name.contains("minio")));

    // The configuration that comes out is one that a Mimir takes; it asks the bucket after that.
    let configuration = one(&documents, "ConfigMap/mimir-config")["data"]["mimir.yaml"].as_str().unwrap();
    let read: Value = serde_saphyr::from_str(configuration).unwrap();
    assert_eq!(read["common"]["storage"]["gcs"]["bucket_name"], "demo-project-dorainfra-mimir");
    assert_eq!(
        (&read["multitenancy_enabled"], &read["ingest_storage"]["enabled"]),
        (&false.into(), &false.into())
    );
    let file = folder.path().join("mimir.yaml");
    std::fs::write(&file, configuration).unwrap();
    let port = || free_port().to_string();
    let output = Command::new("timeout")
        .args(["20"])
        .arg(given("DORAINFRA_MIMIR_BINARY"))
        .current_dir(folder.path())
        .args([&format!("-config.file={}", file.display()), "-target=overrides-exporter"])
        .args([
            &format!("-server.http-listen-port={}", port()),
            &format!("-server.grpc-listen-port={}", port()),
        ])
        .args(["-runtime-config.file=", "-activity-tracker.filepath=", "-memberlist.join="])
        .args([&format!("-memberlist.bind-port={}", port())])
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("Application started"), "{said}");
}

/// As a deployment has them: the server's authority is one, each client's another, and the server's
/// file names both.
fn certificates() -> (Credentials, Credentials) {
    let (now, day) = (time::OffsetDateTime::now_utc(), time::Duration::days(1));
    let [servers, clients] = ["servers", "clients"].map(|name| Authority::new(name, day, now).unwrap());
    let both = format!("{}{}", servers.ca, clients.ca);
    let server = servers.issue(Usage::Server, "mimir", &["localhost".into()], day, both, now);
    (clients.issue(Usage::Client, "stack", &[], day, servers.ca.clone(), now).unwrap(), server.unwrap())
}

/// By the gateway's own configuration: in plain text nobody gets past, and who has no certificate
/// gets past with `access.tls: server` only.
#[tokio::test]
#[ignore = "needs Helm, the chart and nginx; scripts/nightly runs it where they are given"]
async fn the_gateway_asks_for_what_the_machine_asks_for() {
    install_tls();
    let upstream = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let behind = upstream.local_addr().unwrap().port();
    let app = axum::Router::new().fallback(|| async { "behind the gateway" });
    tokio::spawn(async move { axum::serve(upstream, app).await.unwrap() });

    let names = regex::Regex::new(r"mimir-[a-z-]+\.mimir\.svc\.cluster\.local\.").unwrap();
    for (tls, plain, anonymous, certified) in [
        ("mutual", Some(403), Some(400), Some(200)),
        ("server", Some(403), Some(200), Some(200)),
        ("off", Some(200), None, None),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let documents = rendered(folder.path(), tls);
        let gateway = one(&documents, "ConfigMap/mimir-gateway-nginx");
        let text = gateway["data"]["nginx.conf"].as_str().unwrap();
        let (http, https) = (free_port(), free_port());
        let text = names
            .replace_all(text, "127.0.0.1")
            .replace(":8080$request_uri", &format!(":{behind}$request_uri"))
            .replace("listen [::]:8080;", "")
            .replace("listen 8080;", &format!("listen 127.0.0.1:{http};"))
            .replace("listen 9009 ssl;", &format!("listen 127.0.0.1:{https} ssl;"))
            .replace("resolver kube-dns.kube-system.svc.cluster.local.;", "")
            .replace("/tmp/", "/etc/nginx/mimir-tls/")
            .replace("/etc/nginx/mimir-tls/", &format!("{}/", folder.path().display()));
        let (client, server) = certificates();
        for (name, contents) in [
            ("nginx.conf", &text),
            ("ca.pem", &server.ca),
            ("certificate.pem", &server.certificate),
            ("key.pem", &server.key),
        ] {
            std::fs::write(folder.path().join(name), contents).unwrap();
        }
        // A worker of its own would outlive the test: what ends with it is the one that was started.
        let arguments = ["-e", "stderr", "-g", "daemon off; master_process off;", "-c"].map(str::to_owned);
        let configuration = folder.path().join("nginx.conf").display().to_string();
        let _nginx = Process::start(
            Path::new("/usr/sbin/nginx"),
            &[arguments.as_slice(), &[configuration]].concat(),
            folder.path(),
            "nginx",
        );
        let asker = |identity: Option<&Credentials>| {
            let builder = reqwest::Client::builder()
                .no_proxy()
                .tls_certs_only(reqwest::Certificate::from_pem_bundle(server.ca.as_bytes()).unwrap());
            let builder = match identity {
                None => builder,
                Some(own) => {
                    let pem = format!("{}\n{}", own.certificate, own.key);
                    builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap())
                }
            };
            builder.build().unwrap()
        };
        let status = async |client: reqwest::Client, url: String| {
            client.get(url).send().await.ok().map(|answer| answer.status().as_u16())
        };
        let [open, closed] = [format!("http://127.0.0.1:{http}"), format!("https://localhost:{https}")];
        eventually("nginx answers", async || status(asker(None), format!("{open}/ready")).await == Some(200))
            .await;
        for path in [
            "/prometheus/api/v1/query?query=up",
            "/api/v1/push",
            "/prometheus/config/v1/rules",
            "/distributor/ring",
        ] {
            assert_eq!(status(asker(None), format!("{open}{path}")).await, plain, "{tls} {path}");
            assert_eq!(status(asker(None), format!("{closed}{path}")).await, anonymous, "{tls} {path}");
            assert_eq!(
                status(asker(Some(&client)), format!("{closed}{path}")).await,
                certified,
                "{tls} {path}"
            );
        }
    }
}

/// As far as it can be seen without a cluster: a deployment ends, its bucket stays, and a Mimir
/// with the chart's configuration finds every sample of the history in it. What is the cluster's
/// own (where the others are, the disks, Memcached) is replaced.
#[test]
#[ignore = "needs Helm, the chart and a Mimir; scripts/nightly runs it where they are given"]
fn a_mimir_of_the_chart_finds_what_the_machine_has_left() {
    let mimir = given("DORAINFRA_MIMIR_BINARY");
    let deployment = deployment::Deployment::new();
    let run = |arguments: &[&str]| {
        let settings = ["--sandbox", "--json", "--set", "generator.teams=3", "--set", "generator.days=60"];
        let engine = ["--mimir-binary", mimir.to_str().unwrap()];
        deployment.run(&[&settings[..], &engine, arguments].concat()).ends_with(0)
    };
    run(&["apply", "--yes"]);
    let sent =
        run(&["verify", "--from-bucket"]).events("result")[0]["result"]["samples_sent"].as_u64().unwrap();
    run(&["destroy", "--yes"]);

    let folder = tempfile::tempdir().unwrap();
    let documents = rendered(folder.path(), "mutual");
    let configuration = one(&documents, "ConfigMap/mimir-config")["data"]["mimir.yaml"].as_str().unwrap();
    let at = |path: &str| folder.path().join(path).display().to_string();
    let mut configuration: Value = serde_saphyr::from_str(configuration).unwrap();
    without_memcached(&mut configuration);
    let configuration = configuration
        .to_string()
        .replace("\"/data", &format!("\"{}", at("data")))
        .replace("demo-project-dorainfra-mimir", "my-gcp-dorainfra-mimir");
    std::fs::write(folder.path().join("mimir.yaml"), configuration).unwrap();
    let (http, grpc) = (free_port(), free_port());
    let mut arguments: Vec<String> = vec![
        "-target=all".into(),
        format!("-config.file={}", at("mimir.yaml")),
        "-runtime-config.file=".into(),
        "-activity-tracker.filepath=".into(),
        "-alertmanager.configs.fallback=".into(),
        format!("-server.http-listen-port={http}"),
        format!("-server.grpc-listen-port={grpc}"),
        format!("-query-frontend.scheduler-address=127.0.0.1:{grpc}"),
        format!("-querier.scheduler-address=127.0.0.1:{grpc}"),
        "-memberlist.join=".into(),
        format!("-memberlist.bind-port={}", free_port()),
        "-query-frontend.cache-results=false".into(),
        // It would look up how many series there are in the same cache.
        "-query-frontend.query-sharding-target-series-per-shard=0".into(),
        // Each part has a disk of its own in the cluster.
        format!("-blocks-storage.tsdb.dir={}", at("ingester")),
        format!("-blocks-storage.bucket-store.sync-dir={}", at("store-gateway")),
        format!("-compactor.data-dir={}", at("compactor")),
        format!("-ruler.rule-path={}", at("ruler")),
        "-store-gateway.sharding-ring.wait-stability-min-duration=0s".into(),
        "-compactor.ring.wait-stability-min-duration=0s".into(),
    ];
    for ring in ["ingester.ring", "store-gateway.sharding-ring"] {
        arguments.push(format!("-{ring}.instance-availability-zone=a"));
        arguments.push(format!("-{ring}.replication-factor=1"));
    }
    for ring in [
        "distributor.ring",
        "ingester.ring",
        "store-gateway.sharding-ring",
        "compactor.ring",
        "ruler.ring",
        "query-scheduler.ring",
        "querier.ring",
        "overrides-exporter.ring",
    ] {
        arguments.push(format!("-{ring}.store=inmemory"));
        if ring != "overrides-exporter.ring" {
            arguments.push(format!("-{ring}.instance-addr=127.0.0.1"));
        }
    }
    let log = std::fs::File::create(folder.path().join("mimir.log")).unwrap();
    let mut child = Command::new(&mimir)
        .args(arguments)
        .current_dir(folder.path())
        .env("GOOGLE_APPLICATION_CREDENTIALS", deployment.path().join(".dorainfra/sandbox/key.json"))
        .env("STORAGE_EMULATOR_HOST", format!("http://127.0.0.1:{}", deployment.port()))
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let child = Stop(&mut child);
    let now = time::OffsetDateTime::now_utc();
    let midnight = now.replace_time(time::Time::MIDNIGHT).unix_timestamp();
    let api = format!("http://127.0.0.1:{http}/prometheus/api/v1");
    let ask = |path: &str, values: &[String]| -> Value {
        let values = values.iter().flat_map(|value| ["--data-urlencode", value.as_str()]);
        let mut command = Command::new("curl");
        command.args(["--silent", "--max-time", "30", "--get", &format!("{api}/{path}")]).args(values);
        serde_json::from_slice(&command.output().unwrap().stdout).unwrap_or_default()
    };
    let mut answer = Value::Null;
    let mut counted = || {
        let names = ask("label/__name__/values", &["match[]={job=\"dora\"}".into(), "start=0".into()]);
        // Metric by metric: without their names some series of two are the same.
        let names = names["data"].as_array()?.clone();
        let counts = names.iter().map(|name| {
            let name = name.as_str().unwrap();
            let query = format!("query=sum(count_over_time({name}{{job=\"dora\"}}[90d]))");
            answer = ask("query", &[query, format!("time={midnight}")]);
            answer["data"]["result"][0]["value"][1].as_str()?.parse::<u64>().ok()
        });
        counts.sum::<Option<u64>>()
    };
    let mut found = None;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
    while found != Some(sent) && std::time::Instant::now() < deadline && child.0.try_wait().unwrap().is_none()
    {
        std::thread::park_timeout(std::time::Duration::from_millis(200));
        found = counted();
    }
    drop(child);
    let said = || std::fs::read_to_string(folder.path().join("mimir.log")).unwrap();
    assert_eq!(found, Some(sent), "{answer}\n{}", said());
}

/// What is cached is left out, and its cache with it.
fn without_memcached(value: &mut Value) {
    let Some(keys) = value.as_object_mut() else { return };
    keys.retain(|_, value| value["backend"] != "memcached");
    keys.values_mut().for_each(without_memcached);
}

struct Stop<'a>(&'a mut std::process::Child);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

//! The rules where they run: loaded into a real Mimir's ruler by `apply` where
//! `DORAINFRA_MIMIR_BINARY` names one, and in the configuration of the Prometheus
//! that stands in for it otherwise.

use crate::deployment;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::deployment::Deployment;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dorainfra_prometheus::Flavour;
use dorainfra_prometheus::Target;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const INSTANCE: &str = "compute/v1/projects/my-gcp/zones/europe-west1-b/instances/dorainfra-mimir";
/// A group is looked at each four minutes at the latest, and an alert has to last.
const PATIENCE: Duration = Duration::from_secs(330);

/// The endpoint as its clients reach it.
struct Endpoint<'a> {
    target: Target,
    http: reqwest::Client,
    runtime: &'a Runtime,
}

impl<'a> Endpoint<'a> {
    fn of(deployment: &Deployment, flavour: Flavour, runtime: &'a Runtime) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let path = "compute/v1/projects/my-gcp/regions/europe-west1/addresses/dorainfra-mimir";
        let address = deployment.google("GET", path, "")["address"].as_str().unwrap().to_owned();
        let connect = SocketAddr::new(address.parse().unwrap(), 9009);
        let secret = "v1/projects/my-gcp/secrets/dorainfra-client-stack/versions/latest:access";
        let payload = deployment.google("GET", secret, "")["payload"]["data"].as_str().unwrap().to_owned();
        let credentials = serde_json::from_slice(&STANDARD.decode(payload).unwrap()).unwrap();
        let target = Target::new(flavour, "https://mimir.dorainfra.internal:9009", connect)
            .with_tenant("dora")
            .with_tls(credentials);
        let http = target.http_client().unwrap();
        Self { target, http, runtime }
    }

    /// What is below the prefix of queries.
    fn url(&self, path: &str) -> String {
        self.target.query_url(path)
    }

    fn answer(&self, request: reqwest::RequestBuilder) -> String {
        self.runtime.block_on(async {
            let answer = request.send().await.unwrap();
            let (status, text) = (answer.status(), answer.text().await.unwrap());
            assert!(status.is_success(), "{status}: {text}");
            text
        })
    }

    fn get(&self, path: &str) -> String {
        self.answer(self.http.get(self.url(path)))
    }

    fn post_rules(&self, namespace: &str, group: &Value) {
        let url = self.url(&format!("/config/v1/rules/{namespace}"));
        self.answer(self.http.post(url).body(group.to_string()));
    }

    fn rule_names(&self) -> Vec<String> {
        self.rules(|_| true).iter().map(|rule| rule["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Of the groups that are meant.
    fn rules(&self, which: impl Fn(&Value) -> bool) -> Vec<Value> {
        let answer: Value = serde_json::from_str(&self.get("/api/v1/rules")).unwrap();
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        let rules = groups.iter().filter(|group| which(group));
        rules.flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect()
    }

    /// How many series an expression has.
    fn count(&self, expression: &str) -> usize {
        let mut url = reqwest::Url::parse(&self.url("/api/v1/query")).unwrap();
        url.query_pairs_mut().append_pair("query", expression);
        let answer: Value = serde_json::from_str(&self.answer(self.http.get(url))).unwrap();
        answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{answer}")).len()
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {} s", PATIENCE.as_secs());
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

/// `action id` of each step that lives in Mimir and does something.
fn inside(run: &deployment::Run) -> Vec<String> {
    let plan = run.events("planned").pop().unwrap();
    let steps = plan["plan"]["steps"].as_array().unwrap();
    let ours = steps.iter().filter(|step| step["id"].as_str().unwrap().starts_with("mimir."));
    let ours = ours.filter(|step| step["action"] != "no-op");
    ours.map(|step| format!("{} {}", step["action"].as_str().unwrap(), step["id"].as_str().unwrap()))
        .collect()
}

#[test]
fn what_stands_in_has_the_rules_in_its_configuration() {
    let (deployment, runtime) = (Deployment::new(), Runtime::new().unwrap());
    let file = deployment.write("alertmanager.yaml", "route: {receiver: a}\nreceivers: [{name: a}]\n");
    let config = format!("alerts.config={}", file.display());
    let run =
        |arguments: &[&str]| deployment.run(&[&["--sandbox", "--set", &config][..], arguments].concat());
    let applied = run(&["apply", "--yes", "--no-stack"]).ends_with(0);
    assert!(applied.stderr.contains("has no ruler and no alertmanager"), "{}", applied.stderr);
    let planned = run(&["--json", "plan"]).ends_with(0);
    assert_eq!(
        planned.events("planned")[0]["plan"]["steps"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|step| step["id"].as_str().unwrap().starts_with("mimir."))
            .count(),
        0
    );

    let endpoint = Endpoint::of(&deployment, Flavour::StandIn, &runtime);
    let names = endpoint.rule_names();
    for name in ["dora_mttr_minutes", "TeamStale", "CertificateEnds"] {
        assert!(names.iter().any(|other| other == name), "{name} is not among {names:?}");
    }
    let none = deployment.run(&["--sandbox", "--set", "alerts.rules=false", "apply", "--yes", "--no-stack"]);
    none.ends_with(0);
    assert_eq!(endpoint.rule_names(), Vec::<String>::new());
}

/// Takes notifications, and keeps them.
fn webhook(runtime: &Runtime) -> (SocketAddr, std::sync::Arc<std::sync::Mutex<Vec<Value>>>) {
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let taken = seen.clone();
    let take = move |axum::Json(body): axum::Json<Value>| {
        taken.lock().unwrap().push(body);
        async { "" }
    };
    let routes = axum::Router::new().route("/hook-s3cret", axum::routing::post(take));
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move { axum::serve(listener, routes).await.unwrap() });
    (address, seen)
}

/// Also those that wait for an hour between two looks: here each group is looked at every ten
/// seconds, beside the same one as it is.
#[test]
#[ignore = "needs a Mimir (DORAINFRA_MIMIR_BINARY): scripts/nightly"]
fn a_real_mimir_evaluates_each_group_without_an_error() {
    let (deployment, runtime) = (Deployment::new(), Runtime::new().unwrap());
    let engine = mimir();
    let settings = ["--sandbox", "--mimir-binary", &engine, "--set", "generator.teams=3"];
    let apply = ["--set", "generator.days=90", "apply", "--yes"];
    deployment.run(&[&settings[..], &apply].concat()).ends_with(0);
    let endpoint = Endpoint::of(&deployment, Flavour::Mimir, &runtime);
    let file: Value = serde_saphyr::from_str(include_str!("../../mimir/rules/dora.yaml")).unwrap();
    let groups = file["groups"].as_array().unwrap();
    let mut expected = 0;
    for group in groups {
        let mut group = group.clone();
        expected += group["rules"].as_array().unwrap().len();
        group["interval"] = "10s".into();
        endpoint.post_rules("often", &group);
    }
    let often = || endpoint.rules(|group| group["file"] == "often");
    until("each rule was evaluated", || {
        let rules = often();
        let evaluated = |rule: &&Value| rule["health"] != "unknown";
        rules.len() == expected && rules.iter().filter(evaluated).count() == expected
    });
    for rule in often() {
        assert_eq!((&rule["health"], &rule["lastError"]), (&"ok".into(), &"".into()), "{rule}");
    }
    // What a group of an hour records is what its expression says.
    let seldom = groups.iter().find(|group| group["name"] == "dora-84d").unwrap();
    for rule in seldom["rules"].as_array().unwrap() {
        let (name, expression) = (rule["record"].as_str().unwrap(), rule["expr"].as_str().unwrap());
        let asked = endpoint.count(expression);
        assert!(asked == 3, "{name}: {asked} of 3 teams");
        until(name, || {
            endpoint.count(&format!("last_over_time({name}[2h]) == on (team, environment) ({expression})"))
                == 3
        });
    }
    deployment.run(&[&settings[..], &["destroy", "--yes", "--no-flush"]].concat()).ends_with(0);
}

fn mimir() -> String {
    #[expect(clippy::disallowed_methods, reason = "names a Mimir that this machine has")]
    let named = std::env::var("DORAINFRA_MIMIR_BINARY").ok().filter(|path| !path.is_empty());
    named.unwrap_or_else(|| panic!("DORAINFRA_MIMIR_BINARY names no Mimir"))
}

#[test]
#[ignore = "needs a Mimir (DORAINFRA_MIMIR_BINARY): scripts/nightly"]
fn a_real_mimir_has_the_rules_computes_them_and_tells_the_receiver() {
    let engine = mimir();
    let (deployment, runtime) = (Deployment::new(), Runtime::new().unwrap());
    let (hook, notified) = webhook(&runtime);
    let receivers = format!(
        "route: {{receiver: ops, group_wait: 1s, group_interval: 1s}}\nreceivers:\n  - name: ops\n    \
         webhook_configs: [{{url: \"http://{hook}/hook-s3cret\"}}]\n"
    );
    let file = deployment.write("alertmanager.yaml", &receivers);
    let config = format!("alerts.config={}", file.display());
    let switch = deployment.write("watchdog.url", &format!("http://{hook}/hook-s3cret\n"));
    let switch = format!("alerts.watchdog={}", switch.display());
    let settings =
        ["--sandbox", "--json", "--mimir-binary", &engine, "--set", &config, "--set", &switch, "--set"];
    let run = |arguments: &[&str]| {
        deployment
            .run(&[&settings[..], &["generator.teams=2", "--set", "generator.days=3"], arguments].concat())
    };

    let first = run(&["apply", "--yes"]).ends_with(0);
    let created = inside(&first);
    assert!(created.len() > 6 && created.iter().all(|step| step.starts_with("create ")), "{created:?}");
    let planned = run(&["plan", "--detailed-exitcode"]).ends_with(0);
    assert_eq!(inside(&planned), Vec::<String>::new(), "the plan after an apply is empty");

    // Series of recording rules, what the machine tells of itself, and an alert.
    let endpoint = Endpoint::of(&deployment, Flavour::Mimir, &runtime);
    // The history has none at this moment: its last one is of midnight.
    until("the recording rules produce series", || endpoint.count("dora_deployment_frequency") == 2);
    until("the machine tells of its disk and its certificate", || {
        endpoint.count("dorainfra_data_disk_free_bytes > 0 < dorainfra_data_disk_size_bytes") == 1
            && endpoint
                .count("dorainfra_certificate_end_seconds{certificate=\"server\"} > time() + 300 * 86400")
                == 1
    });
    // One that fires at once, in a namespace of somebody's own.
    let theirs = json!({"name": "theirs", "interval": "1s", "rules": [
        {"alert": "AlwaysOn", "expr": "vector(1)", "labels": {"severity": "warning"}},
    ]});
    endpoint.post_rules("mine", &theirs);
    until("the receiver is told", || {
        notified.lock().unwrap().iter().any(|body| body["alerts"][0]["labels"]["alertname"] == "AlwaysOn")
    });
    assert!(endpoint.get("/api/v1/alerts").contains("AlwaysOn"));
    // Again and again: a Mimir that believes that it is alone would send the first one only.
    until("the switch is pressed a second time", || {
        let pressed = |body: &&Value| body["receiver"] == "dorainfra-watchdog";
        notified.lock().unwrap().iter().filter(pressed).count() >= 2
    });

    // Drift is put back, a leftover goes, and others' groups stay.
    let changed = json!({"name": "alerts-data", "rules": [{"alert": "TeamStale", "expr": "vector(1)"}]});
    endpoint.post_rules("dorainfra", &changed);
    let left = json!({"name": "left", "rules": [{"record": "a:b", "expr": "up"}]});
    endpoint.post_rules("dorainfra", &left);
    let target = ["--target", "mimir.ruleGroup/alerts-data"];
    let one = run(&[&["plan"][..], &target].concat()).ends_with(0);
    assert_eq!(inside(&one), ["update mimir.ruleGroup/alerts-data"]);
    let mended = run(&["apply", "--yes", "--no-stack"]).ends_with(0);
    assert_eq!(inside(&mended), ["update mimir.ruleGroup/alerts-data", "delete mimir.ruleGroup/left"]);
    assert_eq!(inside(&run(&["plan"]).ends_with(0)), Vec::<String>::new());
    assert!(endpoint.get("/config/v1/rules").contains("name: theirs"));

    // Nothing of the receivers is anywhere but in Mimir.
    for output in [&first, &planned, &mended] {
        assert!(!output.stdout.contains("s3cret") && !output.stderr.contains("s3cret"));
    }

    // There, but out of reach: the rest of the plan is as good.
    deployment.google("POST", &format!("{INSTANCE}/stop"), "{}");
    deployment.until("the machine stands still", || {
        deployment.google("GET", INSTANCE, "")["status"] == "TERMINATED"
    });
    let apart = run(&["plan"]).ends_with(0);
    let plan = apart.events("planned").pop().unwrap();
    let warnings = plan["plan"]["warnings"].to_string();
    assert!(
        warnings.contains("cannot be reached from here") && warnings.contains("stay as they are"),
        "{warnings}"
    );
    assert_eq!(inside(&apart), Vec::<String>::new());
    run(&[&["plan"][..], &target].concat()).ends_with(1);
    run(&["destroy", "--yes"]).ends_with(0);
}

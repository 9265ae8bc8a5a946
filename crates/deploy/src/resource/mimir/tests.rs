//! Planned and applied by the engine, against a ruler of the test's own that answers
//! as Mimir 3.0.4 does.

use std::sync::Mutex;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Router, serve};
use dorainfra_engine::{self as engine, Action, ApplyOptions, Plan, PlanOptions};
use dorainfra_prometheus::Flavour;
use dorainfra_prometheus::Target;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::api::NAMESPACE;
use super::*;
use crate::blueprint::Private;

#[derive(Default)]
struct Fake {
    groups: Mutex<BTreeMap<(String, String), Value>>,
    alertmanager: Mutex<Option<Value>>,
    tenants: Mutex<Vec<String>>,
}

type Ruler = State<Arc<Fake>>;

fn parse(body: &str) -> Value {
    serde_saphyr::from_str(body).unwrap()
}

fn yaml(value: &Value) -> String {
    serde_saphyr::to_string(value).unwrap()
}

async fn namespace(State(fake): Ruler, Path(name): Path<String>, headers: axum::http::HeaderMap) -> String {
    fake.tenants.lock().unwrap().push(headers["x-scope-orgid"].to_str().unwrap().to_owned());
    let groups = fake.groups.lock().unwrap();
    let found: Vec<&Value> =
        groups.iter().filter(|((space, _), _)| *space == name).map(|(_, group)| group).collect();
    if found.is_empty() { "{}\n".into() } else { yaml(&json!({name: found})) }
}

async fn put(State(fake): Ruler, Path(space): Path<String>, body: String) -> (StatusCode, String) {
    let mut group = parse(&body);
    for rule in group["rules"].as_array_mut().unwrap() {
        if rule["expr"].as_str().unwrap().contains("!!") {
            return (StatusCode::BAD_REQUEST, "could not parse expression".into());
        }
        // Measured: spelled out where it is not set.
        rule["keep_firing_for"] = json!("0s");
    }
    let name = group["name"].as_str().unwrap().to_owned();
    fake.groups.lock().unwrap().insert((space, name), group);
    (StatusCode::ACCEPTED, String::new())
}

async fn group(State(fake): Ruler, Path(at): Path<(String, String)>) -> (StatusCode, String) {
    match fake.groups.lock().unwrap().get(&at) {
        Some(group) => (StatusCode::OK, yaml(group)),
        None => (StatusCode::NOT_FOUND, "group does not exist\n".into()),
    }
}

async fn delete(State(fake): Ruler, Path(at): Path<(String, String)>) -> StatusCode {
    fake.groups.lock().unwrap().remove(&at);
    StatusCode::ACCEPTED
}

async fn config(State(fake): Ruler) -> (StatusCode, String) {
    match &*fake.alertmanager.lock().unwrap() {
        Some(config) => (StatusCode::OK, yaml(config)),
        None => (StatusCode::NOT_FOUND, "alertmanager storage object not found\n".into()),
    }
}

async fn put_config(State(fake): Ruler, body: String) -> (StatusCode, String) {
    let document = parse(&body);
    if document["alertmanager_config"].as_str().unwrap().contains("wrong") {
        return (StatusCode::BAD_REQUEST, r#"unsupported scheme "s3cret" for URL"#.into());
    }
    *fake.alertmanager.lock().unwrap() = Some(document);
    (StatusCode::CREATED, String::new())
}

async fn delete_config(State(fake): Ruler) -> StatusCode {
    *fake.alertmanager.lock().unwrap() = None;
    StatusCode::OK
}

struct Lab {
    fake: Arc<Fake>,
    target: Target,
    client: Client,
    contents: Arc<BTreeMap<String, Content>>,
}

impl Lab {
    async fn new(contents: BTreeMap<String, Content>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let fake = Arc::new(Fake::default());
        let routes = Router::new()
            .route("/prometheus/config/v1/rules/{space}", get(namespace).post(put))
            .route("/prometheus/config/v1/rules/{space}/{group}", get(group).delete(delete))
            .route("/api/v1/alerts", get(config).post(put_config).delete(delete_config))
            .with_state(fake.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { serve(listener, routes).await.unwrap() });
        let target = Target::new(Flavour::Mimir, format!("http://{address}"), address).with_tenant("dora");
        let settings = gcp::Settings {
            proxy: None,
            events: dorainfra_model::Events::none(),
            retry_for: gcp::RETRY_FOR,
            endpoints: gcp::Endpoints::default(),
            credentials: None,
            person: false,
            gcloud: false,
            project: "p".into(),
        };
        let client = Client::new(settings).unwrap();
        Self { fake, target, client, contents: Arc::new(contents) }
    }

    /// As every run of the program opens it anew.
    fn mimir(&self) -> Arc<Mimir> {
        let api = || MimirApi::new(self.target.clone()).unwrap();
        let reach = Reach {
            flavour: Flavour::Mimir,
            server_name: "m".into(),
            tenant: "dora".into(),
            region: "r".into(),
            known: None,
            address: "a".into(),
            endpoint: None,
            secret: None,
            machines: Vec::new(),
            patience: Duration::ZERO,
            hint: "open the door".into(),
        };
        let interrupt = CancellationToken::new();
        let (client, machines) = (self.client.clone(), Reader::new(self.client.clone()));
        let mut mimir = Mimir::new(client, machines, reach, "dora", self.contents.clone(), interrupt);
        mimir.before = OnceCell::new_with(Some(Ok(Some(api()))));
        mimir.serving = OnceCell::new_with(Some(Ok(api())));
        Arc::new(mimir)
    }

    async fn plan(&self, manifests: &[Manifest]) -> Plan {
        let events = Events::none();
        let options = PlanOptions::default();
        engine::plan("dora", manifests.to_vec(), &*self.mimir(), &options, &events).await.unwrap()
    }

    /// Applies what was planned; the failures.
    async fn apply(&self, plan: &Plan) -> Vec<String> {
        let (options, interrupt) = (ApplyOptions::default(), CancellationToken::new());
        let events = Events::none();
        let outcome = engine::apply(plan, self.mimir(), &options, None, &interrupt, &events).await.unwrap();
        outcome.failed.into_iter().map(|(id, message, _)| format!("{id}: {message}")).collect()
    }
}

fn manifest(kind: &str, name: &str, body: Value) -> Manifest {
    Manifest::new(kind, name, body)
}

fn alerts() -> Manifest {
    let rules = json!([
        {"alert": "Down", "expr": "up == 0", "for": "5m", "labels": {"severity": "warning"},
         "annotations": {"summary": "{{ $labels.job }} is down"}},
        {"alert": "Late", "expr": "a\n  > 1", "labels": {"severity": "critical"}},
    ]);
    manifest("mimir.ruleGroup", "alerts", json!({"interval": "1m", "rules": rules}))
}

fn records() -> Manifest {
    manifest("mimir.ruleGroup", "records/28d", json!({"rules": [{"record": "a:b", "expr": "sum(up)"}]}))
}

/// `action id` and each changed path, of what is to be done.
fn told(plan: &Plan) -> Vec<String> {
    let steps = plan.steps.iter().filter(|step| step.action != Action::NoOp);
    steps
        .map(|step| {
            let paths: Vec<&str> = step.changes.iter().map(|change| change.path.as_str()).collect();
            format!("{:?} {} {}", step.action, step.id, paths.join(" ")).trim_end().to_owned()
        })
        .collect()
}

#[tokio::test]
async fn rule_groups_are_diffed_like_any_resource() {
    let lab = Lab::new(BTreeMap::new()).await;
    let manifests = [alerts(), records()];
    let first = lab.plan(&manifests).await;
    assert_eq!(told(&first), ["Create mimir.ruleGroup/alerts", "Create mimir.ruleGroup/records/28d"]);
    assert_eq!(lab.apply(&first).await, Vec::<String>::new());
    assert_eq!(told(&lab.plan(&manifests).await), Vec::<String>::new(), "the plan after an apply is empty");
    assert!(lab.fake.tenants.lock().unwrap().iter().all(|tenant| tenant == "dora"));

    // Somebody changes one, deletes one, adds one, and has some of their own.
    {
        let mut groups = lab.fake.groups.lock().unwrap();
        let of = |name: &str| (NAMESPACE.to_owned(), name.to_owned());
        let alerts = groups.get_mut(&of("alerts")).unwrap();
        alerts["rules"][0]["for"] = json!("1h");
        alerts["rules"][0]["labels"]["team"] = json!("nobody");
        alerts["rules"][1]["expr"] = json!("a > 2");
        alerts["rules"].as_array_mut().unwrap().push(json!({"alert": "Noise", "expr": "vector(1)"}));
        groups.remove(&of("records/28d"));
        groups.insert(of("left"), json!({"name": "left", "rules": []}));
        groups.insert(("theirs".into(), "left".into()), json!({"name": "left", "rules": []}));
    }
    let drift = lab.plan(&manifests).await;
    assert_eq!(
        told(&drift),
        [
            "Update mimir.ruleGroup/alerts rules[Down].for rules[Down].labels.team rules[Late].expr rules[Noise]",
            "Create mimir.ruleGroup/records/28d",
            "Delete mimir.ruleGroup/left",
        ]
    );
    assert_eq!(lab.apply(&drift).await, Vec::<String>::new());
    assert_eq!(told(&lab.plan(&manifests).await), Vec::<String>::new());
    let spaces: Vec<String> =
        lab.fake.groups.lock().unwrap().keys().map(|(space, name)| format!("{space}/{name}")).collect();
    assert_eq!(spaces, ["dorainfra/alerts", "dorainfra/records/28d", "theirs/left"]);

    // No longer declared.
    let fewer = lab.plan(&manifests[1..]).await;
    assert_eq!(told(&fewer), ["Delete mimir.ruleGroup/alerts"]);
    // What the ruler refuses is told in its words.
    let wrong = manifest("mimir.ruleGroup", "alerts", json!({"rules": [{"alert": "Down", "expr": "up !!"}]}));
    let failed = lab.apply(&lab.plan(&[wrong]).await).await;
    assert_eq!(
        failed,
        ["mimir.ruleGroup/alerts: Mimir refused to take the rule group alerts: could not parse expression \
             (HTTP 400)"]
    );
}

/// The user's file, as the blueprint knows it.
fn private(folder: &std::path::Path, name: &str, text: &str) -> (Manifest, (String, Content)) {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    let digest = hex::encode(Sha256::digest(text));
    (
        manifest("mimir.alertmanager", "config", json!({"sha256": digest.clone()})),
        (digest.clone(), Content::Private(Private { sha256: digest, path: Some(path), watchdog: None })),
    )
}

#[tokio::test]
async fn of_the_alertmanagers_configuration_only_a_digest_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (first, a) = private(folder.path(), "a", "route: {receiver: x}\n# s3cret\n");
    let (second, b) = private(folder.path(), "b", "route: {receiver: y}\n# s3cret\n");
    let (wrong, c) = private(folder.path(), "c", "wrong: s3cret\n");
    let (gone, d) = private(folder.path(), "d", "route: s3cret\n");
    let lab = Lab::new(BTreeMap::from([a, b, c, d])).await;

    // One that somebody loaded is neither ours nor in the way of anything.
    let theirs = json!({"alertmanager_config": "route: {receiver: z}\n"});
    *lab.fake.alertmanager.lock().unwrap() = Some(theirs.clone());
    assert_eq!(told(&lab.plan(&[]).await), Vec::<String>::new());
    *lab.fake.alertmanager.lock().unwrap() = None;

    let plan = lab.plan(std::slice::from_ref(&first)).await;
    assert_eq!(told(&plan), ["Create mimir.alertmanager/config"]);
    assert_eq!(lab.apply(&plan).await, Vec::<String>::new());
    assert_eq!(told(&lab.plan(std::slice::from_ref(&first)).await), Vec::<String>::new());

    let changed = lab.plan(std::slice::from_ref(&second)).await;
    assert_eq!(told(&changed), ["Update mimir.alertmanager/config sha256"]);
    assert_eq!(changed.steps[0].reason, "you changed the configuration");
    assert!(
        !serde_json::to_string(&dorainfra_model::PlanDocument::from(&changed)).unwrap().contains("s3cret")
    );
    assert_eq!(lab.apply(&changed).await, Vec::<String>::new());

    *lab.fake.alertmanager.lock().unwrap() = Some(theirs);
    let drift = lab.plan(std::slice::from_ref(&second)).await;
    assert_eq!(told(&drift), ["Update mimir.alertmanager/config sha256"]);
    assert_eq!(lab.apply(&drift).await, Vec::<String>::new());

    let refused = lab.apply(&lab.plan(&[wrong]).await).await.remove(0);
    assert!(refused.contains("unsupported scheme \"…\" for URL (HTTP 400)"), "{refused}");
    // Changed between the plan and its apply.
    let plan = lab.plan(std::slice::from_ref(&gone)).await;
    std::fs::write(folder.path().join("d"), "route: other").unwrap();
    let late = lab.apply(&plan).await.remove(0);
    assert!(late.ends_with("was changed after it was planned"), "{late}");

    let none = lab.plan(&[]).await;
    assert_eq!(told(&none), ["Delete mimir.alertmanager/config"]);
    assert_eq!(lab.apply(&none).await, Vec::<String>::new());
    assert_eq!(*lab.fake.alertmanager.lock().unwrap(), None);
}

#[tokio::test]
async fn a_mimir_that_does_not_answer_is_told_with_what_to_do() {
    let mut lab = Lab::new(BTreeMap::new()).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    lab.target = Target::new(Flavour::Mimir, format!("http://{closed}"), closed);
    let error = lab.mimir().read(&records()).await.unwrap_err();
    assert!(
        error.message.starts_with(&format!("Mimir at {closed} cannot be reached from here: ")),
        "{error}"
    );
    assert_eq!(error.hint.as_deref(), Some("open the door"));
    assert!(!error.unknown_outcome);
    // One that took the request: the door is open, and what it did with it is not known.
    let slow = super::api::MimirError::Silent { at: "10.0.0.1:9009".into() }.told("open the door");
    assert!(slow.hint.unwrap().contains("dorainfra status"), "{}", slow.message);
    assert!(slow.unknown_outcome);
}

//! A laboratory for machines: the templates rendered, a bundle made of them, a
//! small storage and secret service, and a world with one instance. It owns its
//! folder, its port and everything that it starts.

#![allow(clippy::unwrap_used, dead_code, unused_imports)]

mod recipe;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dorainfra_gcp_sandbox::machine::{Boot, MachineId, Machines, World, process_machines};
use dorainfra_pki::{Authority, Credentials, Usage};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

pub use self::recipe::{Engine, Recipe};

pub const PROJECT: &str = "lab";
pub const ZONE: &str = "europe-west1-b";
pub const NAME: &str = "dora-mimir";
pub const SERVER_NAME: &str = "mimir.dora.internal";
pub const TOKEN: &str = "a-token-of-the-lab";
/// How long a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(90);

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A CA that lives long enough for a test.
fn authority() -> Authority {
    Authority::new("lab ca", time::Duration::days(1), time::OffsetDateTime::now_utc()).unwrap()
}

/// A secret's payload: a server certificate that can be a client's too.
pub fn certificate(authority: &Authority) -> Credentials {
    let now = time::OffsetDateTime::now_utc();
    let (names, life) = ([SERVER_NAME.to_owned()], time::Duration::days(1));
    authority.issue(Usage::Server, SERVER_NAME, &names, life, authority.ca.clone(), now).unwrap()
}

/// What `dorainfra-certificate` says of a version with this payload.
pub fn wanted(version: u32, payload: &Credentials) -> String {
    format!("{version}:{}", dorainfra_pki::fingerprints(&payload.certificate).unwrap()[0])
}

/// The sandbox's state, as far as one machine sees it.
pub struct Cloud {
    pub instance: Mutex<Value>,
    guest: Mutex<BTreeMap<String, BTreeMap<String, String>>>,
    objects: Mutex<BTreeMap<String, bytes::Bytes>>,
    /// The newest version, and its payload.
    secret: Mutex<Option<(u32, String)>>,
    changes: watch::Sender<u64>,
}

impl World for Cloud {
    fn instance(&self, _: &str, _: &str, _: &str) -> Option<Value> {
        Some(self.instance.lock().unwrap().clone())
    }

    fn set_guest_attribute(&self, _: &str, _: &str, _: &str, space: &str, key: &str, value: Option<String>) {
        let mut guest = self.guest.lock().unwrap();
        let entries = guest.entry(space.to_owned()).or_default();
        match value {
            Some(value) => entries.insert(key.to_owned(), value),
            None => entries.remove(key),
        };
        drop(guest);
        self.changes.send_modify(|tick| *tick += 1);
    }

    fn guest_attributes(&self, _: &str, _: &str, _: &str) -> BTreeMap<String, BTreeMap<String, String>> {
        self.guest.lock().unwrap().clone()
    }

    fn token(&self, _: &str, _: &str, _: &str, _: &[String]) -> (String, u64) {
        (TOKEN.into(), 3599)
    }

    fn subscribe(&self, _: &str, _: &str, _: &str) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn project_number(&self, _: &str) -> u64 {
        123_456
    }

    fn project_attributes(&self, _: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("team".into(), "lab".into())])
    }
}

/// Enough of the bucket for an engine that looks and finds nothing.
async fn listing(headers: HeaderMap) -> Result<String, StatusCode> {
    if authorized(&headers) {
        Ok(json!({"kind": "storage#objects"}).to_string())
    } else {
        Err(StatusCode::FORBIDDEN)
    }
}

fn authorized(headers: &HeaderMap) -> bool {
    headers.get("authorization").is_some_and(|value| value == &format!("Bearer {TOKEN}"))
}

async fn object(
    State(cloud): State<Arc<Cloud>>,
    UrlPath((bucket, name)): UrlPath<(String, String)>,
    headers: HeaderMap,
) -> Result<bytes::Bytes, (StatusCode, String)> {
    let denied = json!({"error": {"code": 403, "message": "storage.objects.get denied"}}).to_string();
    if !authorized(&headers) || bucket != "lab-bucket" {
        return Err((StatusCode::FORBIDDEN, denied));
    }
    let missing = json!({"error": {"code": 404, "message": "No such object"}}).to_string();
    cloud.objects.lock().unwrap().get(&name).cloned().ok_or((StatusCode::NOT_FOUND, missing))
}

async fn secret(
    State(cloud): State<Arc<Cloud>>,
    UrlPath((project, name, version)): UrlPath<(String, String, String)>,
    headers: HeaderMap,
) -> Result<String, (StatusCode, String)> {
    let denied =
        json!({"error": {"code": 403, "message": "secretmanager.versions.access denied"}}).to_string();
    let payload = cloud.secret.lock().unwrap().clone();
    let asked = (project.as_str(), name.as_str(), version.as_str());
    match payload {
        Some((number, payload))
            if authorized(&headers) && asked == (PROJECT, "dora-server", &format!("{number}:access")) =>
        {
            let answer = json!({
                "name": format!("projects/1/secrets/dora-server/versions/{number}"),
                "payload": {"data": STANDARD.encode(payload), "dataCrc32c": "1"}
            });
            Ok(serde_json::to_string_pretty(&answer).unwrap())
        }
        _ => Err((StatusCode::FORBIDDEN, denied)),
    }
}

pub struct Lab {
    pub authority: Authority,
    pub cloud: Arc<Cloud>,
    pub machines: Arc<dyn Machines>,
    pub port: u16,
    pub dir: tempfile::TempDir,
    /// How many documents are passed over by `stages`.
    forgotten: Mutex<usize>,
}

impl Lab {
    pub async fn new() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let authority = authority();
        let payload = certificate(&authority);
        let cloud = Arc::new(Cloud {
            instance: Mutex::new(json!({})),
            guest: Mutex::default(),
            objects: Mutex::default(),
            secret: Mutex::new(Some((1, serde_json::to_string(&payload).unwrap()))),
            changes: watch::Sender::new(0),
        });
        *cloud.instance.lock().unwrap() = instance(port, &wanted(1, &payload));
        let routes = Router::new()
            .route("/storage/v1/b/{bucket}/o", get(listing))
            .route("/storage/v1/b/{bucket}/o/{name}", get(object))
            .route("/v1/projects/{project}/secrets/{secret}/versions/{version}", get(secret))
            .with_state(Arc::clone(&cloud));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let machines = process_machines(Arc::clone(&cloud) as Arc<dyn World>);
        let (dir, forgotten) = (tempfile::tempdir().unwrap(), Mutex::default());
        Self { authority, cloud, machines, port, dir, forgotten }
    }

    pub fn machine_dir(&self) -> PathBuf {
        self.dir.path().join("machine")
    }

    pub fn disk(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    pub fn root(&self) -> PathBuf {
        self.machine_dir().join("root")
    }

    pub fn home(&self) -> PathBuf {
        self.root().join("var/lib/dorainfra")
    }

    pub fn metadata(&self, path: &str) -> String {
        format!("http://{}/computeMetadata/v1/{path}", SocketAddr::new(address(self.port), self.port))
    }

    pub fn id(&self) -> MachineId {
        self.boot_order().id()
    }

    pub fn boot_order(&self) -> Boot {
        Boot {
            project: PROJECT.into(),
            zone: ZONE.into(),
            name: NAME.into(),
            address: address(self.port),
            instance: self.cloud.instance.lock().unwrap().clone(),
            disks: vec![("data".into(), self.disk())],
            dir: self.machine_dir(),
            sandbox_port: self.port,
        }
    }

    pub async fn boot(&self) {
        self.machines.boot(self.boot_order()).await.unwrap();
    }

    /// Uploads what the recipe makes and answers the bundle's digest.
    pub fn upload(&self, recipe: &Recipe) -> String {
        let bundle = recipe.bundle();
        let digest = sha256(&bundle);
        let mut objects = self.cloud.objects.lock().unwrap();
        objects.insert(format!("artifacts/{}", recipe.engine.sha256), recipe.engine.bytes.clone());
        objects.insert(format!("bundles/{digest}.tar"), bundle.into());
        digest
    }

    pub fn put_object(&self, name: &str, bytes: Vec<u8>) {
        self.cloud.objects.lock().unwrap().insert(name.into(), bytes.into());
    }

    /// What the secret holds now; `None`: nobody may read it.
    pub fn set_secret(&self, payload: Option<(u32, &Credentials)>) {
        *self.cloud.secret.lock().unwrap() =
            payload.map(|(number, payload)| (number, serde_json::to_string(payload).unwrap()));
    }

    /// Has the machine take this version; `item` says which it is to be.
    pub async fn want_certificate(&self, number: u32, payload: &Credentials, item: &str) {
        self.set_secret(Some((number, payload)));
        self.set_item("dorainfra-certificate", item).await;
    }

    /// Changes a metadata item, as `instances.setMetadata` does.
    pub async fn set_item(&self, key: &str, value: &str) {
        let metadata = {
            let mut instance = self.cloud.instance.lock().unwrap();
            let items = instance["metadata"]["items"].as_array_mut().unwrap();
            items.retain(|item| item["key"] != key);
            items.push(json!({"key": key, "value": value}));
            instance["metadata"].clone()
        };
        self.machines.metadata_changed(&self.id(), metadata).await;
    }

    /// A guest attribute as it was written.
    pub fn attribute(&self, key: &str) -> String {
        let guest = self.cloud.guest.lock().unwrap();
        guest.get("dorainfra").and_then(|all| all.get(key)).cloned().unwrap_or_default()
    }

    /// What the machine has told of itself, oldest first.
    fn documents(&self) -> Vec<Value> {
        let serial = self.serial();
        let told = serial.lines().filter_map(|line| line.split_once("dorainfra-status "));
        told.map(|(_, document)| serde_json::from_str(document).unwrap()).collect()
    }

    /// What it tells now.
    pub fn guest(&self, key: &str) -> String {
        let documents = self.documents();
        documents.last().map_or_else(String::new, |told| told[key].as_str().unwrap().to_owned())
    }

    /// Each stage that it told, repetitions left out.
    pub fn stages(&self) -> Vec<String> {
        let documents = self.documents().split_off(*self.forgotten.lock().unwrap());
        let mut stages: Vec<String> =
            documents.iter().map(|told| told["stage"].as_str().unwrap().to_owned()).collect();
        stages.dedup();
        stages
    }

    pub fn forget_stages(&self) {
        *self.forgotten.lock().unwrap() = self.documents().len();
    }

    /// Waits until a bundle has come to an end that satisfies the test.
    pub async fn wait_for(&self, stage: &str, wanted: &str) {
        self.wait_until(&format!("stage {stage} of {}", &wanted[..12]), || {
            self.guest("stage") == stage && self.guest("wanted") == wanted
        })
        .await;
    }

    /// Waits until a condition holds; shows the machine's console when it never does.
    pub async fn wait_until(&self, what: &str, holds: impl Fn() -> bool) {
        if !within(PATIENCE, &holds).await {
            let guest = self.cloud.guest.lock().unwrap().clone();
            panic!("no {what}\n{guest:#?}\n{}", self.machines.serial_output(&self.id(), 0).0);
        }
    }

    pub fn serial(&self) -> String {
        self.machines.serial_output(&self.id(), 0).0
    }

    /// The processes of this lab's machine.
    pub fn processes(&self) -> Vec<u32> {
        processes_of(&self.root())
    }

    /// How often the quick engine was started, on this data disk.
    pub fn starts(&self) -> usize {
        std::fs::read_to_string(self.disk().join("fs/starts")).map_or(0, |text| text.lines().count())
    }
}

/// A client of the machine's endpoint; with a certificate or without one.
pub fn client(lab: &Lab, with_certificate: bool) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (_, secret) = lab.cloud.secret.lock().unwrap().clone().unwrap();
    let secret: Value = serde_json::from_str(&secret).unwrap();
    let pem = |field: &str| secret[field].as_str().unwrap().to_owned();
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(20))
        .resolve(SERVER_NAME, SocketAddr::new(address(lab.port), 9009))
        .tls_certs_only([reqwest::Certificate::from_pem(pem("ca").as_bytes()).unwrap()]);
    if with_certificate {
        let identity = pem("certificate") + &pem("key");
        builder = builder.identity(reqwest::Identity::from_pem(identity.as_bytes()).unwrap());
    }
    builder.build().unwrap()
}

/// A program of this machine: of Debian's packages, or in the project's own folder.
pub fn program(name: &str) -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin").join(name);
    [own, Path::new("/usr/bin").join(name)].into_iter().find(|path| path.is_file())
}

pub fn address(port: u16) -> IpAddr {
    let [high, low] = port.to_be_bytes();
    Ipv4Addr::new(127, high, low, 10).into()
}

fn instance(port: u16, certificate: &str) -> Value {
    let items = json!([
        {"key": "startup-script", "value": Recipe::quick().render("startup-script.sh.j2")},
        {"key": "enable-guest-attributes", "value": "TRUE"},
        {"key": "dorainfra-bucket", "value": "lab-bucket"},
        {"key": "dorainfra-secret", "value": "dora-server"},
        {"key": "dorainfra-certificate", "value": certificate},
        {"key": "dorainfra-server-name", "value": SERVER_NAME},
    ]);
    json!({
        "id": "4242424242424242424",
        "name": NAME,
        "zone": format!("https://www.googleapis.com/compute/v1/projects/{PROJECT}/zones/{ZONE}"),
        "machineType": format!("zones/{ZONE}/machineTypes/e2-medium"),
        "metadata": {"items": items},
        "tags": {"items": ["mimir"]},
        "disks": [{"boot": true}, {"deviceName": "data"}],
        "networkInterfaces": [{
            "network": "global/networks/default",
            "networkIP": address(port).to_string(),
            "accessConfigs": [{"type": "ONE_TO_ONE_NAT", "natIP": address(port).to_string()}]
        }],
        "serviceAccounts": [{
            "email": "dora-mimir@lab.iam.gserviceaccount.com",
            "scopes": ["https://www.googleapis.com/auth/cloud-platform"]
        }]
    })
}

/// Polls a condition; false when it did not hold in time.
pub async fn within(patience: Duration, holds: impl Fn() -> bool) -> bool {
    tokio::time::timeout(patience, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .is_ok()
}

pub fn processes_of(root: &Path) -> Vec<u32> {
    let marker = format!("DORAINFRA_ROOT={}", root.canonicalize().unwrap_or(root.into()).display());
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|all| all.split(|&byte| byte == 0).any(|one| one == marker.as_bytes()))
        })
        .collect()
}

//! A sandbox in this process on a port of its own, and a client that calls it as
//! its owner.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dorainfra_gcp_sandbox::machine::{Boot, MachineId, Machines, World};
use dorainfra_gcp_sandbox::{Driver, Options, SandboxError, StateFile, serve};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const PROJECT: &str = "sandbox-test";
pub const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
pub const ZONE: &str = "europe-west1-b";
pub const REGION: &str = "europe-west1";

/// Operations take next to no time unless a test says otherwise.
pub fn options(dir: &Path) -> Options {
    let mut options = Options::new(dir, PROJECT);
    options.operation_ms.insert("*".into(), 1);
    options
}

pub struct Sandbox {
    pub state: StateFile,
    pub http: reqwest::Client,
    pub token: String,
    stop: CancellationToken,
    task: JoinHandle<Result<(), SandboxError>>,
    /// Kept as long as the sandbox, where the test has none of its own.
    _dir: Option<tempfile::TempDir>,
}

pub async fn try_start(options: Options) -> Result<Sandbox, SandboxError> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (ready, told) = oneshot::channel();
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(options, ready, stop.clone()));
    let Ok(state) = told.await else {
        return Err(task.await.unwrap().unwrap_err());
    };
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
    let mut sandbox = Sandbox { state, http, token: String::new(), stop, task, _dir: None };
    sandbox.token = sandbox.owner_token(SCOPE).await;
    Ok(sandbox)
}

/// A sandbox in a folder of its own with every service enabled.
pub async fn start() -> Sandbox {
    let dir = tempfile::tempdir().unwrap();
    let mut sandbox = try_start(options(dir.path())).await.unwrap();
    sandbox._dir = Some(dir);
    sandbox.enable().await;
    sandbox
}

/// The same with machines that a test makes.
pub async fn start_with(
    machines: impl Fn(Arc<dyn World>) -> Arc<dyn Machines> + Send + Sync + 'static,
) -> Sandbox {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.machines = Driver::With(Arc::new(move |world, _| Ok(machines(world))));
    let mut sandbox = try_start(options).await.unwrap();
    sandbox._dir = Some(dir);
    sandbox.enable().await;
    sandbox
}

impl Sandbox {
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.state.port)
    }

    pub fn key_file(&self) -> PathBuf {
        self.state.dir.join("key.json")
    }

    /// By the key file, as any Google client gets one.
    pub async fn owner_token(&self, scope: &str) -> String {
        use gcp_auth::TokenProvider as _;
        let account = gcp_auth::CustomServiceAccount::from_file(self.key_file()).unwrap();
        account.token(&[scope]).await.unwrap().as_str().to_owned()
    }

    /// As whoever may: the owner at Google's APIs, the reader of its folder at the controls.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let token = match path.starts_with("sandbox/") {
            true => std::fs::read_to_string(self.state.dir.join("control.token")).unwrap(),
            false => self.token.clone(),
        };
        self.http.request(method, self.url(path)).bearer_auth(token.trim())
    }

    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        answer(request.send().await.unwrap()).await
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> (u16, Value) {
        self.call(Method::DELETE, path, None).await
    }

    /// A read that has to succeed.
    pub async fn read(&self, path: &str) -> Value {
        let (status, value) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    /// The message of a refusal, which has to be of that status.
    pub async fn refused(&self, method: Method, path: &str, body: Option<Value>, status: u16) -> String {
        let (found, value) = self.call(method, path, body).await;
        assert_eq!(found, status, "{path}: {value}");
        assert_eq!(value["error"]["code"], status, "{value}");
        value["error"]["message"].as_str().unwrap().to_owned()
    }

    /// A Compute path of the project.
    pub fn compute(&self, path: &str) -> String {
        format!("compute/v1/projects/{PROJECT}/{path}")
    }

    /// A Compute write and the wait for its operation; answers the operation.
    pub async fn operate(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let (status, operation) = self.call(method, &self.compute(path), body).await;
        assert_eq!(status, 200, "{path}: {operation}");
        self.wait(&operation).await
    }

    pub async fn wait(&self, operation: &Value) -> Value {
        let link = operation["selfLink"].as_str().unwrap();
        let path = link.trim_start_matches("https://www.googleapis.com/");
        let (status, done) = self.call(Method::POST, &format!("{path}/wait"), None).await;
        assert_eq!((status, &done["status"]), (200, &json!("DONE")), "{done}");
        done
    }

    pub async fn insert(&self, collection: &str, body: Value) {
        let done = self.operate(Method::POST, collection, Some(body)).await;
        assert!(done["error"].is_null(), "{done}");
    }

    pub async fn enable(&self) {
        let services = ["compute", "iam", "secretmanager"].map(|name| format!("{name}.googleapis.com"));
        let (status, operation) = self
            .post(&format!("v1/projects/{PROJECT}/services:batchEnable"), json!({"serviceIds": services}))
            .await;
        assert_eq!(status, 200, "{operation}");
        let name = operation["name"].as_str().unwrap().to_owned();
        eventually("the services are enabled", || async {
            self.get(&format!("v1/{name}")).await.1["done"] == true
        })
        .await;
    }

    pub async fn account(&self, id: &str) -> String {
        let body = json!({"accountId": id, "serviceAccount": {"displayName": "Test"}});
        let (status, account) = self.post(&format!("v1/projects/{PROJECT}/serviceAccounts"), body).await;
        assert_eq!(status, 200, "{account}");
        account["email"].as_str().unwrap().to_owned()
    }

    pub async fn bucket(&self, name: &str) {
        let body = json!({"name": name, "location": "EUROPE-WEST1",
            "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": true}, "publicAccessPrevention": "enforced"},
            // Gone is gone: tests count what is left.
            "softDeletePolicy": {"retentionDurationSeconds": "0"}});
        let (status, bucket) = self.post(&format!("storage/v1/b?project={PROJECT}"), body).await;
        assert_eq!(status, 200, "{bucket}");
    }

    pub async fn upload(&self, bucket: &str, name: &str, bytes: &'static [u8]) -> Value {
        let path = format!("upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}");
        let request = self.request(Method::POST, &path).header("content-type", "text/plain").body(bytes);
        let (status, object) = answer(request.send().await.unwrap()).await;
        assert_eq!(status, 200, "{object}");
        object
    }

    pub async fn faults(&self, rules: Value) {
        let (status, answer) = self.call(Method::PUT, "sandbox/faults", Some(rules)).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// Ends it in order.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Ends it without notice: what is under way stays undone. (A kill of a whole
    /// process is in `sandbox_kill.rs`.)
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

pub async fn answer(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Asks again until it holds, for ten seconds at most.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let asked = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), asked).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// The body of a small instance.
pub fn instance(name: &str) -> Value {
    json!({
        "name": name,
        "machineType": format!("zones/{ZONE}/machineTypes/e2-medium"),
        "disks": [{"boot": true, "autoDelete": true, "initializeParams":
            {"sourceImage": "projects/debian-cloud/global/images/family/debian-12", "diskSizeGb": "10"}}],
        "networkInterfaces": [{"network": "global/networks/default"}],
    })
}

/// The messages of an instance's moves, in order.
pub type Moves = Arc<std::sync::Mutex<Vec<String>>>;

/// Machines that write down what they are told.
pub struct Recorder {
    pub moves: Moves,
    pub fail_boot: bool,
}

#[async_trait::async_trait]
impl Machines for Recorder {
    async fn boot(&self, boot: Boot) -> Result<(), String> {
        let disks: Vec<&str> = boot.disks.iter().map(|(device, _)| device.as_str()).collect();
        self.moves.lock().unwrap().push(format!("boot {} {} {}", boot.name, boot.address, disks.join(",")));
        assert!(boot.disks.iter().all(|(_, folder)| folder.is_dir()));
        if self.fail_boot { Err("no power".into()) } else { Ok(()) }
    }

    async fn restore(&self, boots: Vec<Boot>) {
        for boot in boots {
            let _ = self.boot(boot).await;
        }
    }

    async fn stop(&self, id: &MachineId) -> Result<(), String> {
        self.moves.lock().unwrap().push(format!("stop {}", id.name));
        Ok(())
    }

    async fn delete(&self, id: &MachineId) -> Result<(), String> {
        self.moves.lock().unwrap().push(format!("delete {}", id.name));
        Ok(())
    }

    async fn reset(&self, id: &MachineId) -> Result<(), String> {
        self.moves.lock().unwrap().push(format!("reset {}", id.name));
        Ok(())
    }

    async fn metadata_changed(&self, id: &MachineId, metadata: Value) {
        self.moves.lock().unwrap().push(format!("metadata {} {}", id.name, metadata["items"][0]["value"]));
    }

    async fn shutdown(&self) {
        self.moves.lock().unwrap().push("shutdown".into());
    }

    fn serial_output(&self, _id: &MachineId, start: u64) -> (String, u64) {
        let all = "booting\nready\n";
        (all.get(start as usize..).unwrap_or_default().to_owned(), all.len() as u64)
    }
}

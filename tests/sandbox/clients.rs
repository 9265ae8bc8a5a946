//! Google's own tools and clients against the sandbox, unchanged but for the
//! variables that `dorainfra sandbox start` prints: gcloud, and the clients of
//! Python, Node and Go. Each script in tests/clients is one test; the methods that it
//! has called are held to its list in tests/coverage. A tool that is not there is
//! skipped, with the reason told.

use crate::coverage;
use crate::google;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::sandbox_support::{Sandbox, start, start_with};
use dorainfra_gcp_sandbox::Handle;
use dorainfra_gcp_sandbox::machine::process_machines;
use reqwest::Method;
use serde_json::json;
use tokio::process::Command;

/// How long one script may take.
const PATIENCE: Duration = Duration::from_secs(300);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Runs a command with the sandbox's variables and holds what it has called to
/// `tests/coverage/LIST.txt`. Every answer has to be as Google's documents say.
async fn driven(list: &str, command: Command, start: impl AsyncFnOnce() -> Sandbox) {
    let Some(documents) = google::documents() else { return };
    let sandbox = start().await;
    run(&sandbox, command, list).await;
    let requests = sandbox.read("sandbox/requests").await;
    let (called, checked) = (coverage::called(&requests), documents.check_answers(&requests));
    assert!(called.is_subset(&checked), "not held to a document: {:?}", called.difference(&checked));
    coverage::holds(list, &called);
    sandbox.stop().await;
}

async fn run(sandbox: &Sandbox, mut command: Command, name: &str) {
    let handle = Handle::find(&sandbox.state.dir).await.unwrap();
    command.envs(handle.exports()).env("HOME", &sandbox.state.dir).stdin(Stdio::null()).kill_on_drop(true);
    sandbox.delete("sandbox/requests").await;
    sandbox.call(Method::PUT, "sandbox/recording", Some(json!({"bodies": true}))).await;
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("the script ends").unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // A script that does nothing would succeed as well; then its list is stale.
    assert!(output.status.success(), "{name}\n{stdout}\n{stderr}");
}

/// A program with nothing of this process's environment but where programs are.
fn clean(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(google::path());
    command
}

fn python(script: &str) -> Option<Command> {
    let mut command = clean(google::python()?);
    // Nothing is written beside the scripts.
    command.arg("-B").arg(folder().join(script).with_extension("py"));
    Some(command)
}

/// gcloud, driven by a script that needs nothing but Python itself.
fn gcloud(script: &str) -> Option<Command> {
    google::program("gcloud").and_then(|_| python(script))
}

fn node(script: &str) -> Option<Command> {
    let (program, clients) = (google::program("node")?, google::installed_where("npm", "node/package.json")?);
    let mut command = clean(program);
    command.arg("--test").arg(folder().join("node").join(script).with_extension("mjs"));
    command.env("NODE_CLIENTS", clients.parent().unwrap());
    Some(command)
}

/// Go's clients as a program: built by `scripts/setup --tests`, which takes a while.
fn go() -> Option<Command> {
    Some(clean(google::installed_where("go", "go/clients")?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gcloud_and_compute_engine() {
    let Some(command) = gcloud("gcloud_compute") else { return };
    driven("gcloud-compute", command, start).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gcloud_and_the_other_apis() {
    let Some(command) = gcloud("gcloud_apis") else { return };
    driven("gcloud-apis", command, start).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pythons_clients_and_cloud_storage() {
    let Some(command) = python("storage") else { return };
    driven("python-storage", command, start).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pythons_clients_and_the_other_apis() {
    let Some(command) = python("apis") else { return };
    driven("python-apis", command, start).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pythons_clients_and_compute_engine() {
    let Some(command) = python("compute") else { return };
    driven("python-compute", command, || start_with(process_machines)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_clients_and_cloud_storage() {
    let Some(command) = node("storage") else { return };
    let sandbox = start().await;
    run(&sandbox, command, "node-storage").await;
    // To an emulator it leaves out `/storage/v1`, so no document has these paths: what is
    // held to documents is the same methods' answers to the other clients.
    coverage::holds("node-storage", &coverage::called(&sandbox.read("sandbox/requests").await));
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gos_clients() {
    let Some(command) = go() else { return };
    driven("go", command, start).await;
}

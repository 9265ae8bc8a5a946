//! Google's own Python clients against the sandbox, unchanged but for the
//! variables that `dorainfra sandbox start` prints. Each script in tests/clients
//! is one test; the methods that it has called are held to its list in
//! tests/coverage.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod coverage;
mod google;
mod sandbox_support;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use dorainfra::sandbox::Handle;
use dorainfra::sandbox::machine::process_machines;
use reqwest::Method;
use sandbox_support::{Sandbox, start, start_with};
use serde_json::json;

/// How long one script may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs `tests/clients/SCRIPT.py` and holds it to `tests/coverage/python-SCRIPT.txt`.
/// Every answer has to be as Google's documents say.
async fn script(name: &str, start: impl AsyncFnOnce() -> Sandbox) {
    let (Some(python), Some(documents)) = (google::python(), google::documents()) else { return };
    let sandbox = start().await;
    run(&sandbox, &python, name).await;
    let requests = sandbox.read("sandbox/requests").await;
    let (called, checked) = (coverage::called(&requests), documents.check_answers(&requests));
    assert!(called.is_subset(&checked), "not held to a document: {:?}", called.difference(&checked));
    coverage::holds(&format!("python-{name}"), &called);
    sandbox.stop().await;
}

async fn run(sandbox: &Sandbox, python: &Path, name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let handle = Handle::find(&sandbox.state.dir).await.unwrap();
    let mut command = tokio::process::Command::new(python);
    command
        // Nothing is written beside the scripts.
        .arg("-B")
        .arg(folder.join(name).with_extension("py"))
        .env_clear()
        .envs(handle.exports())
        .env("HOME", &sandbox.state.dir)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    sandbox.delete("sandbox/requests").await;
    sandbox.call(Method::PUT, "sandbox/recording", Some(json!({"bodies": true}))).await;
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("the script ends").unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}.py\n{stdout}\n{stderr}");
    // A script without a test would be a success as well.
    assert!(!stderr.contains("Ran 0 tests") && stderr.contains("\nOK\n"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn google_cloud_storage() {
    script("storage", start).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn iam_resource_manager_service_usage_and_secret_manager() {
    script("apis", start).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn google_cloud_compute() {
    script("compute", || start_with(process_machines)).await;
}

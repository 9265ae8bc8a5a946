//! Google's own Python clients against the sandbox, unchanged but for the
//! variables that `dorainfra sandbox start` prints. Each script in tests/clients
//! is one test; the methods that it has called are held to its list in
//! tests/coverage.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod coverage;
mod sandbox_support;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use dorainfra::sandbox::Handle;
use dorainfra::sandbox::machine::ProcessMachines;
use sandbox_support::{Sandbox, start, start_with};

/// How long one script may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// Python with Google's clients; `None`, with the reason told, where
/// `scripts/setup --tests` has not installed it. In CI that is a failure.
fn python() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/python/bin/python");
    if python.exists() {
        return Some(python);
    }
    #[expect(clippy::disallowed_methods, reason = "CI says of itself that it is CI")]
    let ci = std::env::var_os("CI").is_some();
    assert!(!ci, "Google's Python clients are not installed: scripts/setup --tests");
    eprintln!("skipped: Google's Python clients are not installed (scripts/setup --tests)");
    None
}

/// Runs `tests/clients/SCRIPT.py` and holds it to `tests/coverage/python-SCRIPT.txt`.
async fn script(sandbox: &Sandbox, python: &Path, name: &str) {
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
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("the script ends").unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}.py\n{stdout}\n{stderr}");
    // A script without a test would be a success as well.
    assert!(!stderr.contains("Ran 0 tests") && stderr.contains("\nOK\n"), "{stderr}");
    let requests = sandbox.read("sandbox/requests").await;
    coverage::holds(&format!("python-{name}"), &coverage::called(&requests));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn google_cloud_storage() {
    let Some(python) = python() else { return };
    let sandbox = start().await;
    script(&sandbox, &python, "storage").await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn google_cloud_compute() {
    let Some(python) = python() else { return };
    let sandbox = start_with(|world| Arc::new(ProcessMachines::new(world))).await;
    script(&sandbox, &python, "compute").await;
    sandbox.stop().await;
}

//! Starting, finding, stopping, killing and restarting a sandbox.
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::sandbox_support::*;
use dorainfra_gcp_sandbox::{Handle, SandboxError};
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn a_sandbox_is_found_and_stopped() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Handle::find(dir.path()).await, Err(SandboxError::NotRunning { .. })));
    let sandbox = try_start(options(dir.path())).await.unwrap();
    let handle = Handle::find(dir.path()).await.unwrap();
    let mode = |name: &str| dir.path().join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("machines"), mode("objects"), mode("key.json")), (0o700, 0o700, 0o600));
    assert_eq!(handle.project(), PROJECT);
    assert_eq!(handle.state().pid, std::process::id());
    assert_eq!(handle.endpoints().compute, format!("http://127.0.0.1:{}/compute/v1/", sandbox.state.port));
    assert!(handle.credentials().is_file());
    let exports = handle.exports();
    assert!(exports.iter().any(|(name, value)| name == "GOOGLE_CLOUD_PROJECT" && value == PROJECT));
    assert_eq!(handle.status().await.unwrap()["project"], PROJECT);
    handle.stop(Duration::from_secs(10)).await.unwrap();
    assert!(!dir.path().join("sandbox.json").exists());
    assert!(matches!(Handle::find(dir.path()).await, Err(SandboxError::NotRunning { .. })));
    sandbox.stop().await;
}

#[tokio::test]
async fn a_second_sandbox_is_refused_in_the_same_folder_and_on_the_same_port() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = try_start(options(one.path())).await.unwrap();
    let error = try_start(options(one.path())).await.err().unwrap();
    assert!(matches!(error, SandboxError::AlreadyRunning { pid: Some(_), .. }), "{error}");
    assert!(error.hint().is_some());
    let mut same_port = options(two.path());
    same_port.port = first.state.port;
    let error = try_start(same_port).await.err().unwrap();
    assert_eq!(error.to_string(), format!("port {} on 127.0.0.1 is in use", first.state.port));
    // The refusals did no harm.
    assert!(Handle::find(one.path()).await.is_ok());
    first.stop().await;
}

#[tokio::test]
async fn another_project_and_a_damaged_state_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let first = try_start(options(dir.path())).await.unwrap();
    first.bucket("kept-bucket").await;
    let object = first.upload("kept-bucket", "a", b"bytes").await;
    first.stop().await;
    let mut other = options(dir.path());
    other.project = "another-one".into();
    let error = try_start(other).await.err().unwrap();
    assert!(matches!(error, SandboxError::OtherProject { .. }), "{error}");
    std::fs::remove_file(dir.path().join("objects").join(object["generation"].as_str().unwrap())).unwrap();
    let error = try_start(options(dir.path())).await.err().unwrap();
    assert!(matches!(error, SandboxError::Damaged { .. }), "{error}");
    assert!(error.hint().unwrap().contains("sandbox reset"));
    std::fs::write(dir.path().join("state.redb"), vec![7; 5000]).unwrap();
    let error = try_start(options(dir.path())).await.err().unwrap();
    assert!(matches!(error, SandboxError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn bytes_that_are_not_those_of_their_object_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let first = try_start(options(dir.path())).await.unwrap();
    first.bucket("kept-bucket").await;
    let object = first.upload("kept-bucket", "a", b"bytes").await;
    first.stop().await;
    let path = dir.path().join("objects").join(object["generation"].as_str().unwrap());
    for (wrong, why) in [
        ("other", "do not match their checksum"),
        ("byt", "are missing or cut off"),
        ("", "are missing or cut off"),
        ("bytes and more", "are missing or cut off"),
    ] {
        std::fs::write(&path, wrong).unwrap();
        let error = try_start(options(dir.path())).await.err().unwrap().to_string();
        assert!(error.contains("kept-bucket/a/") && error.ends_with(why), "{wrong}: {error}");
    }
    std::fs::write(&path, "bytes").unwrap();
    try_start(options(dir.path())).await.unwrap().stop().await;
}

/// Without its records, a new world would throw away the old one's files.
#[tokio::test]
async fn bytes_without_their_records_are_told_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let first = try_start(options(dir.path())).await.unwrap();
    first.bucket("kept-bucket").await;
    let object = first.upload("kept-bucket", "a", b"bytes").await;
    first.stop().await;
    for lost in ["state.redb", "key.json"] {
        std::fs::remove_file(dir.path().join(lost)).unwrap();
    }
    let error = try_start(options(dir.path())).await.err().unwrap();
    assert!(matches!(error, SandboxError::Damaged { .. }), "{error}");
    assert!(dir.path().join("objects").join(object["generation"].as_str().unwrap()).exists());
    dorainfra_gcp_sandbox::forget(dir.path()).unwrap();
    try_start(options(dir.path())).await.unwrap().stop().await;
}

/// However the records are damaged, the sandbox says so or is what it was.
#[tokio::test]
async fn records_that_are_cut_off_or_garbled_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let first = try_start(options(dir.path())).await.unwrap();
    first.bucket("kept-bucket").await;
    for name in ["a", "b", "c"] {
        first.upload("kept-bucket", name, b"bytes").await;
    }
    first.stop().await;
    let path = dir.path().join("state.redb");
    let whole = std::fs::read(&path).unwrap();
    let mut told = 0;
    let cuts = [0, 1, 100, 4096, whole.len() / 2, whole.len() - 4096, whole.len() - 1];
    let cut = cuts.map(|length| whole[..length].to_vec());
    let garbled = (0..8).map(|part| {
        let mut bytes = whole.clone();
        let from = whole.len() * part / 8;
        bytes[from..from + 512].fill(0xa5);
        bytes
    });
    let missing = None;
    for damage in cut.into_iter().chain(garbled).map(Some).chain([missing]) {
        match damage {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        match try_start(options(dir.path())).await {
            Err(error) => {
                assert!(matches!(error, SandboxError::Damaged { .. }), "{error}");
                told += 1;
            }
            Ok(sandbox) => {
                let list = sandbox.read("storage/v1/b/kept-bucket/o").await;
                assert_eq!(list["items"].as_array().unwrap().len(), 3, "another world");
                sandbox.stop().await;
            }
        }
        std::fs::write(&path, &whole).unwrap();
    }
    assert!(told >= 10, "{told} of 16 were told");
}

#[tokio::test]
async fn what_is_damaged_is_forgotten_and_what_runs_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let forget = || dorainfra_gcp_sandbox::forget(dir.path());
    assert!(matches!(forget(), Err(SandboxError::NothingThere { .. })));
    let first = try_start(options(dir.path())).await.unwrap();
    assert!(matches!(forget(), Err(SandboxError::AlreadyRunning { .. })));
    first.bucket("kept-bucket").await;
    first.upload("kept-bucket", "a", b"bytes").await;
    first.stop().await;
    std::fs::write(dir.path().join("state.redb"), vec![7; 5000]).unwrap();
    std::fs::write(dir.path().join("mine.txt"), "not the sandbox's").unwrap();
    forget().unwrap();
    let mut left: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    // Whoever points at it finds the next one at the same port.
    assert_eq!(left, ["mine.txt", "port"]);
    let again = try_start(options(dir.path())).await.unwrap();
    assert_eq!(again.get("storage/v1/b/kept-bucket").await.0, 404);
    again.stop().await;
}

#[tokio::test]
async fn only_loopback_is_bound() {
    let sandbox = start().await;
    let port = sandbox.state.port;
    let listening = |file: &str| -> Vec<String> {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let wanted = format!(":{port:04X}");
        // State 0A is LISTEN.
        let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.filter(|row| {
            row.get(1).is_some_and(|local| local.ends_with(&wanted)) && row.get(3) == Some(&"0A")
        })
        .map(|row| row[1].to_owned())
        .collect()
    };
    assert_eq!(listening("/proc/net/tcp"), [format!("0100007F:{port:04X}")]);
    assert_eq!(listening("/proc/net/tcp6"), Vec::<String>::new());
    sandbox.stop().await;
}

#[tokio::test]
async fn everything_answered_is_there_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut slow = options(dir.path());
    slow.operation_ms.insert("disks.insert".into(), 60_000);
    let first = try_start(slow).await.unwrap();
    first.enable().await;
    first.bucket("kept-bucket").await;
    let object = first.upload("kept-bucket", "dir/a.txt", b"some bytes").await;
    let account = first.account("kept-account").await;
    first.insert(&format!("regions/{REGION}/addresses"), json!({"name": "kept"})).await;
    let (status, pending) = first
        .post(&first.compute(&format!("zones/{ZONE}/disks")), json!({"name": "pending", "sizeGb": "10"}))
        .await;
    assert_eq!((status, &pending["status"]), (200, &json!("PENDING")));
    let (port, token) = (first.state.port, first.token.clone());
    first.kill().await;

    let second = try_start(options(dir.path())).await.unwrap();
    assert_eq!(second.state.port, port, "the port of the last start is taken again where it is free");
    let response = second.http.get(second.url("storage/v1/b/kept-bucket/o/dir%2Fa.txt?alt=media"));
    let response = response.bearer_auth(&token).send().await.unwrap();
    assert_eq!(response.headers()["x-goog-generation"], object["generation"].as_str().unwrap());
    assert_eq!(response.text().await.unwrap(), "some bytes");
    second.read(&format!("v1/projects/{PROJECT}/serviceAccounts/{account}")).await;
    let address = second.read(&second.compute(&format!("regions/{REGION}/addresses/kept"))).await;
    assert_eq!(address["status"], "RESERVED");
    // The operation kept its own time; a shorter wait shows that it is under way again.
    let name = pending["name"].as_str().unwrap();
    let again = second.read(&second.compute(&format!("zones/{ZONE}/operations/{name}"))).await;
    assert_ne!(again["status"], "DONE");
    second.stop().await;
}

#[tokio::test]
async fn a_pending_operation_is_finished_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut slow = options(dir.path());
    slow.operation_ms.insert("disks.insert".into(), 700);
    let first = try_start(slow).await.unwrap();
    first.enable().await;
    let (_, pending) = first
        .post(&first.compute(&format!("zones/{ZONE}/disks")), json!({"name": "pending", "sizeGb": "10"}))
        .await;
    first.kill().await;
    let second = try_start(options(dir.path())).await.unwrap();
    let disk = second.compute(&format!("zones/{ZONE}/disks/pending"));
    assert_eq!(second.read(&disk).await["status"], "CREATING");
    second.wait(&pending).await;
    assert_eq!(second.read(&disk).await["status"], "READY");
    second.stop().await;
}

#[tokio::test]
async fn running_machines_are_told_to_boot_again() {
    let dir = tempfile::tempdir().unwrap();
    let moves = Moves::default();
    let with = |moves: &Moves| {
        let mut options = options(dir.path());
        let moves = moves.clone();
        options.machines = dorainfra_gcp_sandbox::Driver::With(std::sync::Arc::new(move |_, _| {
            Ok(std::sync::Arc::new(Recorder { moves: moves.clone(), fail_boot: false }))
        }));
        options
    };
    let first = try_start(with(&moves)).await.unwrap();
    first.enable().await;
    first.insert(&format!("zones/{ZONE}/instances"), instance("vm")).await;
    first.insert(&format!("zones/{ZONE}/instances"), instance("off")).await;
    first.operate(Method::POST, &format!("zones/{ZONE}/instances/off/stop"), None).await;
    first.stop().await;
    assert_eq!(moves.lock().unwrap().last().unwrap(), "shutdown");
    moves.lock().unwrap().clear();
    let second = try_start(with(&moves)).await.unwrap();
    eventually("the machine is booted again", || async { !moves.lock().unwrap().is_empty() }).await;
    let running = second.read(&second.compute(&format!("zones/{ZONE}/instances/vm"))).await;
    assert_eq!(running["status"], "RUNNING");
    assert!(moves.lock().unwrap().iter().all(|each| each.starts_with("boot vm")), "{moves:?}");
    second.stop().await;
}

#[tokio::test]
async fn reset_leaves_a_new_sandbox() {
    let sandbox = start().await;
    sandbox.bucket("gone-bucket").await;
    sandbox.upload("gone-bucket", "a", b"x").await;
    assert_eq!(sandbox.post("sandbox/reset", json!({})).await.0, 200);
    assert_eq!(sandbox.get("storage/v1/b/gone-bucket").await.0, 404);
    assert_eq!(std::fs::read_dir(sandbox.state.dir.join("objects")).unwrap().count(), 0);
    assert_eq!(sandbox.get(&sandbox.compute("zones")).await.0, 403, "services are disabled again");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_driver_that_cannot_work_here_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let mut refused = options(dir.path());
    refused.machines =
        dorainfra_gcp_sandbox::Driver::With(std::sync::Arc::new(|_, _| Err("it needs root".into())));
    let error = try_start(refused).await.err().unwrap();
    assert_eq!(error.to_string(), "the sandbox's machines cannot be started: it needs root");
    try_start(options(dir.path())).await.unwrap().stop().await;
}

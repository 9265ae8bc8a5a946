//! A sandbox in a process of its own, killed in the middle of writes.
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::sandbox_support::*;
use dorainfra_gcp_sandbox::{Handle, serve};
use serde_json::json;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// What the child runs: a sandbox in its working directory.
#[tokio::test]
#[ignore = "started by the test below"]
async fn child() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (ready, _told) = oneshot::channel();
    serve(options(std::path::Path::new(".")), ready, CancellationToken::new()).await.unwrap();
}

/// Killed when the test ends, however it ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A sandbox in a process of its own, once it answers.
async fn started(dir: &std::path::Path) -> Killed {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--ignored"])
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let child = Killed(child);
    eventually("the child answers", || async { Handle::find(dir).await.is_ok() }).await;
    child
}

#[tokio::test]
async fn every_write_that_was_answered_outlives_a_kill() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let child = started(dir.path()).await;
    let port = Handle::find(dir.path()).await.unwrap().state().port;

    let account = gcp_auth::CustomServiceAccount::from_file(dir.path().join("key.json")).unwrap();
    let token = gcp_auth::TokenProvider::token(&account, &[SCOPE]).await.unwrap().as_str().to_owned();
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
    let base = format!("http://127.0.0.1:{port}");
    let bucket = http.post(format!("{base}/storage/v1/b?project={PROJECT}")).bearer_auth(&token);
    assert_eq!(bucket.json(&json!({"name": "kill-bucket"})).send().await.unwrap().status(), 200);
    let (http_writer, token_writer) = (http.clone(), token.clone());
    let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let writer = tokio::spawn(async move {
        for at in 0.. {
            let url = format!("{base}/upload/storage/v1/b/kill-bucket/o?uploadType=media&name=object-{at}");
            let sent =
                http_writer.post(url).bearer_auth(&token_writer).body(format!("bytes of {at}")).send().await;
            match sent {
                Ok(response) if response.status() == 200 => said.send(at).unwrap(),
                _ => return,
            }
        }
    });
    let mut last = 0;
    while last < 20 {
        last = heard.recv().await.unwrap();
    }
    // In the middle of a write, as the writer never rests.
    drop(child);
    writer.await.unwrap();
    while let Ok(at) = heard.try_recv() {
        last = at;
    }
    assert!(dir.path().join("sandbox.json").exists(), "nobody has tidied up");
    assert!(Handle::find(dir.path()).await.is_err());

    let sandbox = try_start(options(dir.path())).await.unwrap();
    for at in 0..=last {
        let request = http.get(sandbox.url(&format!("storage/v1/b/kill-bucket/o/object-{at}?alt=media")));
        let read = request.bearer_auth(&token).send().await.unwrap();
        assert_eq!(read.text().await.unwrap(), format!("bytes of {at}"));
    }
    sandbox.stop().await;
}

/// Whoever was told may delete its folder, or count what is left.
#[tokio::test]
async fn when_a_stop_has_ended_so_has_the_process() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..20 {
        let mut child = started(dir.path()).await;
        let handle = Handle::find(dir.path()).await.unwrap();
        handle.stop(Duration::from_secs(60)).await.unwrap();
        assert!(child.0.try_wait().unwrap().is_some(), "it has ended");
    }
}

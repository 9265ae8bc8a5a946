//! The pinned release, against a release host in this process: first use, match,
//! mismatch, a download that is cut off, a host that is away.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path as UrlPath, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use dorainfra_deploy::artifact::{ArtifactError, Lock, fetch, released};
use dorainfra_deploy::blueprint::Engine;
use dorainfra_model::Events;
use dorainfra_prometheus::Flavour;
use http::StatusCode;
use sha2::{Digest as _, Sha256};

const VERSION: &str = "3.0.4";

/// What the host gives.
#[derive(Clone)]
struct Release {
    binary: Vec<u8>,
    checksum: String,
    /// Bytes after which the connection is closed.
    cut_after: Option<usize>,
}

#[derive(Clone)]
struct Host {
    url: String,
    release: Arc<Mutex<Release>>,
    downloads: Arc<AtomicUsize>,
    folder: Arc<tempfile::TempDir>,
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

impl Host {
    async fn start(binary: &[u8]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let release = Release { binary: binary.into(), checksum: sha256(binary), cut_after: None };
        let host = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            release: Arc::new(Mutex::new(release)),
            downloads: Arc::default(),
            folder: Arc::new(tempfile::tempdir().unwrap()),
        };
        let router = Router::new().route("/{release}/{file}", get(Self::serve)).with_state(host.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        host
    }

    async fn serve(
        State(host): State<Self>,
        UrlPath((release, file)): UrlPath<(String, String)>,
    ) -> Response {
        let given = host.release.lock().unwrap().clone();
        match (release.as_str(), file.as_str()) {
            ("mimir-3.0.4", "mimir-linux-amd64-sha-256") => {
                // As sha256sum writes it.
                format!("{}  dist/mimir-linux-amd64\n", given.checksum).into_response()
            }
            ("mimir-3.0.4", "mimir-linux-amd64") => {
                host.downloads.fetch_add(1, Ordering::SeqCst);
                let Some(cut) = given.cut_after else { return given.binary.into_response() };
                let part = Ok(bytes::Bytes::copy_from_slice(&given.binary[..cut]));
                let end = Err(std::io::Error::other("cut off"));
                Body::from_stream(futures::stream::iter([part, end])).into_response()
            }
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }

    fn lock(&self) -> PathBuf {
        self.folder.path().join("dorainfra.lock")
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    async fn released(&self, version: &str) -> Result<Engine, ArtifactError> {
        let client = reqwest::Client::new();
        released(version, &self.url, &self.lock(), &self.cache(), &client).await
    }

    async fn fetch(&self, engine: &Engine) -> Result<(), ArtifactError> {
        fetch(engine, &self.url, &reqwest::Client::new(), &Events::none()).await
    }

    /// The files of the cache, whole or not.
    fn cached(&self) -> Vec<PathBuf> {
        let Ok(folder) = std::fs::read_dir(self.cache()) else { return Vec::new() };
        folder.map(|entry| entry.unwrap().path()).collect()
    }

    fn change(&self, change: impl FnOnce(&mut Release)) {
        change(&mut self.release.lock().unwrap());
    }
}

fn pinned(lock: &Path) -> Option<String> {
    Lock::read(lock).unwrap().sha256(VERSION).map(str::to_owned)
}

#[tokio::test]
async fn the_first_use_pins_what_the_release_publishes_and_downloads_once() {
    let host = Host::start(b"a mimir").await;
    let engine = host.released(VERSION).await.unwrap();
    assert_eq!((engine.flavour, engine.version.as_str()), (Flavour::Mimir, VERSION));
    assert_eq!(pinned(&host.lock()).unwrap(), sha256(b"a mimir"));
    assert!(host.cached().is_empty(), "a plan downloads nothing large");

    host.fetch(&engine).await.unwrap();
    host.fetch(&engine).await.unwrap();
    assert_eq!(std::fs::read(&engine.path).unwrap(), b"a mimir");
    assert_eq!(host.downloads.load(Ordering::SeqCst), 1);
    assert_eq!(host.released(VERSION).await.unwrap(), engine);
}

#[tokio::test]
async fn a_release_that_was_replaced_is_refused_with_both_sums() {
    let host = Host::start(b"a mimir").await;
    let engine = host.released(VERSION).await.unwrap();
    host.change(|release| {
        release.binary = b"another one".into();
        release.checksum = sha256(b"another one");
    });
    // The lock stands: the new checksum is not even asked for.
    assert_eq!(host.released(VERSION).await.unwrap(), engine);
    let error = host.fetch(&engine).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&sha256(b"a mimir")) && text.contains(&sha256(b"another one")), "{text}");
    assert!(error.hint().unwrap().contains("dorainfra.lock"));
    assert!(host.cached().is_empty(), "nothing of it is kept");
    assert_eq!(pinned(&host.lock()).unwrap(), sha256(b"a mimir"));
}

#[tokio::test]
async fn a_cached_binary_that_was_changed_is_refused() {
    let host = Host::start(b"a mimir").await;
    let engine = host.released(VERSION).await.unwrap();
    host.fetch(&engine).await.unwrap();
    std::fs::write(&engine.path, b"tampered").unwrap();
    let error = host.fetch(&engine).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Mismatch { .. }), "{error}");
}

#[tokio::test]
async fn a_download_that_is_cut_off_leaves_nothing_and_is_made_up_for() {
    let host = Host::start(&[7; 100_000]).await;
    let engine = host.released(VERSION).await.unwrap();
    host.change(|release| release.cut_after = Some(50_000));
    let error = host.fetch(&engine).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Download { .. }), "{error}");
    assert!(host.cached().is_empty(), "{:?}", host.cached());
    host.change(|release| release.cut_after = None);
    host.fetch(&engine).await.unwrap();
    assert_eq!(sha256(&std::fs::read(&engine.path).unwrap()), engine.sha256);
}

#[tokio::test]
async fn a_host_that_is_away_is_needed_only_for_what_is_not_there() {
    let host = Host::start(b"a mimir").await;
    let engine = host.released(VERSION).await.unwrap();
    host.fetch(&engine).await.unwrap();
    let (client, nowhere) = (reqwest::Client::new(), "http://127.0.0.1:9");
    assert_eq!(released(VERSION, nowhere, &host.lock(), &host.cache(), &client).await.unwrap(), engine);
    fetch(&engine, nowhere, &client, &Events::none()).await.unwrap();

    let error = released("3.0.5", nowhere, &host.lock(), &host.cache(), &client).await.unwrap_err();
    assert!(error.to_string().contains("Mimir 3.0.5 can't be downloaded"), "{error}");
    assert!(error.hint().unwrap().contains("mimir.binary"));
}

#[tokio::test]
async fn a_version_that_was_never_released_or_has_no_checksum_is_told() {
    let host = Host::start(b"a mimir").await;
    let error = host.released("9.9.9").await.unwrap_err().to_string();
    assert!(error.contains("9.9.9") && error.contains("404"), "{error}");
    host.change(|release| release.checksum = "<html>moved</html>".into());
    let error = host.released(VERSION).await.unwrap_err().to_string();
    assert!(error.contains("holds no SHA-256"), "{error}");
    assert_eq!(pinned(&host.lock()), None);
}

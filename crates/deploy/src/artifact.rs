//! The engine's binary on the operator's machine: given by path, or a release
//! downloaded once and pinned by SHA-256 in `dorainfra.lock`, or (sandbox only)
//! Debian's Prometheus standing in. How it gets onto the machine is the
//! bundle's affair.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, reason = "numbers of others are computed with"))]

mod known;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use dorainfra_base::error::{Why, innermost};
use dorainfra_base::{answer, file};
use dorainfra_model::{Event, Events};
use dorainfra_prometheus::Flavour;
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::blueprint::Engine;

use known::Program;

pub use known::Known;

/// Where Grafana publishes Mimir's binaries.
pub const RELEASES: &str = "https://github.com/grafana/mimir/releases/download";
const PLATFORM: &str = "linux-amd64";
/// Characters of the file with a checksum that are looked at.
const CHECKSUM: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("{} can't be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} can't be written: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("{} does not run: {reason}", path.display())]
    DoesNotRun {
        path: PathBuf,
        #[source]
        reason: Why,
    },
    #[error("{} is Mimir {found}, but `mimir.version` is {configured}", path.display())]
    OtherVersion { path: PathBuf, configured: String, found: String },
    #[error("Mimir {version} can't be downloaded: {reason}")]
    Download {
        version: String,
        #[source]
        reason: Why,
    },
    #[error("{what} has SHA-256 {found}, but {expected} is expected ({source_of})")]
    Mismatch { what: String, expected: String, found: String, source_of: String },
    #[error("{} is not a lock file: {reason}", path.display())]
    BadLock {
        path: PathBuf,
        #[source]
        reason: Why,
    },
}

impl ArtifactError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreadable { .. } => "check the path in `mimir.binary`".into(),
            Self::Unwritable { .. } => "check the folder's permissions and the free space".into(),
            Self::DoesNotRun { .. } => {
                "it has to be a program for this machine that answers `-version`".into()
            }
            Self::OtherVersion { configured, found, .. } => format!(
                "the keys of its configuration and what its machines need go by the version: say \
                 `--set mimir.version={found}`, or give the program of {configured}; without `mimir.binary`, its \
                 release is downloaded"
            ),
            Self::Download { .. } => {
                "check the version and the network, or give a binary: `--set mimir.binary=PATH`".into()
            }
            Self::Mismatch { .. } => {
                "somebody changed the file or the release: find out who before you go on; \
                 delete the entry from dorainfra.lock only if you trust the new one"
                    .into()
            }
            Self::BadLock { .. } => "restore dorainfra.lock from version control, or delete it".into(),
        })
    }
}

/// Pinned releases: version → platform → SHA-256. A file to commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    pub mimir: BTreeMap<String, BTreeMap<String, String>>,
}

impl Lock {
    /// Reads the lock; an absent file is an empty lock.
    pub fn read(path: &Path) -> Result<Self, ArtifactError> {
        match dorainfra_base::file::text(path) {
            Ok(text) => serde_json::from_str(&text)
                .map_err(|error| ArtifactError::BadLock { path: path.into(), reason: Why::of(error) }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ArtifactError::Unreadable { path: path.into(), source }),
        }
    }

    pub fn sha256(&self, version: &str) -> Option<&str> {
        self.mimir.get(version)?.get(PLATFORM).map(String::as_str)
    }

    fn pin(&mut self, version: &str, sha256: &str, path: &Path) -> Result<(), ArtifactError> {
        self.mimir.entry(version.into()).or_default().insert(PLATFORM.into(), sha256.into());
        let text = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        write_whole(path, text.as_bytes())
    }
}

/// A Mimir binary given by the user, of the version that is configured: by that go the
/// keys of its configuration, and what its machines need.
pub async fn given(path: &Path, configured_version: &str, known: &Known) -> Result<Engine, ArtifactError> {
    let Program { sha256, version } = known.program(path, "-version").await?;
    // A binary that was not built by a release has no version in it. What follows a `+` is
    // whoever's who built it.
    let version = version.unwrap_or_else(|| configured_version.to_owned());
    let found = version.split('+').next().unwrap_or_default();
    if found != configured_version {
        return Err(ArtifactError::OtherVersion {
            path: path.into(),
            configured: configured_version.into(),
            found: found.into(),
        });
    }
    Ok(Engine { flavour: Flavour::Mimir, version, sha256, path: path.into() })
}

/// Debian's Prometheus, standing in for Mimir.
pub async fn stand_in(path: &Path, known: &Known) -> Result<Engine, ArtifactError> {
    let Program { sha256, version } = known.program(path, "--version").await?;
    let version = version.unwrap_or_else(|| "unknown".into());
    Ok(Engine { flavour: Flavour::StandIn, version, sha256, path: path.into() })
}

/// The release that is pinned, or becomes pinned now by the checksum that the
/// release publishes. Nothing large is downloaded yet: see [`fetch`].
pub async fn released(
    version: &str,
    releases: &str,
    lock_file: &Path,
    cache: &Path,
    client: &reqwest::Client,
) -> Result<Engine, ArtifactError> {
    let mut lock = Lock::read(lock_file)?;
    let sha256 = match lock.sha256(version) {
        Some(sha256) => sha256.to_owned(),
        None => {
            let url = format!("{releases}/mimir-{version}/mimir-{PLATFORM}-sha-256");
            let text = answer::words(get(client, &url, version).await?, CHECKSUM).await;
            let sha256 = text
                .split_whitespace()
                .find(|word| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))
                .ok_or_else(|| ArtifactError::Download {
                    version: version.into(),
                    reason: format!("{url} holds no SHA-256").into(),
                })?
                .to_ascii_lowercase();
            lock.pin(version, &sha256, lock_file)?;
            sha256
        }
    };
    let path = cache.join(&sha256);
    Ok(Engine { flavour: Flavour::Mimir, version: version.into(), sha256, path })
}

/// Makes sure that the engine's binary is where it says, with the digest it says.
pub async fn fetch(
    engine: &Engine,
    releases: &str,
    client: &reqwest::Client,
    events: &Events,
) -> Result<(), ArtifactError> {
    if engine.path.exists() {
        return check(engine, sha256_of(&engine.path).await?, "the configuration was planned with it");
    }
    let version = &engine.version;
    let url = format!("{releases}/mimir-{version}/mimir-{PLATFORM}");
    let response = get(client, &url, version).await?;
    let total = response.content_length().unwrap_or(0);
    let unwritable = |source| ArtifactError::Unwritable { path: engine.path.clone(), source };
    let folder = engine.path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(unwritable)?;
    // A temporary file that goes away unless the digest is right: a cut-off
    // download never looks like a binary.
    let part = file::Replacement::of(&engine.path, file::Mode::Private).map_err(unwritable)?;
    let mut written = tokio::fs::File::from_std(part.file().try_clone().map_err(unwritable)?);
    let mut hash = Sha256::new();
    let mut done = 0u64;
    let mut body = response.bytes_stream();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| download(version, &url, error))?;
        hash.update(&chunk);
        done = done.saturating_add(chunk.len() as u64);
        written.write_all(&chunk).await.map_err(unwritable)?;
        events.send(Event::Progress { what: format!("Mimir {version}"), done, total, unit: "bytes" });
    }
    written.flush().await.map_err(unwritable)?;
    check(engine, hex::encode(hash.finalize()), "pinned in dorainfra.lock")?;
    part.persist().map_err(unwritable)
}

fn check(engine: &Engine, found: String, source_of: &str) -> Result<(), ArtifactError> {
    if found == engine.sha256 {
        return Ok(());
    }
    Err(ArtifactError::Mismatch {
        what: format!("the binary of {}", engine.version),
        expected: engine.sha256.clone(),
        found,
        source_of: source_of.into(),
    })
}

async fn get(client: &reqwest::Client, url: &str, version: &str) -> Result<reqwest::Response, ArtifactError> {
    let response = client.get(url).send().await.map_err(|error| download(version, url, error))?;
    if response.status().is_success() {
        return Ok(response);
    }
    Err(ArtifactError::Download {
        version: version.into(),
        reason: format!("{url} answered {}", response.status()).into(),
    })
}

fn download(version: &str, url: &str, error: reqwest::Error) -> ArtifactError {
    let reason = Why::said(format!("{url}: {}", innermost(&error)), error);
    ArtifactError::Download { version: version.into(), reason }
}

/// SHA-256 of a file, lower-case hex.
pub async fn sha256_of(path: &Path) -> Result<String, ArtifactError> {
    let unreadable = |source| ArtifactError::Unreadable { path: path.into(), source };
    let mut file = tokio::fs::File::from_std(dorainfra_base::file::open(path).map_err(unreadable)?);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).await.map_err(unreadable)?;
        if read == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&buffer[..read]);
    }
}

async fn version_of(path: &Path, flag: &str) -> Result<String, ArtifactError> {
    let fails = |reason: Why| ArtifactError::DoesNotRun { path: path.into(), reason };
    let run = dorainfra_base::child::command(path).arg(flag).kill_on_drop(true).output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(20), run)
        .await
        .map_err(|_| fails(format!("`{flag}` did not answer within 20 s").into()))?
        .map_err(|error| fails(Why::of(error)))?;
    if !output.status.success() {
        return Err(fails(format!("`{flag}` ended with {}", output.status).into()));
    }
    // Old releases print the version to stderr.
    Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

/// "prometheus, version 2.42.0+ds (branch…" → "2.42.0+ds".
fn word_after(text: &str, marker: &str) -> Option<String> {
    let mut words = text.split_whitespace().skip_while(|word| *word != marker).skip(1);
    words.next().filter(|word| word.starts_with(|first: char| first.is_ascii_digit())).map(str::to_owned)
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ArtifactError> {
    file::replace(path, bytes, file::Mode::Public)
        .map_err(|source| ArtifactError::Unwritable { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzzed_locks_are_told_or_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dorainfra.lock");
        dorainfra_testutils::fuzzing::five_seconds("lock-file", |input| {
            std::fs::write(&path, input).unwrap();
            match Lock::read(&path) {
                Ok(lock) => drop(lock.sha256("3.1.4").map(str::to_owned)),
                Err(error) => assert!(error.hint().is_some(), "{error}"),
            }
        });
    }

    #[test]
    fn the_version_is_found_where_there_is_one() {
        assert_eq!(
            word_after("prometheus, version 2.42.0+ds (branch: debian)", "version").unwrap(),
            "2.42.0+ds"
        );
        assert_eq!(word_after("Mimir, version 3.0.4 (branch: HEAD)", "version").unwrap(), "3.0.4");
        assert_eq!(word_after("Mimir, version  (branch: , revision: )", "version"), None);
    }

    #[test]
    fn a_damaged_lock_is_told_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dorainfra.lock");
        std::fs::write(&path, "{\"mimir\": 3}").unwrap();
        let error = Lock::read(&path).unwrap_err();
        assert!(error.to_string().contains("line 1"), "{error}");
    }
}

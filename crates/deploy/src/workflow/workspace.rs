//! The place on this machine from which a deployment is worked on: folders, programs, and what else a
//! process's surroundings say, as values.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use dorainfra_base::answer;
use dorainfra_dora::source::forge::Forge;
use dorainfra_dora::source::forges::FORGES;

use super::error::{Error, InputError, Result};
use crate::artifact;

#[derive(Clone, Debug)]
pub struct Workspace {
    /// The folder that is worked in: what is given is relative to it, and shown so.
    pub current: PathBuf,
    /// The folder that the configuration is in: local state lies beside it.
    pub folder: PathBuf,
    /// The program that is started as the generator.
    pub executable: PathBuf,
    /// Where programs are searched for.
    pub search: Vec<PathBuf>,
    /// Where Mimir's releases are had from.
    pub releases: String,
    /// Who works here, for whoever finds the lease taken.
    pub user: String,
    pub tokens: Tokens,
}

/// What forges are asked with, where a source names no file.
#[derive(Clone, Default)]
pub struct Tokens {
    /// By the forge's name.
    of: BTreeMap<&'static str, String>,
}

impl Tokens {
    /// Those that `variable` answers, for all forges.
    pub fn found(variable: impl Fn(&str) -> Option<String>) -> Self {
        let token =
            |forge: &&dyn Forge| Some((forge.name(), forge.tokens().iter().find_map(|name| variable(name))?));
        Self { of: FORGES.iter().filter_map(token).collect() }
    }

    pub fn of(&self, forge: &dyn Forge) -> Option<String> {
        self.of.get(forge.name()).cloned()
    }
}

/// Secrets are in no message.
impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.of.keys().map(|name| (name, "…"))).finish()
    }
}

impl Workspace {
    /// A folder, and nothing but what is usual.
    pub fn new(folder: PathBuf, executable: PathBuf) -> Self {
        Self {
            current: folder.clone(),
            search: vec![folder.join(".tools/bin")],
            folder,
            executable,
            releases: artifact::RELEASES.to_owned(),
            user: "somebody".to_owned(),
            tokens: Tokens::default(),
        }
    }

    /// Local state: `.dorainfra/`, which keeps itself out of version control.
    pub fn state(&self) -> PathBuf {
        self.folder.join(".dorainfra")
    }

    /// Refuses a folder of local state that is somebody else's, or a way to one: keys and
    /// tokens are in it.
    pub fn own_state(&self) -> Result<(), InputError> {
        let folder = self.state();
        let wrong = match std::fs::symlink_metadata(&folder) {
            Err(_) => None,
            Ok(found) if found.is_symlink() => Some("is a link"),
            Ok(found) if !found.is_dir() => Some("is no folder"),
            Ok(found) if found.uid() != rustix::process::geteuid().as_raw() => {
                Some("belongs to somebody else")
            }
            Ok(found) if found.mode() & 0o002 != 0 => Some("can be written to by everybody"),
            Ok(_) => None,
        };
        wrong.map_or(Ok(()), |what| Err(InputError::StateNotOwn { folder, what }))
    }

    pub fn make_state(&self) -> Result<PathBuf> {
        self.own_state()?;
        let folder = self.state();
        let ignore = folder.join(".gitignore");
        std::fs::create_dir_all(&folder)
            .and_then(|()| if ignore.exists() { Ok(()) } else { std::fs::write(&ignore, "*\n") })
            .map_err(|source| Error::Unwritable { path: folder.clone(), source })?;
        Ok(folder)
    }

    /// Where the stack of a deployment keeps its files, logs and records.
    pub fn stack_folder(&self, deployment: &str) -> PathBuf {
        self.state().join(deployment).join("stack")
    }

    /// The events that a deployment has collected. In a folder of its own, which
    /// the generator's container sees.
    pub fn collected(&self, deployment: &str) -> PathBuf {
        self.state().join(deployment).join("events").join("events.jsonl")
    }

    /// A program: as configured, else where programs are searched for.
    pub fn program(&self, name: &str, configured: Option<&Path>) -> Option<PathBuf> {
        match configured {
            Some(path) => Some(path.to_path_buf()),
            None => self.search.iter().map(|folder| folder.join(name)).find(|path| path.is_file()),
        }
    }

    /// A path as it is shown.
    pub fn shown<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.current).unwrap_or(path)
    }

    /// Who holds the lease, for whoever finds it taken.
    pub fn holder(&self) -> String {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("{}@{} (pid {})", self.user, host.trim(), std::process::id())
    }
}

/// A plain client for downloads, without anybody's credentials.
///
/// # Errors
/// `ca`, a file of authorities beside the system's, can't be read or holds none.
pub fn http(ca: Option<&Path>) -> Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .redirect(answer::redirects())
        .connect_timeout(std::time::Duration::from_secs(10))
        .read_timeout(std::time::Duration::from_secs(30));
    if let Some(file) = ca {
        let wrong = |why: &dyn std::fmt::Display| InputError::Authorities {
            file: file.to_path_buf(),
            reason: why.to_string(),
        };
        let text = std::fs::read(file).map_err(|error| wrong(&error))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&text).map_err(|error| wrong(&error))?;
        if certificates.is_empty() {
            return Err(wrong(&"there is no certificate in it").into());
        }
        for certificate in certificates {
            builder = builder.add_root_certificate(certificate);
        }
    }
    builder.build().map_err(Error::Http)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::Arc;

    use dorainfra_base::error::reason;
    use dorainfra_pki::{Authority, Usage};
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use time::{Duration, OffsetDateTime};

    use super::*;

    /// A server of a company's own, whose authority no system knows.
    #[tokio::test]
    async fn a_server_is_believed_by_the_authority_that_its_source_names_and_by_no_other() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authority = |name| Authority::new(name, Duration::DAY, OffsetDateTime::now_utc()).unwrap();
        let (own, another) = (authority("a company's"), authority("somebody else's"));
        let names = ["localhost".to_owned()];
        let shown = own
            .issue(Usage::Server, "forge", &names, Duration::DAY, own.ca.clone(), OffsetDateTime::now_utc())
            .unwrap();
        let chain =
            CertificateDer::pem_slice_iter(shown.certificate.as_bytes()).map(Result::unwrap).collect();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap())
            .unwrap();
        let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
        let address = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = rustls::StreamOwned::new(session, stream.unwrap());
                // Who does not believe it, says no more.
                if stream.read(&mut [0; 4096]).is_ok() {
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
                }
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let file = |authority: &Authority| {
            let path = folder.path().join("ca.pem");
            std::fs::write(&path, &authority.ca).unwrap();
            path
        };
        let answered = http(Some(&file(&own))).unwrap().get(&address).send().await.unwrap();
        assert_eq!(answered.text().await.unwrap(), "ok");
        for ca in [None, Some(file(&another))] {
            let refused = http(ca.as_deref()).unwrap().get(&address).send().await.unwrap_err();
            assert!(reason(&refused).contains("certificate"), "{refused:?}");
        }
        std::fs::write(folder.path().join("ca.pem"), "no certificate").unwrap();
        let error = http(Some(&folder.path().join("ca.pem"))).unwrap_err();
        assert!(error.to_string().contains("there is no certificate in it"), "{error}");
    }
}

//! An endpoint by an URL alone: for whoever writes to one that is no deployment of
//! this configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use dorainfra_base::error::Why;
use dorainfra_dora::live::LiveError;
use dorainfra_pki::ClientFiles;
use dorainfra_prometheus::remote_write::Client;
use dorainfra_prometheus::{Flavour, Target};

use super::error::{InputError, Result};

#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Of remote write.
    pub url: String,
    /// Where its name is found; `None`: as it is resolved.
    pub connect: Option<SocketAddr>,
    /// A folder with ca.crt, client.crt and client.key.
    pub tls_dir: Option<PathBuf>,
    pub tenant: Option<String>,
}

impl Endpoint {
    /// What makes a client, with the certificates as they are at that time: they
    /// may be renewed.
    pub async fn connect(&self) -> Result<impl Fn() -> Result<Client, LiveError> + use<>, InputError> {
        let (target, folder) = (self.target().await?, self.tls_dir.clone());
        Ok(move || Ok(Client::new(&with_tls(target.clone(), folder.as_deref())?)?))
    }

    /// The endpoint as it can be asked, with its certificates.
    pub async fn reached(&self) -> Result<Target> {
        Ok(with_tls(self.target().await?, self.tls_dir.as_deref())?)
    }

    async fn target(&self) -> Result<Target, InputError> {
        let wrong = |why: Why| InputError::Endpoint { url: self.url.clone(), why };
        let parsed = reqwest::Url::parse(&self.url).map_err(|error| wrong(Why::of(error)))?;
        let (Some(host), Some(port), "http" | "https") =
            (parsed.host_str(), parsed.port_or_known_default(), parsed.scheme())
        else {
            return Err(wrong("it is neither http nor https, or names no host".into()));
        };
        let connect = match self.connect {
            Some(connect) => connect,
            None => {
                let found = tokio::net::lookup_host((host, port)).await;
                let found = found
                    .map_err(|error| wrong(Why::said(format!("{host} is not found: {error}"), error)))?;
                found.into_iter().next().ok_or_else(|| wrong(format!("{host} has no address").into()))?
            }
        };
        let mut target = Target::new(Flavour::Mimir, format!("{}://{host}:{port}", parsed.scheme()), connect);
        parsed.path().clone_into(&mut target.write_path);
        // A Prometheus has both of its APIs below one path.
        if let Some(prefix) = parsed.path().strip_suffix("/api/v1/write") {
            prefix.clone_into(&mut target.query_prefix);
        }
        target.tenant.clone_from(&self.tenant);
        Ok(target)
    }
}

fn with_tls(target: Target, folder: Option<&Path>) -> Result<Target, LiveError> {
    Ok(match folder {
        Some(folder) => target.with_tls(ClientFiles::in_folder(folder).read()?),
        None => target,
    })
}

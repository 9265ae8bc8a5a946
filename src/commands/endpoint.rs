//! An endpoint by an URL alone: for whoever writes to one that is no deployment of
//! this configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use dorainfra_dora::live::LiveError;
use dorainfra_dora::metrics::Histograms;
use dorainfra_pki::ClientFiles;
use dorainfra_prometheus::Flavour;
use dorainfra_prometheus::Target;
use dorainfra_prometheus::remote_write::Client;

use super::context::Context;
use super::{CommandError, CommandResult};

#[derive(Debug, Args)]
pub struct Endpoint {
    /// Write to this endpoint, by remote write: the history, or with --live the present values
    #[arg(id = "remote_write", long = "remote-write", value_name = "URL", conflicts_with_all = ["out", "events", "format"])]
    pub url: Option<String>,
    /// Where the endpoint's name is found [default: as it is resolved]
    #[arg(long, value_name = "ADDRESS:PORT", requires = "remote_write")]
    connect: Option<SocketAddr>,
    /// Folder with ca.crt, client.crt and client.key for the endpoint
    #[arg(long, value_name = "DIR", requires = "remote_write")]
    tls_dir: Option<PathBuf>,
    /// Tenant of the endpoint, sent as X-Scope-OrgID
    #[arg(long, value_name = "NAME", requires = "remote_write")]
    tenant: Option<String>,
    /// Write native histograms, too, for an endpoint that takes them
    #[arg(long, requires = "remote_write")]
    native_histograms: bool,
    /// Lead times and recoveries by service, too
    #[arg(long, conflicts_with_all = ["out", "events", "format"])]
    service_histograms: bool,
}

impl Endpoint {
    /// What makes a client, with the certificates as they are at that time: they
    /// may be renewed. `None`: no endpoint is named.
    pub async fn connect(
        &self,
        context: &Context,
    ) -> CommandResult<Option<impl Fn() -> Result<Client, LiveError> + use<>>> {
        let Some(url) = &self.url else { return Ok(None) };
        let target = self.target(url).await?;
        let folder = self.tls_dir.as_ref().map(|dir| context.environment.folder.join(dir));
        Ok(Some(move || client(&target, folder.as_deref())))
    }

    /// The endpoint as it can be asked, with its certificates. `None`: none is named.
    pub async fn reached(&self, context: &Context) -> CommandResult<Option<Target>> {
        let Some(url) = &self.url else { return Ok(None) };
        let target = self.target(url).await?;
        let folder = self.tls_dir.as_ref().map(|dir| context.environment.folder.join(dir));
        Ok(Some(with_tls(target, folder.as_deref())?))
    }

    pub fn histograms(&self) -> Histograms {
        Histograms { native: self.native_histograms, by_service: self.service_histograms }
    }

    async fn target(&self, url: &str) -> CommandResult<Target> {
        let wrong = |message: String| {
            CommandError::usage(format!("`{url}` is not an address for remote write: {message}"))
                .hint("give it as https://HOST:PORT/api/v1/push")
        };
        let parsed = reqwest::Url::parse(url).map_err(|error| wrong(error.to_string()))?;
        let (Some(host), Some(port), "http" | "https") =
            (parsed.host_str(), parsed.port_or_known_default(), parsed.scheme())
        else {
            return Err(wrong("it is neither http nor https, or names no host".into()));
        };
        let connect = match self.connect {
            Some(connect) => connect,
            None => {
                let found = tokio::net::lookup_host((host, port)).await;
                let found = found.map_err(|error| wrong(format!("{host} is not found: {error}")))?;
                found.into_iter().next().ok_or_else(|| wrong(format!("{host} has no address")))?
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

fn client(target: &Target, folder: Option<&Path>) -> Result<Client, LiveError> {
    Ok(Client::new(&with_tls(target.clone(), folder)?)?)
}

fn with_tls(target: Target, folder: Option<&Path>) -> Result<Target, LiveError> {
    Ok(match folder {
        Some(folder) => target.with_tls(ClientFiles::in_folder(folder).read()?),
        None => target,
    })
}

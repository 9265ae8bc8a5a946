//! How Mimir's port is reached from the operator's machine: at the deployment's own
//! address or through a tunnel, and with which certificate.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::pipeline::{Run, not_there};
use super::{CommandError, CommandResult};
use crate::blueprint::{Names, PORT, STACK};
use crate::config::Tls;
use crate::engine::Provider as _;
use crate::resource;
use crate::stack::Target;
use crate::tls::Credentials;

impl Run<'_> {
    /// How the deployment's Mimir is reached from here: its address and this
    /// operator's client certificate, both read from the cloud.
    pub async fn target(&self) -> CommandResult<Target> {
        let config = &self.project.config;
        let server = Names::of(config).server_name;
        let target = |scheme: &str, connect: SocketAddr| {
            let url = format!("{scheme}://{server}:{}", connect.port());
            Target::new(self.facts.engine.flavour, url, connect).with_tenant(&config.mimir.tenant)
        };
        if config.access.tls == Tls::Off {
            return Ok(target("http", self.connect_to().await?));
        }
        let (connect, credentials) = tokio::try_join!(self.connect_to(), self.client_credentials(STACK))?;
        Ok(target("https", connect).with_tls(credentials))
    }

    /// A client's certificate and key, read from the cloud.
    pub async fn client_credentials(&self, name: &str) -> CommandResult<Credentials> {
        let secret = Names::of_client(&self.project.config, name);
        resource::read_credentials(&self.client, &secret).await.map_err(|error| match error.is_not_found() {
            true => not_there("client certificate"),
            false => error.into(),
        })
    }

    /// The address that Mimir is reached at.
    pub async fn address(&self) -> CommandResult<IpAddr> {
        let name = Names::of(&self.project.config).endpoint;
        let manifest = self.manifest("compute.address", &name).ok_or_else(|| not_there("address"))?;
        let observed = self.provider.read(manifest).await?.ok_or_else(|| not_there("address"))?;
        let address = observed.body["address"].as_str().and_then(|text| text.parse().ok());
        address.ok_or_else(|| not_there("address"))
    }

    /// For people.
    pub fn endpoint(&self, address: IpAddr) -> String {
        match self.project.config.access.tls {
            Tls::Mutual => format!("https://{address}:{PORT} (mutual TLS)"),
            Tls::Server => format!("https://{address}:{PORT} (TLS, without client certificates)"),
            Tls::Off => format!("http://{address}:{PORT} (without TLS)"),
        }
    }

    /// Where Mimir's port is reached from here: at the machine, or at the near end
    /// of a tunnel.
    async fn connect_to(&self) -> CommandResult<SocketAddr> {
        let Some(endpoint) = &self.project.config.access.endpoint else {
            return Ok(SocketAddr::new(self.address().await?, PORT));
        };
        let fails = |reason: String| {
            CommandError::failed(format!("`access.endpoint` is {endpoint}, which cannot be found: {reason}"))
        };
        let found = tokio::net::lookup_host(endpoint.as_str()).await.map_err(|e| fails(e.to_string()))?;
        // The machine has an IPv4 address only, and so have the tunnels to it.
        let (v4, v6): (Vec<SocketAddr>, Vec<SocketAddr>) = found.partition(SocketAddr::is_ipv4);
        v4.into_iter().chain(v6).next().ok_or_else(|| fails("it has no address".into()))
    }

    /// An error that says how to go on where Mimir's port cannot be reached from here.
    pub async fn reachable(&self, target: &Target) -> CommandResult<()> {
        const WAIT: Duration = Duration::from_secs(10);
        let private = !self.project.config.access.external;
        let connect = tokio::time::timeout(WAIT, tokio::net::TcpStream::connect(target.connect));
        let reason = match connect.await {
            Ok(Ok(_)) => return Ok(()),
            // The phases that follow say more of a public endpoint than this could.
            _ if !private => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", WAIT.as_secs()),
        };
        Err(CommandError::failed(format!(
            "Mimir runs, but {} cannot be reached from here: {reason}",
            target.connect
        ))
        .hint(format!(
            "the machine has no external address: run this inside its network, or keep a tunnel open in \
             another terminal:\n{}\nand then: dorainfra --set access.endpoint=localhost:{PORT} apply",
            self.tunnel()
        )))
    }

    /// The command that opens a tunnel to Mimir's port through Google's
    /// Identity-Aware Proxy.
    pub fn tunnel(&self) -> String {
        let config = &self.project.config;
        let (project, names) = (&config.project, Names::of(config));
        let (zone, instance) = match names.replicas.first() {
            Some(replica) => (replica.zone.as_str(), replica.instance.as_str()),
            None => ("ZONE", "INSTANCE"),
        };
        format!(
            "gcloud compute start-iap-tunnel {instance} {PORT} --local-host-port=localhost:{PORT} \
             --zone={zone} --project={project}"
        )
    }
}

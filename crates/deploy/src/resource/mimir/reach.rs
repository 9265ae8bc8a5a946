//! How a deployment's Mimir is reached from the operator's machine: at its own
//! address or at the near end of a tunnel, and with which certificate.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dorainfra_engine::ProviderError;
use dorainfra_gcp::{self as gcp, Api, Call, Client};
use dorainfra_prometheus::Flavour;
use dorainfra_prometheus::Target;

use super::super::{absent, certificate, found};
use crate::blueprint::PORT;

/// What is known of it from the configuration alone.
#[derive(Clone, Debug)]
pub struct Reach {
    pub flavour: Flavour,
    /// What the server's certificate is for.
    pub server_name: String,
    pub tenant: String,
    pub region: String,
    /// The kind `compute.address`.
    pub address: String,
    /// What that is, where a plan has just read it.
    pub known: Option<IpAddr>,
    /// `host:port` that is connected to instead.
    pub endpoint: Option<String>,
    /// The secret with this operator's certificate; `None`: TLS is off.
    pub secret: Option<String>,
    /// Zone and name of each machine.
    pub machines: Vec<(String, String)>,
    /// How long the port may take to answer here once its machine says that it
    /// serves: a firewall rule or a load balancer may be new.
    pub patience: Duration,
    /// What to do where the port cannot be reached from here.
    pub hint: String,
}

/// Why Mimir cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// It is not made yet.
    #[error("this deployment has no {0} yet")]
    Missing(&'static str),
    #[error("`access.endpoint` is {endpoint}, which cannot be found: {reason}")]
    Endpoint { endpoint: String, reason: String },
    #[error(transparent)]
    Cloud(#[from] gcp::Error),
}

impl ReachError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing(_) => Some("`dorainfra apply` makes everything that is missing".into()),
            Self::Endpoint { .. } => None,
            Self::Cloud(error) => error.hint(),
        }
    }
}

impl From<ReachError> for ProviderError {
    fn from(error: ReachError) -> Self {
        let (hint, message) = (error.hint(), error.to_string());
        Self { message, hint, unknown_outcome: false, source: Some(Arc::new(error)) }
    }
}

impl Reach {
    /// Its address and the client's certificate, both read from the cloud.
    ///
    /// # Errors
    /// One of them is not there, or cannot be read.
    pub async fn target(&self, client: &Client) -> Result<Target, ReachError> {
        self.target_at(client, std::future::ready(None)).await
    }

    /// The same where `listed` may know its address already.
    pub(super) async fn target_at(
        &self,
        client: &Client,
        listed: impl Future<Output = Option<IpAddr>>,
    ) -> Result<Target, ReachError> {
        let Some(secret) = &self.secret else {
            return Ok(self.at(self.connect_to(client, listed).await?));
        };
        let credentials = async {
            certificate::read_credentials(client, secret).await.map_err(|error| match absent(&error) {
                true => ReachError::Missing("client certificate"),
                false => error.into(),
            })
        };
        let (connect, credentials) = tokio::try_join!(self.connect_to(client, listed), credentials)?;
        Ok(self.at(connect).with_tls(credentials))
    }

    /// The same as far as a plan knows it, without a certificate; `None`: it is not known yet.
    pub async fn planned(&self, client: &Client, address: Option<IpAddr>) -> Option<Target> {
        if self.endpoint.is_none() && address.is_none() {
            return None;
        }
        Some(self.at(self.connect_to(client, std::future::ready(address)).await.ok()?))
    }

    /// Without a certificate.
    pub fn at(&self, connect: SocketAddr) -> Target {
        let scheme = if self.secret.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}:{}", self.server_name, connect.port());
        Target::new(self.flavour, url, connect).with_tenant(&self.tenant)
    }

    /// The address that Mimir is reached at.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub async fn address(&self, client: &Client) -> Result<IpAddr, ReachError> {
        if let Some(known) = self.known {
            return Ok(known);
        }
        let call = Call::get(Api::Compute, format!("regions/{}/addresses/{}", self.region, self.address));
        let answer = found(client.call(&call).await)?.ok_or(ReachError::Missing("address"))?;
        let address = answer["address"].as_str().and_then(|text| text.parse().ok());
        address.ok_or(ReachError::Missing("address"))
    }

    /// Where Mimir's port is reached from here: at the machine, or at the near end
    /// of a tunnel.
    async fn connect_to(
        &self,
        client: &Client,
        listed: impl Future<Output = Option<IpAddr>>,
    ) -> Result<SocketAddr, ReachError> {
        let Some(endpoint) = &self.endpoint else {
            let address = match listed.await {
                Some(address) => address,
                None => self.address(client).await?,
            };
            return Ok(SocketAddr::new(address, PORT));
        };
        let fails = |reason: String| ReachError::Endpoint { endpoint: endpoint.clone(), reason };
        let found = tokio::net::lookup_host(endpoint.as_str()).await.map_err(|e| fails(e.to_string()))?;
        // The machine has an IPv4 address only, and so have the tunnels to it.
        let (v4, v6): (Vec<SocketAddr>, Vec<SocketAddr>) = found.partition(SocketAddr::is_ipv4);
        v4.into_iter().chain(v6).next().ok_or_else(|| fails("it has no address".into()))
    }
}

//! How Mimir's port is reached from the operator's machine: at the deployment's own
//! address or through a tunnel, and with which certificate.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use dorainfra_base::error::Why;
use dorainfra_config::Tls;
use dorainfra_engine::{Action, Plan, ResourceId, Step};
use dorainfra_gcp::{Api, Call};
use dorainfra_pki::Credentials;
use dorainfra_prometheus::Target;
use futures::future::join_all;

use super::error::{Error, Result};
use super::run::Run;
use super::tunnel::Tunnelled;
use crate::blueprint::{Names, PORT, STACK};
use crate::machine;
use crate::resource::{self, Reach, ReachError};

impl Run {
    /// What the configuration says about that.
    pub(super) fn reach(&self) -> Reach {
        let config = &self.project.config;
        let names = Names::of(config);
        let external = config.access.external;
        let hint = match external {
            true => "check `access.allow` (your address may have changed) and `dorainfra status`".into(),
            false => format!(
                "the machine has no external address: run this inside its network, or through a tunnel that \
                 gcloud opens: dorainfra connect -- dorainfra apply\nor keep one open in another terminal:\n{}\n\
                 and then: dorainfra --set access.endpoint=localhost:{PORT} apply",
                self.tunnel()
            ),
        };
        Reach {
            flavour: self.facts.engine.flavour,
            tenant: config.mimir.tenant.clone(),
            region: config.region.clone(),
            known: self.address_as_planned(&names.endpoint),
            address: names.endpoint,
            endpoint: config.access.endpoint.clone(),
            secret: (config.access.tls != Tls::Off).then(|| Names::of_client(config, STACK)),
            machines: names.replicas.into_iter().map(|replica| (replica.zone, replica.instance)).collect(),
            server_name: names.server_name,
            patience: Duration::from_secs(if external { 60 } else { 10 }),
            hint,
        }
    }

    /// How the deployment's Mimir is reached from here: its address and this
    /// operator's client certificate, both read from the cloud.
    ///
    /// # Errors
    /// Something is not there, or nobody can answer: all its machines are down.
    pub async fn target(&self) -> Result<Target> {
        // Those that were waited for just now are.
        if self.machines_found.get().is_none() {
            self.is_up().await?;
        }
        Ok(self.reach().target(&self.client).await?)
    }

    /// The same once `plan` is done, as far as that is known now, without a certificate that counts; `None`: its
    /// address is made by then.
    pub(super) async fn planned_target(&self, plan: &Plan) -> Option<Target> {
        let id = ResourceId::new("compute.address", &Names::of(&self.project.config).endpoint);
        let stays = |step: &Step| !matches!(step.action, Action::Create | Action::Replace);
        let stays = plan.steps.iter().find(|step| step.id == id).is_none_or(stays);
        let address = plan.basis.observed.get(&id).filter(|_| stays);
        let address = address.and_then(|found| found.body["address"].as_str()?.parse().ok());
        let target = self.reach().planned(&self.client, address).await?;
        Some(self.some_certificate(target))
    }

    /// Of an address that is not known yet.
    pub(super) fn unknown_target(&self) -> Target {
        self.some_certificate(self.reach().at((Ipv4Addr::UNSPECIFIED, PORT).into()))
    }

    /// Which one it is makes no part of the stack another; whether there is one does.
    fn some_certificate(&self, target: Target) -> Target {
        let none = || Credentials { certificate: String::new(), key: String::new(), ca: String::new() };
        match self.project.config.access.tls {
            Tls::Off => target,
            _ => target.with_tls(none()),
        }
    }

    /// What can't be read is no reason: what follows says more.
    async fn is_up(&self) -> Result<()> {
        let replicas = Names::of(&self.project.config).replicas;
        let looks = replicas.iter().map(async |replica| {
            let path = format!("zones/{}/instances/{}", replica.zone, replica.instance);
            let instance = self.client.call(&Call::get(Api::Compute, path)).await.ok()?;
            let down = machine::down(instance["status"].as_str()?)?;
            Some(format!("{} is {down}", replica.instance))
        });
        let down: Vec<String> = join_all(looks).await.into_iter().flatten().collect();
        match down.is_empty() || down.len() < replicas.len() {
            true => Ok(()),
            false => Err(Error::Down { machines: down.join(", ") }),
        }
    }

    /// A client's certificate and key, read from the cloud.
    pub async fn client_credentials(&self, name: &str) -> Result<Credentials> {
        let secret = Names::of_client(&self.project.config, name);
        resource::read_credentials(&self.client, &secret).await.map_err(|error| match error.is_not_found() {
            true => ReachError::Missing("client certificate").into(),
            false => error.into(),
        })
    }

    fn address_as_planned(&self, name: &str) -> Option<IpAddr> {
        let address = self.as_planned.get()?.get(&ResourceId::new("compute.address", name))?;
        address.body["address"].as_str()?.parse().ok()
    }

    /// The address that Mimir is reached at.
    pub async fn address(&self) -> Result<IpAddr> {
        Ok(self.reach().address(&self.client).await?)
    }

    /// Where Mimir's port is, at one of its addresses.
    pub fn endpoint(&self, address: IpAddr) -> String {
        let scheme = if self.project.config.access.tls == Tls::Off { "http" } else { "https" };
        format!("{scheme}://{}", SocketAddr::new(address, PORT))
    }

    /// Who shows a certificate there, for people.
    pub fn tls(&self) -> &'static str {
        match self.project.config.access.tls {
            Tls::Mutual => "mutual",
            Tls::Server => "without client certificates",
            Tls::Off => "off",
        }
    }

    /// An error that says how to go on where Mimir's port cannot be reached from here.
    pub async fn reachable(&self, target: &Target) -> Result<()> {
        const WAIT: Duration = Duration::from_secs(10);
        let private = !self.project.config.access.external;
        let connect = tokio::time::timeout(WAIT, tokio::net::TcpStream::connect(target.connect));
        let reason = match connect.await {
            Ok(Ok(_)) => return Ok(()),
            // The phases that follow say more of a public endpoint than this could.
            _ if !private => return Ok(()),
            Ok(Err(error)) => Why::of(error),
            Err(_) => format!("no answer within {} s", WAIT.as_secs()).into(),
        };
        Err(Error::Unreachable { connect: target.connect, reason, hint: self.reach().hint })
    }

    /// The command that opens a tunnel to Mimir's port through Google's
    /// Identity-Aware Proxy.
    pub fn tunnel(&self) -> String {
        let tunnel = Tunnelled::of(&self.project.config, None, PORT);
        tunnel.map(|tunnel| tunnel.command()).unwrap_or_default()
    }
}

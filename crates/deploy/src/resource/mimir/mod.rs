//! What lives in Mimir itself, as a provider of its own: rule groups and the
//! alertmanager's configuration, read and written through Mimir's API. Before its
//! machine has served for the first time there is nothing in it; whoever writes
//! waits until it serves.

mod alertmanager;
mod api;
mod reach;
mod rule_group;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use dorainfra_engine::{Change, KindSpec, Manifest, Mark, Observed, Owned, Provider, ProviderError};
use dorainfra_gcp::{self as gcp, Api, Call, Client};
use dorainfra_model::Events;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::api::{MimirApi, MimirError};
pub use self::reach::{Reach, ReachError};
use super::compute::{Compute, row};
use super::instance::Instance;
use super::rolling::{LONGEST, machine_of};
use super::{Cloud, Google, Kind, found};
use crate::blueprint::Content;
use crate::machine::{self, Machine, Reader};

const PAUSE: Duration = Duration::from_millis(500);

const SPECS: [&KindSpec; 2] = [&rule_group::SPEC, &alertmanager::SPEC];

pub(super) fn spec(kind: &str) -> Option<&'static KindSpec> {
    SPECS.into_iter().find(|spec| spec.kind == kind)
}

/// Whether a kind's resources live in Mimir, not in Google's cloud.
pub fn lives_in_mimir(kind: &str) -> bool {
    spec(kind).is_some()
}

/// One deployment's Mimir.
pub struct Mimir {
    client: Client,
    machines: Reader,
    reach: Reach,
    deployment: String,
    contents: Arc<BTreeMap<String, Content>>,
    interrupt: CancellationToken,
    /// What a plan lists beside it, and need not be asked for.
    lists: OnceLock<Cloud>,
    /// As it is before anything is changed, asked for once; `None`: nothing is in it yet.
    before: OnceCell<Result<Option<MimirApi>, ProviderError>>,
    /// Once it serves as its manifest says: waited for once, and a failure told once.
    serving: OnceCell<Result<MimirApi, ProviderError>>,
    failure_told: AtomicBool,
}

impl Mimir {
    pub fn new(
        client: Client,
        machines: Reader,
        reach: Reach,
        deployment: &str,
        contents: Arc<BTreeMap<String, Content>>,
        interrupt: CancellationToken,
    ) -> Self {
        let deployment = deployment.to_owned();
        let (before, serving) = (OnceCell::new(), OnceCell::new());
        let failure_told = AtomicBool::new(false);
        let lists = OnceLock::new();
        Self {
            client,
            machines,
            reach,
            deployment,
            contents,
            interrupt,
            lists,
            before,
            serving,
            failure_told,
        }
    }

    /// It is looked into beside a plan, which lists its machines and its address.
    pub(super) fn beside(&self, lists: Cloud) {
        let _ = self.lists.set(lists);
    }

    /// What a list shows of something that Mimir is reached by.
    async fn listed(&self, kind: &dyn Kind, name: &str, place: Value) -> Option<Value> {
        let lists = self.lists.get()?;
        Some(lists.wave.as_ref()?.shown(kind, lists, name, &place).await??.body)
    }

    /// Asks it, as far as there is one that was ever ready.
    ///
    /// # Errors
    /// There is one, and it cannot be reached or does not answer: what is in it is not known.
    pub async fn look(&self) -> Result<(), ProviderError> {
        self.before().await.map(|_| ())
    }

    async fn before(&self) -> Result<Option<&MimirApi>, ProviderError> {
        let open = self.before.get_or_init(|| self.open()).await;
        open.as_ref().map(Option::as_ref).map_err(Clone::clone)
    }

    async fn open(&self) -> Result<Option<MimirApi>, ProviderError> {
        // Asked for together: a plan waits for both.
        let address = async {
            let (kind, place) = (Compute(row("compute.address")), json!({"region": self.reach.region}));
            let address = self.listed(&kind, &self.reach.address, place).await?;
            address["address"].as_str()?.parse().ok()
        };
        let target = self.reach.target_at(&self.client, address);
        let (ready, target) = tokio::join!(self.was_ever_ready(), target);
        if !ready? {
            return Ok(None);
        }
        let target = match target {
            Err(ReachError::Missing(_)) => return Ok(None),
            other => other?,
        };
        let api = MimirApi::new(target).map_err(|error| self.told(error))?;
        api.groups().await.map_err(|error| self.told(error))?;
        Ok(Some(api))
    }

    /// Whether any of the machines has run a bundle to its end.
    async fn was_ever_ready(&self) -> Result<bool, gcp::Error> {
        let reports = self.reach.machines.iter().map(|(zone, instance)| async move {
            let machine = Machine {
                instance: instance.clone(),
                zone: zone.clone(),
                bundle: String::new(),
                certificate: String::new(),
                disk_gb: 0,
            };
            let listed = self.listed(&Instance, instance, json!({"zone": zone}));
            machine::report_at(&self.machines, &machine, listed).await
        });
        for report in join_all(reports).await {
            if report?.is_some_and(|report| !report.bundle.is_empty()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Waits until it serves, with what its machines were told to run.
    async fn serving(&self, events: &Events) -> Result<&MimirApi, ProviderError> {
        let served = self.serving.get_or_init(|| async {
            for (zone, instance) in &self.reach.machines {
                let call = Call::get(Api::Compute, format!("zones/{zone}/instances/{instance}"));
                let Some(body) = found(self.client.call(&call).await)? else {
                    return Err(machine::MachineError::Absent(instance.clone()).into());
                };
                let machine = Machine { zone: zone.clone(), ..machine_of(instance, &body) };
                machine::wait_ready(&self.machines, &machine, events, LONGEST, &self.interrupt).await?;
            }
            let target = self.reach.target(&self.client).await?;
            let api = MimirApi::new(target).map_err(|error| self.told(error))?;
            let deadline = Instant::now() + self.reach.patience;
            while let Err(error) = api.ready().await {
                let hopeless = matches!(error, MimirError::Tls { .. } | MimirError::Client(_));
                if hopeless || Instant::now() > deadline || self.interrupt.is_cancelled() {
                    return Err(self.told(error));
                }
                tokio::time::sleep(PAUSE).await;
            }
            Ok(api)
        });
        served.await.as_ref().map_err(|error| match self.failure_told.swap(true, Ordering::Relaxed) {
            false => error.clone(),
            true => ProviderError::new(
                "Mimir does not serve: the error is shown with another resource",
                "`dorainfra status` shows what the machine does; then run this again",
            ),
        })
    }

    fn told(&self, error: MimirError) -> ProviderError {
        error.told(&self.reach.hint)
    }

    async fn read_with(
        &self,
        api: &MimirApi,
        manifest: &Manifest,
    ) -> Result<Option<Observed>, ProviderError> {
        let read = match manifest.kind == rule_group::SPEC.kind {
            true => rule_group::read(api, &manifest.name).await,
            false => alertmanager::read(api, &self.deployment).await,
        };
        read.map_err(|error| self.told(error))
    }

    async fn write(
        &self,
        manifest: &Manifest,
        mark: &Mark,
        events: &Events,
    ) -> Result<Observed, ProviderError> {
        let api = self.serving(events).await?;
        let written = if manifest.kind == rule_group::SPEC.kind {
            rule_group::put(api, manifest).await
        } else {
            api.put_alertmanager(&alertmanager::text(&self.contents, manifest, mark).await?).await
        };
        written.map_err(|error| self.told(error))?;
        self.read_with(api, manifest).await?.ok_or_else(|| Google::vanished(&manifest.id()))
    }
}

#[async_trait]
impl Provider for Mimir {
    fn spec(&self, kind: &str) -> Option<&KindSpec> {
        spec(kind)
    }

    async fn read(&self, manifest: &Manifest) -> Result<Option<Observed>, ProviderError> {
        match self.before().await? {
            Some(api) => self.read_with(api, manifest).await,
            None => Ok(None),
        }
    }

    async fn list_owned(&self, deployment: &str) -> Result<Owned, ProviderError> {
        let Some(api) = self.before().await? else { return Ok(Owned::default()) };
        let mut all = rule_group::list(api).await.map_err(|error| self.told(error))?;
        all.extend(alertmanager::list(api, deployment).await.map_err(|error| self.told(error))?);
        Ok(all.into())
    }

    async fn create(
        &self,
        manifest: &Manifest,
        mark: &Mark,
        events: &Events,
    ) -> Result<Observed, ProviderError> {
        self.write(manifest, mark, events).await
    }

    async fn update(
        &self,
        manifest: &Manifest,
        _: &Observed,
        _: &[Change],
        mark: &Mark,
        events: &Events,
    ) -> Result<Observed, ProviderError> {
        self.write(manifest, mark, events).await
    }

    async fn delete(&self, observed: &Observed, events: &Events) -> Result<(), ProviderError> {
        let api = self.serving(events).await?;
        let deleted = match observed.id.kind == rule_group::SPEC.kind {
            true => api.delete_group(&observed.id.name).await,
            false => api.delete_alertmanager().await,
        };
        deleted.map_err(|error| self.told(error))
    }
}

//! The machines of a run: what is to run on each, and the wait until it does.

use std::time::{Duration, Instant};

use dorainfra_engine::{Observed, Provider as _};
use dorainfra_model::Events;
use futures::future::try_join_all;

use super::error::Result;
use super::run::Run;
use crate::blueprint::{Names, Replica};
use crate::machine::{self, Machine};

/// From the instance's creation to a ready Mimir: a boot, a download, a WAL replay.
const MACHINE_WAIT: Duration = Duration::from_secs(15 * 60);

/// How long the load balancer may take to see that a machine is ready: two answers, and the way
/// of that news.
const SEEN_WITHIN: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Run {
    /// Each machine, and what is to run on it.
    pub async fn machines(&self) -> Result<Vec<Machine>> {
        let names = Names::of(&self.project.config);
        let field =
            |observed: &Observed, name: &str| observed.body[name].as_str().unwrap_or_default().to_owned();
        let certificate = match self.manifest("secretmanager.secretVersion", &names.server) {
            Some(manifest) => match self.as_planned.get() {
                Some(seen) => seen.get(&manifest.id()).cloned(),
                None => self.provider.read(manifest).await?,
            },
            None => None,
        };
        let certificate = certificate
            .map(|seen| format!("{}:{}", field(&seen, "version"), field(&seen, "fingerprint")))
            .unwrap_or_else(|| "none".into());
        let machine = |replica: Replica| Machine {
            instance: replica.instance,
            zone: replica.zone,
            bundle: self.blueprint.bundle.clone(),
            certificate: certificate.clone(),
            disk_gb: self.project.config.mimir.disk_gb,
        };
        Ok(names.replicas.into_iter().map(machine).collect())
    }

    pub async fn machines_ready(&self, events: &Events) -> Result<()> {
        let machines = self.machines().await?;
        let ready = machines.iter().map(|machine| {
            machine::wait_ready(self.provider.machines(), machine, events, MACHINE_WAIT, &self.interrupt)
        });
        let reports = try_join_all(ready).await?;
        let _ = self.machines_found.set(reports);
        if machines.len() > 1 {
            for machine in &machines {
                self.balanced(machine, events).await?;
            }
        }
        Ok(())
    }

    /// Waits until the load balancer has seen that the machine is ready. One that never does is
    /// told, and stops nobody: where it finds none well it tries them all.
    async fn balanced(&self, machine: &Machine, events: &Events) -> Result<()> {
        let begun = Instant::now();
        while let Some(why) = self.provider.unbalanced(machine).await? {
            if begun.elapsed() > SEEN_WITHIN {
                let hint = "its health checks ask port 9010, from 35.191.0.0/16 and 130.211.0.0/22: something \
                            may keep them out, such as a firewall policy of the organisation";
                events.warn(why, Some(hint.into()));
                return Ok(());
            }
            self.until_interrupted(async {
                tokio::time::sleep(LOOK_AGAIN).await;
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

//! Whether a machine of a rolling group serves: it says so itself, and where it is
//! behind a load balancer, that finds it healthy.

use std::sync::Arc;
use std::time::Duration;

use dorainfra_engine::{Manifest, Observed, ProviderError};
use dorainfra_gcp::{Api, Call, Error};
use dorainfra_model::Events;
use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::compute::{Row, row, whole};
use super::links::group_link;
use super::{Cloud, short};
use crate::machine::{self, Machine, MachineError};

/// From a changed bundle, or a new machine, to a ready Mimir.
pub(super) const LONGEST: Duration = Duration::from_secs(15 * 60);

/// Answers at once; the error says why it does not serve.
pub(super) async fn serves(cloud: &Cloud, observed: &Observed) -> Result<(), ProviderError> {
    let machine = machine_of(&observed.id.name, &observed.body);
    let report = machine::report(&cloud.machines, &machine).await?;
    let report = report.ok_or_else(|| not_serving(format!("{} does not exist", machine.instance)))?;
    if report.status != "RUNNING" || !["ready", "rolled-back"].contains(&report.stage.as_str()) {
        return Err(not_serving(report.summary()));
    }
    match unbalanced(cloud, &machine).await? {
        Some(why) => Err(not_serving(why)),
        None => Ok(()),
    }
}

/// Why a load balancer sends nobody to a machine that says it is ready; `None`: it does, or there
/// is none.
pub(super) async fn unbalanced(cloud: &Cloud, machine: &Machine) -> Result<Option<String>, Error> {
    let states = health(cloud, machine).await?;
    let state = states.into_iter().find(|state| state != "HEALTHY");
    Ok(state.map(|state| {
        let (name, state) = (&machine.instance, state.to_ascii_lowercase());
        format!("{name} says that it is ready, but its load balancer finds it {state}")
    }))
}

/// Waits until the machine runs what its manifest says, and tells each stage.
pub(super) async fn settle(cloud: &Cloud, manifest: &Manifest, events: &Events) -> Result<(), ProviderError> {
    let machine = machine_of(&manifest.name, &manifest.body);
    // The engine itself stops waiting when it is asked to.
    let interrupt = CancellationToken::new();
    machine::wait_ready(&cloud.machines, &machine, events, LONGEST, &interrupt).await?;
    Ok(())
}

/// From a manifest's or an observed body.
pub(super) fn machine_of(name: &str, body: &Value) -> Machine {
    let item = |key: &str| {
        let mut items = body["metadata"]["items"].as_array().into_iter().flatten();
        let item = items.find(|item| item["key"] == key);
        item.and_then(|item| item["value"].as_str()).unwrap_or_default().to_owned()
    };
    Machine {
        instance: name.to_owned(),
        zone: body["zone"].as_str().unwrap_or_default().to_owned(),
        bundle: item("dorainfra-bundle"),
        certificate: item("dorainfra-certificate"),
        disk_gb: item("dorainfra-disk-gb").parse().unwrap_or_default(),
    }
}

/// What each load balancer of the deployment says of the machine.
async fn health(cloud: &Cloud, machine: &Machine) -> Result<Vec<String>, Error> {
    const SERVICES: &Row = row("compute.backendService");
    let mut states = Vec::new();
    let services = SERVICES.list(cloud, &cloud.deployment).await?;
    whole(&services.unseen)?;
    for service in services.found {
        let groups = service.body["backends"].as_array().into_iter().flatten();
        let groups = groups.filter_map(|backend| backend["group"].as_str());
        for group in groups.filter(|group| group.starts_with(&format!("zones/{}/", machine.zone))) {
            let path = format!("{}/getHealth", SERVICES.path(&service.body, &service.id.name)?);
            let body = json!({"group": group_link(cloud.client.project(), group)});
            let answer =
                cloud.client.call(&Call::idempotent(Api::Compute, Method::POST, path).body(body)).await?;
            let known = answer["healthStatus"].as_array().into_iter().flatten();
            let own = known.filter(|one| one["instance"].as_str().map(short) == Some(&machine.instance));
            states.extend(own.map(|one| one["healthState"].as_str().unwrap_or("UNKNOWN").to_owned()));
        }
    }
    Ok(states)
}

fn not_serving(message: String) -> ProviderError {
    ProviderError::new(
        message,
        "`dorainfra status` shows all machines; fix this one first, or replace it: \
         `--replace compute.instance/NAME` (its data disk stays)",
    )
}

impl From<MachineError> for ProviderError {
    fn from(error: MachineError) -> Self {
        let (hint, message) = (error.hint(), error.to_string());
        Self { message, hint, unknown_outcome: false, source: Some(Arc::new(error)) }
    }
}

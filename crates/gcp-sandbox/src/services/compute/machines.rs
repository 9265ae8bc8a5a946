//! From instances to machines: the driver is told what an operation does.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::disk_content;
use super::state::state;
use crate::kernel::cloud::Cloud;
use crate::machines::{Boot, MachineId};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MachineAction {
    Boot,
    Stop,
    Reset,
    Delete,
    /// The disk with this device name, while the machine runs.
    Attach(String),
    Detach(String),
}

/// What the machine of an instance has to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MachineTask {
    pub what: MachineAction,
    /// The instance's record.
    pub key: String,
}

/// The machine of the instance under `key`.
fn machine(key: &str) -> Option<MachineId> {
    let (zone, name) = key.strip_prefix("compute/zones/")?.split_once("/instances/")?;
    Some(MachineId { zone: zone.to_owned(), name: name.to_owned() })
}

fn boot(cloud: &Cloud, key: &str) -> Result<Boot, String> {
    let instance = cloud.read(key).ok_or("the instance is gone")?;
    let MachineId { zone, name } = machine(key).ok_or("the record is no instance")?;
    let mut disks = Vec::new();
    for disk in instance["disks"].as_array().into_iter().flatten().filter(|disk| disk["boot"] != true) {
        let source = disk["source"].as_str().unwrap_or_default();
        let path = source.split_once("/zones/").map_or("", |(_, path)| path);
        let folder = disk_content::folder(&cloud.dir, &format!("compute/zones/{path}"))
            .ok_or("a disk has no source")?;
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        disks.push((disk["deviceName"].as_str().unwrap_or_default().to_owned(), folder));
    }
    let address = instance["networkInterfaces"][0]["networkIP"].as_str().and_then(|text| text.parse().ok());
    Ok(Boot {
        project: cloud.project.clone(),
        dir: cloud.dir.join("machines").join(&zone).join(&name),
        zone,
        name,
        address: address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        disks,
        sandbox_port: cloud.port,
        instance,
    })
}

/// Has the driver do it; answers when it is done.
pub async fn carry_out(cloud: &Arc<Cloud>, order: &MachineTask) -> Result<(), String> {
    let Some(machines) = state(cloud).machines.get() else { return Ok(()) };
    let id = machine(&order.key).ok_or("the record is no instance")?;
    match &order.what {
        MachineAction::Boot => machines.boot(boot(cloud, &order.key)?).await,
        MachineAction::Stop => machines.stop(&id).await,
        MachineAction::Reset => machines.reset(&id).await,
        MachineAction::Delete => machines.delete(&id).await,
        MachineAction::Attach(device) => {
            let boot = boot(cloud, &order.key)?;
            let disks = boot.instance["disks"].as_array().into_iter().flatten();
            let gb = disks.filter(|disk| disk["deviceName"] == device.as_str());
            let gb = gb.filter_map(|disk| disk["diskSizeGb"].as_str()?.parse().ok()).next();
            let folder = boot.disks.into_iter().find(|(name, _)| name == device).map(|(_, folder)| folder);
            machines.attach(&id, device, folder.ok_or("the disk is gone")?, gb.unwrap_or(10)).await
        }
        MachineAction::Detach(device) => machines.detach(&id, device).await,
    }
}

/// Starts the machines that ran when the sandbox ended. One that does not boot is
/// TERMINATED, and says why on its serial port.
pub async fn restore(cloud: Arc<Cloud>) {
    let boots = running(&cloud).iter().filter_map(|key| boot(&cloud, key).ok()).collect();
    if let Some(machines) = state(&cloud).machines.get() {
        machines.restore(boots).await;
    }
}

/// Hands new metadata on.
pub async fn metadata_changed(cloud: Arc<Cloud>, key: String) {
    let instance: Option<Value> = cloud.read(&key).filter(|instance| instance["status"] == "RUNNING");
    if let (Some(instance), Some(machines), Some(id)) =
        (instance, state(&cloud).machines.get(), machine(&key))
    {
        machines.metadata_changed(&id, instance["metadata"].clone()).await;
    }
}

/// Whether the machine of the instance under `key` has a way to Google's APIs: an external
/// address, or a subnet with Private Google Access. One that is gone had one.
pub fn reaches_google(cloud: &Cloud, key: &str) -> bool {
    let Some(instance) = cloud.read(key) else { return true };
    let interface = &instance["networkInterfaces"][0];
    let external = interface["accessConfigs"].as_array().is_some_and(|all| !all.is_empty());
    let subnetwork = interface["subnetwork"].as_str().and_then(|link| link.split_once("/regions/"));
    external
        || subnetwork
            .and_then(|(_, path)| cloud.read(&format!("compute/regions/{path}")))
            .is_none_or(|subnetwork| subnetwork["privateIpGoogleAccess"] == true)
}

/// The instances that run, by their keys.
pub fn running(cloud: &Cloud) -> Vec<String> {
    let all = cloud.scan("compute/zones/").into_iter();
    all.filter(|(key, record)| machine(key).is_some() && record["status"] == "RUNNING")
        .map(|(key, _)| key)
        .collect()
}

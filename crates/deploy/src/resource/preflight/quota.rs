//! What is left of the project's quotas, against what new resources need of them.
//!
//! Source: "Allocation quotas", <https://cloud.google.com/compute/resource-usage>.

use std::collections::BTreeMap;

use dorainfra_engine::Manifest;
use dorainfra_gcp::{Api, Call, Error};
use futures::future::try_join_all;
use serde_json::Value;

use super::super::{Cloud, short};
use super::{gb, text};

/// Series whose CPUs count against the quota `CPUS`; the others have one of their own
/// (`N2_CPUS`), as far as it is among a region's.
const COMMON: [&str; 4] = ["e2", "f1", "g1", "n1"];

/// One quota, and what is needed of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Room {
    pub metric: String,
    /// `None`: it is one of the whole project.
    pub region: Option<String>,
    pub needed: f64,
    pub left: f64,
    pub limit: f64,
}

impl Room {
    pub fn is_enough(&self) -> bool {
        self.needed <= self.left
    }
}

/// By region (none: the project) and metric.
type Needs = BTreeMap<(Option<String>, String), f64>;

/// What these need of each quota that is known, and what is left.
///
/// # Errors
/// The quotas, or how large the machines are, can't be read.
pub async fn room(cloud: &Cloud, manifests: &[&Manifest]) -> Result<Vec<Room>, Error> {
    let machines = manifests.iter().filter(|manifest| manifest.kind == "compute.instance");
    let cpus = try_join_all(machines.map(|manifest| cpus(cloud, manifest)));
    let regions: std::collections::BTreeSet<String> = manifests.iter().filter_map(|m| region(m)).collect();
    let of_region = async |region: String| {
        let call = Call::get(Api::Compute, format!("regions/{region}"));
        Ok::<_, Error>((Some(region), cloud.client.call(&call).await?))
    };
    let of_project = async {
        // `projects/P`, without a slash at its end.
        let call = Call::get(Api::ComputeOfAll, format!("projects/{}", cloud.client.project()));
        Ok((None, cloud.client.call(&call).await?))
    };
    let (cpus, mut quotas, project) =
        futures::try_join!(cpus, try_join_all(regions.into_iter().map(of_region)), of_project)?;
    quotas.push(project);
    let needs = needs(manifests, &cpus.into_iter().flatten().collect::<Vec<_>>());
    Ok(compared(&needs, &quotas))
}

/// The region and series of a machine, and its CPUs.
type Cpus = (String, String, f64);

async fn cpus(cloud: &Cloud, manifest: &Manifest) -> Result<Option<Cpus>, Error> {
    let (zone, machine_type) = (text(&manifest.body["zone"]), text(&manifest.body["machineType"]));
    let call = Call::get(Api::Compute, format!("zones/{zone}/machineTypes/{machine_type}"));
    let answer = super::super::found(cloud.client.call(&call).await)?;
    let (Some(answer), Some(region)) = (answer, region(manifest)) else { return Ok(None) };
    let series = machine_type.split('-').next().unwrap_or_default().to_owned();
    Ok(answer["guestCpus"].as_f64().map(|count| (region, series, count)))
}

fn region(manifest: &Manifest) -> Option<String> {
    let body = &manifest.body;
    let own = body["region"].as_str().map(str::to_owned);
    let region = own.or_else(|| Some(body["zone"].as_str()?.rsplit_once('-')?.0.to_owned()))?;
    Some(region).filter(|region| manifest.kind.starts_with("compute.") && !region.contains('$'))
}

fn needs(manifests: &[&Manifest], cpus: &[Cpus]) -> Needs {
    let mut needs = Needs::new();
    let mut add = |region: Option<String>, metric: String, amount: f64| {
        *needs.entry((region, metric)).or_default() += amount;
    };
    for (region, series, count) in cpus {
        let metric = match COMMON.contains(&series.as_str()) {
            true => "CPUS".to_owned(),
            false => format!("{}_CPUS", series.to_ascii_uppercase()),
        };
        add(Some(region.clone()), metric, *count);
        add(None, "CPUS_ALL_REGIONS".into(), *count);
    }
    for manifest in manifests {
        let (body, region) = (&manifest.body, region(manifest));
        let external = |field: &str| body[field] == "EXTERNAL";
        match manifest.kind.as_str() {
            "compute.instance" => {
                add(region.clone(), "INSTANCES".into(), 1.0);
                if body["networkInterfaces"][0]["accessConfigs"].as_array().is_some_and(|all| !all.is_empty())
                {
                    add(region.clone(), "IN_USE_ADDRESSES".into(), 1.0);
                }
            }
            "compute.address" if external("addressType") => {
                add(region.clone(), "STATIC_ADDRESSES".into(), 1.0);
            }
            "compute.forwardingRule" if external("loadBalancingScheme") => {
                add(region.clone(), "IN_USE_ADDRESSES".into(), 1.0);
            }
            "compute.firewall" => add(None, "FIREWALLS".into(), 1.0),
            "compute.network" => add(None, "NETWORKS".into(), 1.0),
            "compute.subnetwork" => add(None, "SUBNETWORKS".into(), 1.0),
            _ => {}
        }
        for (kind, size) in disks(manifest) {
            add(region.clone(), disk_metric(kind).into(), size);
        }
    }
    needs
}

/// Types and sizes of the disks that a manifest makes: its own, or those that a machine boots from.
fn disks(manifest: &Manifest) -> Vec<(&str, f64)> {
    let body = &manifest.body;
    match manifest.kind.as_str() {
        "compute.disk" => vec![(short(text(&body["type"])), gb(&body["sizeGb"]) as f64)],
        "compute.instance" => body["disks"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|disk| &disk["initializeParams"])
            .filter(|made| made.is_object())
            .map(|made| (short(text(&made["diskType"])), gb(&made["diskSizeGb"]) as f64))
            .collect(),
        _ => Vec::new(),
    }
}

fn disk_metric(kind: &str) -> &'static str {
    match kind {
        "hyperdisk-balanced" => "HDB_TOTAL_GB",
        "pd-standard" => "DISKS_TOTAL_GB",
        _ => "SSD_TOTAL_GB",
    }
}

/// Of a quota that is not told, nothing is known.
fn compared(needs: &Needs, quotas: &[(Option<String>, Value)]) -> Vec<Room> {
    let of = |((region, metric), needed): (&(Option<String>, String), &f64)| {
        let (_, place) = quotas.iter().find(|(place, _)| place == region)?;
        let quota = place["quotas"].as_array()?.iter().find(|quota| quota["metric"] == metric.as_str())?;
        let (limit, usage) = (quota["limit"].as_f64()?, quota["usage"].as_f64()?);
        let left = (limit - usage).max(0.0);
        Some(Room { metric: metric.clone(), region: region.clone(), needed: *needed, left, limit })
    };
    needs.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_needed_is_compared_with_what_is_left() {
        let zone = "europe-west1-b";
        let machine = Manifest::new(
            "compute.instance",
            "m",
            json!({"zone": zone, "networkInterfaces": [{"accessConfigs": [{}]}], "disks": [
                {"initializeParams": {"diskType": "zones/z/diskTypes/pd-balanced", "diskSizeGb": "10"}},
                {"source": "${compute.disk/d.name}"}]}),
        );
        let disk = |name, kind: &str| {
            Manifest::new("compute.disk", name, json!({"zone": zone, "type": kind, "sizeGb": "50"}))
        };
        let others = [
            Manifest::new("compute.firewall", "f", json!({})),
            Manifest::new(
                "compute.address",
                "a",
                json!({"region": "europe-west1", "addressType": "EXTERNAL"}),
            ),
            Manifest::new("storage.bucket", "b", json!({})),
        ];
        let disks = [disk("d", "zones/z/diskTypes/pd-ssd"), disk("e", "zones/z/diskTypes/pd-standard")];
        let all: Vec<&Manifest> = disks.iter().chain([&machine]).chain(&others).collect();
        let cpus = [("europe-west1".to_owned(), "e2".to_owned(), 2.0)];
        let quota =
            |metric: &str, limit: f64, usage: f64| json!({"metric": metric, "limit": limit, "usage": usage});
        let region = json!({"quotas": [quota("CPUS", 8.0, 7.0), quota("SSD_TOTAL_GB", 100.0, 40.0),
            quota("STATIC_ADDRESSES", 4.0, 3.0), quota("IN_USE_ADDRESSES", 4.0, 4.0)]});
        let project =
            json!({"quotas": [quota("FIREWALLS", 100.0, 120.0), quota("CPUS_ALL_REGIONS", 32.0, 0.0)]});
        let rooms = compared(&needs(&all, &cpus), &[(Some("europe-west1".into()), region), (None, project)]);
        let told: Vec<_> = rooms
            .iter()
            .map(|room| (room.metric.as_str(), room.needed, room.left, room.is_enough()))
            .collect();
        assert_eq!(
            told,
            [
                ("CPUS_ALL_REGIONS", 2.0, 32.0, true),
                ("FIREWALLS", 1.0, 0.0, false),
                ("CPUS", 2.0, 1.0, false),
                ("IN_USE_ADDRESSES", 1.0, 0.0, false),
                ("SSD_TOTAL_GB", 60.0, 60.0, true),
                ("STATIC_ADDRESSES", 1.0, 1.0, true),
            ]
        );
        let own = [("europe-west1".to_owned(), "c3".to_owned(), 4.0)];
        assert!(needs(&[], &own).contains_key(&(Some("europe-west1".into()), "C3_CPUS".into())));
    }
}

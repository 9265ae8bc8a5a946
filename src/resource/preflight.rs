//! What a new machine needs and no manifest makes: a network and a subnet that are
//! there, a machine type that the zone has, a disk type that the machine takes. Asked
//! once it is known what will be made, and before anything is.

use futures::future::join_all;
use serde_json::Value;

use super::{Cloud, absent, short};
use crate::engine::{Finding, Manifest};
use crate::gcp::{Api, Call, Error};

/// Machine series that take Hyperdisk only, also to boot from.
/// Source: Google's table of disk types by machine series, as of November 2026.
const HYPERDISK_ONLY: [&str; 13] =
    ["a4", "a4x", "c4", "c4a", "c4d", "h4d", "m4", "n4", "n4a", "n4d", "x4", "z3", "m4n"];
/// Series that take no Hyperdisk to boot from or at all.
const NO_HYPERDISK: [&str; 6] = ["e2", "f1", "g1", "n1", "n2d", "t2d"];

/// Everything that would stop these from being made, or that their owner should know.
pub(super) async fn findings(cloud: &Cloud, manifests: &[&Manifest]) -> Vec<Finding> {
    let machines = manifests.iter().filter(|manifest| manifest.kind == "compute.instance");
    let all = machines.map(|manifest| machine(cloud, manifest));
    let mut findings: Vec<Finding> = join_all(all).await.into_iter().flatten().collect();
    findings.extend(manifests.iter().flat_map(|manifest| disks(manifest, manifests)));
    findings.sort_by(|a, b| (&a.problem, a.subject.to_string()).cmp(&(&b.problem, b.subject.to_string())));
    // Three machines lack one network once.
    findings.dedup_by(|a, b| a.problem == b.problem);
    findings
}

async fn machine(cloud: &Cloud, manifest: &Manifest) -> Vec<Finding> {
    let body = &manifest.body;
    let (zone, machine_type) = (text(&body["zone"]), text(&body["machineType"]));
    let region = zone.rsplit_once('-').map_or("", |(region, _)| region);
    let interface = &body["networkInterfaces"][0];
    let (network, subnet) = (text(&interface["network"]), text(&interface["subnetwork"]));
    let private = interface["accessConfigs"].as_array().is_none_or(Vec::is_empty);
    let (typed, networked, subnetted) = futures::join!(
        look(cloud, format!("zones/{zone}/machineTypes/{machine_type}"), machine_type),
        look(cloud, format!("global/networks/{network}"), network),
        look(cloud, format!("regions/{region}/subnetworks/{subnet}"), subnet),
    );
    let mut found = Vec::new();
    let mut refuse = |problem: String, instead: String| {
        found.push(Finding { subject: manifest.id(), problem, instead, refuses: true });
    };
    if matches!(typed, Found::Missing) {
        refuse(
            format!("{zone} has no machine type `{machine_type}`"),
            format!(
                "set `mimir.machine_type` or `zones`: `gcloud compute machine-types list --zones {zone}` shows \
                 what there is"
            ),
        );
    }
    if matches!(networked, Found::Missing) {
        refuse(
            format!("the project has no network `{network}`"),
            "`network.create: true` makes one, `network.name` names another".into(),
        );
    }
    match subnetted {
        Found::Missing => refuse(
            format!("{region} has no subnet `{subnet}`"),
            "set `network.subnet` to one of that region, or `network.create: true`".into(),
        ),
        Found::There(subnetwork) if private && subnetwork["privateIpGoogleAccess"] != true => refuse(
            format!(
                "the subnet `{subnet}` has no Private Google Access, and the machine no external address: \
                     it could not reach its bucket"
            ),
            format!(
                "`gcloud compute networks subnets update {subnet} --region {region} \
                 --enable-private-ip-google-access`, or `network.create: true`"
            ),
        ),
        _ => {}
    }
    found
}

enum Found {
    There(Value),
    Missing,
    /// Not a literal name, made by this very plan, or nobody's to see.
    Unknown,
}

async fn look(cloud: &Cloud, path: String, name: &str) -> Found {
    if name.is_empty() || name.contains(['$', '/']) {
        return Found::Unknown;
    }
    match cloud.client.call(&Call::get(Api::Compute, path)).await {
        Ok(value) => Found::There(value),
        // Before the service is enabled nothing can be told.
        Err(Error::Api(error)) if error.is_service_disabled() => Found::Unknown,
        Err(error) if absent(&error) => Found::Missing,
        Err(_) => Found::Unknown,
    }
}

/// Whether each disk of a machine is of a type that its series takes.
fn disks(manifest: &Manifest, all: &[&Manifest]) -> Vec<Finding> {
    if manifest.kind != "compute.instance" {
        return Vec::new();
    }
    let machine_type = text(&manifest.body["machineType"]);
    let series = machine_type.split('-').next().unwrap_or_default();
    let boot =
        manifest.body["disks"].as_array().into_iter().flatten().filter_map(|disk| {
            Some(("`mimir.boot_disk_type`", disk["initializeParams"]["diskType"].as_str()?))
        });
    let zone = text(&manifest.body["zone"]);
    let data = all
        .iter()
        .filter(|other| other.kind == "compute.disk" && text(&other.body["zone"]) == zone)
        .filter_map(|disk| Some(("`mimir.disk_type`", disk.body["type"].as_str()?)));
    let mut found = Vec::new();
    for (key, link) in boot.chain(data) {
        let kind = short(link);
        let hyper = kind.starts_with("hyperdisk");
        let other = match hyper {
            false if HYPERDISK_ONLY.contains(&series) => "hyperdisk-balanced",
            true if NO_HYPERDISK.contains(&series) => "pd-balanced",
            _ => continue,
        };
        found.push(Finding {
            subject: manifest.id(),
            problem: format!("a machine of the series {series} takes no disk of the type {kind}"),
            instead: format!("set {key} to `{other}`, or another `mimir.machine_type`"),
            refuses: true,
        });
    }
    found
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn manifest(kind: &str, body: Value) -> Manifest {
        Manifest {
            kind: kind.into(),
            name: "m".into(),
            protect: false,
            arbiter: false,
            rolling: None,
            depends_on: Vec::new(),
            notes: BTreeMap::new(),
            body,
        }
    }

    #[test]
    fn a_disk_has_to_be_of_a_type_that_the_machine_takes() {
        let told = |machine_type: &str, boot: &str, data: &str| {
            let machine = manifest(
                "compute.instance",
                json!({"zone": "z-a", "machineType": machine_type, "disks": [
                    {"initializeParams": {"diskType": format!("zones/z-a/diskTypes/{boot}")}}, {"source": "x"}]}),
            );
            let disk = manifest("compute.disk", json!({"zone": "z-a", "type": data}));
            let found = disks(&machine, &[&machine, &disk]);
            found.iter().map(|finding| finding.instead.clone()).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(told("e2-medium", "pd-balanced", "pd-ssd"), "");
        assert_eq!(told("n4-standard-2", "hyperdisk-balanced", "hyperdisk-balanced"), "");
        assert_eq!(told("n2-standard-2", "pd-balanced", "hyperdisk-balanced"), "");
        let both = told("c4a-standard-2", "pd-balanced", "pd-ssd");
        assert!(
            both.contains("boot_disk_type") && both.contains("`mimir.disk_type` to `hyperdisk-balanced`")
        );
        assert!(told("e2-medium", "pd-balanced", "hyperdisk-balanced").contains("pd-balanced"));
    }
}

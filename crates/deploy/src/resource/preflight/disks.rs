//! Whether a machine takes the disks that it is to have.

use std::collections::BTreeMap;

use dorainfra_engine::{Finding, Manifest};
use futures::future::join_all;

use super::super::{Cloud, short};
use super::{Look, look, text};

/// Machine series that take Hyperdisk only, also to boot from.
/// Source: Google's table of disk types by machine series, as of November 2026.
const HYPERDISK_ONLY: [&str; 13] =
    ["a4", "a4x", "c4", "c4a", "c4d", "h4d", "m4", "n4", "n4a", "n4d", "x4", "z3", "m4n"];
/// Series that take no Hyperdisk Balanced (some of them take its other kinds).
const NO_HYPERDISK: [&str; 12] = ["a2", "c2", "c2d", "e2", "f1", "g1", "g2", "n1", "n2", "n2d", "t2a", "t2d"];
/// Series that take no Persistent Disk of the standard kind.
const NO_STANDARD: [&str; 6] = ["a3", "c3", "c3d", "g2", "h3", "m3"];

/// Whether each disk of a machine is of a type that its series takes.
pub(super) async fn findings(cloud: &Cloud, manifest: &Manifest, all: &[&Manifest]) -> Vec<Finding> {
    let zone = text(&manifest.body["zone"]);
    let attached = manifest.body["disks"].as_array().into_iter().flatten().filter_map(|disk| {
        // `${compute.disk/NAME.name}`
        let reference = disk["source"].as_str()?.strip_prefix("${compute.disk/")?;
        reference.split('.').next()
    });
    let kept = attached.map(async |name| {
        if let Some(made) = all.iter().find(|other| other.kind == "compute.disk" && other.name == name) {
            return Some((made.body["type"].as_str()?.to_owned(), false));
        }
        match look(cloud, format!("zones/{zone}/disks/{name}"), name).await {
            Look::There(disk) => Some((disk["type"].as_str()?.to_owned(), true)),
            Look::Missing | Look::Unknown => None,
        }
    });
    let data: Vec<(String, bool)> = join_all(kept).await.into_iter().flatten().collect();
    fitting(manifest, &data)
}

/// What is wrong with the types of a machine's disks; `data`: those of its data disks, and
/// whether the disk is there already, and stays.
fn fitting(manifest: &Manifest, data: &[(String, bool)]) -> Vec<Finding> {
    let machine_type = text(&manifest.body["machineType"]);
    let series = machine_type.split('-').next().unwrap_or_default();
    let boot = manifest.body["disks"].as_array().into_iter().flatten().filter_map(|disk| {
        Some(("`mimir.boot_disk_type`", disk["initializeParams"]["diskType"].as_str()?, false))
    });
    let data = data.iter().map(|(kind, kept)| ("`mimir.disk_type`", kind.as_str(), *kept));
    let mut wrong: BTreeMap<(&str, &str), (Vec<&str>, bool)> = BTreeMap::new();
    for (key, link, kept) in boot.chain(data) {
        let kind = short(link);
        let other = match kind.starts_with("hyperdisk") {
            false if HYPERDISK_ONLY.contains(&series) => "hyperdisk-balanced",
            true if NO_HYPERDISK.contains(&series) => "pd-balanced",
            false if kind == "pd-standard" && NO_STANDARD.contains(&series) => "pd-balanced",
            _ => continue,
        };
        let (keys, stays) = wrong.entry((kind, other)).or_default();
        keys.push(key);
        *stays |= kept;
    }
    let finding = |((kind, other), (keys, kept)): ((&str, &str), (Vec<&str>, bool))| Finding {
        subject: manifest.id(),
        problem: format!("a machine of the series {series} takes no disk of the type {kind}"),
        instead: match kept {
            // A key alone changes nothing: no disk becomes one of another type.
            true => format!(
                "take another `mimir.machine_type`, as the data disk that is there keeps its type; or set {} to \
                 `{other}` and move by a snapshot (each night there is one, `gcloud compute snapshots list`): \
                 `dorainfra apply --restore-disk SNAPSHOT --delete-data` with these keys makes disk and machine \
                 anew. What is newer than the snapshot, and not in the bucket, is then lost",
                keys.join(" and ")
            ),
            false => format!("set {} to `{other}`, or another `mimir.machine_type`", keys.join(" and ")),
        },
        refuses: true,
    };
    wrong.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_disk_has_to_be_of_a_type_that_the_machine_takes() {
        let told = |machine_type: &str, boot: &str, data: &str| {
            let machine = Manifest::new(
                "compute.instance",
                "m",
                json!({"zone": "z-a", "machineType": machine_type, "disks": [
                    {"initializeParams": {"diskType": format!("zones/z-a/diskTypes/{boot}")}}, {"source": "x"}]}),
            );
            let found = fitting(&machine, &[(data.to_owned(), false)]);
            found.iter().map(|finding| finding.instead.clone()).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(told("e2-medium", "pd-balanced", "pd-ssd"), "");
        assert_eq!(told("n4-standard-2", "hyperdisk-balanced", "hyperdisk-balanced"), "");
        assert_eq!(told("c3-standard-4", "pd-balanced", "hyperdisk-balanced"), "");
        assert!(told("n2-standard-2", "pd-balanced", "hyperdisk-balanced").contains("`mimir.disk_type`"));
        assert!(told("c3-standard-4", "pd-standard", "pd-ssd").contains("`mimir.boot_disk_type`"));
        let both = told("c4a-standard-2", "pd-balanced", "pd-ssd");
        assert!(both.contains("`mimir.boot_disk_type` to `hyperdisk-balanced`"), "{both}");
        assert!(both.contains("`mimir.disk_type` to `hyperdisk-balanced`"), "{both}");
        let same = told("n4-standard-2", "pd-balanced", "pd-balanced");
        assert!(same.contains("`mimir.boot_disk_type` and `mimir.disk_type` to"), "{same}");
        assert!(told("e2-medium", "pd-balanced", "hyperdisk-balanced").contains("pd-balanced"));
    }
}

//! What a machine boots from is made with it, and never changed afterwards. Where the configuration has another one
//! than is there, a plan says so, and the way.

use dorainfra_engine::{Action, Plan, ResourceId, Step};
use dorainfra_gcp::{Api, Call, integer};
use futures::future::join_all;
use serde_json::Value;

use super::run::Run;
use crate::resource::short;

impl Run {
    /// Warnings, of machines that stay.
    pub(super) async fn boot_disks(&self, plan: &Plan) -> Vec<String> {
        let stays = |step: &&Step| {
            step.id.kind == "compute.instance"
                && !matches!(step.action, Action::Create | Action::Replace | Action::Delete)
        };
        let looks = plan.steps.iter().filter(stays).map(async |step| {
            let manifest = plan.manifests.iter().find(|manifest| manifest.id() == step.id)?;
            let wanted = &boot(&manifest.body)?["initializeParams"];
            let there = boot(&plan.basis.observed.get(&step.id)?.body)?;
            let (zone, name) = (manifest.body["zone"].as_str()?, short(there["source"].as_str()?));
            // What can't be read now is as it was made.
            let call = Call::get(Api::Compute, format!("zones/{zone}/disks/{name}"));
            let disk = self.client.call(&call).await.ok()?;
            told(&step.id, wanted, &disk)
        });
        join_all(looks).await.into_iter().flatten().collect()
    }
}

/// The disk that a machine boots from, in its body.
fn boot(machine: &Value) -> Option<&Value> {
    machine["disks"].as_array()?.iter().find(|disk| disk["boot"] == true)
}

/// `wanted`: what it would be made with; `disk`: as it is.
fn told(machine: &ResourceId, wanted: &Value, disk: &Value) -> Option<String> {
    let size = (integer(&wanted["diskSizeGb"])?, integer(&disk["sizeGb"])?);
    let kind = (short(wanted["diskType"].as_str()?), short(disk["type"].as_str()?));
    if size.0 == size.1 && kind.0 == kind.1 {
        return None;
    }
    Some(format!(
        "{machine} boots from {} GB of {}, and not from {} GB of {} as `mimir.boot_disk_gb` and \
         `mimir.boot_disk_type` say: that disk is made with the machine. It holds nothing that is not made again: \
         `dorainfra apply --replace {machine}`, or set the keys back",
        size.1, kind.1, size.0, kind.0
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn another_size_or_type_than_is_there_is_told() {
        let machine: ResourceId = "compute.instance/dorainfra-mimir".parse().unwrap();
        let wanted =
            |gb: &str, kind: &str| json!({"diskSizeGb": gb, "diskType": format!("zones/z/diskTypes/{kind}")});
        let disk = json!({"sizeGb": "10", "type": "https://www.googleapis.com/compute/v1/projects/p/zones/z/diskTypes/pd-balanced"});
        assert_eq!(told(&machine, &wanted("10", "pd-balanced"), &disk), None);
        let larger = told(&machine, &wanted("20", "pd-balanced"), &disk).unwrap();
        assert!(
            larger.contains("boots from 10 GB of pd-balanced, and not from 20 GB of pd-balanced"),
            "{larger}"
        );
        assert!(
            told(&machine, &wanted("10", "pd-ssd"), &disk).unwrap().contains("--replace compute.instance/")
        );
    }
}

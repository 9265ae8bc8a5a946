//! The deployments of a project, found by the mark that their machines, data disks and buckets carry:
//! three lists, whatever their number.

use std::collections::{BTreeMap, BTreeSet};

use dorainfra_gcp::{Api, Call, Client, Error};
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::compute::everywhere;
use super::{listed, mark, short};

/// One deployment, as far as the lists tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Deployment {
    pub name: String,
    /// Those that its machines, or else its disks, are in.
    pub regions: BTreeSet<String>,
    /// Each with its status, as `RUNNING`.
    pub machines: BTreeMap<String, String>,
    pub disks: BTreeSet<String>,
    pub buckets: BTreeSet<String>,
    /// When the oldest of these was made.
    #[serde(with = "time::serde::rfc3339::option")]
    pub since: Option<OffsetDateTime>,
}

/// All that were found, by name.
#[derive(Debug, Default)]
pub struct Deployments {
    pub found: Vec<Deployment>,
    /// Places that can't be asked now: there may be more.
    pub unseen: BTreeSet<String>,
}

/// Those of the client's project. An API that is off has none.
///
/// # Errors
/// A list can't be read.
pub async fn deployments(client: &Client) -> Result<Deployments, Error> {
    let filter = format!("labels.{}={}", mark::MANAGED_BY, mark::MANAGER);
    let compute = async |collection: &str| {
        let mut unseen = BTreeSet::new();
        let found = everywhere(client, collection, Some(&filter), &mut unseen).await;
        Ok::<_, Error>((listed(found, &mut BTreeSet::new())?, unseen))
    };
    let buckets = async {
        let call = Call::get(Api::Storage, "storage/v1/b").query("project", client.project());
        listed(client.list(call, "items").await, &mut BTreeSet::new())
    };
    let ((instances, mut unseen), (disks, of_disks), buckets) =
        futures::try_join!(compute("instances"), compute("disks"), buckets)?;
    unseen.extend(of_disks);
    Ok(Deployments { found: gathered(&instances, &disks, &buckets), unseen })
}

fn gathered(instances: &[Value], disks: &[Value], buckets: &[Value]) -> Vec<Deployment> {
    let mut all: BTreeMap<String, Deployment> = BTreeMap::new();
    let mut in_region: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (kind, items) in [("instance", instances), ("disk", disks), ("bucket", buckets)] {
        for item in items {
            let labels = &item["labels"];
            let (Some(owner), true) =
                (labels[mark::DEPLOYMENT].as_str(), labels[mark::MANAGED_BY] == mark::MANAGER)
            else {
                continue;
            };
            let deployment = all.entry(owner.to_owned()).or_default();
            owner.clone_into(&mut deployment.name);
            let name = short(item["name"].as_str().unwrap_or_default()).to_owned();
            let region = item["zone"].as_str().and_then(|zone| short(zone).rsplit_once('-'));
            let region = region.map(|(region, _)| region.to_owned());
            let made = item["creationTimestamp"].as_str().or(item["timeCreated"].as_str());
            let made = made.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
            deployment.since = deployment.since.into_iter().chain(made).min();
            match kind {
                "instance" => {
                    let status = item["status"].as_str().unwrap_or_default().to_owned();
                    deployment.machines.insert(name, status);
                    deployment.regions.extend(region);
                }
                "disk" => {
                    deployment.disks.insert(name);
                    in_region.entry(owner.to_owned()).or_default().extend(region);
                }
                _ => {
                    deployment.buckets.insert(name);
                }
            }
        }
    }
    for deployment in all.values_mut().filter(|deployment| deployment.regions.is_empty()) {
        deployment.regions = in_region.remove(&deployment.name).unwrap_or_default();
    }
    all.into_values().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn what_carries_a_mark_is_one_deployments() {
        let labels = |owner: &str| json!({"managed-by": "dorainfra", "deployment": owner});
        let zone = "https://www.googleapis.com/compute/v1/projects/p/zones/europe-west1-b";
        let instances = [
            json!({"name": "pay-mimir", "zone": zone, "status": "RUNNING", "labels": labels("pay"),
                   "creationTimestamp": "2026-03-01T23:30:00.000-08:00"}),
            json!({"name": "other", "zone": zone, "status": "RUNNING", "labels": {"deployment": "pay"}}),
        ];
        let disks = [
            json!({"name": "pay-data", "zone": zone, "labels": labels("pay"),
                   "creationTimestamp": "2026-03-02T07:00:00Z"}),
            json!({"name": "old-data", "zone": "us-east1-c", "labels": labels("old")}),
        ];
        let buckets = [
            json!({"name": "p-pay-mimir", "labels": labels("pay"), "timeCreated": "2026-03-04T00:00:00Z"}),
            json!({"name": "somebodys"}),
        ];
        let found = gathered(&instances, &disks, &buckets);
        let [old, pay] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((old.name.as_str(), old.machines.len(), old.since), ("old", 0, None));
        assert_eq!(old.regions, BTreeSet::from(["us-east1".to_owned()]));
        assert_eq!(pay.machines, BTreeMap::from([("pay-mimir".to_owned(), "RUNNING".to_owned())]));
        assert_eq!(pay.since, Some(datetime!(2026-03-02 7:00 UTC)), "the oldest, across time zones");
        assert_eq!(pay.buckets, BTreeSet::from(["p-pay-mimir".to_owned()]));
    }
}

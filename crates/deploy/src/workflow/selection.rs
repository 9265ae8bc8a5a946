//! What a plan is made of and may do.

use std::collections::BTreeMap;

use dorainfra_config::Config;
use dorainfra_engine::{PlanOptions, ResourceId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::InputError;
use crate::blueprint::Names;

/// Which resources, and what may be done to them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Selection {
    /// Only these resources and what they need.
    pub target: Vec<ResourceId>,
    /// Resources that are replaced although nothing forces it.
    pub replace: Vec<ResourceId>,
    /// Resources of the same names that do not carry our mark are taken over.
    pub adopt: bool,
    /// What holds data, bucket and data disk, may be deleted or replaced.
    pub delete_data: bool,
    /// `[DISK=]SNAPSHOT`: what data disks are made from.
    #[serde(default)]
    pub restore_disk: Vec<String>,
}

impl Selection {
    pub fn options(&self) -> PlanOptions {
        PlanOptions {
            adopt: self.adopt,
            targets: self.target.clone(),
            replace: self.replace.clone(),
            delete_data: self.delete_data,
            ..PlanOptions::default()
        }
    }
}

/// `[DISK=]SNAPSHOT` → the snapshot of each disk that is to be restored.
///
/// # Errors
/// A disk that the deployment does not have, is named twice, or is not named where
/// there are several.
pub fn restore_disks(config: &Config, wanted: &[String]) -> Result<BTreeMap<String, String>, InputError> {
    let disks: Vec<String> = Names::of(config).replicas.into_iter().map(|replica| replica.disk).collect();
    let mut found = BTreeMap::new();
    for word in wanted {
        let refuse =
            |why: String| Err(InputError::RestoreDisk { word: word.clone(), why, disks: disks.clone() });
        let (disk, snapshot) = match (word.split_once('='), disks.as_slice()) {
            (Some((disk, snapshot)), _) => (disk.to_owned(), snapshot),
            (None, [only]) => (only.clone(), word.as_str()),
            (None, _) => return refuse("each machine has a data disk of its own; which one?".into()),
        };
        if !disks.contains(&disk) {
            return refuse(format!("the deployment has no disk `{disk}`"));
        }
        if snapshot.is_empty() {
            return refuse("no snapshot is named".into());
        }
        if found.insert(disk.clone(), snapshot.to_owned()).is_some() {
            return refuse(format!("the disk `{disk}` is named twice"));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use dorainfra_config::Topology;

    use super::*;

    fn restored(topology: Topology, wanted: &[&str]) -> Result<Vec<(String, String)>, String> {
        let zones = ["b", "c", "d"].map(|zone| format!("europe-west1-{zone}"));
        let count = if topology == Topology::Ha { 3 } else { 1 };
        let mut config = Config { zones: zones[..count].to_vec(), ..Config::default() };
        config.mimir.topology = topology;
        let wanted: Vec<String> = wanted.iter().map(|&word| word.to_owned()).collect();
        restore_disks(&config, &wanted)
            .map(|disks| disks.into_iter().collect())
            .map_err(|error| format!("{error}"))
    }

    #[test]
    fn the_only_disk_needs_no_name() {
        let disk = Ok(vec![("dorainfra-data".to_owned(), "snapshot-1".to_owned())]);
        assert_eq!(restored(Topology::Single, &["snapshot-1"]), disk);
        assert_eq!(restored(Topology::Single, &["dorainfra-data=snapshot-1"]), disk);
        assert_eq!(restored(Topology::Single, &[]), Ok(Vec::new()));
    }

    #[test]
    fn each_of_several_disks_is_named() {
        let some = restored(Topology::Ha, &["dorainfra-data-2=a", "dorainfra-data=b"]).unwrap();
        assert_eq!(some.len(), 2);
        for (wanted, why) in [
            (&["a"][..], "which one"),
            (&["other=a"], "has no disk `other`"),
            (&["dorainfra-data="], "no snapshot"),
            (&["dorainfra-data=a", "dorainfra-data=b"], "named twice"),
        ] {
            let error = restored(Topology::Ha, wanted).unwrap_err();
            assert!(error.contains(why), "{wanted:?}: {error}");
        }
    }
}

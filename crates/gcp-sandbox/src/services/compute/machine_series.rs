//! Which types of disks a machine series takes.
//!
//! Source: Compute Engine's documentation, "Choose a disk type" and "Hyperdisk overview"
//! (machine series support); the words of the refusals: DataBiosphere/dsub#301,
//! openshift/release#55139.

use serde_json::Value;

use super::{key_of_link, last};
use crate::kernel::error::ApiError;
use crate::kernel::store::Tx;

const PERSISTENT: &[&str] = &["pd-standard", "pd-balanced", "pd-ssd", "pd-extreme"];
const HYPERDISK: &[&str] = &["hyperdisk-balanced"];
/// The third generation has either, but no magnetic disks.
const EITHER: &[&str] = &["pd-balanced", "pd-ssd", "hyperdisk-balanced"];

/// Series that a machine type can be of, with the types of disks that they take.
const SERIES: [(&str, &[&str]); 10] = [
    ("e2", PERSISTENT),
    ("n1", PERSISTENT),
    ("n2", PERSISTENT),
    ("n2d", PERSISTENT),
    ("c3", EITHER),
    ("c3d", EITHER),
    ("c4", HYPERDISK),
    ("c4a", HYPERDISK),
    ("n4", HYPERDISK),
    ("n4d", HYPERDISK),
];

fn takes(machine_type: &str, disk_type: &str) -> bool {
    // `custom-2-4096` is of N1.
    let series = machine_type.split('-').next().unwrap_or_default();
    SERIES.iter().find(|(each, _)| *each == series).is_none_or(|(_, types)| types.contains(&disk_type))
}

/// The first of these disks (`instances.disks[]`) that a machine of this type cannot have:
/// its type, and the machine's.
pub fn mismatch(tx: &Tx, machine_type: &str, disks: &Value) -> Option<(String, String)> {
    let name = |link: &str| link.rsplit('/').next().unwrap_or_default().to_owned();
    let machine_type = name(machine_type);
    let types = disks.as_array().into_iter().flatten().filter_map(|disk| {
        let record = tx.get(&key_of_link(disk["source"].as_str()?)?)?;
        record["type"].as_str().map(name)
    });
    let mut wrong = types.filter(|disk| !takes(&machine_type, disk));
    wrong.next().map(|disk| (disk, machine_type.clone()))
}

/// Series with machines of the confidential kind. Source: "Confidential VM: supported
/// configurations".
const CONFIDENTIAL: [&str; 7] = ["n2d", "c2d", "c3", "c3d", "c4d", "a3", "c4"];
/// Series that GPUs are attached to; others come with theirs, or have none. Source: "GPU
/// machine types".
const ACCELERATED: [&str; 4] = ["n1", "a2", "a3", "g2"];

/// Refuses what a machine's series does not have.
pub fn check_features(instance: &Value) -> Result<(), ApiError> {
    let machine_type = last(instance["machineType"].as_str().unwrap_or_default());
    // `custom-2-4096` is of N1.
    let series = match machine_type.split('-').next().unwrap_or_default() {
        "custom" => "n1",
        series => series,
    };
    let confidential = &instance["confidentialInstanceConfig"];
    if (confidential["enableConfidentialCompute"] == true
        || confidential["confidentialInstanceType"].is_string())
        && !CONFIDENTIAL.contains(&series)
    {
        return Err(ApiError::invalid(format!(
            "Invalid value for field 'resource.confidentialInstanceConfig': ''. The machine type {machine_type} does \
             not support Confidential Computing."
        )));
    }
    let accelerator = &instance["guestAccelerators"][0]["acceleratorType"];
    match accelerator.as_str() {
        Some(accelerator) if !ACCELERATED.contains(&series) => {
            let words = format!(
                "[{machine_type}, {}] features are not compatible for creating instance.",
                last(accelerator)
            );
            Err(ApiError::new(400, "badRequest", words))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::takes;

    #[test]
    fn a_series_takes_its_own_types_only() {
        for (machine, disk, expected) in [
            ("e2-medium", "pd-balanced", true),
            ("e2-medium", "hyperdisk-balanced", false),
            ("custom-2-4096", "pd-standard", true),
            ("n2-custom-4-8192", "hyperdisk-balanced", false),
            ("n4-standard-2", "pd-balanced", false),
            ("n4-custom-2-4096", "hyperdisk-balanced", true),
            ("c3-standard-4", "pd-standard", false),
            ("c3-standard-4", "pd-balanced", true),
            ("c4-standard-2", "hyperdisk-balanced", true),
        ] {
            assert_eq!(takes(machine, disk), expected, "{machine} {disk}");
        }
    }
}

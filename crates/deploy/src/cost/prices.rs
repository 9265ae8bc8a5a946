//! The table of prices, `data/prices.yaml`: what a thing costs in a place, or that it is not known. Pure.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

const TEXT: &str = include_str!("../../data/prices.yaml");

static TABLE: LazyLock<Prices> =
    LazyLock::new(|| serde_saphyr::from_str(TEXT).expect("a test reads the table of prices"));

/// List prices in `currency`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    pub currency: String,
    /// Of a month.
    pub hours: f64,
    pub sources: BTreeMap<String, Source>,
    pub assumptions: Assumptions,
    /// What has no price in any place, with the reason.
    pub unpriced: BTreeMap<String, String>,
    machines: Machines,
    disks: ByRegion<BTreeMap<String, f64>>,
    snapshots: ByRegion<f64>,
    addresses: Addresses,
    egress: ByRegion<f64>,
    buckets: Buckets,
    operations: Operations,
    secrets: Secrets,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The day for which it states its prices.
    pub as_of: String,
    pub url: String,
    pub about: String,
}

/// What is billed by use, by the month.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assumptions {
    pub bucket_gb: f64,
    /// Writes and lists of objects.
    pub class_a: f64,
    /// Reads of objects.
    pub class_b: f64,
    /// All snapshots of one data disk.
    pub snapshot_gb: f64,
    pub egress_gb: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ByRegion<T> {
    source: String,
    regions: BTreeMap<String, T>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Machines {
    source: String,
    /// GB for each vCPU, by the second word of a type's name.
    series: BTreeMap<String, BTreeMap<String, f64>>,
    types: BTreeMap<String, Shape>,
    regions: BTreeMap<String, BTreeMap<String, Hourly>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    vcpu: f64,
    gb: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hourly {
    vcpu: f64,
    #[serde(default)]
    gb: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Addresses {
    source: String,
    hour: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Buckets {
    source: String,
    locations: BTreeMap<String, f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Operations {
    source: String,
    class_a: f64,
    class_b: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Secrets {
    source: String,
    version: f64,
}

/// The table that this program has.
pub fn prices() -> &'static Prices {
    &TABLE
}

impl Prices {
    /// The day of the oldest of its sources.
    pub fn as_of(&self) -> &str {
        self.sources.values().map(|source| source.as_of.as_str()).min().unwrap_or_default()
    }

    /// The names of the sources that its parts go by.
    pub fn used_sources(&self) -> [&str; 8] {
        [
            &self.machines.source,
            &self.disks.source,
            &self.snapshots.source,
            &self.addresses.source,
            &self.egress.source,
            &self.buckets.source,
            &self.operations.source,
            &self.secrets.source,
        ]
    }

    /// The regions of which it knows machines.
    pub fn regions(&self) -> impl Iterator<Item = &str> {
        self.machines.regions.keys().map(String::as_str)
    }

    /// A month of a machine that runs all the time.
    pub fn machine(&self, machine_type: &str, region: &str) -> Option<f64> {
        let (series, rest) = machine_type.split_once('-')?;
        let shape = self.machines.types.get(machine_type).copied().or_else(|| {
            let (family, count) = rest.split_once('-')?;
            let vcpu: u32 = count.parse().ok()?;
            let gb = self.machines.series.get(series)?.get(family)?;
            Some(Shape { vcpu: f64::from(vcpu), gb: f64::from(vcpu) * gb })
        })?;
        let price = self.machines.regions.get(region)?.get(series)?;
        Some((shape.vcpu * price.vcpu + shape.gb * price.gb) * self.hours)
    }

    /// A month of a disk.
    pub fn disk(&self, disk_type: &str, gb: f64, region: &str) -> Option<f64> {
        Some(self.disks.regions.get(region)?.get(disk_type)? * gb)
    }

    /// A month of that much of snapshots in a region.
    pub fn snapshots(&self, gb: f64, region: &str) -> Option<f64> {
        Some(self.snapshots.regions.get(region)? * gb)
    }

    /// A month of an external address that is in use.
    pub fn address(&self) -> f64 {
        self.addresses.hour * self.hours
    }

    /// What leaves a region for the internet.
    pub fn egress(&self, gb: f64, region: &str) -> Option<f64> {
        Some(self.egress.regions.get(region)? * gb)
    }

    /// A month of what is stored in a bucket, by its location (`EUROPE-WEST1`, `EU`) and storage class.
    pub fn stored(&self, gb: f64, location: &str, class: &str) -> Option<f64> {
        let price = self.buckets.locations.get(location).filter(|_| class == "STANDARD")?;
        Some(price * gb)
    }

    /// Writes and lists, and reads, of objects in a bucket of one region.
    pub fn operations(&self, class_a: f64, class_b: f64, location: &str, class: &str) -> Option<f64> {
        let known = class == "STANDARD" && location.contains('-');
        known.then(|| (self.operations.class_a * class_a + self.operations.class_b * class_b) / 1000.0)
    }

    /// A month of a version of a secret that is kept in so many places.
    pub fn secret_version(&self, places: usize) -> f64 {
        self.secrets.version * places as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cents(dollars: Option<f64>) -> Option<i64> {
        dollars.map(|dollars| (dollars * 100.0).round() as i64)
    }

    /// Against prices of whole machine types, as the source has them.
    #[test]
    fn types_cost_what_the_source_says() {
        let cases = [
            ("e2-medium", "europe-west1", 0.03685773),
            ("e2-medium", "europe-west4", 0.03688602),
            ("e2-micro", "us-east5", 0.0083764275),
            ("e2-highmem-8", "us-central1", 0.36159864),
            ("n2-highcpu-96", "europe-west4", 3.788736),
            ("n2-highmem-128", "us-east1", 7.706976),
            ("n2d-standard-16", "europe-west1", 0.743568),
            ("c3-highmem-8", "europe-west4", 0.5556936),
            ("c3-standard-22", "europe-west1", 1.22094808),
            ("t2d-standard-16", "us-central1", 0.675936),
        ];
        for (machine_type, region, hour) in cases {
            let month = prices().machine(machine_type, region);
            assert_eq!(cents(month), cents(Some(hour * 730.0)), "{machine_type} in {region}");
        }
    }

    #[test]
    fn what_is_not_in_the_table_has_no_price() {
        let table = prices();
        for (machine_type, region) in [
            ("e2-medium", "asia-east1"),
            ("n4-standard-2", "europe-west1"),
            ("n2-custom-4-8192", "europe-west1"),
            ("c3-standard-4-lssd", "europe-west1"),
            ("e2", "europe-west1"),
            ("", ""),
        ] {
            assert_eq!(table.machine(machine_type, region), None, "{machine_type} in {region}");
        }
        assert_eq!(table.disk("hyperdisk-balanced", 10.0, "europe-west1"), None);
        assert_eq!(table.stored(1.0, "EUROPE-WEST1", "NEARLINE"), None);
        assert_eq!(table.operations(1.0, 1.0, "EU", "STANDARD"), None);
        assert_eq!(table.snapshots(1.0, "us-east5"), None);
    }

    #[test]
    fn each_part_names_a_source_that_is_there() {
        for source in prices().used_sources() {
            assert!(prices().sources.contains_key(source), "{source}");
        }
        for (name, source) in &prices().sources {
            assert!(prices().used_sources().contains(&name.as_str()), "nothing is from {name}");
            assert!(source.url.starts_with("https://") && !source.about.is_empty(), "{name}");
        }
    }
}

//! From records to what should be probed and where should be listened.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

use crate::kernel::cloud::Cloud;
use crate::services::compute::{forwarding, groups, health_checks, key_of_link};

/// One instance behind one backend service, and how it is probed.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Keys of records.
    pub group: String,
    pub instance: String,
    /// `None` while it does not run.
    pub address: Option<IpAddr>,
    pub check: Check,
}

/// A health check, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    pub port: u16,
    pub interval: Duration,
    pub timeout: Duration,
    pub healthy_after: u64,
    pub unhealthy_after: u64,
    pub probe: Probe,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// Connects; sends and expects these bytes where there are some.
    Tcp { request: String, response: String },
    /// Gets a page, which has to answer 200 and to begin with these bytes.
    Http { tls: bool, host: Option<String>, path: String, response: String },
}

/// One backend service.
#[derive(Debug)]
pub struct Service {
    pub specs: Vec<Spec>,
    /// How long connections to an instance live on when it is none of the service's any more.
    pub draining: Duration,
}

#[derive(Debug, Default)]
pub struct Desired {
    /// By the backend service's key.
    pub services: BTreeMap<String, Service>,
    /// Rule and address to listen at, to the backend service behind.
    pub fronts: BTreeMap<(String, SocketAddr), String>,
}

impl Desired {
    pub fn read(cloud: &Cloud) -> Self {
        let mut desired = Self::default();
        for (key, record) in cloud.scan("compute/regions/") {
            if key.contains("/backendServices/") {
                let draining = record["connectionDraining"]["drainingTimeoutSec"].as_u64().unwrap_or(0);
                let service =
                    Service { specs: specs(cloud, &record), draining: Duration::from_secs(draining) };
                desired.services.insert(key, service);
            } else if key.contains("/forwardingRules/") {
                let service = record["backendService"].as_str().and_then(key_of_link);
                let address = record["IPAddress"].as_str().and_then(|text| text.parse::<IpAddr>().ok());
                let (Some(service), Some(address)) = (service, address) else { continue };
                for port in forwarding::ports(&record) {
                    desired.fronts.insert((key.clone(), SocketAddr::new(address, port)), service.clone());
                }
            }
        }
        desired
    }

    /// By an instance's key, the addresses that it is reached by, too.
    pub fn forwarded(&self) -> BTreeMap<String, BTreeSet<IpAddr>> {
        let mut forwarded: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
        for ((_, at), service) in &self.fronts {
            for spec in self.services.get(service).iter().flat_map(|service| &service.specs) {
                forwarded.entry(spec.instance.clone()).or_default().insert(at.ip());
            }
        }
        forwarded
    }
}

fn specs(cloud: &Cloud, service: &Value) -> Vec<Spec> {
    let check = service["healthChecks"][0].as_str().and_then(key_of_link);
    let Some(check) = check.and_then(|key| Check::read(&cloud.read(&key)?)) else { return Vec::new() };
    let groups = service["backends"].as_array().into_iter().flatten();
    let groups = groups.filter_map(|backend| key_of_link(backend["group"].as_str()?));
    let mut specs = Vec::new();
    for group in groups {
        for instance in groups::instances_of(cloud, &group) {
            let record = cloud.read(&instance).unwrap_or_default();
            let address = record["networkInterfaces"][0]["networkIP"].as_str();
            // One that stops is there until it has stopped.
            let running = ["RUNNING", "STOPPING", "SUSPENDING"].map(|status| record["status"] == status);
            let running = running.contains(&true);
            specs.push(Spec {
                group: group.clone(),
                address: address.filter(|_| running).and_then(|text| text.parse().ok()),
                instance,
                check: check.clone(),
            });
        }
    }
    specs
}

impl Check {
    fn read(record: &Value) -> Option<Self> {
        let kind = record["type"].as_str()?;
        let how = &record[health_checks::member(kind)?];
        let number = |field: &str| record[field].as_u64().unwrap_or(1).max(1);
        let text = |field: &str| how[field].as_str().unwrap_or_default().to_owned();
        let probe = match kind {
            "TCP" => Probe::Tcp { request: text("request"), response: text("response") },
            _ => Probe::Http {
                tls: kind == "HTTPS",
                host: how["host"].as_str().map(str::to_owned),
                path: text("requestPath"),
                response: text("response"),
            },
        };
        Some(Self {
            port: u16::try_from(how["port"].as_u64()?).ok()?,
            interval: Duration::from_secs(number("checkIntervalSec")),
            timeout: Duration::from_secs(number("timeoutSec")),
            healthy_after: number("healthyThreshold"),
            unhealthy_after: number("unhealthyThreshold"),
            probe,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_check_is_read_with_its_thresholds() {
        let record = json!({
            "type": "HTTP", "checkIntervalSec": 3, "timeoutSec": 2, "healthyThreshold": 1, "unhealthyThreshold": 4,
            "httpHealthCheck": {"port": 8080, "requestPath": "/ready"},
        });
        let check = Check::read(&record).unwrap();
        assert_eq!((check.port, check.unhealthy_after, check.interval.as_secs()), (8080, 4, 3));
        let page = Probe::Http { tls: false, host: None, path: "/ready".into(), response: String::new() };
        assert_eq!(check.probe, page);
    }
}

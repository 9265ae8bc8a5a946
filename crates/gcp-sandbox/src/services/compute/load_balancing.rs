//! From records to what load balancers do.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

use super::{forwarding_rules, health_checks, instance_groups, key_of_link};
use crate::kernel::cloud::Cloud;
use crate::machines::balancer::desired::{Check, Desired, Probe, Service, Spec};

/// What the records say.
pub fn desired(cloud: &Cloud) -> Desired {
    let mut desired = Desired::default();
    for (key, record) in cloud.scan("compute/regions/") {
        if key.contains("/backendServices/") {
            let draining = record["connectionDraining"]["drainingTimeoutSec"].as_u64().unwrap_or(0);
            let service = Service { specs: specs(cloud, &record), draining: Duration::from_secs(draining) };
            desired.services.insert(key, service);
        } else if key.contains("/forwardingRules/") {
            let service = record["backendService"].as_str().and_then(key_of_link);
            let address = record["IPAddress"].as_str().and_then(|text| text.parse::<IpAddr>().ok());
            let (Some(service), Some(address)) = (service, address) else { continue };
            for port in forwarding_rules::ports(&record) {
                desired.fronts.insert((key.clone(), SocketAddr::new(address, port)), service.clone());
            }
        }
    }
    desired
}

fn specs(cloud: &Cloud, service: &Value) -> Vec<Spec> {
    let check = service["healthChecks"][0].as_str().and_then(key_of_link);
    let Some(check) = check.and_then(|key| self::check(&cloud.read(&key)?)) else { return Vec::new() };
    let groups = service["backends"].as_array().into_iter().flatten();
    let groups = groups.filter_map(|backend| key_of_link(backend["group"].as_str()?));
    let mut specs = Vec::new();
    for group in groups {
        for instance in instance_groups::instances_of(cloud, &group) {
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

/// A health check, read.
fn check(record: &Value) -> Option<Check> {
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
    Some(Check {
        port: u16::try_from(how["port"].as_u64()?).ok()?,
        interval: Duration::from_secs(number("checkIntervalSec")),
        timeout: Duration::from_secs(number("timeoutSec")),
        healthy_after: number("healthyThreshold"),
        unhealthy_after: number("unhealthyThreshold"),
        probe,
    })
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
        let check = check(&record).unwrap();
        assert_eq!((check.port, check.unhealthy_after, check.interval.as_secs()), (8080, 4, 3));
        let page = Probe::Http { tls: false, host: None, path: "/ready".into(), response: String::new() };
        assert_eq!(check.probe, page);
    }
}

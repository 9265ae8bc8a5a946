//! Whether the names of Google's APIs are found from here.

use std::collections::BTreeSet;
use std::time::Duration;

use dorainfra_gcp::Endpoints;
use dorainfra_model::Check;
use futures::future::join_all;
use tokio::time::timeout;

use super::super::project::Project;
use super::super::proxy;
use super::{Diagnosis, failed, passed, timed};

/// A name that is not found within this is found by nothing else in time, either.
const FOUND_WITHIN: Duration = Duration::from_millis(1500);
const NAME: &str = "dns";
const TITLE: &str = "names of Google's APIs";

pub(super) async fn checks(project: &Project) -> Diagnosis {
    let endpoints = &project.cloud.endpoints;
    // A proxy finds the names itself, and says so where it can't.
    if matches!(proxy::of(&project.cloud.proxies, &endpoints.compute), Ok(None)) {
        let hosts = hosts(endpoints);
        if !hosts.is_empty() {
            let (check, took) = timed(found(&hosts)).await;
            return vec![Check { elapsed_ms: took.as_millis() as u64, ..check }].into();
        }
    }
    Diagnosis::default()
}

/// Hosts and ports of the APIs that are not on this machine.
fn hosts(endpoints: &Endpoints) -> BTreeSet<(String, u16)> {
    let Endpoints { compute, storage, iam, cloudresourcemanager, cloudbilling, serviceusage, secretmanager } =
        endpoints;
    [compute, storage, iam, cloudresourcemanager, cloudbilling, serviceusage, secretmanager]
        .into_iter()
        .filter_map(|url| {
            let url = reqwest::Url::parse(url).ok()?;
            let host = url.host_str()?.to_owned();
            let here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok();
            (!here).then_some((host, url.port_or_known_default()?))
        })
        .collect()
}

async fn found(hosts: &BTreeSet<(String, u16)>) -> Check {
    let lost = join_all(hosts.iter().map(async |(host, port)| {
        match timeout(FOUND_WITHIN, tokio::net::lookup_host((host.as_str(), *port))).await {
            Ok(Ok(mut addresses)) => addresses.next().is_none().then(|| (host, "it has no address".into())),
            Ok(Err(error)) => Some((host, error.to_string())),
            Err(_) => Some((host, format!("no answer within {} ms", FOUND_WITHIN.as_millis()))),
        }
    }));
    let lost: Vec<(&String, String)> = lost.await.into_iter().flatten().collect();
    let Some((first, why)) = lost.first() else {
        return passed(NAME, TITLE, format!("all {} are found", hosts.len()));
    };
    let names: Vec<&str> = lost.iter().map(|(host, _)| host.as_str()).collect();
    failed(
        NAME,
        TITLE,
        format!("not found: {} ({why})", names.join(", ")),
        format!(
            "`getent hosts {first}` asks as this program does; /etc/resolv.conf names who answers, and HTTPS_PROXY a \
             proxy where there is one. Google's side was not looked at"
        ),
    )
}

#[cfg(test)]
mod tests {
    use dorainfra_model::Outcome;

    use super::*;

    #[test]
    fn what_is_on_this_machine_has_no_name_to_be_found() {
        assert_eq!(hosts(&Endpoints::default()).len(), 7);
        let endpoints = Endpoints {
            iam: "http://127.0.0.1:8080/".into(),
            storage: "http://localhost:8080/".into(),
            ..Endpoints::default()
        };
        assert_eq!(hosts(&endpoints).len(), 5);
    }

    #[tokio::test]
    async fn a_name_that_is_not_found_is_told() {
        let hosts = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), 443)).collect();
        assert_eq!(found(&hosts(&["localhost"])).await.outcome, Outcome::Passed);
        let check = found(&hosts(&["localhost", "compute.invalid"])).await;
        assert_eq!(check.outcome, Outcome::Failed);
        assert!(check.found.contains("compute.invalid") && !check.found.contains("localhost"), "{check:?}");
        assert!(check.hint.unwrap().contains("getent hosts compute.invalid"));
    }
}

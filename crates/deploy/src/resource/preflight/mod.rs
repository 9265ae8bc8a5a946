//! What new resources need and no manifest makes: a network and a subnet that are
//! there, a machine type that the zone has, a disk type that the machine takes, an image
//! and an account; somebody who pays (`project`), and policies that allow it
//! (`policies`). Asked once it is known what will be made, and before anything is.

mod disks;
mod policies;
mod project;
mod quota;

use std::time::Duration;

use dorainfra_engine::{Change, Finding, Manifest, ResourceId};
use dorainfra_gcp::{Api, Call, Error};
use dorainfra_model::{Event, Events};
use futures::future::join_all;
use serde_json::Value;

use super::{Cloud, absent, short};

pub use quota::Room;
pub(super) use {project::billing, quota::room};

/// What would stop something from being made, or its owner should know, by what it is about.
#[derive(Clone, Debug, Default)]
pub struct Preflight {
    pub policies: Vec<Finding>,
    /// Who pays.
    pub project: Vec<Finding>,
    pub network: Vec<Finding>,
    pub rest: Vec<Finding>,
    /// What is to be made.
    pub creating: Vec<Manifest>,
}

impl Preflight {
    /// All of it, each once: three machines lack one network once.
    pub fn all(self) -> Vec<Finding> {
        let Self { policies, project, network, rest, creating: _ } = self;
        each_once([policies, project, network, rest].concat())
    }
}

pub(super) fn each_once(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by(|a, b| (&a.problem, a.subject.to_string()).cmp(&(&b.problem, b.subject.to_string())));
    findings.dedup_by(|a, b| a.problem == b.problem);
    findings
}

/// Everything that would stop these from being made, or that their owner should know.
pub(super) async fn findings(cloud: &Cloud, manifests: &[&Manifest]) -> Preflight {
    let machines: Vec<&&Manifest> =
        manifests.iter().filter(|manifest| manifest.kind == "compute.instance").collect();
    let all = join_all(machines.iter().map(|manifest| machine(cloud, manifest)));
    let fitting = join_all(machines.iter().map(|manifest| disks::findings(cloud, manifest, manifests)));
    let snapshots = join_all(manifests.iter().map(|manifest| snapshot(cloud, manifest)));
    let (all, network, fitting, snapshots, policies, project) = futures::join!(
        all,
        network(cloud, manifests.iter().copied()),
        fitting,
        snapshots,
        policies::findings(cloud, manifests),
        project::findings(cloud, manifests)
    );
    if policies.later || project.later {
        *cloud.unread.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            manifests.iter().map(|manifest| (*manifest).clone()).collect();
    }
    let rest = all.into_iter().flatten().chain(fitting.into_iter().flatten());
    Preflight {
        policies: policies.findings,
        project: project.findings,
        network,
        rest: rest.chain(snapshots.into_iter().flatten()).collect(),
        creating: manifests.iter().map(|manifest| (*manifest).clone()).collect(),
    }
}

/// What is wrong with the networks and subnets of these machines.
pub(super) async fn network(cloud: &Cloud, manifests: impl Iterator<Item = &Manifest>) -> Vec<Finding> {
    let machines = manifests.filter(|manifest| manifest.kind == "compute.instance");
    each_once(join_all(machines.map(|manifest| interface(cloud, manifest))).await.concat())
}

/// What could be found out about a project.
#[derive(Default)]
struct Found {
    findings: Vec<Finding>,
    /// The service that knows more is not enabled yet.
    later: bool,
}

impl Found {
    /// Something that could not be asked about, which stops nothing.
    fn unread(&mut self, subject: ResourceId, what: &str, error: &Error, role: &str) {
        let disabled = error.api().is_some_and(|api| api.is_service_disabled());
        self.later |= disabled;
        let (why, instead) = match error.api().map(|api| api.status) {
            _ if disabled => (
                "the API that would tell is not enabled in the project yet".to_owned(),
                "`apply` enables it first and then checks".to_owned(),
            ),
            Some(403) => (
                "these credentials may not read that".to_owned(),
                format!("{role} allows it; without it, a refusal shows only in `apply`"),
            ),
            _ => (error.to_string(), "a refusal shows only in `apply`".to_owned()),
        };
        let problem = format!("{what} not known ({why})");
        self.findings.push(Finding { subject, problem, instead, refuses: false });
    }
}

/// How long the network that comes with the API is waited for.
const NETWORK_WITHIN: Duration = Duration::from_secs(2 * 60);
/// The same where it is not known that this run has enabled the API.
const PERHAPS_WITHIN: Duration = Duration::from_secs(60);

/// The network `default`, waited for where it may be on its way: a project without any
/// network may be one whose API was enabled a moment ago, by a run that has ended since.
async fn default_network(cloud: &Cloud, within: Duration) -> Look {
    let deadline = tokio::time::Instant::now() + within;
    loop {
        let seen = look(cloud, format!("global/networks/{DEFAULT}"), DEFAULT).await;
        if !matches!(seen, Look::Missing) || tokio::time::Instant::now() >= deadline {
            return seen;
        }
        let others = cloud.client.list(Call::get(Api::Compute, "global/networks"), "items").await;
        if others.is_ok_and(|others| !others.is_empty()) || policies::no_default_network(cloud).await {
            return seen;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Looks again, now that the services are on, at what was planned while they were not:
/// nothing else is made before.
///
/// # Errors
/// Whatever would refuse it.
pub(super) async fn again(cloud: &Cloud, id: &ResourceId, events: &Events) -> Result<(), Error> {
    let manifests =
        std::mem::take(&mut *cloud.unread.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    let manifests: Vec<&Manifest> = manifests.iter().collect();
    if manifests.is_empty() {
        return Ok(());
    }
    let progress = |message: &str| {
        events.send(Event::ResourceProgress { id: id.clone(), message: message.into() });
    };
    if manifests.iter().any(|manifest| text(&manifest.body["networkInterfaces"][0]["network"]) == DEFAULT) {
        progress("waiting for the network that comes with the API");
        default_network(cloud, NETWORK_WITHIN).await;
    }
    progress("looking for what would refuse the rest");
    let (refused, told): (Vec<Finding>, Vec<Finding>) =
        findings(cloud, &manifests).await.all().into_iter().partition(|finding| finding.refuses);
    for Finding { subject, problem, instead, .. } in told {
        events.send(Event::Note { message: format!("{subject}: {problem}: {instead}") });
    }
    if refused.is_empty() {
        return Ok(());
    }
    let of = |field: fn(&Finding) -> &str| refused.iter().map(field).collect::<Vec<_>>().join("; ");
    Err(Error::NotDone { why: of(|finding| &finding.problem), instead: of(|finding| &finding.instead) })
}

/// The network that most projects get with the Compute API.
const DEFAULT: &str = "default";

async fn machine(cloud: &Cloud, manifest: &Manifest) -> Vec<Finding> {
    let (zone, machine_type) = (text(&manifest.body["zone"]), text(&manifest.body["machineType"]));
    let (typed, imaged, running_as) = futures::join!(
        look(cloud, format!("zones/{zone}/machineTypes/{machine_type}"), machine_type),
        image(cloud, manifest),
        account(cloud, manifest),
    );
    let no_type = matches!(typed, Look::Missing).then(|| no_type(manifest));
    imaged.into_iter().chain(running_as).chain(no_type).collect()
}

/// What is wrong with the network that a machine is in.
async fn interface(cloud: &Cloud, manifest: &Manifest) -> Vec<Finding> {
    let body = &manifest.body;
    let zone = text(&body["zone"]);
    let region = zone.rsplit_once('-').map_or("", |(region, _)| region);
    let interface = &body["networkInterfaces"][0];
    let (network, subnet) = (text(&interface["network"]), text(&interface["subnetwork"]));
    let private = interface["accessConfigs"].as_array().is_none_or(Vec::is_empty);
    let (networked, subnetted) = futures::join!(
        async {
            match network {
                DEFAULT if cloud.at_once => default_network(cloud, Duration::ZERO).await,
                DEFAULT => default_network(cloud, PERHAPS_WITHIN).await,
                _ => look(cloud, format!("global/networks/{network}"), network).await,
            }
        },
        look(cloud, format!("regions/{region}/subnetworks/{subnet}"), subnet),
    );
    let mut found = Vec::new();
    // Whoever plans is told of what refuses; whoever asks how things are, of what is not known, too.
    for (looked, what, name) in [(&networked, "network", network), (&subnetted, "subnet", subnet)] {
        if cloud.at_once && is_literal(name) && matches!(looked, Look::Unknown) {
            found.push(Finding {
                subject: manifest.id(),
                problem: format!("whether the {what} `{name}` is as it has to be is not known"),
                instead: "the Compute Engine API is off, or these credentials may not see it (roles/compute.viewer)"
                    .into(),
                refuses: false,
            });
        }
    }
    let mut refuse = |problem: String, instead: String| {
        found.push(Finding { subject: manifest.id(), problem, instead, refuses: true });
    };
    if matches!(networked, Look::Missing) {
        refuse(
            format!("the project has no network `{network}`"),
            match network {
                DEFAULT => {
                    "`network.create: true` makes one, `network.name` names another; some organisations \
                            give no project such a network"
                        .into()
                }
                _ => "`network.create: true` makes one, `network.name` names another".into(),
            },
        );
    }
    if let Look::There(found) = &networked
        && subnet.is_empty()
        && found["autoCreateSubnetworks"] == false
    {
        refuse(
            format!("the network `{network}` gives no region a subnet by itself, and none is named"),
            format!(
                "set `network.subnet` to one of {region} (`gcloud compute networks subnets list --network {network}`)"
            ),
        );
    }
    match subnetted {
        Look::There(found) if !network.contains('$') && short(text(&found["network"])) != network => refuse(
            format!(
                "the subnet `{subnet}` is one of the network `{}`, not of `{network}`",
                short(text(&found["network"]))
            ),
            "set `network.name` and `network.subnet` to two that belong together".into(),
        ),
        Look::Missing => refuse(
            format!("{region} has no subnet `{subnet}`"),
            "set `network.subnet` to one of that region, or `network.create: true`".into(),
        ),
        Look::There(subnetwork) if private && subnetwork["privateIpGoogleAccess"] != true => refuse(
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

/// What would stop machines from being changed in place: nothing is stopped for a type that
/// it cannot have.
pub(super) async fn of_changes(cloud: &Cloud, changing: &[(&Manifest, &[Change])]) -> Vec<Finding> {
    let changes = |field: &'static str| {
        changing.iter().filter(move |(manifest, changes)| {
            manifest.kind == "compute.instance" && changes.iter().any(|change| change.path.starts_with(field))
        })
    };
    let accounts = join_all(changes("serviceAccounts").map(|(manifest, _)| account(cloud, manifest)));
    let found = join_all(changes("machineType").map(async |(manifest, _)| {
        let (zone, machine_type) = (text(&manifest.body["zone"]), text(&manifest.body["machineType"]));
        let path = format!("zones/{zone}/machineTypes/{machine_type}");
        let (typed, mut found) =
            futures::join!(look(cloud, path, machine_type), disks::findings(cloud, manifest, &[]));
        if matches!(typed, Look::Missing) {
            found.push(no_type(manifest));
        }
        found
    }));
    let (found, accounts) = futures::join!(found, accounts);
    let mut found: Vec<Finding> = found.into_iter().flatten().chain(accounts.into_iter().flatten()).collect();
    // Three machines lack one account once.
    found.sort_by(|a, b| a.problem.cmp(&b.problem));
    found.dedup_by(|a, b| a.problem == b.problem);
    found
}

/// What is wrong with the snapshot that a disk is made from. Asked before the disk that is
/// in its place is deleted: what can't be known is refused, too.
async fn snapshot(cloud: &Cloud, manifest: &Manifest) -> Option<Finding> {
    let name = short(text(&manifest.body["sourceSnapshot"]));
    if manifest.kind != "compute.disk" || name.is_empty() {
        return None;
    }
    let get = Call::get(Api::Compute, format!("global/snapshots/{name}"));
    let (problem, instead) = match cloud.client.call(&get).await {
        Ok(snapshot) => {
            let (has, needs) = (gb(&manifest.body["sizeGb"]), gb(&snapshot["diskSizeGb"]));
            match text(&snapshot["status"]) {
                "READY" if has < needs => (
                    format!("the snapshot `{name}` is of a disk of {needs} GB, and this one has {has}"),
                    format!("set `mimir.disk_gb` to {needs} or more"),
                ),
                "READY" => return None,
                other => (
                    format!("the snapshot `{name}` can't be restored: it is {other}"),
                    "wait until it is READY, or name another one".into(),
                ),
            }
        }
        Err(error) if absent(&error) => (
            format!("there is no snapshot `{name}`"),
            "`gcloud compute snapshots list` shows what there is".into(),
        ),
        Err(error) => (
            format!("whether there is a snapshot `{name}` is not known: {error}"),
            "nothing is deleted for a snapshot that can't be seen: try again with credentials that may read it".into(),
        ),
    };
    Some(Finding { subject: manifest.id(), problem, instead, refuses: true })
}

/// Google writes numbers of 64 bits as texts.
fn gb(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.parse().ok()).or_else(|| value.as_u64()).unwrap_or_default()
}

/// The project that an account belongs to, by its address; `None`: it is one of Google's own,
/// of which the address says none.
fn home(email: &str) -> Option<String> {
    let place = email.split_once('@')?.1.strip_suffix(".iam.gserviceaccount.com")?;
    // A project below a domain: `name@shop.example.com.iam…` is of `example.com:shop`.
    Some(match place.split_once('.') {
        Some((project, domain)) => format!("{domain}:{project}"),
        None => place.to_owned(),
    })
}

fn no_type(manifest: &Manifest) -> Finding {
    let (zone, machine_type) = (text(&manifest.body["zone"]), text(&manifest.body["machineType"]));
    Finding {
        subject: manifest.id(),
        problem: format!("{zone} has no machine type `{machine_type}`"),
        instead: format!(
            "set `mimir.machine_type` or `zones`: `gcloud compute machine-types list --zones {zone}` shows what \
             there is"
        ),
        refuses: true,
    }
}

enum Look {
    There(Value),
    Missing,
    /// Not a literal name, made by this very plan, or nobody's to see.
    Unknown,
}

/// Whether it is a name, and not a reference or a path.
fn is_literal(name: &str) -> bool {
    !name.is_empty() && !name.contains(['$', '/'])
}

async fn look(cloud: &Cloud, path: String, name: &str) -> Look {
    if !is_literal(name) {
        return Look::Unknown;
    }
    answered(cloud, &Call::get(Api::Compute, path)).await
}

async fn answered(cloud: &Cloud, call: &Call) -> Look {
    match cloud.client.call(call).await {
        Ok(value) => Look::There(value),
        // Before the service is enabled nothing can be told.
        Err(Error::Api(error)) if error.is_service_disabled() => Look::Unknown,
        Err(error) if absent(&error) => Look::Missing,
        Err(_) => Look::Unknown,
    }
}

/// What is wrong with the image that a machine's boot disk is made from.
async fn image(cloud: &Cloud, manifest: &Manifest) -> Option<Finding> {
    let image = text(&manifest.body["disks"][0]["initializeParams"]["sourceImage"]);
    if !image.starts_with("projects/") || image.contains('$') {
        return None;
    }
    let finding = |problem: String, instead: &str, refuses: bool| {
        Some(Finding { subject: manifest.id(), problem, instead: instead.into(), refuses })
    };
    const ANOTHER: &str = "another `sourceImage` in a template of yours (`templates_dir`, \
        resources/instance.yaml.j2): `gcloud compute images list` shows what there is";
    match answered(cloud, &Call::get(Api::ComputeOfAll, image)).await {
        // The newest of a family that is not deprecated is answered.
        Look::Missing => finding(format!("there is no image {image} that can still be used"), ANOTHER, true),
        Look::There(image) => match text(&image["deprecated"]["state"]) {
            state @ ("OBSOLETE" | "DELETED") => {
                finding(format!("the image {} is {state}", text(&image["name"])), ANOTHER, true)
            }
            "DEPRECATED" => {
                finding(format!("the image {} is DEPRECATED", text(&image["name"])), ANOTHER, false)
            }
            _ => None,
        },
        Look::Unknown => None,
    }
}

/// How often an account that is not seen is asked for again.
const ASK_AGAIN: usize = 4;

/// What is wrong with an account that the configuration names.
async fn account(cloud: &Cloud, manifest: &Manifest) -> Option<Finding> {
    let email = text(&manifest.body["serviceAccounts"][0]["email"]);
    if !email.contains('@') || email.contains('$') {
        return None;
    }
    // By its project: of `-` Google says 403 of accounts that do not exist.
    // https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts/get
    let project = home(email).unwrap_or_else(|| cloud.client.project().to_owned());
    let get = Call::get(Api::Iam, format!("v1/projects/{project}/serviceAccounts/{email}"));
    let mut looked = answered(cloud, &get).await;
    // One that was made a moment ago is seen by some replicas only.
    let tries = if cloud.at_once { 0 } else { ASK_AGAIN };
    for _ in 0..tries {
        if !matches!(looked, Look::Missing) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        looked = answered(cloud, &get).await;
    }
    let problem = match looked {
        Look::Missing => format!("there is no service account {email}"),
        Look::There(account) if account["disabled"] == true => {
            format!("the service account {email} is disabled")
        }
        _ => return None,
    };
    let instead =
        "set `mimir.service_account` to one that exists (`gcloud iam service-accounts list`), or leave it \
                   out: one is made then"
            .into();
    Some(Finding { subject: manifest.id(), problem, instead, refuses: true })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_of_an_account_is_in_its_address() {
        assert_eq!(home("a@shop-1.iam.gserviceaccount.com").as_deref(), Some("shop-1"));
        assert_eq!(home("a@shop.example.com.iam.gserviceaccount.com").as_deref(), Some("example.com:shop"));
        assert_eq!(home("1234-compute@developer.gserviceaccount.com"), None);
    }
}

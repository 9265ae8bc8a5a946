//! What the organisation's policies would refuse. They are read from Resource Manager's
//! version 1, whose API is needed anyway and asks for `orgpolicy.policy.get` alone; the
//! service of policies itself would be one more to enable.

use std::collections::BTreeSet;

use dorainfra_engine::{Finding, Manifest};
use dorainfra_gcp::{Api, Call, Error};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::super::Cloud;
use super::{Found, text};

/// A policy as it holds for the project.
#[derive(Debug, PartialEq)]
enum Ruling {
    /// A boolean one, enforced.
    Enforced,
    List {
        /// `None`: everything that is not denied.
        allowed: Option<Vec<String>>,
        denied: Vec<String>,
        nothing: bool,
    },
    Free,
}

impl Ruling {
    fn of(policy: &Value) -> Self {
        if policy["booleanPolicy"]["enforced"] == true {
            return Self::Enforced;
        }
        let list = &policy["listPolicy"];
        let values = |name: &str| -> Option<Vec<String>> {
            let values = list[name].as_array().filter(|values| !values.is_empty())?;
            Some(values.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        };
        if !list.is_object() || list["allValues"] == "ALLOW" {
            return Self::Free;
        }
        let (allowed, denied) = (values("allowedValues"), values("deniedValues").unwrap_or_default());
        let nothing = list["allValues"] == "DENY";
        if !nothing && allowed.is_none() && denied.is_empty() {
            return Self::Free;
        }
        Self::List { allowed, denied, nothing }
    }

    /// Whether a value passes; `covers` tells whether one of the policy's stands for it,
    /// and `None` that it may.
    fn passes(&self, covers: impl Fn(&str) -> Option<bool>) -> Passes {
        let Self::List { allowed, denied, nothing } = self else { return Passes::Yes };
        if *nothing || denied.iter().any(|value| covers(value) == Some(true)) {
            return Passes::No;
        }
        let Some(allowed) = allowed else { return Passes::Yes };
        let answers: Vec<Option<bool>> = allowed.iter().map(|value| covers(value)).collect();
        match (answers.contains(&Some(true)), answers.contains(&None)) {
            (true, _) => Passes::Yes,
            (false, true) => Passes::Perhaps,
            (false, false) => Passes::No,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Passes {
    Yes,
    No,
    /// The policy names a group of places that is not known here.
    Perhaps,
}

/// What a policy has against a manifest.
struct Objection {
    /// Continues "the policy … of the organisation".
    what: String,
    instead: String,
    certain: bool,
}

fn refused(what: impl Into<String>, instead: impl Into<String>) -> Option<Objection> {
    Some(Objection { what: what.into(), instead: instead.into(), certain: true })
}

struct Row {
    constraint: &'static str,
    /// The kinds that it can refuse.
    kinds: &'static [&'static str],
    objects: fn(&Ruling, &Manifest, &Scene<'_>) -> Option<Objection>,
}

/// What a judgement depends on beside the one manifest.
struct Scene<'a> {
    project: &'a str,
    /// How many machines are made.
    machines: usize,
}

const LOCATED: &[&str] = &[
    "compute.address",
    "compute.backendService",
    "compute.disk",
    "compute.forwardingRule",
    "compute.healthCheck",
    "compute.instance",
    "compute.instanceGroup",
    "compute.resourcePolicy",
    "compute.subnetwork",
    "secretmanager.secret",
    "storage.bucket",
];
const MACHINE: &[&str] = &["compute.instance"];
const BUCKET: &[&str] = &["storage.bucket"];

const ROWS: &[Row] = &[
    Row { constraint: "compute.vmExternalIpAccess", kinds: MACHINE, objects: external_address },
    Row { constraint: "gcp.resourceLocations", kinds: LOCATED, objects: location },
    Row { constraint: "iam.disableServiceAccountCreation", kinds: &["iam.serviceAccount"], objects: account },
    Row { constraint: "compute.requireOsLogin", kinds: MACHINE, objects: os_login },
    Row { constraint: "compute.requireShieldedVm", kinds: MACHINE, objects: shielded },
    Row { constraint: "compute.disableGuestAttributesAccess", kinds: MACHINE, objects: guest_attributes },
    Row { constraint: "compute.restrictNonConfidentialComputing", kinds: MACHINE, objects: confidential },
    Row { constraint: "storage.uniformBucketLevelAccess", kinds: BUCKET, objects: uniform_access },
    Row { constraint: "storage.publicAccessPrevention", kinds: BUCKET, objects: public_access },
];

const OWN_TEMPLATE: &str = "a template of yours (`templates_dir`) must not remove that";

pub(super) async fn findings(cloud: &Cloud, manifests: &[&Manifest]) -> Found {
    let scene = Scene {
        project: cloud.client.project(),
        machines: manifests.iter().filter(|manifest| manifest.kind == "compute.instance").count(),
    };
    let concerned = ROWS.iter().filter_map(|row| {
        let of: Vec<&Manifest> = manifests
            .iter()
            .copied()
            .filter(|manifest| row.kinds.contains(&manifest.kind.as_str()))
            .collect();
        (!of.is_empty()).then_some((row, of))
    });
    let rulings =
        join_all(concerned.map(|(row, of)| async move { (row, of, effective(cloud, row.constraint).await) }));
    let mut found = Found::default();
    let mut unread = false;
    for (row, of, ruling) in rulings.await {
        let ruling = match ruling {
            Ok(ruling) => ruling,
            // Once for all of them.
            Err(_) if unread => continue,
            Err(error) => {
                unread = true;
                let what = "what the policies of the organisation refuse is";
                found.unread(of[0].id(), what, &error, "roles/orgpolicy.policyViewer");
                continue;
            }
        };
        let mut told = BTreeSet::new();
        for manifest in of {
            let Some(Objection { what, instead, certain }) = (row.objects)(&ruling, manifest, &scene) else {
                continue;
            };
            if told.insert(what.clone()) {
                found.findings.push(Finding {
                    subject: manifest.id(),
                    problem: format!("the policy {} of the organisation {what}", row.constraint),
                    instead,
                    refuses: certain,
                });
            }
        }
    }
    found
}

async fn effective(cloud: &Cloud, constraint: &str) -> Result<Ruling, Error> {
    let project = cloud.client.project();
    // A read, whatever its verb.
    let call = Call::idempotent(
        Api::ResourceManager,
        Method::POST,
        format!("v1/projects/{project}:getEffectiveOrgPolicy"),
    )
    .body(json!({"constraint": format!("constraints/{constraint}")}));
    cloud.client.call(&call).await.map(|policy| Ruling::of(&policy))
}

/// Whether the project is known to get no network with the Compute API.
pub(super) async fn no_default_network(cloud: &Cloud) -> bool {
    matches!(effective(cloud, "compute.skipDefaultNetworkCreation").await, Ok(Ruling::Enforced))
}

fn external_address(ruling: &Ruling, manifest: &Manifest, scene: &Scene<'_>) -> Option<Objection> {
    let external = manifest.body["networkInterfaces"][0]["accessConfigs"].as_array();
    external.filter(|configs| !configs.is_empty())?;
    let own = format!(
        "projects/{}/zones/{}/instances/{}",
        scene.project,
        text(&manifest.body["zone"]),
        manifest.name
    );
    // Whole branches of the organisation are not known from here.
    let covers = |value: &str| if value.starts_with("under:") { None } else { Some(value == own) };
    match ruling.passes(covers) {
        Passes::No => refused(
            "allows its machines no external addresses",
            match scene.machines {
                1 => {
                    "`access.external: false`, with `network.create: true` or a subnet with Private Google Access \
                     (docs/google.md says how Mimir is reached then)"
                }
                _ => {
                    "`access.external_machines: false` (the load balancer keeps its address), or \
                     `access.external: false`; with `network.create: true` or a subnet with Private Google Access"
                }
            },
        ),
        _ => None,
    }
}

fn account(ruling: &Ruling, _: &Manifest, _: &Scene<'_>) -> Option<Objection> {
    (*ruling == Ruling::Enforced).then_some(())?;
    refused("lets nobody make service accounts", "name one that exists: `mimir.service_account`")
}

fn os_login(ruling: &Ruling, manifest: &Manifest, _: &Scene<'_>) -> Option<Objection> {
    let items = manifest.body["metadata"]["items"].as_array().map_or(&[][..], Vec::as_slice);
    let off = items
        .iter()
        .any(|item| item["key"] == "enable-oslogin" && !text(&item["value"]).eq_ignore_ascii_case("true"));
    (*ruling == Ruling::Enforced && off).then_some(())?;
    refused("requires OS Login, which this machine turns off", OWN_TEMPLATE)
}

fn shielded(ruling: &Ruling, manifest: &Manifest, _: &Scene<'_>) -> Option<Objection> {
    let config = &manifest.body["shieldedInstanceConfig"];
    let whole = ["enableSecureBoot", "enableVtpm", "enableIntegrityMonitoring"]
        .iter()
        .all(|field| config[*field] == true);
    (*ruling == Ruling::Enforced && !whole).then_some(())?;
    refused("requires Shielded VMs, which this machine is not", OWN_TEMPLATE)
}

fn guest_attributes(ruling: &Ruling, _: &Manifest, _: &Scene<'_>) -> Option<Objection> {
    (*ruling == Ruling::Enforced).then(|| Objection {
        what: "closes guest attributes".into(),
        instead: "nothing has to be done: the machine's state is then read from its serial port".into(),
        certain: false,
    })
}

fn confidential(ruling: &Ruling, manifest: &Manifest, _: &Scene<'_>) -> Option<Objection> {
    if manifest.body["confidentialInstanceConfig"]["enableConfidentialCompute"] == true {
        return None;
    }
    let covers = |value: &str| Some(value.trim_start_matches("is:") == "compute.googleapis.com");
    match ruling.passes(covers) {
        Passes::No => refused(
            "allows Confidential VMs only",
            "a template of yours (`templates_dir`) with `confidentialInstanceConfig`, and a `mimir.machine_type` that \
             can be one, or an exception for the project",
        ),
        _ => None,
    }
}

fn uniform_access(ruling: &Ruling, manifest: &Manifest, _: &Scene<'_>) -> Option<Objection> {
    let uniform = manifest.body["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"] == true;
    (*ruling == Ruling::Enforced && !uniform).then_some(())?;
    refused("requires uniform access to buckets, which this one does not have", OWN_TEMPLATE)
}

fn public_access(ruling: &Ruling, manifest: &Manifest, _: &Scene<'_>) -> Option<Objection> {
    let prevented = manifest.body["iamConfiguration"]["publicAccessPrevention"] == "enforced";
    (*ruling == Ruling::Enforced && !prevented).then_some(())?;
    refused("requires that public access to buckets is prevented, which it is not for this one", OWN_TEMPLATE)
}

/// The place of a resource: the place, and the key that decides it.
fn places(manifest: &Manifest) -> Vec<(String, &'static str)> {
    let body = &manifest.body;
    let of = |field: &str, key| {
        let place = text(&body[field]);
        (!place.is_empty() && !place.contains('$')).then(|| (place.to_owned(), key))
    };
    match manifest.kind.as_str() {
        "storage.bucket" => of("location", "`mimir.bucket_location`").into_iter().collect(),
        "secretmanager.secret" => {
            let replicas = body["replication"]["userManaged"]["replicas"].as_array();
            let Some(replicas) = replicas else { return vec![("global".into(), "`secrets.locations`")] };
            replicas.iter().map(|each| (text(&each["location"]).to_owned(), "`secrets.locations`")).collect()
        }
        _ => of("zone", "`region` and `zones`").or_else(|| of("region", "`region`")).into_iter().collect(),
    }
}

fn location(ruling: &Ruling, manifest: &Manifest, _: &Scene<'_>) -> Option<Objection> {
    let Ruling::List { allowed, .. } = ruling else { return None };
    places(manifest).into_iter().find_map(|(place, key)| {
        let lower = place.to_ascii_lowercase();
        let passes = ruling.passes(|value| covers(value, &lower));
        let only = allowed.as_ref().map(|values| format!(" (it allows {})", values.join(", ")));
        let only = only.unwrap_or_default();
        let instead = format!("set {key} to what it allows");
        match passes {
            Passes::Yes => None,
            Passes::No => refused(format!("does not allow {place}{only}"), instead),
            Passes::Perhaps => {
                Some(Objection { what: format!("may not allow {place}{only}"), instead, certain: false })
            }
        }
    })
}

/// Regions in Europe, and not in the Union.
const OUTSIDE_THE_UNION: [&str; 2] = ["europe-west2", "europe-west6"];

/// Whether a value of the policy stands for a place, in lower case. What groups there are:
/// <https://cloud.google.com/resource-manager/docs/organization-policy/defining-locations>;
/// `None`: one that is not known here.
fn covers(value: &str, place: &str) -> Option<bool> {
    let region = match place.rsplit_once('-') {
        // A zone's last part is a letter.
        Some((region, last)) if last.len() == 1 => region,
        _ => place,
    };
    let group = match value.strip_prefix("in:") {
        None => return Some(value == place || value == region),
        Some(rest) => rest.strip_suffix("-locations")?,
    };
    let on = |continent: &str| region == continent || region.starts_with(&format!("{continent}-"));
    match group {
        "eu" => Some(region == "eu" || (on("europe") && !OUTSIDE_THE_UNION.contains(&region))),
        "europe" => Some(region == "eu" || on("europe")),
        "us" | "asia" | "australia" | "northamerica" | "southamerica" | "me" | "africa" => Some(on(group)),
        // A region's own.
        own if own.ends_with(|last: char| last.is_ascii_digit()) => Some(region == own),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_in_all_its_forms() {
        let of = |policy: Value| Ruling::of(&policy);
        assert_eq!(of(json!({"booleanPolicy": {"enforced": true}})), Ruling::Enforced);
        assert_eq!(of(json!({"booleanPolicy": {}})), Ruling::Free);
        assert_eq!(of(json!({"listPolicy": {"allValues": "ALLOW"}})), Ruling::Free);
        assert_eq!(of(json!({"listPolicy": {}})), Ruling::Free);
        assert_eq!(of(json!({"restoreDefault": {}})), Ruling::Free);
        let none = of(json!({"listPolicy": {"allValues": "DENY"}}));
        assert_eq!(none.passes(|_| Some(true)), Passes::No);
        let some = of(json!({"listPolicy": {"allowedValues": ["a"], "deniedValues": ["b"]}}));
        let passes = |name: &str| some.passes(|value| Some(value == name));
        assert_eq!(["a", "b", "c"].map(passes), [Passes::Yes, Passes::No, Passes::No]);
        let denied = of(json!({"listPolicy": {"deniedValues": ["b"]}}));
        assert_eq!(denied.passes(|value| Some(value == "c")), Passes::Yes);
        assert_eq!(some.passes(|value| if value == "a" { None } else { Some(false) }), Passes::Perhaps);
    }

    #[test]
    fn a_place_is_covered_by_itself_its_region_and_its_groups() {
        for (value, place, covered) in [
            ("in:europe-west1-locations", "europe-west1-b", Some(true)),
            ("europe-west1", "europe-west1-b", Some(true)),
            ("europe-west1-b", "europe-west1-b", Some(true)),
            ("europe-west1-b", "europe-west1", Some(false)),
            ("in:europe-west1-locations", "europe-west10", Some(false)),
            ("in:eu-locations", "europe-west2-a", Some(false)),
            ("in:eu-locations", "eu", Some(true)),
            ("in:us-locations", "us-east1", Some(true)),
            ("in:us-locations", "global", Some(false)),
            ("in:canada-locations", "europe-west1", None),
        ] {
            assert_eq!(covers(value, place), covered, "{value}: {place}");
        }
    }
}

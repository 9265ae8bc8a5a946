//! What a plan costs by the month, at list prices: the bill of what there will be, beside that of what there
//! is. Pure; the prices are [`prices`]'s. What is billed by use is assumed, and said.

mod prices;

use std::collections::BTreeMap;

use dorainfra_engine::{Action, Manifest, Plan, ResourceId, Step};
use dorainfra_gcp::integer;
use dorainfra_model::{Cost, CostItem, Unpriced};
use serde_json::Value;

pub use prices::{Assumptions, Prices, Source, prices};

/// What there is, or will be: manifests' or observed bodies, which are spelled alike.
type World = BTreeMap<ResourceId, Value>;

/// A line of a bill.
struct Part {
    id: Option<ResourceId>,
    what: String,
    place: String,
    /// `None`: there is no price.
    amount: Option<f64>,
}

/// What `plan` costs, and how much more that is than now.
pub fn cost(plan: &Plan) -> Cost {
    let (before, after) = (bill(&world(plan, now)), bill(&world(plan, then)));
    let mut items: BTreeMap<Option<ResourceId>, CostItem> = BTreeMap::new();
    let mut unpriced = Vec::new();
    for (parts, later) in [(after, true), (before, false)] {
        for Part { id, what, place, amount } in parts {
            let Some(amount) = amount else {
                let lacks = Unpriced { id, what, place };
                if !unpriced.contains(&lacks) {
                    unpriced.push(lacks);
                }
                continue;
            };
            let empty = CostItem { id: id.clone(), what: String::new(), before: 0.0, after: 0.0 };
            let item = items.entry(id).or_insert(empty);
            match later {
                true => item.after += amount,
                false => item.before += amount,
            }
            // What there will be is named, and what there was where it goes.
            if later || item.after == 0.0 {
                item.what = if item.what.is_empty() { what } else { format!("{}, {what}", item.what) };
            }
        }
    }
    let mut items: Vec<CostItem> = items.into_values().collect();
    // The dearest first, what belongs to no resource last.
    let most = |item: &CostItem| item.after.max(item.before);
    items.sort_by(|a, b| (a.id.is_none(), most(b)).partial_cmp(&(b.id.is_none(), most(a))).expect("finite"));
    let sum = |amount: fn(&CostItem) -> f64| items.iter().map(amount).sum::<f64>();
    let (monthly, earlier) = (sum(|item| item.after), sum(|item| item.before));
    for item in &mut items {
        (item.before, item.after) = (rounded(item.before), rounded(item.after));
    }
    Cost {
        currency: prices().currency.clone(),
        monthly: rounded(monthly),
        change: rounded(rounded(monthly) - rounded(earlier)),
        assumptions: if items.is_empty() { Vec::new() } else { assumptions(&items) },
        items,
        unpriced,
        prices_as_of: prices().as_of().to_owned(),
    }
}

/// To hundredths; never `-0`.
fn rounded(amount: f64) -> f64 {
    (amount * 100.0).round() / 100.0 + 0.0
}

/// Which body of a step's resource counts.
type Pick = fn(&Step, Option<&Manifest>, Option<&Value>) -> Option<Value>;

fn world(plan: &Plan, pick: Pick) -> World {
    let manifests: BTreeMap<ResourceId, &Manifest> =
        plan.manifests.iter().map(|manifest| (manifest.id(), manifest)).collect();
    let body = |step: &Step| {
        let observed = plan.basis.observed.get(&step.id).map(|observed| &observed.body);
        Some((step.id.clone(), pick(step, manifests.get(&step.id).copied(), observed)?))
    };
    plan.steps.iter().filter_map(body).collect()
}

/// As it is.
fn now(step: &Step, manifest: Option<&Manifest>, observed: Option<&Value>) -> Option<Value> {
    if step.action == Action::Create {
        return None;
    }
    let mut body = observed.cloned().or_else(|| manifest.map(|manifest| manifest.body.clone()))?;
    // Which type a boot disk has, its machine does not say.
    if let (Some(manifest), "compute.instance") = (manifest, step.id.kind.as_str()) {
        body["disks"] = boots_from(manifest, observed)["disks"].clone();
    }
    Some(body)
}

/// The manifest of a machine that stays, with the boot disk as large as it is: it is never changed.
fn boots_from(manifest: &Manifest, observed: Option<&Value>) -> Value {
    let is_boot = |disk: &&Value| disk["boot"] == true;
    let there = observed.and_then(|body| body["disks"].as_array()?.iter().find(is_boot));
    let size = there.map(|disk| &disk["diskSizeGb"]).filter(|size| !size.is_null());
    let mut body = manifest.body.clone();
    let own =
        body["disks"].as_array_mut().and_then(|disks| disks.iter_mut().find(|disk| disk["boot"] == true));
    if let (Some(own), Some(size)) = (own, size) {
        own["initializeParams"]["diskSizeGb"] = size.clone();
    }
    body
}

/// As it will be.
fn then(step: &Step, manifest: Option<&Manifest>, observed: Option<&Value>) -> Option<Value> {
    match (step.action, manifest) {
        (Action::Delete, _) => None,
        (Action::NoOp | Action::Keep, _) | (_, None) => now(step, manifest, observed),
        (Action::Update, Some(manifest)) if step.id.kind == "compute.instance" => {
            Some(boots_from(manifest, observed))
        }
        (_, Some(manifest)) => Some(manifest.body.clone()),
    }
}

fn bill(world: &World) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut leaves_from = None;
    for (id, body) in world {
        let mut add = |what: String, place: &str, amount: Option<f64>| {
            parts.push(Part { id: Some(id.clone()), what, place: place.to_owned(), amount });
        };
        match id.kind.as_str() {
            "compute.instance" => {
                let region = region(body);
                machine(world, body, region, &mut add);
                leaves_from.get_or_insert(region);
            }
            "compute.disk" => {
                let (kind, gb) = (text(body, "type"), integer(&body["sizeGb"]).unwrap_or_default());
                let amount = prices().disk(kind, gb as f64, region(body));
                add(format!("{gb} GB of {kind}"), region(body), amount);
            }
            "compute.address"
                if text(body, "addressType") != "INTERNAL" && !behind_a_rule(world, id, body) =>
            {
                add("external address".into(), text(body, "region"), Some(prices().address()));
            }
            "compute.forwardingRule" => add("forwarding rule".into(), text(body, "region"), None),
            "compute.resourcePolicy" => {
                let gb = prices().assumptions.snapshot_gb * scheduled_disks(world) as f64;
                let places = &body["snapshotSchedulePolicy"]["snapshotProperties"]["storageLocations"];
                let place = places[0].as_str().unwrap_or_default();
                add(format!("{gb} GB of snapshots"), place, prices().snapshots(gb, place));
            }
            "storage.bucket" => bucket(body, &mut add),
            "secretmanager.secretVersion" => {
                let places = places_of(world, &id.name);
                add("secret version".into(), "", Some(prices().secret_version(places)));
            }
            _ => {}
        }
    }
    if let Some(region) = leaves_from {
        let gb = prices().assumptions.egress_gb;
        let (what, amount) = (format!("{gb} GB sent to the internet"), prices().egress(gb, region));
        parts.push(Part { id: None, what, place: region.to_owned(), amount });
    }
    parts
}

fn machine(world: &World, body: &Value, region: &str, add: &mut impl FnMut(String, &str, Option<f64>)) {
    let kind = text(body, "machineType");
    // One that is stopped is billed for its disks and its address.
    let stopped = matches!(text(body, "status"), "TERMINATED" | "STOPPED" | "STOPPING" | "SUSPENDED");
    if !stopped {
        add(kind.to_owned(), region, prices().machine(kind, region));
    }
    for disk in list(&body["disks"]).filter(|disk| disk["boot"].as_bool() == Some(true)) {
        let initial = &disk["initializeParams"];
        let size = integer(&initial["diskSizeGb"]).or_else(|| integer(&disk["diskSizeGb"]));
        let kind = text(initial, "diskType").rsplit('/').next().unwrap_or_default();
        match size {
            Some(gb) if !kind.is_empty() => {
                let amount = prices().disk(kind, gb as f64, region);
                add(format!("{gb} GB of {kind} to boot from"), region, amount);
            }
            _ => add("boot disk".into(), region, None),
        }
    }
    let interfaces = list(&body["networkInterfaces"]);
    for access in interfaces.flat_map(|interface| list(&interface["accessConfigs"])) {
        if !is_reserved(world, access["natIP"].as_str()) {
            add("external address".into(), region, Some(prices().address()));
        }
    }
}

fn bucket(body: &Value, add: &mut impl FnMut(String, &str, Option<f64>)) {
    let (location, class) = (text(body, "location"), text(body, "storageClass"));
    let assumed = &prices().assumptions;
    let stored = prices().stored(assumed.bucket_gb, location, class);
    add(format!("{} GB stored", assumed.bucket_gb), location, stored);
    let operations = prices().operations(assumed.class_a, assumed.class_b, location, class);
    add("operations on objects".into(), location, operations);
}

/// Whether a machine's address is a resource, which has a line of its own.
fn is_reserved(world: &World, address: Option<&str>) -> bool {
    let Some(address) = address else { return false };
    address.contains("${compute.address/")
        || world
            .iter()
            .any(|(id, body)| id.kind == "compute.address" && body["address"].as_str() == Some(address))
}

/// Whether an address is a load balancer's: those are free of charge.
fn behind_a_rule(world: &World, id: &ResourceId, body: &Value) -> bool {
    let reference = format!("${{{id}.");
    world.iter().filter(|(id, _)| id.kind == "compute.forwardingRule").any(|(_, rule)| {
        let address = text(rule, "IPAddress");
        address.contains(&reference) || (!address.is_empty() && body["address"].as_str() == Some(address))
    })
}

fn scheduled_disks(world: &World) -> usize {
    let scheduled = |body: &Value| list(&body["resourcePolicies"]).next().is_some();
    world.iter().filter(|(id, body)| id.kind == "compute.disk" && scheduled(body)).count()
}

/// In how many places the versions of a secret are kept.
fn places_of(world: &World, secret: &str) -> usize {
    let body = world.get(&ResourceId::new("secretmanager.secret", secret));
    let places = body.map_or(0, |body| list(&body["replication"]["userManaged"]["replicas"]).count());
    places.max(1)
}

fn assumptions(items: &[CostItem]) -> Vec<String> {
    let assumed = &prices().assumptions;
    let has = |kind: &str| items.iter().any(|item| item.id.as_ref().is_some_and(|id| id.kind == kind));
    let mut said =
        vec![format!("{} hours a month, list prices without the free tier and discounts", prices().hours)];
    if has("storage.bucket") {
        said.push(format!(
            "{} GB in the bucket, {} writes and lists of objects, {} reads",
            assumed.bucket_gb,
            crate::workflow::count(assumed.class_a as u64),
            crate::workflow::count(assumed.class_b as u64)
        ));
    }
    if has("compute.resourcePolicy") {
        said.push(format!("{} GB of snapshots of each data disk", assumed.snapshot_gb));
    }
    if items.iter().any(|item| item.id.is_none()) {
        said.push(format!("{} GB sent to the internet", assumed.egress_gb));
    }
    said
}

fn text<'a>(body: &'a Value, field: &str) -> &'a str {
    body[field].as_str().unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// `europe-west1` of the zone `europe-west1-b`.
fn region(body: &Value) -> &str {
    text(body, "zone").rsplit_once('-').map_or("", |(region, _)| region)
}

#[cfg(test)]
mod tests;

//! What deployments cost, by the table's own prices: what is in the sum, and what is said to be missing.

use dorainfra_config::{Config, ScrapeJobs, Topology};
use dorainfra_engine::{Basis, Observed, Ownership};
use dorainfra_prometheus::Flavour;
use dorainfra_render::Overrides;
use serde_json::json;

use super::*;
use crate::blueprint::{self, Engine, Facts};

fn manifests(topology: Topology, region: &str, change: impl FnOnce(&mut Config)) -> Vec<Manifest> {
    let mut config = Config { project: "my-gcp".into(), ..Config::default() };
    config.mimir.bucket = "my-gcp-dorainfra-mimir".into();
    config.region = region.into();
    config.zones = ["b", "c", "d"].map(|letter| format!("{region}-{letter}")).to_vec();
    config.mimir.topology = topology;
    config.mimir.bucket_location = region.into();
    if topology == Topology::Single {
        config.zones.truncate(1);
    }
    change(&mut config);
    let facts = Facts {
        caller: Some("203.0.113.7/32".into()),
        engine: Engine {
            flavour: Flavour::Mimir,
            version: dorainfra_config::default_version().into(),
            sha256: "a".repeat(64),
            path: "/engine".into(),
        },
        clients: Vec::new(),
        restore_disks: BTreeMap::new(),
        alertmanager: None,
        scrape: ScrapeJobs::default(),
    };
    blueprint::build(&config, &facts, &Overrides::none()).unwrap().manifests
}

/// The same action for all of them; of what is there, the body is the manifest's.
fn plan(manifests: Vec<Manifest>, action: impl Fn(&Manifest) -> Action) -> Plan {
    let step = |manifest: &Manifest| Step {
        id: manifest.id(),
        action: action(manifest),
        reason: String::new(),
        changes: Vec::new(),
        needs: Vec::new(),
        notes: BTreeMap::new(),
    };
    let there = |manifest: &&Manifest| action(manifest) != Action::Create;
    let observed = |manifest: &Manifest| {
        let (id, body) = (manifest.id(), manifest.body.clone());
        (id.clone(), Observed { id, body, ownership: Ownership::Ours, applied: None })
    };
    Plan {
        deployment: "dorainfra".into(),
        steps: manifests.iter().map(step).collect(),
        basis: Basis { observed: manifests.iter().filter(there).map(observed).collect(), ..Basis::default() },
        manifests,
        ..Plan::default()
    }
}

fn item<'a>(cost: &'a Cost, id: &str) -> &'a CostItem {
    let of = |item: &&CostItem| item.id.as_ref().is_some_and(|own| own.to_string() == id);
    cost.items.iter().find(of).unwrap_or_else(|| panic!("no {id} in {:#?}", cost.items))
}

fn cents(amount: f64) -> i64 {
    (amount * 100.0).round() as i64
}

#[test]
fn a_first_plan_costs_all_that_it_makes() {
    let made = cost(&plan(manifests(Topology::Single, "europe-west1", |_| ()), |_| Action::Create));
    assert_eq!(made.unpriced, []);
    assert_eq!(made.change.to_bits(), made.monthly.to_bits());
    // An e2-medium and 10 GB of pd-balanced; its address is a resource of its own.
    let machine = item(&made, "compute.instance/dorainfra-mimir");
    assert_eq!((cents(machine.before), cents(machine.after)), (0, 2791), "{machine:?}");
    assert_eq!(machine.what, "e2-medium, 10 GB of pd-balanced to boot from");
    assert_eq!(cents(item(&made, "compute.address/dorainfra-mimir").after), 365);
    assert_eq!(cents(item(&made, "compute.disk/dorainfra-data").after), 200);
    // 10 GB, 100,000 writes and 300,000 reads.
    assert_eq!(cents(item(&made, "storage.bucket/my-gcp-dorainfra-mimir").after), 20 + 50 + 12);
    let sum: f64 = made.items.iter().map(|item| item.after).sum();
    assert!((sum - made.monthly).abs() < 0.1, "{sum} of {}", made.monthly);
    assert_eq!(made.items[0].id, machine.id, "the dearest first");
    assert_eq!(made.items.last().unwrap().id, None);
    assert!(made.assumptions.iter().any(|text| text.contains("10 GB in the bucket")), "{made:#?}");
}

#[test]
fn three_machines_have_an_address_each_and_the_load_balancers_is_free() {
    let made = cost(&plan(manifests(Topology::Ha, "europe-west4", |_| ()), |_| Action::Create));
    let second = item(&made, "compute.instance/dorainfra-mimir-2");
    assert_eq!(second.what, "e2-medium, 10 GB of pd-balanced to boot from, external address");
    let addresses: Vec<&CostItem> = made
        .items
        .iter()
        .filter(|item| item.id.as_ref().is_some_and(|id| id.kind == "compute.address"))
        .collect();
    assert_eq!(addresses.len(), 1, "{addresses:?}");
    // It has no price here: that is said, and nothing is guessed.
    let lacking: Vec<(&str, &str)> =
        made.unpriced.iter().map(|lacks| (lacks.what.as_str(), lacks.place.as_str())).collect();
    assert_eq!(lacking, [("forwarding rule", "europe-west4")]);
    let policy = made.items.iter().find(|item| item.what.contains("snapshots")).unwrap();
    assert_eq!(policy.what, "15 GB of snapshots");
}

#[test]
fn what_has_no_price_is_named_and_in_no_sum() {
    let odd = |config: &mut Config| {
        config.mimir.machine_type = "n4-standard-2".into();
        (config.mimir.disk_type, config.mimir.boot_disk_type) =
            ("hyperdisk-balanced".into(), "hyperdisk-balanced".into());
    };
    let made = cost(&plan(manifests(Topology::Single, "europe-west1", odd), |_| Action::Create));
    let lacking: Vec<&str> = made.unpriced.iter().map(|lacks| lacks.what.as_str()).collect();
    assert_eq!(
        lacking,
        ["20 GB of hyperdisk-balanced", "n4-standard-2", "10 GB of hyperdisk-balanced to boot from"]
    );
    assert!(made.monthly < 10.0, "{}", made.monthly);

    let away = cost(&plan(manifests(Topology::Single, "asia-south2", |_| ()), |_| Action::Create));
    assert!(away.unpriced.iter().all(|lacks| lacks.place.to_lowercase() == "asia-south2"), "{away:#?}");
    assert!(away.unpriced.iter().any(|lacks| lacks.what == "e2-medium"), "{away:#?}");
}

#[test]
fn a_boot_disk_is_billed_as_it_is() {
    for action in [Action::NoOp, Action::Update] {
        let mut plan = plan(manifests(Topology::Single, "us-central1", |_| ()), |_| action);
        let machine = plan.manifests.iter_mut().find(|manifest| manifest.kind == "compute.instance").unwrap();
        machine.body["disks"][0]["initializeParams"]["diskSizeGb"] = json!("50");
        let mut body = machine.body.clone();
        body["disks"][0]["diskSizeGb"] = json!("10");
        let id = machine.id();
        let observed = Observed { id: id.clone(), body, ownership: Ownership::Ours, applied: None };
        plan.basis.observed.insert(id.clone(), observed);
        let costs = cost(&plan);
        let item = costs.items.iter().find(|item| item.id.as_ref() == Some(&id)).unwrap();
        assert!(item.what.contains("10 GB of pd-balanced to boot from"), "{item:?}");
        assert_eq!(cents(costs.change), 0);
    }
}

#[test]
fn a_change_costs_the_difference() {
    let mut plan = plan(manifests(Topology::Single, "us-central1", |_| ()), |_| Action::NoOp);
    assert_eq!(cents(cost(&plan).change), 0);
    let unchanged = cost(&plan).monthly;
    let machine = plan.manifests.iter_mut().find(|manifest| manifest.kind == "compute.instance").unwrap();
    machine.body["machineType"] = json!("e2-standard-2");
    let id = machine.id();
    plan.steps.iter_mut().find(|step| step.id == id).unwrap().action = Action::Update;
    let changed = cost(&plan);
    // Half a vCPU's share more, and 4 GB.
    let difference = (0.02181159 + 4.0 * 0.00292353) * 730.0;
    assert_eq!(cents(changed.change), cents(difference));
    assert_eq!(cents(changed.monthly), cents(unchanged + difference));
    assert_eq!(item(&changed, &id.to_string()).what, "e2-standard-2, 10 GB of pd-balanced to boot from");
}

#[test]
fn what_is_kept_is_billed_on() {
    let kept = |manifest: &Manifest| if manifest.protect { Action::Keep } else { Action::Delete };
    let plan = plan(manifests(Topology::Single, "us-east1", |_| ()), kept);
    let after = cost(&plan);
    // The bucket and 20 GB of disk.
    assert_eq!(cents(after.monthly), 82 + 200);
    assert!(after.change < -20.0, "{}", after.change);
    assert_eq!(
        item(&after, "compute.instance/dorainfra-mimir").what,
        "e2-medium, 10 GB of pd-balanced to boot from"
    );
}

#[test]
fn one_that_is_stopped_costs_its_disks_and_its_address() {
    let mut plan = plan(manifests(Topology::Single, "us-east1", |_| ()), |_| Action::NoOp);
    let running = cost(&plan).monthly;
    for (id, observed) in &mut plan.basis.observed {
        if id.kind == "compute.instance" {
            observed.body["status"] = json!("TERMINATED");
        }
    }
    assert_eq!(cents(running - cost(&plan).monthly), cents(0.03350571 * 730.0));
}

/// Google says every address, whether or not it is a resource.
#[test]
fn an_address_is_billed_once() {
    let mut plan = plan(manifests(Topology::Single, "us-east1", |_| ()), |_| Action::NoOp);
    for (id, observed) in &mut plan.basis.observed {
        match id.kind.as_str() {
            "compute.instance" => {
                observed.body["networkInterfaces"][0]["accessConfigs"][0]["natIP"] = json!("198.51.100.4")
            }
            "compute.address" => observed.body["address"] = json!("198.51.100.4"),
            _ => {}
        }
    }
    let billed = cost(&plan).items.iter().filter(|item| item.what.contains("external address")).count();
    assert_eq!(billed, 1);
}

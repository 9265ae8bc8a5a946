//! Instructions of what everything else is made of, counted by scripts/instructions: `instructions CASE` does
//! it once. What prepares it is not counted, and nothing is drawn by chance. Without a case: their names.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../tests/configuration/blueprint/fixture.rs"]
mod fixture;
#[path = "../tests/support/memory.rs"]
mod memory;

use std::hint::black_box;

use dorainfra_deploy::blueprint;
use dorainfra_dora::metrics::{self, Histograms};
use dorainfra_dora::simulator;
use dorainfra_dora::source::{self, DeploymentRecord, Fact, MergedChange, Owner, Project, Rules, Status};
use dorainfra_engine::{Manifest, PlanOptions};
use dorainfra_model::Events;
use dorainfra_prometheus::remote_write::{Batches, Limits, Version};
use dorainfra_prometheus::{Flavour, Series};
use dorainfra_render::Overrides;
use memory::{Memory, manifest};
use serde_json::json;
use time::macros::{date, datetime};
use time::{Duration, OffsetDateTime};

type Case = (&'static str, fn());

const CASES: [Case; 6] = [
    ("render", render),
    ("diff", diff),
    ("plan", plan),
    ("encode", encode),
    ("simulate", simulate),
    ("classify", classify),
];

/// The one function whose instructions count, by its name.
#[inline(never)]
fn measured_work(work: &mut dyn FnMut()) {
    work();
}

/// A blueprint: every template compiled, rendered and read back, the bundle packed.
fn render() {
    let (config, facts, overrides) = (fixture::config(), fixture::facts(Flavour::Mimir), Overrides::none());
    measured_work(&mut || {
        black_box(blueprint::build(&config, &facts, &overrides).unwrap());
    });
}

/// A plan in which every resource differs: in a number, in sets, in a long text.
fn diff() {
    let (before, after) = (manifests(60, 50), manifests(60, 51));
    planned(&before, &after);
}

/// A plan with nothing to do.
fn plan() {
    let manifests = manifests(120, 50);
    planned(&manifests, &manifests);
}

fn planned(before: &[Manifest], after: &[Manifest]) {
    let memory = Memory::new();
    before.iter().for_each(|manifest| memory.put(manifest, Some("test")));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (options, events, after) = (PlanOptions::default(), Events::none(), after.to_vec());
    measured_work(&mut || {
        let plan = dorainfra_engine::plan("test", after.clone(), &*memory, &options, &events);
        let plan = runtime.block_on(plan).unwrap();
        assert_eq!(plan.steps.len(), after.len());
        black_box(plan);
    });
}

fn manifests(count: usize, size: usize) -> Vec<Manifest> {
    let one = |at: usize| match at % 3 {
        0 => {
            manifest(&format!("mem.net/{at}"), json!({"range": format!("10.{at}.0.0/16"), "mtu": size}), &[])
        }
        1 => manifest(&format!("mem.disk/{at}"), json!({"zone": "a", "size": size}), &[]),
        _ => manifest(
            &format!("mem.vm/{at}"),
            json!({
                "zone": "a",
                "disk": format!("${{mem.disk/{}.uid}}", at - 1),
                "net": format!("${{mem.net/{}.uid}}", at - 2),
                "tags": ["web", "db", format!("size-{size}")],
                "items": [{"key": "script", "value": "echo ${HOME}\n".repeat(size)}],
            }),
            &["mem.net/0"],
        ),
    };
    (0..count).map(one).collect()
}

fn series(teams: u32, days: u32) -> Vec<Series> {
    let histograms = Histograms::CLASSIC;
    metrics::simulated(simulator::teams(teams), 1, date!(2025 - 12 - 31), days, histograms).collect()
}

/// Remote write, as bytes that are sent.
fn encode() {
    let series = series(10, 60);
    measured_work(&mut || {
        black_box(Batches::new(series.iter(), Version::One, Limits::default()).count());
    });
}

/// Teams whose events are made and counted.
fn simulate() {
    measured_work(&mut || {
        black_box(series(2, 60));
    });
}

/// The events of a project of 300 changes and 100 deployments, with hotfixes and what is taken back.
fn classify() {
    let (project, rules) = (project(), Rules::default());
    let owner = Owner { team: "t".into(), service: "s".into(), environment: "production".into() };
    measured_work(&mut || {
        let events = source::events(&project, &owner, &rules);
        assert!(events.len() > 400, "{}", events.len());
        black_box(events);
    });
}

fn project() -> Project {
    let begin = datetime!(2025-01-01 00:00 UTC);
    let at = |hours: i64| -> OffsetDateTime { begin + Duration::hours(hours) };
    let mut project = Project::default();
    for nth in 0..300 {
        let title = match nth % 20 {
            7 => format!("hotfix: mend {nth}"),
            13 => format!("Revert \"change {}\"", nth - 3),
            _ => format!("change {nth}"),
        };
        let change = MergedChange { at: Some(at(nth * 4)), title, ..MergedChange::default() };
        project.add(Fact::Landed { id: format!("{nth:040x}"), change });
        if nth % 3 == 2 {
            let deployment = DeploymentRecord {
                environment: "production".into(),
                name: format!("v1.{nth}"),
                revision: format!("{nth:040x}"),
                statuses: vec![Status { at: at(nth * 4 + 2), ok: true }],
                ..DeploymentRecord::default()
            };
            project.add(Fact::Ran { id: format!("v1.{nth}"), deployment });
        }
    }
    project
}

#[expect(clippy::print_stdout, reason = "it is a program of its own")]
fn main() {
    // Of cargo's own arguments there is `--bench`.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    match wanted {
        None => CASES.iter().for_each(|(name, _)| println!("{name}")),
        Some(wanted) => {
            let (_, run) = CASES.iter().find(|(name, _)| *name == wanted).expect("a case of that name");
            run();
        }
    }
}

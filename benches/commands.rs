//! Whole commands, as a user waits for them: what `--help` costs, a plan when
//! every call takes 100 ms, and an apply beside the longest path through its
//! operations. Sizes are printed first.

#![allow(clippy::unwrap_used, reason = "a benchmark that panics has failed")]

#[path = "../tests/support/deployment/mod.rs"]
mod deployment;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use deployment::Deployment;

/// What the sandbox is told that each operation takes.
const OPERATION: Duration = Duration::from_millis(1000);
/// Services enabled, snapshot schedule, data disk, instance: each needs the one
/// before it.
const LONGEST_PATH: u32 = 4;

fn sandbox(options: &[&str]) -> Deployment {
    let deployment = Deployment::empty();
    let mut arguments = vec!["sandbox", "start", "--detach", "--machines", "none"];
    arguments.extend(options);
    deployment.run(&arguments).ends_with(0);
    deployment
}

#[expect(clippy::print_stdout, reason = "beside criterion's own lines")]
fn sizes(_: &mut Criterion) {
    let binary = std::fs::metadata(env!("CARGO_BIN_EXE_dorainfra")).unwrap().len();
    let deployment = sandbox(&["--operation", "*=0"]);
    let mut plan = deployment.spawn(&["--sandbox", "plan"]);
    let status = format!("/proc/{}/status", plan.id());
    let mut peak = String::new();
    while plan.try_wait().unwrap().is_none() {
        let now = std::fs::read_to_string(&status).unwrap_or_default();
        if let Some(line) = now.lines().find(|line| line.starts_with("VmHWM")) {
            line.clone_into(&mut peak);
        }
    }
    println!("binary: {:.1} MB; memory of a plan: {peak}", binary as f64 / 1e6);
}

fn help(criterion: &mut Criterion) {
    let deployment = Deployment::empty();
    criterion.bench_function("--help", |bencher| bencher.iter(|| deployment.run(&["--help"]).ends_with(0)));
}

/// At most three round trips: 300 ms and the rest.
fn plan(criterion: &mut Criterion) {
    let deployment = sandbox(&["--operation", "*=0", "--latency", "100"]);
    let mut group = criterion.benchmark_group("plan");
    group.sample_size(10);
    group.bench_function("100 ms a call, nothing there", |bencher| {
        bencher.iter(|| deployment.run(&["--sandbox", "plan"]).ends_with(0));
    });
    group.finish();
}

/// The phase's own time, to be at most 1.10 of the longest path's.
fn apply(criterion: &mut Criterion) {
    let deployment = sandbox(&["--operation", &format!("*={}", OPERATION.as_millis())]);
    let mut group = criterion.benchmark_group("apply");
    group.sample_size(10).measurement_time(OPERATION * LONGEST_PATH * 12);
    group.bench_function(format!("longest path {:?}", OPERATION * LONGEST_PATH), |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| resources(&deployment)).sum());
    });
    group.finish();
}

fn resources(deployment: &Deployment) -> Duration {
    deployment.run(&["sandbox", "reset", "--yes"]).ends_with(0);
    let instance = ["--target", "compute.instance/dorainfra-mimir"];
    let run =
        deployment.run(&[&["--sandbox", "--json", "apply", "--yes"], &instance[..]].concat()).ends_with(0);
    let phases = run.events("phase-finished");
    let phase = phases.iter().find(|phase| phase["phase"] == "resources").unwrap();
    Duration::from_millis(phase["elapsed_ms"].as_u64().unwrap())
}

criterion_group!(benches, sizes, help, plan, apply);
criterion_main!(benches);

//! How long the engine itself takes for a plan, over a cloud in memory that
//! answers at once: 20 resources are a deployment, 2,000 are far more than one.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../tests/support/memory.rs"]
mod memory;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use dorainfra_engine::{ApplyOptions, Manifest, PlanOptions, Provider, apply, plan};
use dorainfra_model::Events;
use memory::{Memory, manifest};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const NAME: &str = "test";

/// Machines with a disk and a network each, four of which are for all.
fn manifests(count: usize) -> Vec<Manifest> {
    (0..count)
        .map(|at| match at % 4 {
            0 => manifest(&format!("mem.net/{at}"), json!({"range": format!("10.{at}.0.0/16")}), &[]),
            1 => manifest(&format!("mem.disk/{at}"), json!({"zone": "a", "size": 50}), &[]),
            2 => manifest(
                &format!("mem.vm/{at}"),
                json!({
                    "zone": "a",
                    "disk": format!("${{mem.disk/{}.uid}}", at - 1),
                    "net": format!("${{mem.net/{}.uid}}", at - 2),
                    "tags": ["web", "db"],
                    "items": [{"key": "script", "value": "echo ${HOME}\n".repeat(50)}],
                }),
                &["mem.net/0"],
            ),
            _ => manifest(
                &format!("mem.grant/{at}"),
                json!({"role": "admin", "member": format!("vm:${{mem.vm/{}.uid}}", at - 1)}),
                &[],
            ),
        })
        .collect()
}

fn plans(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut group = criterion.benchmark_group("plan");
    for count in [20, 2_000] {
        let (options, events) = (PlanOptions::default(), Events::none());
        let manifests = manifests(count);
        let (empty, full) = (Memory::new(), Memory::new());
        runtime.block_on(async {
            let first = plan(NAME, manifests.clone(), &*full, &options, &events).await.expect("a plan");
            let provider = Arc::clone(&full) as Arc<dyn Provider>;
            let token = CancellationToken::new();
            let outcome = apply(&first, provider, &ApplyOptions::default(), None, &token, &events).await;
            assert!(outcome.expect("an outcome").is_complete());
        });
        for (world, memory) in [("nothing there", &empty), ("up to date", &full)] {
            group.bench_with_input(BenchmarkId::new(world, count), &manifests, |bencher, manifests| {
                bencher.to_async(&runtime).iter_batched(
                    || manifests.clone(),
                    |manifests| async {
                        black_box(plan(NAME, manifests, &**memory, &options, &events).await.expect("a plan"))
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

criterion_group!(benches, plans);
criterion_main!(benches);

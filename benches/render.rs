//! The whole blueprint from a configuration: every template compiled, rendered
//! and read back, the bundle packed. To stay under 5 ms.

#[path = "../tests/configuration/blueprint/fixture.rs"]
mod fixture;

use criterion::{Criterion, criterion_group, criterion_main};
use dorainfra_deploy::blueprint;
use dorainfra_prometheus::Flavour;
use dorainfra_render::Overrides;

fn render(criterion: &mut Criterion) {
    let config = fixture::config();
    let facts = fixture::facts(Flavour::Mimir);
    let overrides = Overrides::none();
    criterion.bench_function("blueprint", |bencher| {
        bencher.iter(|| blueprint::build(&config, &facts, &overrides).expect("the configuration is valid"));
    });
}

criterion_group!(benches, render);
criterion_main!(benches);

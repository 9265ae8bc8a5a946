//! The whole blueprint from a configuration: every template compiled, rendered
//! and read back, the bundle packed. To stay under 5 ms.

#[path = "../tests/blueprint/fixture.rs"]
mod fixture;

use criterion::{Criterion, criterion_group, criterion_main};
use dorainfra::blueprint::{self, Flavour};
use dorainfra::render::{self, Overrides};

fn render(criterion: &mut Criterion) {
    let config = fixture::config();
    let facts = fixture::facts(Flavour::Mimir);
    let built_in = fixture::machine_templates().keys().all(|name| render::embedded(name).is_some());
    let overrides = if built_in { Overrides::none() } else { fixture::overrides() };
    criterion.bench_function("blueprint", |bencher| {
        bencher.iter(|| blueprint::build(&config, &facts, &overrides).expect("the configuration is valid"));
    });
}

criterion_group!(benches, render);
criterion_main!(benches);

//! How fast history is made, encoded and sent. Samples a second are shown as
//! elements a second; the yardstick is one million on one core.

use std::hint::black_box;

use axum::routing::post;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dorainfra_dora::metrics::{self, Histograms};
use dorainfra_dora::simulator;
use dorainfra_model::Events;
use dorainfra_prometheus::Flavour;
use dorainfra_prometheus::Series;
use dorainfra_prometheus::Target;
use dorainfra_prometheus::remote_write::{Batches, Client, Limits, Version};
use time::macros::date;

fn year(teams: u32, histograms: Histograms) -> Vec<Series> {
    metrics::simulated(simulator::teams(teams), 1, date!(2025 - 12 - 31), 365, histograms).collect()
}

fn samples(series: &[Series]) -> u64 {
    series.iter().map(|series| series.samples.len() as u64).sum()
}

fn generate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("generate");
    for (histograms, which) in [(Histograms::CLASSIC, ""), (Histograms::NATIVE, ", with native histograms")] {
        group.throughput(Throughput::Elements(samples(&year(39, histograms))));
        group.bench_function(format!("39 teams, a year{which}"), |bencher| {
            bencher.iter(|| black_box(year(39, histograms)));
        });
    }
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode and compress");
    let mut measure = |what: &str, series: &[Series]| {
        group.throughput(Throughput::Elements(samples(series)));
        for version in [Version::One, Version::Two] {
            group.bench_function(format!("{what}, {}", version.number()), |bencher| {
                bencher.iter(|| Batches::new(black_box(series).iter(), version, Limits::default()).count());
            });
        }
    };
    for teams in [35, 1000] {
        measure(&format!("{teams} teams, a year"), &year(teams, Histograms::CLASSIC));
    }
    // Each of them is 45 buckets on average, 115 at most.
    let native = year(35, Histograms::NATIVE).into_iter().filter(|series| series.samples.is_native());
    measure("35 teams, a year, native histograms alone", &native.collect::<Vec<_>>());
}

fn send(criterion: &mut Criterion) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let address = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let accept = |_: axum::body::Bytes| async { http::StatusCode::NO_CONTENT };
        let router = axum::Router::new().route("/api/v1/push", post(accept));
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    });
    let client =
        Client::new(&Target::new(Flavour::Mimir, format!("http://{address}"), address)).expect("a client");
    let mut group = criterion.benchmark_group("generate, encode and send on loopback");
    group.sample_size(10);
    for teams in [35, 1000] {
        let total = u64::from(teams) * 4 * 365;
        group.throughput(Throughput::Elements(total));
        group.bench_function(format!("{teams} teams, a year"), |bencher| {
            bencher.to_async(&runtime).iter(|| async {
                let series = metrics::simulated(
                    simulator::teams(teams),
                    1,
                    date!(2025 - 12 - 31),
                    365,
                    Histograms::CLASSIC,
                );
                client.send(series, Limits::default(), total, &Events::none()).await.expect("accepted")
            });
        });
    }
}

criterion_group!(benches, generate, encode, send);
criterion_main!(benches);

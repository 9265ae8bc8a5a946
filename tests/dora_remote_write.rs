//! Remote write against a receiver in this process, which decodes what arrives
//! and misbehaves as told.

// In a test a panic is the report; clippy knows that of #[test] functions only.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use dorainfra::blueprint::Flavour;
use dorainfra::dora::metrics::{GAUGES, simulated};
use dorainfra::dora::remote_write::wire::WriteRequest;
use dorainfra::dora::remote_write::{Accounting, Client, Limits, Reason, Retry, WriteError};
use dorainfra::dora::{Series, simulator};
use dorainfra::event::{Event, Events};
use dorainfra::stack::Target;
use http::StatusCode;
use prost::Message;
use time::macros::date;

#[derive(Default)]
struct Received {
    headers: Vec<HeaderMap>,
    at: Vec<Instant>,
    /// By metric and team, in the order of arrival.
    series: BTreeMap<(String, String), Vec<(i64, f64)>>,
    /// Answers for the next requests; afterwards all are accepted.
    answers: VecDeque<(u16, Option<&'static str>, &'static str)>,
}

#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Received>>);

impl Receiver {
    async fn start(answers: &[(u16, Option<&'static str>, &'static str)]) -> (Self, Target) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let receiver = Self::default();
        receiver.0.lock().unwrap().answers = answers.iter().copied().collect();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let router = Router::new().route("/api/v1/push", post(Self::receive)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let target = Target::new(Flavour::Mimir, format!("http://localhost:{}", address.port()), address);
        (receiver, target.with_tenant("dora"))
    }

    async fn receive(State(this): State<Self>, headers: HeaderMap, body: Bytes) -> Response {
        let mut received = this.0.lock().unwrap();
        received.headers.push(headers);
        received.at.push(Instant::now());
        if let Some((status, after, text)) = received.answers.pop_front() {
            let mut answer = (StatusCode::from_u16(status).unwrap(), text).into_response();
            if let Some(after) = after {
                answer.headers_mut().insert("retry-after", after.parse().unwrap());
            }
            return answer;
        }
        let raw = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        for series in WriteRequest::decode(raw.as_slice()).unwrap().timeseries {
            let label = |name: &str| {
                series
                    .labels
                    .iter()
                    .find(|label| label.name == name)
                    .map(|label| label.value.clone())
                    .unwrap()
            };
            assert_eq!(label("job"), "dora");
            let samples = series.samples.iter().map(|sample| (sample.timestamp, sample.value));
            received.series.entry((label("__name__"), label("team"))).or_default().extend(samples);
        }
        StatusCode::NO_CONTENT.into_response()
    }
}

fn history(teams: u32) -> Vec<Series> {
    simulated(simulator::teams(teams), 1, date!(2025 - 06 - 30), 365)
        .filter(|series| GAUGES.contains(&series.name))
        .collect()
}

fn count(series: &[Series]) -> u64 {
    series.iter().map(|series| series.samples.len() as u64).sum()
}

fn expected(series: &[Series]) -> BTreeMap<(String, String), Vec<(i64, f64)>> {
    series
        .iter()
        .map(|one| ((one.name.to_owned(), one.labels.get("team").to_owned()), one.samples.clone()))
        .collect()
}

fn quick() -> Retry {
    Retry { base: Duration::from_millis(5), longest: Duration::from_millis(20), ..Retry::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_year_arrives_whole_in_order_and_with_the_protocols_headers() {
    let (receiver, target) = Receiver::start(&[]).await;
    let series = history(35);
    let total = count(&series);
    let (events, mut stream) = Events::channel();
    // Small requests, so that series are split and lanes overlap.
    let limits = Limits { bytes: 3000, samples: 10_000 };
    let accepted = Client::new(&target).unwrap().send(&series, limits, total, &events).await.unwrap();
    drop(events);
    let mut last = 0;
    while let Some(event) = stream.recv().await {
        if let Event::Progress { done, total: all, unit, .. } = event {
            assert!(done > last && done <= all && unit == "samples");
            last = done;
        }
    }
    assert_eq!(last, total);

    let received = receiver.0.lock().unwrap();
    assert_eq!(accepted.samples, total);
    assert_eq!(accepted.requests as usize, received.headers.len());
    assert_eq!(accepted.retries, 0);
    assert_eq!(received.series, expected(&series));
    let headers = &received.headers[0];
    for (name, value) in [
        ("content-encoding", "snappy"),
        ("content-type", "application/x-protobuf"),
        ("x-prometheus-remote-write-version", "0.1.0"),
        ("x-scope-orgid", "dora"),
    ] {
        assert_eq!(headers[name], value);
    }
    assert!(headers["user-agent"].to_str().unwrap().starts_with("dorainfra/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_repeated_and_retry_after_is_honoured() {
    let (receiver, target) =
        Receiver::start(&[(500, None, "oops"), (429, Some("1"), "slow down"), (503, None, "not ready")])
            .await;
    let series = history(2);
    let client = Client::new(&target).unwrap().with_retry(quick()).with_lanes(1);
    let accepted = client.send(&series, Limits::default(), count(&series), &Events::none()).await.unwrap();
    assert_eq!((accepted.samples, accepted.requests, accepted.retries), (count(&series), 1, 3));
    let received = receiver.0.lock().unwrap();
    assert_eq!(received.series, expected(&series));
    assert!(received.at[2] - received.at[1] >= Duration::from_secs(1), "Retry-After: 1 was not waited for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_final_explained_and_accounted_for() {
    let message = "the sample has been rejected because its timestamp is too old \
                   (err-mimir-sample-timestamp-too-old)";
    let (receiver, target) = Receiver::start(&[(400, None, message)]).await;
    let series = history(4);
    let limits = Limits { bytes: 1 << 20, samples: 1000 };
    let client = Client::new(&target).unwrap().with_lanes(1);
    let error = client.send(&series, limits, 0, &Events::none()).await.unwrap_err();
    let WriteError::Refused { status, reason, accounting, .. } = &error else { panic!("{error}") };
    assert_eq!((*status, *reason), (400, Reason::TooOld));
    let arrived: usize = receiver.0.lock().unwrap().series.values().map(Vec::len).sum();
    assert_eq!(accounting.accepted as usize, arrived);
    assert_eq!((accounting.refused, accounting.total()), (1000, count(&series)));
    assert!(error.to_string().contains("err-mimir-sample-timestamp-too-old"), "{error}");
    assert!(error.hint().unwrap().contains("limits.out_of_order_window"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_stays_away_is_given_up_within_its_attempts() {
    let (_, mut target) = Receiver::start(&[]).await;
    // Bound and dropped: nobody listens there.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    target.base_url = format!("http://localhost:{}", address.port());
    target.connect = address;
    let series = history(1);
    let client = Client::new(&target).unwrap().with_retry(Retry { attempts: 3, ..quick() });
    let error = client.send(&series, Limits::default(), 0, &Events::none()).await.unwrap_err();
    let WriteError::Unavailable { attempts, accounting, .. } = &error else { panic!("{error}") };
    assert_eq!(*attempts, 3);
    assert_eq!(*accounting, Accounting { unknown: count(&series), ..Accounting::default() });
    assert!(error.hint().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_full_for_too_long_ends_the_run_at_once() {
    let (_, target) =
        Receiver::start(&[(429, Some("3600"), "later (err-mimir-tenant-max-ingestion-rate)")]).await;
    let series = history(1);
    let begun = Instant::now();
    let error =
        Client::new(&target).unwrap().send(&series, Limits::default(), 0, &Events::none()).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!(error.accounting().refused, count(&series));
    assert!(error.hint().unwrap().contains("ingestion_rate"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_history_is_no_request() {
    let (receiver, target) = Receiver::start(&[]).await;
    let series: Vec<Series> = simulated(simulator::teams(3), 1, date!(2025 - 06 - 30), 0).collect();
    let accepted =
        Client::new(&target).unwrap().send(&series, Limits::default(), 0, &Events::none()).await.unwrap();
    assert_eq!((accepted.samples, accepted.requests), (0, 0));
    assert!(receiver.0.lock().unwrap().headers.is_empty());
}

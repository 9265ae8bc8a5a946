//! Remote write against a receiver in this process, which decodes what arrives
//! and misbehaves as told.

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
use dorainfra_dora::metrics::{GAUGES, Histograms, simulated};
use dorainfra_dora::simulator;
use dorainfra_model::{Event, Events};
use dorainfra_prometheus::Flavour;
use dorainfra_prometheus::Series;
use dorainfra_prometheus::Target;
use dorainfra_prometheus::remote_write::wire::{self, v2};
use dorainfra_prometheus::remote_write::{Accounting, Checkpoint, Client, Limits, Reason, Retry, WriteError};
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
    /// Refuses the first request that comes when it has this many samples.
    breaks_at: Option<usize>,
    speaks: Speaks,
    /// Whether it says how many native histograms it has written.
    knows_native: bool,
    /// By the labels `team` and `le`, each exemplar's id.
    exemplars: Vec<(String, String, String)>,
}

/// What a receiver knows of version 2.0.
#[derive(Clone, Copy, Default, PartialEq)]
enum Speaks {
    /// Nothing: it looks at no content type, finds nothing that it knows, and accepts it.
    #[default]
    One,
    /// Nothing, and says so: 415.
    OneStrictly,
    Two,
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
        let two = headers["content-type"].to_str().unwrap().contains("proto=io.prometheus.write.v2.Request");
        if two && received.speaks != Speaks::Two {
            return match received.speaks {
                Speaks::OneStrictly => StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response(),
                _ => StatusCode::NO_CONTENT.into_response(),
            };
        }
        let raw = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        if two && v2::Request::decode(raw.as_slice()).unwrap().timeseries.is_empty() {
            let written = [("x-prometheus-remote-write-samples-written", "0")];
            return (written, StatusCode::NO_CONTENT).into_response();
        }
        received.headers.push(headers);
        received.at.push(Instant::now());
        let stored: usize = received.series.values().map(Vec::len).sum();
        if received.breaks_at.is_some_and(|most| stored >= most) {
            received.breaks_at = None;
            return (StatusCode::BAD_REQUEST, "no more").into_response();
        }
        if let Some((status, after, text)) = received.answers.pop_front() {
            let mut answer = (StatusCode::from_u16(status).unwrap(), text).into_response();
            if let Some(written) = text.strip_prefix("written: ") {
                answer
                    .headers_mut()
                    .insert("x-prometheus-remote-write-samples-written", written.parse().unwrap());
            }
            if let Some(after) = after {
                answer.headers_mut().insert("retry-after", after.parse().unwrap());
            }
            return answer;
        }
        let (mut written, mut native) = (0, 0);
        for series in read(two, &raw) {
            assert_eq!(series.labels["job"], "dora");
            let label = |name: &str| series.labels.get(name).cloned().unwrap_or_default();
            written += series.samples.len();
            native += series.native;
            received
                .exemplars
                .extend(series.exemplars.into_iter().map(|id| (label("team"), label("le"), id)));
            received.series.entry((label("__name__"), label("team"))).or_default().extend(series.samples);
        }
        if two {
            let mut answer = StatusCode::NO_CONTENT.into_response();
            let headers = answer.headers_mut();
            headers.insert("x-prometheus-remote-write-samples-written", written.into());
            if received.knows_native {
                headers.insert("x-prometheus-remote-write-histograms-written", native.into());
            }
            return answer;
        }
        StatusCode::NO_CONTENT.into_response()
    }
}

/// A series as either version has it.
struct Read {
    labels: BTreeMap<String, String>,
    samples: Vec<(i64, f64)>,
    /// How many native histograms.
    native: usize,
    exemplars: Vec<String>,
}

fn read(two: bool, raw: &[u8]) -> Vec<Read> {
    let pair = |sample: &wire::Sample| (sample.timestamp, sample.value);
    if !two {
        let request = wire::WriteRequest::decode(raw).unwrap();
        let series = request.timeseries.into_iter().map(|series| Read {
            samples: series.samples.iter().map(pair).collect(),
            native: series.histograms.len(),
            exemplars: series.exemplars.iter().map(|exemplar| exemplar.labels[0].value.clone()).collect(),
            labels: series.labels.into_iter().map(|label| (label.name, label.value)).collect(),
        });
        return series.collect();
    }
    let request = v2::Request::decode(raw).unwrap();
    let symbol = |number: u32| request.symbols[number as usize].clone();
    let series = request.timeseries.iter().map(|series| Read {
        labels: series.labels_refs.chunks(2).map(|pair| (symbol(pair[0]), symbol(pair[1]))).collect(),
        samples: series.samples.iter().map(pair).collect(),
        native: series.histograms.len(),
        exemplars: series.exemplars.iter().map(|exemplar| symbol(exemplar.labels_refs[1])).collect(),
    });
    series.collect()
}

fn history(teams: u32) -> Vec<Series> {
    simulated(simulator::teams(teams), 1, date!(2025 - 06 - 30), 365, Histograms::CLASSIC)
        .filter(|series| GAUGES.contains(&series.name))
        .collect()
}

fn count(series: &[Series]) -> u64 {
    series.iter().map(|series| series.samples.len() as u64).sum()
}

fn expected(series: &[Series]) -> BTreeMap<(String, String), Vec<(i64, f64)>> {
    series
        .iter()
        .map(|one| ((one.name.to_owned(), one.labels.get("team").to_owned()), one.samples.plain().to_vec()))
        .collect()
}

fn quick() -> Retry {
    Retry { base: Duration::from_millis(5), longest: Duration::from_millis(20), ..Retry::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_year_arrives_whole_in_order_and_with_the_protocols_headers() {
    let (receiver, target) = Receiver::start(&[]).await;
    let series = history(8);
    let total = count(&series);
    let (events, mut stream) = Events::channel();
    // Small requests, so that series are split and shards overlap.
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
    let client = Client::new(&target).unwrap().with_retry(quick()).with_shards(1);
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
    let client = Client::new(&target).unwrap().with_shards(1);
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
    let series: Vec<Series> =
        simulated(simulator::teams(3), 1, date!(2025 - 06 - 30), 0, Histograms::CLASSIC).collect();
    let accepted =
        Client::new(&target).unwrap().send(&series, Limits::default(), 0, &Events::none()).await.unwrap();
    assert_eq!((accepted.samples, accepted.requests), (0, 0));
    assert!(receiver.0.lock().unwrap().headers.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_version_that_the_receiver_speaks_is_used() {
    for (speaks, version) in [(Speaks::One, "0.1.0"), (Speaks::OneStrictly, "0.1.0"), (Speaks::Two, "2.0.0")]
    {
        let (receiver, target) = Receiver::start(&[]).await;
        receiver.0.lock().unwrap().speaks = speaks;
        let series = history(2);
        let limits = Limits { bytes: 5000, samples: 10_000 };
        let accepted = Client::new(&target).unwrap().send(&series, limits, 0, &Events::none()).await.unwrap();
        assert_eq!(accepted.samples, count(&series));
        let received = receiver.0.lock().unwrap();
        assert_eq!(received.series, expected(&series));
        assert!(
            received.headers.iter().all(|headers| headers["x-prometheus-remote-write-version"] == version)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_writes_less_than_it_accepts_is_found_out() {
    let (receiver, target) = Receiver::start(&[]).await;
    {
        let mut received = receiver.0.lock().unwrap();
        received.speaks = Speaks::Two;
        // Accepted, but for a header that says 7.
        received.answers.push_back((204, None, "written: 7"));
    }
    let series = history(1);
    let error =
        Client::new(&target).unwrap().send(&series, Limits::default(), 0, &Events::none()).await.unwrap_err();
    assert!(error.to_string().contains("written 7 of"), "{error}");
    assert_eq!(error.accounting().refused, count(&series));
}

#[tokio::test(flavor = "multi_thread")]
async fn native_histograms_are_counted_by_the_receivers_own_number() {
    let series: Vec<Series> =
        simulated(simulator::teams(2), 1, date!(2025 - 06 - 30), 30, Histograms::NATIVE).collect();
    let native: u64 =
        series.iter().filter(|one| one.samples.is_native()).map(|one| one.samples.len() as u64).sum();
    assert!(native > 100);
    for (speaks, knows_native) in [(Speaks::One, false), (Speaks::Two, true), (Speaks::Two, false)] {
        let (receiver, target) = Receiver::start(&[]).await;
        {
            let mut received = receiver.0.lock().unwrap();
            (received.speaks, received.knows_native) = (speaks, knows_native);
        }
        let limits = Limits { bytes: 5000, samples: 10_000 };
        let sent = Client::new(&target).unwrap().send(&series, limits, 0, &Events::none()).await;
        if speaks == Speaks::Two && !knows_native {
            // It took the request, and does not say that it has stored them.
            let error = sent.unwrap_err();
            assert!(matches!(error, WriteError::Refused { reason: Reason::NativeHistograms, .. }), "{error}");
            assert!(
                error.accounting().refused > 0 && error.accounting().total() == count(&series),
                "{error}"
            );
            continue;
        }
        let accepted = sent.unwrap();
        assert_eq!((accepted.samples, accepted.native), (count(&series), native));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_come_with_exemplars() {
    let (receiver, target) = Receiver::start(&[]).await;
    let series: Vec<Series> =
        simulated(simulator::teams(1), 1, date!(2025 - 06 - 30), 90, Histograms::CLASSIC).collect();
    let sent: usize = series.iter().map(|series| series.exemplars.len()).sum();
    Client::new(&target).unwrap().send(&series, Limits::default(), 0, &Events::none()).await.unwrap();
    let received = receiver.0.lock().unwrap();
    assert!(sent > 10);
    assert_eq!(received.exemplars.len(), sent);
    assert!(
        received
            .exemplars
            .iter()
            .all(|(team, le, id)| team == "accounts" && !le.is_empty() && !id.is_empty())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_history_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = || Checkpoint::new(folder.path().join("history.json"), "one history".into());
    let (receiver, target) = Receiver::start(&[]).await;
    let series = history(10);
    let (total, limits) = (count(&series), Limits { bytes: 4000, samples: 10_000 });
    // A receiver that breaks off: the run ends with what it had accepted noted.
    let client = Client::new(&target).unwrap().with_shards(3).with_checkpoint(checkpoint());
    receiver.0.lock().unwrap().breaks_at = Some(total as usize / 3);
    let error = client.send(&series, limits, total, &Events::none()).await.unwrap_err();
    // What was on its way then may not have been heard of any more.
    assert!(error.accounting().accepted > total / 4, "{error}");
    let noted = checkpoint().accepted();
    assert!(noted > 0 && noted <= error.accounting().accepted, "{noted} {error}");

    let accepted = client.send(&series, limits, total, &Events::none()).await.unwrap();
    assert_eq!((accepted.before, accepted.samples), (noted, total - noted));
    // What was sent twice is the same; together they are everything.
    let received = receiver.0.lock().unwrap();
    for (key, mut samples) in expected(&series) {
        let mut arrived = received.series[&key].clone();
        for samples in [&mut samples, &mut arrived] {
            samples.sort_by_key(|(time, _)| *time);
            samples.dedup();
        }
        assert_eq!(arrived, samples, "{key:?}");
    }
    assert_eq!(checkpoint().accepted(), 0, "what is done leaves no checkpoint");
}

/// Who stands in front of a receiver answers for it: with a login, with a page, with
/// success that is none. Nothing of it counts as accepted.
#[tokio::test]
async fn an_answer_of_somebody_in_between_is_no_acceptance() {
    use axum::response::{Html, Redirect};
    let _ = rustls::crypto::ring::default_provider().install_default();
    let reset = || (StatusCode::RESET_CONTENT, "").into_response();
    type Case = (&'static str, fn() -> Response, &'static str);
    let cases: [Case; 4] = [
        ("to a login", || Redirect::to("/login?next=secret").into_response(), "redirects to /login"),
        (
            "for good",
            || Redirect::permanent("https://elsewhere.example/").into_response(),
            "elsewhere.example",
        ),
        ("a page", || Html("<h1>Welcome</h1>").into_response(), "web page"),
        ("a success of another protocol", reset, "205"),
    ];
    for (name, answer, words) in cases {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/api/v1/push", post(move || async move { answer() }))
            .route("/login", axum::routing::any(|| async { "welcome" }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let target = Target::new(Flavour::Mimir, format!("http://localhost:{}", address.port()), address);
        let series = simulated(simulator::teams(1), 1, date!(2026 - 03 - 01), 3, Histograms::CLASSIC);
        let (events, _receiver) = Events::channel();
        let sent = Client::new(&target).unwrap().send(series, Limits::default(), 0, &events).await;
        let error = sent.expect_err(name);
        assert_eq!(error.accounting().accepted, 0, "{name}");
        assert!(error.to_string().contains(words), "{name}: {error}");
        assert!(!error.to_string().contains("secret"), "{name}: {error}");
    }
}

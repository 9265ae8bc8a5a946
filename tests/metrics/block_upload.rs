//! The upload of a history's blocks, against a receiver in this process that is as
//! strict as Mimir and misbehaves as told; with `DORAINFRA_MIMIR_BINARY`, against a Mimir.

#![allow(clippy::disallowed_methods, reason = "the environment is a test's own input")]

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::collector::{Receiver, eventually};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use dorainfra_deploy::verify;
use dorainfra_dora::metrics::{self, Histograms};
use dorainfra_dora::simulator;
use dorainfra_model::{Event, Events};
use dorainfra_prometheus::Flavour;
use dorainfra_prometheus::Target;
use dorainfra_prometheus::remote_write::{Accounting, Retry};
use dorainfra_prometheus::tsdb::{self, Block, Meta};
use dorainfra_prometheus::upload::{UploadError, Uploaded, Uploader, Why};
use dorainfra_prometheus::{Past, Series};
use time::macros::date;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Stage {
    #[default]
    Uploading,
    /// Answers left until it has been looked at.
    Validating(u32),
    Complete,
    Failed,
}

#[derive(Default)]
struct Held {
    meta: Option<Meta>,
    files: BTreeMap<String, usize>,
    state: Stage,
}

#[derive(Default)]
struct Compactor {
    blocks: BTreeMap<String, Held>,
    /// Every call that came, as `STEP`.
    calls: Vec<String>,
    /// Refusals of the next calls of a step, instead of what it does.
    answers: VecDeque<(&'static str, u16, &'static str)>,
    /// Answers of the next calls of a step that are lost, though it does what it does.
    lost: VecDeque<&'static str>,
    /// How many of the next blocks are found bad.
    bad: u32,
    looks: u32,
    largest_range_hours: i64,
}

/// The first of a queue, taken out of it, where it is such a one.
fn pop_if<T>(queue: &mut VecDeque<T>, is: impl FnOnce(&T) -> bool) -> Option<T> {
    if queue.front().is_some_and(is) { queue.pop_front() } else { None }
}

#[derive(Clone)]
struct Api(Arc<Mutex<Compactor>>);

type Answer = (StatusCode, String);

fn refused(status: u16, words: &str) -> Answer {
    (StatusCode::from_u16(status).unwrap(), format!("{words}\n"))
}

impl Api {
    async fn start() -> (Self, Target) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let api = Self(Arc::new(Mutex::new(Compactor { largest_range_hours: 168, ..Compactor::default() })));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/api/v1/upload/block/{block}/check", get(Self::check))
            .route("/api/v1/upload/block/{block}/{step}", post(Self::step))
            .layer(DefaultBodyLimit::disable())
            .with_state(api.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let target = Target::new(Flavour::Mimir, format!("http://localhost:{}", address.port()), address);
        (api, target.with_tenant("dora"))
    }

    fn with<T>(&self, change: impl FnOnce(&mut Compactor) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    /// Samples of the blocks that count.
    fn samples(&self) -> u64 {
        self.with(|compactor| {
            let complete = compactor.blocks.values().filter(|held| held.state == Stage::Complete);
            complete.map(|held| held.meta.as_ref().unwrap().stats.num_samples).sum()
        })
    }

    async fn check(State(this): State<Self>, Path(block): Path<String>) -> Answer {
        this.with(|compactor| {
            if let Some((_, status, words)) = pop_if(&mut compactor.answers, |(step, ..)| *step == "check") {
                return refused(status, words);
            }
            let Some(held) = compactor.blocks.get_mut(&block) else {
                return refused(404, "block doesn't exist");
            };
            let told = match held.state {
                Stage::Uploading => r#"{"result":"uploading"}"#,
                Stage::Validating(0) => {
                    held.state = Stage::Complete;
                    r#"{"result":"complete"}"#
                }
                Stage::Validating(left) => {
                    held.state = Stage::Validating(left - 1);
                    r#"{"result":"validating"}"#
                }
                Stage::Complete => r#"{"result":"complete"}"#,
                Stage::Failed => {
                    r#"{"result":"failed","error":"index contains 1 postings with out of order labels"}"#
                }
            };
            (StatusCode::OK, told.into())
        })
    }

    async fn step(
        State(this): State<Self>,
        Path((block, step)): Path<(String, String)>,
        Query(query): Query<BTreeMap<String, String>>,
        body: Bytes,
    ) -> Answer {
        this.with(|compactor| {
            compactor.calls.push(step.clone());
            if let Some((_, status, words)) = pop_if(&mut compactor.answers, |(of, ..)| *of == step) {
                return refused(status, words);
            }
            let answer = compactor.step(&block, &step, query.get("path"), &body);
            match pop_if(&mut compactor.lost, |of| *of == step) {
                Some(_) => refused(502, "the answer was lost"),
                None => answer,
            }
        })
    }
}

impl Compactor {
    fn step(&mut self, block: &str, step: &str, path: Option<&String>, body: &Bytes) -> Answer {
        match self.blocks.get(block).map(|held| held.state) {
            Some(Stage::Complete) => return refused(409, "block already exists"),
            Some(Stage::Validating(_)) => return refused(400, "block validation in progress"),
            Some(Stage::Failed) => return refused(400, "block validation failed"),
            None if step != "start" => return refused(404, "block upload not started"),
            _ => {}
        }
        match step {
            "start" => {
                let Ok(meta) = serde_json::from_slice::<Meta>(body) else {
                    return refused(400, "malformed request body");
                };
                if let Some(answer) = self.wrong(block, &meta) {
                    return answer;
                }
                self.blocks.entry(block.to_owned()).or_default().meta = Some(meta);
            }
            "files" => {
                let held = self.blocks.get_mut(block).unwrap();
                let file = held.meta.as_ref().unwrap().thanos.files.iter();
                let Some(file) = file.into_iter().find(|file| Some(&file.rel_path) == path) else {
                    return refused(400, "unexpected file");
                };
                if body.is_empty() || file.size_bytes != body.len() as u64 {
                    return refused(400, "file size doesn't match meta.json");
                }
                held.files.insert(path.unwrap().clone(), body.len());
            }
            "finish" => {
                let (looks, bad) = (self.looks, self.bad > 0);
                self.bad = self.bad.saturating_sub(1);
                let held = self.blocks.get_mut(block).unwrap();
                let whole = held.files.len() == held.meta.as_ref().unwrap().thanos.files.len();
                held.state = if bad || !whole { Stage::Failed } else { Stage::Validating(looks) };
            }
            _ => return refused(404, "404 page not found"),
        }
        (StatusCode::OK, String::new())
    }

    /// What Mimir looks for before it takes a block.
    fn wrong(&self, block: &str, meta: &Meta) -> Option<Answer> {
        let range = self.largest_range_hours * 3_600_000;
        // Go's time begins with the year 1.
        let since = |time: i64| time + 719_162 * 86_400_000;
        let now = time::OffsetDateTime::now_utc().unix_timestamp() * 1000;
        let words = |status, words: &str| Some(refused(status, words));
        if block.len() != 26 || meta.ulid != block || meta.version != 1 {
            return words(400, "version must be 1");
        }
        if !meta.thanos.labels.is_empty() || meta.thanos.downsample.resolution != 0 {
            return words(400, "unsupported external label");
        }
        if meta.thanos.files.iter().any(|file| {
            file.size_bytes == 0 || !(file.rel_path == "index" || file.rel_path.starts_with("chunks/0000"))
        }) {
            return words(400, "file with invalid path");
        }
        if meta.min_time < 0 || meta.max_time < meta.min_time {
            return words(400, "invalid minTime/maxTime");
        }
        if meta.max_time > now {
            return words(400, "block time(s) greater than the present");
        }
        if meta.max_time - meta.min_time > range {
            return words(422, "block duration (1w) is larger than max configured compactor time range (1d)");
        }
        if since(meta.max_time) > since(meta.min_time) / range * range + range {
            return words(422, "block time range crosses boundary of configured compactor time range (1d)");
        }
        None
    }
}

fn history() -> Vec<Series> {
    metrics::simulated(simulator::teams(2), 1, date!(2025 - 11 - 20), 90, Histograms::CLASSIC).collect()
}

fn blocks(history: &Vec<Series>) -> Vec<Block> {
    let windows = tsdb::windows(history, history.extent().newest.unwrap() + 1);
    tsdb::blocks(history, &windows).collect()
}

fn uploader(target: &Target) -> Uploader {
    let retry = Retry {
        attempts: 4,
        base: Duration::from_millis(2),
        longest: Duration::from_millis(10),
        budget: Duration::from_secs(20),
    };
    Uploader::new(target).unwrap().with_retry(retry).with_patience(Duration::from_secs(20))
}

async fn send(target: &Target, history: &Vec<Series>) -> Result<Uploaded, UploadError> {
    let all = blocks(history);
    uploader(target).send(all.into_iter(), history.extent().samples, &Events::none()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_block_arrives_and_is_counted() {
    let (api, target) = Api::start().await;
    api.with(|compactor| compactor.looks = 2);
    let history = history();
    let (samples, all) = (history.extent().samples, blocks(&history));
    assert!(uploader(&target).is_taken().await.unwrap());
    let (events, mut told) = Events::channel();
    let sent = uploader(&target).send(all.clone().into_iter(), samples, &events).await.unwrap();
    assert_eq!((sent.samples, sent.before, sent.blocks), (samples, 0, all.len() as u64));
    assert_eq!(api.samples(), samples);
    let mut last = 0;
    while let Ok(event) = told.try_recv() {
        let Event::Progress { done, total, .. } = event else { panic!("{event:?}") };
        assert!(done > last && total == samples);
        last = done;
    }
    assert_eq!(last, samples);

    // Again: all of it is there, and no file is sent.
    api.with(|compactor| compactor.calls.clear());
    let again = send(&target, &history).await.unwrap();
    assert_eq!((again.samples, again.before, again.bytes), (samples, samples, 0));
    api.with(|compactor| assert!(compactor.calls.iter().all(|step| step == "start")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_made_up_for() {
    let (api, target) = Api::start().await;
    let history = history();
    api.with(|compactor| {
        compactor.answers = [
            ("start", 503, "busy"),
            ("files", 500, "internal server error (id 1)"),
            ("finish", 429, "too many block upload validations in progress, limit is 1"),
            ("finish", 429, "too many block upload validations in progress, limit is 1"),
            ("check", 502, "bad gateway"),
            ("check", 404, "block doesn't exist"),
        ]
        .into();
        compactor.lost = ["start", "files", "finish"].into();
    });
    let sent = send(&target, &history).await.unwrap();
    assert_eq!((sent.samples, sent.before), (history.extent().samples, 0));
    assert_eq!(api.samples(), history.extent().samples);
    assert!(sent.retries >= 8, "{sent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_upload_goes_on_where_it_was() {
    let (api, target) = Api::start().await;
    let history = history();
    let all = blocks(&history);
    // A machine that is away in the middle.
    let away = std::iter::repeat_n(("files", 503, "away"), 100);
    api.with(|compactor| compactor.answers = [("start", 503, "busy")].into_iter().collect());
    uploader(&target).send(all[..5].iter().cloned(), 0, &Events::none()).await.unwrap();
    let there = api.samples();
    api.with(|compactor| compactor.answers = away.collect());
    let error = send(&target, &history).await.unwrap_err();
    let Accounting { accepted, refused, unknown, unsent } = error.accounting();
    assert_eq!(accepted + refused + unknown + unsent, history.extent().samples);
    assert!(accepted == there && refused > 0 && unsent > 0, "{error}");
    assert!(error.hint().is_some() && error.to_string().contains("samples accepted"), "{error}");
    api.with(|compactor| compactor.answers.clear());
    let sent = send(&target, &history).await.unwrap();
    assert_eq!((sent.samples, sent.before), (history.extent().samples, there));
    assert_eq!(api.samples(), history.extent().samples);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_final_and_says_what_to_do() {
    let history = history();
    let retention = ("start", 422, "block max time (1) older than retention period");
    for (range, answer, why, words) in [
        (24, None, Why::Range, "compactor.block_ranges"),
        (168, Some(retention), Why::Retention, "mimir.retention"),
    ] {
        let (api, target) = Api::start().await;
        api.with(|compactor| {
            compactor.largest_range_hours = range;
            compactor.answers.extend(answer);
        });
        let error = send(&target, &history).await.unwrap_err();
        assert_eq!(error.why(), Some(why), "{error}");
        assert!(error.hint().unwrap().contains(words), "{error}: {:?}", error.hint());
        assert_eq!(error.accounting().total(), history.extent().samples);
        assert_eq!(error.accounting().accepted, api.samples());
    }
}

/// Mimir never forgets that it has found a block bad, also where its disk was full.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_was_found_bad_is_sent_again_under_another_name() {
    let (api, target) = Api::start().await;
    let history = history();
    api.with(|compactor| compactor.bad = 1);
    let error = send(&target, &history).await.unwrap_err();
    assert!(error.to_string().contains("found the block") && error.hint().is_some(), "{error}");
    assert_eq!(error.accounting().total(), history.extent().samples);
    let there = api.samples();
    assert_eq!(error.accounting().accepted, there);
    let sent = send(&target, &history).await.unwrap();
    assert_eq!((sent.samples, sent.before), (history.extent().samples, there));
    assert_eq!(api.samples(), history.extent().samples);
    assert_eq!(send(&target, &history).await.unwrap().before, history.extent().samples);
    // Whatever name it has.
    api.with(|compactor| compactor.answers = vec![("start", 400, "block validation failed"); 100].into());
    let error = send(&target, &history).await.unwrap_err();
    assert_eq!(error.why(), Some(Why::FailedBefore), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_no_blocks_is_known_before_any_is_sent() {
    let (api, target) = Api::start().await;
    api.with(|compactor| compactor.answers = [("check", 400, "block upload is disabled")].into());
    assert!(!uploader(&target).is_taken().await.unwrap());
    // Somebody who has never heard of it.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(|| async { (StatusCode::NOT_FOUND, "404 page not found\n") });
    tokio::spawn(async move { axum::serve(listener, router).await });
    let target = Target::new(Flavour::Mimir, format!("http://localhost:{}", address.port()), address);
    assert!(!uploader(&target).is_taken().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Mimir (DORAINFRA_MIMIR_BINARY): scripts/nightly"]
async fn a_mimir_takes_blocks_and_answers_from_its_bucket() {
    if std::env::var_os("DORAINFRA_MIMIR_BINARY").is_none_or(|path| path.is_empty()) {
        panic!("DORAINFRA_MIMIR_BINARY names no Mimir");
    }
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::real_where_given(dir.path(), "1h", "5000d").await;
    let history: Vec<Series> =
        metrics::simulated(simulator::teams(5), 1, date!(2025 - 11 - 20), 365, Histograms::NATIVE).collect();
    let uploader = Uploader::new(&receiver.target).unwrap();
    assert!(uploader.is_taken().await.unwrap());
    let (samples, all) = (history.extent().samples, blocks(&history));
    let sent = uploader.send(all.iter().cloned(), samples, &Events::none()).await.unwrap();
    assert_eq!((sent.samples, sent.before), (samples, 0));
    eventually("queries see all of it", async || verify::history_stored(&receiver.target, &history).await)
        .await;
    let again = uploader.send(all.into_iter(), samples, &Events::none()).await.unwrap();
    assert_eq!((again.samples, again.before), (samples, samples));
}
